"""The record of preferred inputs. Imports no torch: pages read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from atlas.fields import axes, of_stage

LEAST_COSINE = 0.5  # of an icon's activation to its cell's mean: below it the icon has failed
FAILURES = ("", "no gradient reached the image", "values that are not finite came up", "it never rose above its start")


@of_stage("preferred")
@axes(
    units="int32 [picture]",
    variant="int32 [picture]",
    images="uint8 [picture, y, x, rgb]",
    activation="float32 [picture]",
    percentile="float32 [picture]",
    best_real="float32 [picture]",
    steps_run="int32 [picture]",
    converged="bool [picture]",
    failure="uint8 [picture]",
    history="float32 [check, picture]",
)
@dataclass(frozen=True)
class Preferred:
    """Preferred inputs of units of one layer: images synthesised by gradient ascent, and how well they succeeded.

    ``activation`` is that of the very pixels kept, at the size they are drawn in, by the functional ``measured``; its
    ``percentile`` (0–100) is the share of the real images' activations, by the same functional, that do not exceed it,
    and ``best_real`` the greatest of them. ``variant`` numbers several reconstructions of one unit. ``failure`` indexes
    FAILURES. ``history`` is the objective at every check, NaN after an image stopped. ``dead`` are units asked for that
    never vary over the real images: they are named, not drawn.
    """

    layer: str
    number: int
    functional: str  # of the ascent: before a ReLU
    measured: str  # of the activations compared: as the layer was recorded
    objective: str  # in words
    parameterisation: str
    prior: str  # the parameterisation in words
    transforms: str  # in words
    untrained: bool  # a control: the same network with weights drawn at random
    settings: dict[str, Any]
    real: str  # which real activations the percentiles are among
    dead: list[int]
    units: np.ndarray
    variant: np.ndarray
    images: np.ndarray
    activation: np.ndarray
    percentile: np.ndarray
    best_real: np.ndarray
    steps_run: np.ndarray
    converged: np.ndarray
    failure: np.ndarray
    history: np.ndarray

    def __len__(self) -> int:
        return len(self.units)

    def table(self) -> pd.DataFrame:
        """Return one row per picture: unit, variant, activation, percentile, best_real, ratio, steps, converged, failure."""
        ratio = np.divide(self.activation, self.best_real, out=np.full(len(self), np.nan), where=self.best_real > 0)
        return pd.DataFrame(
            {
                "unit": self.units,
                "variant": self.variant,
                "activation": self.activation,
                "percentile": self.percentile,
                "best_real": self.best_real,
                "ratio": ratio,
                "steps": self.steps_run,
                "converged": self.converged,
                "failure": [FAILURES[code] for code in self.failure],
            }
        )


@of_stage("icons")
@axes(
    images="uint8 [cell, y, x, rgb]",
    cosine="float32 [cell]",
    ratio="float32 [cell]",
    said="int32 [cell]",
    converged="bool [cell]",
)
@dataclass(frozen=True)
class Icons:
    """The icons of a layout's cells: images synthesised so that the layer's activation is along each cell's mean.

    ``cosine`` of the activation of the very pixels kept to the cell's mean, and ``ratio``, its length along that as a
    share of the mean's; ``said``, the output that the network predicts of the icon, -1 without logits.
    """

    layer: str
    functional: str
    parameterisation: str
    prior: str  # the parameterisation in words
    whitened: bool
    settings: dict[str, Any]
    images: np.ndarray
    cosine: np.ndarray
    ratio: np.ndarray
    said: np.ndarray
    converged: np.ndarray

    @property
    def failed(self) -> np.ndarray:
        """Whether an icon is not what its cell is about: bool [cell]; it is shown grey and counted."""
        return np.asarray(~(self.cosine >= LEAST_COSINE))
