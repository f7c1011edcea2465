// Runs before anything is drawn: the theme, and whether this machine draws WebGL in software (then a canvas is faster).
(() => {
  const html = document.documentElement;
  let kept = null;
  try { kept = localStorage.getItem("atlas-theme"); } catch { /* storage may be closed to us */ }
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = (theme) => { html.dataset.theme = theme; };
  apply(kept === "dark" || kept === "light" ? kept : system.matches ? "dark" : "light");
  system.addEventListener("change", (event) => {
    if (html.dataset.chosen) return;
    apply(event.matches ? "dark" : "light");
    dispatchEvent(new Event("atlas-theme"));
  });
  if (kept) html.dataset.chosen = "yes";
  addEventListener("keydown", (event) => { if (event.key === "Tab") html.dataset.keys = "yes"; }, true);
  addEventListener("pointerdown", () => { delete html.dataset.keys; }, true);
  if (!document.currentScript.hasAttribute("data-probe") || /[?&]backend=/.test(location.search)) return;
  const gl = document.createElement("canvas").getContext("webgl");
  const info = gl && gl.getExtension("WEBGL_debug_renderer_info");
  const renderer = info ? gl.getParameter(info.UNMASKED_RENDERER_WEBGL) : "";
  if (!gl || /swiftshader|llvmpipe|software|basic render/i.test(renderer)) {
    location.replace(location.pathname + location.search + (location.search ? "&" : "?") + "backend=canvas" + location.hash);
  }
})();
