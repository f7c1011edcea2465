// The patterns tab: classes by units of a layer, one class across layers, two classes or a confusion beside each other.
import { manifest, images, tables, loadPredictions, json, numbers, make, segments, count, several } from "./data.js";
import { page, on, at } from "./page.js";
import { Heat, palette, signed, gradient, span, names, columnNames } from "./heat.js";
import { SPLIT_NUMBER, layers, layerOf, layerWords, networkOf, callOf, openedOf, choose, patternsOf, tableOf, figure } from "./layers.js";
import { confusions, judgedOf } from "./confusion.js";
import { contrast, falling, loudestOf, options, rowHeight, rowsOf, usesSelectivity } from "./orders.js";
import { open } from "./dock.js";

const FEW = 10; // images of a group below which its mean says little
const LISTED = 14; // units named below a difference
const LEAST_TALL = 64; // pixels of the view across layers; a column of more units shows the largest of those that share a pixel
const SLOW = 250; // milliseconds after which a wait is told
const FLAT = 20, TALL = 96; // pixels of a row of which there are three or four, at least and at most
const PAIRS = 200; // confusions offered in a list
const VIEWS = [["classes", "classes × units"], ["across", "a class across layers"], ["pair", "two classes"], ["taken", "a confusion"]];
const ORDERS = [["index", "by index"], ["class", "by class"], ["similar", "by similarity"], ["selective", "by selectivity"]];
const ROW_ORDERS = [["index", "rows by index"], ["similar", "rows by similarity"], ["name", "rows by name"]];

export function startPatterns() {
  const panel = new Patterns();
  for (const what of ["start", "split", "dock-layer", "tab"]) on(what, () => panel.again());
  on("space", () => { panel.choices(); panel.again(); }); // the network may be another
  on("theme", () => panel.draw());
  on("unit", () => panel.draw());
  page.does.compare = (a, b) => { page.does.tab("patterns"); panel.compare(a, b); };
}

export class Patterns {
  constructor() {
    Object.assign(this, { view: "classes", scaled: null, stat: "mean", order: "index", rowOrder: "index", across: "index", one: 0, other: 1, pair: null, turn: 0, held: null });
    this.heat = new Heat(at("pattern-canvas"), at("heat-said"));
    segments(at("pattern-stat"), [{ id: "mean", title: "mean" }, { id: "std", title: "std", hint: "standard deviation" }, { id: "contrast", title: "contrast", hint: "the class’s mean less the mean over classes" }],
      this.stat, (id) => { this.stat = id; this.again(); });
    for (const [id, field] of [["pattern-view", "view"], ["pattern-rows", "rowOrder"], ["pattern-scaled", "scaled"]]) at(id).onchange = (event) => { this[field] = event.target.value; this.controls(); this.again(); };
    at("pattern-order").onchange = (event) => { this[this.view === "across" ? "across" : "order"] = event.target.value; this.again(); };
    at("pattern-layer").onchange = (event) => choose(layerOf(event.target.value));
    at("pattern-one").onchange = (event) => { this.one = Number(event.target.value); this.again(); };
    at("pattern-other").onchange = (event) => { this.other = Number(event.target.value); this.again(); };
    at("pattern-pair").onchange = (event) => { this.pair = event.target.value; this.again(); };
    new ResizeObserver(() => this.draw()).observe(at("patterns-body"));
    this.choices();
    this.controls();
  }

  // -- what can be chosen --------------------------------------------------------------------------------------------------

  choices() {
    options(at("pattern-layer"), layers.map((layer) => [layer.key, [layerWords(layer), networkOf(layer)].filter(Boolean).join(" · ")]), page.layer?.key);
    const there = rowsOf(images.labels);
    if (!there.includes(this.one)) this.one = there[0];
    if (!there.includes(this.other) || this.other === this.one) this.other = there.find((code) => code !== this.one) ?? this.one;
    for (const [id, code] of [["pattern-one", this.one], ["pattern-other", this.other]]) options(at(id), there.map((k) => [String(k), images.labels[k]]), String(code));
    options(at("pattern-rows"), ROW_ORDERS, this.rowOrder);
    options(at("pattern-scaled"), [["own", "a scale for each layer"], ["one", "one scale"]], this.scaled ?? "own");
  }

  controls() {
    const { view } = this, judged = page.layer && judgedOf(page.layer), spread = this.set();
    const can = VIEWS.filter(([id]) => (id !== "across" || spread) && (id !== "pair" || rowsOf(images.labels).length > 1) && (id !== "taken" || judged));
    if (!can.some(([id]) => id === view)) { this.view = "classes"; this.controls(); return; }
    options(at("pattern-view"), can, view);
    const orders = { classes: ORDERS, across: [["index", "units by index"], ["value", "units by value"]], pair: [["difference", "by difference"], ...ORDERS], taken: [["difference", "by difference"], ...ORDERS] }[view];
    if (view !== "across" && !orders.some(([id]) => id === this.order)) this.order = "index";
    options(at("pattern-order"), orders, view === "across" ? this.across : this.order);
    at("pattern-stat").hidden = view === "pair" || view === "taken";
    at("pattern-rows").hidden = view !== "classes";
    at("pattern-scaled").hidden = view !== "across";
    at("pattern-one").hidden = view !== "across" && view !== "pair";
    at("pattern-other").hidden = view !== "pair";
    at("pattern-layer").hidden = view === "across" || layers.length < 2;
    at("pattern-pair").hidden = view !== "taken";
  }

  // The layers across which one class can be drawn: those of the chosen one's network and functional.
  set() { return page.layer && manifest.across.find(({ layers: keys }) => keys.includes(page.layer.key)); }

  compare(a, b) {
    Object.assign(this, { view: "taken", pair: `${a} ${b}`, order: "difference" });
    this.controls();
    this.again();
  }

  // -- what is shown -------------------------------------------------------------------------------------------------------

  async again() {
    if (!open("patterns") || !tables.label) return undefined;
    const turn = ++this.turn, layer = page.layer, { split } = page.state;
    if (!images.labels.length) return this.none("There are no class patterns here: the images carry no labels.");
    if (!layer) return this.none("No statistics were kept for this layer.");
    await loadPredictions(layer.predictions).catch(() => {}); // of another network than the map's; without them there are no confusions
    if (turn !== this.turn) return undefined;
    this.choices();
    this.controls();
    const slow = setTimeout(() => { if (turn === this.turn) this.waits(true); }, SLOW);
    try {
      const held = await this.read(layer, split), { choice } = this; // the list of confusions may have chosen one
      if (turn === this.turn) this.take({ ...held, choice });
    } catch {
      if (turn === this.turn) this.none(manifest.static ? "These patterns are not in this report: the explorer has them." : "The class patterns could not be fetched. Load the page again.", false);
    } finally { clearTimeout(slow); if (turn === this.turn) this.waits(false); }
    return undefined;
  }

  async read(layer, split) {
    if (this.view === "across") return this.readAcross(split);
    const held = await patternsOf(layer, split);
    held.layer = layer;
    held.contrast = contrast(held.mean, held);
    if (this.view !== "classes") Object.assign(held, await this.readPair(layer, split));
    const needs = [this.order, this.view === "classes" ? this.rowOrder : null];
    if (needs.includes("similar")) held.similar = await json(`order/${layer.key}/${SPLIT_NUMBER[split]}.json`);
    if (needs.includes("selective")) held.table = await tableOf(layer, split);
    return held;
  }

  async readPair(layer, split) {
    const pairs = this.view === "taken" ? confusions(layer.predictions, split).pairs.filter(({ other }) => other < images.labels.length) : [];
    if (this.view === "taken") this.pairs(pairs);
    if (this.view === "taken" && !this.pair) return { pair: null };
    const [a, b] = this.view === "taken" ? this.pair.split(" ").map(Number) : [this.one, this.other];
    return { pair: await json(`pair/${layer.key}/${SPLIT_NUMBER[split]}/${a}/${b}.json`), a, b };
  }

  pairs(found) {
    const listed = found.slice(0, PAIRS), known = new Set(listed.map(({ own, other }) => `${own} ${other}`));
    if (this.pair && !known.has(this.pair)) { const [own, other] = this.pair.split(" ").map(Number); listed.push(found.find((pair) => pair.own === own && pair.other === other) ?? { own, other, count: 0 }); }
    this.pair ??= listed.length ? `${listed[0].own} ${listed[0].other}` : null;
    options(at("pattern-pair"), listed.map(({ own, other, count: number }) => [`${own} ${other}`, `${images.labels[own]} taken for ${images.labels[other]} (${count(number)})`]), this.pair);
  }

  async readAcross(split) {
    const set = this.set(), parts = set.layers.map(layerOf);
    const values = await numbers(`across/${set.key}/${set.digest}/${SPLIT_NUMBER[split]}/${this.one}/${this.stat}.bin`, Float32Array);
    const told = await json(`patterns/${parts[0].key}/${SPLIT_NUMBER[split]}.json`);
    let from = 0;
    const columns = parts.map((layer) => { const own = values.subarray(from, from + layer.units); from += layer.units; return { layer, values: own }; });
    return { ...told, columns, values };
  }

  // What was chosen, by which it is known whether what is held answers it.
  get choice() { return [this.view, this.stat, this.order, this.rowOrder, this.one, this.other, this.pair].join(" "); }

  // What is drawn is of another choice until what is asked for has come: it stands back, and that is said.
  waits(is) {
    at("patterns").classList.toggle("waits", is);
    at("pattern-title").classList.toggle("busy", is);
    if (is) this.title(this.view === "across" ? `${several(this.set().layers.length, "layer")} are being read` : "The patterns are being read");
  }

  take(held) {
    this.held = held;
    this.title(this.words());
    at("patterns").classList.remove("bare");
    at("pattern-note").textContent = this.notes().filter(Boolean).join(" ");
    for (const id of ["patterns-body", "pattern-note"]) at(id).hidden = false;
    this.draw();
  }

  // Nothing to draw: why, in words. Where nothing can ever be, the controls go too and the dock is as high as its sentence.
  none(words, bare = true) {
    this.held = null;
    this.title(words);
    at("patterns").classList.toggle("bare", bare);
    for (const id of ["patterns-body", "pattern-note"]) at(id).hidden = true;
  }

  title(words) { at("pattern-title").textContent = words; at("pattern-title").title = words; }

  words() {
    const { held, view } = this;
    if (view === "across") return `${images.labels[this.one]}: ${several(held.columns.length, "layer")}, ${several(held.count[this.one], "image")}`;
    if (view === "classes") return held.title;
    return held.pair ? `${layerWords(held.layer)} · ${this.lines().map(({ name, number }) => (number === null ? null : `${name}: ${several(number, "image")}`)).filter(Boolean).join(" · ")}` : "No image is taken for another class here.";
  }

  notes() {
    const { held, view } = this;
    if (view === "across") return [new Set(held.columns.map(({ layer }) => layer.units)).size > 1 ? "The layers are of different widths: each is stretched to the height of the widest." : "",
      held.count[this.one] ? "" : "No image of this class is counted here."];
    if (view !== "classes") return this.pairNotes();
    const shown = rowsOf(held.labels), empty = shown.filter((k) => !held.count[k]).map((k) => held.labels[k]), absent = held.labels.length - shown.length;
    return [empty.length ? `No image of these classes is counted here: ${empty.slice(0, 8).join(", ")}${empty.length > 8 ? ` and ${empty.length - 8} more` : ""}.` : "",
      absent ? `${several(absent, "class")} of which this atlas has no image ${absent === 1 ? "is" : "are"} left out.` : "",
      this.order === "selective" && !usesSelectivity(held.table) ? "Some class means are negative, where selectivity is undefined: units stand by how far their class stands out, in standard deviations." : ""];
  }

  pairNotes() {
    if (!this.held.pair) return ["No image is taken for another class here."];
    const few = this.lines().filter(({ number }) => number !== null && number < FEW);
    return few.map(({ name, number }) => (number ? `${name}: only ${several(number, "image")}, so these means may be chance.` : `${name}: no image here.`));
  }

  // -- drawing -------------------------------------------------------------------------------------------------------------

  draw() {
    if (this.held?.choice !== this.choice || at("patterns-body").hidden || !open("patterns")) return;
    this.colours = palette();
    at("pattern-list").hidden = at("pattern-columns").hidden = true;
    at("pattern-canvas").hidden = false;
    if (this.view === "across") this.drawAcross();
    else if (this.view === "classes") this.drawClasses();
    else this.drawPair();
  }

  drawClasses() {
    const { held, stat } = this, { units } = held, values = held[stat], rows = this.rows(), order = this.units(), row = rowHeight(rows.length, at("patterns-body").clientHeight), scale = span(values);
    names(at("pattern-names"), row, rows.map((k) => ({ name: held.count[k] ? held.labels[k] : `${held.labels[k]} (none)`, title: `${held.labels[k]}: ${several(held.count[k], "image")}`, none: !held.count[k] })));
    this.heat.show({ rows: rows.length, columns: units, row, value: (line, place) => values[rows[line] * units + order[place]], colour: signed(this.colours, scale.most),
      words: (line, place) => this.cellWords(rows[line], order[place]), open: (line, place) => this.opened(held.layer, order[place]), marked: this.marked(held.layer, order) });
    this.scale(scale, row * rows.length);
  }

  cellWords(k, unit) {
    const { held, stat } = this, place = k * held.units + unit, mean = held.mean[place];
    return [held.labels[k], Number.isNaN(mean) ? `unit ${unit} · no image here` : `unit ${unit} · ${stat === "contrast" ? `contrast ${figure(held.contrast[place])} · ` : ""}mean ${figure(mean, 4)} ± ${figure(held.std[place], 4)} · ${several(held.count[k], "image")}`];
  }

  // The three or four lines of a pair: whose they are, over how many images, and their values.
  lines() {
    const { pair, a, b } = this.held, [one, other] = [images.labels[a], images.labels[b]], [right, taken, theirs] = pair.mean, said = pair.judged ? " right" : "";
    return this.view === "pair"
      ? [{ name: `${one}${said}`, number: pair.count[0], mean: right, std: pair.std[0] }, { name: `${other}${said}`, number: pair.count[2], mean: theirs, std: pair.std[2] },
        { name: "difference", number: null, mean: pair.classes.difference, effect: pair.classes.effect }]
      : [{ name: `${one} right`, number: pair.count[0], mean: right, std: pair.std[0] }, { name: `taken for ${other}`, number: pair.count[1], mean: taken, std: pair.std[1] },
        { name: `${other} right`, number: pair.count[2], mean: theirs, std: pair.std[2] }, { name: "right − taken", number: null, mean: pair.taken.difference, effect: pair.taken.effect }];
  }

  drawPair() {
    const { held } = this;
    at("pattern-canvas").hidden = !held.pair;
    if (!held.pair) { at("pattern-names").replaceChildren(); at("pattern-scale").replaceChildren(); return; }
    const lines = this.lines(), { units } = held, order = this.units(), scale = span(lines.flatMap(({ mean }) => mean.map((value) => value ?? NaN)));
    this.list(lines[lines.length - 1]);
    const row = Math.max(FLAT, rowHeight(lines.length, at("patterns-body").clientHeight - below(at("pattern-list")), TALL));
    names(at("pattern-names"), row, lines.map(({ name, number }) => ({ name, title: number === null ? name : `${name}: ${several(number, "image")}` })));
    this.heat.show({ rows: lines.length, columns: units, row, value: (line, place) => lines[line].mean[order[place]] ?? NaN, colour: signed(this.colours, scale.most),
      words: (line, place) => pairWords(lines[line], order[place]), open: (_, place) => this.opened(held.layer, order[place]), marked: this.marked(held.layer, order) });
    this.scale(scale, row * lines.length);
  }

  // The units that differ most, by effect: each a button that opens it.
  list({ effect, mean }) {
    const ranked = effect.map((value, unit) => [value, unit]).filter(([value]) => value !== null).sort((x, y) => Math.abs(y[0]) - Math.abs(x[0])).slice(0, LISTED);
    at("pattern-list").hidden = !ranked.length;
    at("pattern-list").replaceChildren(make("span", { class: "note" }, "differ most, in pooled standard deviations"), ...ranked.map(([value, unit]) =>
      make("button", { type: "button", class: "unit-chip", title: `unit ${unit}: difference of the means ${figure(mean[unit])}`, onclick: () => this.opened(this.held.layer, unit) }, `unit ${unit} `, make("small", {}, `${value > 0 ? "+" : ""}${figure(value, 2)} σ`))));
  }

  drawAcross() {
    const { held, colours } = this, { columns } = held, most = Math.max(...columns.map(({ values }) => values.length)), room = Math.max(LEAST_TALL, at("patterns-body").clientHeight - 22), rows = Math.min(most, room), row = Math.max(1, Math.floor(room / rows));
    const sorted = columns.map(({ values }) => this.sortedUnits(values)), scale = span(held.values), own = this.scaling(columns) === "own" ? columns.map(({ values }) => span(values).most) : null;
    const unitAt = (line, column) => sorted[column][loudestOf(columns[column].values, sorted[column], Math.floor((line * sorted[column].length) / rows), Math.floor(((line + 1) * sorted[column].length) / rows))];
    const paint = signed(colours, own ? 1 : scale.most), title = (column) => layerWords(columns[column].layer);
    names(at("pattern-names"), Math.max(row, 15), [{ name: this.across === "index" ? "unit 0 ↓" : "most ↓" }]);
    this.heat.show({ rows, columns: columns.length, row, value: (line, column) => columns[column].values[unitAt(line, column)] / (own ? own[column] : 1), colour: paint, marked: columns.findIndex(({ layer }) => openedOf(layer) >= 0),
      words: (line, column) => [`${title(column)} · unit ${unitAt(line, column)}`, `${this.stat} ${figure(columns[column].values[unitAt(line, column)], 4)} · ${images.labels[this.one]} · ${several(held.count[this.one], "image")}`],
      open: (line, column) => this.opened(columns[column].layer, unitAt(line, column)) });
    columnNames(at("pattern-columns"), at("pattern-canvas").clientWidth, columns.length, title);
    this.scale(own ? { most: 1, beyond: 0, words: "each layer’s own largest" } : scale, row * rows);
  }

  // Until one is chosen: where most layers are of one width they are the blocks of one stream and share a scale, on which
  // layers of all kinds would be blank but for one.
  scaling(columns) {
    const alike = (width) => columns.filter(({ values }) => values.length === width).length;
    const found = this.scaled ?? (Math.max(...columns.map(({ values }) => alike(values.length))) > columns.length / 2 ? "one" : "own");
    at("pattern-scaled").value = found;
    return found;
  }

  // A layer's units from the top of its column to the end: by number, or the greatest first.
  sortedUnits(values) {
    const order = Array.from(values.keys());
    return this.across === "value" ? order.sort((a, b) => (values[b] || 0) - (values[a] || 0) || a - b) : order;
  }

  scale({ most, beyond, words = null }, tall) {
    const shown = most.toPrecision(3), holder = at("pattern-scale");
    holder.style.setProperty("--tall", `${Math.max(60, Math.min(tall, at("patterns-body").clientHeight))}px`);
    holder.title = words ?? beyond ? words ?? `${beyond} cells lie beyond the ends of the scale, which are the 99.5th percentile` : "";
    holder.replaceChildren(make("i", { style: { background: `linear-gradient(0deg, ${gradient(this.colours)})` } }),
      make("div", {}, make("span", {}, `+${shown}`), make("span", {}, "0"), make("span", {}, `−${shown}`)));
  }

  opened(layer, unit) { page.does.unit(callOf(layer), unit); }

  marked(layer, order) { return order.indexOf(openedOf(layer)); }

  // -- orders --------------------------------------------------------------------------------------------------------------

  units() {
    const { held, order } = this, { units, labels, contrast: values } = held, all = Array.from({ length: units }, (_, unit) => unit);
    if (order === "similar") return held.similar.units;
    if (order === "selective") return all.sort(falling(usesSelectivity(held.table) ? held.table.selectivity : held.table.outstanding));
    if (order === "difference" && held.pair) return all.sort(falling(this.lines().at(-1).mean));
    if (order !== "class") return all;
    const peak = all.map((unit) => labels.reduce((best, _, k) => (values[k * units + unit] > (values[best * units + unit] ?? -Infinity) ? k : best), 0));
    return all.sort((a, b) => peak[a] - peak[b] || values[peak[b] * units + b] - values[peak[a] * units + a]);
  }

  rows() {
    const { held, rowOrder } = this, rows = rowsOf(held.labels), there = new Set(rows);
    if (rowOrder === "similar") return held.similar.classes.filter((k) => there.has(k));
    return rowOrder === "name" ? rows.sort((a, b) => held.labels[a].localeCompare(held.labels[b])) : rows;
  }
}

// How much of the height a part takes that stands below the heatmap.
const below = (part) => (part.hidden ? 0 : part.offsetHeight + parseFloat(getComputedStyle(part).marginTop));

function pairWords({ name, number, mean, std, effect }, unit) {
  if (mean[unit] === null) return [name, `unit ${unit} · no image here`];
  return [name, number === null ? `unit ${unit} · ${figure(mean[unit], 4)}${effect[unit] === null ? "" : ` · ${figure(effect[unit], 3)} pooled standard deviations`}`
    : `unit ${unit} · mean ${figure(mean[unit], 4)} ± ${figure(std[unit], 4)} · ${several(number, "image")}`];
}
