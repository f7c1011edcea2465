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

    Where there are fewer units, or fewer points, than axes asked, the rest are zero.
    """
    mean = sum(block.sum(axis=0, dtype=np.float64) for block in blocks(vectors)) / len(vectors)
    few = len(vectors) < vectors.shape[1]
    variances, axes, total = (_of_points if few else _of_units)(vectors, mean, min(count, *vectors.shape))
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1.0, 1.0)
    missing = count - axes.shape[1]
    ratio = np.clip(variances / total, 0.0, 1.0) if total > 0 else np.zeros(len(variances))
    return Axes(mean, np.pad(axes, ((0, 0), (0, missing))), np.pad(ratio, (0, missing)))


def _of_units(vectors: Rows, mean: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Variances, axes and the whole variance by the covariance [unit, unit]."""
    covariance = np.zeros((vectors.shape[1], vectors.shape[1]))
    for block in blocks(vectors):
        centred = block - mean
        covariance += centred.T @ centred
    return *_largest(covariance / len(vectors), count), np.trace(covariance) / len(vectors)


def _of_points(vectors: Rows, mean: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, float]:
    """The same by the products of the points [point, point], which are fewer: X·Xᵀ has the eigenvalues of Xᵀ·X."""
    centred = np.concatenate([block - mean for block in blocks(vectors)])
    products = centred @ centred.T / len(vectors)
    variances, shares = _largest(products, count)
    axes = centred.T @ shares
    norms = np.linalg.norm(axes, axis=0)
    return variances, np.divide(axes, norms, out=np.zeros_like(axes), where=norms > 0), float(np.trace(products))


def _largest(covariance: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.linalg import eigh  # type: ignore[import-untyped]

    units = len(covariance)
    variances, axes = eigh(covariance, subset_by_index=[units - count, units - 1])
    return variances[::-1], axes[:, ::-1]


def project(vectors: Rows, axes: Axes) -> np.ndarray:
    """Return the coordinates of the points along the axes, float64 [point, axis]; a point's own whatever is beside it."""
    return np.concatenate([_along(block - axes.mean, axes.axes) for block in blocks(vectors)])


def _along(centred: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Multiply row by row: a product of matrices rounds otherwise for one row than for many."""
    return np.stack([np.einsum("nu,u->n", centred, np.ascontiguousarray(axis)) for axis in axes.T], axis=1)


def coordinates(vectors: Rows) -> np.ndarray:
    """Return the points' coordinates along the two principal axes, float64 [point, 2]: where UMAP and t-SNE start from."""
    return project(vectors, principal_axes(vectors))
