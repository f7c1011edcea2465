"""A network's layers: which ran, in which order, what shape they gave; nothing is left behind."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import pandas as pd
import pytest
import torch
from torch import nn

from atlas.errors import AtlasError
from atlas.models.layers import UnitAxes, evaluating, find_layer, first_tensor, list_layers
from atlas.models.shapes import shape_text, unit_axis

torch.set_num_threads(1)


class Twice(nn.Module):
    """Calls one in-place ReLU twice, and never its last module."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Linear(4, 3)  # registered first, run last
        self.conv = nn.Conv2d(1, 4, 3)
        self.relu = nn.ReLU(inplace=True)
        self.block = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        self.unused = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.conv(x))
        return self.late(self.relu(self.block(x)).mean((2, 3)))


class Speaks(nn.Module):
    """Returns what it is given to say."""

    def __init__(self, say: object) -> None:
        super().__init__()
        self.say = say

    def forward(self, x: torch.Tensor) -> object:
        return self.say(x) if callable(self.say) else self.say


class Holder(nn.Module):
    """Runs one module that may return anything."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.inner(x)
        return x


def hooks_of(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


def images(count: int = 2, size: int = 9) -> torch.Tensor:
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(0))


def row_of(output: object) -> pd.Series:
    return list_layers(Holder(Speaks(output)), images()).iloc[0]


def test_layers_are_numbered_in_the_order_in_which_they_finish() -> None:
    layers = list_layers(Twice(), images())
    assert list(layers["number"]) == list(range(1, 7))
    assert list(layers["name"]) == ["conv", "relu", "block.0", "block.1", "block", "late"]
    assert list(layers["kind"]) == ["Conv2d", "ReLU ×2", "Conv2d", "BatchNorm2d", "Sequential", "Linear"]
    assert list(layers["shape"]) == ["4×7×7"] * 5 + ["3"]
    assert list(layers["units"]) == [4] * 5 + [3]
    assert list(layers["parameters"]) == [40, 0, 20, 8, 28, 15]


def test_a_module_that_never_runs_is_left_out() -> None:
    assert "unused" not in set(list_layers(Twice(), images())["name"])


def test_no_hook_is_left_behind_even_when_the_network_fails() -> None:
    module = Twice()
    list_layers(module, images())
    assert hooks_of(module) == 0
    with pytest.raises(RuntimeError):
        list_layers(module, torch.zeros(1, 7, 9, 9))
    assert hooks_of(module) == 0


def test_each_part_gets_its_own_mode_back_whatever_happens() -> None:
    module = Twice().train()
    module.block.eval()
    before = [part.training for part in module.modules()]
    with pytest.raises(KeyError), evaluating(module):
        assert not any(part.training for part in module.modules())
        raise KeyError
    assert [part.training for part in module.modules()] == before
    list_layers(module, images())
    assert [part.training for part in module.modules()] == before


def test_a_network_in_training_mode_is_listed_without_touching_its_statistics() -> None:
    module = Twice().train()
    before = module.block[1].running_mean.clone()
    list_layers(module, images())
    assert torch.equal(module.block[1].running_mean, before)


def test_one_module_under_two_names_is_one_layer() -> None:
    shared = nn.Linear(4, 4)
    layers = list_layers(nn.Sequential(shared, nn.ReLU(), shared), torch.zeros(2, 4))
    assert list(layers["name"]) == ["0", "1"]
    assert list(layers["kind"]) == ["Linear ×2", "ReLU"]


@dataclass
class Named:
    """An output like those of transformers."""

    features: torch.Tensor
    logits: torch.Tensor


@pytest.mark.parametrize(
    ("output", "shape", "units"),
    [
        (torch.zeros(2, 5), "5", 5),
        (torch.zeros(2, 197, 8), "197×8 tokens", 8),
        (torch.zeros(2, 6, 3, 3), "6×3×3", 6),
        (torch.zeros(2, 7, 7, 12), "7×7×12 channels last", 12),
        (torch.zeros(2, 5, 1, 1), "5×1×1", 5),
        ({"aux": torch.zeros(2, 3), "out": torch.zeros(2, 4)}, "4 (first tensor of a dict)", 4),
        (Named(torch.zeros(2, 3), torch.zeros(2, 4)), "4 (first tensor of a Named)", 4),
        ((None, torch.zeros(2, 4)), "4 (first tensor of a tuple)", 4),
        ([[torch.zeros(2, dtype=torch.int64)], torch.zeros(2, 4)], "4 (first tensor of a list)", 4),
        (torch.zeros(2, dtype=torch.int64), "no tensor", 0),
        (None, "no tensor", 0),
        ("text", "no tensor", 0),
        (torch.zeros(8, 5), "8×5, not one row per image", 0),
        (torch.tensor(1.0), "one number, not one row per image", 0),
        (torch.zeros(2), "one number", 0),
        (torch.zeros(2, 3, 4, 5, 6), "3×4×5×6", 0),
    ],
)
def test_each_kind_of_output_has_a_clear_outcome(output: object, shape: str, units: int) -> None:
    row = row_of(output)
    assert (row["shape"], row["units"]) == (shape, units)


def test_the_tensor_in_an_output_is_the_one_by_the_usual_name_else_the_first() -> None:
    first, second = torch.zeros(1), torch.ones(1)
    pair = namedtuple("pair", ["aux", "logits"])
    assert first_tensor(pair(first, second)) is second
    assert first_tensor({"a": first, "b": second}) is first
    assert first_tensor({"b": first, "last_hidden_state": second}) is second
    assert first_tensor(torch.zeros(1, dtype=torch.bool)) is None


def test_the_unit_axis_of_a_shape_alone_follows_one_rule() -> None:
    assert [unit_axis(s) for s in [(2, 5), (2, 197, 8), (2, 6, 3, 3), (2, 7, 7, 12), (2, 5, 5, 5)]] == [1, 2, 1, 3, 1]
    assert shape_text((2, 64, 14, 14)) == "64×14×14"
    assert shape_text((2, 20, 20, 30)) == "20×20×30 channels last" and shape_text((2, 20, 20, 30), 1) == "20×20×30"
    with pytest.raises(ValueError, match="no unit axis"):
        unit_axis((3,))


def test_a_real_convolutional_network_is_listed_whole() -> None:
    import torchvision

    module = torchvision.models.efficientnet_b0(weights=None)
    layers = list_layers(module, torch.zeros(2, 3, 64, 64))
    assert layers.iloc[0]["name"] == "features.0.0" and layers.iloc[0]["shape"] == "32×32×32"
    assert layers.iloc[-2]["name"] == "classifier.1" and layers.iloc[-1]["units"] == 1000
    assert (layers["units"] > 0).all() and layers["name"].is_unique
    assert hooks_of(module) == 0


def test_a_vision_transformer_has_tokens() -> None:
    import torchvision

    module = torchvision.models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=5
    )
    layers = list_layers(module, torch.zeros(2, 3, 32, 32))
    assert find_layer(layers, "encoder.ln")["shape"] == "5×8 tokens"
    attention = find_layer(layers, "encoder.layers.encoder_layer_0.self_attention")
    assert attention["shape"] == "5×8 tokens (first tensor of a tuple)" and attention["units"] == 8


def test_a_layer_is_found_by_name_and_by_number() -> None:
    layers = list_layers(Twice(), images())
    assert find_layer(layers, "block.0")["number"] == 3
    assert find_layer(layers, 3)["name"] == find_layer(layers, "3")["name"] == "block.0"
    assert find_layer(layers, "number:6")["name"] == "late"


def test_a_name_that_is_another_layers_number_must_be_made_clear() -> None:
    layers = list_layers(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)), torch.zeros(2, 3))
    with pytest.raises(AtlasError) as refused:
        find_layer(layers, "1")
    assert str(refused.value) == ("layer 1 is the name of one layer and the number of another: write number:2 or number:1")
    assert find_layer(layers, "number:1")["name"] == "0"
    assert find_layer(layers, 1)["name"] == "0"
    assert find_layer(layers, "0")["name"] == "0"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("blok", "no layer 'blok': did you mean block, block.1, block.0?"),
        (7, "no layer number 7: there are 1 to 6, `atlas layers` lists them"),
        (0, "no layer number 0: there are 1 to 6, `atlas layers` lists them"),
        ("-1", "no layer number -1: there are 1 to 6, `atlas layers` lists them"),
    ],
)
def test_an_unknown_layer_is_refused_with_what_would_do(wanted: str | int, message: str) -> None:
    with pytest.raises(AtlasError) as refused:
        find_layer(list_layers(Twice(), images()), wanted)
    assert str(refused.value) == message


def test_a_layer_without_units_is_refused() -> None:
    layers = list_layers(Holder(Speaks(None)), images())
    with pytest.raises(AtlasError) as refused:
        find_layer(layers, "inner")
    assert str(refused.value) == (
        "layer inner (Speaks) gives no tensor: it has no units; choose another from `atlas layers`"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Which axis counts the units


def units_of(module: nn.Module, *shape: int) -> dict[str, int]:
    layers = list_layers(module, torch.zeros(2, *shape))
    return dict(zip(layers["name"], layers["units"], strict=True))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 20, 3, padding=1),
        nn.Sequential(nn.Conv2d(3, 20, 1), nn.BatchNorm2d(20), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 20, 1), nn.GroupNorm(4, 20), nn.GELU(), nn.Dropout(0.1)),
        nn.Sequential(nn.Conv2d(3, 20, 1), nn.InstanceNorm2d(20), nn.Sequential(nn.Identity())),
        nn.Sequential(nn.Conv2d(3, 20, 1), nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(1), nn.AdaptiveAvgPool2d((20, 30))),
        nn.Sequential(nn.Conv2d(3, 20, 1, 2), nn.Upsample(scale_factor=2), nn.Dropout2d(0.1), nn.ZeroPad2d(0)),
        nn.Sequential(nn.Conv2d(3, 80, 1, 2), nn.PixelShuffle(2), nn.LeakyReLU()),
        nn.Sequential(nn.ConvTranspose2d(3, 20, 1), nn.Tanh()),
    ],
    ids=lambda layer: type(layer[-1] if isinstance(layer, nn.Sequential) else layer).__name__,
)
def test_twenty_channels_on_twenty_by_thirty_pixels_are_twenty_units(layer: nn.Module) -> None:
    layers = list_layers(nn.Sequential(layer), torch.zeros(2, 3, 20, 30))
    assert not layers["shape"].str.contains("channels last").any()
    assert set(layers["units"]) <= {20, 80} and layers.iloc[-1]["units"] == 20


def test_thirty_two_channels_that_meet_32_by_48_pixels_stay_units() -> None:
    module = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(1))
    assert set(units_of(nn.Sequential(module), 3, 64, 96).values()) == {32}


def test_a_subclass_of_a_convolution_is_one() -> None:
    class Mine(nn.Conv2d):
        pass

    assert units_of(nn.Sequential(Mine(3, 20, 1), nn.ReLU()), 3, 20, 30) == {"0": 20, "1": 20}


def test_an_exported_convolution_is_one() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 20, 1), nn.ReLU()).eval()
    module = torch.export.unflatten(torch.export.export(plain, (torch.zeros(2, 3, 20, 30),)))
    assert units_of(module, 3, 20, 30) == {"0": 20, "1": 20}


@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_the_blocks_of_a_swin_transformer_are_channels_last(size: tuple[int, int]) -> None:
    import torchvision

    layers = list_layers(torchvision.models.swin_t(weights=None), torch.zeros(1, 3, *size)).set_index("name")
    y, x = size[0] // 4, size[1] // 4
    assert layers.loc["features.0.0", "shape"] == f"96×{y}×{x}"
    for name, units in (("features.0.1", 96), ("features.0", 96), ("features.1.0.mlp.1", 384), ("features.1.0", 96)):
        assert tuple(layers.loc[name, ["shape", "units"]]) == (f"{y}×{x}×{units} channels last", units)
    assert set(layers["units"]) == {96, 192, 384, 768, 1536, 3072, 1000}


@pytest.mark.parametrize("size", [(64, 96), (384, 384)])
def test_a_network_of_both_orders_is_read_in_each(size: tuple[int, int]) -> None:
    import torchvision
    from torchvision.models.convnext import CNBlockConfig

    module = torchvision.models.ConvNeXt([CNBlockConfig(96, None, 2)], num_classes=4)
    layers = list_layers(module, torch.zeros(1, 3, *size)).set_index("name")
    y, x = size[0] // 4, size[1] // 4
    assert layers.loc["features.0.1", "shape"] == layers.loc["features.1.0", "shape"] == f"96×{y}×{x}"
    assert layers.loc["features.1.0.block.4", "shape"] == f"{y}×{x}×384 channels last"
    assert set(layers["units"]) == {96, 384, 4}


def test_what_ran_in_another_pass_decides_nothing() -> None:
    axes, conv, relu = UnitAxes(), nn.Conv2d(3, 20, 1), nn.ReLU()
    with axes.watching(nn.Sequential(conv, relu)):
        assert axes.axis(relu, (2, 20, 20, 30)) == 3
        conv(torch.zeros(2, 3, 20, 30))
        assert axes.axis(relu, (2, 20, 20, 30)) == 1
        axes.clear()
        assert axes.axis(relu, (2, 20, 20, 30)) == 3
    assert hooks_of(conv) == 0


class Squeezes(nn.Module):
    """Loses the image axis of a batch of one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(1, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.pool(self.conv(x)).squeeze())


def test_a_network_that_squeezes_is_listed_by_one_image() -> None:
    assert list_layers(Squeezes(), images(1)).equals(list_layers(Squeezes(), images(2)))
    assert list(list_layers(Squeezes(), images(1))["units"]) == [6, 6, 3]
