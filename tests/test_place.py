"""New points in a map: where the method's own transform puts them, alone or together; flagged where far."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from atlas.activations.records import Vectors
from atlas.errors import AtlasError
from atlas.maps.layout import pca_layout, tsne_layout, umap_layout
from atlas.maps.neighbours import build_neighbours, open_index
from atlas.maps.place import FAR, Placed, far, nearest, place
from atlas.maps.records import Layout, Neighbours

MAKE = {"umap": umap_layout, "tsne": tsne_layout, "pca": pca_layout}
METHODS = list(MAKE)
OLD = 900  # digits that are laid out; 300 more are new
NEW = slice(OLD, 1200)


@cache
def digits() -> tuple[np.ndarray, np.ndarray, Neighbours]:
    vectors, labels = load_digits(return_X_y=True)
    vectors, labels = vectors[: NEW.stop].astype(np.float32), labels[: NEW.stop]
    return vectors, labels, build_neighbours(vectors[:OLD], layers=["pixels"], metric="L2", k=90)


@cache
def laid_out(method: str) -> Layout:
    vectors, _, neighbours = digits()
    return MAKE[method](vectors[:OLD], neighbours)


def put(method: str, new: np.ndarray, *, seed: int = 0, layout: Layout | None = None) -> Placed:
    vectors, _, neighbours = digits()
    return place(layout or laid_out(method), open_index(neighbours, vectors[:OLD]), vectors[:OLD], new, seed=seed)


def right(old: np.ndarray, new: np.ndarray) -> float:
    """The accuracy of new digits by their five neighbours on the map."""
    _, labels, _ = digits()
    return KNeighborsClassifier(5).fit(old, labels[:OLD]).score(new, labels[OLD:])


@pytest.mark.parametrize("method", METHODS)
def test_new_digits_land_among_their_own_kind(method: str) -> None:
    vectors, _, _ = digits()
    placed = put(method, vectors[NEW])
    assert placed.xy.shape == (300, 2) and placed.xy.dtype == np.float32 and np.isfinite(placed.xy).all()
    assert placed.confidence.dtype == np.float32 and placed.far.dtype == bool
    assert (placed.confidence >= 0).all() and (placed.confidence <= 1).all()
    assert right(laid_out(method).xy, placed.xy) > (0.5 if method == "pca" else 0.9)


@pytest.mark.parametrize("method", METHODS)
def test_a_points_place_does_not_depend_on_what_is_placed_with_it(method: str) -> None:
    vectors, _, _ = digits()
    new = vectors[OLD : OLD + 30]
    together, again = put(method, new), put(method, new)
    alone = [put(method, row) for row in new]
    for field in ("xy", "confidence", "far"):
        assert getattr(together, field).tobytes() == getattr(again, field).tobytes()
        assert getattr(together, field).tobytes() == np.concatenate([getattr(one, field) for one in alone]).tobytes()


def test_chance_comes_from_the_seed_alone() -> None:
    vectors, _, _ = digits()
    one, other = (put("umap", vectors[OLD : OLD + 20], seed=seed).xy for seed in (0, 1))
    assert (one != other).any()
    assert np.median(np.linalg.norm(one - other, axis=1)) < 0.03 * np.ptp(laid_out("umap").xy)


@pytest.mark.parametrize("method", METHODS)
def test_the_map_and_its_vectors_stay_as_they_are(method: str) -> None:
    vectors, _, _ = digits()
    before, map_before = vectors.copy(), laid_out(method).xy.copy()
    put(method, vectors[OLD : OLD + 5])
    assert np.array_equal(vectors, before) and np.array_equal(laid_out(method).xy, map_before)


def test_pca_puts_a_point_exactly_where_the_layout_has_it() -> None:
    vectors, _, _ = digits()
    assert put("pca", vectors[:OLD]).xy.tobytes() == laid_out("pca").xy.tobytes()
    assert put("pca", vectors[77]).xy.tobytes() == laid_out("pca").xy[77].tobytes()


@pytest.mark.parametrize("method", ["umap", "tsne"])
def test_an_image_placed_again_lands_within_its_own_neighbours_spread(method: str) -> None:
    vectors, _, neighbours = digits()
    made, placed = laid_out(method), put(method, vectors[:OLD])
    theirs = made.xy[neighbours.indices[:, :15]]
    middle = np.median(theirs, axis=1)
    spread = np.linalg.norm(theirs - middle[:, None], axis=2).max(axis=1)
    within = np.linalg.norm(placed.xy - middle, axis=1) <= spread
    assert within.mean() > 0.98
    assert np.median(placed.confidence) > 0.8 and placed.far.mean() < 0.005


@pytest.mark.parametrize("method", METHODS)
def test_what_is_like_nothing_here_is_far_and_not_believed(method: str) -> None:
    noise = np.random.default_rng(0).uniform(0, 16, size=(200, 64)).astype(np.float32)
    placed = put(method, noise)
    assert placed.far.all() and (placed.confidence == 0).all() and np.isfinite(placed.xy).all()


def test_far_is_beyond_the_last_thousandth_of_the_atlass_own_points() -> None:
    _, _, neighbours = digits()
    made = laid_out("pca")
    own = far(made, neighbours.distances)
    assert own.sum() == (neighbours.distances[:, 9] > np.quantile(neighbours.distances[:, 9], 0.999)).sum() == 1
    assert "99.9 %" in FAR


def test_a_place_between_scattered_neighbours_is_believed_less() -> None:
    vectors, _, _ = digits()
    made = laid_out("pca")
    shuffled = replace(made, xy=np.random.default_rng(0).permutation(made.xy))
    whole, torn = put("pca", vectors[NEW]), put("pca", vectors[NEW], layout=shuffled)
    assert torn.confidence.mean() < 0.35 * whole.confidence.mean()


def test_a_neighbour_that_was_placed_counts_as_much_as_it_was_believed() -> None:
    vectors, _, _ = digits()
    made = laid_out("pca")
    half = replace(made, confidence=np.full(OLD, 0.5, np.float32))
    believed, doubted = put("pca", vectors[NEW]), put("pca", vectors[NEW], layout=half)
    np.testing.assert_allclose(doubted.confidence, believed.confidence / 2, rtol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "L2"])
def test_neighbours_are_the_nearest_by_brute_force(metric: str) -> None:
    random = np.random.default_rng(0)
    vectors, new = random.normal(size=(300, 7)).astype(np.float32), random.normal(size=(40, 7)).astype(np.float32)
    vectors[3], new[0], new[1] = 0, 0, vectors[5]
    index = open_index(build_neighbours(vectors, layers=["fc"], metric=metric, k=5), vectors)
    indices, distances = nearest(index, Vectors([vectors[:100], vectors[100:]]), new, 6, metric=metric)
    pairs = np.linalg.norm(new[:, None].astype(float) - vectors[None], axis=2)
    if metric == "cosine":
        norms = np.linalg.norm(new, axis=1)[:, None] * np.linalg.norm(vectors, axis=1)
        pairs = 1 - np.divide(new.astype(float) @ vectors.T, norms, out=np.zeros((40, 300)), where=norms > 0)
    np.testing.assert_allclose(distances, np.sort(pairs, axis=1)[:, :6], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(pairs, indices.astype(int), axis=1), distances, atol=1e-6)
    assert indices[1, 0] == 5 and distances[1, 0] == 0 and indices.dtype == np.int32


# ---------------------------------------------------------------------------------------------------------------------
# The peers


@cache
def umap_learn() -> Any:
    """A fit of umap-learn from lists of neighbours: finding them would compile for twenty seconds."""
    import umap

    vectors, _, neighbours = digits()
    indices = np.hstack([np.arange(OLD)[:, None], neighbours.indices[:, :14]])
    distances = np.hstack([np.zeros((OLD, 1), np.float32), neighbours.distances[:, :14]])
    told = {"precomputed_knn": (indices, distances), "force_approximation_algorithm": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lists without their index allow no transform, it says
        peer = umap.UMAP(random_state=0, n_epochs=150, init=laid_out("pca").xy, **told).fit(vectors[:OLD])
    peer._small_data, peer._knn_search_index = True, "unused"  # so that it compares all pairs, as it does of itself
    return peer


def test_umap_places_to_the_last_bit_where_umap_learns_own_transform_does() -> None:
    from sklearn.metrics import pairwise_distances

    from atlas.maps.place_umap import place_by_umap

    vectors, _, _ = digits()
    peer = umap_learn()
    new = vectors[OLD : OLD + 8] + np.random.default_rng(0).uniform(0, 0.1, (8, 64)).astype(np.float32)  # no ties
    theirs = np.concatenate([peer.transform(row[None]) for row in new])
    pairs = pairwise_distances(new, vectors[:OLD])  # as there
    indices = np.argsort(pairs, axis=1)[:, :15].astype(np.int32)
    distances = np.take_along_axis(pairs, indices, axis=1).astype(np.float32)
    ours = place_by_umap(peer.embedding_, indices, distances, min_dist=0.1, epochs=150, seed=42)  # its transform's seed
    np.testing.assert_array_equal(ours, theirs)


def test_umaps_new_digits_are_read_as_well_as_by_umap_learns_own_transform() -> None:
    vectors, _, _ = digits()
    peer = umap_learn()
    same_map = replace(laid_out("umap"), xy=peer.embedding_, parameters=laid_out("umap").parameters | {"epochs": 150})
    ours, theirs = put("umap", vectors[NEW], layout=same_map).xy, peer.transform(vectors[NEW])
    assert np.median(np.linalg.norm(ours - theirs, axis=1)) < 0.03 * np.ptp(peer.embedding_)
    assert abs(right(peer.embedding_, ours) - right(peer.embedding_, theirs)) <= 0.02  # six digits


def test_t_sne_places_as_open_t_snes_own_transform_does() -> None:
    from openTSNE import TSNE

    vectors, _, _ = digits()
    peer = TSNE(random_state=0, negative_gradient_method="bh").fit(vectors[:OLD])
    theirs = np.asarray(peer.transform(vectors[NEW]))  # it moves the map to its middle, too
    same_map = replace(laid_out("tsne"), xy=np.asarray(peer).astype(np.float32))
    ours = put("tsne", vectors[NEW], layout=same_map).xy
    apart = np.linalg.norm(ours - theirs, axis=1)
    assert np.quantile(apart, 0.9) < 0.001 * np.ptp(same_map.xy)
    assert abs(right(same_map.xy, ours) - right(same_map.xy, theirs)) <= 0.01


def test_the_repulsion_of_a_map_is_the_sum_over_its_points() -> None:
    from atlas.maps.place_tsne import Field

    random = np.random.default_rng(0)
    xy = random.normal(scale=8, size=(400, 2))
    field = Field(xy)
    for at in random.uniform(-15, 15, size=(200, 2)):
        away = at - xy
        q = 1 / (1 + (away**2).sum(axis=1))
        z, to = field.at(at)[0], field.at(at)[1:]
        assert z == pytest.approx(q.sum(), rel=2e-3)
        np.testing.assert_allclose(to, -2 * (q[:, None] ** 2 * away).sum(axis=0), atol=0.02)
    assert 0 < field.known.sum() < field.known.size


# ---------------------------------------------------------------------------------------------------------------------
# What has no place


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (np.ones((2, 63)), "the new points have 63 units and pixels has 64: give vectors of its layer"),
        (
            np.where(np.eye(3, 64) > 0, np.nan, 1),
            "3 of 3 vectors hold NaN or infinity: choose another layer, or compute it in float32 (--precision float32)",
        ),
        (np.ones((0, 64)), "vectors must be [point, unit], at least one of each, and these are [0, 64]"),
        (np.ones((2, 2, 64)), "vectors must be [point, unit], at least one of each, and these are [2, 2, 64]"),
    ],
)
def test_what_cannot_be_placed_is_refused(new: np.ndarray, message: str) -> None:
    with pytest.raises(AtlasError) as refused:
        put("umap", new)
    assert str(refused.value) == message


def test_the_vectors_of_another_layout_and_a_wrong_seed_are_refused() -> None:
    vectors, _, neighbours = digits()
    with pytest.raises(AtlasError, match="897 vectors and 900 points on the map of pixels: give the vectors of its points"):
        place(laid_out("pca"), open_index(neighbours, vectors[:OLD]), vectors[: OLD - 3], vectors[:1])
    for wrong, message in (
        (-1, "seed must be a whole number of at least 0, not -1"),
        (2**32, "seed must be below 4294967296"),
    ):
        with pytest.raises(AtlasError, match=message):
            put("umap", vectors[:1], seed=wrong)


@pytest.mark.parametrize("method", METHODS)
def test_four_points_and_duplicates_take_new_ones_too(method: str) -> None:
    random = np.random.default_rng(0)
    few, many = random.normal(size=(4, 5)).astype(np.float32), random.normal(size=(60, 5)).astype(np.float32)
    many[10:45] = many[0]
    for vectors in (few, many):
        neighbours = build_neighbours(vectors, layers=["fc"])
        made = MAKE[method](vectors, neighbours)
        placed = place(
            made, open_index(neighbours, vectors), vectors, np.concatenate([vectors[:2], np.zeros((1, 5), np.float32)])
        )
        assert np.isfinite(placed.xy).all() and ((placed.confidence >= 0) & (placed.confidence <= 1)).all()
