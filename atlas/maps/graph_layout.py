"""The graph's own layout: edges pull, all nodes push each other away; by openTSNE, which scales to many.

A force-directed layout and t-SNE differ in how much edges pull: Böhm, Berens and Kobak, "Attraction-Repulsion Spectrum in
Neighbor Embeddings", JMLR 23 (2022). An image without a mutual edge would float away, so the nearest of each pulls too, as
in Dalmia and Sia, "Clustering with UMAP: why and how connectivity matters" (2021): for the layout only, they are no edges.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from atlas.machine import threads_given
from atlas.maps import tsne
from atlas.maps.blocks import Rows

# 1 is t-SNE, which spreads most; from about 4 on, as of UMAP, clusters shrink until thumbnails lie upon each other.
EXAGGERATION = 2
BARNES_HUT = 2_000  # nodes up to which repulsion is by Barnes-Hut; interpolation lays out 10 000 five times faster


def force_layout(edges: np.ndarray, near: np.ndarray, vectors: Rows, *, seed: int = 0) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the places of the nodes, float32 [node, 2], and how they were found.

    `edges` [edge, 2] pull, and the first of each list of `near` [node, k]; they start from PCA of `vectors` [node, unit].
    """
    from openTSNE.affinity import PrecomputedAffinities

    pull = pulls(edges, near)
    repulsion = "bh" if len(near) <= BARNES_HUT else "fft"
    start = tsne.start_places(vectors, np.random.RandomState(seed))
    affinities = PrecomputedAffinities(pull / pull.sum(), normalize=False)
    xy = tsne.optimise(affinities, start, repulsion=repulsion, seed=seed, threads=threads_given(), exaggeration=EXAGGERATION)
    told = {"exaggeration": EXAGGERATION, "iterations": [tsne.EARLY, tsne.LATE], "repulsion": repulsion, "start": "pca"}
    return np.ascontiguousarray(xy, np.float32), told


def pulls(edges: np.ndarray, near: np.ndarray) -> Any:
    """Return what pulls what, a symmetric sparse matrix [node, node] of ones: the edges, and the nearest of each node."""
    from scipy.sparse import coo_array  # type: ignore[import-untyped]

    own = np.flatnonzero(near[:, 0] >= 0)
    pairs = np.concatenate([edges, np.column_stack([own, near[own, 0]])]).astype(np.int64)
    both = np.concatenate([pairs, pairs[:, ::-1]])
    links = coo_array((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(len(near), len(near))).tocsr()
    links.data[:] = 1.0  # an edge that is listed twice pulls once
    return links
