"""How far a vector lies out of one class's activation pattern, by what the class's own images do. numpy only."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    the least value. A unit that varies in no class at all is not `live` and counts nowhere. The distance of each own image
    is from the pattern of all the others: one that is in its own mean and deviation lies nearer than any new one would.
    """

    label: str
    count: int  # images that mean and std are of
    mean: np.ndarray  # float64 [unit]
    std: np.ndarray  # float64 [unit]
    floor: np.ndarray  # float64 [unit]: the least scale
    images: np.ndarray  # int64 [image]: the class's own images
    vectors: np.ndarray  # float64 [image, unit]: theirs
    distances: np.ndarray  # float64 [image]: theirs, each from the others

    @property
    def live(self) -> np.ndarray:
        """Which units vary in some class: bool [unit]."""
        return self.floor > 0

    @property
    def scale(self) -> np.ndarray:
        """What a deviation is measured in: float64 [unit]."""
        return np.maximum(self.std, self.floor)

    def without(self, image: int) -> ClassRange:
        """Return the same as if an image of the class were not of it; itself for any other image."""
        at = np.flatnonzero(self.images == image)
        if not len(at):
            return self
        mean, std = left_out(self.count, self.mean, self.std, self.vectors[at])
        rest = self.images != image
        return replace(
            self, count=self.count - 1, mean=mean[0], std=std[0], images=self.images[rest], vectors=self.vectors[rest],
            distances=self.distances[rest],
        )  # fmt: skip

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

    def nearer(self, distance: float) -> tuple[int, int]:
        """Return how many of the class's own images lie nearer than `distance`, and of how many."""
        return int((self.distances < distance).sum()), len(self.distances)


def left_out(count: int, mean: np.ndarray, std: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a class's mean and population deviation without each of its own `vectors` [image, unit]: [image, unit] both.

    Welford's update undone (Technometrics 4, 1962): exact, in one pass.
    """
    rest = max(count - 1, 1)
    off = vectors - mean
    squares = count * std**2 - off**2 * (count / rest)
    return mean - off / rest, np.sqrt(np.maximum(squares, 0) / rest)


def distances(deviations: np.ndarray) -> np.ndarray:
    """Return the root of the mean square of each row of deviations [point, unit], NaN left out: float64 [point]."""
    known = np.isfinite(deviations)
    squares = np.where(known, deviations, 0) ** 2
    return np.sqrt(squares.sum(1) / np.maximum(known.sum(1), 1))


def class_range(patterns: ClassPatterns, label: int, images: np.ndarray, vectors: np.ndarray) -> ClassRange:
    """Return the range of one class, by its number; `vectors` [image, unit] are those of its own images."""
    mean, std, floor = patterns.mean[label], patterns.std[label], FLOOR * within_classes(patterns)
    own = np.asarray(vectors, np.float64)
    others, their_std = left_out(int(patterns.count[label]), mean, std, own)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviations = np.where(floor > 0, (own - others) / np.maximum(their_std, floor), np.nan)
    return ClassRange(
        patterns.labels[label], int(patterns.count[label]), mean, std, floor, np.asarray(images), own, distances(deviations)
    )


def within_classes(patterns: ClassPatterns) -> np.ndarray:
    """Return each unit's spread within the classes: the root of the mean variance over their images, float64 [unit]."""
    count = patterns.count[:, None]
    return np.sqrt((np.where(count > 0, patterns.std, 0) ** 2 * count).sum(0) / max(1, int(count.sum())))


def first_beyond(values: np.ndarray, limit: float) -> int | None:
    """Return the first step whose value is above `limit`; None where none is. A value that is not finite is beyond."""
    beyond = np.flatnonzero(~(np.asarray(values) <= limit))
    return int(beyond[0]) if len(beyond) else None
