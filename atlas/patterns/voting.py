"""What the neighbours of a point say of its label: the share of them that belongs to each class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BLOCK = 4096  # points at a time: 4 096 × 1 000 classes of float64 are 32 MB
VOTERS = 30  # neighbours asked: of 15, 30 and 90, the fewest that find nearly all flipped labels (benchmarks/suspects.py)


def class_shares(
    indices: np.ndarray,
    point_image: np.ndarray,
    codes: np.ndarray,
    classes: int,
    *,
    k: int = VOTERS,
    weights: np.ndarray | None = None,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield, block by block, the points and the share of each one's `k` nearest that belongs to each class, [point, class].

    `indices` [point, listed] are the neighbour lists, `point_image` [point] the image of each point, `codes` [image] the
    index of each label, -1 for none. The nearest are those of other images: an image never votes for itself. Unlabelled
    ones do not vote; a point without a vote has NaN. `weights` [point] says how much each voter counts.
    """
    for start in range(0, len(indices), BLOCK):
        rows = slice(start, start + BLOCK)
        near = np.asarray(indices[rows])
        label = voters(near, point_image[rows], point_image, codes, k)
        counted = (label >= 0) * (1.0 if weights is None else weights[near])
        place = np.arange(len(near))[:, None] * classes + np.maximum(label, 0)
        votes = np.bincount(place.ravel(), counted.ravel(), len(near) * classes).astype(float)
        votes = votes.reshape(len(near), classes)  # of no voter at all numpy counts in whole numbers
        total = votes.sum(axis=1, keepdims=True)
        yield rows, np.divide(votes, total, out=np.full_like(votes, np.nan), where=total > 0)


def voters(near: np.ndarray, own: np.ndarray, point_image: np.ndarray, codes: np.ndarray, k: int) -> np.ndarray:
    """Return the label of each of the `k` nearest points of other images: int [point, listed], -1: no vote.

    `near` [point, listed] lists points, -1 where a search found too few; `own` [point] is each one's own image.
    """
    image = point_image[near]
    other = (image != own[:, None]) & (near >= 0)
    within = other & (np.cumsum(other, axis=1) <= k)
    return np.where(within, codes[image], -1)


def voted(indices: np.ndarray, point_image: np.ndarray, codes: np.ndarray, classes: int, *, k: int = VOTERS) -> np.ndarray:
    """Return the label that most of each point's `k` nearest have, the first of equals: int64 [point], -1 without a vote.

    Arguments as of `class_shares`. Where it is the point's own label, a k-nearest-neighbour classifier is right that never
    saw the point itself.
    """
    found = np.full(len(indices), -1)
    for rows, shares in class_shares(indices, point_image, codes, classes, k=k):
        heard = ~np.isnan(shares[:, 0])
        found[rows] = np.where(heard, np.nan_to_num(shares).argmax(axis=1), -1)
    return found
