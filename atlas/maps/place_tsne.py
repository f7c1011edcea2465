"""New points in a t-SNE by its own gradient against fixed points, as openTSNE's `transform` descends it.

The repulsion of a fixed map is a field: with Z(y) = Σⱼ 1 / (1 + |y − xⱼ|²) it is −∇Z / 2Z. Z, its slopes and its cross
derivative are summed exactly over all points, at the corners of those squares that a point comes into and only there, and
interpolated between them by bicubic Hermite polynomials. So one point costs a few dozen sums and ten thousand share theirs.
"""

from __future__ import annotations

import numba
import numpy as np

PERPLEXITY = 5.0  # openTSNE's default for new points
ITERATIONS = 250  # openTSNE's defaults for new points, these and the next four
EXAGGERATION = 1.5
RATE = 0.1
MOMENTUM = 0.8
LARGEST = 0.25  # norm of a gradient, beyond which it is cut: where a start lies on top of a point
STEP = 1 / 3  # edge of a square: the interpolation's slope is then good to 1 % of the nearest point's own
MARGIN = 0.25  # of the map's extent that new points may go beyond it, as in openTSNE
TOGETHER = 256  # points per call of the compiled loop, which cannot be interrupted


def place_by_tsne(xy: np.ndarray, indices: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Return places, float64 [point, 2], of points with these neighbours, [point, k], in a t-SNE `xy` that stays.

    Poličar, Stražar, Zupan, Machine Learning 112 (2023), Embedding to reference t-SNE space addresses batch effects.
    Of openTSNE's two repulsions this is the exact one, interpolated.
    """
    xy = np.array(xy, np.float64, order="C")
    weights = affinities(indices, distances, len(xy)) * EXAGGERATION
    places = np.median(xy[indices], axis=1)
    field = Field(xy)
    for start in range(0, len(places), TOGETHER):
        rows = slice(start, start + TOGETHER)
        _descend(
            places[rows], indices[rows], weights[rows], field.x, field.y, field.low, field.high, field.values, field.known
        )
    return places


def affinities(indices: np.ndarray, distances: np.ndarray, count: int) -> np.ndarray:
    """Return the probability of each neighbour, float64 [point, k], each point's summing to one, by openTSNE."""
    from openTSNE.affinity import joint_probabilities_nn

    used = min(PERPLEXITY, indices.shape[1] / 3)
    found = joint_probabilities_nn(
        indices, distances, [used], symmetrize=False, normalization="point-wise", n_reference_samples=count
    )
    return found[np.arange(len(indices))[:, None], indices].toarray()  # its rows are not in the neighbours' order


class Field:
    """The repulsion of a map's points on a lattice of corners STEP apart, each summed when it is first asked for."""

    def __init__(self, xy: np.ndarray):
        self.x, self.y = np.ascontiguousarray(xy[:, 0]), np.ascontiguousarray(xy[:, 1])
        low, high = (np.array([bound(self.x), bound(self.y)]) for bound in (np.min, np.max))
        beyond = MARGIN * max(float((high - low).max()), 1.0)
        self.low, self.high = low - beyond, high + beyond
        corners = np.ceil((self.high - self.low) / STEP).astype(int) + 2
        self.values = np.zeros((*corners, 4))  # Z, its slopes in x and y, its cross derivative
        self.known = np.zeros(corners, np.bool_)

    def at(self, place: np.ndarray) -> np.ndarray:
        """Return Z and its two slopes at a place, float64 [3]."""
        z, to_x, to_y = _interpolate(place[0], place[1], self.x, self.y, self.low, self.values, self.known)
        return np.array([z, to_x, to_y])


@numba.njit(cache=True, fastmath=True, nogil=True)
def _sums(at_x: float, at_y: float, x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float]:
    """Return Z, its slopes and its cross derivative at a place, summed over all points."""
    z, slope_x, slope_y, cross = 0.0, 0.0, 0.0, 0.0
    for j in range(len(x)):
        dx, dy = at_x - x[j], at_y - y[j]
        q = 1.0 / (1.0 + dx * dx + dy * dy)
        z += q
        slope_x -= 2.0 * dx * q * q
        slope_y -= 2.0 * dy * q * q
        cross += 8.0 * dx * dy * q * q * q
    return z, slope_x, slope_y, cross


@numba.njit(cache=True, nogil=True)
def _hermite(t: float) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]:
    """Return the weights of the values and of the slopes at 0 and 1, and the derivatives of both, for 0 ≤ t ≤ 1."""
    u = 1.0 - t
    return (
        ((1.0 + 2.0 * t) * u * u, (1.0 + 2.0 * u) * t * t),
        (t * u * u * STEP, -u * t * t * STEP),
        (-6.0 * t * u / STEP, 6.0 * t * u / STEP),
        (u * (1.0 - 3.0 * t), t * (3.0 * t - 2.0)),
    )


@numba.njit(cache=True, nogil=True)
def _interpolate(
    at_x: float, at_y: float, x: np.ndarray, y: np.ndarray, low: np.ndarray, values: np.ndarray, known: np.ndarray
) -> tuple[float, float, float]:
    """Return Z and its two slopes at a place, from the four corners of its square."""
    column, row = (at_x - low[0]) / STEP, (at_y - low[1]) / STEP
    i, j = int(column), int(row)
    value_x, slope_x, dvalue_x, dslope_x = _hermite(column - i)
    value_y, slope_y, dvalue_y, dslope_y = _hermite(row - j)
    z, to_x, to_y = 0.0, 0.0, 0.0
    for a in range(2):
        for b in range(2):
            if not known[i + a, j + b]:
                found = _sums(low[0] + (i + a) * STEP, low[1] + (j + b) * STEP, x, y)
                for d in range(4):
                    values[i + a, j + b, d] = found[d]
                known[i + a, j + b] = True
            f, fx, fy, fxy = values[i + a, j + b]
            z += value_x[a] * (f * value_y[b] + fy * slope_y[b]) + slope_x[a] * (fx * value_y[b] + fxy * slope_y[b])
            to_x += dvalue_x[a] * (f * value_y[b] + fy * slope_y[b]) + dslope_x[a] * (fx * value_y[b] + fxy * slope_y[b])
            to_y += value_x[a] * (f * dvalue_y[b] + fy * dslope_y[b]) + slope_x[a] * (fx * dvalue_y[b] + fxy * dslope_y[b])
    return z, to_x, to_y


@numba.njit(cache=True, nogil=True)
def _gradient(
    place: np.ndarray, near: np.ndarray, weights: np.ndarray, x: np.ndarray, y: np.ndarray, z: tuple[float, float, float]
) -> tuple[float, float]:
    """Return the gradient at a place, cut to LARGEST: attraction of the neighbours, repulsion of all."""
    to_x, to_y = z[1] / (2.0 * z[0]), z[2] / (2.0 * z[0])
    for k in range(len(near)):
        dx, dy = place[0] - x[near[k]], place[1] - y[near[k]]
        pull = weights[k] / (1.0 + dx * dx + dy * dy)
        to_x += pull * dx
        to_y += pull * dy
    cut = min(1.0, LARGEST / (np.sqrt(to_x * to_x + to_y * to_y) + 1e-6))
    return to_x * cut, to_y * cut


@numba.njit(cache=True, nogil=True)
def _descend(
    places: np.ndarray,
    indices: np.ndarray,
    weights: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    values: np.ndarray,
    known: np.ndarray,
) -> None:
    """Move each place, [point, 2], down its gradient, with momentum and gains as t-SNE has them."""
    for n in range(len(places)):
        place, update, gains = places[n], np.zeros(2), np.ones(2)
        for _ in range(ITERATIONS):
            z = _interpolate(place[0], place[1], x, y, low, values, known)
            gradient = _gradient(place, indices[n], weights[n], x, y, z)
            for d in range(2):
                same = np.sign(update[d]) == np.sign(gradient[d])  # the last step went uphill here
                gains[d] = gains[d] * 0.8 + 0.01 if same else gains[d] + 0.2
                update[d] = MOMENTUM * update[d] - RATE * gains[d] * gradient[d]
                place[d] = min(max(place[d] + update[d], low[d]), high[d])
