"""The public `graph`: the image graph in numbers for a script, and as a picture of thumbnails joined by lines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from atlas.atlas import Atlas, open_atlas
from atlas.errors import AtlasError
from atlas.graphing import image_rows, nodes
from atlas.maps.graph import K, crossing_pairs, degrees, told_communities
from atlas.maps.records import Graph
from atlas.pages.colours import NONE, class_colours
from atlas.progress import Progress
from atlas.verbs import check_writable, damage_told, write_table

NAMED = 50  # hubs and orphans named in an answer


def graph(
    atlas: str | os.PathLike[str] | Atlas,
    *,
    layer: str | None = None,
    network: str | int | None = None,
    k: int = K,
    split: str = "auto",
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    table: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make the image graph of a layer as `Atlas.graph` does, draw it to `out`, write its nodes to `table`; tell of it.

    The answer has its size, ``homophily`` and ``purity`` with their controls, ``communities`` (nodes, name), ``hubness``,
    ``crossing`` (the pairs of classes that most edges join), ``hubs`` (most lists first) and ``orphans``, NAMED at most.
    """
    from atlas.pages import figures

    if out is not None:
        check_writable(out, figures.SUFFIXES)
    if table is not None:
        check_writable(table, (".csv", ".parquet"))
    opened = atlas if isinstance(atlas, Atlas) else open_atlas(atlas, network=network)
    with damage_told(opened.store.root):
        found = opened.graph(layer, k=k, split=split, seed=seed, progress=progress)
        answer = told(opened, found)
        if out is not None:
            write_picture(opened, found, Path(out))
        if table is not None:
            write_table(nodes(opened, found), Path(table))
    return answer | {"file": None if out is None else str(out), "table": None if table is None else str(table)}


def told(atlas: Atlas, found: Graph) -> dict[str, Any]:
    """Return what is said of a graph, as plain values."""
    rows, labels = image_rows(atlas, found), atlas.image_record.labels
    codes = atlas.image_record.codes[rows]
    plain = ("metric", "split", "k", "seed", "exact", "recall", "short", "homophily", "purity", "hubness", "modularity")
    pairs = crossing_pairs(found, codes, labels)
    return {
        "layer": " + ".join(found.layers), "nodes": len(found.points), "edges": len(found.edges),
        "alone": int((degrees(found) == 0).sum()), "components": len(np.unique(found.component)),
        **{name: getattr(found, name) for name in plain},
        "communities": [{"nodes": size, "name": name} for size, name in told_communities(found, codes, labels)],
        "crossing": [{"edges": pair["edges"], "classes": " and ".join(pair["classes"])} for pair in pairs],
        **_named(atlas, found),
    }  # fmt: skip


def _named(atlas: Atlas, found: Graph) -> dict[str, Any]:
    table = nodes(atlas, found)
    columns = [name for name in ("image", "label", "prediction", "lists", "bad", "edges") if name in table]
    plain = table.astype(object).where(table.notna(), None)
    most = plain[table["hub"]].sort_values("lists", ascending=False, kind="stable")
    return {
        "hubs": most[columns].head(NAMED).to_dict("records"),
        "orphans": plain[table["orphan"]][columns].head(NAMED).to_dict("records"),
    }


def write_picture(atlas: Atlas, found: Graph, path: Path) -> None:
    """Draw the graph in its own layout: thumbnails joined by lines, those between classes in orange."""
    from atlas.data.thumbnails import thumbnail
    from atlas.pages import figures

    linked = np.flatnonzero(degrees(found) > 0)  # a node without an edge has no place of its own
    if not len(linked):
        raise AtlasError(
            f"no two images are among each other's {found.k} nearest: there is no edge to draw; give a larger k"
        )
    rows, images = image_rows(atlas, found)[linked], atlas.image_record
    codes, edges = images.codes[rows], np.searchsorted(linked, np.asarray(found.edges))
    palette = [*class_colours(len(images.labels), np.unique(codes[codes >= 0]).tolist()), NONE]
    ends = codes[edges]
    share = found.homophily.get("label", {}).get("share")
    alone = len(found.points) - len(linked)
    figures.save(
        figures.image_graph(
            np.asarray(found.xy)[linked], edges, lambda node: thumbnail(images, int(rows[node])),
            crossing=(ends >= 0).all(axis=1) & (ends[:, 0] != ends[:, 1]), codes=codes, labels=images.labels,
            colours=palette,
            title=f"The image graph of {' + '.join(found.layers)}",
            note=f"{len(found.points)} {'' if found.split == 'all' else found.split + ' '}images, an edge where each is "
            f"among the other's {found.k} nearest: {len(found.edges)}"
            + ("" if share is None else f", {share:.1%} of them within a class; the others are orange")
            + (f" · {alone} images without an edge are not drawn" if alone else ""),
        ),
        path,
    )  # fmt: skip
