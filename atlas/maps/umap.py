"""UMAP's three steps: start by PCA, graph by umap-learn, descent by our own. McInnes, Healy, Melville, arXiv 1802.03426."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from atlas.maps.blocks import Rows
from atlas.maps.pca import coordinates
from atlas.maps.records import Neighbours
from atlas.progress import Advance

EXTENT = 10.0  # UMAP starts within ±10, as umap-learn's own initialisations do
NOISE = 1e-4  # added to it, as there, so that no two points start on one spot


def cut_neighbours(asked: int, neighbours: Neighbours) -> tuple[int, list[str]]:
    """Return how many neighbours, the point itself included, the lists allow, and what to say where that is fewer."""
    count, kept = neighbours.indices.shape
    used = min(asked, kept + 1)
    why = f"there are {count} points" if kept == count - 1 else f"the lists hold {kept} each"
    return used, [f"n_neighbors {asked} cut to {used}: {why}"] if used < asked else []


def default_epochs(points: int) -> int:
    """Return umap-learn's number of epochs: 500, or 200 beyond 10 000 points."""
    return 500 if points <= 10_000 else 200


def start_places(vectors: Rows, random: np.random.RandomState) -> np.ndarray:
    """Return PCA coordinates whose largest is EXTENT, with a little noise, float32 [point, 2]."""
    start = coordinates(vectors)
    return (start * (EXTENT / np.abs(start).max()) + random.normal(scale=NOISE, size=start.shape)).astype(np.float32)


def umap_learn() -> Any:
    """Return umap-learn's module, its compiled functions kept on disk: compiling them anew takes seconds."""
    import umap.umap_ as umap

    for function in (umap.smooth_knn_dist, umap.compute_membership_strengths):
        if not function.signatures:  # not yet compiled in this process
            function.enable_caching()
    return umap


@contextmanager
def one_numba_thread() -> Iterator[None]:
    """A sum over all distances depends on how many threads share it."""
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def graph_of(neighbours: Neighbours, used: int, random: np.random.RandomState) -> Any:
    """Return UMAP's weighted graph [point, point] from the lists, the point itself put first as umap-learn has it."""
    umap = umap_learn()
    count = len(neighbours.indices)
    own = np.arange(count, dtype=np.int32)[:, None]
    indices = np.hstack([own, neighbours.indices[:, : used - 1]])
    distances = np.hstack([np.zeros((count, 1), np.float32), neighbours.distances[:, : used - 1]])
    with one_numba_thread():
        graph, _, _ = umap.fuzzy_simplicial_set(
            np.empty((count, 0)), used, random, neighbours.metric, knn_indices=indices, knn_dists=distances
        )
    return graph


def optimise(
    graph: Any,
    start: np.ndarray,
    min_dist: float,
    epochs: int,
    random: np.random.RandomState,
    *,
    threads: int = 1,
    advance: Advance = lambda done: None,
) -> np.ndarray:
    """Return the layout of the graph from `start` by UMAP's stochastic gradient descent; `threads` changes no byte of it."""
    from atlas.maps.descent import descend

    a, b = umap_learn().find_ab_params(1.0, min_dist)
    return descend(graph, start, a=a, b=b, epochs=epochs, random=random, threads=threads, advance=advance)
