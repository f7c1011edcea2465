"""Label suspects: images whose neighbours in a layer's own space, and the network, disagree with their label.

The neighbours vote twice. The first count gives each image the share of its neighbours that has its label; in the second
each vote weighs as much as that share of the voter, so that wrongly labelled neighbours hardly count. Where the network's
outputs stand for labels, its probability of the label is the other half of the score: the vote finds wrong labels that a
network has learned by heart, the probability those among classes that mix. benchmarks/suspects.py measures each by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from atlas.activations.records import Predictions
from atlas.errors import AtlasError
from atlas.maps.records import Neighbours
from atlas.patterns.voting import VOTERS, class_shares

LEAST_WEIGHT = 1e-3  # of a voter with whom no neighbour agrees: a point that only such voters surround is still judged


@dataclass(frozen=True)
class Suspects:
    """How far each image's label is from what its neighbours and the network say; NaN and -1 where it is not judged.

    Not judged are images without a label, without a point, or without a labelled neighbour.
    """

    layers: list[str]
    metric: str
    labels: list[str]
    k: int  # neighbours asked at most
    judged: int  # images
    doubted: int  # of them, images of which the neighbours say another label
    predicted: bool  # whether the network's probability of the label is half of the score
    score: np.ndarray  # float32 [image], 0 … 1: 1 − agreement, or 1 − (agreement + probability) / 2
    agreement: np.ndarray  # float32 [image]: weighted share of its neighbours with its label
    usual: np.ndarray  # int32 [image]: the label that most of its neighbours have, by weight
    probability: np.ndarray  # float32 [image]: the network's, of the label, 0 beyond its best five; NaN where undefined


def label_suspects(
    neighbours: Neighbours,
    point_image: np.ndarray,
    codes: np.ndarray,
    labels: Sequence[str],
    *,
    predictions: Predictions | None = None,
    k: int = VOTERS,
) -> Suspects:
    """Return how suspicious the label of each image is.

    `point_image` [point], `codes` [image] (index into `labels`, -1 for none). The shares of several points of an image are
    averaged, and an image never votes for itself. Images without a single label raise AtlasError.
    """
    point_image, codes = np.asarray(point_image), np.asarray(codes, np.int64)
    if not (codes >= 0).any():
        raise AtlasError("the images carry no labels, so none is suspect: label them by folder or by table")
    k = min(k, neighbours.indices.shape[1])
    credible = first_count(neighbours.indices, point_image, codes, len(labels), k)
    agreement, usual = second_count(neighbours.indices, point_image, codes, len(labels), k, credible)
    probability = label_probability(predictions, codes, labels)
    predicted = bool(np.isfinite(probability).any())
    score = 1 - (agreement + probability) / 2 if predicted else 1 - agreement
    judged = np.isfinite(score)
    usual = np.where(judged, usual, -1)
    return Suspects(
        layers=list(neighbours.layers),
        metric=neighbours.metric,
        labels=list(labels),
        k=k,
        judged=int(judged.sum()),
        doubted=int((judged & (usual != codes)).sum()),
        predicted=predicted,
        score=score.astype(np.float32),
        agreement=np.where(judged, agreement, np.nan).astype(np.float32),
        usual=usual.astype(np.int32),
        probability=probability.astype(np.float32),
    )


def first_count(indices: np.ndarray, point_image: np.ndarray, codes: np.ndarray, classes: int, k: int) -> np.ndarray:
    """Return the plain share of each point's neighbours that has its label, float64 [point]; 0 for the unlabelled."""
    own = np.zeros(len(indices))
    for rows, shares in class_shares(indices, point_image, codes, classes, k=k):
        label = codes[point_image[rows]]
        own[rows] = np.where(label >= 0, np.nan_to_num(shares[np.arange(len(shares)), np.maximum(label, 0)]), 0)
    return own


def second_count(
    indices: np.ndarray, point_image: np.ndarray, codes: np.ndarray, classes: int, k: int, credible: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return, per image, the share of its label among its neighbours weighted by `credible` [point], and the label of most.

    float64 [image], NaN where there is no label or no vote, and int [image], -1 there.
    """
    from scipy.sparse import coo_array  # type: ignore[import-untyped]

    parts, heard = [], np.zeros(len(codes))  # sparse: a million images by a thousand classes would not fit
    for rows, shares in class_shares(indices, point_image, codes, classes, k=k, weights=credible + LEAST_WEIGHT):
        image = point_image[rows]
        heard += np.bincount(image[~np.isnan(shares[:, 0])], minlength=len(codes))
        point, label = np.nonzero(np.nan_to_num(shares))
        parts.append((shares[point, label], image[point], label))
    votes, image, label = (np.concatenate(part) for part in zip(*parts, strict=True))
    total = coo_array((votes, (image, label)), shape=(len(codes), classes)).tocsr()  # the shares of one image add up
    mine = label == codes[image]
    own = np.bincount(image[mine], votes[mine], len(codes)) / np.maximum(heard, 1)
    judged = (codes >= 0) & (heard > 0)
    return np.where(judged, own, np.nan), np.where(judged, total.argmax(axis=1), -1)


def label_probability(predictions: Predictions | None, codes: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Return the network's probability of each image's label, float64 [image], from its five best outputs, 0 beyond them.

    NaN where there is no label or prediction, and everywhere when not every label is an output.
    """
    unknown = np.full(len(codes), np.nan)
    if predictions is None or predictions.map.labels != list(labels) or not predictions.map.complete:
        return unknown
    outputs = np.asarray(predictions.top_output, np.int64)
    chances = np.nan_to_num(np.asarray(predictions.top_probability, np.float64))
    same = (predictions.map.labels_of(outputs.ravel()).reshape(outputs.shape) == codes[:, None]) & (outputs >= 0)
    said = (codes >= 0) & (np.asarray(predictions.prediction) >= 0)
    return np.where(said, (chances * same).sum(axis=1), unknown)


def suspects_table(found: Suspects, images: pd.DataFrame) -> pd.DataFrame:
    """Return the judged images, most suspicious first, ties by row: image (row), score, agreement, neighbours_say and more.

    `images` is `Atlas.images()`, of which image_id, path, label, split, prediction and confidence are kept.
    """
    rows = np.flatnonzero(np.isfinite(found.score))
    rows = rows[np.argsort(-found.score[rows], kind="stable")]
    columns = [c for c in ("image_id", "path", "label", "split", "prediction", "confidence") if c in images]
    table = images.loc[rows, columns].reset_index(drop=True)
    table.insert(0, "image", rows)
    said = pd.Series(np.array(found.labels, object)[found.usual[rows]], dtype=object)
    table.insert(list(table.columns).index("label") + 1, "neighbours_say", said)
    numbers = {"agreement": found.agreement, "probability": found.probability, "score": found.score}
    for name, values in numbers.items():
        if name != "probability" or found.predicted:
            table[name] = values[rows]
    return table
