"""Thumbnails: each image fitted into a square cell, the cells in image order, row by row, in WebP sheets."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from PIL import Image, ImageDraw

from atlas.data.parallel import ordered
from atlas.data.records import Images

BACKGROUND = 128  # mid grey: no image's own edge, neither on a dark nor on a light page
CROSS = 96  # the cross of an image that does not decode
QUALITY, SMALL_QUALITY = (
    80,
    90,
)  # cells of at most 32 px show their blocks; measured mean |Δ| on Fashion-MNIST at 90: 1.0 of 255


def default_edge(longest: int) -> int:
    """Return the edge of thumbnails, in pixels, for images whose longest side is `longest` pixels."""
    return 28 if longest <= 28 else 32 if longest <= 32 else 64


def columns_for(edge: int) -> int:
    """Return how many thumbnails of `edge` pixels stand beside each other in a sheet of at most 2 048 pixels."""
    return max(1, min(50, 2048 // edge))


def fit(width: int, height: int, edge: int) -> tuple[int, int]:
    """Return the size at which an image is shown in a square of `edge`: reduced to fit, or a whole multiple of its own."""
    longest = max(width, height)
    if longest > edge:
        return max(1, round(width * edge / longest)), max(1, round(height * edge / longest))
    return width * (edge // longest), height * (edge // longest)


def cell(image: Image.Image | None, edge: int) -> np.ndarray:
    """Return the thumbnail of `image` (mode L or RGB; None: it does not decode): uint8 [y, x] or [y, x, rgb].

    An image larger than the square is reduced by Lanczos; a smaller one is shown in whole multiples of its pixels, so
    that one of just this size keeps its pixels.
    """
    if image is None:
        return missing(edge)
    size = fit(*image.size, edge)
    if size != image.size:
        smaller = size[0] < image.size[0] or size[1] < image.size[1]
        # reducing_gap: photographs are first shrunk by whole steps, which the eye cannot tell from Lanczos alone
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0) if smaller else _enlarge(image, size)
    canvas = Image.new(image.mode, (edge, edge), (BACKGROUND,) * len(image.getbands()))
    canvas.paste(image, ((edge - size[0]) // 2, (edge - size[1]) // 2))
    return np.asarray(canvas)


def _enlarge(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize(size, Image.Resampling.NEAREST)


def missing(edge: int) -> np.ndarray:
    """Return the cell of an image that does not decode, grey with a cross: uint8 [y, x]."""
    canvas = Image.new("L", (edge, edge), BACKGROUND)
    draw, inset = ImageDraw.Draw(canvas), edge // 4
    far = edge - 1 - inset
    width = max(1, edge // 16)
    draw.line((inset, inset, far, far), CROSS, width)
    draw.line((inset, far, far, inset), CROSS, width)
    return np.asarray(canvas)


def cells(pixels: np.ndarray, edge: int) -> np.ndarray:
    """Return the thumbnails of images of one size, all at once: uint8 [image, y, x] or [image, y, x, rgb], as given."""
    height, width = pixels.shape[1:3]
    if max(height, width) > edge:
        return np.stack([cell(Image.fromarray(one), edge) for one in pixels])
    if (height, width) == (edge, edge):
        return pixels
    times = edge // max(height, width)
    canvas = np.full((len(pixels), edge, edge, *pixels.shape[3:]), BACKGROUND, np.uint8)
    top, left = (edge - height * times) // 2, (edge - width * times) // 2
    large = pixels.repeat(times, axis=1).repeat(times, axis=2)
    canvas[:, top : top + height * times, left : left + width * times] = large
    return canvas


def sheets(images: Iterable[Image.Image | None], *, edge: int, columns: int) -> Iterator[tuple[str, bytes]]:
    """Yield name and WebP bytes of each sheet of `columns` × `columns` thumbnails of `images` (modes L and RGB; or None)."""
    return encode(blocks((cell(image, edge) for image in images), columns), columns=columns)


def blocks(single: Iterable[np.ndarray], columns: int) -> Iterator[np.ndarray]:
    """Yield thumbnails ([y, x] and [y, x, rgb] mixed) stacked sheet by sheet; a sheet all grey stays [image, y, x]."""
    waiting = iter(single)
    while group := list(islice(waiting, columns * columns)):
        if any(one.ndim == 3 for one in group):
            group = [one if one.ndim == 3 else np.repeat(one[..., None], 3, axis=2) for one in group]
        yield np.stack(group)


def encode(stacked: Iterable[np.ndarray], *, columns: int, first: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield name and WebP bytes of each sheet, numbered from `first`; `stacked` holds at most `columns` × `columns` each."""
    for number, body in enumerate(ordered(lambda block: _webp(block, columns), stacked, chunk=1), first):
        yield f"{number:03d}.webp", body


def tile(block: np.ndarray, columns: int) -> np.ndarray:
    """Return one sheet from at most `columns` × `columns` thumbnails, row by row, the rest background.

    `block` is uint8 [image, y, x] or [image, y, x, rgb]; all sheets of an atlas have one size.
    """
    edge, rgb = block.shape[1], block.shape[3:]
    full = np.full((columns * columns, edge, edge, *rgb), BACKGROUND, np.uint8)
    full[: len(block)] = block
    grid = full.reshape(columns, columns, edge, edge, *rgb)  # [sheet row, sheet column, y, x, …]
    return grid.swapaxes(1, 2).reshape(columns * edge, columns * edge, *rgb)


def slot(row: int, *, columns: int) -> tuple[int, int, int]:
    """Return where the thumbnail of the image `row` is: number of the sheet, row and column in it."""
    sheet, place = divmod(row, columns * columns)
    return (sheet, *divmod(place, columns))


def thumbnail(images: Images, row: int) -> Image.Image:
    """Return the thumbnail of one image, cut out of its sheet."""
    sheet, down, right = slot(row, columns=images.sheet_columns)
    edge = images.thumbnail_edge
    with Image.open(list(images.thumbnails.values())[sheet]) as opened:
        return opened.crop((right * edge, down * edge, (right + 1) * edge, (down + 1) * edge))


def _webp(block: np.ndarray, columns: int) -> bytes:
    file = io.BytesIO()
    quality = SMALL_QUALITY if block.shape[1] <= 32 else QUALITY
    # method 2 encodes twice as fast as Pillow's default of 4, for 2 % more bytes
    Image.fromarray(tile(block, columns)).save(file, "WEBP", quality=quality, method=2)
    return file.getvalue()
