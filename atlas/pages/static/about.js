// "About this atlas": where what the page shows comes from, and in a report what was chosen and left out.
import { manifest, make } from "./data.js";
import { at } from "./page.js";

export function startAbout() {
  const dialog = at("about"), button = at("about-open");
  button.onclick = () => { fill(dialog); dialog.showModal(); };
  dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); }; // beside it
  dialog.addEventListener("keydown", (event) => event.stopPropagation()); // the page's keys are the page's
  if (manifest.report) say(manifest.report.sentences);
}

function fill(dialog) {
  dialog.replaceChildren(
    make("div", { class: "about-head" }, make("h2", { id: "about-title" }, manifest.static ? "About this report" : "About this atlas"),
      make("button", { type: "button", class: "button", autofocus: true, onclick: () => dialog.close() }, "Close")),
    make("div", { class: "about-body", tabindex: "0", role: "region", "aria-labelledby": "about-title" },
      ...(manifest.report ? [section("This file", make("ul", {}, ...manifest.report.sentences.map((words) => make("li", {}, words))))] : []),
      ...manifest.about.map(({ title, lines }) => section(title, make("dl", {}, ...lines.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]))))));
}

const section = (title, body) => make("section", {}, make("h3", {}, title), body);

// A report states in its header that it is one, and how many of the images it has.
function say(sentences) {
  const pill = make("button", { type: "button", class: "pill quiet report-pill", title: sentences.join("\n"), onclick: () => at("about-open").click() }, "Report");
  at("images-pill").before(pill);
}
