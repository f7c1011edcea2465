"""Several layers as one: each block of vectors scaled to unit mean norm, then side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atlas.errors import AtlasError, one_line
from atlas.maps.blocks import Rows, check_vectors
from atlas.maps.blocks import blocks as rows_of


def join(blocks: Sequence[Rows], *, scales: Sequence[float] | np.ndarray | None = None) -> np.ndarray:
    """Return the blocks, each divided by its scale, concatenated: float32 [point, unit of all].

    The scales are by default the blocks' own, `scales_of`; a new image's vectors take those of the layout they join.
    So each layer has the same say in a distance, however large its values. Blocks of unequal numbers of points, none at
    all, NaN and infinity, or scales that are not one positive number each raise AtlasError.
    """
    counts = [len(block) for block in blocks]
    if len(set(counts)) != 1:
        found = ", ".join(map(str, counts)) or "none"
        raise AtlasError(f"layers laid out jointly must have the same points, and theirs number {found}: use one functional")
    checked = [check_vectors(block) for block in blocks]
    scales = scales_of(checked) if scales is None else _check_scales(scales, len(checked))
    joined = np.empty((counts[0], sum(block.shape[1] for block in checked)), np.float32)
    start = 0
    for block, scale in zip(checked, scales, strict=True):
        _fill(joined[:, start : start + block.shape[1]], block, 1.0 / scale)
        start += block.shape[1]
    return joined


def scales_of(blocks: Sequence[Rows]) -> np.ndarray:
    """Return each block's mean norm, float64 [block]; 1 for a block of zeros."""
    return np.array([mean_norm(block) or 1.0 for block in blocks])


def _check_scales(scales: Sequence[float] | np.ndarray, count: int) -> np.ndarray:
    found = np.asarray(scales, dtype=np.float64)
    if found.shape != (count,) or not (np.isfinite(found) & (found > 0)).all():
        raise AtlasError(f"{count} layers are joined by {count} positive scales, not {one_line(repr(list(scales)))}")
    return found


def mean_norm(vectors: Rows) -> float:
    """Return the mean Euclidean norm of the rows."""
    return sum(float(np.linalg.norm(block.astype(np.float64), axis=1).sum()) for block in rows_of(vectors)) / len(vectors)


def _fill(target: np.ndarray, vectors: Rows, scale: float) -> None:
    start = 0
    for block in rows_of(vectors):
        target[start : start + len(block)] = block.astype(np.float64) * scale
        start += len(block)
