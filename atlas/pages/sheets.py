"""The sheets of thumbnails that a report carries: those of the atlas, made smaller in pixels and in bytes."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from atlas.data.records import Images
from atlas.data.thumbnails import columns_for, tile
from atlas.machine import threads_given
from atlas.pages.kept import kept

TRIED = 1200  # thumbnails that a size is estimated on: two such draws of Fashion-MNIST differ by 1 %
METHOD = 4  # WebP's effort: 2 takes 2 % more bytes, 6 four times as long for 4 % less


class Cells:
    """The thumbnails of chosen images, cut from the sheets of an atlas; each sheet is opened once."""

    def __init__(self, images: Images, rows: np.ndarray):
        self.images, self.rows = images, rows  # the whole record, and the rows wanted of it
        self.paths = list(images.thumbnails.values())

    @functools.lru_cache(maxsize=2)  # noqa: B019 - lives as long as one report is made; rows ascend, so two are enough
    def _sheet(self, number: int) -> np.ndarray:
        edge, columns = self.images.thumbnail_edge, self.images.sheet_columns
        with Image.open(self.paths[number]) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        grid = pixels.reshape(columns, edge, columns, edge, 3).swapaxes(1, 2)
        return grid.reshape(columns * columns, edge, edge, 3)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return thumbnails by row of the whole record: uint8 [row, y, x, rgb]."""
        sheets, slots = np.divmod(rows, self.images.sheet_columns**2)
        found = np.empty((len(rows), *(self.images.thumbnail_edge,) * 2, 3), np.uint8)
        for number in np.unique(sheets):
            mine = sheets == number
            found[mine] = self._sheet(int(number))[slots[mine]]
        return found

    def sheets(self, edge: int, quality: int) -> Iterator[bytes]:
        """Yield the sheets of the rows in their order as WebP, each thumbnail reduced to `edge` pixels."""
        full = columns_for(edge) ** 2
        blocks = [self.rows[start : start + full] for start in range(0, len(self.rows), full)]
        with ThreadPoolExecutor(threads_given()) as pool:
            for start in range(0, len(blocks), 4):  # four sheets in memory at a time
                pixels = [reduced(self.take(block), edge) for block in blocks[start : start + 4]]
                yield from pool.map(lambda block: webp(block, columns_for(edge), quality), pixels)

    @kept
    def bytes_each(self, edge: int, quality: int) -> float:
        """Return the bytes that a thumbnail takes, on a seeded draw of TRIED."""
        if not len(self.rows):
            return 0.0
        return len(webp(reduced(self.drawn, edge), int(np.ceil(len(self.drawn) ** 0.5)), quality)) / len(self.drawn)

    @functools.cached_property
    def drawn(self) -> np.ndarray:
        """A seeded draw of TRIED thumbnails, over all rows: uint8 [row, y, x, rgb]."""
        return self.take(np.sort(np.random.default_rng(0).choice(self.rows, min(TRIED, len(self.rows)), replace=False)))


def reduced(pixels: np.ndarray, edge: int) -> np.ndarray:
    """Return thumbnails [image, y, x, rgb] reduced to `edge` pixels by Lanczos; as they are where that is their edge."""
    if pixels.shape[1] == edge:
        return pixels
    return np.stack([np.asarray(Image.fromarray(one).resize((edge, edge), Image.Resampling.LANCZOS)) for one in pixels])


def webp(block: np.ndarray, columns: int, quality: int) -> bytes:
    """Return one sheet of thumbnails as WebP."""
    file = io.BytesIO()
    Image.fromarray(tile(block, columns)).save(file, "WEBP", quality=quality, method=METHOD)
    return file.getvalue()
