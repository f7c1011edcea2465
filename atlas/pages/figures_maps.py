"""One image's activation maps as a sheet: every unit with its number, one scale for all. Arrays in, a figure out."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from atlas.errors import AtlasError
from atlas.pages.figures_patterns import CLIP, scale
from atlas.pages.figures_sheet import CRISP
from atlas.pages.figures_style import FAINT, INK, LINE, STYLE, bare, heading, place, shortened, styled

# Inches of a tile's longer side: of at most so many units the first that holds, so that a sheet of 2 048 is still a picture.
EDGES = ((16, 1.5), (64, 1.0), (256, 0.7), (1024, 0.5), (math.inf, 0.4))
PLAIN = 0.42  # inches of a tile that is one value
GAP, NUMBER, MARGIN, SIDE, TOP = 0.07, 0.14, 0.25, 2.05, 0.75  # inches: between tiles, of a unit's number, the left column
ASPECT = 1.5  # of the tiles together, width to height: about a screen's
SIGNED, UNSIGNED = "RdBu_r", "magma"
EMPTY = (0.83, 0.84, 0.86)  # the colour of a value that is not finite


@dataclass(frozen=True)
class Grid:
    """Where the tiles of a sheet stand, in pixels: `columns` of tiles of y, x, each `step` from the next."""

    count: int
    columns: int
    tile: tuple[int, int]
    step: tuple[int, int]

    @property
    def rows(self) -> int:
        """How many rows of tiles there are."""
        return -(-self.count // self.columns)

    def corner(self, number: int) -> tuple[int, int]:
        """Return the top left pixel y, x of a tile."""
        row, column = divmod(number, self.columns)
        return row * self.step[0], column * self.step[1]


@styled
def maps_sheet(
    maps: np.ndarray,
    *,
    title: str,
    note: str = "",
    picture: np.ndarray | None = None,
    words: Sequence[str] = (),
    units: Sequence[int] | np.ndarray | None = None,
) -> Figure:
    """Draw the activation maps [unit, y, x] of one image, each with its unit's number, on one shared scale.

    Values of both signs are drawn symmetric about zero, others from zero up. `picture` uint8 [y, x] or [y, x, rgb] is the
    image as it was run and `words` are lines under it; `units` are the maps' numbers, by default 0, 1, …. Maps of another
    shape, or none at all, raise AtlasError.
    """
    maps, numbers = _checked(maps, units)
    stat, low, high = _scale(maps)
    grid = layout(len(maps), maps.shape[1:])
    tall, wide = grid.rows * grid.step[0] / _dpi(), grid.columns * grid.step[1] / _dpi()
    left = MARGIN + SIDE
    width = max(left + wide + MARGIN, MARGIN + 0.085 * max(1.25 * len(title), len(note)))
    figure = Figure(figsize=(width, TOP + max(tall, SIDE + 0.17 * _lines(words) + 0.9) + MARGIN))
    heading(figure, shortened(title, 120), shortened(note, 200), left=MARGIN)
    _tiles(place(figure, left, TOP, wide, tall), maps, numbers, grid, stat, low, high)
    _side(figure, picture, words, maps, stat, low, high)
    return figure


def _checked(maps: np.ndarray, units: Sequence[int] | np.ndarray | None) -> tuple[np.ndarray, list[int]]:
    values = np.asarray(maps, np.float32)
    if values.ndim != 3 or values.size == 0:
        raise AtlasError(f"activation maps of shape {values.shape}: give [unit, y, x], at least one unit and one place")
    numbers = list(range(len(values))) if units is None else [int(unit) for unit in units]
    if len(numbers) != len(values):
        raise AtlasError(f"{len(values)} activation maps and {len(numbers)} numbers of units: give one number for each map")
    return values, numbers


def _scale(maps: np.ndarray) -> tuple[str, float, float]:
    """Return the kind of scale and its ends: symmetric about zero where there are values of both signs."""
    finite = maps[np.isfinite(maps)]
    stat = "mean" if finite.size and finite.min() < 0 else "std"
    return (stat, *scale(maps.reshape(len(maps), -1), stat)[:2])


def _dpi() -> float:
    return float(STYLE["savefig.dpi"])


def layout(count: int, size: tuple[int, ...]) -> Grid:
    """Return the grid of `count` maps of y, x: tiles by how many there are, rows and columns to about a screen's shape."""
    tall, wide = size
    inches = PLAIN if tall * wide == 1 else next(edge for most, edge in EDGES if count <= most)
    longest = round(inches * _dpi())
    factor = longest / max(tall, wide)
    factor = max(1, int(factor)) if factor >= 1 else factor  # whole multiples, so that a small map's places are alike
    tile = max(1, round(tall * factor)), max(1, round(wide * factor))
    step = tile[0] + round((GAP + NUMBER) * _dpi()), max(tile[1] + round(GAP * _dpi()), round(0.3 * _dpi()))
    return Grid(count, _columns(count, math.sqrt(count * ASPECT * step[0] / step[1])), tile, step)


def _columns(count: int, ideal: float) -> int:
    """Return how many columns: of those near the ideal number the one that leaves the last row fullest."""
    near = range(max(1, math.floor(0.85 * ideal)), min(count, math.ceil(1.2 * ideal)) + 1)
    return min(near, key=lambda columns: (-count % columns / columns > 0.35, abs(columns - ideal)), default=count)


def mosaic(maps: np.ndarray, grid: Grid, *, cmap: str, low: float, high: float) -> np.ndarray:
    """Return the tiles of a grid as one picture, white between: float32 [y, x, rgb].

    A map larger than its tile is averaged; a value that is not finite is grey.
    """
    paper = np.ones((grid.rows * grid.step[0], grid.columns * grid.step[1], 3), np.float32)
    colours, norm = colormaps[cmap], Normalize(low, high)
    for number, values in enumerate(maps):
        y, x = grid.corner(number)
        drawn = resized(values, grid.tile)
        tile = colours(norm(np.nan_to_num(drawn, posinf=0.0, neginf=0.0)))[..., :3]
        tile[~np.isfinite(drawn)] = EMPTY
        paper[y : y + grid.tile[0], x : x + grid.tile[1]] = tile
    return paper


def resized(values: np.ndarray, tile: tuple[int, int]) -> np.ndarray:
    """Return a map [y, x] as large as a tile: its places as squares where it is smaller, averaged where it is larger."""
    if values.shape == tile:
        return values
    method = Image.Resampling.NEAREST if values.shape[0] <= tile[0] else Image.Resampling.BOX
    return np.asarray(Image.fromarray(values).resize((tile[1], tile[0]), method))


def _tiles(axes: Axes, maps: np.ndarray, numbers: Sequence[int], grid: Grid, stat: str, low: float, high: float) -> None:
    drawn = mosaic(maps, grid, cmap=_cmap(stat), low=low, high=high)
    bare(axes).imshow(drawn, interpolation="nearest", extent=(0, drawn.shape[1], drawn.shape[0], 0), aspect="auto")
    tall, wide = grid.tile
    size = 7.5 if grid.step[1] >= 0.45 * _dpi() else 6
    for number, unit in enumerate(numbers):
        y, x = grid.corner(number)
        axes.plot([x, x + wide, x + wide, x, x], [y, y, y + tall, y + tall, y], color=LINE, linewidth=0.4)
        axes.text(x, y + tall + 3, str(unit), fontsize=size, color=FAINT, va="top")


def _cmap(stat: str) -> str:
    return SIGNED if stat == "mean" else UNSIGNED


def _lines(words: Sequence[str]) -> int:
    return sum(len(_wrapped(line)) for line in words)


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(shortened(line, 180), 29) or [""]


def _side(
    figure: Figure, picture: np.ndarray | None, words: Sequence[str], maps: np.ndarray, stat: str, low: float, high: float
) -> None:
    """Draw the left column: the image, what is said of it, the scale."""
    edge, at = SIDE - 0.35, TOP
    if picture is not None:
        tall = min(1.0, picture.shape[0] / picture.shape[1]) * edge
        axes = bare(place(figure, MARGIN, at, edge, tall))
        smooth = "nearest" if max(picture.shape[:2]) < CRISP else "antialiased"
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation=smooth)
        axes.set_anchor("NW")
        at += tall + 0.08
    whole_width, whole_height = figure.get_size_inches()
    lines = [(line, number == 0) for number, text in enumerate(words) for line in _wrapped(text)]
    for number, (line, first) in enumerate(lines):
        y = 1 - (at + 0.17 * number) / whole_height
        figure.text(MARGIN / whole_width, y, line, fontsize=8.5, color=INK if first else FAINT, va="top")
    _bar(place(figure, MARGIN, at + 0.17 * len(lines) + 0.15, edge, 0.12), maps, stat, low, high)


def _bar(axes: Axes, maps: np.ndarray, stat: str, low: float, high: float) -> None:
    """Draw the scale that all maps share, and say where it ends below the largest value."""
    axes.imshow(np.linspace(low, high, 256)[None], cmap=_cmap(stat), aspect="auto", extent=(low, high, 0, 1))
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, symmetric=stat == "mean"))
    axes.tick_params(labelsize=7.5, length=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    most = float(np.nanmax(np.where(np.isfinite(maps), np.abs(maps), 0)))
    beyond = f"\ncovers {CLIP:.1%} of the values,\nthe largest is {most:.3g}" if most > high * 1.0001 else ""
    axes.set_xlabel(f"activation, one scale for all{beyond}", fontsize=8, loc="left")
