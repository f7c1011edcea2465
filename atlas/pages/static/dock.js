// The dock below the map: its tabs, how high it is and whether it is folded, which is remembered; the layer it is about.
import { images } from "./data.js";
import { page, on, tell, at } from "./page.js";
import { choose, layerOfSpace, layers } from "./layers.js";
import { startPatterns } from "./patterns.js";
import { startClasses } from "./classes.js";
import { startUnits } from "./units.js";
import { startUnit } from "./unit.js";

const TABS = ["patterns", "classes", "units"];
const LEAST = 150, STEP = 24; // pixels of the dock, of one press of an arrow
const kept = remembered();

export function startDock() {
  page.layer = layerOfSpace(page.state.space) ?? layers[0] ?? null;
  page.state.unit = page.unit = null;
  page.does.tab = (name) => { fold(false); tab(name); };
  Object.assign(page.does, { dock: () => fold(false), covered });
  tabs();
  grip();
  at("dock-fold").onclick = () => fold(at("dock-fold").getAttribute("aria-expanded") === "true");
  startPatterns();
  startClasses();
  startUnits();
  startUnit();
  fold(kept.folded === true);
  tab(there().includes(kept.tab) ? kept.tab : "patterns");
  on("space", (space) => choose(layerOfSpace(space) ?? page.layer));
  new ResizeObserver(() => { if (at("dock").dataset.high) high(Number(at("dock").dataset.high)); }).observe(at("dock").parentElement);
}

// -- tabs ----------------------------------------------------------------------------------------------------------------------

function tabs() {
  at("tab-classes").hidden = !images.labels.length;
  const buttons = there().map((name) => at(`tab-${name}`));
  buttons.forEach((button, place) => { button.onclick = () => { fold(false); if (covered()) page.does.closeUnit(); tab(there()[place]); }; });
  at("dock-tabs").onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
    next.focus(); next.click();
  };
}

// The tabs that this atlas has: without labels there are no classes.
const there = () => TABS.filter((name) => !at(`tab-${name}`).hidden);

// Whether a unit's panel lies over the tab: then who asks for a tab wants to see it.
const covered = () => !at("unit-panel").hidden && at("unit-panel").offsetWidth > at("dock-body").offsetWidth - 10;

function tab(name) {
  page.tab = name;
  for (const other of TABS) {
    const on = other === name, button = at(`tab-${other}`);
    at(other).hidden = !on;
    button.setAttribute("aria-selected", on);
    button.tabIndex = on ? 0 : -1;
  }
  for (const title of document.querySelectorAll("#dock [data-of]")) title.hidden = title.dataset.of !== name;
  remember({ tab: name });
  tell("tab", name);
}

export const open = (name) => page.tab === name && at("dock-fold").getAttribute("aria-expanded") === "true";

function fold(folded) {
  at("dock-fold").setAttribute("aria-expanded", !folded);
  at("dock").classList.toggle("folded", folded);
  remember({ folded });
  if (!folded && page.tab) tell("tab", page.tab);
}

// -- height --------------------------------------------------------------------------------------------------------------------

function grip() {
  const handle = at("dock-grip");
  if (Number.isFinite(kept.high)) high(kept.high);
  handle.onpointerdown = (event) => {
    const from = at("dock").offsetHeight + event.clientY;
    handle.setPointerCapture(event.pointerId);
    handle.onpointermove = (moved) => { fold(false); high(from - moved.clientY); };
    handle.onpointerup = handle.onpointercancel = () => { handle.onpointermove = null; remember({ high: at("dock").offsetHeight }); };
  };
  handle.onkeydown = (event) => {
    const step = { ArrowUp: STEP, ArrowDown: -STEP }[event.key];
    if (event.key === "Enter") usual();
    if (!step) return;
    event.preventDefault();
    fold(false);
    high(at("dock").offsetHeight + step);
    remember({ high: at("dock").offsetHeight });
  };
  handle.ondblclick = usual;
}

function usual() {
  at("dock").style.removeProperty("--high");
  delete at("dock").dataset.high;
  remember({ high: null });
}

// The map keeps a part of the height, however the dock is drawn.
function high(wanted) {
  const most = Math.max(LEAST, at("dock").parentElement.clientHeight - 232), now = Math.max(LEAST, Math.min(most, Math.round(wanted)));
  at("dock").dataset.high = wanted;
  at("dock").style.setProperty("--high", `${now}px`);
  for (const [name, value] of [["min", LEAST], ["max", Math.round(most)], ["now", now]]) at("dock-grip").setAttribute(`aria-value${name}`, value);
}

// -- what is remembered ----------------------------------------------------------------------------------------------------------

function remembered() {
  try { return JSON.parse(localStorage.getItem("atlas-dock")) ?? {}; } catch { return {}; } // closed to us, or not ours
}

function remember(news) {
  Object.assign(kept, news);
  try { localStorage.setItem("atlas-dock", JSON.stringify(kept)); } catch { /* not kept then */ }
}
