"""Does an image's activation pattern break before the prediction does? Images of an atlas, disturbed step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.activations.assemble import probabilities, vectors_of
from atlas.activations.functionals import Functional
from atlas.activations.records import Activations, Predictions
from atlas.data.disturbing import Disturbance, find_kinds, ladder
from atlas.errors import AtlasError, one_line
from atlas.patterns.courses import Against, Course
from atlas.patterns.deviation import FEWEST, LEVEL, ClassRange, class_range, distances

if TYPE_CHECKING:
    from PIL.Image import Image

    from atlas.atlas import Atlas
    from atlas.models.network import Network


@dataclass(frozen=True)
class Inside:
    """What one image does inside a network: its pattern against two classes, and its courses."""

    name: str
    row: int | None
    label: str | None  # of the image, where the atlas holds it
    layer: str
    functional: str
    over: str  # which images the patterns are of
    vector: np.ndarray  # float32 [unit]
    picture: np.ndarray  # uint8 [rgb, y, x], as the network takes it
    predicted: Against
    runner_up: Against | None
    outputs: list[str]
    courses: list[Course]

    @property
    def left_out(self) -> int:
        """How many units vary in no class and are in no distance."""
        return int(np.isnan(self.predicted.deviations).sum())


class Ranges:
    """The ranges of an atlas's classes in one layer, each read when it is first asked for."""

    def __init__(self, atlas: Atlas, layer: str | None = None, *, split: str = "auto"):
        self.atlas, self.layer = atlas, atlas.layer_name(layer)
        self.said = _predictions(atlas)
        self.patterns = atlas.patterns(self.layer, split=split)
        self.record: Activations = atlas.activations(self.layer)
        self.functional = Functional.parse(self.record.functional)
        if self.functional.sampled:
            raise AtlasError(
                f"layer {one_line(self.layer)} keeps {self.functional.points} places of each image, and a pattern is one "
                "vector per image: choose a layer recorded with mean, max or centre"
            )
        wanted = self._split(split)
        self.own = wanted & (self.said.right == 1 if (self.said.right >= 0).any() else np.True_)
        self._ranges: dict[int, ClassRange] = {}

    @property
    def precision(self) -> str:
        """The precision in which the layer was recorded: an image is run as those were that it is held against."""
        told = self.atlas.headers[self.atlas.activation_name(self.layer)]["told"]
        return str(told.get("precision") or "float32")

    def _split(self, split: str) -> np.ndarray:
        splits = self.atlas.image_record.table["split"].to_numpy(object)
        wanted = ("held-out" if (splits == "held-out").any() else "all") if split == "auto" else split
        return np.ones(len(splits), bool) if wanted == "all" else splits == wanted

    def label_of(self, output: int) -> int:
        """Return the class that an output stands for, −1 for none."""
        return int(self.said.map.outputs[output]) if 0 <= output < len(self.said.map.outputs) else -1

    def images(self, label: int) -> np.ndarray:
        """Return the rows of a class's own images: of the split, and correctly classified where that is defined."""
        rows = np.flatnonzero(self.own & (self.atlas.image_record.codes == label))
        return rows[np.isin(rows, self.record.point_image)]

    def of(self, label: int) -> ClassRange:
        """Return the range of a class by its number; AtlasError where it has too few images."""
        if label not in self._ranges:
            rows, name = self.images(label), self.patterns.labels[label]
            if len(rows) < FEWEST:
                raise AtlasError(
                    f"class {one_line(name)} has {len(rows)} images whose pattern counts, and its range needs {FEWEST}: "
                    "take another split, such as all, or add images"
                )
            points = np.searchsorted(np.asarray(self.record.point_image), rows)
            vectors = vectors_of(self.atlas.store, self.record)[points]
            self._ranges[label] = class_range(self.patterns, label, rows, vectors)
        return self._ranges[label]

    def for_image(self, label: int, row: int | None) -> ClassRange:
        """Return the range of a class as it is to an image: without it, where it is one of the class's own."""
        return self.of(label) if row is None else self.of(label).without(row)

    def unsure(self, label: int) -> float:
        """Return the probability that the share LEVEL of a class's own images reach: the limit of the plain confidence."""
        return float(np.quantile(self.said.confidence[self.images(label)], 1 - LEVEL))


def _predictions(atlas: Atlas) -> Predictions:
    said = atlas.predictions
    if said is None:
        raise AtlasError("this network yields features only, so an image has no predicted class: take a classifier")
    if said.map.labels != atlas.image_record.labels:
        raise AtlasError("the predictions were made for other labels than the images have now: build the atlas again")
    return said


def inside(
    atlas: Atlas,
    image: Any,
    layer: str | None = None,
    *,
    kinds: Sequence[str] = (),
    split: str = "auto",
    seed: int = 0,
    device: str = "cpu",
) -> Inside:
    """Return one image's pattern against those of its predicted class and its runner-up, and disturbed. Needs torch.

    `image` is a row, an image_id or a file; `kinds` are names of `atlas.data.disturbing.DISTURBANCES`, by default all. The
    runner-up is the likeliest other output that is a class of the atlas. A prediction that is no class of the atlas, a class
    of too few images, and a layer with several vectors per image raise AtlasError.
    """
    chosen, row = find_kinds(kinds), atlas.find_image(image)
    picture, ranges = atlas.seeing.any_picture(image, row), Ranges(atlas, layer, split=split)
    code = -1 if row is None else int(atlas.image_record.codes[row])
    return look_inside(
        ranges, picture, chosen, name=f"image {row}" if row is not None else one_line(str(image).rpartition("/")[2], 80),
        row=row, label=atlas.image_record.labels[code] if code >= 0 else None, seed=seed, device=device,
    )  # fmt: skip


def look_inside(
    ranges: Ranges, picture: Image, kinds: Sequence[Disturbance], *, seed: int, device: str, **known: Any
) -> Inside:
    ladders, vectors, chances = _run(ranges, picture, kinds, seed, device)
    best = np.argsort(-chances[0], kind="stable").tolist()
    if ranges.label_of(best[0]) < 0:
        raise AtlasError(
            f"the prediction, {one_line(ranges.said.map.names[best[0]])}, is no class of this atlas, so that there is no "
            "pattern to compare with: give a class map with `atlas build --class-map`"
        )
    others = [output for output in best[1:] if ranges.label_of(output) >= 0]
    starts = np.cumsum([1, *(len(steps) - 1 for steps in ladders)])
    parts = [np.concatenate([[0], np.arange(start, stop)]) for start, stop in pairwise(starts)]
    return Inside(
        **known, layer=ranges.layer, functional=str(ranges.functional), over=ranges.patterns.title, vector=vectors[0],
        picture=ladders[0][0], predicted=_against(ranges, vectors[:1], chances[0], best[0], known["row"]),
        runner_up=_against(ranges, vectors[:1], chances[0], others[0], known["row"]) if others else None,
        outputs=list(ranges.said.map.names),
        courses=[
            _course(ranges, kind, steps, vectors[part], chances[part], known["row"])
            for kind, steps, part in zip(kinds, ladders, parts, strict=True)
        ],
    )  # fmt: skip


def _run(
    ranges: Ranges, picture: Image, kinds: Sequence[Disturbance], seed: int, device: str
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Run an image and what each disturbance makes of it in one batch: the ladders, vectors [image, unit], probabilities."""
    from atlas.activations.engine import find_device
    from atlas.activations.few import outputs

    network: Network = ranges.atlas.network()
    ladders = [ladder(network.preprocess.array(picture), kind, seed=seed) for kind in kinds]
    batch = np.concatenate([ladders[0][:1], *(steps[1:] for steps in ladders)])
    found = outputs(
        network, batch, {ranges.layer: ranges.functional}, image_ids=[""] * len(batch), seed=seed,
        device=find_device(device), precision=ranges.precision,
    )  # fmt: skip
    return ladders, found[ranges.layer], probabilities(found["logits"])


def _against(ranges: Ranges, vector: np.ndarray, chances: np.ndarray, output: int, row: int | None) -> Against:
    own = ranges.for_image(ranges.label_of(output), row)
    deviations = own.deviations(vector)
    distance = float(distances(deviations)[0])
    nearer, count = own.nearer(distance)
    return Against(
        label=own.label, output=output, probability=float(chances[output]), distance=distance, limit=own.limit(),
        nearer=nearer, of=count, mean=own.mean, std=own.std, deviations=deviations[0], distances=own.distances,
    )  # fmt: skip


def _course(
    ranges: Ranges, kind: Disturbance, steps: np.ndarray, vectors: np.ndarray, chances: np.ndarray, row: int | None
) -> Course:
    prediction = chances.argmax(1)
    label = ranges.label_of(int(prediction[0]))
    own, probability = ranges.for_image(label, row), chances.max(1)
    return Course(
        kind=kind.name, measure=kind.measure, strength=np.array([0, *kind.strengths], np.float64), pictures=steps,
        prediction=prediction, probability=probability, distance=own.distance(vectors), limit=own.limit(),
        unsure=ranges.unsure(label), **_at_each(ranges, prediction, probability, vectors, row),
    )  # fmt: skip


def _at_each(
    ranges: Ranges, prediction: np.ndarray, probability: np.ndarray, vectors: np.ndarray, row: int | None
) -> dict[str, np.ndarray]:
    """Return of each step whether it lies outside the class that is predicted there, and whether it is less sure."""
    outside, unsure = np.ones(len(vectors), bool), np.ones(len(vectors), bool)
    for step, output in enumerate(prediction.tolist()):
        label = ranges.label_of(output)
        if label >= 0:
            found = ranges.for_image(label, row)
            outside[step] = not found.distance(vectors[step : step + 1])[0] <= found.limit()
            unsure[step] = probability[step] < ranges.unsure(label)
    return {"new": outside, "new_unsure": unsure}
