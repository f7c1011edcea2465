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
  const keys = new Float64Array(rows.length);
  for (let k = 0; k < keys.length; k++) keys[k] = numberOf(rows[k]) ?? NaN;
  const rank = ranked(rows, keys);
  if (rank) return byRank(rows, keys, rank, turned);
  const places = Array.from(rows.keys()), sign = turned ? -1 : 1;
  places.sort((a, b) => (Number.isNaN(keys[a]) - Number.isNaN(keys[b])) || sign * (keys[a] - keys[b]) || rows[a] - rows[b]);
  return places.map((place) => rows[place]);
}

// The same of the rows that a mask holds, out of all rows in order.
export function kept(order, mask, length) {
  const found = new Array(length);
  for (let k = 0, n = 0; k < order.length; k++) if (mask[order[k]]) found[n++] = order[k];
  return found;
}

const RANKS = 2 ** 32, ROWS = 2 ** 21; // a rank and a row fit into the 53 bits of a double, and plain doubles sort twenty times as fast

// What makes a whole number below RANKS of a key, in the order of the keys; null where these keys, or these rows, have none.
function ranked(rows, keys) {
  let whole = true, single = true, most = 0;
  for (let k = 0; k < keys.length; k++) {
    const key = keys[k];
    most = Math.max(most, rows[k]);
    if (Number.isNaN(key)) continue;
    whole &&= key >= 0 && key < RANKS && Number.isInteger(key);
    single &&= Math.fround(key) === key;
  }
  return most >= ROWS ? null : whole ? (key) => key : single ? bitsOf : null;
}

const single = new Float32Array(1), bits = new Uint32Array(single.buffer);
function bitsOf(key) { single[0] = key + 0; return (bits[0] >>> 31 ? ~bits[0] : bits[0] | 0x80000000) >>> 0; } // -0 is 0

function byRank(rows, keys, rank, turned) {
  const both = new Float64Array(rows.length), none = [];
  let n = 0;
  for (let k = 0; k < keys.length; k++) {
    if (Number.isNaN(keys[k])) none.push(rows[k]); else both[n++] = (turned ? RANKS - 1 - rank(keys[k]) : rank(keys[k])) * ROWS + rows[k];
  }
  const found = Array.from(both.subarray(0, n).sort());
  for (let k = 0; k < n; k++) found[k] %= ROWS;
  return found.concat(none.sort((a, b) => a - b));
}

const spread = (n) => { n = (n | (n << 8)) & 0x00ff00ff; n = (n | (n << 4)) & 0x0f0f0f0f; n = (n | (n << 2)) & 0x33333333; return (n | (n << 1)) & 0x55555555; };
// The place of a point along a line that keeps what is near together (Morton's order), from two coordinates of 16 bits.
export const along = (x, y) => spread(x) + 2 * spread(y);

// -- tallies ---------------------------------------------------------------------------------------------------------------

const PAIRS = 2 ** 20; // of codes, up to which each has a counter of its own

// How often each pair of codes occurs, the most frequent first: [[a, b, count], …].
export function pairs(rows, first, second) {
  const [low, high] = ends(rows, first), [left, right] = ends(rows, second), across = right - left + 1, all = (high - low + 1) * across;
  const placeOf = (row) => (first[row] - low) * across + second[row] - left, found = [];
  const add = (n, place) => { if (n) found.push([low + Math.floor(place / across), left + (place % across), n]); };
  if (all <= PAIRS) {
    const counts = new Uint32Array(all);
    for (let k = 0; k < rows.length; k++) counts[placeOf(rows[k])]++;
    counts.forEach(add);
  } else {
    const counts = new Map();
    for (const row of rows) { const place = placeOf(row); counts.set(place, (counts.get(place) ?? 0) + 1); }
    counts.forEach(add);
  }
  return found.sort((p, q) => q[2] - p[2] || p[0] - q[0] || p[1] - q[1]);
}

function ends(rows, codes) {
  let low = 0, high = 0;
  for (let k = 0; k < rows.length; k++) { const code = codes[rows[k]]; if (code < low) low = code; else if (code > high) high = code; }
  return [low, high];
}

const CODES = 65_537; // as many as 16 bits tell, and none, which is -1

// How often each code from -1 on occurs, the most frequent first: [[code, count], …].
export function tally(rows, codes) {
  const counts = new Uint32Array(CODES), found = [];
  for (let k = 0; k < rows.length; k++) counts[codes[rows[k]] + 1]++;
  for (let place = 0; place < CODES; place++) if (counts[place]) found.push([place - 1, counts[place]]);
  return found.sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}

// How many of each category below `length` are chosen: Uint32Array. `chosen` and `codes` have a value per image row.
export function chosenOf(chosen, codes, length) {
  const found = new Uint32Array(length);
  for (let row = 0; row < chosen.length; row++) if (chosen[row]) found[codes[row]]++;
  return found;
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

// What is typed to be found in a name is no stranger's: its bytes as hexadecimal digits.
const coded = (text) => Array.from(new TextEncoder().encode(text), (byte) => byte.toString(16).padStart(2, "0")).join("");
function decoded(digits) {
  try { return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(digits.match(/../g), (byte) => parseInt(byte, 16))); } catch { return null; }
}

// [{ kind, on, names }, { kind, on, text } or { kind, on, low, high }] as `class.n.k3f9.1x-xconfidence.r.0.0p6-file.t.3172`: an x
// before a filter that is off.
export const wordsOf = (filters) => filters.map(({ kind, on, names, text, low, high }) =>
  [`${on ? "" : "x"}${kind}`, ...(names ? ["n", ...[...names].map((name) => (name === null ? "_" : hash(name)))] : text !== undefined ? ["t", coded(text)] : ["r", written(low), written(high)])].join(".")).join("-");

// What such words say: [{ kind, on, hashes }, { kind, on, text } or { kind, on, low, high }]; what is none of it is left out and counted.
export function readWords(words) {
  const found = [];
  let wrong = 0;
  for (const word of String(words).slice(0, 4000).split("-").filter(Boolean)) {
    const [head, type, ...rest] = word.split("."), on = !head.startsWith("x"), kind = on ? head : head.slice(1);
    const [low, high] = rest.map(numberIn);
    if (kind === "file") {
      const text = type === "t" && rest.length === 1 && /^([0-9a-f]{2}){1,800}$/.test(rest[0]) ? decoded(rest[0]) : null;
      if (text === null) wrong++; else found.push({ kind, on, text });
    } else if (!/^(class|prediction|split|right|confidence|suspicion|own_[0-9a-z]{1,7})$/.test(kind)) wrong++;
    else if (type === "n" && rest.every((one) => /^(_|[0-9a-z]{1,7})$/.test(one))) found.push({ kind, on, hashes: rest });
    else if (type === "r" && rest.length === 2 && low !== null && high !== null && low <= high) found.push({ kind, on, low, high });
    else wrong++;
  }
  return { found, wrong };
}
