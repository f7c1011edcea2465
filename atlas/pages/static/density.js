// How dense points lie, as a picture that stands still: squares whose corners are places of the map, not of the screen, painted
// in tiles that are kept. Panning moves the picture, zooming scales it, and only each doubling takes squares of another size.
const CELL = 2; // pixels of a square, up to a factor of √2
const WORLD = 65536; // the map’s units a side
const ACROSS = 256; // squares of a tile’s side
const LOWEST = 6, HIGHEST = 16; // levels: 2 ** level squares lie along the map’s side
const KEPT = 192; // tiles held at a time, a quarter of a megabyte each: twice what the largest screens show
const WIDEST = 4096; // squares a side that are put together: a level so much finer than the screen is not drawn
const FAINTEST = 0.16, STRONGEST = 0.95; // opacity of a square with one point, of one as full as `FULL` says
const PROBES = 600, FULL = 0.98; // points whose squares are counted to know how full squares of a level are; which share is less full
const UNLIT = 0.1; // what a point that is not selected weighs beside one that is

const sizeOf = (level) => WORLD / 2 ** level;

export class Density {
  // `grid` holds the places, `codes` the colour of each in the grid’s order, `ink` red, green, blue and opacity of every code.
  constructor(grid, codes, ink) { Object.assign(this, { grid, codes, ink, lit: null, tiles: new Map(), fullest: new Map() }); }

  // Which places are selected, in the grid’s order; null where nothing is. The tiles without a selection stay: it ends.
  light(lit) {
    this.lit = lit;
    for (const [key, { plain }] of this.tiles) if (!plain) this.tiles.delete(key);
  }

  get plain() { return this.lit === null; }

  // The level whose squares are nearest to CELL pixels, where a pixel is that many units wide.
  level(unit) { return Math.max(LOWEST, Math.min(HIGHEST, Math.round(Math.log2(WORLD / (CELL * unit))))); }

  // Paint the tiles that a view meets, until a time; returns whether all of them are there.
  prepare(view, level, until) {
    const { left, right, low, high } = tilesIn(view, level);
    for (let ty = low; ty <= high; ty++) {
      for (let tx = left; tx <= right; tx++) {
        const key = `${level} ${tx} ${ty} ${this.plain}`, tile = this.tiles.get(key);
        if (!tile && performance.now() > until) return false;
        this.tiles.delete(key);
        this.tiles.set(key, tile ?? this.painted(level, tx, ty)); // lately used
      }
    }
    for (const key of this.tiles.keys()) { if (this.tiles.size <= KEPT) break; this.tiles.delete(key); }
    return true;
  }

  // Put the tiles of a level together on a canvas of a pixel for each square; returns the rectangle of the map that it shows.
  compose(view, level, canvas) {
    const size = sizeOf(level), left = Math.floor(view.x0 / size), top = Math.ceil(view.y1 / size);
    const across = Math.ceil(view.x1 / size) - left, down = top - Math.floor(view.y0 / size);
    if (!(across > 0 && down > 0 && across <= WIDEST && down <= WIDEST)) return null;
    Object.assign(canvas, { width: across, height: down }); // clears it
    const context = canvas.getContext("2d");
    for (const { level: own, tx, ty, plain, picture } of this.tiles.values()) {
      const x = tx * ACROSS - left, y = top - (ty + 1) * ACROSS;
      if (own === level && plain === this.plain && x < across && y < down && x + ACROSS > 0 && y + ACROSS > 0) context.drawImage(picture, x, y);
    }
    return { x0: left * size, x1: (left + across) * size, y0: (top - down) * size, y1: top * size };
  }

  painted(level, tx, ty) {
    const picture = new OffscreenCanvas(ACROSS, ACROSS), context = picture.getContext("2d"), image = context.createImageData(ACROSS, ACROSS);
    shade(this.sums(level, tx, ty), image.data, this.full(level));
    context.putImageData(image, 0, 0);
    return { level, tx, ty, plain: this.plain, picture };
  }

  // Red, green, blue and weight of all points of every square of a tile, from its top: Float32Array [square, 4].
  sums(level, tx, ty) {
    const { grid: { x, y }, codes, lit, ink } = this, size = sizeOf(level), x0 = tx * ACROSS * size, y0 = ty * ACROSS * size, wide = ACROSS * size;
    const sums = new Float32Array(ACROSS * ACROSS * 4);
    for (const [from, to] of this.grid.runs(x0, x0 + wide - 1, y0, y0 + wide - 1)) {
      for (let k = from; k < to; k++) {
        const column = Math.floor((x[k] - x0) / size), row = Math.floor((y[k] - y0) / size);
        if (column < 0 || row < 0 || column >= ACROSS || row >= ACROSS) continue;
        const at = ((ACROSS - 1 - row) * ACROSS + column) * 4, of = codes[k] * 4, weight = (lit === null || lit[k] ? 1 : UNLIT) * ink[of + 3];
        sums[at] += ink[of] * weight; sums[at + 1] += ink[of + 1] * weight; sums[at + 2] += ink[of + 2] * weight; sums[at + 3] += weight;
      }
    }
    return sums;
  }

  // How full squares of a level are, whatever is in view and selected: so that no square changes its look while the map moves.
  full(level) {
    if (!this.fullest.has(level)) this.fullest.set(level, this.probe(sizeOf(level)));
    return this.fullest.get(level);
  }

  probe(size) {
    const { grid, grid: { x, y, count }, codes, ink } = this, step = Math.max(1, Math.floor(count / PROBES)), found = [];
    for (let k = step >> 1; k < count; k += step) {
      const x0 = Math.floor(x[k] / size) * size, y0 = Math.floor(y[k] / size) * size;
      let sum = 0;
      for (const [from, to] of grid.runs(x0, x0 + size - 1, y0, y0 + size - 1)) for (let p = from; p < to; p++) if (x[p] >= x0 && x[p] < x0 + size && y[p] >= y0 && y[p] < y0 + size) sum += ink[codes[p] * 4 + 3];
      found.push(sum);
    }
    return found.sort((a, b) => a - b)[Math.floor(FULL * (found.length - 1))] ?? 1;
  }
}

function tilesIn({ x0, x1, y0, y1 }, level) {
  const size = sizeOf(level) * ACROSS, last = Math.max(0, 2 ** level / ACROSS - 1), tile = (value) => Math.max(0, Math.min(last, Math.floor(value / size)));
  return { left: tile(x0), right: tile(x1), low: tile(y0), high: tile(y1) };
}

// The logarithm of how many, from the faintest to the strongest; the colour is the mean of theirs.
function shade(sums, pixels, most) {
  const scale = (STRONGEST - FAINTEST) / Math.max(Math.log1p(most) - Math.LN2, Math.LN2);
  for (let k = 0; k < sums.length; k += 4) {
    const weight = sums[k + 3];
    if (!weight) continue;
    pixels[k] = sums[k] / weight; pixels[k + 1] = sums[k + 1] / weight; pixels[k + 2] = sums[k + 2] / weight;
    pixels[k + 3] = 255 * Math.min(STRONGEST, weight < 1 ? FAINTEST * weight : FAINTEST + scale * (Math.log1p(weight) - Math.LN2));
  }
}

// Red, green, blue and opacity of every colour: Float32Array [code, 4].
export function inks(palette) {
  const part = (colour, at) => parseInt(colour.slice(at, at + 2), 16);
  return Float32Array.from(palette.flatMap((colour) => [part(colour, 1), part(colour, 3), part(colour, 5), colour.length > 7 ? part(colour, 7) / 255 : 1]));
}
