// The map: which points are drawn, in which colours, and what is under the pointer. Bokeh draws; this decides.
import { manifest, images, tables, column, SPLITS, classColour, labelOf, predictionOf, confidenceOf, loadShares } from "./data.js";

export const SO_FEW = 200; // points on the whole map below which thumbnails are drawn without zooming in, as in explorer.py
const TRAIN = 0;
const FAINT = "66"; // the alpha of training images beside held-out ones, as in explorer.py
export const OWN = 3; // pixels of a ring around a point of the open image
const TIGHT = 0.04, ROOMY = 0.26; // of the map's extent left free around it; thumbnails reach beyond their points
const AMOUNT = ["confidence", "faithfulness", "suspicion"]; // what has an amount, not a name
const AMOUNTS = 64; // steps of a continuous colour
const SIZES = [[200, 10], [3000, 7], [12000, 5.5], [30000, 4.5], [80000, 3.5], [Infinity, 2.5]]; // points at most, their size in pixels

export class AtlasMap {
  constructor(bokeh) {
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
    this.chosen = null; // Uint8Array per image row, or null
    this.reach = 10; // pixels from a point within which the pointer means it
    this.quiet = false; // our own writing of the selection, not the user's
    this.turn = 0;
    this.onselect = () => {};
    this.points.selected.properties.indices.change.connect(() => { if (!this.quiet) this.gather(); });
  }

  // -- what there is ------------------------------------------------------------------------------------------------------

  async load(space, layout) {
    const [xy, rows] = await Promise.all([
      column(layout.key, "xy", Uint16Array), space.identity ? null : column(space.activations, "image", Int32Array)]);
    return { space, layout, rows, xy, count: space.points };
  }

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

  // -- colours ------------------------------------------------------------------------------------------------------------

  // Names, colours, and the code of every image row, for one way to colour.
  colouring(space, by, shares) {
    const { colours } = manifest, length = images.count;
    const codes = new Uint16Array(length), table = tables.predictions[space.predictions];
    if (AMOUNT.includes(by)) {
      const palette = [...ramp(colours.amount, AMOUNTS), colours.none];
      const amounts = (values) => Uint16Array.from(values, (code) => {
        const share = confidenceOf(code);
        return share === null ? AMOUNTS : Math.min(AMOUNTS - 1, Math.floor(share * AMOUNTS));
      });
      if (by === "faithfulness") return { codes: shares ? amounts(shares) : new Uint16Array(space.points).fill(AMOUNTS), palette, names: null, ofPoints: true };
      return { codes: amounts(by === "confidence" ? table.confidence : shares), palette, names: null };
    }
    const kinds = {
      class: { names: [...images.labels, "unlabelled"], read: (row) => tables.label[row] },
      prediction: { names: [...(manifest.predictions[space.predictions]?.names ?? []), "no prediction"], read: (row) => table.prediction[row] },
      right: { names: ["right", "wrong", "undefined"], read: (row) => [-1, 1, 0][table.right[row] + 1], palette: [colours.right, colours.wrong] },
      split: { names: images.told ? SPLITS : ["", "", "all images"], read: (row) => tables.split[row], palette: colours.split },
    };
    const { names, read, palette } = kinds[by], none = names.length - 1;
    for (let row = 0; row < length; row++) { const code = read(row); codes[row] = code < 0 ? none : code; }
    const own = palette ?? names.map((_, code) => classColour(code));
    return { codes, names, palette: names.map((_, code) => (code === none ? colours.none : own[code])) };
  }

  // -- drawing ------------------------------------------------------------------------------------------------------------

  // Draw the points of a state; returns how many are drawn and, of every category, how many the split holds.
  async draw(state) {
    const turn = ++this.turn;
    const [now, shares] = await Promise.all([this.load(state.space, state.layout), loadShares(state.space, state.layout, state.colour)]);
    if (turn !== this.turn) return null; // a later wish overtook this one
    const before = this.now;
    this.now = now;
    const colouring = this.colouring(state.space, state.colour, shares);
    this.colourOf = (point) => colouring.palette[colouring.codes[colouring.ofPoints ? point : this.rowOf(point)]];
    const { points, counts, inSplit } = this.choose(state, colouring);
    this.write(points, colouring, state.split === "all" && images.switch);
    if (!before || before.layout.key !== now.layout.key) this.frame(Boolean(before));
    this.showChosen();
    return { shown: points.length, counts, colouring, inSplit };
  }

  choose(state, { codes, names }) {
    const wanted = SPLITS.indexOf(state.split), counts = new Uint32Array(names ? names.length : 0);
    const first = [], last = [];
    let inSplit = 0;
    for (let point = 0; point < this.now.count; point++) {
      const row = this.rowOf(point), split = tables.split[row];
      if (wanted >= 0 && split !== wanted) continue;
      inSplit++;
      if (names) {
        counts[codes[row]]++;
        if (state.hidden.has(codes[row])) continue;
      }
      (split === TRAIN ? first : last).push(point); // training images lie under the others
    }
    return { points: Int32Array.from(first.concat(last)), counts, inSplit };
  }

  write(points, { codes, palette, ofPoints }, faint) {
    const n = points.length, x = new Uint16Array(n), y = new Uint16Array(n), c = new Uint16Array(n);
    for (let k = 0; k < n; k++) {
      const row = this.rowOf(points[k]);
      [x[k], y[k]] = this.place(points[k]);
      c[k] = codes[ofPoints ? points[k] : row] + (faint && tables.split[row] === TRAIN ? palette.length : 0);
    }
    const both = [...palette, ...palette.map((colour) => colour + FAINT)];
    this.select([]);
    this.mapper.setv({ palette: both, low: -0.5, high: both.length - 0.5 });
    this.i = points;
    this.points.data = { x, y, i: points, c };
    this.setSize(this.size);
  }

  frame(anew) {
    const { xy, count } = this.now;
    let [x0, x1, y0, y1] = [65535, 0, 65535, 0];
    for (let p = 0; p < count; p++) {
      x0 = Math.min(x0, xy[p]); x1 = Math.max(x1, xy[p]);
      y0 = Math.min(y0, xy[count + p]); y1 = Math.max(y1, xy[count + p]);
    }
    if (!anew) return; // Python has set the first
    for (const range of [this.plot.x_range, this.plot.y_range]) range.range_padding = this.i.length < SO_FEW ? ROOMY : TIGHT;
    this.corners.data = { x: [x0, x1], y: [y0, y1] };
    this.whole();
  }

  whole() { this.plot.x_range.reset(); this.plot.y_range.reset(); this.plot.reset.emit(); }

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

  sizeFor(n) { return SIZES.find(([most]) => n <= most)[1]; }

  setSize(size) {
    this.size = size;
    const wanted = size ?? this.sizeFor(this.i.length);
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

  gather() {
    const indices = this.points.selected.indices;
    this.chosen = null;
    if (indices.length) {
      this.chosen = new Uint8Array(images.count);
      for (const index of indices) this.chosen[this.rowOf(this.i[index])] = 1;
      if (this.now.rows) this.showChosen(); // an image lights all its points
    }
    this.onselect();
  }

  showChosen() {
    const indices = [];
    if (this.chosen) for (let k = 0; k < this.i.length; k++) if (this.chosen[this.rowOf(this.i[k])]) indices.push(k);
    this.select(indices);
    return indices.length;
  }

  select(indices) {
    this.quiet = true;
    this.points.selected.indices = indices;
    this.quiet = false;
  }

  clear() { this.chosen = null; this.select([]); this.onselect(); }

  chosenRows() {
    const rows = [];
    if (this.chosen) for (let row = 0; row < this.chosen.length; row++) if (this.chosen[row]) rows.push(row);
    return rows;
  }

  // -- pointing -------------------------------------------------------------------------------------------------------------

  // The drawn point nearest to a place of the map, if it lies within `reach` pixels.
  at(x, y, reach = this.reach) {
    const { x_range, inner_width } = this.plot, unit = (x_range.end - x_range.start) / inner_width;
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
    const kinds = [[point, 20, OWN], ...own.map((p) => [p, 15, OWN]), ...others.map((p) => [p, 11, 1.6])].filter(([p]) => p !== null && p < this.now.count);
    const at = kinds.map(([p]) => this.place(p));
    this.marked = new Map(kinds.map(([p, , width]) => [p, width]).reverse()); // what the thumbnails frame
    this.rings.data = { x: at.map(([x]) => x), y: at.map(([, y]) => y), size: kinds.map(([, size]) => size), width: kinds.map(([, , width]) => width) };
  }

  theme(dark) { this.ringDots.glyph.line_color = { value: dark ? "#ffffff" : "#10141b" }; }

  words(space, row) { return { label: labelOf(row), prediction: predictionOf(space, row), split: SPLITS[tables.split[row]] }; }
}

// `count` colours along a list of `#rrggbb` stops.
export function ramp(stops, count) {
  const channels = stops.map((stop) => [1, 3, 5].map((k) => parseInt(stop.slice(k, k + 2), 16)));
  return Array.from({ length: count }, (_, step) => {
    const at = (step / (count - 1)) * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2), share = at - low;
    const mixed = channels[low].map((value, k) => Math.round(value + (channels[low + 1][k] - value) * share));
    return `#${mixed.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
  });
}
