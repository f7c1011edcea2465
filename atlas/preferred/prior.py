"""What a dataset says of its images: mean, colours, spectrum, principal components; what parameterisations are made from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from atlas.fields import axes, of_stage
from atlas.maps.pca import principal_axes

COMPONENTS = 100  # of a dataset's images: with 50 logits of our conv6 reached half as much, with 200 it looked like noise
MOST_IMAGES = 5_000  # of small ones; a mean, a spectrum and a hundred components change little with more
MOST_VALUES = 60_000_000  # of all images together: 240 MB as float32, so 1 200 colour images of 128 pixels
DARK, BRIGHT = 0.03, 0.97  # levels beyond which a sigmoid hardly moves


@of_stage("prior")
@axes(
    mean="float32 [rgb, y, x]",
    std="float32 [rgb]",
    spectrum="float32 [rgb, y, frequency]",
    components="float32 [component, value]",
    deviation="float32 [component]",
    colours="float32 [3, 3]",
)
@dataclass(frozen=True)
class Prior:
    """The statistics of a dataset's images as a network takes them, values in 0–1.

    ``components`` [component, rgb·y·x] are the principal components of the images, the largest first, and ``deviation``
    the standard deviation along each; ``spectrum`` is the mean magnitude of the images' Fourier transform (``rfft2``),
    of the decorrelated colours where there are three; ``colours`` (M) correlates what was decorrelated: x = M · z.
    """

    images: int
    mean: np.ndarray
    std: np.ndarray
    spectrum: np.ndarray
    components: np.ndarray
    deviation: np.ndarray
    colours: np.ndarray

    @property
    def size(self) -> tuple[int, int, int]:
        """Length of rgb, y and x."""
        return self.mean.shape

    @property
    def level(self) -> np.ndarray:
        """The mean of each colour over images and places, float32 [rgb], kept off black and white."""
        return np.clip(self.mean.mean(axis=(1, 2)), DARK, BRIGHT).astype(np.float32)

    @property
    def background(self) -> np.ndarray:
        """The median colour of the mean image's border, float32 [rgb]: what lies beyond the edge of an image."""
        border = np.concatenate(
            [self.mean[:, [0, -1]].reshape(len(self.mean), -1), self.mean[:, :, 0], self.mean[:, :, -1]], 1
        )
        return np.median(border, axis=1).astype(np.float32)


def most_images(values: int) -> int:
    """Return of how many images of `values` numbers each the statistics are taken."""
    return int(np.clip(MOST_VALUES // max(values, 1), 2 * COMPONENTS, MOST_IMAGES))


def make_prior(images: np.ndarray) -> Prior:
    """Return the statistics of `images`, uint8 [image, rgb, y, x]."""
    pixels = images.astype(np.float32) / 255
    colours = colour_root(pixels)
    found = principal_axes(pixels.reshape(len(pixels), -1), count=min(COMPONENTS, len(pixels) - 1, pixels[0].size))
    variance = float(pixels.reshape(len(pixels), -1).var(axis=0, dtype=np.float64).sum())
    return Prior(
        images=len(pixels),
        mean=pixels.mean(axis=0, dtype=np.float64).astype(np.float32),
        std=pixels.std(axis=(0, 2, 3), dtype=np.float64).astype(np.float32),
        spectrum=spectrum_of(pixels, colours),
        components=np.ascontiguousarray(found.axes.T, np.float32),
        deviation=np.sqrt(found.ratio * variance).astype(np.float32),
        colours=colours.astype(np.float32),
    )


def colour_root(pixels: np.ndarray) -> np.ndarray:
    """Return a root M of the colours' covariance, its largest column of length 1: float64 [3, 3]; grey has the identity.

    C = U Λ Uᵀ and M = U √Λ, normalised as in lucid's optvis/param/color.py. `pixels` are float [image, rgb, y, x] in 0–1.
    """
    if pixels.shape[1] != 3:
        return np.eye(3)
    flat = pixels.transpose(1, 0, 2, 3).reshape(3, -1).astype(np.float64)
    variance, directions = np.linalg.eigh(np.cov(flat))
    root = (directions * np.sqrt(np.maximum(variance, 1e-8)))[:, ::-1]
    root = root * np.where(root.sum(axis=0) < 0, -1.0, 1.0)  # either sign is a root: the brighter one is taken
    return root / np.linalg.norm(root, axis=0).max()


def spectrum_of(pixels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return the mean magnitude of the images' Fourier transforms: float32 [rgb, y, frequency].

    As xplique computes it for MACO (Fel et al., NeurIPS 2023): of the decorrelated colours, the mean of each image gone.
    """
    total = np.zeros((*pixels.shape[1:3], pixels.shape[3] // 2 + 1))
    undo = np.linalg.inv(colours) if pixels.shape[1] == 3 else None
    for block in blocks(pixels):
        plain = block if undo is None else np.einsum("cd,ndyx->ncyx", undo, block)
        total += np.abs(np.fft.rfft2(plain - plain.mean(axis=(2, 3), keepdims=True))).sum(axis=0)
    return (total / len(pixels)).astype(np.float32)


def blocks(pixels: np.ndarray, size: int = 256) -> Iterable[np.ndarray]:
    """Yield the images `size` at a time."""
    return (pixels[start : start + size] for start in range(0, len(pixels), size))
