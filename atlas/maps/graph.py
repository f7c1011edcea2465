"""The image graph: images as nodes, an edge where each is among the other's nearest; its communities, measures, layout.

An edge is mutual: either end lists the other among its k nearest points of other images. The lists are those of a layer's
neighbours; numpy, scipy and networkx, and openTSNE for the layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from atlas.errors import AtlasError
from atlas.maps.blocks import Rows, all_equal, check_vectors, whole_number
from atlas.maps.graph_layout import force_layout
from atlas.maps.graph_measures import SHUFFLES, homophily, hubness, occurrences, purity
from atlas.maps.quality import quality
from atlas.maps.records import Graph, Neighbours
from atlas.progress import Progress

LEAST = 4  # nodes: of fewer neither a layout nor a measure says anything
K = 10  # nearest that an image lists; of 5, 10 and 20 benchmarks/graph.py has the figures


def make_graph(
    vectors: Rows,
    neighbours: Neighbours,
    image: np.ndarray,
    *,
    points: np.ndarray | None = None,
    codes: np.ndarray | None = None,
    predicted: np.ndarray | None = None,
    split: str = "all",
    k: int = K,
    seed: int = 0,
    progress: Progress | None = None,
) -> Graph:
    """Return the graph of points whose `k` nearest of other images are mutual, with its communities, measures and layout.

    `vectors` [node, unit], `neighbours` and `image` [node] are those of the nodes themselves; `points` [node] are their
    numbers among the layer's points, by default 0, 1, …. `codes` and `predicted` [node] are the label and what the network
    says, -1 for none. Lists shorter than `k` are used as they are, and counted. Too few nodes, vectors that are all equal
    and a `k` beyond the lists raise AtlasError.
    """
    k, seed = _check(vectors, neighbours, image, k, seed)
    progress, nodes = progress or Progress(), len(image)
    name = ", ".join(neighbours.layers)
    near, apart = nearest_others(neighbours.indices, neighbours.distances, image, k)
    edges, distance = mutual(near, apart)
    with progress.stage(f"communities of {name}"):
        community = communities(edges, nodes, seed=seed)
    with progress.stage(f"layout of the graph of {name}"):
        xy, told = force_layout(edges, near, vectors, seed=seed)
    named = {"label": codes, "prediction": predicted}
    known = {what: np.asarray(of, np.int64) for what, of in named.items() if of is not None and (np.asarray(of) >= 0).any()}
    listed, bad = occurrences(near, known.get("label"))
    return Graph(
        layers=list(neighbours.layers), metric=neighbours.metric, split=split, k=k, seed=seed, exact=neighbours.exact,
        recall=neighbours.recall, short=int((near < 0).any(axis=1).sum()), shuffles=SHUFFLES,
        homophily={what: homophily(edges, of, seed=seed) for what, of in known.items()},
        purity={what: purity(community, of, seed=seed) for what, of in known.items()},
        hubness=hubness(listed, bad if "label" in known else None, near), modularity=modularity(edges, community),
        layout=told, quality=quality(vectors, xy, neighbours, seed=seed),
        points=np.arange(nodes, dtype=np.int32) if points is None else np.asarray(points, np.int32),
        edges=edges, distance=distance, occurrence=listed, bad=bad, community=community,
        component=components(edges, nodes), xy=xy,
    )  # fmt: skip


def _check(vectors: Rows, neighbours: Neighbours, image: np.ndarray, k: int, seed: int) -> tuple[int, int]:
    k, seed, listed = whole_number("k", k, 1), whole_number("seed", seed, 0), neighbours.indices.shape[1]
    if not len(vectors) == len(image) == len(neighbours.indices):
        raise AtlasError(f"{len(vectors)} vectors, {len(image)} images and {len(neighbours.indices)} lists: not one graph")
    if len(image) < LEAST:
        raise AtlasError(f"a graph needs at least {LEAST} points and there are {len(image)}: give more images")
    if k > listed:
        raise AtlasError(f"asked for the {k} nearest of each image and {listed} are listed: ask for no more")
    if all_equal(check_vectors(vectors)):
        raise AtlasError(f"all {len(image)} vectors are equal, so none is nearest: choose another layer or other images")
    return k, seed


def nearest_others(indices: np.ndarray, distances: np.ndarray, image: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` nearest points of other images of each, int32 and float32 [node, k], nearest first, then -1 and inf."""
    indices, distances, image = np.asarray(indices), np.asarray(distances), np.asarray(image)
    other = (indices >= 0) & (image[np.maximum(indices, 0)] != image[:, None])
    first = np.argsort(~other, axis=1, kind="stable")[:, :k]
    there = np.take_along_axis(other, first, 1)
    near = np.where(there, np.take_along_axis(indices, first, 1), -1)
    apart = np.where(there, np.take_along_axis(distances, first, 1), np.inf)
    return near.astype(np.int32), apart.astype(np.float32)


def mutual(near: np.ndarray, apart: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs that list each other, int32 [edge, 2], the smaller number first, in order; and their distances."""
    count = len(near)
    own, place = np.nonzero(near >= 0)
    other = near[own, place].astype(np.int64)
    up = own < other
    forward, backward = own[up] * count + other[up], other[~up] * count + own[~up]
    kept, first, _ = np.intersect1d(forward, backward, assume_unique=True, return_indices=True)
    return np.column_stack([kept // count, kept % count]).astype(np.int32), apart[own, place][up][first]


# -- communities ------------------------------------------------------------------------------------------------------------


def communities(edges: np.ndarray, count: int, *, seed: int = 0) -> np.ndarray:
    """Return the community of each of `count` nodes, the largest 0, ties by their first node: int32 [node], -1: no edge.

    By Louvain's method (Blondel, Guillaume, Lambiotte, Lefebvre, 2008) as networkx has it. It may leave a community in
    pieces (Traag, Waltman, van Eck, 2019): each piece is one of its own here, so that a community always hangs together.
    """
    import networkx as nx  # type: ignore[import-untyped]

    graph = nx.Graph()
    graph.add_nodes_from(np.unique(edges).tolist())
    graph.add_edges_from(edges.tolist())
    found = np.full(count, -1)
    for number, members in enumerate(nx.community.louvain_communities(graph, seed=seed) if len(edges) else []):
        found[list(members)] = number
    pieces = components(edges[found[edges[:, 0]] == found[edges[:, 1]]], count)
    return _by_size(np.where(found < 0, -1, pieces))


def components(edges: np.ndarray, count: int) -> np.ndarray:
    """Return which nodes hang together: the number of its component of each of `count` nodes, int32 [node]."""
    from scipy.sparse import coo_array  # type: ignore[import-untyped]
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    links = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return connected_components(links, directed=False)[1].astype(np.int32)


def _by_size(groups: np.ndarray) -> np.ndarray:
    """Number groups anew, the largest 0, ties by their first member; -1 stays."""
    there = np.flatnonzero(groups >= 0)
    _, first, own, size = np.unique(groups[there], return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(size), np.int32)
    rank[np.lexsort([first, -size])] = np.arange(len(size))
    numbered = np.full(len(groups), -1, np.int32)
    numbered[there] = rank[own]
    return numbered


def modularity(edges: np.ndarray, community: np.ndarray) -> float | None:
    """Return how many more edges lie within communities than by chance (Newman, Girvan, 2004); None without an edge."""
    if not len(edges):
        return None
    ends, most = community[edges], int(community.max()) + 1
    within = np.bincount(ends[ends[:, 0] == ends[:, 1], 0], minlength=most) / len(edges)
    degree = np.bincount(ends.ravel(), minlength=most) / (2 * len(edges))
    return float((within - degree**2).sum())


def degrees(graph: Graph) -> np.ndarray:
    """Return how many edges each node has, int [node]."""
    return np.bincount(np.asarray(graph.edges).ravel(), minlength=len(graph.points))


def crossing_pairs(graph: Graph, codes: np.ndarray, names: Sequence[str], most: int = 10) -> list[dict[str, Any]]:
    """Return the pairs of classes that most edges join: ``classes``, ``edges``, the most first; `codes` [node]."""
    ends = np.sort(np.asarray(codes, np.int64)[graph.edges], axis=1)
    ends = ends[(ends[:, 0] >= 0) & (ends[:, 0] != ends[:, 1])]
    pairs, count = np.unique(ends, axis=0, return_counts=True)
    order = np.argsort(-count, kind="stable")[:most]
    return [{"classes": [names[a], names[b]], "edges": int(n)} for (a, b), n in zip(pairs[order], count[order], strict=True)]


def told_communities(graph: Graph, codes: np.ndarray, labels: Sequence[str]) -> list[tuple[int, str]]:
    """Return how many nodes each community has, the largest first, and what most are: ``Bag 98%``; `codes` [node]."""
    community = np.asarray(graph.community)
    there = community >= 0
    sizes = np.bincount(community[there])
    table = np.zeros((len(sizes), len(labels) + 1), np.int64)
    np.add.at(table, (community[there], np.asarray(codes)[there]), 1)  # -1 is the last column: unlabelled
    most, first = table[:, :-1].max(axis=1, initial=0), table[:, :-1].argmax(axis=1) if labels else sizes
    return [
        (int(size), f"{labels[code]} {share:.0%}" if share else "unlabelled")
        for size, code, share in zip(sizes, first.tolist(), (most / np.maximum(sizes, 1)).tolist(), strict=True)
    ]
