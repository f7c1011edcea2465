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
    head = [f"{answer['query']}  ({answer['layer']}, {answer['metric']})"]
    if answer["predictions"]:
        head.append("  ".join(f"{p['prediction']} {p['probability']:.3f}" for p in answer["predictions"][:5]))
    return "\n".join([*head, text_table(pd.DataFrame(answer["neighbours"]))])


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


def text_summary(summary: dict[str, Any]) -> str:
    """Return what `atlas show` says."""
    network = summary["network"]
    lines = [
        f"{summary['title']}  ({summary['folder']})",
        f"network   {network['title']}  ({network['spec']}, {network['parameters']:,} parameters, {network['identity']})",
        "images    " + ", ".join(f"{name} {value}" for name, value in summary["images"].items()),
    ]
    lines += [f"classes   {summary['class_map']}"] if summary["class_map"] else []
    lines += [
        f"accuracy  {split}: {a['accuracy']:.4f} ({a['right']} of {a['of']})" for split, a in summary["accuracy"].items()
    ]
    lines += ["", text_table(pd.DataFrame(summary["layers"]))]
    if summary["layouts"]:
        lines += ["", text_table(pd.DataFrame(summary["layouts"]).drop(columns="name"))]
    return "\n".join([*lines, "", text_table(pd.DataFrame(summary["artifacts"]))])
