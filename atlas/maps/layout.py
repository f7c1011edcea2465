"""Layouts: UMAP and t-SNE on the neighbour lists that stand already, started from PCA; and PCA itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from atlas.errors import AtlasError, one_line
from atlas.machine import threads_given
from atlas.maps import tsne, umap
from atlas.maps.blocks import Rows, all_equal, check_vectors, whole_number
from atlas.maps.pca import principal_axes, project
from atlas.maps.quality import faithfulness
from atlas.maps.records import LEAST_POINTS, METHOD_NAMES, REACH, Layout, Neighbours
from atlas.progress import Progress


def umap_layout(
    vectors: Rows,
    neighbours: Neighbours,
    *,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    epochs: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Layout:
    """Return the UMAP of points, [point, unit], on the lists of `neighbours`, started from PCA.

    `n_neighbors` counts the point itself, as in umap-learn. `epochs` is by default umap-learn's: 500, or 200 beyond
    10 000 points. It takes the threads this process was given; the bytes are the same with any
    number of them. McInnes, Healy, Melville, arXiv 1802.03426.
    """
    vectors = _check(vectors, neighbours, seed, "umap")
    _check_share("min_dist", min_dist)
    used, cut = umap.cut_neighbours(whole_number("n_neighbors", n_neighbors, 2), neighbours)
    epochs = whole_number("epochs", epochs, 1) if epochs is not None else umap.default_epochs(len(vectors))
    progress, clock = progress or Progress(), _Clock()
    parameters = {"n_neighbors": used, "min_dist": float(min_dist), "epochs": epochs, "seed": seed}
    random = np.random.RandomState(seed)
    with clock("initialisation"):
        start = umap.start_places(vectors, random)
    with clock("weights"):
        graph = umap.graph_of(neighbours, used, random)
    with clock("optimisation"), progress.stage(title_of("umap", neighbours.layers), epochs) as advance:
        xy = umap.optimise(graph, start, min_dist, epochs, random, threads=threads_given(), advance=advance)
    return _finish("umap", xy, vectors, neighbours, parameters, cut, clock, progress)


def tsne_layout(
    vectors: Rows,
    neighbours: Neighbours,
    *,
    perplexity: float = 30,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Layout:
    """Return the t-SNE of points, [point, unit], by openTSNE on the lists of `neighbours`, started from PCA.

    A perplexity needs three times as many neighbours and is cut to what there are. openTSNE's defaults otherwise: 250
    iterations with the attraction 12-fold, 500 without, the learning rate points / exaggeration, the repulsion by
    Barnes-Hut up to 10 000 points and by interpolation (FIt-SNE) beyond. `threads` (those this process was given) change
    no byte of it. Poličar, Stražar, Zupan, JSS 109 (2024).
    """
    vectors = _check(vectors, neighbours, seed, "tsne")
    used, cut = tsne.cut_perplexity(perplexity, neighbours)
    threads = whole_number("threads", threads, 1) if threads is not None else threads_given()
    progress, clock = progress or Progress(), _Clock()
    repulsion = "bh" if len(vectors) <= 10_000 else "fft"
    parameters = {
        "perplexity": used,
        "early_exaggeration": 12,
        "iterations": [tsne.EARLY, tsne.LATE],
        "repulsion": repulsion,
        "seed": seed,
    }
    with clock("initialisation"):
        start = tsne.start_places(vectors, np.random.RandomState(seed))
    with clock("affinities"):
        affinities = tsne.affinities_of(neighbours, used, threads=threads)
    with clock("optimisation"), progress.stage(title_of("tsne", neighbours.layers), tsne.EARLY + tsne.LATE) as advance:
        xy = tsne.optimise(affinities, start, repulsion=repulsion, seed=seed, threads=threads, advance=advance)
    return _finish("tsne", xy, vectors, neighbours, parameters, cut, clock, progress)


def pca_layout(vectors: Rows, neighbours: Neighbours, *, seed: int = 0, progress: Progress | None = None) -> Layout:
    """Return the two principal axes' coordinates of points, [point, unit]; `seed` draws the points of its quality only."""
    vectors = _check(vectors, neighbours, seed, "pca")
    progress, clock = progress or Progress(), _Clock()
    with clock("initialisation"):
        axes = principal_axes(vectors)
    with clock("optimisation"), progress.stage(title_of("pca", neighbours.layers), len(vectors)) as advance:
        xy = project(vectors, axes)
        advance(len(vectors))
    parameters = {"explained_variance_ratio": axes.ratio.tolist(), "seed": seed}
    made = _finish("pca", xy, vectors, neighbours, parameters, [], clock, progress)
    return replace(made, axes=np.vstack([axes.mean, axes.axes.T]).astype(np.float64))


# ---------------------------------------------------------------------------------------------------------------------
# What the three share


class _Clock:
    """Seconds by name: ``with clock("initialisation"): …``."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 3)


def title_of(method: str, layers: Sequence[str]) -> str:
    """Return a layout in words: ``UMAP of conv4 and fc1``."""
    return f"{METHOD_NAMES[method]} of {' and '.join(layers)}"


def _check(vectors: Rows, neighbours: Neighbours, seed: int, method: str) -> Rows:
    """Return vectors that can be laid out; else raise AtlasError."""
    if whole_number("seed", seed, 0) >= 2**32:
        raise AtlasError(f"seed must be below {2**32}, not {seed}")
    vectors = check_vectors(vectors)
    if len(vectors) != len(neighbours.indices):
        raise AtlasError(
            f"{len(vectors)} vectors and {len(neighbours.indices)} neighbour lists: build the neighbours of these"
        )
    least = LEAST_POINTS[method]
    if len(vectors) < least:
        other = "take PCA, or " if least > 2 and len(vectors) >= 2 else ""
        raise AtlasError(
            f"{METHOD_NAMES[method]} needs at least {least} points and there are {len(vectors)}: {other}add images"
        )
    if all_equal(vectors):
        raise AtlasError(f"all {len(vectors)} vectors are equal: nothing to lay out; choose another layer or other images")
    return vectors


def _check_share(what: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
        raise AtlasError(f"{what} must be a number from 0 to 1, not {one_line(repr(value))}")


def _finish(
    method: str,
    xy: np.ndarray,
    vectors: Rows,
    neighbours: Neighbours,
    parameters: dict[str, Any],
    cut: list[str],
    clock: _Clock,
    progress: Progress,
) -> Layout:
    xy = np.ascontiguousarray(xy, dtype=np.float32)
    for line in cut:
        progress.note(f"{title_of(method, neighbours.layers)}: {line}")
    with clock("quality"), progress.stage(f"quality of {title_of(method, neighbours.layers)}"):
        told = faithfulness(vectors, xy, neighbours, seed=parameters["seed"])
    parameters = {**parameters, "metric": neighbours.metric, "cut": cut, "reach": _nth(neighbours)}
    return Layout(
        layers=list(neighbours.layers),
        method=method,
        xy=xy,
        parameters=parameters,
        quality=told.summary,
        seconds=clock.seconds,
        confidence=np.full(len(xy), np.nan, np.float32),
        axes=np.empty((0, vectors.shape[1])),
        scales=np.ones(len(neighbours.layers)),
        reach=_reach(neighbours),
        recall=told.recall,
        trust=told.trust,
        continuity=told.continuity,
    )


def _nth(neighbours: Neighbours) -> int:
    return min(REACH, neighbours.distances.shape[1])


def _reach(neighbours: Neighbours) -> np.ndarray:
    """Return how far the points lie from the others: quantiles of the distance to the REACH-th neighbour, float32 [1001]."""
    return np.quantile(neighbours.distances[:, _nth(neighbours) - 1], np.linspace(0, 1, 1001)).astype(np.float32)
