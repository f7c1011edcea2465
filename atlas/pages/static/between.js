// From one class to another: the cells that argue for either, along the axis of the difference between their attributions.
import { manifest, images, json, make, count, several, percent, classColour, tables } from "./data.js";
import { page, at } from "./page.js";
import { iconStyle, codeOf, rowsOfCell } from "./icons.js";
import { confusions } from "./confusion.js";
import { arrowKeys } from "./section.js";
import { noCells } from "./command.js";

const EDGE = 34; // pixels of a cell’s icon
const STEPS = 11; // columns from the one class to the other, the middle one for what argues for both alike
const TALL = 34; // pixels of the highest bar of points
const chosen = { left: null, right: null, grid: 0 }; // by name: it is kept from layer to layer

const partOf = (layout) => manifest.cells.find((one) => one.layout === layout.key && one.attributed) ?? null;

// What the classes panel shows of it: fetched first, then drawn.
export async function between(panel) {
  const { layout, space } = page.state, part = partOf(layout), told = part ? await json(`cells/${part.key}.json`) : null;
  if (!told || told.names.length < 2) return () => panel.empty(part ? "These cells argue for one class only." : missing(space, layout));
  const [left, right] = pair(told, space), way = [left, right].sort((a, b) => a - b);
  const found = await json(`between/${part.key}/${way[0]}/${way[1]}.json`);
  const apart = left < right ? found : { ...found, axis: found.axis.map((value) => -value), histogram: turned(found.histogram) };
  chosen.grid = Math.min(chosen.grid, part.sizes.length - 1);
  return () => {
    at("class-title").textContent = at("class-title").title = `${several(apart.of, space.spatial ? "position" : "point")} of ${space.id} that argue for either; a cell stands where it lies between them, and selects its images`;
    at("classes-body").replaceChildren(make("div", { class: "between" }, choices(panel, told, part, left, right), legend(told, apart, left, right), bars(told, apart, left, right), columns(panel, part, told, apart)));
  };
}

const missing = (space, layout) => (manifest.static ? "This is not in this report: the explorer has it." : noCells(space, layout));

// The two classes that were chosen, or those that are mistaken for each other most, by their places among the names.
function pair(told, space) {
  const place = (name) => told.names.indexOf(name), usual = mistaken(told, space);
  const left = place(chosen.left) >= 0 ? place(chosen.left) : usual[0], right = place(chosen.right) >= 0 ? place(chosen.right) : usual[1];
  return left === right ? [left, (left + 1) % told.names.length] : [left, right];
}

function mistaken(told, space) {
  const judged = manifest.predictions[space.predictions]?.judged && tables.predictions[space.predictions];
  for (const { own, other } of judged ? confusions(space.predictions, "all").pairs : []) if (told.codes.includes(own) && told.codes.includes(other)) return [told.codes.indexOf(own), told.codes.indexOf(other)];
  return [0, 1];
}

const turned = ({ left, right, others }) => ({ left: right.toReversed(), right: left.toReversed(), others: others.toReversed() });

function choices(panel, told, part, left, right) {
  const order = told.names.map((_, place) => place).sort((a, b) => told.names[a].localeCompare(told.names[b]));
  const select = (side, now, words) => make("select", { "aria-label": words, onchange: (event) => { chosen[side] = told.names[event.target.value]; if (event.target.value === String(side === "left" ? right : left)) chosen[side === "left" ? "right" : "left"] = told.names[now]; panel.again(); } },
    ...order.map((place) => make("option", { value: place, selected: place === now }, told.names[place])));
  const grid = make("select", { "aria-label": "Grid", onchange: (event) => { chosen.grid = Number(event.target.value); panel.again(); } }, ...part.sizes.map((size, k) => make("option", { value: k, selected: k === chosen.grid }, `${size} × ${size} cells`)));
  return make("div", { class: "between-head" }, select("left", left, "Class on the left"), make("button", { type: "button", class: "text-button", title: "Turn the two around", onclick: () => { Object.assign(chosen, { left: told.names[right], right: told.names[left] }); panel.again(); } }, "⇄"), select("right", right, "Class on the right"), grid);
}

// The cells of one grid in steps of the axis, those of most points first.
function columns(panel, part, told, apart) {
  const own = apart.cell.flatMap((cell, k) => (told.grid[cell] === chosen.grid ? [k] : [])).sort((a, b) => apart.points[b] - apart.points[a] || apart.cell[a] - apart.cell[b]);
  const steps = Array.from({ length: STEPS }, () => []);
  for (const k of own) steps[Math.min(STEPS - 1, Math.floor(((apart.axis[k] + 1) / 2) * STEPS))].push(k);
  return arrowKeys(make("div", { class: "between-steps", role: "group", "aria-label": "Cells from the left class to the right one" }, ...steps.map((step) => make("div", { class: "between-step" }, ...step.map((k) => cellButton(panel, part, told, apart, k))))));
}

function cellButton(panel, part, told, apart, k) {
  const cell = apart.cell[k], code = told.classes[cell]?.[0] ?? -1, usual = code >= 0 && told.members[cell][0] ? `, ${images.labels[code]} ${percent(told.purity[cell])}` : "";
  const words = `${apart.axis[k] < 0 ? "−" : "+"}${Math.abs(apart.axis[k]).toFixed(2)}: ${several(apart.points[k], "point")}, ${percent(apart.share[k])} of the cell${usual}`;
  const light = (lit) => { if (page.icons?.part?.key === part.key) page.icons.point(lit); };
  const picture = part.icons ? make("i", { class: "icon-mini", style: iconStyle(part, cell, EDGE) }) : make("i", { class: "between-plain" });
  return make("button", { type: "button", class: `between-cell${told.few[cell] || told.failed[cell] ? " poor" : ""}`, "data-cell": cell, title: `${words}. Selects its images.`, "aria-label": words, style: { "--c": classColour(codeOf(told, cell)) },
    onpointerenter: () => light(cell), onfocus: () => light(cell), onpointerleave: () => light(null), onblur: () => light(null),
    onclick: async () => { const rows = await rowsOfCell(part.key, told.grid[cell], cell).catch(() => null); if (rows) panel.pick(rows, words); else panel.say("The cell’s images could not be fetched. Try it again."); } }, picture);
}

// How the points are labelled along the axis.
function bars(told, { histogram }, left, right) {
  const { left: first, right: second, others } = histogram, most = Math.max(...first.map((_, k) => first[k] + second[k] + others[k])) || 1;
  const bar = (number, code) => make("i", { style: { height: `${(TALL * number) / most}px`, "--c": code === null ? "var(--text-3)" : classColour(code) } });
  return make("div", { class: "between-bars", role: "img", "aria-label": `Points along the axis: ${count(sum(first))} labelled ${told.names[left]}, ${count(sum(second))} labelled ${told.names[right]}, ${count(sum(others))} others` },
    ...first.map((_, k) => make("span", { title: `${count(first[k])} ${told.names[left]}, ${count(second[k])} ${told.names[right]}, ${count(others[k])} others` }, bar(others[k], null), bar(second[k], told.codes[right]), bar(first[k], told.codes[left]))));
}

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

function legend(told, apart, left, right) {
  const own = apart.cell.filter((cell) => told.grid[cell] === chosen.grid).length, few = apart.left_out[chosen.grid];
  const named = (place) => make("span", { class: "class-name" }, make("i", { style: { "--c": classColour(told.codes[place]) } }), told.names[place]);
  return make("div", { class: "between-ends" }, make("span", {}, "← argues for ", named(left)), make("span", { class: "note", title: "Left out are cells of fewer than 5 such points, or in which they are less than a tenth. The bars: how the points are labelled" }, `${several(own, "cell")}${few ? `, ${count(few)} with few such points left out` : ""}; bars: labels of the points`), make("span", {}, "argues for ", named(right), " →"));
}
