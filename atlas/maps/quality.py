"""How faithful a layout is: trustworthiness, continuity and neighbour recall, as a whole and per point.

Trustworthiness is scikit-learn's, after Venna and Kaski, Neural Networks 14 (2001): 1 − 2 / (n k (2n − 3k − 1)) times
the sum, over points that are neighbours in the layout only, of how far beyond k they rank in the layer. Continuity is
the same with the two spaces in each other's place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from atlas.errors import AtlasError
from atlas.machine import cores
from atlas.maps.blocks import Rows, sample_rows, unit_length, whole_number
from atlas.maps.records import Neighbours

RANKED = 256  # points ranked at a time: 256 × 5 000 float64 is 10 MB


@dataclass(frozen=True)
class Faithfulness:
    """How faithful a layout is, per point (float32 [point], NaN where not computed) and in one summary."""

    recall: np.ndarray
    trust: np.ndarray
    continuity: np.ndarray
    summary: dict[str, Any]


def faithfulness(
    vectors: Rows, xy: np.ndarray, neighbours: Neighbours, *, k: int = 15, sample: int = 5000, seed: int = 0
) -> Faithfulness:
    """Return recall of every point, trustworthiness and continuity of a sample, and their means.

    Recall is over all points, at ``recall_k``: `k`, or as many as the neighbour lists hold. Trustworthiness and continuity
    are of at most `sample` points drawn from `seed`, ranked among each other in the metric of `neighbours`; their ``k`` is
    less than half of them. What too few points leave undefined is NaN, and None in the summary.
    """
    k, sample = whole_number("k", k, 1), whole_number("sample", sample, 1)
    if not len(vectors) == len(xy) == len(neighbours.indices):
        raise AtlasError(
            f"{len(vectors)} vectors, {len(xy)} places and {len(neighbours.indices)} neighbour lists: not one layout"
        )
    recall, trust, continuity = np.full((3, len(xy)), np.nan, np.float32)
    recall_k = min(k, neighbours.indices.shape[1])
    if recall_k:
        recall[:] = recall_per_point(neighbours.indices, xy, k=recall_k)
    rows = sample_rows(len(xy), sample, seed)
    ranked_k = min(k, (len(rows) - 1) // 2)
    if ranked_k > 0:
        own = vectors[rows]
        own = unit_length(own) if neighbours.metric == "cosine" else own
        trust[rows], continuity[rows] = trust_and_continuity(own, xy[rows], k=ranked_k)
    scores = {"trustworthiness": _mean(trust), "continuity": _mean(continuity), "recall": _mean(recall)}
    cut = {"k": ranked_k, "recall_k": recall_k, "sample": len(rows), "points": len(xy), "seed": seed}
    return Faithfulness(recall, trust, continuity, {**scores, **cut, "metric": neighbours.metric})


def quality(vectors: Rows, xy: np.ndarray, neighbours: Neighbours, **options: int) -> dict[str, Any]:
    """Return the summary of `faithfulness`: ``trustworthiness``, ``continuity``, ``recall`` and how they were computed."""
    return faithfulness(vectors, xy, neighbours, **options).summary


def _mean(values: np.ndarray) -> float | None:
    """Return the mean of what was computed, None where nothing was."""
    known = values[~np.isnan(values)].astype(np.float64)
    return float(known.mean()) if len(known) else None


def trust_and_continuity(x: np.ndarray, y: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return trustworthiness and continuity of each point within these, float64 [point]; their means are the scores.

    `x` [point, unit] is the layer's own space, `y` [point, 2] the layout, both Euclidean; `k` is less than half the points.
    """
    count = len(x)
    if not 0 < k < count / 2:
        raise AtlasError(f"k must be less than half of {count} points, and it is {k}: ask for at most {(count - 1) // 2}")
    x, y = (space - space.mean(axis=0) for space in (np.asarray(x, np.float64), np.asarray(y, np.float64)))
    lost = np.empty((2, count))
    for start in range(0, count, RANKED):
        rows = slice(start, start + RANKED)
        far_x, far_y = _squared(x, rows), _squared(y, rows)
        near_x, near_y = _nearest(far_x, k), _nearest(far_y, k)
        lost[0, rows], lost[1, rows] = _beyond(far_x, near_y, k), _beyond(far_y, near_x, k)
    trust, continuity = 1.0 - lost * 2.0 / (k * (2.0 * count - 3.0 * k - 1.0))
    return trust, continuity


def recall_per_point(indices: np.ndarray, xy: np.ndarray, *, k: int) -> np.ndarray:
    """Return, for each point, the share of its `k` nearest in the layer that are among its `k` nearest in the layout."""
    from scipy.spatial import cKDTree  # type: ignore[import-untyped]

    count = len(xy)
    _, near = cKDTree(xy).query(xy, k=k + 1, workers=cores())
    drop = near == np.arange(count)[:, None]
    drop[~drop.any(axis=1), -1] = True  # more than k others on the very same spot
    near = near[~drop].reshape(count, k)
    shares = np.empty(count)
    for start in range(0, count, 8192):
        rows = slice(start, start + 8192)
        shares[rows] = (np.asarray(indices[rows, :k])[:, :, None] == near[rows, None, :]).any(axis=2).mean(axis=1)
    return shares


def _squared(space: np.ndarray, rows: slice) -> np.ndarray:
    """Return squared distances from some points to all, [row, point], each point infinitely far from itself."""
    own = space[rows]
    squared = (own**2).sum(axis=1)[:, None] + (space**2).sum(axis=1) - 2.0 * own @ space.T
    squared[np.arange(len(own)), np.arange(rows.start, rows.start + len(own))] = np.inf
    return squared


def _nearest(squared: np.ndarray, k: int) -> np.ndarray:
    return np.argpartition(squared, k - 1, axis=1)[:, :k]


def _beyond(squared: np.ndarray, near: np.ndarray, k: int) -> np.ndarray:
    """Return, per row, by how much the ranks of the points `near` in `squared` exceed `k`, added up."""
    ranks = np.empty(near.shape)
    for column in range(near.shape[1]):
        own = np.take_along_axis(squared, near[:, column : column + 1], axis=1)
        ranks[:, column] = 1 + (squared < own).sum(axis=1)
    return np.maximum(ranks - k, 0).sum(axis=1)
