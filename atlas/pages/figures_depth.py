"""What a deep network's blocks make of the classes, block by block, and why an unscaled one does not train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter

from atlas.pages.figures_style import (
    BLUE,
    GREEN,
    INK,
    LINE,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    heading,
    place,
    shortened,
    styled,
)

COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
PANEL = 3.3, 2.5  # inches of a panel of lines
SQUARE = 2.7  # of a matrix


@styled
def depth_figure(courses: Mapping[str, pd.DataFrame], *, title: str, note: str) -> Figure:
    """Draw how the measures of `courses` go with depth, a line per network and a panel per measure.

    Each table has one row per block: f_ratio, f_low, f_high (median and middle 80 % over neurons), cosine, read_out. Depth
    is drawn as a share of all blocks, so that networks of different depth can be compared.
    """
    figure = Figure(figsize=(0.85 + 3 * (PANEL[0] + 0.6), PANEL[1] + 1.95))
    heading(figure, title, shortened(note, 170))
    panels = [place(figure, 0.7 + k * (PANEL[0] + 0.6), 1.35, *PANEL) for k in range(3)]
    for (name, table), colour in zip(courses.items(), COLOURS, strict=False):
        depth = (np.arange(len(table)) + 1) / len(table)
        label = f"{name}, {len(table)} blocks"
        panels[0].fill_between(depth, table["f_low"], table["f_high"], color=colour, alpha=0.14, linewidth=0)
        for axes, column in zip(panels, ("f_ratio", "cosine", "read_out"), strict=True):
            axes.plot(depth, table[column], color=colour, linewidth=1.7, label=label)
    words = (
        ("F-ratio: variance between classes over within", "median neuron; band: middle 80 %"),
        ("cosine between the means of two classes", "mean over all pairs"),
        ("accuracy of the output layer read at a block", "all test images"),
    )
    for axes, (name, what) in zip(panels, words, strict=True):
        _lines(axes, name, f"block, as a share of all · {what}")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlim(0, 1)
    panels[0].set_ylim(bottom=0)
    panels[2].set_ylim(0, 1)
    panels[2].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _legend(figure, panels[0], columns=len(courses))
    return figure


def _lines(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title, fontsize=9, color=INK)
    axes.set_xlabel(label, fontsize=8)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _legend(figure: Figure, axes: Axes, *, columns: int) -> None:
    wide, tall = figure.get_size_inches()
    figure.legend(
        *axes.get_legend_handles_labels(), ncols=columns, fontsize=8.5, loc="upper left", handlelength=1.4,
        bbox_to_anchor=(0.06 / wide, 1 - 0.62 / tall),
    )  # fmt: skip


@styled
def matrices_figure(
    rows: Sequence[Mapping[str, np.ndarray]],
    *,
    stat: str,
    title: str,
    note: str,
    names: Sequence[Sequence[str]] | None = None,
    ends: Mapping[str, tuple[float, float]] | None = None,
    axis: str = "",
) -> Figure:
    """Draw rows of square matrices by their titles, on one scale up to 1.

    It begins at −1 for `stat` ``mean``, and for ``std`` at the smallest value of all, rounded down to a tenth.

    `names` label the lines of each row's matrices; else `ends` are the first and last number along one, and `axis` says what
    is counted.
    """
    columns = max(len(row) for row in rows)
    left, gap, step = (1.35, 0.25, SQUARE + 0.42) if names else (0.75, 0.8, SQUARE + 0.85)
    wide = left + columns * SQUARE + (columns - 1) * gap
    figure = Figure(figsize=(max(wide + 0.95, 9.2), 0.6 + step * len(rows) + (0.0 if names else 0.1)))
    heading(figure, title, shortened(note, 170))
    image, least = None, -1.0
    if stat == "std":
        least = np.floor(10 * min(float(np.nanmin(matrix)) for row in rows for matrix in row.values())) / 10
    for row, matrices in enumerate(rows):
        for column, (what, matrix) in enumerate(matrices.items()):
            axes = place(figure, left + column * (SQUARE + gap), 0.95 + row * step, SQUARE, SQUARE)
            low, high = (ends or {}).get(what, (0.0, len(matrix) - 1.0))
            half = (high - low) / max(len(matrix) - 1, 1) / 2
            image = axes.imshow(
                matrix, cmap="RdBu_r" if stat == "mean" else "YlGnBu", norm=Normalize(least, 1.0),
                interpolation="nearest", extent=(low - half, high + half, high + half, low - half),
            )  # fmt: skip
            for spine in axes.spines.values():
                spine.set_visible(False)
            axes.set_title(what, fontsize=8.5, color=INK, fontweight="normal", pad=4)
            _label(axes, names[row] if names else None, axis, first=column == 0)
    if image is not None:
        _bar(figure, image, wide)
    return figure


def _label(axes: Axes, names: Sequence[str] | None, axis: str, *, first: bool) -> None:
    axes.tick_params(length=0 if names else 2, labelsize=7)
    if names is None:
        axes.set_xlabel(axis, fontsize=8)
        axes.set_ylabel(axis, fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        return
    axes.set_xticks([])
    axes.set_yticks(range(len(names)), [shortened(name, 14) for name in names] if first else [])


def _bar(figure: Figure, image: AxesImage, wide: float) -> None:
    bar = figure.colorbar(image, cax=place(figure, wide + 0.2, 0.95, 0.14, SQUARE))
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(nbins=5, steps=[1, 2, 5, 10])
    bar.update_ticks()
    bar.ax.tick_params(length=0)


@styled
def scalings_figure(runs: Mapping[str, Mapping[str, np.ndarray]], *, title: str, note: str) -> Figure:
    """Draw how networks that differ in the scale of their branches train, and how large their streams are with depth.

    Each of `runs` has ``accuracy`` [epoch] on validation images, and ``untrained`` and ``trained`` [block], the stream's
    standard deviation; a run that diverged has fewer epochs, or no trained stream.
    """
    figure = Figure(figsize=(0.85 + 3 * (PANEL[0] + 0.6), PANEL[1] + 1.95))
    heading(figure, title, shortened(f"{note} · deviations on a logarithmic scale".removeprefix(" · "), 190))
    panels = [place(figure, 0.7 + k * (PANEL[0] + 0.6), 1.35, *PANEL) for k in range(3)]
    for (name, run), colour in zip(runs.items(), COLOURS, strict=False):
        epochs = np.arange(len(run["accuracy"])) + 1
        panels[0].plot(epochs, run["accuracy"], color=colour, linewidth=1.7, marker="o", markersize=4, label=name)
        for axes, when in zip(panels[1:], ("untrained", "trained"), strict=True):
            axes.plot(np.arange(len(run[when])), run[when], color=colour, linewidth=1.7)
    _lines(panels[0], "accuracy on validation images", "epoch")
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panels[0].set_ylim(0, 1)
    panels[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    for axes, when in zip(panels[1:], ("before", "after"), strict=True):
        _lines(axes, f"standard deviation of the stream {when} training", "block")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(
            lambda value, position: f"{value:g}"
        )  # powers would be formulas, which we draw none of
    ends = [limit for axes in panels[1:] for limit in axes.get_ylim()]
    for axes in panels[1:]:
        axes.set_ylim(min(ends), max(ends))
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if max(ends) > 1000 * min(ends) else (1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    _legend(figure, panels[0], columns=len(runs))
    return figure
