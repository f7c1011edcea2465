"""Each class across the layers of a deep network: blocks along x, units along y, a panel per class, one scale for all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from atlas.errors import AtlasError, choose
from atlas.pages.figures_patterns import STATS, colour_bar, extremes, pixels, scale
from atlas.pages.figures_style import FAINT, INK, heading, place, shortened, styled

MOST = 60  # classes drawn: beyond, a panel is too small to be read
WIDE, TALL = 10.6, 7.6  # inches of all panels together
LEFT, TOP, GAP_X, GAP_Y = 0.62, 0.98, 0.28, 0.3


@styled
def blocks_heatmap(
    values: np.ndarray,
    names: Sequence[str],
    *,
    stat: str = "mean",
    title: str = "",
    note: str = "",
    count: Sequence[int] | np.ndarray | None = None,
) -> Figure:
    """Draw class patterns `values` [class, block, unit] of the classes `names`: ``mean`` or ``std``.

    All panels share one scale: for means symmetric about zero, for standard deviations from zero up. Where several blocks
    or units share a pixel the largest in size is shown. `count` [class] is the number of images behind each panel.
    """
    values = _checked(values, names, stat)
    classes, blocks, units = values.shape
    shown = min(classes, MOST)
    columns = 1 if shown == 1 else 2 if shown <= 10 else math.ceil(math.sqrt(shown / 1.6))
    rows = -(-shown // columns)
    wide = (WIDE - GAP_X * (columns - 1)) / columns
    tall = min(1.5, (TALL - GAP_Y * (rows - 1)) / rows)
    height = rows * tall + (rows - 1) * GAP_Y
    figure = Figure(figsize=(LEFT + WIDE + 1.15, TOP + height + 0.55))
    told = f"{STATS[stat][1]} of {units} units in {blocks} blocks · one scale for all {classes} classes"
    told += f" · {shown} of {classes} classes are drawn" if shown < classes else ""
    heading(figure, shortened(title or "Classes across blocks", 126), told + (f" · {note}" if note else ""))
    image = None
    for number in range(shown):
        row, column = divmod(number, columns)
        axes = place(figure, LEFT + column * (wide + GAP_X), TOP + row * (tall + GAP_Y), wide, tall)
        drawn = _panel(axes, values[number], stat, scale(values, stat), (wide, tall))
        image = image or drawn
        own = None if count is None else int(count[number])
        _words(axes, names[number], own, empty=own == 0 or bool(np.isnan(values[number]).all()))
        _ends(axes, bottom=number + columns >= shown, left=column == 0)
    assert image is not None  # there is a class, or `_checked` had refused
    colour_bar(figure, image, values, place(figure, LEFT + WIDE + 0.2, TOP, 0.14, min(height, 4.0)), stat)
    return figure


def _checked(values: np.ndarray, names: Sequence[str], stat: str) -> np.ndarray:
    if stat not in STATS:
        raise choose("statistic", stat, STATS)
    values = np.asarray(values, float)
    if values.ndim != 3 or len(values) != len(names) or values.size == 0:
        raise AtlasError(f"patterns of shape {values.shape} for {len(names)} classes: give [class, block, unit]")
    return values


def fitted(values: np.ndarray, room: tuple[float, float]) -> np.ndarray:
    """Return [unit, block] of values [block, unit] with at most a value per pixel of `room`, (wide, tall) in inches."""
    wide, tall = (pixels(inches) for inches in room)
    blocks, units = values.shape
    fewer = extremes(values, -(-units // tall))
    return extremes(fewer.T, -(-blocks // wide))


def _panel(
    axes: Axes, values: np.ndarray, stat: str, ends: tuple[float, float, bool], room: tuple[float, float]
) -> AxesImage:
    blocks, units = values.shape
    axes.set_facecolor("#f4f5f6")
    image = axes.imshow(
        fitted(values, room), cmap=STATS[stat][0], norm=Normalize(*ends[:2]), aspect="auto", interpolation="nearest",
        extent=(-0.5, blocks - 0.5, units - 0.5, -0.5),
    )  # fmt: skip
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image


def _words(axes: Axes, name: str, count: int | None, *, empty: bool) -> None:
    many = "" if count is None else f"   {count:,} images".replace(",", " ")
    axes.set_title(shortened(name, 28) + many, fontsize=8.5, color=INK, fontweight="normal", pad=3)
    if empty:
        axes.text(0.5, 0.5, "no images", transform=axes.transAxes, ha="center", va="center", color=FAINT)


def _ends(axes: Axes, *, bottom: bool, left: bool) -> None:
    """Label the outer panels' axes; all have the same."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=3, min_n_ticks=1))
    axes.tick_params(length=2, labelsize=7.5, labelbottom=bottom, labelleft=left)
    if bottom:
        axes.set_xlabel("block", fontsize=8.5)
    if left:
        axes.set_ylabel("unit", fontsize=8.5)
