// More points than Bokeh draws smoothly: how dense they lie is painted under it, coloured by the mix of their colours, and
// of the points in view it draws a sample. All points are in the page: pointing, selecting and counting take them all.
import { Grid } from "./grid.js";

const CELL = 2; // pixels of a square of density
const FAINTEST = 0.16, STRONGEST = 0.95; // opacity of a square with one point, of the fullest
const UNLIT = 0.1; // what a point that is not selected weighs beside one that is
const OFFERED = 60_000; // points among which thumbnails are chosen: many for each of a screen's squares
const CHANCES = 2 ** 16;
const SPARED = 0.97; // of the most that are drawn: a sample by chance may come out larger
const HASTY = 2_000; // points from which on a canvas draws a tenth of them while it moves: their density moves with them
const SETTLED = 140; // milliseconds without movement after which a sample is taken anew

export class Crowd {
  constructor(map, most) {
    Object.assign(this, { map, most, grid: null, lit: null, inView: 0, sampled: 0, waiting: 0, timer: 0, whole: false, onsampled: () => {} });
    this.patient = map.plot.lod_threshold;
    this.canvas = document.createElement("canvas");
    Object.assign(this.canvas.style, { position: "absolute", inset: "0", width: "100%", height: "100%", pointerEvents: "none" });
    this.canvas.setAttribute("aria-hidden", "true");
    this.small = document.createElement("canvas");
    const { x_range, y_range } = map.plot;
    for (const range of [x_range, y_range]) for (const end of ["start", "end"]) range.properties[end].change.connect(() => this.moved());
    new ResizeObserver(() => this.moved()).observe(this.canvas);
  }

  // -- what there is ------------------------------------------------------------------------------------------------------

  fill({ x, y, c, i }, palette) {
    const grid = new Grid(x, y);
    Object.assign(this, { all: { x, y, c, i }, grid, c: grid.sorted(c), i: grid.sorted(i), ink: inks(palette), lit: null });
    this.chance = chances(this.i);
    this.map.plot.lod_threshold = HASTY;
    this.moved();
    this.sample();
  }

  empty() {
    if (!this.grid) return;
    this.grid = this.all = null;
    this.map.plot.lod_threshold = this.patient;
    clearTimeout(this.timer);
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  point(place) { return this.i[place]; }

  // -- what is in view ----------------------------------------------------------------------------------------------------

  // The points in view as the thumbnails take them: how many there are, and as many of them as a choice can be made from.
  seen() {
    const { x, y } = this.grid, all = this.grid.within(this.map.view());
    return { count: all.length, places: this.thinned(all, OFFERED), x, y, point: (place) => this.i[place] };
  }

  moved() {
    if (!this.grid) return;
    this.whole = false; // until the sample is taken anew, it may not hold all that is in view
    this.waiting ||= requestAnimationFrame(() => { this.waiting = 0; this.paint(); });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.sample(), SETTLED);
  }

  // Give Bokeh at most `most` of the points in view: all of them, or those of the least numbers by chance, so that a view and
  // one beside it show the same of what they share.
  sample() {
    if (!this.grid) return;
    clearTimeout(this.timer);
    const seen = this.grid.within(this.map.view()), places = this.thinned(seen);
    for (let k = 0; k < places.length; k++) places[k] = this.grid.of[places[k]];
    places.sort(); // in the order in which they are drawn
    const take = (values) => { const taken = new values.constructor(places.length); for (let k = 0; k < taken.length; k++) taken[k] = values[places[k]]; return taken; };
    const { x, y, c, i } = this.all;
    Object.assign(this, { inView: seen.length, sampled: places.length, whole: places.length === seen.length });
    this.map.draws({ x: take(x), y: take(y), c: take(c), i: take(i) });
    this.paint();
    this.onsampled(this);
  }

  thinned(seen, most = this.most) {
    if (seen.length <= most) return seen;
    const share = SPARED * most / seen.length * CHANCES, kept = new Int32Array(most);
    let n = 0;
    for (let k = 0; k < seen.length && n < most; k++) if (this.chance[seen[k]] < share) kept[n++] = seen[k];
    return kept.subarray(0, n);
  }

  // -- pointing and selecting ---------------------------------------------------------------------------------------------

  at(x, y, reach) {
    const place = this.grid.nearest(x, y, reach);
    return place === null ? null : this.point(place);
  }

  rowsIn(region) {
    const places = this.grid.within(region), { rows } = this.map.now;
    for (let k = 0; k < places.length; k++) { const point = this.i[places[k]]; places[k] = rows ? rows[point] : point; }
    return places;
  }

  light(chosen) {
    if (!this.grid) return;
    const { i, map: { now: { rows } } } = this;
    this.lit = chosen && new Uint8Array(i.length);
    if (chosen) for (let place = 0; place < i.length; place++) this.lit[place] = chosen[rows ? rows[i[place]] : i[place]];
    this.paint();
  }

  // -- painting -----------------------------------------------------------------------------------------------------------

  paint() {
    const { canvas, grid } = this, ratio = devicePixelRatio || 1;
    if (!grid) return;
    canvas.width = canvas.clientWidth * ratio; canvas.height = canvas.clientHeight * ratio; // clears it
    if (this.whole || !canvas.width || !canvas.height) return;
    const across = Math.ceil(canvas.clientWidth / CELL), down = Math.ceil(canvas.clientHeight / CELL);
    const sums = this.gather(across, down, canvas.clientWidth / CELL, canvas.clientHeight / CELL);
    Object.assign(this.small, { width: across, height: down });
    const context = this.small.getContext("2d"), image = context.createImageData(across, down);
    shade(sums, image.data);
    context.putImageData(image, 0, 0);
    canvas.getContext("2d").drawImage(this.small, 0, 0, across * CELL * ratio, down * CELL * ratio);
  }

  // Red, green, blue and weight of all points of every square: Float32Array [square, 4].
  gather(across, down, wide, high) {
    const { grid: { x, y }, c, lit, ink } = this, { x0, x1, y0, y1 } = this.map.view();
    if (this.sums?.length === across * down * 4) this.sums.fill(0); else this.sums = new Float32Array(across * down * 4);
    const sums = this.sums, sx = wide / (x1 - x0), sy = high / (y1 - y0);
    for (const [from, to] of this.grid.runs(x0, x1, y0, y1)) {
      for (let k = from; k < to; k++) {
        const px = (x[k] - x0) * sx, py = (y1 - y[k]) * sy;
        if (px < 0 || py < 0 || px >= across || py >= down) continue;
        const at = ((py | 0) * across + (px | 0)) * 4, from = c[k] * 4, weight = (lit === null || lit[k] ? 1 : UNLIT) * ink[from + 3];
        sums[at] += ink[from] * weight; sums[at + 1] += ink[from + 1] * weight; sums[at + 2] += ink[from + 2] * weight; sums[at + 3] += weight;
      }
    }
    return sums;
  }
}

// The logarithm of how many, from the faintest to the strongest; the colour is the mean of theirs.
function shade(sums, pixels) {
  let most = 0;
  for (let k = 3; k < sums.length; k += 4) if (sums[k] > most) most = sums[k];
  const scale = (STRONGEST - FAINTEST) / Math.max(Math.log1p(most) - Math.LN2, 1e-6);
  for (let k = 0; k < sums.length; k += 4) {
    const weight = sums[k + 3];
    if (!weight) continue;
    pixels[k] = sums[k] / weight; pixels[k + 1] = sums[k + 1] / weight; pixels[k + 2] = sums[k + 2] / weight;
    pixels[k + 3] = 255 * (weight < 1 ? FAINTEST * weight : FAINTEST + scale * (Math.log1p(weight) - Math.LN2));
  }
}

// Red, green, blue and opacity of every colour: Float32Array [code, 4].
function inks(palette) {
  const part = (colour, at) => parseInt(colour.slice(at, at + 2), 16);
  return Float32Array.from(palette.flatMap((colour) => [part(colour, 1), part(colour, 3), part(colour, 5), colour.length > 7 ? part(colour, 7) / 255 : 1]));
}

// For every point a number below CHANCES that has nothing to do with their order (Knuth's multiplicative hash, bits mixed).
function chances(points) {
  const found = new Uint16Array(points.length);
  for (let k = 0; k < points.length; k++) {
    const mixed = Math.imul(points[k] ^ (points[k] >>> 15), 2654435761);
    found[k] = Math.imul(mixed ^ (mixed >>> 13), 3266489917) >>> 16;
  }
  return found;
}
