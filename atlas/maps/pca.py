"""Principal axes by the exact eigen-decomposition of the covariance, accumulated in float64 over blocks of points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas.maps.blocks import Rows, blocks


@dataclass(frozen=True)
class Axes:
    """Principal axes: ``mean`` [unit], ``axes`` [unit, axis], ``ratio`` [axis] the share of the variance along each."""

    mean: np.ndarray
    axes: np.ndarray
    ratio: np.ndarray


def principal_axes(vectors: Rows, *, count: int = 2) -> Axes:
    """Return the `count` axes of largest variance of [point, unit], each with its largest loading positive.

    Where there are fewer units than axes asked, the rest are zero.
    """
    mean = sum(block.sum(axis=0, dtype=np.float64) for block in blocks(vectors)) / len(vectors)
    covariance = np.zeros((vectors.shape[1], vectors.shape[1]))
    for block in blocks(vectors):
        centred = block - mean
        covariance += centred.T @ centred
    variances, axes = _largest(covariance / len(vectors), min(count, vectors.shape[1]))
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1.0, 1.0)
    missing = count - axes.shape[1]
    total = np.trace(covariance) / len(vectors)
    ratio = np.clip(variances / total, 0.0, 1.0) if total > 0 else np.zeros(len(variances))
    return Axes(mean, np.pad(axes, ((0, 0), (0, missing))), np.pad(ratio, (0, missing)))


def _largest(covariance: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.linalg import eigh  # type: ignore[import-untyped]

    units = len(covariance)
    variances, axes = eigh(covariance, subset_by_index=[units - count, units - 1])
    return variances[::-1], axes[:, ::-1]


def project(vectors: Rows, axes: Axes) -> np.ndarray:
    """Return the coordinates of the points along the axes, float64 [point, axis]."""
    return np.concatenate([(block - axes.mean) @ axes.axes for block in blocks(vectors)])


def coordinates(vectors: Rows) -> np.ndarray:
    """Return the points' coordinates along the two principal axes, float64 [point, 2]: where UMAP and t-SNE start from."""
    return project(vectors, principal_axes(vectors))
