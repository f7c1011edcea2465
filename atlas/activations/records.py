"""The records of one pass: a layer's vectors, its statistics, the predictions. Imports no torch: pages read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from atlas.fields import axes, of_stage
from atlas.models.records import ClassMap
from atlas.store import Stream

PART = 4096  # images in a part: the unit of resume, growth and distribution


@of_stage("layer")
@axes(
    vectors="float [kept, unit]",
    point_image="int32 [point]",
    quantiles="float32 [level, unit]",
    zeros="int [unit]",
    nonfinite="int [unit]",
    top_value="float32 [rank, unit]",
    top_image="int32 [rank, unit]",
)
@dataclass(frozen=True)
class PartLayer:
    """One layer of one part: at most PART consecutive images, those that decode, in order.

    ``vectors`` [point, unit] (float16 or float32), present where vectors are wanted, else [0, unit]. The statistics are
    over the functional's values, per unit: ``quantiles`` [level, unit] float32; ``zeros`` [unit] counts values that are
    exactly 0; ``nonfinite`` [unit] counts NaN and infinity; ``top_value`` and ``top_image`` [rank, unit] the values and
    image rows that excite it most. Nothing here depends on labels, splits or the class map: see PartMoments.
    """

    layer: str
    functional: str
    vectors: np.ndarray
    point_image: np.ndarray  # int32 [point]: image row
    point_yx: np.ndarray  # float32 [point, 2]: relative position, or [0, 2] where a vector covers the image
    quantiles: np.ndarray
    zeros: np.ndarray
    nonfinite: np.ndarray
    top_value: np.ndarray
    top_image: np.ndarray


@of_stage("moments")
@axes(groups="int [group, 3]", count="int [group]", mean="float64 [group, unit]", m2="float64 [group, unit]")
@dataclass(frozen=True)
class PartMoments:
    """The moments of one layer of one part, per group of images: what labels and splits decide.

    ``groups`` [group, 3] names each group's split, label and prediction (index of the output, -1 for none); ``count``
    [group]; ``mean`` and ``m2`` (sum of squared deviations) [group, unit], float64. What is right is the class map's to
    say, once the parts are merged, so that another class map, or one more label, needs no new pass.
    """

    layer: str
    functional: str
    groups: np.ndarray
    count: np.ndarray
    mean: np.ndarray
    m2: np.ndarray


@of_stage("logits")
@axes(logits="float32 [image, output]", image="int32 [image]")
@dataclass(frozen=True)
class PartLogits:
    """The logits of one part: [image that decodes, output], float32, and their rows."""

    logits: np.ndarray
    image: np.ndarray  # int32 [image that decodes]: image row


@of_stage("attribution")
@axes(values="float [point, output]", nonfinite="int [output]")
@dataclass(frozen=True)
class PartAttribution:
    """How much each point of one layer of one part argues for each output; its points as in the PartLayer.

    ``values`` [point, output], float16, or float32 where values come near the limits of float16, the upper or (half of
    them, early in a deep network) the lower; computed in float32. A single logit stands for two outputs, of which the first
    has 0. ``nonfinite`` [output] counts NaN and infinity.
    """

    layer: str
    functional: str
    values: np.ndarray
    nonfinite: np.ndarray


@of_stage("attributions")
@dataclass(frozen=True)
class Attributions:
    """The attribution of one layer's points to each output, over all images: its parts in order."""

    layer: str
    number: int
    functional: str
    parts: list[str]  # names of PartAttribution artifacts
    part_points: list[int]
    output_count: int
    dtype: str
    nonfinite: int


@of_stage("activations")
@axes(point_image="int32 [point]", units="uint8 [unit, point]", unit_low="float32 [unit]", unit_high="float32 [unit]")
@dataclass(frozen=True)
class Activations:
    """One layer over all images: its parts in order, and its points.

    ``units`` [unit, point] uint8 holds every unit once more for colouring a map by it:
    value ≈ ``unit_low`` + code / 255 · (``unit_high`` − ``unit_low``), both float32 [unit].
    """

    layer: str
    number: int
    functional: str
    parts: list[str]  # names of PartLayer artifacts
    part_points: list[int]
    unit_count: int
    dtype: str
    spatial: bool  # whether points are sampled positions
    nonfinite: int
    point_image: np.ndarray  # int32 [point]
    point_yx: np.ndarray  # float32 [point, 2], or [0, 2]
    units: np.ndarray | Stream
    unit_low: np.ndarray
    unit_high: np.ndarray

    def __len__(self) -> int:
        return len(self.point_image)


class Vectors:
    """The vectors of a layer as one [point, unit] array, its rows read from the parts as they are asked for."""

    def __init__(self, blocks: Sequence[np.ndarray]):
        self.blocks = list(blocks)
        self.starts = np.cumsum([0] + [len(block) for block in self.blocks])
        self.shape = (int(self.starts[-1]), self.blocks[0].shape[1])
        self.dtype = self.blocks[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return rows by number, slice, list or mask, as an array in memory."""
        if isinstance(rows, int | np.integer):
            return self[[rows]][0]
        wanted = np.arange(len(self))[rows]
        found = np.empty((len(wanted), self.shape[1]), self.dtype)
        of = np.searchsorted(self.starts, wanted, side="right") - 1
        for block in np.unique(of):
            mine = of == block
            found[mine] = self.blocks[block][wanted[mine] - self.starts[block]]
        return found

    def first(self, count: int) -> Vectors:
        """Return the first `count` rows, not read yet."""
        blocks = [block[: max(0, count - start)] for start, block in zip(self.starts, self.blocks, strict=False)]
        kept = Vectors([block for block in blocks if len(block)] or blocks[:1])
        kept.dtype = self.dtype
        return kept

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def batches(self, size: int = 8192) -> Iterator[np.ndarray]:
        """Yield the rows in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]


@of_stage("statistics")
@axes(
    groups="int [group, 4]",
    count="int [group]",
    mean="float64 [group, unit]",
    m2="float64 [group, unit]",
    quantiles="float32 [level, unit]",
    zeros="int [unit]",
    nonfinite="int [unit]",
    top_value="float32 [rank, unit]",
    top_image="int32 [rank, unit]",
)
@dataclass(frozen=True)
class Statistics:
    """A layer's statistics over all images: the parts' merged. Fields as in PartLayer and PartMoments, shapes alike.

    ``groups`` [group, 4] has one more column: right (1 right, 0 wrong, -1 undefined).
    """

    layer: str
    number: int
    functional: str
    images: int
    groups: np.ndarray
    count: np.ndarray
    mean: np.ndarray
    m2: np.ndarray
    quantiles: np.ndarray
    zeros: np.ndarray
    nonfinite: np.ndarray
    top_value: np.ndarray
    top_image: np.ndarray


@of_stage("predictions")
@axes(
    prediction="int32 [image]",
    confidence="float32 [image]",
    top_output="int32 [image, rank]",
    top_probability="float32 [image, rank]",
    right="int8 [image]",
)
@dataclass(frozen=True)
class Predictions:
    """What the network says of each image, and whether that is right. Absent images have -1, NaN."""

    prediction: np.ndarray  # int32 [image]: output
    confidence: np.ndarray  # float32 [image]: softmax (sigmoid for a single logit) of the prediction
    top_output: np.ndarray  # int32 [image, rank], at most five ranks
    top_probability: np.ndarray  # float32 [image, rank]
    right: np.ndarray  # int8 [image]: 1 right, 0 wrong, -1 undefined
    class_map: dict[str, Any]
    accuracy: dict[str, Any]  # split → {"right": n, "of": n, "accuracy": share}
    warnings: list[str]

    @cached_property
    def map(self) -> ClassMap:
        """The class map."""
        return ClassMap(**self.class_map)
