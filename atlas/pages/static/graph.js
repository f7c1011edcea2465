// The image graph: lines under the points between images that are among each other’s nearest; those of the open image stand
// out, those between classes can be singled out. Only what is drawn and in view is painted, and no more than a screen can show.
import { manifest, images, tables, numbers, make, segments, count, percent } from "./data.js";
import { page, on, tell, at } from "./page.js";

const MOST = 25_000, MOVING = 4_000; // edges painted at a time: standing still, while the map moves
const SETTLED = 140; // milliseconds without movement after which all are painted
const ABSENT = 65535; // a point that is no node, as in graphs.py
const FAINT = { all: 0.26, crossing: 0.1 }, STRONG = 0.75; // opacity of edges within a class, by what is asked for; between classes
const KINDS = [["all", "All"], ["crossing", "Between classes"]];

export const graphOf = (space) => manifest.graphs.find((one) => one.space === space.id) ?? null;

export function startGraph() {
  const graph = page.graph = new Graph(page.map);
  page.does.edges = (wanted) => graph.show(wanted);
  page.does.edgesWords = () => graph.wanted;
  page.keys.push(["G", "edges of the image graph"]);
  addEventListener("keydown", (event) => {
    if (event.key !== "g" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, select, textarea") || document.querySelector("dialog[open]")) return;
    if (!at("edges").hidden) graph.show(graph.wanted ? null : "all");
  });
  for (const what of ["drawn", "space"]) on(what, () => graph.renew());
  for (const what of ["image", "theme", "selection"]) on(what, () => graph.later());
  on("image", (row) => graph.standing(row));
  graph.renew();
}

export class Graph {
  constructor(map) {
    Object.assign(this, { map, wanted: null, part: null, edges: null, now: null, waiting: 0, timer: 0, still: true });
    this.canvas = make("canvas", { class: "edges-under", id: "edges-under", "aria-hidden": "true" });
    this.over = make("canvas", { class: "icons-over", "aria-hidden": "true" }); // the open image’s edges, over the dots and under the thumbnails
    document.querySelector(".map-place").prepend(this.canvas);
    at("icons-over").before(this.over);
    at("icons").before(this.button());
    this.foot = make("div", { class: "edges-foot", hidden: true }, make("div", { class: "segments small", id: "edges-kind", role: "radiogroup", "aria-label": "Edges shown" }), make("p", { class: "icons-said", id: "edges-said", role: "status" }));
    document.querySelector("#map-card").append(this.foot);
    const moved = () => { this.still = false; clearTimeout(this.timer); this.timer = setTimeout(() => { this.still = true; this.later(); }, SETTLED); this.later(); };
    for (const range of [map.plot.x_range, map.plot.y_range]) for (const end of [range.properties.start, range.properties.end]) end.change.connect(moved);
    new ResizeObserver(() => this.later()).observe(this.canvas);
  }

  button() {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 24 24");
    const node = (x, y) => `M${x - 2} ${y}a2 2 0 104 0 2 2 0 10-4 0`;
    path.setAttribute("d", `${node(6, 7)}${node(18, 5)}${node(19, 16)}${node(9, 19)}M8 6.700l8-1.300M18.200 7l.6 7M17 16.500l-6 2M6.500 9l2 8M7.600 8.200l9.600 6.600`);
    svg.append(path);
    const button = make("button", { type: "button", id: "edges", "aria-pressed": "false", hidden: true, title: "Edges of the image graph (G)", "aria-label": "Edges of the image graph", onclick: () => this.show(this.wanted ? null : "all") });
    button.append(svg);
    return button;
  }

  // Show all edges, those between classes, or none; what is no such wish shows none.
  async show(wanted) {
    this.wanted = graphOf(page.state.space) && KINDS.some(([kind]) => kind === wanted) ? wanted : null;
    if (this.wanted) segments(at("edges-kind"), KINDS.map(([id, title]) => ({ id, title })), this.wanted, (kind) => this.show(kind));
    await this.renew();
    await tell("edges", this.wanted);
  }

  // Another layer, other points, or another wish: the edges are fetched when they are first shown.
  async renew() {
    const part = graphOf(page.state.space);
    at("edges").hidden = !part;
    at("edges").setAttribute("aria-pressed", Boolean(this.wanted && part));
    if (part !== this.part) Object.assign(this, { part, edges: null });
    if (this.wanted && part && !this.edges && !(await this.fetch(part))) return;
    this.now = this.map.now;
    if (this.edges && this.now) this.mark();
    this.later();
  }

  async fetch(part) {
    const edges = await numbers(`graph/${part.key}/edges.bin`, Int32Array).catch(() => null);
    if (part !== this.part) return false;
    if (!edges) { this.wanted = null; at("edges").setAttribute("aria-pressed", "false"); page.does.notice(manifest.static ? "The edges of the image graph are not in this report." : "The edges of the image graph could not be fetched. Try it again."); }
    this.edges = edges;
    return edges !== null;
  }

  // Which edges lie between classes, and which have both ends on the map as it is filtered.
  mark() {
    const { edges, now, map } = this, half = edges.length / 2, drawn = new Uint8Array(now.count), label = (point) => tables.label[map.rowOf(point)];
    for (const point of map.drawn) drawn[point] = 1;
    this.kind = new Uint8Array(half); // 0: not drawn, 1: within a class or without one, 2: between two
    for (let e = 0; e < half; e++) {
      const a = edges[e], b = edges[half + e];
      if (drawn[a] && drawn[b]) this.kind[e] = label(a) >= 0 && label(b) >= 0 && label(a) !== label(b) ? 2 : 1;
    }
  }

  later() { this.waiting ||= requestAnimationFrame(() => { this.waiting = 0; this.draw(); }); }

  // -- painting ---------------------------------------------------------------------------------------------------------------

  draw() {
    const { canvas, map } = this, ratio = devicePixelRatio || 1, seen = Boolean(this.wanted && this.edges && this.now && map.now === this.now);
    this.foot.hidden = !this.wanted || !this.part;
    if (!seen && !this.painted) return;
    for (const one of [canvas, this.over]) {
      one.width = Math.round(one.clientWidth * ratio); one.height = Math.round(one.clientHeight * ratio);
      one.getContext("2d").scale(ratio, ratio);
    }
    this.painted = seen;
    if (!seen) return;
    const view = this.inView(), own = this.ownEdges(), kept = this.some(view), dim = own.length ? 0.6 : 1;
    const ink = getComputedStyle(document.documentElement).getPropertyValue("--text"), { wrong } = manifest.colours, within = (list, kind) => list.filter((e) => this.kind[e] === kind);
    this.lines(canvas, within(kept, 1), ink, FAINT[this.wanted] * dim, 0.7);
    this.lines(canvas, within(kept, 2), wrong, STRONG * dim, 1.1);
    this.lines(this.over, within(own, 1), ink, 1, 1.8);
    this.lines(this.over, within(own, 2), wrong, 1, 2.2);
    this.say(view.length, kept.length);
  }

  // The edges that cross the view, of those that are asked for.
  inView() {
    const { edges, now: { xy, count: n }, kind } = this, half = edges.length / 2, { x0, x1, y0, y1 } = this.map.view(), found = [], least = this.wanted === "crossing" ? 2 : 1;
    for (let e = 0; e < half; e++) {
      if (kind[e] < least) continue;
      const ax = xy[edges[e]], bx = xy[edges[half + e]], ay = xy[n + edges[e]], by = xy[n + edges[half + e]];
      if ((ax < x0 && bx < x0) || (ax > x1 && bx > x1) || (ay < y0 && by < y0) || (ay > y1 && by > y1)) continue;
      found.push(e);
    }
    return found;
  }

  // As many of them as can be painted, the same ones each time: spread over all by a hash of their number.
  some(view) {
    const most = this.still ? MOST : MOVING, share = most / view.length;
    return share >= 1 ? view : view.filter((e) => (Math.imul(e + 1, 2654435761) >>> 0) / 2 ** 32 < share);
  }

  ownEdges() {
    const { edges } = this, { row } = page.state, half = edges.length / 2, found = [];
    if (row === null) return found;
    const own = new Set(this.map.pointsOf(row));
    for (let e = 0; e < half; e++) if (this.kind[e] && (own.has(edges[e]) || own.has(edges[half + e]))) found.push(e);
    return found;
  }

  lines(canvas, list, colour, alpha, width) {
    if (!list.length) return;
    const { edges, map, now: { xy, count: n } } = this, half = edges.length / 2, { x_range, y_range, inner_width, inner_height } = map.plot, { clientWidth, clientHeight } = canvas, context = canvas.getContext("2d");
    const left = (clientWidth - inner_width) / 2, low = (clientHeight + inner_height) / 2, unit = inner_width / (x_range.end - x_range.start), upward = inner_height / (y_range.end - y_range.start);
    context.beginPath();
    for (const e of list) for (const [k, point] of [[0, edges[e]], [1, edges[half + e]]]) {
      const x = left + (xy[point] - x_range.start) * unit, y = low - (xy[n + point] - y_range.start) * upward;
      if (k) context.lineTo(x, y); else context.moveTo(x, y);
    }
    Object.assign(context, { strokeStyle: colour, globalAlpha: alpha, lineWidth: width });
    context.stroke();
  }

  say(inView, painted) {
    const { part } = this, label = part.homophily.label, which = this.wanted === "crossing" ? " between classes" : "";
    const hidden = painted < inView && this.still ? `, ${count(painted)} drawn` : "";
    const all = label && label.share !== null ? `${percent(label.share)} join one class (shuffled: ${percent(label.control)})` : count(part.edges);
    at("edges-said").textContent = at("edges-said").title = `${count(inView)} edges${which} in view${hidden} · of all ${all}`;
  }

  // -- the open image -----------------------------------------------------------------------------------------------------------

  // What the graph says of an image, under its facts: how often it stands in others’ lists, and its edges.
  async standing(row) {
    const { part } = this;
    if (!part || row === null) return;
    const [lists, edges] = await Promise.all([numbers(`graph/${part.key}/lists.bin`, Uint16Array).catch(() => null), numbers(`graph/${part.key}/edges.bin`, Int32Array).catch(() => null)]);
    if (!lists || page.state.row !== row || part !== this.part) return;
    const line = make("p", { class: "note", id: "graph-line" }, this.words(row, lists, edges));
    at("graph-line")?.remove();
    const before = document.querySelector("#image-panel > .facts:last-of-type") ?? document.querySelector("#image-panel > .panel-head");
    before?.after(line);
  }

  words(row, lists, edges) {
    const { part, map } = this, own = map.pointsOf(row).filter((point) => lists[point] !== ABSENT), half = lists.length / 2;
    if (!own.length) return `Not in the image graph, which is of ${part.split} images.`;
    const sum = (of) => own.reduce((total, point) => total + lists[of + point], 0), listed = sum(0), bad = sum(half);
    const named = part.hubness.bad === null ? "" : listed ? `, ${count(bad)} of another class` : "";
    const kind = listed === 0 ? "an orphan, in no list" : `in ${count(listed)} lists of ${part.k}${named}${own.length === 1 && listed > part.hubness.from ? ": a hub" : ""}`;
    return `In the image graph: ${edges ? `${this.joins(own, edges)}; ` : ""}${kind}.`;
  }

  joins(own, edges) {
    const { map } = this, half = edges.length / 2, mine = new Set(own), label = (point) => tables.label[map.rowOf(point)];
    let all = 0, crossing = 0;
    for (let e = 0; e < half; e++) {
      const [a, b] = [edges[e], edges[half + e]];
      if (!mine.has(a) && !mine.has(b)) continue;
      all++;
      if (label(a) >= 0 && label(b) >= 0 && label(a) !== label(b)) crossing++;
    }
    return all ? `${count(all)} ${all === 1 ? "edge" : "edges"}${images.labels.length ? `, ${count(crossing)} to other classes` : ""}` : "no edge";
  }
}
