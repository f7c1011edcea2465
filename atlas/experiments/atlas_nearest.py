"""How well the classes part in a layer, in several layers jointly and on their maps, beside controls."""

from __future__ import annotations

from typing import Any

import numpy as np

from atlas.atlas import Atlas
from atlas.experiments.atlas_measures import SEED, Network
from atlas.maps.joint import join
from atlas.maps.neighbours import build_neighbours
from atlas.patterns.voting import VOTERS, voted
from atlas.truth import joint_neighbours


def nearest_right(one: Network, atlas: Atlas, *, maps: bool = True) -> list[dict[str, Any]]:
    """Return, per layer and for the layers jointly, how many images the k nearest others give the right label.

    Controls: the same neighbours with labels shuffled; for the joint layers, all but the descriptor with their rows
    shuffled, so that they add width but nothing about the image.
    """
    there = [layer for layer in one.single if layer in atlas.layers]
    found = [_row(one, atlas, layer) for layer in [*there, *([one.joint] if maps else [])]]
    for row in found:
        for method in ("umap", "tsne"):
            if atlas.names("layout", layers=row["layers"].split("+"), method=method):
                row[method] = float(right_on_map(atlas, row["layers"], method).mean())
    if maps:
        found.append(_shuffled_join(one, atlas))
        best = max((row for row in found if row["layers"] in there), key=lambda row: row["space"])
        joint = next(row for row in found if row["layers"] == one.joint)
        joint["against"] = {"layers": best["layers"], **_paired(_right(atlas, one.joint), _right(atlas, best["layers"]))}
    return found


def _row(one: Network, atlas: Atlas, layers: str) -> dict[str, Any]:
    codes, labels = np.asarray(atlas.image_record.codes), atlas.image_record.labels
    lists, _ = joint_neighbours(atlas, layers)
    shuffled = np.random.default_rng(SEED).permutation(codes)
    image = np.arange(len(codes))
    return {
        "network": one.title, "layers": layers,
        "values": sum(atlas.vectors(layer).shape[1] for layer in layers.split("+")),
        "purity": float(atlas.spread(layers)["purity"].mean()),
        "space": float(_right(atlas, layers).mean()), "umap": None, "tsne": None,
        "shuffled": float((voted(lists.indices, image, shuffled, len(labels)) == shuffled).mean()),
    }  # fmt: skip


def _right(atlas: Atlas, layers: str) -> np.ndarray:
    """Return whether the nearest others of each image have its label: bool [image]."""
    codes = np.asarray(atlas.image_record.codes)
    lists, _ = joint_neighbours(atlas, layers)
    return np.asarray(voted(lists.indices, np.arange(len(codes)), codes, len(atlas.image_record.labels)) == codes)


def right_on_map(atlas: Atlas, layers: str, method: str) -> np.ndarray:
    """Return the same by the nearest on a layout instead: bool [point]."""
    record, image = atlas.layout_record(layers, method)
    codes = np.asarray(atlas.image_record.codes)
    lists = build_neighbours(np.asarray(record.xy), layers=record.layers, metric="L2", k=VOTERS, seed=SEED)
    return np.asarray(voted(lists.indices, image, codes, len(atlas.image_record.labels)) == codes[image])


def _shuffled_join(one: Network, atlas: Atlas) -> dict[str, Any]:
    order = np.random.default_rng(SEED).permutation(len(atlas.image_record))
    layers, metric = one.joint.split("+"), joint_neighbours(atlas, one.joint)[0].metric
    blocks = [np.asarray(atlas.vectors(layer)[:]) for layer in layers]
    vectors = join([block if layer == one.descriptor else block[order] for layer, block in zip(layers, blocks, strict=True)])
    codes = np.asarray(atlas.image_record.codes)
    lists = build_neighbours(vectors, layers=layers, metric=metric, k=VOTERS, seed=SEED)
    right = voted(lists.indices, np.arange(len(codes)), codes, len(atlas.image_record.labels)) == codes
    return {"network": one.title, "layers": f"{one.joint}, all but the last of other images", "values": vectors.shape[1],
            "purity": None, "space": float(right.mean()), "umap": None, "tsne": None, "shuffled": None}  # fmt: skip


def _paired(one: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """Return McNemar's exact test of two classifiers on the same images: right only by one, only by the other, p."""
    from scipy.stats import binomtest  # type: ignore[import-untyped]

    only, not_it = int((one & ~other).sum()), int((other & ~one).sum())
    p = float(binomtest(only, only + not_it).pvalue) if only + not_it else 1.0
    return {"only_joint": only, "only_single": not_it, "p": p}
