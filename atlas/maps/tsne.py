"""t-SNE's three steps by openTSNE: start, affinities, descent. Poličar, Stražar, Zupan, JSS 109 (2024)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from atlas.errors import AtlasError, one_line
from atlas.maps.blocks import Rows
from atlas.maps.pca import coordinates
from atlas.maps.records import Neighbours
from atlas.progress import Advance

START_STD = 1e-4  # t-SNE starts this small (Kobak and Berens, Nature Communications 10, 2019)
EARLY, LATE = 250, 500  # t-SNE's iterations with and without exaggeration, openTSNE's defaults
TICKS = 50  # iterations between two calls of the callback: each computes the error once more


def cut_perplexity(asked: float, neighbours: Neighbours) -> tuple[float, list[str]]:
    """Return the perplexity that the lists allow, a third of their length, and what to say where that is less."""
    if isinstance(asked, bool) or not isinstance(asked, int | float | np.number) or not 1 <= asked < math.inf:
        raise AtlasError(f"perplexity must be a number of at least 1, not {one_line(repr(asked))}")
    count, kept = neighbours.indices.shape
    used = min(float(asked), max(1.0, kept / 3))
    why = f"there are {count} points" if kept == count - 1 else f"the lists hold {kept} each, and it takes three times it"
    return used, [f"perplexity {asked:g} cut to {used:.3g}: {why}"] if used < asked else []


def start_places(vectors: Rows, random: np.random.RandomState) -> np.ndarray:
    """Return PCA coordinates whose first has the standard deviation START_STD, with a hundredth of it as noise."""
    start = coordinates(vectors)
    start *= START_STD / np.std(start[:, 0])
    return start + random.normal(scale=START_STD / 100, size=start.shape)


def affinities_of(neighbours: Neighbours, perplexity: float, *, threads: int = 1) -> Any:
    """Return openTSNE's affinities of the points from the nearest three times `perplexity` of each."""
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    used = max(1, min(neighbours.indices.shape[1], round(3 * perplexity)))
    kept = PrecomputedNeighbors(np.array(neighbours.indices[:, :used]), np.array(neighbours.distances[:, :used]))
    return PerplexityBasedNN(knn_index=kept, perplexity=perplexity, n_jobs=threads)


def optimise(
    affinities: Any,
    start: np.ndarray,
    *,
    repulsion: str,
    seed: int = 0,
    threads: int = 1,
    exaggeration: float | None = None,
    advance: Advance = lambda done: None,
) -> np.ndarray:
    """Return the layout of the affinities from `start`, `repulsion` by ``bh`` or ``fft``, openTSNE's defaults otherwise.

    `exaggeration` is by how much the attraction stays stronger after the early iterations.
    """
    from openTSNE import TSNE

    method = TSNE(
        early_exaggeration=12,
        early_exaggeration_iter=EARLY,
        n_iter=LATE,
        exaggeration=exaggeration,
        learning_rate="auto",
        negative_gradient_method=repulsion,
        n_jobs=threads,
        random_state=seed,
        callbacks=lambda iteration, error, embedding: advance(TICKS),  # returns None: go on
        callbacks_every_iters=TICKS,
    )
    return np.asarray(method.fit(affinities=affinities, initialization=start))
