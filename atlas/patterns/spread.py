"""How far the classes spread and mix in a layer's own space, measured there and not on the map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from atlas.data.records import SPLITS
from atlas.errors import AtlasError, choose
from atlas.maps.blocks import BLOCK, Rows, unit_length
from atlas.maps.records import Neighbours
from atlas.patterns.voting import VOTERS, class_shares


@dataclass(frozen=True)
class ClassSpread:
    """How far each class spreads, and with which it mixes, over all labelled images and over each split's own.

    ``within`` is the mean distance of a class's points to their centre, ``between`` the mean distance of two classes'
    centres, and the spread their quotient. Distances are Euclidean, for cosine between vectors of unit length. ``mixing``
    is the mean, over a class's points, of the share of their k nearest labelled points of other images, in any split,
    that belong to each class: rows sum to 1, and the diagonal is the neighbour purity. NaN where a class has no point, or
    none that has a labelled neighbour.
    """

    layers: list[str]
    metric: str
    labels: list[str]
    over: list[str]  # all, then the splits that have labelled images, where there are several
    k: int  # neighbours asked at most
    count: np.ndarray  # int64 [split, class], points
    within: np.ndarray  # float64 [split, class]
    between: np.ndarray  # float64 [split]
    mixing: np.ndarray  # float32 [split, class, class]

    @property
    def spread(self) -> np.ndarray:
        """Mean distance to the class's centre, in units of the mean distance between centres: float64 [split, class]."""
        between = self.between[:, None]
        return np.divide(self.within, between, out=np.full_like(self.within, np.nan), where=between > 0)

    @property
    def purity(self) -> np.ndarray:
        """Mean share of a point's neighbours that have its label: float32 [split, class]."""
        return np.diagonal(self.mixing, axis1=1, axis2=2)

    def place(self, split: str) -> int:
        """Return the index of a split in the arrays; AtlasError for one that was not measured."""
        if split not in self.over:
            raise choose("split", split, self.over)
        return self.over.index(split)


def class_spread(
    vectors: Rows,
    neighbours: Neighbours,
    point_image: np.ndarray,
    codes: np.ndarray,
    labels: Sequence[str],
    *,
    splits: np.ndarray,
    k: int = VOTERS,
) -> ClassSpread:
    """Return the spread and the mixing of the classes of a layer.

    `vectors` [point, unit], `point_image` [point], `codes` [image] (index into `labels`, -1 for none) and `splits` [image]
    (index into SPLITS). Images without a single label raise AtlasError.
    """
    label = np.asarray(codes)[point_image].astype(np.int64)
    if not (label >= 0).any():
        raise AtlasError("the images carry no labels, so classes have no spread: label them by folder or by table")
    over, member = groups_of(np.asarray(splits)[point_image], label >= 0)
    prepare = unit_length if neighbours.metric == "cosine" else (lambda block: block)
    k = min(k, neighbours.indices.shape[1])
    count = np.stack([np.bincount(label[rows], minlength=len(labels)) for rows in member])
    centres = class_centres(vectors, label, member, count, prepare)
    return ClassSpread(
        layers=list(neighbours.layers),
        metric=neighbours.metric,
        labels=list(labels),
        over=over,
        k=k,
        count=count,
        within=mean_distances(vectors, label, member, centres, prepare),
        between=np.array([mean_between(group[has > 0]) for group, has in zip(centres, count, strict=True)]),
        mixing=mixing_of(neighbours.indices, point_image, np.asarray(codes), label, member, len(labels), k),
    )


def groups_of(split: np.ndarray, labelled: np.ndarray) -> tuple[list[str], list[np.ndarray]]:
    """Return the names of the groups that are measured and whether each point is in them: all, and each split of several."""
    there = [number for number in range(len(SPLITS)) if (labelled & (split == number)).any()]
    several = there if len(there) > 1 else []
    return ["all", *(SPLITS[number] for number in several)], [labelled, *(labelled & (split == n) for n in several)]


Prepare = Callable[[np.ndarray], np.ndarray]


def class_centres(
    vectors: Rows, label: np.ndarray, member: Sequence[np.ndarray], count: np.ndarray, prepare: Prepare
) -> np.ndarray:
    """Return the mean vector of each class in each group, float64 [group, class, unit]; zeros where there is no point."""
    sums = np.zeros((*count.shape, vectors.shape[1]))
    for start in range(0, len(vectors), BLOCK):
        block, rows = prepare(vectors[start : start + BLOCK]).astype(np.float64), slice(start, start + BLOCK)
        for total, mine in zip(sums, member, strict=True):
            add_by(total, label[rows][mine[rows]], block[mine[rows]])
    return sums / np.maximum(count, 1)[:, :, None]


def add_by(total: np.ndarray, label: np.ndarray, rows: np.ndarray) -> None:
    """Add each of `rows` [row, unit] to the row of `total` [class, unit] that its label names."""
    order = np.argsort(label, kind="stable")
    present, first = np.unique(label[order], return_index=True)
    if len(present):
        total[present] += np.add.reduceat(rows[order], first, axis=0)


def mean_distances(
    vectors: Rows, label: np.ndarray, member: Sequence[np.ndarray], centres: np.ndarray, prepare: Prepare
) -> np.ndarray:
    """Return the mean Euclidean distance of each class's points to its centre: float64 [group, class]."""
    found = np.zeros(centres.shape[:2])
    for start in range(0, len(vectors), BLOCK):
        block, rows = prepare(vectors[start : start + BLOCK]).astype(np.float64), slice(start, start + BLOCK)
        for total, mine, centre in zip(found, member, centres, strict=True):
            own = label[rows][mine[rows]]
            far = np.linalg.norm(block[mine[rows]] - centre[own], axis=1)
            total += np.bincount(own, far, len(total))
    count = np.stack([np.bincount(label[rows], minlength=centres.shape[1]) for rows in member])
    return np.divide(found, count, out=np.full_like(found, np.nan), where=count > 0)


def mean_between(centres: np.ndarray) -> float:
    """Return the mean Euclidean distance of two different centres, [class, unit]; NaN where there are not two."""
    if len(centres) < 2:
        return float("nan")
    from scipy.spatial.distance import pdist  # type: ignore[import-untyped]

    return float(pdist(centres).mean())


def mixing_of(
    indices: np.ndarray,
    point_image: np.ndarray,
    codes: np.ndarray,
    label: np.ndarray,
    member: Sequence[np.ndarray],
    classes: int,
    k: int,
) -> np.ndarray:
    """Return the mean share of neighbours of each class, by the points' own class: float32 [group, class, class]."""
    total, asked = np.zeros((len(member), classes, classes)), np.zeros((len(member), classes))
    for rows, shares in class_shares(indices, point_image, codes, classes, k=k):
        heard = ~np.isnan(shares[:, 0])
        for sums, number, mine in zip(total, asked, member, strict=True):
            counted = mine[rows] & heard
            add_by(sums, label[rows][counted], shares[counted])
            number += np.bincount(label[rows][counted], minlength=classes)
    number = asked[:, :, None]
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0).astype(np.float32)
