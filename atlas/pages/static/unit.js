// The panel of one unit: what fires it, which classes, how its values lie; and the way to the images that fire it.
import { manifest, images, make, count, several, percent, classColour, pictured } from "./data.js";
import { cellFor } from "./parts.js";
import { page, on, tell, at } from "./page.js";
import { layerCalled, layerWords, networkOf, callOf, recordedOf, onlyStatistics, choose, tableOf, patternsOf, topsOf, topOf, codesOf, tunedOf, tunedColumns, figure } from "./layers.js";
import { inSplit } from "./confusion.js";
import { preferredPart } from "./preferred.js";
import { focus, seen } from "./focus.js";

const BINS = 48; // of a histogram
const CLASSES = 10; // classes whose bars are shown before the others are asked for
const LEVELS = { 0: "least", 50: "median", 100: "most" };
const SELECTED = 50; // images that the chooser begins with
const MIDDLING = [99, 90, 75, 50]; // percentiles of the images shown below those that fire it most
const EACH = 2; // images of each

export function startUnit() {
  const panel = new UnitPanel(at("unit-panel"));
  page.does.unit = (layer, number) => panel.open(layer, number);
  page.does.closeUnit = () => panel.close();
  on("split", () => panel.again());
  on("drawn", () => panel.ring());
  on("image", () => panel.imaged());
}

export class UnitPanel {
  constructor(holder) { Object.assign(this, { holder, turn: 0, wanted: SELECTED, every: false }); }

  // Open the unit `number` of a layer, by the layer's name or its statistics' key; what is not there is said.
  async open(name, number) {
    const layer = layerCalled(name);
    if (!layer || !Number.isInteger(number) || number < 0 || number >= layer.units) {
      page.does.notice(layer ? `${layerWords(layer)} has no unit ${number}: it has ${layer.units}.` : `No statistics were kept for a layer ${name}.`);
      return;
    }
    const from = document.activeElement;
    page.unit = { layer, number };
    page.state.unit = `${callOf(layer)}:${number}`;
    choose(layer);
    page.does.dock?.();
    await this.again();
    this.follow(from);
    tell("unit", page.state.unit);
  }

  // Where the panel covers what it was opened from, a keyboard goes into it, and back when it closes.
  follow(from) {
    if (from?.closest(".pane") !== at(page.tab) || !page.does.covered()) return;
    this.from = from;
    focus(this.holder.querySelector("h2"));
  }

  close() {
    const within = this.holder.contains(document.activeElement);
    page.state.unit = page.unit = null;
    this.turn++;
    this.holder.hidden = true;
    if (within) focus(seen(this.from) ? this.from : at(`tab-${page.tab}`));
    page.state.fired = [];
    page.does.mark();
    tell("unit", null);
  }

  async again() {
    if (!page.unit) return;
    const turn = ++this.turn, { split } = page.state, { unit } = page, { layer } = unit;
    this.holder.hidden = false;
    try {
      const [told, patterns, tops, tuned] = await Promise.all([tableOf(layer, split), patternsOf(layer, split), topsOf(layer), tunedOf(layer)]);
      if (turn !== this.turn) return;
      this.top = topOf(tops, layer.units, unit.number);
      this.tuned = tunedColumns(tuned);
      this.show(layer, unit.number, told, patterns, tops);
      this.ring();
    } catch { if (turn === this.turn) this.holder.replaceChildren(this.head(layer, unit.number), make("p", { class: "empty" }, manifest.static ? "This unit is not in this report: the explorer has it." : "What is known of this unit could not be fetched. Load the page again.")); return; }
    const codes = await codesOf(layer, unit.number).catch(() => null);
    if (turn !== this.turn) return;
    this.spread(codes);
    if (codes) at("unit-tops")?.after(...this.middling(codes));
  }

  show(layer, number, told, patterns, tops) {
    const body = make("div", { class: "unit-body" },
      make("div", {}, preferredPart(layer, number), this.facts(layer, number, told), this.actions(layer, number, told)),
      make("div", {}, ...this.tops(layer), ...(patterns ? this.classes(patterns, number) : [])), // real images beside the synthesised one
      make("div", { id: "unit-values" }, make("h3", {}, "Its values"), this.quantiles(layer, number, told, tops)));
    const at = this.holder.dataset.unit === `${layer.key} ${number}` ? this.holder.querySelector(".unit-body")?.scrollTop ?? 0 : 0;
    this.holder.dataset.unit = `${layer.key} ${number}`;
    const focused = this.holder.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
    this.holder.replaceChildren(this.head(layer, number), body);
    body.scrollTop = at;
    if (focused) [...this.holder.querySelectorAll("button")].find((button) => button.getAttribute("aria-label") === focused)?.focus();
  }

  head(layer, number) {
    const step = (by, words, sign) => make("button", { type: "button", class: "step", "aria-label": words, title: words, disabled: number + by < 0 || number + by >= layer.units, onclick: () => this.open(callOf(layer), number + by) }, sign);
    return make("div", { class: "panel-head unit-head" }, make("h2", { tabindex: "-1" }, `Unit ${number}`, make("small", {}, [layerWords(layer), networkOf(layer)].filter(Boolean).join(" · "))),
      step(-1, "Previous unit", "‹"), step(1, "Next unit", "›"), make("button", { type: "button", onclick: () => this.close() }, "Close"));
  }

  facts(layer, number, told) {
    const code = told.class?.[number] ?? -1, chosen = told.selectivity?.[number] ?? null, out = told.outstanding?.[number] ?? null;
    const lines = [["mean", `${figure(told.mean[number])} ± ${figure(told.std[number])}`], ["zeros", told.dead[number] ? `never above 0 on ${several(told.all, told.noun)}` : percent(told.zeros[number])],
      ["most for", code < 0 ? null : make("span", { class: "class-name" }, make("i", { style: { "--c": classColour(code) } }), images.labels[code])],
      ["selectivity", code < 0 ? null : chosen === null ? make("span", { title: "a class mean is negative" }, "undefined") : chosen.toFixed(2)], ["stands out", out === null ? null : make("span", { title: "standard deviations within classes" }, `${out.toFixed(1)} σ`)],
      ["not finite", told.nonfinite[number] ? several(told.nonfinite[number], "value") : null],
      ...(this.tuned ?? []).map(({ title, hint, show }) => [title, make("span", { title: hint }, show(number))])].filter(([, value]) => value !== null);
    return make("dl", { class: "facts" }, ...lines.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  }

  actions(layer, number, told) {
    const most = make("input", { type: "number", id: "unit-count", min: 1, max: images.count, value: this.wanted, "aria-label": "How many images", onchange: (event) => { this.wanted = Math.max(1, Math.min(images.count, Math.round(Number(event.target.value)) || SELECTED)); event.target.value = this.wanted; } });
    return make("div", { class: "unit-actions" },
      make("button", { type: "button", class: "button", id: "unit-colour", title: "Every point by what this unit says of it", onclick: () => page.does.colour?.(`unit:${recordedOf(layer)?.id ?? callOf(layer)}:${number}`) }, "Colour the map"),
      make("form", { onsubmit: (event) => { event.preventDefault(); most.onchange?.(); this.select(layer, number, Number(most.value), told); } }, make("button", { type: "submit", class: "button", id: "unit-select" }, "Select images firing most"), most),
      make("p", { class: "note", id: "unit-said", role: "status" }));
  }

  // -- what fires it -------------------------------------------------------------------------------------------------------

  tops(layer) {
    const grid = make("div", { class: "grid", id: "unit-tops", "aria-label": "Images that fire it most" });
    grid.append(...this.top.map(({ row, value }) => cellFor(page.state.space, row, 40, (found) => page.does.open(found, null), () => [make("em", {}, figure(value))])));
    pictured([...grid.children], 40);
    const most = layer.functional.startsWith("positions") ? ", by the greatest of an image’s positions" : "";
    return [make("h3", {}, "Fire it most ", make("small", { class: "note" }, `the ${this.top.length} greatest of all ${several(images.count, "image")}${most}`)), grid];
  }

  // From the greatest down to the middling: a picture of what excites it is judged by more than its very best images.
  middling(coded) {
    const grid = make("div", { class: "grid", id: "unit-middling", "aria-label": "Images that fire it less, down to the median" });
    grid.append(...middling(coded).map(({ row, level }) => cellFor(page.state.space, row, 40, (found) => page.does.open(found, null), () => [make("em", {}, `${level}\u202f%`)])));
    pictured([...grid.children], 40);
    return [make("h3", {}, "Down to middling ", make("small", { class: "note" }, "at these percentiles of all images")), grid];
  }

  // The unit's top images are ringed on the map, until an image is opened.
  ring() {
    const { map } = page;
    if (!page.unit || !map?.now || !this.top) return;
    page.state.fired = this.top.flatMap(({ row }) => map.pointsOf(row));
    page.does.mark();
  }

  imaged() {
    if (!page.state.fired?.length || page.state.row === null) return;
    page.state.fired = [];
    page.does.mark();
  }

  async select(layer, number, wanted) {
    const said = at("unit-said"), { split } = page.state, { turn } = this;
    said.textContent = "";
    const codes = await codesOf(layer, number).catch(() => null);
    if (turn !== this.turn) return;
    const { rows, words } = codes ? firing(codes, this.top, wanted) : topOnly(this.top, wanted);
    const where = split === "all" ? "" : `, ${split}`;
    at("unit-said").textContent = rows.length ? `${several(rows.length, "image")} selected${where}. ${words}` : `No image fires it here${where}.`;
    if (!rows.length) return;
    page.does.select(rows, "replace");
    page.does.look?.(rows);
  }

  // -- its classes ---------------------------------------------------------------------------------------------------------

  classes({ labels, count: counts, mean, std, units, title }, number) {
    const lines = labels.map((name, code) => ({ name, code, mean: mean[code * units + number], std: std[code * units + number] })).filter(({ code, mean: value }) => counts[code] && !Number.isNaN(value)).sort((a, b) => b.mean - a.mean || a.code - b.code);
    const low = Math.min(0, ...lines.map((line) => line.mean - line.std)), high = Math.max(0, ...lines.map((line) => line.mean + line.std)), wide = high - low || 1;
    const place = (value) => (100 * (value - low)) / wide, shown = this.every ? lines : lines.slice(0, CLASSES);
    const bars = make("div", { class: "class-bars", role: "list" }, ...shown.map((line) => make("div", { role: "listitem", title: `${line.name}: ${figure(line.mean, 4)} ± ${figure(line.std, 4)}, ${several(counts[line.code], "image")}` }, make("span", {}, line.name),
      make("div", { class: "track" }, make("i", { style: { "--c": classColour(line.code), left: `${place(Math.min(0, line.mean))}%`, width: `${Math.abs(place(line.mean) - place(0))}%` } }),
        make("u", { style: { left: `${place(Math.max(low, line.mean - line.std))}%`, width: `${place(Math.min(high, line.mean + line.std)) - place(Math.max(low, line.mean - line.std))}%` } })), make("em", {}, figure(line.mean)))));
    const rest = lines.length - CLASSES;
    return [make("h3", {}, "Classes"), make("p", { class: "note" }, `Mean ± standard deviation over ${title.split(" over ").at(-1)}`), bars,
      ...(rest > 0 ? [make("button", { type: "button", class: "text-button", "aria-label": "More classes or fewer", onclick: () => { this.every = !this.every; this.again(); } }, this.every ? "Fewer" : `and ${several(rest, "more class")}`)] : [])];
  }

  // -- its values ----------------------------------------------------------------------------------------------------------

  quantiles(layer, number, told, tops) {
    return make("dl", { class: "levels", title: `over all ${several(told.all, told.noun)}` }, ...told.levels.flatMap((level, place) => [make("dt", {}, LEVELS[level] ?? `${level} %`), make("dd", {}, figure(tops.quantiles[place * layer.units + number]))]));
  }

  spread(coded) {
    const holder = at("unit-values");
    if (!holder) return;
    const words = (text) => make("p", { class: "note" }, text);
    if (!coded) { holder.querySelector("h3").after(words(manifest.static ? "Its value for every image is not in this report." : onlyStatistics(page.unit.layer))); return; }
    const { codes, scale, there } = coded, { split, row } = page.state, bins = new Uint32Array(BINS);
    let of = 0;
    for (let image = 0; image < codes.length; image++) if ((!there || there[image]) && inSplit(image, split)) { bins[Math.floor((codes[image] * BINS) / 256)]++; of++; }
    const most = Math.sqrt(Math.max(...bins, 1)), own = row !== null && inSplit(row, split) ? Math.floor((codes[row] * BINS) / 256) : -1;
    const value = (bin) => scale.low + ((scale.high - scale.low) * bin) / BINS;
    holder.querySelector("h3").after(words(`How many of ${several(of, `${split === "all" ? "" : `${split} `}image`)} have which value; heights by square root${own >= 0 ? "; the open image is marked" : ""}.`),
      make("div", { class: "histogram", role: "img", "aria-label": `Histogram of its values from ${figure(scale.low)} to ${figure(scale.high)}` }, ...Array.from(bins, (number, bin) => make("i", { class: bin === own ? "own" : "", style: { height: `${(100 * Math.sqrt(number)) / most}%` }, title: `${figure(value(bin))} to ${figure(value(bin + 1))}: ${several(number, "image")}` }))),
      make("div", { class: "histogram-ends" }, make("span", {}, figure(scale.low)), make("span", {}, `${figure(scale.high)} and more`)));
  }
}

// The images at MIDDLING percentiles of a unit's values, EACH of every one: { row, level }. Values are known in 256 steps; of the
// images in one step those by row number.
export function middling({ codes, there }) {
  const held = new Uint32Array(256), seen = new Uint32Array(256), known = (row) => !there || there[row];
  for (let row = 0; row < codes.length; row++) if (known(row)) held[codes[row]]++;
  const of = held.reduce((sum, number) => sum + number, 0), ranks = new Map(); // each once, where there are few images
  for (const level of of ? MIDDLING : []) for (let k = 0; k < EACH; k++) ranks.set(Math.max(0, Math.round((level / 100) * (of - 1)) - k), level);
  const wanted = [...ranks].map(([rank, level]) => { let place = rank, code = 0; while (place >= held[code]) place -= held[code++]; return { level, code, place, row: -1 }; });
  for (let row = 0; row < codes.length; row++) if (known(row)) { const code = codes[row], place = seen[code]++; for (const one of wanted) if (one.code === code && one.place === place) one.row = row; }
  return wanted;
}

// -- which images fire a unit most -----------------------------------------------------------------------------------------------

// The images of the split shown by falling code, those whose exact values are known first among equals; and what is said of it.
export function firing({ codes, scale, there }, top, wanted) {
  if (!(scale.high > scale.low)) return topOnly(top.filter(({ value }) => value > scale.high), wanted); // so rare that all codes are alike
  const rank = new Map(top.map(({ row }, place) => [row, place])), { split, kept } = page.state, silent = scale.low === 0 ? 0 : -1, rows = [];
  for (let row = 0; row < codes.length; row++) if (codes[row] > silent && (!there || there[row]) && inSplit(row, split) && (!kept || kept[row])) rows.push(row);
  rows.sort((a, b) => codes[b] - codes[a] || (rank.get(a) ?? Infinity) - (rank.get(b) ?? Infinity) || a - b);
  const chosen = rows.slice(0, wanted), last = codes[chosen.at(-1)], alike = rows.filter((row) => codes[row] === last).length, taken = chosen.filter((row) => codes[row] === last).length;
  const fewer = chosen.length < wanted ? "No other image here fires it. " : "";
  return { rows: chosen, words: `${fewer}Ranked by values kept in 256 steps${alike > taken ? `: of ${count(alike)} images that share the last step ${count(taken)} ${taken === 1 ? "is" : "are"} taken` : ""}.` };
}

function topOnly(top, wanted) {
  const { split, kept } = page.state, rows = top.map(({ row }) => row).filter((row) => inSplit(row, split) && (!kept || kept[row])).slice(0, wanted);
  return { rows, words: `Only the ${top.length} images that fire it most are known here.` };
}
