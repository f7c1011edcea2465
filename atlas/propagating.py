"""One image of an atlas, or a new one, through its network: activation grids, attributions and cells, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.activations.assemble import probabilities
from atlas.activations.attribution import layer_attributions, place_attributions
from atlas.activations.few import describe
from atlas.activations.functionals import Functional
from atlas.activations.gradients import check_logits
from atlas.activations.spatial import activation_maps
from atlas.argued import output_names
from atlas.errors import AtlasError, about, choose, one_line
from atlas.looking import MOST_VALUES, check_values, edges, values, worth_a_look
from atlas.maps.records import Cells
from atlas.models.layers import named_layer
from atlas.patterns.propagation import LayerPlaces, finest, magnitudes, nearest_places
from atlas.preferred.records import Icons

if TYPE_CHECKING:
    from PIL.Image import Image

    from atlas.atlas import Atlas
    from atlas.models.network import Network

MOST_LAYERS = 16  # side by side: a strip of more is wider than a screen can be read


@dataclass(frozen=True)
class OwnCells:
    """The cells of one layer's own layout that an image is held against, and their icons where they were drawn."""

    cells: Cells
    functional: str  # by which the vectors were recorded that the cells are means of
    method: str  # of the layout
    icons: Icons | None
    name: str  # of the cells' artifact
    drawn: str | None  # of the icons' artifact


@dataclass(frozen=True)
class Propagation:
    """What every layer makes of one image, in order of execution."""

    name: str  # the image in words
    row: int | None  # None for an image that the atlas does not hold
    label: str | None
    outputs: list[str]  # the names of the network's outputs
    probability: np.ndarray  # float64 [output]
    predicted: int
    true: int | None  # the output that stands for the label; None without one
    asked: list[int]  # the outputs that `argued` of each layer is about: the predicted, and the true where it is another
    picture: np.ndarray  # uint8 [y, x, rgb]: the image as the network takes it, before its colours are normalised
    layers: list[LayerPlaces]
    cells: dict[str, OwnCells]  # by layer
    left_out: list[str]  # recorded layers that are not among `layers`


def propagation(
    atlas: Atlas, image: Any, layers: Sequence[str] | None = None, *, size: int | None = None, device: str = "cpu"
) -> Propagation:
    """Return what each layer makes of one image: a row, an image_id or an image file. Needs torch, in this process.

    `layers` are by default the recorded ones and the last of each size. Places are held against the cells of the layer's
    own layout, those with icons where there are such, in the grid of `size`, by default the finest that has cells of enough
    images. An unknown layer or grid, and a network without logits, raise AtlasError.
    """
    row = atlas.find_image(image)
    picture, name = atlas.seeing.any_picture(image, row), f"image {row}" if row is not None else Path(str(image)).name
    return of_picture(atlas, picture, layers, row=row, name=name, size=size, device=device)


def of_picture(
    atlas: Atlas,
    picture: Image,
    layers: Sequence[str] | None = None,
    *,
    row: int | None,
    name: str,
    size: int | None = None,
    device: str = "cpu",
) -> Propagation:
    """Return what each layer makes of an image that is decoded, as `propagation` does; `row` where the atlas holds it."""
    names = _layers(atlas, layers)
    cells = {layer: own for layer in names if (own := own_cells(atlas, layer)) is not None}
    grids = {layer: _grid(own, size) for layer, own in cells.items()}
    network = atlas.network()
    check_logits(network)
    found = describe(network, [picture], {layer: _reduced(cells.get(layer)) for layer in names}, device=device)
    chances = probabilities(found["logits"])[0]
    if not np.isfinite(chances).all():
        raise AtlasError(f"the logits of {one_line(name)} are not finite, so nothing is predicted: give another image")
    predicted, true = int(chances.argmax()), _true(atlas, row)
    asked = [predicted, *([] if true in (None, predicted) else [true])]
    maps = activation_maps(network, picture, names, device=device)
    argued = _argued(network, picture, names, asked, device)
    total = layer_attributions(network, picture, names, device=device)
    made = [
        _layer(layer, maps[layer], argued[layer], total[layer], found[layer][0], cells.get(layer), grids.get(layer))
        for layer in names
    ]
    return Propagation(
        name=name, row=row, label=_label(atlas, row), outputs=_outputs(atlas, len(chances)),
        probability=chances, predicted=predicted, true=true, asked=asked, layers=made, cells=cells,
        picture=np.moveaxis(network.preprocess.array(picture), 0, -1),
        left_out=[layer for layer in atlas.layers if layer not in names],
    )  # fmt: skip


# -- the image ----------------------------------------------------------------------------------------------------------


def _label(atlas: Atlas, row: int | None) -> str | None:
    code = -1 if row is None else int(atlas.image_record.codes[row])
    return atlas.image_record.labels[code] if code >= 0 else None


def _true(atlas: Atlas, row: int | None) -> int | None:
    """Return the output that stands for an image's label, None where no output or several do."""
    said = atlas.predictions
    code = (
        -1 if row is None or said is None or said.map.labels != atlas.image_record.labels else atlas.image_record.codes[row]
    )
    found = [] if said is None or code < 0 else [output for output, label in enumerate(said.map.outputs) if label == code]
    return found[0] if len(found) == 1 else None


def _outputs(atlas: Atlas, count: int) -> list[str]:
    names = output_names(atlas)
    return names if len(names) == count else [f"output {number}" for number in range(count)]


# -- the layers ---------------------------------------------------------------------------------------------------------


def _layers(atlas: Atlas, asked: Sequence[str] | None) -> list[str]:
    """Return the layers to show, in order of execution."""
    table = atlas.network_record.layers
    if asked:
        names = {str(named_layer(table, atlas.layer_name(layer))["name"]) for layer in asked}
        if len(names) > MOST_LAYERS:
            raise AtlasError(f"{len(names)} layers were asked for: a strip has room for {MOST_LAYERS}, name fewer")
        check_values(sorted(names), table)
    else:
        spatial = worth_a_look(table, atlas.layers, edges(atlas.network_record.preprocess))
        held = dict(zip(table["name"], (values(str(shape)) <= MOST_VALUES for shape in table["shape"]), strict=True))
        rest = [layer for layer in atlas.layers if layer not in spatial and held.get(layer)]
        names = {*spatial, *rest[-(MOST_LAYERS - len(spatial)) :]}
    return [str(name) for name in table["name"] if name in names]


def own_cells(atlas: Atlas, layer: str) -> OwnCells | None:
    """Return the newest cells of a layer's own layouts, those with icons before the others; None where it has none."""
    names = atlas.names("cells", layers=[layer])
    drawn = {atlas.inputs(name, "cells")[0]: name for name in atlas.names("icons")}
    chosen = [name for name in names if name in drawn][-1:] or names[-1:]
    if not chosen:
        return None
    functional = atlas.field(atlas.inputs(chosen[0], "activations")[0], "functional")
    method = atlas.field(atlas.inputs(chosen[0], "layout")[0], "method")
    icons = atlas.store.read(drawn[chosen[0]], Icons) if chosen[0] in drawn else None
    return OwnCells(atlas.store.read(chosen[0], Cells), str(functional), str(method), icons, chosen[0], drawn.get(chosen[0]))


def _grid(own: OwnCells, size: int | None) -> int | None:
    if size is not None and size not in own.cells.sizes:
        raise choose(f"grid of {' + '.join(own.cells.layers)}", size, own.cells.sizes)
    return finest(own.cells) if size is None else size


def _reduced(own: OwnCells | None) -> str:
    """Return what reduces a whole image to one vector: the functional of the cells, of sampled positions their mean."""
    if own is None:
        return "mean"
    found = Functional.parse(own.functional)
    return str(Functional("mean", after_relu=found.after_relu)) if found.sampled else own.functional


def _layer(
    layer: str,
    maps: np.ndarray,
    argued: np.ndarray,
    total: np.ndarray,
    whole: np.ndarray,
    own: OwnCells | None,
    size: int | None,
) -> LayerPlaces:
    with about(f"layer {layer}"):
        magnitude, nearest = magnitudes(maps), None
        if own is not None and size is not None:
            rectified = np.maximum(maps, 0) if Functional.parse(own.functional).after_relu else maps
            nearest = nearest_places(own.cells, rectified, whole, size=size)
        return LayerPlaces(layer, magnitude, argued, total, nearest, np.asarray(whole, np.float32))


def _argued(
    network: Network, picture: Image, layers: Sequence[str], asked: Sequence[int], device: str
) -> dict[str, np.ndarray]:
    """Return what each place argues for, float32 [which, y, x] by layer; a single logit stands for outputs 0 and 1."""
    if network.outputs > 1:
        return place_attributions(network, picture, layers, outputs=asked, device=device)
    only = place_attributions(network, picture, layers, outputs=[0], device=device)
    return {layer: np.concatenate([found * (output == 1) for output in asked]) for layer, found in only.items()}
