"""A path across a map as one strip: the cells it runs through, their icons and images, and what the network says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from atlas.errors import AtlasError
from atlas.pages.figures_sheet import CRISP
from atlas.pages.figures_style import BLUE, FAINT, INK, LINE, VERMILION, bare, heading, place, shortened, styled

TILE, GAP, MARGIN = 0.82, 0.08, 0.25  # inches
MAP = 3.0  # inches of the map beside the strip
TOP = 0.75
CURVES = 1.15  # inches of the curves under the strip


@dataclass(frozen=True)
class Stop:
    """One cell of a path: its icon, some of its images, the mean probability of the two ends' classes, its usual class."""

    icon: np.ndarray | None  # uint8 [y, x, rgb]
    images: Sequence[np.ndarray]
    first: float
    second: float
    words: str


@styled
def path_figure(
    stops: Sequence[Stop],
    *,
    xy: np.ndarray,
    codes: np.ndarray,
    colours: Sequence[str],
    line: np.ndarray,
    names: tuple[str, str],
    cosines: np.ndarray,
    title: str,
    note: str,
) -> Figure:
    """Draw a map with a path, and the path's cells in order: icon, images, probabilities, the cosine of each step.

    `xy` [point, 2] and `codes` [point] are the map, `line` [stop, 2] the middles of the path's cells, `cosines` [stop − 1].
    Fewer than two stops raise AtlasError.
    """
    if len(stops) < 2:
        raise AtlasError(f"a path of {len(stops)} cells: two or more make a transition")
    icons = any(stop.icon is not None for stop in stops)
    lines = (1 if icons else 0) + max(len(stop.images) for stop in stops)
    left = MARGIN + MAP + 0.95
    high = lines * (TILE + GAP) + 0.3 + CURVES
    figure = Figure(figsize=(left + len(stops) * (TILE + GAP) + MARGIN, TOP + max(high, MAP + 0.6) + 0.55))
    heading(figure, shortened(title, 120), shortened(note, 190), left=MARGIN)
    _map(place(figure, MARGIN, TOP, MAP, MAP), xy, codes, np.array(colours, object), line)
    for number, stop in enumerate(stops):
        at, top = left + number * (TILE + GAP), TOP
        if icons:
            _tile(place(figure, at, top, TILE, TILE), stop.icon)
            top += TILE + GAP
        for image in stop.images:
            _tile(place(figure, at, top, TILE, TILE), image)
            top += TILE + GAP
        figure.text((at + TILE / 2) / figure.get_size_inches()[0],
                    1 - (TOP + lines * (TILE + GAP) + 0.1) / figure.get_size_inches()[1],
                    shortened(stop.words, 14), ha="center", va="top", fontsize=7, color=FAINT)  # fmt: skip
    axes = place(figure, left, TOP + lines * (TILE + GAP) + 0.32, len(stops) * (TILE + GAP) - GAP, CURVES)
    _curves(axes, stops, names, cosines)
    wide, tall = figure.get_size_inches()
    figure.legend(*axes.get_legend_handles_labels(), fontsize=8, loc="upper left",
                  bbox_to_anchor=((MARGIN - 0.1) / wide, 1 - (TOP + MAP + 0.15) / tall))  # fmt: skip
    if icons:
        _side(figure, left, TOP + TILE / 2, "icon")
    _side(figure, left, TOP + (1.5 if icons else 0.5) * (TILE + GAP), "images")
    return figure


def _side(figure: Figure, left: float, top: float, words: str) -> None:
    wide, tall = figure.get_size_inches()
    figure.text((left - 0.1) / wide, 1 - top / tall, words, ha="right", va="center", fontsize=8, color=FAINT)


def _tile(axes: Axes, pixels: np.ndarray | None) -> None:
    bare(axes)
    if pixels is None:
        axes.set_facecolor("#f4f5f6")
        return
    shown = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    axes.imshow(
        shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest" if max(shown.shape[:2]) < CRISP else "antialiased"
    )


def _map(axes: Axes, xy: np.ndarray, codes: np.ndarray, colours: np.ndarray, line: np.ndarray) -> None:
    bare(axes)
    order = np.random.default_rng(0).permutation(len(xy))
    axes.scatter(
        xy[order, 0], xy[order, 1], s=1.2, c=colours[codes[order]].tolist(), linewidths=0, alpha=0.6, rasterized=True
    )
    axes.plot(*line.T, color=INK, linewidth=1.6, marker="o", markersize=3.5, markerfacecolor="white", zorder=4)
    axes.annotate("start", line[0], (5, 5), textcoords="offset points", fontsize=8, fontweight="bold", zorder=5)
    axes.set_aspect("equal", adjustable="datalim")
    for spine in axes.spines.values():
        spine.set(visible=True, color=LINE, linewidth=0.6)


def _curves(axes: Axes, stops: Sequence[Stop], names: tuple[str, str], cosines: np.ndarray) -> None:
    x = np.arange(len(stops))
    for name, values, colour in zip(
        names, ([s.first for s in stops], [s.second for s in stops]), (BLUE, VERMILION), strict=True
    ):
        axes.plot(x, values, color=colour, marker="o", markersize=3.5, linewidth=1.5, label=f"mean probability of {name}")
    axes.plot(x[:-1] + 0.5, cosines, color=FAINT, linestyle=":", marker="|", linewidth=1.2, label="cosine of a step")
    axes.set_xlim(-0.5, len(stops) - 0.5)
    axes.set_ylim(0, 1.04)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=len(stops)))
    axes.set_xlabel("cell along the path", fontsize=8)
    axes.grid(axis="y", color=LINE, linewidth=0.5)
