// Selecting on the map: a lasso or a box takes the images inside; shift adds them, alt takes them out; Ctrl+Z goes back.
import { page, at } from "./page.js";

let held = { shift: false, alt: false };

export function startGestures() {
  const hold = ({ shiftKey, altKey }) => { held = { shift: shiftKey, alt: altKey }; };
  for (const kind of ["pointerdown", "pointermove", "pointerup"]) at("map-card").addEventListener(kind, hold, true); // before Bokeh
  addEventListener("keydown", back);
  window.AtlasPage.swept = swept; // Bokeh tells of what was drawn (explorer.py)
}

// Bokeh's event says what was drawn and not which keys were held: its own modes know neither alt nor images.
function swept({ geometry, final }) {
  if (!final || !page.map?.now || !["rect", "poly"].includes(geometry.type)) return;
  page.map.sweep(geometry, held.alt ? "remove" : held.shift ? "add" : "replace");
}

function back(event) {
  if (!(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey || event.key.toLowerCase() !== "z") return;
  if (event.target.closest?.("input, select, textarea, [contenteditable]")) return; // their own undoing
  if (page.map?.undo()) event.preventDefault();
}
