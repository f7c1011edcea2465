"""Batches for the network: decoded ahead of it by a few threads, and how large they should be."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import AtlasError, one_line
from atlas.files import read_json
from atlas.machine import cores
from atlas.models.preprocess import LONGEST
from atlas.models.shapes import FEWEST
from atlas.store import write_json

if TYPE_CHECKING:
    from atlas.data.reading import Reader
    from atlas.models.preprocess import Preprocess

AHEAD = 3  # batches decoded before the network asks for them: enough to never wait, little to hold
CHUNK = 16  # images one thread decodes at a time; one by one, small images would cost more to hand over than to decode
SIZES = (16, 32, 64, 128, 256, 512)  # batches beyond these ran no faster, and small images ran slower
NOISE = 0.05  # rates closer than this are one rate, and the smaller batch is taken
ROUNDS = 6  # each over all sizes, so that what disturbs the machine for a moment disturbs them alike; the best time counts
TRIAL_SECONDS = 4.0  # after a round that ends later there is no other; twice the longest batch that is tried


@dataclass(frozen=True)
class Batch:
    """One batch of a part: `array` [image, rgb, y, x], uint8 before normalisation or float32 from a reader of tensors.

    Its first `count` images are the part's images from `start` on; the rest repeats the last one, so that the tail is
    computed at the size of all other batches.
    """

    array: np.ndarray
    start: int
    count: int


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def batches(reader: Reader, preprocess: Preprocess, rows: Sequence[int] | np.ndarray, size: int) -> Iterator[Batch]:
    """Yield the images of `rows` in batches of `size`, at fixed multiples, while the next ones are being decoded.

    A batch of one is padded to two.
    """
    rows = np.asarray(rows)
    starts = deque(range(0, len(rows), size))
    waiting: deque[tuple[int, int, list[Future[np.ndarray]]]] = deque()
    pool = ThreadPoolExecutor(cores(), thread_name_prefix="decode")
    try:
        while starts or waiting:
            while starts and len(waiting) < AHEAD:
                mine = rows[(start := starts.popleft()) : start + size]
                waiting.append((start, len(mine), _submit(pool, reader, preprocess, mine)))
            start, count, chunks = waiting.popleft()
            yield Batch(padded(_stacked([chunk.result() for chunk in chunks]), max(size, FEWEST)), start, count)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: ThreadPoolExecutor, reader: Reader, preprocess: Preprocess, rows: np.ndarray) -> list[Future[np.ndarray]]:
    return [pool.submit(read, reader, preprocess, rows[at : at + CHUNK]) for at in range(0, len(rows), CHUNK)]


def _stacked(chunks: Sequence[np.ndarray]) -> np.ndarray:
    shapes = sorted({chunk.shape[1:] for chunk in chunks})
    if len(shapes) > 1:
        raise _unequal(shapes)
    return np.concatenate(chunks)


def _unequal(shapes: Sequence[tuple[int, ...]]) -> AtlasError:
    found = " and ".join("×".join(map(str, shape)) for shape in shapes[:3])
    return AtlasError(f"images come out of the preprocessing as {found}, and one batch needs one size: give an input size")


def padded(array: np.ndarray, size: int) -> np.ndarray:
    """Return `array` [image, …] with its last image repeated until there are `size`."""
    missing = max(size - len(array), 0)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array


def read(reader: Reader, preprocess: Preprocess, rows: np.ndarray) -> np.ndarray:
    """Return the images of `rows` as the network takes them but for normalisation: [image, rgb, y, x].

    An image that decoded when the images were listed and does not now raises AtlasError with its row.
    """
    if not reader.tensors:
        pixels = reader.pixels(rows)
        if pixels is not None and takes_as_is(preprocess, pixels.shape):
            return as_array(pixels, preprocess.channels)
    return stack([_one(reader, preprocess, int(row)) for row in rows])


def stack(images: Sequence[np.ndarray]) -> np.ndarray:
    """Return images [rgb, y, x] as one batch [image, rgb, y, x]; unequal sizes raise AtlasError."""
    shapes = sorted({image.shape for image in images})
    if len(shapes) > 1:
        raise _unequal(shapes)
    return np.stack(images)


def _one(reader: Reader, preprocess: Preprocess, row: int) -> np.ndarray:
    try:
        return reader.tensor(row) if reader.tensors else preprocess.array(reader.image(row))
    except (OSError, ValueError, AtlasError) as reason:
        raise AtlasError(
            f"image {row} cannot be read any more ({one_line(reason)}): it did when the images were listed; build again"
        ) from None


def takes_as_is(preprocess: Preprocess, shape: Sequence[int]) -> bool:
    """Tell whether stored pixels [image, y, x] or [image, y, x, rgb] need no resizing, cropping or change to grey."""
    height, width = shape[1:3]
    sized = (preprocess.height or height, preprocess.width or width) == (height, width)
    short, long = sorted((height, width))
    scaled = preprocess.resize not in (None, short) or (preprocess.fit == "stretch" and short != long)
    strip = long > LONGEST * short  # which `Preprocess` cuts
    return sized and not scaled and not strip and (len(shape) == 3 or (shape[3] == 3 and preprocess.channels == 3))


def as_array(pixels: np.ndarray, channels: int) -> np.ndarray:
    """[image, y, x] or [image, y, x, rgb] → [image, rgb, y, x]; grey is repeated where colour is wanted."""
    if pixels.ndim == 4:
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    return np.repeat(pixels[:, None], channels, axis=1)


# ---------------------------------------------------------------------------------------------------------------------
# The batch size


def choose_batch(
    forward: Callable[[int], None], *, limit: int = SIZES[-1], clock: Callable[[], float] = time.perf_counter
) -> int:
    """Return the batch size that runs the most images per second, the smallest among those within noise.

    `forward(size)` runs one batch. Sizes beyond `limit` are not tried; one that does not fit into memory ends the trial,
    and where even the smallest does not fit, half of it is tried, down to one image.
    """
    sizes = [size for size in SIZES if size <= max(limit, SIZES[0])]
    best: dict[int, float] = {}
    started = clock()
    for _ in range(ROUNDS):
        sizes = _time_each(forward, sizes, best, clock)
        if clock() - started > TRIAL_SECONDS:
            break
    if not best:
        return _that_fits(forward, SIZES[0] // 2)
    rates = {size: size / seconds for size, seconds in best.items()}
    return min(size for size, rate in rates.items() if rate >= (1 - NOISE) * max(rates.values()))


def _time_each(
    forward: Callable[[int], None], sizes: Sequence[int], best: dict[int, float], clock: Callable[[], float]
) -> list[int]:
    """Time one batch of each size, keep each size's best in `best`; return the sizes worth another round."""
    for place, size in enumerate(sizes):
        started = clock()
        try:
            forward(size)
        except Exception as reason:
            if not out_of_memory(reason):
                raise
            return list(sizes[:place])
        seconds = max(clock() - started, 1e-9)
        best[size] = min(seconds, best.get(size, seconds))
        if 2 * seconds > TRIAL_SECONDS:
            return list(sizes[: place + 1])
    return list(sizes)


def _that_fits(forward: Callable[[int], None], size: int) -> int:
    while size >= 1:
        try:
            forward(size)
            return size
        except Exception as reason:
            if not out_of_memory(reason):
                raise
            size //= 2
    raise AtlasError("not even one image fits into memory with this network: use smaller inputs or a larger machine")


def out_of_memory(reason: BaseException) -> bool:
    """Tell whether an exception says that memory ran out, in the words of Python, of CUDA or of torch's CPU allocator."""
    while reason is not None:
        text = str(reason).lower()
        if isinstance(reason, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
            return True
        reason = reason.__cause__  # type: ignore[assignment]
    return False


def kept_batch(path: Path, choose: Callable[[], int]) -> int:
    """Return the batch size kept in `path`, or choose one and keep it; of two builders the first one's holds."""
    if not path.exists():
        keep_first(path, {"batch_size": choose()})
    try:
        size = read_json(path)["batch_size"]
    except (OSError, ValueError, KeyError, TypeError):
        size = None
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= SIZES[-1]:
        raise AtlasError(f"{path} holds no batch size: remove it and build again")
    return size


def keep_first(path: Path, value: dict[str, Any]) -> None:
    """Write a choice of the build's state into `path`, unless another builder did in the meantime."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    write_json(aside, value)
    _first_wins(aside, path)


def _first_wins(aside: Path, path: Path) -> None:
    try:
        os.link(aside, path)  # unlike a rename, it fails where another builder was first
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def free_memory() -> int:
    """Return the bytes of memory this process may still take; 4 GiB where the system does not tell."""
    return min(_number_in(Path("/proc/meminfo"), "MemAvailable:", 4 << 20) * 1024, _free_in_group(Path("/sys/fs/cgroup")))


def _free_in_group(folder: Path) -> int:
    try:
        limit = int((folder / "memory.max").read_text())
    except (OSError, ValueError):  # no such group, or "max": no limit
        return sys.maxsize
    return max(0, limit - _number_in(folder / "memory.stat", "anon", 0))  # what else counts there is page cache


def _number_in(path: Path, word: str, otherwise: int) -> int:
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return otherwise
    return next((int(line[1]) for line in lines if line and line[0] == word), otherwise)
