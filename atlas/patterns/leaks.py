"""Leaks: held-out images that look the same as a training image, found in a layer's own space and verified on pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from atlas.data.records import SPLITS, Images
from atlas.errors import AtlasError
from atlas.maps.records import Neighbours
from atlas.patterns.likeness import LEAST_LIKENESS, MOST_DIFFERENCE, compare

TRAIN, HELD_OUT = SPLITS.index("train"), SPLITS.index("held-out")
BLOCK = 8192  # points at a time
NEAREST = 10  # neighbours looked through: they hold 8 to 10 in 10 twins, by how the twin was altered (benchmarks/leaks.py)
COLUMNS = ("train", "held_out", "distance", "likeness", "difference", "same_bytes")


@dataclass(frozen=True)
class Leaks:
    """Pairs of a training and a held-out image that look the same, nearest in looks first.

    A pair is one whose files have the same bytes (of several such training images the first); or one where either image is
    among the other's `k` nearest and whose thumbnails agree: `likeness` at least `least_likeness` and far above that of the
    held-out image's other pairs, `difference` at most `most_difference` (atlas.patterns.likeness). A bound on the distance
    itself would lose more: how far a re-encoded image moves depends on the image. `usual` is the median distance of a
    training image to the nearest other one.
    """

    layers: list[str]
    metric: str
    usual: float | None  # None where no training image lists another one
    least_likeness: float
    most_difference: float
    candidates: int  # pairs whose thumbnails were compared
    held_out: int  # held-out images that have a pair
    of: int  # held-out images
    k: int  # neighbours of each point that were looked through
    pairs: pd.DataFrame  # train, held_out (rows of the images), distance, likeness, difference, same_bytes


def both_splits(splits: np.ndarray) -> bool:
    """Tell whether there are training and held-out images, `splits` [image] being indices into SPLITS."""
    return bool((splits == TRAIN).any() and (splits == HELD_OUT).any())


def find_leaks(
    neighbours: Neighbours, point_image: np.ndarray, splits: np.ndarray, images: Images, *, k: int = NEAREST
) -> Leaks:
    """Return the pairs of a training and a held-out image that look the same.

    `point_image` [point] is the image of each point, `splits` [image] indices into SPLITS. AtlasError where one of the two
    splits has no image.
    """
    splits, point_image = np.asarray(splits), np.asarray(point_image)
    if not both_splits(splits):
        raise AtlasError("leaks lie between training and held-out images, and only one of the two is there: give both")
    indices, distances = neighbours.indices[:, :k], neighbours.distances[:, :k]
    same = same_bytes(images.table["duplicate_of"].to_numpy(np.int64), splits)
    near = without(near_pairs(indices, distances, point_image, splits), same)
    found = compare(images, near["train"].to_numpy(), near["held_out"].to_numpy())
    near = near.assign(likeness=found.likeness, difference=found.difference, same_bytes=False)[found.same]
    pairs = pd.concat([same, near])[list(COLUMNS)] if len(near) else same[list(COLUMNS)]
    pairs = pairs.sort_values(["likeness", "held_out", "train"], ascending=[False, True, True], ignore_index=True)
    return Leaks(
        layers=list(neighbours.layers),
        metric=neighbours.metric,
        usual=usual_distance(indices, distances, point_image, splits),
        least_likeness=LEAST_LIKENESS,
        most_difference=MOST_DIFFERENCE,
        candidates=len(found.likeness),
        held_out=int(pairs["held_out"].nunique()),
        of=int((splits == HELD_OUT).sum()),
        k=indices.shape[1],
        pairs=pairs,
    )


def usual_distance(indices: np.ndarray, distances: np.ndarray, point_image: np.ndarray, splits: np.ndarray) -> float | None:
    """Return the median distance of a training point to the first other training image in its list; None without any."""
    found = []
    for start in range(0, len(point_image), BLOCK):
        near = np.asarray(indices[start : start + BLOCK])
        own = point_image[start : start + BLOCK]
        other = point_image[near]
        fit = (near >= 0) & (splits[other] == TRAIN) & (splits[own] == TRAIN)[:, None] & (other != own[:, None])
        rows = np.flatnonzero(fit.any(axis=1))
        if not len(rows):
            continue
        found.append(np.asarray(distances[start : start + BLOCK])[rows, fit[rows].argmax(axis=1)])
    return float(np.median(np.concatenate(found))) if found else None


def near_pairs(indices: np.ndarray, distances: np.ndarray, point_image: np.ndarray, splits: np.ndarray) -> pd.DataFrame:
    """Return the pairs train, held_out, distance of which either lists the other, each once, at their least distance."""
    found = []
    for start in range(0, len(point_image), BLOCK):
        near = np.asarray(indices[start : start + BLOCK])
        distance = np.asarray(distances[start : start + BLOCK])
        own, other = splits[point_image[start : start + BLOCK]][:, None], splits[point_image[near]]
        across = ((own == TRAIN) & (other == HELD_OUT)) | ((own == HELD_OUT) & (other == TRAIN))
        row, column = np.nonzero((near >= 0) & across)
        a, b = point_image[start + row], point_image[near[row, column]]
        first = splits[a] == TRAIN
        found.append((np.where(first, a, b), np.where(first, b, a), distance[row, column]))
    columns = [np.concatenate(part) for part in zip(*found, strict=True)]
    pairs = pd.DataFrame(dict(zip(("train", "held_out", "distance"), columns, strict=True)))
    return pairs.sort_values(["train", "held_out", "distance"]).drop_duplicates(["train", "held_out"], ignore_index=True)


def same_bytes(duplicate_of: np.ndarray, splits: np.ndarray) -> pd.DataFrame:
    """Return each held-out image whose bytes are a training image's, with the first such training image."""
    rows = np.arange(len(splits))
    group = np.where(duplicate_of >= 0, duplicate_of, rows)
    train, held = rows[splits == TRAIN], rows[splits == HELD_OUT]
    groups, first = np.unique(group[train], return_index=True)
    place = np.searchsorted(groups, group[held])
    there = np.append(groups, -1)[place] == group[held]
    pairs = pd.DataFrame({"train": train[first[place[there]]], "held_out": held[there]})
    return pairs.assign(distance=np.float32(0), likeness=1.0, difference=0.0, same_bytes=True)


def without(pairs: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs that are not among others."""
    keys = [pd.MultiIndex.from_frame(table[["train", "held_out"]]) for table in (pairs, others)]
    return pairs[~keys[0].isin(keys[1])].reset_index(drop=True)


def leaks_table(found: Leaks, images: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs with both images' id, path and label, `images` being `Atlas.images()`."""
    table = found.pairs.copy()
    for side in ("train", "held_out"):
        for name in ("image_id", "path", "label"):
            table[f"{side}_{name}"] = images[name].to_numpy()[table[side].to_numpy(np.int64)]
    return table


def partners(found: Leaks, row: int) -> Sequence[int]:
    """Return the rows of the images in the other split that look the same as the image `row`, the most alike first."""
    pairs = found.pairs
    mine = (pairs["train"] == row) | (pairs["held_out"] == row)
    both = pairs.loc[mine, ["train", "held_out"]].to_numpy(np.int64)
    return (both.sum(axis=1) - row).tolist()
