"""UMAP's three steps by umap-learn: start, graph, descent. McInnes, Healy, Melville, arXiv 1802.03426."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from atlas.machine import cores
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


def start_places(vectors: Rows, random: np.random.RandomState) -> np.ndarray:
    """Return PCA coordinates whose largest is EXTENT, with a little noise, float32 [point, 2]."""
    start = coordinates(vectors)
    return (start * (EXTENT / np.abs(start).max()) + random.normal(scale=NOISE, size=start.shape)).astype(np.float32)


def _umap() -> tuple[Any, Any]:
    """Return umap-learn's two modules, their compiled functions kept on disk: compiling them anew takes seconds."""
    import umap.layouts as layouts
    import umap.umap_ as umap

    epochs = [layouts._get_optimize_layout_euclidean_single_epoch_fn(parallel) for parallel in (False, True)]
    for function in (umap.smooth_knn_dist, umap.compute_membership_strengths, *epochs):
        if not function.signatures:  # not yet compiled in this process
            function.enable_caching()
    return umap, layouts


@contextmanager
def _numba_threads(count: int) -> Iterator[None]:
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    try:
        yield
    finally:
        numba.set_num_threads(before)


def graph_of(neighbours: Neighbours, used: int, random: np.random.RandomState, *, parallel: bool = False) -> Any:
    """Return UMAP's weighted graph [point, point] from the lists, the point itself put first as umap-learn has it."""
    umap, _ = _umap()
    count = len(neighbours.indices)
    own = np.arange(count, dtype=np.int32)[:, None]
    indices = np.hstack([own, neighbours.indices[:, : used - 1]])
    distances = np.hstack([np.zeros((count, 1), np.float32), neighbours.distances[:, : used - 1]])
    with _numba_threads(cores() if parallel else 1):  # a sum over all distances depends on how many threads share it
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
    parallel: bool = False,
    advance: Advance = lambda done: None,
) -> np.ndarray:
    """Return the layout of the graph from `start` by umap-learn's stochastic gradient descent, its defaults otherwise."""
    umap, _ = _umap()
    a, b = umap.find_ab_params(1.0, min_dist)
    bar = {"disable": False, "file": _Ticks(advance), "bar_format": "{n}", "mininterval": 0.5, "leave": True}
    with _numba_threads(cores() if parallel else 1):
        xy, _ = umap.simplicial_set_embedding(
            None,
            graph,
            n_components=2,
            initial_alpha=1.0,
            a=a,
            b=b,
            gamma=1.0,
            negative_sample_rate=5,
            n_epochs=epochs,
            init=start,
            random_state=random,
            metric="euclidean",
            metric_kwds={},
            densmap=False,
            densmap_kwds={},
            output_dens=False,
            parallel=parallel,
            tqdm_kwds=bar,
        )
    return xy


class _Ticks:
    """The file umap-learn's bar is written to: the one word it shows is how many epochs are done."""

    def __init__(self, advance: Advance):
        self.advance, self.done = advance, 0

    def write(self, text: str) -> None:
        word = text.strip()
        if word.isdigit():
            self.advance(int(word) - self.done)
            self.done = int(word)

    def flush(self) -> None:
        """Nothing is held back."""
