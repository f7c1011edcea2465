// Which labels are taken for which predictions, counted from the columns that the page holds.
import { manifest, images, tables, SPLITS } from "./data.js";

const kept = new Map();

export const judgedOf = (layer) => Boolean(manifest.predictions[layer.predictions]?.judged && tables.predictions[layer.predictions]);
export const inSplit = (row, split) => split === "all" || tables.split[row] === SPLITS.indexOf(split);

// Of a network's predictions over a split: how many of each label are told as what (`cells`, by label × codes + prediction),
// the mistakes among them, the most frequent first (`pairs`), and of each label how many there are and are right.
export function confusions(predictions, split) {
  const name = `${predictions} ${split}`;
  if (!kept.has(name)) kept.set(name, tally(tables.predictions[predictions], manifest.predictions[predictions].names.length, split));
  return kept.get(name);
}

function tally(table, codes, split) {
  const cells = new Map(), of = new Uint32Array(images.labels.length), right = new Uint32Array(images.labels.length);
  for (let row = 0; row < images.count; row++) {
    const label = tables.label[row], said = table.prediction[row];
    if (label < 0 || said < 0 || !inSplit(row, split)) continue;
    of[label]++;
    right[label] += table.right[row] === 1;
    cells.set(label * codes + said, (cells.get(label * codes + said) ?? 0) + 1);
  }
  const all = [...cells].map(([place, count]) => ({ own: Math.floor(place / codes), other: place % codes, count }));
  return { cells, codes, of, right, pairs: all.filter(({ own, other }) => own !== other).sort((a, b) => b.count - a.count || a.own - b.own || a.other - b.other) };
}

// The images of a label that a network takes for something, in a split.
export function takenFor(predictions, split, label, said) {
  const { prediction } = tables.predictions[predictions], rows = [];
  for (let row = 0; row < images.count; row++) if (tables.label[row] === label && prediction[row] === said && inSplit(row, split)) rows.push(row);
  return rows;
}

export function ofClass(label, split) {
  const rows = [];
  for (let row = 0; row < images.count; row++) if (tables.label[row] === label && inSplit(row, split)) rows.push(row);
  return rows;
}
