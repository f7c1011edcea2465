"""What the page fetches of class atlases: the cells from one class to another, and the layers side by side.

Both are over all images of the atlas, in a report of some of them too: as the cells were counted.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from atlas.activations.attributed import attributions_of
from atlas.activations.records import Activations, Attributions, Predictions, Vectors
from atlas.data.records import Images
from atlas.errors import AtlasError
from atlas.maps.records import Cells
from atlas.pages.cell_answers import argued_outputs, cells_part, predictions_of
from atlas.pages.serving import KEY, NUMBER, Answer, Routes, as_json, owner_of, tidy
from atlas.pages.view import View
from atlas.patterns.class_atlas import between, cells_between
from atlas.patterns.depth import layer_depth

BINS = 20  # of the points along the axis


@functools.lru_cache(maxsize=256)
def difference(key: str, left: str, right: str) -> Answer:
    """Return the cells from one class to another: a list for each column, and how the points between them are labelled.

    `left` and `right` count through the outputs that `cell_answers.table` names.
    """
    view = owner_of(key, "cells")
    cells: Cells = view.store.read(key, Cells)
    one, other = (_output(cells, number) for number in (left, right))
    points, axis = between(_attribution(view, key), one, other)
    table = cells_between(cells, points, axis)
    told: dict[str, Any] = {name: table[name].tolist() for name in ("cell", "points")}
    told |= {name: tidy(table[name].to_numpy(float)) for name in ("axis", "share")}
    return as_json(told | {"of": len(points), "left_out": list(table.attrs["left_out"].values()),
                           "histogram": _histogram(view, key, points, axis, one, other)})  # fmt: skip


def _output(cells: Cells, number: str) -> int:
    there = argued_outputs(cells)
    if int(number) >= len(there):
        raise AtlasError(f"no class {number} among those that these cells argue for: there are {len(there)}")
    return int(there[int(number)])


@functools.lru_cache(maxsize=8)
def _attribution(view: View, key: str) -> Vectors:
    """Return the attribution that some cells were made with, its rows read when asked for."""
    names = view.inputs(key, "attributions")
    if not names:
        raise AtlasError(f"the cells of {key} have no attribution: attribute their layer first")
    return attributions_of(view.store, view.store.read(names[0], Attributions))


def _histogram(view: View, key: str, points: np.ndarray, axis: np.ndarray, left: int, right: int) -> dict[str, list[int]]:
    """Return how many points lie in each of BINS steps of the axis: labelled as the left class, the right one, otherwise."""
    images = view.store.read(view.images_name, Images)  # of a report's part too, as the points are
    source = view.store.read(view.inputs(key, "activations")[0], Activations)
    codes = np.asarray(images.codes)[np.asarray(source.point_image)[points]]
    name = predictions_of(view, key)
    said: Predictions | None = None if name is None else view.store.read(name, Predictions)
    known = said is not None and said.map.labels == images.labels
    wanted = said.map.labels_of(np.array([left, right])).tolist() if said is not None and known else [-1, -1]
    bins = np.clip(((np.nan_to_num(axis) + 1) / 2 * BINS).astype(int), 0, BINS - 1)
    finite = np.isfinite(axis)
    sides = {"left": finite & (codes == wanted[0]) & (codes >= 0), "right": finite & (codes == wanted[1]) & (codes >= 0)}
    sides["others"] = finite & ~sides["left"] & ~sides["right"]
    return {side: np.bincount(bins[own], minlength=BINS).tolist() for side, own in sides.items()}


# -- the layers side by side ------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=32)
def depth(key: str) -> Answer:
    """Return the layers side by side, of the network and the method of some cells: a list for each column.

    ``without`` are the network's layers that have no cells of such a layout.
    """
    view = owner_of(key, "cells")
    network, method = _made_by(view, key)
    found: dict[str, str] = {}
    for part in cells_part(view):
        layers = view.read(part["key"], Cells).layers
        if len(layers) == 1 and _made_by(view, part["key"]) == (network, method):
            found[layers[0]] = part["key"]
    order = [space.layers[0] for space in view.spaces if len(space.layers) == 1 and space.network == network]
    records = [view.store.read(found[layer], Cells) for layer in order if layer in found]
    sizes = sorted(set.intersection(*(set(record.sizes) for record in records)))
    if not sizes:
        raise AtlasError("these layers' grids have no size in common: make their cells of one")
    table = layer_depth(records, sizes=sizes)
    told: dict[str, Any] = {name: table[name].tolist() for name in ("layer", "size", "cells", "few")}
    told |= {name: tidy(table[name].to_numpy(float)) for name in ("purity", "attribution")}
    return as_json(told | {"method": method, "sizes": sizes, "without": [layer for layer in order if layer not in found]})


def _made_by(view: View, key: str) -> tuple[str | None, str]:
    """Return the network and the method of the layout that some cells divide."""
    layout = view.inputs(key, "layout")[0]
    space = next((space for space in view.spaces if layout in space.layouts), None)
    return (space.network if space else None), str(view.headers[layout]["fields"]["method"])


ROUTES: Routes = [
    (rf"/between/{KEY}/{NUMBER}/{NUMBER}\.json", difference),
    (rf"/depth/{KEY}\.json", depth),
]
