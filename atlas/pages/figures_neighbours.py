"""Rows of nearest images: each query at the left, its neighbours beside it, those with its label framed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atlas.errors import AtlasError
from atlas.pages.figures_sheet import show
from atlas.pages.figures_style import BLUE, FAINT, GREEN, INK, LINE, heading, place, shortened, styled

TILE, GAP, CAPTION, ASIDE = 1.0, 0.1, 0.34, 0.25  # inches: a picture, between, of its words, between query and neighbours
MARGIN, TOP, SHARE = 0.25, 0.85, 0.75  # inches: around, of the title, for the share at the end of a row
LETTERS, FAINT_LETTERS = 15, 20  # of a caption in an inch: of the label, of the smaller line under it


@dataclass(frozen=True)
class Tile:
    """One picture, a Pillow image or uint8 array, its label, a fainter line; whether it has the query's label."""

    picture: Any
    label: str
    words: str
    alike: bool = False


@dataclass(frozen=True)
class Row:
    """A query and its neighbours, the nearest first."""

    query: Tile
    neighbours: Sequence[Tile]

    @property
    def alike(self) -> int:
        """How many neighbours have the query's label."""
        return sum(tile.alike for tile in self.neighbours)


@styled
def neighbour_rows(rows: Sequence[Row], *, title: str, note: str = "") -> Figure:
    """Draw a row per query: the query, its neighbours, at the end how many of them have its label."""
    if not rows:
        raise AtlasError("rows of neighbours of no image: give at least one")
    most = max(len(row.neighbours) for row in rows)
    left = MARGIN + TILE + ASIDE
    width = left + most * (TILE + GAP) + SHARE + MARGIN
    step = TILE + CAPTION + GAP
    figure = Figure(figsize=(max(width, 7.0), TOP + len(rows) * step + MARGIN))
    heading(figure, shortened(title, round(11 * width)), shortened(note, round(16 * width)), left=MARGIN)
    for number, row in enumerate(rows):
        top = TOP + number * step
        _tile(place(figure, MARGIN, top, TILE, TILE), row.query, BLUE)
        for column, tile in enumerate(row.neighbours):
            axes = place(figure, left + column * (TILE + GAP), top, TILE, TILE)
            _tile(axes, tile, GREEN if tile.alike else None)
        at = (left + most * (TILE + GAP) + 0.05) / width if width >= 7.0 else 0.9
        y = 1 - (top + TILE / 2) / figure.get_size_inches()[1]
        share = f"{row.alike} of {len(row.neighbours)}"
        figure.text(at, y, share, fontsize=11, fontweight="bold", color=GREEN if row.alike else FAINT, va="center")
    return figure


def _tile(axes: Axes, tile: Tile, frame: str | None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal")
    for spine in axes.spines.values():
        spine.set(visible=True, color=frame or LINE, linewidth=2.6 if frame else 0.6)
    show(axes, tile.picture)
    style: Any = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top"}
    axes.annotate(shortened(tile.label, round(TILE * LETTERS)), (0, 0), (0, -4), fontsize=8, color=INK, **style)
    axes.annotate(shortened(tile.words, round(TILE * FAINT_LETTERS)), (0, 0), (0, -14), fontsize=7, color=FAINT, **style)
