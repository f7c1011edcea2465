"""Nearest neighbours by FAISS: exact for as long as that is quick, approximate beyond with the recall measured.

Inside, a distance is always the squared Euclidean one between stored rows: for cosine the rows have unit length, and
1 − cos is half of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atlas.errors import AtlasError, choose, one_line
from atlas.machine import cores
from atlas.maps.blocks import BLOCK, Rows, as_float32, blocks, check_vectors, sample_rows, unit_length, whole_number
from atlas.maps.records import Neighbours
from atlas.progress import Progress
from atlas.store import Files

METRICS = ("cosine", "L2")
FILE = "index.faiss"
EXACT_UP_TO = 100_000  # points: every pair of 70 000 × 256 takes 24 s of one core
LINKS = 32  # HNSW edges per point: the library's own advice for hundreds of units
BUILD_BREADTH = 200  # candidates kept when a point is linked; 40, the library's default, loses recall
RECALL_SAMPLE = 1000  # queries that the recall of an approximate search is measured on
CANCELLATION = 2e-5  # |a|² + |b|² − 2ab is good to 1 % down to this share of |a|² + |b|²; nearer pairs are subtracted
PAIRS = 16384  # pairs subtracted at a time


def build_neighbours(
    vectors: Rows,
    *,
    layers: Sequence[str],
    metric: str = "cosine",
    k: int = 30,
    exact_up_to: int = EXACT_UP_TO,
    seed: int = 0,
    progress: Progress | None = None,
) -> Neighbours:
    """Return the `k` nearest other points of every point, nearest first, ties by index, and the index that found them.

    `vectors` is [point, unit]. Distances are 1 − cos (a vector of zeros is at distance 1 from all) or Euclidean. Up to
    `exact_up_to` points every pair is compared; beyond, an HNSW graph is searched and the share of true neighbours
    found is measured on 1 000 points drawn from `seed`. With fewer than `k` other points, all of them are listed.
    """
    check_metric(metric)
    wanted = whole_number("k", k, 1)
    vectors = check_vectors(vectors)
    progress = progress or Progress()
    k = min(wanted, len(vectors) - 1)
    exact = len(vectors) <= exact_up_to
    with progress.stage(f"index of {', '.join(layers)}", len(vectors)) as advance:
        index = _index(vectors, metric, exact, advance)
    with progress.stage(f"neighbours of {', '.join(layers)}", len(vectors)) as advance:
        indices, squared = _own_lists(index, np.arange(len(vectors)), k, advance)
    recall = None if exact else _recall(index, indices, seed)
    distances = _distances(squared, metric)
    return Neighbours(list(layers), metric, exact, recall, indices, distances, Files([(FILE, IndexFile(index))]))


def search(neighbours: Neighbours, queries: np.ndarray, k: int, *, index: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` points nearest to each of any vectors: indices int32 and distances float32, [query, k].

    `queries` is [query, unit] or one vector. `index` saves opening the file again: what `open_index` returned.
    """
    index = open_index(neighbours) if index is None else index
    k = _check_k(k, index.ntotal)
    rows = check_vectors(np.atleast_2d(np.asarray(queries)))
    if rows.shape[1] != index.d:
        raise AtlasError(
            f"the query has {rows.shape[1]} units and {', '.join(neighbours.layers)} has {index.d}: ask of its layer"
        )
    prepare = _prepare(neighbours.metric)
    found = [_search(index, prepare(block), k) for block in blocks(rows)]
    indices, squared = (np.concatenate(part) for part in zip(*found, strict=True))
    return indices, _distances(squared, neighbours.metric)


def nearest(neighbours: Neighbours, point: int, k: int, *, index: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` points nearest to the point, itself left out: indices int32 [k] and distances float32 [k].

    From the kept lists where they are long enough, else by a search.
    """
    count, kept = neighbours.indices.shape
    if not 0 <= whole_number("a point", point, 0) < count:
        raise AtlasError(f"no point {point}: there are {count}, from 0 to {count - 1}")
    k = _check_k(k, count - 1, "other ")
    if k <= kept:
        return np.array(neighbours.indices[point, :k]), np.array(neighbours.distances[point, :k])
    index = open_index(neighbours) if index is None else index
    indices, squared = _own_lists(index, np.array([point]), k, lambda done: None)
    return indices[0], _distances(squared, neighbours.metric)[0]


def open_index(neighbours: Neighbours) -> Any:
    """Return the FAISS index, its vectors memory-mapped where this FAISS can; a file it cannot read raises AtlasError."""
    import faiss

    if neighbours.index.folder is None:  # made in this process and not yet stored
        return next(body.index for name, body in neighbours.index.items_to_write if isinstance(body, IndexFile))
    path = neighbours.index.folder / FILE
    try:
        index = faiss.read_index(str(path), getattr(faiss, "IO_FLAG_MMAP_IFC", 0))
    except RuntimeError as reason:
        raise AtlasError(f"{path} cannot be read ({one_line(reason, 120)}): remove its folder and build again") from None
    if index.ntotal != len(neighbours.indices):
        raise AtlasError(
            f"{path} holds {index.ntotal} points and its lists {len(neighbours.indices)}: remove it and build again"
        )
    return index


def check_metric(metric: str) -> str:
    """Return `metric` when it is one of METRICS; else raise AtlasError with the closest."""
    if metric not in METRICS:
        raise choose("metric", metric, METRICS)
    return metric


@dataclass(frozen=True)
class IndexFile:
    """An index in memory that is called to write itself: what a Files field holds until it is stored."""

    index: Any

    def __call__(self, path: Path) -> None:
        import faiss

        faiss.write_index(self.index, str(path))


# ---------------------------------------------------------------------------------------------------------------------
# The index


def _prepare(metric: str) -> Callable[[np.ndarray], np.ndarray]:
    return unit_length if metric == "cosine" else as_float32


def _index(vectors: Rows, metric: str, exact: bool, advance: Callable[[int], None]) -> Any:
    import faiss

    kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    units = vectors.shape[1]
    index: Any = faiss.IndexFlat(units, kind) if exact else faiss.IndexHNSWFlat(units, LINKS, kind)
    if not exact:
        index.hnsw.efConstruction = BUILD_BREADTH
    prepare = _prepare(metric)
    with _threads(1):  # points linked by several threads come out in another graph each time
        for block in blocks(vectors):
            index.add(prepare(block))
            advance(0 if exact else len(block))
    return index


@contextmanager
def _threads(count: int | None = None) -> Iterator[None]:
    """Give FAISS `count` threads, by default all that this process may use, for as long as the block lasts."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count or min(before, cores()))  # before: OMP_NUM_THREADS, or what cap_threads said
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _rows(index: Any, points: np.ndarray) -> np.ndarray:
    """Return stored rows, float32 [point, unit]."""
    return index.reconstruct_batch(np.ascontiguousarray(points, dtype=np.int64))


def _exact_part(index: Any) -> Any:
    """Return the flat index of the same points: the index itself, or what an HNSW graph stores them in."""
    import faiss

    return faiss.downcast_index(index.storage) if hasattr(index, "hnsw") else index


# ---------------------------------------------------------------------------------------------------------------------
# The search


def _search(index: Any, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return indices int32 and squared distances float32 [query, k] of prepared queries, nearest first, ties by index."""
    import faiss

    with _threads():
        if hasattr(index, "hnsw"):
            breadth = max(128, 2 * k)  # twice as broad as deep: recall near .999
            how = faiss.SearchParametersHNSW(efSearch=breadth)  # type: ignore[attr-defined]
            values, indices = index.search(queries, k, params=how)
            short = (indices < 0).any(axis=1)  # the graph may fall apart where many points coincide
            if short.any():
                values[short], indices[short] = _exact_part(index).search(queries[short], k)
        else:
            values, indices = index.search(queries, k)
    squared = values if index.metric_type == faiss.METRIC_L2 else 2.0 - 2.0 * values
    squared = _subtract_near(index, queries, indices, np.maximum(squared, 0.0))
    return _in_order(indices.astype(np.int32), squared)


def _subtract_near(index: Any, queries: np.ndarray, indices: np.ndarray, squared: np.ndarray) -> np.ndarray:
    """Return `squared`, those lost to cancellation computed anew from differences, so that duplicates are at exactly 0."""
    scale = 2.0 * np.einsum("nu,nu->n", queries, queries)
    rows, columns = np.nonzero(squared <= CANCELLATION * scale[:, None])
    for start in range(0, len(rows), PAIRS):
        row, column = rows[start : start + PAIRS], columns[start : start + PAIRS]
        difference = queries[row] - _rows(index, indices[row, column])
        near = np.einsum("nu,nu->n", difference, difference)
        squared[row, column] = np.where(scale[row] > 0, near, squared[row, column])
    return squared


def _in_order(indices: np.ndarray, squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort each row by distance, then by index; most stand so already."""
    step = np.diff(squared, axis=1)
    wrong = ((step < 0) | ((step == 0) & (np.diff(indices, axis=1) < 0))).any(axis=1)
    order = np.lexsort((indices[wrong], squared[wrong]), axis=1)
    indices[wrong] = np.take_along_axis(indices[wrong], order, axis=1)
    squared[wrong] = np.take_along_axis(squared[wrong], order, axis=1)
    return indices, squared


def _own_lists(index: Any, points: np.ndarray, k: int, advance: Callable[[int], None]) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` nearest of stored points, each left out of its own list: int32 and squared float32 [point, k]."""
    indices, squared = np.empty((len(points), k), np.int32), np.empty((len(points), k), np.float32)
    for start in range(0, len(points), BLOCK):
        own = points[start : start + BLOCK]
        rows = slice(start, start + len(own))
        indices[rows], squared[rows] = _without_self(own, *_search(index, _rows(index, own), k + 1))
        advance(len(own))
    return indices, squared


def _without_self(own: np.ndarray, indices: np.ndarray, squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop each point's own number, never that of a duplicate; where its duplicates crowd it out, drop the farthest."""
    drop = indices == own[:, None]
    drop[~drop.any(axis=1), -1] = True
    shape = (len(own), indices.shape[1] - 1)
    return indices[~drop].reshape(shape), squared[~drop].reshape(shape)


def _recall(index: Any, indices: np.ndarray, seed: int) -> float:
    """Return the share of true neighbours in the lists of RECALL_SAMPLE points drawn from `seed`."""
    points = sample_rows(len(indices), RECALL_SAMPLE, seed)
    true, _ = _own_lists(_exact_part(index), points, indices.shape[1], lambda done: None)
    return float((indices[points][:, :, None] == true[:, None, :]).any(axis=2).mean())


def _distances(squared: np.ndarray, metric: str) -> np.ndarray:
    return (squared / 2.0 if metric == "cosine" else np.sqrt(squared)).astype(np.float32)


def _check_k(k: int, most: int, which: str = "") -> int:
    if whole_number("k", k, 1) > most:
        raise AtlasError(f"asked for the {k} nearest of {most} {which}points: ask for at most {most}")
    return int(k)
