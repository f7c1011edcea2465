// The kept volume of one image, sliced along any of its axes: level, y or x. No network is asked.
import { manifest, numbers, json, make, segments } from "./data.js";
import { ramp, rgb } from "./colouring.js";
import { STOPS } from "./activationmaps.js";
import { Section } from "./section.js";

const MISSING = 255;
const AXES = ["level", "y", "x"];
const ACROSS = { level: ["x", "y"], y: ["level", "x"], x: ["level", "y"] }; // to the right, downwards
const EDGE = 268; // pixels of the canvas’s longer side: as wide as the panel

export class VolumeSlices {
  // `of`: space, row. Null where no volume of this image was kept.
  static of({ space, row }) {
    const kept = (manifest.volumes ?? []).find((one) => one.network === space.network && one.rows.includes(row));
    return kept ? new VolumeSlices(kept, row) : null;
  }

  constructor(kept, row) {
    Object.assign(this, { kept, row, axis: "level", at: { level: 0, y: kept.size[0] >> 1, x: kept.size[1] >> 1 } });
    this.section = new Section("volume", "Its layers as a volume", { skeleton: 320, fill: () => this.fill() });
  }

  get element() { return this.section.element; }

  async fill() {
    const place = `volume/${this.kept.key}/${this.row}`;
    try {
      [this.values, this.levels] = await Promise.all([numbers(`${place}.bin`, Uint8Array), json(`${place}.json`)]);
      this.show();
    } catch { this.section.say(manifest.static ? "The volume of this image is not in this report: the explorer has it." : "The volume could not be fetched. Load the page again."); }
  }

  count(axis) { return axis === "level" ? this.kept.layers.length : this.kept.size[axis === "y" ? 0 : 1]; }

  show() {
    const choice = make("div", { class: "segments small volume-axes", role: "radiogroup", "aria-label": "Axis of the slice" });
    segments(choice, AXES.map((axis) => ({ id: axis, title: `along ${axis}` })), this.axis, (axis) => { this.axis = axis; this.slice(); });
    this.canvas = make("canvas", { class: "volume-slice pixels", role: "img" });
    this.words = make("p", { class: "note", role: "status" });
    this.slider = make("input", { type: "range", min: 0, class: "volume-at", oninput: () => { this.at[this.axis] = Number(this.slider.value); this.paint(); } });
    this.section.show(choice, this.canvas, this.slider, this.words);
    this.slice();
  }

  // Slice along the axis that was chosen, where it was sliced last.
  slice() {
    Object.assign(this.slider, { max: this.count(this.axis) - 1, value: this.at[this.axis] });
    this.slider.setAttribute("aria-label", `Which slice along ${this.axis}`);
    this.paint();
  }

  // The value at a level, y and x.
  value(level, y, x) { return this.values[(level * this.kept.size[0] + y) * this.kept.size[1] + x]; }

  paint() {
    const [right, down] = ACROSS[this.axis], wide = this.count(right), tall = this.count(down), at = { ...this.at };
    const palette = ramp(STOPS[document.documentElement.dataset.theme], 256).map(rgb), { canvas } = this;
    Object.assign(canvas, { width: wide, height: tall });
    const scale = EDGE / Math.max(wide, tall);
    Object.assign(canvas.style, { width: `${wide * scale}px`, height: `${tall * scale}px` });
    this.slider.style.setProperty("--at", `${(100 * this.at[this.axis]) / Math.max(1, this.count(this.axis) - 1)}%`);
    const context = canvas.getContext("2d"), pixels = context.createImageData(wide, tall);
    for (at[down] = 0; at[down] < tall; at[down]++) for (at[right] = 0; at[right] < wide; at[right]++) {
      const code = this.value(at.level, at.y, at.x), shown = code === MISSING ? [0, 0, 0, 0] : [...palette[Math.round((code * 255) / this.kept.steps)], 255];
      pixels.data.set(shown, 4 * (at[down] * wide + at[right]));
    }
    context.putImageData(pixels, 0, 0);
    this.slider.style.setProperty("--at", `${(100 * this.at[this.axis]) / Math.max(1, this.count(this.axis) - 1)}%`);
    this.words.textContent = this.said(right, down);
    canvas.setAttribute("aria-label", this.words.textContent);
  }

  said(right, down) {
    const place = this.at[this.axis];
    if (this.axis !== "level") return `${this.axis} ${place} of ${this.count(this.axis)}; ${right} to the right, ${down} downwards. Levels: ${runs(this.kept).join(", ")}.`;
    const { channel, low, high } = this.levels, cam = this.kept.cam && place === this.kept.layers.length - 1;
    return `level ${place} of ${this.count("level")}: ${cam ? `class activation map of ${this.kept.layers[place]}` : `${this.kept.layers[place]}, channel ${channel[place]}`}; from ${low[place]?.toPrecision(3) ?? "–"} to ${high[place]?.toPrecision(3) ?? "–"}.`;
  }

  repaint() { if (this.values && this.element.isConnected && this.canvas) this.paint(); }
}

// Which levels are of which layer, in words.
function runs({ layers, cam }) {
  const found = [];
  layers.slice(0, layers.length - (cam ? 1 : 0)).forEach((name, level) => {
    if (found.at(-1)?.name === name) found.at(-1).last = level; else found.push({ name, first: level, last: level });
  });
  return [...found.map(({ name, first, last }) => `${name} ${first}–${last}`), ...(cam ? [`class activation map ${layers.length - 1}`] : [])];
}
