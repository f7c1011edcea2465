"""An image file or array as Pillow sees it, turned into 8-bit grey or RGB: hostile files end in a reason, not a crash."""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from atlas.errors import AtlasError, one_line
from atlas.files import kind_of_file

PIXELS = 100_000_000  # of one image; a small file can unfold into far more (a decompression bomb)
# Pillow's readers that are pixels only: no PostScript, which would start a program, no vector or video formats.
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")
KINDS = "png jpg jpeg jpe jfif webp bmp dib gif tif tiff pgm ppm pbm pnm avif jp2 j2k"
SUFFIXES = frozenset(f".{kind}" for kind in KINDS.split())  # in any case
ORIENTATION = 0x0112  # the EXIF tag; 1 is upright. EXIF 2.32, section 4.6.4 A
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BACKGROUNDS = {"white": 255, "black": 0}


class NoFile(OSError):
    """There is something at a path, and it is no file."""


@dataclass(frozen=True)
class Seen:
    """One image as it was read: decoded, or None with the reason in `error`; width, height and mode as they are stored."""

    image: Image.Image | None
    width: int = 0
    height: int = 0
    mode: str = ""
    error: str | None = None


def decode(source: str | os.PathLike[str] | bytes, *, background: str = "white", pixels: int = PIXELS) -> Image.Image:
    """Return the image in the file or bytes `source`, upright, of mode L or RGB.

    Transparency is laid over `background` ("white" or "black"); 16-bit grey is scaled to 8; of several frames the first is
    taken; colour profiles are not applied. Raises AtlasError with the reason where it does not decode.
    """
    seen = look(source, background=background, pixels=pixels)
    if seen.image is None:
        raise AtlasError(f"{_name(source)} does not decode: {seen.error}; give another image")
    return seen.image


def look(
    source: str | os.PathLike[str] | bytes, *, background: str = "white", pixels: int = PIXELS, at_least: int | None = None
) -> Seen:
    """Return what is in the file or bytes `source`, never raising for its contents.

    With `at_least` a JPEG may be decoded at a reduced scale, its sides no shorter than that: thumbnails need no more.
    """
    if background not in BACKGROUNDS:
        raise AtlasError(f"no background {one_line(repr(background))}: transparency is laid over white or black")
    _quiet()
    width, height, mode = 0, 0, ""
    try:
        with _open(source) as stored:
            (width, height), mode = stored.size, stored.mode
            if width * height > pixels:
                return Seen(None, width, height, mode, _too_large(width * height, pixels))
            return Seen(_decoded(stored, BACKGROUNDS[background], at_least), width, height, mode)
    except Exception as reason:  # a decoder fed with a hostile file may raise whatever it likes
        return Seen(None, width, height, mode, _reason(source, reason))


def stored_size(path: Path) -> tuple[int, int]:
    """Return width and height in the header of the image file `path`; (0, 0) where there is none to read."""
    _quiet()
    try:
        with _open(path) as stored:
            return stored.size
    except Exception:  # whatever is wrong with it is said when it is decoded
        return 0, 0


def _decoded(stored: Image.Image, background: int, at_least: int | None) -> Image.Image:
    turn = UPRIGHT.get(_orientation(stored))
    if at_least:
        stored.draft(None, (at_least, at_least))  # None: the mode stays
    plain = to_8_bit(stored, background)
    return plain.transpose(turn) if turn is not None else plain


def _open(source: str | os.PathLike[str] | bytes) -> Image.Image:
    if isinstance(source, bytes):
        return Image.open(io.BytesIO(source), formats=_formats())
    kind = kind_of_file(Path(source))
    if kind:
        raise NoFile(f"it is no file but a {kind}")
    return Image.open(Path(source), formats=_formats())


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)  # Pillow may be built without some


def _quiet() -> None:
    """What Pillow warns of (large images, odd EXIF) is a reason that we give ourselves or nothing a user can act on."""
    if not any(f[0] == "ignore" and getattr(f[3], "pattern", None) == r"PIL\." for f in warnings.filters):
        warnings.filterwarnings("ignore", module=r"PIL\.")


def _orientation(stored: Image.Image) -> int:
    try:
        return int(stored.getexif().get(ORIENTATION, 1))
    except Exception:  # broken EXIF says nothing about the pixels
        return 1


def _too_large(found: int, allowed: int) -> str:
    return f"it has {found / 1e6:.0f} million pixels, more than the {allowed / 1e6:g} million allowed"


def _reason(source: str | os.PathLike[str] | bytes, reason: Exception) -> str:
    if isinstance(reason, NoFile):
        return str(reason)
    size = len(source) if isinstance(source, bytes) else _size(Path(source))
    if size is None:
        return "there is no such file"
    if size == 0:
        return "the file is empty"
    if isinstance(reason, PermissionError):
        return "it may not be read by this user"
    if isinstance(reason, Image.UnidentifiedImageError):
        return "it is not an image of a known format"
    if isinstance(reason, Image.DecompressionBombError):
        return f"it has more than the {PIXELS / 1e6:g} million pixels allowed"
    return one_line(str(reason) or type(reason).__name__)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # ValueError: a NUL in a path that came from a table
        return None


def _name(source: str | os.PathLike[str] | bytes) -> str:
    return f"the image of {len(source)} bytes" if isinstance(source, bytes) else one_line(os.fspath(source))


# -- modes -----------------------------------------------------------------------------------------------------------


def to_8_bit(image: Image.Image, background: int = 255) -> Image.Image:
    """Return `image`, of any of Pillow's modes, as L where it is grey, else as RGB; transparency over `background`."""
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        return Image.fromarray(_scaled(np.asarray(image), wide=mode.startswith("I")))
    if mode in ("LA", "La") or (mode in ("1", "L") and "transparency" in image.info):
        return _over(image.convert("LA"), "L", background)
    if mode in ("RGBA", "RGBa", "PA") or "transparency" in image.info:
        return _over(image.convert("RGBA"), "RGB", background)
    return image.convert("L" if mode in ("1", "L") else "RGB")


def _over(image: Image.Image, mode: str, background: int) -> Image.Image:
    canvas = Image.new(mode, image.size, (background,) * len(mode))
    canvas.paste(image.convert(mode), mask=image.getchannel("A"))
    return canvas


def _scaled(values: np.ndarray, *, wide: bool) -> np.ndarray:
    """Return grey `values` [y, x] as uint8: the upper byte where they are 16-bit, else the range from least to most."""
    if wide and values.size and values.min() >= 0 and values.max() <= 65535:
        return (values >> 8).astype(np.uint8)
    return stretched(values)


def stretched(values: np.ndarray) -> np.ndarray:
    """Return `values` scaled so that the least finite one is 0 and the greatest 255: uint8; constant or not finite: 0."""
    known = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    if not np.isfinite(known).any():
        return np.zeros(values.shape, np.uint8)
    low, high = np.nanmin(known), np.nanmax(known)
    scale = 255 / (high - low) if high > low else 0.0
    return np.round(np.nan_to_num((known - low) * scale)).astype(np.uint8)


# -- arrays ----------------------------------------------------------------------------------------------------------


def to_image(array: Any) -> Image.Image:
    """Return an array or tensor as an image of mode L or RGB.

    Integers and bools: [y, x], [y, x, rgb] or [rgb, y, x], with 1, 3 or 4 channels (the fourth transparency, over white).
    Floats: [y, x] or [rgb, y, x]; taken as 0 to 1 where they lie there, else stretched from the least to the greatest.
    """
    values = as_array(array)
    if values.dtype.kind == "f":
        return Image.fromarray(_float_pixels(values))
    return to_8_bit(Image.fromarray(np.ascontiguousarray(_bytes(_channels_last(values, array)))))


def as_array(value: Any) -> np.ndarray:
    """Return an array or a torch tensor on any device as a numpy array; half precisions as float32."""
    if hasattr(value, "detach"):  # a torch tensor; this room does not import torch
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _bytes(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint16:
        return (values >> 8).astype(np.uint8)
    if values.dtype != np.uint8:
        raise AtlasError(f"an image of {values.dtype} cannot be shown: give uint8, uint16, bool or float")
    return values


def _channels_last(values: np.ndarray, given: Any) -> np.ndarray:
    if values.ndim == 3 and 0 not in values.shape:
        first, last = values.shape[0] in (1, 3, 4), values.shape[2] in (1, 3, 4)
        if first and (not last or hasattr(given, "detach")):  # both fit: tensors are [rgb, y, x], arrays [y, x, rgb]
            values, last = values.transpose(1, 2, 0), True
        if last:
            return values[..., 0] if values.shape[2] == 1 else values
    if values.ndim != 2 or 0 in values.shape:
        shape = " × ".join(map(str, values.shape))
        raise AtlasError(f"an array of shape {shape or 'none'} is no image: give [y, x], [y, x, rgb] or [rgb, y, x]")
    return values


def _float_pixels(values: np.ndarray) -> np.ndarray:
    if values.ndim == 3 and values.shape[0] != 3:
        values = values.mean(axis=0)  # one channel, or more than a screen can show
    if values.ndim not in (2, 3) or 0 in values.shape:
        shape = " × ".join(map(str, values.shape))
        raise AtlasError(f"a float array of shape {shape or 'none'} is no image: give [y, x] or [rgb, y, x]")
    if values.ndim == 3:
        values = values.transpose(1, 2, 0)
    known = values[np.isfinite(values)]
    if known.size and known.min() >= 0 and known.max() <= 1:
        return np.round(np.nan_to_num(values, posinf=1.0, neginf=0.0) * 255).astype(np.uint8)
    return stretched(values)
