"""A linear probe: how much of a labelling a plain linear classifier reads out of vectors (Alain and Bengio 2016)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atlas.errors import AtlasError
from atlas.patterns.properties import wilson

STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # scikit-learn's C, of which cross-validation on the training images chooses
FOLDS, GROUP_FOLDS = 3, 5  # of that; of whole groups, which are few
ROUNDS = 300  # of the solver at most


@dataclass(frozen=True)
class Probe:
    """What a linear classifier on vectors reaches on images that it was not fitted on."""

    accuracy: float
    low: float  # of Wilson's interval of 95 %
    high: float
    chance: float  # share of the most frequent class among the test images
    train_accuracy: float
    strength: float  # C as chosen
    train: int
    test: int
    per_class: np.ndarray  # float64 [class]; NaN without test images
    predicted: np.ndarray  # int [test image]


def linear_probe(
    train: np.ndarray,
    train_codes: np.ndarray,
    test: np.ndarray,
    test_codes: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
) -> Probe:
    """Fit multinomial logistic regression on train [image, unit] and judge it on test [image, unit].

    Units are brought to mean 0 and deviation 1 by the training images; the strength of the L2 penalty is chosen by
    cross-validation among the training images alone; with `groups` [image], of one subject each, say, whole groups are left
    out in turn. AtlasError for fewer than two classes, or than FOLDS images of one.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    counts = np.bincount(train_codes)
    if (counts > 0).sum() < 2 or counts[counts > 0].min() < FOLDS:
        raise AtlasError(f"a probe needs two classes or more, each of {FOLDS} training images or more")
    folds: Any = StratifiedKFold(FOLDS, shuffle=True, random_state=seed) if groups is None else GroupKFold(GROUP_FOLDS)
    parts = list(folds.split(train, train_codes, groups))

    def model(strength: float) -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=ROUNDS))

    with warnings.catch_warnings():  # where the solver stops before the end, what it has is judged all the same
        warnings.simplefilter("ignore", ConvergenceWarning)
        best, fitted = _fitted(model, strengths, train, train_codes, parts)
    predicted = fitted.predict(test)
    right = predicted == test_codes
    low, high = wilson(int(right.sum()), len(right))
    classes = np.arange(max(train_codes.max(), test_codes.max()) + 1)
    per_class = [right[test_codes == code].mean() if (test_codes == code).any() else np.nan for code in classes]
    return Probe(
        float(right.mean()), low, high, float(np.bincount(test_codes).max() / len(test_codes)),
        float(fitted.score(train, train_codes)), best, len(train), len(test), np.array(per_class), predicted,
    )  # fmt: skip


def _fitted(
    model: Callable[[float], Any], strengths: Sequence[float], train: np.ndarray, codes: np.ndarray, parts: Any
) -> tuple[float, Any]:
    """Return the strength that cross-validation chooses, and the model of it fitted on all training images."""
    from sklearn.model_selection import cross_val_score

    scores = [cross_val_score(model(strength), train, codes, cv=parts).mean() for strength in strengths]
    best = strengths[int(np.argmax(scores))]
    return best, model(best).fit(train, codes)
