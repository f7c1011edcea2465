"""EfficientNet-lite0: the published size, and TensorFlow's padding."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from atlas.models.efficientnet_lite import BLOCKS, EfficientNetLite0, SamePadding
from atlas.models.network import load_network


def test_it_has_the_published_number_of_parameters_and_sixteen_blocks():
    network = EfficientNetLite0()
    assert sum(value.numel() for value in network.parameters()) == 4_652_008  # as timm counts tf_efficientnet_lite0
    assert len(network._blocks) == sum(block[0] for block in BLOCKS) == 16
    assert network._blocks[14].adds and not network._blocks[15].adds


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [7, 8, 9])
def test_a_padded_convolution_has_as_many_places_as_tensorflows_and_the_odd_pixel_at_the_far_edge(kernel, stride, size):
    layer, images = SamePadding(2, 3, kernel, stride), torch.randn(1, 2, size, size + 1)
    tall, wide = -(-size // stride), -(-(size + 1) // stride)
    down = max((tall - 1) * stride + kernel - size, 0)
    right = max((wide - 1) * stride + kernel - size - 1, 0)
    padded = functional.pad(images, (right // 2, right - right // 2, down // 2, down - down // 2))
    expected = functional.conv2d(padded, layer.weight, layer.bias, stride)
    assert layer(images).shape[2:] == (tall, wide)
    torch.testing.assert_close(layer(images), expected)


def test_it_is_opened_by_name_with_the_preprocessing_of_its_weights():
    network = load_network("atlas.models.efficientnet_lite:lite0")
    assert network.outputs == 1000 and (network.preprocess.height, network.preprocess.resize) == (224, 256)
    values = network.preprocess.tensor(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8))
    torch.testing.assert_close(values, torch.ones(1, 3, 1, 1))  # (255 − 127) / 128
