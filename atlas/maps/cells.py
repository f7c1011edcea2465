"""The cells of a layout: what the points of each have in common. numpy only.

Carter et al., "Activation Atlas", Distill 2019; the sizes and the least number of members are for smaller data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from atlas.errors import AtlasError
from atlas.maps.blocks import BLOCK, Rows
from atlas.maps.grids import Grids, make_grids, parents
from atlas.maps.records import Cells, Layout

NAMED = 3  # outputs named per cell
SHOWN = 12  # representatives per cell


def make_cells(
    layout: Layout,
    vectors: Sequence[Rows],
    point_image: np.ndarray,
    codes: np.ndarray,
    labels: Sequence[str],
    *,
    sizes: Sequence[int] | None = None,
    attribution: Rows | None = None,
    attributed: str | None = None,
) -> Cells:
    """Return the cells of a layout in grids of `sizes`, by default `default_sizes`.

    `vectors` are those of each of its layers, [point, unit]; `point_image` [point]; `codes` [image] index `labels`, -1 for
    none; `attribution` [point, output] is that of the layer `attributed`. The square is that of the points laid out; points
    placed later lie in its cells too. Points without a finite place are in no cell, those with a vector or attribution that
    is not finite in no mean; both are counted. Unequal numbers of points, and a layout without a place, raise AtlasError.
    """
    count = _check(layout, vectors, point_image, attribution)
    grids = make_grids(layout, sizes)
    members = _Members(grids, np.asarray(point_image), vectors, np.asarray(layout.scales, np.float64))
    mean, finite = _means(members, vectors)
    argued, known = _means(members, [attribution if attribution is not None else np.empty((count, 0), np.float32)])
    best, best_value = _best(argued)
    of_class = _of_class(members, np.asarray(codes)[members.image], len(labels))
    return Cells(
        layers=list(layout.layers),
        units=[rows.shape[1] for rows in vectors],
        sizes=grids.sizes,
        least=grids.least,
        labels=list(labels),
        attributed=attributed if attribution is not None else None,
        left_out=int((~grids.placed).sum()),
        nonfinite=int((~(finite & known)).sum()),
        low=grids.low,
        high=grids.high,
        point_cell=grids.point_cell,
        grid=grids.grid,
        column=grids.column,
        row=grids.row,
        points=members.points.astype(np.int32),
        images=_distinct(members),
        mean=mean,
        attribution=argued,
        best=best,
        best_value=best_value,
        purity=_purity(of_class),
        members=of_class,
        parent=parents(grids),
        representatives=_representatives(members, _likeness(members, mean, vectors)),
    )


def _check(layout: Layout, vectors: Sequence[Rows], point_image: np.ndarray, attribution: Rows | None) -> int:
    counts = {len(layout.xy), len(point_image), *map(len, vectors), *([] if attribution is None else [len(attribution)])}
    if len(counts) != 1 or len(vectors) != len(layout.layers):
        found = ", ".join(map(str, sorted(counts)))
        raise AtlasError(
            f"cells need a layout, the vectors of its {len(layout.layers)} layers and an attribution of the same points, "
            f"and these are {len(vectors)} layers of {found} points: take those of one build"
        )
    return len(point_image)


# ---------------------------------------------------------------------------------------------------------------------
# What members have in common


class _Members:
    """Which points lie in which cells, each grid by itself, and their vectors block by block."""

    def __init__(self, grids: Grids, point_image: np.ndarray, vectors: Sequence[Rows], scales: np.ndarray):
        self.cell, self.image, self.count = grids.point_cell, point_image, len(grids.grid)
        self.images = int(point_image.max(initial=0)) + 1
        self.points = np.bincount(self.cell[self.cell >= 0], minlength=self.count)
        self.scale = np.repeat(1 / scales, [rows.shape[1] for rows in vectors])

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return every cell with each of its points: cell and point, int [pair]."""
        grid, point = np.nonzero(self.cell >= 0)
        return self.cell[grid, point], point

    def with_image(self, cell: np.ndarray, point: np.ndarray) -> np.ndarray:
        """Return one number for each pair of a cell and an image, int64 [pair]."""
        return cell.astype(np.int64) * self.images + self.image[point]


def _blocks(vectors: Sequence[Rows]) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Yield rows, those of several layers side by side, as float64 [point, unit], and which are finite."""
    for start in range(0, len(vectors[0]), BLOCK):
        rows = slice(start, min(start + BLOCK, len(vectors[0])))
        block = np.concatenate([np.asarray(each[rows], np.float64) for each in vectors], axis=1)
        yield rows, block, np.isfinite(block).all(axis=1)


def _means(members: _Members, vectors: Sequence[Rows]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of each cell's finite rows, float32 [cell, unit], NaN where it has none; and which rows are finite."""
    sums = np.zeros((members.count, sum(rows.shape[1] for rows in vectors)))
    count, finite = np.zeros(members.count), np.ones(members.cell.shape[1], bool)
    for rows, block, known in _blocks(vectors):
        finite[rows] = known
        for cells in members.cell[:, rows]:
            own = known & (cells >= 0)
            _add(sums, cells[own], block[own])
            count += np.bincount(cells[own], minlength=members.count)
    with np.errstate(over="ignore"):
        mean = np.divide(sums, count[:, None], out=np.full_like(sums, np.nan), where=count[:, None] > 0)
        return mean.astype(np.float32), finite


def _add(sums: np.ndarray, cells: np.ndarray, rows: np.ndarray) -> None:
    """Add each of `rows` [row, unit] to the sum of its cell."""
    order = np.argsort(cells, kind="stable")
    present, first = np.unique(cells[order], return_index=True)
    if len(present):
        sums[present] += np.add.reduceat(rows[order], first, axis=0)


def _best(attribution: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs of the greatest mean attribution, greatest first, ties by output: int32, float32 [cell, rank]."""
    known = np.nan_to_num(attribution, nan=-np.inf)
    best = np.argsort(-known, axis=1, kind="stable")[:, :NAMED].astype(np.int32)
    values = np.take_along_axis(attribution, best, axis=1)
    return np.where(np.isnan(values), np.int32(-1), best), values


def _distinct(members: _Members) -> np.ndarray:
    """Return how many images each cell's points are of, int32 [cell]."""
    cell, point = members.pairs()
    pairs = np.unique(members.with_image(cell, point))
    return np.bincount(pairs // members.images, minlength=members.count).astype(np.int32)


def _of_class(members: _Members, label: np.ndarray, classes: int) -> np.ndarray:
    """Return how many points of each label a cell has, int32 [cell, class]; `label` int [point], -1 for none."""
    cell, point = members.pairs()
    own = label[point] >= 0
    flat = cell[own].astype(np.int64) * classes + label[point[own]]
    return np.bincount(flat, minlength=members.count * classes).reshape(members.count, classes).astype(np.int32)


def _purity(of_class: np.ndarray) -> np.ndarray:
    labelled, most = of_class.sum(axis=1), of_class.max(axis=1, initial=0)
    return np.divide(most, labelled, out=np.full(len(most), np.nan, np.float32), where=labelled > 0, dtype=np.float32)


def _likeness(members: _Members, mean: np.ndarray, vectors: Sequence[Rows]) -> np.ndarray:
    """Return the cosine of each point to the mean of its cell, float32 [grid, point]; −1 where it has none.

    Layers laid out jointly are divided by the layout's scales.
    """
    found = np.full(members.cell.shape, -1, np.float32)
    scaled = np.nan_to_num(mean.astype(np.float64) * members.scale)
    length = np.linalg.norm(scaled, axis=1)
    for rows, block, known in _blocks(vectors):
        block *= members.scale
        norm = np.linalg.norm(block, axis=1)
        for number, cells in enumerate(members.cell[:, rows]):
            own = np.flatnonzero(known & (cells >= 0) & (norm > 0))
            dot = np.einsum("nu,nu->n", block[own], scaled[cells[own]])
            both = norm[own] * length[cells[own]]
            found[number, rows.start + own] = np.divide(dot, both, out=np.zeros_like(dot), where=both > 0)
    return found


def _representatives(members: _Members, likeness: np.ndarray) -> np.ndarray:
    """Return up to SHOWN points of each cell, of distinct images, the most alike to its mean first: int32 [cell, place]."""
    found = np.full((members.count, SHOWN), -1, np.int32)
    cell, point = members.pairs()
    near = likeness[members.cell >= 0]
    order = np.lexsort((point, -near, cell))
    cell, point = cell[order], point[order]
    first = np.sort(np.unique(members.with_image(cell, point), return_index=True)[1])  # each image's best point
    cell, point = cell[first], point[first]
    rank = np.arange(len(cell)) - np.searchsorted(cell, cell)
    found[cell[rank < SHOWN], rank[rank < SHOWN]] = point[rank < SHOWN]
    return found
