"""Several layers as one: each block of vectors scaled to unit mean norm, then side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atlas.errors import AtlasError
from atlas.maps.blocks import Rows, check_vectors
from atlas.maps.blocks import blocks as rows_of


def join(blocks: Sequence[Rows]) -> np.ndarray:
    """Return the blocks, each divided by its mean norm, concatenated: float32 [point, unit of all].

    So each layer has the same say in a distance, however large its values. A block of zeros stays as it is. Blocks of
    unequal numbers of points, none at all, or NaN and infinity raise AtlasError.
    """
    counts = [len(block) for block in blocks]
    if len(set(counts)) != 1:
        found = ", ".join(map(str, counts)) or "none"
        raise AtlasError(f"layers laid out jointly must have the same points, and theirs number {found}: use one functional")
    checked = [check_vectors(block) for block in blocks]
    joined = np.empty((counts[0], sum(block.shape[1] for block in checked)), np.float32)
    start = 0
    for block in checked:
        _fill(joined[:, start : start + block.shape[1]], block, 1.0 / (mean_norm(block) or 1.0))
        start += block.shape[1]
    return joined


def mean_norm(vectors: Rows) -> float:
    """Return the mean Euclidean norm of the rows."""
    return sum(float(np.linalg.norm(block.astype(np.float64), axis=1).sum()) for block in rows_of(vectors)) / len(vectors)


def _fill(target: np.ndarray, vectors: Rows, scale: float) -> None:
    start = 0
    for block in rows_of(vectors):
        target[start : start + len(block)] = block.astype(np.float64) * scale
        start += len(block)
