"""The records of the maps. Imports no torch, no umap: pages read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from atlas.errors import choose
from atlas.fields import axes, of_stage
from atlas.store import Files

METHOD_NAMES = {"umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}  # the methods of a layout, as people write them
# With three points the axes of a map mean nothing, and the methods' own searches for a width do not converge.
LEAST_POINTS = {"umap": 4, "tsne": 4, "pca": 2}
REACH = 10  # the neighbour whose distance says how far a point lies from the others; the last one where lists are shorter
FEW_IMAGES = 5  # a cell of fewer distinct images speaks of those images rather than of a region


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


@of_stage("cells")
@axes(
    low="float64 [2]",
    high="float64 [2]",
    point_cell="int32 [grid, point]",
    grid="int32 [cell]",
    column="int32 [cell]",
    row="int32 [cell]",
    points="int32 [cell]",
    images="int32 [cell]",
    mean="float32 [cell, unit]",
    attribution="float32 [cell, output]",
    best="int32 [cell, rank]",
    best_value="float32 [cell, rank]",
    purity="float32 [cell]",
    members="int32 [cell, class]",
    parent="int32 [cell]",
    representatives="int32 [cell, place]",
)
@dataclass(frozen=True)
class Cells:
    """A layout's grids, coarse to fine: the cells that hold enough points, and what their members have in common.

    A grid of size g has g × g cells over the square from ``low`` to ``high``, in the layout's own coordinates; columns and
    rows count from ``low``. Points beyond the square belong to the cell at its edge.
    """

    layers: list[str]  # one, or those of the joint layout
    units: list[int]  # of each layer, in the order of the columns of `mean`
    sizes: list[int]  # cells along each side of each grid, ascending
    least: list[int]  # points that a cell of each grid needs to be kept
    labels: list[str]
    attributed: str | None  # the layer whose attribution is given: the last of `layers` that has one
    left_out: int  # points without a finite place: in no cell
    nonfinite: int  # points with a vector or an attribution that is not finite: counted in their cells, in no mean
    low: np.ndarray  # float64 [2]: x, y
    high: np.ndarray
    point_cell: np.ndarray  # int32 [grid, point]: the cell, -1 where it is not kept or the point has no place
    grid: np.ndarray  # int32 [cell]: index into `sizes`
    column: np.ndarray
    row: np.ndarray
    points: np.ndarray
    images: np.ndarray  # int32 [cell]: distinct images
    mean: np.ndarray  # float32 [cell, unit]: of the members' vectors, the layers' side by side, as they were recorded
    attribution: np.ndarray  # float32 [cell, output]: mean of the members'; [cell, 0] without
    best: np.ndarray  # int32 [cell, rank]: the outputs that the members argue for most; -1 without
    best_value: np.ndarray
    purity: np.ndarray  # float32 [cell]: share of the most frequent label among the labelled members; NaN without
    members: np.ndarray  # int32 [cell, class]: members of each label
    parent: np.ndarray  # int32 [cell]: the cell of the next coarser grid that holds its centre; -1: none is kept there
    representatives: np.ndarray  # int32 [cell, place]: points of distinct images, nearest to the mean first; then -1

    @property
    def few(self) -> np.ndarray:
        """Whether a cell's points come from fewer than FEW_IMAGES images: bool [cell]."""
        return self.images < FEW_IMAGES

    @property
    def dropped(self) -> np.ndarray:
        """Points in cells that hold too few to be kept, int [grid]."""
        return (self.point_cell < 0).sum(axis=1) - self.left_out

    def of_grid(self, size: int) -> np.ndarray:
        """Return the cells of the grid of one size: int [cell]; AtlasError where there is no such grid."""
        if size not in self.sizes:
            raise choose("grid", size, self.sizes)
        return np.flatnonzero(self.grid == self.sizes.index(size))

    def members_of(self, cell: int) -> np.ndarray:
        """Return the points of one cell, in order."""
        return np.flatnonzero(self.point_cell[self.grid[cell]] == cell)


@of_stage("graph")
@axes(
    points="int32 [node]",
    edges="int32 [edge, 2]",
    distance="float32 [edge]",
    occurrence="int32 [node]",
    bad="int32 [node]",
    community="int32 [node]",
    component="int32 [node]",
    xy="float32 [node, 2]",
)
@dataclass(frozen=True)
class Graph:
    """The image graph of a layer: points that are among each other's nearest are joined; communities, measures, layout."""

    layers: list[str]  # one, or those jointly
    metric: str  # cosine | L2
    split: str  # train | held-out | unknown | all: whose points are its nodes
    k: int  # nearest points of other images that a point lists
    seed: int
    exact: bool  # whether the lists are
    recall: float | None  # of the lists, where they are not
    short: int  # nodes that list fewer than k
    shuffles: int  # permutations of the labels behind each control
    homophily: dict[str, Any]  # label, prediction → share, edges, control, deviation
    purity: dict[str, Any]  # label, prediction → share, nodes, control, deviation: of the communities
    hubness: dict[str, Any]  # skewness, expected, most, from, hubs, share, orphans, bad, bad_in_hubs, bad_hubs
    modularity: float | None  # of the communities
    layout: dict[str, Any]  # how the places were found
    quality: dict[str, Any]  # how faithful they are, as of a layout
    points: np.ndarray  # int32 [node]: its number among the layer's points
    edges: np.ndarray  # int32 [edge, 2]: two nodes, the smaller first
    distance: np.ndarray  # float32 [edge]
    occurrence: np.ndarray  # int32 [node]: lists that it stands in
    bad: np.ndarray  # int32 [node]: of them, those of points with another label
    community: np.ndarray  # int32 [node]: the largest is 0; -1 without an edge
    component: np.ndarray  # int32 [node]: which nodes hang together
    xy: np.ndarray  # float32 [node, 2]: the graph's own layout
