// Thumbnails instead of dots: when few points are in view, or when asked, drawn from the sheets over the map.
import { images, sheetAddress, sheetOf, tables, classColour } from "./data.js";

const CELL = 40; // pixels between thumbnails
const FEW = 1500; // points in view from which on dots say more
const sheets = new Map();

export class Thumbs {
  constructor(map, canvas) {
    this.map = map;
    this.canvas = canvas;
    this.always = false;
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

  draw() {
    const { canvas, map } = this, { x_range, y_range } = map.plot;
    const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = width * ratio; canvas.height = height * ratio;
    const unit = (x_range.end - x_range.start) / width;
    const inView = this.inView(x_range, y_range);
    const on = this.always || inView.length <= Math.min(FEW, map.i.length / 8);
    this.shown = 0;
    map.dots.glyph.setv({ fill_alpha: { value: on ? this.opacity * 0.45 : this.opacity } });
    if (!on) { this.onshown(0, 0); return; }
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.imageSmoothingEnabled = images.edge >= 48;
    const edge = Math.max(28, Math.min(CELL - 4, images.edge * 2));
    for (const k of this.spread(inView, x_range, y_range, unit, width, height)) {
      const x = (map.points.data.x[k] - x_range.start) / unit, y = height - (map.points.data.y[k] - y_range.start) / unit;
      this.one(context, map.rowOf(map.i[k]), x - edge / 2, y - edge / 2, edge);
    }
    this.onshown(this.shown, inView.length);
  }

  inView(xr, yr) {
    const { x, y } = this.map.points.data, found = [];
    for (let k = 0; k < x.length; k++) if (x[k] >= xr.start && x[k] <= xr.end && y[k] >= yr.start && y[k] <= yr.end) found.push(k);
    return found;
  }

  // One point for each cell of the screen, so that no two thumbnails overlap by much: the one nearest its middle.
  spread(inView, xr, yr, unit, width, height) {
    const across = Math.ceil(width / CELL) + 1, best = new Map(), { x, y } = this.map.points.data;
    for (const k of inView) {
      const px = (x[k] - xr.start) / unit / CELL, py = (y[k] - yr.start) / unit / CELL;
      const cell = Math.floor(py) * across + Math.floor(px);
      const off = (px % 1 - 0.5) ** 2 + (py % 1 - 0.5) ** 2;
      if (!best.has(cell) || best.get(cell)[1] > off) best.set(cell, [k, off]);
    }
    return [...best.values()].map(([k]) => k);
  }

  one(context, row, x, y, edge) {
    const picture = this.sheet(sheetOf(row)), slot = row % (images.columns ** 2);
    if (!picture.complete || !picture.naturalWidth) return;
    const chosen = this.map.chosen;
    context.globalAlpha = chosen && !chosen[row] ? 0.25 : 1;
    context.drawImage(picture, (slot % images.columns) * images.edge, Math.floor(slot / images.columns) * images.edge, images.edge, images.edge, x, y, edge, edge);
    context.lineWidth = 2;
    context.strokeStyle = classColour(tables.label[row]);
    context.beginPath();
    context.roundRect(x, y, edge, edge, 4);
    context.stroke();
    this.shown++;
  }
}
