// The layers side by side: how pure their cells are and how strongly they argue, from the first layer to the last.
import { manifest, json, make, count, percent } from "./data.js";
import { page, at } from "./page.js";
import { spaceCalled } from "./controls.js";
import { depthCommand } from "./command.js";

// What the classes panel shows of it: fetched first, then drawn.
export async function depth(panel) {
  const { layout, space } = page.state, own = manifest.cells.find((one) => one.layout === layout.key);
  const alike = manifest.cells.find((one) => spacesOf(one).some((other) => other.network === space.network && other.layouts.some(({ key, method }) => key === one.layout && method === layout.method)));
  const part = own ?? alike;
  if (!part) return () => panel.empty(manifest.static ? "This is not in this report: the explorer has it." : `No layer’s ${layout.title ?? layout.method} map has cells yet. In a terminal: ${depthCommand(space, layout)}`);
  const told = await json(`depth/${part.key}.json`);
  return () => {
    at("class-title").textContent = at("class-title").title = "Label purity: mean share of a cell’s most frequent label. Largest attribution: what a cell argues for most, its mean over the cells. Cells of few images count in neither";
    at("classes-body").replaceChildren(make("div", { class: "depth" }, table(told), without(told)));
  };
}

const spacesOf = ({ layout }) => manifest.spaces.filter(({ layouts }) => layouts.some(({ key }) => key === layout));

function table(told) {
  const layers = [...new Set(told.layer)], at_ = (layer, size) => told.layer.findIndex((name, k) => name === layer && told.size[k] === size);
  const most = told.sizes.map((size) => Math.max(...told.attribution.filter((_, k) => told.size[k] === size).map(Math.abs)) || 1);
  const head = (words, title) => make("th", { scope: "col", title: title ?? null }, words);
  return make("table", { class: "sortable depth-table" }, make("thead", {}, make("tr", {}, head("layer"), ...told.sizes.flatMap((size) => [head(`purity, ${size} × ${size}`), head(`largest attribution, ${size} × ${size}`), head("cells")]))),
    make("tbody", {}, ...layers.map((layer) => make("tr", { "data-layer": layer, "aria-current": layer === page.state.space.id ? "true" : null }, make("td", {}, name(layer)), ...told.sizes.flatMap((size, n) => {
      const k = at_(layer, size), argued = told.attribution[k];
      return [bar(told.purity[k], percent(told.purity[k]), "var(--accent)"), bar(argued === null ? null : Math.max(0, argued) / most[n], argued === null ? "–" : argued.toPrecision(3), manifest.colours.wrong), make("td", { title: told.few[k] ? `${count(told.few[k])} of few images` : null }, count(told.cells[k]))];
    })))));
}

function name(layer) {
  const known = spaceCalled(layer);
  return known && layer !== page.state.space.id ? make("button", { type: "button", class: "row-link", title: "Show this layer’s map", onclick: () => page.does.go(known) }, layer) : make("b", {}, layer);
}

const bar = (share, words, colour) => make("td", {}, make("div", { class: "depth-bar" }, make("div", { class: "bar", style: { "--c": colour } }, make("i", { style: { width: `${100 * (share ?? 0)}%` } })), make("em", {}, words)));

function without(told) {
  if (!told.without.length) return null;
  return make("p", { class: "note" }, `Without cells: ${told.without.join(", ")}.`, ...(manifest.static ? [] : [" In a terminal: ", make("code", {}, depthCommand(page.state.space, page.state.layout))]));
}
