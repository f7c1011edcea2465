// One image through the network: its nearest images in every layer, and how many of them are of which class.
import { manifest, images, tables, json, make, count, percent, classColour, pictured } from "./data.js";
import { cellFor } from "./parts.js";
import { page } from "./page.js";
import { Section, arrowKeys } from "./section.js";
import { spaceCalled } from "./controls.js";

const SHOWN = 6; // thumbnails of a layer: one line
const EDGE = 40;

// How many of some images are of each class, the most frequent first: [[code, images]]; -1 is no label.
export function mixOf(rows, labels) {
  const tally = new Map();
  for (const row of rows) tally.set(labels[row], (tally.get(labels[row]) ?? 0) + 1);
  return [...tally].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}

export class Journey {
  constructor(panel, { space, row, label }) {
    Object.assign(this, { panel, space, row, label });
    this.layers = manifest.layers.filter(({ neighbours, network }) => neighbours && network === space.network);
    this.section = new Section("journey", "Across the layers", { skeleton: 60 + 92 * this.layers.length, fill: () => this.fill() });
  }

  get element() { return this.section.element; }

  async fill() {
    const { section } = this;
    if (!this.layers.length) { section.say("No neighbour lists were kept for any layer."); return; }
    const answers = await Promise.all(this.layers.map(({ neighbours }) => json(`journey/${neighbours}/${this.row}.json`).catch(() => null)));
    if (!answers.some(Boolean)) { section.say("The neighbours in the other layers cannot be had here."); return; }
    const k = Math.min(...answers.filter(Boolean).map(({ rows }) => rows.length));
    if (!k) { section.say("There is no other image among its neighbours."); return; }
    section.show(make("p", { class: "note" }, this.words(k)), ...this.layers.map((layer, n) => this.line(layer, answers[n], k)));
  }

  words(k) {
    const own = this.label >= 0 ? `; the figure is the share of ${images.labels[this.label]}` : "";
    return `The classes of the ${count(k)} nearest images in each layer, first to last${own}.`;
  }

  line(layer, answer, k) {
    const here = layer.space === page.state.space.id, known = layer.space && spaceCalled(layer.space);
    const name = known && !here ? make("button", { type: "button", class: "text-button", title: "Show this layer’s map", onclick: () => page.does.go(known) }, layer.layer) : make("b", {}, layer.layer);
    const head = make("div", { class: "journey-head" }, name);
    const made = make("div", { class: "journey-line", "data-layer": layer.layer, "aria-current": here ? "true" : null }, head);
    if (!answer) { made.append(make("p", { class: "note" }, "This layer’s neighbours could not be fetched.")); return made; }
    const rows = answer.rows.slice(0, k), mix = mixOf(rows, tables.label);
    head.append(this.bar(mix, k), make("em", {}, this.share(mix, k)));
    const cells = answer.rows.slice(0, SHOWN).map((row) => cellFor(this.space, row, EDGE, (found) => this.panel.actions.open(found, null)));
    pictured(cells, EDGE);
    made.append(arrowKeys(make("div", { class: "journey-row" }, ...cells)));
    return made;
  }

  share(mix, k) {
    if (this.label < 0) return "";
    return percent((mix.find(([code]) => code === this.label)?.[1] ?? 0) / k);
  }

  bar(mix, k) {
    const name = (code) => (code < 0 ? "unlabelled" : images.labels[code]);
    const words = mix.map(([code, number]) => `${name(code)} ${number}`).join(", ");
    const own = [...mix].sort((a, b) => (b[0] === this.label) - (a[0] === this.label)); // its own class stands first, so that lines compare
    return make("div", { class: "mix", role: "img", "aria-label": `Of ${k}: ${words}`, title: words }, ...own.map(([code, number]) =>
      make("i", { style: { width: `${(100 * number) / k}%`, "--c": classColour(code) } })));
  }
}
