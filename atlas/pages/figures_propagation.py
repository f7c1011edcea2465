"""One image through a network as one strip: a column per layer, in order of execution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from atlas.errors import AtlasError
from atlas.pages.colours import NONE, RIGHT, WRONG
from atlas.pages.figures_sheet import CRISP
from atlas.pages.figures_sheet import WRONG as BAD
from atlas.pages.figures_style import FAINT, INK, LINE, heading, place, shortened, styled

PANEL, GAP, MARGIN = 2.1, 0.28, 0.25  # inches
TOP, HEAD, UNDER = 0.82, 0.44, 0.24  # inches: of the title, of a column's name, of a line under a panel
NOTE = 0.16  # inches of a further line of the note
CELL, BARS, UNITS = 0.8, 1.4, 0.2  # inches: of the nearest cell, of the bars, of the line under them
MOST_PLACES = 28  # along a side of an activation grid: more are smaller than can be seen, and every n-th is shown
DOTS = 600  # pixels along a side of a drawn grid, about twice what the panel has
PALE = 0.55  # how much the image under an attribution is faded to white
FULL = 0.8  # opacity of the greatest attribution: the image is seen through it
LETTERS = 16  # of small text in an inch
DARK = "#4b535d"  # places of a layer without cells


@dataclass(frozen=True)
class Column:
    """One layer: its attributions, its activation grid, the cell nearest to the image, what it argues for."""

    title: str
    shape: str
    argued: np.ndarray  # float [which, y, x]
    magnitude: np.ndarray  # float [y, x], 0 to 1
    place: np.ndarray | None  # int [y, x]: each place's cell, -1 for none; None without cells
    icons: np.ndarray | None  # uint8 [cell, y, x, rgb]; None without
    colours: Sequence[str]  # of each cell's most frequent class
    cell: int  # nearest to the whole image; -1 for none
    cell_words: Sequence[str]
    bars: Sequence[tuple[str, float, bool]]  # what it argues for most: name, how much, whether it is one of those asked
    ranks: Sequence[str]
    units: Sequence[int] = ()  # the strongest ones


@styled
def propagation_strip(
    columns: Sequence[Column],
    *,
    picture: np.ndarray,
    caption: Sequence[str],
    asked: Sequence[str],
    title: str,
    wrong: bool = False,
) -> Figure:
    """Draw an image and a column per layer: attribution to each of `asked` over it, activation grid, nearest cell, bars.

    `picture` is uint8 [y, x, rgb or grey]; `caption` its lines, the second red where `wrong`. No layer raises
    AtlasError.
    """
    if not columns:
        raise AtlasError("a strip of no layers: give at least one")
    width = 2 * MARGIN + (len(columns) + 1) * (PANEL + GAP) - GAP
    note = wrap(
        f"over the image: attribution to {shortened(asked[0], 40)}, orange for it, blue against it, one symmetric scale per "
        "layer · in the grid: a place's area is the length of its activation, the layer's greatest 1",
        round(width * 13),
    )
    tops = _tops(len(asked), NOTE * (len(note) - 1))
    figure = Figure(figsize=(width, tops[-1]))
    heading(figure, shortened(title, round(width * 9)), "\n".join(note), left=MARGIN)
    _image(figure, picture, caption, wrong, tops[0])
    _names(figure, asked, tops)
    for number, column in enumerate(columns, 1):
        _column(figure, column, picture, MARGIN + number * (PANEL + GAP), tops)
    return figure


def _tops(asked: int, lower: float) -> list[float]:
    """Return where each row begins, in inches from the top: attributions, grid, cell, bars, the end; all `lower` so much."""
    rows = [TOP + lower + HEAD + number * (PANEL + UNDER) for number in range(asked + 1)]
    cell = rows[-1] + PANEL + UNDER + 0.1
    bars = cell + CELL + 0.22
    return [*rows, cell, bars, bars + BARS + 0.36 + UNITS]


def _image(figure: Figure, picture: np.ndarray, caption: Sequence[str], wrong: bool, top: float) -> None:
    axes = _framed(place(figure, MARGIN, top, PANEL, PANEL))
    axes.imshow(_grey(picture), cmap="gray", vmin=0, vmax=255, interpolation=_pixels(picture))
    _above(axes, "the image", "as the network takes it")
    for number, line in enumerate(caption):
        colour = BAD if wrong and number == 1 else INK if not number else FAINT
        _below(axes, shortened(line, round(PANEL * 13)), number, color=colour, fontsize=8.5 if number else 9.5)


def _names(figure: Figure, asked: Sequence[str], tops: Sequence[float]) -> None:
    """Write what each row shows, beside it in the image's column; the image itself stands beside the first."""
    grid = ["activation grid:", "each place as its nearest icon,", "without icons as the usual class", "of its nearest cell"]
    cell = ["nearest cell of the whole image", "on the layer's own map:", "usual class and its share"]
    rows = [*([f"what argues for {name}"] for name in asked[1:]), grid, cell, ["what the whole layer argues for"]]
    under = [["its strongest units"]]
    for number, (lines, top) in enumerate(zip([*rows, *under], [*tops[1:-1], tops[-2] + BARS], strict=False), 1):
        lower = 0.75 if number <= len(asked) else 0.0  # beside the middle of a panel, below the caption of the image
        axes = place(figure, MARGIN, top + lower, PANEL, 0.9)
        axes.set_axis_off()
        for line, words in enumerate(lines):
            style: Any = {"color": FAINT, "fontsize": 8} if line else {"color": INK, "fontsize": 9}
            axes.text(1, 1 - 0.2 * line, shortened(words, round(PANEL * LETTERS)), ha="right", va="top", **style)


def _column(figure: Figure, column: Column, picture: np.ndarray, left: float, tops: Sequence[float]) -> None:
    most = float(np.abs(column.argued).max())
    for number, values in enumerate(column.argued):
        axes = _framed(place(figure, left, tops[number], PANEL, PANEL))
        _attribution(axes, values, picture, most)
        _below(axes, shortened(column.ranks[number], round(PANEL * LETTERS)), 0, color=INK, fontsize=8)
        if not number:
            _above(axes, shortened(column.title, 24), _shape(column, most))
    axes = _framed(place(figure, left, tops[len(column.argued)], PANEL, PANEL))
    step = -(-max(column.magnitude.shape) // MOST_PLACES)
    if column.magnitude.size > 1 or column.place is not None:
        axes.imshow(grid_picture(column, step), interpolation="antialiased")
    else:
        axes.text(0.5, 0.5, "one place, no cells", ha="center", va="center", color=FAINT, transform=axes.transAxes)
    if step > 1:
        _below(axes, f"one place in {step}×{step} is shown", 0, color=FAINT, fontsize=8)
    _nearest(figure, column, left, tops[-3])
    _bars(place(figure, left, tops[-2], PANEL, BARS), column)
    units = place(figure, left, tops[-2] + BARS, PANEL, UNITS)
    units.set_axis_off()
    told = ", ".join(map(str, column.units)) or "none"
    units.text(0, 0.4, shortened(f"units {told}", round(PANEL * LETTERS)), va="center", fontsize=8, color=FAINT)


def _shape(column: Column, most: float) -> str:
    places = "" if column.magnitude.size > 1 else ", one place"
    scale = f"scale ±{most:.2g}" if most else "no place argues"  # a class token may carry it all
    return f"{column.shape}{places} · {scale}"


# -- the panels -----------------------------------------------------------------------------------------------------------


def _attribution(axes: Axes, values: np.ndarray, picture: np.ndarray, most: float) -> None:
    """Draw attribution [y, x] over the image, transparent where it is 0 and full at `most`."""
    height, width = picture.shape[:2]
    base = _grey(picture)
    pale = np.asarray(base if base.ndim == 3 else base[..., None].repeat(3, 2), np.float64).mean(axis=2, keepdims=True)
    shown = (255 - (255 - pale) * (1 - PALE)).astype(np.uint8).repeat(3, 2)
    axes.imshow(shown, interpolation=_pixels(picture), extent=(0, width, height, 0))
    if values.size == 1:
        word = signed(float(values.ravel()[0]))
        axes.text(width / 2, height / 2, word, ha="center", va="center", fontsize=15, fontweight="bold", color=INK)
        return
    axes.imshow(diverging(values, most), interpolation="nearest", extent=(0, width, height, 0))


def diverging(values: np.ndarray, most: float) -> np.ndarray:
    """Return colours of values between −`most` and `most`: float [y, x, rgba], blue below 0, orange above, clear at 0."""
    share = np.clip(values / (most or 1.0), -1, 1)
    colour = np.where((share > 0)[..., None], to_rgb(WRONG), to_rgb(RIGHT))
    return np.concatenate([colour, FULL * np.abs(share)[..., None]], axis=2)


def grid_picture(column: Column, step: int = 1) -> np.ndarray:
    """Return the activation grid, every `step`-th place of it: uint8 [y, x, rgb].

    Each place is a square whose area is its share of the greatest magnitude: its cell's icon, or the colour of the cell's
    usual class, or dark where the layer has no cells; a place that is like no cell is empty.
    """
    magnitude = column.magnitude[step // 2 :: step, step // 2 :: step]
    cells = None if column.place is None else column.place[step // 2 :: step, step // 2 :: step]
    edge = max(6, DOTS // max(magnitude.shape))
    canvas = np.full((magnitude.shape[0] * edge, magnitude.shape[1] * edge, 3), 247, np.uint8)
    for (y, x), share in np.ndenumerate(magnitude):
        side = round((edge - 1) * float(np.sqrt(share)))
        if side < 1 or (cells is not None and cells[y, x] < 0):
            continue
        top, left = y * edge + (edge - side) // 2, x * edge + (edge - side) // 2
        canvas[top : top + side, left : left + side] = _tile(column, -1 if cells is None else int(cells[y, x]), side)
    return canvas


def _tile(column: Column, cell: int, side: int) -> np.ndarray:
    """Return a place's picture, uint8 [y, x, rgb]: its cell's icon at `side` pixels, or one colour."""
    if cell >= 0 and column.icons is not None:
        return np.asarray(_icon(column.icons[cell]).resize((side, side), Image.Resampling.BILINEAR))
    return np.round(255 * np.array(to_rgb(column.colours[cell] if cell >= 0 else DARK))).astype(np.uint8)[None, None]


def _icon(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(_grey(np.asarray(pixels))).convert("RGB")


def _nearest(figure: Figure, column: Column, left: float, top: float) -> None:
    """Draw the cell nearest to the whole image, and words of it."""
    if column.cell >= 0:
        axes = _framed(place(figure, left, top, CELL, CELL))
        colour = column.colours[column.cell] if column.colours else NONE
        if column.icons is None:
            axes.set_facecolor(colour)
        else:
            icon = column.icons[column.cell]
            axes.imshow(_icon(icon), interpolation=_pixels(icon))
        for spine in axes.spines.values():
            spine.set(color=colour, linewidth=2)
    words = place(figure, left + (CELL + 0.1 if column.cell >= 0 else 0), top, PANEL - CELL - 0.1, CELL)
    words.set_axis_off()
    room = round((PANEL - CELL - 0.1 if column.cell >= 0 else PANEL) * LETTERS)
    for number, line in enumerate(column.cell_words):
        style: Any = {"color": FAINT, "fontsize": 7.5} if number or column.cell < 0 else {"color": INK, "fontsize": 8.5}
        words.text(0, 1 - 0.25 * number, shortened(line, room), va="top", **style)


def _bars(axes: Axes, column: Column) -> None:
    """Draw what the layer argues for most, one bar under each name."""
    axes.set_axis_off()
    most = max((abs(value) for _, value, _ in column.bars), default=0.0) or 1.0
    axes.set_xlim(-most if any(value < 0 for _, value, _ in column.bars) else 0, most)
    axes.set_ylim(len(column.bars), 0)
    low = axes.get_xlim()[0]
    for number, (name, value, own) in enumerate(column.bars):
        weight, colour = ("bold", INK) if own else ("normal", FAINT)
        axes.text(low, number + 0.5, shortened(name, 20), va="bottom", fontsize=7.5, color=colour, fontweight=weight)
        axes.text(most, number + 0.5, signed(value), va="bottom", ha="right", fontsize=7.5, color=colour)
        axes.barh(number + 0.6, value, height=0.2, color=WRONG if value > 0 else RIGHT, alpha=1 if own else 0.45)


def signed(value: float) -> str:
    """Return a number with its sign, three digits of it."""
    return f"{value:+.3g}".replace("-", "−")


# -- what the panels share ------------------------------------------------------------------------------------------------


def _framed(axes: Axes) -> Axes:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, color=LINE, linewidth=0.6)
    return axes


def _above(axes: Axes, title: str, words: str) -> None:
    axes.annotate(title, (0, 1), (0, 17), "axes fraction", textcoords="offset points", fontsize=10, fontweight="bold")
    axes.annotate(words, (0, 1), (0, 5), "axes fraction", textcoords="offset points", fontsize=8, color=FAINT)


def _below(axes: Axes, words: str, number: int, **style: Any) -> None:
    offset = (0, -4 - 12 * number)
    axes.annotate(words, (0, 0), offset, "axes fraction", textcoords="offset points", va="top", **style)


def _grey(picture: np.ndarray) -> np.ndarray:
    return picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture


def _pixels(picture: np.ndarray) -> str:
    return "nearest" if max(picture.shape[:2]) < CRISP else "antialiased"
