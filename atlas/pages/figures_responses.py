"""What every unit answers to groups of images, as a sheet: images down, units across, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atlas.pages.figures_maps import SIGNED, UNSIGNED
from atlas.pages.figures_style import BLUE, FAINT, INK, LINE, VERMILION, bare, heading, place, shortened, styled

MARGIN, TOP, FOOT = 0.25, 1.05, 0.62  # inches
THUMBNAIL, SMALLEST = 0.36, 0.06  # inches of a thumbnail, and of an image's row where they are many
TALLEST, WIDEST, NARROWEST = 12.0, 17.0, 0.5  # inches of all rows, of all units, of one layer
NAMES = 0.95  # inches for the classes' names
MARK = 0.07  # inches of the mark of a split
APART, BETWEEN = 0.16, 0.16  # inches between classes, between layers
UNIT = 0.034  # inches of a unit, where there is room
STRIP = 0.16  # inches of the strip of differences
SPLITS = {"held-out": (BLUE, "held out"), "train": (VERMILION, "training image"), "unknown": (LINE, "split not known")}
MOST = 1.5  # Cohen's d at which the strip's colour is full


@dataclass(frozen=True)
class LayerResponses:
    """One layer of the sheet, its units in the order shown.

    ``values`` [image, unit]: what each answers, as a share of its largest size; ``difference`` [unit]: Cohen's d between the
    first two classes over the held-out images, positive for the first; empty where there are not two.
    """

    name: str
    values: np.ndarray
    difference: np.ndarray
    silent: int = 0  # units that are 0 for every image and not among them


@styled
def responses_sheet(
    layers: Sequence[LayerResponses],
    thumbnail: Callable[[int], Any],
    *,
    labels: Sequence[str],
    splits: Sequence[str],
    title: str,
    note: str,
) -> Figure:
    """Draw what units answer to images, which stand in groups of one label [image] that follow each other.

    `thumbnail` gives the picture of an image by its place; `splits` [image] are train, held-out or unknown, and marked.
    """
    starts, groups = _groups(labels)
    height = min(THUMBNAIL, max(SMALLEST, (TALLEST - APART * len(groups)) / len(labels)))
    beside = math.ceil(THUMBNAIL / height - 0.01)  # thumbnails side by side, each over as many rows
    widths = _widths(layers)
    compared = any(layer.difference.size for layer in layers)
    rooms = [
        max(count, -(-count // beside) * beside) * height + APART for _, count in groups
    ]  # thumbnails may reach farther
    tall = sum(rooms) - APART
    left = MARGIN + NAMES + beside**2 * height + MARK + 0.1
    wide = left + sum(widths) + BETWEEN * (len(layers) - 1) + MARGIN
    figure = Figure(figsize=(max(wide, 7.0), TOP + tall + (STRIP + 0.12 if compared else 0.0) + FOOT))
    heading(figure, shortened(title, 120), shortened(note, round(15 * wide)), left=MARGIN)
    top = TOP
    for start, (label, count), room in zip(starts, groups, rooms, strict=True):
        own = slice(start, start + count)
        _names(figure, top, label, count)
        _thumbnails(figure, top, height, beside, [thumbnail(k) for k in range(start, start + count)])
        _marks(figure, left - MARK - 0.04, top, height, splits[own])
        at = left
        for layer, width in zip(layers, widths, strict=True):
            axes = bare(place(figure, at, top, width, count * height))
            _heat(axes, layer.values[own], signed=bool((layer.values < 0).any()))
            at += width + BETWEEN
        top += room
    _heads(figure, layers, widths, left)
    if compared:
        _strips(figure, layers, widths, left, TOP + tall + 0.12)
    _legend(figure, splits, groups, compared)
    return figure


def _groups(labels: Sequence[str]) -> tuple[list[int], list[tuple[str, int]]]:
    starts = [k for k in range(len(labels)) if k == 0 or labels[k] != labels[k - 1]]
    ends = [*starts[1:], len(labels)]
    return starts, [(labels[start], end - start) for start, end in zip(starts, ends, strict=True)]


def _widths(layers: Sequence[LayerResponses]) -> list[float]:
    """Return the inches of each layer: as many as its units ask for, wide ones narrowed where there is not the room."""
    asked = [max(NARROWEST, UNIT * layer.values.shape[1]) for layer in layers]
    over = sum(asked) - WIDEST
    spare = sum(width - NARROWEST for width in asked)
    share = max(0.0, min(1.0, over / spare)) if spare else 0.0
    return [width - share * (width - NARROWEST) for width in asked]


def _heat(axes: Axes, values: np.ndarray, *, signed: bool) -> None:
    axes.imshow(
        values, cmap=SIGNED if signed else UNSIGNED, vmin=-1 if signed else 0, vmax=1, aspect="auto", interpolation="nearest"
    )


def _names(figure: Figure, top: float, label: str, count: int) -> None:
    wide, tall = figure.get_size_inches()
    figure.text(MARGIN / wide, 1 - (top + 0.02) / tall, shortened(label, 14), fontsize=9.5, fontweight="bold", va="top")
    figure.text(MARGIN / wide, 1 - (top + 0.2) / tall, f"{count} images", fontsize=8, color=FAINT, va="top")


def _thumbnails(figure: Figure, top: float, height: float, beside: int, pictures: Sequence[Any]) -> None:
    """Draw a class's images, `beside` of them side by side over as many rows, from left to right as from top to bottom."""
    edge = beside * height
    axes = bare(place(figure, MARGIN + NAMES, top, beside * edge, -(-len(pictures) // beside) * edge))
    for number, picture in enumerate(pictures):
        row, column = divmod(number, beside)
        box = (column + 0.02, column + 0.98, row + 0.98, row + 0.02)
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=box, aspect="auto", interpolation="antialiased")
    axes.set(xlim=(0, beside), ylim=(-(-len(pictures) // beside), 0))


def _marks(figure: Figure, left: float, top: float, height: float, splits: Sequence[str]) -> None:
    axes = bare(place(figure, left, top, MARK, len(splits) * height))
    axes.set(xlim=(0, 1), ylim=(len(splits), 0))
    for number, split in enumerate(splits):
        axes.axhspan(number + 0.04, number + 0.96, color=SPLITS[split][0], linewidth=0)


def _heads(figure: Figure, layers: Sequence[LayerResponses], widths: Sequence[float], left: float) -> None:
    wide, tall = figure.get_size_inches()
    for layer, width in zip(layers, widths, strict=True):
        letters = max(6, int(width * 12))
        y = 1 - (TOP - 0.22) / tall
        figure.text(left / wide, y, shortened(layer.name, letters), fontsize=9, fontweight="bold", color=INK, va="bottom")
        units = f"{layer.values.shape[1]} units" if width > 0.6 else f"{layer.values.shape[1]}"
        units += f", {layer.silent} further ones silent" if layer.silent else ""
        figure.text(left / wide, 1 - (TOP - 0.06) / tall, units, fontsize=7.5, color=FAINT, va="bottom")
        left += width + BETWEEN


def _strips(figure: Figure, layers: Sequence[LayerResponses], widths: Sequence[float], left: float, top: float) -> None:
    wide, tall = figure.get_size_inches()
    figure.text(MARGIN / wide, 1 - (top + STRIP / 2) / tall, "difference", fontsize=9, fontweight="bold", va="center")
    for layer, width in zip(layers, widths, strict=True):
        axes = bare(place(figure, left, top, width, STRIP))
        axes.imshow(layer.difference[None], cmap="PuOr_r", vmin=-MOST, vmax=MOST, aspect="auto", interpolation="nearest")
        left += width + BETWEEN


def _legend(figure: Figure, splits: Sequence[str], groups: Sequence[tuple[str, int]], compared: bool) -> None:
    """Say at the foot what the marks and the colours are."""
    wide, tall = figure.get_size_inches()
    at, y = MARGIN, (FOOT - 0.32) / tall
    for split in [name for name in SPLITS if name in splits]:
        colour, words = SPLITS[split]
        figure.text(at / wide, y, "■", color=colour, fontsize=10, va="center")
        figure.text((at + 0.16) / wide, y, words, fontsize=8.5, color=INK, va="center")
        at += 0.35 + 0.075 * len(words)
    if compared:
        words = (
            f"difference: Cohen's d between the held-out images of {shortened(groups[0][0], 20)} (orange) and of "
            f"{shortened(groups[1][0], 20)} (purple), full colour at {MOST}"
        )
        figure.text((at + 0.1) / wide, y, words, fontsize=8.5, color=FAINT, va="center")
