"""How long work tells where it stands: a bar per stage on a terminal, plain lines in a log, nothing in a library call."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

Advance = Callable[[int], None]


class Progress:
    """Says nothing; the parent of those that do. Every long function takes one and defaults to this."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """Open the stage `name` of `total` steps; the value called with a number moves it on by that many."""
        started = time.monotonic()
        with self.show(name, total) as advance:
            yield advance
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started

    @contextmanager
    def show(self, name: str, total: int | None) -> Iterator[Advance]:
        """Show one stage; what a kind of progress has to override."""
        yield lambda count: None

    def note(self, line: str) -> None:
        """Tell the user one line beside the bars: a count of what was left out, a warning."""


class LogProgress(Progress):
    """Plain lines: one when a stage starts, at most one each `every` seconds while it runs, one when it ends."""

    def __init__(self, stream: TextIO | None = None, every: float = 10.0) -> None:
        super().__init__()
        self.stream, self.every = stream or sys.stderr, every

    @contextmanager
    def show(self, name: str, total: int | None) -> Iterator[Advance]:
        started = last = time.monotonic()
        done = 0

        def advance(count: int) -> None:
            nonlocal done, last
            done += count
            if total and time.monotonic() - last >= self.every:
                last = time.monotonic()
                self.note(f"{name}: {100 * done // total} % ({done} of {total})")

        yield advance
        self.note(f"{name}: {time.monotonic() - started:.1f} s")

    def note(self, line: str) -> None:
        self.stream.write(line + "\n")
        self.stream.flush()


class TerminalProgress(Progress):
    """A rich bar per stage, kept on the screen when it is done, with the seconds it took."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        super().__init__()
        self.bars = Bars(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self.open_stages = 0

    @contextmanager
    def show(self, name: str, total: int | None) -> Iterator[Advance]:
        if self.open_stages == 0:
            self.bars.start()
        self.open_stages += 1
        task = self.bars.add_task(name, total=total)
        try:
            yield lambda count: self.bars.advance(task, count)
            shown = self.bars.tasks[self.bars.task_ids.index(task)]
            self.bars.update(task, total=shown.total or shown.completed or 1, completed=shown.total or shown.completed or 1)
        finally:
            self.bars.stop_task(task)
            self.open_stages -= 1
            if self.open_stages == 0:
                self.bars.stop()
                for finished in list(self.bars.task_ids):
                    self.bars.remove_task(finished)

    def note(self, line: str) -> None:
        self.bars.console.print(line, markup=False, highlight=False)


def for_stream(stream: TextIO | None = None) -> Progress:
    """Return bars when `stream` (default: standard error) is a terminal, else plain lines."""
    stream = stream or sys.stderr
    return TerminalProgress() if stream.isatty() else LogProgress(stream)
