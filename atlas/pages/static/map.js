// The map: which points are drawn, in which colours, and what is under the pointer. Bokeh draws; this decides.
import { images, tables, column, numbers, SPLITS } from "./data.js";
import { colouring as colouringOf, loadShares } from "./colouring.js";
import { move, places } from "./moving.js";

import { Crowd } from "./crowd.js";
import { extentOf, regionOf, combined, rowsOf } from "./region.js";

export const SO_FEW = 200; // points on the whole map below which thumbnails are drawn without zooming in, as in explorer.py
const TRAIN = 0;
const FAINT = "66"; // the alpha of training images beside held-out ones, as in explorer.py
export const OWN = 3; // pixels of a ring around a point of the open image
const TIGHT = 0.14, ROOMY = 0.26; // of the map's extent left free around it: what is written over it, and thumbnails beyond their points, need room
// Points that Bokeh draws, all of them; of more it draws a sample over their density (crowd.js).
const MOST = { webgl: 200_000, canvas: 50_000 }, SAMPLE = { webgl: 50_000, canvas: 15_000 };
const REMEMBERED = 20; // selections that can be gone back to
const SIZES = [[200, 10], [3000, 7], [12000, 5.5], [30000, 4.5], [80000, 3.5], [Infinity, 2.5]]; // points at most, their size in pixels
const USUAL = 560; // pixels of a map's shorter side at which those sizes hold

// An image graph's own layout has no place for a point that is no node of it: in these lists it has the code ABSENT.
const ABSENT = 65535;
export const absences = (layout) => (layout.graph ? numbers(`graph/${layout.key}/lists.bin`, Uint16Array) : null);
export const placed = ({ lists }, point) => !lists || lists[point] !== ABSENT;

// The columns of a layer's points in one layout; a page asks for them before Bokeh is there to draw them.
export async function loadPoints(space, layout) {
  const [xy, rows, lists] = await Promise.all([column(layout.key, "xy", Uint16Array), space.identity ? null : column(space.activations, "image", Int32Array), absences(layout)]);
  return { space, layout, rows, xy, lists, count: space.points };
}

export class AtlasMap {
  constructor(bokeh, framed) {
    this.framed = framed; // the layout that the ranges fit
    const model = (name) => bokeh.get_model_by_name(name);
    this.plot = model("map");
    this.points = model("points");
    this.rings = model("rings");
    this.corners = model("corners");
    this.mapper = model("mapper");
    this.dots = model("dots");
    this.ringDots = model("ring_dots");
    this.tools = { pan: model("pan"), lasso: model("lasso"), box: model("box") };
    this.i = this.points.data.i; // number of the point at each place of the source
    this.size = null; // chosen by the user; else by how many points there are
    this.chosen = null; // Uint8Array per image row, or null; each selection is a new one
    this.past = []; // those before it, the last at the end
    this.reach = 10; // pixels from a point within which the pointer means it
    this.quiet = false; // our own writing of the selection, not the user's
    this.turn = 0;
    this.onselect = () => {};
    this.shown = 0; // points on the map, drawn one by one or as density
    this.backend = this.plot.output_backend === "canvas" ? "canvas" : "webgl";
    this.crowd = new Crowd(this, SAMPLE[this.backend]);
    this.points.selected.properties.indices.change.connect(() => { if (!this.quiet) this.gather(); });
  }

  // -- what there is ------------------------------------------------------------------------------------------------------

  rowOf(point) { return this.now && this.now.rows ? this.now.rows[point] : point; }

  pointOf(row) {
    if (!this.now || !this.now.rows) return row;
    const found = this.now.rows.indexOf(row);
    return found < 0 ? null : found;
  }

  // Every point of an image: one, or its sampled positions.
  pointsOf(row) {
    if (!this.now || !this.now.rows) return [row];
    const found = [];
    this.now.rows.forEach((other, point) => { if (other === row) found.push(point); });
    return found;
  }

  place(point) { return [this.now.xy[point], this.now.xy[this.now.count + point]]; }

  // -- drawing ------------------------------------------------------------------------------------------------------------

  // Draw the points of a state; returns how many are drawn and, of every category, how many the split holds.
  async draw(state) {
    const turn = ++this.turn;
    const [now, shares] = await Promise.all([loadPoints(state.space, state.layout), loadShares(state.space, state.layout, state.colour)]);
    if (turn !== this.turn) return null; // a later wish overtook this one
    const were = places(this, now);
    this.now = now;
    const colouring = colouringOf(state.space, state.colour, shares);
    this.colourOf = (point) => colouring.palette[colouring.codes[colouring.ofPoints ? point : this.rowOf(point)]];
    const { points, counts, inSplit } = this.shownOf(state, colouring);
    this.write(points, colouring, state.split === "all" && images.switch);
    if (this.framed !== now.layout.key) this.fit();
    this.showChosen();
    await move(this, were);
    if (turn !== this.turn) return null;
    return { shown: points.length, counts, colouring, inSplit };
  }

  shownOf(state, { codes, names }) {
    const wanted = SPLITS.indexOf(state.split), counts = new Uint32Array(names ? names.length : 0), { split } = tables, { kept, hidden } = state;
    const { rows, count } = this.now, first = new Int32Array(count), last = new Int32Array(count);
    let inSplit = 0, faint = 0, strong = 0;
    for (let point = 0; point < count; point++) {
      const row = rows ? rows[point] : point;
      if (wanted >= 0 && split[row] !== wanted) continue;
      if ((kept && !kept[row]) || !placed(this.now, point)) continue; // filtered away, or no node of the graph
      inSplit++;
      if (names) {
        counts[codes[row]]++;
        if (hidden.size && hidden.has(codes[row])) continue;
      }
      if (split[row] === TRAIN) first[faint++] = point; else last[strong++] = point; // training images lie under the others
    }
    const points = new Int32Array(faint + strong);
    points.set(first.subarray(0, faint)); points.set(last.subarray(0, strong), faint);
    return { points, counts, inSplit };
  }

  write(points, { codes, palette, ofPoints }, faint) {
    const n = points.length, x = new Uint16Array(n), y = new Uint16Array(n), c = new Uint16Array(n), { xy, count } = this.now;
    for (let k = 0; k < n; k++) {
      const point = points[k], row = this.rowOf(point);
      x[k] = xy[point]; y[k] = xy[count + point];
      c[k] = codes[ofPoints ? point : row] + (faint && tables.split[row] === TRAIN ? palette.length : 0);
    }
    const both = [...palette, ...palette.map((colour) => colour + FAINT)];
    this.shown = n;
    this.empty(); // each change of a glyph goes through all points that there are
    this.setSize(this.size);
    this.mapper.setv({ palette: both, low: -0.5, high: both.length - 0.5 });
    const columns = { x, y, i: points, c };
    if (n > MOST[this.backend]) this.crowd.fill(columns, both); else { this.crowd.empty(); this.draws(columns); }
  }

  empty() {
    this.select([]);
    if (this.i.length) this.points.data = { x: new Uint16Array(0), y: new Uint16Array(0), i: this.i = new Int32Array(0), c: new Uint16Array(0) };
  }

  // What Bokeh draws point by point: all that is shown, or a sample of it.
  draws(columns) {
    this.select([]);
    this.i = columns.i;
    this.points.data = columns;
    this.lightDrawn();
  }

  // Fit the ranges to another layout; Python has fitted those of the first.
  fit() {
    const [x0, x1, y0, y1] = extentOf(this.now);
    for (const range of [this.plot.x_range, this.plot.y_range]) range.range_padding = this.shown < SO_FEW ? ROOMY : TIGHT;
    this.corners.data = { x: [x0, x1], y: [y0, y1] };
    this.framed = this.now.layout.key;
    this.whole();
  }

  whole() {
    this.quiet = true; // Bokeh's reset forgets the selection, which is not what was asked for
    this.plot.x_range.reset(); this.plot.y_range.reset(); this.plot.reset.emit();
    this.lightDrawn();
  }

  zoom(factor) {
    const scaled = ({ start, end }) => [(start + end) / 2 - ((end - start) / 2) * factor, (start + end) / 2 + ((end - start) / 2) * factor];
    this.look(scaled(this.plot.x_range), scaled(this.plot.y_range));
  }

  look([x0, x1], [y0, y1]) {
    const { x_range, y_range } = this.plot;
    for (const range of [x_range, y_range]) range.have_updated_interactively = true; // else the range fits the whole map again
    x_range.setv({ start: x0, end: x1 });
    y_range.setv({ start: y0, end: y1 });
  }

  // Points grow with a large map, which leaves more room between them; in the steps of the slider.
  sizeFor(n) {
    const { inner_width, inner_height } = this.plot, room = Math.sqrt(Math.min(inner_width, inner_height) / USUAL);
    return Math.round(2 * SIZES.find(([most]) => n <= most)[1] * Math.max(1, Math.min(1.5, room))) / 2;
  }

  setSize(size) {
    this.size = size;
    const wanted = size ?? this.sizeFor(this.shown);
    for (const glyph of [this.dots.glyph, this.dots.selection_glyph, this.dots.nonselection_glyph]) glyph.size = { value: wanted };
    return wanted;
  }

  setOpacity(alpha) {
    if (alpha === this.alpha) return; // each setting paints the map anew
    this.alpha = alpha;
    for (const glyph of [this.dots.glyph, this.dots.selection_glyph]) glyph.fill_alpha = { value: alpha };
    this.dots.nonselection_glyph.fill_alpha = { value: alpha * 0.12 };
  }

  // -- selection: always a set of images ------------------------------------------------------------------------------------

  // Bokeh's own selecting (a reset, a script): what it has lit, as images.
  gather() {
    const { indices } = this.points.selected;
    this.settle(combined(null, indices.map((index) => this.rowOf(this.i[index])), "replace", images.count));
  }

  // The images of the drawn points inside a lasso or a box: instead of what was selected, with it, or out of it.
  sweep(geometry, how) { this.choose(this.rowsIn(regionOf(geometry)), how); }

  rowsIn(region) {
    if (this.crowd.grid) return this.crowd.rowsIn(region);
    const { x0, x1, y0, y1, holds } = region, { x, y } = this.points.data, rows = new Uint32Array(x.length);
    let n = 0;
    for (let k = 0; k < x.length; k++) {
      if (x[k] >= x0 && x[k] <= x1 && y[k] >= y0 && y[k] <= y1 && (holds === null || holds(x[k], y[k]))) rows[n++] = this.rowOf(this.i[k]);
    }
    return rows.subarray(0, n);
  }

  // Select images by row, whatever is drawn of them; `how` is replace, add or remove.
  choose(rows, how = "replace") { this.settle(combined(this.chosen, rows, how, images.count)); }

  clear() { this.settle(null); }

  settle(chosen) {
    this.past.push(this.chosen);
    if (this.past.length > REMEMBERED) this.past.shift();
    this.light(chosen);
  }

  // Go back to what was selected before; false where nothing was.
  undo() {
    if (!this.past.length) return false;
    this.light(this.past.pop());
    return true;
  }

  light(chosen) {
    this.chosen = chosen;
    this.showChosen();
    this.onselect();
  }

  showChosen() {
    this.crowd.light(this.chosen);
    this.lightDrawn();
  }

  lightDrawn() {
    const indices = [], { chosen, i, now } = this;
    if (chosen) for (let k = 0; k < i.length; k++) if (chosen[now.rows ? now.rows[i[k]] : i[k]]) indices.push(k);
    this.select(indices.length === i.length ? [] : indices); // all lit look as when nothing is chosen: nothing is painted anew
  }

  select(indices) {
    this.quiet = true;
    this.points.selected.indices = indices;
    this.quiet = false;
  }

  // How many of the selected images are not on the map as it is filtered.
  away() {
    if (!this.chosen) return 0;
    const left = this.chosen.slice(), all = this.crowd.all?.i ?? this.i;
    for (let k = 0; k < all.length; k++) left[this.rowOf(all[k])] = 0;
    return left.reduce((sum, one) => sum + one, 0);
  }

  chosenRows() { return rowsOf(this.chosen); }

  view() {
    const { x_range: a, y_range: b } = this.plot;
    return { x0: a.start, x1: a.end, y0: b.start, y1: b.end };
  }

  // Where the page’s unit lies on a canvas of that size over the plot, which stands in its middle, a pixel smaller on each side.
  frame(width, height) {
    const { x_range, y_range, inner_width, inner_height } = this.plot;
    return { view: this.view(), left: (width - inner_width) / 2, low: (height + inner_height) / 2,
      unit: (x_range.end - x_range.start) / inner_width, upward: (y_range.end - y_range.start) / inner_height };
  }

  // Hear of every change of what is looked at.
  moves(listener) {
    for (const { properties } of [this.plot.x_range, this.plot.y_range]) for (const end of [properties.start, properties.end]) end.change.connect(listener);
  }

  // The points in view, drawn one by one or as density: their places in `x` and `y`, and what point each is.
  inView() {
    if (this.crowd.grid) return this.crowd.seen();
    const { x, y } = this.points.data, { x0, x1, y0, y1 } = this.view(), places = new Int32Array(x.length);
    let n = 0;
    for (let k = 0; k < x.length; k++) if (x[k] >= x0 && x[k] <= x1 && y[k] >= y0 && y[k] <= y1) places[n++] = k;
    return { count: n, places: places.subarray(0, n), x, y, point: (k) => this.i[k] };
  }

  // The points that split, filters and legend leave, each drawn by itself or as density.
  get drawn() { return this.crowd.grid ? this.crowd.all.i : this.i; }

  // -- pointing -------------------------------------------------------------------------------------------------------------

  // The drawn point nearest to a place of the map, if it lies within `reach` pixels.
  at(x, y, reach = this.reach) {
    const { x_range, inner_width } = this.plot, unit = (x_range.end - x_range.start) / inner_width;
    if (this.crowd.grid) return this.crowd.at(x, y, reach * unit);
    const { x: xs, y: ys } = this.points.data;
    let best = null, least = (reach * unit) ** 2;
    for (let k = 0; k < xs.length; k++) {
      const distance = (xs[k] - x) ** 2 + (ys[k] - y) ** 2;
      if (distance <= least) { least = distance; best = this.i[k]; }
    }
    return best;
  }

  // Ring a point, the other points of its image, and its neighbours; only points of this layer can be ringed.
  mark(point, own, others) {
    const kinds = [[point, 20, OWN], ...own.map((p) => [p, 15, OWN]), ...others.map((p) => [p, 11, 1.6])].filter(([p]) => p !== null && p < this.now.count && placed(this.now, p));
    const at = kinds.map(([p]) => this.place(p));
    this.marked = new Map(kinds.map(([p, , width]) => [p, width]).reverse()); // what the thumbnails frame
    this.rings.data = { x: at.map(([x]) => x), y: at.map(([, y]) => y), size: kinds.map(([, size]) => size), width: kinds.map(([, , width]) => width) };
  }

  theme(dark) { this.ringDots.glyph.line_color = { value: dark ? "#ffffff" : "#10141b" }; }
}
