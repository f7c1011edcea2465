// Points that move to their new places when the layer, the network or the layout changes.
const LONGEST = 70000; // points drawn; of more the new places are shown at once
const DURATION = 500; // milliseconds
const TOO_SLOW = 90; // milliseconds for one picture: a machine that needs more jumps to the end

// Where every image was, before a new drawing; null where nothing moves.
export function places(map, next) {
  const { now, i } = map;
  if (!now || now.layout.key === next.layout.key || i.length > LONGEST || matchMedia("(prefers-reduced-motion: reduce)").matches) return null;
  const of = new Map();
  for (const point of i) { const row = map.rowOf(point); if (!of.has(row)) of.set(row, map.place(point)); }
  return of;
}

// Show the points on their way from `before` to where they are now; fulfilled when they have arrived.
export async function move(map, before) {
  const { x, y, ...rest } = map.points.data;
  if (!before || map.crowd?.grid || !x.length || x.length > LONGEST) return;
  const [fromX, fromY] = starts(map, before, x, y), begun = performance.now(), turn = map.turn;
  for (let last = begun, share = 0; share < 1 && map.turn === turn;) {
    const eased = share * share * (3 - 2 * share); // slow at both ends
    map.points.data = { ...rest, x: between(fromX, x, eased), y: between(fromY, y, eased) };
    map.onmove?.();
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    if (now - last > TOO_SLOW || document.hidden) break;
    [last, share] = [now, (now - begun) / DURATION];
  }
  if (map.turn === turn) map.points.data = { ...rest, x, y };
}

const between = (from, to, share) => Float32Array.from(to, (end, k) => from[k] + (end - from[k]) * share);

// An image that was not drawn before starts where it ends.
function starts(map, before, x, y) {
  const fromX = Float32Array.from(x), fromY = Float32Array.from(y);
  map.i.forEach((point, k) => { const place = before.get(map.rowOf(point)); if (place) [fromX[k], fromY[k]] = place; });
  return [fromX, fromY];
}
