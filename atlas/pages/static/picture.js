// What an image is at a glance: its picture, large on a click, what it is and what the network takes it for.
import { manifest, images, tables, address, make, thumbStyle, classColour, percent, splitOf } from "./data.js";
import { bar } from "./parts.js";

const SMALL = 100; // pixels of a picture below which its pixels are shown as squares

const sharp = (picture) => { if (Math.max(picture.naturalWidth, picture.naturalHeight) < SMALL) picture.classList.add("pixels"); };

// The frame, a button that opens the picture large, and the verdict beside it.
export function picture(detail, top) {
  const note = make("div", { class: "picture-note" }), alt = detail.label ? `An image labelled ${detail.label}` : "The image";
  const source = address(`image/${images.key}/${detail.row}`), shown = make("img", { alt });
  const frame = make("button", { type: "button", class: "picture-frame", title: "Enlarge", "aria-label": `${alt}: enlarge`, style: { "--c": classColour(tables.label[detail.row]) },
    onclick: () => enlarge(shown.isConnected ? source : null, detail, alt, [detail.label ?? "unlabelled", top?.top[0] ? `predicted ${top.top[0].name}` : null, detail.path].filter(Boolean).join(" · ")) });
  shown.onload = () => sharp(shown);
  shown.onerror = () => {
    const edge = frame.clientWidth;
    frame.replaceChildren(make("i", { role: "img", "aria-label": alt, style: { ...thumbStyle(detail.row, edge), width: "100%", height: "100%" } }));
    note.textContent = detail.error ? `This file does not decode: ${detail.error}` : manifest.static ? "The thumbnail: originals are not in a report." : "Its file cannot be read now: this is the thumbnail.";
  };
  shown.src = source;
  frame.append(shown);
  return make("div", { class: "picture" }, make("div", {}, frame, note), verdict(detail, top));
}

export function enlarge(source, detail, alt, words) {
  const edge = Math.floor(Math.min(innerWidth, innerHeight) * 0.78);
  const large = source ? make("img", { src: source, alt }) : make("i", { role: "img", "aria-label": alt, style: { ...thumbStyle(detail.row, edge), display: "block" } });
  for (const side of ["width", "height"]) large.style[side] = `${edge}px`;
  large.onload = () => sharp(large);
  const dialog = make("dialog", { class: "large", "aria-label": alt }, large, make("div", { class: "large-foot" }, make("p", {}, words),
    make("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Close")));
  dialog.addEventListener("keydown", (event) => event.stopPropagation()); // Esc closes this, not what lies behind it
  dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
  dialog.onclose = () => dialog.remove();
  document.body.append(dialog);
  dialog.showModal();
}

function verdict(detail, top) {
  const said = top && top.top[0], words = { 1: ["right", "✓ right"], 0: ["wrong", "✗ wrong"] }[top ? top.right : -1], split = splitOf(detail.row);
  return make("div", {},
    make("div", { class: "verdict" }, make("small", {}, "label"), detail.label ?? "none"),
    said ? make("div", { class: "verdict", style: { "margin-top": "7px" } }, make("small", {}, "prediction"), said.name) : null,
    make("div", { class: "badges" }, words ? make("span", { class: `badge ${words[0]}` }, words[1]) : null, split ? make("span", { class: "badge" }, split) : null));
}

export function outputs(top, own = -1) {
  return make("div", { class: "bars", role: "list", "aria-label": "Most probable outputs" },
    ...top.map(({ name, label, probability }) => bar(name, classColour(label), probability, percent(probability), label >= 0 && label === own ? "true" : "")));
}

// The file's path with a button that copies it.
export function path(words) {
  const button = make("button", { type: "button", class: "link copy", onclick: () => copy(button, words) }, "copy path");
  return make("span", {}, make("span", { class: "path" }, words), " ", button);
}

async function copy(button, words) {
  try { await navigator.clipboard.writeText(words); button.textContent = "copied"; } catch { button.textContent = "select and copy it by hand"; }
  setTimeout(() => { button.textContent = "copy path"; }, 1600);
}
