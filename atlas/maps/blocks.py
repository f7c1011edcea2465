"""Vectors by blocks: what every map does first with a layer's [point, unit] array, in memory bounded by the block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from atlas.activations.records import Vectors
from atlas.errors import AtlasError

BLOCK = 4096  # rows at a time: 4096 × 4096 float32 is 64 MB
Rows = np.ndarray | Vectors


def whole_number(what: str, value: Any, least: int) -> int:
    """Return `value` as an int when it is a whole number of at least `least`; else raise AtlasError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise AtlasError(f"{what} must be a whole number of at least {least}, not {value!r}")
    return int(value)


def blocks(vectors: Rows, size: int = BLOCK) -> Iterator[np.ndarray]:
    """Yield the rows in order, `size` at a time, as they are stored."""
    for start in range(0, len(vectors), size):
        yield vectors[start : start + size]


def check_vectors(vectors: Rows) -> Rows:
    """Return `vectors` when they are [point, unit], at least one of each, and finite as float32; else raise AtlasError."""
    vectors = vectors if isinstance(vectors, Vectors) else np.asarray(vectors)
    if len(vectors.shape) != 2 or 0 in vectors.shape:
        raise AtlasError(f"vectors must be [point, unit], at least one of each, and these are {list(vectors.shape)}")
    bad = sum(int((~np.isfinite(as_float32(block))).any(axis=1).sum()) for block in blocks(vectors))
    if bad:
        raise AtlasError(
            f"{bad} of {len(vectors)} vectors hold NaN or infinity: choose another layer, or compute it in float32 "
            "(--precision float32)"
        )
    return vectors


def as_float32(block: np.ndarray) -> np.ndarray:
    """Return a block as float32, in memory; what float32 cannot hold becomes infinite, for the caller to count."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(block, dtype=np.float32)


def unit_length(block: np.ndarray) -> np.ndarray:
    """Return rows divided by their norm, float32 [point, unit]; rows of zeros stay zeros."""
    rows = block.astype(np.float64)  # squares of large float32 values would overflow
    norms = np.sqrt(np.einsum("nu,nu->n", rows, rows))
    norms[norms == 0] = 1.0
    rows /= norms[:, None]
    return rows.astype(np.float32)


def all_equal(vectors: Rows) -> bool:
    """Tell whether every row is the same."""
    first = vectors[0]
    return all(bool((block == first).all()) for block in blocks(vectors))


def sample_rows(count: int, most: int, seed: int) -> np.ndarray:
    """Return at most `most` of `count` row numbers, drawn without replacement from `seed`, in order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
