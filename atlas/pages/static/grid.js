// Places sorted into the squares of a grid, so that a view, a pointer or a lasso touches only what is near. Pure.
const SIDE = 128, SHIFT = 9; // squares a side; 65 536 = 128 · 2⁹

export class Grid {
  // `x` and `y` are Uint16Array; afterwards `this.x` and `this.y` stand in the order of the squares, `of` says whose they are.
  constructor(x, y) {
    const count = x.length, start = new Uint32Array(SIDE * SIDE + 1);
    for (let k = 0; k < count; k++) start[squareOf(x[k], y[k]) + 1]++;
    for (let square = 0; square < SIDE * SIDE; square++) start[square + 1] += start[square];
    const next = start.slice(), of = new Int32Array(count);
    for (let k = 0; k < count; k++) of[next[squareOf(x[k], y[k])]++] = k;
    Object.assign(this, { count, start, of });
    Object.assign(this, { x: this.sorted(x), y: this.sorted(y) });
  }

  // Another column of the same places, in the order of the squares.
  sorted(values) {
    const { of, count } = this, found = new values.constructor(count);
    for (let k = 0; k < count; k++) found[k] = values[of[k]];
    return found;
  }

  // The ranges [from, to) of places whose squares meet a rectangle: one for each row of squares.
  runs(x0, x1, y0, y1) {
    const [left, right] = [clamp(x0), clamp(x1)], found = [];
    if (!(x1 >= 0 && x0 <= 65535 && y1 >= 0 && y0 <= 65535)) return found;
    for (let row = clamp(y0); row <= clamp(y1); row++) {
      const from = this.start[row * SIDE + left], to = this.start[row * SIDE + right + 1];
      if (to > from) found.push([from, to]);
    }
    return found;
  }

  // The places inside a rectangle, as numbers of this grid's order; `holds`, if given, says more of where a place must lie.
  within({ x0, x1, y0, y1, holds = null }) {
    const { x, y } = this, found = new Int32Array(this.count);
    let n = 0;
    for (const [from, to] of this.runs(x0, x1, y0, y1)) {
      for (let k = from; k < to; k++) if (x[k] >= x0 && x[k] <= x1 && y[k] >= y0 && y[k] <= y1 && (holds === null || holds(x[k], y[k]))) found[n++] = k;
    }
    return found.subarray(0, n);
  }

  // The place nearest to a point and at most `reach` away, or null.
  nearest(px, py, reach) {
    const { x, y } = this;
    let best = null, least = reach ** 2;
    for (const [from, to] of this.runs(px - reach, px + reach, py - reach, py + reach)) {
      for (let k = from; k < to; k++) {
        const distance = (x[k] - px) ** 2 + (y[k] - py) ** 2;
        if (distance < least || (distance === least && (best === null || this.of[k] > this.of[best]))) { least = distance; best = k; }
      }
    }
    return best;
  }
}

const squareOf = (x, y) => (y >> SHIFT) * SIDE + (x >> SHIFT);
const clamp = (value) => Math.max(0, Math.min(SIDE - 1, Math.floor(value / 2 ** SHIFT)));
