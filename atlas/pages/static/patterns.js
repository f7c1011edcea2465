// Class patterns: classes by units, one symmetric scale, a palette whose middle is the page's own ground.
import { json, numbers, make, segments, several, images, tables } from "./data.js";
import { ramp } from "./map.js";

const STOPS = {
  dark: ["#7cc4ff", "#3f8fe0", "#234f86", "#1d2a3c", "#1d2129", "#3a2920", "#8a4718", "#e07a26", "#ffc27a"],
  light: ["#0b3f86", "#2f78c4", "#86b6e3", "#d5e4f2", "#f3f4f6", "#f8e0cc", "#efab6f", "#d0661a", "#84340a"],
};
const SPLIT_NUMBER = { train: 0, "held-out": 1, unknown: 2, all: 3 };

export class Patterns {
  constructor(float) {
    this.float = float;
    this.at = (id) => document.getElementById(id);
    this.stat = "mean";
    this.order = "index";
    this.turn = 0;
    this.canvas = this.at("pattern-canvas");
    segments(this.at("pattern-stat"), [{ id: "mean", title: "mean" }, { id: "std", title: "std" },
      { id: "contrast", title: "contrast", hint: "the class’s mean less the mean over classes" }], this.stat, (id) => { this.stat = id; this.draw(); });
    segments(this.at("pattern-order"), [{ id: "index", title: "by index" }, { id: "class", title: "by class", hint: "units stand with the class they stand out for" }],
      this.order, (id) => { this.order = id; this.draw(); });
    this.at("patterns-fold").onclick = () => {
      this.at("patterns-fold").setAttribute("aria-expanded", this.at("patterns-fold").getAttribute("aria-expanded") !== "true");
      this.unfold();
    };
    this.canvas.style.height = `${rowHeight(images.labels.length) * images.labels.length}px`; // its place is kept: the map does not jump
    this.canvas.onpointermove = (event) => this.point(event);
    this.canvas.onpointerleave = () => { this.float.hidden = true; };
    new ResizeObserver(() => this.draw()).observe(this.canvas.parentElement);
  }

  // The body is there when it is unfolded and holds something: without patterns the panel is as high as its sentence.
  unfold() {
    const open = this.at("patterns-fold").getAttribute("aria-expanded") === "true";
    for (const id of ["pattern-stat", "pattern-order"]) this.at(id).hidden = !this.held;
    for (const id of ["patterns-body", "pattern-note"]) this.at(id).hidden = !open || !this.held;
    if (open) this.draw();
  }

  async show(space, split) {
    const turn = ++this.turn, choice = this.at("pattern-layer");
    if (!images.labels.length) return this.none("There are no class patterns here: the images carry no labels.");
    if (!space.patterns.length) return this.none("No statistics were kept for this layer.");
    const known = [...choice.options].map((option) => option.value).join();
    if (known !== space.patterns.map((source) => source.key).join()) {
      choice.replaceChildren(...space.patterns.map(({ key, layer }) => make("option", { value: key }, layer)));
    }
    choice.hidden = space.patterns.length < 2;
    choice.onchange = () => this.show(space, split);
    const place = `patterns/${choice.value}/${SPLIT_NUMBER[split]}`;
    try {
      const told = await json(`${place}.json`);
      const [mean, std] = await Promise.all([numbers(`${place}/mean.bin`, Float32Array), numbers(`${place}/std.bin`, Float32Array)]);
      if (turn !== this.turn) return undefined;
      this.held = { ...told, mean, std, contrast: contrast(mean, told) };
    } catch { return turn === this.turn ? this.none("The class patterns could not be fetched. Load the page again.") : undefined; }
    this.at("pattern-title").textContent = this.held.title;
    this.at("pattern-title").title = this.held.title;
    this.rows = rowsOf(this.held);
    const empty = this.rows.filter((k) => !this.held.count[k]).map((k) => this.held.labels[k]), absent = this.held.labels.length - this.rows.length;
    this.at("pattern-note").textContent = [
      empty.length ? `No image of these classes is counted here: ${empty.slice(0, 8).join(", ")}${empty.length > 8 ? ` and ${empty.length - 8} more` : ""}.` : "",
      absent ? `${several(absent, "class")} of which this atlas has no image ${absent === 1 ? "is" : "are"} left out.` : ""].join(" ").trim();
    this.unfold();
    return undefined;
  }

  none(words) {
    this.held = null;
    this.at("pattern-title").textContent = words;
    this.at("pattern-title").title = words;
    this.at("pattern-layer").hidden = true;
    this.unfold();
  }

  units() {
    const { units, labels, contrast: values } = this.held, all = Array.from({ length: units }, (_, unit) => unit);
    if (this.order === "index") return all;
    const peak = all.map((unit) => labels.reduce((best, _, k) => (values[k * units + unit] > (values[best * units + unit] ?? -Infinity) ? k : best), 0));
    return all.sort((a, b) => peak[a] - peak[b] || values[peak[b] * units + b] - values[peak[a] * units + a]);
  }

  draw() {
    if (!this.held || this.canvas.parentElement.hidden) return;
    const { labels, count: counts, units } = this.held, values = this.held[this.stat];
    const row = rowHeight(this.rows.length), width = this.canvas.clientWidth, tall = row * this.rows.length;
    const ratio = devicePixelRatio || 1, scale = span(values), palette = ramp(STOPS[document.documentElement.dataset.theme], 255);
    this.ordered = this.units();
    this.row = row;
    this.canvas.style.height = `${tall}px`;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = tall * ratio;
    const columns = Math.max(1, Math.min(units, this.canvas.width)), step = this.canvas.width / columns, gap = step > 5 ? 1 : 0;
    const context = this.canvas.getContext("2d");
    this.rows.forEach((k, line) => {
      for (let column = 0; column < columns; column++) {
        const value = this.loudest(values, k * units, Math.floor((column * units) / columns), Math.floor(((column + 1) * units) / columns));
        const left = Math.floor(column * step);
        if (Number.isNaN(value)) continue;
        context.fillStyle = palette[Math.max(0, Math.min(254, Math.round(127 + (127 * value) / scale.most)))];
        context.fillRect(left, line * row * ratio, Math.max(1, Math.floor((column + 1) * step) - left - gap), (row - 1) * ratio);
      }
    });
    this.at("pattern-names").style.setProperty("--row", `${row}px`);
    this.at("pattern-names").replaceChildren(...this.rows.map((k) =>
      make("span", { class: counts[k] ? "" : "none", title: `${labels[k]}: ${several(counts[k], "image")}` }, counts[k] ? labels[k] : `${labels[k]} (none)`)));
    this.drawScale(scale, palette, Math.min(tall, 150));
  }

  // Where units outnumber pixels a column shows the largest in size of those it stands for.
  loudest(values, from, first, end) {
    let found = NaN;
    for (let place = first; place < end; place++) {
      const value = values[from + this.ordered[place]];
      if (!(Math.abs(value) <= Math.abs(found))) found = Number.isNaN(value) ? found : value;
    }
    return found;
  }

  drawScale({ most, beyond }, palette, tall) {
    const shown = most.toPrecision(3), holder = this.at("pattern-scale");
    holder.style.setProperty("--tall", `${tall}px`);
    holder.title = beyond ? `${beyond} cells lie beyond the ends of the scale, which are the 99.5th percentile` : "";
    holder.replaceChildren(make("i", { style: { background: `linear-gradient(0deg, ${palette.filter((_, k) => k % 16 === 0).join(",")})` } }),
      make("div", {}, make("span", {}, `+${shown}`), make("span", {}, "0"), make("span", {}, `−${shown}`)));
  }

  point(event) {
    if (!this.held) return;
    const box = this.canvas.getBoundingClientRect(), { units, labels, count: counts } = this.held;
    const k = this.rows[Math.floor((event.clientY - box.top) / this.row)], place = Math.floor(((event.clientX - box.left) / box.width) * units);
    if (k === undefined || place < 0 || place >= units) return;
    const unit = this.ordered[place], value = this.held[this.stat][k * units + unit];
    this.float.replaceChildren(make("b", {}, labels[k]), `unit ${unit} · ${this.stat} ${Number.isNaN(value) ? "none" : value.toPrecision(4)} · ${several(counts[k], "image")}`);
    this.float.hidden = false;
    const { offsetWidth, offsetHeight } = this.float;
    this.float.style.left = `${Math.min(event.clientX + 14, innerWidth - offsetWidth - 8)}px`;
    this.float.style.top = `${event.clientY - offsetHeight - 12}px`;
  }
}

const rowHeight = (classes) => Math.max(13, Math.min(15, Math.round(180 / Math.max(1, classes)))); // pixels: a line of names needs thirteen

// The classes that have a row: those of which the atlas has an image, or all where it has none of any.
function rowsOf({ labels }) {
  const there = new Set(tables.label), rows = labels.map((_, k) => k).filter((k) => there.has(k));
  return rows.length ? rows : labels.map((_, k) => k);
}

function contrast(mean, { labels, units, count: counts }) {
  const found = new Float32Array(mean.length), there = labels.map((_, k) => k).filter((k) => counts[k]);
  for (let unit = 0; unit < units; unit++) {
    const middle = there.reduce((sum, k) => sum + mean[k * units + unit], 0) / there.length;
    for (let k = 0; k < labels.length; k++) found[k * units + unit] = mean[k * units + unit] - middle;
  }
  return found;
}

// The ends of the scale: the 99.5th percentile of the sizes, so that one loud unit does not darken all others.
function span(values) {
  const sizes = Float32Array.from(values).map(Math.abs).filter((value) => !Number.isNaN(value)).sort();
  const most = sizes.length ? sizes[Math.floor(0.995 * (sizes.length - 1))] || sizes[sizes.length - 1] || 1 : 1;
  return { most, beyond: sizes.reduce((sum, value) => sum + (value > most), 0) };
}
