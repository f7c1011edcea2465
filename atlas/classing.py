"""What the verbs of class atlases do, as functions: `class_atlas`, `depth`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlas import argued
from atlas.atlas import Atlas, open_atlas
from atlas.patterns.class_atlas import TOP
from atlas.progress import Progress
from atlas.verbs import check_writable, damage_told, listed, write_table

TABLES = (".csv", ".parquet")


def class_atlas(
    atlas: str | os.PathLike[str] | Atlas,
    output: str | int,
    against: str | int | None = None,
    *,
    layer: str | None = None,
    method: str = "umap",
    size: int | None = None,
    by: str = "both",
    most: int = TOP,
    network: str | int | None = None,
    out: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Return which points of a layer argue for a class, or for either of two; write them to `out`, CSV or Parquet.

    ``points`` and ``images`` are how many; ``labels`` has how many points are labelled how, the most frequent first; with
    `against`, ``cells`` are those along the axis between the two, as of `atlas.argued.class_cells`, with the reason where
    there are none. Errors as of `atlas.argued.class_points`.
    """
    if out is not None:
        check_writable(out, TABLES)
    opened = atlas if isinstance(atlas, Atlas) else open_atlas(atlas, network=network)
    with damage_told(opened.store.root):
        table = argued.class_points(opened, output, against, layer, by=by, most=most)
        names = argued.output_names(opened)
        wanted = [names[argued.find_output(opened, one)] for one in (output, against) if one is not None]
        if size is not None and against is not None:
            opened.cells(layer, method, size=size)  # another grid is a slip of the hand, no reason to list none
        cells = (
            None
            if against is None
            else listed(lambda: argued.class_cells(opened, output, against, layer, method, size=size, by=by, most=most))
        )
    if out is not None:
        write_table(table, Path(out))
    counts = table["label"].value_counts()
    return {
        "layer": opened.layer_name(layer),
        "method": method,
        "classes": wanted,
        "by": by,
        "points": len(table),
        "images": int(table["image"].nunique()),
        "labels": [{"label": str(label), "points": int(count)} for label, count in counts.items()],
        "cells": cells,
        "file": None if out is None else str(out),
    }


def depth(
    atlas: str | os.PathLike[str] | Atlas,
    *,
    method: str = "umap",
    sizes: Sequence[int] = (),
    make: bool = False,
    network: str | int | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return the layers side by side: ``rows`` of label purity and largest attribution, ``without`` (layers with no cells).

    With `make`, layers are attributed and divided into cells first where they are not. Errors as of `atlas.argued.depth`.
    """
    opened = atlas if isinstance(atlas, Atlas) else open_atlas(atlas, network=network)
    with damage_told(opened.store.root):
        if make:
            from atlas.arguing import make_depth

            opened = make_depth(opened, method, sizes=list(sizes) or None, device=device, progress=progress)
        table = argued.depth(opened, method, sizes=list(sizes) or None)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return {"method": method, "rows": rows, "without": table.attrs["without"]}
