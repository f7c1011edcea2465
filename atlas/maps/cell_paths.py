"""From one cell to others: the cell most like a vector, the cells along a path, the smoothest path between two cells."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from atlas.errors import AtlasError
from atlas.maps.blocks import blocks, check_vectors, unit_length
from atlas.maps.grids import places_in
from atlas.maps.records import Cells

STEPS = 8  # looks per cell along a path: it may cut a corner that is an eighth of a cell long unseen


def nearest_cells(cells: Cells, vectors: np.ndarray, *, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the cell of one grid whose mean each vector is most like, int32 [vector], and how much, cosine float32.

    `vectors` [vector, unit] are of the cells' own layer: the places of an image become an activation grid by it. Cells of
    few images are left out. Cells of another layer, and a grid without a cell that could be taken, raise AtlasError.
    """
    vectors = np.asarray(check_vectors(np.atleast_2d(vectors)))
    own = [cell for cell in cells.of_grid(size) if not cells.few[cell] and np.isfinite(cells.mean[cell]).all()]
    if len(cells.layers) > 1 or vectors.shape[1] != cells.mean.shape[1]:
        what = " and ".join(f"{layer} ({units} units)" for layer, units in zip(cells.layers, cells.units, strict=True))
        raise AtlasError(
            f"a vector of {vectors.shape[1]} units was given, and these are cells of {what}: give one of its layer"
        )
    if not own:
        raise AtlasError(f"the grid of {size} has no cell of enough images: take a coarser one")
    means, found, alike = unit_length(np.asarray(cells.mean)[own]), [], []
    for block in blocks(vectors):
        cosine = unit_length(block) @ means.T
        found.append(np.array(own, np.int32)[cosine.argmax(axis=1)])
        alike.append(cosine.max(axis=1))
    return np.concatenate(found), np.concatenate(alike)


def cells_along(cells: Cells, path: np.ndarray, *, size: int) -> np.ndarray:
    """Return the kept cells of one grid that a path runs through, in its order: int32 [cell].

    `path` is [vertex, 2], x and y in the layout's coordinates. A cell is named again where the path comes back to it; where
    it runs over cells that are not kept, nothing is named. A path that is no list of finite places raises AtlasError.
    """
    path = np.asarray(path, np.float64)
    if path.ndim != 2 or path.shape[1] != 2 or not len(path) or not np.isfinite(path).all():
        raise AtlasError(f"a path is a list of finite places, x and y, and this is {list(path.shape)}: draw it again")
    own = cells.of_grid(size)
    names = np.full((size, size), -1, np.int32)
    names[np.asarray(cells.row)[own], np.asarray(cells.column)[own]] = own
    column, row = places_in(_walked(path, (cells.high - cells.low) / size), cells.low, cells.high, size)
    met = names[row, column]
    met = met[np.append(True, met[1:] != met[:-1])]
    met = met[met >= 0]
    return met[np.append(True, met[1:] != met[:-1])] if len(met) else met


def smoothest_path(cells: Cells, start: int, stop: int, *, size: int) -> np.ndarray:
    """Return the path from one cell of a grid to another whose steps turn the mean activation least: int32 [cell].

    A step goes to a kept cell beside or diagonally beside, and costs 1 − the cosine of the two cells' means (Dijkstra), so
    that the path stays on the map's land and is smooth in the layer's own space. Cells of few images are left out. Two
    cells that no such path joins raise AtlasError.
    """
    from scipy.sparse import coo_array  # type: ignore[import-untyped]
    from scipy.sparse.csgraph import dijkstra  # type: ignore[import-untyped]

    own = cells.of_grid(size)
    own = own[~cells.few[own] & np.isfinite(np.asarray(cells.mean)[own]).all(axis=1)]
    for cell in (start, stop):
        if cell not in own:
            raise AtlasError(f"no cell {cell} of enough images in the grid of {size}: `Atlas.cells` lists them")
    row, column = np.asarray(cells.row)[own].astype(int), np.asarray(cells.column)[own].astype(int)
    beside = np.maximum(abs(row[:, None] - row), abs(column[:, None] - column)) == 1
    one, other = np.nonzero(beside)
    means = unit_length(np.asarray(cells.mean)[own])
    cost = np.maximum(1 - (means[one] * means[other]).sum(axis=1), 1e-9)  # an edge of no cost would be no edge
    graph = coo_array((cost, (one, other)), shape=(len(own), len(own))).tocsr()
    first, last = (int(np.flatnonzero(own == cell)[0]) for cell in (start, stop))
    before = dijkstra(graph, indices=first, return_predecessors=True)[1]
    if first != last and before[last] < 0:
        raise AtlasError(f"cells {start} and {stop} lie on different islands of the map: no path joins them in this grid")
    path = [last]
    while path[-1] != first:
        path.append(int(before[path[-1]]))
    return own[path[::-1]].astype(np.int32)


def centres(cells: Cells, path: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the middle of each cell, in the layout's coordinates: float64 [cell, 2], x and y."""
    own = np.asarray(path)
    size = np.array(cells.sizes)[np.asarray(cells.grid)[own]]
    share = (np.stack([np.asarray(cells.column)[own], np.asarray(cells.row)[own]], axis=1) + 0.5) / size[:, None]
    return np.asarray(cells.low) + share * (np.asarray(cells.high) - np.asarray(cells.low))


def steps(cells: Cells, path: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the cosine between the mean activations of each two cells that follow each other in a path: float64 [step]."""
    means = unit_length(np.asarray(cells.mean)[np.asarray(path)]).astype(np.float64)
    return (means[1:] * means[:-1]).sum(axis=1)


def _walked(path: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return places along a path, STEPS or more to a cell of the size `cell`, float64 [place, 2]."""
    cell = np.where(cell > 0, cell, 1)
    legs = []
    for start, stop in pairwise(path):
        steps = int(np.ceil(STEPS * np.abs((stop - start) / cell).max())) or 1
        legs.append(start + np.linspace(0, 1, min(steps, 100_000), endpoint=False)[:, None] * (stop - start))
    return np.concatenate([*legs, path[-1:]])
