"""Maps side by side, how a class's spread goes with its mistakes, and what places taken away cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from atlas.errors import AtlasError
from atlas.pages.figures_style import BLUE, FAINT, INK, LINE, VERMILION, bare, heading, place, shortened, styled

MAP, GAP, MARGIN = 3.1, 0.25, 0.2  # inches
TOP, WORDS, LEGEND = 0.7, 0.66, 0.45  # inches: of the heading, above each map, below all
PANEL = 2.5  # inches of a panel of curves or dots
LETTERS = 15  # of small text in an inch
ORDERS = {"most": VERMILION, "random": FAINT, "least": BLUE}


@dataclass(frozen=True)
class Map:
    """One layout to draw: its points, the class of each, a title and lines under it, points to mark."""

    title: str
    xy: np.ndarray  # float [point, 2]
    codes: np.ndarray  # int [point], −1 for none
    notes: Sequence[str] = ()
    marked: np.ndarray = field(default_factory=lambda: np.empty(0, int))  # int [marked]


@styled
def maps_figure(
    rows: Sequence[Sequence[Map]], labels: Sequence[str], colours: Sequence[str], *, title: str, note: str
) -> Figure:
    """Draw layouts in rows, each point in the colour of its class; marked points are ringed.

    `colours` has one more than `labels`, the last for points without a label. No layout raises AtlasError.
    """
    if not rows or not all(rows):
        raise AtlasError("a figure of no maps: give at least one in each row")
    columns = max(map(len, rows))
    step = MAP + WORDS
    figure = Figure(figsize=(2 * MARGIN + columns * (MAP + GAP) - GAP, TOP + len(rows) * step + LEGEND))
    heading(figure, shortened(title, 40 * columns), shortened(note, 55 * columns), left=MARGIN)
    for line, maps in enumerate(rows):
        for column, one in enumerate(maps):
            axes = place(figure, MARGIN + column * (MAP + GAP), TOP + line * step + WORDS - 0.08, MAP, MAP)
            _scatter(axes, one, np.array(colours, object))
    present = np.unique(np.concatenate([one.codes[one.codes >= 0] for maps in rows for one in maps]))
    marks = [Line2D([], [], marker="o", linestyle="", markersize=5, color=colours[c], label=shortened(labels[c], 20))
             for c in present[:20]]  # fmt: skip
    figure.legend(handles=marks, loc="lower left", ncols=10, fontsize=8.5, handletextpad=0.1, columnspacing=1.2,
                  bbox_to_anchor=(MARGIN / figure.get_size_inches()[0], 0.0))  # fmt: skip
    return figure


def _scatter(axes: Axes, one: Map, colours: np.ndarray) -> None:
    bare(axes)
    order = np.random.default_rng(0).permutation(len(one.xy))  # no class lies on top of all others
    xy = np.asarray(one.xy, np.float64)
    size = float(np.clip(12_000 / max(len(xy), 1), 0.4, 8))
    axes.scatter(
        xy[order, 0], xy[order, 1], s=size, c=colours[one.codes[order]].tolist(), linewidths=0, alpha=0.75, rasterized=True
    )
    if len(one.marked):
        axes.scatter(
            xy[one.marked, 0], xy[one.marked, 1], s=9, facecolors="none", edgecolors=INK, linewidths=0.5, rasterized=True
        )
    low, high = np.nanmin(xy, axis=0), np.nanmax(xy, axis=0)
    half = 0.52 * float((high - low).max()) or 1.0
    middle = (low + high) / 2
    axes.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))
    for spine in axes.spines.values():
        spine.set(visible=True, color=LINE, linewidth=0.6)
    lines = [one.title, *one.notes][::-1]
    for number, words in enumerate(lines):
        title: Any = (
            {"fontsize": 9.5, "fontweight": "bold"} if number == len(lines) - 1 else {"fontsize": 7.5, "color": FAINT}
        )
        axes.annotate(shortened(words, 58), (0, 1), (0, 5 + 11.5 * number), "axes fraction",
                      textcoords="offset points", **title)  # fmt: skip


@styled
def against_figure(
    panels: Mapping[str, pd.DataFrame],
    *,
    x: str,
    y: str,
    words: tuple[str, str],
    notes: Mapping[str, str],
    title: str,
    note: str,
) -> Figure:
    """Draw one column of tables against another, a dot and its name per row, a panel per table.

    Each table has the column ``class`` and the columns `x` and `y`; `y` is a share. `notes` stand above each panel.
    """
    wide = PANEL + 0.75
    figure = Figure(figsize=(0.7 + len(panels) * wide, PANEL + 1.75))
    heading(figure, shortened(title, 110), shortened(note, 180))
    highest = max(float(table[y].max()) for table in panels.values())
    for number, (name, table) in enumerate(panels.items()):
        axes = place(figure, 0.7 + number * wide, 1.1, PANEL, PANEL)
        axes.scatter(table[x], table[y], s=22, color=BLUE, zorder=3)
        axes.set_ylim(0, highest * 1.12)
        low, high = float(table[x].min()), float(table[x].max())
        axes.set_xlim(low - 0.08 * (high - low or 1), high + 0.28 * (high - low or 1))
        _names(axes, table[[x, y]].to_numpy(float), [str(name) for name in table["class"]])
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_title(shortened(name, 36), fontsize=9, pad=16)
        axes.annotate(shortened(notes.get(name, ""), 50), (0, 1), (0, 5), "axes fraction", textcoords="offset points",
                      fontsize=7.5, color=FAINT)  # fmt: skip
        axes.set_xlabel(words[0], fontsize=8)
        if not number:
            axes.set_ylabel(words[1], fontsize=8)
        axes.grid(color=LINE, linewidth=0.5)
        axes.set_axisbelow(True)
    return figure


def _names(axes: Axes, at: np.ndarray, names: Sequence[str]) -> None:
    """Write a name beside each dot: to its right or left, above or below, where it meets the fewest dots and names."""
    low, high = np.array([axes.get_xlim(), axes.get_ylim()]).T
    spots = (at - low) / (high - low) * PANEL * 72  # points
    taken = [np.array([x - 4, y - 4, x + 4, y + 4]) for x, y in spots]
    for (x, y), name in sorted(zip(spots.tolist(), names, strict=True)):
        wide = 4.4 * len(shortened(name, 12))
        ways = [
            (5, -3),
            (-5 - wide, -3),
            (-wide / 2, 5),
            (-wide / 2, -12),
            (5, -11),
            (5, 6),
            (-5 - wide, -11),
            (-5 - wide, 6),
        ]
        boxes = [np.array([x + dx, y + dy, x + dx + wide, y + dy + 7]) for dx, dy in ways]
        met = [_overlaps(box, taken) + 2 * bool((box[:2] < 0).any() or (box[2:] > PANEL * 72).any()) for box in boxes]
        best = boxes[int(np.argmin(met))]
        taken.append(best)
        share = (best[:2] + np.array([0, 1])) / (PANEL * 72)
        axes.text(
            float(share[0]),
            float(share[1]),
            shortened(name, 12),
            transform=axes.transAxes,
            fontsize=7,
            color=INK,
            va="bottom",
        )


def _overlaps(box: np.ndarray, taken: Sequence[np.ndarray]) -> int:
    return sum(bool((box[:2] < other[2:]).all() and (other[:2] < box[2:]).all()) for other in taken)


@styled
def removal_figure(tables: Mapping[str, pd.DataFrame], *, title: str, note: str) -> Figure:
    """Draw what is left of the predicted class's probability as places are taken away, a panel per table of `removal`."""
    wide = PANEL + 0.75
    figure = Figure(figsize=(0.7 + max(len(tables), 2) * wide, PANEL + 1.85))
    heading(figure, shortened(title, 90), shortened(note, 130))
    for number, (name, table) in enumerate(tables.items()):
        axes = place(figure, 0.7 + number * wide, 1.25, PANEL, PANEL)
        for order, colour in ORDERS.items():
            mean = table[table["order"] == order].groupby("share")["probability"].mean()
            axes.plot(mean.index, mean, color=colour, marker="o", markersize=4, linewidth=1.6, label=f"{order} first"
                      if order != "random" else "at random")  # fmt: skip
        axes.set_title(shortened(name, 38), fontsize=9)
        axes.set_ylim(0, 1)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel("share of the places taken away", fontsize=8)
        if not number:
            axes.set_ylabel("mean probability of the prediction", fontsize=8)
            axes.legend(fontsize=8, loc="upper right")
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
    return figure
