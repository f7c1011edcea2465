"""How far a vector lies out of one class's activation pattern, by what the class's own images do. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas.patterns.classes import ClassPatterns

FLOOR = 0.1  # of a unit's spread within the classes: the least by which its deviation is measured, see `ClassRange`
LEVEL = 0.99  # of a class's own images lie within its limit: one in a hundred is called out though it is like the others
FEWEST = 20  # images of a class: of fewer the quantile LEVEL says nothing, it is their largest distance


@dataclass(frozen=True)
class ClassRange:
    """One class's pattern and how far its own images lie from it.

    A unit deviates by ``(value − mean) / scale``. The scale is the class's standard deviation, but at least FLOOR times the
    unit's spread within all classes: a unit that is silent in every image of the class would else deviate without bound by
    the least value. A unit that varies in no class at all is not `live` and counts nowhere.
    """

    label: str
    mean: np.ndarray  # float64 [unit]
    std: np.ndarray  # float64 [unit]
    scale: np.ndarray  # float64 [unit]
    live: np.ndarray  # bool [unit]
    images: np.ndarray  # int64 [image]: the class's own images, whose distances these are
    distances: np.ndarray  # float64 [image]

    def deviations(self, vectors: np.ndarray) -> np.ndarray:
        """Return each unit's deviation, in scales: float64 [point, unit], NaN for units that are not live."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.live, (np.asarray(vectors, np.float64) - self.mean) / self.scale, np.nan)

    def distance(self, vectors: np.ndarray) -> np.ndarray:
        """Return the standardised distance of vectors [point, unit]: float64 [point].

        The root of the mean squared deviation over live units, which is about 1 for an image of the class: Mahalanobis'
        distance with a diagonal covariance, divided by the root of the number of units (Mahalanobis, 1936).
        """
        return distances(self.deviations(vectors))

    def limit(self, level: float = LEVEL) -> float:
        """Return the distance that the share `level` of the class's own images do not exceed."""
        return float(np.quantile(self.distances, level))

    def nearer(self, distance: float, *, but: int | None = None) -> tuple[int, int]:
        """Return how many of the class's own images lie nearer than `distance`, and of how many, image `but` left out."""
        others = self.distances[self.images != (-1 if but is None else but)]
        return int((others < distance).sum()), len(others)


def distances(deviations: np.ndarray) -> np.ndarray:
    """Return the root of the mean square of each row of deviations [point, unit], NaN left out: float64 [point]."""
    known = np.isfinite(deviations)
    squares = np.where(known, deviations, 0) ** 2
    return np.sqrt(squares.sum(1) / np.maximum(known.sum(1), 1))


def class_range(patterns: ClassPatterns, label: int, images: np.ndarray, vectors: np.ndarray) -> ClassRange:
    """Return the range of one class, by its number; `vectors` [image, unit] are those of its own images."""
    spread = within_classes(patterns)
    scale = np.maximum(patterns.std[label], FLOOR * spread)
    empty = ClassRange(
        patterns.labels[label], patterns.mean[label], patterns.std[label], scale, spread > 0, np.asarray(images), np.empty(0)
    )
    return ClassRange(**{**vars(empty), "distances": empty.distance(vectors)})


def within_classes(patterns: ClassPatterns) -> np.ndarray:
    """Return each unit's spread within the classes: the root of the mean variance over their images, float64 [unit]."""
    count = patterns.count[:, None]
    return np.sqrt((np.where(count > 0, patterns.std, 0) ** 2 * count).sum(0) / max(1, int(count.sum())))


def first_beyond(values: np.ndarray, limit: float) -> int | None:
    """Return the first step whose value is above `limit`; None where none is. A value that is not finite is beyond."""
    beyond = np.flatnonzero(~(np.asarray(values) <= limit))
    return int(beyond[0]) if len(beyond) else None
