"""What every answer is made with: the patterns of its address, the view that has its artifact, its kinds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from atlas.errors import AtlasError, one_line
from atlas.pages.shelf import SHELF
from atlas.pages.view import ALL_SPLITS, View

KEY = r"([a-z0-9-]{1,80})"
NUMBER = r"(\d{1,8})"

Answer = tuple[str, bytes]  # content type, body
Routes = list[tuple[str, Callable[..., Answer]]]  # the pattern of an address, and what answers its groups


def images_of(key: str) -> View:
    """Return the view whose images record is `key`; another artifact's key raises AtlasError."""
    view = SHELF.owner(key)
    if key != view.images_name:
        raise AtlasError(f"{key} is not this atlas's images")
    return view


def split_of(number: str) -> int:
    """Return the number of a split, or of all, out of an address."""
    if int(number) > ALL_SPLITS:
        raise AtlasError(f"no split {number}")
    return int(number)


def as_json(value: Any) -> Answer:
    """Return `value` as a JSON answer."""
    return "application/json", json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def raw(values: np.ndarray) -> Answer:
    """Return numbers as they lie in memory, little-endian."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return "application/octet-stream", np.ascontiguousarray(little).tobytes()


def tidy(values: np.ndarray) -> list[float | None]:
    """Return numbers for JSON, five digits of each, None for what is no number."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values.tolist()]


def owner_of(key: str, stage: str) -> View:
    """Return the view that shows `key`, an artifact of `stage`; one of another stage raises AtlasError."""
    view = SHELF.owner(key)
    if view.headers[key].get("stage") != stage:
        raise AtlasError(f"{one_line(key)} holds no {stage}")
    return view
