"""Nearest neighbours by FAISS: exact for as long as that is quick, approximate beyond with the recall measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from atlas.errors import AtlasError
from atlas.maps import regions
from atlas.maps.blocks import BLOCK, Rows, blocks, check_vectors, sample_rows, whole_number
from atlas.maps.distances import (
    METRICS,
    Compared,
    check_metric,
    in_order,
    merge,
    nearest_of_all,
    nearest_rows,
    threads,
    without_self,
)
from atlas.maps.records import Neighbours
from atlas.progress import Progress
from atlas.store import Files

__all__ = ["EXACT_UP_TO", "METRICS", "OpenIndex", "build_neighbours", "check_metric", "extend_neighbours", "open_index"]

FILE = "index.faiss"
EXACT_UP_TO = 20_000  # points: every pair of 20 000 × 256 takes 2 s of one core, and a query 1 ms
HELD = 1 << 25  # float32 values of prepared rows kept in memory while lists are made: 128 MB; beyond, read as needed
TUNED_FOR = 10  # neighbours: how many a page shows
RECALL_SAMPLE = 1000  # points that the recall of approximate lists is measured on


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
    """Return the `k` nearest other points of every point, nearest first, ties by index, and an index for other queries.

    `vectors` is [point, unit]. Distances are 1 − cos (a vector of zeros is at distance 1 from all) or Euclidean, and
    exact. Up to `exact_up_to` points every pair is compared, and the vectors themselves are the index. Beyond, pairs of
    nearby regions are compared, and the index holds two bytes per value; on 1 000 points drawn from `seed` the share of true
    neighbours in the lists is measured, and how many regions a query must ask of. With fewer than `k` other points, all
    of them are listed.
    """
    check_metric(metric)
    wanted = whole_number("k", k, 1)
    vectors = check_vectors(vectors)
    progress, name = progress or Progress(), ", ".join(layers)
    k = min(wanted, len(vectors) - 1)
    rows = Compared(vectors, metric)
    if rows.shape[0] * rows.shape[1] <= HELD:
        rows.hold()
    if len(rows) <= exact_up_to:
        with progress.stage(f"neighbours of {name}", len(rows)) as advance:
            indices, distances = _own_lists(rows, np.arange(len(rows)), k, advance)
        return Neighbours(list(layers), metric, True, None, indices, distances, Files())
    with progress.stage(f"index of {name}", len(rows)) as advance:
        index = regions.train(rows, seed)
        homes = regions.add(index, rows, advance=advance)
    with progress.stage(f"neighbours of {name}", len(rows)) as advance:
        indices, distances = regions.lists(rows, homes, index.nlist, k, advance)
    with progress.stage(f"recall of {name}"):
        recall = _judge(index, rows, indices, seed)
    return Neighbours(list(layers), metric, False, recall, indices, distances, _files(index))


def open_index(neighbours: Neighbours, vectors: Rows) -> OpenIndex:
    """Return what answers queries: the record's index, its distances taken from `vectors`, the layer's own rows.

    Exact neighbours have no index: their vectors are read into memory. A file that FAISS cannot read or that is of other
    vectors raises AtlasError, as do vectors of another number than the lists.
    """
    if len(vectors) != len(neighbours.indices):
        raise AtlasError(
            f"{len(vectors)} vectors and {len(neighbours.indices)} neighbour lists: open them with their layer's vectors"
        )
    rows = Compared(vectors, neighbours.metric)
    return (
        OpenIndex(neighbours, rows.hold(), None)
        if neighbours.exact
        else OpenIndex(neighbours, rows, _index(neighbours, rows))
    )


@dataclass(frozen=True)
class OpenIndex:
    """Neighbours that answer queries; as many as come at once, from any thread."""

    neighbours: Neighbours
    rows: Compared
    index: Any  # FAISS's, or None where all rows are compared

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the `k` points nearest to each of any vectors: indices int32 and distances float32, [query, k].

        `queries` is [query, unit] or one vector. Nearest first, ties by index; the distances are exact.
        """
        k = _check_k(k, len(self.rows))
        asked = check_vectors(np.atleast_2d(np.asarray(queries)))
        if asked.shape[1] != self.rows.shape[1]:
            name = ", ".join(self.neighbours.layers)
            raise AtlasError(f"the query has {asked.shape[1]} units and {name} has {self.rows.shape[1]}: ask of its layer")
        found = [self._search(self.rows.prepare(block), k) for block in blocks(asked, BLOCK // 4)]
        indices, distances = (np.concatenate(part) for part in zip(*found, strict=True))
        return indices, distances

    def nearest(self, point: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the `k` points nearest to the point, itself left out: indices int32 [k] and distances float32 [k].

        From the kept lists where they are long enough, else by a search.
        """
        count, kept = self.neighbours.indices.shape
        if not 0 <= whole_number("a point", point, 0) < count:
            raise AtlasError(f"no point {point}: there are {count}, from 0 to {count - 1}")
        k = _check_k(k, count - 1, "other ")
        if k <= kept:
            return np.array(self.neighbours.indices[point, :k]), np.array(self.neighbours.distances[point, :k])
        own = np.array([point])
        indices, distances = without_self(own, *self._search(self.rows.take(own), k + 1))
        return indices[0], distances[0]

    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        if self.index is None:
            return nearest_of_all(queries, self.rows, k)
        indices, distances = in_order(*regions.search(self.index, self.rows, queries, k))
        return indices[:, :k].astype(np.int32), distances[:, :k]


def extend_neighbours(neighbours: Neighbours, vectors: Rows, *, progress: Progress | None = None) -> Neighbours:
    """Return the neighbours of a layer that has grown: its old points are the first of `vectors`.

    Every new point is compared with all, so the lists of new points are exact, and an old point's list takes each new
    point that is nearer than its last. Lists keep their length. The index is added to, not built again; exact neighbours
    stay exact, however many. Fewer vectors than lists raise AtlasError.
    """
    old, metric = len(neighbours.indices), neighbours.metric
    if len(vectors) < old:
        raise AtlasError(f"{len(vectors)} vectors and {old} neighbour lists: a layer grows only at its end")
    progress, name = progress or Progress(), ", ".join(neighbours.layers)
    vectors = check_vectors(vectors)
    rows = Compared(vectors, metric)
    index = None if neighbours.exact else _index(neighbours, Compared(vectors[:old], metric), to_add=True)
    if index is not None:
        regions.add(index, rows, old)
    with progress.stage(f"new neighbours of {name}", len(rows)) as advance:
        mended = _mend(neighbours, rows, advance)
        k = mended[0].shape[1]
        added = _own_lists(rows, np.arange(old, len(rows)), k, lambda done: None)
    indices, distances = (np.concatenate(part) for part in zip(mended, added, strict=True))
    recall = None if index is None else _judge(index, rows, indices, 0)
    files = Files() if index is None else _files(index)
    return replace(neighbours, recall=recall, indices=indices, distances=distances, index=files)


@dataclass(frozen=True)
class IndexFile:
    """An index in memory that is called to write itself: what a Files field holds until it is stored."""

    index: Any

    def __call__(self, path: Path) -> None:
        regions.write(self.index, path)


# ---------------------------------------------------------------------------------------------------------------------
# The index


def _files(index: Any) -> Files:
    return Files([(FILE, IndexFile(index))])


def _index(neighbours: Neighbours, rows: Compared, *, to_add: bool = False) -> Any:
    """Return the record's index, memory-mapped, or a copy in memory that may be added to."""
    import faiss

    if neighbours.index.folder is None:  # made in this process and not yet stored
        index = next(body.index for _, body in neighbours.index.items_to_write if isinstance(body, IndexFile))
        return faiss.clone_index(index) if to_add else index
    return regions.read(neighbours.index.folder / FILE, rows.shape, mapped=not to_add)


# ---------------------------------------------------------------------------------------------------------------------
# The lists


def _own_lists(rows: Compared, points: np.ndarray, k: int, advance: Callable[[int], None]) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` nearest of points, each left out of its own list, by comparing all: int32 and float32 [point, k]."""
    indices, distances = np.empty((len(points), k), np.int32), np.empty((len(points), k), np.float32)
    for start in range(0, len(points), BLOCK):
        own = points[start : start + BLOCK]
        part = slice(start, start + len(own))
        indices[part], distances[part] = without_self(own, *nearest_of_all(rows.take(own), rows, k + 1))
        advance(len(own))
    return indices, distances


def _mend(neighbours: Neighbours, rows: Compared, advance: Callable[[int], None]) -> tuple[np.ndarray, np.ndarray]:
    """Return the old points' lists with the new points that are nearer than their last: int32 and float32 [old point, k]."""
    indices, distances = np.array(neighbours.indices), np.array(neighbours.distances)
    old, k = indices.shape
    for first, new in rows.spans(old):
        for start in range(0, old if k else 0, BLOCK):
            part = slice(start, min(start + BLOCK, old))
            with threads():
                found, near = nearest_rows(rows.slice(part.start, part.stop), new, k, rows.metric)
            nearer = np.flatnonzero(near[:, 0] < distances[part, -1]) + start
            kept, more = (indices[nearer], distances[nearer]), (found[nearer - start] + first, near[nearer - start])
            indices[nearer], distances[nearer] = merge(kept, more, k)
            advance(len(found))
    return indices, distances


def _judge(index: Any, rows: Compared, indices: np.ndarray, seed: int) -> float:
    """Return the share of true neighbours in the lists of RECALL_SAMPLE points, and tune the index by them."""
    points = sample_rows(len(indices), RECALL_SAMPLE, seed)
    true, _ = _own_lists(rows, points, indices.shape[1], lambda done: None)
    regions.tune(index, rows, points, true[:, :TUNED_FOR])
    return regions.share_found(indices[points], true)


def _check_k(k: int, most: int, which: str = "") -> int:
    if whole_number("k", k, 1) > most:
        raise AtlasError(f"asked for the {k} nearest of {most} {which}points: ask for at most {most}")
    return int(k)
