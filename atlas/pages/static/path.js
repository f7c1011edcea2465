// A path drawn across the icons plays as a strip: what the network sees from one region of the map to another.
import { make, classColour, images, percent, several } from "./data.js";
import { page, on, at } from "./page.js";
import { codeOf, nameOf, iconStyle } from "./icons.js";
import { leave } from "./hover.js";
import { arrowKeys } from "./section.js";

const EDGE = 72; // pixels of a picture of the strip
const STEP = 4; // pixels between two places looked at along the path
const SPEED = 450; // milliseconds of a picture while the strip plays
const ASIDE = 2; // how much worse a cell is for lying aside of the arrow’s way than for lying far
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const HINT = "Draw a line across the icons. With the keyboard: the arrows move from cell to cell, Space begins the line, Enter plays it, Esc ends.";

export function startPath() {
  const path = new Path(at("path-over"), at("path-strip"));
  page.does.path = (wanted) => path.arm(wanted);
  for (const what of ["space", "layout", "drawn"]) on(what, () => path.close());
}

class Path {
  constructor(canvas, strip) {
    Object.assign(this, { canvas, strip, places: [], armed: false, playing: 0, cursor: null });
    canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); this.places = [[event.offsetX, event.offsetY]]; };
    canvas.onpointermove = (event) => { if (this.places.length && event.buttons) { this.places.push([event.offsetX, event.offsetY]); this.draw(); } };
    canvas.onpointerup = () => this.end();
    canvas.onkeydown = (event) => this.key(event);
    strip.onkeydown = (event) => { if (event.key === "Escape") { event.preventDefault(); this.leave(); } };
  }

  // Take the pointer for a path, or give it back to the map.
  arm(wanted = !this.armed) {
    this.armed = wanted && Boolean(page.icons?.visible);
    if (wanted && !this.armed) page.does.notice("A path needs icons on the map: switch them on with C, and zoom out until they show.");
    this.canvas.style.pointerEvents = this.armed ? "auto" : "none";
    at("path").setAttribute("aria-pressed", this.armed);
    this.canvas.tabIndex = this.armed ? 0 : -1;
    this.strip.classList.toggle("hint", this.armed);
    this.cursor = null;
    if (!this.armed) { this.clear(); if (!this.strip.querySelector(".path-step")) this.strip.hidden = true; return; }
    leave();
    page.icons.point(null);
    this.stop();
    this.strip.replaceChildren(make("p", { class: "note" }, HINT));
    this.strip.hidden = false;
    this.canvas.focus({ preventScroll: true });
  }

  clear() { this.places = []; this.draw(); }

  // -- by the keyboard: a cursor that goes from cell to cell ------------------------------------------------------------------

  key(event) {
    if (!this.armed || event.ctrlKey || event.metaKey || event.altKey) return;
    const does = { " ": () => this.begin(), Enter: () => this.enter(), Escape: () => { this.arm(false); at("path").focus(); } }[event.key] ?? (WAYS[event.key] && (() => this.step(WAYS[event.key])));
    if (!does) return;
    event.preventDefault();
    does();
  }

  // Where the middle of a cell lies on the canvas.
  middle(cell) {
    const { told } = page.icons, frame = page.icons.frame();
    return [frame.x((told.x0[cell] + told.x1[cell]) / 2), frame.y((told.y0[cell] + told.y1[cell]) / 2)];
  }

  // The cells that are drawn and in view.
  there() {
    const { told, grid } = page.icons, { width, height } = page.icons.frame();
    return told.grid.flatMap((own, cell) => { const [x, y] = own === grid ? this.middle(cell) : [-1, -1]; return x >= 0 && y >= 0 && x <= width && y <= height ? [{ cell, x, y }] : []; });
  }

  // To the nearest cell in one direction; first of all to the one in the middle of the map.
  step([right, up]) {
    const { width, height } = page.icons.frame(), [x, y] = this.cursor === null ? [width / 2, height / 2] : this.middle(this.cursor);
    const far = ({ x: own, y: high }) => { const along = right * (own - x) + up * (y - high), aside = Math.abs(right ? high - y : own - x); return this.cursor === null ? Math.hypot(own - x, high - y) : along > 1 && aside <= along ? along + ASIDE * aside : Infinity; };
    const best = this.there().map((one) => ({ ...one, far: far(one) })).filter(({ far: distance }) => distance < Infinity).sort((a, b) => a.far - b.far)[0];
    if (!best) return;
    this.cursor = best.cell;
    if (this.places.length) this.places.push([best.x, best.y]);
    page.icons.point(best.cell);
    this.draw();
    const { told } = page.icons;
    at("heat-said").textContent = `${this.places.length ? "on the line: " : ""}${wordsOf(told, best.cell)}, ${several(told.images[best.cell], "image")}`;
  }

  begin() { if (this.cursor === null) this.step([0, 0]); if (this.cursor !== null) { this.places = [this.middle(this.cursor)]; this.draw(); at("heat-said").textContent = "The line begins here."; } }

  // Plays the line that was begun; without one, selects the images of the cell.
  enter() {
    if (this.places.length) { this.end(); this.strip.querySelector("button")?.focus(); return; }
    const { cursor } = this;
    if (cursor === null) return;
    this.arm(false);
    page.icons.choose(cursor);
  }

  close() { this.stop(); this.strip.hidden = true; this.clear(); if (this.armed) this.arm(false); }

  // Close it, and go back to the button that began it.
  leave() { this.close(); at("path").focus(); }

  draw() {
    const { canvas, places } = this, ratio = devicePixelRatio || 1, context = canvas.getContext("2d");
    canvas.width = canvas.clientWidth * ratio; canvas.height = canvas.clientHeight * ratio;
    context.scale(ratio, ratio);
    Object.assign(context, { lineWidth: 3, lineJoin: "round", lineCap: "round", strokeStyle: getComputedStyle(document.documentElement).getPropertyValue("--accent") });
    context.beginPath();
    places.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.stroke();
    if (this.cursor === null) return;
    const { x, y, edge } = page.icons.place(page.icons.frame(), this.cursor);
    context.strokeRect(x - 4, y - 4, edge + 8, edge + 8);
  }

  end() {
    const cells = this.cells();
    this.arm(false);
    if (cells.length > 1) this.show(cells); else page.does.notice("The path crossed fewer than two icons: draw it from one region to another.");
  }

  // The cells under the path, in its order, a cell once each time it is entered.
  cells() {
    const { icons } = page, found = [];
    for (const [x, y] of alongOf(this.places, STEP)) {
      const cell = icons.at(...icons.unframe(x, y));
      if (cell !== null && cell !== found.at(-1)) found.push(cell);
    }
    return found;
  }

  show(cells) {
    const { told } = page.icons, { strip } = this;
    const items = cells.map((cell, k) => make("button", { type: "button", class: "path-step", "data-cell": cell, title: "Select its images", onclick: () => page.icons.choose(cell),
      onpointerenter: () => page.icons.point(cell), onfocus: () => page.icons.point(cell), onpointerleave: () => page.icons.point(null), "aria-label": `${k + 1} of ${cells.length}: ${wordsOf(told, cell)}` },
    make("i", { style: { "--c": classColour(codeOf(told, cell)) } }), make("small", {}, wordsOf(told, cell))));
    items.forEach((item, k) => { for (const [name, value] of Object.entries(iconStyle(page.icons.part, cells[k], EDGE))) item.firstElementChild.style.setProperty(name, value); });
    strip.replaceChildren(make("div", { class: "path-head" }, make("b", {}, `${cells.length} cells along the path`), make("button", { type: "button", class: "text-button", onclick: () => this.play(items) }, "Play"),
      make("button", { type: "button", class: "text-button", onclick: () => this.leave() }, "Close")), arrowKeys(make("div", { class: "path-steps" }, ...items)));
    strip.hidden = false;
  }

  // One picture after the other is shown where it lies on the map.
  play(items) {
    this.stop();
    let k = 0;
    const next = () => {
      items.forEach((item, place) => item.classList.toggle("now", place === k));
      if (k >= items.length) { page.icons.point(null); this.stop(); return; }
      items[k].scrollIntoView({ block: "nearest", inline: "center" });
      page.icons.point(Number(items[k++].dataset.cell));
    };
    next();
    this.playing = setInterval(next, SPEED);
  }

  stop() { clearInterval(this.playing); this.playing = 0; }
}

const wordsOf = (told, cell) => nameOf(told, cell) ?? (told.members[cell]?.[0] ? `${images.labels[told.classes[cell][0]]} ${percent(told.members[cell][0] / told.points[cell])}` : `cell ${cell}`);

// Places at most `step` apart along a line of many points.
export function alongOf(places, step) {
  const found = places.slice(0, 1);
  for (let k = 1; k < places.length; k++) {
    const [[x0, y0], [x1, y1]] = [places[k - 1], places[k]], parts = Math.max(1, Math.ceil(Math.hypot(x1 - x0, y1 - y0) / step));
    for (let part = 1; part <= parts; part++) found.push([x0 + ((x1 - x0) * part) / parts, y0 + ((y1 - y0) * part) / parts]);
  }
  return found;
}
