// Thumbnails instead of dots: when few points are in view, or when asked, drawn from the sheets over a map. A map tells them
// where it is looked at (`frame`, `moves`), what is in view (`inView`), and how its points are drawn and pointed at.
import { images, sheetAddress, sheetOf } from "./data.js";
import { OWN, SO_FEW } from "./map.js";
import { CELL, Squares, nearestIn, withRoom } from "./spread.js";

const FEW = 1500; // points in view from which on dots say more
const CLEAR = 0.85; // of a thumbnail's edge that two of them keep between their middles
const MIDDLING = 44, SMALLEST = 28; // pixels of a thumbnail
const FRAME = 2, ROUND = 2.4; // pixels of a frame's width, of its corners: rounder, and the picture's own corners stand out of it
const REACH = 10; // pixels from a dot within which the pointer means it
const KEPT = 40; // sheets held at a time by all maps together: each is some 8 MB once it is decoded
const AT_ONCE = 4; // sheets fetched at a time: those that fill most squares first
const sheets = new Map(); // the least lately used first
const drawn = new Set(); // the thumbnails of each map that is open: a sheet that arrives is for all of them
let asked = null; // what the switch was set to, for all maps; null leaves it to how many points there are

export class Thumbs {
  constructor(map, canvas) {
    this.map = map;
    this.canvas = canvas;
    this.on = this.unasked = this.hushed = this.instead = false; // instead: icons were asked for, and it is looked nearer than theirs
    this.dim = 1; // of the dots' opacity, where icons lie over them
    this.waiting = 0;
    this.onshown = () => {};
    drawn.add(this);
    map.moves(() => this.later());
    this.sizes = new ResizeObserver(() => this.later());
    this.sizes.observe(canvas);
  }

  // The map is closed.
  stop() { drawn.delete(this); this.sizes.disconnect(); }

  later() { this.waiting ||= requestAnimationFrame(() => { this.waiting = 0; this.draw(); }); }

  sheet(number) {
    const picture = sheets.get(number) ?? this.fetched(number);
    sheets.delete(number);
    sheets.set(number, picture);
    return picture;
  }

  fetched(number) {
    const picture = new Image();
    picture.onload = () => drawn.forEach((thumbs) => thumbs.later());
    picture.src = sheetAddress(number);
    if (sheets.size >= KEPT) sheets.delete(sheets.keys().next().value);
    return picture;
  }

  // The switch turns over what is drawn now; where that is what would be drawn unasked, the page decides again.
  toggle() {
    asked = !this.on === this.unasked ? null : !this.on;
    drawn.forEach((thumbs) => thumbs.later());
  }

  draw() {
    const { canvas, map } = this;
    if (!map.now || !drawn.has(this)) return; // closed since this was asked for
    const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = width * ratio; canvas.height = height * ratio;
    const frame = map.frame(width, height);
    const seen = map.inView(), few = map.shown < SO_FEW, inView = seen.count;
    this.unasked = few || this.instead || inView <= Math.min(FEW, map.shown / 8);
    this.on = (asked ?? this.unasked) && !this.hushed;
    this.shown = 0;
    map.setOpacity((this.on ? this.opacity * 0.45 : this.opacity) * this.dim); // what finds no room among the thumbnails stays a dot
    map.reach = REACH;
    if (!this.on) { this.onshown(0, 0); return; }
    const placed = (k) => ({ k, point: seen.point(k), x: frame.left + (seen.x[k] - frame.view.x0) / frame.unit, y: frame.low - (seen.y[k] - frame.view.y0) / frame.upward });
    const { edge, kept } = few ? this.all(seen, placed) : this.some(seen, placed, frame);
    map.reach = Math.max(REACH, edge * 0.6);
    Object.assign(this, { edge, kept });
    this.paint(kept, edge, ratio);
    this.onshown(this.shown, inView);
  }

  // Of few points all, the open image's first.
  all({ places }, placed) {
    const every = Array.from(places, placed), own = every.filter((place) => this.marked(place) >= OWN);
    return fitting([...own, ...every.filter((place) => this.marked(place) < OWN)], Math.max(36, Math.min(96, images.edge * 2)));
  }

  // Of many points one for each square of the screen, out of the sheets that are there; and the next sheets are fetched.
  some(seen, placed, { view, unit }) {
    const { map } = this, squares = new Squares(view, unit), used = new Set();
    const { chosen } = map, first = chosen ? (k) => chosen[map.rowOf(seen.point(k))] === 1 : undefined;
    const { best, wanted } = nearestIn(squares, seen.places, seen, this.sheetsOf(seen), ready(), first);
    const edge = Math.max(28, Math.min(CELL - 4, images.edge * 2));
    const kept = Array.from(withRoom(squares, best, seen, (CLEAR * edge) / CELL, first), placed).filter((place) => this.marked(place) < OWN);
    for (const { point } of kept) used.add(sheetOf(map.rowOf(point)));
    for (const sheet of used) this.sheet(sheet); // lately used
    this.fetchMore(wanted, used.size);
    return { edge, kept: [...kept, ...Array.from(seen.places.filter((k) => this.marked({ point: seen.point(k) }) >= OWN), placed)] };
  }

  sheetsOf({ places, point }) {
    const found = new Uint16Array(places.length);
    for (let k = 0; k < found.length; k++) found[k] = sheetOf(this.map.rowOf(point(places[k])));
    return found;
  }

  fetchMore(wanted, used) {
    const coming = [...sheets.values()].filter((picture) => !picture.complete).length, own = Math.floor(KEPT / drawn.size); // each map has its share
    for (const sheet of wanted.filter((number) => !sheets.has(number)).slice(0, Math.max(0, Math.min(AT_ONCE - coming, own - used - coming)))) this.sheet(sheet);
  }

  paint(kept, edge, ratio) {
    const { canvas } = this, context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.imageSmoothingEnabled = images.edge >= 48;
    const frame = getComputedStyle(document.documentElement).getPropertyValue("--text");
    for (const place of kept.sort((a, b) => this.marked(a) - this.marked(b))) { // those of the open image and its neighbours on top
      this.one(context, place.point, place.x - edge / 2, place.y - edge / 2, edge);
      if (this.marked(place)) outline(context, place.x - edge / 2 - 3, place.y - edge / 2 - 3, edge + 6, 6, frame, this.marked(place));
    }
  }

  // How wide a point is ringed: OWN for the open image's, less for its neighbours, nothing for the others.
  marked({ point }) { return this.map.marked?.get(point) ?? 0; }

  one(context, point, x, y, edge) {
    const row = this.map.rowOf(point);
    const picture = this.sheet(sheetOf(row)), slot = row % (images.columns ** 2);
    if (!picture.complete || !picture.naturalWidth) return;
    const chosen = this.map.chosen;
    context.globalAlpha = chosen && !chosen[row] ? 0.25 : 1;
    context.drawImage(picture, (slot % images.columns) * images.edge, Math.floor(slot / images.columns) * images.edge, images.edge, images.edge, x, y, edge, edge);
    outline(context, x, y, edge, ROUND, this.map.colourOf(point), FRAME);
    this.shown++;
  }
}

// Which sheets can be drawn from: Uint8Array by their numbers.
function ready() {
  const found = new Uint8Array(sheetOf(images.count - 1) + 1);
  for (const [number, picture] of sheets) found[number] = picture.complete && picture.naturalWidth ? 1 : 0;
  return found;
}

function outline(context, x, y, edge, radius, colour, width) {
  context.lineWidth = width;
  context.strokeStyle = colour;
  context.beginPath();
  context.roundRect(x, y, edge, edge, radius);
  context.stroke();
}

// Of few points all, as large as they can be while all find room; nearly all once they grow small, and the rest stay dots.
function fitting(places, largest) {
  for (let edge = largest; ; edge -= 4) {
    const kept = roomy(places, edge * CLEAR);
    if (kept.length >= (edge > MIDDLING ? 1 : 0.95) * places.length || edge <= SMALLEST) return { edge, kept };
  }
}

function roomy(places, apart) {
  const kept = [];
  for (const place of places) {
    if (kept.every(({ x, y }) => Math.max(Math.abs(x - place.x), Math.abs(y - place.y)) >= apart)) kept.push(place);
  }
  return kept;
}
