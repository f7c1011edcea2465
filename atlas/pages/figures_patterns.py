"""Class patterns as a heatmap: classes down, units across, one scale for all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from atlas.errors import AtlasError, choose
from atlas.pages.figures_style import FAINT, INK, STYLE, heading, place, shortened, styled

STATS = {"mean": ("RdBu_r", "mean activation"), "std": ("YlGnBu", "standard deviation")}
BORDERED = 100  # units: up to here a cell is wide enough to have a border
CLIP = 0.995  # where a few values stand far out, the scale ends at this quantile of the sizes and says so
FAR = 1.5  # times that quantile is far out
WIDE = 8.4  # inches of the heatmap


@styled
def patterns_heatmap(
    values: np.ndarray,
    names: Sequence[str],
    *,
    stat: str = "mean",
    title: str = "",
    count: Sequence[int] | np.ndarray | None = None,
) -> Figure:
    """Draw class patterns `values` [class, unit] of the classes `names`: ``mean`` or ``std``.

    All classes share one scale: for means symmetric about zero, for standard deviations from zero up. A class without
    images (all NaN, or a `count` of 0) is hatched. `count` [class] is the number of images behind each row.
    """
    values = _checked(values, names, stat)
    empty = ~np.isfinite(values).any(1) if count is None else np.asarray(count) == 0
    classes, units = values.shape
    height = float(np.clip(0.32 * classes, 1.4, 9.0))
    left = 0.35 + 0.075 * min(24, max(len(_label(n, c)) for n, c in _rows(names, count)))
    figure = Figure(figsize=(left + WIDE + 1.25, height + 1.38))
    per = -(-units // pixels(WIDE))  # units that share a column
    shared = f", {per} per column, the largest in size shown" if per > 1 else ""
    note = f"{STATS[stat][1]} · {classes} classes × {units} units{shared} · one scale for all"
    heading(figure, title or "Class patterns", note + (f" · hatched: no images ({int(empty.sum())})" if empty.any() else ""))
    axes = place(figure, left, 0.8, WIDE, height)
    image = _draw(axes, np.where(empty[:, None], np.nan, values), stat, per)
    _hatch(axes, np.flatnonzero(empty), units)
    _name_rows(axes, _rows(names, count), height)
    colour_bar(figure, image, values, place(figure, left + WIDE + 0.2, 0.8, 0.14, height), stat)
    return figure


def _checked(values: np.ndarray, names: Sequence[str], stat: str) -> np.ndarray:
    if stat not in STATS:
        raise choose("statistic", stat, STATS)
    values = np.asarray(values, float)
    if values.ndim != 2 or len(values) != len(names) or values.size == 0:
        raise AtlasError(f"patterns of shape {values.shape} for {len(names)} classes: give [class, unit], one row per class")
    return values


def scale(values: np.ndarray, stat: str) -> tuple[float, float, bool]:
    """Return the lower and upper end of the colour scale, and whether values lie beyond it."""
    sizes = np.abs(values[np.isfinite(values)])
    if sizes.size == 0 or sizes.max() == 0:
        return (-1.0 if stat == "mean" else 0.0), 1.0, False
    limit, most = float(np.quantile(sizes, CLIP)), float(sizes.max())
    clipped = 0 < limit < most / FAR
    end = limit if clipped else most
    return (-end if stat == "mean" else 0.0), end, clipped


def pixels(inches: float) -> int:
    """Return how many pixels our pictures have across `inches`."""
    return int(inches * STYLE["savefig.dpi"])


def extremes(values: np.ndarray, per: int) -> np.ndarray:
    """Return [class, column]: of each `per` neighbouring units the value largest in size, NaN where all are NaN."""
    classes, units = values.shape
    padded = np.pad(values, ((0, 0), (0, -units % per)), constant_values=np.nan).reshape(classes, -1, per)
    largest = np.where(np.isnan(padded), -1.0, np.abs(padded)).argmax(2)
    return np.take_along_axis(padded, largest[..., None], 2)[..., 0]


def _draw(axes: Axes, values: np.ndarray, stat: str, per: int) -> AxesImage:
    low, high, _ = scale(values, stat)
    classes, units = values.shape
    drawn = extremes(values, per)  # done here: matplotlib would blend units, and with them the classes above and below
    bounds = (-0.5, drawn.shape[1] * per - 0.5, classes - 0.5, -0.5)
    image = axes.imshow(
        drawn, cmap=STATS[stat][0], norm=Normalize(low, high), aspect="auto", interpolation="nearest", extent=bounds
    )
    for spine in axes.spines.values():
        spine.set_visible(False)
    if units <= BORDERED:
        axes.vlines(np.arange(units + 1) - 0.5, -0.5, classes - 0.5, color="white", linewidth=0.8)
    if classes <= BORDERED:
        axes.hlines(np.arange(classes + 1) - 0.5, -0.5, units - 0.5, color="white", linewidth=1.2 if classes <= 30 else 0.4)
    axes.set_xlabel("unit")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=16, min_n_ticks=1))
    axes.set_xlim(-0.5, units - 0.5)
    axes.set_ylim(classes - 0.5, -0.5)
    return image


def _hatch(axes: Axes, rows: np.ndarray, units: int) -> None:
    for row in rows:
        box = Rectangle((-0.5, row - 0.42), units, 0.84, facecolor="#f4f5f6", edgecolor="#b9c0c8", hatch="////", linewidth=0)
        box.set_zorder(3)
        axes.add_patch(box)
        words = axes.text((units - 1) / 2, row, "no images", ha="center", va="center", fontsize=8, color=FAINT, zorder=4)
        words.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.5})


def _rows(names: Sequence[str], count: Sequence[int] | np.ndarray | None) -> list[tuple[str, int | None]]:
    return [(name, None if count is None else int(count[row])) for row, name in enumerate(names)]


def _label(name: str, count: int | None) -> str:
    return shortened(name, 24 if count is None else 17) + ("" if count is None else f"  {count:,}".replace(",", " "))


def _name_rows(axes: Axes, rows: Sequence[tuple[str, int | None]], height: float) -> None:
    """Name every row, or every n-th where all would overlap."""
    step = max(1, int(np.ceil(len(rows) * 0.13 / height)))  # a line of text takes 0.13 inches
    shown = range(0, len(rows), step)
    axes.set_yticks(list(shown), [_label(*rows[row]) for row in shown], color=INK, fontsize=8.5 if len(rows) <= 40 else 7)
    axes.tick_params(axis="both", length=0)


def colour_bar(figure: Figure, image: AxesImage, values: np.ndarray, axes: Axes, stat: str) -> None:
    """Draw the scale that all of `values` share on `axes`, with what lies beyond its end."""
    clipped = scale(values, stat)[2]
    bar = figure.colorbar(image, cax=axes, extend=("both" if stat == "mean" else "max") if clipped else "neither")
    bar.outline.set_visible(False)
    most = f" (largest size: {np.nanmax(np.abs(values)):.3g})" if clipped else ""
    bar.set_label(STATS[stat][1] + most, color=FAINT)
    bar.locator = MaxNLocator(nbins=5, symmetric=stat == "mean")
    bar.update_ticks()
    axes.tick_params(length=0)
