"""What features do, drawn: levels by depth, properties observed and swept, what units answer to, linear probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from atlas.data import stimuli
from atlas.data.disturbing import Disturbance
from atlas.data.sweeping import AS_IT_IS
from atlas.pages.figures_style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    LINE,
    ORANGE,
    VERMILION,
    bare,
    heading,
    place,
    shortened,
    styled,
)

LEFT, TOP = 0.3, 1.0  # inches
CONTROL = "#b7bec6"  # of a bar that is held against the others


def _grid(count: int, across: int, each: tuple[float, float], gaps: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Return a figure of axes in rows of `across`, each so many inches wide and high, with gaps between."""
    (wide, tall), (gap, down) = each, gaps
    rows = -(-count // across)
    figure = Figure(figsize=(LEFT + 0.35 + across * (wide + gap), TOP + rows * (tall + down)))
    axes = [
        place(figure, LEFT + 0.35 + number % across * (wide + gap), TOP + number // across * (tall + down), wide, tall)
        for number in range(count)
    ]
    return figure, axes


@styled
def levels_figure(tables: Mapping[str, pd.DataFrame], *, title: str, note: str = "") -> Figure:
    """Draw what `atlas.levelling.levels` found, three axes per network: the input, its edges, the classes."""
    figure, axes = _grid(3 * len(tables), 3, (3.6, 1.9), (0.55, 1.0))
    heading(figure, title, note, left=LEFT)
    for row, (name, table) in enumerate(tables.items()):
        layers = table[table["number"] > 0]
        at = np.arange(len(layers))
        for number, (what, words) in enumerate((("brightness", "the input's brightness"), ("edges", "the input's edges"))):
            one = axes[3 * row + number]
            one.plot(at, layers[what], "o-", color=BLUE, label="its own input")
            one.plot(at, layers[f"{what}_other"], "o--", color=FAINT, label="another image's", markersize=3, linewidth=1)
            one.set_ylim(0, 1)
            one.set_title(f"{shortened(name, 30)}: {words}", fontsize=8.5)
            one.set_ylabel("largest |correlation|", fontsize=8)
            _depth(one, layers["layer"])
        one, whole = axes[3 * row + 2], np.arange(len(table))
        for what, colour, words in (("silhouette", ORANGE, "silhouette"), ("neighbours", GREEN, "5 neighbours' vote")):
            one.plot(whole, table[what], "o-", color=colour, label=words)
        one.set_title(f"{shortened(name, 30)}: the classes", fontsize=8.5)
        one.axhline(0, color=LINE, linewidth=0.8, zorder=0)
        one.set_ylim(min(-0.1, table["silhouette"].min() - 0.05), 1)
        _depth(one, table["layer"])
        for each in axes[3 * row : 3 * row + 3]:
            each.legend(fontsize=7, loc="best")
    return figure


def _depth(axes: Axes, layers: Sequence[str] | pd.Series) -> None:
    names = list(layers)
    axes.set_xticks(range(len(names)), [shortened(name, 16) for name in names], rotation=30, ha="right", fontsize=7)
    axes.tick_params(axis="y", labelsize=7.5)


@styled
def effects_figure(bins: pd.DataFrame, *, title: str, note: str = "") -> Figure:
    """Draw accuracy and confidence by bins of each property that varies, as `atlas.sweeping.effects` has them."""
    varies = bins.groupby("property", sort=False).agg(low=("low", "min"), high=("high", "max"))
    names = list(varies.index[varies["high"] > varies["low"]])  # one that is the same for all images says nothing
    figure, axes = _grid(len(names), 4, (2.3, 1.6), (0.55, 0.75))
    heading(figure, title, note, left=LEFT)
    for one, name in zip(axes, names, strict=True):
        own = bins[bins["property"] == name].reset_index(drop=True)
        at = (own["low"] + own["high"]) / 2
        if "accuracy" in own:
            one.fill_between(at, own["accuracy_low"], own["accuracy_high"], color=BLUE, alpha=0.15, linewidth=0)
            one.plot(at, own["accuracy"], "o-", color=BLUE, label="accuracy", markersize=4)
        one.plot(at, own["confidence"], "s--", color=ORANGE, label="confidence", markersize=3.5, linewidth=1)
        one.set_ylim(0, 1.02)
        one.yaxis.set_major_formatter(PercentFormatter(1))
        one.tick_params(labelsize=7.5)
        one.set_title(name.replace("_", " "), fontsize=9)
    axes[0].legend(fontsize=7.5, loc="best")
    return figure


@styled
def sweeps_figure(found: pd.DataFrame, kinds: Sequence[Disturbance], *, title: str, note: str = "") -> Figure:
    """Draw accuracy, predictions kept and confidence as one property is changed, as `atlas.sweeping.summary` has them."""
    figure, axes = _grid(len(kinds), 3, (3.2, 1.75), (0.55, 0.95))
    heading(figure, title, note, left=LEFT)
    for one, kind in zip(axes, kinds, strict=True):
        own = found[found["kind"] == kind.name].sort_values("strength")
        at = np.arange(len(own))
        neutral = AS_IT_IS.get(kind.name, 1.0)
        one.axvline(int((own["strength"] < neutral).sum()), color=LINE, linewidth=5, zorder=0)
        for name, colour, words in (("accuracy", BLUE, "accuracy"), ("kept", GREEN, "prediction kept"),
                                    ("confidence", ORANGE, "confidence")):  # fmt: skip
            if own[name].notna().any():
                one.plot(at, own[name].astype(float), "o-", color=colour, label=words, markersize=3.5)
        one.set_xticks(at, [f"{value:g}" for value in own["strength"]], fontsize=7.5)
        one.set_ylim(0, 1.02)
        one.yaxis.set_major_formatter(PercentFormatter(1))
        one.tick_params(axis="y", labelsize=7.5)
        one.set_title(kind.name, fontsize=9)
        one.set_xlabel(f"{kind.measure}; grey: unchanged", fontsize=7.5)
    axes[0].legend(fontsize=7.5, loc="best")
    return figure


@styled
def shares_figure(
    shares: Mapping[str, Mapping[str, Sequence[float]]], names: Sequence[str], *, title: str, note: str = ""
) -> Figure:
    """Draw shares by layer as bars side by side: one axes for each question, {question: {which: [layer]}}."""
    figure, axes = _grid(len(shares), len(shares), (3.1, 2.0), (0.5, 1.05))
    heading(figure, title, note, left=LEFT)
    for one, (question, groups) in zip(axes, shares.items(), strict=True):
        wide = 0.8 / len(groups)
        for number, (words, values) in enumerate(groups.items()):
            at = np.arange(len(names)) - 0.4 + wide * (number + 0.5)
            one.bar(at, values, width=wide * 0.92, color=CONTROL if number else BLUE, label=words)
        one.set_title(question, fontsize=8.5)
        one.set_ylim(0, 1)
        one.yaxis.set_major_formatter(PercentFormatter(1))
        _depth(one, names)
    axes[0].legend(fontsize=7.5, loc="upper left")
    return figure


@styled
def probes_figure(rows: Sequence[Mapping[str, Any]], *, title: str, note: str = "") -> Figure:
    """Draw the accuracy of linear probes with their intervals: rows of name, accuracy, low, high, chance and control."""
    figure = Figure(figsize=(9.2, TOP + 0.32 * len(rows) + 0.6))
    heading(figure, title, note, left=LEFT)
    axes = place(figure, 4.2, TOP, 4.6, 0.32 * len(rows))
    for number, row in enumerate(rows):
        colour = CONTROL if row.get("control") else BLUE
        axes.barh(number, row["accuracy"], height=0.66, color=colour)
        axes.plot([row["low"], row["high"]], [number, number], color=INK, linewidth=1.2)
        axes.text(row["high"] + 0.012, number, f"{row['accuracy']:.1%}", va="center", fontsize=8, color=INK)
    axes.axvline(rows[0]["chance"], color=VERMILION, linewidth=1, linestyle=(0, (3, 2)))
    axes.set_yticks(range(len(rows)), [shortened(row["name"], 60) for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.08)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("accuracy; line: 95 % interval; dashed: chance; grey: controls", fontsize=8)
    axes.tick_params(axis="y", length=0)
    return figure


@styled
def tuned_figure(
    rows: Sequence[Mapping[str, Any]], images: np.ndarray, orientations: np.ndarray, hues: np.ndarray, *, title: str,
    note: str = "",
) -> Figure:  # fmt: skip
    """Draw units side by side: what each answers to by angle, the stimulus it prefers, and its preferred input.

    rows: unit, ``kind`` (orientation or hue), ``answers`` [angle], preferred ``angle``, ``index``, ``cycles``, ``words``;
    images uint8 [row, y, x, rgb].
    """
    across, each = 4, 2.75
    down = -(-len(rows) // across)
    figure = Figure(figsize=(LEFT + across * each, TOP + down * 2.3))
    heading(figure, title, note, left=LEFT)
    for number, (row, image) in enumerate(zip(rows, images, strict=True)):
        left, top = LEFT + number % across * each, TOP + number // across * 2.3
        figure.text(
            left / (LEFT + across * each), 1 - top / figure.get_size_inches()[1], row["words"], fontsize=8.5, va="top"
        )
        for place_, picture in ((0.0, _stimulus(row)), (0.82, image)):
            one = bare(place(figure, left + place_, top + 0.22, 0.76, 0.76))
            one.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=255)
        one = place(figure, left + 0.22, top + 1.1, each - 0.75, 0.75)
        angles = orientations if row["kind"] == "orientation" else hues
        colours = [INK] * len(angles) if row["kind"] == "orientation" else [stimuli.hue_colour(h).clip(0, 1) for h in angles]
        one.bar(range(len(angles)), row["answers"], color=colours, width=0.8)
        one.set_xticks([0, len(angles) // 2], [f"{angles[0]:g}°", f"{angles[len(angles) // 2]:g}°"], fontsize=7)
        one.set_yticks([])
        one.spines["left"].set_visible(False)
    return figure


def _stimulus(row: Mapping[str, Any]) -> np.ndarray:
    size = (3, 96, 96)
    if row["kind"] == "orientation":
        return np.moveaxis(stimuli.grating(size, row["angle"], min(row["cycles"], 24), 0), 0, -1)
    return np.moveaxis(stimuli.hues(size, [row["angle"]])[0], 0, -1)
