"""Work spread over a few threads, its results in order and only a window of them in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from atlas.machine import cores

T = TypeVar("T")
R = TypeVar("R")


def ordered(function: Callable[[T], R], items: Iterable[T], *, workers: int | None = None, chunk: int = 16) -> Iterator[R]:
    """Yield ``function(item)`` for each item, in order, computed by `workers` threads (default: this process's cores).

    Items are handed out in chunks of `chunk`; at most four chunks per worker are in flight, so memory stays bounded.
    """
    workers = workers or cores()
    if workers == 1:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(workers)
    try:
        yield from _ordered(pool, function, iter(items), 4 * workers, chunk)
    finally:
        pool.shutdown(cancel_futures=True)


def _ordered(
    pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterator[T], window: int, chunk: int
) -> Iterator[R]:
    waiting: deque[Future[list[R]]] = deque()
    while batch := list(islice(items, chunk)):
        waiting.append(pool.submit(_all, function, batch))
        if len(waiting) >= window:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()


def _all(function: Callable[[T], R], batch: list[T]) -> list[R]:
    return [function(item) for item in batch]
