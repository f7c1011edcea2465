"""What this machine has: cores, free space, and caps on threads so that libraries do not fight over the cores."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atlas.errors import AtlasError

# Read once when each library loads, so they must stand in the environment before the first import of torch or numba.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def cores() -> int:
    """Return the number of cores this process may use: its affinity, further bounded by the cgroup's CPU quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.exists():
        limit, period = [*quota.read_text().split(), "100000"][:2]
        if limit != "max":
            count = min(count, max(1, round(int(limit) / int(period))))
    return count


def threads_given() -> int:
    """Return how many threads this process may use: its cores, or fewer where OMP_NUM_THREADS says so."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores(), int(said) if said.isdigit() and int(said) else cores())


def cap_threads(count: int | None = None) -> int:
    """Bound every numeric library to `count` threads; return the number.

    The default is all cores of this process, or fewer where OMP_NUM_THREADS says so.

    The environment is set for libraries not yet imported; those already imported are told. Oversubscribed threads have
    cost a factor of fifty on two cores.
    """
    count = count or threads_given()
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    if "faiss" in sys.modules:
        sys.modules["faiss"].omp_set_num_threads(count)
    if "numba" in sys.modules:
        numba = sys.modules["numba"]
        numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    return count


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Give torch `count` threads for as long as the block lasts."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def size(count: float) -> str:
    """Return a number of bytes in words: ``size(3_500_000) == '3.5 MB'``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def check_space(folder: Path, needed: int) -> None:
    """Raise AtlasError when the disk under `folder` has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise AtlasError(
            f"{folder} needs {size(needed)} and its disk has {size(free)} free: "
            "free some space, run `atlas gc`, or choose another folder with --cache"
        )
