// More points than Bokeh draws smoothly: how dense they lie is painted under it, coloured by the mix of their colours, and
// of the points in view it draws a sample. All points are in the page: pointing, selecting and counting take them all.
import { Density, inks } from "./density.js";
import { Grid } from "./grid.js";

const OFFERED = 60_000; // points among which thumbnails are chosen: many for each of a screen's squares
const CHANCES = 2 ** 16;
const SPARED = 0.97; // of the most that are drawn: a sample by chance may come out larger
const SLACK = 0.8; // of the most that a sample is raised to: a view that is a little denser then asks for no other
const AROUND = 0.15; // of the view’s width that points are drawn beyond it: they are there when it is moved
const SETTLED = 140; // milliseconds without movement after which more points join the sample
const FADE = 180; // milliseconds in which one level of density gives way to another
const PATIENCE = 10; // milliseconds of a picture in which tiles of another level are painted

export class Crowd {
  constructor(map, most) {
    Object.assign(this, { map, most, grid: null, inView: 0, sampled: 0, waiting: 0, uncovered: 0, timer: 0, whole: false, onsampled: () => {} });
    this.canvas = document.createElement("canvas");
    Object.assign(this.canvas.style, { position: "absolute", inset: "0", width: "100%", height: "100%", pointerEvents: "none" });
    this.canvas.setAttribute("aria-hidden", "true");
    this.small = document.createElement("canvas");
    const { x_range, y_range } = map.plot;
    for (const range of [x_range, y_range]) for (const end of ["start", "end"]) range.properties[end].change.connect(() => this.moved());
    new ResizeObserver(() => this.moved()).observe(this.canvas);
  }

  // -- what there is ------------------------------------------------------------------------------------------------------

  fill({ x, y, c, i }, palette) {
    const grid = new Grid(x, y);
    Object.assign(this, { all: { x, y, c, i }, grid, i: grid.sorted(i), density: new Density(grid, grid.sorted(c), inks(palette)) });
    Object.assign(this, { chance: chances(this.i), share: 0, taken: null, shown: null, before: null, since: 0, strength: 1, whole: false });
    this.sample(true);
    this.paint();
  }

  empty() {
    if (!this.grid) return;
    this.grid = this.all = null;
    clearTimeout(this.timer);
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  point(place) { return this.i[place]; }

  // -- what is in view ----------------------------------------------------------------------------------------------------

  // The points in view as the thumbnails take them: how many there are, and as many of them as a choice can be made from.
  seen() {
    const { x, y } = this.grid, all = this.grid.within(this.map.view());
    return { count: all.length, places: all.length > OFFERED ? this.thinned(all, OFFERED / all.length) : all, x, y, point: (place) => this.i[place] };
  }

  moved() {
    if (!this.grid) return;
    this.later();
    this.uncovered ||= requestAnimationFrame(() => { this.uncovered = 0; if (this.grid && !this.covers(this.map.view())) this.sample(); });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.sample(true), SETTLED);
  }

  // Whether the points that are drawn were taken from all that is in view.
  covers({ x0, x1, y0, y1 }) {
    const { taken } = this, inside = (value) => Math.max(0, Math.min(65535, value));
    return taken !== null && inside(x0) >= taken.x0 && inside(x1) <= taken.x1 && inside(y0) >= taken.y0 && inside(y1) <= taken.y1;
  }

  // Give Bokeh at most `most` of the points in view and around it: all of them, or those of the least numbers by chance. Points
  // that are shown stay while there is room for them, and others join them when the map rests.
  sample(rests = false) {
    if (!this.grid) return;
    const view = this.map.view(), room = around(view), places = this.grid.within(room), before = this.share;
    this.share = shareOf(before, this.most / Math.max(1, places.length), rests);
    if (this.share !== before || !this.covers(view)) { this.taken = room; this.give(this.thinned(places, this.share)); }
    this.tell(view);
  }

  give(places) {
    for (let k = 0; k < places.length; k++) places[k] = this.grid.of[places[k]];
    places.sort(); // in the order in which they are drawn
    const take = (values) => { const taken = new values.constructor(places.length); for (let k = 0; k < taken.length; k++) taken[k] = values[places[k]]; return taken; };
    const { x, y, c, i } = this.all;
    this.map.draws({ x: take(x), y: take(y), c: take(c), i: take(i) });
  }

  // How many are in view, how many of them as dots.
  tell(view) {
    const { x, y } = this.map.points.data, { x0, x1, y0, y1 } = view;
    let sampled = 0;
    for (let k = 0; k < x.length; k++) if (x[k] >= x0 && x[k] <= x1 && y[k] >= y0 && y[k] <= y1) sampled++;
    const inView = this.grid.within(view).length;
    Object.assign(this, { inView, sampled, whole: sampled === inView });
    this.later();
    this.onsampled(this);
  }

  // Of the places those whose number by chance is below a share of all.
  thinned(seen, share) {
    if (share >= 1) return seen;
    const kept = new Int32Array(seen.length);
    let n = 0;
    for (let k = 0; k < seen.length; k++) if (this.chance[seen[k]] < share * CHANCES) kept[n++] = seen[k];
    return kept.subarray(0, n);
  }

  // -- pointing and selecting ---------------------------------------------------------------------------------------------

  at(x, y, reach) {
    const place = this.grid.nearest(x, y, reach);
    return place === null ? null : this.point(place);
  }

  rowsIn(region) {
    const places = this.grid.within(region), { rows } = this.map.now;
    for (let k = 0; k < places.length; k++) { const point = this.i[places[k]]; places[k] = rows ? rows[point] : point; }
    return places;
  }

  light(chosen) {
    if (!this.grid) return;
    const { i, map: { now: { rows } } } = this;
    const lit = chosen && new Uint8Array(i.length);
    if (chosen) for (let place = 0; place < i.length; place++) lit[place] = chosen[rows ? rows[i[place]] : i[place]];
    this.density.light(lit?.includes(0) ? lit : null); // all lit look as when nothing is chosen
    this.shown = this.before = null; // all is painted anew at once
    this.paint();
  }

  // -- painting -----------------------------------------------------------------------------------------------------------

  later() { this.waiting ||= requestAnimationFrame(() => { this.waiting = 0; this.paint(); }); }

  // The density of what is in view. Another level comes when its tiles stand, and over the one before it; where all in view are
  // dots, it goes.
  paint() {
    const { canvas, grid, density } = this, ratio = devicePixelRatio || 1, now = performance.now();
    if (!grid) return;
    canvas.width = canvas.clientWidth * ratio; canvas.height = canvas.clientHeight * ratio; // clears it
    const strength = this.strengthAt(now);
    if (!canvas.width || !canvas.height || !strength) return;
    const view = this.map.view(), level = density.level((view.x1 - view.x0) / canvas.clientWidth), there = density.prepare(view, level, this.shown === null ? Infinity : now + PATIENCE);
    if (level !== this.shown && there) Object.assign(this, { before: this.shown, shown: level, since: now });
    const share = this.before === null ? 1 : Math.min(1, (now - this.since) / FADE);
    if (share < 1) this.layer(view, this.before, 1 - share); else this.before = null;
    this.layer(view, this.shown, share);
    canvas.style.opacity = strength;
    if (!there || share < 1 || strength !== Number(!this.whole)) this.later();
  }

  // One level of density over the canvas; two of which the shares are one add up to what either would be.
  layer(view, level, share) {
    const { canvas, small } = this, told = this.density.compose(view, level, small);
    if (!told) return;
    const context = canvas.getContext("2d"), wide = canvas.width / (view.x1 - view.x0), high = canvas.height / (view.y1 - view.y0);
    Object.assign(context, { globalAlpha: share, globalCompositeOperation: "lighter" });
    context.drawImage(small, (told.x0 - view.x0) * wide, (view.y1 - told.y1) * high, (told.x1 - told.x0) * wide, (told.y1 - told.y0) * high);
  }

  // From what it is to what it should be, by the time that went by.
  strengthAt(now) {
    const wanted = Number(!this.whole), step = (now - (this.painted ?? now)) / FADE;
    this.painted = now;
    this.strength += Math.sign(wanted - this.strength) * Math.min(Math.abs(wanted - this.strength), Math.max(step, 0.05));
    return this.strength;
  }
}

// For every point a number below CHANCES that has nothing to do with their order (Knuth's multiplicative hash, bits mixed).
function chances(points) {
  const found = new Uint16Array(points.length);
  for (let k = 0; k < points.length; k++) {
    const mixed = Math.imul(points[k] ^ (points[k] >>> 15), 2654435761);
    found[k] = Math.imul(mixed ^ (mixed >>> 13), 3266489917) >>> 16;
  }
  return found;
}

// A view with what lies around it.
function around({ x0, x1, y0, y1 }) {
  const wide = AROUND * (x1 - x0), high = AROUND * (y1 - y0);
  return { x0: x0 - wide, x1: x1 + wide, y0: y0 - high, y1: y1 + high };
}

// Which share of all points is drawn, where `room` is the share for which there is room: it falls when there is none, and grows
// only at rest, and only where it grows by much. Points of a smaller share are points of a greater one.
function shareOf(share, room, rests) {
  if (room >= 1) return rests || share === 1 ? 1 : share;
  return share > SPARED * room || (rests && share < SLACK * SLACK * room) ? SLACK * room : share;
}
