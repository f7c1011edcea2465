// One box that finds classes, predictions, values of the user's columns and files: results as one types.
import { manifest, images, make, thumbStyle, tables, classColour, count, several } from "./data.js";
import { tally } from "./rows.js";
import { rowsOf } from "./region.js";
import { ownColumns, ownKind } from "./fields.js";
import { ask, served } from "./posting.js";
import { detailsHolding } from "./files.js";
import { page, at } from "./page.js";

const WAIT = 140; // milliseconds without a key until the server is asked
const NAMES = 8; // classes, and predictions, that are offered
const FILES = 12, VALUES = 8;
const LONGEST = 200;

let turn = 0, timer = 0, options = [], chosen = -1, asking = null;

export function startFind() {
  const box = at("find");
  box.oninput = () => { clearTimeout(timer); search(); };
  box.onfocus = () => { if (box.value.trim()) search(); };
  box.onkeydown = key;
  box.onblur = (event) => { if (!at("found").contains(event.relatedTarget)) close(); };
  for (const what of ["scroll", "resize"]) addEventListener(what, (event) => { if (!at("found").hidden && !at("found").contains(event.target)) close(); }, { capture: true, passive: true });
  at("found").onmousedown = (event) => event.preventDefault(); // the box keeps the focus
}

function close() {
  turn++;
  asking?.abort();
  at("found").hidden = true;
  at("find").setAttribute("aria-expanded", "false");
  at("find").removeAttribute("aria-activedescendant");
}

function key(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && options.length) { event.preventDefault(); mark((chosen + step + options.length) % options.length); }
  else if (event.key === "Enter" && !at("found").hidden && options.length) { event.preventDefault(); options[Math.max(0, chosen)].act(); }
  else if (event.key === "Escape") { event.stopPropagation(); if (at("found").hidden) event.target.value = ""; close(); }
}

function mark(place) {
  chosen = place;
  options.forEach(({ line }, k) => line.setAttribute("aria-selected", String(k === place)));
  at("find").setAttribute("aria-activedescendant", options[place].line.id);
  options[place].line.scrollIntoView({ block: "nearest" });
}

// -- what is found ------------------------------------------------------------------------------------------------------------

function search() {
  const text = at("find").value.trim().slice(0, LONGEST), mine = ++turn;
  asking?.abort();
  if (!text) return close();
  const near = named(text.toLowerCase());
  show(near, null);
  timer = setTimeout(async () => {
    asking = new AbortController();
    let told;
    try { told = served ? await ask("find", { text }, [], asking.signal) : await inPage(text); } catch (reason) {
      if (reason.name === "AbortError") return;
      told = { error: reason.message };
    }
    if (mine === turn) show(near, told);
  }, WAIT);
}

// Classes and predictions, which the page has: with how many images are of each.
function named(wanted) {
  const { space } = page.state, found = [], rows = [...tables.label.keys()];
  const list = (kind, title, names, codes) => {
    const hits = [...names.keys()].filter((code) => names[code].toLowerCase().includes(wanted));
    if (!hits.length) return;
    const counts = new Map(tally(rows, codes));
    for (const code of hits.sort((a, b) => (counts.get(b) ?? 0) - (counts.get(a) ?? 0)).slice(0, NAMES)) if (counts.get(code)) found.push({ kind, title, name: names[code], code, images: counts.get(code) });
  };
  list("class", "class", images.labels, tables.label);
  if (space.predictions) list("prediction", "prediction", manifest.predictions[space.predictions].names, tables.predictions[space.predictions].prediction);
  return found;
}

// In a report: over the names of files that it holds.
async function inPage(text) {
  const files = await detailsHolding(text).catch(() => null);
  if (!files) return { error: "The names of the files are not in this report." };
  return { files: files.slice(0, FILES), found: files.length, values: [], values_found: 0 };
}

// -- how it is shown ----------------------------------------------------------------------------------------------------------

function show(names, told) {
  const holder = at("found"), lines = [];
  options = [];
  const option = (act, ...children) => { const line = make("li", { role: "option", id: `found-${options.length}`, "aria-selected": "false", onclick: act }, ...children); options.push({ line, act }); return line; };
  const title = (words) => make("li", { class: "found-title", role: "presentation" }, words);
  if (names.length) lines.push(title("Classes and predictions"), ...names.map((one) => option(() => take(one.kind, one.name), make("i", { class: "swatch", style: { "--c": classColour(one.code) } }), make("b", {}, one.name), make("small", {}, `${one.title} · ${count(one.images)}`))));
  if (told && !told.error) {
    const values = told.values.slice(0, VALUES), columns = ownColumns();
    if (values.length) lines.push(title("Columns"), ...values.map((one) => option(() => takeValue(one), one.row === undefined ? null : thumb(one.row), make("b", {}, one.value), make("small", {}, [columns[one.column]?.name, one.images === undefined ? null : count(one.images)].filter(Boolean).join(" · ")))));
    const files = told.files.slice(0, FILES), text = at("find").value.trim().slice(0, LONGEST);
    if (files.length) lines.push(title(told.found > files.length ? `Files: ${count(files.length)} of ${count(told.found)}` : "Files"));
    if (told.found > 1) { lines.push(option(() => take("file", text), make("i", { class: "swatch", "aria-hidden": "true" }), make("b", {}, `Keep all called “${text}”`), make("small", {}, several(told.found, "image")))); options.at(-1).all = true; }
    lines.push(...files.map((one) => option(() => open(one.row), thumb(one.row), make("b", {}, tail(one.path)), make("small", {}, one.image_id))));
  }
  if (told === null) lines.push(make("li", { class: "note busy", role: "presentation" }, "Searching files…"));
  else if (told.error) lines.push(make("li", { class: "note", role: "presentation" }, told.error));
  else if (!options.length) lines.push(make("li", { class: "note", role: "presentation" }, "Nothing here is called so."));
  holder.replaceChildren(...lines);
  holder.hidden = false;
  place(holder);
  at("find").setAttribute("aria-expanded", "true");
  at("found-told").textContent = told === null ? "" : `${several(options.length, "result")}`;
  chosen = -1;
  if (options.length) mark(Math.max(0, options.findIndex(({ all }) => !all))); // Enter opens the nearest
}

// Under the box, wider than its panel, which would cut it off.
function place(holder) {
  const { left, bottom } = at("find").getBoundingClientRect();
  holder.style.left = `${left}px`;
  holder.style.top = `${bottom + 5}px`;
}

const thumb = (row) => make("i", { class: "thumb", "data-row": row, style: { ...thumbStyle(row, 28), "--c": classColour(tables.label[row]) } });
const tail = (path) => (path.length > 34 ? `…${path.slice(-33)}` : path);

// A class, a prediction, a value or what is called so: the map keeps those, and goes there.
async function take(kind, name) {
  done();
  await page.does.addFilter(kind, name);
  page.does.look?.(rowsOf(page.does.shownRows()));
}

function takeValue({ column, value, row }) {
  if (row !== undefined) return open(row);
  return take(ownKind(ownColumns()[column].name), value);
}

function open(row) {
  done();
  page.does.open(row, null);
  page.does.look?.([row]);
}

function done() { at("find").value = ""; close(); }
