// A selection taken out as a file, or kept under a name in the atlas; and the list of those that are kept.
import { manifest, images, json, make, count, several, tables, predictionOf } from "./data.js";
import { csv, packed, pathLines, tally, unpacked } from "./rows.js";
import { rowsOf } from "./region.js";
import { ask, download, mayWrite, post, served } from "./posting.js";
import { Section } from "./section.js";
import { filterSentence } from "./filter.js";
import { page, on, tell } from "./page.js";

const EXPORTS = { csv: ["CSV", "all columns as a table; text that a spreadsheet would run as a formula begins with an apostrophe"], parquet: ["Parquet", "all columns as a table, values as they are"], paths: ["Paths", "one path on each line"] };
const OURS = { image_id: (detail) => detail.image_id, path: (detail) => detail.path, label: (detail) => detail.label, split: (detail) => detail.split, width: ({ size }) => size?.[0], height: ({ size }) => size?.[1],
  mode: (detail) => detail.mode, error: (detail) => detail.error, duplicate_of: (detail) => detail.duplicate_of };
const AT_ONCE = 500; // images that a report is asked for together

export function startKeeping() {
  const keeping = new Keeping();
  page.does.reopenNote = (id) => keeping.reopen(id);
  on("start", () => keeping.load());
  on("space", () => keeping.close());
  on("selection", () => { keeping.close(); page.state.note = keeping.opening; }); // the kept selection that is seen, by its id
  return keeping;
}

class Keeping {
  constructor() {
    this.said = make("p", { class: "note", role: "status" });
    this.form = make("form", { class: "keep-form", hidden: true, onsubmit: (event) => { event.preventDefault(); this.keep(); } });
    const kinds = Object.entries(EXPORTS).filter(([kind]) => served || kind !== "parquet");
    this.tools = make("div", { class: "selection-tools" },
      ...(mayWrite ? [make("button", { type: "button", class: "button", id: "keep-selection", onclick: () => this.ask() }, "Keep…")] : []),
      make("span", { class: "gap" }), make("span", { class: "note" }, "Save as"),
      ...kinds.map(([kind, [words, title]]) => make("button", { type: "button", class: "button", "data-export": kind, title: `Save the selected images: ${title}`, onclick: () => this.save(kind) }, words)), this.form, this.said);
    this.told = make("span", { class: "note" });
    this.part = new Section("kept", "Kept selections", { skeleton: 0, tools: [this.told] });
    this.part.element.hidden = true;
    this.notes = [];
    this.opening = null; // the id of the kept selection that is being selected
  }

  say(words) { this.said.textContent = words; }
  close() { this.form.hidden = true; this.say(""); }

  // Close it, and go back to the button that opened it.
  leave() { this.close(); this.tools.querySelector("#keep-selection").focus(); }

  // -- files --------------------------------------------------------------------------------------------------------------

  async save(kind) {
    const { chosen } = page.map, { space } = page.state, name = `${manifest.atlas}-selection.${kind === "paths" ? "txt" : kind}`;
    this.say("Writing…");
    try {
      const blob = served ? await (await post(`export/${kind}`, { space: space.id }, [packed(chosen)])).blob() : await this.inPage(kind, space);
      download(blob, name);
      this.say(`${several(rowsOf(chosen).length, "image")} in ${name}.`);
    } catch (reason) { this.say(reason.message); }
  }

  // A report writes its files itself, of what it holds.
  async inPage(kind, space) {
    const rows = rowsOf(page.map.chosen), details = [];
    for (let from = 0; from < rows.length; from += AT_ONCE) details.push(...await Promise.all(rows.slice(from, from + AT_ONCE).map((row) => json(`detail/${images.key}/${row}.json`))));
    if (kind === "paths") return new Blob([pathLines(details.map(({ path }) => path))], { type: "text/plain" });
    const own = Object.keys(details[0].columns ?? {}), said = space.predictions ? ["prediction", "confidence", "right"] : [];
    const lines = details.map((detail, k) => {
      const told = predictionOf(space, rows[k]), right = [null, "False", "True"][(told?.right ?? -1) + 1];
      return [...Object.values(OURS).map((read) => read(detail)), ...own.map((name) => detail.columns[name]), ...(said.length ? [told?.name, told?.confidence, right] : [])];
    });
    return new Blob([csv([[...Object.keys(OURS), ...own, ...said], ...lines])], { type: "text/csv" });
  }

  // -- keeping ------------------------------------------------------------------------------------------------------------

  ask() {
    const field = make("input", { class: "search", name: "name", maxlength: 120, required: true, "aria-label": "Name of the selection", placeholder: "Its name", autocomplete: "off", value: this.suggestion() });
    this.form.replaceChildren(field, make("button", { type: "submit", class: "button" }, "Keep"), make("button", { type: "button", class: "text-button", onclick: () => this.leave() }, "Cancel"));
    field.onkeydown = (event) => { if (event.key === "Escape") { event.stopPropagation(); this.leave(); } };
    this.form.hidden = false;
    field.select();
    field.focus();
  }

  suggestion() {
    const rows = rowsOf(page.map.chosen), [[code, n]] = tally(rows, tables.label);
    return code < 0 ? several(rows.length, "image") : `${n === rows.length ? "" : "mostly "}${images.labels[code]}`.slice(0, 120);
  }

  async keep() {
    const name = this.form.elements.name.value;
    try {
      const note = await ask("notes/keep", { name, filter: filterSentence().slice(0, 2000) }, [packed(page.map.chosen)]);
      this.leave();
      this.say(`Kept as “${note.name}”.`);
      this.notes.unshift(note);
      this.draw();
    } catch (reason) { this.say(reason.message); }
  }

  // -- the list -----------------------------------------------------------------------------------------------------------

  async load() {
    if (!served) return;
    try {
      const { notes, wrong } = await ask("notes/list");
      Object.assign(this, { notes, wrong });
    } catch (reason) { this.wrong = [reason.message]; }
    this.draw();
  }

  draw() {
    this.part.element.hidden = !this.notes.length && !this.wrong?.length && !this.undo;
    this.told.textContent = this.notes.length ? count(this.notes.length) : "";
    this.part.body.replaceChildren(...(this.undo ? [this.undo] : []), make("ul", { class: "kept" }, ...this.notes.map((note) => this.line(note))),
      ...(this.wrong ?? []).map((words) => make("p", { class: "note" }, words)));
  }

  line(note) {
    const told = [several(note.images, "image"), note.date.slice(0, 10), note.filter].filter(Boolean).join(" · ");
    const holder = make("li", { "data-note": note.id }, make("button", { type: "button", class: "kept-open", title: `Select these images\n${told}`, onclick: () => this.open(note) }, make("b", {}, note.name), make("small", {}, told)));
    if (mayWrite) holder.append(
      make("button", { type: "button", class: "dot", "aria-label": `Rename ${note.name}`, title: "Rename", onclick: () => this.rename(note, holder) }, "✎"),
      make("button", { type: "button", class: "dot", "aria-label": `Delete ${note.name}`, title: "Delete", onclick: () => this.remove(note) }, "×"));
    return holder;
  }

  async open(note) {
    try { await this.select(note.id); } catch (reason) { page.does.notice(reason.message); }
  }

  // As a link asks for it: false where there is none of this id.
  async reopen(id) {
    if (!served) return false;
    return this.select(id).then(() => true, () => false);
  }

  async select(id) {
    const { name, bits, gone, missing } = await ask("notes/open", { id });
    this.opening = id;
    page.does.select(rowsOf(unpacked(Uint8Array.from(atob(bits), (letter) => letter.charCodeAt(0)), images.count)), "replace");
    this.opening = null;
    tell("note", id);
    const more = gone > missing.length ? ` and ${count(gone - missing.length)} more` : "";
    if (gone) page.does.notice(`${several(gone, "image")} of “${name}” ${gone === 1 ? "is" : "are"} no longer in this atlas: ${missing.join(", ")}${more}.`);
  }

  rename(note, holder) {
    const field = make("input", { class: "search", value: note.name, maxlength: 120, required: true, "aria-label": `New name of ${note.name}` });
    const form = make("form", { class: "keep-form", onsubmit: async (event) => { event.preventDefault(); await this.change("rename", { id: note.id, name: field.value }, (told) => Object.assign(note, told)); this.back(note); } }, field, make("button", { type: "submit", class: "button" }, "Rename"));
    field.onkeydown = (event) => { if (event.key === "Escape") { event.stopPropagation(); this.draw(); this.back(note); } };
    holder.replaceChildren(form);
    field.select();
    field.focus();
  }

  async remove(note) {
    await this.change("remove", { id: note.id }, () => {
      this.notes = this.notes.filter((one) => one !== note);
      this.undo = make("p", { class: "note undo", role: "status" }, `Deleted “${note.name}”. `, make("button", { type: "button", class: "text-button", onclick: () => this.restore(note) }, "Undo"));
    });
    this.undo?.querySelector("button").focus();
  }

  async restore(note) {
    await this.change("restore", { id: note.id }, () => {
      this.undo = null;
      this.notes = [...this.notes, note].sort((a, b) => (a.date < b.date ? 1 : -1));
    });
    this.back(note);
  }

  // The list was drawn anew: a keyboard is on the line again that it was on.
  back(note) { this.part.body.querySelector(`[data-note="${note.id}"] .kept-open`)?.focus(); }

  async change(what, asked, done) {
    try { done(await ask(`notes/${what}`, asked)); } catch (reason) { page.does.notice(reason.message); }
    this.draw();
  }
}
