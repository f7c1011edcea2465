"""What the units of a layer stand for, from the layer's statistics: which class, how much, and which units are alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas.activations.records import Statistics
from atlas.data.records import SPLITS
from atlas.patterns.classes import LABEL, RIGHT, SPLIT, merge_moments

CLUSTERED = 500  # units or classes: up to here the best order of the leaves takes under a second


@dataclass(frozen=True)
class Moments:
    """Mean and population standard deviation of every unit over one group of images; NaN where it is empty."""

    count: int
    mean: np.ndarray  # float64 [unit]
    std: np.ndarray  # float64 [unit]


def moments(statistics: Statistics, wanted: np.ndarray) -> Moments:
    """Return the moments of the union of the groups `wanted`, bool [group]."""
    count, mean, m2 = merge_moments(statistics.count[wanted], statistics.mean[wanted], statistics.m2[wanted])
    return Moments(count, mean, np.sqrt(m2 / max(count, 1)))


def of_split(statistics: Statistics, split: str | None) -> np.ndarray:
    """Return which groups are of a split, of any where it is None: bool [group]."""
    groups = np.asarray(statistics.groups)
    return np.ones(len(groups), bool) if split is None else groups[:, SPLIT] == SPLITS.index(split)


def judged(statistics: Statistics) -> bool:
    """Tell whether right and wrong are defined of any image."""
    return bool((np.asarray(statistics.groups)[:, RIGHT] >= 0).any())


def pair_moments(
    statistics: Statistics, taken: np.ndarray, first: int, second: int, *, split: str | None
) -> tuple[Moments, Moments, Moments]:
    """Return the moments of the images of class `first` that are right, of those taken for `second`, and of `second` right.

    `taken` [group] is the label that each group's prediction stands for, -1 for none. Where right and wrong are undefined,
    "right" are all images of the class.
    """
    groups, within = np.asarray(statistics.groups), of_split(statistics, split)
    right = groups[:, RIGHT] == 1 if judged(statistics) else np.ones(len(groups), bool)
    own, other = (within & (groups[:, LABEL] == label) for label in (first, second))
    wanted = (own & right, own & (taken == second), other & right)
    return tuple(moments(statistics, rows) for rows in wanted)  # type: ignore[return-value]


def effect(one: Moments, other: Moments) -> np.ndarray:
    """Return the difference of two groups' means in units of their pooled standard deviation: float64 [unit].

    NaN where a group is empty, both hold a single image, or neither varies. Source: Cohen, "Statistical Power Analysis for
    the Behavioral Sciences", 1988, section 2.5.
    """
    free = one.count + other.count - 2
    if min(one.count, other.count) == 0 or free < 1:
        return np.full_like(one.mean, np.nan)
    pooled = np.sqrt((one.count * one.std**2 + other.count * other.std**2) / free)
    return np.divide(one.mean - other.mean, pooled, out=np.full_like(pooled, np.nan), where=pooled > 0)


# -- what a unit stands for ------------------------------------------------------------------------------------------------


def with_images(mean: np.ndarray) -> np.ndarray:
    """Return which classes of class means [class, unit] have images: bool [class]."""
    return ~np.isnan(mean).all(axis=1)


def favourite(mean: np.ndarray) -> np.ndarray:
    """Return the class that excites each unit most, of class means [class, unit]: int [unit], -1 where none does so more."""
    there = np.flatnonzero(with_images(mean))
    if len(there) == 0:
        return np.full(mean.shape[1], -1)
    known = mean[there]
    return np.where(known.max(axis=0) > known.min(axis=0), there[known.argmax(axis=0)], -1)  # NaN is above nothing


def rivals(mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the greatest class mean of each unit, and the mean of the other classes' means: float64 [unit] each."""
    there = mean[with_images(mean)]
    if len(there) < 2:
        return (np.full(mean.shape[1], np.nan),) * 2
    most = there.max(axis=0)
    return most, (there.sum(axis=0) - most) / (len(there) - 1)


def selectivity(mean: np.ndarray) -> np.ndarray:
    """Return the class selectivity of each unit from its class means [class, unit]: float64 [unit], 0 none to 1 one class.

    (most − others) / (most + others), with the greatest class mean and the mean of the other classes' means. NaN for a unit
    that is never excited, and for one with a negative class mean, of which the quotient says nothing. Classes without images
    (NaN) do not count. Source: Morcos, Barrett, Rabinowitz, Botvinick, "On the importance of single directions for
    generalization", 2018.
    """
    most, others = rivals(mean)
    usual = (most + others > 0) & (np.nan_to_num(mean).min(axis=0, initial=0) >= 0)
    return np.divide(most - others, most + others, out=np.full_like(most, np.nan), where=usual)


def outstanding(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return how far each unit's greatest class mean lies above the mean of the others: float64 [unit].

    In units of the standard deviation within classes (root of the mean variance), so that it holds for negative means too;
    `mean` and `std` [class, unit]. NaN where nothing varies within the classes.
    """
    most, others = rivals(mean)
    there = with_images(mean)
    within = np.sqrt((std[there] ** 2).mean(axis=0)) if there.any() else np.zeros(mean.shape[1])
    return np.divide(most - others, within, out=np.full_like(most, np.nan), where=within > 0)


# -- orders ----------------------------------------------------------------------------------------------------------------


def similarity_order(values: np.ndarray) -> np.ndarray:
    """Return an order of items in which those alike stand together, from values [item, feature]: int [item].

    Alike are two whose values correlate. Up to CLUSTERED items: average linkage of the distances of standardised rows, its
    leaves in the order with the least sum of distances between neighbours (Bar-Joseph, Gifford, Jaakkola, 2001). More:
    by correlation with the first principal component. Items that do not vary, or hold NaN, stand last.
    """
    rows, varies = standardised(values)
    live, rest = np.flatnonzero(varies), np.flatnonzero(~varies)
    if len(live) < 3:
        return np.concatenate([live, rest])
    order = _leaves(rows[live]) if len(live) <= CLUSTERED else _along_component(rows[live])
    return np.concatenate([live[order], rest])


def standardised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows with mean 0 and length 1, and which of them vary: float64 [item, feature], bool [item]."""
    known = np.where(np.isfinite(values).all(axis=1, keepdims=True), values, 0.0)
    centred = known - known.mean(axis=1, keepdims=True) if known.shape[1] else known
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    varies = length[:, 0] > 1e-9 * np.abs(known).max(initial=1e-30)  # below: rounding of the moments
    return np.divide(centred, length, out=np.zeros_like(centred), where=varies[:, None]), varies


def _leaves(rows: np.ndarray) -> np.ndarray:
    from scipy.cluster.hierarchy import leaves_list, linkage  # type: ignore[import-untyped]  # needed by a page's few

    return np.asarray(leaves_list(linkage(rows, "average", optimal_ordering=True)))


def _along_component(rows: np.ndarray) -> np.ndarray:
    axis = np.linalg.svd(rows, full_matrices=False)[2][0]
    axis = axis * np.sign(axis[np.abs(axis).argmax()])  # either sign is a principal direction: one is chosen
    return np.argsort(-(rows @ axis), kind="stable")


def falling(values: np.ndarray) -> np.ndarray:
    """Return the order of falling values, NaN last, equal ones by number: int [item]."""
    return np.argsort(np.where(np.isnan(values), np.inf, -values), kind="stable")
