// The page's modules come as text, out of one file: from the server as a name, in a report as an element. Each becomes a blob,
// and an import map tells its address.
(() => {
  const served = window.atlasModules, sources = served ?? JSON.parse(document.getElementById("modules").textContent);
  const named = (source) => source.replace(/(\bfrom\s*|\bimport\s*\(?\s*)(["'])\.\/([a-z]+)\.js\2/g, "$1$2atlas/$3$2");
  const imports = {};
  for (const [name, source] of Object.entries(sources)) imports[`atlas/${name}`] = URL.createObjectURL(new Blob([named(source), `//# sourceURL=atlas/${name}.js\n`], { type: "text/javascript" }));
  const add = (type, text) => document.head.append(Object.assign(document.createElement("script"), { type, textContent: text }));
  add("importmap", JSON.stringify({ imports }));
  const begin = () => add("module", served ? 'import "atlas/app";' : 'import "atlas/app"; import { run } from "atlas/report"; run("report/bokeh.js");');
  // The modules read what stands at the end of the file, so they start when all of it is there.
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin); else begin();
})();
