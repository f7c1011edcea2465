// Pure functions of what stands in an address: a selection as a deflated bitset, categories as ranges, a view as four numbers.

// -- a selection: one bit per image, deflated, in base64url ------------------------------------------------------------------

// `chosen` is a Uint8Array per image row.
export async function pack(chosen) {
  const bits = new Uint8Array(Math.ceil(chosen.length / 8));
  for (let row = 0; row < chosen.length; row++) if (chosen[row]) bits[row >> 3] |= 1 << (row & 7);
  const deflated = new Blob([bits]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  return toBase64(new Uint8Array(await new Response(deflated).arrayBuffer()));
}

// The Uint8Array per image row again; null where the text is not a selection of `count` images.
export async function unpack(text, count) {
  try {
    const bits = await inflate(fromBase64(text), Math.ceil(count / 8)), chosen = new Uint8Array(count);
    if (bits === null) return null;
    for (let row = 0; row < count; row++) chosen[row] = (bits[row >> 3] >> (row & 7)) & 1;
    return chosen;
  } catch { return null; }
}

// Exactly `length` bytes, or null: what would grow beyond them is never read to its end.
async function inflate(bytes, length) {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader(), found = new Uint8Array(length);
  let at = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return at === length ? found : null;
    if (at + value.length > length) { reader.cancel().catch(() => {}); return null; }
    found.set(value, at);
    at += value.length;
  }
}

function toBase64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192)); // an engine limits its arguments
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

const fromBase64 = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (sign) => sign.charCodeAt(0));

// -- numbers as ranges: 0, 1, 2, 7 is "0-2.7" ----------------------------------------------------------------------------------

export function ranges(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b), parts = [];
  for (const number of sorted) {
    const last = parts.at(-1);
    if (last && last[1] === number - 1) last[1] = number; else parts.push([number, number]);
  }
  return parts.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(".");
}

// The numbers below `most`, or null where the text is no such list.
export function unranged(text, most) {
  const found = new Set();
  for (const part of text.split(".")) {
    const match = /^(\d{1,6})(?:-(\d{1,6}))?$/.exec(part), from = Number(match?.[1]), to = Number(match?.[2] ?? match?.[1]);
    if (!match || from > to || to >= most) return null;
    for (let number = from; number <= to; number++) found.add(number);
  }
  return found;
}

// A short mark of a list of names (FNV-1a), so that an old link does not hide the wrong ones.
export function mark(names) {
  let hash = 0x811c9dc5;
  for (const sign of names.join("\n")) hash = Math.imul(hash ^ sign.codePointAt(0), 0x01000193) >>> 0;
  return hash.toString(36);
}

// -- a view: left, right, bottom and top of the map, in its own unit ---------------------------------------------------------

export const viewText = (view) => view.map((number) => String(Number(number.toPrecision(7)))).join("_");

export function viewOf(text) {
  const view = text.split("_").map((part) => (/^-?\d{1,9}(\.\d{1,9})?(e-?\d{1,2})?$/.test(part) ? Number(part) : NaN));
  return view.length === 4 && view.every((number) => Math.abs(number) < 1e9) && view[1] > view[0] && view[3] > view[2] ? view : null;
}
