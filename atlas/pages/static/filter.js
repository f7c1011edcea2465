// Filters: which images the map keeps. Each is a chip that is switched off, edited or removed; all must be passed.
import { manifest, images, tables, make, count, several, SPLITS } from "./data.js";
import { hash, keptBy, readWords, wordsOf } from "./rows.js";
import { rowsOf } from "./region.js";
import { asks, fieldsOf, loadOwn, rounded, sentence, testOf } from "./fields.js";
import { startFind } from "./find.js";
import { page, on, at } from "./page.js";

const MOST_SHOWN = 150; // names of a list until one searches in it
const MANY = 12; // names from which a list has a search
const LONGEST_WORDS = 1500; // characters of the filters in an address
const LONGEST_TEXT = 200; // characters of a text to find in a name
const QUIET = 250; // milliseconds without a key until the map follows what is typed

const filters = []; // { kind, on, names } with names a Set, null in it for "none"; { kind, on, text }; or { kind, on, low, high }
let open = null; // the filter that is being edited
let turn = 0, loading = null;

const fields = () => fieldsOf(page.state.space);
const fieldOf = (filter) => fields().find(({ kind }) => kind === filter.kind);

export function startFilter() {
  loading = loadOwn().then(() => draw());
  Object.assign(page.does, { filter: apply, addFilter: add, filterWords, filterFrom, filtersLeft });
  at("filter-add").onchange = (event) => { if (event.target.value) add(event.target.value); event.target.value = ""; };
  at("filter-select").onclick = () => page.does.select(rowsOf(matching()), "replace");
  at("filter-none").onclick = () => { filters.length = 0; open = null; changed(); at("filter-add").focus(); };
  at("filter-edit").onkeydown = leave;
  startFind();
  on("drawn", () => { draw(); tally(); });
}

// -- what passes --------------------------------------------------------------------------------------------------------------

// Set what is kept, before the map is drawn: the columns that are asked for are fetched first.
async function apply() {
  const mine = ++turn, active = filters.filter((filter) => filter.on && fieldOf(filter) && asks(fieldOf(filter), filter));
  const tests = await Promise.all(active.map(async (filter) => {
    const field = fieldOf(filter);
    try { return testOf(field, filter, await field.load(filter)); } catch {
      filter.on = false;
      page.does.notice(`The filter by ${field.title} is off: its column could not be fetched.`);
      return null;
    }
  }));
  if (mine === turn) page.state.kept = keptBy(tests.filter(Boolean), images.count);
}

function changed() { draw(); return page.does.redraw(); }

// A mask of the images that the filters leave of the split shown.
function matching() {
  const { state } = page, wanted = SPLITS.indexOf(state.split), mask = new Uint8Array(images.count);
  for (let row = 0; row < mask.length; row++) mask[row] = (wanted < 0 || tables.split[row] === wanted) && (!state.kept || state.kept[row]) ? 1 : 0;
  return mask;
}

function tally() {
  const { state } = page, all = state.split === "all" ? images.count : images.splits[state.split], found = rowsOf(matching()).length;
  at("filter-count").replaceChildren(make("b", {}, count(found)), ` of ${count(all)}`);
  at("filter-count").title = `${several(found, "image")} of the ${count(all)}${state.split === "all" ? "" : ` ${state.split}`} pass the filters`;
  at("filter-select").disabled = !found;
}

// -- changing them --------------------------------------------------------------------------------------------------------

// A filter of a field that asks nothing yet.
const empty = ({ kind, names, text, from, to }) => ({ kind, on: true, ...(names ? { names: new Set() } : text ? { text: "" } : { low: from, high: to }) });

// Add a filter of a kind, or a name to the one there is: `page.does.addFilter("class", "Shirt")`.
export async function add(kind, name) {
  await loading;
  const field = fields().find((one) => one.kind === kind);
  if (!field) return;
  let filter = field.names && filters.find((one) => one.kind === kind && one.on);
  if (!filter || name === undefined) {
    filter = empty(field);
    filters.push(filter);
    open = name === undefined ? filter : open;
  }
  if (name !== undefined) { if (field.names) filter.names.add(name); else filter.text = name; }
  await changed();
  if (name === undefined) at("filter-edit").querySelector("input")?.focus();
}

function remove(filter) {
  const place = filters.indexOf(filter);
  filters.splice(place, 1);
  if (open === filter) open = null;
  changed();
  (at("filter-chips").children[Math.min(place, filters.length - 1)]?.querySelector(".filter-words") ?? at("filter-add")).focus();
}

// -- chips ----------------------------------------------------------------------------------------------------------------

function draw() {
  if (!page.state.space) return;
  const focused = document.activeElement?.dataset?.chip;
  at("filter-add").replaceChildren(make("option", { value: "" }, "Filter by…"), ...fields().map(({ kind, title }) => make("option", { value: kind }, title)));
  at("filter-chips").replaceChildren(...filters.map(chip));
  at("filter-none").hidden = !filters.length;
  if (!filters.includes(open)) open = null;
  if (at("filter-edit").filter !== open) edit();
  if (focused) at("filter-chips").querySelector(`[data-chip="${focused}"]`)?.focus();
}

function chip(filter, k) {
  const field = fieldOf(filter), words = field ? sentence(field, filter) : "not in this layer", title = (field ?? fieldAnywhere(filter.kind))?.title ?? filter.kind;
  const off = !filter.on || !field;
  return make("li", { class: `filter${off ? " off" : ""}` },
    make("button", { type: "button", class: "filter-switch", role: "switch", "aria-checked": String(filter.on), "data-chip": `switch-${k}`, "aria-label": `Filter by ${title}`, title: filter.on ? "Switch this filter off" : "Switch this filter on", onclick: () => { filter.on = !filter.on; changed(); } }),
    make("button", { type: "button", class: "filter-words", "aria-expanded": String(open === filter), "data-chip": `words-${k}`, title: `${title}: ${words}`, onclick: () => { open = open === filter ? null : filter; draw(); } }, make("span", {}, `${title} `), make("b", {}, words)),
    make("button", { type: "button", class: "filter-remove", "aria-label": `Remove the filter by ${title}`, title: "Remove", onclick: () => remove(filter) }, "×"));
}

// -- the editor of one filter -------------------------------------------------------------------------------------------------

function edit() {
  const holder = at("filter-edit"), field = open && fieldOf(open);
  holder.filter = open;
  holder.hidden = !field;
  holder.replaceChildren();
  if (field) holder.append(...(open.names ? names(field, open) : field.text ? words(field, open) : range(field, open)));
}

// Esc leaves the editor for the chip of its filter.
function leave(event) {
  if (event.key !== "Escape" || event.target.value && event.target.type === "search") return; // what is typed goes first
  event.stopPropagation();
  const place = filters.indexOf(open);
  open = null;
  draw();
  at("filter-chips").children[place]?.querySelector(".filter-words").focus();
}

function words(field, filter) {
  let timer = 0;
  const box = make("input", { class: "search", type: "search", value: filter.text, maxlength: LONGEST_TEXT, placeholder: "A part of it", "aria-label": `Text in the ${field.title}`, autocomplete: "off", spellcheck: "false",
    oninput: () => { clearTimeout(timer); timer = setTimeout(() => { filter.text = box.value.trim(); changed(); }, QUIET); } });
  return [box];
}

function names(field, filter) {
  const list = make("div", { class: "filter-names", role: "group", "aria-label": `Values of ${field.title}` }), note = make("p", { class: "note" });
  const search = make("input", { class: "search", type: "search", placeholder: `Find in ${count(field.names.length)}`, "aria-label": `Find a value of ${field.title}` });
  const all = [...new Set(field.names), ...(field.without ? [null] : [])];
  const fill = () => {
    const wanted = search.value.toLowerCase(), found = all.filter((name) => (name ?? field.without).toLowerCase().includes(wanted));
    list.replaceChildren(...found.slice(0, MOST_SHOWN).map((name) => make("label", { class: name === null ? "none" : "" }, make("input", { type: "checkbox", checked: filter.names.has(name), onchange: (event) => pick(event.target.checked, name) }), make("span", {}, name ?? field.without))));
    note.textContent = found.length > MOST_SHOWN ? `${count(found.length - MOST_SHOWN)} more: type to find one.` : found.length ? "" : "No such value.";
  };
  const pick = (wanted, name) => { if (wanted) filter.names.add(name); else filter.names.delete(name); changed(); };
  search.oninput = fill;
  fill();
  return [...(all.length > MANY ? [search] : []), list, note];
}

function range(field, filter) {
  const { from, to, step, words } = field, scaled = (value) => (to > from ? (value - from) / (to - from) : 0);
  const told = make("output", {}), track = make("div", { class: "range-track", "aria-hidden": "true" }, make("i", {}));
  const ends = ["low", "high"].map((end) => make("input", { type: "range", min: 0, max: to > from ? Math.max(1, Math.round((to - from) / step)) : 1, step: 1, "aria-label": `${field.title}, ${end === "low" ? "at least" : "at most"}`,
    oninput: (event) => move(end, Number(event.target.value)) }));
  const most = Number(ends[0].max);
  let timer = 0;
  const place = () => {
    ends.forEach((input, k) => { input.value = Math.round(scaled(filter[k ? "high" : "low"]) * most); input.setAttribute("aria-valuetext", words(filter[k ? "high" : "low"])); });
    track.style.setProperty("--low", `${100 * scaled(filter.low)}%`);
    track.style.setProperty("--high", `${100 * scaled(filter.high)}%`);
    told.textContent = `${words(filter.low)} to ${words(filter.high)}`;
  };
  const move = (end, steps) => {
    const value = steps === 0 ? from : steps === most ? to : field.scale === 1 ? rounded(from + steps * step, step) : Number((steps * step).toFixed(4));
    filter[end] = end === "low" ? Math.min(value, filter.high) : Math.max(value, filter.low);
    place();
    clearTimeout(timer);
    timer = setTimeout(changed, 90);
  };
  place();
  return [make("div", { class: "range" }, track, ...ends), told, ...(field.missing ? [make("p", { class: "note" }, "Narrowed, it leaves out images that have no value.")] : [])];
}

// -- in words and in a link -----------------------------------------------------------------------------------------------------

// What the filters and the split leave, for people.
export function filterSentence() {
  const active = filters.filter((filter) => filter.on && fieldOf(filter)).map((filter) => `${fieldOf(filter).title}: ${sentence(fieldOf(filter), filter)}`);
  return [...(page.state.split === "all" ? [] : [page.state.split]), ...active].join("; ");
}

// The filters as an address has them: letters, digits, dots and dashes; "" where there are none. What grows too long is left out.
export const filterWords = () => wordsOf(fitting());

function fitting() {
  const found = [];
  for (const filter of asking()) if (wordsOf([...found, filter]).length <= LONGEST_WORDS) found.push(filter);
  return found;
}

// A filter by a text that is not typed yet has nothing to say in an address.
const asking = () => filters.filter(({ text }) => text !== "");

// How many filters an address has no room for.
export const filtersLeft = () => asking().length - fitting().length;

// A field of this layer, or of another: then its filter waits until that layer is shown.
const fieldAnywhere = (wanted) => [page.state.space, ...manifest.spaces].flatMap(fieldsOf).find(({ kind }) => kind === wanted);

// A filter as an address tells it; null where the field has nothing of it.
function restored(field, { kind, on, hashes, text, low, high }) {
  if (hashes && field.names) {
    const names = new Set(field.names.filter((name) => hashes.includes(hash(name))).concat(hashes.includes("_") ? [null] : []));
    return names.size ? { kind, on, names } : null;
  }
  if (text !== undefined) return field.text ? { kind, on, text: text.slice(0, LONGEST_TEXT) } : null;
  const ends = { low: Math.max(low, field.from), high: Math.min(high, field.to) };
  return ends.low <= ends.high ? { kind, on, ...ends } : null;
}

// Set the filters that an address tells; what this atlas does not have is left out with a notice. Draws nothing.
export async function filterFrom(words) {
  await loading;
  const { found, wrong } = readWords(words ?? "");
  let missed = wrong;
  filters.length = 0;
  for (const one of found) {
    const field = fieldAnywhere(one.kind), filter = field && restored(field, one);
    if (!filter || filter.names?.size < one.hashes?.length) missed++;
    if (filter) filters.push(filter);
  }
  if (missed) page.does.notice(`The link asks for ${several(missed, "filter")} that this atlas does not have.`);
  draw();
}
