// The classes tab: a table of the classes, what they are taken for, and which mix in the layer; every line selects its images.
import { manifest, images, tables, json, numbers, make, segments, count, several, percent, classColour, SPLITS } from "./data.js";
import { page, on, at } from "./page.js";
import { Heat, palette, signed, names } from "./heat.js";
import { confusions, takenFor, ofClass, inSplit } from "./confusion.js";
import { rowHeight, rowsOf } from "./orders.js";
import { open } from "./dock.js";
import { keepingFocus } from "./focus.js";
import { unusual } from "./unusual.js";
import { between } from "./between.js";
import { depth } from "./depth.js";

const LISTED = 100; // pairs named beside a matrix, the largest first
const LEAST_SHARE = 0.0005; // of a class's neighbours: below, a percentage of one decimal reads 0.0
const NAMED = 13; // pixels of a row from which on it has room for its name
const TINT = 30; // per cent of the colour of what is wrong, in the worst cell of a column
const CELL = [4, 96], ROW = [15, 26]; // pixels of a cell's width, of its height where it has a name, at least and at most

export function startClasses() {
  const panel = new Classes();
  for (const what of ["start", "split", "space", "layout", "tab", "theme"]) on(what, () => panel.again());
}

export class Classes {
  constructor() {
    Object.assign(this, { view: "table", by: "index", down: false, turn: 0 });
    segments(at("class-view"), [{ id: "table", title: "Table" }, { id: "confusion", title: "Confusion", hint: "labels by predictions" }, { id: "mixing", title: "Mixing", hint: "classes by the classes of their neighbours in the layer" }, { id: "unusual", title: "Unusual", hint: "cells and units that cross classes, ranked" },
      { id: "between", title: "Between two", hint: "cells from one class to another, by what they argue for" }, { id: "depth", title: "Layers", hint: "label purity and largest attribution, layer by layer" }],
      this.view, (id) => { this.view = id; this.again(); });
    this.canvas = make("canvas", { id: "class-canvas", role: "application", "aria-roledescription": "heatmap", "aria-label": "Classes by classes: arrows move, Enter selects the images" });
    this.heat = new Heat(this.canvas, at("heat-said"));
    new ResizeObserver(() => { if (this.matrix) this.drawMatrix(); }).observe(at("classes-body"));
  }

  async again() {
    if (!open("classes") || !tables.label) return;
    const turn = ++this.turn, draw = { table: () => this.table(), confusion: () => this.confusion(), mixing: () => this.mixing(), unusual: () => unusual(this), between: () => between(this), depth: () => depth(this) }[this.view];
    this.matrix = null;
    this.say();
    try {
      const shown = await draw();
      if (turn === this.turn) keepingFocus(at("classes-body"), shown, () => at("tab-classes"));
    } catch { if (turn === this.turn) this.empty(manifest.static ? "This is not in this report: the explorer has it." : "This could not be fetched. Load the page again."); }
  }

  empty(words) { at("classes-body").replaceChildren(make("p", { class: "empty" }, words)); }

  say(...words) { at("class-said").replaceChildren(...words); }

  get judged() { const { predictions } = page.state.space; return Boolean(predictions && manifest.predictions[predictions].judged); }

  // -- the table -----------------------------------------------------------------------------------------------------------

  async table() {
    const { space } = page.state, told = space.classes ? await json(`spread/${space.classes}.json`).catch(() => null) : null;
    const lines = this.lines(told), columns = this.columns(told);
    return () => {
      if (!columns.some(({ id }) => id === this.by)) this.by = "index";
      const { of } = columns.find(({ id }) => id === this.by);
      lines.sort((a, b) => compare(of(a), of(b), this.down) || a.code - b.code);
      for (const column of columns) if (column.ill) column.most = Math.max(...lines.map((line) => column.ill(line) ?? 0));
      at("class-title").textContent = at("class-title").title = this.tableWords(told);
      at("classes-body").replaceChildren(make("table", { class: "sortable" }, make("thead", {}, make("tr", {}, ...columns.map((column) => this.head(column)))),
        make("tbody", {}, ...lines.map((line) => this.line(line, columns)))));
    };
  }

  tableWords(told) {
    const { space, split } = page.state, words = [];
    if (space.predictions && !this.judged) words.push(manifest.predictions[space.predictions].sentence);
    if (told) words.push(`Spread and purity: ${space.layers.join(" + ")}, ${over(told, split)} images, ${told.k} neighbours, ${told.metric}`);
    return words.join(" · ");
  }

  // What is known of each class that has images.
  lines(told) {
    const { space, split } = page.state, place = told ? told.over.indexOf(over(told, split)) : 0;
    const tallies = this.judged ? Object.fromEntries([...SPLITS, "all"].map((name) => [name, confusions(space.predictions, name)])) : null;
    const worst = new Map();
    if (tallies) for (const pair of tallies[split].pairs) if (!worst.has(pair.own)) worst.set(pair.own, pair);
    const counts = new Uint32Array(images.labels.length);
    for (let row = 0; row < images.count; row++) if (tables.label[row] >= 0 && inSplit(row, split)) counts[tables.label[row]]++;
    return rowsOf(images.labels).map((code) => ({ code, count: counts[code], right: tallies && ((name) => (tallies[name].of[code] ? tallies[name].right[code] / tallies[name].of[code] : null)),
      spread: told?.spread[place][code] ?? null, purity: told?.purity[place][code] ?? null, worst: worst.get(code) ?? null, mixes: space.spread?.[code] ?? null }));
  }

  columns(told) {
    const { space } = page.state, judged = this.judged ? (images.told ? SPLITS.filter((name) => images.splits[name]) : ["all"]) : [];
    const predicted = this.judged ? manifest.predictions[space.predictions].names : null;
    return [{ id: "index", title: "class", of: (line) => line.code, show: ({ code }) => make("span", { class: "class-name" }, make("i", { style: { "--c": classColour(code) } }), images.labels[code]) },
      { id: "count", title: "images", of: ({ count: number }) => number, show: ({ count: number }) => count(number) },
      ...judged.map((name) => ({ id: name, title: name === "all" ? "right" : `right, ${name}`, hint: `share that is right${TINTED}`, ill: ({ right }) => less(right(name)), of: ({ right }) => right(name), show: ({ right }) => percent(right(name)) })),
      ...(predicted ? [{ id: "worst", title: "most taken for", of: ({ worst }) => worst?.count ?? 0, show: ({ code, worst }) => (worst ? this.link(`${predicted[worst.other]} (${count(worst.count)})`, () => this.pickConfusion(code, worst.other)) : "–") }] : []),
      ...(told ? [{ id: "spread", title: "spread", hint: `mean distance to the class’s centre, in units of the mean distance between centres${TINTED}`, ill: ({ spread }) => spread, of: ({ spread }) => spread, show: ({ spread }) => (spread === null ? "–" : spread.toFixed(2)) },
        { id: "purity", title: "purity", hint: `share of the nearest neighbours that are of the class${TINTED}`, ill: ({ purity }) => less(purity), of: ({ purity }) => purity, show: ({ purity }) => percent(purity) },
        { id: "mixes", title: "mixes most with", hint: "over all images", of: ({ mixes }) => mixes?.share ?? null, show: ({ mixes }) => (mixes && mixes.share >= LEAST_SHARE ? `${images.labels[mixes.other]} (${percent(mixes.share)})` : "–") }] : [])];
  }

  head({ id, title, hint }) {
    const sorted = this.by === id ? (this.down ? "descending" : "ascending") : "none";
    return make("th", { "aria-sort": sorted, scope: "col" }, make("button", { type: "button", title: hint ?? null, "data-sort": id,
      onclick: () => { this.down = this.by === id ? !this.down : id !== "index"; this.by = id; this.again().then(() => at("classes-body").querySelector(`[data-sort="${id}"]`)?.focus()); } }, title));
  }

  line(line, columns) {
    return make("tr", { "data-class": line.code }, ...columns.map((column) => this.cell(line, column)));
  }

  // The worse a figure is beside the worst of its column, the stronger is its cell's colour.
  cell(line, { id, show, ill, most }) {
    const share = ill && most ? (ill(line) ?? 0) / most : 0;
    const shown = id === "index" ? this.link(show(line), () => this.pickClass(line.code)) : show(line);
    return make("td", {}, share ? make("span", { class: "tinted", style: { "--tint": `${(TINT * share).toFixed(1)}%` } }, shown) : shown);
  }

  link(content, onclick) { return make("button", { type: "button", class: "row-link", onclick }, content); }

  // -- confusion and mixing: a ranked list, and a matrix ---------------------------------------------------------------------

  async confusion() {
    const { space, split } = page.state;
    if (!space.predictions) return () => this.empty("No predictions were kept for this network.");
    const told = confusions(space.predictions, split), named = manifest.predictions[space.predictions].names, seen = rowsOf(images.labels).filter((code) => told.of[code]);
    const said = new Set([...told.cells.keys()].map((place) => place % told.codes)), columns = [...new Set([...(this.judged ? seen : []), ...[...said].sort((a, b) => a - b)])];
    const share = (own, other) => (told.cells.get(own * told.codes + other) ?? 0) / told.of[own];
    const pairs = told.pairs.map(({ own, other, count: number }) => ({ own, other, amount: number / told.of[own], words: count(number), large: number }));
    return () => {
      at("class-title").textContent = at("class-title").title = this.judged ? `${several(pairs.reduce((sum, { large }) => sum + large, 0), "mistake")}${split === "all" ? "" : `, ${split}`}; a cell selects its images`
        : `${manifest.predictions[space.predictions].sentence.replace(/[.]?$/, ".")} A cell counts a label’s images by what the network says.`;
      this.both({ rows: seen, columns, share, pairs, judged: this.judged, verb: this.judged ? "taken for" : "said to be", named, text: (own, other) => { const number = told.cells.get(own * told.codes + other); return number ? count(number) : ""; },
        line: (own, other) => `${several(told.cells.get(own * told.codes + other) ?? 0, "image")}, ${percent(share(own, other))} of its class`, pick: (own, other) => this.pickConfusion(own, other) });
    };
  }

  async mixing() {
    const { space, split } = page.state;
    if (!space.classes) return () => this.empty("How the classes mix was not measured for this layer.");
    const told = await json(`spread/${space.classes}.json`), name = over(told, split), place = told.over.indexOf(name), size = images.labels.length;
    const values = await numbers(`mixing/${space.classes}/${place}.bin`, Float32Array), seen = rowsOf(images.labels).filter((code) => told.count[place][code]);
    const pairs = [];
    for (const own of seen) for (const other of seen) if (own !== other && values[own * size + other] >= LEAST_SHARE) pairs.push({ own, other, amount: values[own * size + other], words: percent(values[own * size + other]), large: values[own * size + other] });
    pairs.sort((a, b) => b.amount - a.amount || a.own - b.own || a.other - b.other);
    return () => {
      at("class-title").textContent = at("class-title").title = `Share of the ${told.k} nearest neighbours in ${space.layers.join(" + ")} (${told.metric}), ${name} images; a cell selects the images that have such a neighbour`;
      this.both({ rows: seen, columns: seen, share: (own, other) => values[own * size + other], pairs, judged: true, verb: "near", named: images.labels, text: (own, other) => (values[own * size + other] >= LEAST_SHARE ? (100 * values[own * size + other]).toFixed(1) : ""),
        line: (own, other) => `${percent(values[own * size + other])} of its neighbours`, pick: (own, other) => this.pickMixing(own, other, place) });
    };
  }

  both(matrix) {
    this.matrix = matrix;
    const { pairs, named, verb } = matrix, listed = pairs.slice(0, LISTED);
    const list = make("ol", { class: "pairs", "aria-label": "The largest first" }, ...listed.map(({ own, other, words }) => make("li", {}, make("button", { type: "button", class: "row-link", title: `${images.labels[own]} ${verb} ${named[other]}: ${words}`, onclick: () => matrix.pick(own, other) },
      make("span", {}, make("i", { class: "class-dot", style: { "--c": classColour(own) } }), images.labels[own], make("small", {}, ` ${verb} `), make("i", { class: "class-dot", style: { "--c": classColour(other) } }), named[other]), make("em", {}, words)))));
    const more = pairs.length > LISTED ? make("p", { class: "note" }, `and ${several(pairs.length - LISTED, "smaller pair")}: see the matrix`) : null;
    at("classes-body").replaceChildren(make("div", { class: "pair-list" }, pairs.length ? list : make("p", { class: "empty" }, verb === "taken for" ? "No mistakes here." : "None."), more));
    at("classes-body").append(make("div", { class: "matrix" }, make("div", { class: "matrix-corner note" }, verb === "near" ? "class ↓ neighbours →" : "label ↓ prediction →"), make("div", { class: "matrix-top", id: "matrix-top" }), make("div", { class: "pattern-names", id: "matrix-names" }), this.canvas));
    this.drawMatrix();
  }

  drawMatrix() {
    const { rows, columns, share, judged, named, text, line, pick, verb, pairs } = this.matrix, holder = this.canvas.parentElement;
    if (!holder || !rows.length) return;
    const colours = palette(), most = pairs.reduce((largest, { amount }) => Math.max(largest, amount), 0) || 1;
    const room = at("classes-body").clientWidth - at("classes-body").firstChild.offsetWidth - 170, wide = Math.max(CELL[0], Math.min(CELL[1], Math.floor(room / columns.length)));
    const own = signed(colours, 1), wrong = signed(colours, most);
    at("matrix-top").style.setProperty("--wide", `${wide}px`);
    at("matrix-top").replaceChildren(...(wide < NAMED ? [] : columns.map((code) => make("span", { title: named[code] }, make("b", {}, named[code])))));
    const free = at("classes-body").clientHeight - at("matrix-top").offsetHeight - 6, row = rows.length > 100 ? CELL[0] : Math.max(ROW[0], rowHeight(rows.length, free, ROW[1]));
    names(at("matrix-names"), row, row < NAMED ? [] : rows.map((code) => ({ name: images.labels[code] })));
    this.heat.show({ rows: rows.length, columns: columns.length, row, width: wide * columns.length, value: (y, x) => share(rows[y], columns[x]),
      colour: (value, y, x) => (judged && rows[y] === columns[x] ? own(-value) : wrong(value)), text: (y, x) => text(rows[y], columns[x]),
      words: (y, x) => [`${images.labels[rows[y]]} ${rows[y] === columns[x] && verb === "taken for" ? "right" : `${verb} ${named[columns[x]]}`}`, line(rows[y], columns[x])], open: (y, x) => pick(rows[y], columns[x]) });
  }

  // -- what a line or a cell selects -----------------------------------------------------------------------------------------

  pickClass(code) { this.pick(ofClass(code, page.state.split), images.labels[code]); }

  pickConfusion(own, other) {
    const { space, split } = page.state, named = manifest.predictions[space.predictions].names, right = own === other;
    const words = right && this.judged ? `${images.labels[own]} right` : `${images.labels[own]} ${this.judged ? "taken for" : "said to be"} ${named[other]}`;
    this.pick(takenFor(space.predictions, split, own, other), words);
    if (!right && this.judged && other < images.labels.length && page.layer) at("class-said").append(" ", this.link("Units that differ", () => page.does.compare(own, other)));
  }

  async pickMixing(own, other, place) {
    const { space } = page.state, { turn } = this;
    try {
      const found = await numbers(`meeting/${space.classes}/${place}/${own}/${other}.bin`, Int32Array);
      if (turn === this.turn) this.pick([...found.subarray(0, found.length / 2)], `${images.labels[own]} with a neighbour of ${images.labels[other]}`);
    } catch { this.say(manifest.static ? "The neighbours of every image are not in this report: the explorer has them." : "These images could not be fetched. Try it again."); }
  }

  pick(rows, words) {
    this.say(make("b", {}, several(rows.length, "image")), ` selected: ${words}`);
    if (!rows.length) { this.say(`No image: ${words}`); return; }
    page.does.select(rows, "replace");
    page.does.look?.(rows);
  }
}

const TINTED = "; the stronger a cell's colour, the worse beside the others";
const less = (share) => (share === null ? null : 1 - share);

// The split that was measured: the one shown where it was, else all.
const over = (told, split) => (told.over.includes(split) ? split : "all");

// Missing values stand last, whichever way is sorted.
function compare(a, b, down) {
  if (a === null || b === null) return (a === null) - (b === null);
  return down ? b - a : a - b;
}
