// The page comes together here: its panels are started, the map is drawn whenever the state says something else.
import { manifest, images, loadImages, loadPredictions, make, count, several, percent, SPLITS } from "./data.js";
import { page, on, tell, at } from "./page.js";
import { AtlasMap, loadPoints } from "./map.js";
import { Thumbs } from "./thumbs.js";
import { startControls, spaceCalled } from "./controls.js";
import { startLegend } from "./legend.js";
import { startColours } from "./colours.js";
import { startKeys } from "./keys.js";
import { startLooking } from "./looking.js";
import { startBeside } from "./beside.js";
import { startHover, hover } from "./hover.js";
import { startImage } from "./image.js";
import { startSelection } from "./selection.js";
import { startLeads } from "./leads.js";
import { startFilter } from "./filter.js";
import { startDock } from "./dock.js";
import { startNewImage } from "./newimage.js";
import { startGestures } from "./gestures.js";
import { startLink } from "./link.js";
import { startFrom } from "./opening.js";
import { startAbout } from "./about.js";
import { startIcons } from "./icons.js";
import { startPath } from "./path.js";
import { startGraph } from "./graph.js";

const { state } = page;

async function redraw() {
  await Promise.all([loadPredictions(state.space.predictions), page.does.settle()]);
  await page.does.filter?.();
  const drawn = await page.map.draw(state);
  if (!drawn) return; // a later wish overtook this one
  state.drawn = drawn;
  sayShown(drawn);
  page.thumbs.later();
  await tell("drawn", drawn);
  window.AtlasPage.drawn = (window.AtlasPage.drawn ?? 0) + 1; // what a test waits for
}

function sayShown({ shown }) {
  const { state } = page, what = state.space.spatial ? "position" : "point";
  at("shown").replaceChildren(make("b", {}, count(shown)), ` of ${several(state.space.points, what)} shown`, make("span", { id: "sampled" }), make("span", { id: "pictured" }));
  if (page.map.crowd.grid) page.map.crowd.onsampled(page.map.crowd);
  const away = state.space.points - shown;
  at("map-card").querySelector("[role=img]")?.setAttribute("aria-label", `Map: ${count(shown)} of ${several(state.space.points, what)} shown`);
  if (!images.switch) return;
  const hidden = SPLITS.filter((name) => state.split !== "all" && name !== state.split && images.splits[name]);
  at("split-note").textContent = state.split === "all" ? "Training images are drawn fainter, under the others."
    : away ? `${hidden.map((name) => `${count(images.splits[name])} ${name}`).join(" and ")} ${away === 1 ? "image" : "images"} hidden.` : "";
}

function header() {
  const of = images.available ? `${count(images.count)} of ${several(images.available, "image")}` : several(images.count, "image");
  at("images-pill").textContent = `${of}${images.undecodable ? `, ${count(images.undecodable)} ${images.undecodable === 1 ? "does" : "do"} not decode` : ""}`;
  at("all-atlases").hidden = !manifest.several;
  networkPill();
}

const warned = new Set();

// The network of the layer that is shown, and how often it is right.
function networkPill() {
  const told = manifest.predictions[page.state.space.predictions], pill = at("network-pill");
  pill.hidden = !told;
  if (!told) return;
  const shares = Object.entries(told.accuracy).sort(([a], [b]) => (a < b ? -1 : 1)).filter(([, share]) => share && share.accuracy !== null && share.accuracy !== undefined).map(([name, share]) => `${percent(share.accuracy)} right${images.told ? ` on ${name}` : ""}`);
  pill.textContent = [told.network, ...(told.judged ? shares : [])].filter(Boolean).join(" · ");
  pill.title = told.sentence;
  for (const warning of told.warnings) if (!warned.has(warning)) { warned.add(warning); notice(warning); }
}

function notice(words) {
  const line = make("div", { class: "notice" }, words);
  line.append(make("button", { type: "button", "aria-label": "Dismiss", onclick: () => line.remove() }, "×"));
  at("notices").append(line);
}

// -- start -------------------------------------------------------------------------------------------------------------------

function startMap(bokeh, framed) {
  const map = page.map = new AtlasMap(bokeh, framed);
  const thumbs = page.thumbs = new Thumbs(map, at("thumbs-over"));
  map.onmove = () => { if (thumbs.on) thumbs.draw(); };
  map.onselect = () => {
    tell("selection", map.chosen);
    thumbs.later();
    if (map.chosen) at("selection-panel").scrollIntoView({ block: "start", behavior: "instant" });
  };
  document.querySelector(".map-place").prepend(map.crowd.canvas);
  map.crowd.onsampled = ({ inView, sampled, whole }) => {
    const told = at("sampled");
    if (told) told.textContent = whole ? ` · all ${count(inView)} in view as dots` : ` · ${count(sampled)} of the ${count(inView)} in view as dots, all as density`;
    thumbs.later();
  };
  thumbs.onshown = (drawn, inView) => {
    at("pictures").setAttribute("aria-pressed", thumbs.on);
    const told = at("pictured"), few = drawn === inView && inView === map.shown;
    if (told) told.textContent = drawn && !few ? ` · ${count(drawn)} of the ${count(inView)} in view as pictures` : "";
  };
}

// A click: a cell's images are selected, where icons are drawn; else the image under the pointer opens.
function tap(x, y) {
  const cell = page.icons?.at(x, y) ?? null;
  if (cell !== null) { page.icons.choose(cell); return; }
  const point = page.map?.at(x, y) ?? null;
  if (point !== null) page.does.open(page.map.rowOf(point), point);
}

const waitForBokeh = () => new Promise((found) => {
  const look = () => {
    const bokeh = window.Bokeh?.documents?.[0];
    if (bokeh?.get_model_by_name("map") && bokeh.get_model_by_name("map").inner_width) found(bokeh); else setTimeout(look, 15);
  };
  look();
});

async function begin() {
  const asked = manifest.start, framed = asked.layout; // which Bokeh has framed, whatever a report's address asks for
  if (manifest.static) Object.assign(asked, await startFrom(new URLSearchParams(location.hash.slice(1))));
  state.space = spaceCalled(asked.space);
  state.layout = state.space.layouts.find(({ key }) => key === asked.layout);
  Object.assign(state, { split: asked.split, colour: asked.colour });
  Object.assign(page.does, { redraw, notice });
  // Bokeh's own callbacks (explorer.py) and the tests reach the page by this name.
  window.AtlasPage = { page, state, hover, tap,
    get map() { return page.map; }, get thumbs() { return page.thumbs; }, get newcomer() { return page.newImage; } };
  [...manifest.notices, ...(asked.notices ?? [])].forEach(notice);
  header();
  on("space", networkPill);
  startHover();
  startControls();
  startColours();
  startLegend();
  startImage();
  startSelection();
  startLeads();
  startFilter();
  startDock();
  startLooking();
  startKeys();
  startBeside();
  startLink();
  startGestures();
  startAbout();
  return fill(asked, framed);
}

async function fill(asked, framed) {
  const [bokeh] = await Promise.all([waitForBokeh(), loadPoints(state.space, state.layout), loadImages(), loadPredictions(state.space.predictions)]);
  startMap(bokeh, framed);
  startNewImage();
  startIcons();
  startPath();
  startGraph();
  await Promise.all([tell("start"), redraw()]);
  if (asked.image !== null) await page.does.open(asked.image, null);
  await page.does.reopen();
  window.AtlasPage.ready = true;
}

Promise.resolve().then(begin).catch((reason) => { notice(`The page could not be filled (${reason.message}). Load it again.`); throw reason; });
