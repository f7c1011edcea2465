"""The records of the maps. Imports no torch, no umap: pages read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from atlas.fields import axes, of_stage
from atlas.store import Files

METHOD_NAMES = {"umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}  # the methods of a layout, as people write them
# With three points the axes of a map mean nothing, and the methods' own searches for a width do not converge.
LEAST_POINTS = {"umap": 4, "tsne": 4, "pca": 2}
REACH = 10  # the neighbour whose distance says how far a point lies from the others; the last one where lists are shorter


@of_stage("neighbours")
@axes(indices="int32 [point, k]", distances="float32 [point, k]")
@dataclass(frozen=True)
class Neighbours:
    """A layer's nearest-neighbour index and the lists of its own points, nearest first, the point itself left out."""

    layers: list[str]  # one, or those jointly
    metric: str  # cosine | L2
    exact: bool
    recall: float | None  # share of true neighbours in the lists, on a seeded sample; None where the search is exact
    indices: np.ndarray  # int32 [point, k]
    distances: np.ndarray  # float32 [point, k]: 1 − cos, or Euclidean
    index: Files  # index.faiss


@of_stage("layout")
@axes(
    xy="float32 [point, 2]",
    confidence="float32 [point]",
    axes="float64 [row, unit]",
    scales="float64 [layer]",
    reach="float32 [1001]",
    recall="float32 [point]",
    trust="float32 [point]",
    continuity="float32 [point]",
)
@dataclass(frozen=True)
class Layout:
    """2-D coordinates of points, and how faithful they are."""

    layers: list[str]
    method: str  # umap | tsne | pca
    xy: np.ndarray  # float32 [point, 2]
    parameters: dict[str, Any]  # the method's own, as used
    quality: dict[str, Any]  # trustworthiness, continuity, recall, k, sample, seed
    seconds: dict[str, float]  # initialisation, optimisation, quality
    confidence: np.ndarray  # float32 [point]: NaN for a point that was laid out, 0 to 1 for one placed later
    axes: np.ndarray  # float64 [3, unit]: PCA's mean and its two axes; [0, unit] for the other methods
    scales: np.ndarray  # float64 [layer]: what each layer's vectors were divided by before they were joined; one if alone
    reach: np.ndarray  # float32 [1001]: distance to the REACH-th neighbour at each tenth of a percent of those laid out
    # How faithful each point's place is: float32 [point], NaN where not computed.
    recall: np.ndarray
    trust: np.ndarray
    continuity: np.ndarray
