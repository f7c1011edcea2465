"""A progress that keeps what the user is told."""

from __future__ import annotations

from atlas.progress import Progress


class Heard(Progress):
    """Every note, in order, in `lines`."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)
