// An image's own pattern against its class's: every unit's deviation in standard deviations of the class, the oddest named.
import { manifest, images, json, numbers, make, count, several, percent, classColour } from "./data.js";
import { diverging } from "./colouring.js";
import { SPLIT_NUMBER } from "./layers.js";
import { page } from "./page.js";
import { Section } from "./section.js";

const MOST = 4; // standard deviations at the ends of the colours
const BEYOND = 2; // standard deviations from which on a unit counts as unusual: 5 % are, of a normal distribution
const ROUNDING = 2 ** -10; // of a value: vectors may be stored in half precision, the class's mean is not
const LISTED = 8;
const FEWEST = 2; // images of a class: of one there is no deviation

// Deviation of each unit in standard deviations of its class. A unit that never varies in the class deviates by nothing
// where the value is the class's own, up to rounding, and else without bound.
export function deviations(vector, { mean, std }) {
  return Float64Array.from(vector, (value, unit) => {
    if (mean[unit] === null || std[unit] === null || Number.isNaN(value)) return NaN; // not finite in some image of the class
    const off = value - mean[unit];
    if (std[unit] > 0) return off / std[unit];
    return Math.abs(off) <= ROUNDING * Math.abs(mean[unit]) ? 0 : Math.sign(off) * Infinity;
  });
}

// The units by how far they deviate, the farthest first; of those without bound the largest difference first.
export function farthest(z, vector, { mean }) {
  const off = (unit) => Math.abs(vector[unit] - mean[unit]);
  const known = Array.from(z.keys()).filter((unit) => !Number.isNaN(z[unit])), size = (unit) => Math.abs(z[unit]);
  return known.sort((a, b) => (size(a) === size(b) ? off(b) - off(a) || a - b : size(b) > size(a) ? 1 : -1));
}

export class Deviation {
  // `of`: space, row (null for a new image), label and predicted (codes of classes, or -1), vectors (of a new image, by key)
  constructor(of) {
    Object.assign(this, of);
    this.layers = manifest.layers.filter(({ statistics, network, activations }) => statistics && network === this.space.network && (this.row !== null || activations in (this.vectors ?? {})));
    this.layer = this.layers.find(({ activations }) => activations === this.space.activations && this.space.layers.length === 1)
      ?? this.layers.filter(({ layer }) => this.space.layers.includes(layer)).pop();
    this.listed = LISTED;
    this.choice = make("select", { "aria-label": "Layer of the units" }, ...this.layers.map(({ layer, activations }) => make("option", { value: activations, selected: activations === this.layer?.activations }, layer)));
    this.choice.onchange = () => { this.layer = this.layers.find(({ activations }) => activations === this.choice.value); this.fill(); };
    this.section = new Section("units", "Unusual units", { skeleton: 330, fill: () => this.fill(), tools: this.layers.length > 1 ? [this.choice] : [] });
  }

  get element() { return this.section.element; }
  get classes() { return [...new Set([this.label, this.predicted])].filter((code) => code >= 0 && code < images.labels.length); }

  async fill() {
    const { section, layer } = this, turn = (this.turn = (this.turn ?? 0) + 1);
    if (!this.classes.length) { section.say("This image has neither a label nor a prediction that is a class, so there is no class to compare it with."); return; }
    if (!layer) { section.say("No statistics of the same functional were kept for this layer, so there is no class pattern to compare with."); return; }
    let found;
    try { found = await this.fetch(layer); } catch { if (turn === this.turn) section.say("The units of this image cannot be had here."); return; }
    if (turn !== this.turn) return;
    [this.vector, this.sides] = found;
    this.chosen = this.sides.find(({ count }) => count >= FEWEST) ?? null;
    this.show();
  }

  async fetch(layer) {
    const split = SPLIT_NUMBER[page.state.split];
    const own = this.row === null ? Float32Array.from(this.vectors[layer.activations]) : numbers(`vector/${layer.activations}/${this.row}.bin`, Float32Array).then((whole) => this.point(whole, layer));
    const sides = this.classes.map(async (code) => ({ code, ...await json(`moments/${layer.statistics}/${split}/${code}.json`) }));
    const [vector, ...told] = await Promise.all([own, ...sides]);
    return [vector, told.map((side) => ({ ...side, z: side.count >= FEWEST ? deviations(vector, side) : null }))];
  }

  // Of several positions of the image the clicked one, in the layer shown; else the first.
  point(whole, layer) {
    this.points = whole.length / layer.units;
    this.place = layer.activations === page.state.space.activations && this.points > 1 ? Math.max(0, page.map.pointsOf(this.row).indexOf(page.state.point)) : 0;
    return whole.subarray(this.place * layer.units, (this.place + 1) * layer.units);
  }

  show() {
    const few = this.sides.filter(({ count }) => count < FEWEST);
    const pictures = make("div", { class: "fingerprints" }, ...this.sides.filter(({ z }) => z).map((side) => this.picture(side)));
    this.list = make("div", { class: "odd-units", id: "odd-units", role: "list", "aria-label": "Units that deviate most" });
    this.more = make("button", { type: "button", class: "text-button", onclick: () => { this.listed *= 3; this.units(); } }, "Show more");
    this.section.show(...few.map(({ label, count: n }) => make("p", { class: "note" }, `${label} has ${several(n, "image")} here that ${n === 1 ? "counts" : "count"}: too few to compare with.`)),
      pictures, this.chosen ? this.scale() : null, this.chosen ? this.list : null, this.chosen ? this.more : null);
    if (this.chosen) this.units();
  }

  // One class's picture: each unit a cell, its colour the deviation; a click on the name lists this class's units.
  picture(side) {
    const canvas = make("canvas", { role: "img", "aria-label": `Deviation of ${several(side.z.length, "unit")} from ${side.label}` });
    const beyond = side.z.reduce((sum, z) => sum + (Math.abs(z) > BEYOND), 0), title = this.title(side);
    const choose = make("button", { type: "button", class: "against", "aria-pressed": String(side === this.chosen), style: { "--c": classColour(side.code) }, title: `List the units that deviate most from ${side.label}`,
      onclick: () => { this.chosen = side; this.listed = LISTED; this.show(); } }, make("b", {}, side.label), make("em", {}, `${title} · ${percent(beyond / side.z.length)} beyond ${BEYOND} σ`));
    requestAnimationFrame(() => paint(canvas, side.z));
    canvas.onpointermove = (event) => hint(canvas, side, this.vector, event);
    canvas.onclick = (event) => { const unit = unitAt(canvas, side.z.length, event); if (unit !== null) this.open(unit); };
    return make("div", { class: "fingerprint" }, choose, canvas);
  }

  title({ code }) { return [code === this.label ? "its label" : null, code === this.predicted ? "the prediction" : null].filter(Boolean).join(" and "); }

  scale() {
    const palette = diverging(17);
    const { layer, chosen } = this;
    return make("div", { class: "deviation-scale" }, make("span", {}, `−${MOST} σ`), make("i", { style: { background: `linear-gradient(90deg, ${palette.join(",")})` } }), make("span", {}, `+${MOST} σ`),
      make("p", { class: "note" }, `${this.points > 1 ? `Position ${this.place + 1} of ${this.points}, ` : ""}${layer.layer} (${layer.functional}) against ${chosen.title.includes("correctly") ? "the " : ""}${count(chosen.count)} ${over(chosen.title)} of ${chosen.label}; σ is their standard deviation.`));
  }

  units() {
    const { z, mean, std } = this.chosen, order = farthest(z, this.vector, this.chosen).slice(0, this.listed);
    this.list.replaceChildren(...order.map((unit) => this.line(unit, this.vector[unit], mean[unit], std[unit], z[unit])));
    this.more.hidden = this.listed >= z.length;
  }

  line(unit, value, mean, std, z) {
    const { layer } = this, share = Math.min(1, Math.abs(z) / (2 * MOST));
    const words = `${figure(value)}, where ${this.chosen.label} has ${figure(mean)} ± ${figure(std)}`;
    return make("div", { role: "listitem", class: "odd-unit", "data-unit": unit },
      make("button", { type: "button", class: "unit-name", title: `Unit ${unit} of ${layer.layer}: ${words}`, onclick: () => this.open(unit) }, `unit ${unit}`),
      make("span", { class: "odd-bar", "aria-hidden": "true" }, make("i", { class: z < 0 ? "under" : "over", style: { "--share": `${50 * share}%` } })),
      make("span", { class: "odd-figures" }, make("b", {}, figure(value)), ` · ${spread(mean, std)}`),
      make("em", { title: Number.isFinite(z) ? "" : "This unit never varies in the class" }, sigmas(z)),
      make("button", { type: "button", class: "paint", "aria-label": `Colour the map by unit ${unit}`, title: `Colour the map by unit ${unit}`, onclick: () => page.does.colour?.(`unit:${layer.id}:${unit}`) }, drop()));
  }

  open(unit) { page.does.unit?.(this.layer.id, unit); }

  // The palette follows the page's theme.
  repaint() { if (this.sides && this.element.isConnected) this.show(); }
}

// Over which images the class's moments were taken, out of the patterns' own title.
const over = (title) => (title.includes("correctly classified") ? `correctly classified${/ (train|held-out|unknown) /.exec(title)?.[0] ?? " "}images` : "images");
function figure(value, digits = 3) {
  if (value === null || Number.isNaN(value)) return "none";
  const size = Math.abs(value);
  return size >= 1e4 || (size > 0 && size < 1e-4) ? value.toExponential(1) : String(Number(value.toPrecision(digits))).replace("-", "−");
}
// A mean with its deviation, both to the deviation's second digit.
function spread(mean, std) {
  if (!(std > 0)) return `${figure(mean)} ± ${figure(std)}`;
  const places = Math.max(0, Math.min(4, 1 - Math.floor(Math.log10(std))));
  return `${mean.toFixed(places).replace(/^-(0\.?0*)$/, "$1").replace("-", "−")} ± ${std.toFixed(places)}`;
}

// A drop of paint.
function drop() {
  const SVG = "http://www.w3.org/2000/svg", made = document.createElementNS(SVG, "svg"), line = document.createElementNS(SVG, "path");
  made.setAttribute("viewBox", "0 0 24 24");
  made.setAttribute("aria-hidden", "true");
  line.setAttribute("d", "M12 3.500c3.500 4.200 6 7 6 10.200a6 6 0 01-12 0c0-3.200 2.500-6 6-10.200z");
  made.append(line);
  return made;
}

const sigmas = (z) => `${z < 0 ? "−" : "+"}${Number.isFinite(z) ? (Math.abs(z) >= 100 ? Math.abs(z).toFixed(0) : Math.abs(z).toFixed(1)) : "∞"} σ`;

// Cells per line: four times as wide as tall, no cell larger than sixteen pixels.
const columnsOf = (units, width) => Math.min(units, Math.max(Math.ceil(Math.sqrt(4 * units)), Math.ceil(width / 16)));

function paint(canvas, z) {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth || 150, columns = columnsOf(z.length, width), lines = Math.ceil(z.length / columns), cell = width / columns;
  canvas.style.height = `${Math.round(lines * cell)}px`;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(lines * cell * ratio);
  const palette = diverging(255), context = canvas.getContext("2d"), gap = cell * ratio > 5 ? 1 : 0;
  const edge = (k) => Math.round(k * cell * ratio);
  z.forEach((value, unit) => {
    if (Number.isNaN(value)) return;
    const column = unit % columns, line = Math.floor(unit / columns);
    context.fillStyle = palette[Math.round(127 + 127 * Math.max(-1, Math.min(1, value / MOST)))];
    context.fillRect(edge(column), edge(line), Math.max(1, edge(column + 1) - edge(column) - gap), Math.max(1, edge(line + 1) - edge(line) - gap));
  });
}

function unitAt(canvas, units, event) {
  const { left, top, width } = canvas.getBoundingClientRect(), columns = columnsOf(units, width), cell = width / columns;
  const unit = Math.floor((event.clientY - top) / cell) * columns + Math.floor((event.clientX - left) / cell);
  return unit >= 0 && unit < units ? unit : null;
}

function hint(canvas, side, vector, event) {
  const unit = unitAt(canvas, side.z.length, event);
  canvas.title = unit === null ? "" : `unit ${unit}: ${figure(vector[unit])}, ${side.label} ${figure(side.mean[unit])} ± ${figure(side.std[unit])}, ${sigmas(side.z[unit])}`;
}
