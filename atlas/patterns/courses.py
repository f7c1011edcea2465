"""One image's pattern against a class's, its course under a growing disturbance, what came first. numpy and pandas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from atlas.patterns.deviation import first_beyond

START = "outside from the start"
ORDERS = ("pattern", "together", "prediction", "neither", START)  # what came first


@dataclass(frozen=True)
class Against:
    """One image's pattern against one class's."""

    label: str
    output: int
    probability: float
    distance: float  # standardised; see `atlas.patterns.deviation`
    limit: float  # what the share LEVEL of the class's own images do not exceed
    nearer: int  # of the class's own images
    of: int
    mean: np.ndarray  # float64 [unit]
    std: np.ndarray  # float64 [unit]
    deviations: np.ndarray  # float64 [unit], NaN for units that vary in no class
    distances: np.ndarray  # float64 [image] of the class's own images

    @property
    def outside(self) -> bool:
        """Whether the image lies farther out than the limit."""
        return not self.distance <= self.limit


@dataclass(frozen=True)
class Course:
    """One image under one disturbance of growing strength; the first step is the image undisturbed."""

    kind: str
    measure: str
    strength: np.ndarray  # float64 [step]
    pictures: np.ndarray  # uint8 [step, rgb, y, x]
    prediction: np.ndarray  # int64 [step]: output
    probability: np.ndarray  # float64 [step], of that prediction
    distance: np.ndarray  # float64 [step], from the class predicted at the start
    limit: float
    unsure: float  # the probability that the share LEVEL of that class's own images reach
    new: np.ndarray  # bool [step]: outside the class predicted at this step (of an output that is no class: True)
    new_unsure: np.ndarray  # bool [step]: less sure than that class's own images are

    @property
    def breaks(self) -> int | None:
        """The step at which the pattern first leaves its class; None where it never does."""
        return first_beyond(self.distance, self.limit)

    @property
    def changes(self) -> int | None:
        """The step at which the prediction is first another."""
        return first_beyond(self.prediction != self.prediction[0], 0)

    @property
    def doubts(self) -> int | None:
        """The step at which the probability of the prediction first falls below what the class's own images reach."""
        return first_beyond(-self.probability, -self.unsure)

    @property
    def first(self) -> str:
        """Which came first, one of ORDERS."""
        return order(self.breaks, self.changes)


def order(pattern: int | None, prediction: int | None) -> str:
    """Return which came first by their steps, one of ORDERS; None is never."""
    if pattern == 0:
        return START
    if pattern is None or prediction is None:
        return "neither" if pattern is prediction else "prediction" if pattern is None else "pattern"
    return "together" if pattern == prediction else "pattern" if pattern < prediction else "prediction"


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per disturbance of what `breaking_points` found: shares of images by what came first, medians, caught.

    ``caught`` and ``caught_unsure`` are shares of the images whose prediction changed, ``changed``.
    """
    rows = []
    for kind, own in table.groupby("kind", sort=False):
        came = own["first"].value_counts(normalize=True)
        changed = own[own["caught"].notna()]
        rows.append(
            {
                "kind": kind,
                "images": len(own),
                **{name: float(came.get(name, 0.0)) for name in ORDERS},
                "pattern_at": _median(own["pattern"]),
                "confidence_at": _median(own["confidence"]),
                "prediction_at": _median(own["prediction"]),
                "changed": len(changed),
                "caught": float(changed["caught"].astype(float).mean()) if len(changed) else float("nan"),
                "caught_unsure": float(changed["caught_unsure"].astype(float).mean()) if len(changed) else float("nan"),
            }
        )
    return pd.DataFrame(rows)


def _median(strengths: pd.Series) -> float:
    """Return the strength by which half of the images are through, NaN where fewer ever are."""
    middle = float(strengths.fillna(np.inf).median())
    return middle if np.isfinite(middle) else float("nan")
