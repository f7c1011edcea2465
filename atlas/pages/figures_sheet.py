"""A contact sheet: an image and those nearest to it, with label and distance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atlas.errors import AtlasError
from atlas.pages.figures_style import BLUE, FAINT, INK, heading, place, shortened, styled

TILE, GAP, CAPTION = 1.3, 0.18, 0.5  # inches
MARGIN = 0.25
LETTERS, FAINT_LETTERS = 13.5, 15.5  # of a caption in an inch: of the label, of the smaller lines under it
CRISP = 64  # pixels: a smaller image is shown with its pixels, not blurred
WRONG = "#c0370c"  # the name of an image that was predicted wrong, as in the explorer


@styled
def contact_sheet(
    query: Any | None,
    images: Sequence[Any],
    captions: Sequence[str],
    *,
    wrong: Sequence[bool] = (),
    query_caption: str = "query",
    query_wrong: bool = False,
    title: str = "",
    note: str = "",
    columns: int | None = None,
) -> Figure:
    """Draw `images` in a grid with their `captions`, after a larger `query` where there is one.

    Images are Pillow images or uint8 arrays [y, x] or [y, x, rgb]; None stands for one that cannot be read. The first line
    of a caption is the label, the next two are fainter; where `wrong` [image] holds, and for the query where `query_wrong`
    does, the label is red. `title` stands above, `note` fainter under it.
    """
    _check(query, images, captions, wrong)
    columns = columns or min(max(len(images), 1), 5 if len(images) <= 20 else 10)
    rows = max(1, math.ceil(len(images) / columns))
    top = MARGIN + (0.36 if title else 0.0) + (0.24 if note else 0.0)
    cell = (TILE + GAP, TILE + GAP + CAPTION)
    big = 0.0 if query is None else TILE * min(rows, 2) + (GAP + CAPTION) * (min(rows, 2) - 1)
    left = MARGIN + (big + 2.4 * GAP if big else 0.0)
    width = left + columns * cell[0] - GAP + MARGIN
    figure = Figure(
        figsize=(max(width, MARGIN + 0.085 * max(len(title) * 1.25, len(note))), top + rows * cell[1] - GAP + 0.14)
    )
    if title or note:
        heading(figure, shortened(title, 100), shortened(note, 160), left=MARGIN)
    if query is not None:
        _tile(place(figure, MARGIN, top, big, big), query, query_caption, frame=BLUE, wrong=query_wrong, inches=big)
    for position, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(position, columns)
        axes = place(figure, left + column * cell[0], top + row * cell[1], TILE, TILE)
        _tile(axes, image, caption, wrong=bool(len(wrong) and wrong[position]))
    return figure


def _check(query: Any | None, images: Sequence[Any], captions: Sequence[str], wrong: Sequence[bool]) -> None:
    if len(images) != len(captions):
        raise AtlasError(f"{len(images)} images and {len(captions)} captions: a contact sheet wants one caption per image")
    if len(wrong) not in (0, len(images)):
        raise AtlasError(f"{len(images)} images and {len(wrong)} marks of wrong ones: give one per image, or none")
    if not images and query is None:
        raise AtlasError("a contact sheet of no images: give at least one")


def _tile(
    axes: Axes, image: Any | None, caption: str, *, frame: str | None = None, wrong: bool = False, inches: float = TILE
) -> None:
    """Draw one image in a square of `inches`, its caption under it: one line of label, two fainter."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal")
    for spine in axes.spines.values():
        spine.set(visible=True, color=frame or "#e3e6ea", linewidth=2.4 if frame else 0.6)
    if image is None:
        _cross(axes)
    else:
        show(axes, image)
    label, *more = (caption or "").split("\n")
    label, weight = shortened(label, round(inches * LETTERS)), "bold" if frame else "normal"
    _line(axes, label, 0, color=WRONG if wrong else INK, fontsize=8.5, fontweight=weight)
    for number, text in enumerate(more[:2], start=1):
        _line(axes, shortened(text, round(inches * FAINT_LETTERS)), number, color=FAINT, fontsize=8)


def _line(axes: Axes, text: str, number: int, **style: Any) -> None:
    """Write the line `number` (from 0) of a caption under `axes`."""
    offset = (0, -5 - 11.5 * number)
    axes.annotate(text, (0, 0), offset, "axes fraction", textcoords="offset points", va="top", **style)


def show(axes: Axes, picture: Any) -> None:
    """Show a picture, a Pillow image or uint8 array, in the middle of the square, its longer side filling it."""
    pixels = np.asarray(picture)
    height, width = pixels.shape[:2]
    edge = max(height, width)
    axes.set_facecolor("#f4f5f6")
    interpolation = "nearest" if edge < CRISP else "antialiased"
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation=interpolation, extent=(0, width, height, 0))
    axes.set_xlim((width - edge) / 2, (width + edge) / 2)
    axes.set_ylim((height + edge) / 2, (height - edge) / 2)


def _cross(axes: Axes) -> None:
    axes.set_facecolor("#eceef0")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.plot([0.3, 0.7, np.nan, 0.3, 0.7], [0.3, 0.7, np.nan, 0.7, 0.3], color="#b9c0c8", linewidth=1.5)
