"""A network drawn as a row of blocks: as high as its maps are, as wide as they are many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle

from atlas.errors import choose
from atlas.pages.figures_blocks import Block, blocks_of
from atlas.pages.figures_style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    bare,
    heading,
    place,
    shortened,
    styled,
)

COLOURS = {"conv": SKY, "pool": ORANGE, "fc": GREEN, "group": BLUE, "other": "#aab2bb"}
TRIM_COLOURS = {"norm": "#7d8792", "activation": PURPLE, "passing": "#d7dbe0"}
WORDS = {
    "conv": "convolution", "pool": "pooling", "fc": "fully connected", "group": "block of layers", "other": "other",
    "norm": "normalisation", "activation": "activation", "passing": "dropout, reshaping",
}  # fmt: skip
TALLEST, SLOT, STRIPE = 1.7, 0.98, 0.055  # inches: the highest block, the room for one with its words, a norm or activation
OBLIQUE = 0.28  # share of its height by which a block with space runs back


@styled
def architecture(layers: pd.DataFrame, *, title: str = "Architecture", marked: str | None = None) -> Figure:
    """Draw a network from its table of layers (number, name, kind, shape, parameters), in order of execution.

    A block's height is the size of its maps, its width grows with their number; norms and activations are stripes on the
    block they follow. Where layers are many, the modules that hold them are drawn, and those built alike fold into one
    with a count. `marked` names a layer to point at; an unknown one raises AtlasError.
    """
    if marked is not None and marked not in set(layers["name"]):
        raise choose("layer", marked, layers["name"])
    blocks = blocks_of(layers)
    slots = [max(SLOT, _extent(block) + 0.3) for block in blocks]
    width, height = max(sum(slots) + 0.5, 6.4), 4.25
    figure = Figure(figsize=(width, height))
    total = sum(block.parameters for block in blocks)
    heading(figure, title, f"{len(layers)} layers · {_number(total)} parameters")
    axes = bare(place(figure, 0, 0.62, width, height - 0.62))
    axes.set_xlim(0, width)
    axes.set_ylim(-1.35, height - 0.62 - 1.35)
    _row(axes, blocks, slots, (width - sum(slots)) / 2, marked)
    _legend(axes, blocks)
    return figure


def _row(axes: Axes, blocks: Sequence[Block], slots: Sequence[float], left: float, marked: str | None) -> None:
    largest = max((max(block.shape[1:]) for block in blocks if len(block.shape) == 3), default=1)
    end = None
    for block, slot in zip(blocks, slots, strict=True):
        size = _size(block, largest)
        x = left + (slot - _extent(block)) / 2
        if end is not None:
            _arrow(axes, end, x - 0.05)
        end = _draw(axes, block, x, size) + 0.04
        _describe(axes, block, left + slot / 2)
        if block.repeat > 1:
            axes.text(x + _extent(block) / 2, _top(block, size) + 0.08, f"× {block.repeat}", **COUNT)
        if marked in block.members:
            _mark(axes, block, x, size, str(marked))
        left += slot


COUNT: Any = {"ha": "center", "va": "bottom", "fontsize": 11, "fontweight": "bold", "color": INK}
MIDDLE = 1.05  # inches above the words: every block is centred on this line


def _size(block: Block, largest: int) -> float:
    """Return a block's height in inches: by the size of its maps, or, without any, by the number of its units."""
    if len(block.shape) == 3:
        return max(0.16, TALLEST * (max(block.shape[1:]) / largest) ** 0.6)  # below its share, or 7 × 7 were a dot
    units = block.shape[-1] if block.shape else 1
    return min(TALLEST, 0.3 + 0.14 * math.log2(max(units, 1)))


def _thickness(block: Block) -> float:
    """Return a block's width in inches: by the number of its maps; a vector is a bar."""
    return 0.06 + 0.045 * math.log2(max(block.shape[0], 1)) if len(block.shape) == 3 else 0.15


def _extent(block: Block) -> float:
    deep = 0.18 if len(block.shape) == 3 else 0.0
    return _thickness(block) + STRIPE * len(block.trims) + deep + (0.1 if block.repeat > 1 else 0.0)


def _draw(axes: Axes, block: Block, x: float, size: float) -> float:
    """Draw a block with its stripes from `x` on; return where it ends."""
    if block.repeat > 1:
        for back in (0.1, 0.05):
            _box(axes, x + back, size, _thickness(block), COLOURS[block.kind], block, lift=back)
    end = _box(axes, x, size, _thickness(block), COLOURS[block.kind], block)
    for _, kind in block.trims:
        end = _box(axes, end, size, STRIPE, TRIM_COLOURS[kind], block)
    return end + (_depth(block, size) if len(block.shape) == 3 else 0.0) * 0.5 + (0.1 if block.repeat > 1 else 0.0)


def _depth(block: Block, size: float) -> float:
    return min(0.36, OBLIQUE * size) if len(block.shape) == 3 else 0.0


def _top(block: Block, size: float) -> float:
    return MIDDLE + size / 2 + _depth(block, size) * 0.5 + (0.1 if block.repeat > 1 else 0.0)


def _box(axes: Axes, x: float, size: float, thickness: float, colour: str, block: Block, *, lift: float = 0.0) -> float:
    """Draw a box in oblique projection (a flat one for a vector); return its right edge."""
    low, high, deep = MIDDLE - size / 2 + lift, MIDDLE + size / 2 + lift, _depth(block, size) * 0.5
    edge: Any = {"linewidth": 0.5, "edgecolor": shaded(colour, 0.62)}
    right = x + thickness
    axes.add_patch(Rectangle((x, low), thickness, size, facecolor=colour, **edge))
    if deep:
        top = [(x, high), (right, high), (right + deep, high + deep), (x + deep, high + deep)]
        side = [(right, low), (right, high), (right + deep, high + deep), (right + deep, low + deep)]
        axes.add_patch(Polygon(top, closed=True, facecolor=shaded(colour, 1.35), **edge))
        axes.add_patch(Polygon(side, closed=True, facecolor=shaded(colour, 0.8), **edge))
    return right


def shaded(colour: str, factor: float) -> tuple[float, float, float]:
    """Return a colour darker (`factor` below 1) or nearer to white (above)."""
    red, green, blue = to_rgb(colour)
    if factor <= 1:
        return red * factor, green * factor, blue * factor
    share = factor - 1
    return red + (1 - red) * share, green + (1 - green) * share, blue + (1 - blue) * share


def _arrow(axes: Axes, start: float, end: float) -> None:
    if end - start > 0.06:
        style: Any = {"arrowstyle": "-|>", "mutation_scale": 6, "linewidth": 0.8, "color": "#9aa2ab"}
        axes.add_patch(FancyArrowPatch((start, MIDDLE), (end, MIDDLE), shrinkA=0, shrinkB=0, **style))


def _describe(axes: Axes, block: Block, x: float) -> None:
    words = [
        (shortened(block.title, 18), INK, "bold" if block.kind not in ("pool", "other") else "normal", 7.5),
        (shortened(block.shape_text, 18), FAINT, "normal", 7),
        (_number(block.parameters) if block.parameters else "", FAINT, "normal", 7),
    ]
    for line, (text, colour, weight, size) in enumerate(words):
        axes.text(x, -0.1 - 0.155 * line, text, ha="center", va="top", fontsize=size, color=colour, fontweight=weight)


def _mark(axes: Axes, block: Block, x: float, size: float, name: str) -> None:
    """Point at the layer `name`: at its stripe, or at its block."""
    stripes = [layer for layer, _ in block.trims]
    at = x + _thickness(block) / 2
    if name in stripes:
        at = x + _thickness(block) + STRIPE * (stripes.index(name) + 0.5)
    high = _top(block, size) + (0.28 if block.repeat > 1 else 0.0)
    axes.add_patch(Polygon([(at, high + 0.05), (at - 0.08, high + 0.2), (at + 0.08, high + 0.2)], facecolor=VERMILION))
    axes.text(at, high + 0.24, shortened(name, 24), ha="center", va="bottom", fontsize=8, fontweight="bold", color=VERMILION)


def _legend(axes: Axes, blocks: Sequence[Block]) -> None:
    """Name the colours that occur, in one line at the bottom."""
    kinds = {block.kind for block in blocks} | {kind for block in blocks for _, kind in block.trims}
    colours = {**COLOURS, **TRIM_COLOURS}
    x = 0.2
    for kind in (kind for kind in colours if kind in kinds):
        axes.add_patch(Rectangle((x, -1.1), 0.13, 0.13, facecolor=colours[kind], edgecolor="none"))
        axes.text(x + 0.19, -1.1 + 0.065, WORDS[kind], va="center", fontsize=7.5, color=FAINT)
        x += 0.19 + 0.068 * len(WORDS[kind]) + 0.22


def _number(count: int) -> str:
    """Return a number with thin spaces between its thousands."""
    return f"{count:,}".replace(",", " ")
