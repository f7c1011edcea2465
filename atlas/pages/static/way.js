// One image’s way through the network, asked of the worker when somebody wants to see it: what each place argues for, the
// activation grid of icons, the cell nearest to the whole image, and what the layer argues for, layer by layer.
import { manifest, images, address, json, make, segments, several, percent, classColour } from "./data.js";
import { page, at } from "./page.js";
import { Section } from "./section.js";
import { iconStyle, nameOf, codeOf, rowsOfCell } from "./icons.js";
import { bar } from "./parts.js";
import { command, whichAtlas } from "./command.js";

const SLOW = 1500; // milliseconds after which the page says what it waits for
const DOTS = 336; // pixels along a side of a drawn grid: twelve for each of the most places there are
const ICON = 44; // pixels of the nearest cell’s icon
const BARS = 3; // outputs named that a layer argues for most
const PALE = 0.45, FULL = 0.85; // opacity of the image under an attribution, and of the strongest attribution
const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
const EMPTY = { dark: "#1d2129", light: "#f1f2f5" }, PLAIN = { dark: "#98a2b3", light: "#4b535d" };

const theme = () => document.documentElement.dataset.theme ?? "dark";
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toPrecision(2)}`;
const bytes = (text, Kind) => new Kind(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
const opened = (source) => new Promise((found, failed) => { const picture = new Image(); picture.onload = () => found(picture); picture.onerror = failed; picture.src = source; });

export class Way {
  // `of`: space, row (null for a new image), file (a new image’s)
  constructor(of) {
    Object.assign(this, of, { which: 0 });
    this.section = new Section("way", "Through the network", { skeleton: 40, fill: () => this.offer() });
  }

  get element() { return this.section.element; }

  offer() {
    if (manifest.static || manifest.largest === null) { this.section.say("The way of an image through the layers needs the network, which runs beside the explorer’s server: this page has none."); return; }
    this.section.show(make("button", { type: "button", class: "button", id: "ask-way", onclick: () => this.ask() }, "Follow it layer by layer"),
      make("p", { class: "note", style: { "margin-top": "6px" } }, "At each place of each layer: what argues for the prediction, and the icon it is most like."));
  }

  async ask() {
    this.asking?.abort();
    const asking = this.asking = new AbortController(), { section } = this;
    section.body.style.minHeight = `${section.body.offsetHeight}px`;
    section.wait("The network follows it.");
    const slow = setTimeout(() => section.wait("The network follows it. The first time takes longer, for the network has to be loaded."), SLOW);
    const answer = await this.answer(asking.signal);
    clearTimeout(slow);
    if (asking.signal.aborted || !this.element.isConnected) return;
    if (answer.error) { this.refused(answer.error); return; }
    this.held = await unfolded(answer);
    if (!asking.signal.aborted && this.element.isConnected) this.show();
  }

  async answer(signal) {
    const what = new URLSearchParams({ space: this.space.id, name: this.file?.name ?? `image ${this.row}` });
    if (this.row !== null) what.set("row", this.row);
    try {
      const response = await fetch(address(`propagation/${images.key}?${what}`), { method: "POST", body: this.file ?? null, signal, headers: { "X-Atlas": "propagation", "Content-Type": "application/octet-stream" } });
      if (response.status === 404) return { error: "This server follows no image through the network." };
      return await response.json();
    } catch { return { error: "The server could not be reached. Try again." }; }
  }

  refused(words) {
    this.section.show(make("div", { class: "notice", role: "alert" }, /[.!?]$/.test(words) ? words : `${words}.`), make("button", { type: "button", class: "text-button", onclick: () => this.ask() }, "Try again"));
  }

  show() {
    const { held } = this, said = make("p", { class: "hidden-words", role: "status" });
    const choice = make("div", { class: "segments small", role: "radiogroup", "aria-label": "What the places argue for" });
    if (held.asked.length > 1) segments(choice, held.asked.map((name, k) => ({ id: String(k), title: name, small: k ? "its label" : "predicted" })), String(this.which), (id) => { this.which = Number(id); this.show(); at("part-way").querySelector(`[data-id="${id}"]`)?.focus(); });
    const words = `Orange places argue for ${held.asked[this.which]}, blue ones against it; in a grid the area of a place is the length of its activation, its picture that of the cell it is most like.`;
    const left = held.left_out.length ? make("p", { class: "note" }, `Left out: ${held.left_out.join(", ")}.`) : null;
    this.section.show(make("div", { class: "way-head" }, held.asked.length > 1 ? choice : make("span", {}, `predicted ${held.asked[0]}, ${percent(held.probability)}`),
      make("button", { type: "button", class: "text-button", onclick: () => this.large() }, "As one strip")), make("p", { class: "note" }, words),
    make("div", { class: "way" }, ...held.layers.map((layer) => this.layer(layer, said))), left, said);
  }

  // All layers side by side, as large as the window allows.
  large() {
    const { held } = this, said = make("p", { class: "hidden-words", role: "status" });
    const input = make("div", { class: "way-layer" }, make("div", { class: "maps-title" }, make("b", {}, "the image")), make("img", { src: held.picture, class: "pixels way-input", alt: "The image as the network is given it" }),
      make("p", { class: "note" }, [held.label ?? held.name, `predicted ${held.predicted}, ${percent(held.probability)}`].join(" · ")));
    const dialog = make("dialog", { class: "large way-large", "aria-label": "The image’s way through the network" }, make("div", { class: "way-strip", tabindex: "0" }, input, ...held.layers.map((layer) => this.layer(layer, said))),
      make("div", { class: "large-foot" }, make("p", {}, `What argues for ${held.asked[this.which]}, layer by layer, first to last.`), make("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Close")), said);
    dialog.addEventListener("keydown", (event) => event.stopPropagation()); // Esc closes this, not what lies behind it
    dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
    dialog.onclose = () => dialog.remove();
    document.body.append(dialog);
    dialog.showModal();
  }

  layer(layer, said) {
    const { held, which } = this, [tall, wide] = layer.size, places = tall * wide > 1;
    const tiles = [...(places ? [new Places(layer, said, attribution(held, layer, which))] : []), ...(places || layer.cells ? [new Places(layer, said, grid(layer))] : [])];
    const greatest = Math.max(...layer.best.map(([, value]) => Math.abs(value))) || 1;
    return make("div", { class: "way-layer", "data-layer": layer.layer },
      make("div", { class: "maps-title" }, make("b", {}, layer.layer), make("span", { class: "note" }, [places ? `${tall} × ${wide} places` : "one place", layer.step > 1 ? `one in ${layer.step} × ${layer.step} in the grid` : ""].filter(Boolean).join(", "))),
      tiles.length ? make("div", { class: "way-tiles" }, ...tiles.map(({ canvas }) => canvas)) : null, nearest(layer, this.space),
      make("p", { class: "note way-rank" }, `The layer argues ${signed(layer.totals[which])} for ${held.asked[which]}: number ${layer.ranks[which]} of ${layer.of}.`),
      make("div", { class: "bars", role: "list", "aria-label": `What ${layer.layer} argues for most` }, ...layer.best.slice(0, BARS).map(([name, value]) => bar(name, value < 0 ? manifest.colours.right : manifest.colours.wrong, Math.abs(value) / greatest, signed(value), held.asked.includes(name) ? "true" : ""))));
  }

  repaint() { if (this.held && this.element.isConnected) this.show(); }

  close() { this.asking?.abort(); }
}

// The answer with its numbers unfolded, and what its pictures need fetched: the cells’ tables, the sheets of icons.
async function unfolded(answer) {
  const input = await opened(answer.picture);
  const layers = await Promise.all(answer.layers.map(async (layer) => {
    const place = bytes(layer.place, Int32Array), told = layer.cells ? await json(`cells/${layer.cells}.json`).catch(() => null) : null;
    return { ...layer, told, place, magnitude: bytes(layer.magnitude, Uint8Array), cosines: bytes(layer.cosines, Uint8Array), argues: bytes(layer.argues, Int8Array), sheets: await sheets(layer, place) };
  }));
  return { ...answer, input, layers };
}

async function sheets({ icons }, place) {
  if (!icons) return new Map();
  const wanted = [...new Set(Array.from(place).filter((cell) => cell >= 0).map((cell) => Math.floor(cell / icons.across ** 2)))];
  return new Map(await Promise.all(wanted.map(async (number) => [number, await opened(address(`icons/${icons.key}/${number}.webp`)).catch(() => null)])));
}

// -- what is drawn, and said, of a place ---------------------------------------------------------------------------------------

function attribution(held, layer, which) {
  const [tall, wide] = layer.argued, own = layer.argues.subarray(which * tall * wide, (which + 1) * tall * wide), value = (k) => (layer.most * own[k]) / 127, name = held.asked[which];
  return { tall, wide, label: `What the places of ${layer.layer} argue for`, cell: () => -1,
    words: (k) => [own[k] ? `${signed(value(k))} for ${name}` : `nothing for ${name}`],
    paint(context, edge) {
      context.globalAlpha = PALE;
      context.imageSmoothingEnabled = Math.max(held.input.naturalWidth, held.input.naturalHeight) >= 100;
      context.drawImage(held.input, 0, 0, edge * wide, edge * tall);
      for (let k = 0; k < own.length; k++) {
        if (!own[k]) continue;
        context.globalAlpha = FULL * (Math.abs(own[k]) / 127);
        context.fillStyle = own[k] > 0 ? manifest.colours.wrong : manifest.colours.right;
        context.fillRect((k % wide) * edge, Math.floor(k / wide) * edge, edge, edge);
      }
    } };
}

function grid(layer) {
  const { grid: [tall, wide], told } = layer, cell = (k) => layer.place[k] ?? -1;
  return { tall, wide, cell, label: `Activation grid of ${layer.layer}`,
    words: (k) => [`${Math.round(layer.magnitude[k] / 2.55)}\u202f% of the greatest activation`, cell(k) >= 0 ? `like a cell of ${cellWords(told, cell(k))}, cosine ${(layer.cosines[k] / 255).toFixed(2)}` : layer.cells ? "like no cell" : ""],
    paint(context, edge) {
      context.fillStyle = EMPTY[theme()];
      context.fillRect(0, 0, edge * wide, edge * tall);
      context.imageSmoothingEnabled = Math.max(...(layer.icons?.size ?? [0])) >= 48; // small ones show their pixels, as on the map
      for (let k = 0; k < tall * wide; k++) {
        const side = edge * Math.sqrt(layer.magnitude[k] / 255);
        if (side >= 1 && (cell(k) >= 0 || !layer.cells)) tile(context, layer, cell(k), (k % wide) * edge + (edge - side) / 2, Math.floor(k / wide) * edge + (edge - side) / 2, side);
      }
    } };
}

// One place of a grid: the icon of its cell, or the colour of the cell’s usual class, or plain where there are no cells.
function tile(context, { icons, sheets: held, told }, cell, x, y, side) {
  const sheet = icons && cell >= 0 ? held.get(Math.floor(cell / icons.across ** 2)) : null;
  if (!sheet) {
    context.fillStyle = told && cell >= 0 ? classColour(codeOf(told, cell)) : PLAIN[theme()];
    context.fillRect(x, y, side, side);
    return;
  }
  const { across, size: [tall, wide] } = icons, slot = cell % (across * across), poor = told?.failed[cell];
  Object.assign(context, { globalAlpha: poor ? 0.3 : 1, filter: poor ? "grayscale(1)" : "none" });
  context.drawImage(sheet, (slot % across) * wide, Math.floor(slot / across) * tall, wide, tall, x, y, side, side);
  Object.assign(context, { globalAlpha: 1, filter: "none" });
}

function cellWords(told, cell) {
  const code = told?.classes[cell]?.[0] ?? -1;
  return code >= 0 && told.members[cell][0] ? `${images.labels[code]} ${percent(told.purity[cell])}` : `${told ? several(told.images[cell], "image") : `number ${cell}`}`;
}

const recorded = ({ layer }, { network }) => manifest.layers.some((one) => one.layer === layer && one.network === network && one.space);

// The cell that the image as a whole is most like, on the layer’s own map.
function nearest(layer, space) {
  const { cell, told } = layer;
  if (!layer.cells && layer.layer === space.layers.at(-1)) return make("div", {}, make("p", { class: "note" }, "No cells of this layer’s map yet. In a terminal:"), command("atlas", "icons", ...whichAtlas(space.network), "--layer", layer.layer));
  if (!layer.cells) return make("p", { class: "note" }, recorded(layer, space) ? "No icons of this layer’s map yet." : "Not recorded: no cells to be like.");
  if (!(cell >= 0)) return make("p", { class: "note" }, "Nothing is active here.");
  const lines = [make("b", {}, cellWords(told, cell)), told && nameOf(told, cell) ? make("span", {}, `argues for ${nameOf(told, cell)}`) : null, make("span", {}, `cosine ${layer.cosine?.toFixed(2)}, grid of ${layer.sides} × ${layer.sides}`)];
  const picture = layer.icons ? make("i", { class: "icon-mini", style: iconStyle(layer, cell, ICON) }) : make("i", { class: "way-swatch", style: { "--c": classColour(codeOf(told ?? { outputs: [], classes: [] }, cell)) } });
  return make("button", { type: "button", class: "way-cell", "data-cell": cell, title: "The cell nearest to the whole image: select its images", onclick: () => choose(layer, cell) }, picture, make("span", {}, ...lines.filter(Boolean)));
}

async function choose(layer, cell) {
  const rows = layer.told ? await rowsOfCell(layer.cells, layer.told.grid[cell], cell).catch(() => null) : null;
  if (rows) page.does.select(rows, "replace"); else page.does.notice("The cell’s images could not be fetched. Load the page again.");
}

// A square of places that a pointer and a keyboard read: what is under it is told, a cell is lit on the map, Enter selects it.
class Places {
  constructor(layer, said, drawn) {
    const edge = Math.max(4, Math.floor(DOTS / Math.max(drawn.tall, drawn.wide)));
    const canvas = make("canvas", { class: "way-places", width: edge * drawn.wide, height: edge * drawn.tall, tabindex: "0", role: "application", "aria-roledescription": "grid of places",
      "aria-label": `${drawn.label}: arrows move${layer.cells ? ", Enter selects the images of the cell a place is like" : ""}` });
    Object.assign(this, { layer, said, drawn, canvas, edge, cursor: null });
    canvas.onpointermove = (event) => this.tell(this.placeAt(event), event.clientX, event.clientY);
    canvas.onpointerleave = canvas.onblur = () => { this.leave(); };
    canvas.onclick = (event) => this.choose(this.placeAt(event));
    canvas.onkeydown = (event) => this.key(event);
    this.draw();
  }

  draw() {
    const { canvas, drawn: { wide }, edge, cursor } = this, context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    this.drawn.paint(context, edge);
    context.globalAlpha = 1;
    if (cursor === null) return;
    Object.assign(context, { lineWidth: Math.max(2, edge / 8), strokeStyle: getComputedStyle(document.documentElement).getPropertyValue("--accent") });
    context.strokeRect((cursor % wide) * edge, Math.floor(cursor / wide) * edge, edge, edge);
  }

  placeAt(event) {
    const { drawn: { tall, wide } } = this, box = this.canvas.getBoundingClientRect();
    const y = Math.floor(((event.clientY - box.top) / box.height) * tall), x = Math.floor(((event.clientX - box.left) / box.width) * wide);
    return Math.max(0, Math.min(tall - 1, y)) * wide + Math.max(0, Math.min(wide - 1, x));
  }

  tell(place, x, y) {
    const { drawn: { wide, words }, layer } = this, float = at("float"), lines = words(place).filter(Boolean);
    float.replaceChildren(make("b", {}, `${layer.layer}, row ${Math.floor(place / wide) + 1}, column ${(place % wide) + 1}`), ...lines.map((line) => make("div", {}, line)));
    (this.canvas.closest("dialog") ?? document.querySelector(".page")).append(float); // above what it speaks of
    float.hidden = false;
    float.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - float.offsetWidth - 8))}px`;
    float.style.top = `${Math.max(8, y - float.offsetHeight - 12)}px`;
    this.light(this.drawn.cell(place));
    return lines;
  }

  light(cell) { if (page.icons?.part?.key === this.layer.cells) page.icons.point(cell >= 0 ? cell : null); }

  leave() {
    at("float").hidden = true;
    document.querySelector(".page").append(at("float"));
    if (this.layer.cells) this.light(-1);
    if (this.cursor !== null && document.activeElement !== this.canvas) { this.cursor = null; this.draw(); }
  }

  key(event) {
    const step = STEPS[event.key], { drawn: { tall, wide } } = this;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" && this.cursor !== null) { event.preventDefault(); this.choose(this.cursor); return; }
    if (!step) return;
    event.preventDefault();
    const [y, x] = this.cursor === null ? [0, 0] : [Math.floor(this.cursor / wide) + step[0], (this.cursor % wide) + step[1]];
    this.cursor = Math.max(0, Math.min(tall - 1, y)) * wide + Math.max(0, Math.min(wide - 1, x));
    this.draw();
    const box = this.canvas.getBoundingClientRect(), row = Math.floor(this.cursor / wide), column = this.cursor % wide;
    const lines = this.tell(this.cursor, box.left + ((column + 1) / wide) * box.width, box.top + (row / tall) * box.height);
    this.said.textContent = `row ${row + 1}, column ${column + 1}: ${lines.join(", ")}`;
  }

  choose(place) {
    const cell = this.drawn.cell(place);
    if (cell >= 0) choose(this.layer, cell);
  }
}
