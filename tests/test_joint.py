"""Joint vectors: every layer has the same say."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.activations.records import Vectors
from atlas.errors import AtlasError
from atlas.maps.joint import join, scales_of


def test_each_layer_gets_unit_mean_norm_whatever_its_scale() -> None:
    chance = np.random.default_rng(0)
    small, large = chance.normal(size=(5000, 3)), 1e4 * chance.normal(size=(5000, 7)).astype(np.float32)
    joined = join([small, Vectors([large[:10], large[10:]])])
    assert joined.shape == (5000, 10) and joined.dtype == np.float32
    for part, block in ((joined[:, :3], small), (joined[:, 3:], large)):
        assert abs(np.linalg.norm(part, axis=1).mean() - 1) < 1e-5
        ratio = part / block
        np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-5)
    np.testing.assert_array_equal(join([small * 1000.0])[:, :3], joined[:, :3])


def test_float16_norms_do_not_overflow_and_zeros_stay_zeros() -> None:
    joined = join([np.full((4, 512), 60000, np.float16), np.zeros((4, 2))])
    assert np.isfinite(joined).all() and (joined[:, 512:] == 0).all()


def test_a_new_image_is_joined_by_the_scales_of_the_layout() -> None:
    chance = np.random.default_rng(0)
    small, large = chance.normal(size=(50, 3)), 1e4 * chance.normal(size=(50, 7))
    joined = join([small[:40], large[:40]])
    scales = scales_of([small[:40], large[:40]])
    np.testing.assert_array_equal(join([small[:1], large[:1]], scales=scales), joined[:1])
    assert not np.allclose(join([small[:1], large[:1]]), joined[:1])
    np.testing.assert_array_equal(scales_of([np.zeros((4, 2))]), [1.0])
    for wrong in ([1.0], [1.0, 0.0], [1.0, float("nan")]):
        with pytest.raises(AtlasError, match="2 layers are joined by 2 positive scales, not "):
            join([small, large], scales=wrong)


def test_layers_with_unequal_points_are_refused() -> None:
    with pytest.raises(AtlasError, match="layers laid out jointly must have the same points, and theirs number 4, 5"):
        join([np.ones((4, 2)), np.ones((5, 2))])
    with pytest.raises(AtlasError, match="theirs number none"):
        join([])
    with pytest.raises(AtlasError, match="1 of 3 vectors hold NaN or infinity"):
        join([np.ones((3, 2)), np.array([[1.0], [np.nan], [2.0]])])
