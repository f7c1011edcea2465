// The legend: a chip for each category, a scale for an amount. A chip hides its category, twice clicked it stands alone.
import { images, make, count, percent } from "./data.js";
import { loadOwn } from "./colouring.js";
import { chosenOf } from "./rows.js";
import { keepingFocus } from "./focus.js";
import { page, on, at } from "./page.js";

const MANY = 24; // categories from which they can be searched and stand in groups
const OPEN = 60; // categories that are shown without opening their group
const LETTERS = "letters", NONE = "none";

let group = LETTERS, grouped = null, tallied = null;
const opened = new Set(); // groups that were opened, by name

export function startLegend() {
  const picker = make("label", { class: "field chip-group", id: "chip-group", hidden: true }, make("span", {}, "Grouped by"),
    make("select", { "aria-label": "Group the classes by", onchange: (event) => regroup(event.target.value) }));
  at("chip-search").after(picker);
  at("chip-search").oninput = again;
  at("chips").addEventListener("keydown", keys);
  on("drawn", again);
  on("selection", again);
}

function again() { if (page.state.drawn) chips(page.state.drawn); }

function chips({ colouring, counts }) {
  const holder = at("chips"), { names } = colouring;
  at("scale").hidden = names !== null;
  holder.hidden = names === null;
  const kinds = names ? names.map((name, code) => ({ name, code, colour: colouring.palette[code] })).filter(({ code }) => counts[code]) : [];
  at("chip-search").hidden = kinds.length <= MANY;
  picker(kinds);
  if (names === null) { scale(colouring); return; }
  const { chosen } = page.map;
  tallied = chosen && chosenOf(chosen, colouring.codes, counts.length); // how many of each category are selected
  const found = searched(kinds), all = codesIn(colouring), top = holder.scrollTop;
  const made = kinds.length > MANY && group !== NONE ? groups(found, all, counts) : found.map((kind) => chip(kind, all, counts));
  keepingFocus(holder, () => holder.replaceChildren(...made), () => holder.querySelector("summary, .chip"));
  if (!found.length) holder.append(make("p", { class: "note" }, "None of this name."));
  holder.scrollTop = top;
}

// The categories that this atlas has images of, whatever split and filters leave of them: alone means without all others.
const inAtlas = new WeakMap();
function codesIn({ codes }) {
  if (!inAtlas.has(codes)) inAtlas.set(codes, [...new Set(codes)]);
  return inAtlas.get(codes);
}

function scale({ palette, scale: { low, high, words } }) {
  const stops = palette.slice(0, -1).filter((_, k) => k % 9 === 0);
  at("scale").replaceChildren(make("i", { style: { background: `linear-gradient(90deg, ${stops.join(",")})` } }),
    make("div", {}, make("span", {}, low), make("span", { title: words }, words), make("span", {}, high)));
}

// Names that begin with the words come first, then those that hold them.
function searched(kinds) {
  const words = at("chip-search").hidden ? "" : at("chip-search").value.trim().toLowerCase();
  if (!words) return kinds;
  const where = ({ name }) => name.toLowerCase().indexOf(words);
  return kinds.filter((kind) => where(kind) >= 0).sort((a, b) => Math.min(1, where(a)) - Math.min(1, where(b)));
}

function chip({ name, code, colour }, all, counts) {
  const title = [name, spreadWords(code), "Click hides or shows, double-click (I) shows it alone"].filter(Boolean).join("\n");
  return make("button", { type: "button", class: tallied && !tallied[code] ? "chip none" : "chip", "aria-pressed": String(!page.state.hidden.has(code)), "data-code": code, title,
    style: { "--c": colour }, onclick: (event) => toggle(code, event), ondblclick: () => isolate(code, all) },
  make("span", {}, name), make("small", {}, told(tallied?.[code], counts[code])));
}

// -- groups of many ------------------------------------------------------------------------------------------------------------

function picker(kinds) {
  const superclasses = page.state.colour === "class" ? images.own.filter(({ classes }) => classes) : [];
  at("chip-group").hidden = kinds.length <= MANY;
  if (at("chip-group").hidden) return;
  if (group.startsWith("column:") && !superclasses.some(({ name }) => group === `column:${name}`)) group = LETTERS;
  const choices = [[LETTERS, "first letters"], ...superclasses.map(({ name }) => [`column:${name}`, name]), [NONE, "nothing"]];
  const select = at("chip-group").querySelector("select");
  select.replaceChildren(...choices.map(([value, words]) => make("option", { value }, words)));
  select.value = group;
}

async function regroup(wish) {
  group = wish;
  opened.clear();
  const number = images.own.findIndex(({ name }) => wish === `column:${name}`);
  try { grouped = number < 0 ? null : await loadOwn(number); } catch { group = LETTERS; page.does.notice("The groups of the classes could not be fetched."); }
  again();
}

function groupOf({ name, code }) {
  if (grouped && group.startsWith("column:")) return grouped.of_label[code] >= 0 ? grouped.names[grouped.of_label[code]] : "of no group";
  const first = Array.from(name.trim())[0] ?? "";
  return /\p{L}/u.test(first) ? first.toUpperCase() : /\d/.test(first) ? "0–9" : "other signs";
}

function groups(found, all, counts) {
  const parts = new Map();
  for (const kind of found) { const key = groupOf(kind); if (!parts.has(key)) parts.set(key, []); parts.get(key).push(kind); }
  const few = found.length <= OPEN;
  return [...parts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, members]) => fold(key, members, all, counts, few));
}

// A group that folds; its chips are made when it is opened.
function fold(key, members, all, counts, few) {
  const codes = members.map(({ code }) => code), open = few || opened.has(key), { hidden } = page.state;
  const away = codes.filter((code) => hidden.has(code)).length;
  const sum = (of) => codes.reduce((total, code) => total + of[code], 0);
  const summary = make("summary", { "data-focus": `group ${key}` }, make("b", {}, key), make("span", { class: "note" }, `${count(members.length)} ${members.length === 1 ? "class" : "classes"}${away ? `, ${count(away)} hidden` : ""} · ${told(tallied && sum(tallied), sum(counts))}`));
  const body = make("div", { class: "chips-in" });
  const fill = () => body.replaceChildren(
    make("button", { type: "button", class: "text-button", "data-focus": `all of ${key}`, onclick: () => some(codes, away < codes.length) }, away < codes.length ? "Hide all" : "Show all"),
    make("button", { type: "button", class: "text-button", "data-focus": `only ${key}`, onclick: () => only(codes, all) }, "Only these"),
    ...members.map((kind) => chip(kind, all, counts)));
  if (open) fill();
  const details = make("details", { open, class: "chip-fold" }, summary, body);
  details.addEventListener("toggle", () => { if (details.open) { opened.add(key); if (!body.childElementCount) fill(); } else opened.delete(key); });
  return details;
}

function some(codes, hide) {
  for (const code of codes) if (hide) page.state.hidden.add(code); else page.state.hidden.delete(code);
  page.state.alone = null;
  page.does.redraw();
}

function only(codes, all) {
  const stay = new Set(codes);
  Object.assign(page.state, { hidden: new Set(all.filter((code) => !stay.has(code))), alone: null });
  page.does.redraw();
}

// -- counts --------------------------------------------------------------------------------------------------------------------

// "47 / 412" under a selection.
const told = (chosen, all) => (chosen === undefined || chosen === null ? count(all) : `${count(chosen)} / ${count(all)}`);

// How a class lies in the layer's own space: beside the map, not on it.
function spreadWords(code) {
  const { state } = page;
  const told = state.colour === "class" && state.space.spread?.[code];
  if (!told || told.purity === null) return null;
  const mixes = told.share >= 0.005 ? `, ${percent(told.share)} are ${images.labels[told.other]}` : "";
  const wide = told.spread === null ? "" : ` Its spread is ${told.spread.toFixed(2)} of the distance between classes.`;
  return `In the layer ${percent(told.purity)} of its nearest neighbours are of its class${mixes}.${wide}`;
}

// -- hiding --------------------------------------------------------------------------------------------------------------------

function toggle(code, event) {
  const { hidden } = page.state;
  if (event.detail > 1) return; // the second half of a double-click
  if (!hidden.delete(code)) hidden.add(code);
  page.does.redraw();
}

function isolate(code, all) {
  const { state } = page, others = all.filter((other) => other !== code);
  const alone = others.every((other) => state.hidden.has(other)) && !state.alone;
  state.hidden = new Set(alone || state.alone === code ? [] : others);
  state.alone = state.hidden.size ? code : null;
  page.does.redraw();
}

// By keyboard: arrows go from chip to chip, I shows one alone (Enter and space hide and show, as of any button).
function keys(event) {
  const chip = event.target.closest(".chip"), step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!chip || event.ctrlKey || event.metaKey || event.altKey) return;
  if (step) {
    const all = [...at("chips").querySelectorAll(".chip")].filter((one) => one.offsetParent);
    all[(all.indexOf(chip) + step + all.length) % all.length].focus();
  } else if (event.key.toLowerCase() === "i") chip.dispatchEvent(new MouseEvent("dblclick"));
  else return;
  event.preventDefault();
}
