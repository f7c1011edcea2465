"""The image graph as a page takes it: by the layer's points, its nodes at their places, everything else left out."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import AtlasError
from atlas.maps.graph import degrees, told_communities
from atlas.maps.records import Graph
from atlas.pages.columns import newest, quantise, read_only

if TYPE_CHECKING:
    from atlas.pages.view import Space, View

ABSENT = 65_535  # a point that is no node, as uint16; an image without a community
MOST = 1 << 22  # communities: more than any atlas has points; a number beyond was not written by us
NAMED = 22  # communities with a colour and a name of their own: with the rest, and none, a legend that needs no groups


def of_space(view: View, sources: list[str]) -> str | None:
    """Return the newest graph that was made from these activations and the images shown; None where there is none."""
    names = [name for name in view.of_stage("graph") if view.inputs(name, "activations") == sources]
    return newest(name for name in names if view.of_these_images(name))


def read(view: View, name: str) -> Graph:
    """Return a graph; one that names points its layer does not have, or nodes that it has not, raises AtlasError."""
    graph: Graph = view.read(name, Graph)
    points, edges = np.asarray(graph.points), np.asarray(graph.edges)
    count = len(view.point_image(view.inputs(name, "activations")[0]))
    if not (_within(points, count) and _within(edges, len(points)) and _within(np.asarray(graph.community), MOST, -1)):
        raise AtlasError(f"{name} names points that its layer does not have: remove it and make the graph again")
    return graph


def _within(numbers: np.ndarray, count: int, least: int = 0) -> bool:
    return not numbers.size or bool(least <= numbers.min() and numbers.max() < count)


def graphs_part(view: View) -> list[dict[str, Any]]:
    """Return what the page needs of the graph of each layer that has one."""
    return [graph_part(view, space, space.graph) for space in view.spaces if space.graph]


def graph_part(view: View, space: Space, name: str) -> dict[str, Any]:
    """Return a graph's key, its size, and what was measured of it."""
    graph = read(view, name)
    return {
        "key": name, "space": space.id, "k": graph.k, "split": graph.split, "nodes": len(graph.points),
        "edges": len(graph.edges), "alone": int((degrees(graph) == 0).sum()), "homophily": graph.homophily,
        "hubness": graph.hubness, "communities": int(graph.community.max(initial=-1)) + 1, "modularity": graph.modularity,
    }  # fmt: skip


def layout_part(view: View, name: str) -> dict[str, Any]:
    """Return a graph's own layout as the page takes any other; `graph` says that points may be missing from it."""
    graph = read(view, name)
    of = "" if graph.split == "all" else f", {graph.split} images"
    kept = ("trustworthiness", "continuity", "recall", "k", "sample", "points")
    quality = {what: graph.quality[what] for what in kept if graph.quality.get(what) is not None}
    words = f"mutual edges of {graph.k} nearest{of}"
    return {"key": name, "method": "Image graph", "words": words, "quality": quality, "measured": False, "graph": True}


def places(view: View, name: str) -> np.ndarray:
    """Return the place of every point of the layer in the graph's own layout: uint16 [2, point], 0 and 0 for no node."""
    graph = read(view, name)
    found = np.zeros((2, len(view.point_image(view.inputs(name, "activations")[0]))), np.uint16)
    found[:, np.asarray(graph.points)] = quantise(np.nan_to_num(np.asarray(graph.xy, np.float64)))
    return found


def lists(view: View, name: str) -> np.ndarray:
    """Return in how many lists every point stands, and how many are of another label: uint16 [2, point], ABSENT: no node."""
    graph = read(view, name)
    found = np.full((2, len(view.point_image(view.inputs(name, "activations")[0]))), ABSENT, np.uint16)
    both = np.stack([graph.occurrence, graph.bad])
    found[:, np.asarray(graph.points)] = np.clip(both, 0, ABSENT - 1)
    return found


def edges(view: View, name: str) -> np.ndarray:
    """Return the two points of every edge: int32 [2, edge]."""
    graph = read(view, name)
    return np.asarray(graph.points)[np.asarray(graph.edges)].T.astype(np.int32)


@functools.lru_cache(maxsize=32)
def community_names(view: View, name: str) -> list[str]:
    """Return the names of the communities that have one, the largest first, and of all smaller ones together."""
    graph = read(view, name)
    codes = view.images.codes[view.point_image(view.inputs(name, "activations")[0])[graph.points]]
    told = told_communities(graph, codes, view.images.labels)
    named = [f"№ {number} · {words}" for number, (_, words) in enumerate(told[:NAMED], 1)]
    rest = len(told) - NAMED
    return [*named, *([f"{rest} smaller"] if rest > 0 else [])]


def community_codes(view: View, name: str) -> np.ndarray:
    """Return each image's community by its place among `community_names`: uint16 [image], ABSENT without one.

    Of several points of one image the first that has a community counts.
    """
    graph, found = read(view, name), np.full(len(view.images), ABSENT, np.uint16)
    rows = view.point_image(view.inputs(name, "activations")[0])[graph.points]
    community = np.asarray(graph.community)
    there = np.flatnonzero(community >= 0)[::-1]  # the first of an image is written last
    found[rows[there]] = np.minimum(community[there], NAMED)
    return read_only(found)
