"""The experiments: each one short script on the public API, run by `atlas demo NAME`, read as docs/experiments/NAME.md."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.errors import choose
from atlas.progress import Progress

if TYPE_CHECKING:
    from atlas.atlas import Atlas

EXPERIMENTS = {  # module of this package → what it asks; one function `run(Setting) -> Atlas` each
    "activations": "what one image does inside a network, and whether its pattern breaks before the prediction does",
    "patterns": "class activation patterns of very deep residual networks, and what lets such networks train",
}


@dataclass(frozen=True)
class Setting:
    """Where and how an experiment runs."""

    cache: Path  # of atlases and datasets
    out: Path  # the folder of its figures and tables
    quick: bool  # fewer images, under two minutes
    progress: Progress
    say: Callable[[str], Any]

    def folder(self, name: str) -> Path:
        """Return the folder of an atlas of the experiment's own; a quick one is kept apart."""
        return self.cache / (f"{name}-quick" if self.quick else name)


def run(
    name: str,
    *,
    cache: str | os.PathLike[str] = "cache",
    out: str | os.PathLike[str] | None = None,
    quick: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], Any] = lambda line: None,
) -> Atlas:
    """Run one experiment: its atlas is built, or used where it stands, its figures are written; return the atlas.

    `out` is the folder of the figures, by default ``experiments/NAME`` in the cache. An unknown name raises AtlasError.
    """
    if name not in EXPERIMENTS:
        raise choose("experiment", name, EXPERIMENTS)
    folder = Path(out) if out is not None else Path(cache) / "experiments" / (f"{name}-quick" if quick else name)
    folder.mkdir(parents=True, exist_ok=True)
    module = importlib.import_module(f"atlas.experiments.{name}")
    opened: Atlas = module.run(Setting(Path(cache), folder, quick, progress or Progress(), say))
    say(f"figures and tables:  {folder}\nlook at it:          atlas serve {opened.store.root}")
    return opened


def markdown_tables(*tables: Sequence[Sequence[str]]) -> str:
    """Return tables, each a list of rows with the heading first, as Markdown."""
    written = []
    for table in tables:
        lines = ["| " + " | ".join(row) + " |" for row in table]
        written.append("\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]]))
    return "\n\n".join(written)
