"""Pictures of one feature each, by which units are asked what they answer to: oriented gratings and hues of one luma."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from atlas.data.properties import LUMA
from atlas.errors import AtlasError

ORIENTATIONS = tuple(22.5 * step for step in range(8))  # degrees of the stripes, counter-clockwise from horizontal
PHASES = (0.0, 90.0)  # degrees; two a quarter apart, so that no unit is judged by where a stripe falls
LEAST_PERIOD = 4  # pixels: finer stripes alias in a 3 × 3 kernel with a stride of two
FIRST = 2  # cycles over the image of the coarsest grating
HUES = tuple(30.0 * step for step in range(12))  # degrees: red 0, green 120, blue 240
CELLS = 8  # patches of colour over the image's edge
GREY = 128


def frequencies(edge: int) -> tuple[int, ...]:
    """Return the gratings' cycles over an image of `edge` pixels: FIRST and its doubles, to stripes of LEAST_PERIOD."""
    found: list[int] = []
    while FIRST << len(found) <= edge / LEAST_PERIOD:
        found.append(FIRST << len(found))
    if not found:
        raise AtlasError(
            f"images of {edge} pixels are too small for gratings: {FIRST * LEAST_PERIOD} pixels or more would do"
        )
    return tuple(found)


def grating(size: tuple[int, int, int], orientation: float, cycles: float, phase: float) -> np.ndarray:
    """Return a sine grating of full contrast about mid-grey: uint8 [rgb, y, x] of `size`.

    The stripes lie at `orientation` degrees, counter-clockwise from horizontal; `cycles` over the shorter edge.
    """
    channels, tall, wide = size
    y, x = np.mgrid[:tall, :wide] + 0.5
    angle = np.radians(orientation)
    across = x * np.sin(angle) + y * np.cos(angle)  # y points downwards
    wave = np.cos(2 * np.pi * cycles * across / min(tall, wide) + np.radians(phase))
    return np.repeat(np.round(127.5 + 127.5 * wave).astype(np.uint8)[None], channels, axis=0)


def gratings(size: tuple[int, int, int], orientations: Sequence[float], cycles: Sequence[float]) -> np.ndarray:
    """Return every grating: uint8 [orientation · frequency · phase, rgb, y, x], in that order."""
    return np.stack([grating(size, o, f, p) for o in orientations for f in cycles for p in PHASES])


def hue_colour(hue: float) -> np.ndarray:
    """Return the colour of a hue: float64 [rgb] in 0–1, of mid-grey's luma and of one chroma for all hues."""
    return 0.5 + _chroma() * _direction(hue)


def _direction(hue: float) -> np.ndarray:
    """Return the direction of a hue from grey, of one length in the plane across the grey axis and of no luma."""
    angle = np.radians(hue)
    across = np.cos(angle) * np.array([2, -1, -1]) / 3 + np.sin(angle) * np.array([0, 1, -1]) / np.sqrt(3)
    return across - LUMA @ across


@cache
def _chroma() -> float:
    """The greatest chroma at which every hue of that luma can be shown."""
    return float(0.5 / max(np.abs(_direction(hue)).max() for hue in np.arange(0, 360, 1.0)))


def hues(size: tuple[int, int, int], degrees: Sequence[float]) -> np.ndarray:
    """Return each hue as a whole field and as patches on grey of the same luma: uint8 [hue · 2, rgb, y, x], in that order.

    The patches are a checkerboard of CELLS to the edge: a unit that sees differences only does not answer to a field.
    """
    channels, tall, wide = size
    if channels != 3:
        raise AtlasError("a network of grey images has no hues")
    y, x = np.mgrid[:tall, :wide] * CELLS // min(tall, wide)
    board = ((y + x) % 2).astype(np.float64)
    found = []
    for hue in degrees:
        colour = hue_colour(hue)[:, None, None]
        for share in (np.ones_like(board), board):
            found.append(np.round(255 * (0.5 + (colour - 0.5) * share)).astype(np.uint8))
    return np.stack(found)


def plain(size: tuple[int, int, int]) -> np.ndarray:
    """Return the mid-grey field that answers are measured from: uint8 [1, rgb, y, x]."""
    return np.full((1, *size), GREY, np.uint8)
