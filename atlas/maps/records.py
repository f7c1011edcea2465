"""The records of the maps. Imports no torch, no umap: pages read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from atlas.store import Files

METHOD_NAMES = {"umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}  # the methods of a layout, as people write them
# With three points the axes of a map mean nothing, and the methods' own searches for a width do not converge.
LEAST_POINTS = {"umap": 4, "tsne": 4, "pca": 2}


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


@dataclass(frozen=True)
class Layout:
    """2-D coordinates of points, and how faithful they are."""

    layers: list[str]
    method: str  # umap | tsne | pca
    xy: np.ndarray  # float32 [point, 2]
    parameters: dict[str, Any]  # the method's own, as used
    quality: dict[str, Any]  # trustworthiness, continuity, recall, k, sample, seed
    seconds: dict[str, float]  # initialisation, optimisation, quality
