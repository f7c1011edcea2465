"""Volumes: the most active channels on one grid from 0 to 1, by brute force; the class activation map, by its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from atlas.activations.spatial import activation_maps
from atlas.errors import AtlasError
from atlas.maps.volume import CAM, grid_of, make_volume, most_active, resample, scale
from atlas.volumes import class_activation, plan, see

maps_of = arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(1, 9)),
                 elements=st.floats(-100, 100, width=32))  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(maps_of, st.integers(1, 15))
def test_the_most_active_channels_are_those_of_brute_force(maps: np.ndarray, count: int) -> None:
    means = [float(np.mean(one, dtype=np.float64)) for one in maps]
    assert most_active(maps, count).tolist() == sorted(range(len(maps)), key=lambda k: (-means[k], k))[:count]


@settings(deadline=None, max_examples=60)
@given(maps_of)
def test_each_level_runs_from_0_to_1_and_can_be_turned_back_into_its_map(maps: np.ndarray) -> None:
    made = make_volume({"a": maps}, channels=20, size=maps.shape[1:])
    for values, channel, low, high in zip(made.values, made.channel, made.low, made.high, strict=True):
        if low == high:
            assert (values == 0).all()
        else:
            assert values.min() == 0 and values.max() == 1
        np.testing.assert_allclose(values * (high - low) + low, maps[channel], atol=2e-5 * max(1, abs(high), abs(low)))


def test_a_constant_map_is_0_whatever_its_value_and_size() -> None:
    made = make_volume({"a": np.full((1, 3, 3), 7, np.float32)}, size=(8, 8))
    assert (made.values == 0).all() and made.low[0] == made.high[0] == 7 and made.mean[0] == 7


def test_a_value_that_is_not_finite_is_missing_counted_and_ranks_by_the_rest() -> None:
    maps = np.array([[[1, 2], [3, 4]], [[9, np.nan], [np.inf, 9]], [[np.nan] * 2] * 2], np.float32)
    made = make_volume({"a": maps}, size=(2, 2))
    assert made.channel.tolist() == [1, 0, 2] and made.nonfinite.tolist() == [2, 0, 4]
    assert np.isnan(made.values[0]).sum() == 2 and np.isnan(made.values[2]).all() and made.values[1].max() == 1


def test_layers_keep_their_order_and_the_class_activation_map_is_last() -> None:
    rng = np.random.default_rng(0)
    maps = {"b": rng.random((5, 8, 8), np.float32), "a": rng.random((2, 4, 4), np.float32)}
    made = make_volume(maps, channels=3, cam=("a", rng.random((4, 4), np.float32)))
    assert made.layer == ["b"] * 3 + ["a"] * 2 + ["a"]
    assert made.channel[-1] == CAM and (made.channel[:-1] >= 0).all() and made.values.shape == (6, 8, 8)


def test_the_grid_has_the_proportions_of_the_largest_map() -> None:
    maps = {"a": np.zeros((1, 112, 56)), "b": np.zeros((1, 7, 7))}
    assert grid_of(maps) == (64, 32) and grid_of(maps, 100) == (100, 50) and grid_of({"b": maps["b"]}) == (7, 7)


def test_resampling_keeps_a_plane_a_plane_and_a_mean_a_mean() -> None:
    ramp = np.linspace(0, 1, 8, dtype=np.float32)[None].repeat(8, 0)
    larger = resample(ramp, (8, 32))
    assert (np.diff(larger, axis=1) >= -1e-6).all() and np.allclose(larger, larger[0])
    rough = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    assert abs(resample(rough, (8, 8)).mean() - rough.mean()) < 0.02
    assert scale(np.array([[2.0, 4.0]], np.float32))[1:] == (2.0, 4.0)


# -- of an atlas ----------------------------------------------------------------------------------------------------------


def test_the_levels_of_an_image_are_its_own_channels_and_their_means_those_of_the_network(tiny_atlas):
    row = 17
    seen = see(tiny_atlas, plan(tiny_atlas, [row], ["pool", "conv2"], channels=4, size=10), row)
    maps = activation_maps(tiny_atlas.network(), tiny_atlas.seeing.picture(row), ["pool", "conv2"])
    volume = seen.volume
    assert volume.layer[:8] == ["pool"] * 4 + ["conv2"] * 4 and volume.values.shape == (9, 10, 10) and seen.size == (20, 20)
    for layer, channel, mean, values in zip(volume.layer[:8], volume.channel, volume.mean, volume.values, strict=False):
        own = maps[layer]
        assert mean == pytest.approx(own[channel].mean(), rel=1e-5)
        np.testing.assert_allclose(values, scale(resample(own[channel], (10, 10)))[0], atol=1e-6)
    best = np.argsort(-maps["pool"].mean((1, 2)), kind="stable")[:4]
    assert volume.channel[:4].tolist() == best.tolist()


def test_the_class_activation_map_is_zhous_where_a_mean_and_one_linear_layer_follow():
    from PIL import Image

    from atlas.activations.attribution import place_attributions
    from atlas.models.network import load_network
    from atlas.models.preprocess import Preprocess

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = torch.nn.Conv2d(3, 6, 3, stride=2), torch.nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.conv(x).relu().mean((2, 3)))

    torch.manual_seed(0)
    module = Pooled().eval()
    colours = Preprocess(height=16, width=16, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    network = load_network(module, preprocess=colours)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8))
    (maps,) = activation_maps(network, picture, ["conv"]).values()
    found = place_attributions(network, picture, ["conv"], outputs=[2])["conv"][0]
    zhou = np.einsum("k,kyx->yx", module.fc.weight[2].detach().numpy(), np.maximum(maps, 0))
    np.testing.assert_allclose(found * found.size, zhou, atol=1e-5)


def test_the_class_activation_map_of_an_atlas_adds_up_to_what_the_layer_argues_for(tiny_atlas):
    from atlas.activations.attribution import layer_attributions

    row = 5
    found = class_activation(tiny_atlas, row, "pool")
    total = layer_attributions(tiny_atlas.network(), tiny_atlas.seeing.picture(row), ["pool"])["pool"]
    assert found.shape == (10, 10)
    assert found.sum() == pytest.approx(total[int(tiny_atlas.predictions.prediction[row])], rel=1e-4)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"layers": ["act"]}, "layer act has no places, so it has no maps: choose another layer"),
        ({"layers": ["conv9"]}, "did you mean"),
        ({"channels": 0}, "0 channels of each layer were asked for: at least 1 would do"),
        ({"size": 1}, "a grid of 1 was asked for: 2 to 1024 would do"),
        ({"cam": "act"}, "layer act has no places"),
    ],
)
def test_what_no_volume_can_be_made_of_is_refused_before_the_network_runs(tiny_atlas, asked, words):
    with pytest.raises(AtlasError, match=words):
        plan(tiny_atlas, [0], **asked)
