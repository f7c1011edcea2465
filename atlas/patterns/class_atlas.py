"""Class atlases: the points that argue for one class, and an axis from one class to another.

Carter et al., "Activation Atlas", Distill 2019, and its notebooks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from atlas.errors import AtlasError, choose, one_line
from atlas.maps.blocks import BLOCK, Rows
from atlas.maps.cell_looks import usual_label
from atlas.maps.records import Cells

TOP = 2000  # points, as in the notebook of the class atlas
SCALE = 99  # percentile of the differences that the axis is scaled by: beyond it lie outliers
WAYS = ("winner", "top", "both")
FEWEST = 5  # points between two classes that a cell needs to be shown: more than four, as in the notebook
LEAST_SHARE = 0.1  # of all its points: the icon of a cell that has fewer of them is a picture of something else


def arguing_points(attribution: Rows, output: int, *, by: str = "both", most: int = TOP) -> np.ndarray:
    """Return the points that argue for one output, int64 [point], in order; `attribution` is [point, output].

    ``winner``: those whose greatest attribution it is; ``top``: the `most` of the greatest attribution to it; ``both``: the
    union, which the notebook takes. An unknown output or way raises AtlasError.
    """
    if by not in WAYS:
        raise choose("way to choose points", by, WAYS)
    won = winners(attribution, output) if by != "top" else np.empty(0, np.int64)
    best = top(attribution, output, most=most) if by != "winner" else np.empty(0, np.int64)
    return np.union1d(won, best)


def winners(attribution: Rows, output: int) -> np.ndarray:
    """Return the points whose greatest attribution is that of `output`, int64 [point], in order.

    Of equals the first output counts; points with a value that is not finite argue for none.
    """
    _check(attribution, output)
    found = [start + np.flatnonzero(known & (rows.argmax(axis=1) == output)) for start, rows, known in _blocks(attribution)]
    return np.concatenate([np.empty(0, np.int64), *found])


def top(attribution: Rows, output: int, *, most: int = TOP) -> np.ndarray:
    """Return the `most` points of the greatest attribution to `output`, above 0 only: int64 [point], greatest first."""
    if most < 1:
        raise AtlasError(f"the top {most} points were asked for: at least 1 would do")
    values = _column(attribution, output)
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")[:most]
    return order[np.nan_to_num(values[order], nan=-np.inf) > 0]


def class_axis(attribution: Rows, left: int, right: int) -> np.ndarray:
    """Return where each point lies between two outputs: float32 [point], −1 for `left` to 1 for `right`.

    (attribution to right − to left) / the 99th percentile of its size, clipped and not centred: 0 argues for both alike.
    NaN for a point that is not finite. Two times the same output, or an unknown one, raises AtlasError.
    """
    return _scaled(_apart(attribution, left, right))


def between(attribution: Rows, left: int, right: int, *, by: str = "both", most: int = TOP) -> tuple[np.ndarray, np.ndarray]:
    """Return the points that argue for either of two outputs, int64 [point], and where each lies between them.

    The points are those of `arguing_points`; their places float32 [point] as of `class_axis`, scaled over them alone, as
    in the notebook of the class comparison. Errors are those of both.
    """
    apart = _apart(attribution, left, right)
    sides = [arguing_points(attribution, output, by=by, most=most) for output in (left, right)]
    points = np.union1d(*sides)
    return points, _scaled(apart[points])


def cells_between(cells: Cells, points: np.ndarray, axis: np.ndarray) -> pd.DataFrame:
    """Return the cells in which points between two classes lie, from the left one to the right one.

    Columns: cell, size, axis (the mean of those points), points (how many they are), share (of all the cell's points), few,
    label (its most frequent, None without). Left out, and counted by size in the frame's ``attrs["left_out"]``: cells of
    fewer than FEWEST of the points, or in which these are less than LEAST_SHARE of all.
    """
    known = np.isfinite(axis)
    points, axis = np.asarray(points)[known], np.asarray(axis, np.float64)[known]
    own = np.asarray(cells.point_cell)[:, points]
    placed = own >= 0
    count = np.bincount(own[placed], minlength=len(cells.grid))
    total = np.bincount(own[placed], np.broadcast_to(axis, own.shape)[placed], minlength=len(cells.grid))
    share, sizes = count / np.asarray(cells.points), np.array(cells.sizes)[cells.grid]
    enough = (count >= FEWEST) & (share >= LEAST_SHARE)
    kept = np.flatnonzero(enough)
    table = pd.DataFrame(
        {
            "cell": kept,
            "size": sizes[kept],
            "axis": total[kept] / count[kept],
            "points": count[kept],
            "share": share[kept],
            "few": cells.few[kept],
            "label": np.array([*cells.labels, None], object)[usual_label(cells)[kept]],
        }
    )
    table = table.sort_values(["size", "axis", "cell"], ignore_index=True)
    left = (count > 0) & ~enough
    table.attrs = {"left_out": {size: int((left & (sizes == size)).sum()) for size in cells.sizes}}
    return table


def _apart(attribution: Rows, left: int, right: int) -> np.ndarray:
    """Return how much more each point argues for `right` than for `left`: float64 [point], NaN for what is not finite."""
    if left == right:
        raise AtlasError(f"an axis lies between two outputs, and both are {left}: choose another")
    with np.errstate(invalid="ignore"):
        return _column(attribution, right) - _column(attribution, left)


def _scaled(apart: np.ndarray) -> np.ndarray:
    """Return differences by the 99th percentile of their size, clipped to −1 to 1: float32 [point]."""
    size = np.abs(apart[np.isfinite(apart)])
    scale = float(np.percentile(size, SCALE)) if len(size) else 0.0
    scale = scale or float(size.max(initial=0)) or 1.0  # so few points differ that the percentile is 0; or none does
    return np.where(np.isfinite(apart), np.clip(apart / scale, -1, 1), np.nan).astype(np.float32)


def _column(attribution: Rows, output: int) -> np.ndarray:
    """Return the attribution to one output, float64 [point], NaN where any of a point's values is not finite."""
    _check(attribution, output)
    found = [np.where(known, rows[:, output], np.nan) for _, rows, known in _blocks(attribution)]
    return np.concatenate([np.empty(0), *found])


def _blocks(attribution: Rows) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield rows as float64, the number of the first, and which of them are finite."""
    for start in range(0, len(attribution), BLOCK):
        rows = np.asarray(attribution[start : start + BLOCK], np.float64)
        yield start, rows, np.asarray(np.isfinite(rows).all(axis=1))


def _check(attribution: Rows, output: int) -> None:
    if not 0 <= output < attribution.shape[1]:
        raise AtlasError(f"no output {one_line(repr(output))}: there are outputs 0 to {attribution.shape[1] - 1}")
