// What several panels draw: a thumbnail that is a button, a line of a list with its bar.
import { tables, make, inMany, thumbStyle, labelOf, predictionOf, classColour } from "./data.js";

// Where thumbnails lie in many sheets it has no picture yet: whoever shows it asks for it by `pictured` of data.js.
export function cellFor(space, row, edge, open, below) {
  const label = labelOf(row), said = predictionOf(space, row);
  const name = `${label ?? "unlabelled"}${said ? `, predicted ${said.name}` : ""}, image ${row}`;
  const wrong = said && said.right === 0;
  return make("button", { type: "button", class: "cell", title: name, "data-row": row, onclick: () => open(row),
      "aria-label": below ? null : name, // what is written below is the name then
      style: { "--c": classColour(tables.label[row]) } },
    make("i", { class: "thumb", style: inMany ? {} : thumbStyle(row, edge) }), ...(below ? below(label ?? said?.name ?? "unlabelled", wrong) : []));
}

// A line of a list: name, a bar of a share of the width, a figure.
export function bar(name, colour, share, figure, kind = "") {
  return make("div", { role: "listitem" }, make("span", { class: kind, title: name }, name),
    make("div", { class: "bar", style: { "--c": colour } }, make("i", { style: { width: `${100 * share}%` } })), make("em", {}, figure));
}
