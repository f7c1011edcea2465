"""How far a page's points and images can be trusted: faithfulness of each point's place, doubtful labels, leaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import AtlasError
from atlas.maps.records import Layout
from atlas.pages.columns import confidence_codes
from atlas.patterns.leaks import Leaks, partners
from atlas.patterns.spread import ClassSpread
from atlas.patterns.suspects import Suspects

if TYPE_CHECKING:
    from atlas.pages.view import Space, View

STAGES = ("spread", "suspects", "leaks")


def of_space(view: View, sources: list[str]) -> dict[str, str]:
    """Return the newest of each of STAGES that was made from these activations and the images shown."""
    found = {}
    for stage in STAGES:
        for name in view.of_stage(stage):
            if view.inputs(name, "activations") == sources and view.inputs(name, "images") == [view.images_name]:
                found[stage] = name
    return found


def colours(view: View, space: Space) -> list[str]:
    """Return the ways to colour by trust that a space has."""
    measured = any(faithful(view, name) for name in space.layouts)
    return [*(["faithfulness"] if measured else []), *(["suspicion"] if "suspects" in space.doubts else [])]


def faithful(view: View, layout: str) -> bool:
    """Tell whether any of a layout's points could be measured: two points have no neighbours to keep or lose."""
    return bool(np.isfinite(view.read(layout, Layout).recall).any())


def codes(view: View, name: str) -> np.ndarray:
    """Return a layout's recall of each point, or each image's suspicion, as codes of a share: uint16."""
    if view.headers[name]["stage"] == "suspects":
        return confidence_codes(view.read(name, Suspects).score)
    if not faithful(view, name):
        raise AtlasError(f"{name} has too few points for their faithfulness to be measured: add images")
    return confidence_codes(view.read(name, Layout).recall)


def suspicion(view: View, name: str, row: int) -> dict[str, Any]:
    """Return how suspicious an image's label is: score, agreement, and what its neighbours say; None where not judged."""
    record: Suspects = view.read(name, Suspects)
    if not 0 <= row < len(record.score):
        raise AtlasError(f"no image {row}: there are {len(record.score)}")
    if not np.isfinite(record.score[row]):
        return {"score": None, "agreement": None, "say": None, "k": record.k}
    score, agreement = float(record.score[row]), float(record.agreement[row])
    return {"score": score, "agreement": agreement, "say": record.labels[record.usual[row]], "k": record.k}


def twins(view: View, name: str, row: int) -> dict[str, Any]:
    """Return the images in the other split that look the same as one: their rows, the most alike first."""
    if not 0 <= row < len(view.images):
        raise AtlasError(f"no image {row}: there are {len(view.images)}")
    return {"twins": list(partners(view.read(name, Leaks), row))}


def spread_part(view: View, name: str) -> list[dict[str, Any]]:
    """Return per class, over all images: spread, purity, the class it mixes with most and how much; None where undefined."""
    record: ClassSpread = view.read(name, ClassSpread)
    mixing = np.nan_to_num(np.array(record.mixing[0], np.float64))
    np.fill_diagonal(mixing, 0.0)
    most = mixing.argmax(axis=1)
    return [
        {"spread": _number(spread), "purity": _number(purity), "other": int(other), "share": float(mixing[row, other])}
        for row, (spread, purity, other) in enumerate(zip(record.spread[0], record.purity[0], most, strict=True))
    ]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
