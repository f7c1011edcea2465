"""Whether two images look the same, by their thumbnails.

Thumbnails are compared at every shift of at most one pixel each way. The likeness is the correlation of their detail: each
grey value less the mean of the 3 × 3 around it, over the part that overlaps. Unlike a plain difference it tells two
different pairs of trousers apart and is unmoved by brightness; an image without any detail is like nothing. The difference
is the mean absolute one of their colour values, 0 to 255, at the best shift, after the second one's brightness and contrast
are fitted to the first's.

How alike two must be depends on what is usual: among trousers of one cut strangers have a likeness of 0.95.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from atlas.data.parallel import ordered
from atlas.data.records import Images

LEAST_LIKENESS = 0.85  # pictures of 32 pixels encoded anew keep 0.9 at JPEG quality 85; strangers' detail has 0 ± 0.1
BEYOND = 1.25  # above the usual, on Fisher's scale: where one pair of trousers is like the next by 0.9, twins have 0.984
CERTAIN = 0.985  # whatever is usual: on Fashion-MNIST each of the pairs above is one picture
SEVERAL = 5  # pairs of one image, from which on their median says what is usual for it
MOST_DIFFERENCE = 12.0  # of 255: JPEG at quality 40 stays below in 99 of 100 thumbnails of 28 pixels
EDGE = 32  # pixels: larger thumbnails are reduced, so that a pixel's shift is one of the whole picture
SHIFT = 1
SHIFTS = [(y, x) for y in range(-SHIFT, SHIFT + 1) for x in range(-SHIFT, SHIFT + 1)]
PAIRS = 64  # pairs at a time: 64 × 32 × 32 float32 are 256 kB, which a processor core keeps at hand; 256 take twice as long
FLAT = 1.0  # below: no detail but rounding
CONTRAST = (0.5, 2.0)  # the contrast of the second may be fitted by this factor


@dataclass(frozen=True)
class Comparison:
    """Likeness (−1 … 1) of pairs of images, the least with which each is alike, and the difference of those that are."""

    likeness: np.ndarray  # float64 [pair]
    least: np.ndarray  # float64 [pair]
    difference: np.ndarray  # float64 [pair], 0 … 255, NaN of those that are not alike

    @property
    def same(self) -> np.ndarray:
        """Whether the two look the same: bool [pair]."""
        return (self.likeness >= self.least) & (self.difference <= MOST_DIFFERENCE)


def compare(images: Images, first: np.ndarray, second: np.ndarray) -> Comparison:
    """Return how alike the thumbnails of pairs of images are, rows `first` [pair] and `second` [pair].

    What is usual is judged among the pairs of one second image.
    """
    rows, place = np.unique(np.concatenate([first, second]), return_inverse=True)
    grey = thumbnails(images, rows, mode="L")
    a, b = place[: len(first)], place[len(first) :]
    parts = (slice(start, start + PAIRS) for start in range(0, len(first), PAIRS))
    found = ordered(lambda part: likeness(grey[a[part]], grey[b[part]]), parts, chunk=4)
    likenesses = np.concatenate([np.empty(0), *found])
    least = least_likeness(likenesses, second)
    alike = np.flatnonzero(likenesses >= least)
    differences = np.full(len(first), np.nan)
    differences[alike] = difference(*(thumbnails(images, side[alike], mode="RGB") for side in (first, second)))
    return Comparison(likenesses, least, differences)


def least_likeness(likenesses: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return the likeness from which on the two of a pair look the same, float64 [pair].

    BEYOND the median of the pairs of its `group` [pair], or of all pairs where those are not SEVERAL, on Fisher's scale (the
    inverse hyperbolic tangent of a correlation), but no less than LEAST_LIKENESS and no more than CERTAIN.
    """
    own = pd.Series(np.arctanh(np.clip(likenesses, -0.999, 0.999)))
    grouped = own.groupby(group)
    general = float(own.median()) if len(own) >= SEVERAL else 0.0
    usual = grouped.transform("median").where(grouped.transform("size") >= SEVERAL, general)
    return np.clip(np.tanh(usual.to_numpy(np.float64) + BEYOND), LEAST_LIKENESS, CERTAIN)


def likeness(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the likeness of pairs of grey thumbnails, uint8 [pair, y, x]: float32 [pair]."""
    return correlations(detail(first), detail(second)).max(axis=0)


def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the difference of pairs of thumbnails, uint8 [pair, y, x, rgb], at the shift where they are most alike."""
    grey = [pixels.mean(axis=3, dtype=np.float32) for pixels in (first, second)]
    best = correlations(detail(grey[0]), detail(grey[1])).argmax(axis=0)
    found = np.empty(len(first))
    for number, shift in enumerate(SHIFTS):
        mine = best == number
        found[mine] = fitted_difference(window(first[mine], (0, 0)), window(second[mine], shift))
    return found


def window(pixels: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    """Return the part of each image that lies SHIFT pixels from its edge, moved by `shift` (y, x)."""
    edge = pixels.shape[1] - SHIFT
    y, x = shift
    return pixels[:, SHIFT + y : edge + y, SHIFT + x : edge + x]


def detail(grey: np.ndarray) -> np.ndarray:
    """Return each grey value less the mean of the 3 × 3 around it: float32 [pair, y, x]."""
    padded = np.pad(grey.astype(np.float32), ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return padded[:, 1:-1, 1:-1] - (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9


def correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the correlation of pairs [pair, y, x] at each of SHIFTS: float32 [shift, pair]; 0 where one of them is flat."""
    a = window(first, (0, 0))
    a = a - a.mean(axis=(1, 2), keepdims=True)  # with its mean at 0, that of the other does not matter to their product
    power = np.einsum("nyx,nyx->n", a, a)
    found = np.zeros((len(SHIFTS), len(first)), np.float32)
    for out, shift in zip(found, SHIFTS, strict=True):
        b = window(second, shift)
        size = power * (np.einsum("nyx,nyx->n", b, b) - b.sum(axis=(1, 2)) ** 2 / (b.shape[1] * b.shape[2]))
        np.divide(np.einsum("nyx,nyx->n", a, b), np.sqrt(np.maximum(size, 0)), out=out, where=size > FLAT)
    return found


def fitted_difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the mean absolute difference of pairs after the second is fitted to the first by offset and contrast."""
    a, b = (centred(part) for part in (first, second))
    power = np.einsum("nv,nv->n", b, b)
    gain = np.divide(np.einsum("nv,nv->n", a, b), power, out=np.ones(len(a)), where=power > 0)
    return np.abs(a - np.clip(gain, *CONTRAST)[:, None] * b).mean(axis=1)


def centred(pixels: np.ndarray) -> np.ndarray:
    """Return the values of each as one row less its mean: float64 [pair, value]."""
    flat = pixels.reshape(len(pixels), int(np.prod(pixels.shape[1:]))).astype(np.float64)
    return flat - flat.mean(axis=1, keepdims=True)


def thumbnails(images: Images, rows: np.ndarray, *, mode: str) -> np.ndarray:
    """Return the thumbnails of images, at most EDGE pixels, each sheet read once.

    uint8 [row, y, x] for `mode` L, [row, y, x, rgb] for RGB.
    """
    columns, edge = images.sheet_columns, images.thumbnail_edge
    small, sheets = min(EDGE, edge), list(images.thumbnails.values())
    found = np.empty((len(rows), small, small, *((3,) if mode == "RGB" else ())), np.uint8)
    sheet, slot = np.divmod(rows, columns * columns)

    def fill(number: int) -> None:
        mine = np.flatnonzero(sheet == number)
        with Image.open(sheets[number]) as opened:
            found[mine] = cut(opened.convert(mode), slot[mine], columns, edge, small)

    for _ in ordered(fill, np.unique(sheet).tolist(), chunk=1):
        pass
    return found


def cut(sheet: Image.Image, slots: np.ndarray, columns: int, edge: int, small: int) -> np.ndarray:
    """Return the cells of a sheet, reduced to `small` pixels: uint8 [cell, y, x] or [cell, y, x, rgb]."""
    if small < edge:  # the whole sheet at once; its cells stay whole, for they are reduced by one factor
        sheet = sheet.resize((columns * small, columns * small), Image.Resampling.BOX)
    pixels = np.asarray(sheet)
    grid = pixels.reshape(columns, small, columns, small, *pixels.shape[2:]).swapaxes(1, 2)
    return grid.reshape(columns * columns, small, small, *pixels.shape[2:])[slots]
