"""One property of an image changed step by step, all else as far as can be left alone: what a controlled sweep tries."""

from __future__ import annotations

import numpy as np
from scipy import ndimage  # type: ignore[import-untyped]

from atlas.data.disturbing import Disturbance
from atlas.data.properties import LUMA

SOFT = 0.01  # of the shorter edge: the standard deviation of the blur that is taken off, or of which more is left


def brightness(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Multiply every value by `strength`."""
    return pixels * strength


def contrast(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Multiply the distance from the image's mean by `strength`."""
    mean = pixels.mean()
    return mean + strength * (pixels - mean)


def saturation(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Multiply the distance from grey of the same luma by `strength`; 0 leaves no colour. A grey image stays as it is."""
    grey = _grey(pixels)
    return grey + strength * (pixels - grey)


def hue(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Turn the colours by `strength` degrees about the grey axis, each keeping its luma. A grey image stays as it is."""
    if len(pixels) != 3:
        return pixels
    axis, angle = np.ones(3) / np.sqrt(3), np.radians(strength)
    crossed = np.cross(np.eye(3), axis)
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * crossed + (1 - np.cos(angle)) * np.outer(axis, axis)  # Rodrigues
    turned = np.tensordot(turn, pixels, 1)
    return turned + _grey(pixels) - _grey(turned)


def sharpness(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Multiply what a slight blur would take off by `strength`; 0 is blurred, above 1 sharpened (an unsharp mask)."""
    sigma = SOFT * min(pixels.shape[1:])
    soft = ndimage.gaussian_filter(pixels, (0, sigma, sigma), mode="nearest")
    return soft + strength * (pixels - soft)


def size(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Average the image to `strength` times its edges and enlarge it again: as if it had been taken with fewer pixels."""
    from PIL import Image

    tall, wide = pixels.shape[1:]
    small = max(1, round(wide * strength)), max(1, round(tall * strength))

    def again(channel: np.ndarray) -> np.ndarray:
        reduced = Image.fromarray(channel.astype(np.float32)).resize(small, Image.Resampling.BOX)
        return np.asarray(reduced.resize((wide, tall), Image.Resampling.BICUBIC), np.float64)

    return np.stack([again(channel) for channel in pixels])


def _grey(pixels: np.ndarray) -> np.ndarray:
    return np.tensordot(LUMA, pixels, 1)[None] if len(pixels) == 3 else pixels


# How many edges there are cannot be changed by itself: it is measured after each step, and moves with the last three.
SWEEPS = {
    one.name: one
    for one in (
        Disturbance("brightness", "factor", (0.125, 0.25, 0.5, 0.75, 1.25, 1.5, 2.0, 3.0), brightness),
        Disturbance("contrast", "factor", (0.1, 0.25, 0.5, 0.75, 1.25, 1.5, 2.0, 3.0), contrast),
        Disturbance("saturation", "factor", (0.0, 0.25, 0.5, 0.75, 1.25, 1.5, 2.0, 3.0), saturation),
        Disturbance("hue", "degrees", (30, 60, 90, 120, 180, 240, 270, 330), hue),
        Disturbance("sharpness", "factor of the fine detail", (0.0, 0.25, 0.5, 0.75, 1.5, 2.0, 4.0, 8.0), sharpness),
        Disturbance("size", "share of the edge", (0.03, 0.06, 0.09, 0.125, 0.19, 0.25, 0.5, 0.75), size),
    )
}
AS_IT_IS = {"hue": 0.0}  # the strength of an image that nobody changed; 1 for all others
