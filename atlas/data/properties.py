"""What an image is like before any network: brightness, contrast, saturation, hue, sharpness, edges, size. numpy, scipy."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from PIL import Image

MEASURED = 1  # version of what is measured: raised when a value can differ
DIGITS = 4  # decimals that a column keeps: a quarter of a grey value is 0.001
EDGE = 256  # pixels of the longer side at which a larger image is measured, so that sharpness is of one scale
STEEP = 0.08  # of the range of grey values per pixel, from which a place counts as an edge
COLOURED = 0.02  # mean chroma below which an image has no hue: JPEG's own colour noise is about that
PROPERTIES = {  # column → what it is and its unit
    "brightness": "mean luma, 0 to 1 (ITU-R BT.601)",
    "contrast": "standard deviation of the luma, 0 to 0.5",
    "saturation": "mean saturation in HSV, 0 to 1",
    "hue": "mean hue in degrees, weighted by chroma; red 0, green 120, blue 240; missing without colour",
    "sharpness": "standard deviation of the luma's Laplacian (Pech-Pacheco et al. 2000 take its square)",
    "edge_density": "share of places where the luma changes by more than 0.08 per pixel (Sobel)",
    "size": "edge in pixels of the square of the same area, as stored",
}
LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue: ITU-R BT.601
CIRCULAR = "hue"  # in degrees: 359 is next to 0


def measure(image: Image.Image | np.ndarray, size: tuple[int, int] | None = None) -> dict[str, float]:
    """Return the properties of an image by PROPERTIES; `size` (width, height) is its stored one where it was reduced.

    A Pillow image of mode L or RGB, or uint8 [y, x] or [y, x, rgb]. A larger one is averaged to EDGE pixels first.
    """
    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.ascontiguousarray(image))
    width, height = size or picture.size
    scale = EDGE / max(picture.size)
    if scale < 1:
        small = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        picture = picture.resize(small, Image.Resampling.BOX)
    values = np.asarray(picture, np.float64) / 255.0
    return {**_light(values), "size": float(np.sqrt(width * height))}


def luma(values: np.ndarray) -> np.ndarray:
    """Return how bright each place is, by ITU-R BT.601: [y, x] of values [y, x, rgb], or those themselves where grey."""
    return values @ LUMA if values.ndim == 3 else values


def steepness(grey: np.ndarray) -> np.ndarray:
    """Return how much a grey picture [y, x] changes at each place, per pixel: the length of Sobel's gradient."""
    from scipy import ndimage  # type: ignore[import-untyped]

    # Sobel's kernel sums 4 differences over two pixels
    return np.hypot(ndimage.sobel(grey, 0, mode="nearest"), ndimage.sobel(grey, 1, mode="nearest")) / 8.0


def _light(values: np.ndarray) -> dict[str, float]:
    """The properties of values in 0–1, [y, x] or [y, x, rgb]."""
    from scipy import ndimage

    grey = luma(values)
    saturation, hue = _colour(values) if values.ndim == 3 else (0.0, float("nan"))
    return {
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
        "saturation": saturation,
        "hue": hue,
        "sharpness": float(ndimage.laplace(grey, mode="nearest").std()),
        "edge_density": float((steepness(grey) > STEEP).mean()),
    }


def _colour(values: np.ndarray) -> tuple[float, float]:
    """Return the mean saturation and the mean hue in degrees, NaN where there is hardly any colour."""
    most, least = values.max(2), values.min(2)
    saturation = np.divide(most - least, most, out=np.zeros_like(most), where=most > 0)
    red, green, blue = np.moveaxis(values, 2, 0)
    # the projection on the plane across the grey axis: its length is a chroma, its angle the hue (Hanbury 2003)
    turned = (red - 0.5 * (green + blue)) + 1j * (np.sqrt(3) / 2) * (green - blue)
    if np.abs(turned).mean() < COLOURED:
        return float(saturation.mean()), float("nan")
    return float(saturation.mean()), float(np.degrees(np.angle(turned.mean())) % 360)


def table(measured: Iterable[dict[str, float] | None]) -> pd.DataFrame:
    """Return the properties of many images as columns, missing for None: an image that does not decode."""
    nothing = dict.fromkeys(PROPERTIES, np.nan)
    rows = [one or nothing for one in measured]
    return pd.DataFrame(rows, columns=list(PROPERTIES)).round(DIGITS).astype(np.float32)
