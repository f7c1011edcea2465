"""Published figures of layouts: ours beside umap-learn's and openTSNE's own, on raw pixels.

Sainburg, McInnes and Gentner (Neural Computation 33, 2021; notebooks of timsainb/ParametricUMAP_paper): layouts of the
first 50 000 training images (the other 10 000 were kept for validation), pixels from 0 to 1, Euclidean metric, every method
at its defaults. Trustworthiness at 5 neighbours among the first 10 000 training images; accuracy of 5 nearest neighbours on
the map for the 10 000 test images.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure

TRAIN = 50_000  # training images that the published layouts are of
TRUSTED = 10_000  # training points that trustworthiness is computed among
QUICK = (4000, 1000)  # training and test points of a quick run
NEAR = {"trust": 0.01, "accuracy": 0.02}  # how near to the published figure ours has to be
PUBLISHED = {
    "mnist": {"UMAP": 0.9601, "t-SNE": 0.9874, "PCA": 0.7434, "5-NN": 0.9544},
    "fashion-mnist": {"UMAP": 0.9777, "t-SNE": 0.9906, "PCA": 0.9126, "5-NN": 0.7608},
}
COLUMNS = ("figure", "published", "ours", "the peer today", "ours", "the peer")


@dataclass(frozen=True)
class Pixels:
    """A dataset's images as vectors of pixels from 0 to 1, float32 [point, unit], and their classes."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True)
class Figure:
    """One published figure, what we and the peer find for it now, and how near is near enough."""

    name: str
    published: float
    ours: float
    peer: float
    near: float

    @property
    def met(self) -> bool:
        """Tell whether ours is as near to the published figure as asked."""
        return abs(self.ours - self.published) <= self.near


def pixels(name: str, cache: Path, *, train: int = TRAIN, test: int | None = None) -> Pixels:
    """Return the first `train` and `test` images of MNIST or Fashion-MNIST, fetched where they are missing."""
    from atlas.data import named

    found = named.fetch(name, measure.datasets(cache))
    sizes = {"train": train, "test": test}
    rows = {part: np.asarray(found.images[part][: sizes[part]]) for part in sizes}
    flat = {part: images.reshape(len(images), -1).astype(np.float32) / 255 for part, images in rows.items()}
    train_labels, test_labels = (np.asarray(found.codes[part][: sizes[part]]) for part in sizes)
    return Pixels(flat["train"], train_labels, flat["test"], test_labels)


# ---------------------------------------------------------------------------------------------------------------------
# The figures


def trusted(vectors: np.ndarray, xy: np.ndarray) -> float:
    """Return scikit-learn's trustworthiness at 5, its default, among the first TRUSTED points."""
    from sklearn.manifold import trustworthiness

    return float(trustworthiness(vectors[:TRUSTED], xy[:TRUSTED], n_neighbors=5))


def accuracy(data: Pixels, xy: np.ndarray, placed: np.ndarray) -> float:
    """Return the share of test images whose five nearest training images on the map tell their class."""
    from sklearn.neighbors import KNeighborsClassifier

    return float(KNeighborsClassifier(5).fit(xy, data.train_labels).score(placed, data.test_labels))


def neighbours_of(vectors: np.ndarray, k: int) -> Any:
    """Return our neighbours in the Euclidean metric."""
    from atlas.maps.neighbours import build_neighbours

    return build_neighbours(vectors, layers=["pixels"], metric="L2", k=k)


def umap_figures(name: str, data: Pixels) -> list[Figure]:
    """Return UMAP's trustworthiness and the accuracy of test images on its map."""
    measure.tell(f"{name}: UMAP of {len(data.train)} points, ours")
    xy, map_of, placed = our_umap(data)
    measure.tell(f"{name}: UMAP of {len(data.train)} points, umap-learn's")
    their_xy, their_placed = their_umap(data)
    found, said = PUBLISHED[name], (trusted(data.train, xy), trusted(data.train, their_xy))
    shares = accuracy(data, map_of, placed), accuracy(data, their_xy, their_placed)
    return [
        Figure(f"{name}: trust@5, UMAP", found["UMAP"], *said, NEAR["trust"]),
        Figure(f"{name}: 5-NN of test images, UMAP", found["5-NN"], *shares, NEAR["accuracy"]),
    ]


def placing() -> str:
    """Return how our side gives test images their places."""
    return (
        "placed in the map of the training images" if find_spec("atlas.maps.place") else "laid out with the training images"
    )


def our_umap(data: Pixels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return our UMAP of the training images, and the map that the test images are on with their places there."""
    from atlas.maps.layout import umap_layout

    neighbours = neighbours_of(data.train, 15)
    layout = umap_layout(data.train, neighbours)
    if find_spec("atlas.maps.place") is None:
        both = np.concatenate([data.train, data.test])
        joint = umap_layout(both, neighbours_of(both, 15)).xy
        return layout.xy, joint[: len(data.train)], joint[len(data.train) :]
    from importlib import import_module

    from atlas.maps.neighbours import open_index

    index = open_index(neighbours, data.train)  # type: ignore[call-arg]
    return layout.xy, layout.xy, import_module("atlas.maps.place").place(layout, index, data.train, data.test).xy


def their_umap(data: Pixels) -> tuple[np.ndarray, np.ndarray]:
    """Return umap-learn's map of the training images, and its own transform of the test images."""
    import umap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = umap.UMAP(random_state=0).fit(data.train)
        return fitted.embedding_, fitted.transform(data.test)


def tsne_figure(name: str, data: Pixels) -> Figure:
    """Return t-SNE's trustworthiness, ours and openTSNE's."""
    from openTSNE import TSNE

    from atlas.machine import threads_given
    from atlas.maps.layout import tsne_layout

    measure.tell(f"{name}: t-SNE of {len(data.train)} points, ours")
    ours = tsne_layout(data.train, neighbours_of(data.train, 90), threads=threads_given()).xy
    measure.tell(f"{name}: t-SNE of {len(data.train)} points, openTSNE's")
    theirs = np.asarray(TSNE(random_state=0, n_jobs=threads_given()).fit(data.train))
    scores = trusted(data.train, ours), trusted(data.train, theirs)
    return Figure(f"{name}: trust@5, t-SNE", PUBLISHED[name]["t-SNE"], *scores, NEAR["trust"])


def pca_figure(name: str, data: Pixels) -> Figure:
    """Return PCA's trustworthiness, ours and scikit-learn's."""
    from sklearn.decomposition import PCA

    from atlas.maps.pca import coordinates

    theirs = PCA(2, random_state=0).fit_transform(data.train)
    scores = trusted(data.train, coordinates(data.train)), trusted(data.train, theirs)
    return Figure(f"{name}: trust@5, PCA", PUBLISHED[name]["PCA"], *scores, NEAR["trust"])


# ---------------------------------------------------------------------------------------------------------------------
# The table


def row(figure: Figure) -> list[str]:
    """Return the cells of a figure: the three values, and how far the two of today are from the published one."""
    away = (f"{value - figure.published:+.4f}" for value in (figure.ours, figure.peer))
    return [figure.name, f"{figure.published:.4f}", f"{figure.ours:.4f}", f"{figure.peer:.4f}", *away]


def notes(figures: Sequence[Figure]) -> list[str]:
    """Return what has to be said below the table."""
    said = [f"On our side test images are {placing()}; on umap-learn's they are transformed."]
    for figure in figures:
        if not figure.met:
            too = "nor is the peer's today" if abs(figure.peer - figure.published) > figure.near else "the peer's is"
            said.append(
                f"{figure.name}: ours, {figure.ours:.4f}, is not within {figure.near} of {figure.published:.4f}; "
                f"{too}, {figure.peer:.4f}."
            )
    return said


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = measure.arguments(__doc__)
    parser.add_argument("--dataset", choices=sorted(PUBLISHED), action="append", help="one of them; repeat (all)")
    parser.add_argument("--only", choices=["umap", "tsne", "pca"], action="append", help="a method; repeat (all)")
    parser.add_argument("--points", type=int, default=TRAIN, help="training images, the first (%(default)s, as published)")
    options = parser.parse_args(argv)
    train, test = QUICK if options.quick else (options.points, None)
    only, figures = options.only or ["umap", "tsne", "pca"], []
    for name in options.dataset or sorted(PUBLISHED):
        data = pixels(name, options.cache, train=train, test=test)
        figures += [pca_figure(name, data)] if "pca" in only else []
        figures += umap_figures(name, data) if "umap" in only else []
        figures += [tsne_figure(name, data)] if "tsne" in only else []
    size = f"{train} training images" + ("" if train == TRAIN else f", and the published ones are of {TRAIN}")
    measure.show(f"Layouts of the first {size}.", COLUMNS, [row(figure) for figure in figures], notes=notes(figures))


if __name__ == "__main__":
    main()
