// How the points are coloured: by a name, by an amount, by what is fetched when it is asked for.
import { manifest, images, tables, column, json, numbers, SPLITS, classColour, confidenceOf, several } from "./data.js";

const AMOUNT = { confidence: "confidence", faithfulness: "nearest kept", suspicion: "suspicion" }; // what has an amount, not a name
const AMOUNTS = 64; // steps of a continuous colour
const NO_UNIT = 255, UNIT_STEPS = 254, NO_OWN = 65535, OWN_STEPS = 65534; // as in colourings.py

// -- what a colour's name means ------------------------------------------------------------------------------------------------

// "unit:fc:17": the layer called so, else the one of that name in this space's network, and the number; null where there is none.
export function unitOf(space, by) {
  const cut = by.lastIndexOf(":"), name = by.slice(5, cut), number = Number(by.slice(cut + 1));
  const layer = manifest.layers.find((one) => one.id === name) ?? manifest.layers.find((one) => one.layer === name && one.network === space.network);
  return layer && /:\d{1,8}$/.test(by) && number < layer.units ? { layer, number } : null;
}

// A colour by the name that means it whatever the map shows: of a unit, the layer with its network where several have it.
export function colourNamed(space, by) {
  const unit = by.startsWith("unit:") ? unitOf(space, by) : null;
  return unit ? `unit:${unit.layer.id}:${unit.number}` : by;
}

// A unit in words, with its network where there are several.
export function unitWords({ layer, number }) {
  const network = manifest.networks.length > 1 ? manifest.networks.find(({ key }) => key === layer.network)?.title : null;
  return `unit ${number} of ${layer.layer}${network ? `, ${network}` : ""}`;
}

export function ownOf(by) {
  const number = images.own.findIndex((one) => one.name === by.slice(7));
  return number < 0 ? null : { ...images.own[number], number };
}

export const colourable = (own) => ["names", "amount", "date"].includes(own.kind);

// Whether the points of a space can be coloured by what has this name.
export function canColour(space, by) {
  if (by.startsWith("unit:")) return unitOf(space, by) !== null;
  if (by.startsWith("column:")) return Boolean(ownOf(by)) && colourable(ownOf(by));
  return space.colours.includes(by);
}

// What a map is coloured by beyond the columns of the start, fetched when asked for; rejected where it cannot be had.
export async function loadShares(space, layout, by) {
  if (by === "faithfulness") return layout.measured ? column(layout.key, "recall", Uint16Array) : null;
  if (by === "suspicion") return column(space.suspects, "score", Uint16Array);
  if (by === "community") return loadCommunities(space);
  if (by.startsWith("unit:")) return loadUnit(unitOf(space, by));
  return by.startsWith("column:") ? loadOwn(ownOf(by).number) : null;
}

async function loadCommunities(space) {
  const { key } = manifest.graphs.find((one) => one.space === space.id);
  const [names, codes] = await Promise.all([json(`graph/${key}/communities.json`), numbers(`graph/${key}/community.bin`, Uint16Array)]);
  return { names, codes };
}

async function loadUnit({ layer, number }) {
  const bytes = await numbers(`unit/${layer.activations}/${number}.bin`, Uint8Array);
  const [low, high] = new Float32Array(bytes.slice(0, 8).buffer);
  return { low, high, codes: bytes.subarray(8) };
}

export async function loadOwn(number) {
  const [told, codes] = await Promise.all([json(`own/${images.key}/${number}.json`), numbers(`own/${images.key}/${number}.bin`, Uint16Array)]);
  return { ...told, codes };
}

// -- codes and colours ---------------------------------------------------------------------------------------------------------

// Names, colours, and the code of every image row, for one way to colour; for an amount, its ends and what it is in words.
export function colouring(space, by, shares) {
  if (by.startsWith("unit:")) return ofUnit(space, unitOf(space, by), shares);
  if (by.startsWith("column:")) return ofColumn(by.slice(7), shares);
  if (by === "community") return ofCommunities(shares);
  return by in AMOUNT ? ofShare(space, by, shares) : ofNames(space, by);
}

const amounts = () => [...ramp(manifest.colours.amount, AMOUNTS), manifest.colours.none];

// Codes of 0 … `steps` in the steps of the palette; `none` has no amount.
function stepped(codes, steps, none) {
  return Uint16Array.from(codes, (code) => (code === none ? AMOUNTS : Math.min(AMOUNTS - 1, Math.floor((code / steps) * AMOUNTS))));
}

function ofShare(space, by, shares) {
  const scale = { low: "0 %", high: "100 %", words: AMOUNT[by] }, palette = amounts(), ofPoints = by === "faithfulness";
  const table = tables.predictions[space.predictions], values = by === "confidence" ? table?.confidence : shares;
  const codes = values ? Uint16Array.from(values, shareStep) : new Uint16Array(ofPoints ? space.points : images.count).fill(AMOUNTS);
  return { codes, palette, names: null, scale, ...(ofPoints ? { ofPoints } : {}) };
}

function shareStep(code) {
  const share = confidenceOf(code);
  return share === null ? AMOUNTS : Math.min(AMOUNTS - 1, Math.floor(share * AMOUNTS));
}

function ofUnit(space, { layer, number }, { low, high, codes }) {
  const note = [`${layer.functional} of ${unitWords({ layer, number })}.`,
    layer.spatial ? "Of an image’s sampled positions the largest counts." : ""].filter(Boolean).join(" ");
  return { codes: stepped(codes, UNIT_STEPS, NO_UNIT), palette: amounts(), names: null, note: note[0].toUpperCase() + note.slice(1),
    scale: { low: figure(low), high: figure(high), words: `unit ${number} of ${layer.layer}` } };
}

function ofColumn(name, { kind, names, ends, codes }) {
  if (kind === "names") return named([...names, "no value"], Uint16Array.from(codes, (code) => (code === NO_OWN ? names.length : code)),
    names.map((_, code) => manifest.colours.names[code % manifest.colours.names.length]));
  const words = kind === "date" ? (seconds) => new Date(1000 * seconds).toISOString().slice(0, 10) : figure;
  return { codes: stepped(codes, OWN_STEPS, NO_OWN), palette: amounts(), names: null, scale: { low: words(ends[0]), high: words(ends[1]), words: name } };
}

function ofCommunities({ names, codes }) {
  return named([...names, "no edge"], Uint16Array.from(codes, (code) => Math.min(code, names.length)), names.map((_, code) => manifest.colours.names[code % manifest.colours.names.length]));
}

function ofNames(space, by) {
  const { colours } = manifest, table = tables.predictions[space.predictions];
  const kinds = {
    class: { names: [...images.labels, "unlabelled"], read: (row) => tables.label[row] },
    prediction: { names: [...(manifest.predictions[space.predictions]?.names ?? []), "no prediction"], read: (row) => table.prediction[row] },
    right: { names: ["right", "wrong", "undefined"], read: (row) => [-1, 1, 0][table.right[row] + 1], palette: [colours.right, colours.wrong] },
    split: { names: images.told ? SPLITS : ["", "", "all images"], read: (row) => tables.split[row], palette: colours.split },
  };
  const { names, read, palette } = kinds[by], none = names.length - 1, codes = new Uint16Array(images.count);
  for (let row = 0; row < codes.length; row++) { const code = read(row); codes[row] = code < 0 ? none : code; }
  return named(names, codes, palette ?? names.map((_, code) => classColour(code)));
}

// The last of the names is that of the images that have none.
const named = (names, codes, own) => ({ codes, names, palette: names.map((_, code) => (code === names.length - 1 ? manifest.colours.none : own[code])) });

// A number as short as it tells enough: 0.0413, −2.5, 12 000.
export function figure(number) {
  if (!Number.isFinite(number)) return "not a number";
  const text = String(Number(number.toPrecision(4))).replace("-", "−");
  return /e/.test(text) ? text : text.replace(/\d+/, (whole) => whole.replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f"));
}

// Why a column of the user's cannot be coloured by, in words; null where it can.
export function whyNot({ kind, distinct }) {
  if (kind === "many") return `${several(distinct, "different value")}: too many to colour by`;
  return kind === "nothing" ? "no values" : null;
}

// `count` colours along a list of `#rrggbb` stops.
export function ramp(stops, count) {
  const channels = stops.map(rgb);
  return Array.from({ length: count }, (_, step) => {
    const at = (step / (count - 1)) * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2), share = at - low;
    const mixed = channels[low].map((value, k) => Math.round(value + (channels[low + 1][k] - value) * share));
    return `#${mixed.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
  });
}

// Red, green and blue of a `#rrggbb`.
export const rgb = (colour) => [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));

const DIVERGING = { // the middle is the page's own ground; blue against orange, which every kind of vision tells apart
  dark: ["#7cc4ff", "#3f8fe0", "#234f86", "#1d2a3c", "#1d2129", "#3a2920", "#8a4718", "#e07a26", "#ffc27a"],
  light: ["#0b3f86", "#2f78c4", "#86b6e3", "#d5e4f2", "#f3f4f6", "#f8e0cc", "#efab6f", "#d0661a", "#84340a"],
};
export const diverging = (count) => ramp(DIVERGING[document.documentElement.dataset.theme] ?? DIVERGING.dark, count);
