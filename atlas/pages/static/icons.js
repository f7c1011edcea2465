// Icons instead of dots: the activation atlas, what the network sees in each cell of the layout; nearer, finer cells, then images.
import { manifest, images, make, json, numbers, column, address, thumbStyle, pictured, classColour, count, several, percent } from "./data.js";
import { page, on, at } from "./page.js";
import { leave } from "./hover.js";

const SMALLEST = 28, LARGEST = 150; // pixels of a cell on the screen: below, a coarser grid is drawn; above, the images themselves
const DIM = 0.22; // of the dots' opacity under the icons
const NOWHERE = 65535;
const FADED = 0.06; // opacity of a cell that does not argue for the class asked for
const FAILED = 0.3; // opacity of an icon that failed, or of a cell of few images
const THUMB = 34; // pixels of a sample in the card

export function startIcons() {
  const icons = page.icons = new Icons(page.map, at("icons-over"));
  page.does.icons = (wanted) => icons.toggle(wanted);
  at("icons-class").onchange = (event) => icons.only(event.target.value);
  for (const what of ["drawn", "theme", "selection"]) on(what, () => icons.renew());
  icons.renew();
}

// The cells of a layout, as the manifest tells of them; null where it has none with icons.
export const cellsOf = (layout) => manifest.cells.find((one) => one.layout === layout.key && one.icons) ?? null;

export class Icons {
  constructor(map, canvas) {
    Object.assign(this, { map, canvas, wanted: false, visible: false, part: null, told: null, grid: 0, name: null, argues: null, sheets: new Map(), waiting: 0 });
    const again = () => this.later();
    for (const range of [map.plot.x_range, map.plot.y_range]) for (const end of [range.properties.start, range.properties.end]) end.change.connect(again);
    new ResizeObserver(again).observe(canvas);
  }

  toggle(wanted = !this.wanted) { this.wanted = wanted; return this.renew(); }

  // Another layout, or another wish: the cells are fetched when they are first shown.
  async renew() {
    const part = cellsOf(page.state.layout);
    at("icons").hidden = !part;
    at("icons").setAttribute("aria-pressed", this.wanted && Boolean(part));
    at("path").hidden = !(this.wanted && part);
    if (part !== this.part) Object.assign(this, { part, told: null, name: null, argues: null, sheets: new Map() });
    if (part && this.wanted && !this.told) {
      const told = await json(`cells/${part.key}.json`).catch(() => null);
      if (part !== this.part) return;
      if (!told) page.does.notice(manifest.static ? "The icons are not in this report." : "The icons could not be fetched. Load the page again.");
      this.told = told;
      if (told) this.classes();
    }
    this.later();
  }

  // -- a class atlas: the cells that argue for one class, the others faded -----------------------------------------------------

  classes() {
    const { names } = this.told, order = names.map((name, place) => place).sort((a, b) => names[a].localeCompare(names[b]));
    at("icons-class").replaceChildren(make("option", { value: "" }, "All classes"), ...order.map((place) => make("option", { value: place }, names[place])));
  }

  async only(place) {
    const { part } = this, of = place === "" ? null : await numbers(`opacity/${part.key}.bin`, Uint8Array).catch(() => undefined);
    if (part !== this.part || at("icons-class").value !== place) return; // another choice since
    if (of === undefined) { page.does.notice(manifest.static ? "What the cells argue for, class by class, is not in this report." : "What the cells argue for could not be fetched. Try it again."); at("icons-class").value = ""; }
    this.name = of ? this.told.names[place] : null;
    this.argues = of ? of.subarray(place * part.cells, (Number(place) + 1) * part.cells) : null;
    this.later();
  }

  // How much of a cell is seen, 0 to 1: all of it, unless cells are asked for that argue for one class.
  seen(cell) { return this.argues ? FADED + (1 - FADED) * (this.argues[cell] / 255) : 1; }

  later() { this.waiting ||= requestAnimationFrame(() => { this.waiting = 0; this.draw(); }); }

  sheet(number) {
    if (!this.sheets.has(number)) {
      const picture = new Image();
      picture.onload = () => this.later();
      picture.src = address(`icons/${this.part.icons.key}/${number}.webp`);
      this.sheets.set(number, picture);
    }
    return this.sheets.get(number);
  }

  // Where the page's unit lies on this canvas: the plot stands in its middle.
  frame() {
    const { plot } = this.map, { x_range, y_range, inner_width, inner_height } = plot, width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    const left = (width - inner_width) / 2, low = (height + inner_height) / 2;
    const unit = (x_range.end - x_range.start) / inner_width, upward = (y_range.end - y_range.start) / inner_height;
    return { width, height, unit, x: (value) => left + (value - x_range.start) / unit, y: (value) => low - (value - y_range.start) / upward };
  }

  // The place in the page’s unit of a place on this canvas.
  unframe(left, top) {
    const { plot } = this.map, { x_range, y_range, inner_width, inner_height } = plot, { width, height, unit } = this.frame();
    const upward = (y_range.end - y_range.start) / inner_height;
    return [x_range.start + (left - (width - inner_width) / 2) * unit, y_range.start + ((height + inner_height) / 2 - top) * upward];
  }

  // The finest grid whose cells are large enough on the screen; null where even that is so large that images say more.
  gridFor(unit) {
    const { told, part } = this, edge = part.sizes.map((_, grid) => { const cell = told.grid.indexOf(grid); return cell < 0 ? 0 : (told.x1[cell] - told.x0[cell]) / unit; });
    const fine = edge.map((size, grid) => ({ size, grid })).filter(({ size }) => size >= SMALLEST);
    const best = fine.length ? fine.at(-1) : { size: edge[0], grid: 0 };
    return best.size > LARGEST && best.grid === part.sizes.length - 1 ? null : best.grid;
  }

  draw() {
    const { canvas, map } = this, ratio = devicePixelRatio || 1, frame = this.frame();
    canvas.width = frame.width * ratio; canvas.height = frame.height * ratio;
    const asked = Boolean(this.wanted && this.told && map.now), grid = asked ? this.gridFor(frame.unit) : null;
    if (grid !== this.grid && at("float").firstElementChild?.dataset.cell) leave(); // the card of a cell that is drawn no more
    this.see(grid !== null, asked && grid === null);
    if (grid === null) return;
    this.grid = grid;
    const context = canvas.getContext("2d"), { told } = this;
    context.scale(ratio, ratio);
    context.imageSmoothingEnabled = Math.max(...this.part.icons.size) >= 48;
    for (let cell = 0; cell < told.grid.length; cell++) if (told.grid[cell] === grid) this.one(context, frame, cell);
    this.say();
  }

  // Under the icons the dots are faint and no thumbnails drawn; nearer than the finest grid there are thumbnails instead.
  see(visible, instead) {
    if (visible === this.visible && instead === page.thumbs.instead) return;
    this.visible = visible;
    Object.assign(page.thumbs, { dim: visible ? DIM : 1, hushed: visible, instead });
    page.thumbs.later();
    if (!visible) this.say();
  }

  place(frame, cell) {
    const { told } = this, x0 = frame.x(told.x0[cell]), x1 = frame.x(told.x1[cell]), y0 = frame.y(told.y1[cell]), y1 = frame.y(told.y0[cell]);
    const side = told.side[cell] ?? 1, edge = Math.max(6, Math.min(x1 - x0, y1 - y0) * Math.max(side, 0.3) - 2);
    return { x: (x0 + x1 - edge) / 2, y: (y0 + y1 - edge) / 2, edge };
  }

  one(context, frame, cell) {
    const { told, part } = this, { x, y, edge } = this.place(frame, cell);
    if (x > frame.width || y > frame.height || x + edge < 0 || y + edge < 0) return;
    const { across, size: [tall, wide] } = part.icons, slot = cell % (across * across), picture = this.sheet(Math.floor(cell / (across * across)));
    if (!picture.complete || !picture.naturalWidth) return;
    const poor = told.failed[cell] || told.few[cell];
    context.globalAlpha = (poor ? FAILED : 1) * this.seen(cell);
    context.filter = poor ? "grayscale(1)" : "none";
    context.drawImage(picture, (slot % across) * wide, Math.floor(slot / across) * tall, wide, tall, x, y, edge, edge);
    context.filter = "none";
    context.globalAlpha = poor ? FAILED * this.seen(cell) : this.argues ? this.seen(cell) : 0.35 + 0.65 * (told.opacity[cell] ?? 1);
    context.lineWidth = cell === this.pointed ? 3.5 : 2;
    context.strokeStyle = classColour(codeOf(told, cell));
    context.strokeRect(x, y, edge, edge);
    context.globalAlpha = 1;
  }

  // -- what lies under the pointer -----------------------------------------------------------------------------------------

  at(x, y) {
    if (!this.visible) return null;
    const { told, grid } = this;
    for (let cell = 0; cell < told.grid.length; cell++) if (told.grid[cell] === grid && x >= told.x0[cell] && x < told.x1[cell] && y >= told.y0[cell] && y < told.y1[cell]) return cell;
    return null;
  }

  point(cell) { if (cell !== this.pointed) { this.pointed = cell; if (this.visible) this.later(); } }

  card(cell) {
    const { told, part } = this, picture = make("i", { class: "icon-big", style: iconStyle(part, cell, 84) });
    const of = told.members[cell].reduce((sum, number) => sum + number, 0) || 1;
    const classes = told.classes[cell].flatMap((code, place) => (told.members[cell][place] ? [make("span", { class: "class-name" }, make("i", { style: { "--c": classColour(code) } }), `${images.labels[code]} ${percent(told.members[cell][place] / told.points[cell])}`)] : []));
    const samples = told.samples[cell].map((row) => make("i", { class: "icon-sample", "data-row": row, style: { ...thumbStyle(row, THUMB), width: `${THUMB}px`, height: `${THUMB}px` } }));
    const box = make("div", { class: "icon-samples" }, ...samples);
    pictured(samples, THUMB);
    const state = told.failed[cell] ? `The icon failed: cosine ${told.cosine[cell]?.toFixed(2)} to the cell’s mean.` : told.few[cell] ? "Few images: do not read much into it." : "";
    return make("div", { class: "hover icon-card", "data-cell": cell, "data-of": of }, picture,
      make("div", {}, make("b", {}, nameOf(told, cell) ? `argues for ${nameOf(told, cell)}` : "a cell of the map"), make("span", {}, told.points[cell] === told.images[cell] ? several(told.images[cell], "image") : `${several(told.points[cell], "position")} of ${several(told.images[cell], "image")}`), ...classes, box,
        make("span", { class: "faint" }, [state, "Click selects its images."].filter(Boolean).join(" "))));
  }

  // A click on a cell selects its images.
  async choose(cell) {
    const rows = await rowsOfCell(this.part.key, this.told.grid[cell], cell).catch(() => null);
    if (rows) page.does.select(rows, "replace"); else page.does.notice("The cell’s images could not be fetched. Load the page again.");
  }

  say() {
    const { told, part, grid } = this, line = at("icons-said");
    if (!line) return;
    at("icons-class").hidden = !this.visible || !this.told.names.length;
    if (!this.visible) { line.textContent = ""; return; }
    const own = told.grid.flatMap((one, cell) => (one === grid ? [cell] : [])), failed = own.filter((cell) => told.failed[cell]).length, few = own.filter((cell) => told.few[cell]).length;
    if (this.argues) { line.textContent = `${count(own.filter((cell) => this.argues[cell]).length)} of ${count(own.length)} cells argue for ${this.name}, the others are faded`; return; }
    line.textContent = line.title = [`${count(own.length)} icons on a grid of ${part.sizes[grid]} × ${part.sizes[grid]}, drawn in ${part.icons.prior}`, failed ? `${count(failed)} failed` : "", few ? `${count(few)} of few images` : ""].filter(Boolean).join(" · ");
  }
}

// The rows of the images whose points lie in one cell, of whichever layout.
export async function rowsOfCell(key, grid, cell) {
  const { layout } = manifest.cells.find((one) => one.key === key), space = manifest.spaces.find(({ layouts }) => layouts.some((one) => one.key === layout));
  const [of, image] = await Promise.all([numbers(`cells/${key}/${grid}.bin`, Uint16Array), space.identity ? null : column(space.activations, "image", Int32Array)]);
  const rows = new Set();
  of.forEach((own, point) => { if (own === cell && own !== NOWHERE) rows.add(image ? image[point] : point); });
  return [...rows];
}

// The style of a box of about `edge` pixels that shows one cell’s icon out of its sheet.
export function iconStyle(part, cell, edge) {
  const { across, size: [tall, wide], key } = part.icons, slot = cell % (across * across), scale = edge / Math.max(tall, wide);
  return { width: `${wide * scale}px`, height: `${tall * scale}px`, "background-image": `url("${address(`icons/${key}/${Math.floor(cell / (across * across))}.webp`)}")`,
    "background-size": `${across * wide * scale}px auto`, "background-position": `${-(slot % across) * wide * scale}px ${-Math.floor(slot / across) * tall * scale}px`, "image-rendering": Math.max(tall, wide) < 48 ? "pixelated" : "auto" };
}

export const nameOf = (told, cell) => (told.outputs[cell]?.[0] >= 0 ? told.names[told.outputs[cell][0]] : null);
export const codeOf = (told, cell) => (told.outputs[cell]?.[0] >= 0 && told.codes[told.outputs[cell][0]] >= 0 ? told.codes[told.outputs[cell][0]] : told.classes[cell]?.[0] ?? -1);
