"""The public `propagate`: one image through the network as numbers for a script and as one strip to look at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.atlas import Atlas, open_atlas
from atlas.maps.cell_looks import usual_label
from atlas.maps.records import Cells
from atlas.pages.colours import NONE, class_colours
from atlas.patterns.propagation import LayerPlaces, NearestCells, rank_of, strongest
from atlas.propagated import best
from atlas.propagating import Propagation, propagation

if TYPE_CHECKING:
    from atlas.pages.figures_propagation import Column


def propagate(
    atlas: str | os.PathLike[str] | Atlas,
    image: Any,
    *,
    layers: Sequence[str] = (),
    size: int | None = None,
    network: str | int | None = None,
    out: str | os.PathLike[str] | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Return what each layer makes of one image, place by place, as plain values; `out` names a picture of it as a strip.

    ``layers`` has per layer ``size`` (y, x), ``magnitude`` [y][x], ``argues`` (by output's name) with ``places`` [y][x],
    ``total`` and ``rank``, ``best`` (the outputs it argues for most), ``cells``: those that its places are most like, and
    ``units``: the strongest ones of the whole image, with their values.
    Errors as of `atlas.propagating.propagation`.
    """
    from atlas.pages import figures
    from atlas.verbs import check_writable, damage_told

    if out is not None:
        check_writable(out, figures.SUFFIXES)
    opened = atlas if isinstance(atlas, Atlas) else open_atlas(atlas, network=network)
    with damage_told(opened.store.root):
        found = propagation(opened, image, list(layers) or None, size=size, device=device)
    if out is not None:
        write_strip(opened, found, Path(out))
    return {
        "image": str(image),
        "row": found.row,
        "label": found.label,
        "predicted": found.outputs[found.predicted],
        "probability": float(found.probability[found.predicted]),
        "file": None if out is None else str(out),
        "left_out": found.left_out,
        "layers": [told(found, layer) for layer in found.layers],
    }


def told(found: Propagation, layer: LayerPlaces) -> dict[str, Any]:
    """Return one layer as plain values."""
    return {
        "layer": layer.layer,
        "size": list(layer.size),
        "magnitude": _rounded(layer.magnitude),
        "argues": {
            found.outputs[output]: {
                "total": _number(layer.total[output]),
                "rank": rank_of(layer.total, output),
                "places": _rounded(layer.argued[which]),
            }
            for which, output in enumerate(found.asked)
        },
        "of": len(layer.total),
        "best": [{"output": found.outputs[output], "total": _number(layer.total[output])} for output in best(layer.total)],
        "cells": None if layer.nearest is None else _cells(found, layer.layer, layer.nearest),
        "units": [{"unit": unit, "value": _number(layer.whole[unit])} for unit in strongest(layer.whole)],
    }


def _cells(found: Propagation, layer: str, near: NearestCells) -> dict[str, Any]:
    own = found.cells[layer]
    return {
        "layout": own.method,
        "grid": near.size,
        "means_of": own.functional,
        "icons": own.icons is not None,
        "nearest": None
        if near.whole < 0
        else cell_told(found, near.cells, near.whole) | {"cosine": _number(near.whole_cosine)},
        "places": near.place.tolist(),
        "cosine": _rounded(near.cosine),
    }


def cell_told(found: Propagation, cells: Cells, cell: int) -> dict[str, Any]:
    """Return what is known of one cell: its number, column, row, images, label, purity, what it argues for."""
    code = int(usual_label(cells)[cell])
    output = int(cells.best[cell, 0]) if cells.best.shape[1] else -1
    return {
        "cell": cell,
        "column": int(cells.column[cell]),
        "row": int(cells.row[cell]),
        "images": int(cells.images[cell]),
        "label": cells.labels[code] if code >= 0 else None,
        "purity": _number(cells.purity[cell]),
        "argues_for": found.outputs[output] if 0 <= output < len(found.outputs) else None,
    }


def _number(value: Any) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _rounded(values: np.ndarray) -> list[list[float | None]]:
    return [[_number(value) for value in row] for row in values.tolist()]


# -- as a picture ---------------------------------------------------------------------------------------------------------


def write_strip(atlas: Atlas, found: Propagation, path: Path) -> None:
    """Write one strip: the image, then a column per layer in order of execution."""
    from atlas.pages import figures

    table = atlas.network_record.layers.set_index("name")
    columns = [column(found, layer, str(table.loc[layer.layer, "shape"])) for layer in found.layers]
    said = [f"predicted {found.outputs[found.predicted]}", f"probability {found.probability[found.predicted]:.1%}"]
    names = [found.outputs[output] for output in found.asked]
    picture = figures.propagation_strip(
        columns, picture=found.picture, caption=[found.label or found.name, *said], asked=names,
        title=f"How {found.name} goes through {atlas.network_record.title}", wrong=found.true not in (None, found.predicted),
    )  # fmt: skip
    figures.save(picture, path)


def column(found: Propagation, layer: LayerPlaces, shape: str) -> Column:
    """Return what one layer's column of the strip shows."""
    from atlas.pages.figures_propagation import Column

    near, own = layer.nearest, found.cells.get(layer.layer)
    pictures = None if near is None or own is None or own.icons is None else np.asarray(own.icons.images)
    return Column(
        title=layer.layer, shape=shape, argued=layer.argued, magnitude=layer.magnitude,
        place=None if near is None else near.place, icons=pictures,
        colours=[] if near is None else cell_colours(near.cells),
        cell=-1 if near is None else near.whole, cell_words=cell_words(found, layer),
        bars=[(found.outputs[output], float(layer.total[output]), output in found.asked) for output in best(layer.total)],
        units=strongest(layer.whole),
        ranks=[f"rank {rank_of(layer.total, o)} of {len(layer.total)}: {found.outputs[o]}" for o in found.asked],
    )  # fmt: skip


def cell_colours(cells: Cells) -> list[str]:
    """Return the colour of each cell's most frequent class, as the explorer has it."""
    usual = usual_label(cells)
    colours = class_colours(len(cells.labels), np.flatnonzero(cells.members.sum(axis=0)).tolist())
    return [colours[code] if code >= 0 else NONE for code in usual.tolist()]


def cell_words(found: Propagation, layer: LayerPlaces) -> list[str]:
    """Return what is said of the cell that the image as a whole is nearest to."""
    near = layer.nearest
    if near is None:
        return ["no cells of this layer:", "`atlas icons` makes them"]
    if near.whole < 0:
        return ["nothing is active here"]
    cell = cell_told(found, near.cells, near.whole)
    purity = "" if cell["purity"] is None else f" {cell['purity']:.0%}"
    argues = [f"argues: {cell['argues_for']}"] if cell["argues_for"] else []
    where = f"{cell['column']}, {cell['row']} of {near.size}×{near.size}"
    return [f"{cell['label'] or 'no label'}{purity}", *argues, f"cosine {near.whole_cosine:.2f}", f"cell {where}"]
