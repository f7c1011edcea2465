"""The frames of a film of nearest images: a query at the left, its neighbours beside it, those with its label framed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from atlas.pages.figures_neighbours import Row, Tile
from atlas.pages.figures_style import BLUE, FAINT, GREEN, INK
from atlas.pages.film_canvas import Canvas, scaled

MARGIN, HEAD, FOOT, GAP, WORDS = 24, 86, 20, 14, 40  # pixels: around, of the title, at the end, between, under a picture
QUERY, TILE, COLUMNS = 256, 128, 5  # pixels of the pictures' sides, neighbours in a row
FRAME = 4
TRACK = "#e3e6ea"


def size_of(neighbours: int) -> tuple[int, int]:
    """Return width and height of a frame with so many neighbours; even, as videos want it."""
    columns, rows = min(COLUMNS, max(1, neighbours)), -(-max(1, neighbours) // COLUMNS)
    height = max(QUERY + 90, rows * (TILE + WORDS + GAP))
    return MARGIN * 3 + QUERY + columns * (TILE + GAP), 2 * ((HEAD + height + FOOT + 1) // 2)


def neighbour_frames(rows: Sequence[Row], *, title: str, note: str) -> Iterator[np.ndarray]:
    """Yield a frame per row, uint8 [y, x, rgb]."""
    width, height = size_of(max(len(row.neighbours) for row in rows))
    for number, row in enumerate(rows, 1):
        canvas = Canvas(width, height)
        canvas.text(MARGIN, 20, title, size=18, colour=INK, width=width - 2 * MARGIN - 90, bold=True)
        canvas.text(MARGIN, 48, note, size=12, colour=FAINT, width=width - 2 * MARGIN)
        canvas.text(width - MARGIN, 22, f"{number} of {len(rows)}", size=14, colour=FAINT, width=90, right=True)
        _tile(canvas, row.query, MARGIN, HEAD, QUERY, BLUE)
        share = f"{row.alike} of {len(row.neighbours)} have its label"
        canvas.text(MARGIN, HEAD + QUERY + 52, share, size=15, colour=GREEN if row.alike else FAINT, width=QUERY, bold=True)
        for place, tile in enumerate(row.neighbours):
            down, across = divmod(place, COLUMNS)
            x, y = 2 * MARGIN + QUERY + across * (TILE + GAP), HEAD + down * (TILE + WORDS + GAP)
            _tile(canvas, tile, x, y, TILE, GREEN if tile.alike else None)
        canvas.box(0, height - 4, width, 4, TRACK)
        canvas.box(0, height - 4, width * number / len(rows), 4, BLUE)
        yield canvas.pixels


def _tile(canvas: Canvas, tile: Tile, x: int, y: int, room: int, frame: str | None) -> None:
    picture = np.asarray(tile.picture)
    pixels = scaled(picture if picture.ndim == 3 else picture[..., None], room)
    tall, wide = pixels.shape[:2]
    if frame:
        canvas.box(x - FRAME, y - FRAME, wide + 2 * FRAME, tall + 2 * FRAME, frame)
    canvas.picture(x, y, pixels)
    canvas.text(x, y + tall + 6, tile.label, size=13, colour=INK, width=room, bold=frame is not None)
    canvas.text(x, y + tall + 22, tile.words, size=11, colour=FAINT, width=room)
