// What a report opens on: what its address says behind the #, as a server reads its arguments (opening.py).
import { manifest, images } from "./data.js";
import { canColour, colourNamed } from "./colouring.js";
import { rowOfId } from "./report.js";

const SAID = { beside: "second map" };
const TOLD = 60; // characters of what was asked for and is not there
const SPLITS = ["held-out", "train", "all"];

// Layer, layout, split, colour, open image, unit and second map; what is asked for and not there is left out with a notice.
export async function startFrom(behind) {
  const { start, spaces } = manifest, notices = [];
  const take = (what, named, otherwise) => {
    const asked = behind.get(what), found = asked ? named(asked) : undefined;
    if (asked && (found ?? null) === null) notices.push(`The link asks for the ${SAID[what] ?? what} ${short(asked)}, which this report does not have.`);
    return found ?? otherwise;
  };
  const space = take("layer", (id) => spaces.find((one) => one.id === id), spaces.find(({ id }) => id === start.space)), first = space.id === start.space;
  const layout = take("layout", (key) => space.layouts.find((one) => one.key === key)?.key, first ? start.layout : space.layouts[0].key);
  const split = take("split", (name) => (SPLITS.includes(name) ? name : null), start.split);
  const colour = take("colour", (name) => (canColour(space, name) ? colourNamed(space, name) : null), first ? start.colour : space.colours[0]);
  const row = behind.get("image") ? await rowOfId(images.key, behind.get("image")).catch(() => null) : null, image = take("image", () => row, null);
  const beside = take("beside", (key) => spaces.flatMap(({ layouts }) => layouts).find((one) => one.key === key)?.key, null);
  const unit = take("unit", (words) => (/^.{1,300}:\d{1,8}$/.test(words) ? words : null), null);
  return { space: space.id, layout, split: images.switch ? split : "all", colour, image, unit, beside, notices };
}

const short = (words) => { const line = words.replace(/\s+/g, " "); return line.length > TOLD ? `${line.slice(0, TOLD)}…` : line; };
