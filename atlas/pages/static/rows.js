// Rows of images as masks, bits and lists; filters, orders, lines of CSV, names in a link. Knows no page: tests run it alone.

export function maskOf(rows, count) { const mask = new Uint8Array(count); for (const row of rows) mask[row] = 1; return mask; }

// A bit for each image, the first in the highest bit of the first byte, as numpy packs them.
export function packed(mask) {
  const bits = new Uint8Array((mask.length + 7) >> 3);
  for (let row = 0; row < mask.length; row++) if (mask[row]) bits[row >> 3] |= 128 >> (row & 7);
  return bits;
}

export function unpacked(bits, count) {
  const mask = new Uint8Array(count);
  for (let row = 0; row < count; row++) mask[row] = (bits[row >> 3] >> (7 - (row & 7))) & 1;
  return mask;
}

// -- filters ---------------------------------------------------------------------------------------------------------------

// Which images pass all of `tests`: { values, among } takes codes of a Set, { values, low, high, none } what lies between,
// ends included; what has no value (`none`, NaN) lies nowhere. Null where nothing is asked.
export function keptBy(tests, count) {
  if (!tests.length) return null;
  const mask = new Uint8Array(count).fill(1);
  for (const { values, among, low, high, none } of tests) {
    if (among) { for (let row = 0; row < count; row++) if (!among.has(values[row])) mask[row] = 0; }
    else for (let row = 0; row < count; row++) { const value = values[row]; if (value === none || !(value >= low && value <= high)) mask[row] = 0; }
  }
  return mask;
}

// -- orders ----------------------------------------------------------------------------------------------------------------

// Rows by a number of each, the least first, or turned the greatest; those without a number last; of equals the first row first.
export function ordered(rows, numberOf, turned = false) {
  const keys = Float64Array.from(rows, (row) => { const key = numberOf(row); return key === null || key === undefined ? NaN : key; });
  const places = Array.from(rows.keys()), sign = turned ? -1 : 1;
  places.sort((a, b) => (Number.isNaN(keys[a]) - Number.isNaN(keys[b])) || sign * (keys[a] - keys[b]) || rows[a] - rows[b]);
  return places.map((place) => rows[place]);
}

const spread = (n) => { n = (n | (n << 8)) & 0x00ff00ff; n = (n | (n << 4)) & 0x0f0f0f0f; n = (n | (n << 2)) & 0x33333333; return (n | (n << 1)) & 0x55555555; };
// The place of a point along a line that keeps what is near together (Morton's order), from two coordinates of 16 bits.
export const along = (x, y) => spread(x) + 2 * spread(y);

// -- tallies ---------------------------------------------------------------------------------------------------------------

// How often each pair of codes occurs, the most frequent first: [[a, b, count], …].
export function pairs(rows, first, second) {
  const tally = new Map();
  for (const row of rows) { const key = first[row] * 65536 + second[row]; tally.set(key, (tally.get(key) ?? 0) + 1); }
  return [...tally].map(([key, n]) => { const b = ((key % 65536) + 98304) % 65536 - 32768; return [(key - b) / 65536, b, n]; }).sort((p, q) => q[2] - p[2] || p[0] - q[0] || p[1] - q[1]);
}

export function tally(rows, codes) {
  const found = new Map();
  for (const row of rows) found.set(codes[row], (found.get(codes[row]) ?? 0) + 1);
  return [...found].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}

// -- CSV -------------------------------------------------------------------------------------------------------------------

// A cell of text as a spreadsheet takes it for text: one that it would run begins with an apostrophe.
export const guarded = (cell) => (/^[=+\-@\t\r\n]/.test(cell) ? `'${cell}` : cell);
const quoted = (cell) => `"${guarded(cell).replaceAll('"', '""')}"`;
const cellOf = (cell) => (cell === null || cell === undefined ? '""' : typeof cell === "string" ? quoted(cell) : String(cell));
export const csv = (lines) => lines.map((line) => `${line.map(cellOf).join(",")}\n`).join("");
export const pathLines = (paths) => paths.map((path) => `${path.replaceAll("\r", "\\r").replaceAll("\n", "\\n")}\n`).join("");

// -- filters in a link: names as short hashes, so that no text of strangers stands in an address -------------------------------

// FNV-1a of 32 bits (Fowler, Noll, Vo), in base 36.
export function hash(name) {
  let h = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) h = Math.imul(h ^ byte, 0x01000193);
  return (h >>> 0).toString(36);
}

const written = (number) => String(number).replaceAll("-", "m").replace(".", "p").replace("+", "");
const NUMBER = /^m?\d{1,25}(p\d{1,25})?(em?\d{1,3})?$/;
const numberIn = (word) => (NUMBER.test(word) ? Number(word.replaceAll("m", "-").replace("p", ".")) : null);

// [{ kind, on, names } or { kind, on, low, high }] as `class.k3f9.1x-xconfidence.0.0p6`: an x before a filter that is off.
export const wordsOf = (filters) => filters.map(({ kind, on, names, low, high }) =>
  [`${on ? "" : "x"}${kind}`, ...(names ? ["n", ...[...names].map((name) => (name === null ? "_" : hash(name)))] : ["r", written(low), written(high)])].join(".")).join("-");

// What such words say: [{ kind, on, hashes } or { kind, on, low, high }]; what is none of it is left out and counted.
export function readWords(words) {
  const found = [];
  let wrong = 0;
  for (const word of String(words).slice(0, 4000).split("-").filter(Boolean)) {
    const [head, type, ...rest] = word.split("."), on = !head.startsWith("x"), kind = on ? head : head.slice(1);
    const [low, high] = rest.map(numberIn);
    if (!/^(class|prediction|split|right|confidence|suspicion|own_[0-9a-z]{1,7})$/.test(kind)) wrong++;
    else if (type === "n" && rest.every((one) => /^(_|[0-9a-z]{1,7})$/.test(one))) found.push({ kind, on, hashes: rest });
    else if (type === "r" && rest.length === 2 && low !== null && high !== null && low <= high) found.push({ kind, on, low, high });
    else wrong++;
  }
  return { found, wrong };
}
