// Preferred inputs: images synthesised to excite a unit, with what each reached, beside what real images reach.
import { manifest, make, json, address, several } from "./data.js";
import { command, whichAtlas } from "./command.js";
import { figure } from "./layers.js";

const LARGE = 132, SMALL = 64; // pixels on the screen: of the picture first shown, of those beside it
const CRISP = 64; // pixels up to which a picture is shown with its pixels
const NAMES = { pca: "the dataset’s components", fourier: "Fourier", maco: "MACO", pixel: "pixels" };

const records = manifest?.preferred ?? [];
const of = (layer) => records.filter((one) => one.layer === layer.layer && (one.network === layer.network || layer.network === null));

// The pictures of one unit: of the newest record that has it first, then those made otherwise, controls last.
export function picturesOf(layer, number) {
  const found = of(layer).flatMap((record) => record.units.flatMap((unit, place) => (unit === number ? [{ record, place }] : [])));
  return found.sort((a, b) => a.record.untrained - b.record.untrained);
}

// The style of a box of `edge` pixels that shows one picture out of its sheet.
export function pictureStyle({ record, place }, edge) {
  const { across, size: [tall, wide] } = record, slot = place % (across * across), scale = edge / Math.max(tall, wide);
  return {
    width: `${wide * scale}px`, height: `${tall * scale}px`,
    "background-image": `url("${address(`preferred/${record.key}/${Math.floor(place / (across * across))}.webp`)}")`,
    "background-size": `${across * wide * scale}px auto`,
    "background-position": `${-(slot % across) * wide * scale}px ${-Math.floor(slot / across) * tall * scale}px`,
    "image-rendering": Math.max(tall, wide) < CRISP ? "pixelated" : "auto",
  };
}

// The first picture of a unit, as a table shows it; null where there is none.
export function smallPicture(layer, number, edge) {
  const [first] = picturesOf(layer, number);
  return first ? make("i", { class: "preferred", style: pictureStyle(first, edge) }) : null;
}

export const anyOf = (layer) => of(layer).length > 0;

// The part of a unit's panel: its preferred input large, what it reached, and the others to choose from.
export function preferredPart(layer, number) {
  const holder = make("div", { class: "preferred-part", id: "unit-preferred" }), found = picturesOf(layer, number);
  holder.append(make("h3", {}, "Preferred input ", make("small", { class: "note" }, "synthesised, no image of the data")));
  if (!found.length) { holder.append(missing(layer, number)); return holder; }
  const big = make("div", { class: "preferred-big", role: "img" }), said = make("div", { class: "preferred-said" });
  const others = found.length > 1 ? make("div", { class: "preferred-others", role: "group", "aria-label": "Other pictures of this unit" },
    ...found.map((one) => make("button", { type: "button", title: wordsOf(one), "aria-label": wordsOf(one), onclick: () => show(one) }, make("i", { style: pictureStyle(one, SMALL) }), make("small", {}, shortOf(one))))) : null;
  const show = (one) => {
    big.replaceChildren(make("i", { style: pictureStyle(one, LARGE) }));
    big.setAttribute("aria-label", `Preferred input of unit ${number}: ${wordsOf(one)}`);
    [...(others?.children ?? [])].forEach((button, place) => button.setAttribute("aria-pressed", found[place] === one));
    said.replaceChildren(make("p", { class: "note" }, wordsOf(one)));
    json(`preferred/${one.record.key}.json`).then((told) => { if (said.isConnected) said.replaceChildren(...facts(one, told)); }, () => said.append(make("p", { class: "note" }, "What it reached could not be fetched.")));
  };
  holder.append(make("div", { class: "preferred-main" }, big, said), ...(others ? [others] : []));
  show(found[0]);
  return holder;
}

function missing(layer, number) {
  const dead = of(layer).some((record) => record.dead.includes(number));
  if (dead) return make("p", { class: "note" }, "Dead: it never varies over the real images, so there is nothing to draw.");
  const words = manifest.static ? "None was drawn of this unit when the report was written." : "None was drawn of this unit yet. In a terminal:";
  return make("div", {}, make("p", { class: "note" }, words),
    ...(manifest.static ? [] : [command("atlas", "preferred", ...whichAtlas(layer.network), "--layer", layer.layer, "--unit", number)]));
}

const shortOf = ({ record, place }) => `${record.untrained ? "untrained" : record.param}${record.variants > 1 ? ` ${variantOf(record, place) + 1}` : ""}`;
const variantOf = (record, place) => record.units.slice(0, place).filter((unit) => unit === record.units[place]).length;

function wordsOf({ record, place }) {
  const which = record.variants > 1 ? `, reconstruction ${variantOf(record, place) + 1} of ${record.variants}` : "";
  return `${NAMES[record.param] ?? record.param}${which}${record.untrained ? ", of the same network with random weights: a control" : ""}`;
}

function facts({ record, place }, told) {
  const failed = told.failure[place], state = failed || (told.converged[place] ? `converged after ${told.ran[place]} steps` : `still rising after ${told.ran[place]} steps`);
  const lines = [["reaches", make("b", {}, figure(told.activation[place]))], ["above", `${Number(told.percentile[place].toPrecision(4))}\u202f% of real images`],
    ["best real image", figure(told.best[place])], ["ascent", make("span", { class: failed || !told.converged[place] ? "failed" : "" }, state)]];
  return [make("dl", { class: "facts" }, ...lines.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])),
    make("p", { class: "note", title: `${told.functional} of the unit raised; at every step ${told.transforms}; ${several(told.restarts, "start")}, seed ${told.seed}; activations by ${told.measured}, among ${told.real}` }, `Drawn in ${record.prior}${record.untrained ? "; of the same network with random weights: a control" : ""}.`)];
}
