"""The activations that real images reach: what a synthesised image's is held against. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas.activations.records import Statistics, Vectors

MOST_NUMBERS = 40_000_000  # read at once to rank exactly; more are ranked by the 129 quantiles kept of each unit


@dataclass(frozen=True)
class Real:
    """Activations of some units: ``values`` float32 [unit, value], each row rising; ``words`` says of which images."""

    values: np.ndarray
    words: str

    def percentile(self, places: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Return the percentage of values that do not exceed `found` [picture], of the units at `places` [picture]."""
        shares = [np.searchsorted(self.values[p], v, side="right") for p, v in zip(places, found, strict=True)]
        return (100.0 * np.array(shares, np.float64) / max(self.values.shape[1], 1)).astype(np.float32)

    def best(self, places: np.ndarray) -> np.ndarray:
        """Return the greatest value of the units at `places`."""
        return self.values[places, -1].astype(np.float32)

    @property
    def varies(self) -> np.ndarray:
        """Whether each unit takes more than one value: bool [unit]; one that does not is dead."""
        return self.values[:, -1] > self.values[:, 0]


def of_vectors(vectors: Vectors, units: Sequence[int], noun: str = "images") -> Real:
    """Return the activations of some units in a layer's vectors [point, unit]."""
    columns = np.concatenate([block[:, list(units)].T.astype(np.float32) for block in vectors.batches()], axis=1)
    columns.sort(axis=1)
    return Real(columns, f"all {columns.shape[1]:,} {noun}".replace(",", " "))


def of_statistics(statistics: Statistics, units: Sequence[int]) -> Real:
    """Return the quantiles kept of some units: ranks are known to 1/128."""
    levels = np.sort(np.asarray(statistics.quantiles)[:, list(units)].T, axis=1)
    return Real(levels.astype(np.float32), f"{levels.shape[1]} quantiles of {statistics.images} images")


def of_sample(values: np.ndarray, images: int) -> Real:
    """Return the activations [image, unit] of a sample of `images` images."""
    words = f"all {images} images" if len(values) == images else f"{len(values)} of {images} images, drawn by chance"
    return Real(np.sort(values.T.astype(np.float32), axis=1), words)
