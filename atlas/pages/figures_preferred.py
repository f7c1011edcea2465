"""Preferred inputs as a sheet: each unit's pictures, beside the real images that excite it from most to middling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atlas.pages.figures_sheet import CRISP, WRONG
from atlas.pages.figures_style import BLUE, FAINT, INK, heading, place, shortened, styled

BIG, SMALL, GAP, MARGIN = 1.5, 0.9, 0.12, 0.25  # inches: of a synthesised picture, of a real image
WORDS = 2.1  # inches of the words at the left
TOP = 0.95  # inches above the first row


@dataclass(frozen=True)
class Row:
    """One unit: words about it, its pictures with a caption each, real images with a caption each."""

    title: str
    words: Sequence[str]
    pictures: Sequence[tuple[Any, str]]
    real: Sequence[tuple[Any, str]]
    failed: bool = False


@styled
def preferred_sheet(rows: Sequence[Row], *, title: str, note: str = "") -> Figure:
    """Draw one line per unit: its preferred inputs large, real images that excite it smaller beside them.

    Pictures are Pillow images or uint8 arrays [y, x] or [y, x, rgb]; a unit that failed has its words in red.
    """
    pictures, real = max(len(row.pictures) for row in rows), max(len(row.real) for row in rows)
    start = MARGIN + WORDS
    width = start + pictures * (BIG + GAP) + 0.2 + real * (SMALL + GAP) + MARGIN
    step = BIG + 0.42
    figure = Figure(figsize=(max(width, MARGIN + 0.085 * max(len(title) * 1.25, len(note))), TOP + len(rows) * step))
    heading(figure, shortened(title, 110), shortened(note, 190), left=MARGIN)
    for number, row in enumerate(rows):
        top = TOP + number * step
        _words(place(figure, MARGIN, top, WORDS - 0.2, BIG), row)
        for column, (picture, caption) in enumerate(row.pictures):
            _tile(place(figure, start + column * (BIG + GAP), top, BIG, BIG), picture, caption, frame=BLUE)
        left = start + pictures * (BIG + GAP) + 0.2
        for column, (picture, caption) in enumerate(row.real):
            _tile(place(figure, left + column * (SMALL + GAP), top + (BIG - SMALL) / 2, SMALL, SMALL), picture, caption)
    return figure


def _words(axes: Axes, row: Row) -> None:
    axes.set_axis_off()
    axes.text(0, 1, shortened(row.title, 26), va="top", fontsize=10.5, fontweight="bold", color=INK)
    for number, line in enumerate(row.words):
        colour = WRONG if row.failed and number == len(row.words) - 1 else FAINT
        axes.text(0, 0.83 - 0.13 * number, shortened(line, 34), va="top", fontsize=8, color=colour)


def _tile(axes: Axes, picture: Any, caption: str, *, frame: str | None = None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, color=frame or "#e3e6ea", linewidth=1.6 if frame else 0.6)
    height, width = picture.shape[:2]
    edge = max(height, width)
    axes.set_facecolor("#f4f5f6")
    axes.imshow(
        picture, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0),
        interpolation="nearest" if edge < CRISP else "antialiased",
    )  # fmt: skip
    axes.set_xlim((width - edge) / 2, (width + edge) / 2)
    axes.set_ylim((height + edge) / 2, (height - edge) / 2)
    axes.annotate(caption, (0, 0), (0, -4), "axes fraction", textcoords="offset points", va="top", fontsize=7, color=FAINT)
