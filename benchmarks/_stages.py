"""A progress that remembers when each stage began and ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from atlas.progress import LogProgress
from benchmarks.measure import tell


class Stages(LogProgress):
    """Tells the stages on standard error and remembers their times, of `time.monotonic`; notes too."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[tuple[str, float, float]] = []
        self.notes: list[str] = []

    @contextmanager
    def show(self, name: str, total: int | None) -> Iterator:  # type: ignore[type-arg]
        """Remember one stage."""
        began = time.monotonic()
        with super().show(name, total) as advance:
            yield advance
        self.spans.append((name, began, time.monotonic()))

    def note(self, line: str) -> None:
        """Remember one line."""
        self.notes.append(line)
        tell(line)

    @property
    def names(self) -> list[str]:
        """The stages in the order in which they ended."""
        return [name for name, _, _ in self.spans]

    def span(self, name: str) -> tuple[float, float]:
        """Return when a stage began and ended."""
        return next((began, ended) for found, began, ended in self.spans if found == name)
