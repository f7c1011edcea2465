// A heatmap that a pointer and a keyboard can read: cells of one palette, a cursor, words for what is under it.
import { diverging, rgb } from "./colouring.js";
import { make } from "./data.js";
import { page, at } from "./page.js";

const MOST = 16000; // pixels of a canvas's side that every browser draws
const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

export class Heat {
  // `said` is an element that is read aloud: what the cursor of the keyboard stands on.
  constructor(canvas, said) {
    Object.assign(this, { canvas, said, told: null, cursor: null });
    canvas.tabIndex = 0;
    canvas.onpointermove = (event) => this.point(event);
    canvas.onpointerleave = () => { at("float").hidden = true; };
    canvas.onclick = (event) => { const cell = this.cellAt(event); if (cell) { this.cursor = cell; this.open(cell); this.draw(); } };
    canvas.onkeydown = (event) => this.key(event);
    canvas.onblur = () => { at("float").hidden = true; };
  }

  // told: rows, columns (how many), row (pixels of a row), value(row, column), colour(value, row, column) → [r, g, b],
  // words(row, column) → [title, line], open(row, column); perhaps text(row, column), marked (a column), width (pixels).
  show(told) {
    this.told = told;
    if (this.cursor && (this.cursor[0] >= told.rows || this.cursor[1] >= told.columns)) this.cursor = null;
    this.draw();
  }

  draw() {
    const { told, canvas } = this;
    if (!told || !canvas.isConnected || !canvas.offsetParent) return;
    canvas.style.width = told.width ? `${told.width}px` : "100%";
    canvas.style.height = `${told.rows * told.row}px`;
    const width = canvas.clientWidth, tall = told.rows * told.row;
    if (!width || !tall) return;
    const ratio = Math.min(devicePixelRatio || 1, MOST / Math.max(width, tall));
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(tall * ratio);
    Object.assign(this, { width, tall, ratio });
    const context = canvas.getContext("2d");
    this.cells(context);
    context.scale(ratio, ratio);
    if (told.text) this.texts(context);
    this.marks(context);
  }

  // One pixel for each cell, drawn larger; where columns outnumber pixels one shows the largest in size it stands for.
  cells(context) {
    const { told, canvas } = this, columns = Math.max(1, Math.min(told.columns, canvas.width));
    if (this.painted?.of !== told || this.painted.columns !== columns) this.painted = { of: told, columns, small: this.small(columns) }; // a cursor that moves changes no cell
    context.imageSmoothingEnabled = false;
    context.drawImage(this.painted.small, 0, 0, canvas.width, canvas.height);
    const wide = canvas.width / columns, high = canvas.height / told.rows;
    if (wide > 5) for (let column = 1; column <= columns; column++) context.clearRect(Math.round(column * wide) - 1, 0, 1, canvas.height);
    if (high > 5) for (let row = 1; row <= told.rows; row++) context.clearRect(0, Math.round(row * high) - 1, canvas.width, 1);
  }

  small(columns) {
    const { told } = this, image = new ImageData(columns, told.rows);
    for (let row = 0; row < told.rows; row++) {
      for (let column = 0; column < columns; column++) {
        const from = Math.floor((column * told.columns) / columns), end = Math.floor(((column + 1) * told.columns) / columns);
        const value = end - from > 1 ? loudest(told, row, from, end) : told.value(row, from);
        if (!Number.isNaN(value)) image.data.set([...told.colour(value, row, from), 255], 4 * (row * columns + column));
      }
    }
    const small = new OffscreenCanvas(columns, told.rows);
    small.getContext("2d").putImageData(image, 0, 0);
    return small;
  }

  texts(context) {
    const { told } = this, wide = this.width / told.columns;
    if (wide < 24 || told.row < 11) return;
    context.font = `${Math.min(told.row < 20 ? 11 : 12, told.row - 3)}px ${getComputedStyle(document.body).fontFamily}`;
    Object.assign(context, { textAlign: "center", textBaseline: "middle" });
    for (let row = 0; row < told.rows; row++) {
      for (let column = 0; column < told.columns; column++) {
        const text = told.text(row, column);
        if (!text) continue;
        const [r, g, b] = told.colour(told.value(row, column), row, column);
        context.fillStyle = 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#0c0e12" : "#ffffff";
        context.fillText(text, (column + 0.5) * wide, (row + 0.5) * told.row);
      }
    }
  }

  marks(context) {
    const { told } = this, wide = this.width / told.columns, { color } = getComputedStyle(this.canvas);
    Object.assign(context, { strokeStyle: color, lineWidth: 1.5 });
    if (told.marked >= 0) context.strokeRect(Math.max(0.75, told.marked * wide - 1.5), 0.75, Math.min(Math.max(wide, 1) + 2, this.width), this.tall - 1.5);
    if (!this.cursor || document.activeElement !== this.canvas) return;
    const [row, column] = this.cursor;
    Object.assign(context, { lineWidth: 2 });
    context.strokeRect(Math.min(Math.max(1, column * wide - 1), this.width - Math.max(wide, 5)), Math.max(1, row * told.row - 1), Math.max(wide, 5), told.row);
  }

  cellAt(event) {
    if (!this.told || !this.width) return null;
    const box = this.canvas.getBoundingClientRect();
    const row = Math.floor((event.clientY - box.top) / this.told.row), column = Math.floor(((event.clientX - box.left) / box.width) * this.told.columns);
    return row >= 0 && row < this.told.rows && column >= 0 && column < this.told.columns ? [row, column] : null;
  }

  point(event) {
    const cell = this.cellAt(event);
    if (cell) this.tell(cell, event.clientX, event.clientY);
  }

  tell([row, column], x, y) {
    const float = at("float"), [title, ...lines] = this.told.words(row, column);
    float.replaceChildren(make("b", {}, title), ...lines.filter(Boolean).map((line) => make("div", {}, line)));
    float.hidden = false;
    float.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - float.offsetWidth - 8))}px`;
    float.style.top = `${Math.max(8, y - float.offsetHeight - 12)}px`;
  }

  key(event) {
    const step = STEPS[event.key], { told } = this;
    if (!told || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); if (this.cursor) this.enter(); return; }
    if (event.key === "Home" || event.key === "End") this.cursor = [this.cursor?.[0] ?? 0, event.key === "Home" ? 0 : told.columns - 1];
    else if (step) this.cursor = this.cursor ? [clamp(this.cursor[0] + step[0], told.rows), clamp(this.cursor[1] + step[1], told.columns)] : [0, 0];
    else return;
    event.preventDefault();
    this.draw();
    this.follow();
  }

  // The cursor is kept in view, and what it stands on is told to the eye and to the ear.
  follow() {
    const [row, column] = this.cursor;
    this.scroll(row, column);
    const now = this.canvas.getBoundingClientRect();
    this.tell(this.cursor, now.left + ((column + 0.5) * now.width) / this.told.columns, now.top + row * this.told.row);
    if (this.said) this.said.textContent = this.told.words(row, column).filter(Boolean).join(", ");
  }

  // Clear of the names that stand over the cells while they are scrolled.
  scroll(row, column) {
    const scroller = this.canvas.closest(".dock-scroll"), { told, canvas } = this;
    if (!scroller) return;
    const view = scroller.getBoundingClientRect(), box = canvas.getBoundingClientRect(), wide = box.width / told.columns;
    const over = (names) => canvas.parentElement.querySelector(names)?.getBoundingClientRect() ?? { width: 0, height: 0 };
    scroller.scrollTop += beyond(box.top + row * told.row, told.row, view.top + over(".matrix-top").height, view.bottom);
    scroller.scrollLeft += beyond(box.left + column * wide, wide, view.left + over(".matrix .pattern-names").width, view.right);
  }

  // What is opened may say so above the cells: the cursor stays in view.
  enter() {
    this.open(this.cursor);
    requestAnimationFrame(() => { if (document.activeElement === this.canvas) this.follow(); });
  }

  open([row, column]) { this.told.open(row, column); page.heat = this; }
}

const MARGIN = 4; // pixels between the cursor and the edge that it is kept from

// How far to scroll so that what begins at a place and has a size lies between two ends.
const beyond = (from, size, low, high) => (from < low ? from - low - MARGIN : from + size > high ? from + size - high + MARGIN : 0);

const clamp = (place, length) => Math.max(0, Math.min(length - 1, place));

function loudest(told, row, from, end) {
  let found = NaN;
  for (let column = from; column < end; column++) {
    const value = told.value(row, column);
    if (!(Math.abs(value) <= Math.abs(found))) found = Number.isNaN(value) ? found : value;
  }
  return found;
}

// -- colours -----------------------------------------------------------------------------------------------------------------

const HALF = 127;

// 255 colours as [r, g, b], the middle one for zero.
export const palette = () => diverging(2 * HALF + 1).map(rgb);

export const signed = (colours, most) => (value) => colours[clamp(HALF + Math.round((HALF * value) / most), colours.length)];
export const gradient = (colours) => colours.filter((_, k) => k % 16 === 0 || k === colours.length - 1).map((rgb) => `rgb(${rgb.join(",")})`).join(",");

// The ends of the scale: the 99.5th percentile of the sizes, so that one loud unit does not darken all others.
export function span(values) {
  const sizes = Float32Array.from(values).map(Math.abs).filter((value) => !Number.isNaN(value)).sort();
  const most = sizes.length ? sizes[Math.floor(0.995 * (sizes.length - 1))] || sizes[sizes.length - 1] || 1 : 1;
  return { most, beyond: sizes.reduce((sum, value) => sum + (value > most), 0) };
}

// The names beside the rows of a heatmap; each is as high as its row.
export function names(holder, row, words) {
  holder.style.setProperty("--row", `${row}px`);
  holder.replaceChildren(...words.map(({ name, title, none }) => make("span", { class: none ? "none" : "", title: title ?? name }, row < 10 ? "" : name)));
}

const NAMED = 46; // pixels of a column from which on it has room for its name
const APART = 88; // pixels from one name to the next where not every column has one

// The names below `number` columns on `wide` pixels: of all, or of every so many where columns are narrower than a name.
export function columnNames(holder, wide, number, title) {
  const each = wide / number, step = each < NAMED ? Math.ceil(APART / each) : 1, shown = Array.from({ length: Math.ceil(number / step) }, (_, k) => k * step);
  holder.hidden = false;
  holder.classList.toggle("ticks", step > 1);
  holder.replaceChildren(...shown.map((column) => make("span", { title: title(column), style: { "grid-column": `span ${Math.min(step, number - column)}` } }, title(column))));
}
