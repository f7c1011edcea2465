"""Class activation patterns: mean and standard deviation of every unit per class, from a layer's statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas.activations.records import Statistics
from atlas.data.records import SPLITS
from atlas.errors import AtlasError, choose

SPLIT, LABEL, PREDICTION, RIGHT = range(4)  # the columns of Statistics.groups


@dataclass(frozen=True)
class ClassPatterns:
    """The patterns of one layer's classes; a class without images has NaN and a count of 0."""

    layer: str
    functional: str
    labels: list[str]
    mean: np.ndarray  # float64 [class, unit]
    std: np.ndarray  # float64 [class, unit], population standard deviation
    count: np.ndarray  # int64 [class]
    title: str  # says over which images

    @property
    def empty(self) -> list[str]:
        """The classes without a single image, by name."""
        return [label for label, count in zip(self.labels, self.count, strict=True) if count == 0]


def merge_moments(count: np.ndarray, mean: np.ndarray, m2: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Merge the moments of several groups into those of their union.

    count [group], mean and m2 [group, unit] → count, mean [unit], m2 [unit]; NaN where there is no image.
    Source: Chan, Golub, LeVeque, "Algorithms for computing the sample variance", 1983.
    """
    total = int(count.sum())
    if total == 0:
        return 0, np.full(mean.shape[1], np.nan), np.full(mean.shape[1], np.nan)
    weights = count[:, None]
    merged = (weights * mean).sum(0) / total
    return total, merged, m2.sum(0) + (weights * (mean - merged) ** 2).sum(0)


def _what(statistics: Statistics, count: np.ndarray) -> str:
    """Return what was counted: the points, where an image has several."""
    noun = "point" if statistics.functional.startswith("positions") else "image"
    return noun if count.sum() == 1 else f"{noun}s"


def class_patterns(
    statistics: Statistics, labels: Sequence[str], *, split: str | None = "held-out", right_only: bool = True
) -> ClassPatterns:
    """Return mean and standard deviation [class, unit] over the correctly classified images of a split.

    `split` None takes all images. Where right and wrong are undefined for every image (an incomplete class map), the
    patterns are per label over all images, and the title says so. Unknown splits raise AtlasError.
    """
    groups = np.asarray(statistics.groups)
    if split is not None and split not in SPLITS:
        raise choose("split", split, SPLITS)
    if not labels:
        raise AtlasError("the images carry no labels, so there are no class patterns: label them by folder or by table")
    of_split = np.ones(len(groups), bool) if split is None else groups[:, SPLIT] == SPLITS.index(split)
    judged = bool((groups[:, RIGHT] >= 0).any())
    wanted = of_split & ((groups[:, RIGHT] == 1) if right_only and judged else True)
    merged = [
        merge_moments(statistics.count[rows], statistics.mean[rows], statistics.m2[rows])
        for rows in (wanted & (groups[:, LABEL] == label) for label in range(len(labels)))
    ]
    count = np.array([m[0] for m in merged])
    which = "correctly classified" if right_only and judged else "all"
    where = "" if split is None else f" {split}"
    return ClassPatterns(
        layer=statistics.layer,
        functional=statistics.functional,
        labels=list(labels),
        mean=np.stack([m[1] for m in merged]),
        std=np.sqrt(np.stack([m[2] for m in merged]) / np.maximum(count, 1)[:, None]),
        count=count,
        title=f"{statistics.layer} ({statistics.functional}) over {count.sum()} {which}{where} {_what(statistics, count)}"
        + ("" if judged or not right_only else ": right and wrong are undefined, so per label"),
    )
