// The hub: what the page shows now, what may be done with it, and who wants to hear of it. Panels know this, not each other.
export const page = {
  // space, layout (of the manifest), split, colour, hidden (codes switched off), row and point of the open image, near
  // (the points ringed as its neighbours), kept (Uint8Array per image row of what the filters leave, or null for all),
  // beside (space and layout of the second map, or null), unit ("fc:17" while a unit's panel is open), note (the id of
  // the kept selection that is open)
  state: { hidden: new Set(), row: null, point: null, near: [], kept: null, beside: null, unit: null, note: null },
  map: null, // AtlasMap, once Bokeh is there
  thumbs: null,
  second: null, // CanvasMap, while a second map is open
  does: {}, // what any panel may ask for, by name; each is set by the file that does it
};

const listeners = new Map();

// Hear of: `start` (the map is there), `drawn`, `selection`, `image`, `space`, `split`, `layout`, `colour`, `theme`, `unit`,
// `note`, `beside` (the second map opened, changed or closed), `hover` ({ row, by } of what the pointer means, or row null).
export function on(what, listener) {
  if (!listeners.has(what)) listeners.set(what, []);
  listeners.get(what).push(listener);
}

// Let all hear; fulfilled when the last of them is done with it.
export const tell = (what, detail) => Promise.all((listeners.get(what) ?? []).map((listener) => listener(detail)));

export const at = (id) => document.getElementById(id);
