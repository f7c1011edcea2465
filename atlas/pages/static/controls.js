// The controls of the map: network, layer, layout, images shown, sizes, tools; and how faithful the layout is.
import { manifest, images, make, segments, count } from "./data.js";
import { canColour } from "./colouring.js";
import { page, on, tell, at } from "./page.js";

export function startControls() {
  networkSwitch();
  controls();
  Object.assign(page.does, { go, layout, tool, split, controls });
  at("layer").onchange = (event) => go(spaceCalled(event.target.value));
  at("layout").onchange = (event) => layout(event.target.value);
  at("size").oninput = (event) => { page.map.setSize(Number(event.target.value)); setSlider(event.target, event.target.value); };
  at("opacity").oninput = (event) => { opacity(Number(event.target.value)); setSlider(event.target, event.target.value); };
  at("theme").onclick = () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark", true);
  addEventListener("atlas-theme", () => theme(document.documentElement.dataset.theme, false));
  at("tools").onclick = (event) => tool(event.target.closest("button"));
  on("start", () => { setSlider(at("opacity"), 0.85); opacity(0.85); page.map.theme(document.documentElement.dataset.theme === "dark"); });
  on("drawn", sizeSlider);
}

export const spaceCalled = (id) => manifest.spaces.find((space) => space.id === id);

// Another layer, or several jointly: the method of the layout, the colour and the selection stay where they can.
function go(space) {
  const { state } = page, { method } = state.layout;
  Object.assign(state, { space, point: null, near: [] }); // points are numbered anew in each layer
  state.layout = space.layouts.find((other) => other.method === method) ?? space.layouts[0];
  if (!canColour(space, state.colour)) Object.assign(state, { colour: space.colours[0], hidden: new Set(), alone: null });
  controls();
  return page.does.redraw().then(() => tell("space", space));
}

// Another network: the same layer in it, or its last.
function network(key) {
  const of = manifest.spaces.filter((space) => space.network === key), now = page.state.space.layers.join("+");
  return go(of.find((space) => space.layers.join("+") === now) ?? of.at(-1));
}

function networkSwitch() {
  if (manifest.networks.length < 2) return;
  at("layer").closest(".field").before(make("label", { class: "field" }, make("span", {}, "Network"), make("select", { id: "network", onchange: (event) => network(event.target.value) })));
}

function layout(key) {
  const { state } = page;
  state.layout = state.space.layouts.find((other) => other.key === key);
  controls();
  return page.does.redraw().then(() => tell("layout", key));
}

function opacity(alpha) {
  page.thumbs.opacity = alpha; page.map.setOpacity(alpha); page.thumbs.later();
  if (page.second) { page.second.thumbs.opacity = alpha; page.second.thumbs.later(); }
}

function theme(name, keep) {
  document.documentElement.dataset.theme = name;
  if (keep) { document.documentElement.dataset.chosen = "yes"; try { localStorage.setItem("atlas-theme", name); } catch { /* not kept then */ } }
  page.map.theme(name === "dark");
  tell("theme", name);
}

function options(select, choices, chosen) {
  select.replaceChildren(...choices.map(([value, words]) => make("option", { value, selected: value === chosen }, words)));
  select.value = chosen;
}

// The method alone where that tells it apart; its parameters stand below the switch.
export function layoutWords({ method, words }, all) {
  return all.filter((layout) => layout.method === method).length > 1 && words ? `${method} · ${words}` : method;
}

// The layers of the network that is chosen, and those of several.
const ofNetwork = (space) => manifest.spaces.filter((other) => manifest.networks.length < 2 || other.network === space.network || !other.network);

function controls() {
  const { space, layout } = page.state;
  if (at("network")) options(at("network"), manifest.networks.map(({ key, title }) => [key, title]), space.network);
  options(at("layer"), ofNetwork(space).map(({ id, title }) => [id, title]), space.id);
  options(at("layout"), space.layouts.map((other) => [other.key, layoutWords(other, space.layouts)]), layout.key);
  faithful();
  splitSwitch();
}

/** Say in words how faithful a layout is, and on how many points each figure was measured. */
function faithfulWords(method, words, { recall, k = 15, sample, points }) {
  const name = words ? `${method} (${words})` : method;
  const kept = recall === undefined ? "" : ` keeps ${Math.round(100 * recall)} % of each point’s ${k} nearest neighbours`;
  const others = sample === undefined || sample === points ? "" : ` Trustworthiness and continuity are of ${count(sample)} points.`;
  return `${name}${kept}${kept && points ? `, over all ${count(points)} points` : ""}.${others}`;
}

let measuredOpen = false; // its words stand folded, so that the legend below is in view

function faithful() {
  const { quality, words, method } = page.state.layout, holder = at("faithful");
  const lines = [["trustworthiness", "Trustworthiness", "neighbours on the map are neighbours in the layer"], ["continuity", "Continuity", "neighbours in the layer stay close on the map"],
    ["recall", `${quality.k ?? 15} nearest kept`, "share of each point’s nearest neighbours in the layer that are its nearest on the map"]].filter(([name]) => name in quality);
  if (!lines.length) { holder.replaceChildren(make("p", { class: "note" }, "How faithful this layout is was not measured.")); return; }
  holder.replaceChildren(make("dl", {}, ...lines.flatMap(([name, title, hint]) => [make("dt", { title: hint }, title),
    make("dd", { class: "meter", title: hint }, make("i", { style: { width: `${100 * Math.max(0, Math.min(1, quality[name]))}%` } })), make("dd", {}, quality[name].toFixed(2))])),
  make("details", { class: "measured", open: measuredOpen, ontoggle: (event) => { measuredOpen = event.target.open; } }, make("summary", { class: "note" }, "How this was measured"), make("p", { class: "note" }, faithfulWords(method, words, quality))));
}

function splitSwitch() {
  at("split-section").hidden = !images.switch;
  if (!images.switch) return;
  segments(at("split"), [{ id: "held-out", title: "Held-out", small: count(images.splits["held-out"]) }, { id: "train", title: "Train", small: count(images.splits.train) },
    { id: "all", title: "All", small: count(images.count) }], page.state.split, split);
}

function split(id) {
  page.state.split = id;
  return page.does.redraw().then(() => tell("split", id));
}

function sizeSlider() {
  const { map } = page;
  const value = map.size ?? map.sizeFor(map.shown);
  setSlider(at("size"), value);
}

function setSlider(input, value) {
  input.value = value;
  input.style.setProperty("--at", `${(100 * (value - input.min)) / (input.max - input.min)}%`);
  at(`${input.id}-value`).textContent = String(value);
}

function tool(button) {
  if (!button) return;
  const { map, thumbs } = page;
  if (button.dataset.zoom) map.zoom(Number(button.dataset.zoom));
  else if ("reset" in button.dataset) map.whole();
  else if (button.id === "pictures") thumbs.toggle();
  else if (button.id === "icons") page.does.icons();
  else if (button.id === "path") page.does.path();
  else if (button.dataset.tool) {
    for (const [name, model] of Object.entries(map.tools)) model.active = name === button.dataset.tool;
    for (const other of document.querySelectorAll("[data-tool]")) other.setAttribute("aria-pressed", other === button);
  }
}
