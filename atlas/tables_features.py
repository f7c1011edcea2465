"""Answers about features as plain text for a terminal: volumes, levels, properties, selectivity, extractors."""

from __future__ import annotations

from typing import Any

from atlas.errors import one_line
from atlas.machine import size
from atlas.tables import text_table

MOST = 12  # units of each kind that are listed


def _frame(rows: list[dict[str, Any]], digits: int = 3) -> str:
    import pandas as pd

    table = pd.DataFrame(rows)
    numbers = dict.fromkeys(table.select_dtypes("number").columns, digits)
    return text_table(table.round(numbers)) if len(table) else "none"


def text_volume(answer: dict[str, Any]) -> str:
    """Return what `atlas volume` says."""
    count = len(answer["images"])
    lines = [f"{count} image{'s' if count > 1 else ''}, layers {', '.join(map(one_line, answer['layers']))}"]
    lines.append(
        f"class activation map of {answer['cam']}"
        if answer["cam"]
        else "no class activation map: features only, or not wanted"
    )
    lines += [f"kept as {answer['kept']}: the explorer and the report slice it"] if answer["kept"] else []
    return "\n".join(lines + ([str(answer["file"])] if answer["file"] else []))


def text_levels(answer: dict[str, Any]) -> str:
    """Return what `atlas levels` says."""
    return "\n".join(
        [
            f"{answer['images']} images; brightness and edges: largest correlation of an active channel with the input's, "
            "_other with another image's",
            _frame(answer["rows"]),
            *([answer["file"]] if answer["file"] else []),
        ]
    )


def text_properties(answer: dict[str, Any]) -> str:
    """Return what `atlas properties` says."""
    lines = ["rank correlation with confidence and being right, of all images and within the classes:"]
    lines += [_frame(answer["relations"]), "", "in bins of equally many images:", _frame(answer["bins"])]
    if answer["sweeps"]:
        lines += ["", "one property changed at a time:", _frame(answer["sweeps"])]
    return "\n".join(lines + ([answer["file"]] if answer["file"] else []))


def text_selectivity(answer: dict[str, Any]) -> str:
    """Return what `atlas selectivity` says: how many units are tuned, and those that are most."""
    rows, tuned = answer["rows"], answer["tuned"]
    words = [f"{tuned[name]} of {len(rows)} units have an {name} index of {answer['index']} or more" for name in tuned]
    lines = [f"units of {one_line(answer['layer'])} by {answer['functional']}", *words]
    for name in ("orientation_index", "hue_index"):
        best = sorted((row for row in rows if row[name] is not None), key=lambda row: -row[name])[:MOST]
        lines += ["", f"by {name}:", _frame(best)] if best else []
    if answer["groups"]:
        first, second = map(one_line, answer["groups"])
        counts = " and ".join(map(str, answer["group_images"]))
        lines += ["", f"auc: {first} over {second} ({counts} images); chance stays within ½ ± {answer['chance']:.3f}"]
        lines += [_frame(sorted((row for row in rows if row["auc"] is not None), key=lambda row: -row["auc"])[:MOST])]
    return "\n".join(lines + ([answer["file"]] if answer["file"] else []))


def text_extractor(answer: dict[str, Any]) -> str:
    """Return what `atlas extractor` says."""
    units = "all units" if answer["units"] is None else f"{len(answer['units'])} units"
    lines = [
        f"{one_line(answer['network'])} cut at {one_line(answer['layer'])}, {units} by {answer['functional']}: "
        f"{answer['file']}, {size(answer['bytes'])}",
        f"takes {answer['input']}; torch.export.load({answer['file']!r}).module() runs it",
    ]
    for name, found in answer.get("probes", {}).items():
        lines.append(
            f"{name}: accuracy {found['accuracy']:.4f} ({found['low']:.3f}–{found['high']:.3f}) on {found['test']} images,"
            f" fitted on {found['train']}; {found['dimensions']} numbers an image, chance {found['chance']:.3f}"
        )
    return "\n".join(lines)
