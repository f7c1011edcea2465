// The state in the address, so that a link restores what is seen, and Back and Forward go through what was done.
// What the server must know stands in the arguments; the view, what is hidden and the selection behind the #. A report has no
// server: there all of it stands behind the #.
import { manifest, images, json, count, several } from "./data.js";
import { mark, pack, ranges, unpack, unranged, viewOf, viewText } from "./bits.js";
import { rowsOf } from "./region.js";
import { page, on, tell, at } from "./page.js";
import { spaceCalled } from "./controls.js";
import { canColour } from "./colouring.js";

const LONGEST = 60000; // characters of a selection in a link: some browsers take no more
const SETTLED = 250; // milliseconds after which a view is written down
const SERVED = new Set(["atlas", "network"]); // what a report does not say of itself: it is one atlas, and its layers are told apart
const STEPS = ["space", "layout", "split", "colour", "image", "unit", "beside", "edges", "sel", "note"]; // what makes a step of the history

let last = null; // the step that the address holds; null until the page stands
let chain = Promise.resolve(), applying = false, settling = 0, tooLong = false;

export function startLink() {
  page.does.reopen = reopen;
  at("copy-link").onclick = copyLink;
  for (const what of ["drawn", "image", "selection", "colour", "space", "layout", "split", "unit", "beside", "edges", "note", "filter"]) on(what, write);
  on("start", () => {
    const { x_range, y_range } = page.map.plot;
    for (const { properties } of [x_range, y_range]) for (const end of [properties.start, properties.end]) end.change.connect(moved);
  });
  addEventListener("popstate", (event) => { if (event.state?.atlas !== manifest.atlas) location.reload(); else chain = chain.then(() => apply(event.state)).catch(() => location.reload()); });
}

function moved() { clearTimeout(settling); settling = setTimeout(write, SETTLED); }

// -- writing -------------------------------------------------------------------------------------------------------------------

function write() {
  if (last === null || applying) return null;
  chain = chain.then(note).catch(() => {}); // an address that cannot be written leaves the page as it is
  return chain;
}

async function note() {
  if (applying) return;
  const now = await snapshot(), step = stepOf(now);
  put(step === last ? "replaceState" : "pushState", now);
  last = step;
}

// A browser may refuse a file another address: then Back and Forward work all the same, and the link can be copied.
function put(how, now) {
  try { history[how](now, "", addressOf(now)); } catch { history[how](now, ""); }
}

const stepOf = (now) => JSON.stringify(STEPS.map((name) => now[name]));

async function snapshot() {
  const { state, map } = page, { names } = state.drawn?.colouring ?? {};
  const id = state.row === null ? null : (await json(`detail/${images.key}/${state.row}.json`).catch(() => null))?.image_id ?? null;
  const sel = map.chosen && !state.note ? `${images.count}.${images.digest}.${await packed(map.chosen)}` : null;
  tooLong = Boolean(sel && sel.length > LONGEST);
  const view = page.does.seen();
  return { atlas: manifest.atlas, network: manifest.networks.length > 1 ? state.space.network : null, space: state.space.id, layout: state.layout.key, split: state.split, colour: state.colour,
    image: id, row: state.row, point: state.point, unit: state.unit ?? null, beside: state.beside?.layout.key ?? null, note: map.chosen ? state.note ?? null : null,
    edges: page.does.edgesWords?.() ?? null, filter: page.does.filterWords?.() || null, sel: tooLong ? null : sel, view: view && viewText(view), hidden: names && state.hidden.size ? `${mark(names)}_${ranges(state.hidden)}` : null };
}

let lastChosen = null, lastPacked = null;
async function packed(chosen) {
  if (chosen !== lastChosen) [lastChosen, lastPacked] = [chosen, await pack(chosen)];
  return lastPacked;
}

function addressOf(now) {
  const before = new URLSearchParams(location.search), behind = new URLSearchParams(), kept = manifest.static ? behind : new URLSearchParams();
  const wanted = { atlas: now.atlas, network: now.network, layer: now.space, layout: now.layout, split: now.split, colour: now.colour, image: now.image, unit: now.unit, beside: now.beside };
  for (const [name, value] of Object.entries(wanted)) if (value !== null && !(manifest.static && SERVED.has(name))) kept.set(name, value);
  if (before.has("backend")) kept.set("backend", before.get("backend") === "canvas" ? "canvas" : "webgl");
  for (const name of ["view", "hidden", "edges", "filter", "note", "sel"]) if (now[name] !== null) behind.set(name, now[name]);
  const hash = behind.toString();
  return manifest.static ? `${location.pathname}${location.search}#${hash}` : `${location.pathname}?${kept}${hash ? `#${hash}` : ""}`;
}

// -- reading: what a link says behind its # -------------------------------------------------------------------------------------

// Once the page stands: what the server could not know of the link. What is no longer there is left out with a notice.
async function reopen() {
  const behind = new URLSearchParams(location.hash.slice(1)), said = (name) => behind.get(name);
  const { start } = manifest;
  try {
    if (start.beside) await page.does.side?.(start.beside);
    if (said("filter") && page.does.filterFrom) { await page.does.filterFrom(said("filter")); await page.does.redraw(); }
    if (said("hidden") && !hide(said("hidden"))) miss("The link hides classes that this atlas does not have: all are shown.");
    else if (said("hidden")) await page.does.redraw();
    if (said("edges")) await openEdges(said("edges"));
    if (said("view")) seeView(said("view"));
    if (said("note")) await reopenNote(said("note"));
    else if (said("sel")) await choose(said("sel"));
    if (start.unit) await openUnit(start.unit);
  } catch { miss("A part of the link could not be restored."); }
  last = stepOf(await snapshot().then((now) => { put("replaceState", now); return now; }));
}

const miss = (words) => page.does.notice(words);

function seeView(text) {
  const view = viewOf(text);
  if (view) page.does.show(view); else miss("The link’s view cannot be read: the whole map is shown.");
  if (view && holdsNothing(view) && holdsNothing(page.does.seen() ?? view)) { // what is seen is that and more, once the map has its size
    page.does.show(null);
    miss("Nothing lies in the link’s view: the whole map is shown.");
  }
}

// Whether no point of the layout lies there, drawn or not.
function holdsNothing([x0, x1, y0, y1]) {
  const { xy, count: all } = page.map.now;
  for (let point = 0; point < all; point++) if (xy[point] >= x0 && xy[point] <= x1 && xy[all + point] >= y0 && xy[all + point] <= y1) return false;
  return true;
}

function hide(text) {
  const cut = text.indexOf("_"), names = page.state.drawn?.colouring.names;
  const found = names && text.slice(0, cut) === mark(names) ? unranged(text.slice(cut + 1), names.length) : null;
  if (found) page.state.hidden = found;
  return found !== null;
}

async function choose(text) {
  const [number, digest, bits, ...more] = text.split("."), of = Number(number);
  const there = /^\d{1,9}$/.test(number ?? "") && !more.length && bits && of > 0 && of <= images.count && (await ofThese(of, digest));
  const found = there ? await unpack(bits, of) : null;
  if (!found) { miss(there ? "The link’s selection cannot be read: nothing is selected." : "The link’s selection is of other images than this atlas’s: nothing is selected."); return; }
  page.does.select(rowsOf(found), "replace");
}

// Whether the first `of` images are those the link was made with: rows are only ever appended.
async function ofThese(of, digest) {
  if (of === images.count) return digest === images.digest;
  const first = await json(`first/${images.key}/${of}.json`).catch(() => null);
  return first !== null && first.digest === digest;
}

async function reopenNote(id) {
  const opened = /^[0-9a-f-]{1,64}$/i.test(id) && await page.does.reopenNote?.(id);
  if (!opened) miss("The link’s kept selection is not here: nothing is selected.");
}

async function openEdges(kind) {
  await page.does.edges(kind);
  if (page.does.edgesWords() !== kind) miss("The link’s edges are not here: none are shown.");
}

const openUnit = (words) => { const cut = words.lastIndexOf(":"); return page.does.unit?.(words.slice(0, cut), Number(words.slice(cut + 1))); };

// -- Back and Forward ----------------------------------------------------------------------------------------------------------

async function apply(saved) {
  const space = spaceCalled(saved.space), layout = space?.layouts.find(({ key }) => key === saved.layout);
  if (!layout || !canColour(space, saved.colour)) { location.reload(); return; }
  applying = true;
  try {
    await applyMap(saved, space, layout);
    if (saved.row !== page.state.row) await (saved.row === null ? page.does.close() : page.does.open(saved.row, saved.point));
    await applyRest(saved);
  } finally {
    last = stepOf(saved);
    applying = false;
  }
}

async function applyMap(saved, space, layout) {
  const { state } = page, moved = space !== state.space, laid = layout !== state.layout, split = saved.split !== state.split;
  const hidden = state.drawn?.colouring.names && state.hidden.size ? `${mark(state.drawn.colouring.names)}_${ranges(state.hidden)}` : null;
  const filtered = (page.does.filterWords?.() || null) !== (saved.filter ?? null);
  const same = !moved && !laid && !filtered && !split && state.colour === saved.colour && hidden === saved.hidden;
  if (!same) {
    Object.assign(state, { space, layout, split: saved.split, colour: saved.colour, hidden: new Set(), alone: null }, moved ? { point: null, near: [] } : {});
    if (filtered) await page.does.filterFrom(saved.filter ?? ""); // of that layer’s columns
    page.does.controls();
    await page.does.redraw();
    if (saved.hidden && hide(saved.hidden)) await page.does.redraw();
    if (moved) await tell("space", space); else if (laid) await tell("layout", layout.key);
    if (split) await tell("split", saved.split);
  }
  const view = saved.view && viewOf(saved.view), now = page.does.seen();
  if (view || now) page.does.show(view || null);
}

async function applyRest(saved) {
  const { state, map } = page, now = map.chosen && !state.note ? `${images.count}.${images.digest}.${await packed(map.chosen)}` : null;
  if (saved.note && saved.note !== state.note) await reopenNote(saved.note);
  else if (!saved.note && saved.sel !== now) { if (saved.sel) await choose(saved.sel); else map.clear(); }
  if (saved.unit !== (state.unit ?? null)) await (saved.unit ? openUnit(saved.unit) : page.does.closeUnit?.());
  if ((saved.edges ?? null) !== page.does.edgesWords()) await page.does.edges(saved.edges);
  if (saved.beside !== (state.beside?.layout.key ?? null)) await page.does.side?.(saved.beside);
}

// ------------------------------------------------------------------------------------------------------------------------------

async function copyLink(event) {
  const button = event.target, before = "Copy link";
  await write();
  try { await navigator.clipboard.writeText(new URL(addressOf(await snapshot()), location.href).href); button.textContent = "Copied"; } catch { button.textContent = "Copy it from the address bar"; }
  const left = page.does.filtersLeft?.() ?? 0;
  if (left) miss(`The link is without ${several(left, "filter")}: so many names are too long for one.`);
  if (tooLong) miss(`The link is without the selection: of ${count(images.count)} images it is too long for one. Keep it under a name first.`);
  setTimeout(() => { button.textContent = before; }, 1600);
}
