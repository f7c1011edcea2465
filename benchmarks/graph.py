"""The image graph: what its edges say, for how many nearest

The 10 000 held-out images of Fashion-MNIST, by the descriptor of the demo's network: the share of edges that join one class,
and the same with the labels shuffled; how lopsided the lists are, and the same of lists drawn at random; the communities. At
last what the longest step takes: the layout, beside networkx's own of a hundredth of the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.measure import arguments, demo_atlas, show, timed

NEAREST = (5, 10, 20)
FEWER, SPRING = 1000, 100  # images where --quick asks for less; images that networkx lays out


def measured(lists: Any, codes: np.ndarray, k: int) -> list[str]:
    """Return a row of the table: what the graph of the `k` nearest is like."""
    from atlas.maps.graph import communities, modularity, mutual, nearest_others
    from atlas.maps.graph_measures import homophily, hubness, occurrences, purity

    near, apart = nearest_others(lists.indices, lists.distances, np.arange(len(codes)), k)
    edges, _ = mutual(near, apart)
    seconds, community = timed(lambda: communities(edges, len(codes)))
    alike, pure = homophily(edges, codes), purity(community, codes)
    told = hubness(*occurrences(near, codes), near)
    return [
        str(k), str(len(edges)), str(int((community < 0).sum())), f"{alike['share']:.3f}", f"{alike['control']:.3f}",
        f"{told['skewness']:.2f}", f"{told['expected']:.2f}", str(told["orphans"]), f"{told['bad']:.3f}",
        f"{told['bad_in_hubs']:.3f}", str(community.max() + 1), f"{modularity(edges, community):.3f}",
        f"{pure['share']:.3f}", f"{pure['control']:.3f}", f"{seconds:.1f}",
    ]  # fmt: skip


def layouts(vectors: np.ndarray, lists: Any) -> list[str]:
    """Return what the layout took, and networkx's force-directed one of the first SPRING images, in words."""
    import networkx as nx

    from atlas.maps.graph import mutual, nearest_others
    from atlas.maps.graph_layout import force_layout

    near, apart = nearest_others(lists.indices, lists.distances, np.arange(len(vectors)), 10)
    edges, _ = mutual(near, apart)
    ours, _ = timed(lambda: force_layout(edges, near, vectors))
    graph = nx.Graph([(a, b) for a, b in edges.tolist() if b < 10 * SPRING])
    theirs, _ = timed(lambda: nx.spring_layout(graph, seed=0))
    return [
        f"layout of {len(vectors)} images: {ours:.1f} s",
        f"networkx's spring_layout of {len(graph)} of them: {theirs:.1f} s, growing with their square",
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    asked = arguments(__doc__).parse_args(argv)
    from atlas.maps.neighbours import build_neighbours

    opened = demo_atlas(asked.cache)
    rows = np.flatnonzero(opened.image_record.table["split"].to_numpy() == "held-out")[: FEWER if asked.quick else None]
    vectors, codes = np.asarray(opened.vectors()[rows], np.float32), opened.image_record.codes[rows].astype(np.int64)
    seconds, lists = timed(lambda: build_neighbours(vectors, layers=[opened.default_layer], k=max(NEAREST)))
    columns = ["k", "edges", "alone", "homophily", "shuffled", "skewness", "at random", "orphans", "bad", "bad in hubs",
               "communities", "modularity", "purity", "shuffled", "seconds"]  # fmt: skip
    notes = [f"exact lists of {len(rows)} images: {seconds:.1f} s", *layouts(vectors, lists)]
    found = [measured(lists, codes, k) for k in NEAREST]
    show(f"{len(rows)} held-out images, {opened.default_layer}", columns, found, notes=notes)


if __name__ == "__main__":
    main()
