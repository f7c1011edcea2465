// What images can be filtered by: names of which some are wanted, or an amount between two ends; each with its column.
import { manifest, images, tables, json, column, numbers, percent, SPLITS } from "./data.js";
import { hash } from "./rows.js";
import { called } from "./files.js";

const SHARE = 65534; // the code of a share of one, and the next one of none
const NONE = 65535;

let own = []; // the user's columns, as the server tells of them

export const ownColumns = () => own;
export const ownKind = (name) => `own_${hash(name)}`;

// Fetch what the user's own columns are; a page without them goes on without.
export async function loadOwn() {
  try { own = await json(`columns/${images.key}.json`); } catch { own = []; }
  return own;
}

// A field of names: of codes 0, 1, …, and of `none` where there is none.
const named = (kind, title, names, values, { none = -1, without = null } = {}) => ({ kind, title, names, without, none, load: async () => values(),
  codesOf: (wanted) => new Set([...names.keys()].filter((code) => wanted.has(names[code])).concat(wanted.has(null) ? [none] : [])) });

const amount = (kind, title, from, to, values, { none = null, scale = 1, step, words, missing = false }) => ({ kind, title, from, to, step, words, missing, load: async () => values(), none, scale });

const file = { kind: "file", title: "file or id", text: true, load: ({ text }) => called(text) };

const shares = { none: NONE, scale: SHARE, step: 0.01, words: (share) => percent(share).replace(".0", "") };

// The fields of one layer's images, in the order they are offered.
export function fieldsOf(space) {
  const key = space.predictions, told = key ? manifest.predictions[key] : null, table = () => tables.predictions[key];
  const some = (values) => values.some((value) => value < 0);
  return [
    images.labels.length ? named("class", "class", images.labels, () => tables.label, { without: tables.label && some(tables.label) ? "unlabelled" : null }) : null,
    told ? named("prediction", "prediction", told.names, () => table().prediction, { without: table() && some(table().prediction) ? "no prediction" : null }) : null,
    images.told ? named("split", "split", SPLITS, () => tables.split) : null,
    told?.judged ? named("right", "right or wrong", ["wrong", "right"], () => table().right, { without: table() && some(table().right) ? "undefined" : null }) : null,
    told ? amount("confidence", "confidence", 0, 1, () => table().confidence, { ...shares, missing: images.undecodable > 0 }) : null,
    space.suspects ? amount("suspicion", "label suspicion", 0, 1, () => column(space.suspects, "score", Uint16Array), { ...shares, missing: true }) : null,
    file, ...own.map(ownField),
  ].filter(Boolean);
}

function ownField({ name, kind, values, missing, low, high, whole }, number) {
  const place = `columns/${images.key}/${number}.bin`;
  if (kind === "category") return named(ownKind(name), name, values, () => numbers(place, Uint16Array), { none: NONE, without: missing ? "no value" : null });
  if ((kind !== "number" && kind !== "date") || low === null) return null;
  if (kind === "date") return amount(ownKind(name), name, low, high, () => numbers(place, Float64Array), { step: Math.max(1, Math.round((high - low) / 200)), words: day, missing: missing > 0 });
  const fine = whole ? 1 : (high - low) / 200 || 1;
  return amount(ownKind(name), name, low, high, () => numbers(place, Float64Array), { step: fine, words: (value) => String(rounded(value, fine)), missing: missing > 0 });
}

const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);

// A number with as many decimals as a step of it has.
export const rounded = (value, step) => Number(value.toFixed(Math.max(0, Math.min(20, Math.ceil(-Math.log10(step))))));

// Whether a filter asks anything: only then its field's values are needed.
export const asks = (field, { names, text, low, high }) => (names ? names.size > 0 : field.text ? text !== "" : low > field.from || high < field.to);

// The test of rows.js for what a filter asks of a field's values.
export function testOf(field, filter, values) {
  if (field.text) return { values, among: new Set([1]) };
  if (filter.names) return { values, among: field.codesOf(filter.names) };
  const { scale, none } = field, round = scale === 1 ? (end) => end : (end) => Math.round(end * scale);
  return { values, low: round(filter.low), high: round(filter.high), none };
}

// A filter in words: what is named, what a name holds, or from where to where.
export function sentence(field, filter) {
  if (!asks(field, filter)) return "any";
  if (field.text) return `“${filter.text}”`;
  if (filter.names) return [...filter.names].map((name) => name ?? field.without ?? "none").join(", ");
  return `${field.words(filter.low)} to ${field.words(filter.high)}`;
}
