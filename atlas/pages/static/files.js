// Images whose file or id is called so: the server looks for them, in a report what the file holds is looked through.
import { images, json } from "./data.js";
import { maskOf, unpacked } from "./rows.js";
import { post, served } from "./posting.js";

const AT_ONCE = 1000; // details of a report read together
const KEPT = 20; // texts whose images are remembered

const kept = new Map();
let embedded = null;

// A mask of the images whose path or id holds a text, in upper or lower case.
export function called(text) {
  if (!kept.has(text)) {
    if (kept.size >= KEPT) kept.delete(kept.keys().next().value);
    const mask = served ? asked(text) : detailsHolding(text).then((found) => maskOf(found.map(({ row }) => row), images.count));
    mask.catch(() => kept.delete(text)); // a lost connection is tried again
    kept.set(text, mask);
  }
  return kept.get(text);
}

async function asked(text) {
  const bits = await (await post("called", { text })).arrayBuffer();
  return unpacked(new Uint8Array(bits), images.count);
}

// In a report: what is told of the files that are called so; rejected where their names are not in it.
export async function detailsHolding(text) {
  const wanted = text.toLowerCase(), found = [];
  embedded ??= details().catch((reason) => { embedded = null; throw reason; });
  (await embedded).forEach(({ path, image_id: id }, row) => { if (String(path ?? "").toLowerCase().includes(wanted) || String(id ?? "").includes(wanted)) found.push({ row, path: path ?? "", image_id: id ?? "" }); });
  return found;
}

async function details() {
  const all = [];
  for (let from = 0; from < images.count; from += AT_ONCE) all.push(...await Promise.all(Array.from({ length: Math.min(AT_ONCE, images.count - from) }, (_, k) => json(`detail/${images.key}/${from + k}.json`))));
  return all;
}
