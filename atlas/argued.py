"""What an opened atlas holds of attributions and cells, read without torch; `atlas.arguing` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from atlas.activations.attributed import attributions_of
from atlas.activations.records import Activations, Attributions, Vectors
from atlas.errors import AtlasError, choose, one_line
from atlas.maps.cell_looks import cells_table
from atlas.maps.records import Cells
from atlas.patterns.associations import crossing_units, unusual_cells
from atlas.patterns.class_atlas import TOP, arguing_points, between, cells_between
from atlas.patterns.confused import SHUFFLES, confused_cells
from atlas.patterns.depth import layer_depth

if TYPE_CHECKING:
    from atlas.atlas import Atlas


def attribution(atlas: Atlas, layer: str | None = None) -> Vectors:
    """Return how much each point of a layer argues for each output, [point, output], its rows read when asked for.

    The points are those of the layer's vectors. AtlasError where the layer was not attributed.
    """
    of = atlas.activation_name(layer)
    names = [name for name in atlas.names("attributions") if atlas.inputs(name, "activations") == [of]]
    if not names:
        there = ", ".join(dict.fromkeys(atlas.field(name, "layer") for name in atlas.names("attributions"))) or "none"
        asked = one_line(atlas.field(of, "layer"))
        raise AtlasError(
            f"layer {asked} has no attribution (those that have: {there}): attribute it first, with "
            f"atlas.arguing.attribute, or with its icons: `atlas icons {one_line(atlas.store.root)} -l {asked}`"
        )
    return attributions_of(atlas.store, atlas.store.read(names[-1], Attributions))


def cells_name(atlas: Atlas, layer: str | None = None, method: str = "umap") -> str:
    """Return the name of the newest cells of a layout; of several layers joined by ``+``, of their joint one."""
    layers = [atlas.layer_name(part) for part in (layer or atlas.default_layer).split("+")]
    wanted = set(atlas.names("layout", layers=layers, method=method))
    names = [name for name in atlas.names("cells") if wanted.issuperset(atlas.inputs(name, "layout"))]
    if not names:
        there = dict.fromkeys(_title(atlas, name) for name in atlas.names("cells"))
        raise choose("cells", f"{method} of {' + '.join(layers)}", there)
    return names[-1]


def _title(atlas: Atlas, name: str) -> str:
    layout = atlas.headers[atlas.inputs(name, "layout")[0]]["fields"]
    return f"{layout['method']} of {' + '.join(layout['layers'])}"


def cells(atlas: Atlas, layer: str | None = None, method: str = "umap") -> Cells:
    """Return the cells of a layout; AtlasError with those there are where it has none."""
    return atlas.store.read(cells_name(atlas, layer, method), Cells)


def cells_frame(atlas: Atlas, layer: str | None = None, method: str = "umap", *, size: int | None = None) -> pd.DataFrame:
    """Return one row per cell, of the grid of one size or of all; columns as of `atlas.maps.cell_looks.cells_table`."""
    return cells_table(cells(atlas, layer, method), output_names(atlas), size=size)


def output_names(atlas: Atlas) -> list[str]:
    """Return the names of the network's outputs; none for a network that yields features only."""
    return [] if atlas.predictions is None else list(atlas.predictions.map.names)


def unusual(atlas: Atlas, layer: str | None = None, method: str = "umap", *, size: int | None = None) -> pd.DataFrame:
    """Return a layout's cells by how unusual it is what they argue for; as of `atlas.patterns.associations.unusual_cells`.

    Without cells, attribution, labels or predictions AtlasError is raised.
    """
    if atlas.predictions is None:
        raise AtlasError("this network yields features only, so that no cell argues for a class: take a classifier")
    return unusual_cells(cells(atlas, layer, method), atlas.predictions.map, size=size)


def crossing(atlas: Atlas, layer: str | None = None) -> pd.DataFrame:
    """Return a layer's units by how evenly two classes share their top images: `atlas.patterns.associations.crossing_units`.

    Without statistics or labels AtlasError is raised.
    """
    return crossing_units(atlas.statistics(layer), atlas.image_record.codes, atlas.image_record.labels)


def confused(
    atlas: Atlas, layer: str | None = None, method: str = "umap", *, size: int, shuffles: int = SHUFFLES, seed: int = 0
) -> pd.DataFrame:
    """Return the cells of a layout where one class is taken for another: `atlas.patterns.confused.confused_cells`.

    Without labels that all are outputs of the network AtlasError is raised.
    """
    said = atlas.predictions
    if said is None or not said.map.complete:
        raise AtlasError("right and wrong are not defined here, so nothing is confused: give labels and a class map")
    name = cells_name(atlas, layer, method)
    points = atlas.store.read(atlas.inputs(name, "activations")[0], Activations).point_image
    images = atlas.image_record
    return confused_cells(
        atlas.store.read(name, Cells), points, images.codes, said.map.labels_of(said.prediction), images.labels,
        size=size, shuffles=shuffles, seed=seed,
    )  # fmt: skip


# -- class atlases --------------------------------------------------------------------------------------------------------


def find_output(atlas: Atlas, asked: str | int) -> int:
    """Return the number of the output that is called by its name, by the one label it stands for, or by its number."""
    if atlas.predictions is None:
        raise AtlasError("this network yields features only, so that no point argues for a class: take a classifier")
    names, text = atlas.predictions.map.names, str(asked)
    if text in names:
        return names.index(text)
    labels = atlas.predictions.map.labels
    of_label = [n for n, code in enumerate(atlas.predictions.map.outputs) if code >= 0 and labels[code] == text]
    if len(of_label) == 1:
        return of_label[0]
    if text.isascii() and text.isdigit() and len(text) < 9 and int(text) < len(names):
        return int(text)
    raise choose("class", one_line(text), names)


def class_points(
    atlas: Atlas,
    output: str | int,
    against: str | int | None = None,
    layer: str | None = None,
    *,
    by: str = "both",
    most: int = TOP,
) -> pd.DataFrame:
    """Return the points of a layer that argue for a class, or for either of two: the points of its class atlas.

    Columns: point, image (row), label, attribution (to the class); with `against` also against (the attribution to the
    other) and axis, −1 for the class to 1 for the other, the frame sorted by it; else by attribution, greatest first. `by`
    is winner, top (the `most` of the greatest attribution) or both. An unknown class and a layer that was not attributed
    raise AtlasError.
    """
    left, values = find_output(atlas, output), attribution(atlas, layer)
    other = None if against is None else find_output(atlas, against)
    if other is None:
        points, axis = arguing_points(values, left, by=by, most=most), None
    else:
        points, axis = between(values, left, other, by=by, most=most)
    rows, own = np.asarray(atlas.activations(layer).point_image)[points], np.asarray(values[points], np.float32)
    labels = np.array([*atlas.image_record.labels, None], object)[np.asarray(atlas.image_record.codes)[rows]]
    table = pd.DataFrame({"point": points, "image": rows, "label": labels, "attribution": own[:, left]})
    if axis is None or other is None:
        return table.sort_values(["attribution", "point"], ascending=[False, True], ignore_index=True)
    return table.assign(against=own[:, other], axis=axis).sort_values(["axis", "point"], ignore_index=True)


def class_cells(
    atlas: Atlas,
    output: str | int,
    against: str | int,
    layer: str | None = None,
    method: str = "umap",
    *,
    size: int | None = None,
    by: str = "both",
    most: int = TOP,
) -> pd.DataFrame:
    """Return a layout's cells from one class to another, as of `atlas.patterns.class_atlas.cells_between`.

    Of the grid of one size or of all. Errors as of `class_points`; without cells AtlasError is raised.
    """
    left, right = find_output(atlas, output), find_output(atlas, against)
    record = cells(atlas, layer, method)
    if size is not None:
        record.of_grid(size)  # raises for a grid that there is not
    table = cells_between(record, *between(attribution(atlas, layer), left, right, by=by, most=most))
    return table if size is None else table[table["size"] == size].reset_index(drop=True)


# -- layers side by side ----------------------------------------------------------------------------------------------------


def depth(atlas: Atlas, method: str = "umap", *, sizes: Sequence[int] | None = None) -> pd.DataFrame:
    """Return how pure each layer's cells are and how strongly they argue, in order of execution: one row per layer and size.

    Columns as of `atlas.patterns.depth.layer_depth`; `sizes` are by default those that all the layers' cells have. Layers
    without cells of their own layout by `method` are named in the frame's ``attrs["without"]``; where none has any, or
    their grids have no size in common, AtlasError is raised.
    """
    found, without = {}, []
    for layer in atlas.layers:
        layouts = set(atlas.names("layout", layers=[layer], method=method))
        names = [name for name in atlas.names("cells", layers=[layer]) if layouts.issuperset(atlas.inputs(name, "layout"))]
        if names:
            found[layer] = atlas.store.read(names[-1], Cells)
        else:
            without.append(layer)
    if not found:
        raise AtlasError(
            f"no layer's {method} layout has cells: `atlas depth {one_line(atlas.store.root)} --make` makes them"
        )
    table = layer_depth(list(found.values()), sizes=common_sizes(list(found.values())) if sizes is None else sizes)
    table.attrs = {"without": without}
    return table


def common_sizes(layers: Sequence[Cells]) -> list[int]:
    """Return the sizes of the grids that all of some layers' cells have; AtlasError where there is none."""
    sizes = sorted(set.intersection(*(set(one.sizes) for one in layers)))
    if not sizes:
        told = "; ".join(f"{' + '.join(one.layers)} {', '.join(map(str, one.sizes))}" for one in layers)
        raise AtlasError(
            f"layers are compared in the same grids, and these have no size in common ({told}): make them of one"
        )
    return sizes
