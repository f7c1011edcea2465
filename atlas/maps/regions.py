"""Regions of a layer's space: each point belongs to its nearest centre, so that a search compares a few regions only.

The lists of all points come from comparing each region's points, every pair, with those of the regions that are near to
any of them; single queries from FAISS's inverted file of the same regions, which holds float16 values: with a byte per
value 64 candidates are needed where these need 26, and a query takes a third longer. Regions hold about as many points
however many there are, so the work per point hardly grows. Region by region the result depends on nothing but the points,
so they are shared out between threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from atlas.errors import AtlasError, one_line
from atlas.machine import cores
from atlas.maps.blocks import BLOCK, sample_rows
from atlas.maps.distances import SPARE, Compared, distances_to, in_order, nearest_rows, threads, without_self

REGION = 512  # points per region: 256 cost a tenth less and lose .001 more of the neighbours
HOMES = 6  # regions near to a point, when lists are made: 4 lose three times as many neighbours, 8 take 12 % longer
TRAINED_ON = 64  # points per centre that move it; 256 is the default of FAISS
LARGEST = 60_000  # values that float16 holds; a layer of larger ones has codes of a byte between its extremes
ROUNDS = 10  # of k-means; FAISS does 25 by default
PROBED = 8  # regions that a query is compared with, at least
ENOUGH = 0.995  # share of the ten nearest that queries of the layer's own points must find: more regions until they do
LITTLE = 0.0005  # share found that half as many regions more must add to be worth asking
MORE = 2048  # values of the rows that are ranked beyond those asked, and at least 16 rows: codes of few units tie more
SIZE = 8  # bytes that end a file: how many come before
REMEDY = "remove its folder and build again"
CANDIDATES = 1 << 25  # float32 values of the rows that one region is compared with at most: 128 MB per thread


def train(rows: Compared, seed: int) -> Any:
    """Return an empty FAISS index of one region per REGION points, their centres found by k-means from `seed`."""
    import faiss

    count = max(1, round(len(rows) / REGION))
    sample = rows.take(sample_rows(len(rows), TRAINED_ON * count, seed))
    kind = faiss.METRIC_INNER_PRODUCT if rows.metric == "cosine" else faiss.METRIC_L2
    clustering = faiss.Clustering(rows.shape[1], count)
    clustering.niter, clustering.seed, clustering.spherical = ROUNDS, seed % 2**31, rows.metric == "cosine"
    clustering.min_points_per_centroid, clustering.max_points_per_centroid = 1, TRAINED_ON
    centres = faiss.IndexFlat(rows.shape[1], kind)
    codes = faiss.ScalarQuantizer.QT_fp16 if np.abs(sample).max() <= LARGEST else faiss.ScalarQuantizer.QT_8bit
    with threads(1):  # the sums of several threads would round differently from one machine's cores to another's
        clustering.train(sample, centres)
        index = faiss.IndexIVFScalarQuantizer(centres, rows.shape[1], count, codes, kind, False)
        index.train(sample)
    return index


def add(index: Any, rows: Compared, start: int = 0, advance: Callable[[int], None] = lambda done: None) -> np.ndarray:
    """Add the rows from `start` on to the index; return the HOMES regions nearest to each: int32 [point, rank]."""
    import faiss

    homes = np.empty((len(rows) - start, min(HOMES, index.nlist)), np.int32)
    for first in range(start, len(rows), BLOCK):
        block = rows.slice(first, first + BLOCK)
        with threads():
            _, near = index.quantizer.search(block, homes.shape[1])
            own = np.ascontiguousarray(near[:, 0])
            codes = np.clip(block, -LARGEST, LARGEST) if index.sq.qtype == faiss.ScalarQuantizer.QT_fp16 else block
            index.add_core(len(block), faiss.swig_ptr(codes), None, faiss.swig_ptr(own))
        homes[first - start : first - start + len(block)] = near
        advance(len(block))
    return homes


class Regions:
    """Which points lie in which region, and which regions are near to them."""

    def __init__(self, homes: np.ndarray, count: int, most: int):
        self.homes, self.most = homes, most
        self.order = np.argsort(homes[:, 0], kind="stable")
        self.starts = np.searchsorted(homes[self.order, 0], np.arange(count + 1))

    def members(self, region: int) -> np.ndarray:
        """Return the points of a region, in order."""
        return self.order[self.starts[region] : self.starts[region + 1]]

    def groups(self) -> Iterator[np.ndarray]:
        """Yield the points region by region, at most BLOCK at a time."""
        for region in range(len(self.starts) - 1):
            members = self.members(region)
            yield from (members[start : start + BLOCK] for start in range(0, len(members), BLOCK))

    def candidates(self, group: np.ndarray, least: int) -> np.ndarray:
        """Return the points that a group is compared with, in order: of the regions near to any, those near to most first.

        At most `most` and at least `least` of them, the group's own included.
        """
        near, votes = np.unique(self.homes[group], return_counts=True)
        found = [self.members(region) for region in near[np.argsort(-votes, kind="stable")]]
        points = np.union1d(group, np.concatenate(found)[: max(self.most, least)])
        return points if len(points) >= least else np.arange(len(self.homes))


def lists(
    rows: Compared, homes: np.ndarray, count: int, k: int, advance: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` nearest others of every point among those of the regions near it: int32 and float32 [point, k]."""
    indices, distances = np.empty((len(rows), k), np.int32), np.empty((len(rows), k), np.float32)
    regions = Regions(homes, count, CANDIDATES // rows.shape[1])

    def fill(group: np.ndarray) -> int:
        points = regions.candidates(group, k + 1 + SPARE)
        base = rows.take(points)
        with threads(1):
            found, near = nearest_rows(base[np.searchsorted(points, group)], base, k + 1, rows.metric)
        indices[group], distances[group] = without_self(group, points[found], near)
        return len(group)

    for done in in_threads(fill, regions.groups()):
        advance(done)
    return indices, distances


def in_threads(work: Callable[[np.ndarray], int], groups: Iterator[np.ndarray]) -> Iterator[int]:
    """Yield what `work` returns of each group, as many at once as FAISS has threads."""
    import faiss

    with ThreadPoolExecutor(min(faiss.omp_get_max_threads(), cores())) as pool:
        try:
            yield from pool.map(work, groups)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def tune(index: Any, rows: Compared, points: np.ndarray, true: np.ndarray) -> None:
    """Let queries ask of as few regions as find ENOUGH of the nearest of points, whose `true` lists are [point, rank]."""
    probed, before = PROBED, -1.0
    while True:
        index.nprobe = min(probed, index.nlist)
        found, distances = in_order(*search(index, rows, rows.take(points), true.shape[1] + 1))
        own, _ = without_self(points, found[:, : true.shape[1] + 1], distances[:, : true.shape[1] + 1])
        share = share_found(own, true)
        if index.nprobe == index.nlist or share >= ENOUGH or share < before + LITTLE:
            return
        probed, before = probed + probed // 2, share


def share_found(indices: np.ndarray, true: np.ndarray) -> float:
    """Return the share of the `true` lists, [point, rank], that is in the lists of `indices`."""
    return float(np.mean([np.isin(wanted, got).mean() for wanted, got in zip(true, indices, strict=True)]))


def search(index: Any, rows: Compared, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` nearest of each prepared query: more are found by their codes and ranked by exact distances.

    The rows, int64, and distances, [query, at least k], in no order. Where the regions asked hold fewer, all are asked.
    """
    import faiss

    wanted = min(k + max(16, MORE // index.d), index.ntotal)
    with threads(1 if len(queries) < 8 else None):  # starting threads takes longer than a few queries
        _, picked = index.search(queries, wanted)
        short = picked[:, k - 1] < 0
        if short.any():
            all_of_them = faiss.SearchParametersIVF(nprobe=index.nlist)  # type: ignore[call-arg]
            picked[short] = index.search(queries[short], wanted, params=all_of_them)[1]
        return picked, _ranked(rows, queries, picked)


def _ranked(rows: Compared, queries: np.ndarray, picked: np.ndarray) -> np.ndarray:
    if picked.max(initial=0) >= len(rows):
        raise AtlasError(f"the index names point {picked.max()} of {len(rows)}: {REMEDY}")
    points, local = np.unique(np.maximum(picked, 0), return_inverse=True)
    distances = distances_to(queries, rows.take(points), local.reshape(picked.shape), rows.metric)
    distances[picked < 0] = np.inf
    return distances


def write(index: Any, path: Path) -> None:
    """Write the index, then, in eight bytes that FAISS does not read, how many it wrote: a map of a cut file would crash."""
    import faiss

    faiss.write_index(index, str(path))
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(size.to_bytes(SIZE, "little"))


def read(path: Path, shape: tuple[int, int], *, mapped: bool = True) -> Any:
    """Return the index in the file `path`, memory-mapped where this FAISS can.

    A file that is no index of `shape`, [point, unit], raises AtlasError.
    """
    import faiss

    try:
        _check_whole(path)
        index = faiss.read_index(str(path), getattr(faiss, "IO_FLAG_MMAP_IFC", 0) if mapped else 0)
    except (OSError, RuntimeError) as reason:
        raise AtlasError(f"{path} cannot be read ({one_line(reason, 120)}): {REMEDY}") from None
    if not isinstance(index, faiss.IndexIVFScalarQuantizer):
        raise AtlasError(f"{path} holds {type(index).__name__}, which is not this program's index: {REMEDY}")
    held = index.invlists.compute_ntotal()  # type: ignore[union-attr]
    if (held, index.ntotal, index.d) != (shape[0], *shape):
        raise AtlasError(f"{path} holds {held} points of {index.d} units and its layer {shape[0]} of {shape[1]}: {REMEDY}")
    return index


def _check_whole(path: Path) -> None:
    with path.open("rb") as file:
        size = path.stat().st_size - SIZE
        file.seek(max(0, size))
        if size < 0 or int.from_bytes(file.read(SIZE), "little") != size:
            raise OSError("it was cut short or made by another version")
