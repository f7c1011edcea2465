"""The image graph of an atlas: made when it is asked for, kept and shown; as tables of its nodes and edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from atlas.activations.records import Activations
from atlas.data.records import SPLITS
from atlas.errors import AtlasError, choose
from atlas.maps.blocks import whole_number
from atlas.maps.graph import K, degrees
from atlas.maps.graph_measures import hubs
from atlas.maps.records import Graph
from atlas.progress import Progress
from atlas.stages import build_graph
from atlas.store import writing

if TYPE_CHECKING:
    from atlas.atlas import Atlas

SPLIT_CHOICES = ("auto", "all", *SPLITS)


def graph(
    atlas: Atlas,
    layer: str | None = None,
    *,
    k: int = K,
    split: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> Graph:
    """Make the image graph of a layer, or of several joined by ``+``, keep and show it in the atlas, and return it.

    `split` is train, held-out, unknown or all; by default held-out where there are such images, else all. Whoever asks for
    one that stands gets it. An unknown layer or split, a `k` beyond the lists, and a layer without neighbours raise
    AtlasError before the work starts.
    """
    k, seed = whole_number("k", k, 1), whole_number("seed", seed, 0)
    split = chosen_split(atlas, split)
    names, lists = neighbours_of(atlas, layer)
    made: list[str] = []
    with writing(atlas.store.root):
        made.append(
            build_graph(
                atlas.store, names, lists, atlas.names("images")[-1], next(iter(atlas.names("predictions")[-1:]), None),
                k=k, split=split, seed=seed, progress=progress,
            )
        )  # fmt: skip
        atlas.show_beside(made)
    return atlas.store.read(made[0], Graph)


def chosen_split(atlas: Atlas, split: str) -> str:
    """Return the split that is meant; one that there is not, or that has no image, raises AtlasError."""
    counts = atlas.image_record.table["split"].value_counts().to_dict()
    if split not in SPLIT_CHOICES:
        raise choose("split", split, SPLIT_CHOICES)
    if split == "auto":
        return "held-out" if 0 < counts.get("held-out", 0) < len(atlas.image_record) else "all"
    if split != "all" and not counts.get(split):
        there = ", ".join(f"{name} ({count})" for name, count in counts.items())
        raise AtlasError(f"no image is {split}: there are {there}; or take split all")
    return split


def neighbours_of(atlas: Atlas, layer: str | None) -> tuple[list[str], str]:
    """Return the activations of a layer, or of several joined by ``+``, and their newest neighbours."""
    names = [atlas.activation_name(part) for part in (layer or atlas.default_layer).split("+")]
    found = [name for name in atlas.names("neighbours") if atlas.inputs(name, "activations") == names]
    if not found:
        there = [" + ".join(atlas.field(name, "layers")) for name in atlas.names("neighbours")]
        raise choose("neighbours", " + ".join(atlas.field(name, "layer") for name in names), there)
    return names, found[-1]


def nodes(atlas: Atlas, graph: Graph) -> pd.DataFrame:
    """Return one row per node: image (row), image_id, path, label, split, prediction, edges, lists it stands in, and more.

    ``lists`` is how many lists it stands in, ``bad`` how many of them are of images with another label, ``hub`` and
    ``orphan`` (in no list) follow from it; ``community`` is missing without an edge; x, y are its place.
    """
    rows = image_rows(atlas, graph)
    table = atlas.images()
    columns = [name for name in ("image_id", "path", "label", "split", "prediction") if name in table]
    found = table.iloc[rows][columns].reset_index(drop=True)
    found.insert(0, "image", rows)
    listed, community = np.asarray(graph.occurrence), pd.Series(np.asarray(graph.community), dtype="Int64")
    return found.assign(
        edges=degrees(graph), lists=listed, bad=np.asarray(graph.bad), hub=hubs(listed), orphan=listed == 0,
        community=community.mask(community < 0), x=graph.xy[:, 0], y=graph.xy[:, 1],
    )  # fmt: skip


def image_rows(atlas: Atlas, graph: Graph) -> np.ndarray:
    """Return the image (row) of each node: int [node]."""
    name = neighbours_of(atlas, "+".join(graph.layers))[0][0]
    of_points = np.asarray(atlas.store.read(name, Activations).point_image)
    points = np.asarray(graph.points)
    if points.size and not 0 <= points.min() <= points.max() < len(of_points):
        raise AtlasError(f"the graph of {', '.join(graph.layers)} names points that the layer does not have: make it anew")
    return of_points[points]
