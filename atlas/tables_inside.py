"""What `atlas activations` and `atlas responses` say, as plain text for a terminal."""

from __future__ import annotations

from typing import Any

from atlas.errors import one_line
from atlas.tables import text_table

SHOWN_CLASSES = 4  # in a terminal's width


def text_activations(answer: dict[str, Any], most: int = 8) -> str:
    """Return what `atlas activations` says: of a network's layer its units, of an atlas's image its pattern."""
    return _maps_text(answer, most) if "units" in answer else _pattern_text(answer, most)


def _maps_text(answer: dict[str, Any], most: int) -> str:
    import pandas as pd

    units = sorted(answer["units"], key=lambda unit: -(unit["high"] or 0))
    table = pd.DataFrame(units[:most])
    places = "×".join(map(str, answer["map_size"]))
    lines = [
        f"{one_line(answer['image'])}: {answer['sizing']}",
        f"layer {answer['number']}, {one_line(answer['layer'])} ({answer['kind']}): {len(units)} units, maps of {places}; "
        f"{answer['silent']} are 0 everywhere, {answer['nonfinite']} values are not finite",
        "", f"the {len(table)} that reach highest:", text_table(table),
    ]  # fmt: skip
    return "\n".join(lines + [f"written to {answer[kind]}" for kind in ("file", "arrays") if answer[kind]])


def _pattern_text(answer: dict[str, Any], most: int) -> str:
    import pandas as pd

    sides = [side for side in (answer["predicted"], answer["runner_up"]) if side]
    known = f", labelled {one_line(answer['label'])}" if answer["label"] else ""
    lines = [f"{one_line(answer['image'])}{known}, in {one_line(answer['layer'])}; patterns of {one_line(answer['over'])}"]
    lines += [
        f"{'predicted' if number == 0 else 'runner-up'} {one_line(side['label'])} {side['probability']:.3f}: distance "
        f"{side['distance']:.3g}, {'outside' if side['outside'] else 'within'} the limit of {side['limit']:.3g} that "
        f"{answer['level']:.0%} of its images keep; farther out than {side['nearer']} of {side['of']}"
        for number, side in enumerate(sides)
    ]
    if answer["left_out"]:
        lines.append(f"{answer['left_out']} units vary in no class and are left out")
    deviations = sides[0]["deviations"]
    order = sorted(range(len(deviations)), key=lambda unit: -abs(deviations[unit] or 0))[:most]
    table = pd.DataFrame([
        {"unit": unit, "value": answer["values"][unit],
         **{f"{name} of {one_line(side['label'], 20)}": side[key][unit] for side in sides for name, key in
            (("mean", "mean"), ("deviation", "deviations"))}}
        for unit in order
    ])  # fmt: skip
    lines += ["", "the units farthest out of the predicted class, deviations in its standard deviations:", text_table(table)]
    if answer["courses"]:
        what = "strength from which on the pattern is outside its class, the confidence below its class's own, and the "
        courses = pd.DataFrame([_course_row(course) for course in answer["courses"]])
        lines += ["", f"{what}prediction another:", text_table(courses)]
    return "\n".join(lines + ([f"written to {answer['file']}"] if answer["file"] else []))


def _course_row(course: dict[str, Any]) -> dict[str, Any]:
    first = {"pattern": "pattern first", "prediction": "prediction first", "together": "both at once"}
    names = ("kind", "measure", "pattern", "confidence", "prediction")
    return {**{name: course[name] for name in names}, "": first.get(course["first"], course["first"])}


def text_responses(answer: dict[str, Any]) -> str:
    """Return what `atlas responses` says: which images, and per layer the units that tell each class best."""
    import pandas as pd

    groups = ", ".join(f"{count} {one_line(name) or 'unlabelled'}" for name, count in answer["classes"].items())
    lines = [f"{answer['images']} images ({groups}): {answer['held_out']} held out, {answer['training']} of training"]
    if answer["left_out"]:
        lines.append("left out: " + ", ".join(f"{count} {one_line(name)}" for name, count in answer["left_out"].items()))
    rows = [
        {"layer": layer["layer"], "units": layer["units"], "silent": layer["silent"],
         **{one_line(name, 20): ", ".join(f"{unit['unit']} ({unit['effect']:.2f})" for unit in layer["most"][name][:3])
            for name in list(answer["classes"])[:SHOWN_CLASSES]}}
        for layer in answer["layers"]
    ]  # fmt: skip
    more = len(answer["classes"]) - SHOWN_CLASSES
    beyond = f"; {more} further classes by --json" if more > 0 else ""
    lines += [
        "",
        f"units that answer most to each class over the others, chosen by training images where there are{beyond}; in "
        "parentheses Cohen's d, of held-out images where there are:",
        text_table(pd.DataFrame(rows)),
    ]
    return "\n".join(lines + [f"written to {answer[kind]}" for kind in ("file", "film", "table") if answer[kind]])
