"""Distances between a layer's rows, exact: what lists of neighbours are ranked by, however they were found.

Each is a sum of squared differences, so duplicates are at exactly 0 and a pair's distance does not depend on what else is
compared with it: Euclidean is its root, and 1 − cos, between rows of unit length, its half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from atlas.activations.records import Vectors
from atlas.errors import AtlasError, choose
from atlas.machine import cores
from atlas.maps.blocks import BLOCK, Rows, as_float32, unit_length

METRICS = ("cosine", "L2")
VALUES = 1 << 24  # float32 values of a block of rows: 64 MB
SPARE = 8  # more than asked are found by |a|² + |b|² − 2ab, which rounds, and ranked by their exact distances
FEW = 256  # rows up to which the simplest way is the fastest


def check_metric(metric: str) -> str:
    """Return `metric` when it is one of METRICS; else raise AtlasError with the closest."""
    if metric not in METRICS:
        raise choose("metric", metric, METRICS)
    return metric


class Compared:
    """A layer's rows as they are compared, float32 [point, unit], read as they are asked for; `hold` keeps them in memory.

    For cosine they have unit length, and rows of zeros stay zeros.
    """

    def __init__(self, vectors: Rows, metric: str):
        self.metric = check_metric(metric)
        self.shape = vectors.shape
        parts = vectors.blocks if isinstance(vectors, Vectors) else [vectors]
        self.parts = [np.asarray(part) for part in parts]  # plain views: indexing a np.memmap takes ten times as long
        self.starts = np.cumsum([0, *map(len, self.parts)])
        self.held = False

    def __len__(self) -> int:
        return int(self.shape[0])

    def hold(self) -> Compared:
        """Return itself, the rows in memory from now on."""
        whole = np.empty(self.shape, np.float32)
        for start in range(0, len(self), BLOCK):
            whole[start : start + BLOCK] = self.slice(start, start + BLOCK)
        self.parts, self.starts, self.held = [whole], np.array([0, len(whole)]), True
        return self

    def prepare(self, rows: np.ndarray) -> np.ndarray:
        """Return any vectors as they are compared: float32 [query, unit]."""
        return unit_length(rows) if self.metric == "cosine" else as_float32(rows)

    def slice(self, start: int, stop: int) -> np.ndarray:
        """Return consecutive rows."""
        stop = min(stop, len(self))
        return self.parts[0][start:stop] if self.held else self.take(np.arange(start, stop))

    def take(self, points: np.ndarray) -> np.ndarray:
        """Return rows by number, in the order given."""
        part = np.searchsorted(self.starts, points, side="right") - 1
        rows = np.empty((len(points), self.shape[1]), self.parts[0].dtype)
        local = points - self.starts[part]
        if len(points) <= FEW:
            for place, (of, row) in enumerate(zip(part.tolist(), local.tolist(), strict=True)):
                rows[place] = self.parts[of][row]
        else:
            for of in np.unique(part):
                mine = part == of
                rows[mine] = self.parts[of][local[mine]]
        return rows if self.held else self.prepare(rows)

    def spans(self, first: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the rows from `first` on in order by blocks of about VALUES values, each with the number of its first."""
        size = max(BLOCK, VALUES // self.shape[1])
        for start in range(first, len(self), size):
            yield start, self.slice(start, start + size)


@contextmanager
def threads(count: int | None = None) -> Iterator[None]:
    """Give FAISS `count` threads, by default all that this process may use, for as long as the block lasts."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count or min(before, cores()))  # before: OMP_NUM_THREADS, or what cap_threads said
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def distances_to(queries: np.ndarray, rows: np.ndarray, picked: np.ndarray, metric: str) -> np.ndarray:
    """Return the distances of the rows picked for each query: float32 [query, rank], 1 − cos or Euclidean.

    `picked` is [query, rank] row numbers; both sides are prepared. A row of zeros is at cosine distance 1 from all.
    """
    import faiss

    picked = np.ascontiguousarray(picked, np.int64)
    squared = np.empty(picked.shape, np.float32)
    pointers = [faiss.swig_ptr(array) for array in (squared, queries, rows, picked)]
    faiss.fvec_L2sqr_by_idx(*pointers, rows.shape[1], *picked.shape)  # type: ignore[attr-defined]
    if metric != "cosine":
        return np.sqrt(squared)
    squared /= 2.0
    squared[np.logical_not(queries.any(axis=1))] = 1.0
    zeros = np.logical_not(rows.any(axis=1))
    if zeros.any():
        squared[zeros[picked]] = 1.0
    return squared


def nearest_rows(queries: np.ndarray, rows: np.ndarray, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` rows nearest to each query, or all where there are fewer, by comparing every pair; see `in_order`."""
    import faiss

    kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    _, picked = faiss.knn(queries, rows, min(k + SPARE, len(rows)), metric=kind)
    if (picked < 0).any():  # the squares of large float32 values overflow
        raise AtlasError("the vectors are too far apart for float32: use the cosine metric, or scale them down")
    found, distances = in_order(picked, distances_to(queries, rows, picked, metric))
    return found[:, :k], distances[:, :k]


def nearest_of_all(
    queries: np.ndarray, rows: Compared, k: int, advance: Callable[[int], None] = lambda done: None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` rows nearest to each query, block of rows by block, so that memory is bounded; see `in_order`."""
    found: tuple[np.ndarray, np.ndarray] | None = None
    for start, block in rows.spans():
        with threads():
            indices, distances = nearest_rows(queries, block, k, rows.metric)
        more = indices + start, distances
        found = more if found is None else merge(found, more, k)
        advance(len(block))
    assert found is not None  # check_vectors refuses an array of no rows
    return found[0].astype(np.int32), found[1]


def merge(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` nearest of two lists per query: indices and distances, see `in_order`."""
    indices, distances = (np.concatenate(parts, axis=1) for parts in zip(one, other, strict=True))
    indices, distances = in_order(indices, distances)
    return indices[:, :k], distances[:, :k]


def in_order(indices: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both with each row sorted by distance, then by index; most stand so already."""
    if len(indices) < FEW:
        order = np.lexsort((indices, distances), axis=1)
        return np.take_along_axis(indices, order, axis=1), np.take_along_axis(distances, order, axis=1)
    step = np.diff(distances, axis=1)
    wrong = ((step < 0) | ((step == 0) & (np.diff(indices, axis=1) < 0))).any(axis=1)
    order = np.lexsort((indices[wrong], distances[wrong]), axis=1)
    indices[wrong] = np.take_along_axis(indices[wrong], order, axis=1)
    distances[wrong] = np.take_along_axis(distances[wrong], order, axis=1)
    return indices, distances


def without_self(own: np.ndarray, indices: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop each point's own number, never that of a duplicate; where its duplicates crowd it out, drop the farthest."""
    drop = indices == own[:, None]
    drop[~drop.any(axis=1), -1] = True
    shape = (len(own), indices.shape[1] - 1)
    return indices[~drop].reshape(shape), distances[~drop].reshape(shape)
