"""One image through a network, layer by layer: at each place how strong it is, what it is like, what it argues for.

The activation grids of Olah et al., "The Building Blocks of Interpretability", Distill 2018, with the cells of an
activation atlas (Carter et al., Distill 2019) for the pictures. numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas.errors import AtlasError
from atlas.maps.cell_paths import nearest_cells
from atlas.maps.records import Cells


@dataclass(frozen=True)
class NearestCells:
    """The cells of one grid that an image's places in a layer, and the image as a whole, are most like."""

    cells: Cells
    size: int  # of the grid: cells a side
    place: np.ndarray  # int32 [y, x]: -1 where nothing is active
    cosine: np.ndarray  # float32 [y, x], NaN where nothing is active
    whole: int  # the cell of the image's own vector; -1 where nothing is active
    whole_cosine: float


@dataclass(frozen=True)
class LayerPlaces:
    """What one layer makes of one image, place by place."""

    layer: str
    magnitude: np.ndarray  # float32 [y, x]: the length of each place's activation, the greatest 1
    argued: np.ndarray  # float32 [which, y, x]: what each place adds to the logits asked for
    total: np.ndarray  # float32 [output]: what the whole layer argues for, each logit's
    nearest: NearestCells | None  # None for a layer without cells
    whole: np.ndarray  # float32 [unit]: the image's own vector, each unit by the layer's functional

    @property
    def size(self) -> tuple[int, int]:
        """How many places there are, y, x."""
        tall, wide = self.magnitude.shape
        return tall, wide


def magnitudes(maps: np.ndarray) -> np.ndarray:
    """Return the length of each place's activation as a share of the greatest: float32 [y, x]; `maps` is [unit, y, x].

    Zeros where nothing is active. AtlasError where a value is not finite.
    """
    values = np.asarray(maps, np.float64)
    if not np.isfinite(values).all():
        raise AtlasError("its activations of this image hold NaN or infinity: leave this layer out by naming others")
    length = np.sqrt((values**2).sum(axis=0))
    return (length / (length.max(initial=0.0) or 1.0)).astype(np.float32)


def finest(cells: Cells) -> int | None:
    """Return the size of the finest grid that has a cell of enough images with a mean; None where none has."""
    usable = ~cells.few & np.isfinite(np.asarray(cells.mean)).all(axis=1)
    return max((cells.sizes[number] for number in np.unique(np.asarray(cells.grid)[usable]).tolist()), default=None)


def nearest_places(cells: Cells, maps: np.ndarray, whole: np.ndarray, *, size: int) -> NearestCells:
    """Return the cell of one grid that each place of `maps` [unit, y, x], and the vector `whole` [unit], is most like.

    Cells are those of `nearest_cells`, with its errors; a place where nothing is active is like none.
    """
    units, tall, wide = maps.shape
    vectors = np.vstack([np.asarray(maps, np.float32).reshape(units, -1).T, np.asarray(whole, np.float32)[None]])
    found, cosine = nearest_cells(cells, vectors, size=size)
    active = vectors.any(axis=1)
    found, cosine = np.where(active, found, np.int32(-1)), np.where(active, cosine, np.float32(np.nan))
    grid = tall, wide
    return NearestCells(cells, size, found[:-1].reshape(grid), cosine[:-1].reshape(grid), int(found[-1]), float(cosine[-1]))


def strongest(whole: np.ndarray, count: int = 5) -> list[int]:
    """Return the units of greatest activation, the greatest first, at most `count`; none that is not above zero."""
    order = np.argsort(-np.asarray(whole, np.float64), kind="stable")[:count]
    return [int(unit) for unit in order if whole[unit] > 0]


def rank_of(total: np.ndarray, output: int) -> int:
    """Return the place of one output among all by what is argued for it: 1 where it is argued for most, ties alike."""
    return 1 + int((np.asarray(total) > np.asarray(total)[output]).sum())
