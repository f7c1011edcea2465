// What is under the pointer: a thumbnail and what is known of it, out of what the page holds already.
import { tables, make, thumbStyle, labelOf, predictionOf, classColour, count, percent, splitOf } from "./data.js";
import { page, on, tell, at } from "./page.js";

let pointer = [0, 0], dragging = false;

export function startHover() {
  const card = at("maps");
  card.addEventListener("pointermove", (event) => { pointer = [event.clientX, event.clientY]; dragging = event.buttons > 0; if (!at("float").hidden) placeFloat(); }, true); // captured: known before Bokeh tells of the same movement
  at("map-card").addEventListener("pointerleave", leave);
  on("drawn", leave); // it may tell of a point that has gone
}

// What lies under a place of the map: told in a card, and to the second map.
export function hover(x, y) {
  const cell = dragging ? null : page.icons?.at(x, y) ?? null;
  page.icons?.point(cell);
  if (cell !== null) { tellCell(cell); return; }
  const { map } = page, point = map && tables.label && !dragging ? map.at(x, y) : null;
  if (point === null) { leave(); return; }
  tellOf(map.rowOf(point));
}

export function leave() {
  at("float").hidden = true;
  hovered(null);
}

// The card of an image beside the pointer.
export function tellOf(row, by = "map") {
  const { state } = page, float = at("float"), said = predictionOf(by === "map" ? state.space : state.beside.space, row);
  float.replaceChildren(make("div", { class: "hover", "data-row": row },
    make("i", { class: "hover-thumb", style: { ...thumbStyle(row, 56), "--c": classColour(tables.label[row]) } }),
    make("div", {}, make("b", {}, labelOf(row) ?? "unlabelled"),
      said ? make("span", { class: said.right === 0 ? "bad" : "" }, `${said.right === 0 ? "taken for " : "predicted "}${said.name} · ${percent(said.confidence)}`) : null,
      make("span", { class: "faint" }, [splitOf(row), `image ${count(row)}`].filter(Boolean).join(" · ")))));
  float.hidden = false;
  placeFloat();
  hovered(row, by);
}

function tellCell(cell) {
  const float = at("float");
  if (float.hidden || float.firstElementChild?.dataset.cell !== String(cell)) float.replaceChildren(page.icons.card(cell));
  float.hidden = false;
  placeFloat();
  hovered(null);
}

let told = null;
function hovered(row, by = null) {
  if (row === told) return;
  told = row;
  tell("hover", { row, by });
}

function placeFloat() {
  const float = at("float"), [x, y] = pointer, { offsetWidth: width, offsetHeight: height } = float;
  float.style.left = `${Math.round(x + 18 + width > innerWidth - 8 ? x - width - 14 : x + 18)}px`; // whole pixels: thumbnails stay sharp
  float.style.top = `${Math.round(Math.max(8, Math.min(y - height / 2, innerHeight - height - 8)))}px`;
}
