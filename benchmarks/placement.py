"""New images placed in an old map, beside umap-learn's and openTSNE's own transform.

The reference is the first --points training images of Fashion-MNIST (all 60 000 without), as conv6's layer relu_fc1 sees
them; the new ones are its 10 000 test images. Each peer is fitted in the same run with the same metric and parameters.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure

TRAIN = 60_000  # rows of the demo's atlas that are training images
LAYER = "relu_fc1"
AGAIN = 2000  # training images that are placed again
ONE = 50  # single points that a latency is the median of
PEER_ONE = 3  # of a peer: openTSNE takes seconds for each
QUICK = (4000, 1000)  # reference and new points of a quick run


@dataclass(frozen=True)
class World:
    """Reference and new vectors with their labels, and what finds neighbours among the reference."""

    vectors: np.ndarray
    labels: np.ndarray
    new: np.ndarray
    new_labels: np.ndarray
    neighbours: Any
    index: Any


def world(cache: Path, points: int, new: int) -> World:
    """Return the demo's descriptors, split into reference and new, with the reference's neighbours."""
    from atlas.maps.neighbours import build_neighbours, open_index

    demo = measure.demo_atlas(cache)
    vectors = np.asarray(demo.vectors(LAYER)[:], np.float32)
    labels = demo.images()["label"].to_numpy()
    rows, others = slice(0, points), slice(TRAIN, TRAIN + new)
    neighbours = build_neighbours(vectors[rows], layers=[LAYER], k=90)
    return World(
        vectors[rows], labels[rows], vectors[others], labels[others], neighbours, open_index(neighbours, vectors[rows])
    )


def accuracy(world: World, xy: np.ndarray, placed: np.ndarray) -> float:
    """Return the share of new points whose five neighbours on the map tell their label."""
    from sklearn.neighbors import KNeighborsClassifier

    return float(KNeighborsClassifier(5).fit(xy, world.labels).score(placed, world.new_labels))


# ---------------------------------------------------------------------------------------------------------------------
# Both sides


def peer_umap() -> tuple[Callable[[np.ndarray], Any], Callable[[Any], np.ndarray]]:
    """Return umap-learn's fit and how its map is read."""
    import umap

    return umap.UMAP(metric="cosine", n_neighbors=15, min_dist=0.1).fit, lambda fitted: fitted.embedding_


def peer_tsne() -> tuple[Callable[[np.ndarray], Any], Callable[[Any], np.ndarray]]:
    """Return openTSNE's fit and how its map is read, which a transform moves to its middle."""
    from openTSNE import TSNE

    return TSNE(metric="cosine", perplexity=30, n_jobs=os.cpu_count() or 1).fit, np.asarray


def ours(world: World, layout: Any, what: str, fitted: float | None) -> list[str]:
    """Return the row of our placing of all new points and of one, in a layout."""
    from atlas.maps.place import place

    place(layout, world.index, world.vectors, world.new[:1])  # compiles
    singles = [row[None] for row in world.new[:ONE]]
    one = [measure.timed(lambda row=row: place(layout, world.index, world.vectors, row))[0] for row in singles]
    taken, placed = measure.timed(lambda: place(layout, world.index, world.vectors, world.new))
    return line(what, accuracy(world, layout.xy, placed.xy), fitted, taken, one)


def line(what: str, share: float, fitted: float | None, taken: float, one: Sequence[float]) -> list[str]:
    """Return a row: accuracy, seconds of the fit, of placing all, milliseconds of placing one."""
    measure.tell(f"  {what}: {share:.4f}, all {taken:.1f} s, one {1000 * np.median(one):.1f} ms")
    return [what, f"{share:.4f}", "" if fitted is None else f"{fitted:.1f}", f"{taken:.1f}", f"{1000 * np.median(one):.1f}"]


def theirs(world: World, name: str, peer: Callable[[], Any]) -> tuple[list[str], np.ndarray]:
    """Return the row of a peer's own transform, and its map."""
    fit, read = peer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted, model = measure.timed(lambda: fit(world.vectors))
        model.transform(world.new[:1])
        one = [measure.timed(lambda row=row: model.transform(row[None]))[0] for row in world.new[:PEER_ONE]]
        taken, placed = measure.timed(lambda: model.transform(world.new))
    xy = np.asarray(read(model))
    return line(name, accuracy(world, xy, np.asarray(placed)), fitted, taken, one), xy.astype(np.float32)


def compare(world: World, method: str, make: Callable[..., Any], peer: Callable[[], Any]) -> tuple[list[list[str]], Any]:
    """Return the three rows of a method, and our layout: ours, the peer's, and ours in the peer's own map."""
    measure.tell(f"{method}: the fits of {len(world.vectors)} points, ours and the peer's")
    fitted, layout = measure.timed(lambda: make(world.vectors, world.neighbours))
    mine = ours(world, layout, f"{method}, ours", fitted)
    row, xy = theirs(world, f"{method}, {'umap-learn' if method == 'UMAP' else 'openTSNE'}", peer)
    return [mine, row, ours(world, replace(layout, xy=xy), f"{method}, ours in the peer's map", None)], layout


# ---------------------------------------------------------------------------------------------------------------------
# Confidence


def others(cache: Path, count: int) -> np.ndarray:
    """Return what the Fashion-MNIST network makes of MNIST's digits, [image, unit]."""
    import atlas

    built = atlas.build(
        "atlas:conv6@fashion-mnist",
        "mnist:test",
        cache=cache / "benchmarks" / f"digits-{count}",
        layers=[LAYER],
        layouts=["pca"],
        limit=count,
    )
    return np.asarray(built.vectors(LAYER)[:], np.float32)


def confidences(world: World, layouts: dict[str, Any], digits: np.ndarray) -> list[list[str]]:
    """Return a row per kind of input and method: the confidence's quartiles, the share far, the share below a half."""
    from atlas.maps.place import place

    random = np.random.default_rng(0)
    noise = random.normal(world.vectors.mean(), world.vectors.std(), (1000, world.vectors.shape[1])).astype(np.float32)
    shuffled = np.stack([random.permutation(row) for row in world.new[:1000]])
    kinds = {
        f"{len(world.new)} test images": world.new,
        f"{AGAIN} training images again": world.vectors[:AGAIN],
        f"{len(digits)} digits of MNIST": digits,
        "1000 test images, units shuffled": shuffled,
        "1000 random vectors": noise,
    }
    rows = []
    for method, layout in layouts.items():
        for kind, new in kinds.items():
            placed = place(layout, world.index, world.vectors, new)
            low, middle, high = np.quantile(placed.confidence, [0.25, 0.5, 0.75])
            shares = f"{placed.far.mean():.4f}", f"{(placed.confidence < 0.5).mean():.3f}"
            rows.append([method, kind, f"{low:.2f}", f"{middle:.2f}", f"{high:.2f}", *shares])
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Print two tables: the placing beside the peers', and the confidence by kind of input."""
    from atlas.maps.layout import tsne_layout, umap_layout

    parser = measure.arguments(__doc__)
    parser.add_argument("--points", type=int, default=TRAIN, help="training images that are laid out (%(default)s)")
    parser.add_argument("--methods", nargs="+", default=["UMAP", "t-SNE"], choices=["UMAP", "t-SNE"], help="which of them")
    asked = parser.parse_args(argv)
    points, new = QUICK if asked.quick else (asked.points, 10_000)
    found = world(asked.cache, points, new)
    sides = {"UMAP": (umap_layout, peer_umap), "t-SNE": (tsne_layout, peer_tsne)}
    rows, layouts = [], {}
    for method in asked.methods:
        lines, layouts[method] = compare(found, method, *sides[method])
        rows += lines
    sentence = f"{new} new images placed among {points}: the accuracy of five neighbours on the map, and the time."
    columns = ["map and placing", "5-NN accuracy", "fit s", "place all s", "place one ms, p50"]
    measure.show(sentence, columns, rows, notes=[FITS])
    columns = ["map", "input", "25 %", "confidence 50 %", "75 %", "far", "below 0.5"]
    print()
    measure.show(
        "How far each place is believed.", columns, confidences(found, layouts, others(asked.cache, new)), notes=[FLAGS]
    )


FITS = (
    "Our fit starts from neighbour lists that stand and is seeded, on one thread; umap-learn's finds neighbours itself, "
    "unseeded, on all threads, and openTSNE's on all threads. Placing one includes the search for its neighbours; "
    f"it is the median of {ONE} of ours and of {PEER_ONE} of a peer's."
)
FLAGS = "`far`: farther from its neighbours than 99.9 % of the reference. Random vectors have its mean and spread."


if __name__ == "__main__":
    main()
