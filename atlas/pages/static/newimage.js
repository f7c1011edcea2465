// A new image: dropped on the page or chosen by a button, asked of the network, pinned on the map, told in the side panel.
import { manifest, images, address, make } from "./data.js";
import { enlarge, outputs } from "./picture.js";
import { Near } from "./near.js";
import { Deviation } from "./deviation.js";
import { Way } from "./way.js";
import { ActivationMaps } from "./activationmaps.js";
import { page, on, tell } from "./page.js";

const SLOW = 1500; // milliseconds after which the page says what it waits for

export function startNewImage() {
  page.newImage = new NewImage({ panel: page.imagePanel, map: page.map, state: page.state, mark: () => page.does.mark(), open: (row, words) => page.does.open(row, null, words), closed: () => page.does.close(),
    shown: () => { Object.assign(page.state, { row: null, point: null, near: [] }); page.does.mark(); tell("image", null); } });
  on("space", () => page.newImage.again());
  on("layout", () => page.newImage.moved());
}

export class NewImage {
  // `actions`: panel (the image panel), open (a row), shown (the panel shows this image now), closed, map, state.
  constructor(actions) {
    Object.assign(this, actions);
    this.file = this.answer = this.asking = null;
    this.pins = document.getElementById("pins");
    this.veil = document.getElementById("veil");
    this.wire();
  }

  wire() {
    const button = document.getElementById("new-image"), input = document.getElementById("new-image-file");
    button.hidden = manifest.largest === null;
    if (button.hidden) return;
    button.onclick = () => input.click();
    input.onchange = () => { if (input.files[0]) this.take(input.files[0]); input.value = ""; };
    const files = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    addEventListener("dragover", (event) => { if (files(event)) { event.preventDefault(); this.veil.hidden = false; } });
    addEventListener("dragleave", (event) => { if (!event.relatedTarget) this.veil.hidden = true; });
    addEventListener("drop", (event) => {
      if (!files(event)) return;
      event.preventDefault();
      this.veil.hidden = true;
      if (event.dataTransfer.files[0]) this.take(event.dataTransfer.files[0]);
    });
    const again = () => this.later();
    for (const range of [this.map.plot.x_range, this.map.plot.y_range]) {
      range.properties.start.change.connect(again);
      range.properties.end.change.connect(again);
    }
    new ResizeObserver(again).observe(this.pins);
  }

  // -- asking -------------------------------------------------------------------------------------------------------------

  take(file) {
    this.close(false);
    this.file = file;
    this.shown();
    if (file.size > manifest.largest) this.refused(`The file has ${megabytes(file.size)} MB: at most ${megabytes(manifest.largest)} MB are taken.`);
    else this.ask();
  }

  async ask() {
    this.asking?.abort();
    const asking = this.asking = new AbortController(), { space } = this.state;
    this.answer = null;
    this.later();
    this.waiting("The network looks at it.");
    const slow = setTimeout(() => this.waiting("The network looks at it. The first image takes longer, for the network has to be loaded."), SLOW);
    const what = new URLSearchParams({ space: space.id, name: this.file.name });
    let answer;
    try {
      const response = await fetch(address(`new-image/${images.key}?${what}`), { method: "POST", body: this.file, signal: asking.signal,
        headers: { "X-Atlas": "new-image", "Content-Type": "application/octet-stream" } });
      answer = await response.json();
    } catch (reason) {
      answer = { error: "The server could not be reached, or the file could not be read. Try again." };
    } finally { clearTimeout(slow); }
    if (asking.signal.aborted) return; // another image, another layer, or closed meanwhile
    this.asking = null;
    if (answer.error) this.refused(sentence(answer.error));
    else if (answer.row !== null) this.known(answer.row);
    else { this.answer = { ...answer, space }; this.show(); this.later(); }
  }

  // The layer has changed: what the network makes of the image there is another question.
  again() { if (this.file) this.ask(); }

  known(row) {
    this.close(false);
    this.open(row, `This very image is in the atlas: it is image ${row}.`);
  }

  close(tell = true) {
    this.asking?.abort();
    this.file = this.answer = this.asking = null;
    this.later();
    if (tell) this.closed();
  }

  // -- the panel ------------------------------------------------------------------------------------------------------------

  get showing() { return this.panel.holder.dataset.row === "new"; }

  fill(parts, sections = []) {
    this.panel.turn++; // an image that is being fetched for the panel comes too late
    this.panel.fill("new", [make("div", { class: "panel-head" }, make("h2", {}, "New image"),
      make("button", { type: "button", onclick: () => this.close() }, "Close")), ...parts], sections);
  }

  waiting(words) { this.fill([make("p", { class: "file-name" }, this.file.name), make("p", { class: "empty busy" }, words)]); }

  refused(words) {
    this.fill([make("p", { class: "file-name" }, this.file.name), make("div", { class: "notice", role: "alert" }, words),
      make("p", { class: "note", style: { "margin-top": "10px" } }, "The map and everything else on the page stay as they were.")]);
  }

  show() {
    const { space, top, points, distances, thumbnail } = this.answer;
    if (this.state.space !== space) return;
    this.shown();
    this.fill([this.picture(top, thumbnail), top.length ? outputs(top) : null, this.placed()], this.sections(this.answer));
    this.state.near = points.slice(0, this.panel.k);
    this.mark();
  }

  // As an image of the atlas has them, but for its way through the layers: it is searched for in this one only.
  sections({ space, top, points, distances, metric, vectors }) {
    const near = { points, distances, metric, ...space.neighbours }, place = () => (this.place && !this.place.error ? [this.place.x[0], this.place.y[0]] : null);
    return [new Near(this.panel, { space, near, row: null, at: place }), new Deviation({ space, row: null, label: -1, predicted: top.length ? top[0].label : -1, vectors }),
      new Way({ space, row: null, file: this.file }), new ActivationMaps({ space, row: null, file: this.file })];
  }

  picture(top, thumbnail) {
    const picture = make("img", { alt: "The new image", src: thumbnail });
    picture.onload = () => { if (Math.max(picture.naturalWidth, picture.naturalHeight) < 100) picture.classList.add("pixels"); };
    const frame = make("button", { type: "button", class: "picture-frame new", title: "Enlarge", "aria-label": "The new image: enlarge", onclick: () => enlarge(thumbnail, null, "The new image", this.file.name) }, picture);
    return make("div", { class: "picture" }, frame,
      make("div", {}, make("div", { class: "verdict" }, make("small", {}, "prediction"), top.length ? top[0].name : "none"),
        make("p", { class: "file-name" }, this.file.name), this.far ? make("span", { class: "badge far" }, "unlike the atlas") : null));
  }

  get place() { return this.answer?.places[this.state.layout.key] ?? null; }
  get far() { return Boolean(this.place?.far?.every(Boolean)); }

  placed() {
    const { place } = this, head = make("div", { class: "sub" }, make("h3", {}, "Place on the map"));
    if (!place || place.error) return make("div", {}, head, make("p", { class: "note" }, place ? sentence(place.error) : "This layout takes no new images."));
    head.append(make("button", { type: "button", class: "text-button", onclick: () => this.look() }, "Show it"));
    if (this.far) return make("div", { id: "place" }, head, make("div", { class: "notice" }, `${capital(place.note)}. Its place and the prediction mean little.`));
    const share = place.confidence.reduce((sum, value) => sum + value, 0) / place.confidence.length;
    return make("div", { id: "place" }, head, make("div", { class: "meter", title: "How well the neighbours in the layer agree on one place" }, make("i", { style: { width: `${100 * share}%` } })),
      make("p", { class: "note" }, `Confidence of the place ${share.toFixed(2)}${share < 0.5 ? ": its neighbours lie in several parts of the map." : "."}`));
  }

  // -- the pins -------------------------------------------------------------------------------------------------------------

  // The layout has changed: the same answer holds the place in each.
  moved() { if (this.answer) { if (this.showing) this.show(); this.later(); } }

  later() { this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.draw(); }); }

  draw() {
    const { place, answer } = this, { x_range: a, y_range: b, inner_width: width, inner_height: height } = this.map.plot;
    const points = answer && answer.space === this.state.space && place && !place.error ? place.x.map((x, k) => [x, place.y[k]]) : [];
    const wanted = points.map(([x, y]) => [((x - a.start) / (a.end - a.start)) * width, ((b.end - y) / (b.end - b.start)) * height]);
    while (this.pins.children.length > wanted.length) this.pins.lastChild.remove();
    while (this.pins.children.length < wanted.length) this.pins.append(make("button", { type: "button", class: "pin", onclick: () => this.show() }, make("i")));
    wanted.forEach(([x, y], k) => this.pin(this.pins.children[k], x, y));
  }

  pin(pin, x, y) {
    pin.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px)`;
    pin.firstChild.style.backgroundImage = `url("${this.answer.thumbnail}")`;
    pin.classList.toggle("far", this.far);
    pin.setAttribute("aria-label", `The new image ${this.file.name}: what is known of it`);
    pin.title = this.file.name;
  }

  // Bring the pin to the middle of the map, as near as it is looked at now or a quarter of the map.
  look() {
    const { x_range: a, y_range: b } = this.map.plot, { x: [x], y: [y] } = this.place;
    const half = [a, b].map(({ start, end }) => (end - start) / 2);
    const scale = Math.min(1, 12000 / Math.max(...half)); // half of what is in view then, of a map 65 535 wide
    this.map.look([x - half[0] * scale, x + half[0] * scale], [y - half[1] * scale, y + half[1] * scale]);
  }
}

const capital = (words) => words.charAt(0).toUpperCase() + words.slice(1);
const megabytes = (bytes) => (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);
const sentence = (words) => `${words}${/[.!?]$/.test(words) ? "" : "."}`;
