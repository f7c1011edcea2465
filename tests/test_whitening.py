"""Whitening: the inverse by its definition, dead units dropped and told, and alike units counted once."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.activations.records import Vectors
from atlas.errors import AtlasError
from atlas.maps.whitening import RIDGE, whitening


def layer(count: int = 5000, seed: int = 0) -> np.ndarray:
    chance = np.random.default_rng(seed)
    vectors = np.maximum(chance.normal(size=(count, 8)) @ chance.normal(size=(8, 8)), 0).astype(np.float32)
    vectors[:, 3] = 0
    return vectors


def test_the_matrix_times_the_ridged_second_moment_is_the_identity() -> None:
    vectors = layer()
    found = whitening(Vectors([vectors[:1000], vectors[1000:]]))
    live = np.delete(vectors, 3, axis=1).astype(np.float64)
    moment = live.T @ live / len(live)
    assert found.ridge == pytest.approx(RIDGE * np.trace(moment) / 7)
    np.testing.assert_allclose(found.matrix @ (moment + found.ridge * np.eye(7)), np.eye(7), atol=1e-10)
    assert found.dead.tolist() == [3] and found.live.tolist() == [0, 1, 2, 4, 5, 6, 7] and found.points == 5000
    assert found.sentence == "1 of 8 units are 0 at every point: they are left out of the whitening"


def test_a_direction_loses_its_dead_units_and_is_multiplied_by_the_matrix() -> None:
    found = whitening(layer())
    directions = np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32)
    white = found(directions)
    assert white.shape == (4, 8) and (white[:, 3] == 0).all() and white.dtype == np.float32
    np.testing.assert_allclose(white[:, found.live], directions[:, found.live] @ found.matrix, rtol=1e-5)
    np.testing.assert_allclose(found(directions[0]), white[0])


def test_what_all_points_share_weighs_less_than_what_tells_them_apart() -> None:
    chance = np.random.default_rng(2)
    common = chance.normal(size=(3000, 1)) * 10
    vectors = np.hstack([common, common, chance.normal(size=(3000, 1))]) + 0.01 * chance.normal(size=(3000, 3))
    white = whitening(vectors)(np.ones(3))
    assert white[2] > 20 * abs(white[0])


def test_points_that_are_not_finite_are_left_out_and_told() -> None:
    vectors = layer()
    spoilt = np.vstack([vectors, np.full((2, 8), np.nan, np.float32)])
    found = whitening(spoilt)
    np.testing.assert_array_equal(found.matrix, whitening(vectors).matrix)
    assert found.nonfinite == 2 and "and 2 of 5002 points are not finite" in found.sentence


def test_a_layer_with_nothing_to_whiten_is_refused() -> None:
    with pytest.raises(AtlasError, match="none of the layer's 4 units is ever other than 0: there is nothing to whiten"):
        whitening(np.zeros((10, 4)))
    with pytest.raises(AtlasError, match="none of the layer's 10 points is finite: there is nothing to whiten"):
        whitening(np.full((10, 4), np.inf))
    with pytest.raises(AtlasError, match="the ridge is 0: a positive share of the mean second moment would do"):
        whitening(layer(), ridge=0)
