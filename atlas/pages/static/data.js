// What the page was told at its start, and what it fetches: every address carries an artifact's key, so answers are kept.
import { held, pictureUrl } from "./report.js";
const element = document.getElementById("manifest");
export const manifest = element ? JSON.parse(element.textContent) : null;
const root = location.pathname.replace(/\/+$/, "");
const kept = new Map();

function once(address, read) {
  if (!kept.has(address)) {
    const answer = (manifest.static ? held(address) : fetched(`${root}/${address}`)).then(read);
    answer.catch(() => kept.delete(address)); // a lost connection is tried again
    kept.set(address, answer);
  }
  return kept.get(address);
}

async function fetched(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: ${response.status}`);
  return response;
}

export const json = (address) => once(address, (response) => response.json());
export const numbers = (address, Kind) => once(address, async (response) => new Kind(await response.arrayBuffer()));
export const column = (key, what, Kind) => numbers(`column/${key}/${what}.bin`, Kind);
// The address of a picture, or of what is posted to; in a report that of what the file holds.
export const address = (path) => (manifest.static ? pictureUrl(path) : `${root}/${path}`);

export const NO_CONFIDENCE = 65535;
export const confidenceOf = (code) => (code === NO_CONFIDENCE ? null : code / 65534);

// The columns of the images and of each network's predictions, one array per column, indexed by image row.
export const images = manifest ? manifest.images : null;
export const tables = { label: null, split: null, predictions: {} };

export async function loadImages() {
  [tables.label, tables.split] = await Promise.all([
    column(images.key, "label", Int16Array), column(images.key, "split", Uint8Array)]);
}

// Predictions come as what they are more than the label's code, which is nothing for most; both arrays go around at 16 bits.
export const predictedBy = (mistake, label) => mistake.map((more, row) => label[row] + more);

export async function loadPredictions(key) {
  if (!key || tables.predictions[key]) return;
  const [label, mistake, right, confidence] = await Promise.all([column(images.key, "label", Int16Array),
    column(key, "mistake", Int16Array), column(key, "right", Int8Array), column(key, "confidence", Uint16Array)]);
  tables.predictions[key] ??= { prediction: predictedBy(mistake, label), right, confidence };
}

// -- words ---------------------------------------------------------------------------------------------------------------

export const SPLITS = ["train", "held-out", "unknown"];
export const count = (number) => String(number).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
export const several = (number, what) => `${count(number)} ${what}${number === 1 ? "" : what.endsWith("s") ? "es" : "s"}`;
export const splitOf = (row) => (images.told ? SPLITS[tables.split[row]] : null); // nothing to say where no split is known
// One number of decimals for a list: three digits for its middle one.
export function decimals(numbers) {
  const sizes = numbers.filter((number) => number > 0).sort((a, b) => a - b);
  return sizes.length ? Math.max(0, Math.min(6, 2 - Math.floor(Math.log10(sizes[sizes.length >> 1])))) : 0;
}
export const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(share >= 0.9995 || share < 0.0005 ? 0 : 1)}\u202f%`);
export const labelOf = (row) => (tables.label[row] < 0 ? null : images.labels[tables.label[row]]);

export function predictionOf(space, row) {
  const table = tables.predictions[space.predictions];
  if (!table || table.prediction[row] < 0) return null;
  const code = table.prediction[row];
  return { code, name: manifest.predictions[space.predictions].names[code], right: table.right[row],
    confidence: confidenceOf(table.confidence[row]) };
}

export const classColour = (code) =>
  code === null || code < 0 ? manifest.colours.none : manifest.colours.classes[code % manifest.colours.classes.length];

// -- elements: names are strangers' text, so they only ever become text nodes and attributes -----------------------------

export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name === "style") for (const [property, wanted] of Object.entries(value)) made.style.setProperty(property, wanted);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const sheetOf = (row) => Math.floor(row / (images.columns * images.columns));
export const sheetAddress = (sheet) => address(`thumbs/${images.key}/${sheet}.webp`);

const rendering = () => (images.edge < 48 ? "pixelated" : "auto");

// The style of a box of `edge` pixels that shows one image's thumbnail out of its sheet.
export function thumbStyle(row, edge) {
  const { columns } = images, slot = row % (columns * columns);
  return {
    "background-image": `url("${sheetAddress(sheetOf(row))}")`,
    "background-size": `${columns * edge}px auto`,
    "background-position": `${-(slot % columns) * edge}px ${-Math.floor(slot / columns) * edge}px`,
    "image-rendering": rendering(),
  };
}

// Where thumbnails lie in many sheets, those of some images are asked for side by side in one picture, so that no whole sheet is
// read for each. `boxes` are elements with the image’s row that show it themselves or by their first child, `edge` pixels wide.
const FEW_SHEETS = 1, AT_ONCE = 60;
export const inMany = Boolean(images) && !manifest.static && sheetOf(images.count - 1) >= FEW_SHEETS;

export function pictured(boxes, edge) {
  if (!inMany) return;
  for (let from = 0; from < boxes.length; from += AT_ONCE) {
    const some = boxes.slice(from, from + AT_ONCE), picture = `url("${address(`picks/${images.key}/${some.map(({ dataset }) => dataset.row).join("-")}.webp`)}")`;
    some.forEach((box, k) => Object.assign((box.firstElementChild ?? box).style, { backgroundImage: picture, backgroundSize: `${some.length * edge}px ${edge}px`, backgroundPosition: `${-k * edge}px 0px`, imageRendering: rendering() }));
  }
}

export function segments(holder, choices, chosen, pick) {
  const select = (id) => { for (const b of holder.children) { const on = b.dataset.id === id; b.setAttribute("aria-checked", on); b.tabIndex = on ? 0 : -1; } };
  holder.replaceChildren(...choices.map(({ id, title, small, hint }) =>
    make("button", { type: "button", role: "radio", "data-id": id, title: hint ?? null, onclick: () => { select(id); pick(id); } },
      title, small === undefined ? null : make("small", {}, small))));
  holder.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = [...holder.children], now = all.indexOf(document.activeElement);
    const next = all[(now + step + all.length) % all.length];
    next.focus(); next.click();
  };
  select(chosen);
}
