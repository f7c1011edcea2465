// What to look at first, while nothing is open or selected: the mistakes made most, each with the images of which the network
// is surest. A line selects all its images, a thumbnail opens one.
import { images, manifest, tables, make, count, several, classColour, pictured } from "./data.js";
import { cellFor } from "./parts.js";
import { confusions, judgedOf, takenFor } from "./confusion.js";
import { line } from "./selection.js";
import { Section, arrowKeys } from "./section.js";
import { page, on, at } from "./page.js";

const FEW = 6, MANY = 12; // mistakes listed, on a small screen and on a large one
const TALL = 73, ABOVE = 370; // pixels of one, of what stands over them all
const EDGE = 40, STEP = 47; // pixels of a thumbnail, from one to the next
const UNKNOWN = 65535; // a confidence that was not kept

export function startLeads() {
  const leads = new Leads();
  at("selection-panel").append(leads.section.element);
  for (const what of ["drawn", "selection", "image"]) on(what, () => leads.again());
}

const listed = () => Math.max(FEW, Math.min(MANY, Math.floor((innerHeight - ABOVE) / TALL)));

class Leads {
  constructor() {
    this.of = make("span", { class: "note" });
    this.section = new Section("leads", "Most frequent mistakes", { skeleton: 0, tools: [this.of] });
    this.section.element.hidden = true;
    this.known = null; // what is listed, and how wide
  }

  again() {
    const { space, split, row } = page.state, idle = row === null && !page.newImage?.file && !page.map?.chosen;
    const pairs = idle && judgedOf(space) ? confusions(space.predictions, split).pairs.slice(0, listed()) : [];
    this.section.element.hidden = !pairs.length;
    const wide = this.section.element.clientWidth, now = `${space.predictions} ${split} ${wide} ${pairs.length}`;
    if (!pairs.length || now === this.known) return;
    this.known = now;
    this.of.textContent = split === "all" || !images.told ? "" : split;
    const most = pairs[0].count, named = manifest.predictions[space.predictions].names;
    this.section.show(make("p", { class: "note" }, "Label → prediction, the surest images first"), ...pairs.flatMap((pair) => this.one(pair, named[pair.other], most, Math.floor((wide + 7) / STEP))));
  }

  one({ own, other, count: number }, said, most, across) {
    const { space, split } = page.state, { confidence } = tables.predictions[space.predictions], sure = (row) => (confidence[row] === UNKNOWN ? -1 : confidence[row]);
    const rows = takenFor(space.predictions, split, own, other), label = images.labels[own], surest = [...rows].sort((a, b) => sure(b) - sure(a) || a - b).slice(0, across);
    const select = () => { page.does.select(rows, "replace"); page.does.look?.(rows); };
    const cells = surest.map((row) => cellFor(space, row, EDGE, (found) => page.does.open(found, null)));
    pictured(cells, EDGE);
    return [make("ul", { class: "lines leads" }, line([make("span", {}, label), make("i", { class: "arrow", "aria-hidden": "true" }, "→"), make("span", {}, said)], classColour(own), number / most, count(number), `Select the ${several(number, "image")} labelled ${label} and predicted ${said}`, select)),
      arrowKeys(make("div", { class: "lead-row", role: "group", "aria-label": `${label} taken for ${said}` }, ...cells))];
  }
}
