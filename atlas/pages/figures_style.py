"""How our figures look, and how they are written to a file. No pyplot: a figure belongs to its caller."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atlas.errors import AtlasError, one_line

P = ParamSpec("P")
SUFFIXES = (".png", ".svg", ".pdf", ".webp")
# Okabe and Ito's colours, told apart by every kind of colour vision.
BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, YELLOW = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#56b4e9",
    "#cc79a7",
    "#f0e442",
)
INK, FAINT, LINE, PAPER = "#22262b", "#6b7480", "#d5d9de", "#ffffff"
STYLE: Any = {  # matplotlib types each name of a setting; a plain mapping is enough here
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that a figure looks alike everywhere
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a class called $x$ is a name, no formula
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": "#aeb5bd",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "xtick.color": "#aeb5bd",
    "ytick.color": "#aeb5bd",
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "svg.fonttype": "none",  # text stays text: searchable, and small
    "svg.hashsalt": "atlas",  # the same figure is the same file
    "pdf.fonttype": 42,
    "hatch.linewidth": 0.6,
}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let `draw` make its figure in our style, and leave matplotlib's settings as they were."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def save(figure: Figure, path: str | Path) -> Path:
    """Write `figure` to `path` as its suffix says: one of SUFFIXES; return the path."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise AtlasError(
            f"{one_line(path.name)} is no picture file that can be written: end its name in {', '.join(SUFFIXES)}"
        )
    if not path.parent.is_dir():
        raise AtlasError(
            f"{one_line(path.parent)} is no folder to write {one_line(path.name)} in: create it or choose another"
        )
    kind = path.suffix.lower()[1:]
    dates: dict[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}  # same figure, same bytes
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing")  # a name in a script without a font here
        # Text and flat colours are smaller without loss than as PNG. Other formats know no such word.
        lossless: dict[str, Any] = {"pil_kwargs": {"lossless": True}} if kind == "webp" else {}
        figure.savefig(path, format=kind, metadata=dates.get(kind), **lossless)
    return path


def heading(figure: Figure, title: str, note: str = "", *, inches_from_top: float = 0.16, left: float = 0.16) -> None:
    """Write a title at the top left of `figure`, `left` inches from its edge, and a fainter note under it."""
    width, height = figure.get_size_inches()
    left /= width
    figure.text(left, 1 - inches_from_top / height, title, ha="left", va="top", fontsize=12, fontweight="bold")
    if note:
        figure.text(left, 1 - (inches_from_top + 0.25) / height, note, ha="left", va="top", fontsize=8.5, color=FAINT)


def bare(axes: Axes) -> Axes:
    """Take spines and ticks off `axes`."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes to `figure` at `left`, `top` (from the top) of `width` × `height`, all in inches."""
    whole_width, whole_height = figure.get_size_inches()
    bounds = (left / whole_width, 1 - (top + height) / whole_height, width / whole_width, height / whole_height)
    return figure.add_axes(bounds)


def shortened(text: object, limit: int) -> str:
    """Return `text` on one line of at most `limit` characters, the end cut off with an ellipsis."""
    return one_line(str(text), limit)
