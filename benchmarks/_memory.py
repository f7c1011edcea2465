"""The anonymous memory of a process and its children over time; the standard library alone, so that its watcher is small."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

INTERVAL = 0.05  # seconds between two looks
Result = TypeVar("Result")


class Memory:
    """The anonymous memory (RssAnon) of this process and all its children, looked at every 50 ms by a process beside it.

    ``with Memory() as memory: … memory.peak(since, until)``. It is what a run needs of a machine: mapped files, which the
    system may drop, do not count, and unlike VmHWM a peak belongs to a time. Pages that a forked child shares with its
    parent count twice. Linux only.
    """

    def __enter__(self) -> Memory:
        self._log = tempfile.NamedTemporaryFile("r", prefix="memory-")
        command = [sys.executable, "-S", __file__, str(os.getpid()), self._log.name]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.times: list[float] = []
        self.bytes: list[int] = []
        self.wait()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()

    def peak(self, since: float = 0.0, until: float = float("inf")) -> int:
        """Return the greatest bytes seen between two times of `time.monotonic`, or at the nearest look after `since`."""
        self._read()
        if until != float("inf") and (not self.times or self.times[-1] < until):
            self.wait()
        first = bisect_left(self.times, since)
        return max(self.bytes[first : max(bisect_right(self.times, until), first + 1)], default=self.bytes[-1])

    def during(self, call: Callable[[], Result]) -> tuple[float, int, Result]:
        """Return a call's seconds, the peak in bytes while it ran, and what it returned."""
        started = time.monotonic()
        result = call()
        ended = time.monotonic()
        return ended - started, self.peak(started, ended), result

    def wait(self) -> None:
        """Wait for the next look."""
        seen = len(self.times)
        while len(self.times) == seen and self._process.poll() is None:
            time.sleep(INTERVAL / 2)
            self._read()

    def _read(self) -> None:
        for line in self._log.readlines():
            at, found = line.split()
            self.times.append(float(at))
            self.bytes.append(int(found))


def _anonymous(pid: int, without: int) -> int:
    """Return the RssAnon of a process and its descendants, in bytes; 0 for one that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = [
            child for file in Path(f"/proc/{pid}/task").iterdir() for child in (file / "children").read_text().split()
        ]
    except OSError:
        return 0
    own = next((1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:")), 0)
    return own + sum(_anonymous(int(child), without) for child in children if int(child) != without)


def _watch(pid: int, log: Path) -> None:
    """Write the time and the memory of a process to `log` until it ends."""
    with log.open("w") as file:
        while os.getppid() == pid:
            file.write(f"{time.monotonic():.3f} {_anonymous(pid, os.getpid())}\n")
            file.flush()
            time.sleep(INTERVAL)


if __name__ == "__main__":
    _watch(int(sys.argv[1]), Path(sys.argv[2]))
