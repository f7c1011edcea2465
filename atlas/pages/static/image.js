// The panel of one image: its picture, what the network says of it, what speaks against trusting it, its neighbours,
// its odd units, its way through the layers, its activation maps. Which image is open, and the way to the next one.
import { manifest, images, tables, json, make, count, percent, splitOf, predictionOf } from "./data.js";
import { page, on, tell, at } from "./page.js";
import { placed } from "./map.js";
import { keepHeights } from "./section.js";
import { keepingFocus } from "./focus.js";
import { picture, outputs, path } from "./picture.js";
import { Near } from "./near.js";
import { Deviation } from "./deviation.js";
import { Journey } from "./journey.js";
import { Way } from "./way.js";
import { ActivationMaps } from "./activationmaps.js";
import { VolumeSlices } from "./volume.js";

export class ImagePanel {
  constructor(holder, actions) { this.holder = holder; this.actions = actions; this.k = 12; this.turn = 0; this.parts = []; }

  empty() {
    this.turn++;
    this.leave();
    delete this.holder.dataset.row;
    keepingFocus(this.holder, () => this.holder.replaceChildren(make("h2", {}, "Image"), make("p", { class: "empty" },
      "Click a point to see its image, what the network says of it, and its nearest neighbours in the layer’s own space. ",
      "Drag with the lasso (", make("kbd", {}, "L"), ") or the box (", make("kbd", {}, "B"), ") to gather images.",
      manifest.largest === null ? "" : " Drop an image file anywhere on the page to see what the network makes of it.")));
  }

  // What is shown goes: its sections' heights are kept, and nobody waits for its activation maps.
  leave() {
    keepHeights(this.holder);
    for (const part of this.parts) part.close?.();
    this.parts = [];
  }

  async show(space, row, point, words = null) {
    const turn = ++this.turn;
    const wanted = [json(`detail/${images.key}/${row}.json`), space.predictions ? json(`top/${space.predictions}/${row}.json`) : null,
      space.neighbours && point !== null ? json(`nearest/${space.neighbours.key}/${point}.json`) : null,
      space.suspects ? json(`suspicion/${space.suspects}/${row}.json`) : null, space.leaks ? json(`twins/${space.leaks}/${row}.json`) : null];
    let answers;
    try { answers = await Promise.all(wanted); } catch {
      if (turn === this.turn) this.holder.replaceChildren(make("h2", {}, "Image"), make("p", { class: "empty" }, "What is known of this image could not be fetched. Load the page again."));
      return null;
    }
    if (turn !== this.turn) return null;
    const [detail, top, found, doubt, leak] = answers, near = found && this.oneEach(found, row);
    this.fill(row, [this.head(), words ? make("p", { class: "note", style: { "margin-bottom": "8px" } }, words) : null, picture(detail, top), top && top.top.length ? outputs(top.top, images.labels.indexOf(detail.label)) : null,
      this.doubts(detail, doubt, leak), this.facts(detail)], this.sections(space, row, near));
    return near;
  }

  sections(space, row, near) {
    const label = tables.label[row], predicted = predictionOf(space, row)?.code ?? -1;
    const place = () => (page.state.point === null || page.state.point >= page.map.now.count || !placed(page.map.now, page.state.point) ? null : page.map.place(page.state.point));
    return [new Near(this, { space, near, row, at: place }), new Deviation({ space, row, label, predicted }), new Journey(this, { space, row, label }), new Way({ space, row }), new ActivationMaps({ space, row }), VolumeSlices.of({ space, row })].filter(Boolean);
  }

  // Put an image's head and sections into the panel; `row` is "new" for a new image.
  fill(row, head, parts) {
    this.leave();
    this.parts = parts;
    keepingFocus(this.holder, () => this.holder.replaceChildren(...head.filter(Boolean), ...parts.map((part) => part.element)));
    this.holder.dataset.row = row;
  }

  // Of several points of one image the nearest counts, and the image's own are no neighbours: as `atlas query` has it.
  oneEach(near, row) {
    const seen = new Set([row]);
    const first = near.points.map((point) => { const other = this.actions.rowOf(point), is = !seen.has(other); seen.add(other); return is; });
    return { ...near, points: near.points.filter((_, k) => first[k]), distances: near.distances.filter((_, k) => first[k]) };
  }

  head() {
    const made = make("div", { class: "panel-head" }, make("h2", {}, "Image"));
    if (walk.rows.length) made.append(make("span", { class: "steps", role: "group", "aria-label": "Neighbours one by one" }, this.stepButton(-1), make("span", { class: "note", id: "step-words" }, walk.words()), this.stepButton(1)));
    made.append(make("button", { type: "button", onclick: () => this.actions.close() }, "Close"));
    return made;
  }

  stepButton(by) {
    const words = by > 0 ? "Next neighbour (N)" : "Previous neighbour (P)";
    return make("button", { type: "button", "data-step": by, title: words, "aria-label": words, disabled: !walk.may(by), onclick: () => step(by) }, by > 0 ? "›" : "‹");
  }

  // What speaks against trusting this image: a label its neighbours do not share, a twin in the other split.
  doubts(detail, doubt, leak) {
    const lines = [];
    if (doubt && doubt.score !== null) lines.push(make("dt", {}, "label suspicion"), make("dd", { id: "suspicion" }, `${percent(doubt.score)}${doubt.say === detail.label ? "" : ` · its neighbours say ${doubt.say}`}`));
    const twins = leak ? leak.twins : [];
    if (twins.length) lines.push(make("dt", {}, "near-duplicate"), make("dd", { id: "twins" }, ...twins.flatMap((row, k) => [k ? ", " : "",
      make("button", { type: "button", class: "link", onclick: () => this.actions.open(row, null) }, `image ${count(row)}`)]), ` (${splitOf(twins[0])})`));
    return lines.length ? make("dl", { class: "facts doubts" }, ...lines) : null;
  }

  facts(detail) {
    const rows = [["file", detail.path === null ? null : path(detail.path)], ["image", make("code", {}, detail.image_id ?? "")],
      ["size", detail.size[0] ? `${detail.size[0]} × ${detail.size[1]} ${detail.mode ?? ""}` : null],
      ["duplicate of", detail.duplicate_of >= 0 ? `image ${detail.duplicate_of}` : null], ["error", detail.error],
      ...Object.entries(detail.columns)].filter(([, value]) => value !== null && value !== undefined);
    return make("dl", { class: "facts" }, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  }
}

// -- which image is open -------------------------------------------------------------------------------------------------------

let panel;

// The neighbours that N and P go through: those of the image from which the walk began, which is number 0.
const walk = {
  from: null, rows: [], at: 0,
  may(by) { return this.at + by >= 0 && this.at + by <= this.rows.length; },
  words() { return this.at ? `neighbour ${this.at} of ${this.rows.length}` : `${this.rows.length} neighbours`; },
};

export function startImage() {
  panel = new ImagePanel(at("image-panel"), { open, close, rowOf: (point) => page.map.rowOf(point), ring: (points) => { page.state.near = points; mark(); } });
  Object.assign(page.does, { open, close, mark, step });
  page.imagePanel = panel;
  panel.empty();
  on("drawn", () => { mark(); for (const part of panel.parts) part.again?.(); });
  on("split", () => { for (const part of panel.parts) if (part instanceof Deviation) part.fill(); });
  on("space", () => { if (page.state.row !== null) open(page.state.row, null); });
  on("theme", () => { for (const part of panel.parts) part.repaint?.(); });
  addEventListener("keydown", keys);
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea") || document.querySelector("dialog[open]")) return;
  const by = { n: 1, p: -1 }[event.key.toLowerCase()];
  if (by) step(by);
}

// The next or the previous of the neighbours of the image from which one set out.
function step(by) {
  if (!walk.may(by) || !walk.rows.length) return undefined;
  walk.at += by;
  return open(walk.at ? walk.rows[walk.at - 1] : walk.from, null, undefined, true);
}

async function open(row, point, words, stepping = false) {
  const { state, map } = page;
  state.row = row;
  state.point = point ?? map.pointOf(row);
  if (!stepping) Object.assign(walk, { from: row, rows: [], at: 0 });
  const near = await panel.show(state.space, row, state.point, words);
  if (state.row !== row) return; // another image was opened meanwhile
  state.near = near ? near.points.slice(0, panel.k) : [];
  if (!stepping && near) {
    walk.rows = near.points.map((other) => map.rowOf(other));
    keepingFocus(panel.holder, () => panel.holder.querySelector(".panel-head")?.replaceWith(panel.head()));
  }
  await mark();
  tell("image", row);
}

async function mark() {
  const { state, map } = page;
  const own = state.row === null ? [] : map.pointsOf(state.row);
  const point = own.includes(state.point) ? state.point : own[0];
  map.mark(point ?? null, own.filter((other) => other !== point), state.fired?.length ? state.fired : point === undefined && !page.newImage?.showing ? [] : state.near ?? []); // fired: the top images of the unit opened last
  page.thumbs.later();
}

function close() {
  Object.assign(page.state, { row: null, point: null, near: [] });
  Object.assign(walk, { from: null, rows: [], at: 0 });
  panel.empty();
  mark();
  tell("image", null);
}
