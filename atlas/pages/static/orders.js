// In which order the rows and columns of patterns stand, and what is computed of their values. Pure, but for `options`.
import { tables, make } from "./data.js";

// Selectivity where it is defined for every unit that is ever above 0; else how far units stand out.
export const usesSelectivity = (table) => table.selectivity.every((value, unit) => value !== null || table.dead[unit]);
export const falling = (values) => (a, b) => (values[b] ?? -Infinity) - (values[a] ?? -Infinity) || a - b;

const LEAST = 13; // pixels of a row: a line of names needs them

// How high each of some rows is so that together they fill their place, and none is taller than `most`.
export const rowHeight = (rows, room, most = 38) => Math.max(LEAST, Math.min(most, Math.floor(room / Math.max(1, rows))));

// The classes that have a row: those of which the atlas has an image, or all where it has none of any.
export function rowsOf(labels) {
  const there = new Set(tables.label), rows = labels.map((_, k) => k).filter((k) => there.has(k));
  return rows.length ? rows : labels.map((_, k) => k);
}

export function loudestOf(values, order, from, end) {
  let found = from;
  for (let place = from + 1; place < end; place++) if (Math.abs(values[order[place]]) > Math.abs(values[order[found]])) found = place;
  return found;
}

export function contrast(mean, { labels, units, count: counts }) {
  const found = new Float32Array(mean.length), there = labels.map((_, k) => k).filter((k) => counts[k]);
  for (let unit = 0; unit < units; unit++) {
    const middle = there.reduce((sum, k) => sum + mean[k * units + unit], 0) / there.length;
    for (let k = 0; k < labels.length; k++) found[k * units + unit] = mean[k * units + unit] - middle;
  }
  return found;
}

export function options(select, choices, chosen) {
  select.replaceChildren(...choices.map(([value, words]) => make("option", { value, selected: value === chosen }, words)));
  if (chosen !== undefined && chosen !== null) select.value = chosen;
}
