// Every key of the page, and the sheet that lists them. Panels with keys of their own add lines to `page.keys`.
import { make } from "./data.js";
import { page, at } from "./page.js";
import { crosshair, inView, middle, onMap } from "./looking.js";

const STEP = 0.15; // of what is seen, for one press of an arrow
const ARROWS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
const BUTTONS = { m: "[data-tool=pan]", l: "[data-tool=lasso]", b: "[data-tool=box]", "+": "[data-zoom='0.667']", "=": "[data-zoom='0.667']", "-": "[data-zoom='1.5']", 0: "[data-reset]", t: "#pictures", c: "#icons", d: "#path" };
const DOES = { "[": () => step(-1), "]": () => step(1), s: () => page.does.side?.(), "?": () => sheet(),
  v: () => page.does.select(inView(), "replace"), V: () => page.does.select(inView(), "add"), x: () => page.does.select(inView(), "remove") };
const LINES = [["The map", [["← → ↑ ↓", "move"], ["+  −  0", "nearer, farther, the whole map"], ["M  L  B", "tools: move, lasso, box"], ["T", "thumbnails or dots"], ["C", "icons of what the network sees in each cell"], ["D", "a path across the icons: arrows move, Space begins it, Enter plays it"],
  ["Enter", "open the image nearest the middle"], ["V", "select what is in view; with shift, add it"], ["X", "take what is in view out of the selection"], ["S", "a second map beside the first"]]],
["Images", [["[  ]", "the image before, the next of the selection"], ["N  P", "the next, the previous of an image’s neighbours"], ["Ctrl Z", "the selection before"], ["Esc", "clear the selection, then close the image"]]],
["The classes", [["Tab  ← →", "from chip to chip"], ["Enter", "hide or show"], ["I", "show one alone"]]]];

export function startKeys() {
  page.keys ??= [];
  at("theme").before(make("button", { type: "button", class: "button square", id: "help", title: "Keys (?)", "aria-label": "Keys", onclick: sheet }, "?"));
  addEventListener("keydown", keys);
  addEventListener("pointerdown", () => crosshair(null), true);
}

function keys(event) {
  if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") { if (!event.target.closest?.("[type=search]")?.value) escape(); return; } // a field that is searched in is emptied first
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, select, textarea")) return;
  if (ARROWS[event.key] || event.key === "Enter") { aim(event); return; }
  const button = BUTTONS[event.key] && document.querySelector(BUTTONS[event.key]);
  if (button) page.does.tool(button);
  else if (DOES[event.key]) { event.preventDefault(); DOES[event.key](); }
}

function escape() {
  if (page.map?.chosen) page.map.clear();
  else if (page.newImage?.showing) page.newImage.close();
  else page.does.close();
}

// Arrows and Enter are the map's only where nothing else has the focus; there a cross marks the middle.
function aim(event) {
  if (!page.map?.now || !onMap(event.target) || event.target.closest?.("button")) return;
  event.preventDefault();
  crosshair("map-card");
  if (event.key !== "Enter") { page.does.pan(...ARROWS[event.key]); return; }
  const point = middle();
  if (point !== null) page.does.open(page.map.rowOf(point), point);
}

// The image before or after the open one in the selection, round and round; without a selection there is none to go to.
function step(by) {
  const rows = page.map.chosenRows(), now = rows.indexOf(page.state.row);
  if (rows.length) page.does.open(rows[now < 0 ? (by > 0 ? 0 : rows.length - 1) : (now + by + rows.length) % rows.length], null);
}

function sheet() {
  const before = document.activeElement;
  const lines = (keys) => make("dl", {}, ...keys.flatMap(([key, words]) => [make("dt", {}, ...key.split(/\s+/).map((one) => make("kbd", {}, one))), make("dd", {}, words)]));
  const dialog = make("dialog", { class: "keys card", "aria-label": "Keys" },
    make("div", { class: "panel-head" }, make("h2", {}, "Keys"), make("button", { type: "button", onclick: () => dialog.close() }, "Close (Esc)")),
    ...[...LINES, ...(page.keys.length ? [["More", page.keys]] : [])].flatMap(([title, keys]) => [make("h3", {}, title), lines(keys)]));
  dialog.addEventListener("close", () => { dialog.remove(); before?.focus?.(); });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);
  dialog.showModal();
}
