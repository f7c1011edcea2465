// The panels beside the map: one image with its neighbours, and the selection with its gallery.
import { manifest, images, tables, json, address, make, thumbStyle, labelOf, predictionOf, classColour, count, several, decimals, percent, splitOf, SPLITS } from "./data.js";

const PAGE = 200; // thumbnails added to a gallery at a time

function cellFor(space, row, edge, open, below) {
  const label = labelOf(row), said = predictionOf(space, row);
  const name = `${label ?? "unlabelled"}${said ? `, predicted ${said.name}` : ""}, image ${row}`;
  const wrong = said && said.right === 0;
  return make("button", { type: "button", class: "cell", title: name, "data-row": row, onclick: () => open(row),
      "aria-label": below ? null : name, // what is written below is the name then
      style: { "--c": classColour(tables.label[row]) } },
    make("i", { class: "thumb", style: thumbStyle(row, edge) }), ...(below ? below(label ?? said?.name ?? "unlabelled", wrong) : []));
}

// A line of a list: name, a bar of a share of the width, a figure.
export function bar(name, colour, share, figure, kind = "") {
  return make("div", { role: "listitem" }, make("span", { class: kind, title: name }, name),
    make("div", { class: "bar", style: { "--c": colour } }, make("i", { style: { width: `${100 * share}%` } })), make("em", {}, figure));
}

// -- one image -----------------------------------------------------------------------------------------------------------------

export class ImagePanel {
  constructor(holder, actions) { this.holder = holder; this.actions = actions; this.k = 12; this.turn = 0; }

  empty() {
    this.turn++;
    delete this.holder.dataset.row;
    this.holder.replaceChildren(make("h2", {}, "Image"), make("p", { class: "empty" },
      "Click a point to see its image, what the network says of it, and its nearest neighbours in the layer’s own space. ",
      "Drag with the lasso (", make("kbd", {}, "L"), ") or the box (", make("kbd", {}, "B"), ") to gather images.",
      manifest.largest === null ? "" : " Drop an image file anywhere on the page to see what the network makes of it."));
  }

  async show(space, row, point, words = null) {
    const turn = ++this.turn;
    const wanted = [json(`detail/${images.key}/${row}.json`), space.predictions ? json(`top/${space.predictions}/${row}.json`) : null,
      space.neighbours && point !== null ? json(`nearest/${space.neighbours.key}/${point}.json`) : null,
      space.suspects ? json(`suspicion/${space.suspects}/${row}.json`) : null, space.leaks ? json(`twins/${space.leaks}/${row}.json`) : null];
    let answers;
    try { answers = await Promise.all(wanted); } catch {
      if (turn === this.turn) this.holder.replaceChildren(make("h2", {}, "Image"), make("p", { class: "empty" }, "What is known of this image could not be fetched. Load the page again."));
      return null;
    }
    if (turn !== this.turn) return null;
    const [detail, top, found, doubt, leak] = answers, near = found && this.oneEach(found, row);
    this.holder.replaceChildren(...[this.head(), words ? make("p", { class: "note", style: { "margin-bottom": "8px" } }, words) : null, this.picture(detail, top), top && top.top.length ? this.bars(detail, top) : null,
      this.doubts(detail, doubt, leak), this.facts(detail), this.neighbours(space, near)].filter(Boolean));
    this.holder.dataset.row = row;
    return near;
  }

  // Of several points of one image the nearest counts, and the image's own are no neighbours: as `atlas query` has it.
  oneEach(near, row) {
    const seen = new Set([row]);
    const first = near.points.map((point) => { const other = this.actions.rowOf(point), is = !seen.has(other); seen.add(other); return is; });
    return { ...near, points: near.points.filter((_, k) => first[k]), distances: near.distances.filter((_, k) => first[k]) };
  }

  head() {
    return make("div", { class: "panel-head" }, make("h2", {}, "Image"),
      make("button", { type: "button", onclick: () => this.actions.close() }, "Close"));
  }

  picture(detail, top) {
    const note = make("div", { class: "picture-note" });
    const frame = make("div", { class: "picture-frame", style: { "--c": classColour(tables.label[detail.row]) } });
    const picture = make("img", { alt: detail.label ? `An image labelled ${detail.label}` : "The image" });
    picture.onload = () => { if (Math.max(picture.naturalWidth, picture.naturalHeight) < 100) picture.classList.add("pixels"); };
    picture.onerror = () => {
      const edge = frame.clientWidth;
      frame.replaceChildren(make("i", { role: "img", "aria-label": picture.alt, style: { ...thumbStyle(detail.row, edge), width: "100%", height: "100%" } }));
      note.textContent = detail.error ? `This file does not decode: ${detail.error}` : "Its file cannot be read now: this is the thumbnail.";
    };
    picture.src = address(`image/${images.key}/${detail.row}`);
    frame.append(picture);
    return make("div", { class: "picture" }, make("div", {}, frame, note), this.verdict(detail, top));
  }

  verdict(detail, top) {
    const said = top && top.top[0];
    const words = { 1: ["right", "✓ right"], 0: ["wrong", "✗ wrong"] }[top ? top.right : -1];
    return make("div", {},
      make("div", { class: "verdict" }, make("small", {}, "label"), detail.label ?? "none"),
      said ? make("div", { class: "verdict", style: { "margin-top": "7px" } }, make("small", {}, "prediction"), said.name) : null,
      words ? make("span", { class: `badge ${words[0]}` }, words[1]) : null);
  }

  bars(detail, top) {
    const own = images.labels.indexOf(detail.label);
    const holder = make("div", { class: "bars", role: "list", "aria-label": "Most probable outputs" });
    for (const { name, label, probability } of top.top) {
      const mine = label >= 0 && label === own ? "true" : "";
      holder.append(bar(name, classColour(label), probability, percent(probability), mine));
    }
    return holder;
  }

  // What speaks against trusting this image: a label its neighbours do not share, a twin in the other split.
  doubts(detail, doubt, leak) {
    const lines = [];
    if (doubt && doubt.score !== null) lines.push(make("dt", {}, "label suspicion"), make("dd", { id: "suspicion" }, `${percent(doubt.score)}${doubt.say === detail.label ? "" : ` · its neighbours say ${doubt.say}`}`));
    const twins = leak ? leak.twins : [];
    if (twins.length) lines.push(make("dt", {}, "near-duplicate"), make("dd", { id: "twins" }, ...twins.flatMap((row, k) => [k ? ", " : "",
      make("button", { type: "button", class: "link", onclick: () => this.actions.open(row, null) }, `image ${count(row)}`)]), ` (${splitOf(twins[0])})`));
    return lines.length ? make("dl", { class: "facts doubts" }, ...lines) : null;
  }

  facts(detail) {
    const rows = [["split", splitOf(detail.row)], ["file", detail.path], ["image", make("code", {}, detail.image_id ?? "")],
      ["size", detail.size[0] ? `${detail.size[0]} × ${detail.size[1]} ${detail.mode ?? ""}` : null],
      ["duplicate of", detail.duplicate_of >= 0 ? `image ${detail.duplicate_of}` : null], ["error", detail.error],
      ...Object.entries(detail.columns)].filter(([, value]) => value !== null && value !== undefined);
    return make("dl", { class: "facts" }, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  }

  neighbours(space, near) {
    if (!near) return make("p", { class: "note", style: { "margin-top": "14px" } }, "No neighbour lists were kept for this layer.");
    const most = near.points.length, k = Math.min(this.k, most);
    const grid = make("div", { class: "grid", id: "neighbours", "aria-label": "Nearest neighbours" }), value = make("b", {}, String(k));
    const digits = decimals(near.distances);
    const fill = (wanted) => {
      value.textContent = String(wanted);
      grid.replaceChildren(...near.points.slice(0, wanted).map((point, rank) => this.neighbour(space, point, near.distances[rank].toFixed(digits))));
    };
    const slide = make("input", { type: "range", min: Math.min(1, most), max: most, value: k, "aria-label": "How many neighbours",
      style: { "--at": `${(100 * (k - 1)) / Math.max(1, most - 1)}%` },
      oninput: (event) => {
        this.k = Number(event.target.value);
        event.target.style.setProperty("--at", `${(100 * (this.k - 1)) / Math.max(1, most - 1)}%`);
        fill(this.k);
        this.actions.ring(near.points.slice(0, this.k));
      } });
    fill(k);
    const search = near.exact ? "exact" : `approximate${near.recall === null ? "" : `, recall ${near.recall.toFixed(4)}`}`;
    return make("div", {}, make("div", { class: "sub" }, make("h3", {}, "Nearest neighbours"), make("span", { class: "note" }), make("label", {}, "k", slide, value)),
      make("p", { class: "note", style: { "margin-bottom": "8px" } }, `${near.metric} distance in ${space.layers.join(" + ")}, ${search}${manifest.predictions[space.predictions]?.judged ? "; a name in red was predicted wrong" : ""}`), grid);
  }

  neighbour(space, point, distance) {
    const row = this.actions.rowOf(point);
    return cellFor(space, row, 54, (found) => this.actions.open(found, point), (words, wrong) => [
      make("span", { class: wrong ? "wrong" : "" }, words), make("em", {}, distance)]);
  }
}

// -- the selection ---------------------------------------------------------------------------------------------------------------

export class SelectionPanel {
  constructor(holder, actions) { this.holder = holder; this.actions = actions; }

  show(space, rows, away) {
    if (!rows.length) { this.holder.replaceChildren(make("h2", {}, "Selection"), make("p", { class: "empty", id: "selection-count", "aria-live": "polite" }, "Nothing selected")); return; }
    const seen = make("span", { class: "note" }), grid = make("div", { class: "grid", id: "gallery", "aria-label": "Selected images" });
    const more = make("button", { type: "button", class: "button more" }, `Show ${PAGE} more`);
    const add = () => {
      const from = grid.children.length;
      grid.append(...rows.slice(from, from + PAGE).map((row) => cellFor(space, row, 54, (found) => this.actions.open(found, null))));
      seen.textContent = `${count(grid.children.length)} of ${count(rows.length)} shown`;
      more.hidden = grid.children.length === rows.length;
    };
    more.onclick = add;
    add();
    this.holder.replaceChildren(
      make("div", { class: "panel-head" }, make("h2", {}, "Selection"), make("button", { type: "button", onclick: () => this.actions.clear() }, "Clear (Esc)")),
      make("div", { class: "count", id: "selection-count", "aria-live": "polite" }, count(rows.length), " ", make("small", {}, rows.length === 1 ? "image selected" : "images selected")),
      ...(away ? [make("p", { class: "note" }, `${count(away)} of them are not on the map as it is now filtered.`)] : []),
      ...this.mix(space, rows),
      make("div", { class: "sub" }, make("h3", {}, "Images"), seen), grid, more);
  }

  // How many of the selection are of each class, and how many of them the network has right.
  mix(space, rows) {
    const table = tables.predictions[space.predictions], judged = space.predictions && manifest.predictions[space.predictions].judged;
    const tally = new Map();
    let right = 0, of = 0;
    for (const row of rows) {
      tally.set(tables.label[row], (tally.get(tables.label[row]) ?? 0) + 1);
      if (judged && table && table.right[row] >= 0) { of++; right += table.right[row]; }
    }
    const sorted = [...tally].sort((a, b) => b[1] - a[1]), most = sorted[0][1];
    const bars = make("div", { class: "bars", "aria-label": "Classes in the selection", role: "list" });
    for (const [code, number] of sorted.slice(0, 12)) {
      const name = code < 0 ? "unlabelled" : images.labels[code];
      bars.append(bar(name, classColour(code), number / most, count(number)));
    }
    const splits = !images.told ? [] : SPLITS.map((name, k) => [name, rows.reduce((sum, row) => sum + (tables.split[row] === k), 0)]).filter(([, n]) => n);
    const words = [of ? `${count(right)} of ${count(of)} right (${percent(right / of)})` : null, splits.map(([name, n]) => `${count(n)} ${name}`).join(", ")].filter(Boolean).join(" · ");
    return [make("p", { class: "note", style: { "margin-top": "2px" } }, words), bars,
      ...(sorted.length > 12 ? [make("p", { class: "note" }, `and ${several(sorted.length - 12, "more class")}`)] : [])];
  }
}
