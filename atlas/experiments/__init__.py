"""The experiments: each one short script on the public API, run by `atlas demo NAME`, read as docs/experiments/NAME.md."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.errors import AtlasError, choose
from atlas.progress import Progress

if TYPE_CHECKING:
    from atlas.atlas import Atlas

EXPERIMENTS = {  # module of this package → what it asks; one function `run(Setting) -> Atlas` each
    "activations": "what one image does inside a network, and whether its pattern breaks before the prediction does",
    "atlas": "what a map of activations answers: classes, islands of mistakes, paths, positions, unusual associations",
    "faces": "two networks that tell female from male faces: what they answer to, and who is near whom",
    "patterns": "class activation patterns of very deep residual networks, and what lets such networks train",
    "volume": "layers as a volume, what each level keeps of the image and of its class, and which unit does what",
}
OWN_IMAGES = ("volume",)  # experiments that run on a user's own labelled photographs too


@dataclass(frozen=True)
class Setting:
    """Where and how an experiment runs."""

    cache: Path  # of atlases and datasets
    out: Path  # the folder of its figures and tables
    quick: bool  # fewer images, under two minutes
    progress: Progress
    say: Callable[[str], Any]
    images: str | None = None  # the user's own, a folder or table; None: the experiment's

    def folder(self, name: str) -> Path:
        """Return the folder of an atlas of the experiment's own; a quick one is kept apart."""
        return self.cache / (f"{name}-quick" if self.quick else name)


def run(
    name: str,
    *,
    cache: str | os.PathLike[str] = "cache",
    out: str | os.PathLike[str] | None = None,
    quick: bool = False,
    images: str | None = None,
    progress: Progress | None = None,
    say: Callable[[str], Any] = lambda line: None,
) -> Atlas:
    """Run one experiment: its atlas is built, or used where it stands, its figures are written; return the atlas.

    `out` is the folder of the figures, by default ``experiments/NAME`` in the cache; `images` the user's own photographs, of
    those experiments that take them. An unknown name raises AtlasError.
    """
    if name not in EXPERIMENTS:
        raise choose("experiment", name, EXPERIMENTS)
    if images is not None and name not in OWN_IMAGES:
        raise AtlasError(f"experiment {name} runs on its own images, and --images is for {', '.join(OWN_IMAGES)}")
    folder = Path(out) if out is not None else Path(cache) / "experiments" / (f"{name}-quick" if quick else name)
    folder.mkdir(parents=True, exist_ok=True)
    module = importlib.import_module(f"atlas.experiments.{name}")
    opened: Atlas = module.run(Setting(Path(cache), folder, quick, progress or Progress(), say, images))
    say(f"figures and tables:  {folder}\nlook at it:          atlas serve {opened.store.root}")
    return opened


def markdown_tables(*tables: Sequence[Sequence[str]]) -> str:
    """Return tables, each a list of rows with the heading first, as Markdown."""
    written = []
    for table in tables:
        lines = ["| " + " | ".join(row) + " |" for row in table]
        written.append("\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]]))
    return "\n\n".join(written)
