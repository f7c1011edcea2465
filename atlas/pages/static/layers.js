// Which layer the dock is about, what is known of its units, and how a unit is named: shared by its tabs.
import { manifest, images, json, numbers, make } from "./data.js";
import { page, tell } from "./page.js";

export const SPLIT_NUMBER = { train: 0, "held-out": 1, unknown: 2, all: 3 };
export const layers = manifest?.statistics ?? [];
export const layerOf = (key) => layers.find((layer) => layer.key === key);
const several = new Set(layers.map(({ network }) => network)).size > 1;

export const networkOf = (layer) => (several ? manifest.predictions[layer.predictions]?.network ?? layer.network : null);

// The layer in words: its name, and what tells it from another of that name.
export function layerWords(layer) {
  const alike = layers.filter((other) => other.layer === layer.layer && other.network === layer.network).length > 1;
  return alike ? `${layer.layer} · ${layer.functional}` : layer.layer;
}

// A layer by what links call it, whatever the map shows: the name of a recorded layer, of one of which statistics were kept, of
// a space, or its statistics’ key. A bare name that several networks share means that of the network that the map shows.
export function layerCalled(name) {
  const { space } = page.state, recorded = manifest.layers?.find(({ id }) => id === name), bare = layers.filter(({ layer }) => layer === name);
  const of = recorded ? layers.filter(({ activations }) => activations === recorded.activations) : [];
  return of.find(({ functional }) => functional === recorded.functional) ?? of[0] ?? layers.find(({ call }) => call === name)
    ?? layerOf(manifest.spaces.find(({ id }) => id === name)?.statistics) ?? layerOf(name) ?? bare.find(({ network }) => network === space.network) ?? bare[0] ?? null;
}

// The recorded layer whose vectors a layer’s codes come from; none where only statistics were kept.
export const recordedOf = (layer) => (layer.activations && manifest.layers?.find(({ activations }) => activations === layer.activations)) || null;

// Why the map cannot be coloured by the units of a layer of which only statistics were kept, and what would do.
export const onlyStatistics = (layer) => `Only statistics were kept of ${layerWords(layer)}, not its value for each image. ${manifest.static ? "" : `Run the command that built the atlas again with --layer ${layer.layer} added: what stands is kept.`}`.trim();

// The shortest name that means this layer and no other: what links call it.
export function callOf(layer) {
  return [layer.call, recordedOf(layer)?.id].find((name) => name && layerCalled(name) === layer) ?? layer.key;
}

// Whether a unit's panel is open, of this layer: its number, else -1.
export const openedOf = (layer) => (page.unit && page.unit.layer === layer ? page.unit.number : -1);

// The layer of the map as the dock has it; of several jointly the first.
export const layerOfSpace = (space) => layerOf(space.statistics) ?? layerOf(space.patterns[0]?.key) ?? null;

export function choose(layer) {
  if (page.layer === layer) return;
  page.layer = layer;
  tell("dock-layer", layer);
}

// -- what is fetched of a layer ----------------------------------------------------------------------------------------------

// Class patterns over the split shown: labels, count, mean and std [class, unit], and the contrast; null without labels.
export async function patternsOf(layer, split) {
  if (!images.labels.length) return null;
  const place = `patterns/${layer.key}/${SPLIT_NUMBER[split]}`;
  const [told, mean, std] = await Promise.all([json(`${place}.json`), numbers(`${place}/mean.bin`, Float32Array), numbers(`${place}/std.bin`, Float32Array)]);
  return { ...told, mean, std };
}

export const tableOf = (layer, split) => json(`units/${layer.key}/${SPLIT_NUMBER[split]}.json`);

// What each unit answers to, where it was asked by stimuli; null where it was not, or is not in a report.
export const tunedOf = (layer) => (layer.selectivity ? json(`selectivity/${layer.selectivity}.json`).catch(() => null) : Promise.resolve(null));

// The columns of it, sortable: which angle a unit prefers and how much, and how well it tells two groups of images apart.
export function tunedColumns(tuned) {
  if (!tuned) return [];
  const degrees = (name) => (unit) => (tuned[name][unit] === null ? "–" : `${Math.round(tuned[name][unit]) % (name === "hue" ? 360 : 180)}°`), share = (name) => (unit) => (tuned[name][unit] === null ? "–" : tuned[name][unit].toFixed(2));
  const column = (id, title, hint, show) => ({ id, title, hint, of: (unit) => tuned[id][unit], show });
  const hue = (unit) => (tuned.hue[unit] === null ? "–" : make("span", { class: "class-name" }, make("i", { style: { "--c": `hsl(${tuned.hue[unit]} 65% 50%)` } }), degrees("hue")(unit)));
  const found = [column("orientation", "orientation", "of the grating’s stripes that excites it most, counter-clockwise from horizontal", degrees("orientation")),
    column("orientation_index", "oriented", "1 less the circular variance over orientations: 1 for one orientation only, 0 for none preferred", share("orientation_index")),
    column("hue", "hue", "that excites it most, of hues of one luma; red 0°, green 120°, blue 240°", hue),
    column("hue_index", "hued", "1 less the circular variance over hues", share("hue_index"))].filter(({ id }) => tuned[id].some((value) => value !== null));
  if (tuned.auc) found.push(column("auc", tuned.groups[0], `share of pairs in which one of ${tuned.images[0]} ${tuned.groups[0]} excites it more than one of ${tuned.images[1]} ${tuned.groups[1]}; by chance 0.5 ± ${tuned.chance.toFixed(2)}`, share("auc")));
  return found;
}

// The images that excite each unit most, of all splits, and the values: [rank, unit] each, and the quantiles of a few levels.
export async function topsOf(layer) {
  const place = `units/${layer.key}`;
  const [image, value, quantiles] = await Promise.all([numbers(`${place}/top_image.bin`, Int32Array), numbers(`${place}/top_value.bin`, Float32Array), numbers(`${place}/quantiles.bin`, Float32Array)]);
  return { image, value, quantiles };
}

// The images that excite one unit most, with their values, the most excited first.
export function topOf(tops, units, number) {
  const found = [];
  for (let place = number; place < tops.image.length; place += units) if (tops.image[place] >= 0 && !Number.isNaN(tops.value[place])) found.push({ row: tops.image[place], value: tops.value[place] });
  return found;
}

// One unit's code of every image, the greatest of its points; null where none were kept.
export async function codesOf(layer, number) {
  if (!layer.activations) return null;
  const place = `codes/${layer.activations}/${number}`;
  const [codes, scale, rows] = await Promise.all([numbers(`${place}.bin`, Uint8Array), json(`${place}.json`),
    layer.identity ? null : numbers(`column/${layer.activations}/image.bin`, Int32Array)]);
  if (!rows) return { codes, scale, there: null };
  const most = new Uint8Array(images.count), there = new Uint8Array(images.count);
  rows.forEach((row, point) => { there[row] = 1; most[row] = Math.max(most[row], codes[point]); });
  return { codes: most, scale, there };
}

export const figure = (value, digits = 3) => (value === null || value === undefined || Number.isNaN(value) ? "–" : value === 0 ? "0" : trimmed(value, digits));
function trimmed(value, digits) {
  const text = Math.abs(value) >= 1000 || Math.abs(value) < 0.001 ? value.toPrecision(digits) : String(Number(value.toPrecision(digits)));
  return text.replace("-", "−");
}
