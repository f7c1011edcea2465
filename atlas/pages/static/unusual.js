// Unusual associations: cells that argue for a class few of their members have, and units whose top images cross classes.
import { manifest, images, json, numbers, make, count, several, percent, classColour } from "./data.js";
import { page, at } from "./page.js";
import { layerOfSpace, layerWords, callOf } from "./layers.js";
import { iconStyle } from "./icons.js";
import { smallPicture } from "./preferred.js";
import { noCells } from "./command.js";

const EDGE = 26; // pixels of an icon, of a preferred input
const LEAST = 0.005; // of a score: below it reads 0.00 and nothing is unusual

const named = (code) => make("span", { class: "class-name" }, make("i", { style: { "--c": classColour(code) } }), images.labels[code] ?? "no label");

// What the classes panel shows of it: fetched first, then drawn. `pick(rows, words)` selects images.
export async function unusual(panel) {
  const { layout, space } = page.state, part = manifest.cells.find((one) => one.layout === layout.key) ?? null, layer = layerOfSpace(space);
  const [cells, units] = await Promise.all([part?.attributed ? json(`unusual/${part.key}.json`).catch(() => null) : null, layer ? json(`crossing/${layer.key}.json`).catch(() => null) : null]);
  return () => {
    const title = "Cells rank by how strongly they argue for a class and how much rarer it is among their members than their usual class; units by how evenly two classes share their top images";
    at("class-title").textContent = at("class-title").title = title;
    at("classes-body").replaceChildren(make("div", { class: "unusual" },
      list(`Cells of ${space.id} · ${layout.method}`, cells, missing(part, space, layout), (k) => cellLine(panel, part, cells, k)),
      list(layer ? `Units of ${layerWords(layer)}` : "Units", units, "Which classes the units’ top images are of is not known of this layer.", (k) => unitLine(layer, units, k))));
  };
}

function missing(part, space, layout) {
  if (manifest.static) return "They are not in this report: the explorer has them.";
  if (part?.attributed) return "They could not be fetched. Load the page again.";
  return noCells(space, layout);
}

function list(title, told, missing, line) {
  const lines = told ? told.score.flatMap((score, k) => (score >= LEAST ? [line(k)] : [])) : [];
  const left = told && told.of > lines.length ? make("p", { class: "note" }, `${count(lines.length)} of ${count(told.of)} listed: the others are less unusual.`) : null;
  return make("section", { "aria-label": title }, make("h4", {}, title), told ? (lines.length ? make("ol", { class: "pairs" }, ...lines) : make("p", { class: "note" }, "Nothing unusual.")) : make("p", { class: "note" }, missing), left);
}

function cellLine(panel, part, told, k) {
  const share = told.share[k], usual = told.usual[k] === told.argues_for[k] ? null : told.usual[k];
  const words = `${images.labels[told.argues_for[k]]}: argued for by a cell of ${several(told.images[k], "image")}, ${percent(share)} of them so labelled`;
  const icon = part.icons ? make("i", { class: "icon-mini", style: iconStyle(part, told.cell[k], EDGE) }) : null;
  return make("li", {}, make("button", { type: "button", class: `row-link${told.few[k] ? " faint" : ""}`, "data-cell": told.cell[k], title: `${words}. Selects its images.`, onclick: () => choose(panel, part, told, k, words) }, icon,
    make("span", {}, make("small", {}, "argues for "), named(told.argues_for[k]), make("small", {}, ` ${percent(share)} of ${several(told.images[k], "image")}`), ...(usual === null ? [] : [make("small", {}, ", most are "), named(usual), make("small", {}, ` ${percent(told.usual_share[k])}`)]), told.few[k] ? make("small", {}, ", few images") : null),
    make("em", { title: "opacity of the argument × how much rarer the class is than the usual one: 1 − share / usual share" }, told.score[k].toFixed(2))));
}

function unitLine(layer, told, k) {
  const unit = told.unit[k];
  return make("li", {}, make("button", { type: "button", class: "row-link", "data-unit": unit, title: `Of its ${several(told.images[k], "top image")}. Opens the unit.`, onclick: () => page.does.unit(callOf(layer), unit) }, smallPicture(layer, unit, EDGE),
    make("span", {}, `unit ${unit} `, named(told.first[k]), make("small", {}, ` ${percent(told.first_share[k])} and `), named(told.second[k]), make("small", {}, ` ${percent(told.second_share[k])}`), told.classes[k] > 2 ? make("small", {}, `, ${told.classes[k]} classes in all`) : null),
    make("em", { title: "twice the second class’s share of its top images" }, told.score[k].toFixed(2))));
}

// A cell’s images are those of its points in the grid that it belongs to.
async function choose(panel, part, told, k, words) {
  const grid = part.sizes.indexOf(told.size[k]), of = await numbers(`cells/${part.key}/${grid}.bin`, Uint16Array).catch(() => null);
  if (!of) { panel.say(manifest.static ? "Which images lie in the cells is not in this report: the explorer has it." : "The cell’s images could not be fetched. Try it again."); return; }
  const rows = new Set();
  of.forEach((own, point) => { if (own === told.cell[k]) rows.add(page.map.rowOf(point)); });
  panel.pick([...rows], words);
}
