"""Depthwise weights in bfloat16: their sums, their taps, and what it does for a network."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from atlas.activations.few import mean_cosine
from atlas.activations.rounding import depthwise, rounded, sums_kept

SEEDS = st.integers(0, 2**16)


def filters(seed: int, shape: tuple[int, ...] = (16, 1, 3, 3)) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(SEEDS)
def test_each_filter_keeps_its_sum_to_the_rounding_of_its_smallest_tap(seed):
    weight = filters(seed)
    error = (rounded(weight).double() - weight.double()).flatten(1).sum(1).abs()
    smallest = weight.flatten(1).abs().min(1).values.double()
    before = (weight.flatten(1).abs().max(1).values * 2**-7).double()  # what an earlier tap can hand on
    assert (error <= 2**-8 * (smallest + before)).all()


@given(SEEDS)
def test_each_tap_is_a_bfloat16_within_one_unit_in_its_last_place_of_the_largest(seed):
    weight = filters(seed)
    found = rounded(weight)
    assert torch.equal(found, found.bfloat16().float())
    largest = weight.flatten(1).abs().max(1).values[:, None, None, None]
    assert ((found - weight).abs() <= largest * 2**-7).all()


@given(SEEDS)
def test_a_flat_image_is_filtered_far_more_exactly_than_with_nearest_rounding(seed):
    weight = filters(seed, (64, 1, 3, 3))
    exact, kept, nearest = (w.double().flatten(1).sum(1) for w in (weight, rounded(weight), weight.bfloat16()))
    assert (kept - exact).norm() < 0.5 * (nearest - exact).norm()


def test_a_filter_of_bfloat16_values_stays_as_it_is():
    weight = filters(0).bfloat16().float()
    assert torch.equal(rounded(weight), weight)


def test_only_filters_of_one_channel_and_several_taps_are_rounded():
    module = nn.Sequential(
        nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 1, groups=8), nn.Conv2d(1, 4, 3), nn.Linear(1, 4)
    )
    assert [id(w) for w in depthwise(module)] == [id(module[0].weight), id(module[3].weight)]


def test_outside_the_weights_are_what_they_were_whatever_was_raised():
    module = nn.Conv2d(8, 8, 3, groups=8)
    before = module.weight.detach().clone()
    with pytest.raises(ValueError), sums_kept(module):
        assert not torch.equal(module.weight, before)
        raise ValueError
    assert torch.equal(module.weight, before)


def test_vectors_of_a_depthwise_layer_come_nearer_to_float32():
    """Smooth images through filters whose taps nearly cancel, and the batch norm after them: EfficientNet's first block."""
    torch.manual_seed(0)
    layer = nn.Conv2d(32, 32, 3, groups=32, bias=False)
    layer.weight.data -= 0.95 * layer.weight.data.mean((2, 3), keepdim=True)
    module = nn.Sequential(layer, nn.BatchNorm2d(32, momentum=1.0))
    images = nn.functional.interpolate(2 + torch.rand(32, 32, 4, 4), 32, mode="bicubic").bfloat16().float()
    with torch.no_grad():
        module(images)  # the batch norm learns mean and variance
        module.eval()
        exact = module(images).mean((2, 3)).numpy()
        with torch.autocast("cpu", torch.bfloat16):
            nearest = module(images).float().mean((2, 3)).numpy()
        with sums_kept(module), torch.autocast("cpu", torch.bfloat16):  # autocast keeps what it cast until it is left
            kept = module(images).float().mean((2, 3)).numpy()
    assert 1 - mean_cosine(kept, exact) < 0.2 * (1 - mean_cosine(nearest, exact))
