// The activation maps of one image, asked of the network when somebody wants to see them; nobody else waits for that.
import { manifest, images, address, make, count } from "./data.js";
import { ramp, rgb } from "./colouring.js";
import { page } from "./page.js";
import { Section } from "./section.js";

export const STOPS = {
  dark: ["#1d2129", "#2f3a63", "#6a3d86", "#b4456f", "#ee7b3f", "#ffd27a", "#fffbe6"],
  light: ["#f3f4f6", "#cfd9ee", "#9fa6dc", "#9b5fb0", "#b8386f", "#8a1d3c", "#3d0b1d"],
};
const SLOW = 1500; // milliseconds after which the page says what it waits for

export class ActivationMaps {
  // `of`: space, row (null for a new image), file (a new image's)
  constructor(of) {
    Object.assign(this, of);
    this.section = new Section("maps", "Activation maps", { skeleton: 40, fill: () => this.offer() });
  }

  get element() { return this.section.element; }

  offer() {
    if (manifest.static || manifest.largest === null) { this.section.say("Activation maps need the network, which runs beside the explorer’s server: this page has none."); return; }
    this.section.show(make("button", { type: "button", class: "button", id: "ask-maps", onclick: () => this.ask("") }, "Show the activation maps"),
      make("p", { class: "note", style: { "margin-top": "6px" } }, "The network looks at this image again; the first time it has to be loaded."));
  }

  async ask(layer) {
    this.asking?.abort();
    const asking = this.asking = new AbortController(), { section } = this;
    section.body.style.minHeight = `${section.body.offsetHeight}px`;
    section.wait("The network looks at it.");
    const slow = setTimeout(() => section.wait("The network looks at it. The first time takes longer, for the network has to be loaded."), SLOW);
    const answer = await this.answer(layer, asking.signal);
    clearTimeout(slow);
    if (asking.signal.aborted || !this.element.isConnected) return;
    if (answer.error) { this.refused(answer.error, layer); return; }
    this.held = answer;
    this.show(layer);
  }

  async answer(layer, signal) {
    const what = new URLSearchParams({ space: this.space.id, name: this.file?.name ?? `image ${this.row}`, layer });
    if (this.row !== null) what.set("row", this.row);
    try {
      const response = await fetch(address(`activation-maps/${images.key}?${what}`), { method: "POST", body: this.file ?? null, signal, headers: { "X-Atlas": "activation-maps", "Content-Type": "application/octet-stream" } });
      if (response.status === 404) return { error: "This server answers no activation maps." };
      return await response.json();
    } catch { return { error: "The server could not be reached. Try again." }; }
  }

  refused(words, layer) {
    this.section.show(make("div", { class: "notice", role: "alert" }, /[.!?]$/.test(words) ? words : `${words}.`),
      make("button", { type: "button", class: "text-button", onclick: () => this.ask(layer) }, "Try again"));
  }

  show(asked) {
    const { layers, others, picture } = this.held;
    const choice = make("select", { "aria-label": "Layer of the maps", onchange: (event) => this.ask(event.target.value) },
      make("option", { value: "", selected: !asked }, "layers worth a look"), ...others.map((name) => make("option", { value: name, selected: name === asked }, name)));
    const input = make("img", { src: picture, alt: "The image as the network is given it", class: "maps-input pixels" });
    if (!layers.length) { this.section.say("No layer of this network has places, so there are no maps."); return; }
    this.section.show(make("div", { class: "maps-head" }, input, make("div", {}, choice, make("p", { class: "note" }, `As the network is given it, and of each layer the ${layers[0].units.length} units whose maps reach highest; one scale a layer, from its least or 0 to its peak.`))),
      ...layers.map((layer) => this.layer(layer)));
  }

  layer(told) {
    const recorded = manifest.layers.some(({ layer, network }) => layer === told.layer && network === this.space.network);
    const [tall, wide] = told.size, bytes = Uint8Array.from(atob(told.maps), (letter) => letter.charCodeAt(0));
    return make("div", { class: "maps-layer", "data-layer": told.layer }, make("div", { class: "maps-title" }, make("b", {}, told.layer), make("span", { class: "note" }, `${tall} × ${wide}, ${count(told.units.length)} of ${count(told.of)} units, peak ${told.peak[0].toPrecision(3)}`)),
      make("div", { class: "maps-row" }, ...told.units.map((unit, n) => this.tile(told, unit, n, bytes, recorded))));
  }

  tile(told, unit, n, bytes, recorded) {
    const [tall, wide] = told.pixels, canvas = make("canvas", { width: wide, height: tall, class: "pixels" });
    paint(canvas, bytes.subarray(n * tall * wide, (n + 1) * tall * wide));
    const title = `${told.layer}, unit ${unit}: peak ${told.peak[n].toPrecision(3)}`;
    return recorded ? make("button", { type: "button", class: "map-tile", title, "aria-label": title, "data-unit": unit, onclick: () => page.does.unit?.(told.layer, unit) }, canvas, make("small", {}, String(unit)))
      : make("div", { class: "map-tile", title, role: "img", "aria-label": title, "data-unit": unit }, canvas, make("small", {}, String(unit)));
  }

  repaint() { if (this.held && this.element.isConnected) this.show(this.element.querySelector("select")?.value ?? ""); }

  close() { this.asking?.abort(); }
}

function paint(canvas, codes) {
  const palette = ramp(STOPS[document.documentElement.dataset.theme], 256).map(rgb);
  const context = canvas.getContext("2d"), pixels = context.createImageData(canvas.width, canvas.height);
  codes.forEach((code, k) => pixels.data.set([...palette[code], 255], 4 * k));
  context.putImageData(pixels, 0, 0);
}
