"""Independent stages side by side: worker processes of one thread each, their progress told by the parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from typing import Any

from atlas.errors import AtlasError
from atlas.machine import cap_threads
from atlas.progress import Advance, Progress

Task = tuple[Callable[..., Any], tuple[Any, ...]]  # called as function(*arguments, progress=…)
_queue: Any = None  # a worker process's way to its parent; set once, by the pool's initializer


class QueueProgress(Progress):
    """Sends each event to the parent process, which shows it."""

    def __init__(self, queue: Any) -> None:
        super().__init__()
        self.queue = queue

    @contextmanager
    def show(self, name: str, total: int | None) -> Iterator[Advance]:
        self.queue.put(("open", name, total))
        yield lambda count: self.queue.put(("advance", name, count))
        self.queue.put(("close", name, None))

    def note(self, line: str) -> None:
        self.queue.put(("note", line, None))


def run_all(tasks: Sequence[Task], *, workers: int, progress: Progress) -> list[Any]:
    """Run `tasks` in `workers` processes of one thread each, or here when one is enough; return their results in order.

    Functions and arguments travel by pickle, so both must be importable from a module. The first failure is raised, and
    the tasks not yet started are dropped; what others finished is kept by the store.
    """
    if workers <= 1 or len(tasks) <= 1:
        return [function(*arguments, progress=progress) for function, arguments in tasks]
    # Python's own helper would tell of semaphores when the command is ended by Ctrl-C; the system clears them all the same.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    teller = threading.Thread(target=_tell, args=(queue, progress), daemon=True)
    teller.start()
    try:
        with _pool(workers, context, queue) as pool:
            futures = [pool.submit(_run, function, arguments) for function, arguments in tasks]
            _, waiting = wait(futures, return_when=FIRST_EXCEPTION)
            for future in waiting:
                future.cancel()
            return [future.result() for future in futures if not future.cancelled()]
    except BrokenProcessPool:
        raise AtlasError(
            "a worker process was ended from outside, most likely for want of memory: what was finished is kept; "
            "build again with `--workers 1` or fewer images (`--limit`)"
        ) from None
    finally:
        queue.put(("end", "", None))
        teller.join()


@contextmanager
def _pool(workers: int, context: Any, queue: Any) -> Iterator[ProcessPoolExecutor]:
    """A pool whose workers are ended at once when this process is interrupted; else it waits for them."""
    pool = ProcessPoolExecutor(workers, context, _start_worker, (queue, os.getpid()))
    try:
        yield pool
    except KeyboardInterrupt:
        for child in multiprocessing.active_children():
            child.kill()  # what a worker was writing lies aside and is cleared by the next build
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(queue: Any, parent: int) -> None:
    global _queue
    _queue = queue
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    cap_threads(1)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: int) -> None:
    """End this process when its parent is gone: a killed build leaves nothing running behind."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _run(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return function(*arguments, progress=QueueProgress(_queue))


def _tell(queue: Any, progress: Progress) -> None:
    """Show the workers' stages until told to end."""
    with ExitStack() as all_stages:
        stages: dict[str, tuple[ExitStack, Advance]] = {}
        while True:
            event, name, value = queue.get()
            if event == "end":
                return
            if event == "open":
                stack = all_stages.enter_context(ExitStack())
                stages[name] = (stack, stack.enter_context(progress.stage(name, value)))
            elif event == "advance" and name in stages:
                stages[name][1](value)
            elif event == "close" and name in stages:
                stages.pop(name)[0].close()
            elif event == "note":
                progress.note(name)
