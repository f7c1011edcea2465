"""What collects one layer of one part, and what becomes of it: vectors and statistics per unit. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from atlas.activations.functionals import Functional
from atlas.activations.records import PartLayer, PartMoments
from atlas.errors import AtlasError

if TYPE_CHECKING:
    import torch

    from atlas.activations.batching import Batch

LEVELS = 129  # quantiles at 0, 1/128, …, 1: ranks are known to 1/128
TOP = 16  # images kept per unit: a page of them
FLOAT16_LIMIT = 60_000.0  # float16 ends at 65 504; a layer that comes near is stored as float32
FEW_PLACES = 16  # of sorted values that partitioning finds faster than sorting: four of a million in half the time
BLOCK_BYTES = 64 << 20  # working memory of one block of units; a handful of such copies live at once


class Taker:
    """Collects one layer's values over one part: [point, unit] float32, and the points' places."""

    def __init__(self, functional: Functional, image_ids: Sequence[str], units: int, seed: int):
        self.functional, self.ids, self.seed = functional, image_ids, seed
        points = len(image_ids) * functional.points
        self.values = np.empty((points, units), np.float32)
        self.yx = np.empty((points if functional.sampled else 0, 2), np.float32)

    def take(self, output: torch.Tensor, axis: int | None, batch: Batch) -> None:
        """Reduce and keep the layer's output for `batch`, its units on `axis`, without the images that only pad it."""
        check_rows(output, len(batch.array))
        functional, stop = self.functional, batch.start + batch.count
        values, yx = functional.reduce(output[: batch.count], self.seed, self.ids[batch.start : stop], axis=axis)
        if values.shape[1] != self.values.shape[1]:
            raise other_width(values.shape[1], self.values.shape[1])
        mine = slice(batch.start * functional.points, stop * functional.points)
        self.values[mine] = values.cpu().numpy()
        self.yx[mine if functional.sampled else slice(0)] = yx


def check_rows(output: torch.Tensor, images: int) -> None:
    """Raise AtlasError when a layer's output has not one row per image."""
    if len(output) != images:
        raise AtlasError(
            f"its output has {len(output)} rows for {images} images, so none is an image's: choose another layer"
        )


def unit_blocks(rows: int, units: int, *, item_bytes: int = 8, block_bytes: int = BLOCK_BYTES) -> Iterator[slice]:
    """Yield slices of units such that [rows, slice] stays within `block_bytes`."""
    step = max(1, int(block_bytes // max(1, rows * item_bytes)))
    for start in range(0, units, step):
        yield slice(start, min(start + step, units))


def other_width(found: int, before: int) -> AtlasError:
    """Return the error for a layer whose width changes between two calls."""
    return AtlasError(f"it has {found} units for these images and {before} for the first ones: choose another layer")


def quantiles(columns: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return the quantiles of the finite values in each row of `columns` [unit, value]: float32 [level, unit].

    Linear between order statistics, as numpy's default; NaN for a unit without a finite value. `columns` is overwritten.
    """
    if not columns.shape[1]:
        return np.full((len(levels), len(columns)), np.nan, np.float32)
    columns[~np.isfinite(columns)] = np.nan  # sorts behind every number
    finite = columns.shape[1] - np.isnan(columns).sum(1)
    place = np.maximum(finite - 1, 0)[:, None] * levels
    low = np.floor(place).astype(np.intp)
    high = np.minimum(low + 1, np.maximum(finite - 1, 0)[:, None])
    wanted = np.union1d(low, high)
    if len(wanted) <= FEW_PLACES:
        columns.partition(wanted, axis=1)
    else:
        columns.sort(axis=1)
    below = np.take_along_axis(columns, low, 1).astype(np.float64)
    above = np.take_along_axis(columns, high, 1)
    return np.ascontiguousarray((below + (place - low) * (above - below)).T, np.float32)


def sketch(values: np.ndarray) -> np.ndarray:
    """Return the LEVELS equi-spaced quantiles of each unit of `values` [point, unit]: float32 [level, unit]."""
    levels = np.linspace(0, 1, LEVELS)
    found = np.empty((LEVELS, values.shape[1]), np.float32)
    for block in unit_blocks(len(values), values.shape[1], item_bytes=4):
        found[:, block] = quantiles(np.array(values[:, block].T, np.float32, order="C"), levels)
    return found


def top(values: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each unit's TOP greatest finite values and the rows they come from, greatest first, ties by lower row.

    values float32 [value, unit], rows [value] or [value, unit] → (float32, int32) [rank, unit]; NaN and −1 where there
    are fewer.
    """
    rows = np.broadcast_to(rows if rows.ndim == 2 else rows[:, None], values.shape)
    best_value = np.full((TOP, values.shape[1]), np.nan, np.float32)
    best_row = np.full((TOP, values.shape[1]), -1, np.int32)
    for block in unit_blocks(len(values), values.shape[1]):
        found = _top_of_block(values[:, block].T, rows[:, block].T)
        best_value[: len(found[0]), block], best_row[: len(found[0]), block] = found
    return best_value, best_row


def _top_of_block(values: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[unit, value] → [rank, unit], by one integer per value that orders as (value, −row) do."""
    keys = _ordered(values).astype(np.uint64) << np.uint64(32) | (
        np.uint64(0xFFFFFFFF) - rows.astype(np.uint32).astype(np.uint64)
    )
    count = min(TOP, keys.shape[1])
    if count < keys.shape[1]:
        keys = np.partition(keys, keys.shape[1] - count, axis=1)[:, -count:]
    keys = np.sort(keys, axis=1)[:, ::-1].T
    upper = (keys >> np.uint64(32)).astype(np.uint32)
    row = (np.uint64(0xFFFFFFFF) - (keys & np.uint64(0xFFFFFFFF))).astype(np.int64)
    return np.where(upper > 0, _unordered(upper), np.float32(np.nan)), np.where(upper > 0, row, -1).astype(np.int32)


def _ordered(values: np.ndarray) -> np.ndarray:
    """Map float32 to uint32 of the same order, values that are not finite to 0, which no finite value maps to."""
    bits = (np.ascontiguousarray(values, np.float32) + np.float32(0)).view(np.uint32)  # −0 + 0 = 0: equal values, equal bits
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(0x80000000))
    return np.where(np.isfinite(values), ordered, np.uint32(0))


def _unordered(ordered: np.ndarray) -> np.ndarray:
    return np.where(ordered >> 31, ordered ^ np.uint32(0x80000000), ~ordered).astype(np.uint32).view(np.float32)


def per_image(values: np.ndarray, points: int) -> np.ndarray:
    """Return each image's greatest finite value over its `points`, [image, unit]; −inf where it has none."""
    if points == 1:
        return values
    return np.where(np.isfinite(values), values, -np.inf).reshape(-1, points, values.shape[1]).max(axis=1)


def moments(values: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the groups found, and each one's count, mean and sum of squared deviations per unit.

    values [point, unit], groups int [point, 4] → groups [group, 4], count [group], mean and m2 float64 [group, unit]. A
    unit with a value that is not finite has NaN in that value's group. Two passes: what Welford's recurrence approaches.
    """
    names, group = np.unique(groups, axis=0, return_inverse=True)
    group = group.reshape(-1)
    order, count = np.argsort(group, kind="stable"), np.bincount(group, minlength=len(names))
    mean, m2 = np.empty((2, len(names), values.shape[1]))
    if len(values):
        starts = np.cumsum(count) - count
        for block in unit_blocks(len(values), values.shape[1]):
            mean[:, block], m2[:, block] = _moments_of_block(values[order, block], starts, count)
    return names.astype(np.int32), count.astype(np.int64), mean, m2


def _moments_of_block(values: np.ndarray, starts: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    mean = np.add.reduceat(numbers, starts, axis=0) / count[:, None]
    numbers -= np.repeat(mean, count, axis=0)
    return mean, np.add.reduceat(np.square(numbers, out=numbers), starts, axis=0)


def stored_type(values: np.ndarray, precision: str) -> str:
    """Return the type vectors are stored in: float32 as float32, bfloat16 as float16 unless a value comes near its limit."""
    if precision == "float32":
        return "float32"
    blocks = (values[start : start + 4096] for start in range(0, len(values), 4096))
    greatest = max((float(np.max(np.abs(b), where=np.isfinite(b), initial=0)) for b in blocks), default=0.0)
    return "float32" if greatest > FLOAT16_LIMIT else "float16"


def part_layer(
    values: np.ndarray,
    *,
    layer: str,
    functional: str,
    rows: np.ndarray,
    yx: np.ndarray,
    stored: str | None,
) -> PartLayer:
    """Return the record of one layer of one part.

    values float32 [point, unit], image by image; rows int [image]; yx [point, 2] or [0, 2]; `stored` the type of the kept
    vectors, or None where only the statistics are wanted.
    """
    points = len(values) // len(rows) if len(rows) else 1
    top_value, top_image = top(per_image(values, points), rows)
    kept = values if stored else values[:0]
    return PartLayer(
        layer=layer,
        functional=functional,
        vectors=kept.astype(stored or "float16"),
        point_image=np.repeat(rows, points).astype(np.int32),
        point_yx=yx.astype(np.float32),
        quantiles=sketch(values),
        zeros=(values == 0).sum(0).astype(np.int64),
        nonfinite=(~np.isfinite(values)).sum(0).astype(np.int64),
        top_value=top_value,
        top_image=top_image,
    )


def part_moments(values: np.ndarray, groups: np.ndarray, *, layer: str, functional: str) -> PartMoments:
    """Return the moments of one layer of one part: values float32 [point, unit], image by image; groups int [image, 3]."""
    points = len(values) // len(groups) if len(groups) else 1
    names, count, mean, m2 = moments(values, np.repeat(groups, points, axis=0))
    return PartMoments(layer, functional, names, count, mean, m2)
