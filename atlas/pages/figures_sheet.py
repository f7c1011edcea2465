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

TILE, GAP, CAPTION = 1.3, 0.18, 0.44  # inches
MARGIN = 0.25
CRISP = 64  # pixels: a smaller image is shown with its pixels, not blurred


@styled
def contact_sheet(
    query: Any | None,
    images: Sequence[Any],
    captions: Sequence[str],
    *,
    query_caption: str = "query",
    title: str = "",
    columns: int | None = None,
) -> Figure:
    """Draw `images` in a grid with their `captions`, after a larger `query` where there is one.

    Images are Pillow images or uint8 arrays [y, x] or [y, x, rgb]; None stands for one that cannot be read. The first line
    of a caption is the label, the others are fainter.
    """
    if len(images) != len(captions):
        raise AtlasError(f"{len(images)} images and {len(captions)} captions: a contact sheet wants one caption per image")
    if not images and query is None:
        raise AtlasError("a contact sheet of no images: give at least one")
    columns = columns or min(max(len(images), 1), 5 if len(images) <= 20 else 10)
    rows = max(1, math.ceil(len(images) / columns))
    top = MARGIN + (0.35 if title else 0.0)
    big = 0.0 if query is None else TILE * min(rows, 2) + (GAP + CAPTION) * (min(rows, 2) - 1)
    left = MARGIN + (big + 2 * GAP if big else 0.0)
    cell = (TILE + GAP, TILE + GAP + CAPTION)
    figure = Figure(figsize=(left + columns * cell[0] - GAP + MARGIN, top + rows * cell[1] - GAP + 0.1))
    if title:
        heading(figure, title)
    if query is not None:
        _tile(place(figure, MARGIN, top, big, big), query, query_caption, frame=BLUE, room=round(big * 12))
    for position, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(position, columns)
        _tile(place(figure, left + column * cell[0], top + row * cell[1], TILE, TILE), image, caption)
    return figure


def _tile(axes: Axes, image: Any | None, caption: str, *, frame: str | None = None, room: int = 17) -> None:
    """Draw one image in a square, its caption of at most `room` characters a line under it."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal")
    for spine in axes.spines.values():
        spine.set(visible=True, color=frame or "#e3e6ea", linewidth=2.2 if frame else 0.6)
    if image is None:
        _cross(axes)
    else:
        _show(axes, np.asarray(image))
    label, *more = (caption or "").split("\n")
    axes.annotate(
        shortened(label, room),
        (0, 0),
        (0, -5),
        "axes fraction",
        textcoords="offset points",
        va="top",
        color=INK,
        fontsize=8.5,
    )
    for line, text in enumerate(more[:2], start=1):
        offset = (0, -5 - 11.5 * line)
        axes.annotate(
            shortened(text, room),
            (0, 0),
            offset,
            "axes fraction",
            textcoords="offset points",
            va="top",
            color=FAINT,
            fontsize=8,
        )


def _show(axes: Axes, pixels: np.ndarray) -> None:
    """Show `pixels` in the middle of the square, its longer side filling it."""
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
