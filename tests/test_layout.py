"""Layouts of scikit-learn's digits: they keep the classes apart, come out alike each time, and refuse what is no map."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import cache, partial

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from atlas.activations.records import Vectors
from atlas.errors import AtlasError
from atlas.maps import tsne, umap
from atlas.maps.layout import pca_layout, tsne_layout, umap_layout
from atlas.maps.neighbours import build_neighbours
from atlas.maps.pca import principal_axes
from atlas.maps.records import Layout, Neighbours
from atlas.store import Recipe, Store
from tests.heard import Heard

METHODS = [umap_layout, tsne_layout, pca_layout]
TWICE = """
import hashlib
from tests.test_layout import digits_map
print(hashlib.sha256(digits_map("{method}").xy.tobytes()).hexdigest())
"""


@cache
def digits() -> tuple[np.ndarray, np.ndarray, Neighbours]:
    vectors, labels = load_digits(return_X_y=True)
    return vectors.astype(np.float32), labels, build_neighbours(vectors, layers=["pixels"], metric="L2", k=90)


@cache
def digits_map(method: str) -> Layout:
    vectors, _, neighbours = digits()
    make = {"umap": umap_layout, "tsne": tsne_layout}[method]
    return make(vectors, neighbours)


class Told(Heard):
    """Counts the steps too."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def show(self, name, total):
        from contextlib import nullcontext

        def advance(count: int) -> None:
            self.steps += count

        return nullcontext(advance)


def small(count: int, units: int = 6) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, units)).astype(np.float32)


@pytest.mark.parametrize("method", ["umap", "tsne"])
def test_the_digits_stay_apart_on_the_map(method: str) -> None:
    _, labels, _ = digits()
    made = digits_map(method)
    assert made.xy.shape == (1797, 2) and made.xy.dtype == np.float32 and np.isfinite(made.xy).all()
    assert cross_val_score(KNeighborsClassifier(5), made.xy, labels, cv=5).mean() > 0.9
    assert made.quality["trustworthiness"] > 0.97 and made.quality["continuity"] > 0.95 and made.quality["recall"] > 0.4
    assert made.method == method and made.layers == ["pixels"] and made.parameters["cut"] == []
    assert {"initialisation", "optimisation", "quality"} <= set(made.seconds)


@pytest.mark.parametrize("method", ["umap", "tsne"])
def test_a_seeded_map_has_the_same_bytes_in_another_process(method: str) -> None:
    code = TWICE.format(method=method)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert run.stdout.strip() == hashlib.sha256(digits_map(method).xy.tobytes()).hexdigest()


def test_another_seed_gives_another_map() -> None:
    vectors, _, neighbours = digits()
    one, other = (umap_layout(vectors, neighbours, seed=seed, epochs=20).xy for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_the_steps_called_one_by_one_are_the_whole() -> None:
    vectors, _, neighbours = digits()
    random = np.random.RandomState(0)
    start = umap.start_places(vectors, random)
    assert np.abs(start).max() == pytest.approx(10, abs=1e-3)
    xy = umap.optimise(umap.graph_of(neighbours, 15, random), start, 0.1, 30, random)
    assert np.array_equal(xy, umap_layout(vectors, neighbours, epochs=30).xy)


@pytest.mark.parametrize("repulsion", ["bh", "fft"])
def test_t_sne_has_the_same_bytes_with_any_number_of_threads(repulsion: str, monkeypatch) -> None:
    monkeypatch.setattr(tsne, "EARLY", 30)
    monkeypatch.setattr(tsne, "LATE", 30)
    vectors, _, neighbours = digits()
    start = tsne.start_places(vectors, np.random.RandomState(0))
    made = [
        tsne.optimise(tsne.affinities_of(neighbours, 30, threads=threads), start, repulsion=repulsion, threads=threads)
        for threads in (1, 2, 5)
    ]
    assert np.abs(made[0]).max() > 1 and all(np.array_equal(made[0], other) for other in made[1:])


def test_umaps_epochs_and_t_snes_iterations_are_told_as_they_pass() -> None:
    vectors, neighbours = small(300), build_neighbours(small(300), layers=["fc"])
    umap_told, tsne_told = Told(), Told()
    umap_layout(vectors, neighbours, epochs=40, progress=umap_told)
    tsne_layout(vectors, neighbours, perplexity=5, progress=tsne_told)
    assert umap_told.steps == 40 and tsne_told.steps == 750


def test_pca_is_scikit_learns_up_to_sign_with_the_largest_loading_positive() -> None:
    vectors, _, neighbours = digits()
    made = pca_layout(Vectors([vectors[:1000], vectors[1000:]]), neighbours)
    peer = PCA(2, svd_solver="full").fit(vectors.astype(np.float64))
    theirs = peer.transform(vectors)
    np.testing.assert_allclose(made.xy, theirs * np.sign((made.xy * theirs).sum(axis=0)), atol=1e-4)
    np.testing.assert_allclose(made.parameters["explained_variance_ratio"], peer.explained_variance_ratio_, atol=1e-9)
    axes = principal_axes(vectors).axes
    assert (axes[np.abs(axes).argmax(axis=0), [0, 1]] > 0).all()


def test_a_layer_of_one_unit_has_a_flat_pca_and_a_finite_map() -> None:
    vectors = small(40, 1)
    neighbours = build_neighbours(vectors, layers=["fc"], metric="L2")
    assert (pca_layout(vectors, neighbours).xy[:, 1] == 0).all()
    for method in (partial(umap_layout, epochs=20), tsne_layout):
        assert np.isfinite(method(vectors, neighbours).xy).all()


def test_what_the_points_do_not_allow_is_cut_and_stated() -> None:
    vectors, told = small(10), Told()
    neighbours = build_neighbours(vectors, layers=["fc"], k=30)
    made = umap_layout(vectors, neighbours, progress=told)
    assert made.parameters["n_neighbors"] == 10
    assert made.parameters["cut"] == ["n_neighbors 15 cut to 10: there are 10 points"]
    assert told.lines == ["UMAP of fc: n_neighbors 15 cut to 10: there are 10 points"]
    made = tsne_layout(vectors, neighbours)
    assert made.parameters["perplexity"] == 3 and made.parameters["cut"] == ["perplexity 30 cut to 3: there are 10 points"]
    vectors = small(200)
    neighbours = build_neighbours(vectors, layers=["fc"], k=12)
    made = tsne_layout(vectors, neighbours)
    assert made.parameters["cut"] == ["perplexity 30 cut to 4: the lists hold 12 each, and it takes three times it"]
    assert umap_layout(vectors, neighbours, n_neighbors=20).parameters["cut"] == [
        "n_neighbors 20 cut to 13: the lists hold 12 each"
    ]


def test_four_points_make_a_map_and_three_are_sent_to_pca() -> None:
    for method in METHODS:
        made = method(small(4), build_neighbours(small(4), layers=["fc"]))
        assert np.isfinite(made.xy).all() and made.quality["sample"] == 4
    three = build_neighbours(small(3), layers=["fc"])
    for method, name in ((umap_layout, "UMAP"), (tsne_layout, "t-SNE")):
        with pytest.raises(AtlasError, match=f"{name} needs at least 4 points and there are 3: take PCA, or add images"):
            method(small(3), three)
    assert pca_layout(small(3), three).xy.shape == (3, 2)
    with pytest.raises(AtlasError, match="PCA needs at least 2 points and there are 1: add images"):
        pca_layout(small(1), build_neighbours(small(1), layers=["fc"]))


@pytest.mark.parametrize("method", METHODS)
def test_vectors_that_are_all_equal_are_refused(method) -> None:
    vectors = np.ones((50, 3), np.float32)
    with pytest.raises(
        AtlasError, match="all 50 vectors are equal: nothing to lay out; choose another layer or other images"
    ):
        method(vectors, build_neighbours(vectors, layers=["fc"]))


@pytest.mark.parametrize("method", METHODS)
def test_many_duplicates_and_zero_vectors_still_make_a_finite_map(method) -> None:
    vectors = small(120)
    vectors[:60], vectors[60:70] = vectors[0], 0
    made = method(vectors, build_neighbours(vectors, layers=["fc"]))
    assert np.isfinite(made.xy).all()


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        (umap_layout, {"n_neighbors": 1}, "n_neighbors must be a whole number of at least 2, not 1"),
        (umap_layout, {"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
        (umap_layout, {"min_dist": 1.5}, "min_dist must be a number from 0 to 1, not 1.5"),
        (umap_layout, {"min_dist": "near"}, "min_dist must be a number from 0 to 1, not 'near'"),
        (umap_layout, {"seed": -1}, "seed must be a whole number of at least 0, not -1"),
        (umap_layout, {"seed": 2**32}, "seed must be below 4294967296, not 4294967296"),
        (tsne_layout, {"perplexity": 0.5}, "perplexity must be a number of at least 1, not 0.5"),
        (tsne_layout, {"perplexity": float("nan")}, "perplexity must be a number of at least 1, not nan"),
        (tsne_layout, {"threads": 0}, "threads must be a whole number of at least 1, not 0"),
    ],
)
def test_a_wrong_parameter_is_refused(method, change: dict, message: str) -> None:
    with pytest.raises(AtlasError) as refused:
        method(small(20), build_neighbours(small(20), layers=["fc"]), **change)
    assert str(refused.value) == message


def test_vectors_and_lists_of_other_points_are_refused() -> None:
    with pytest.raises(AtlasError, match="20 vectors and 30 neighbour lists: build the neighbours of these"):
        pca_layout(small(20), build_neighbours(small(30), layers=["fc"]))


def test_a_layout_is_stored_and_read_back(tmp_path) -> None:
    made = pca_layout(small(20), build_neighbours(small(20), layers=["fc"]))
    kept = Store(tmp_path / "atlas").build(Recipe("layout", 1), Layout, lambda: made)
    assert np.array_equal(kept.xy, made.xy) and kept.quality == made.quality and kept.parameters == made.parameters


def test_the_room_imports_without_umap_opentsne_faiss_or_torch() -> None:
    code = (
        "import sys, atlas.maps.layout, atlas.maps.neighbours, atlas.maps.quality, atlas.maps.joint;"
        "print([m for m in ('torch', 'umap', 'openTSNE', 'faiss', 'sklearn', 'scipy', 'numba') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("shape", [(12, 40), (3, 40), (40, 12)])
def test_principal_axes_are_the_same_by_points_as_by_units(shape):
    vectors = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    axes = principal_axes(vectors)
    exact = PCA(2, svd_solver="full").fit(vectors.astype(np.float64))
    np.testing.assert_allclose(np.abs(axes.axes.T), np.abs(exact.components_), atol=1e-6)
    np.testing.assert_allclose(axes.ratio, exact.explained_variance_ratio_, atol=1e-9)


def test_a_layout_keeps_what_new_points_are_placed_by() -> None:
    vectors, _, neighbours = digits()
    made = pca_layout(vectors, neighbours)
    mean, axes = made.axes[0], made.axes[1:]
    np.testing.assert_allclose(made.xy, (vectors - mean) @ axes.T, atol=1e-4)
    other = digits_map("umap")
    assert other.axes.shape == (0, 64) and np.isnan(other.confidence).all() and len(other.confidence) == 1797
    tenth = np.sort(neighbours.distances[:, 9])
    assert made.reach[0] == tenth[0] and made.reach[-1] == tenth[-1] and made.reach[500] == tenth[898]
