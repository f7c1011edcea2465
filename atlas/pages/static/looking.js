// What part of the map is seen: zooming to images, panning by keyboard, and a rectangle that a link restores.
import { page, on, at } from "./page.js";

const LEAST = 65535 / 60; // of the map's unit: one image alone is shown with what lies around it
const AROUND = 0.15; // of the images' extent left free on each side

export function startLooking() {
  Object.assign(page.does, { look, seen, show, pan });
  on("start", () => {
    page.map.moves(() => { if (!fitting) wanted = seen(); });
    new ResizeObserver(refit).observe(document.querySelector(".map-place"));
  });
}

// Left, right, bottom and top of what is seen; null while the whole map is.
function seen() {
  const { x_range, y_range } = page.map.plot;
  return x_range.have_updated_interactively ? [x_range.start, x_range.end, y_range.start, y_range.end] : null;
}

// Show a rectangle whole, in one scale for both directions; null is the whole map.
function show(view) {
  const { map } = page;
  if (!view) { map.whole(); return; }
  const { inner_width: width, inner_height: height } = map.plot, [x0, x1, y0, y1] = view;
  const unit = Math.max((x1 - x0) / width, (y1 - y0) / height), x = (x0 + x1) / 2, y = (y0 + y1) / 2;
  map.look([x - (unit * width) / 2, x + (unit * width) / 2], [y - (unit * height) / 2, y + (unit * height) / 2]);
}

// Zoom to images, by row; those that have no point in this layer are left out.
function look(rows) {
  const wanted = new Set(rows), { map } = page, { xy, count, rows: of } = map.now;
  let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let point = 0; point < count; point++) {
    if (!wanted.has(of ? of[point] : point)) continue;
    x0 = Math.min(x0, xy[point]); x1 = Math.max(x1, xy[point]);
    y0 = Math.min(y0, xy[count + point]); y1 = Math.max(y1, xy[count + point]);
  }
  if (x1 < x0) return false;
  const half = (low, high) => Math.max(LEAST, high - low) * (0.5 + AROUND), x = (x0 + x1) / 2, y = (y0 + y1) / 2;
  show([x - half(x0, x1), x + half(x0, x1), y - half(y0, y1), y + half(y0, y1)]);
  return true;
}

// Move by shares of what is seen.
function pan(right, up) {
  const { x_range, y_range } = page.map.plot, wide = (x_range.end - x_range.start) * right, high = (y_range.end - y_range.start) * up;
  page.map.look([x_range.start + wide, x_range.end + wide], [y_range.start + high, y_range.end + high]);
}

// When the map's place changes its shape, all that was looked at stays in view, and is seen as before once the place is as before.
let wanted = null, fitting = false, settling = 0; // what was last looked at, whatever the shape of the place
function refit() {
  clearTimeout(settling);
  settling = setTimeout(() => {
    if (!page.map.now || !seen()) return;
    fitting = true;
    show(wanted ?? seen());
    fitting = false;
  }, 60);
}

// The images in view on the map that a keyboard is on, each once.
export function inView() {
  if (at("beside-card")?.contains(document.activeElement)) return inViewOf(page.second);
  const { map } = page, { x_range: { start: x0, end: x1 }, y_range: { start: y0, end: y1 } } = map.plot;
  return [...new Set(map.rowsIn({ x0, x1, y0, y1, holds: () => true }))];
}

function inViewOf(second) {
  const { places, point } = second.inView();
  return [...new Set(Array.from(places, (place) => second.rowOf(point(place))))];
}

// The drawn point nearest the middle of what is seen.
export function middle() {
  const { map } = page, { x_range, y_range } = map.plot;
  return map.at((x_range.start + x_range.end) / 2, (y_range.start + y_range.end) / 2, Infinity);
}

export const onMap = (target) => target === document.body || Boolean(target.closest?.("#map-card, #beside-card"));
// A cross marks the middle of one map's card; of none where it is null.
export function crosshair(marked) { for (const card of ["map-card", "beside-card"]) at(card)?.classList.toggle("aimed", card === marked); }
