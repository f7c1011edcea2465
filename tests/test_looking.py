"""Activation maps: the right layers, the strongest units, the very values of the network, on one scale."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from atlas.activations.spatial import activation_maps, as_grid, laid_out
from atlas.errors import AtlasError
from atlas.looking import MOST_EDGE, MOST_LAYERS, check_layers, look, packed, places, spatial_layers, strongest, worth_a_look
from atlas.models.network import load_network
from tests import tiny
from tests.tiny import picture

CONV6 = {"conv1": "32×28×28", "relu2": "32×28×28", "pool2": "32×14×14", "relu4": "64×14×14", "pool4": "64×7×7",
         "relu6": "128×7×7", "fc": "256", "logits": "10"}  # fmt: skip


def table(shapes: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame({"name": list(shapes), "shape": list(shapes.values())})


@pytest.mark.parametrize(
    ("shape", "expected"),
    [("64×14×12", 168), ("7×7×768 channels last", 49), ("197×768 tokens", 197), ("256", 0), ("", 0), ("one number", 0)],
)
def test_the_places_of_a_layer_are_read_off_its_shape(shape: str, expected: int) -> None:
    assert places(shape) == expected


def test_worth_a_look_are_the_last_layer_of_each_size_and_those_recorded() -> None:
    assert spatial_layers(table(CONV6)) == ["conv1", "relu2", "pool2", "relu4", "pool4", "relu6"]
    assert worth_a_look(table(CONV6), ["pool4", "logits"], (28, 28)) == ["relu2", "relu4", "pool4", "relu6"]
    many = {f"layer{k}": f"8×{k + 2}×{k + 3}" for k in range(40)}
    chosen = worth_a_look(table(many), [], (224, 224))
    assert len(chosen) == MOST_LAYERS and chosen[0] == "layer0" and chosen[-1] == "layer39"
    assert worth_a_look(table({"fc": "10"}), ["fc"], (28, 28)) == []


def test_a_layer_without_places_or_an_unknown_one_is_refused() -> None:
    with pytest.raises(AtlasError, match="layer logits has no places, so it has no maps: choose another layer"):
        check_layers(["relu2", "logits"], table(CONV6))
    with pytest.raises(AtlasError, match="no layer with maps 'relu22': did you mean relu2"):
        check_layers(["relu22"], table(CONV6))


@pytest.mark.parametrize("seed", range(10))
def test_the_strongest_units_are_those_with_the_highest_peaks_on_one_scale(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(12, 5, 7)).astype(np.float32)
    maps[3, 0, 0] = np.nan
    found = strongest("conv", maps, 4)
    peaks = np.nan_to_num(maps).max((1, 2))
    assert found.units.tolist() == np.argsort(-peaks, kind="stable")[:4].tolist()
    np.testing.assert_array_equal(found.peak, peaks[found.units])
    restored = found.low + found.pixels / 255 * (found.high - found.low)
    assert np.abs(restored - np.nan_to_num(maps)[found.units]).max() <= (found.high - found.low) / 255
    assert found.size == (5, 7) and found.of == 12 and found.low <= 0


def test_a_layer_that_is_silent_has_maps_of_zeros() -> None:
    found = strongest("conv", np.zeros((6, 4, 4), np.float32), 3)
    assert not found.pixels.any() and (found.low, found.high) == (0, 0)


def test_large_maps_are_averaged_to_what_a_screen_shows() -> None:
    maps = np.zeros((2, 224, 112), np.float32)
    maps[1, :112] = 1
    found = strongest("conv", maps, 1)
    assert found.pixels.shape == (1, MOST_EDGE, MOST_EDGE // 2) and found.size == (224, 112)
    half = MOST_EDGE // 2
    assert (found.pixels[0, :half] == 255).all() and (found.pixels[0, half:] == 0).all()


def test_what_is_packed_holds_every_map_in_turn() -> None:
    rng = np.random.default_rng(0)
    layers = [strongest(name, rng.random((5, *size)).astype(np.float32), 3) for name, size in (("a", (4, 6)), ("b", (2, 2)))]
    told, body = packed(layers)
    assert [one["layer"] for one in told] == ["a", "b"] and len(body) == 3 * 24 + 3 * 4
    assert body[72:] == layers[1].pixels.tobytes() and told[0]["pixels"] == [4, 6]


# -- out of a network ------------------------------------------------------------------------------------------------------


def test_the_maps_are_what_the_layers_of_the_network_gave(world, in_root) -> None:
    network = load_network(tiny.MODEL, weights=world / "weights.safetensors")
    image = Image.fromarray(picture("disc", np.random.default_rng(5)))
    found = activation_maps(network, image, ["conv1", "pool", "logits"])
    module = network.module.eval()
    with torch.no_grad():
        batch = network.preprocess.tensor(torch.from_numpy(network.preprocess.array(image)[None]))
        conv = module.conv1(batch).clone()  # the ReLU after it works in place
        pool = module.pool(torch.relu(conv))
    np.testing.assert_allclose(found["conv1"], conv[0].numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["pool"], pool[0].numpy(), rtol=1e-4, atol=1e-5)
    assert found["logits"].shape == (3, 1, 1) and found["conv1"].min() < 0
    (maps,) = look(network, image, ["pool"], units=3)
    peaks = pool[0].amax((1, 2)).numpy()
    assert maps.units.tolist() == np.argsort(-peaks, kind="stable")[:3].tolist()


def test_tokens_are_laid_out_as_their_patches_and_a_class_token_is_left_out() -> None:
    patches = np.arange(18.0).reshape(9, 2)
    np.testing.assert_array_equal(as_grid(patches)[1, 2], patches[5])
    np.testing.assert_array_equal(as_grid(np.vstack([[-1, -1], patches])), as_grid(patches))
    with pytest.raises(AtlasError, match="its output has 12 tokens, which are no square grid"):
        as_grid(np.zeros((12, 2)))


def test_the_unit_axis_comes_first_wherever_it_was() -> None:
    output = np.random.default_rng(0).random((1, 4, 4, 6)).astype(np.float32)
    np.testing.assert_array_equal(laid_out(output, 3), output[0].transpose(2, 0, 1))
    np.testing.assert_array_equal(laid_out(output, 1), output[0])
    assert laid_out(output[:, 0, 0], None).shape == (6, 1, 1)


def test_heads_by_tokens_are_no_maps_to_look_at_unasked_and_too_much_to_be_held_is_refused() -> None:
    vit = table({"proj": "768×14×14", "attn.q": "12×197×64", "attn.map": "12×197×197", "norm": "197×768 tokens"})
    assert worth_a_look(vit, ["attn.q"], (224, 224)) == ["proj", "attn.map", "norm"]
    large = table({"conv": "64×512×512", "attn": "16×4097×4097", "fc": "10"})
    assert worth_a_look(large, ["conv", "attn"], (512, 512)) == ["conv"]
    with pytest.raises(
        AtlasError, match=r"layer attn has 268566544 values for one image \(16×4097×4097\): at most 33554432"
    ):
        check_layers(["attn"], large)
    check_layers(["conv"], large)
