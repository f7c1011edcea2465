"""A network's layers: which ran, in which order, what shape they gave; nothing is left behind."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import pandas as pd
import pytest
import torch
from torch import nn

from atlas.errors import AtlasError
from atlas.models.layers import evaluating, find_layer, first_tensor, list_layers
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


def test_the_unit_axis_follows_one_rule() -> None:
    assert [unit_axis(s) for s in [(2, 5), (2, 197, 8), (2, 6, 3, 3), (2, 7, 7, 12), (2, 5, 5, 5)]] == [1, 2, 1, 3, 1]
    assert shape_text((2, 64, 14, 14)) == "64×14×14"
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
        (7, "no layer number 7: this network has layers 1 to 6, see `atlas layers`"),
        (0, "no layer number 0: this network has layers 1 to 6, see `atlas layers`"),
        ("-1", "no layer number -1: this network has layers 1 to 6, see `atlas layers`"),
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
