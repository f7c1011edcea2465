// Units that distinguish the selected images from the others on the map: how far apart their means are, in deviations.
import { manifest, make, count, several } from "./data.js";
import { packed } from "./rows.js";
import { ask, served } from "./posting.js";
import { shownMask } from "./selection.js";
import { page, on } from "./page.js";

const WAIT = 200; // milliseconds of quiet before the server is asked

export function startStandout() {
  const holder = make("div", { class: "pane", id: "pane-units", hidden: true });
  let timer = 0, asking = null, answered = null;

  const later = () => {
    clearTimeout(timer);
    asking?.abort();
    if (!holder.hidden && served && page.map?.chosen) timer = setTimeout(look, WAIT);
  };

  async function look() {
    const chosen = page.map.chosen, { space } = page.state, shown = shownMask();
    const question = [space.id, chosen, page.state.split, page.state.kept, [...page.state.hidden].join()];
    if (answered?.every((one, k) => one === question[k])) return;
    asking = new AbortController();
    holder.replaceChildren(make("p", { class: "note busy" }, "Comparing…"));
    try {
      const told = await ask("distinguish", { space: space.id }, [packed(chosen), packed(shown)], asking.signal);
      answered = question;
      show(told, space);
    } catch (reason) {
      if (reason.name !== "AbortError") holder.replaceChildren(make("p", { class: "note" }, reason.message));
    }
  }

  function show(told, space) {
    const rest = told.rest, several_ = space.layers.length > 1, what = space.spatial ? "position" : "image";
    const most = Math.max(...[...told.up, ...told.down].map(({ d }) => Math.abs(d)), 1e-9);
    holder.replaceChildren(
      make("div", { class: "standout" }, side("Higher here", told.up, most, several_), side("Lower here", told.down, most, several_)),
      make("p", { class: "note" }, `${several(told.chosen, what)} against the ${count(rest)} other${rest === 1 ? "" : "s"} on the map: the difference of their means in pooled standard deviations (Cohen’s d), from the layer’s own vectors, all ${count(told.units)} units.${told.flat ? ` ${count(told.flat)} of them do not vary here.` : ""}`));
  }

  for (const what of ["selection", "space", "drawn"]) on(what, later);
  return { holder, look: later };
}

function side(title, units, most, several) {
  if (!units.length) return make("div", {}, make("h4", {}, title), make("p", { class: "note" }, "None."));
  return make("div", {}, make("h4", {}, title), make("ul", { class: "lines" }, ...units.map((unit) => line(unit, most, several))));
}

function line({ layer, key, unit, d, here, rest }, most, several) {
  const name = several ? `${layer} ${unit}` : `unit ${unit}`, words = `${layer}, unit ${unit}: d ${d.toFixed(2)}. Mean ${here.toPrecision(3)} here, ${rest.toPrecision(3)} in the others.`;
  const called = manifest.layers.find(({ activations }) => activations === key)?.id ?? layer;
  const open = () => (page.does.unit ? page.does.unit(called, unit) : colour());
  const colour = () => page.does.colour?.(`unit:${called}:${unit}`);
  return make("li", {},
    make("button", { type: "button", class: "line unit", title: `${words} Opens the unit.`, "data-unit": unit, onclick: open },
      make("b", {}, make("span", {}, name)), make("div", { class: "bar", style: { "--c": d > 0 ? manifest.colours.wrong : manifest.colours.right } }, make("i", { style: { width: `${(100 * Math.abs(d)) / most}%` } })), make("em", {}, d.toFixed(2))),
    make("button", { type: "button", class: "dot", title: `Colour the map by unit ${unit} of ${layer}`, "aria-label": `Colour the map by unit ${unit} of ${layer}`, onclick: colour }, "◐"));
}
