// A map on a canvas of its own: points as pixels, rings, what lies under the pointer, and the places inside a lasso.
// No library: a million points are painted without a GPU, and a report needs nothing more than this file.
import { tables, SPLITS } from "./data.js";
import { extentOf } from "./region.js";
import { placed } from "./map.js";

const ROOM = 0.06; // of the map's extent left free around it
const ALPHA = { full: 217, faint: 102, dim: 28 }; // of 255: points, training images beside held-out ones, what is not selected
const SIZES = [[200, 9], [3000, 6.5], [12000, 5], [30000, 4], [80000, 3], [400000, 2], [Infinity, 1.5]]; // points at most, their width in pixels
const REACH = 10; // pixels from a point within which the pointer means it
const FULL = 0.85; // the opacity at which ALPHA holds

export class CanvasMap {
  constructor(canvas) {
    this.canvas = canvas;
    this.rings = []; // { point, radius, width }
    this.lasso = []; // corners of what is being drawn, in pixels
    this.now = null;
    this.points = new Int32Array(0);
    this.asked = 0;
    this.alpha = FULL;
    this.reach = REACH;
    this.listeners = [];
    new ResizeObserver(() => { if (this.now) { this.fit(this.view && this.seen()); this.later(); } }).observe(canvas);
  }

  rowOf(point) { return this.now.rows ? this.now.rows[point] : point; }

  pointsOf(row) {
    const { rows } = this.now, found = [];
    if (!rows) return row < this.now.count ? [row] : [];
    for (let point = 0; point < rows.length; point++) if (rows[point] === row) found.push(point);
    return found;
  }

  // Show the points of a layout that a state leaves: `colouring` tells their colours, `chosen` what is selected.
  set(now, colouring, state, faint) {
    const anew = !this.now || this.now.layout.key !== now.layout.key;
    Object.assign(this, { now, colouring, faint });
    this.points = this.left(state);
    if (anew) this.fit(null);
    this.later();
  }

  // The points that a state leaves.
  left(state) {
    const wanted = SPLITS.indexOf(state.split), { codes, names, ofPoints } = this.colouring, first = [], last = [];
    for (let point = 0; point < this.now.count; point++) {
      const row = this.rowOf(point), split = tables.split[row];
      if ((wanted >= 0 && split !== wanted) || (state.kept && !state.kept[row]) || !placed(this.now, point)) continue;
      if (names && state.hidden.has(codes[ofPoints ? point : row])) continue;
      (split === 0 ? first : last).push(point); // training images lie under the others
    }
    return Int32Array.from(first.concat(last));
  }

  // -- where things are -------------------------------------------------------------------------------------------------------

  seen() { const { x, y, unit } = this.view, { clientWidth: w, clientHeight: h } = this.canvas; return [x - (w / 2) * unit, x + (w / 2) * unit, y - (h / 2) * unit, y + (h / 2) * unit]; }

  // Fit a rectangle, or the whole layout, into the canvas.
  fit(view) {
    const [x0, x1, y0, y1] = view ?? extentOf(this.now), { clientWidth: width, clientHeight: height } = this.canvas, room = view ? 1 : 1 + 2 * ROOM;
    this.view = { x: (x0 + x1) / 2, y: (y0 + y1) / 2, unit: Math.max((x1 - x0) / Math.max(1, width), (y1 - y0) / Math.max(1, height), 1e-3) * room };
    this.later();
  }

  place(point) {
    const { xy, count } = this.now, { x, y, unit } = this.view, { clientWidth, clientHeight } = this.canvas;
    return [clientWidth / 2 + (xy[point] - x) / unit, clientHeight / 2 - (xy[count + point] - y) / unit];
  }

  // -- what thumbnails over it ask (thumbs.js) ----------------------------------------------------------------------------------

  get shown() { return this.points.length; }

  frame(width, height) {
    const { unit } = this.view, [x0, x1, y0, y1] = this.seen();
    return { view: { x0, x1, y0, y1 }, left: 0, low: height, unit, upward: unit };
  }

  moves(listener) { this.listeners.push(listener); }

  inView() {
    const { xy, count } = this.now, [x0, x1, y0, y1] = this.seen(), x = xy.subarray(0, count), y = xy.subarray(count), places = new Int32Array(this.points.length);
    let n = 0;
    for (const point of this.points) if (x[point] >= x0 && x[point] <= x1 && y[point] >= y0 && y[point] <= y1) places[n++] = point;
    return { count: n, places: places.subarray(0, n), x, y, point: (place) => place };
  }

  colourOf(point) { const { codes, palette, ofPoints } = this.colouring; return palette[codes[ofPoints ? point : this.rowOf(point)]]; }

  setOpacity(alpha) {
    if (alpha === this.alpha) return;
    this.alpha = alpha;
    this.later();
  }

  // ---------------------------------------------------------------------------------------------------------------------------

  pan(right, down) { this.view.x -= right * this.view.unit; this.view.y += down * this.view.unit; this.later(); }

  // Zoom by a factor with what is at a place of the canvas staying there.
  zoom(factor, px = this.canvas.clientWidth / 2, py = this.canvas.clientHeight / 2) {
    const { view, canvas } = this, dx = px - canvas.clientWidth / 2, dy = py - canvas.clientHeight / 2;
    view.x += dx * view.unit * (1 - factor); view.y -= dy * view.unit * (1 - factor);
    view.unit *= factor;
    this.later();
  }

  // The drawn point nearest to a place of the canvas, if it lies within reach.
  at(px, py, reach = this.reach) {
    const { xy, count } = this.now, { x, y, unit } = this.view, { clientWidth, clientHeight } = this.canvas;
    const atX = x + (px - clientWidth / 2) * unit, atY = y - (py - clientHeight / 2) * unit;
    let best = null, least = (reach * unit) ** 2;
    for (const point of this.points) {
      const apart = (xy[point] - atX) ** 2 + (xy[count + point] - atY) ** 2;
      if (apart <= least) { least = apart; best = point; }
    }
    return best;
  }

  // The rows of the drawn points inside a polygon of the canvas.
  inside(corners) {
    const rows = new Set();
    for (const point of this.points) if (within(corners, ...this.place(point))) rows.add(this.rowOf(point));
    return [...rows].sort((a, b) => a - b);
  }

  // -- painting ---------------------------------------------------------------------------------------------------------------

  later() {
    for (const listener of this.listeners) listener();
    this.asked ||= requestAnimationFrame(() => { this.asked = 0; this.paint(); });
  }

  paint() {
    const { canvas } = this, ratio = devicePixelRatio || 1, width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (!this.now || !width || !height) return;
    canvas.width = width; canvas.height = height;
    const context = canvas.getContext("2d"), picture = context.createImageData(width, height);
    this.dots(new Uint32Array(picture.data.buffer), width, height, ratio);
    context.putImageData(picture, 0, 0);
    context.scale(ratio, ratio);
    context.strokeStyle = context.fillStyle = getComputedStyle(canvas).color;
    for (const ring of this.rings) this.ring(context, ring);
    this.outline(context);
    this.painted = (this.painted ?? 0) + 1;
  }

  dots(pixels, width, height, ratio) {
    const { chosen, points } = this, disc = discOf((SIZES.find(([most]) => points.length <= most)[1] * ratio) / 2, width);
    const paint = this.brush(pixels, width, height, ratio, disc);
    if (!chosen) { for (const point of points) paint(point, this.faint && tables.split[this.rowOf(point)] === 0 ? ALPHA.faint : ALPHA.full); return; }
    for (const point of points) if (!chosen[this.rowOf(point)]) paint(point, ALPHA.dim);
    for (const point of points) if (chosen[this.rowOf(point)]) paint(point, ALPHA.full); // on top
  }

  // What paints one point: no array is made for it, so that a million take a frame or two.
  brush(pixels, width, height, ratio, { radius, offsets }) {
    const { colouring: { codes, palette, ofPoints }, now: { xy, count, rows }, view, canvas } = this, share = this.alpha / FULL, inks = Uint32Array.from(palette, ink);
    const scale = ratio / view.unit, left = (canvas.clientWidth * ratio) / 2 - view.x * scale, top = (canvas.clientHeight * ratio) / 2 + view.y * scale;
    return (point, alpha) => {
      const px = Math.round(left + xy[point] * scale), py = Math.round(top - xy[count + point] * scale);
      if (px < radius || py < radius || px >= width - radius || py >= height - radius) return;
      const colour = (inks[codes[ofPoints || !rows ? point : rows[point]]] | (Math.min(255, Math.round(alpha * share)) << 24)) >>> 0, middle = py * width + px;
      for (let k = 0; k < offsets.length; k++) pixels[middle + offsets[k]] = colour;
    };
  }

  ring(context, { point, radius, width }) {
    const [x, y] = this.place(point);
    context.lineWidth = width;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.stroke();
  }

  outline(context) {
    if (this.lasso.length < 2) return;
    context.beginPath();
    this.lasso.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.closePath();
    context.globalAlpha = 0.12; context.fill();
    context.globalAlpha = 1; context.lineWidth = 1.5; context.setLineDash([5, 4]); context.stroke();
  }
}

// "#rrggbb" as the bytes of a pixel, without its alpha.
const ink = (colour) => { const value = parseInt(colour.slice(1, 7), 16); return (value >> 16) | (value & 0xff00) | ((value & 255) << 16); };

// The pixels of a disc, as offsets into a picture of that width.
function discOf(half, width) {
  const radius = Math.max(0, Math.ceil(half - 0.5)), offsets = [];
  for (let y = -radius; y <= radius; y++) for (let x = -radius; x <= radius; x++) if (x * x + y * y <= half * half) offsets.push(y * width + x);
  return { radius, offsets: offsets.length ? offsets : [0] };
}

// Whether a place lies inside a polygon: an odd number of its sides lie to the right.
export function within(corners, x, y) {
  let inside = false;
  for (let k = 0, before = corners.length - 1; k < corners.length; before = k++) {
    const [ax, ay] = corners[k], [bx, by] = corners[before];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}
