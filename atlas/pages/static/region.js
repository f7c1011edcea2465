// Geometry and sets of a selection, pure: which places lie inside what was drawn, and what becomes of the set of images.
const BANDS = 256; // of a polygon's height: a place is held only against the edges that cross its band

// What was drawn, as bounds and a test of one place; `geometry` is Bokeh's: a rectangle, or the corners of a polygon.
export function regionOf({ type, x0, x1, y0, y1, x, y }) {
  if (type === "rect") return { x0: Math.min(x0, x1), x1: Math.max(x0, x1), y0: Math.min(y0, y1), y1: Math.max(y0, y1), holds: null };
  const bounds = { x0: least(x), x1: most(x), y0: least(y), y1: most(y) };
  return { ...bounds, holds: crossings(x, y, bounds) };
}

const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
const most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);

// Even and odd: a place is inside where a ray to its right crosses the outline an odd number of times.
function crossings(xs, ys, { y0, y1 }) {
  const band = (y) => Math.max(0, Math.min(BANDS - 1, Math.floor(((y - y0) / (y1 - y0 || 1)) * BANDS)));
  const bands = Array.from({ length: BANDS }, () => []);
  for (let k = 0, before = xs.length - 1; k < xs.length; before = k++) {
    const edge = [xs[k], ys[k], xs[before], ys[before]];
    const [low, high] = [band(Math.min(edge[1], edge[3])), band(Math.max(edge[1], edge[3]))];
    for (let b = low; b <= high; b++) bands[b].push(edge);
  }
  return (x, y) => {
    let inside = false;
    for (const [ax, ay, bx, by] of bands[band(y)]) if ((ay > y) !== (by > y) && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
    return inside;
  };
}

// The set after a gesture, as a new Uint8Array per image row, or null where it is empty; `before` stays as it was.
export function combined(before, rows, how, length) {
  const after = how === "replace" || !before ? new Uint8Array(length) : before.slice();
  if (how !== "remove" || before) for (let k = 0; k < rows.length; k++) after[rows[k]] = how === "remove" ? 0 : 1;
  return after.includes(1) ? after : null;
}

export function rowsOf(set) {
  let count = 0;
  for (let row = 0; set && row < set.length; row++) count += set[row];
  const rows = new Array(count);
  for (let row = 0, n = 0; n < count; row++) if (set[row]) rows[n++] = row;
  return rows;
}

// Left, right, bottom and top of a layout’s points; of none, of the whole map.
export function extentOf({ xy, count }) {
  let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let p = 0; p < count; p++) { x0 = Math.min(x0, xy[p]); x1 = Math.max(x1, xy[p]); y0 = Math.min(y0, xy[count + p]); y1 = Math.max(y1, xy[count + p]); }
  return x1 < x0 ? [0, 65535, 0, 65535] : [x0, x1, y0, y1];
}
