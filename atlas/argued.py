"""What an opened atlas holds of attributions and cells, read without torch; `atlas.arguing` makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from atlas.activations.attributed import attributions_of
from atlas.activations.records import Attributions, Vectors
from atlas.errors import AtlasError, choose
from atlas.maps.cell_looks import cells_table
from atlas.maps.records import Cells
from atlas.patterns.associations import crossing_units, unusual_cells

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
        raise AtlasError(
            f"layer {atlas.field(of, 'layer')} has no attribution (those that have: {there}): attribute it first, with "
            "atlas.arguing.attribute"
        )
    return attributions_of(atlas.store, atlas.store.read(names[-1], Attributions))


def cells_name(atlas: Atlas, layer: str | None = None, method: str = "umap") -> str:
    """Return the name of the newest cells of a layout; of several layers joined by ``+``, of their joint one."""
    layers = [atlas.layer_name(part) for part in (layer or atlas.default_layer).split("+")]
    wanted = set(atlas.names("layout", layers=layers, method=method))
    names = [name for name in atlas.names("cells") if wanted.issuperset(atlas.inputs(name, "layout"))]
    if not names:
        raise choose("cells", f"{method} of {' + '.join(layers)}", [_title(atlas, name) for name in atlas.names("cells")])
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
