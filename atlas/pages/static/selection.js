// The panel of the selection: how many images, of which classes, where they are mistaken, what sets them apart, the images.
import { manifest, images, tables, column, numbers, make, segments, classColour, count, several, percent, SPLITS } from "./data.js";
import { cellFor } from "./parts.js";
import { Gallery } from "./gallery.js";
import { along, kept, ordered, pairs, tally } from "./rows.js";
import { Section } from "./section.js";
import { keepingFocus } from "./focus.js";
import { served } from "./posting.js";
import { startStandout } from "./standout.js";
import { startKeeping } from "./keeping.js";
import { page, on, at } from "./page.js";

const FEW = 5, MORE = 12; // lines of the classes, and of the mistakes, until they are asked for whole
const ORDERS = { map: ["as on the map", "Images that lie together on the map stand together"], class: ["by class", "In the order of the classes"],
  confidence: ["least sure first", "By the network's confidence"], suspicion: ["most suspicious first", "By how much neighbours and network doubt the label"],
  unusual: ["least usual first", "By the mean distance to the kept neighbours in the layer, the farthest first"] };
const SHARE = 1 / 4; // of the images, from which on a selection is read out of the order of all of them
const AHEAD = 250_000; // images up to which that order, as on the map, is made before it is asked for
const TURNED = ["suspicion", "unusual"]; // those that begin with the greatest

export function startSelection() {
  const panel = new SelectionPanel(at("selection-panel"));
  page.does.select = (rows, how = "replace") => page.map.choose(rows, how);
  page.does.shownRows = shownMask;
  const show = () => keepingFocus(at("selection-panel"), () => panel.show());
  show();
  on("selection", show);
  on("space", show);
  on("drawn", () => { panel.away(); panel.orderAhead(); });
}

// A mask of the images that split, filters and legend leave on the map.
export function shownMask() {
  const { state } = page, wanted = SPLITS.indexOf(state.split), mask = new Uint8Array(images.count);
  const { codes, names } = state.drawn?.colouring ?? {}, hidden = names && state.hidden.size ? state.hidden : null;
  if (wanted < 0 && !state.kept && !hidden) return mask.fill(1);
  for (let row = 0; row < mask.length; row++) {
    mask[row] = (wanted < 0 || tables.split[row] === wanted) && (!state.kept || state.kept[row]) && !(hidden && hidden.has(codes[row])) ? 1 : 0;
  }
  return mask;
}

class SelectionPanel {
  constructor(holder) {
    this.turn = 0;
    this.head = make("div", {});
    this.gallery = new Gallery((row) => cellFor(page.state.space, row, 54, (found) => page.does.open(found, null)));
    this.mixTold = make("span", { class: "note" });
    this.mix = new Section("mix", "Classes", { skeleton: 0, tools: [this.mixTold] });
    this.confusion = make("div", { class: "pane", id: "pane-confusion" });
    this.order = make("select", { "aria-label": "Order of the images", onchange: () => this.sort() });
    this.turnButton = make("button", { type: "button", class: "text-button", "aria-label": "The other way round", title: "The other way round", "aria-pressed": "false", onclick: () => this.turnOver() }, "⇅");
    this.told = make("span", { class: "note", role: "status" });
    this.imagesPart = make("div", { class: "pane" }, make("div", { class: "order" }, this.told, this.order, this.turnButton), this.gallery.holder);
    const keeping = startKeeping();
    this.standout = startStandout();
    this.panes = { images: this.imagesPart, mistakes: this.confusion, units: this.standout.holder };
    this.tabs = make("div", { class: "segments small", id: "selection-tabs", role: "radiogroup", "aria-label": "What of the selection is shown" });
    this.full = make("div", { class: "selection-full" }, keeping.tools, this.mix.element, this.tabs, ...Object.values(this.panes));
    this.tab = "images";
    this.kept = keeping.part;
    this.tools = keeping.tools;
    holder.replaceChildren(this.head, this.full, this.kept.element);
  }

  get rows() { return page.map?.chosenRows() ?? []; }

  show() {
    const { state } = page, rows = this.chosen = this.rows;
    this.listKept(!rows.length);
    this.heading(rows);
    if (!rows.length) return;
    this.away();
    this.fillMix(rows);
    this.switches(this.fillConfusion(rows));
    this.orders(state.space);
    this.sort();
  }

  // The kept selections stand open where nothing is selected, else folded above the images, which have no end.
  listKept(empty) {
    if (this.full.hidden === empty) return;
    this.full.hidden = empty;
    if (empty) this.full.after(this.kept.element); else this.tools.after(this.kept.element);
    this.kept.open(empty);
  }

  heading(rows) {
    const back = page.map?.past.length ? make("button", { type: "button", title: "The selection before this one (Ctrl+Z)", onclick: () => page.map.undo() }, "Undo") : null;
    if (!rows.length) {
      this.head.replaceChildren(make("div", { class: "panel-head" }, make("h2", {}, "Selection"), ...(back ? [back] : [])), make("p", { class: "empty", id: "selection-count", "aria-live": "polite" }, "Nothing selected"));
      return;
    }
    this.awayNote = make("p", { class: "note" });
    this.head.replaceChildren(make("div", { class: "panel-head" }, make("h2", {}, "Selection"), ...(back ? [back] : []), make("button", { type: "button", onclick: () => page.map.clear() }, "Clear (Esc)")),
      make("div", { class: "count", id: "selection-count", "aria-live": "polite" }, count(rows.length), " ", make("small", {}, rows.length === 1 ? "image selected" : "images selected")),
      make("p", { class: "note summary" }, this.summary(rows)), this.awayNote);
  }

  // The switch between images, mistakes and units, those that there are.
  switches(mistakes) {
    const all = [{ id: "images", title: "Images" }, ...(mistakes ? [{ id: "mistakes", ...mistakes }] : []), ...(served ? [{ id: "units", title: "Units", hint: "Units that set the selection apart from the others on the map" }] : [])];
    if (!all.some(({ id }) => id === this.tab)) this.tab = "images";
    segments(this.tabs, all, this.tab, (id) => this.open(id));
    this.open(this.tab);
  }

  open(tab) {
    this.tab = tab;
    for (const [id, pane] of Object.entries(this.panes)) pane.hidden = id !== tab;
    if (tab === "units") this.standout.look();
    if (tab === "images") this.gallery.later();
  }

  // How many are right, and of which splits they are.
  summary(rows) {
    const { space } = page.state, table = tables.predictions[space.predictions];
    let right = 0, of = 0;
    if (table && manifest.predictions[space.predictions].judged) for (const row of rows) if (table.right[row] >= 0) { of++; right += table.right[row]; }
    const splits = images.told ? tally(rows, tables.split).map(([code, n]) => `${count(n)} ${SPLITS[code]}`).join(", ") : null;
    return [of ? `${count(right)} of ${count(of)} right (${percent(right / of)})` : null, splits].filter(Boolean).join(" · ");
  }

  // Say how many of the selected images are not drawn now.
  away() {
    if (!this.chosen?.length || !this.awayNote || !page.state.drawn) return;
    const shown = shownMask();
    let gone = 0;
    for (let k = 0; k < this.chosen.length; k++) gone += 1 - shown[this.chosen[k]];
    this.awayNote.textContent = gone ? `${count(gone)} of them ${gone === 1 ? "is" : "are"} not on the map as it is now filtered.` : "";
    this.awayNote.hidden = !gone;
  }

  // -- classes and mistakes -------------------------------------------------------------------------------------------------

  fillMix(rows) {
    this.mix.element.hidden = !images.labels.length;
    const sorted = tally(rows, tables.label), most = sorted[0][1];
    this.mixTold.textContent = several(sorted.length, "class");
    this.mix.body.replaceChildren(...lines(sorted, FEW, ([code, n]) => {
      const name = code < 0 ? "unlabelled" : images.labels[code];
      return line([make("span", {}, name)], classColour(code), n / most, count(n), `Select only the ${several(n, "image")} labelled ${name}`, () => page.does.select(rows.filter((row) => tables.label[row] === code)));
    }));
  }

  fillConfusion(rows) {
    const { space } = page.state, table = tables.predictions[space.predictions], told = manifest.predictions[space.predictions];
    if (!table || !images.labels.length) return null;
    const all = pairs(rows, tables.label, table.prediction), wrong = told.judged ? all.filter(([a, b]) => a !== b) : all;
    const agreed = rows.length - wrong.reduce((sum, [, , n]) => sum + n, 0), most = wrong[0]?.[2] ?? 1;
    const pick = (a, b) => page.does.select(rows.filter((row) => tables.label[row] === a && table.prediction[row] === b));
    const found = lines(wrong, MORE, ([a, b, n]) => {
      const [label, said] = [a < 0 ? "unlabelled" : images.labels[a], b < 0 ? "no prediction" : told.names[b]];
      return line([make("span", {}, label), make("i", { class: "arrow", "aria-hidden": "true" }, "→"), make("span", {}, said)], classColour(b), n / most, count(n), `Select only the ${several(n, "image")} labelled ${label} and predicted ${said}`, () => pick(a, b));
    });
    const same = told.judged && agreed ? [make("button", { type: "button", class: "text-button", onclick: () => page.does.select(rows.filter((row) => tables.label[row] === table.prediction[row])) }, `Select the ${count(agreed)} predicted as labelled`)] : [];
    this.confusion.replaceChildren(make("p", { class: "note" }, !wrong.length ? "None: each is predicted as it is labelled." : told.judged ? "What it is labelled → what the network takes it for." : "Its label → its prediction."), ...found, ...(wrong.length ? same : []));
    return told.judged ? { title: `Mistakes ${count(rows.length - agreed)}`, hint: "Which classes are taken for which" } : { title: "Label × prediction" };
  }

  // -- orders ---------------------------------------------------------------------------------------------------------------

  orders(space) {
    const there = { map: true, class: images.labels.length > 0, confidence: Boolean(space.predictions), suspicion: Boolean(space.suspects), unusual: Boolean(space.neighbours) };
    const wanted = this.order.value;
    this.order.replaceChildren(...Object.entries(ORDERS).filter(([id]) => there[id]).map(([id, [words, title]]) => make("option", { value: id, title }, words)));
    this.order.value = there[wanted] ? wanted : "map";
  }

  turnOver() {
    this.turned = !this.turned;
    this.turnButton.setAttribute("aria-pressed", this.turned);
    this.sort();
  }

  async sort() {
    const turn = ++this.turn, by = this.order.value, rows = this.chosen;
    this.told.textContent = "";
    let numberOf;
    try { numberOf = await keyOf(by); } catch { numberOf = await keyOf("map"); this.told.textContent = "This order could not be had: they stand as on the map."; }
    if (turn === this.turn) this.gallery.show(this.inOrder(rows, by, numberOf, TURNED.includes(by) !== Boolean(this.turned)));
  }

  inOrder(rows, by, numberOf, turned) {
    return rows.length < SHARE * images.count ? ordered(rows, numberOf, turned) : kept(this.wholeOrder(by, numberOf, turned), page.map.chosen, rows.length);
  }

  // All images in an order; the last one asked for is kept.
  wholeOrder(by, numberOf, turned) {
    const { space } = page.state, { layout } = page.map.now, key = [space.id, layout.key, by, turned].join();
    if (this.whole?.key !== key) this.whole = { key, order: ordered(Uint32Array.from({ length: images.count }, (_, row) => row), numberOf, turned) };
    return this.whole.order;
  }

  // The whole map is what is selected soonest: its order is made while nothing else is to do.
  orderAhead() {
    if (images.count > AHEAD || this.chosen?.length) return;
    const make = async () => this.wholeOrder("map", await keyOf("map"), false);
    window.requestIdleCallback ? requestIdleCallback(make) : setTimeout(make, 1000);
  }
}

// The number of an image row that an order goes by; images without one come last.
async function keyOf(by) {
  const { state, map } = page, { space } = state;
  const code = (values) => (row) => (values[row] === 65535 ? null : values[row]);
  if (by === "class") return (row) => (tables.label[row] < 0 ? null : tables.label[row]);
  if (by === "confidence") return code(tables.predictions[space.predictions].confidence);
  if (by === "suspicion") return code(await column(space.suspects, "score", Uint16Array));
  if (by === "unusual") { const far = await numbers(`unusual/${space.neighbours.key}.bin`, Float32Array); return ofPoints(map, (point) => far[point]); }
  return ofPoints(map, (point) => along(...map.place(point)));
}

// The number of an image: that of its point, of several the first's.
function ofPoints(map, numberOf) {
  const { rows } = map.now;
  if (!rows) return numberOf;
  const first = new Map();
  rows.forEach((row, point) => { if (!first.has(row)) first.set(row, point); });
  return (row) => (first.has(row) ? numberOf(first.get(row)) : null);
}

// -- lines of a list ---------------------------------------------------------------------------------------------------------

export function line(words, colour, share, figure, title, onclick) {
  return make("li", {}, make("button", { type: "button", class: "line", title, onclick },
    make("b", {}, ...words), make("div", { class: "bar", style: { "--c": colour } }, make("i", { style: { width: `${100 * share}%` } })), make("em", {}, figure)));
}

// The first of them, and a button that shows the others.
function lines(all, few, draw) {
  const list = make("ul", { class: "lines" }, ...all.slice(0, few).map(draw));
  if (all.length <= few + 1) { list.append(...all.slice(few).map(draw)); return [list]; }
  const more = make("button", { type: "button", class: "text-button", onclick: () => { list.append(...all.slice(few).map(draw)); more.remove(); } }, `Show ${count(all.length - few)} more`);
  return [list, more];
}
