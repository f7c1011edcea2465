"""The reference networks: their shapes, their names, their stream, and how they are loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from atlas.errors import AtlasError
from atlas.models import reference
from atlas.models.network import load_network
from atlas.models.reference import build, load_reference, preprocessing
from atlas.models.residual import SCALINGS

torch.set_num_threads(1)


def stream_ratio(scaling: str, depth: int, name: str = "residual-mlp") -> float:
    """Return the standard deviation of the last block's output over the first's, untrained."""
    module = build(name, {"scaling": scaling, "depth": depth, "size": 8})
    outputs: list[torch.Tensor] = []
    hooks = [
        module.get_submodule(f"blocks.{k}").register_forward_hook(lambda m, i, o: outputs.append(o)) for k in (0, depth - 1)
    ]
    with torch.inference_mode():
        module(torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert len(hooks) == 2
    return float(outputs[1].std() / outputs[0].std())


def write_training(folder: Path, module: nn.Module, **changes: object) -> Path:
    folder.mkdir()
    save_file(module.state_dict(), folder / "weights.safetensors")
    recipe = {
        "network": "conv4",
        "arguments": {"channels": 1, "size": 28, "classes": 3, "width": 4},
        "preprocess": preprocessing(channels=1, size=28, mean=[0.3], std=[0.2]),
        "categories": ["a", "b", "c"],
    }
    (folder / "recipe.json").write_text(json.dumps({**recipe, **changes}))
    return folder


@pytest.mark.parametrize("name", ["conv4", "conv6"])
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (1, 45)])
def test_a_convolutional_network_takes_grey_and_colour_images_of_any_size(name: str, channels: int, size: int) -> None:
    module = build(name, {"channels": channels, "size": size, "classes": 7, "width": 4}).eval()
    with torch.inference_mode():
        assert module(torch.zeros(2, channels, size, size)).shape == (2, 7)
        assert module(torch.zeros(2, channels, size + 9, size + 4)).shape == (2, 7)


@pytest.mark.parametrize(("name", "layers"), [("conv4", 4), ("conv6", 6)])
def test_every_step_of_a_convolutional_network_is_a_module_with_a_name_that_reads(name: str, layers: int) -> None:
    module = build(name, {})
    names = [child for child, _ in module.named_children()]
    for number in range(1, layers + 1):
        assert {f"conv{number}", f"bn{number}", f"relu{number}"} <= set(names)
    assert [n for n in names if n.startswith("pool")] == [f"pool{n}" for n in range(2, layers + 1, 2)]
    assert names[names.index("fc1") :] == ["fc1", "relu_fc1", "dropout_fc1", "logits"]
    assert type(module) is nn.Sequential
    assert module.get_submodule("fc1").out_features == 256


@pytest.mark.parametrize("name", ["conv4", "conv6"])
def test_a_convolutional_network_is_small_enough_to_ship(name: str) -> None:
    assert 4 * sum(p.numel() for p in build(name, {}).parameters()) < 2.5e6


@pytest.mark.parametrize("scaling", ["inverse-sqrt", "rezero", "fixup"])
def test_a_scaled_stream_stays_of_one_size_from_the_first_block_to_the_last(scaling: str) -> None:
    assert 1 / 3 < stream_ratio(scaling, 128) < 3
    assert 1 / 3 < stream_ratio(scaling, 512) < 3
    assert 1 / 3 < stream_ratio(scaling, 64, "residual-cnn") < 3


def test_an_unscaled_stream_explodes_with_depth() -> None:
    assert stream_ratio("none", 128) > 3
    assert stream_ratio("none", 512) > 100


def test_the_convolutional_kind_halves_the_image_once_and_keeps_its_maps_through_every_block() -> None:
    module = build("residual-cnn", {"channels": 3, "size": 11, "depth": 3, "classes": 4})
    shapes: list[tuple[int, ...]] = []
    for name in ("stem", "blocks.0", "blocks.2", "logits"):
        module.get_submodule(name).register_forward_hook(lambda m, i, o: shapes.append(tuple(o.shape)))
    with torch.inference_mode():
        module(torch.zeros(2, 3, 11, 11))
    assert shapes == [(2, 8, 5, 5)] * 3 + [(2, 4)]
    assert {"blocks.0.conv1", "blocks.2.conv2"} <= {name for name, _ in module.named_modules()}


@pytest.mark.parametrize(("name", "shape"), [("residual-mlp", (5, 64)), ("residual-cnn", (5, 8, 4, 4))])
@pytest.mark.parametrize("scaling", ["rezero", "fixup"])
def test_a_block_that_starts_at_zero_passes_its_input_on(scaling: str, name: str, shape: tuple[int, ...]) -> None:
    block = build(name, {"scaling": scaling, "depth": 2, "size": 8}).get_submodule("blocks.1")
    stream = torch.randn(shape)
    assert torch.equal(block(stream), stream)


def test_fixup_scales_the_first_layer_by_the_root_of_the_depth_and_zeroes_the_last_and_the_classifier() -> None:
    module = build("residual-mlp", {"scaling": "fixup", "depth": 16, "width": 256, "size": 8})
    for block in module.get_submodule("blocks"):
        assert float(block.fc1.weight.detach().std()) == pytest.approx((2 / 256) ** 0.5 * 16**-0.5, rel=0.05)
        assert not block.fc2.weight.any()
    assert not module.get_submodule("logits").weight.any()


@pytest.mark.parametrize("name", ["residual-mlp", "residual-cnn"])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_every_scaling_gives_logits_and_a_gradient_to_learn_from(scaling: str, name: str) -> None:
    module = build(name, {"scaling": scaling, "depth": 8, "width": 16, "size": 8, "classes": 4})
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    images, labels = torch.randn(32, 1, 8, 8), torch.arange(32) % 4
    losses = []
    for _ in range(4):
        loss = nn.functional.cross_entropy(module(images), labels)
        losses.append(float(loss))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]


def test_building_leaves_the_random_state_of_the_caller_and_repeats() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two = build("conv4", {"width": 4}), build("conv4", {"width": 4})
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_a_trained_folder_loads_with_its_weights_preprocessing_and_categories(tmp_path: Path) -> None:
    wanted = build("conv4", {"classes": 3, "width": 4}, seed=9)
    module, preprocess, categories, weights = load_reference(str(write_training(tmp_path / "mine", wanted)))
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in wanted.state_dict().items())
    assert (preprocess["mean"], preprocess["height"], preprocess["channels"]) == ([0.3], 28, 1)
    assert categories == ["a", "b", "c"]
    assert weights == tmp_path / "mine" / "weights.safetensors"
    assert not module.training


def test_a_network_trained_here_is_called_by_what_it_is_and_not_by_its_folder(tmp_path: Path) -> None:
    wanted = build("conv4", {"classes": 3, "width": 4}, seed=9)
    named = write_training(tmp_path / "named", wanted, dataset="mine:train")
    assert load_network(f"atlas:{named}").title == "conv4 (mine:train)"
    assert load_network(f"atlas:{write_training(tmp_path / 'shapes', wanted)}").title == "conv4 (shapes)"


def test_the_deep_network_that_is_shipped_lies_in_half_precision_and_runs_in_float32() -> None:
    module, _, categories, weights = load_reference("residual-mlp")
    assert weights is not None and weights.stat().st_size < 9e6 and categories == list("0123456789")
    assert len(list(module.get_submodule("blocks").children())) == 512
    assert {value.dtype for value in load_file(weights).values()} == {torch.float16}
    assert {value.dtype for value in module.parameters()} == {torch.float32}
    recipe = reference.read_recipe(weights.parent)
    assert recipe["training"]["kept"] == "float16" and recipe["accuracy"]["test"] > 0.95
    assert {path.name for path in weights.parent.iterdir()} >= {"history.csv", "curves.png", "architecture.png"}


def test_random_weights_have_no_categories_and_no_file() -> None:
    module, preprocess, categories, weights = load_reference("conv4@none")
    assert categories is None and weights is None
    assert preprocess["channels"] == 1
    assert not module.training


def test_shipped_weights_are_chosen_by_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "WEIGHTS", tmp_path)
    module = build("conv4", {"classes": 3, "width": 4})
    write_training(tmp_path / "conv4-letters", module)
    assert load_reference("conv4")[3] == tmp_path / "conv4-letters" / "weights.safetensors"
    write_training(tmp_path / "conv4-fashion-mnist", module, categories=["x", "y", "z"])
    assert load_reference("conv4")[2] == ["x", "y", "z"]
    assert load_reference("conv4", "letters")[2] == load_reference("conv4@letters")[2] == ["a", "b", "c"]


Refused = Callable[[Path], object]
REFUSALS: list[tuple[str, Refused, str]] = [
    ("unknown network", lambda p: load_reference("conv5"), "no reference network 'conv5': did you mean conv"),
    ("unknown argument", lambda p: build("conv4", {"widht": 3}), "no argument of conv4 'widht': did you mean width?"),
    (
        "unknown scaling",
        lambda p: build("residual-mlp", {"scaling": "re-zero"}),
        "no scaling 're-zero': did you mean rezero?",
    ),
    ("one class", lambda p: build("conv4", {"classes": 1}), "classes 1 makes no classifier: give 2 or more"),
    (
        "no image",
        lambda p: build("residual-cnn", {"size": 1}),
        "images of 1 pixels are too small for this network: it takes 2",
    ),
    ("no depth", lambda p: build("residual-mlp", {"depth": 0}), "depth 0 makes no classifier: give 1 or more"),
    (
        "too small",
        lambda p: build("conv6", {"size": 8}),
        "images of 8 pixels are too small for this network: it takes 12 pixels",
    ),
    ("empty folder", lambda p: load_reference(str(p)), "it has no recipe.json): make one with `atlas train NET DATASET -o"),
]


@pytest.mark.parametrize(("call", "message"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_a_mistake_is_refused_with_what_would_do(call: Refused, message: str, tmp_path: Path) -> None:
    with pytest.raises(AtlasError) as refusal:
        call(tmp_path)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_weights_that_are_not_there_or_do_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "WEIGHTS", tmp_path)
    with pytest.raises(
        AtlasError, match="no weights of conv6 are shipped: train it with `atlas train conv6 DATASET`, or use"
    ):
        load_reference("conv6")
    folder = write_training(tmp_path / "conv4-letters", build("conv4", {"classes": 5, "width": 4}))
    with pytest.raises(AtlasError, match="no shipped weights of conv4 for 'lettres': did you mean letters"):
        load_reference("conv4@lettres")
    with pytest.raises(AtlasError, match="does not fit its recipe"):
        load_reference("conv4@letters")
    (folder / "recipe.json").write_text('{"network": 3}')
    with pytest.raises(AtlasError, match="is not the recipe of a training: make it again with `atlas train`"):
        load_reference("conv4@letters")
