// What the map is coloured by: the select with its groups, and the small chooser of a unit.
import { manifest, images, make, count } from "./data.js";
import { canColour, colourNamed, loadShares, unitOf, unitWords, whyNot } from "./colouring.js";
import { page, on, tell, at } from "./page.js";
import { layers, layerCalled, layerWords, networkOf, onlyStatistics, recordedOf } from "./layers.js";

const WORDS = { class: "class", prediction: "prediction", right: "right or wrong", confidence: "confidence", faithfulness: "map faithfulness", suspicion: "label suspicion", community: "community", split: "split" };
const A_UNIT = "unit"; // the option that opens the chooser

let wanted = 0, chooser;

export function startColours() {
  Object.assign(page.does, { colour, settle });
  chooser = make("div", { class: "unit-chooser", id: "unit-chooser", hidden: true },
    make("select", { id: "unit-layer", "aria-label": "Layer of the unit", onchange: () => choose(0) }),
    make("button", { type: "button", class: "button square", "aria-label": "The unit before", title: "The unit before", onclick: () => choose(number() - 1) }, "‹"),
    make("input", { id: "unit-number", type: "number", class: "search", min: 0, step: 1, "aria-label": "Number of the unit", onchange: () => choose(number()) }),
    make("button", { type: "button", class: "button square", "aria-label": "The next unit", title: "The next unit", onclick: () => choose(number() + 1) }, "›"),
    make("span", { class: "note", id: "unit-most" }));
  at("colour").closest(".field").after(chooser);
  at("colour").onchange = (event) => (event.target.value === A_UNIT ? firstUnit() : colour(event.target.value));
  on("drawn", show);
  show();
}

const number = () => Math.floor(Number(at("unit-number").value)) || 0;

// The unit of that number in the chooser's layer, or the nearest there is.
function choose(wish) {
  const { value } = at("unit-layer"), layer = manifest.layers.find(({ id }) => id === value);
  if (!layer) { page.does.notice(onlyStatistics(layers.find(({ key }) => key === value))); show(); return; }
  colour(`unit:${layer.id}:${Math.max(0, Math.min(layer.units - 1, wish))}`);
}

function firstUnit() {
  const { space } = page.state;
  const own = manifest.layers.find(({ activations }) => activations === space.activations) ?? manifest.layers[0];
  colour(`unit:${own.id}:0`).then(() => at("unit-number").focus());
}

// Colour by a name; what cannot be had is told, and the colour stays.
async function colour(by) {
  const { state } = page, turn = ++wanted, name = colourNamed(state.space, by);
  if (!(await fetched(name))) { show(); return; }
  if (turn !== wanted) return; // another was chosen meanwhile
  Object.assign(state, { colour: name, hidden: new Set(), alone: null });
  show();
  await page.does.redraw();
  await tell("colour", name);
}

async function fetched(name) {
  const { state } = page;
  try {
    if (!canColour(state.space, name)) throw new Error("not there");
    await loadShares(state.space, state.layout, name);
    return true;
  } catch {
    page.does.notice(`The map cannot be coloured by ${told(name)} here: ${whyMissing(name)}`);
    return false;
  }
}

function whyMissing(name) {
  const layer = name.startsWith("unit:") && !unitOf(page.state.space, name) ? layerCalled(name.slice(5, name.lastIndexOf(":"))) : null;
  if (layer && !recordedOf(layer)) return `${onlyStatistics(layer)[0].toLowerCase()}${onlyStatistics(layer).slice(1)}`;
  return manifest.static ? "this file does not hold it." : "it could not be fetched.";
}

// Before a drawing: a colour that this layer does not have, or that cannot be fetched, gives way to the first there is.
async function settle() {
  const { state } = page, first = state.space.colours[0];
  if (state.colour === first || (canColour(state.space, state.colour) && await fetched(state.colour))) return;
  Object.assign(state, { colour: first, hidden: new Set(), alone: null });
}

function told(name) {
  const unit = name.startsWith("unit:") ? unitOf(page.state.space, name) : null;
  if (!unit && name.startsWith("unit:")) return `unit ${name.slice(name.lastIndexOf(":") + 1)} of ${name.slice(5, name.lastIndexOf(":"))}`;
  return unit ? unitWords(unit) : name.startsWith("column:") ? name.slice(7) : WORDS[name] ?? name;
}

// -- what the controls show ----------------------------------------------------------------------------------------------------

function show() {
  const { state } = page, select = at("colour"), isUnit = state.colour.startsWith("unit:");
  const option = (value, words, disabled = false) => make("option", { value, disabled }, words);
  select.replaceChildren(
    make("optgroup", { label: "Images" }, ...state.space.colours.map((name) => option(name, WORDS[name]))),
    ...(images.own.length ? [make("optgroup", { label: "Your columns" }, ...images.own.map((own) =>
      option(`column:${own.name}`, whyNot(own) ? `${own.name} (${whyNot(own)})` : own.name, whyNot(own) !== null)))] : []),
    ...(manifest.layers.length ? [make("optgroup", { label: "Units" }, option(A_UNIT, "a unit of a layer…"))] : []));
  select.value = isUnit ? A_UNIT : state.colour;
  chooser.hidden = !isUnit;
  if (isUnit) showUnit(unitOf(state.space, state.colour));
  note();
}

function showUnit(unit) {
  if (!unit) return;
  const several = manifest.networks.length > 1;
  const title = ({ layer, network }) => (several ? `${layer} · ${manifest.networks.find(({ key }) => key === network)?.title ?? ""}` : layer);
  const bare = layers.filter((layer) => !recordedOf(layer));
  at("unit-layer").replaceChildren(...manifest.layers.map((layer) => make("option", { value: layer.id }, title(layer))),
    ...(bare.length ? [make("optgroup", { label: "Only statistics were kept" }, ...bare.map((layer) => make("option", { value: layer.key }, [layerWords(layer), networkOf(layer)].filter(Boolean).join(" · "))))] : []));
  at("unit-layer").value = unit.layer.id;
  at("unit-number").max = unit.layer.units - 1;
  at("unit-number").value = unit.number;
  at("unit-most").textContent = `0 to ${count(unit.layer.units - 1)}`;
}

function note() {
  const { state } = page, told = manifest.predictions[state.space.predictions];
  const notes = { faithfulness: state.layout.measured ? `The share of each point’s ${state.layout.quality.k ?? 15} nearest in the layer that are its nearest here.` : "Not measured point by point for this layout.",
    suspicion: "How far an image’s neighbours in the layer, and the network, are from its label.",
    community: "Groups of the image graph: images with many edges among them and few to others (Louvain), named by what most of them are." };
  at("colour-note").textContent = notes[state.colour] ?? state.drawn?.colouring.note ?? (told && !told.judged ? told.sentence : "");
}
