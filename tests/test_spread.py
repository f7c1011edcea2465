"""Class spread and mixing: by brute force over points, by their definition in a known world, and with sampled positions."""

from __future__ import annotations

import numpy as np
import pytest

import atlas
from atlas.data.records import SPLITS
from atlas.errors import AtlasError
from atlas.maps.joint import join
from atlas.maps.neighbours import build_neighbours
from atlas.maps.records import Neighbours
from atlas.patterns import voting
from atlas.patterns.spread import ClassSpread, class_spread
from atlas.store import Files

LABELS = ["a", "b", "c"]


def world(count: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors around three centres, labels of which a tenth is missing, and splits."""
    chance = np.random.default_rng(seed)
    codes = chance.integers(3, size=count)
    vectors = (2.5 * np.eye(6)[codes] + chance.normal(size=(count, 6)) + 1).astype(np.float32)
    return vectors, np.where(chance.random(count) < 0.1, -1, codes), chance.integers(2, size=count)


def measure(vectors: np.ndarray, codes: np.ndarray, splits: np.ndarray, metric: str = "L2", k: int = 12) -> ClassSpread:
    found = build_neighbours(vectors, layers=["fc"], metric=metric, k=20)
    return class_spread(vectors, found, np.arange(len(codes)), codes, LABELS, splits=splits, k=k)


@pytest.mark.parametrize("metric", ["L2", "cosine"])
def test_spread_and_mixing_are_those_of_brute_force_for_each_split(metric: str) -> None:
    vectors, codes, splits = world()
    found = measure(vectors, codes, splits, metric)
    space = vectors.astype(float)
    if metric == "cosine":
        space /= np.linalg.norm(space, axis=1, keepdims=True)
    far = np.linalg.norm(space[:, None] - space, axis=2)
    np.fill_diagonal(far, np.inf)
    near = np.argsort(far, axis=1)[:, :12]
    assert found.over == ["all", "train", "held-out"] and found.k == 12
    for place, split in enumerate(found.over):
        mine = (codes >= 0) & ((split == "all") | (splits == SPLITS.index(split) if split != "all" else True))
        centres = np.stack([space[mine & (codes == c)].mean(0) for c in range(3)])
        between = np.mean([np.linalg.norm(centres[a] - centres[b]) for a, b in ((0, 1), (0, 2), (1, 2))])
        for c in range(3):
            rows = np.flatnonzero(mine & (codes == c))
            within = np.linalg.norm(space[rows] - centres[c], axis=1).mean()
            assert found.spread[place, c] == pytest.approx(within / between, rel=1e-5)
            assert found.count[place, c] == len(rows)
            shares = [[(codes[near[r]] == other).sum() / (codes[near[r]] >= 0).sum() for other in range(3)] for r in rows]
            np.testing.assert_allclose(found.mixing[place, c], np.mean(shares, axis=0), atol=1e-6)


def test_rows_of_the_mixing_sum_to_one_and_its_diagonal_is_the_purity() -> None:
    found = measure(*world())
    np.testing.assert_allclose(found.mixing.sum(axis=2), 1, atol=1e-6)
    np.testing.assert_array_equal(found.purity[0], [found.mixing[0, c, c] for c in range(3)])


def test_spread_is_unmoved_by_the_scale_of_the_vectors_and_grows_with_the_noise() -> None:
    vectors, codes, splits = world()
    tight, wide = measure(vectors, codes, splits), measure(50 * vectors, codes, splits)
    np.testing.assert_allclose(tight.spread, wide.spread, rtol=1e-4)
    noise = np.random.default_rng(9).normal(size=vectors.shape).astype(np.float32)
    noisier = measure(vectors + 2 * noise, codes, splits)
    assert (noisier.spread[0] > tight.spread[0]).all() and (noisier.purity[0] < tight.purity[0]).all()


def test_an_image_s_own_positions_do_not_vote_for_it() -> None:
    chance = np.random.default_rng(1)
    images, positions = 40, 4
    centre = chance.normal(size=(images, 5))
    vectors = np.repeat(centre, positions, axis=0) + 1e-5 * chance.normal(size=(images * positions, 5))
    point_image, codes = np.repeat(np.arange(images), positions), chance.integers(3, size=images)
    lists = build_neighbours(vectors.astype(np.float32), layers=["conv"], metric="L2", k=30)
    zeros = np.zeros(images, int)
    found = class_spread(vectors, lists, point_image, codes, LABELS, splits=zeros, k=8)
    far = np.linalg.norm(centre[:, None] - centre, axis=2)
    np.fill_diagonal(far, np.inf)
    near = np.argsort(far, axis=1)[:, :2]  # eight points of other images: all four of the two nearest
    expected = [(codes[near[codes == c]] == c).mean() for c in range(3)]
    np.testing.assert_allclose(found.purity[0], expected, atol=1e-6)
    assert found.over == ["all"] and (found.count[0] == 4 * np.bincount(codes, minlength=3)).all()


def test_classes_without_points_and_without_neighbours_are_nan() -> None:
    vectors = np.array([[0.0, 1], [0, 2], [5, 0], [6, 0]], np.float32)
    codes = np.array([0, 0, -1, -1])
    found = class_spread(
        vectors,
        build_neighbours(vectors, layers=["fc"], metric="L2", k=3),
        np.arange(4),
        codes,
        LABELS,
        splits=np.zeros(4, int),
    )
    assert np.isnan(found.mixing[0, 1:]).all() and np.isnan(found.spread).all() and np.isnan(found.between[0])
    assert found.purity[0, 0] == 1 and found.within[0, 0] == pytest.approx(0.5)


def test_votes_of_missing_neighbours_and_unlabelled_images_do_not_count() -> None:
    indices = np.array([[1, 2, -1], [0, 2, 3], [3, 1, 0], [2, -1, -1]], np.int32)
    codes = np.array([0, 1, -1, 1])
    shares = np.concatenate([s for _, s in voting.class_shares(indices, np.arange(4), codes, 2, k=2)])
    np.testing.assert_array_equal(shares, [[0, 1], [1, 0], [0, 1], [np.nan, np.nan]])
    weighted = np.concatenate(
        [s for _, s in voting.class_shares(indices, np.arange(4), codes, 2, k=3, weights=np.array([3.0, 1, 1, 1]))]
    )
    np.testing.assert_array_equal(weighted[1], [0.75, 0.25])


def test_without_labels_there_is_no_spread() -> None:
    vectors, _, splits = world(20)
    lists = Neighbours(["fc"], "L2", True, None, np.zeros((20, 1), np.int32), np.zeros((20, 1), np.float32), Files([]))
    with pytest.raises(AtlasError, match="the images carry no labels, so classes have no spread: label them by folder"):
        class_spread(vectors, lists, np.arange(20), np.full(20, -1), LABELS, splits=splits)
    with pytest.raises(AtlasError, match="no split 'test': there is all, train, held-out"):
        measure(*world()).place("test")


def test_the_vote_is_the_most_frequent_label_of_the_nearest_others() -> None:
    vectors, codes, _ = world(80)
    near = build_neighbours(vectors, layers=["fc"], metric="L2", k=20)
    found = voting.voted(near.indices, np.arange(80), codes, 3, k=7)
    for point, own in enumerate(near.indices[:, :7]):
        heard = codes[own][codes[own] >= 0]
        assert found[point] == (np.bincount(heard, minlength=3).argmax() if len(heard) else -1)


def test_several_layers_laid_out_jointly_have_a_spread_of_their_own(tiny_atlas: atlas.Atlas) -> None:
    joint = "pool+act+logits"
    table, images = tiny_atlas.spread(joint), tiny_atlas.image_record
    vectors = join([tiny_atlas.vectors(layer) for layer in joint.split("+")])
    lists = build_neighbours(vectors, layers=joint.split("+"), metric="cosine", k=30)
    found = class_spread(vectors, lists, np.arange(len(images)), images.codes, images.labels, splits=images.splits)
    np.testing.assert_allclose(table["purity"], found.purity[0], rtol=1e-5)
    np.testing.assert_allclose(table["spread"], found.spread[0], rtol=1e-5)
    assert table.attrs["layer"] == joint
    with pytest.raises(AtlasError, match=r"no layers with neighbours 'pool\+act'"):
        tiny_atlas.spread("pool+act")
