"""What films are drawn with: text that fits its room, pictures enlarged pixel by pixel, on a canvas of pixels."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from atlas.errors import one_line
from atlas.pages.figures_style import PAPER

LONGEST = 400  # characters of a text that are measured at all


@lru_cache(maxsize=32)
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return our figures' font in a size of pixels; it comes with matplotlib, so that a film looks alike everywhere."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def fitted(text: object, width: float, of: ImageFont.FreeTypeFont) -> str:
    """Return `text` on one line, cut off with an ellipsis where it is wider than `width` pixels."""
    line = one_line(text, LONGEST)
    if of.getlength(line) <= width:
        return line
    longer = bisect_right(range(len(line)), width, key=lambda end: of.getlength(line[:end] + "…"))
    return line[: max(0, longer - 1)].rstrip() + "…"


def wrapped(text: object, width: float, of: ImageFont.FreeTypeFont, *, lines: int) -> list[str]:
    """Return `text` broken between words into at most `lines` lines of `width` pixels, the last one cut off."""
    words, found = one_line(text, LONGEST * lines).split(" "), list[str]()
    while words and len(found) < lines - 1:
        count = next((n for n in range(len(words), 1, -1) if of.getlength(" ".join(words[:n])) <= width), 1)
        found.append(fitted(" ".join(words[:count]), width, of))
        words = words[count:]
    return [*found, fitted(" ".join(words), width, of)] if words else found


class Canvas:
    """A picture under way: white, `width` × `height` pixels."""

    def __init__(self, width: int, height: int):
        self.image = Image.new("RGB", (width, height), PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def copy(self) -> Canvas:
        """Return a canvas with the same picture."""
        other = Canvas(1, 1)
        other.image = self.image.copy()
        other._draw = ImageDraw.Draw(other.image)
        return other

    def text(
        self,
        x: float,
        y: float,
        text: object,
        *,
        size: int,
        colour: str,
        width: float,
        bold: bool = False,
        right: bool = False,
    ) -> float:
        """Write one line with its top left corner, or with `right` its top right one, at `x`, `y`; return its width."""
        of = font(size, bold=bold)
        line = fitted(text, width, of)
        self._draw.text((x, y), line, font=of, fill=colour, anchor="ra" if right else "la")
        return of.getlength(line)

    def lines(self, x: float, y: float, text: object, *, size: int, colour: str, width: float, most: int) -> float:
        """Write at most `most` lines, one under the other; return where the next would begin."""
        for line in wrapped(text, width, font(size), lines=most):
            self.text(x, y, line, size=size, colour=colour, width=width)
            y += round(size * 1.4)
        return y

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Fill a rectangle; one without extent is not drawn."""
        if width >= 1 and height >= 1:
            self._draw.rectangle((round(x), round(y), round(x + width) - 1, round(y + height) - 1), fill=colour)

    def picture(self, x: int, y: int, pixels: np.ndarray) -> None:
        """Put uint8 [y, x, rgb], of one colour or three, at a place."""
        self.image.paste(_as_image(pixels), (x, y))

    @property
    def pixels(self) -> np.ndarray:
        """The picture, uint8 [y, x, rgb]."""
        return np.asarray(self.image)


def _as_image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels)


def scaled(pixels: np.ndarray, room: int) -> np.ndarray:
    """Return a picture uint8 [y, x, rgb] enlarged by the greatest whole factor that fits `room` pixels a side.

    Every pixel stays one, as a square. A picture larger than the room is reduced to it.
    """
    edge = max(pixels.shape[:2])
    if edge <= room:
        return pixels.repeat(room // edge, axis=0).repeat(room // edge, axis=1)
    height, width = (max(1, round(side * room / edge)) for side in pixels.shape[:2])
    return np.asarray(_as_image(pixels).resize((width, height), Image.Resampling.LANCZOS))
