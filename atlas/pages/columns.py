"""Numbers and words as a page takes them: coordinates and shares in few bytes, names of outputs, a table's values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from atlas.activations.records import Predictions
from atlas.data.records import COLUMNS

COORDINATE_STEPS = 65_535  # the map's coordinates go to the page as uint16: finer than any screen
CONFIDENCE_STEPS = 65_534  # a confidence as uint16, its last code kept for "none"
NO_CONFIDENCE = 65_535


def newest(names: Iterable[str]) -> str | None:
    """Return the last of the names, which was shown last, as the command and `Atlas` take it; None where there is none."""
    found = list(names)
    return found[-1] if found else None


def own_names(table: pd.DataFrame) -> list[str]:
    """Return the names of the user's own columns of an images table, in its order."""
    return [str(name) for name in table.columns if name not in COLUMNS]


def read_only(array: np.ndarray) -> np.ndarray:
    """Return `array`, contiguous and closed to writing: every session of the process shares it."""
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array


def quantise(xy: np.ndarray) -> np.ndarray:
    """Return coordinates [point, 2] as uint16 [2, point], both axes by one scale, the smaller one centred."""
    if not len(xy):
        return np.zeros((2, 0), np.uint16)
    return np.clip(np.round(on_page(xy, xy)), 0, COORDINATE_STEPS).astype(np.uint16).T


def on_page(new: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Return places [new, 2] in the unit in which a page has the layout `xy` [point, 2]: float64, perhaps outside of it."""
    low, high = xy.min(0), xy.max(0)
    scale = COORDINATE_STEPS / max(float((high - low).max()), 1e-30)  # all points in one place stay in one place
    return (new - (low + high) / 2) * scale + COORDINATE_STEPS / 2


def confidence_codes(confidence: np.ndarray) -> np.ndarray:
    """Return shares as uint16 codes, NO_CONFIDENCE where there is none."""
    share = np.asarray(confidence, np.float64)
    codes = np.round(np.clip(np.nan_to_num(share), 0, 1) * CONFIDENCE_STEPS)
    return np.where(np.isfinite(share), codes, NO_CONFIDENCE).astype(np.uint16)


def output_name(record: Predictions, output: int) -> str:
    """Return the name of a network's output: its own, else that of the label it stands for, else its number."""
    class_map = record.map
    if output < len(class_map.names) and class_map.names[output]:
        return str(class_map.names[output])
    label = class_map.outputs[output] if output < len(class_map.outputs) else -1
    return class_map.labels[label] if label >= 0 else f"output {output}"


def text(value: Any) -> str | None:
    """Return a table's value as text, None where it is missing."""
    return None if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)) else str(value)
