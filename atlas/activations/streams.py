"""A network and copies of it side by side, a thread each.

On a CPU, small batches on one thread each run more images than one batch on all threads. What a batch gives does not
depend on which copy runs it, so results come out the same however the batches fall. A copy has its own modules: nothing
that a network keeps in itself during a forward pass is shared.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import TypeVar

import numpy as np
import torch

from atlas.activations.batching import Batch
from atlas.activations.engine import Engine
from atlas.activations.hooks import Callback, Recorder

MOST_BYTES = 1 << 30  # of the copies' weights together; a network too large to be copied runs alone, on all threads
R = TypeVar("R")
Give = Callable[["Stream"], Mapping[str, Callback]]


class Stream:
    """One copy of the network, and the batch that it is running."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.batch: Batch

    def run(self, recorder: Recorder, batch: Batch) -> np.ndarray | None:
        """Return the logits of a batch, its layers given to the recorder's callbacks."""
        self.batch = batch
        with self.engine.thread():
            return self.engine.logits(self.engine.run(recorder, self.engine.tensor(batch.array)))


class Streams:
    """The copies, and the threads that run them; opened by `streams`."""

    def __init__(self, members: Sequence[Stream], pool: ThreadPoolExecutor):
        self.members, self.pool = members, pool

    def run(self, give: Give, batches: Iterable[Batch]) -> Iterator[tuple[Batch, np.ndarray | None]]:
        """Yield each batch with its logits, in order; `give` says which callbacks take the layers of a stream's batch."""
        with ExitStack() as stack:
            idle: SimpleQueue[tuple[Stream, Recorder]] = SimpleQueue()
            for member in self.members:
                idle.put((member, stack.enter_context(member.engine.recorder(give(member)))))

            def one(batch: Batch) -> np.ndarray | None:
                stream, recorder = idle.get()
                try:
                    return stream.run(recorder, batch)
                finally:
                    idle.put((stream, recorder))

            yield from in_order(self.pool, one, batches, ahead=len(self.members))


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[Batch], R], items: Iterable[Batch], *, ahead: int
) -> Iterator[tuple[Batch, R]]:
    """Yield each item with what `work` made of it, in order, at most `ahead` of them waiting or under way."""
    waiting: deque[tuple[Batch, Future[R]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > ahead:
                first, found = waiting.popleft()
                yield first, found.result()
        for first, found in waiting:
            yield first, found.result()
    finally:
        for _, left in waiting:
            left.cancel()
        pool.submit(lambda: None).result()  # the threads are idle again, where one of them had failed


def count_for(engine: Engine, threads: int) -> int:
    """Return how many copies run side by side: one per thread, as far as their weights fit; one on a GPU."""
    weights = [*engine.module.parameters(), *engine.module.buffers()]
    each = sum(value.numel() * value.element_size() for value in weights)
    return 1 if engine.device.type != "cpu" else max(1, min(threads, 1 + MOST_BYTES // max(each, 1)))


@contextmanager
def streams(engine: Engine, threads: int) -> Iterator[Streams]:
    """Open the network's copies for `threads` threads in all; one that cannot be copied runs alone, on all of them."""
    members = [Stream(engine), *map(Stream, copies(engine, count_for(engine, threads) - 1))]
    each = max(1, threads // len(members))
    with ThreadPoolExecutor(len(members), "streams", torch.set_num_threads, (each,)) as pool:
        try:
            yield Streams(members, pool)
        finally:
            torch.set_num_threads(threads)


def copies(engine: Engine, count: int) -> list[Engine]:
    """Return engines of copies of the network; none where it cannot be copied."""
    try:
        return [engine.of(copy.deepcopy(engine.module)) for _ in range(count)]
    except Exception:  # whatever a user's module raises when it is copied; it runs alone then
        return []
