"""Nearest neighbours of one image at a time: ours, FAISS by brute force, FAISS's default HNSW, scikit-learn.

Descriptors (256 values, float16) of the demo network: the 70 000 images of Fashion-MNIST, then those images mirrored, moved
and changed in contrast, each in its own way. The 1 000 queries are of changed images that are not among the points. Each
side builds in one process and answers in another; the true neighbours are found by brute force.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure

ABOUT = " ".join((__doc__ or "").partition("\n\n")[2].split())
QUERIES, WARM, K = 1000, 100, 10
LISTED = 30  # neighbours of every point that a build of ours lists besides
CHUNK = 4096  # images through the network at a time
QUERY_CHUNK = 1 << 20  # the chunk whose images the queries are: beyond any number of points
SKLEARN_UP_TO = 100_000  # points: beyond, a query of scikit-learn takes as long as its whole row of this table
COLUMNS = ("points", "side", "p50, ms", "p99, ms", "recall@10", "build, s", "memory of build, MB", "open, MB", "file, MB")
Search = Callable[[np.ndarray, int], np.ndarray]


# ---------------------------------------------------------------------------------------------------------------------
# Real descriptors


def descriptors(cache: Path, count: int) -> Path:
    """Return the file of `count` descriptors, float16 [point, 256], made where it is missing; queries lie beside it."""
    folder = cache / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    path, queries = folder / f"descriptors-{count}.npy", folder / f"queries-{QUERIES}.npy"
    if not (path.exists() and queries.exists()):
        images, describe = _images(cache), _describer()
        if not queries.exists():
            _write(queries, iter([describe(_changed(images, QUERY_CHUNK)[:QUERIES])]), QUERIES)
        chunks = (describe(_chunk(images, start, min(CHUNK, count - start))) for start in range(0, count, CHUNK))
        _write(path, chunks, count)
    return path


def _write(path: Path, chunks: Iterator[np.ndarray], count: int) -> None:
    aside, done = path.with_suffix(".unfinished.npy"), 0
    out = np.lib.format.open_memmap(aside, "w+", np.float16, (count, 256))
    for chunk in chunks:
        out[done : done + len(chunk)] = chunk
        done += len(chunk)
        if done % (CHUNK * 16) == 0:
            print(f"descriptors: {done} of {count}", file=sys.stderr, flush=True)
    out.flush()
    aside.replace(path)


def _images(cache: Path) -> np.ndarray:
    from atlas.data import named

    found = named.fetch("fashion-mnist", Path(os.environ.get("ATLAS_DATASETS", cache / "datasets")))
    return np.concatenate([found.images[part] for part in named.PARTS])


def _chunk(images: np.ndarray, start: int, count: int) -> np.ndarray:
    """The images from `start` on: first the real ones, each once, then changed ones."""
    real = images[start : start + count]
    return np.concatenate([real, _changed(images, start)[: count - len(real)]])


def _changed(images: np.ndarray, seed: int) -> np.ndarray:
    """CHUNK images drawn with `seed`: half of them mirrored, each moved by up to 2 pixels and of 0.8 to 1.2 its contrast."""
    chance = np.random.default_rng(seed + 1)
    drawn = images[chance.integers(len(images), size=CHUNK)]
    drawn = np.where(chance.random(CHUNK)[:, None, None] < 0.5, drawn[:, :, ::-1], drawn)
    padded = np.pad(drawn, ((0, 0), (2, 2), (2, 2)))
    y, x = chance.integers(0, 5, (2, CHUNK, 1)) + np.arange(28)
    moved = padded[np.arange(CHUNK)[:, None, None], y[:, :, None], x[:, None, :]]
    return np.clip(moved * chance.uniform(0.8, 1.2, (CHUNK, 1, 1)), 0, 255).astype(np.uint8)


def _describer() -> Callable[[np.ndarray], np.ndarray]:
    """Return what makes descriptors of uint8 [image, y, x]: the demo's network in bfloat16, its layer before the last."""
    import torch

    from atlas.models.network import load_network

    network = load_network("atlas:conv6@fashion-mnist")
    module, seen = network.module.to(memory_format=torch.channels_last), []
    module.get_submodule("relu_fc1").register_forward_hook(lambda _, inputs, output: seen.append(output.half().numpy()))

    def describe(pixels: np.ndarray) -> np.ndarray:
        seen.clear()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            for start in range(0, len(pixels), 256):
                batch = network.preprocess.tensor(torch.from_numpy(pixels[start : start + 256, None]))
                module(batch.contiguous(memory_format=torch.channels_last))
        return np.concatenate(seen)

    return describe


# ---------------------------------------------------------------------------------------------------------------------
# The sides: each builds into a folder, and opens it to search


def build_ours(vectors: np.ndarray, folder: Path) -> dict[str, Any]:
    """Regions and lists of all points, as `atlas build` makes them."""
    from atlas.maps.neighbours import build_neighbours
    from atlas.maps.records import Neighbours
    from atlas.progress import Progress
    from atlas.store import Recipe, Store

    progress, started = Progress(), time.perf_counter()
    made = build_neighbours(vectors, layers=["fc"], k=LISTED, progress=progress)
    Store(folder).build(Recipe("neighbours", 2), Neighbours, lambda: made)
    lists = progress.seconds["neighbours of fc"]
    return {"seconds": time.perf_counter() - started - lists, "lists": lists, "of": made.recall}


def open_ours(vectors: np.ndarray, folder: Path) -> Search:
    """The record, its index memory-mapped."""
    from atlas.maps.neighbours import open_index
    from atlas.maps.records import Neighbours
    from atlas.store import Recipe, Store

    opened = open_index(Store(folder).read(Recipe("neighbours", 2).name, Neighbours), vectors)
    return lambda query, k: opened.search(query, k)[0]


def _fill(index: Any, vectors: np.ndarray, folder: Path) -> dict[str, Any]:
    import faiss

    from atlas.maps.blocks import blocks, unit_length

    started = time.perf_counter()
    for block in blocks(vectors):
        index.add(unit_length(block))
    faiss.write_index(index, str(folder / "index.faiss"))
    return {"seconds": time.perf_counter() - started}


def build_flat(vectors: np.ndarray, folder: Path) -> dict[str, Any]:
    """All vectors in float32, compared with every query."""
    import faiss

    return _fill(faiss.IndexFlatIP(vectors.shape[1]), vectors, folder)


def build_hnsw(vectors: np.ndarray, folder: Path) -> dict[str, Any]:
    """32 links per point, breadth 40 to link and 16 to search, linked by all cores."""
    import faiss

    return _fill(faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT), vectors, folder)


def open_faiss(vectors: np.ndarray, folder: Path) -> Search:
    """An index of FAISS, read into memory."""
    import faiss

    from atlas.maps.blocks import unit_length

    index = faiss.read_index(str(folder / "index.faiss"))
    return lambda query, k: index.search(unit_length(query), k)[1]


def build_sklearn(vectors: np.ndarray, folder: Path) -> dict[str, Any]:
    """Nothing: scikit-learn is fitted each time."""
    return {"seconds": 0.0}


def open_sklearn(vectors: np.ndarray, folder: Path) -> Search:
    """NearestNeighbors with the cosine metric, which is by brute force."""
    from sklearn.neighbors import NearestNeighbors

    fitted = NearestNeighbors(metric="cosine").fit(np.asarray(vectors, np.float32))
    return lambda query, k: fitted.kneighbors(query, k, return_distance=False)


SIDES = {
    "ours": (build_ours, open_ours),
    "faiss IndexFlatIP": (build_flat, open_faiss),
    "faiss IndexHNSWFlat, default": (build_hnsw, open_faiss),
    "scikit-learn": (build_sklearn, open_sklearn),
}


# ---------------------------------------------------------------------------------------------------------------------
# Measuring


class Peak(threading.Thread):
    """The greatest anonymous memory of this process while the block lasts, every 20 ms; bytes above the start's."""

    def __enter__(self) -> Peak:
        self.start_bytes = self.most = anonymous()
        self.over = threading.Event()
        self.start()
        return self

    def run(self) -> None:
        while not self.over.wait(0.02):
            self.most = max(self.most, anonymous())

    def __exit__(self, *raised: Any) -> None:
        self.over.set()
        self.join()
        self.bytes = max(self.most, anonymous()) - self.start_bytes


def anonymous() -> int:
    """Return the bytes of this process that are no file's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon:"))
    return 1024 * int(line.split()[1])


def build(side: str, path: Path, folder: Path) -> dict[str, Any]:
    """Build a side in this process; return its seconds, its memory and the bytes of its files."""
    vectors = np.load(path, mmap_mode="r")
    import faiss  # noqa: F401  its own memory is none of the index's

    with Peak() as peak:
        found = SIDES[side][0](vectors, folder)
    files = sum(file.stat().st_size for file in folder.rglob("*.faiss"))
    return {**found, "memory": peak.bytes, "file": files}


def answer(side: str, path: Path, folder: Path, true: np.ndarray) -> dict[str, Any]:
    """Open a side in this process and ask it the queries one by one, after WARM of them; return times, recall, memory."""
    vectors, queries = np.load(path, mmap_mode="r"), np.load(path.with_name(f"queries-{QUERIES}.npy"))[: len(true)]
    import faiss  # noqa: F401

    found, seconds = [], []
    with Peak() as peak:
        search = SIDES[side][1](vectors, folder)
        for query in queries[:WARM]:
            search(query[None], K)
        for query in queries:
            started = time.perf_counter()
            found.append(search(query[None], K)[0])
            seconds.append(time.perf_counter() - started)
    recall = np.mean([np.isin(right, got).mean() for right, got in zip(true, found, strict=True)])
    return {"times": np.percentile(seconds, [50, 99]) * 1000, "recall": recall, "open": peak.bytes}


def truth(path: Path, count: int) -> np.ndarray:
    """Return the true neighbours of the queries: [query, K]."""
    from atlas.maps.distances import Compared, nearest_of_all

    rows = Compared(np.load(path, mmap_mode="r"), "cosine")
    queries = np.load(path.with_name(f"queries-{QUERIES}.npy"))[:count]
    return nearest_of_all(rows.prepare(queries), rows, K)[0]


def alone(call: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a call returns in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def timed(side: str, path: Path, points: int, true: np.ndarray) -> tuple[list[str], dict[str, Any]]:
    """Return a row of the table, and what was measured."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = alone(build, side, path, Path(folder))
        said = alone(answer, side, path, Path(folder), true)
    cells = [f"{said['times'][0]:.3f}", f"{said['times'][1]:.3f}", f"{said['recall']:.4f}", f"{made['seconds']:.1f}"]
    sizes = [f"{count / 1e6:.0f}" for count in (made["memory"], said["open"], made["file"])]
    return [f"{points:,}".replace(",", " "), side, *cells, *sizes], made


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every side at every size, and print one table."""
    parser = measure.arguments(__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=[70_000, 1_000_000], help="how many points (%(default)s)")
    chosen = parser.parse_args(argv)
    rows, notes = [], []
    for points in [25_000] if chosen.quick else chosen.points:
        path = alone(descriptors, chosen.cache, points)
        true = alone(truth, path, 200 if chosen.quick else QUERIES)
        for side in SIDES if points <= SKLEARN_UP_TO else [side for side in SIDES if side != "scikit-learn"]:
            row, made = timed(side, path, points, true)
            rows.append(row)
            measure.tell(" · ".join(row))
            if "lists" in made:
                found = f"their recall {made['of']:.4f}" if made["of"] is not None else "exact"
                listed = f"ours lists {LISTED} neighbours of each point besides"
                notes.append(f"{row[0]} points: {listed}, {made['lists']:.1f} s, {found}.")
    measure.show(f"One query at a time, {K} neighbours", COLUMNS, rows, notes=[ABOUT, *notes])


if __name__ == "__main__":
    main()
