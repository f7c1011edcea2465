// Thumbnails instead of dots: when few points are in view, or when asked, drawn from the sheets over the map.
import { images, sheetAddress, sheetOf } from "./data.js";
import { OWN, SO_FEW } from "./map.js";

const CELL = 40; // pixels between thumbnails
const FEW = 1500; // points in view from which on dots say more
const CLEAR = 0.85; // of a thumbnail's edge that two of them keep between their middles
const MIDDLING = 44, SMALLEST = 28; // pixels of a thumbnail
const REACH = 10; // pixels from a dot within which the pointer means it
const sheets = new Map();

export class Thumbs {
  constructor(map, canvas) {
    this.map = map;
    this.canvas = canvas;
    this.asked = null; // what the switch was set to; null leaves it to how many points there are
    this.on = this.unasked = false;
    this.waiting = 0;
    this.onshown = () => {};
    const again = () => this.later();
    for (const range of [map.plot.x_range, map.plot.y_range]) {
      range.properties.start.change.connect(again);
      range.properties.end.change.connect(again);
    }
    new ResizeObserver(again).observe(canvas);
  }

  later() { this.waiting ||= requestAnimationFrame(() => { this.waiting = 0; this.draw(); }); }

  sheet(number) {
    if (!sheets.has(number)) {
      const picture = new Image();
      picture.onload = () => this.later();
      picture.src = sheetAddress(number);
      sheets.set(number, picture);
    }
    return sheets.get(number);
  }

  // The switch turns over what is drawn now; where that is what would be drawn unasked, the page decides again.
  toggle() {
    this.asked = !this.on === this.unasked ? null : !this.on;
    this.later();
  }

  draw() {
    const { canvas, map } = this, { x_range, y_range } = map.plot;
    const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = width * ratio; canvas.height = height * ratio;
    const unit = (x_range.end - x_range.start) / width;
    const inView = this.inView(x_range, y_range), few = map.i.length < SO_FEW;
    this.unasked = few || inView.length <= Math.min(FEW, map.i.length / 8);
    this.on = (this.asked ?? this.unasked) && Boolean(map.now);
    this.shown = 0;
    map.setOpacity(this.on ? this.opacity * 0.45 : this.opacity); // what finds no room among the thumbnails stays a dot
    map.reach = REACH;
    if (!this.on) { this.onshown(0, 0); return; }
    const places = inView.map((k) => ({ k, x: (map.points.data.x[k] - x_range.start) / unit, y: height - (map.points.data.y[k] - y_range.start) / unit }));
    const own = places.filter((place) => this.marked(place) >= OWN), others = places.filter((place) => this.marked(place) < OWN);
    const { edge, kept } = few ? fitting([...own, ...others], Math.max(36, Math.min(96, images.edge * 2)))
      : { edge: Math.max(28, Math.min(CELL - 4, images.edge * 2)), kept: [...spread(others), ...own] };
    map.reach = Math.max(REACH, edge * 0.6);
    Object.assign(this, { edge, kept });
    this.all(kept, edge, ratio);
    this.onshown(this.shown, inView.length);
  }

  all(kept, edge, ratio) {
    const { canvas, map } = this, context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.imageSmoothingEnabled = images.edge >= 48;
    const frame = getComputedStyle(document.documentElement).getPropertyValue("--text");
    for (const place of kept.sort((a, b) => this.marked(a) - this.marked(b))) { // those of the open image and its neighbours on top
      this.one(context, map.i[place.k], place.x - edge / 2, place.y - edge / 2, edge);
      if (this.marked(place)) outline(context, place.x - edge / 2 - 3, place.y - edge / 2 - 3, edge + 6, 6, frame, this.marked(place));
    }
  }

  // How wide a point is ringed: OWN for the open image's, less for its neighbours, nothing for the others.
  marked({ k }) { return this.map.marked?.get(this.map.i[k]) ?? 0; }

  inView(xr, yr) {
    const { x, y } = this.map.points.data, found = [];
    for (let k = 0; k < x.length; k++) if (x[k] >= xr.start && x[k] <= xr.end && y[k] >= yr.start && y[k] <= yr.end) found.push(k);
    return found;
  }

  one(context, point, x, y, edge) {
    const row = this.map.rowOf(point);
    const picture = this.sheet(sheetOf(row)), slot = row % (images.columns ** 2);
    if (!picture.complete || !picture.naturalWidth) return;
    const chosen = this.map.chosen;
    context.globalAlpha = chosen && !chosen[row] ? 0.25 : 1;
    context.drawImage(picture, (slot % images.columns) * images.edge, Math.floor(slot / images.columns) * images.edge, images.edge, images.edge, x, y, edge, edge);
    outline(context, x, y, edge, 4, this.map.colourOf(point), 2);
    this.shown++;
  }
}

function outline(context, x, y, edge, radius, colour, width) {
  context.lineWidth = width;
  context.strokeStyle = colour;
  context.beginPath();
  context.roundRect(x, y, edge, edge, radius);
  context.stroke();
}

// Of many points one for each cell of the screen, so that no two thumbnails overlap by much: the one nearest its middle.
function spread(places) {
  const best = new Map();
  for (const place of places) {
    const px = place.x / CELL, py = place.y / CELL, cell = `${Math.floor(px)} ${Math.floor(py)}`;
    const off = (px - Math.floor(px) - 0.5) ** 2 + (py - Math.floor(py) - 0.5) ** 2;
    if (!best.has(cell) || best.get(cell).off > off) best.set(cell, { place, off });
  }
  return [...best.values()].map(({ place }) => place);
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
