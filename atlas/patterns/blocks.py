"""What the blocks of a deep network make of the classes: patterns side by side, and four measures per block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas.errors import AtlasError
from atlas.patterns.classes import ClassPatterns


@dataclass(frozen=True)
class BlockPatterns:
    """The class patterns of equally wide layers, in order of execution; a class without images has NaN and a count of 0."""

    layers: list[str]
    functional: str
    labels: list[str]
    mean: np.ndarray  # float64 [class, block, unit]
    std: np.ndarray  # float64 [class, block, unit]
    count: np.ndarray  # int64 [class]
    title: str


def stacked(patterns: Sequence[ClassPatterns]) -> BlockPatterns:
    """Return the patterns of several layers of one width side by side; AtlasError where they are not of one kind."""
    if not patterns:
        raise AtlasError("no layer's patterns were given: give those of at least one")
    first, last = patterns[0], patterns[-1]
    for other in patterns:
        same = other.mean.shape == first.mean.shape and other.labels == first.labels
        if not same or not np.array_equal(other.count, first.count):
            what = f"{other.layer} has {other.mean.shape[1]} units and {first.layer} {first.mean.shape[1]}"
            raise AtlasError(f"{what}: give layers of one network and width, over the same images")
    over = first.title.partition(" over ")[2]
    return BlockPatterns(
        layers=[one.layer for one in patterns],
        functional=first.functional,
        labels=first.labels,
        mean=np.stack([one.mean for one in patterns], axis=1),
        std=np.stack([one.std for one in patterns], axis=1),
        count=first.count,
        title=f"{first.layer} to {last.layer} over {over}",
    )


def f_ratio(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return between-class variance over within-class variance of every unit: float64 [block, unit].

    mean and std [class, block, unit] → Var_c(mean) / mean_c(std²), classes without images left out; NaN where a unit never
    varies within a class, or fewer than two classes have images. Fisher's ratio, with equal weight for every class.
    """
    there = ~np.isnan(mean).all(axis=(1, 2))
    if there.sum() < 2:
        return np.full(mean.shape[1:], np.nan)
    between, within = mean[there].var(axis=0), np.square(std[there]).mean(axis=0)
    return np.divide(between, within, out=np.full_like(within, np.nan), where=within > 0)


def class_cosines(mean: np.ndarray) -> np.ndarray:
    """Return the cosine between the classes' mean vectors at each block: float64 [block, class, class].

    mean [class, block, unit]; NaN of a class without images, or of a mean that is 0 throughout.
    """
    vectors = np.swapaxes(mean, 0, 1)
    norms = np.linalg.norm(vectors, axis=2, keepdims=True)
    units = np.divide(vectors, norms, out=np.full_like(vectors, np.nan, dtype=np.float64), where=norms > 0)
    return np.clip(units @ np.swapaxes(units, 1, 2), -1.0, 1.0)


def between_classes(cosines: np.ndarray) -> np.ndarray:
    """Return the mean cosine of two different classes at each block: float64 [block]; cosines [block, class, class]."""
    pairs = np.triu_indices(cosines.shape[1], 1)
    values = cosines[:, pairs[0], pairs[1]]
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.divide(total, known.sum(axis=1), out=np.full(len(values), np.nan), where=known.any(axis=1))


def read_out(streams: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return what the output layer says when it reads each block instead of the last: int64 [block, image].

    streams [block, image, unit], weight [class, unit], bias [class]. The blocks of a residual network add to one stream,
    whose basis the output layer knows. nostalgebraist, "interpreting GPT: the logit lens", 2020.
    """
    if streams.ndim != 3 or weight.shape != (len(bias), streams.shape[2]):
        raise AtlasError(
            f"streams {streams.shape} and an output layer of {weight.shape}: give [block, image, unit] and [class, unit]"
        )
    return np.stack([(stream @ weight.T + bias).argmax(axis=1) for stream in streams])


def linear_cka(streams: np.ndarray) -> np.ndarray:
    """Return the linear CKA of every two blocks: float64 [block, block].

    streams [block, image, unit] → ‖Aᵀ B‖² / (‖Aᵀ A‖ ‖Bᵀ B‖) of the centred blocks, by Frobenius' norm; NaN of a block that
    does not vary. It does not change with a rotation or a scale of either block, and is biased upward where units
    outnumber images. Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited".
    """
    _, images, units = streams.shape
    crossed = (_of_grams if images < units else _of_units)(streams)
    own = np.sqrt(np.diag(crossed))
    norms = np.outer(own, own)
    return np.divide(crossed, norms, out=np.full_like(crossed, np.nan), where=norms > 0)


def _centred(block: np.ndarray) -> np.ndarray:
    """Return a block less its mean and of size 1, for the measure knows no scale; 0 where it does not vary."""
    centred = block - block.mean(axis=0, dtype=np.float64)
    size = np.linalg.norm(centred)
    return centred / size if size > 0 else centred


def _of_units(streams: np.ndarray) -> np.ndarray:
    """Return ‖Aᵀ B‖² of every two centred blocks, [block, block]."""
    blocks, _, units = streams.shape
    centred = [_centred(block) for block in streams]
    side_by_side = np.concatenate(centred, axis=1)
    return np.stack(
        [np.square((block.T @ side_by_side).reshape(units, blocks, units)).sum(axis=(0, 2)) for block in centred]
    )


def _of_grams(streams: np.ndarray) -> np.ndarray:
    """Return the same as the inner products of the images' Gram matrices: less work where units outnumber images."""
    grams = np.empty((len(streams), streams.shape[1] ** 2))
    for gram, block in zip(grams, streams, strict=True):  # one block's copy at a time: all take gigabytes
        centred = _centred(block)
        gram[:] = (centred @ centred.T).ravel()
    return grams @ grams.T
