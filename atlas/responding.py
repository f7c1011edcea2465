"""What all units of an atlas's layers make of groups of images: which images, what each unit answers, its range."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.data.records import SPLITS
from atlas.errors import AtlasError, choose
from atlas.models.layers import named_layer
from atlas.patterns.contrast import effect_sizes, moments, strongest
from atlas.progress import Progress

if TYPE_CHECKING:
    from atlas.atlas import Atlas

TOGETHER = 100  # images shown where nobody says how many: fifty of each of two classes
MOST_TOLD = 5  # units of a layer named for each class
FIRST = ("held-out", "unknown", "train")  # within a class; what the network has not learned from comes first


@dataclass(frozen=True)
class Responses:
    """What the units of some layers answer to some images: the mean over places per image, the range over all of them."""

    rows: np.ndarray  # int64 [image], class by class, within each what was held out first
    labels: list[str]  # [image]; "" where there is none
    splits: list[str]  # [image], of SPLITS
    layers: list[str]
    sizes: list[tuple[int, int]]  # y, x of each layer's maps
    means: list[np.ndarray]  # per layer float32 [image, unit]: the mean over places
    low: list[np.ndarray]  # per layer float32 [unit]: the least value at any place of any image
    high: list[np.ndarray]  # per layer float32 [unit]
    over: int  # how many images these ranges are of
    left_out: dict[str, int]  # images of each class that are not among them

    @property
    def classes(self) -> list[str]:
        """The classes, in the order shown."""
        return list(dict.fromkeys(self.labels))

    def of(self, label: str, split: str | None = None) -> np.ndarray:
        """Return which images have a label, and of a split where one is given: bool [image]."""
        own = np.array(self.labels) == label
        return own if split is None else own & (np.array(self.splits) == split)


def choose_rows(atlas: Atlas, *, most: int | None = None, classes: Sequence[str] = ()) -> tuple[np.ndarray, dict[str, int]]:
    """Return up to `most` images of each class, what was held out first; and how many of each are left out.

    `classes` are names of labels, by default all; without any labels the images are one group. By default there are about
    TOGETHER images, as many of each class.
    """
    images = atlas.image_record
    decoded = np.zeros(len(images), bool)
    decoded[images.decoded] = True
    codes, splits = images.codes, images.splits
    for name in classes:
        if name not in images.labels:
            raise choose("class", name, images.labels)
    wanted = [images.labels.index(name) for name in classes] or sorted(set(codes[decoded & (codes >= 0)].tolist())) or [-1]
    if most is not None and most < 1:
        raise AtlasError(f"at most {most} images of a class: 1 or more would do")
    each = most or max(1, TOGETHER // len(wanted))
    rank = np.array([FIRST.index(name) for name in SPLITS])[splits]
    found, left_out = [], {}
    for code in wanted:
        own = np.flatnonzero(decoded & (codes == code))
        own = own[np.argsort(rank[own], kind="stable")]
        found.append(own[:each])
        if len(own) > each:
            left_out[images.labels[code] if code >= 0 else "unlabelled"] = len(own) - each
    return np.concatenate(found), left_out


def recorded_layers(atlas: Atlas, layers: Sequence[str | int] = ()) -> list[str]:
    """Return the names of `layers`, or of all that the atlas holds vectors or statistics of, in order of execution."""
    table = atlas.network_record.layers
    if layers:
        rows = [named_layer(table, atlas.layer_name(layer)) for layer in layers]
        numbers = {str(row["name"]): int(row["number"]) for row in rows}
    else:
        held = [*atlas.names("statistics"), *atlas.names("activations")]
        numbers = {str(atlas.field(name, "layer")): int(atlas.field(name, "number")) for name in held}
    return sorted(numbers, key=lambda name: numbers[name])


def each_image(atlas: Atlas, rows: np.ndarray, layers: Sequence[str], device: str) -> Iterator[Mapping[str, np.ndarray]]:
    """Yield every unit's maps of one image after another: by layer float32 [unit, y, x]."""
    from atlas.activations.spatial import activation_maps

    network = atlas.network()
    for row in rows:
        yield activation_maps(network, atlas.seeing.any_picture(int(row), int(row)), layers, device=device)


def measured(
    atlas: Atlas,
    rows: np.ndarray,
    layers: Sequence[str],
    *,
    left_out: Mapping[str, int] | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> Responses:
    """Run images through the atlas's network and keep what each unit of `layers` answers to each of them. Needs torch."""
    if not len(rows):
        raise AtlasError("no image decodes, so nothing answers: build the atlas with images that do")
    means: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
    sizes: dict[str, tuple[int, int]] = {}
    low: dict[str, np.ndarray] = {}
    high: dict[str, np.ndarray] = {}
    with (progress or Progress()).stage("responses of all units", len(rows)) as advance:
        for maps in each_image(atlas, rows, layers, device):
            for layer, values in maps.items():
                finite = np.nan_to_num(values, posinf=0.0, neginf=0.0)
                means[layer].append(finite.mean(axis=(1, 2), dtype=np.float64).astype(np.float32))
                sizes.setdefault(layer, (values.shape[1], values.shape[2]))
                ends = finite.min(axis=(1, 2)), finite.max(axis=(1, 2))
                low[layer] = np.minimum(low.get(layer, ends[0]), ends[0])
                high[layer] = np.maximum(high.get(layer, ends[1]), ends[1])
            advance(1)
    table = atlas.image_record.table.iloc[rows]
    return Responses(
        rows=np.asarray(rows, np.int64),
        labels=["" if missing else str(label) for label, missing in zip(table["label"], table["label"].isna(), strict=True)],
        splits=[str(split) for split in table["split"]],
        layers=list(layers), sizes=[sizes[layer] for layer in layers], means=[np.stack(means[layer]) for layer in layers],
        low=[low[layer] for layer in layers], high=[high[layer] for layer in layers], over=len(rows),
        left_out=dict(left_out or {}),
    )  # fmt: skip


def ranged(found: Responses, others: Responses) -> Responses:
    """Return the same responses, the ranges of units widened to what they have over other images: of few they say little."""
    low = [np.minimum(own, other) for own, other in zip(found.low, others.low, strict=True)]
    high = [np.maximum(own, other) for own, other in zip(found.high, others.high, strict=True)]
    return replace(found, low=low, high=high, over=len(set(found.rows.tolist()) | set(others.rows.tolist())))


def preference(values: np.ndarray, own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return Cohen's d of each unit between `own` images and `others`: positive where it answers more to its own.

    `values` [image, unit], the others bool [image]; 0 for a unit that does not vary, and where there are too few images.
    """
    one, other = moments(values, np.flatnonzero(own)), moments(values, np.flatnonzero(others))
    if not one.count or not other.count or one.count + other.count < 3:
        return np.zeros(values.shape[1])
    return np.nan_to_num(effect_sizes(one, other))


def told(found: Responses, layer: str) -> dict[str, Any]:
    """Return of one layer its units, those that are 0 in the mean of every image, and those that tell each class best.

    Where there are training and held-out images, the units are chosen by the former and ``effect`` is that of the latter.
    """
    values, splits = found.means[found.layers.index(layer)], np.array(found.splits)
    both = {"train", "held-out"} <= set(found.splits)
    chosen_by, told_of = (splits == "train", splits == "held-out") if both else (np.ones(len(splits), bool),) * 2
    answer = {}
    for label in found.classes:
        own = found.of(label)
        best = strongest(preference(values, own & chosen_by, ~own & chosen_by), MOST_TOLD)[0]
        effect = preference(values, own & told_of, ~own & told_of)
        answer[label] = [{"unit": int(unit), "effect": round(float(effect[unit]), 3)} for unit in best]
    return {"layer": layer, "units": values.shape[1], "silent": int((values == 0).all(axis=0).sum()), "most": answer}
