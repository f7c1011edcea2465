"""Ascents side by side: a network and copies of it, a thread each.

Two threads that share the small batches of an ascent wait for each other at every layer; a thread for each of two batches
does not. What a batch gives does not depend on which copy runs it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

import torch

from atlas.machine import cores
from atlas.models.network import Network
from atlas.preferred.forward import Forward, forwards

T = TypeVar("T")
R = TypeVar("R")
Advance = Callable[[int], object]


class Stopped(BaseException):
    """Raised in an ascent when another has failed; no `Exception`, which a network's own code might catch."""


class SideBySide:
    """The copies, and the threads that run them; opened by `side_by_side`."""

    def __init__(self, members: Sequence[Forward], pool: ThreadPoolExecutor):
        self.members, self.pool = members, pool
        self.lock, self.over = threading.Lock(), threading.Event()

    def __len__(self) -> int:
        return len(self.members)

    def telling(self, advance: Advance) -> Advance:
        """Return `advance` for the threads: one calls it at a time, and none goes on after another has failed."""

        def told(steps: int) -> None:
            if self.over.is_set():
                raise Stopped
            with self.lock:
                advance(steps)

        return told

    def map(self, work: Callable[[Forward, T], R], items: Iterable[T]) -> list[R]:
        """Return ``work(a copy, item)`` of every item, in their order; what one raises ends all."""
        idle: SimpleQueue[Forward] = SimpleQueue()
        for member in self.members:
            idle.put(member)

        def one(item: T) -> R:
            running = idle.get()
            try:
                with running.engine.thread(), torch.enable_grad():
                    return work(running, item)
            finally:
                idle.put(running)

        asked = [self.pool.submit(one, item) for item in items]
        try:
            wait(asked, return_when=FIRST_EXCEPTION)
        finally:
            self._end(asked)
        for failed in (future.exception() for future in asked if not future.cancelled()):
            if failed is not None and not isinstance(failed, Stopped):
                raise failed
        return [future.result() for future in asked]

    def _end(self, asked: Sequence[Future[R]]) -> None:
        """Let no thread run on when the network is put back as it was."""
        if not all(future.done() for future in asked):
            self.over.set()
        for future in asked:
            future.cancel()
        wait(asked)


@contextmanager
def side_by_side(
    network: Network, layers: Iterable[str], *, device: str, precision: str, ascent: Sequence[int]
) -> Iterator[SideBySide]:
    """Open a network for ascents of images of the size `ascent` (rgb, y, x), once for each thread; as before afterwards.

    One that cannot be copied, or whose copies do not fit into memory, runs alone on all threads.
    """
    before = torch.get_num_threads()
    threads = min(before, cores())
    with forwards(network, layers, device=device, precision=precision, ascent=ascent, count=threads) as members:
        each = max(1, threads // len(members))
        with ThreadPoolExecutor(len(members), "ascents", torch.set_num_threads, (each,)) as pool:
            try:
                yield SideBySide(members, pool)
            finally:
                torch.set_num_threads(before)
