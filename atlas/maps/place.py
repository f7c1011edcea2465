"""New points in a map that stands: neighbours in the layer, the method's own placing, and how far each can be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from atlas.errors import AtlasError
from atlas.maps.blocks import Rows, as_float32, check_vectors, whole_number
from atlas.maps.pca import Axes, project
from atlas.maps.records import METHOD_NAMES, REACH, Layout

FAR = "this lies farther from its neighbours than 99.9 % of the atlas's own images do"
FAR_SHARE = 999  # of the 1 000 steps of `reach`
NEAR = 0.9  # as near as nine in ten of the atlas's own points is near enough
SPARE = 4  # candidates beyond those wanted: an index may order near-ties otherwise than exact distances do
TSNE_NEIGHBOURS = 15  # three times the perplexity that openTSNE places new points with
VALUES = 2_000_000  # float64 values that are gathered at a time, 16 MB


class Index(Protocol):
    """What finds neighbours in the layer: `search` returns indices and distances, [query, k]."""

    def search(self, queries: np.ndarray, k: int, /) -> tuple[np.ndarray, np.ndarray]:
        """Return the `k` nearest points of each query, nearest first."""
        ...


@dataclass(frozen=True)
class Placed:
    """Places of new points: ``xy`` float32 [point, 2], ``confidence`` float32 [point] from 0 to 1, ``far`` bool [point]."""

    xy: np.ndarray
    confidence: np.ndarray
    far: np.ndarray


def place(layout: Layout, index: Index, vectors: Rows, new: np.ndarray, *, seed: int = 0) -> Placed:
    """Return where new points, [point, unit] or one vector, belong in a layout whose own points stay where they are.

    `index` and `vectors`, [point, unit], are those of the layout's points. PCA projects on its axes, exactly. UMAP and
    t-SNE start at the neighbours' places and descend their own gradient, as `UMAP.transform` and `TSNEEmbedding.transform`
    do. A point's place depends on `seed` and itself, never on what is placed with it. What `confidence` says stands at
    `confidence_of`. Vectors of another width, NaN and infinity, none at all, or those of another layout raise AtlasError.
    """
    rows = _check(layout, vectors, new, seed)
    indices, distances = nearest(index, vectors, rows, _wanted(layout), metric=layout.parameters["metric"])
    xy = _PLACES[layout.method](layout, rows, indices, distances, seed)
    return Placed(np.ascontiguousarray(xy, np.float32), confidence_of(layout, indices, distances), far(layout, distances))


def _check(layout: Layout, vectors: Rows, new: np.ndarray, seed: int) -> np.ndarray:
    """Return the new points as float32 [point, unit]; else raise AtlasError."""
    if whole_number("seed", seed, 0) >= 2**32:
        raise AtlasError(f"seed must be below {2**32}, not {seed}")
    rows = as_float32(check_vectors(np.atleast_2d(np.asarray(new)))[:])
    name = " and ".join(layout.layers)
    if len(vectors) != len(layout.xy):
        raise AtlasError(
            f"{len(vectors)} vectors and {len(layout.xy)} points on the map of {name}: give the vectors of its points"
        )
    if rows.shape[1] != vectors.shape[1]:
        raise AtlasError(
            f"the new points have {rows.shape[1]} units and {name} has {vectors.shape[1]}: give vectors of its layer"
        )
    return rows


def _wanted(layout: Layout) -> int:
    """Return how many neighbours the method reads, and at least those that confidence is told by."""
    own = {"umap": layout.parameters.get("n_neighbors", 0), "tsne": TSNE_NEIGHBOURS}.get(layout.method, 0)
    return min(max(own, REACH), len(layout.xy))


# ---------------------------------------------------------------------------------------------------------------------
# Neighbours


def nearest(index: Index, vectors: Rows, new: np.ndarray, k: int, *, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return each new point's `k` nearest, nearest first, ties by index: int32 and float32 [point, k].

    The index proposes and the distances are computed anew from the vectors, row by row: an index multiplies queries in
    batches, and its last digits depend on how many there are.
    """
    found, _ = index.search(new, min(k + SPARE, len(vectors)))
    size = max(1, VALUES // (found.shape[1] * new.shape[1]))
    parts = [_exact(vectors, new[at : at + size], found[at : at + size], metric) for at in range(0, len(new), size)]
    distances = np.concatenate(parts)
    order = np.lexsort((found, distances), axis=1)[:, :k]
    chosen = (np.take_along_axis(part, order, axis=1) for part in (found, distances))
    indices, distances = chosen
    return indices.astype(np.int32), distances


def _exact(vectors: Rows, new: np.ndarray, indices: np.ndarray, metric: str) -> np.ndarray:
    """Return the distances of each row to its own list, float32 [point, k]: Euclidean, or 1 − cos."""
    theirs = np.asarray(vectors[indices.ravel()], np.float64).reshape(*indices.shape, -1)
    ours = new.astype(np.float64)[:, None, :]
    if metric == "L2":
        return np.sqrt(_squares(theirs - ours)).astype(np.float32)
    norms = [np.sqrt(_squares(side)) for side in (ours, theirs)]
    with np.errstate(invalid="ignore", divide="ignore"):
        half = _squares(ours / norms[0][..., None] - theirs / norms[1][..., None]) / 2  # keeps duplicates at exactly 0
    return np.where((norms[0] > 0) & (norms[1] > 0), half, 1.0).astype(np.float32)  # zeros are at 1 from all


def _squares(rows: np.ndarray) -> np.ndarray:
    return np.einsum("nku,nku->nk", rows, rows)


# ---------------------------------------------------------------------------------------------------------------------
# The methods


def _by_pca(layout: Layout, new: np.ndarray, indices: np.ndarray, distances: np.ndarray, seed: int) -> np.ndarray:
    return project(new, Axes(layout.axes[0], layout.axes[1:].T, np.empty(0)))


def _by_umap(layout: Layout, new: np.ndarray, indices: np.ndarray, distances: np.ndarray, seed: int) -> np.ndarray:
    from atlas.maps.place_umap import place_by_umap

    told = layout.parameters
    used = told["n_neighbors"]
    return place_by_umap(
        layout.xy, indices[:, :used], distances[:, :used], min_dist=told["min_dist"], epochs=told["epochs"], seed=seed
    )


def _by_tsne(layout: Layout, new: np.ndarray, indices: np.ndarray, distances: np.ndarray, seed: int) -> np.ndarray:
    from atlas.maps.place_tsne import place_by_tsne

    return place_by_tsne(layout.xy, indices[:, :TSNE_NEIGHBOURS], distances[:, :TSNE_NEIGHBOURS])


_PLACES = {"umap": _by_umap, "tsne": _by_tsne, "pca": _by_pca}
assert set(_PLACES) == set(METHOD_NAMES)


# ---------------------------------------------------------------------------------------------------------------------
# Confidence


def confidence_of(layout: Layout, indices: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Return how far each place can be believed, float32 [point] from 0 to 1: closeness × tightness × trust.

    *Closeness*: with p the share of the atlas's own points whose tenth neighbour is nearer than the new point's, it is 1
    up to p = 0.9 and falls in a straight line to 0 at p = 1. The tenth neighbour's distance is the score of Sun, Ming,
    Zhu, Li, ICML 2022, Out-of-distribution detection with deep nearest neighbors. *Tightness*: 1 − (mean distance on the
    map of the ten neighbours from their median) / (the same of all points), at least 0. *Trust*: the mean confidence of
    the ten neighbours, 1 for each that was laid out.
    """
    ten = indices[:, :REACH]
    closeness = np.clip((1 - share_nearer(layout, distances)) / (1 - NEAR), 0, 1)
    tightness = np.clip(1 - _spread(layout.xy[ten]) / (_spread(np.asarray(layout.xy)[None])[0] or 1.0), 0, 1)
    trust = np.nan_to_num(layout.confidence[ten], nan=1.0).mean(axis=1, dtype=np.float64)
    return (closeness * tightness * trust).astype(np.float32)


def share_nearer(layout: Layout, distances: np.ndarray) -> np.ndarray:
    """Return the share of the atlas's own points whose neighbours are nearer than each new point's, float64 [point]."""
    below = np.searchsorted(layout.reach, _tenth(layout, distances), side="left")
    return np.maximum(below - 1, 0) / (len(layout.reach) - 1)


def far(layout: Layout, distances: np.ndarray) -> np.ndarray:
    """Tell of each new point whether it lies farther from its neighbours than 99.9 % of the atlas's own, bool [point]."""
    return _tenth(layout, distances) > layout.reach[FAR_SHARE]


def _tenth(layout: Layout, distances: np.ndarray) -> np.ndarray:
    """Return the distances to the very neighbour that `reach` was measured with, float32 [point]."""
    return distances[:, min(layout.parameters["reach"], distances.shape[1]) - 1]


def _spread(places: np.ndarray) -> np.ndarray:
    """Return the mean distance of places, [set, place, 2], from their median, float64 [set]."""
    x, y = (np.ascontiguousarray(places[:, :, d], np.float64) for d in (0, 1))  # by columns: thrice as fast
    return np.hypot(*(side - np.median(side, axis=1, keepdims=True) for side in (x, y))).mean(axis=1)
