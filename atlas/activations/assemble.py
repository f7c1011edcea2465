"""The parts put together: one layer's vectors and points, its statistics, the predictions. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from atlas.activations.functionals import Functional
from atlas.activations.records import Activations, PartLayer, PartLogits, PartMoments, Predictions, Statistics, Vectors
from atlas.activations.sinks import LEVELS, quantiles, top, unit_blocks
from atlas.data.records import SPLITS, Images
from atlas.errors import AtlasError
from atlas.models.records import ClassMap
from atlas.store import Store, Stream

SHOWN_RANGE = np.array([0.001, 0.999])  # a colour scale over all values would be that of one outlier
UNITS_BYTES = 64 << 20  # one block of units as float32; sorting and coding hold about three more
RANKS = 5  # outputs named per image
ENOUGH = 10  # judged images from which an accuracy says anything about the class map
NEAR_CHANCE = 1.5  # an accuracy below this many times chance is more likely a wrong class map than a bad network
WAYS = {
    "categories": "Outputs and labels were matched by name.",
    "imagenet": "Outputs and labels were matched by ImageNet's ids.",
    "file": "It was read from the file given.",
    "order": "Outputs and labels were taken in the same order.",
}


# ---------------------------------------------------------------------------------------------------------------------
# Vectors and points


def vectors_of(store: Store, activations: Activations) -> Vectors:
    """Return the layer's vectors as one [point, unit] array; float32 as soon as one of its parts is."""
    return _joined([store.read(name, PartLayer) for name in activations.parts])


def _joined(parts: Sequence[PartLayer]) -> Vectors:
    vectors = Vectors([part.vectors for part in parts])
    vectors.dtype = np.result_type(*[block.dtype for block in vectors.blocks])
    return vectors


def make_activations(names: Sequence[str], parts: Sequence[PartLayer], *, number: int) -> Activations:
    """Return the record of one layer from its parts, in order; its units are read while the record is written.

    `names` are the parts' artifacts; `number` is the layer's place in order of execution. Parts of different layers,
    functionals or widths, and parts without vectors, raise AtlasError.
    """
    _check_alike(parts)
    vectors = _joined(parts)
    if len(vectors) != sum(len(part.point_image) for part in parts):
        raise AtlasError(f"layer {parts[0].layer} was recorded for its statistics only: ask for its vectors as well")
    low, high = _shown_ranges(vectors)
    return Activations(
        layer=parts[0].layer,
        number=number,
        functional=parts[0].functional,
        parts=list(names),
        part_points=[len(part.vectors) for part in parts],
        unit_count=vectors.shape[1],
        dtype=str(vectors.dtype),
        spatial=Functional.parse(parts[0].functional).sampled,
        nonfinite=int(sum(part.nonfinite.sum() for part in parts)),
        point_image=np.concatenate([part.point_image for part in parts]).astype(np.int32),
        point_yx=np.concatenate([part.point_yx for part in parts]).astype(np.float32),
        units=Stream(np.uint8, vectors.shape[::-1], _codes(vectors, low, high)),
        unit_low=low,
        unit_high=high,
    )


def _check_alike(parts: Sequence[PartLayer], moments: Sequence[PartMoments] = ()) -> None:
    kinds = {(part.layer, part.functional, part.vectors.shape[1]) for part in parts}
    kinds |= {(part.layer, part.functional, part.mean.shape[1]) for part in moments}
    if len(kinds) != 1:
        found = ", ".join(f"{layer} ({functional}, {units} units)" for layer, functional, units in sorted(kinds)) or "none"
        raise AtlasError(f"parts of one layer are needed and these are of {found}: record them in one pass")


def _columns(vectors: Vectors) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield blocks of units, float32 [unit of the block, point]."""
    for block in unit_blocks(len(vectors), vectors.shape[1], item_bytes=4, block_bytes=UNITS_BYTES):
        columns = np.empty((block.stop - block.start, len(vectors)), np.float32)
        for start, part in zip(vectors.starts, vectors.blocks, strict=False):
            columns[:, start : start + len(part)] = part[:, block].T
        yield block, columns


def _shown_ranges(vectors: Vectors) -> tuple[np.ndarray, np.ndarray]:
    """Return the 0.1 % and 99.9 % quantile of each unit's finite values, float32 [unit]; 0 where it has none."""
    ranges = [quantiles(columns, SHOWN_RANGE) for _, columns in _columns(vectors)]
    low, high = np.nan_to_num(np.concatenate(ranges, axis=1))
    return low, high


def _codes(vectors: Vectors, low: np.ndarray, high: np.ndarray) -> Iterator[np.ndarray]:
    """Yield each unit's values as 0 … 255 between its low and high, uint8 [unit of the block, point]."""
    for block, columns in _columns(vectors):
        span = (high - low)[block, None]
        with np.errstate(invalid="ignore"):  # infinite values, which are counted, times a span of 0
            columns -= low[block, None]
            columns *= np.divide(255.0, span, out=np.zeros_like(span), where=span > 0)
        yield np.nan_to_num(np.clip(np.rint(columns, out=columns), 0, 255, out=columns)).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------------------------
# Statistics


def merge_statistics(
    parts: Sequence[PartLayer], moments: Sequence[PartMoments], *, class_map: ClassMap, number: int = 0
) -> Statistics:
    """Merge the statistics of a layer's parts and their moments; exact up to rounding but for the quantiles.

    `class_map` says which groups are right.

    Moments: Chan, Golub, LeVeque 1983. Quantiles: by weighted rank, whose error is at most 1/128 and
    one value's own rank. With sampled positions
    the statistics are over the points, and the top images over each image's greatest point.
    """
    _check_alike(parts, moments)
    if len(parts) != len(moments):
        raise AtlasError(f"{len(parts)} parts and the moments of {len(moments)} are no whole layer: record them in one pass")
    groups, count, mean, m2 = _merge_moments(moments)
    values = np.concatenate([part.top_value for part in parts])
    top_value, top_image = top(values, np.concatenate([part.top_image for part in parts]))
    return Statistics(
        layer=parts[0].layer,
        number=number,
        functional=parts[0].functional,
        images=sum(len(np.unique(part.point_image)) for part in parts),
        groups=np.column_stack([groups, rightness(groups[:, 2], groups[:, 1], class_map)]).astype(np.int32),
        count=count,
        mean=mean,
        m2=m2,
        quantiles=_merge_quantiles(parts),
        zeros=np.sum([part.zeros for part in parts], axis=0),
        nonfinite=np.sum([part.nonfinite for part in parts], axis=0),
        top_value=top_value,
        top_image=top_image,
    )


def _merge_moments(parts: Sequence[PartMoments]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    names, place = np.unique(np.concatenate([part.groups for part in parts]), axis=0, return_inverse=True)
    places = np.split(place.reshape(-1), np.cumsum([len(part.groups) for part in parts])[:-1])
    count = np.zeros(len(names), np.int64)
    mean, m2 = np.zeros((2, len(names), parts[0].mean.shape[1]))
    for part, at in zip(parts, places, strict=True):  # a group stands once in a part, so `at` has no duplicates
        before, count[at] = count[at], count[at] + part.count
        delta = part.mean - mean[at]
        mean[at] += delta * (part.count / count[at])[:, None]
        m2[at] += part.m2 + delta**2 * (before * part.count / count[at])[:, None]
    return names, count, mean, m2


def _merge_quantiles(parts: Sequence[PartLayer]) -> np.ndarray:
    """Return the quantiles of the union: each part's stand for equal shares of its finite values, the ends for half ones."""
    parts = [part for part in parts if len(part.point_image)] or parts[:1]
    if len(parts) == 1:
        return np.array(parts[0].quantiles)
    share = np.full(LEVELS, 2)  # in halves, so that sums are whole numbers and no order of the parts rounds otherwise
    share[[0, -1]] = 1
    finite = np.array([len(part.point_image) - part.nonfinite for part in parts])  # [part, unit]
    merged = np.empty((LEVELS, finite.shape[1]), np.float32)
    for unit in range(finite.shape[1]):
        values = np.concatenate([part.quantiles[:, unit] for part in parts])
        merged[:, unit] = _weighted_quantiles(values, np.outer(finite[:, unit], share).reshape(-1))
    return merged


def _weighted_quantiles(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    values, weights = values[weights > 0], weights[weights > 0]
    if not len(values):
        return np.full(LEVELS, np.nan, np.float32)
    order = np.lexsort((weights, values))
    values, weights = values[order], weights[order]
    rank = (2 * np.cumsum(weights) - weights) / (2 * weights.sum())
    return np.interp(np.linspace(0, 1, LEVELS), rank, values).astype(np.float32)


def percentile_of(statistics: Statistics, unit: int, value: float | np.ndarray) -> np.ndarray:
    """Return the share of a unit's values below `value`, in percent; among equal values the middle. NaN without values."""
    levels = np.asarray(statistics.quantiles[:, unit], np.float64)
    value = np.asarray(value, np.float64)
    if np.isnan(levels).any():
        return np.full(value.shape, np.nan)
    first, last = np.searchsorted(levels, value, "left"), np.searchsorted(levels, value, "right")
    below, above = np.clip(first - 1, 0, LEVELS - 1), np.clip(first, 0, LEVELS - 1)
    gap = levels[above] - levels[below]
    between = below + np.divide(value - levels[below], gap, out=np.zeros(value.shape), where=gap > 0)
    place = np.where(last > first, (first + last - 1) / 2, between)
    place = np.where(first == LEVELS, LEVELS - 1, np.where((first == 0) & (last == 0), 0, place))
    return np.where(np.isnan(value), np.nan, 100 * place / (LEVELS - 1))


# ---------------------------------------------------------------------------------------------------------------------
# Predictions


def predicted(logits: np.ndarray) -> np.ndarray:
    """Return the output each image is predicted to be, int32 [image]; −1 where its logits are not numbers.

    A single logit stands for two outputs: 1 where it is positive, else 0.
    """
    best = (logits[:, 0] > 0).astype(np.int32) if logits.shape[1] == 1 else logits.argmax(1).astype(np.int32)
    return np.where(np.isnan(logits).any(1) | (logits.max(1) == np.inf), np.int32(-1), best)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return softmax (of a single logit: sigmoid, for outputs 0 and 1) as float64 [image, output]."""
    logits = np.asarray(logits, np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    with np.errstate(invalid="ignore"):  # infinite logits give NaN, and such images have no prediction
        shares = np.exp(logits - logits.max(1, keepdims=True))
        return shares / shares.sum(1, keepdims=True)


def rightness(predictions: np.ndarray, codes: np.ndarray, class_map: ClassMap) -> np.ndarray:
    """Return 1 for right, 0 for wrong, −1 where that is undefined: int8 [image].

    It is undefined without a complete class map, a label, or a prediction.
    """
    if not class_map.complete:
        return np.full(len(predictions), -1, np.int8)
    right = (class_map.labels_of(predictions) == codes).astype(np.int8)
    return np.where((codes >= 0) & (predictions >= 0), right, np.int8(-1))


def make_predictions(parts: Sequence[PartLogits], images: Images, class_map: ClassMap) -> Predictions | None:
    """Return what the network says of each image, right or wrong, and the accuracy per split; None without logits."""
    if not parts or all(part.logits.shape[1] == 0 for part in parts):
        return None
    outputs = max(parts[0].logits.shape[1], 2)  # a single logit stands for two
    prediction = np.full(len(images), -1, np.int32)
    top_output = np.full((len(images), min(RANKS, outputs)), -1, np.int32)
    top_probability = np.full(top_output.shape, np.nan, np.float32)
    for part in parts:
        best = predicted(part.logits)
        rows, known = part.image[best >= 0], part.logits[best >= 0]
        prediction[part.image] = best
        top_output[rows], top_probability[rows] = _ranked(known, best[best >= 0])
    right = rightness(prediction, images.codes, class_map)
    accuracy = _accuracy(right, images)
    unpredicted = int((prediction[np.concatenate([part.image for part in parts])] < 0).sum())
    return Predictions(
        prediction=prediction,
        confidence=top_probability[:, 0].copy(),
        top_output=top_output,
        top_probability=top_probability,
        right=right,
        class_map=dataclasses.asdict(class_map),
        accuracy=accuracy,
        warnings=_warnings(accuracy, class_map, unpredicted),
    )


def _ranked(logits: np.ndarray, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each image's most probable outputs and their probabilities, the prediction first, ties by output."""
    shares = probabilities(logits)
    sure = shares.copy()
    sure[np.arange(len(best)), best] = 2  # rounding may make another output equal to the prediction, never precede it
    order = np.argsort(-sure, axis=1, kind="stable")[:, :RANKS]
    return order.astype(np.int32), np.take_along_axis(shares, order, 1).astype(np.float32)


def _accuracy(right: np.ndarray, images: Images) -> dict[str, dict[str, float]]:
    found = {}
    for split in SPLITS:
        judged = right[(images.table["split"] == split).to_numpy() & (right >= 0)]
        if len(judged):
            count = int(judged.sum())
            found[split] = {"right": count, "of": len(judged), "accuracy": count / len(judged)}
    return found


def _warnings(accuracy: dict[str, dict[str, float]], class_map: ClassMap, unpredicted: int) -> list[str]:
    chance = 1 / max(len(class_map.labels), 1)
    warnings = [
        f"accuracy {found['accuracy']:.2f}{'' if split == 'unknown' else f' on {split} images'} is near chance "
        f"({chance:.2f}): is the class map right? {WAYS.get(class_map.how, '')} "
        "Look at which output stands for which label, or give --class-map FILE"
        for split, found in accuracy.items()
        if len(class_map.labels) > 1 and found["of"] >= ENOUGH and found["accuracy"] < NEAR_CHANCE * chance
    ]
    if unpredicted:
        warnings.append(f"{unpredicted} images have logits that are not finite: they have no prediction")
    return warnings
