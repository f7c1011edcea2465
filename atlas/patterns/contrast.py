"""Units in which one set of points differs from another: the standardised mean difference, from moments of the vectors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from atlas.activations.records import Vectors
from atlas.errors import AtlasError

BATCH = 8192  # rows read at a time: 16 MB as float64 at 256 units


@dataclass(frozen=True)
class Moments:
    """How many points, and of each unit their mean and the sum of their squared deviations: float64 [unit]."""

    count: int
    mean: np.ndarray
    m2: np.ndarray


def moments(vectors: Vectors | np.ndarray, points: np.ndarray) -> Moments:
    """Return the moments of some rows of `vectors` [point, unit], given by number, read a batch at a time.

    Batches are merged as Chan, Golub and LeVeque (1979, eq. 2.1) have it, so that large means cost no digits.
    """
    batches = (np.asarray(vectors[points[at : at + BATCH]], np.float64) for at in range(0, len(points), BATCH))
    return _merged((_of(batch) for batch in batches), vectors.shape[1])


def _of(batch: np.ndarray) -> Moments:
    mean = batch.mean(0)
    return Moments(len(batch), mean, ((batch - mean) ** 2).sum(0))


def _merged(parts: Iterable[Moments], units: int) -> Moments:
    whole = Moments(0, np.zeros(units), np.zeros(units))
    for part in parts:
        count, delta = whole.count + part.count, part.mean - whole.mean
        mean = whole.mean + delta * (part.count / count)
        whole = Moments(count, mean, whole.m2 + part.m2 + delta**2 * (whole.count * part.count / count))
    return whole


def without(whole: Moments, part: Moments) -> Moments:
    """Return the moments of what is in `whole` and not in `part`, the merge undone: exact enough where `part` is smaller."""
    count = whole.count - part.count
    if count <= 0:
        return Moments(0, np.zeros_like(whole.mean), np.zeros_like(whole.m2))
    mean = whole.mean + (whole.mean - part.mean) * (part.count / count)
    between = (part.mean - mean) ** 2 * (part.count * count / whole.count)
    return Moments(count, mean, np.maximum(whole.m2 - part.m2 - between, 0))


def split(vectors: Vectors | np.ndarray, chosen: np.ndarray, rest: np.ndarray, whole: Moments) -> tuple[Moments, Moments]:
    """Return the moments of `chosen` and of `rest` (numbers of points), reading the smaller; `whole` is both together."""
    if len(chosen) <= len(rest):
        few = moments(vectors, chosen)
        return few, without(whole, few)
    few = moments(vectors, rest)
    return without(whole, few), few


def effect_sizes(one: Moments, other: Moments) -> np.ndarray:
    """Return Cohen's d of every unit, positive where `one` is higher: float64 [unit], NaN where neither varies.

    d = (mean₁ − mean₂) / s, s² = (m2₁ + m2₂) / (n₁ + n₂ − 2): the pooled standard deviation (Cohen, Statistical Power
    Analysis, 1988, eq. 2.5.2). Fewer than one point on a side, or three together, raise AtlasError.
    """
    if not one.count or not other.count or one.count + other.count < 3:
        what = f"{one.count} points are compared with {other.count}"
        raise AtlasError(f"{what}: both sides need one, and together three")
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt((one.m2 + other.m2) / (one.count + other.count - 2))
        # what rounding leaves of a unit that is the same everywhere is no spread
        floor = 1e-9 * np.maximum(np.abs(one.mean), np.abs(other.mean))
        sizes = (one.mean - other.mean) / spread
        return np.where(np.isfinite(sizes) & (spread > floor), sizes, np.nan)


def strongest(sizes: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the units with the largest and the smallest effect, at most `most` each, the strongest first.

    Only units above zero are largest, only those below are smallest; of equals the first comes first.
    """
    order = np.argsort(-np.nan_to_num(sizes), kind="stable")
    low = np.argsort(np.nan_to_num(sizes), kind="stable")
    return order[sizes[order] > 0][:most], low[sizes[low] < 0][:most]
