// A command for a terminal, as it can be pasted there, with a button that copies it.
import { manifest, make } from "./data.js";

const PLAIN = /^[\w@%+=:,./-]+$/; // words that a shell takes as they are
const RESTORED = 1600; // milliseconds until the button says again what it does

const quoted = (word) => (PLAIN.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);

// The words of a command as one line; a word that a shell would take apart is quoted.
export const commandLine = (...words) => words.map((word) => quoted(String(word))).join(" ");

// What tells a command which atlas, and where there are several which network.
export const whichAtlas = (network) => [manifest.path, ...(manifest.networks.length > 1 && network ? ["--network", network] : [])];

// What makes the cells that a map lacks: those of one layer with their icons, or those of all layers.
export const cellsCommand = ({ layers, network }, { method }) => commandLine("atlas", "icons", ...whichAtlas(network), "--layer", layers.at(-1), ...byMethod(method));
export const depthCommand = ({ network }, { method }) => commandLine("atlas", "depth", ...whichAtlas(network), "--make", ...byMethod(method));
const byMethod = (method) => (method === "UMAP" ? [] : ["--method", method.toLowerCase().replace("-", "")]); // as the command takes it

// Why a map has no cells that argue for classes, and what makes them.
export const noCells = (space, layout) => (space.layers.length > 1 ? "Icons are of one layer, and this map is of several jointly: choose a layer alone."
  : `No cells of this layout are attributed to the classes yet. In a terminal: ${cellsCommand(space, layout)}`);

export function command(...words) {
  const line = commandLine(...words), parts = words.flatMap((word) => [make("span", {}, commandLine(word)), " "]).slice(0, -1), button = make("button", { type: "button", class: "text-button", onclick: () => copy(button, line) }, "Copy");
  return make("div", { class: "command" }, make("code", {}, ...parts), button);
}

async function copy(button, line) {
  try { await navigator.clipboard.writeText(line); button.textContent = "Copied"; } catch { button.textContent = "Select it by hand"; }
  setTimeout(() => { button.textContent = "Copy"; }, RESTORED);
}
