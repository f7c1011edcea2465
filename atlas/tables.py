"""Answers as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from atlas.errors import one_line
from atlas.machine import size

if TYPE_CHECKING:
    import pandas as pd


def text_table(table: pd.DataFrame) -> str:
    """Return a table as aligned columns: numbers to the right, text to the left, one line per row."""
    import pandas as pd

    rows = table.astype(object).where(table.notna(), None).itertuples(index=False)
    right = [pd.api.types.is_numeric_dtype(table[name]) for name in table.columns]
    return aligned([str(name) for name in table.columns], rows, right)


def aligned(names: Sequence[str], rows: Iterable[Iterable[Any]], right: Sequence[bool]) -> str:
    """Return rows of values under their names, each column as wide as its widest cell."""
    lines = [list(names), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(_align(c, w, r) for c, w, r in zip(line, widths, right, strict=True)).rstrip() for line in lines
    )


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "—"
    return f"{value:.4g}" if isinstance(value, float) else one_line(value, 80)


def _align(cell: str, width: int, right: bool) -> str:
    return cell.rjust(width) if right else cell.ljust(width)


def text_query(answer: dict[str, Any]) -> str:
    """Return the answer of `atlas query`: the image, what the network says of it, its places, and its neighbours."""
    known = [one_line(answer[name]) for name in ("path", "label", "split") if answer.get(name)]
    which = [one_line(answer["query"]), *([f"row {answer['row']}"] if answer["row"] is not None else []), *known]
    head = ["  ".join(dict.fromkeys(which)), f"nearest in {one_line(answer['layer'])} by {answer['metric']}"]
    if answer["predictions"]:
        said = ", ".join(f"{one_line(p['prediction'], 80)} {p['probability']:.3f}" for p in answer["predictions"])
        head.insert(1, f"the network says {said}")
    places = [line for place in answer.get("places", ()) for line in text_place(place)]
    found = answer["neighbours"]
    names = list(found[0]) if found else []
    right = [all(isinstance(row[name], int | float) for row in found) for name in names]
    table = aligned(names, [[row[name] for name in names] for row in found], right)
    return "\n".join([*head, *places, "", table, *([answer["note"]] if answer["note"] else [])])


def text_place(place: dict[str, Any]) -> list[str]:
    """Return where an image stands in one layout, a line per point."""
    if "error" in place:
        return [f"{place['title']}: {place['error']}"]
    lines = [f"{place['title']} x {x:.4g}, y {y:.4g}" for x, y in zip(place["x"], place["y"], strict=True)]
    for number, (confidence, far) in enumerate(zip(place["confidence"], place["far"], strict=True)):
        if far:
            lines[number] += f": {place['note']}, so the place and the prediction mean little"
        elif confidence is not None:  # a point that was laid out with the map has none
            lines[number] += f", confidence of the place {confidence:.2f}"
    return lines


def text_suspects(answer: dict[str, Any], most: int = 20) -> str:
    """Return what `atlas suspects` says: the sentence, the first `most` rows, and where all of them are."""
    import pandas as pd

    rows = answer["rows"]
    table = pd.DataFrame(rows[:most]).drop(columns=["image_id", "train_image_id", "held_out_image_id"], errors="ignore")
    rest = [f"{most} of {len(rows)} shown; --out FILE.csv writes them all"] if len(rows) > most else []
    file = [f"written to {answer['file']}"] if answer["file"] else []
    return "\n".join([answer["title"], *(["", text_table(table)] if rows else []), *(file or rest)])


def text_preferred(answer: dict[str, Any]) -> str:
    """Return what `atlas preferred` says: what was raised and how, a row per picture, what was not drawn."""
    import pandas as pd

    table = pd.DataFrame(answer["pictures"])
    table["state"] = table["failure"].where(
        table["failure"] != "", table["converged"].map({True: "converged", False: "rising"})
    )
    shown = table[["unit", "variant", "activation", "best_real", "percentile", "steps", "state"]].round(3)
    if (shown["variant"] == 0).all():
        shown = shown.drop(columns="variant")
    lines = [
        f"raised: {answer['objective']}",
        f"images: {answer['prior']}; at every step {answer['transforms']}",
        f"percentiles are among {answer['real']}",
        "",
        text_table(shown),
    ]
    if answer["dead"]:
        lines += ["", f"dead, never varying over the real images, not drawn: units {', '.join(map(str, answer['dead']))}"]
    made = [f"written to {answer['file']}"] if answer["file"] else []
    if answer["film"]:
        made.append(f"written to {answer['film']['file']}: {answer['film']['frames']} frames, {answer['film']['seconds']} s")
    return "\n".join(lines + made)


def text_film(answer: dict[str, Any]) -> str:
    """Return what `atlas film` says: the file, a row per layer, and the layers that were left out."""
    import pandas as pd

    pages = f"{answer['frames']} page{'s' if answer['frames'] > 1 else ''}, {answer['seconds']} s"
    lines = [
        f"written to {answer['file']}: {pages}, {answer['width']} × {answer['height']} pixels",
        "",
        text_table(pd.DataFrame(answer["layers"])),
    ]
    if any(row["of"] > 1 for row in answer["layers"]):
        lines += ["", "of: how many records of the layer stand; --record or --param takes another than that of most units"]
    if answer["left_out"]:
        names = ", ".join(map(one_line, answer["left_out"]))
        lines += ["", f"left out, for `atlas preferred ATLAS --layer LAYER` has drawn none of their units: {names}"]
    return "\n".join(lines)


def text_icons(answer: dict[str, Any]) -> str:
    """Return what `atlas icons` says: a row per grid, and where the picture is."""
    import pandas as pd

    lines = [
        f"icons of {answer['layer']} on its {answer['method']} layout, drawn in {answer['prior']}",
        "",
        text_table(pd.DataFrame(answer["grids"])),
        "",
        "failed: the cosine of an icon's activation to its cell's mean is below 0.5; few: of fewer than 5 images",
    ]
    return "\n".join(lines + ([f"written to {answer['file']}"] if answer["file"] else []))


def text_propagation(answer: dict[str, Any]) -> str:
    """Return what `atlas propagate` says: the image, a row per layer, and where the picture is."""
    import pandas as pd

    names = list(answer["layers"][0]["argues"])
    table = pd.DataFrame([_propagated(layer, names) for layer in answer["layers"]])
    known = [f"labelled {one_line(answer['label'])}"] if answer["label"] else []
    said = f"predicted {one_line(answer['predicted'])} {answer['probability']:.3f}"
    lines = [", ".join([one_line(answer["image"]), *known, said]), "", text_table(table), "",
             "for, rank: what the layer argues for the class in all, and its place among the classes; cell: the usual class "
             "of the layer's cell nearest to the whole image, and its share"]  # fmt: skip
    if answer["left_out"]:
        lines.append(f"recorded and not shown: {', '.join(map(one_line, answer['left_out']))}; --layer shows them")
    return "\n".join(lines + ([f"written to {answer['file']}"] if answer["file"] else []))


def _propagated(layer: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    near = (layer["cells"] or {}).get("nearest") or {}
    argued = {
        title: value
        for name in names
        for title, value in (
            (f"for {one_line(name, 24)}", layer["argues"][name]["total"]),
            ("rank" if name == names[0] else f"its rank {names.index(name) + 1}", layer["argues"][name]["rank"]),
        )
    }
    return {
        "layer": layer["layer"],
        "places": "×".join(map(str, layer["size"])),
        **argued,
        "argues most for": layer["best"][0]["output"],
        "cell": near.get("label"),
        "share": near.get("purity"),
        "cosine": near.get("cosine"),
    }


LEAST_SCORE = 0.005  # of an unusual association: below it reads 0.00, as on the page


def text_associations(answer: dict[str, Any], most: int = 15) -> str:
    """Return what `atlas associations` says: the first `most` cells and units, or why there is no such list."""
    lines: list[str] = []
    for title, told in ((f"cells of {answer['layer']} on its {answer['method']} layout", answer["cells"]),
                        (f"units of {answer['layer']}", answer["units"])):  # fmt: skip
        lines += [*([""] if lines else []), title, *_ranked(_unusual(told), most)]
    return "\n".join(lines)


def _unusual(told: dict[str, Any]) -> dict[str, Any]:
    """Return a ranked list without the rows whose score would read as nothing, and how many they are."""
    rows = [row for row in told["rows"] if row["score"] >= LEAST_SCORE]
    usual = {"that are as usual": len(told["rows"]) - len(rows)}
    return told | {"rows": rows, "left_out": {**told["left_out"], **usual}}


def _ranked(told: dict[str, Any], most: int) -> list[str]:
    import pandas as pd

    if told["reason"]:
        return [told["reason"]]
    rows = told["rows"]
    table = pd.DataFrame(rows[:most], columns=told["columns"])
    rest = [f"{most} of {len(rows)} shown; --json prints all"] if len(rows) > most else []
    left = [f"{count} {why}" for why, count in told["left_out"].items() if count]
    return [*([text_table(table)] if rows else []), *rest, *([f"left out: {', '.join(left)}"] if left else [])]


def text_class_atlas(answer: dict[str, Any], most: int = 24) -> str:
    """Return what `atlas class-atlas` says: how many points argue, how they are labelled, the cells between two classes."""
    classes = " or ".join(answer["classes"])
    lines = [
        f"{answer['points']} points of {answer['images']} images argue for {classes} in {answer['layer']} ({answer['by']})"
    ]
    labels = [f"{one['label']} {one['points']}" for one in answer["labels"][:8]]
    lines += [f"labelled {', '.join(labels)}{', …' if len(answer['labels']) > 8 else ''}"] if labels else []
    if answer["cells"] is not None:
        left, right = answer["classes"]
        told = answer["cells"]
        lines += [
            "",
            f"cells of its {answer['method']} layout from {left} (−1) to {right} (1)",
            *_ranked(told | {"left_out": {}}, most),
        ]
        left_out = [f"{count} of grid {size}" for size, count in told["left_out"].get("left_out", {}).items() if count]
        lines += (
            [f"left out, of fewer than 5 such points or a tenth of their own: {', '.join(left_out)}"] if left_out else []
        )
    return "\n".join([*lines, *([answer["file"]] if answer["file"] else [])])


def text_depth(answer: dict[str, Any]) -> str:
    """Return what `atlas depth` says."""
    import pandas as pd

    table = pd.DataFrame(answer["rows"]).round({"purity": 4, "attribution": 4})
    without = [f"without cells: {', '.join(answer['without'])} (--make makes them)"] if answer["without"] else []
    return "\n".join([text_table(table), *without])


def text_graph(answer: dict[str, Any], most: int = 12) -> str:
    """Return what `atlas graph` says: size, homophily, communities, hubness, and the hubs and orphans by name."""
    import pandas as pd

    found, lists = answer["hubness"], answer["communities"]
    number = f"{answer['nodes']} {answer['split']}" if answer["split"] != "all" else f"{answer['nodes']}"
    lines = [
        f"graph of {answer['layer']}: {number} points, {answer['edges']} mutual edges of {answer['k']} nearest "
        f"({answer['metric']}, {'exact' if answer['exact'] else 'approximate'})",
        f"alone: {answer['alone']} points without an edge; components: {answer['components']}",
        *(_homophily(what, told) for what, told in answer["homophily"].items()),
        f"communities: {len(lists)}, modularity {_rounded(answer['modularity'], 3)}; "
        + ", ".join(f"{one['nodes']} {one_line(one['name'], 40)}" for one in lists[:6]),
        f"hubness: skewness {_rounded(found['skewness'], 2)} (lists drawn at random: {_rounded(found['expected'], 2)}); "
        f"{found['hubs']} hubs hold {found['share'] or 0:.1%} of all places in lists, {found['orphans']} are in no list",
    ]
    if found["bad"] is not None:
        bad = f" of all, {found['bad_in_hubs']:.1%} of the hubs'" if found["bad_in_hubs"] is not None else " of all"
        lines.append(f"places in the list of another label: {found['bad']:.1%}{bad}; bad hubs: {found['bad_hubs']}")
    for title in ("crossing", "hubs", "orphans"):
        if answer[title]:
            lines += ["", f"{title}:", text_table(pd.DataFrame(answer[title][:most]))]
    return "\n".join([*lines, *([answer["file"]] if answer["file"] else [])])


def _homophily(what: str, told: dict[str, Any]) -> str:
    if told["share"] is None:
        return f"edges of one {what}: none has one at both ends"
    control = f"{told['control']:.1%} ± {told['deviation']:.1%} with {what}s shuffled"
    return f"edges of one {what}: {told['share']:.1%} of {told['edges']} ({control})"


def _rounded(value: float | None, digits: int) -> str:
    return "not defined" if value is None else f"{value:.{digits}f}"


def text_estimate(cost: dict[str, Any]) -> str:
    """Return what `atlas build --dry-run` says."""
    minutes, seconds = divmod(cost["seconds"], 60)
    return "\n".join(
        [
            f"images   {cost['images']}",
            f"layers   {', '.join(cost['layers'])}",
            f"layouts  {', '.join(cost['layouts'])}",
            f"points   {cost['points']}",
            f"on disk  about {size(cost['bytes'])}",
            f"time     about {minutes} min {seconds} s on this machine, an estimate from 16 images; nothing was built",
        ]
    )


def text_accuracy(split: str, found: dict[str, Any]) -> str:
    """Return an accuracy in words: ``0.9421 on held-out (9421 of 10000)``."""
    on = "" if split == "unknown" else f" on {split}"
    return f"{found['accuracy']:.4f}{on} ({found['right']} of {found['of']})"


def text_counts(counts: dict[str, Any]) -> str:
    """Return the counts of an images record in words: what there is, what was left out."""
    of = f" of {counts['available']}, in proportion over the labels" if counts.get("limit") else ""
    splits = ", ".join(f"{n} {split}" for split, n in counts["splits"].items() if n and split != "unknown")
    kinds = ("undecodable", "duplicates", "unlabelled", "ignored", "refused")
    rest = [f"{counts[kind]} {kind}" for kind in kinds if counts.get(kind)]
    return "; ".join([f"{counts['images']}{of}", *([splits] if splits else []), *rest])


def text_export(told: dict[str, Any]) -> str:
    """Return what `atlas export` says: the files, how many images of how many, what was left out, how it is opened."""
    first, *more = told["files"]
    files = f"{first} and {len(more)} more" if len(more) > 3 else ", ".join([first, *more])
    lines = [f"{told['format']}: {told['images']} of {told['of']} images: {files}", *told["notes"]]
    return "\n".join([*lines, f"open with {told['open']}"])


def text_report(told: dict[str, Any]) -> str:
    """Return what `atlas report` says: the file and its size, then what was chosen and left out."""
    lines = [f"{one_line(told['file'])}  ({size(told['bytes'])}, {told['images']:,} of {told['of']:,} images)"]
    return "\n".join(lines + [f"  {one_line(words)}" for words in told["sentences"]])


def text_summary(summary: dict[str, Any]) -> str:
    """Return what `atlas show` says."""
    import pandas as pd

    network = summary["network"]
    lines = [
        f"{one_line(summary['title'])}  ({one_line(summary['folder'])})",
        f"network   {one_line(network['title'])}  ({one_line(network['spec'])}, {network['parameters']:,} parameters, "
        f"{network['identity']})",
        f"images    {text_counts(summary['images'])}",
        *(f"          {one_line(path)}: {one_line(error)}" for path, error in summary["undecodable"]),
    ]
    if len(summary["networks"]) > 1:
        lines += [f"          one of {len(summary['networks'])} networks:"]
        lines += [f"          {n['number']}  {n['title']}  {n['layers']}" for n in summary["networks"]]
    lines += [f"precision {summary['precision']}"] if summary["precision"] else []
    lines += [f"classes   {summary['class_map']}"] if summary["class_map"] else []
    lines += [f"accuracy  {text_accuracy(split, found)}" for split, found in summary["accuracy"].items()]
    lines += ["", text_table(pd.DataFrame(summary["layers"]))]
    if summary["layouts"]:
        lines += ["", text_table(pd.DataFrame(summary["layouts"]).drop(columns="name"))]
    return "\n".join([*lines, "", text_table(pd.DataFrame(summary["artifacts"]))])
