"""Answers as plain text for a terminal."""

from __future__ import annotations

from typing import Any

import pandas as pd

from atlas.errors import one_line
from atlas.machine import size


def text_table(table: pd.DataFrame) -> str:
    """Return a table as aligned columns: numbers to the right, text to the left, one line per row."""
    cells = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    names = [str(name) for name in table.columns]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    right = [pd.api.types.is_numeric_dtype(table[name]) for name in table.columns]
    lines = [names, *cells]
    return "\n".join(
        "  ".join(_align(c, w, r) for c, w, r in zip(line, widths, right, strict=True)).rstrip() for line in lines
    )


def _cell(value: Any) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return "—"
    return f"{value:.4g}" if isinstance(value, float) else one_line(value, 80)


def _align(cell: str, width: int, right: bool) -> str:
    return cell.rjust(width) if right else cell.ljust(width)


def text_query(answer: dict[str, Any]) -> str:
    """Return the answer of `atlas query`: the image, what the network says of it, and its neighbours."""
    known = [answer[name] for name in ("path", "label", "split") if answer.get(name)]
    which = [answer["query"], *([f"row {answer['row']}"] if answer["row"] is not None else []), *known]
    head = ["  ".join(dict.fromkeys(which)), f"nearest in {answer['layer']} by {answer['metric']}"]
    if answer["predictions"]:
        said = ", ".join(f"{p['prediction']} {p['probability']:.3f}" for p in answer["predictions"])
        head.insert(1, f"the network says {said}")
    table = pd.DataFrame(answer["neighbours"])
    return "\n".join([*head, "", text_table(table), *([answer["note"]] if answer["note"] else [])])


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


def text_summary(summary: dict[str, Any]) -> str:
    """Return what `atlas show` says."""
    network = summary["network"]
    lines = [
        f"{summary['title']}  ({summary['folder']})",
        f"network   {network['title']}  ({network['spec']}, {network['parameters']:,} parameters, {network['identity']})",
        f"images    {text_counts(summary['images'])}",
        *(f"          {path}: {error}" for path, error in summary["undecodable"]),
    ]
    lines += [f"precision {summary['precision']}"] if summary["precision"] else []
    lines += [f"classes   {summary['class_map']}"] if summary["class_map"] else []
    lines += [f"accuracy  {text_accuracy(split, found)}" for split, found in summary["accuracy"].items()]
    lines += ["", text_table(pd.DataFrame(summary["layers"]))]
    if summary["layouts"]:
        lines += ["", text_table(pd.DataFrame(summary["layouts"]).drop(columns="name"))]
    return "\n".join([*lines, "", text_table(pd.DataFrame(summary["artifacts"]))])
