"""The grids that divide a layout: a square per layout, cells of several sizes, each point in exactly one cell of each.

Carter et al., "Activation Atlas", Distill 2019, and its code: percentiles and margin. numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas.errors import AtlasError
from atlas.maps.blocks import whole_number
from atlas.maps.records import Layout

SIZES = (8, 16, 32)
LARGE_SIZES = (20, 40, 80)
LARGE = 100_000  # points from which LARGE_SIZES are the default: 80 × 80 cells then have 15 points each
MOST_CELLS = 500  # along a side: a cell is then four pixels of a large screen
PERCENTILES = (1, 99)
MARGIN = 0.1  # of the range between them, on either side
LEAST, LEAST_SHARE = 3, 0.05  # a kept cell has so many points at least, and this share of what evenly spread ones would give


def default_sizes(points: int) -> tuple[int, ...]:
    """Return the grids that so many points are shown in: 8, 16, 32; from LARGE points on 20, 40, 80."""
    return SIZES if points < LARGE else LARGE_SIZES


def extent(xy: np.ndarray, laid_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of the square that grids divide: low and high, float64 [2], x and y.

    Per axis, percentiles 1 and 99 of the points `laid_out`, bool [point], widened by a tenth of their range, but no wider
    than those points reach.
    """
    known = np.asarray(xy, np.float64)[laid_out]
    low, high = np.percentile(known, PERCENTILES, axis=0)
    margin = MARGIN * (high - low)
    return np.maximum(low - margin, known.min(axis=0)), np.minimum(high + margin, known.max(axis=0))


def places_in(xy: np.ndarray, low: np.ndarray, high: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return column and row of each point in a grid of `size`, int64 [point], both -1 for one without a finite place.

    A cell holds its lower edges; the last one the upper edge too, and each edge cell what lies beyond it.
    """
    xy = np.asarray(xy, np.float64)
    placed = np.isfinite(xy).all(axis=1)
    span = high - low
    share = np.divide(np.clip(xy, low, high) - low, span, out=np.zeros_like(xy), where=(span > 0) & placed[:, None])
    number = np.where(placed[:, None], np.minimum((share * size).astype(np.int64), size - 1), -1)
    return number[:, 0], number[:, 1]


def least_members(points: int, size: int) -> int:
    """Return how many of `points` a cell of a grid of `size` needs to be kept."""
    return max(LEAST, int(np.ceil(LEAST_SHARE * points / size**2)))


@dataclass(frozen=True)
class Grids:
    """Which cells are kept, grid by grid, and the cell of each point; fields as in `Cells`."""

    low: np.ndarray
    high: np.ndarray
    sizes: list[int]
    least: list[int]
    placed: np.ndarray  # bool [point]
    point_cell: np.ndarray
    grid: np.ndarray
    column: np.ndarray
    row: np.ndarray


def make_grids(layout: Layout, sizes: Sequence[int] | None) -> Grids:
    """Return the grids of a layout in `sizes`, by default `default_sizes`."""
    xy = np.asarray(layout.xy, np.float64)
    placed = np.asarray(np.isfinite(xy).all(axis=1))
    if not placed.any():
        raise AtlasError(f"none of the {len(xy)} points of the layout has a finite place: lay out again")
    laid_out = placed & np.isnan(layout.confidence)
    low, high = extent(xy, laid_out if laid_out.any() else placed)
    sizes = list(default_sizes(int(placed.sum())) if sizes is None else check_sizes(sizes))
    least = [least_members(int(placed.sum()), size) for size in sizes]
    point_cell, found, count = np.full((len(sizes), len(xy)), -1, np.int32), [], 0
    for number, (size, wanted) in enumerate(zip(sizes, least, strict=True)):
        point_cell[number], kept = _kept(*places_in(xy, low, high, size), size, wanted, first=count)
        found.append(np.column_stack([np.full(len(kept), number), kept % size, kept // size]).astype(np.int32))
        count += len(kept)
    grid, column, row = np.ascontiguousarray(np.concatenate(found).T)
    return Grids(low, high, sizes, least, placed, point_cell, grid, column, row)


def _kept(column: np.ndarray, row: np.ndarray, size: int, least: int, *, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each point's cell, numbered from `first` on, and which squares of the grid, counted row by row, are kept."""
    nowhere = size * size
    flat = np.where(column >= 0, row * size + column, nowhere)
    kept = np.flatnonzero(np.bincount(flat, minlength=nowhere)[:nowhere] >= least)
    names = np.full(nowhere + 1, -1, np.int32)
    names[kept] = first + np.arange(len(kept))
    return names[flat], kept


def check_sizes(sizes: Sequence[int]) -> list[int]:
    """Return the sizes of grids in order, each once; none, and one that is no number of cells, raise AtlasError."""
    found = sorted({whole_number("a grid's size", size, 1) for size in sizes})
    if not found:
        raise AtlasError("no grid was asked for: give at least one size, such as 8")
    if found[-1] > MOST_CELLS:
        raise AtlasError(f"a grid of {found[-1]} × {found[-1]} cells was asked for: at most {MOST_CELLS} a side would do")
    return found


def parents(grids: Grids) -> np.ndarray:
    """Return the cell of the next coarser grid that holds each cell's centre: int32 [cell], -1 where none is kept."""
    found = np.full(len(grids.grid), -1, np.int32)
    for finer in range(1, len(grids.sizes)):
        own, coarse = np.flatnonzero(grids.grid == finer), np.flatnonzero(grids.grid == finer - 1)
        size, names = grids.sizes[finer - 1], np.full((grids.sizes[finer - 1],) * 2, -1, np.int32)
        names[grids.row[coarse], grids.column[coarse]] = coarse
        row, column = ((2 * place[own] + 1) * size // (2 * grids.sizes[finer]) for place in (grids.row, grids.column))
        found[own] = names[row, column]
    return found
