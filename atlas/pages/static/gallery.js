// All selected images as a grid of which only what is in view is in the page: seventy thousand scroll as twenty do.
import { make, inMany, pictured, count } from "./data.js";

const STEP = 61; // pixels from one thumbnail to the next, as selection.css has it
const EDGE = 54, GAP = 7; // pixels of a thumbnail, between two
const ENOUGH = 160; // thumbnails that are in the page together: two screens of 1 000 pixels

export class Gallery {
  // `cell(row)` makes a thumbnail.
  constructor(cell) {
    this.cell = cell;
    this.rows = [];
    this.cells = new Map(); // by place in the order
    this.current = 0; // the place that a keyboard is at
    this.grid = make("div", { class: "gallery-grid" });
    this.mark = make("i", { class: "gallery-mark", "aria-hidden": "true" });
    this.holder = make("div", { class: "gallery", id: "gallery", role: "group" }, this.grid, this.mark);
    this.holder.onkeydown = (event) => this.key(event);
    this.holder.onfocusin = (event) => { const place = Number(event.target.closest(".cell")?.dataset.place); if (place >= 0) this.rove(place); };
    document.addEventListener("scroll", () => this.later(), { capture: true, passive: true });
    new ResizeObserver(() => this.later()).observe(this.holder);
  }

  show(rows) {
    const within = rows.length && this.grid.querySelector(":focus-visible"); // a keyboard stays in it
    this.rows = rows;
    this.current = 0;
    this.clear();
    this.holder.setAttribute("aria-label", `${count(rows.length)} selected images, arrow keys move among them`);
    this.draw();
    if (within) this.go(0);
  }

  clear() { this.cells.clear(); this.grid.replaceChildren(); this.from = this.to = 0; this.begun = false; }

  later() { this.waiting ||= requestAnimationFrame(() => { this.waiting = 0; this.draw(); }); }

  draw() {
    const width = this.holder.clientWidth;
    if (!width || !this.holder.isConnected) return;
    const across = Math.max(1, Math.floor((width + GAP) / STEP)), lines = Math.ceil(this.rows.length / across);
    if (across !== this.across) { this.across = across; this.clear(); this.holder.style.setProperty("--across", across); }
    this.holder.style.setProperty("--wide", `${(Math.floor((width + GAP) / across) - GAP) & ~1}px`); // even: thumbnails stand on whole pixels
    this.holder.style.height = `${lines * STEP}px`;
    const most = Math.ceil(ENOUGH / across), seen = Math.ceil(innerHeight / STEP);
    const above = this.holder.getBoundingClientRect().top, top = Math.floor(-above / STEP);
    const first = Math.max(0, Math.min(top - Math.max(0, (most - seen) >> 1), lines - most));
    this.window(first * across, Math.min(this.rows.length, (first + Math.max(most, seen + 2)) * across), first);
    this.picture(top * across, Math.ceil((innerHeight - above) / STEP) * across);
  }

  // Give the cells in view, places `from` to `to`, their pictures; and all that are in the page theirs, once they are scrolled.
  picture(from, to) {
    if (!inMany) return; // each shows its part of a sheet
    const cells = [...this.cells], lacks = ([, cell]) => !cell.pictured, seen = cells.filter(([place]) => place >= from && place < to);
    if (!seen.some(lacks)) return;
    const wanted = (this.begun ? cells : seen).filter(lacks).map(([, cell]) => Object.assign(cell, { pictured: true }));
    this.begun = true;
    pictured(wanted, EDGE);
  }

  // Have the cells of places `from` to `to` in the page, those that stay untouched, so that the focus stays too.
  window(from, to, line) {
    if (from === this.from && to === this.to) return;
    for (const [place, cell] of this.cells) if (place < from || place >= to) { cell.remove(); this.cells.delete(place); }
    const before = document.createDocumentFragment(), after = document.createDocumentFragment(), first = Math.min(...this.cells.keys());
    for (let place = from; place < to; place++) {
      if (this.cells.has(place)) continue;
      const cell = this.make(place);
      this.cells.set(place, cell);
      (place < first && first < Infinity ? before : after).append(cell);
    }
    this.grid.prepend(before);
    this.grid.append(after);
    this.grid.style.transform = `translateY(${line * STEP}px)`;
    [this.from, this.to] = [from, to];
    this.rove(Math.max(from, Math.min(to - 1, this.current)));
  }

  make(place) {
    const cell = this.cell(this.rows[place]);
    cell.dataset.place = place;
    cell.tabIndex = -1;
    return cell;
  }

  // One cell at a time is a stop of the tab key.
  rove(place) {
    this.cells.get(this.current)?.setAttribute("tabindex", -1);
    this.current = place;
    this.cells.get(place)?.setAttribute("tabindex", 0);
  }

  key(event) {
    const page = this.across * Math.max(1, Math.floor(innerHeight / STEP) - 3);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.across, ArrowUp: -this.across, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.go(Math.max(0, Math.min(this.rows.length - 1, this.current + step)));
  }

  go(place) {
    this.mark.style.top = `${Math.floor(place / this.across) * STEP}px`;
    this.mark.scrollIntoView({ block: "nearest" });
    this.draw();
    this.rove(place);
    this.cells.get(place)?.focus({ preventScroll: true });
  }
}
