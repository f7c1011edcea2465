// A second map beside the first: another layer, network or layout of the same images; selection, hover and open image are one.
import { manifest, images, column, json, loadPredictions, make, count, several } from "./data.js";
import { canColour, colouring, loadShares } from "./colouring.js";
import { CanvasMap } from "./canvas.js";
import { showComparison } from "./compare.js";
import { leave, tellOf } from "./hover.js";
import { OWN, absences, placed } from "./map.js";
import { Thumbs } from "./thumbs.js";
import { layoutWords } from "./controls.js";
import { crosshair } from "./looking.js";
import { focus } from "./focus.js";
import { page, on, tell, at } from "./page.js";

const STEP = 0.15, NEARER = 1 / 1.5;
const KEYS = { ArrowLeft: (map) => map.pan(STEP * map.canvas.clientWidth, 0), ArrowRight: (map) => map.pan(-STEP * map.canvas.clientWidth, 0), ArrowUp: (map) => map.pan(0, STEP * map.canvas.clientHeight),
  ArrowDown: (map) => map.pan(0, -STEP * map.canvas.clientHeight), "+": (map) => map.zoom(NEARER), "=": (map) => map.zoom(NEARER), "-": (map) => map.zoom(1 / NEARER), 0: (map) => map.fit(null),
  Enter: (map) => { const point = map.at(map.canvas.clientWidth / 2, map.canvas.clientHeight / 2, Infinity); if (point !== null) openHere(map, point); } };

const NEAR = 1.6; // pixels of a ring around a neighbour

let map = null, thumbs = null, turn = 0, hovered = null;

export function startBeside() {
  page.does.side = side;
  const button = make("button", { type: "button", id: "beside", "aria-pressed": "false", title: "A second map beside this one (S)", "aria-label": "A second map beside this one", onclick: () => side() });
  button.append(icon());
  at("tools").append(make("i"), button);
  for (const what of ["drawn", "selection", "image", "space", "theme"]) on(what, again);
  on("hover", ({ row, by }) => { hovered = row; if (map && page.state.beside) { ring(by === "beside" ? row : null); mark(); } });
}

function icon() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  path.setAttribute("d", "M4 5h16v14H4zM12 5v14");
  svg.append(path);
  return svg;
}

// Open the second map on a layout; without one on another than the first map's, or close it. `null` closes.
async function side(key) {
  const { state } = page;
  if (key === null || (key === undefined && state.beside)) { shut(); return; }
  const wanted = key === undefined ? other() : key, space = manifest.spaces.find(({ layouts }) => layouts.some((layout) => layout.key === wanted));
  if (!space) return;
  state.beside = { space, layout: space.layouts.find((layout) => layout.key === wanted) };
  stand();
  await again();
  await tell("beside", state.beside);
}

function shut() {
  const within = at("beside-card")?.contains(document.activeElement);
  page.state.beside = null;
  at("beside-card")?.remove();
  if (within) at("beside").focus();
  thumbs?.stop();
  map = thumbs = page.second = null;
  ring(null);
  at("beside").setAttribute("aria-pressed", "false");
  showComparison(null);
  tell("beside", null);
}

// What is worth comparing: the layer before in the same way, else after it, else another layout of the same.
function other() {
  const { space, layout } = page.state, at = manifest.spaces.indexOf(space);
  const next = [manifest.spaces[at - 1], manifest.spaces[at + 1]].find((one) => one?.layouts.some(({ method }) => method === layout.method));
  const found = next?.layouts.find(({ method }) => method === layout.method) ?? space.layouts.find((one) => one !== layout) ?? layout;
  return found.key;
}

// -- the card ------------------------------------------------------------------------------------------------------------------

function stand() {
  if (at("beside-card")) return;
  const canvas = make("canvas", { id: "beside-canvas", tabindex: 0, role: "img", "aria-label": "The second map" }), over = make("canvas", { class: "thumbs-over", id: "beside-thumbs", "aria-hidden": "true" });
  at("maps").append(make("div", { class: "map card beside", id: "beside-card" },
    make("div", { class: "beside-head" }, make("select", { id: "beside-layout", "aria-label": "Layer and layout of the second map", onchange: (event) => side(event.target.value) }),
      make("button", { type: "button", class: "button", title: "Close the second map (S)", onclick: () => side(null) }, "Close")),
    canvas, over, make("div", { class: "beside-foot" }, make("div", { class: "beside-count", id: "beside-count", role: "status" }),
      make("button", { type: "button", class: "button", id: "beside-common", hidden: true, onclick: () => focus(at("compare-panel")?.querySelector("h2")) }))));
  at("beside").setAttribute("aria-pressed", "true");
  map = new CanvasMap(canvas);
  page.second = map;
  thumbs = new Thumbs(map, over);
  Object.assign(thumbs, { opacity: page.thumbs.opacity, onshown: (drawn, inView) => { pictures = drawn && !(drawn === inView && inView === map.shown) ? ` · ${count(drawn)} of the ${count(inView)} in view as pictures` : ""; tellShown(); } });
  map.thumbs = thumbs;
  pointing(canvas);
}

function choices() {
  const { state } = page, many = manifest.networks.length > 1, select = at("beside-layout");
  const of = (space) => (many ? ` · ${manifest.networks.find(({ key }) => key === space.network)?.title ?? ""}` : "");
  select.replaceChildren(...manifest.spaces.flatMap((space) => space.layouts.map((layout) =>
    make("option", { value: layout.key }, `${space.layers.join(" + ")} · ${layoutWords(layout, space.layouts)}${of(space)}`))));
  select.value = state.beside.layout.key;
}

// -- drawing -------------------------------------------------------------------------------------------------------------------

async function again() {
  const { state } = page, mine = ++turn;
  if (!state.beside || !page.map?.now) return;
  const { space, layout } = state.beside, by = canColour(space, state.colour) ? state.colour : space.colours[0];
  choices();
  try {
    const [xy, rows, lists, shares] = await Promise.all([column(layout.key, "xy", Uint16Array), space.identity ? null : column(space.activations, "image", Int32Array), absences(layout),
      loadShares(space, layout, by), loadPredictions(space.predictions)]);
    if (mine !== turn || !map) return;
    const hidden = by === state.colour ? state.hidden : new Set();
    map.chosen = page.map.chosen;
    map.set({ space, layout, rows, xy, lists, count: space.points }, colouring(space, by, shares), { ...state, hidden }, state.split === "all" && images.switch);
    map.near = await nearHere(space);
    if (mine !== turn || !map) return;
    mark();
    shown = `${count(map.points.length)} of ${several(space.points, space.spatial ? "position" : "point")} shown${by === state.colour ? "" : `, coloured by ${by}`}`;
    tellShown();
    const common = await showComparison(state.beside);
    if (mine !== turn || !map) return;
    at("beside-common").hidden = common === null;
    at("beside-common").textContent = common ?? "";
  } catch { if (mine === turn && map) at("beside-count").textContent = "This map could not be fetched."; }
}

// The neighbours of the open image in this map's layer.
async function nearHere(space) {
  const { row } = page.state, own = row === null ? [] : map.pointsOf(row);
  if (!own.length || !space.neighbours) return [];
  const { points } = await json(`nearest/${space.neighbours.key}/${own[0]}.json`);
  return points.filter((point) => map.rowOf(point) !== row).slice(0, page.state.near.length || points.length);
}

// What is shown in words: how many points, and how many of those in view as pictures.
let shown = "", pictures = "";
function tellShown() { at("beside-count").textContent = shown + pictures; }

// Ring the open image, its neighbours and what the pointer means; thumbnails are framed instead.
function mark() {
  if (!map.now) return;
  const here = (points) => points.filter((point) => placed(map.now, point));
  const near = here(map.near ?? []), own = here(page.state.row === null ? [] : map.pointsOf(page.state.row)), over = here(hovered === null ? [] : map.pointsOf(hovered));
  map.rings = [...near.map((point) => ({ point, radius: 6, width: NEAR })), ...own.map((point) => ({ point, radius: 10, width: OWN })), ...over.map((point) => ({ point, radius: 8, width: 2.5 }))];
  map.marked = new Map([...near.map((point) => [point, NEAR]), ...own.map((point) => [point, OWN])]);
  map.later();
}

// On the first map, around the image the pointer means on the second.
function ring(row) {
  for (const old of document.querySelectorAll(".hover-ring")) old.remove();
  if (row === null || !page.map.now) return;
  const { x_range: a, y_range: b, inner_width: width, inner_height: height } = page.map.plot;
  for (const point of page.map.pointsOf(row)) {
    const [x, y] = page.map.place(point);
    at("pins").append(make("i", { class: "hover-ring", style: { left: `${((x - a.start) / (a.end - a.start)) * width}px`, top: `${((b.end - y) / (b.end - b.start)) * height}px` } }));
  }
}

// -- pointing ------------------------------------------------------------------------------------------------------------------

const tool = () => document.querySelector("[data-tool][aria-pressed=true]")?.dataset.tool ?? "pan";
const openHere = (from, point) => { const { space } = page.state, row = from.rowOf(point); page.does.open(row, space === page.state.beside.space ? point : null); };

function pointing(canvas) {
  let from = null, moved = false;
  canvas.addEventListener("pointerdown", (event) => { from = [event.offsetX, event.offsetY]; moved = false; map.lasso = []; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (!from) { over(event); return; }
    moved ||= Math.hypot(event.offsetX - from[0], event.offsetY - from[1]) > 4;
    if (moved) from = drag(from, [event.offsetX, event.offsetY]);
  });
  canvas.addEventListener("pointerup", (event) => { if (from) drop(event, moved); from = null; });
  canvas.addEventListener("pointercancel", () => { from = null; map.lasso = []; map.later(); });
  canvas.addEventListener("pointerenter", () => canvas.classList.toggle("drawing", tool() !== "pan"));
  canvas.addEventListener("pointerleave", leave);
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); map.zoom(Math.exp(event.deltaY / 400), event.offsetX, event.offsetY); }, { passive: false });
  canvas.addEventListener("keydown", (event) => { if (!KEYS[event.key] || event.ctrlKey || event.metaKey || event.altKey) return; event.preventDefault(); crosshair("beside-card"); KEYS[event.key](map); });
}

function over(event) {
  const point = map.now ? map.at(event.offsetX, event.offsetY) : null;
  if (point === null) leave(); else tellOf(map.rowOf(point), "beside");
}

function drag(from, to) {
  leave();
  if (tool() === "pan") { map.pan(to[0] - from[0], to[1] - from[1]); return to; }
  map.lasso = tool() === "box" ? [from, [to[0], from[1]], to, [from[0], to[1]]] : [...(map.lasso.length ? map.lasso : [from]), to];
  map.later();
  return from;
}

function drop(event, moved) {
  if (!moved) { const point = map.at(event.offsetX, event.offsetY); if (point !== null) openHere(map, point); return; }
  if (map.lasso.length > 2) page.does.select(map.inside(map.lasso), event.shiftKey ? "add" : event.altKey ? "remove" : "replace");
  map.lasso = [];
  map.later();
}
