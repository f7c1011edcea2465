"""The pages of a film through the units of each layer: the network's drawing at the left, up to 8 × 8 pictures beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from atlas.pages.figures_sheet import WRONG
from atlas.pages.figures_style import BLUE, FAINT, INK, VERMILION
from atlas.pages.film_canvas import Canvas, font, scaled, wrapped

SIDE = 8  # pictures a side of a page, at most
MARGIN, HEAD, FOOT = 24, 86, 70  # pixels: around, of the title and what was drawn, of the notes at the end
GAP, WORDS = 8, 20  # pixels: between pictures, under each
SHARE = 0.27  # of a page's width, for the drawing of the network
LARGEST, WIDEST_GAP = 384, 40  # pixels of a picture's room, and between pictures that are few
SMALL, LARGE, LARGE_FROM = 11, 13, 160  # pixels of the words under a picture, and the room from which they are large
TRACK = "#e3e6ea"
STATES = {"failed": WRONG, "still rising": VERMILION}
SHORT = {"still rising": "rising"}  # where a picture is too narrow


@dataclass(frozen=True)
class Tile:
    """One picture uint8 [y, x, rgb], its unit, and its percentile or state."""

    picture: np.ndarray
    name: str
    value: str


class Lies(NamedTuple):
    """How tiles lie: the longer side of a picture as it is shown, the columns, the pixels from one to the next."""

    side: int
    columns: int
    step: int


@dataclass(frozen=True)
class Sheet:
    """The room of a page of `width` pixels: the network's drawing, the tiles beside it."""

    width: int

    @property
    def drawing(self) -> tuple[int, int]:
        """Width and height of the network's drawing."""
        return round(self.width * SHARE), self.height - 2 * MARGIN

    @property
    def left(self) -> int:
        """Where the tiles begin."""
        return MARGIN + self.drawing[0] + MARGIN

    @property
    def room(self) -> int:
        """Width of the tiles together."""
        return self.width - round(self.width * SHARE) - 3 * MARGIN

    @property
    def height(self) -> int:
        """The page's height: as SIDE × SIDE tiles need."""
        tile = (self.room + GAP) // SIDE - GAP
        return 2 * ((HEAD + SIDE * (tile + WORDS + GAP) - GAP + FOOT + 1) // 2)  # even, as videos want it

    def lies(self, count: int, edge: int) -> Lies:
        """Return how `count` pictures of `edge` pixels a side lie: so that they are the largest that there is room for."""
        high, found = self.height - HEAD - FOOT, []
        for columns in range(1, SIDE + 1):
            rows = -(-count // columns)
            if rows <= SIDE:
                room = min((self.room + GAP) // columns - GAP, (high + GAP) // rows - GAP - WORDS, max(LARGEST, edge))
                side = room // edge * edge or room
                found.append(Lies(side, columns, min((self.room - side) // max(1, columns - 1), side + WIDEST_GAP)))
        return max(found)


@dataclass(frozen=True)
class Chapter:
    """One layer of the film: its tiles, in words what they are, which units are dead; ``marked`` is its name."""

    marked: str
    place: str
    tiles: Sequence[Tile]
    note: str
    counts: str
    foot: str

    @property
    def pages(self) -> list[Sequence[Tile]]:
        """The tiles, page by page."""
        return [self.tiles[start : start + SIDE * SIDE] for start in range(0, len(self.tiles), SIDE * SIDE)]

    def lies(self, sheet: Sheet) -> Lies:
        """Return how the tiles of its fullest page lie; those of the others lie so too."""
        return sheet.lies(min(len(self.tiles), SIDE * SIDE), max(self.tiles[0].picture.shape[:2]))


def unit_pages(
    chapters: Sequence[Chapter], drawings: Sequence[np.ndarray], *, title: str, sheet: Sheet
) -> Iterator[np.ndarray]:
    """Yield the pages of a film, uint8 [y, x, rgb], chapter by chapter.

    ``drawings[i]`` uint8 [y, x, rgb] of `sheet.drawing` is the network with the layer of chapter `i` marked.
    """
    total, done = sum(len(chapter.pages) for chapter in chapters), 0
    for chapter, drawing in zip(chapters, drawings, strict=True):
        background = _background(chapter, drawing, title, sheet)
        for number, tiles in enumerate(chapter.pages, 1):
            canvas, done = background.copy(), done + 1
            pages = f", page {number} of {len(chapter.pages)}" if len(chapter.pages) > 1 else ""
            canvas.text(sheet.width - MARGIN, 24, chapter.place + pages, size=14, colour=FAINT, width=360, right=True)
            _tiles(canvas, tiles, sheet, chapter.lies(sheet))
            canvas.box(0, sheet.height - 4, sheet.width * done / total, 4, BLUE)
            yield canvas.pixels


def _background(chapter: Chapter, drawing: np.ndarray, title: str, sheet: Sheet) -> Canvas:
    canvas = Canvas(sheet.width, sheet.height)
    canvas.picture(MARGIN, MARGIN, drawing)
    canvas.text(MARGIN, 24, title, size=14, colour=FAINT, width=sheet.drawing[0])
    canvas.text(sheet.left, 18, chapter.marked, size=22, colour=INK, width=sheet.room - 370, bold=True)
    canvas.text(sheet.left, 50, chapter.counts, size=13, colour=INK, width=sheet.room)
    end = wrapped(chapter.note, sheet.room, font(12), lines=2)
    y = sheet.height - FOOT + 10
    for line in [*end, *wrapped(chapter.foot, sheet.room, font(12), lines=3 - len(end))]:
        canvas.text(sheet.left, y, line, size=12, colour=FAINT, width=sheet.room)
        y += 17
    canvas.box(0, sheet.height - 4, sheet.width, 4, TRACK)
    return canvas


def _tiles(canvas: Canvas, tiles: Sequence[Tile], sheet: Sheet, lies: Lies) -> None:
    for number, tile in enumerate(tiles):
        row, column = divmod(number, lies.columns)
        _tile(canvas, tile, sheet.left + column * lies.step, HEAD + row * (lies.side + WORDS + GAP), lies.side)


def _tile(canvas: Canvas, tile: Tile, x: int, y: int, room: int) -> None:
    """Draw one picture in its room, in a frame where it did not come out well, its words under it."""
    pixels = scaled(tile.picture, room)
    height, width = pixels.shape[:2]
    if tile.value in STATES:
        canvas.box(x - 3, y - 3, width + 6, height + 6, STATES[tile.value])
    canvas.picture(x, y, pixels)
    size, y = SMALL if room < LARGE_FROM else LARGE, y + height + 4
    colour = STATES.get(tile.value, FAINT)
    words = tile.value
    if font(size, bold=True).getlength(tile.name) + font(size).getlength(words) + 6 > width:
        words = SHORT.get(words, words)
    beside = max(width - font(size).getlength(words) - 6, 0.4 * width)
    taken = canvas.text(x, y, tile.name, size=size, colour=INK, width=beside, bold=True)
    canvas.text(x + width, y, words, size=size, colour=colour, width=width - taken - 6, right=True)
