// The units tab: a sortable table of a layer's units, each with the images that fire it most.
import { manifest, images, make, thumbStyle, pictured, count, several, percent, classColour } from "./data.js";
import { page, on, at } from "./page.js";
import { layers, layerOf, layerWords, networkOf, callOf, openedOf, choose, tableOf, topsOf, topOf, tunedOf, tunedColumns, figure } from "./layers.js";
import { options } from "./orders.js";
import { open } from "./dock.js";
import { anyOf, smallPicture } from "./preferred.js";

const PAGE = 100; // lines added at a time
const THUMBS = 5, EDGE = 24, DRAWN = 30; // thumbnails of a line, pixels of one, of its preferred input

export function startUnits() {
  const panel = new Units();
  for (const what of ["start", "split", "dock-layer", "space", "tab"]) on(what, () => panel.again());
  on("unit", () => panel.mark());
}

export class Units {
  constructor() {
    Object.assign(this, { by: "unit", down: false, shown: PAGE, turn: 0 });
    at("units-layer").onchange = (event) => { this.shown = PAGE; choose(layerOf(event.target.value)); };
    at("units-find").onsubmit = (event) => { event.preventDefault(); this.find(at("units-number").value); };
  }

  async again() {
    if (!open("units")) return;
    const turn = ++this.turn, layer = page.layer;
    at("units-find").hidden = !layer;
    at("units-layer").hidden = layers.length < 2;
    if (!layer) { this.empty("No statistics were kept for this atlas’s layers."); return; }
    options(at("units-layer"), layers.map((one) => [one.key, [layerWords(one), networkOf(one)].filter(Boolean).join(" · ")]), layer.key);
    at("units-number").max = layer.units - 1;
    try {
      const [told, tops, tuned] = await Promise.all([tableOf(layer, page.state.split), topsOf(layer).catch(() => null), tunedOf(layer)]);
      this.tuned = tuned;
      if (turn === this.turn) this.show(layer, told, tops);
    } catch { if (turn === this.turn) this.empty(manifest.static ? "The table of units is not in this report: the explorer has it." : "The units could not be fetched. Load the page again."); }
  }

  empty(words) { at("units-title").textContent = ""; at("units-body").replaceChildren(make("p", { class: "empty" }, words)); }

  find(text) {
    const number = Number(text);
    if (text !== "" && Number.isInteger(number) && number >= 0 && number < page.layer.units) page.does.unit(callOf(page.layer), number);
    else at("units-title").textContent = `${layerWords(page.layer)} has the units 0 to ${page.layer.units - 1}.`;
  }

  show(layer, told, tops) {
    const columns = this.columns(told), dead = told.dead.reduce((sum, is) => sum + is, 0);
    if (!columns.some(({ id }) => id === this.by)) this.by = "unit";
    const { of } = columns.find(({ id }) => id === this.by), order = Array.from({ length: layer.units }, (_, unit) => unit);
    order.sort((a, b) => compare(of(a), of(b), this.down) || a - b);
    const shown = order.slice(0, this.shown), body = make("tbody", {}, ...shown.map((unit) => this.line(layer, unit, columns, tops)));
    const broken = told.nonfinite.reduce((sum, number) => sum + number, 0);
    at("units-title").textContent = at("units-title").title = [`${several(layer.units, "unit")}${dead ? `, ${count(dead)} never above 0` : ""}`, `mean and std over ${several(told.images, told.noun)}`, broken ? `${several(broken, "value")} not finite, left out` : ""].filter(Boolean).join(" · ");
    pictured([...body.querySelectorAll(".fired")], EDGE);
    at("units-body").replaceChildren(make("table", { class: "sortable" }, make("thead", {}, make("tr", {}, ...columns.map((column) => this.head(column)), tops ? make("th", { scope: "col", title: `of all ${count(told.all)}, whatever the split` }, "fire it most") : null)), body),
      ...(shown.length < layer.units ? [make("button", { type: "button", class: "button more", onclick: () => this.more() }, `Show ${Math.min(PAGE, layer.units - shown.length)} more of ${count(layer.units - shown.length)}`)] : []));
    this.mark();
  }

  // The next units of the order; a keyboard goes on with the first of them.
  more() {
    const before = this.shown;
    this.shown += PAGE;
    return this.again().then(() => at("units-body").querySelectorAll("tbody .row-link")[before]?.focus());
  }

  columns(told) {
    const classes = told.class ? [
      { id: "class", title: "class", hint: "the class that excites it most, of the class patterns", of: (unit) => (told.class[unit] < 0 ? null : told.class[unit]), show: (unit) => (told.class[unit] < 0 ? "–" : make("span", { class: "class-name" }, make("i", { style: { "--c": classColour(told.class[unit]) } }), images.labels[told.class[unit]])) },
      { id: "selectivity", title: "selectivity", hint: "(most − others) / (most + others) of its class means, 0 to 1; undefined where one is negative", of: (unit) => told.selectivity[unit], show: (unit) => (told.selectivity[unit] === null ? "–" : told.selectivity[unit].toFixed(2)) },
      { id: "outstanding", title: "stands out", hint: "how far the greatest class mean lies above the mean of the others, in standard deviations within classes", of: (unit) => told.outstanding[unit], show: (unit) => (told.outstanding[unit] === null ? "–" : `${told.outstanding[unit].toFixed(1)} σ`) }] : [];
    const drawn = anyOf(page.layer) ? [{ id: "preferred", title: "preferred input", hint: "synthesised by gradient ascent", of: (unit) => (smallPicture(page.layer, unit, EDGE) ? unit : null), show: (unit) => smallPicture(page.layer, unit, DRAWN) ?? "–" }] : [];
    return [{ id: "unit", title: "unit", of: (unit) => unit, show: (unit) => String(unit) }, ...drawn,
      { id: "mean", title: "mean", of: (unit) => told.mean[unit], show: (unit) => figure(told.mean[unit]) },
      { id: "std", title: "std", hint: "standard deviation", of: (unit) => told.std[unit], show: (unit) => figure(told.std[unit]) },
      { id: "zeros", title: "zeros", hint: `share of all ${count(told.all)} ${told.noun}s where it is exactly 0`, of: (unit) => told.zeros[unit], show: (unit) => (told.dead[unit] ? make("span", { class: "dead", title: "never above 0" }, "dead") : percent(told.zeros[unit])) }, ...classes, ...tunedColumns(this.tuned)];
  }

  head({ id, title, hint }) {
    const sorted = this.by === id ? (this.down ? "descending" : "ascending") : "none";
    return make("th", { "aria-sort": sorted, scope: "col" }, make("button", { type: "button", title: hint ?? null, "data-sort": id,
      onclick: () => { this.down = this.by === id ? !this.down : id !== "unit" && id !== "class"; this.by = id; this.shown = PAGE; this.again().then(() => at("units-body").querySelector(`[data-sort="${id}"]`)?.focus()); } }, title));
  }

  line(layer, unit, columns, tops) {
    const top = tops ? topOf(tops, layer.units, unit).slice(0, THUMBS) : [];
    return make("tr", { "data-unit": unit, onclick: () => page.does.unit(callOf(layer), unit) }, ...columns.map(({ id, show }) => make("td", {}, id === "unit" ? make("button", { type: "button", class: "row-link", "aria-label": `unit ${unit}` }, show(unit)) : show(unit))),
      tops ? make("td", { class: "tops" }, ...top.map(({ row }) => make("i", { class: "fired", "data-row": row, style: thumbStyle(row, EDGE) }))) : null);
  }

  mark() {
    const shown = page.layer ? openedOf(page.layer) : -1;
    for (const line of at("units-body").querySelectorAll("tr[data-unit]")) line.classList.toggle("open", Number(line.dataset.unit) === shown);
  }
}

// Missing values stand last, whichever way is sorted.
function compare(a, b, down) {
  if (a === null || b === null) return (a === null) - (b === null);
  return down ? b - a : a - b;
}
