// In a report only: what the server would answer, out of what the file holds. Columns and pictures lie there by address;
// what is asked image by image is assembled from columns (held_tables.py).
import { images, tables, column, labelOf, SPLITS, NO_CONFIDENCE, confidenceOf } from "./data.js";

let index = null, text = null;
const urls = new Map();
const NONE = 65535; // no output, no label

function find(address) {
  index ??= JSON.parse(document.getElementById("held-index").textContent);
  return Object.hasOwn(index, address) ? index[address] : null;
}

// Seven bits of each character, first bit first.
function bytesOf([start, held]) {
  text ??= document.getElementById("held").textContent;
  const found = new Uint8Array(held);
  let bits = 0, waiting = 0;
  for (let at = start, k = 0; k < held; at++) {
    bits = (bits << 7) | (text.charCodeAt(at) & 127);
    waiting += 7;
    if (waiting >= 8) { waiting -= 8; found[k++] = bits >> waiting; }
  }
  return found;
}

// First bytes lay with first bytes: back to whole numbers.
function together(bytes, width) {
  const found = new Uint8Array(bytes.length), length = bytes.length / width;
  for (let byte = 0; byte < width; byte++) for (let k = 0, from = byte * length; k < length; k++) found[k * width + byte] = bytes[from + k];
  return found;
}

async function open(entry) {
  const [, , , width] = entry, bytes = bytesOf(entry);
  if (!width) return bytes.buffer;
  const whole = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
  return width > 1 ? together(new Uint8Array(whole), width).buffer : whole;
}

// Run a script that the file holds: Bokeh, deflated.
export async function run(address) {
  const source = new TextDecoder().decode(await open(find(address)));
  document.head.append(Object.assign(document.createElement("script"), { textContent: source }));
}

// A picture as an address that an element can show; what is not held shows nothing.
export function pictureUrl(address) {
  const entry = find(address);
  if (!entry) return "data:,";
  if (!urls.has(address)) urls.set(address, URL.createObjectURL(new Blob([bytesOf(entry)], { type: "image/webp" })));
  return urls.get(address);
}

const ASKED = /^(detail|top|nearest|suspicion|twins|journey|standing)\/([a-z0-9-]+)\/(\d+)\.json$/;

// What answers an address, as a response does: json() and arrayBuffer().
export async function held(address) {
  const entry = find(address);
  if (entry) return new Response(await open(entry));
  const [, what, key, number] = ASKED.exec(address) ?? [];
  if (!what) throw new Error(`${address} is not in this report`);
  const answer = await ANSWERS[what](key, Number(number));
  return { json: async () => answer };
}

const parts = new Map();

// A part of what the file holds, opened once: JSON, or numbers of a kind.
function part(address, Kind) {
  if (!parts.has(address)) {
    const entry = find(address);
    parts.set(address, !entry ? Promise.reject(new Error(`${address} is not in this report`))
      : open(entry).then((buffer) => (Kind ? new Kind(buffer) : JSON.parse(new TextDecoder().decode(buffer)))));
  }
  return parts.get(address);
}

// A name such as cat/img_0012.jpg out of its kind and its number, which is told as what it is more than the one before it.
function nameOf(column, row) {
  if (!column.sums) { let sum = 0; column.sums = column.number.map((more) => (sum += more)); }
  const [before, width, after] = column.kinds[column.kind[row]];
  return `${before}${String(column.sums[row]).padStart(width, "0")}${after}`;
}

async function detailOf(key, row) {
  const [{ ours, own, odd }, ids] = await Promise.all([part(`report/detail/${key}.json`), part(`report/detail/${key}/ids.bin`, Uint8Array)]);
  const value = (column) => ("each" in column ? column.each[row] : "kinds" in column ? nameOf(column, row) : column.all);
  const told = Object.fromEntries(Object.entries(ours).map(([name, column]) => [name, value(column)]));
  const { width, height, duplicate_of, ...rest } = told;
  const id = odd[row] ?? Array.from(ids.subarray(8 * row, 8 * row + 8), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return { row, image_id: id, ...rest, label: labelOf(row), split: SPLITS[tables.split[row]], size: width === null ? [0, 0] : [width, height ?? 0], duplicate_of,
    columns: Object.fromEntries(Object.entries(own).map(([name, column]) => [name, value(column)])) };
}

// The row of the image of an id; null where the report has none such.
export async function rowOfId(key, id) {
  const [{ odd }, ids] = await Promise.all([part(`report/detail/${key}.json`), part(`report/detail/${key}/ids.bin`, Uint8Array)]);
  const named = Object.keys(odd).find((row) => odd[row] === id);
  if (named !== undefined) return Number(named);
  if (!/^[0-9a-f]{16}$/.test(id)) return null;
  const bytes = Uint8Array.from(id.match(/../g), (pair) => parseInt(pair, 16));
  for (let row = 0; row < images.count; row++) if (!(row in odd) && bytes.every((byte, place) => ids[8 * row + place] === byte)) return row;
  return null;
}

async function topOf(key, row) {
  const [{ names, labels, ranks, first }, outputs, shares, right, confidence] = await Promise.all([part(`report/top/${key}.json`), part(`report/top/${key}/outputs.bin`, Uint16Array),
    part(`report/top/${key}/shares.bin`, Uint16Array), column(key, "right", Int8Array), column(key, "confidence", Uint16Array)]);
  const share = (place) => (!first ? shares[place] : place < images.count ? confidence[row] : shares[place - images.count]); // the first one is a column of the page
  const places = Array.from({ length: ranks }, (_, rank) => rank * images.count + row).filter((place) => outputs[place] !== NONE && share(place) !== NO_CONFIDENCE);
  return { right: right[row], confidence: confidenceOf(confidence[row]),
    top: places.map((place) => ({ name: names[outputs[place]], label: labels[outputs[place]], probability: confidenceOf(share(place)) })) };
}

// The points in their order along Morton's curve through a map, and the place of each: as `along_map` of held_tables.py has it.
const curves = new Map();
async function curve(layout, count) {
  if (!curves.has(layout)) {
    curves.set(layout, column(layout, "xy", Uint16Array).then((xy) => {
      const spread = (value) => { let bits = value; bits = (bits | (bits << 8)) & 0x00ff00ff; bits = (bits | (bits << 4)) & 0x0f0f0f0f; bits = (bits | (bits << 2)) & 0x33333333; return (bits | (bits << 1)) & 0x55555555; };
      const keys = new Float64Array(count); // code and number in one: both fit into the 53 bits of a double
      for (let point = 0; point < count; point++) keys[point] = ((spread(xy[point]) | (spread(xy[count + point]) << 1)) >>> 0) * 2097152 + point;
      const order = Uint32Array.from(keys.sort(), (key) => key % 2097152), place = new Uint32Array(count);
      order.forEach((point, at) => { place[point] = at; });
      return { order, place };
    }));
  }
  return curves.get(layout);
}

async function nearestOf(key, point) {
  const told = await part(`report/nearest/${key}.json`), { k, points: count, layout, least, steps, metric, exact, recall } = told;
  const [codes, apart, { order, place }] = await Promise.all([part(`report/nearest/${key}/points.bin`, Uint32Array), part(`report/nearest/${key}/distances.bin`, Uint16Array), curve(layout, count)]);
  const at = place[point], points = [], distances = [];
  for (let rank = 0, step = 0; rank < k; rank++) {
    const code = codes[at * k + rank];
    step = (step + apart[rank * count + at]) & 65535;
    if (!code) continue; // none
    points.push(order[at + (code & 1 ? -(code + 1) / 2 : code / 2)]);
    distances.push(step ? least * Math.exp((step - 1) / steps) : 0);
  }
  return { metric, exact, recall, points, distances };
}

async function suspicionOf(key, row) {
  const [{ labels, k }, score, agreement, usual] = await Promise.all([part(`report/suspicion/${key}.json`), column(key, "score", Uint16Array),
    part(`report/suspicion/${key}/agreement.bin`, Uint16Array), part(`report/suspicion/${key}/usual.bin`, Uint16Array)]);
  const judged = score[row] !== NO_CONFIDENCE;
  return { score: confidenceOf(score[row]), agreement: judged ? confidenceOf(agreement[row]) : null, say: judged ? labels[usual[row]] : null, k };
}

const twinsOf = async (key, row) => ({ twins: (await part(`report/twins/${key}.json`))[row] ?? [] });

// One image's nearest images in a layer: of several points of one image the nearest counts, and never its own.
async function journeyOf(key, row) {
  const { k, image } = await part(`report/nearest/${key}.json`), rows = image ? await column(image, "image", Int32Array) : null;
  const own = rows ? Array.from(rows.keys()).filter((point) => rows[point] === row) : [row];
  const lists = await Promise.all(own.map((point) => nearestOf(key, point))), seen = new Set([row]);
  const all = lists.flatMap(({ points, distances }) => points.map((point, rank) => ({ row: rows ? rows[point] : point, distance: distances[rank] }))).sort((a, b) => a.distance - b.distance);
  const near = all.filter((one) => !seen.has(one.row) && seen.add(one.row)).slice(0, k);
  return { rows: near.map((one) => one.row), distances: near.map((one) => one.distance), metric: lists[0]?.metric ?? "" };
}

// How many of its neighbours a point keeps on the map; trust and continuity of each point are not in a report.
async function standingOf(key, point) {
  const [{ k }, recall] = await Promise.all([part(`report/standing/${key}.json`), column(key, "recall", Uint16Array)]);
  return { recall: confidenceOf(recall[point]), trust: null, continuity: null, k };
}

const ANSWERS = { detail: detailOf, top: topOf, nearest: nearestOf, suspicion: suspicionOf, twins: twinsOf, journey: journeyOf, standing: standingOf };
