// Which of many places get a thumbnail: one for each square of the screen, out of few sheets. Pure.
export const CELL = 40; // pixels between thumbnails

// The squares stand still on the map while it moves: their numbers count from the map's own corner, not from the screen's.
export class Squares {
  constructor({ x0, x1, y0, y1 }, unit) {
    const size = CELL * unit, left = Math.floor(x0 / size), low = Math.floor(y0 / size);
    Object.assign(this, { size, left, low, across: Math.floor(x1 / size) - left + 1, down: Math.floor(y1 / size) - low + 1 });
  }

  get count() { return this.across * this.down; }
  of(x, y) { return (Math.floor(y / this.size) - this.low) * this.across + Math.floor(x / this.size) - this.left; }

  // How far a place is from the middle of its square, squared, in squares; nearer than any other where it comes `first`.
  off(x, y, first = false) {
    const a = x / this.size, b = y / this.size;
    return (a - Math.floor(a) - 0.5) ** 2 + (b - Math.floor(b) - 0.5) ** 2 - (first ? 1 : 0);
  }
}

// For every square the place nearest its middle of those whose sheet is there, or -1; and the sheets worth fetching next, by how
// many of the squares that stay empty they would fill. `sheets` says the sheet of each place, `there` which are there, `first`
// which places come before all others of their square: the selected ones.
export function nearestIn(squares, places, { x, y }, sheets, there, first = () => false) {
  const best = new Int32Array(squares.count).fill(-1), least = new Float32Array(squares.count).fill(9);
  for (let k = 0; k < places.length; k++) {
    const place = places[k], square = squares.of(x[place], y[place]);
    if (!there[sheets[k]]) continue;
    const off = squares.off(x[place], y[place], first(place));
    if (off < least[square]) { least[square] = off; best[square] = place; }
  }
  return { best, wanted: worth(squares, places, { x, y }, sheets, best, there.length) };
}

// Of places that lie closer than `apart` squares to one in a square beside theirs, those nearer the middle of their own stay. Each
// is judged by its own surroundings alone, so that what is shown does not change while the map moves.
export function withRoom(squares, best, { x, y }, apart, first = () => false) {
  const { across, down } = squares, gap = apart * squares.size, off = (k) => squares.off(x[k], y[k], first(k));
  const near = (a, b) => Math.abs(x[a] - x[b]) < gap && Math.abs(y[a] - y[b]) < gap;
  return best.filter((k, square) => {
    if (k < 0) return false;
    const column = square % across, row = Math.floor(square / across);
    for (let r = Math.max(0, row - 1); r <= Math.min(down - 1, row + 1); r++) {
      for (let c = Math.max(0, column - 1); c <= Math.min(across - 1, column + 1); c++) {
        const other = best[r * across + c];
        if (other >= 0 && other !== k && near(k, other) && (off(other) < off(k) || (off(other) === off(k) && other < k))) return false;
      }
    }
    return true;
  });
}

function worth(squares, places, { x, y }, sheets, best, count) {
  const fills = new Uint32Array(count), told = new Uint8Array(count * squares.count);
  for (let k = 0; k < places.length; k++) {
    const square = squares.of(x[places[k]], y[places[k]]), pair = sheets[k] * squares.count + square;
    if (best[square] >= 0 || told[pair]) continue;
    told[pair] = 1;
    fills[sheets[k]]++;
  }
  return Array.from(fills.keys()).filter((sheet) => fills[sheet]).sort((a, b) => fills[b] - fills[a] || a - b);
}
