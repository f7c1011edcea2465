"""A process that has everything imported and compiled, and forks builds of the tiny world that are killed at a moment.

Reads lines ``ROOT SECONDS`` (SECONDS < 0: let it finish) and answers each with ``killed``, ``finished`` or ``failed``.
"""

import os
import select
import signal
import sys
import time
from pathlib import Path

os.environ["NUMBA_THREADING_LAYER"] = "workqueue"  # numba's OpenMP layer ends a process that is forked

from atlas.machine import cap_threads

cap_threads(1)

import atlas  # noqa: E402
from atlas import arguing  # noqa: E402
from atlas.activations import attribution, records  # noqa: E402
from tests import tiny  # noqa: E402

PART = 16  # several parts of so few images


def build(world: Path, root: Path) -> None:
    """One build of the tiny world; its batch size is fixed, for a timed one may differ from build to build."""
    attribution.PASSES = attribution.CHEAP = 0  # all in forward mode: torch runs no backward pass in a forked process
    built = atlas.build(
        tiny.MODEL,
        str(world / "images"),
        cache=root,
        layers=["pool", "act"],
        layouts=["umap:act,epochs=60", "umap:joint,epochs=60", "tsne:act", "pca:act"],
        network={"weights": world / "weights.safetensors"},
        run={"batch_size": 8, "workers": 1},
    )
    arguing.make_all_cells(arguing.attribute(built, batch_size=8), sizes=[2, 4])


def attempt(world: Path, root: Path, seconds: float) -> str:
    """Fork one build and kill it after so many seconds."""
    child = os.fork()
    if child == 0:
        try:
            build(world, root)
            os._exit(0)
        except BaseException as reason:
            sys.stderr.write(f"{reason!r}\n")
            os._exit(1)
    handle = os.pidfd_open(child)
    ended = bool(select.select([handle], [], [], None if seconds < 0 else seconds)[0])
    os.close(handle)
    if not ended:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    return "killed" if os.WIFSIGNALED(status) else "finished" if status == 0 else "failed"


def main() -> None:
    world, scratch = Path(sys.argv[1]), Path(sys.argv[2])
    records.PART = PART
    build(world, scratch)  # compiles what numba compiles
    started = time.monotonic()
    attempt(world, scratch / "again", -1)
    sys.stdout.write(f"{time.monotonic() - started}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        root, seconds = line.rsplit(" ", 1)
        sys.stdout.write(attempt(world, Path(root), float(seconds)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
