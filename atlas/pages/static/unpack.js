// In a report only: the page's modules lie in the file as text. Each becomes a blob, and an import map tells its address.
(() => {
  const sources = JSON.parse(document.getElementById("modules").textContent);
  const named = (source) => source.replace(/(\bfrom\s*|\bimport\s*\(?\s*)(["'])\.\/([a-z]+)\.js\2/g, "$1$2atlas/$3$2");
  const imports = {};
  for (const [name, source] of Object.entries(sources)) imports[`atlas/${name}`] = URL.createObjectURL(new Blob([named(source)], { type: "text/javascript" }));
  const add = (type, text) => document.head.append(Object.assign(document.createElement("script"), { type, textContent: text }));
  add("importmap", JSON.stringify({ imports }));
  // The modules read what stands at the end of the file, so they start when all of it is there.
  document.addEventListener("DOMContentLoaded", () => add("module", 'import "atlas/app"; import { run } from "atlas/report"; run("report/bokeh.js");'));
})();
