// "Compare the neighbours": those of the open image in the layer of each map, and how many of them are common, in words.
import { json, column, make, percent, pictured } from "./data.js";
import { cellFor } from "./parts.js";
import { page, at } from "./page.js";

const MOST = 30; // neighbours compared at most

let turn = 0;

// Show it, or take it away; fulfilled with the shortest of sentences, null where there is nothing to say.
export async function showComparison(beside) {
  const { row, space } = page.state, mine = ++turn;
  if (!beside || row === null) { at("compare-panel")?.remove(); return null; }
  const found = await compare(beside, row);
  if (mine !== turn) return null;
  if (!at("compare-panel")) at("image-panel").after(make("section", { id: "compare-panel", class: "compare", "aria-live": "polite" }));
  at("compare-panel").replaceChildren(make("h2", {}, "Compare the neighbours"), ...(typeof found === "string" ? [make("p", { class: "empty" }, found)] : lines(found, space)));
  pictured([...at("compare-panel").querySelectorAll(".cell")], EDGE);
  return typeof found === "string" ? null : `${found.a.filter((one) => found.b.includes(one)).length} of ${found.k} neighbours in common`;
}

// The two lists and what they are of; a sentence where there is nothing to compare.
async function compare(beside, row) {
  const { space, layout } = page.state;
  if (beside.space === space && beside.layout === layout) return "Both maps are the same: choose another layer or layout for the second.";
  const ofMaps = beside.space === space; // one layer laid out twice has one list of nearest: then the maps differ
  const lists = ofMaps ? await Promise.all([onMap(space, layout, row), onMap(space, beside.layout, row)]) : await Promise.all([inLayer(space, row), inLayer(beside.space, row)]);
  if (lists.some((list) => list === null)) return "Not every one of the two layers has neighbours of this image.";
  const k = Math.min(MOST, ...lists.map((list) => list.length));
  if (!k) return "There is no other image among its neighbours.";
  const names = ofMaps ? [`on the ${layout.method}`, `on the ${beside.layout.method}`] : titles(space, beside.space);
  return { k, names, a: lists[0].slice(0, k), b: lists[1].slice(0, k) };
}

function titles(one, other) {
  const of = (space) => `in ${space.layers.join(" + ")}`;
  return of(one) === of(other) ? [`${of(one)} of the first`, `${of(other)} of the second`] : [of(one), of(other)];
}

const rowsOf = (space) => (space.identity ? null : column(space.activations, "image", Int32Array));

// Each other image once, nearest first.
function once(points, rows, own) {
  const seen = new Set([own]);
  return points.map((point) => (rows ? rows[point] : point)).filter((row) => !seen.has(row) && seen.add(row));
}

async function inLayer(space, row) {
  const rows = await rowsOf(space), point = rows ? rows.indexOf(row) : row;
  if (!space.neighbours || point < 0) return null;
  return once((await json(`nearest/${space.neighbours.key}/${point}.json`)).points, rows, row);
}

// The nearest on a layout, found here: every point is there already.
async function onMap(space, layout, row) {
  const [xy, rows] = await Promise.all([column(layout.key, "xy", Uint16Array), rowsOf(space)]), own = rows ? rows.indexOf(row) : row, n = space.points;
  if (own < 0) return null;
  const apart = Float64Array.from({ length: n }, (_, p) => (xy[p] - xy[own]) ** 2 + (xy[n + p] - xy[n + own]) ** 2);
  return once(nearest(apart, MOST * (rows ? 8 : 1) + 1), rows, row).slice(0, MOST);
}

// The places of the least of some numbers, in order.
function nearest(apart, most) {
  const bound = most >= apart.length ? Infinity : Float64Array.from(apart).sort()[most - 1], found = [];
  for (let p = 0; p < apart.length; p++) if (apart[p] <= bound) found.push(p);
  return found.sort((a, b) => apart[a] - apart[b] || a - b).slice(0, most);
}

const EDGE = 54; // pixels of a thumbnail

function lines({ k, names, a, b }, space) {
  const common = a.filter((row) => b.includes(row)), onlyA = a.filter((row) => !b.includes(row)), onlyB = b.filter((row) => !a.includes(row));
  const part = (title, rows, id) => (rows.length ? [make("h3", {}, title), make("div", { class: "grid", id, "aria-label": title }, ...rows.map((row) => cellFor(space, row, EDGE, (found) => page.does.open(found, null))))] : []);
  return [make("p", { id: "common" }, `${common.length} of its ${k} nearest ${names[0]} ${common.length === 1 ? "is" : "are"} among its ${k} nearest ${names[1]} too: ${percent(common.length / k)} in common.`),
    ...part("In both", common, "compare-both"), ...part(`Only ${names[0]}`, onlyA, "compare-first"), ...part(`Only ${names[1]}`, onlyB, "compare-second")];
}
