// A path drawn across the icons plays as a strip: what the network sees from one region of the map to another.
import { make, address, classColour, images, percent } from "./data.js";
import { page, on, at } from "./page.js";
import { codeOf, nameOf } from "./icons.js";
import { leave } from "./hover.js";

const EDGE = 72; // pixels of a picture of the strip
const STEP = 4; // pixels between two places looked at along the path
const SPEED = 450; // milliseconds of a picture while the strip plays

export function startPath() {
  const path = new Path(at("path-over"), at("path-strip"));
  page.does.path = (wanted) => path.arm(wanted);
  page.does.icon = (element, cell, edge) => Object.assign(element.style, iconStyle(cell, edge));
  for (const what of ["space", "layout", "drawn"]) on(what, () => path.close());
}

// The style of a box that shows one cell’s icon out of its sheet.
export function iconStyle(cell, edge) {
  const { across, size: [tall, wide], key } = page.icons.part.icons, slot = cell % (across * across), scale = edge / Math.max(tall, wide);
  return { width: `${wide * scale}px`, height: `${tall * scale}px`, backgroundImage: `url("${address(`icons/${key}/${Math.floor(cell / (across * across))}.webp`)}")`, backgroundSize: `${across * wide * scale}px auto`,
    backgroundPosition: `${-(slot % across) * wide * scale}px ${-Math.floor(slot / across) * tall * scale}px`, imageRendering: Math.max(tall, wide) < 48 ? "pixelated" : "auto" };
}

class Path {
  constructor(canvas, strip) {
    Object.assign(this, { canvas, strip, places: [], armed: false, playing: 0 });
    canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); this.places = [[event.offsetX, event.offsetY]]; };
    canvas.onpointermove = (event) => { if (this.places.length && event.buttons) { this.places.push([event.offsetX, event.offsetY]); this.draw(); } };
    canvas.onpointerup = () => this.end();
  }

  // Take the pointer for a path, or give it back to the map.
  arm(wanted = !this.armed) {
    this.armed = wanted && Boolean(page.icons?.visible);
    if (wanted && !this.armed) page.does.notice("A path needs icons on the map: switch them on with C, and zoom out until they show.");
    this.canvas.style.pointerEvents = this.armed ? "auto" : "none";
    at("path").setAttribute("aria-pressed", this.armed);
    if (this.armed) { leave(); page.icons.point(null); }
    if (!this.armed) this.clear();
  }

  clear() { this.places = []; this.draw(); }

  close() { this.stop(); this.strip.hidden = true; this.clear(); if (this.armed) this.arm(false); }

  draw() {
    const { canvas, places } = this, ratio = devicePixelRatio || 1, context = canvas.getContext("2d");
    canvas.width = canvas.clientWidth * ratio; canvas.height = canvas.clientHeight * ratio;
    context.scale(ratio, ratio);
    Object.assign(context, { lineWidth: 3, lineJoin: "round", lineCap: "round", strokeStyle: getComputedStyle(document.documentElement).getPropertyValue("--accent") });
    context.beginPath();
    places.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.stroke();
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
    items.forEach((item, k) => page.does.icon(item.firstElementChild, cells[k], EDGE));
    strip.replaceChildren(make("div", { class: "path-head" }, make("b", {}, `${cells.length} cells along the path`), make("button", { type: "button", class: "text-button", onclick: () => this.play(items) }, "Play"),
      make("button", { type: "button", class: "text-button", onclick: () => this.close() }, "Close")), make("div", { class: "path-steps", tabindex: "0" }, ...items));
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
