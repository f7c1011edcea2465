"""The whitening of a layer: what a direction is multiplied by, so that units that vary together count once.

Carter et al., "Activation Atlas", Distill 2019: the inverse of the uncentred second moment over all activations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas.errors import AtlasError
from atlas.maps.blocks import Rows, blocks

RIDGE = 1e-2  # of the mean second moment of a unit: small networks have units so alike that their moments have no inverse


@dataclass(frozen=True)
class Whitening:
    """S = (AᵀA / N + λ I)⁻¹ over the units of a layer that are ever other than 0."""

    matrix: np.ndarray  # float64 [live unit, live unit], symmetric
    live: np.ndarray  # int [live unit]: which units of the layer they are
    dead: np.ndarray  # int [dead unit]: 0 at every point, left out
    ridge: float  # λ
    points: int  # that were counted
    nonfinite: int  # points left out because a value is not finite

    def __call__(self, directions: np.ndarray) -> np.ndarray:
        """Return directions [..., unit] whitened, float32; a dead unit has no part in them."""
        found = np.zeros(directions.shape, np.float64)
        found[..., self.live] = np.asarray(directions, np.float64)[..., self.live] @ self.matrix
        return found.astype(np.float32)

    @property
    def sentence(self) -> str:
        """What was left out, for people; empty where nothing was."""
        told = (
            [f"{len(self.dead)} of {len(self.dead) + len(self.live)} units are 0 at every point"] if len(self.dead) else []
        )
        told += [f"{self.nonfinite} of {self.points + self.nonfinite} points are not finite"] if self.nonfinite else []
        return " and ".join(told) + (": they are left out of the whitening" if told else "")


def whitening(vectors: Rows, *, ridge: float = RIDGE) -> Whitening:
    """Return the whitening of a layer from its vectors [point, unit], summed in float64, block by block.

    λ is `ridge` times the mean of the live units' second moments. Dead units (0 at every point) are dropped first. A layer
    without a live unit or a finite point, and a ridge that is not positive, raise AtlasError.
    """
    if not ridge > 0:
        raise AtlasError(f"the ridge is {ridge}: a positive share of the mean second moment would do, such as {RIDGE}")
    moment, points = second_moment(vectors)
    live = np.flatnonzero(np.diagonal(moment) > 0)
    if not len(live):
        raise AtlasError(f"none of the layer's {vectors.shape[1]} units is ever other than 0: there is nothing to whiten")
    own = moment[np.ix_(live, live)]
    weight = ridge * float(np.trace(own)) / len(live)
    inverse = np.linalg.inv(own + weight * np.eye(len(live)))
    dead = np.setdiff1d(np.arange(vectors.shape[1]), live)
    return Whitening((inverse + inverse.T) / 2, live, dead, weight, points, len(vectors) - points)


def second_moment(vectors: Rows) -> tuple[np.ndarray, int]:
    """Return AᵀA / N over the finite rows of vectors [point, unit], float64 [unit, unit], and N; AtlasError where N is 0."""
    total, points = np.zeros((vectors.shape[1], vectors.shape[1])), 0
    for block in blocks(vectors):
        rows = np.asarray(block, np.float64)
        rows = rows[np.isfinite(rows).all(axis=1)]
        total += rows.T @ rows
        points += len(rows)
    if not points:
        raise AtlasError(f"none of the layer's {len(vectors)} points is finite: there is nothing to whiten")
    return total / points, points
