// The page: its state, its controls, and who tells whom. The state is in the address, so that a link restores it.
import { manifest, images, tables, loadImages, loadPredictions, make, segments, count, several, percent, thumbStyle, labelOf, splitOf, predictionOf, classColour, SPLITS } from "./data.js";
import { AtlasMap } from "./map.js";
import { Thumbs } from "./thumbs.js";
import { ImagePanel, SelectionPanel } from "./panels.js";
import { Patterns } from "./patterns.js";
import { NewImage } from "./newimage.js";

const at = (id) => document.getElementById(id);
const COLOURS = { class: "class", prediction: "prediction", right: "right or wrong", confidence: "confidence", faithfulness: "map faithfulness", suspicion: "label suspicion", split: "split" };
const AMOUNTS = { confidence: "confidence", faithfulness: "nearest kept", suspicion: "suspicion" };
const spaceCalled = (id) => manifest.spaces.find((space) => space.id === id);
const state = { hidden: new Set(), row: null, point: null };
let map, thumbs, panel, selection, patterns, newcomer, pointer = [0, 0], dragging = false;

// -- drawing what the state says -------------------------------------------------------------------------------------------------

async function redraw() {
  const { space } = state;
  at("float").hidden = true; // it tells of a point that may go
  await loadPredictions(space.predictions);
  const drawn = await map.draw(state);
  if (!drawn) return;
  state.drawn = drawn;
  chips(drawn);
  sayShown(drawn);
  sizeSlider();
  thumbs.later();
  await mark();
  address();
  window.AtlasPage.drawn = (window.AtlasPage.drawn ?? 0) + 1; // what a test waits for
}

function sayShown({ shown }) {
  const what = state.space.spatial ? "position" : "point";
  at("shown").replaceChildren(make("b", {}, count(shown)), ` of ${several(state.space.points, what)} shown`, make("span", { id: "pictured" }));
  const away = state.space.points - shown;
  at("map-card").querySelector("[role=img]")?.setAttribute("aria-label", `Map: ${count(shown)} of ${several(state.space.points, what)} shown`);
  if (!images.switch) return;
  const hidden = SPLITS.filter((name) => state.split !== "all" && name !== state.split && images.splits[name]);
  at("split-note").textContent = state.split === "all" ? "Training images are drawn fainter, under the others."
    : away ? `${hidden.map((name) => `${count(images.splits[name])} ${name}`).join(" and ")} ${away === 1 ? "image" : "images"} hidden.` : "";
}

function chips({ colouring, counts }) {
  const holder = at("chips"), { names, palette } = colouring;
  const scale = at("scale"), search = at("chip-search");
  scale.hidden = names !== null;
  holder.hidden = names === null;
  const kinds = names ? names.map((name, code) => ({ name, code })).filter(({ code }) => counts[code]) : [];
  search.hidden = kinds.length <= 24;
  if (names === null) {
    const stops = palette.slice(0, -1).filter((_, k) => k % 9 === 0);
    scale.replaceChildren(make("i", { style: { background: `linear-gradient(90deg, ${stops.join(",")})` } }), make("div", {}, make("span", {}, "0 %"), make("span", {}, AMOUNTS[state.colour]), make("span", {}, "100 %")));
    return;
  }
  const filter = search.value.toLowerCase();
  const focused = document.activeElement?.dataset?.code;
  holder.replaceChildren(...kinds.filter(({ name }) => name.toLowerCase().includes(filter)).map(({ name, code }) =>
    make("button", { type: "button", class: "chip", "aria-pressed": String(!state.hidden.has(code)), "data-code": code, title: [spreadWords(code), "Click hides or shows, double-click shows it alone"].filter(Boolean).join("\n"),
      style: { "--c": palette[code] }, onclick: (event) => toggle(code, event), ondblclick: () => isolate(code, kinds) },
    make("span", {}, name), make("small", {}, chipCount(code, counts)))));
  if (focused !== undefined) holder.querySelector(`[data-code="${focused}"]`)?.focus();
}

// How a class lies in the layer's own space: beside the map, not on it.
function spreadWords(code) {
  const told = state.colour === "class" && state.space.spread?.[code];
  if (!told || told.purity === null) return null;
  const mixes = told.share >= 0.005 ? `, ${percent(told.share)} are ${images.labels[told.other]}` : "";
  const wide = told.spread === null ? "" : ` Its spread is ${told.spread.toFixed(2)} of the distance between classes.`;
  return `In the layer ${percent(told.purity)} of its nearest neighbours are of its class${mixes}.${wide}`;
}

// "47 / 412" under a selection: how many of the category are selected.
function chipCount(code, counts) {
  if (!map.chosen) return count(counts[code]);
  const { codes } = state.drawn.colouring;
  let chosen = 0;
  for (let row = 0; row < codes.length; row++) if (map.chosen[row] && codes[row] === code) chosen++;
  return `${count(chosen)} / ${count(counts[code])}`;
}

function toggle(code, event) {
  if (event.detail > 1) return; // the second half of a double-click
  if (!state.hidden.delete(code)) state.hidden.add(code);
  redraw();
}

function isolate(code, kinds) {
  const others = kinds.filter((kind) => kind.code !== code).map((kind) => kind.code);
  const alone = others.every((other) => state.hidden.has(other)) && !state.alone;
  state.hidden = new Set(alone || state.alone === code ? [] : others);
  state.alone = state.hidden.size ? code : null;
  redraw();
}

// -- controls ----------------------------------------------------------------------------------------------------------------------

function options(select, choices, chosen) {
  select.replaceChildren(...choices.map(([value, words]) => make("option", { value, selected: value === chosen }, words)));
  select.value = chosen;
}

// The method alone where that tells it apart; its parameters stand below the switch.
function layoutWords({ method, words }, all) {
  return all.filter((layout) => layout.method === method).length > 1 && words ? `${method} · ${words}` : method;
}

function controls() {
  const { space } = state;
  options(at("layer"), manifest.spaces.map(({ id, title }) => [id, title]), space.id);
  options(at("layout"), space.layouts.map((layout) => [layout.key, layoutWords(layout, space.layouts)]), state.layout.key);
  options(at("colour"), space.colours.map((name) => [name, COLOURS[name]]), state.colour);
  faithful();
  colourNote();
}

function colourNote() {
  const told = manifest.predictions[state.space.predictions];
  const notes = { faithfulness: state.layout.measured ? `The share of each point’s ${state.layout.quality.k ?? 15} nearest in the layer that are its nearest here.` : "Not measured point by point for this layout.",
    suspicion: "How far an image’s neighbours in the layer, and the network, are from its label." };
  at("colour-note").textContent = notes[state.colour] ?? (told && !told.judged ? told.sentence : "");
}

/** Say in words how faithful a layout is, and on how many points each figure was measured. */
function faithfulWords(method, words, { recall, k = 15, sample, points }) {
  const name = words ? `${method} (${words})` : method;
  const kept = recall === undefined ? "" : ` keeps ${Math.round(100 * recall)} % of each point’s ${k} nearest neighbours`;
  const others = sample === undefined || sample === points ? "" : ` Trustworthiness and continuity are of ${count(sample)} points.`;
  return `${name}${kept}${kept && points ? `, over all ${count(points)} points` : ""}.${others}`;
}

function faithful() {
  const { quality, words, method } = state.layout, holder = at("faithful");
  const lines = [["trustworthiness", "Trustworthiness", "neighbours on the map are neighbours in the layer"], ["continuity", "Continuity", "neighbours in the layer stay close on the map"],
    ["recall", `${quality.k ?? 15} nearest kept`, "share of each point’s nearest neighbours in the layer that are its nearest on the map"]].filter(([name]) => name in quality);
  if (!lines.length) { holder.replaceChildren(make("p", { class: "note" }, "How faithful this layout is was not measured.")); return; }
  holder.replaceChildren(make("dl", {}, ...lines.flatMap(([name, title, hint]) => [make("dt", { title: hint }, title),
    make("dd", { class: "meter", title: hint }, make("i", { style: { width: `${100 * Math.max(0, Math.min(1, quality[name]))}%` } })), make("dd", {}, quality[name].toFixed(2))])),
  make("p", { class: "note" }, faithfulWords(method, words, quality)));
}

function splitSwitch() {
  at("split-section").hidden = !images.switch;
  if (!images.switch) return;
  segments(at("split"), [{ id: "held-out", title: "Held-out", small: count(images.splits["held-out"]) }, { id: "train", title: "Train", small: count(images.splits.train) },
    { id: "all", title: "All", small: count(images.count) }], state.split, (id) => { state.split = id; redraw(); patterns.show(state.space, state.split); });
}

function sizeSlider() {
  const value = map.size ?? map.sizeFor(map.i.length);
  setSlider(at("size"), value);
}

function setSlider(input, value) {
  input.value = value;
  input.style.setProperty("--at", `${(100 * (value - input.min)) / (input.max - input.min)}%`);
  at(`${input.id}-value`).textContent = String(value);
}

function wire() {
  at("layer").onchange = (event) => { go(spaceCalled(event.target.value)); };
  at("layout").onchange = (event) => { state.layout = state.space.layouts.find(({ key }) => key === event.target.value); faithful(); colourNote(); redraw().then(() => newcomer.moved()); };
  at("colour").onchange = (event) => { state.colour = event.target.value; colourNote(); state.hidden = new Set(); state.alone = null; redraw(); };
  at("chip-search").oninput = () => chips(state.drawn);
  at("size").oninput = (event) => { map.setSize(Number(event.target.value)); setSlider(event.target, event.target.value); };
  at("opacity").oninput = (event) => { opacity(Number(event.target.value)); setSlider(event.target, event.target.value); };
  at("theme").onclick = () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark", true);
  addEventListener("atlas-theme", () => theme(document.documentElement.dataset.theme, false));
  at("copy-link").onclick = copyLink;
  at("tools").onclick = (event) => tool(event.target.closest("button"));
  const card = at("map-card");
  card.addEventListener("pointermove", (event) => { pointer = [event.clientX, event.clientY]; dragging = event.buttons > 0; if (!at("float").hidden) placeFloat(); }, true); // captured: known before Bokeh tells of the same movement
  card.addEventListener("pointerleave", () => { at("float").hidden = true; });
  addEventListener("keydown", keys);
}

function go(space) {
  const method = state.layout.method;
  Object.assign(state, { space, point: null, near: [] }); // points are numbered anew in each layer
  state.layout = space.layouts.find((layout) => layout.method === method) ?? space.layouts[0];
  if (!space.colours.includes(state.colour)) state.colour = space.colours[0];
  controls();
  redraw().then(() => { if (state.row !== null) open(state.row, null); newcomer.again(); });
  patterns.show(space, state.split);
  showSelection();
}

function opacity(alpha) { thumbs.opacity = alpha; map.setOpacity(alpha); thumbs.later(); }

function theme(name, keep) {
  document.documentElement.dataset.theme = name;
  if (keep) { document.documentElement.dataset.chosen = "yes"; try { localStorage.setItem("atlas-theme", name); } catch { /* not kept then */ } }
  map.theme(name === "dark");
  patterns.draw();
}

async function copyLink(event) {
  const button = event.target, before = "Copy link";
  try { await navigator.clipboard.writeText(location.href); button.textContent = "Copied"; } catch { button.textContent = "Copy it from the address bar"; }
  setTimeout(() => { button.textContent = before; }, 1600);
}

function tool(button) {
  if (!button) return;
  if (button.dataset.zoom) map.zoom(Number(button.dataset.zoom));
  else if ("reset" in button.dataset) map.whole();
  else if (button.id === "pictures") thumbs.toggle();
  else if (button.dataset.tool) {
    for (const [name, model] of Object.entries(map.tools)) model.active = name === button.dataset.tool;
    for (const other of document.querySelectorAll("[data-tool]")) other.setAttribute("aria-pressed", other === button);
  }
}

function keys(event) {
  if (event.key === "Escape") { if (map.chosen) map.clear(); else if (newcomer.showing) newcomer.close(); else close(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  const chosen = { m: "[data-tool=pan]", l: "[data-tool=lasso]", b: "[data-tool=box]", "+": "[data-zoom='0.667']", "-": "[data-zoom='1.5']", 0: "[data-reset]", t: "#pictures" }[event.key];
  if (chosen) tool(document.querySelector(chosen));
}

// -- one image, and the selection -----------------------------------------------------------------------------------------------------

async function open(row, point, words) {
  state.row = row;
  state.point = point ?? map.pointOf(row);
  const near = await panel.show(state.space, row, state.point, words);
  if (state.row !== row) return; // another image was opened meanwhile
  state.near = near ? near.points.slice(0, panel.k) : [];
  await mark();
  address();
}

async function mark() {
  const own = state.row === null ? [] : map.pointsOf(state.row);
  const point = own.includes(state.point) ? state.point : own[0];
  map.mark(point ?? null, own.filter((other) => other !== point), point === undefined && !newcomer?.showing ? [] : state.near ?? []);
  thumbs.later();
}

function close() {
  Object.assign(state, { row: null, point: null, near: [] });
  panel.empty();
  mark();
  address();
}

function showSelection() {
  const rows = map.chosenRows();
  let away = 0;
  if (rows.length) {
    const there = new Set(Array.from(map.i, (point) => map.rowOf(point)));
    away = rows.reduce((sum, row) => sum + !there.has(row), 0);
  }
  selection.show(state.space, rows, away);
  if (state.drawn) chips(state.drawn);
  thumbs.later();
}

function hover(x, y) {
  const float = at("float"), point = map && tables.label && !dragging ? map.at(x, y) : null;
  if (point === null) { float.hidden = true; return; }
  const row = map.rowOf(point), said = predictionOf(state.space, row);
  float.replaceChildren(make("div", { class: "hover", "data-row": row },
    make("i", { class: "hover-thumb", style: { ...thumbStyle(row, 56), "--c": classColour(tables.label[row]) } }),
    make("div", {}, make("b", {}, labelOf(row) ?? "unlabelled"),
      said ? make("span", { class: said.right === 0 ? "bad" : "" }, `${said.right === 0 ? "taken for " : "predicted "}${said.name} · ${percent(said.confidence)}`) : null,
      make("span", { class: "faint" }, [splitOf(row), `image ${count(row)}`].filter(Boolean).join(" · ")))));
  float.hidden = false;
  placeFloat();
}

function placeFloat() {
  const float = at("float"), [x, y] = pointer, { offsetWidth: width, offsetHeight: height } = float;
  float.style.left = `${Math.round(x + 18 + width > innerWidth - 8 ? x - width - 14 : x + 18)}px`; // whole pixels: thumbnails stay sharp
  float.style.top = `${Math.round(Math.max(8, Math.min(y - height / 2, innerHeight - height - 8)))}px`;
}

// -- the address -------------------------------------------------------------------------------------------------------------------------

async function address() {
  const now = new URLSearchParams(location.search), wanted = { atlas: manifest.atlas, layer: state.space.id, layout: state.layout.key, split: state.split, colour: state.colour };
  const kept = new URLSearchParams(wanted);
  if (now.has("backend")) kept.set("backend", now.get("backend") === "canvas" ? "canvas" : "webgl");
  const id = state.row === null ? null : at("image-panel").querySelector(".facts code")?.textContent;
  if (id) kept.set("image", id);
  history.replaceState(null, "", `${location.pathname}?${kept}`);
}

// -- start -----------------------------------------------------------------------------------------------------------------------------------

function header() {
  const told = manifest.predictions[state.space.predictions];
  const of = images.available ? `${count(images.count)} of ${several(images.available, "image")}` : several(images.count, "image");
  at("images-pill").textContent = `${of}${images.undecodable ? `, ${count(images.undecodable)} ${images.undecodable === 1 ? "does" : "do"} not decode` : ""}`;
  at("all-atlases").hidden = !manifest.several;
  if (!told) return;
  const shares = Object.entries(told.accuracy).sort(([a], [b]) => (a < b ? -1 : 1)).filter(([, share]) => share && share.accuracy !== null && share.accuracy !== undefined).map(([name, share]) => `${percent(share.accuracy)} right${images.told ? ` on ${name}` : ""}`);
  at("network-pill").hidden = false;
  at("network-pill").textContent = [told.network, ...(told.judged ? shares : [])].filter(Boolean).join(" · ");
  at("network-pill").title = told.sentence;
  for (const warning of told.warnings) notice(warning);
}

function notice(words) {
  const line = make("div", { class: "notice" }, words);
  line.append(make("button", { type: "button", "aria-label": "Dismiss", onclick: () => line.remove() }, "×"));
  at("notices").append(line);
}

async function start(bokeh) {
  map = new AtlasMap(bokeh);
  thumbs = new Thumbs(map, at("thumbs-over"));
  map.onselect = () => { showSelection(); if (map.chosen) at("selection-panel").scrollIntoView({ block: "start", behavior: "instant" }); };
  thumbs.onshown = (drawn, inView) => {
    at("pictures").setAttribute("aria-pressed", thumbs.on);
    const told = at("pictured"), few = drawn === inView && inView === map.i.length;
    if (told) told.textContent = drawn && !few ? ` · ${count(drawn)} of the ${count(inView)} in view as pictures` : "";
  };
  setSlider(at("opacity"), 0.85);
  opacity(0.85);
  map.theme(document.documentElement.dataset.theme === "dark");
  panel.empty();
  showSelection();
  newcomer = new NewImage({ panel, map, state, mark, open: (row, words) => open(row, null, words), closed: close,
    shown: () => { Object.assign(state, { row: null, point: null, near: [] }); mark(); address(); } });
  wire();
  await Promise.all([patterns.show(state.space, state.split), redraw()]);
  if (manifest.start.image !== null) await open(manifest.start.image, null);
  window.AtlasPage.ready = true;
}

const waitForBokeh = () => new Promise((found) => {
  const look = () => {
    const bokeh = window.Bokeh?.documents?.[0];
    if (bokeh?.get_model_by_name("map") && bokeh.get_model_by_name("map").inner_width) found(bokeh); else setTimeout(look, 15);
  };
  look();
});

async function begin() {
  const asked = manifest.start;
  state.space = spaceCalled(asked.space);
  state.layout = state.space.layouts.find(({ key }) => key === asked.layout);
  Object.assign(state, { split: asked.split, colour: asked.colour });
  window.AtlasPage = { state, hover, tap: (x, y) => { const point = map?.at(x, y); if (point !== null && point !== undefined) open(map.rowOf(point), point); }, get map() { return map; }, get thumbs() { return thumbs; }, get newcomer() { return newcomer; } };
  panel = new ImagePanel(at("image-panel"), { open, close, rowOf: (point) => map.rowOf(point), ring: (points) => { state.near = points; mark(); } });
  selection = new SelectionPanel(at("selection-panel"), { open, clear: () => map.clear() });
  patterns = new Patterns(at("float"));
  manifest.notices.forEach(notice);
  header();
  controls();
  splitSwitch();
  const [bokeh] = await Promise.all([waitForBokeh(), loadImages(), loadPredictions(state.space.predictions)]);
  await start(bokeh);
}

begin().catch((reason) => { notice(`The page could not be filled (${reason.message}). Load it again.`); throw reason; });
