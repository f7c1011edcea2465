"""New points in a UMAP by umap-learn's own steps, as its `transform` takes them, from neighbours that are known already."""

from __future__ import annotations

from typing import Any

import numpy as np

from atlas.maps.umap import one_numba_thread, umap_learn

RATE = 0.25  # UMAP.transform descends at a quarter of the fit's rate
SHARE = 3  # and for a third of its epochs
NEGATIVES = 5.0  # points drawn for each neighbour, umap-learn's default


def place_by_umap(
    xy: np.ndarray, indices: np.ndarray, distances: np.ndarray, *, min_dist: float, epochs: int, seed: int
) -> np.ndarray:
    """Return places, float32 [point, 2], of points with these neighbours, [point, k], in a UMAP `xy` that stays.

    Each point is alone with the map: umap-learn's scale of a batch (its largest weight, its mean distance) is here each
    point's own, so that a point comes out as in a transform of it alone. Its stream of chance begins with `seed` and
    its start. McInnes, Healy, Melville, arXiv 1802.03426; umap-learn's `UMAP.transform`.
    """
    layouts = _layouts()
    xy = np.array(xy, np.float32, order="C")
    weights = memberships(indices, distances)
    epochs = max(1, epochs // SHARE)
    most = weights.max(axis=1, keepdims=True)
    head, column = np.nonzero(weights >= most / epochs)  # weaker ones would not be drawn once
    a, b = umap_learn().find_ab_params(1.0, min_dist)
    return layouts.optimize_layout_euclidean(
        start_places(xy, indices, weights),
        xy,
        head.astype(np.int32),
        indices[head, column].astype(np.int32),
        epochs,
        len(xy),
        (most[:, 0][head] / weights[head, column]).astype(np.float64),
        a,
        b,
        np.random.RandomState(seed).randint(-(2**31) + 1, 2**31 - 2, 3).astype(np.int64),  # as umap-learn draws it
        1.0,
        RATE,
        NEGATIVES,
        parallel=False,
        tqdm_kwds={"disable": True},
    )


def _layouts() -> Any:
    """Return umap-learn's module of descents, its compiled function kept on disk.

    That for several threads is not: on disk it has the same name as the one for a single thread, and whichever came first
    would be run for both.
    """
    import umap.layouts as layouts

    epoch = layouts._get_optimize_layout_euclidean_single_epoch_fn(False)
    if not epoch.signatures:
        epoch.enable_caching()
    return layouts


def memberships(indices: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Return the weight of each neighbour, float32 [point, k], by umap-learn with local connectivity 0."""
    umap = umap_learn()
    distances = np.ascontiguousarray(distances, np.float32)
    count = float(distances.shape[1])
    with one_numba_thread():
        scales = [umap.smooth_knn_dist(row[None], count, local_connectivity=0.0) for row in distances]
        sigmas, rhos = (np.concatenate(part) for part in zip(*scales, strict=True))
        found = umap.compute_membership_strengths(np.ascontiguousarray(indices), distances, sigmas, rhos, bipartite=True)
    return np.maximum(found[2].reshape(distances.shape), np.finfo(np.float32).tiny)


def start_places(xy: np.ndarray, indices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted means of the neighbours' places, float32 [point, 2]; a duplicate starts on its original.

    Summed in float32 from the lowest index on, as umap-learn does: a start's last bit decides its stream of chance.
    """
    order = np.argsort(indices, axis=1)
    indices, weights = (np.take_along_axis(part, order, axis=1) for part in (indices, weights))
    share = weights / weights.sum(axis=1, keepdims=True)
    means = np.add.accumulate(share[:, :, None] * xy[indices], axis=1)[:, -1]
    original = xy[indices[np.arange(len(indices)), weights.argmax(axis=1)]]
    return np.where(weights.max(axis=1, keepdims=True) == 1.0, original, means)
