"""Workers side by side: results in order, one line when one is ended from outside, nothing left running."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from atlas.errors import AtlasError
from atlas.pool import run_all
from atlas.progress import Progress
from tests.heard import Heard


def work(number: int, *, progress: Progress) -> tuple[int, str | None]:
    with progress.stage(f"stage {number}", 2) as advance:
        advance(2)
    progress.note(f"done {number}")
    return number * number, os.environ.get("OMP_NUM_THREADS")


def die(number: int, *, progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(number: int, *, progress: Progress) -> None:
    raise AtlasError(f"task {number} cannot be done")


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_every_stage_is_told(workers):
    heard = Heard()
    found = run_all([(work, (n,)) for n in range(4)], workers=workers, progress=heard)
    assert [square for square, _ in found] == [0, 1, 4, 9] and {threads for _, threads in found} == {"1"}
    assert sorted(heard.lines) == [f"done {n}" for n in range(4)]
    assert set(heard.seconds) == {f"stage {n}" for n in range(4)}


def test_a_worker_that_is_killed_is_one_clear_line():
    tasks: list[Any] = [(work, (1,)), (die, (2,))]
    with pytest.raises(AtlasError, match="ended from outside, most likely for want of memory"):
        run_all(tasks, workers=2, progress=Progress())


def test_a_mistake_in_a_worker_is_the_users_one_line():
    with pytest.raises(AtlasError, match="task 2 cannot be done"):
        run_all([(work, (1,)), (fail, (2,))], workers=2, progress=Progress())
