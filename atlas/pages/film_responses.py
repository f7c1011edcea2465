"""The frames of a film of activation responses: an image, and what every unit of every layer makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps

from atlas.pages.figures_maps import SIGNED, UNSIGNED, resized
from atlas.pages.figures_sheet import WRONG
from atlas.pages.figures_style import BLUE, FAINT, INK, VERMILION
from atlas.pages.film_canvas import Canvas, scaled

MARGIN, HEAD, FOOT, BETWEEN = 24, 84, 44, 14  # pixels: around, of the title, of the note, between layers
SIDE, NAMES = 208, 108  # pixels of the left column, and of the layers' names
GAP = 3  # pixels between maps
LARGEST, LEAST = 56, 36  # pixels of a map's longer side: at most, and from which a layer takes no further row
CELL, LEAST_CELL = 18, 10  # the same of a unit without places
ROWS = (1, 2, 3, 4, 6, 8)
MOST_UNITS = 512  # of a layer that are shown
SPLIT_COLOURS = {"train": VERMILION, "held-out": BLUE}
SPLIT_WORDS = {"train": "TRAINING IMAGE", "held-out": "HELD OUT", "unknown": ""}
TRACK = "#e3e6ea"


@dataclass(frozen=True)
class Layer:
    """One layer of the film: its name, the size of its maps y, x, each unit's range over all images: float32 [unit]."""

    name: str
    size: tuple[int, int]
    low: np.ndarray
    high: np.ndarray

    @property
    def count(self) -> int:
        """How many of its units are shown."""
        return min(len(self.high), MOST_UNITS)

    @property
    def signed(self) -> bool:
        """Whether some unit goes below zero."""
        return bool((self.low < 0).any())


@dataclass(frozen=True)
class Shown:
    """One image of the film: uint8 [y, x] or [y, x, rgb], its class, its split, in words what the network says of it."""

    picture: np.ndarray
    label: str
    split: str
    said: str
    wrong: bool


@dataclass(frozen=True)
class Band:
    """How a layer's maps lie: `edge` pixels the longer side, so many a row, from `top` down."""

    top: int
    edge: int
    columns: int
    rows: int

    @property
    def height(self) -> int:
        """Pixels from its first row to the end of its last."""
        return self.rows * (self.edge + GAP) - GAP


def bands(layers: Sequence[Layer], width: int) -> list[Band]:
    """Return how the layers lie one under the other in a frame of `width` pixels."""
    room, top, found = width - 2 * MARGIN - SIDE - NAMES, HEAD, []
    for layer in layers:
        largest, least = (CELL, LEAST_CELL) if layer.size == (1, 1) else (LARGEST, LEAST)
        for rows in ROWS:
            columns = -(-layer.count // rows)
            edge = min(largest, (room + GAP) // columns - GAP)
            if edge >= least:
                break
        band = Band(top, max(1, edge), columns, -(-layer.count // columns))
        found.append(band)
        top += max(band.height, 30) + BETWEEN
    return found


def height_of(layers: Sequence[Layer], width: int) -> int:
    """Return the height of a frame of `width` pixels; even, as videos want it."""
    last = bands(layers, width)[-1]
    return 2 * ((max(last.top + max(last.height, 30), HEAD + SIDE + 110) + FOOT + 1) // 2)


def response_frames(
    images: Sequence[Shown],
    maps: Iterator[Mapping[str, np.ndarray]],
    layers: Sequence[Layer],
    *,
    title: str,
    note: str,
    width: int,
) -> Iterator[np.ndarray]:
    """Yield a frame per image, uint8 [y, x, rgb]: `maps` gives each image's, by layer float32 [unit, y, x].

    Each unit is drawn from zero to the largest value that it has in the whole film, one with values below zero symmetric
    about it.
    """
    lies, height = bands(layers, width), height_of(layers, width)
    background = _background(layers, lies, title, note, width, height)
    for number, (image, own) in enumerate(zip(images, maps, strict=True), 1):
        canvas = background.copy()
        _image(canvas, image)
        if len(images) > 1:
            counter = f"{number} of {len(images)}"
            canvas.text(width - MARGIN, 22, counter, size=14, colour=FAINT, width=140, right=True)
            canvas.box(0, height - 4, width * number / len(images), 4, BLUE)
        for layer, band in zip(layers, lies, strict=True):
            canvas.picture(MARGIN + SIDE + NAMES, band.top, mosaic(own[layer.name], layer, band))
        yield canvas.pixels


def mosaic(maps: np.ndarray, layer: Layer, band: Band) -> np.ndarray:
    """Return a layer's maps [unit, y, x] as one picture, white between: uint8 [y, x, rgb]."""
    tall, wide = layer.size
    tile = max(1, round(band.edge * tall / max(tall, wide))), max(1, round(band.edge * wide / max(tall, wide)))
    step = band.edge + GAP
    paper = np.full((band.height, band.columns * step - GAP, 3), 255, np.uint8)
    table = (colormaps[SIGNED if layer.signed else UNSIGNED](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    most = np.maximum(np.abs(layer.low), np.abs(layer.high))
    for unit in range(layer.count):
        row, column = divmod(unit, band.columns)
        values = resized(np.nan_to_num(maps[unit], posinf=0.0, neginf=0.0), tile)
        share = values / most[unit] if most[unit] > 0 else np.zeros(tile)
        level = (share + 1) / 2 if layer.signed else share
        pixels = table[np.clip(level * 255, 0, 255).round().astype(int)]
        paper[row * step : row * step + tile[0], column * step : column * step + tile[1]] = pixels
    return paper


def _background(layers: Sequence[Layer], lies: Sequence[Band], title: str, note: str, width: int, height: int) -> Canvas:
    canvas = Canvas(width, height)
    canvas.text(MARGIN, 20, title, size=20, colour=INK, width=width - 2 * MARGIN - 150, bold=True)
    canvas.text(MARGIN, 50, note, size=12, colour=FAINT, width=width - 2 * MARGIN)
    left = MARGIN + SIDE
    for layer, band in zip(layers, lies, strict=True):
        canvas.text(left, band.top, layer.name, size=13, colour=INK, width=NAMES - 8, bold=True)
        size = "values" if layer.size == (1, 1) else f"maps, {layer.size[0]}×{layer.size[1]}"
        more = f" of {len(layer.high)}" if layer.count < len(layer.high) else ""
        canvas.text(left, band.top + 17, f"{layer.count}{more} {size}", size=11, colour=FAINT, width=NAMES - 8)
    canvas.box(0, height - 4, width, 4, TRACK)
    return canvas


def _image(canvas: Canvas, image: Shown) -> None:
    picture = image.picture if image.picture.ndim == 3 else image.picture[..., None]
    pixels = scaled(picture, SIDE - 24)
    canvas.picture(MARGIN, HEAD, pixels)
    y = HEAD + pixels.shape[0] + 10
    if words := SPLIT_WORDS[image.split]:
        canvas.box(MARGIN, y, 8, 14, SPLIT_COLOURS[image.split])
        canvas.text(MARGIN + 14, y, words, size=12, colour=SPLIT_COLOURS[image.split], width=SIDE - 38, bold=True)
        y += 22
    canvas.text(MARGIN, y, image.label, size=16, colour=INK, width=SIDE - 24, bold=True)
    canvas.lines(MARGIN, y + 24, image.said, size=12, colour=WRONG if image.wrong else FAINT, width=SIDE - 24, most=3)
