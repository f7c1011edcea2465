"""A network drawn as a column of blocks, from the image down to the logits: the drawing that a film carries at its side."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from atlas.errors import choose
from atlas.pages.figures_architecture import COLOURS, TRIM_COLOURS, shaded
from atlas.pages.figures_blocks import Block, blocks_of
from atlas.pages.figures_style import FAINT, INK, STYLE, VERMILION, bare, place, shortened, styled

TOP, PITCH, STRIPE, DEEP = 0.32, 0.62, 0.035, 0.16  # inches: above the first block, of a block at most, a norm, the depth
MIDDLE, WIDEST, WORDS = 0.23, 0.34, 0.53  # shares of the width: the blocks' centre, the widest block, where words begin
SMALLEST, LARGEST = 4.5, 8.0  # points of the words
BAND = "#fdeee4"


@styled
def architecture_column(layers: pd.DataFrame, *, marked: str, width: float = 2.7, height: float = 8.0) -> Figure:
    """Draw a network from its table of layers (number, name, kind, shape, parameters), the first layer on top.

    A block's width is the size of its maps, its thickness grows with their number; norms and activations are stripes
    under the block they follow. `marked` names the layer that is pointed at: the block it belongs to lies on a band, its
    name is in colour. `width` and `height` are in inches; an unknown layer raises AtlasError.
    """
    if marked not in set(layers["name"]):
        raise choose("layer", marked, layers["name"])
    blocks = blocks_of(layers)
    figure = Figure(figsize=(width, height))
    axes = bare(place(figure, 0, 0, width, height))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    pitch = min(PITCH, (height - TOP) / len(blocks))
    _column(axes, blocks, marked, width, pitch)
    return figure


def pixels(figure: Figure) -> np.ndarray:
    """Return a figure as it is seen, uint8 [y, x, rgb]."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing")  # a name in a script without a font here
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _column(axes: Axes, blocks: Sequence[Block], marked: str, width: float, pitch: float) -> None:
    largest = max((max(block.shape[1:]) for block in blocks if len(block.shape) == 3), default=1)
    for number, block in enumerate(blocks):
        top = TOP + number * pitch
        here = marked in block.members
        if here:
            axes.add_patch(Rectangle((0, top), width, pitch, facecolor=BAND, edgecolor="none"))
            axes.add_patch(Rectangle((0, top), 0.04, pitch, facecolor=VERMILION, edgecolor="none"))
        if number + 1 < len(blocks):
            axes.plot([MIDDLE * width] * 2, [top + pitch / 2, top + pitch * 1.5], color="#c3c9d0", linewidth=0.8, zorder=0.5)
        _slab(axes, block, MIDDLE * width, top + pitch / 2, _size(block, largest) * WIDEST * width, pitch)
        _describe(axes, block, marked if here else None, WORDS * width, top + pitch / 2, width, pitch)


def _size(block: Block, largest: int) -> float:
    """Return a block's width as a share of the widest: by the size of its maps, or by the number of its units."""
    if len(block.shape) == 3:
        return max(0.12, (max(block.shape[1:]) / largest) ** 0.6)  # below its share, or 7 × 7 were a dot
    units = block.shape[-1] if block.shape else 1
    return min(0.9, 0.16 + 0.07 * math.log2(max(units, 1)))


def _slab(axes: Axes, block: Block, x: float, y: float, size: float, pitch: float) -> None:
    """Draw a block around `x`, `y`: in oblique projection where it has maps, a stripe per norm or activation under it."""
    scale = pitch / PITCH
    maps = len(block.shape) == 3
    thick = (0.06 + 0.022 * math.log2(max(block.shape[0], 1)) if maps else 0.1) * scale
    stripes = [TRIM_COLOURS[kind] for _, kind in block.trims][:4]  # a folded block's are many
    deep = min(DEEP, 0.3 * size) * scale if maps else 0.0
    low = y - (thick + STRIPE * scale * len(stripes) - deep * 0.6) / 2
    for back in (0.06, 0.03) if block.repeat > 1 else ():
        _face(axes, x - size / 2 + back, low - back * scale, size, thick, COLOURS[block.kind])
    _face(axes, x - size / 2, low, size, thick, COLOURS[block.kind], deep=deep)
    for number, colour in enumerate(stripes):
        _face(axes, x - size / 2, low + thick + number * STRIPE * scale, size, STRIPE * scale, colour)


def _face(axes: Axes, x: float, y: float, width: float, height: float, colour: str, *, deep: float = 0.0) -> None:
    edge: Any = {"linewidth": 0.4, "edgecolor": shaded(colour, 0.62)}
    if deep:
        rise, right = deep * 0.6, x + width
        top = [(x, y), (right, y), (right + deep, y - rise), (x + deep, y - rise)]
        side = [(right, y), (right, y + height), (right + deep, y + height - rise), (right + deep, y - rise)]
        axes.add_patch(Polygon(top, closed=True, facecolor=shaded(colour, 1.4), **edge))
        axes.add_patch(Polygon(side, closed=True, facecolor=shaded(colour, 0.8), **edge))
    axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, **edge))


def _describe(axes: Axes, block: Block, marked: str | None, x: float, y: float, width: float, pitch: float) -> None:
    """Write a block's name and shape; of the marked one the layer that is meant, where the block stands for several."""
    size = max(SMALLEST, min(LARGEST, pitch * 72 / 2.9))
    limit = max(6, int((width - x) * 72 / (size * 0.62)))
    count = f" (×{block.repeat})" if block.repeat > 1 else ""
    title = block.title
    under = block.shape_text if marked in (None, block.title) else str(marked)
    two = pitch * 72 >= size * 2.4
    colour = VERMILION if marked is not None and (marked == block.title or not two) else INK
    if not two and marked is not None:
        title = str(marked)
    kind: Any = {"va": "center", "ha": "left"}
    line = 0.0085 * size if two else 0.0
    axes.text(
        x, y - line, shortened(title, limit - len(count)) + count, fontsize=size, fontweight="bold", color=colour, **kind
    )
    if two:
        named = marked is not None and marked != block.title
        style: Any = {"color": VERMILION, "fontweight": "bold"} if named else {"color": FAINT}
        axes.text(x, y + line, shortened(under, limit), fontsize=size * 0.92, **style, **kind)
