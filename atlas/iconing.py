"""The activation atlas of icons: a layout's cells, attributed, each with the picture of what the network sees there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from atlas import arguing
from atlas.activations.records import Activations
from atlas.argued import cells_name
from atlas.atlas import Atlas
from atlas.errors import AtlasError, choose
from atlas.maps.grids import check_sizes
from atlas.maps.records import Cells
from atlas.maps.whitening import whitening
from atlas.preferred import making
from atlas.preferred.icons import POWER, STEPS, WHITENED_POWER, IconPlan, draw_icons
from atlas.preferred.parameterisations import NAMES
from atlas.preferred.prior import Prior
from atlas.preferred.records import Icons
from atlas.preferring import Preferring, check_edge
from atlas.progress import Progress
from atlas.showing import staying
from atlas.store import Recipe

if TYPE_CHECKING:
    from atlas.models.network import Network

FAINT = 4  # by which the pixels of a poor icon are divided


def icons(
    atlas: Atlas,
    layer: str | None = None,
    method: str = "umap",
    *,
    sizes: Sequence[int] | None = None,
    param: str | None = None,
    steps: int = STEPS,
    size: int | None = None,
    whiten: bool = False,
    seed: int = 0,
    precision: str = "auto",
    network: Network | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Atlas:
    """Draw the icons of one layer's layout, its cells and their attribution first; return the atlas opened anew.

    `sizes` are the grids, in cells a side; `size` the pixels of an icon; `whiten` weighs units that vary together as one.
    The layer is one, not several jointly. What stands is not made again. A layout that there is not, a joint one, and a
    choice out of range raise AtlasError before the long work starts.
    """
    _check(layer, sizes, param, steps, size)
    name = atlas.activation_name(layer)
    layer = str(atlas.field(name, "layer"))
    atlas.layout_record(layer, method)
    progress = progress or Progress()
    preferring = Preferring(atlas, progress=progress, device=device)
    if network is not None:
        preferring.network = network  # in place of the one that would be loaded
    network = preferring.network
    preferring.size(size)  # raises for one that the network does not take
    if network.outputs:
        atlas = arguing.attribute(atlas, [layer], network=network, device=device, progress=progress)
    atlas = arguing.make_cells(atlas, layer, method, sizes=arguing.SIZES if sizes is None else sizes)
    preferring.atlas = atlas
    made = _build(preferring, layer, method, param, steps, size, whiten, seed, preferring.precision(precision))
    atlas.store.show([made], keep=partial(staying, atlas.store, atlas.names("images")[-1], [made]))
    return Atlas(atlas.store.root, network=atlas.asked_network)


def _check(layer: str | None, sizes: Sequence[int] | None, param: str | None, steps: int, size: int | None) -> None:
    if layer is not None and "+" in layer:
        raise AtlasError(f"icons of {layer}: a joint layout's cells have no direction in one layer; name a single layer")
    if param is not None and param not in NAMES:
        raise choose("parameterisation", param, NAMES)
    if not 1 <= steps <= 100_000:
        raise AtlasError(f"steps {steps}: 1 to 100000 would do")
    if sizes is not None:
        check_sizes(sizes)
    check_edge(size)


def _build(
    preferring: Preferring,
    layer: str,
    method: str,
    param: str | None,
    steps: int,
    size: int | None,
    whiten: bool,
    seed: int,
    precision: str,
) -> str:
    atlas = preferring.atlas
    of_cells, of_layer = cells_name(atlas, layer, method), atlas.activation_name(layer)
    extent = preferring.size(size)
    plan = IconPlan(
        layer=layer, functional=str(atlas.field(of_layer, "functional")),
        param=param or making.usual_param(preferring.network, extent), steps=steps,
        power=WHITENED_POWER if whiten else POWER, seed=seed, precision=precision,
    )  # fmt: skip
    of_prior = preferring.prior(extent)
    began = {"start": "members, their places in the middle"} if atlas.field(of_layer, "spatial") else {}
    recipe = Recipe(
        "icons", 4, dataclasses.asdict(plan) | {"size": list(extent), "whiten": whiten} | began,
        {"cells": of_cells, "activations": [of_layer], "network": atlas.names("network")[-1:],
         "images": atlas.names("images")[-1:], "prior": of_prior}, ("torch",),
    )  # fmt: skip

    def make() -> Icons:
        cells, prior = atlas.store.read(of_cells, Cells), atlas.store.read(of_prior, Prior)
        return _make(preferring, cells, prior, plan, whiten=whiten)

    atlas.store.build(recipe, Icons, make)
    return recipe.name


def _make(preferring: Preferring, cells: Cells, prior: Prior, plan: IconPlan, *, whiten: bool) -> Icons:
    atlas = preferring.atlas
    mean = np.nan_to_num(np.asarray(cells.mean))
    white = whitening(atlas.vectors(plan.layer)) if whiten else None
    if white is not None and white.sentence:
        preferring.progress.note(white.sentence)
    levels = [np.flatnonzero(cells.grid == number) for number in range(len(cells.sizes))]
    with preferring.progress.stage(f"icons of {plan.layer}", len(mean) * plan.steps) as advance:
        found = draw_icons(
            preferring.network, prior, plan,
            mean=mean, directions=mean if white is None else white(mean), levels=levels, parent=np.asarray(cells.parent),
            start=_beginnings(preferring, cells, prior, plan), device=preferring.device, advance=advance,
        )  # fmt: skip
    return Icons(
        layer=plan.layer, functional=plan.measured, parameterisation=plan.param, prior=found.prior, whitened=whiten,
        settings=dataclasses.asdict(plan) | {"size": list(prior.size[1:])},
        images=found.images, cosine=found.cosine, ratio=found.ratio, said=found.said, converged=found.converged,
    )  # fmt: skip


def _beginnings(preferring: Preferring, cells: Cells, prior: Prior, plan: IconPlan) -> Callable[[np.ndarray], np.ndarray]:
    """Return what gives the images that icons begin near: the means of the cells' representatives.

    Where points are sampled positions, each image is first moved so that its point lies in the middle, where the ascent
    raises the direction, and the data's mean level fills what that leaves empty. Of conv6 on 2 500 images of Fashion-MNIST,
    one place of each, icons came to a median cosine of 0.77 and 0.83 (pool4, pool6), from the mean level alone to 0.75 and
    0.79, and more of their trousers, shoes and bags could be told.
    """
    record = preferring.atlas.store.read(preferring.atlas.activation_name(plan.layer), Activations)
    yx = np.asarray(record.point_yx)

    def start(wanted: np.ndarray) -> np.ndarray:
        points = np.asarray(cells.representatives)[wanted]
        rows = np.asarray(record.point_image)[np.maximum(points, 0)]
        every, place = np.unique(rows[points >= 0], return_inverse=True)
        pixels = preferring.pixels(every, prior.size).astype(np.float32) / 255
        index = np.zeros(points.shape, np.int64)
        index[points >= 0] = place
        found = []
        for own, members in zip(index, points, strict=True):
            there = members >= 0
            images = pixels[own[there]]
            if record.spatial:
                images = np.stack(
                    [to_middle(one, yx[point], prior.level) for one, point in zip(images, members[there], strict=True)]
                )
            found.append(images.mean(axis=0))
        return np.stack(found)

    return start


def to_middle(image: np.ndarray, place: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return an image [rgb, y, x] moved so that `place`, relative y, x, lies in its middle; `level` [rgb] fills the rest."""
    moved = np.broadcast_to(np.asarray(level, image.dtype)[:, None, None], image.shape).copy()
    kept: list[tuple[slice, slice]] = []
    for share, size in zip(place.tolist(), image.shape[1:], strict=True):
        by = round((0.5 - share) * size)
        kept.append((slice(max(0, -by), size - max(0, by)), slice(max(0, by), size - max(0, -by))))
    (from_y, to_y), (from_x, to_x) = kept
    moved[:, to_y, to_x] = image[:, from_y, from_x]
    return moved


def icons_of(atlas: Atlas, layer: str | None = None, method: str = "umap") -> tuple[Icons, Cells]:
    """Return the newest icons of a layer's layout and their cells; AtlasError where none were drawn."""
    of_cells = cells_name(atlas, layer, method)
    names = [name for name in atlas.names("icons") if atlas.inputs(name, "cells") == [of_cells]]
    if not names:
        raise AtlasError(f"no icons were drawn of {method} of {atlas.layer_name(layer)}: `atlas icons {atlas.store.root}`")
    return atlas.store.read(names[-1], Icons), atlas.store.read(of_cells, Cells)


def write_grid(record: Icons, cells: Cells, path: Path) -> None:
    """Write the icons of the finest grid as a PNG, each at its place, failed ones and those of few images faint."""
    number, size = len(cells.sizes) - 1, cells.sizes[-1]
    _, height, width, colours = record.images.shape
    whole = np.zeros((size * height, size * width, colours), np.uint8)
    poor = np.asarray(record.failed) | np.asarray(cells.few)
    for cell in np.flatnonzero(cells.grid == number):
        y, x = (size - 1 - int(cells.row[cell])) * height, int(cells.column[cell]) * width
        picture = np.asarray(record.images[cell])
        whole[y : y + height, x : x + width] = picture // FAINT if poor[cell] else picture
    Image.fromarray(whole[..., 0] if colours == 1 else whole).save(path, "PNG")
