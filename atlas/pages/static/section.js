// A part of a panel that folds and remembers that it was folded, and keeps its height while what it shows is on its way.
import { make } from "./data.js";
import { keepingFocus } from "./focus.js";

const STORE = "atlas-folded";
const heights = new Map(); // pixels that a section last took, by its name

function folded() { try { return JSON.parse(localStorage.getItem(STORE)) ?? {}; } catch { return {}; } }
function remember(id, shut) { try { localStorage.setItem(STORE, JSON.stringify({ ...folded(), [id]: shut })); } catch { /* not kept then */ } }

// `fill(body)` is called when the section is open, at once or when it is unfolded, and never twice.
export class Section {
  constructor(id, title, { skeleton = 60, fill = () => {}, tools = [] } = {}) {
    this.id = id;
    this.fill = fill;
    this.body = make("div", { class: "part-body", id: `part-${id}` });
    this.skeleton = skeleton;
    this.tools = make("div", { class: "part-tools" }, ...tools);
    this.button = make("button", { type: "button", class: "fold", "aria-controls": `part-${id}`, onclick: () => this.turn() }, make("h3", {}, title));
    this.element = make("section", { class: "part", "data-part": id, "aria-label": title, "aria-live": "off" }, make("div", { class: "part-head" }, this.button, this.tools), this.body);
    this.open(!(folded()[id] ?? false));
  }

  turn() { const shut = this.button.getAttribute("aria-expanded") === "true"; remember(this.id, shut); this.open(!shut); }

  open(is) {
    this.button.setAttribute("aria-expanded", is);
    this.body.hidden = this.tools.hidden = !is;
    if (is && !this.filled) { this.filled = true; queueMicrotask(() => this.begin()); } // whoever made it knows it by then
  }

  begin() {
    this.body.style.minHeight = `${heights.get(this.id) ?? this.skeleton}px`;
    this.fill();
  }

  // Put what has arrived into its place; from now on the section is as high as that.
  show(...parts) {
    this.fillWith(...parts.filter(Boolean));
    this.body.style.minHeight = "";
  }

  wait(words = null) { if (words) this.fillWith(make("p", { class: "note busy", role: "status" }, words)); else this.body.classList.add("part-waits"); }

  fillWith(...parts) { keepingFocus(this.body, () => this.body.replaceChildren(...parts), () => this.button); }

  say(words) { this.show(make("p", { class: "note" }, words)); }
}

// Before a panel is filled anew: remember how high its sections are.
export function keepHeights(holder) {
  for (const body of holder.querySelectorAll(".part-body")) if (!body.hidden && body.childElementCount) heights.set(body.id.slice(5), body.offsetHeight);
}

// The arrow keys move from one button of a grid to the next; up and down by its columns.
export function arrowKeys(grid) {
  grid.addEventListener("keydown", (event) => {
    const cells = [...grid.querySelectorAll("button")], at = cells.indexOf(document.activeElement);
    if (at < 0) return;
    const columns = Math.max(1, cells.findIndex((cell) => cell.offsetTop > cells[0].offsetTop)) || 1;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    const next = step && cells[at + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
  return grid;
}
