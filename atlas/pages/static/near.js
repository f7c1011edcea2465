// An image's nearest in the layer beside its nearest on the map now shown: what they share, and what the map tears apart.
import { manifest, json, make, count, several, decimals, percent, segments, pictured } from "./data.js";
import { cellFor } from "./parts.js";
import { page } from "./page.js";
import { Section, arrowKeys } from "./section.js";

const EDGE = 40; // pixels of a thumbnail: three beside each other in half of the panel

// Of the points of a map (their places xy, all x before all y) the images nearest to a place, one point each, none of them
// of `own`: [{ row, point, distance }], nearest first. `points` are those that count, null for all.
export function nearestOnMap({ xy, count: all, rowOf }, points, [x, y], own, wanted) {
  const found = [], many = points ? points.length : all;
  let most = Infinity;
  for (let k = 0; k < many; k++) {
    const point = points ? points[k] : k, distance = (xy[point] - x) ** 2 + (xy[all + point] - y) ** 2;
    if (distance >= most) continue;
    const row = rowOf(point);
    if (row === own) continue;
    place(found, { row, point, distance }, wanted);
    if (found.length >= wanted) most = found[found.length - 1].distance;
  }
  return found.map((one) => ({ ...one, distance: Math.sqrt(one.distance) }));
}

// Keep the nearest point of each image, in order.
function place(found, one, wanted) {
  const same = found.findIndex(({ row }) => row === one.row);
  if (same >= 0) { if (found[same].distance <= one.distance) return; found.splice(same, 1); }
  let at = found.length;
  while (at > 0 && found[at - 1].distance > one.distance) at--;
  found.splice(at, 0, one);
  if (found.length > wanted) found.pop();
}

export class Near {
  // `of`: space, near (points, distances, metric … or null), row (null for a new image), at (its place on the map, or null)
  constructor(panel, of) {
    Object.assign(this, { panel }, of);
    this.all = false; // whether points that are not drawn are looked at too
    this.value = make("b", {}, "");
    this.section = new Section("near", "Neighbours", { skeleton: 260, fill: () => this.build(), tools: this.near ? [this.slider()] : [] });
  }

  get most() { return this.near.points.length; }
  get k() { return Math.min(this.panel.k, this.most); }

  slider() {
    const { most } = this, at = (k) => `${(100 * (k - 1)) / Math.max(1, most - 1)}%`;
    this.value.textContent = String(this.k);
    return make("label", {}, "k", make("input", { type: "range", min: Math.min(1, most), max: most, value: this.k, "aria-label": "How many neighbours", style: { "--at": at(this.k) },
      oninput: (event) => {
        this.panel.k = Number(event.target.value);
        event.target.style.setProperty("--at", at(this.panel.k));
        this.fill();
        this.panel.actions.ring(this.near.points.slice(0, this.k));
      } }), this.value);
  }

  build() {
    if (!this.near) { this.section.say("No neighbour lists were kept for this layer."); return; }
    this.words = make("p", { class: "note", id: "near-words", "aria-live": "polite" });
    this.grids = { layer: arrowKeys(make("div", { class: "grid", id: "neighbours", "aria-label": "Nearest neighbours" })), map: arrowKeys(make("div", { class: "grid", id: "screen-neighbours", "aria-label": "Neighbours on the map" })) };
    const { near, space } = this, search = near.exact ? "exact" : `approximate${near.recall === null ? "" : `, recall ${near.recall.toFixed(4)}`}`;
    const judged = manifest.predictions[space.predictions]?.judged ? "; a name in red was predicted wrong" : "";
    this.section.show(make("p", { class: "note" }, `${near.metric} distance in ${space.layers.join(" + ")}, ${search}${judged}`), this.words,
      make("div", { class: "pair" }, make("div", {}, make("h4", {}, "in the layer"), this.grids.layer), make("div", {}, make("h4", {}, "on the map"), this.grids.map)),
      this.foot());
    this.survey();
    this.standing();
  }

  foot() {
    this.own = make("p", { class: "note", id: "own-recall" });
    this.among = make("div", { class: "segments small among" });
    segments(this.among, [{ id: "shown", title: "among those drawn" }, { id: "all", title: "among all points" }], "shown", (id) => { this.all = id === "all"; this.survey(); });
    this.among.setAttribute("role", "radiogroup");
    this.among.setAttribute("aria-label", "Points that count as neighbours on the map");
    return make("div", { class: "near-foot" }, this.among, this.own,
      make("div", { class: "row-buttons" }, make("button", { type: "button", class: "text-button", onclick: () => page.does.select?.(this.rows().slice(0, this.k), "replace") }, "Select those of the layer"),
        make("button", { type: "button", class: "text-button", onclick: () => page.does.select?.(this.onMap.map(({ row }) => row), "replace") }, "Select those of the map")));
  }

  rows() { return this.near.points.map((point) => page.map.rowOf(point)); }

  // The split, the layout or the filters have changed: the map's side is another.
  again() { if (this.words && this.element.isConnected && page.state.space === this.space) { this.survey(); this.standing(); } }

  get element() { return this.section.element; }

  // Look at the map once, for as many neighbours as the slider can ask for.
  survey() {
    const { map } = page, rowOf = (point) => map.rowOf(point);
    this.placed = this.at();
    this.nearby = this.placed ? nearestOnMap({ ...map.now, rowOf }, this.all ? null : map.drawn, this.placed, this.row, this.most) : [];
    const wanted = new Set(this.rows());
    this.drawn = new Set(); // the layer's neighbours that have a point on the map as it is now
    for (const point of map.drawn) { const row = map.rowOf(point); if (wanted.has(row)) this.drawn.add(row); }
    this.among.hidden = map.drawn.length >= map.now.count;
    this.fill();
  }

  fill() {
    const { k } = this, layer = this.rows().slice(0, k);
    this.value.textContent = String(k);
    this.onMap = this.nearby.slice(0, k);
    const shared = new Set(this.onMap.map(({ row }) => row).filter((row) => layer.includes(row)));
    this.say(layer, shared);
    this.cells(layer, shared);
  }

  say(layer, shared) {
    const { drawn } = this;
    if (!this.placed) { this.words.textContent = "This image has no place on this map."; return; }
    const away = this.all ? 0 : layer.filter((row) => !drawn.has(row)).length;
    this.words.replaceChildren(make("b", {}, `${count(shared.size)} of ${count(layer.length)} in common`), layer.length - shared.size ? "; those that differ have a dashed frame." : ".",
      away ? ` ${several(away, "neighbour")} of the layer ${away === 1 ? "is" : "are"} not drawn now.` : "");
  }

  cells(layer, shared) {
    const { near, space, drawn } = this, digits = decimals(near.distances), open = (point) => (row) => this.panel.actions.open(row, point);
    const place = new Map(this.rows().map((row, rank) => [row, rank + 1]));
    this.grids.layer.replaceChildren(...layer.map((row, rank) => this.cell(space, row, open(near.points[rank]), near.distances[rank].toFixed(digits), shared.has(row), drawn.has(row) ? "" : ", not drawn now")));
    this.grids.map.replaceChildren(...this.onMap.map(({ row, point }) => this.cell(space, row, open(point), place.has(row) ? `№ ${place.get(row)}` : `> ${this.most}`, shared.has(row),
      place.has(row) ? `, number ${place.get(row)} in the layer` : `, not among its ${this.most} nearest in the layer`)));
    for (const grid of Object.values(this.grids)) pictured([...grid.children], EDGE);
  }

  cell(space, row, open, figure, shared, words) {
    const made = cellFor(space, row, EDGE, open, (name, wrong) => [make("span", { class: wrong ? "wrong" : "" }, name), make("em", {}, figure)]);
    made.classList.toggle("differs", !shared);
    made.classList.toggle("away", words.startsWith(", not drawn"));
    made.title += `${shared ? ", near in the layer and on the map" : ""}${words}`;
    return made;
  }

  // What the layout's record says of this very point.
  async standing() {
    const { layout } = page.state, point = page.state.point;
    if (this.row === null || point === null || !layout.measured) { this.own.textContent = ""; return; }
    let told;
    try { told = await json(`standing/${layout.key}/${point}.json`); } catch { this.own.textContent = "How faithful its place is could not be fetched."; return; }
    if (layout !== page.state.layout) return;
    this.own.textContent = told.recall === null ? "How faithful its place is was not measured."
      : `${layout.method} keeps ${Math.round(told.recall * told.k)} of its ${told.k} nearest here (${percent(told.recall)}), among all points.`;
  }
}
