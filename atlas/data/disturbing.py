"""An image disturbed by noise, blur, rotation or shift of growing strength, as a network is given it. numpy and scipy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage  # type: ignore[import-untyped]

from atlas.errors import choose
from atlas.recipe import digest

Change = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]  # float64 [rgb, y, x] in 0–255 → the same, unclipped


@dataclass(frozen=True)
class Disturbance:
    """One way to disturb an image, and the strengths to try, growing."""

    name: str
    measure: str  # what a strength is
    strengths: tuple[float, ...]
    change: Change


def noise(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise of standard deviation `strength`, as a share of the range of values."""
    return pixels + 255 * strength * rng.standard_normal(pixels.shape)


def blur(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Blur by a Gaussian whose standard deviation is `strength` times the shorter edge."""
    sigma = strength * min(pixels.shape[1:])
    return ndimage.gaussian_filter(pixels, (0, sigma, sigma), mode="nearest")


def rotation(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Turn by `strength` degrees, counter-clockwise, about the centre."""
    return ndimage.rotate(pixels, strength, axes=(2, 1), reshape=False, order=1, mode="nearest")


def shift(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Move to the right by `strength` times the width, by whole pixels, so that nothing is blurred by it."""
    return ndimage.shift(pixels, (0, 0, round(strength * pixels.shape[2])), order=0, mode="nearest")


# What comes in from outside the image repeats its edge: black corners would be a disturbance of their own.
DISTURBANCES = {
    one.name: one
    for one in (
        Disturbance("noise", "standard deviation, of the range", (0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4), noise),
        Disturbance("blur", "standard deviation, of the edge", (0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.18), blur),
        Disturbance("rotation", "degrees", (5, 10, 15, 20, 30, 45, 60, 90), rotation),
        Disturbance("shift", "share of the width", (0.04, 0.08, 0.11, 0.15, 0.2, 0.25, 0.35, 0.5), shift),
    )
}


def find_kinds(
    names: Iterable[str], known: Mapping[str, Disturbance] = DISTURBANCES, what: str = "disturbance"
) -> list[Disturbance]:
    """Return the disturbances of these names, all `known` where none is named; an unknown name raises AtlasError."""
    wanted = list(dict.fromkeys(names)) or list(known)
    for name in wanted:
        if name not in known:
            raise choose(what, name, known)
    return [known[name] for name in wanted]


def ladder(pixels: np.ndarray, kind: Disturbance, *, seed: int = 0) -> np.ndarray:
    """Return an image, uint8 [rgb, y, x], undisturbed and then at each strength: uint8 [step, rgb, y, x].

    Noise is one draw, made stronger from step to step; it comes from the seed and the image's own pixels.
    """
    drawn = [seed, int(digest(pixels)[:12], 16)]
    steps = (kind.change(pixels.astype(np.float64), s, np.random.default_rng(drawn)) for s in kind.strengths)
    return np.stack([pixels, *(np.clip(np.round(step), 0, 255).astype(np.uint8) for step in steps)])
