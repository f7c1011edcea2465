"""How far an atlas can be trusted, as tables: faithfulness of its maps, spread of its classes, doubtful labels, leaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd

from atlas.activations.records import Activations
from atlas.data.records import SPLITS
from atlas.errors import AtlasError, choose
from atlas.maps.blocks import whole_number
from atlas.maps.records import Neighbours
from atlas.patterns.leaks import Leaks, both_splits, leaks_table
from atlas.patterns.spread import ClassSpread, class_spread
from atlas.patterns.suspects import Suspects, label_suspects, suspects_table
from atlas.stages import read_vectors

if TYPE_CHECKING:
    from atlas.atlas import Atlas

R = TypeVar("R")


def faithfulness(atlas: Atlas, layer: str | None, method: str) -> pd.DataFrame:
    """Return recall, trust and continuity of each point of a layout, with its image (row); NaN where not computed."""
    record, image = atlas.layout_record(layer, method)
    return pd.DataFrame({"image": image, "recall": record.recall, "trust": record.trust, "continuity": record.continuity})


def spread(atlas: Atlas, layer: str | None, split: str) -> pd.DataFrame:
    """Return per class: points, spread, purity, and the class it mixes with most with the share of its neighbours there.

    The spread is the mean distance to the class's centre in units of the mean distance between centres, the purity the mean
    share of a point's neighbours that have its label. The frame's ``attrs`` name layer, metric, split and k.
    """
    found = spread_record(atlas, layer)
    place = found.place(split)
    mixing, labels = found.mixing[place], np.array(found.labels, object)
    others = np.where(np.eye(len(labels), dtype=bool) | np.isnan(mixing), -1.0, mixing)
    most = others.argmax(axis=1)
    share = others[np.arange(len(labels)), most]
    table = pd.DataFrame(
        {
            "class": labels,
            "points": found.count[place],
            "spread": found.spread[place],
            "purity": found.purity[place],
            "mixes_with": np.where(share > 0, labels[most], None),
            "share": np.where(share > 0, share, np.nan),
        }
    )
    table.attrs = {"layer": "+".join(found.layers), "metric": found.metric, "split": split, "k": found.k}
    return table


def spread_record(atlas: Atlas, layer: str | None = None) -> ClassSpread:
    """Return how far the classes spread in a layer, as built; in several joined by ``+``, from their joint neighbours.

    Layers that were not laid out jointly raise AtlasError.
    """
    if layer is None or "+" not in layer:
        return _of_layer(atlas, "spread", ClassSpread, layer)
    lists, sources = joint_neighbours(atlas, layer)
    images = atlas.image_record
    points = np.asarray(atlas.store.read(sources[0], Activations).point_image)
    return class_spread(read_vectors(atlas.store, sources), lists, points, images.codes, images.labels, splits=images.splits)


def joint_neighbours(atlas: Atlas, layer: str) -> tuple[Neighbours, list[str]]:
    """Return the neighbours of a layer, or of several joined by ``+``, and the activations whose points they are of."""
    sources = [atlas.activation_name(part) for part in layer.split("+")]
    names = [name for name in atlas.names("neighbours") if atlas.inputs(name, "activations") == sources]
    if not names:
        there = ["+".join(atlas.field(name, "layers")) for name in atlas.names("neighbours")]
        raise choose("layers with neighbours", layer, dict.fromkeys(there))
    return atlas.store.read(names[-1], Neighbours), sources


def mixing(atlas: Atlas, layer: str | None, split: str) -> pd.DataFrame:
    """Return the share of each class's neighbours that belongs to each class, classes by row and by column."""
    found = spread_record(atlas, layer)
    return pd.DataFrame(np.array(found.mixing[found.place(split)]), index=found.labels, columns=found.labels)


def suspects(atlas: Atlas, layer: str | None, k: int | None) -> pd.DataFrame:
    """Return the judged images, the most suspicious label first; the frame's ``attrs`` say how they were judged."""
    found = suspects_record(atlas, layer, k)
    table = suspects_table(found, atlas.images())
    how = "1 − (agreement + probability) / 2" if found.predicted else "1 − agreement"
    table.attrs = {"layer": found.layers[0], "metric": found.metric, "k": found.k, "score": how}
    return table


def suspects_record(atlas: Atlas, layer: str | None = None, k: int | None = None) -> Suspects:
    """Return how suspicious each label is: as built, or by `k` neighbours of the kept lists."""
    if not (atlas.image_record.codes >= 0).any():
        raise AtlasError("the images carry no labels, so none is suspect: label them by folder or by table")
    found = _of_layer(atlas, "suspects", Suspects, layer)
    if k is None or whole_number("k", k, 1) == found.k:
        return found
    name = atlas.activation_name(layer)
    lists = atlas.store.read(atlas.inputs(_name(atlas, "suspects", name), "neighbours")[0], Neighbours)
    if k > lists.indices.shape[1]:
        raise AtlasError(f"asked for {k} neighbours of each image and {lists.indices.shape[1]} are kept: ask for no more")
    codes, labels = atlas.image_record.codes, atlas.image_record.labels
    points = atlas.activations(layer).point_image
    return label_suspects(lists, points, codes, labels, predictions=atlas.predictions, k=k)


def leaks(atlas: Atlas, layer: str | None) -> pd.DataFrame:
    """Return the pairs that look the same, the most alike first, with both images' id, path and label."""
    found = leaks_record(atlas, layer)
    table = leaks_table(found, atlas.images())
    table.attrs = {"layer": found.layers[0], "metric": found.metric, "usual": found.usual, "k": found.k}
    return table


def leaks_record(atlas: Atlas, layer: str | None = None) -> Leaks:
    """Return the pairs of a training and a held-out image that look the same; AtlasError where a split is missing."""
    splits = atlas.image_record.splits
    if not both_splits(splits):
        there = ", ".join(SPLITS[number] for number in np.unique(splits))
        raise AtlasError(f"leaks lie between training and held-out images, and all of these are {there}: give both splits")
    return _of_layer(atlas, "leaks", Leaks, layer)


def listed_suspects(atlas: Atlas, layer: str | None = None) -> tuple[pd.DataFrame, str]:
    """Return the images whose neighbours say another label, and a sentence on what is listed."""
    found = suspects_record(atlas, layer)
    table = suspects(atlas, layer, None)
    doubted = table[table["neighbours_say"] != table["label"]].reset_index(drop=True)
    doubted.attrs = table.attrs
    return doubted, (
        f"{found.doubted} of {found.judged} labelled images have mostly neighbours of another label in {found.layers[0]} "
        f"({found.metric}, {found.k} nearest); score = {table.attrs['score']}"
    )


def listed_leaks(atlas: Atlas, layer: str | None = None) -> tuple[pd.DataFrame, str]:
    """Return the leaks, and a sentence on what is listed."""
    found = leaks_record(atlas, layer)
    return leaks(atlas, layer), (
        f"{found.held_out} of {found.of} held-out images look the same as a training image: same bytes, or among the "
        f"{found.k} nearest in {found.layers[0]} with thumbnails of likeness ≥ {found.least_likeness:g}, far above the "
        f"usual, and difference ≤ {found.most_difference:g} of 255 ({found.candidates} pairs compared)"
    )


def _of_layer(atlas: Atlas, stage: str, kind: type[R], layer: str | None) -> R:
    """Return the record of one stage of a layer."""
    return atlas.store.read(_name(atlas, stage, atlas.activation_name(layer)), kind)


def _name(atlas: Atlas, stage: str, activations: str) -> str:
    """Return the name of the newest artifact of one stage that was made from these activations."""
    names = [name for name in atlas.names(stage) if atlas.inputs(name, "activations") == [activations]]
    if not names:
        layer = atlas.field(activations, "layer")
        raise AtlasError(f"the atlas in {atlas.store.root} holds no {stage} of {layer}: build it again with `atlas build`")
    return names[-1]
