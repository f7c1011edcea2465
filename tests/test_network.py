"""Networks: opened from every kind of spec, checked by a forward pass, refused in one clear line."""

from __future__ import annotations

import sys
import urllib.error
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from atlas.errors import AtlasError
from atlas.models import hubs
from atlas.models.network import load_network, logits_of, network_record, reload
from atlas.models.preprocess import Preprocess

torch.set_num_threads(1)

MINE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, outputs=3):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.drop = nn.Dropout(0.9)
        self.fc = nn.Linear(4, outputs)

    def forward(self, x):
        return self.fc(self.drop(self.conv(x).mean((2, 3))))

def fine():
    return Net()

def described():
    fields = {"height": 20, "width": 20, "channels": 1, "mean": [0.5], "std": [0.25], "categories": ["a", "b", "c"]}
    return Net(), fields

class Squeezing(Net):
    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3), keepdim=True).squeeze())

def squeezing():
    return Squeezing()

def misspelled():
    return Net(), {"hieght": 20}

def features():
    return Net(), {"channels": 1, "height": 12, "width": 12, "mean": 0.0, "std": 1.0, "categories": []}

def misnamed():
    return Net(), {"categories": ["a", "b"]}

def failing():
    raise ValueError("no such\\nfile")

def number():
    return 7

def scripted():
    return torch.jit.script(nn.ReLU())

built = Net()
constant = 5
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the user's own module in it, the current one."""
    (tmp_path / "minenet.py").write_text(MINE)
    (tmp_path / "brokennet.py").write_text("raise RuntimeError('on import')")
    (tmp_path / "needynet.py").write_text("import a_module_nobody_has")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield tmp_path
    assert sys.path == before
    for name in ("minenet", "brokennet", "needynet"):
        sys.modules.pop(name, None)


def refusal(spec: Any, **options: Any) -> str:
    with pytest.raises(AtlasError) as refused:
        load_network(spec, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


class Net(nn.Module):
    """A small network that takes `channels` and returns what `finish` makes of its features [image, 4]."""

    def __init__(self, channels: int = 1, finish: Any = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3)
        self.finish = finish

    def forward(self, x: torch.Tensor) -> Any:
        found = self.conv(x)
        return self.finish(found) if self.finish else found.mean((2, 3))


# ---------------------------------------------------------------------------------------------------------------------
# torchvision and timm


def test_torchvisions_networks_come_with_their_weights_preprocessing() -> None:
    found = load_network("torchvision:resnet18@none")
    assert (found.outputs, found.categories, found.title) == (1000, None, "resnet18, random weights")
    assert found.preprocess.describe().startswith("RGB, shorter side to 256 px (bilinear), centre 224×224 px")
    assert found.identity == load_network("torchvision:resnet18@none").identity  # random weights are seeded
    assert found.parameters == 11_689_512


def test_a_vision_transformer_is_taken_at_its_own_size() -> None:
    found = load_network("torchvision:vit_b_16@none")
    assert found.outputs == 1000 and found.preprocess.height == 224
    text = refusal("torchvision:vit_b_16@none", input_size=64)
    assert "does not take an input of 3×64×64 (AssertionError: Wrong image height" in text
    assert text.endswith("give its own with --input-size PIXELS")


def test_the_users_own_classes_are_taken_from_the_weights(tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(3)
    mine = torchvision.models.resnet18(num_classes=12)
    torch.save({"model": {f"module.{name}": value for name, value in mine.state_dict().items()}}, tmp_path / "mine.pth")
    found = load_network("torchvision:resnet18", weights=tmp_path / "mine.pth", input_size=64)
    assert (found.outputs, found.categories, found.preprocess.height) == (12, None, 64)
    assert found.title == "resnet18 (mine.pth)"
    assert found.notes == [
        "made with 12 classes, as the weights have",
        "weights mine.pth: found under 'model', prefix 'module.' taken off the names",
    ]
    assert torch.equal(found.module.state_dict()["fc.weight"], mine.fc.weight)


def test_downloaded_weights_given_as_a_file_keep_their_categories(tmp_path: Path) -> None:
    import torchvision

    save_file(torchvision.models.squeezenet1_1(weights=None).state_dict(), tmp_path / "w.safetensors")
    found = load_network("torchvision:squeezenet1_1", weights=tmp_path / "w.safetensors")
    assert found.categories is not None and found.categories[0] == "tench" and found.outputs == 1000
    record = network_record(found, found.sample())
    assert reload(record).identity == found.identity


def test_an_unreachable_hub_says_where_the_weights_are_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm
    import torchvision

    def unreachable(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torchvision.models, "get_model", unreachable)
    text = refusal("torchvision:resnet50@IMAGENET1K_V1")
    assert text.startswith("the weights of torchvision:resnet50@IMAGENET1K_V1 cannot be downloaded (<urlopen error no route")
    assert "/resnet50-0676ba61.pth where there is a connection and give it with --weights FILE" in text
    monkeypatch.setattr(timm, "create_model", unreachable)
    monkeypatch.setattr(hubs, "_answers", lambda host: False)
    text = refusal("timm:resnet18")
    assert text.startswith("the weights of timm:resnet18 cannot be downloaded") and "give it with --weights FILE" in text


def test_timms_networks_come_with_their_data_config(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_network("timm:resnet18@none", input_size=64)
    assert found.outputs == 1000 and found.preprocess.interpolation == "bicubic"
    assert found.identity == load_network("timm:resnet18@none", input_size=64).identity


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert refusal("timm:resnet18") == "timm:resnet18 needs timm, an extra: pip install 'activation-atlas-explorer[timm]'"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torchvision:resnet81", "no torchvision network 'resnet81': did you mean resnet18"),
        ("torchvision:resnet50@V2", "no weights of torchvision:resnet50 'V2': did you mean IMAGENET1K_V2"),
        ("torchvision:fasterrcnn_resnet50_fpn", "is no image classifier"),
        ("timm:resnett18", "no timm network 'resnett18': did you mean resnet18"),
        ("resnet50", "no network 'resnet50' (did you mean torchvision:resnet50?): give torchvision:NAME"),
        ("atlas:conv9", "'conv9': did you mean conv"),
        ("", "a network is a spec such as torchvision:resnet50 or an nn.Module, not ''"),
        (7, "a network is a spec such as torchvision:resnet50 or an nn.Module, not 7"),
        ("weights.pth", "weights.pth is weights without a network: say which, as in module:factory --weights weights.pth"),
        ("python:Net", "was passed from Python, not opened by name: pass it again, or give module:factory"),
        ("nets/mine.py:make", "write mine:make and run in the folder of mine.py"),
    ],
)
def test_a_spec_that_names_no_network_is_refused_with_what_would_do(spec: Any, message: str) -> None:
    assert message in refusal(spec)


# ---------------------------------------------------------------------------------------------------------------------
# The user's own


def test_a_factory_in_the_current_folder_is_opened_unedited(folder: Path) -> None:
    found = load_network("minenet:fine")
    assert (found.outputs, found.title, found.categories) == (3, "Net", None)
    assert found.preprocess == Preprocess(height=28, width=28, channels=1, mean=(0.0,), std=(1.0,))
    assert found.notes == [
        "its weights name no preprocessing: 28×28 px is the first of the usual sizes that it takes; "
        "values in 0–1, not normalised"
    ]
    assert not any(part.training for part in found.module.modules())


def test_a_factory_may_say_its_preprocessing_and_categories(folder: Path) -> None:
    found = load_network("minenet:described")
    assert found.preprocess == Preprocess(height=20, width=20, channels=1, mean=(0.5,), std=(0.25,))
    assert found.categories == ["a", "b", "c"] and found.notes == []


def test_what_is_given_replaces_what_the_weights_say(folder: Path) -> None:
    found = load_network("minenet:described", input_size=16, mean=0.1, std=(0.2,), categories=["x", "y", "z"])
    assert (found.preprocess.height, found.preprocess.mean, found.preprocess.std) == (16, (0.1,), (0.2,))
    assert found.categories == ["x", "y", "z"]


def test_a_built_module_may_be_named_too(folder: Path) -> None:
    assert load_network("minenet:built").outputs == 3


def test_a_network_whose_outputs_are_features_says_so_with_no_categories(folder: Path) -> None:
    found = load_network("minenet:features")
    assert found.outputs == 0 and found.categories is None
    assert reload(network_record(found, found.sample())).outputs == 0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nosuchnet:make", "no module nosuchnet: looked in "),
        ("minenet:fin", "no name in minenet: 'fin': did you mean fine"),
        ("minenet:constant", "minenet:constant is a int: name a function that returns an nn.Module"),
        ("minenet:number", "minenet:number returned a int: return an nn.Module, or (module, dict of its preprocessing)"),
        ("minenet:failing", "minenet:failing() failed (ValueError: no such\\nfile"),
        ("torch.nn:Linear", "torch.nn:Linear() failed (TypeError: Linear.__init__() missing 2 required positional"),
        ("minenet:scripted", "minenet:scripted returned TorchScript, whose modules cannot be read"),
        (
            "minenet:misspelled",
            "a preprocessing that cannot be: no field of the preprocessing 'hieght': did you mean height",
        ),
        ("minenet:misnamed", "Net has 3 outputs and 2 names for them: give one name for each output"),
        ("brokennet:make", "importing brokennet failed (RuntimeError: on import)"),
        ("needynet:make", "needynet needs the module a_module_nobody_has, which is not installed"),
    ],
)
def test_a_factory_that_cannot_be_used_is_refused_in_one_line(folder: Path, spec: str, message: str) -> None:
    assert message in refusal(spec)


def test_weights_of_the_users_network_are_loaded(folder: Path) -> None:
    state = {f"module.{name}": value + 1 for name, value in load_network("minenet:fine").module.state_dict().items()}
    torch.save(state, folder / "w.pth")
    found = load_network("minenet:fine", weights="w.pth")
    assert found.identity != load_network("minenet:fine").identity
    assert found.weights == "w.pth" and any("prefix 'module.' taken off" in note for note in found.notes)
    assert "no weights at gone.pth" in refusal("minenet:fine", weights="gone.pth")


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    state = load_network("minenet:fine").module.state_dict()
    state["fc.bias"][1] = torch.nan
    torch.save(state, folder / "w.pth")
    assert "1 of 3 values of fc.bias are NaN or infinite" in refusal("minenet:fine", weights="w.pth")


# ---------------------------------------------------------------------------------------------------------------------
# From Python


def test_a_module_from_python_keeps_its_modes_and_has_no_hook_left() -> None:
    module = nn.Sequential(Net(), nn.Dropout(), nn.Linear(4, 2)).train()
    module[1].eval()
    before = [part.training for part in module.modules()]
    found = load_network(module)
    network_record(found, found.sample())
    assert found.module is module and [part.training for part in module.modules()] == before
    assert not any(part._forward_hooks for part in module.modules())
    assert found.spec == "python:Sequential" and found.outputs == 2


def test_wrappers_are_looked_through_and_a_bare_layer_gets_a_parent() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 5))
    assert load_network(nn.DataParallel(module)).module is module
    assert load_network(torch.compile(module)).module is module
    bare = load_network(nn.Conv2d(3, 8, 3), input_size=16)
    assert list(network_record(bare, bare.sample()).layers["name"]) == ["0"]


@pytest.mark.parametrize(
    ("first", "shape"),
    [
        (nn.Linear(784, 5), (1, 28, 28)),
        (nn.Linear(3072, 5), (3, 32, 32)),
        (nn.Linear(100, 5), (1, 10, 10)),
        (nn.Linear(300, 5), (3, 10, 10)),
    ],
)
def test_a_first_linear_layer_tells_the_input(first: nn.Module, shape: tuple[int, ...]) -> None:
    assert tuple(load_network(nn.Sequential(nn.Flatten(), first)).sample().shape[1:]) == shape


def test_the_images_own_size_is_the_input_where_nobody_says_and_it_is_small() -> None:
    assert load_network(Net(), sample_shape=(40, 50)).preprocess.width == 50
    assert load_network(Net(3), sample_shape=(3, 40, 50)).preprocess.height == 40
    assert load_network(Net(3), sample_shape=(3000, 4000, 3)).preprocess.height == 224
    flat = nn.Sequential(nn.Flatten(), nn.Linear(6 * 8, 2))
    assert load_network(flat, sample_shape=(6, 8)).preprocess.width == 8


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (nn.Sequential(nn.Conv2d(4, 2, 3)), {}, "takes 4 channels: images have 1 (grey) or 3 (colour)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(7, 2)), {}, "takes 7 values, and no square grey or colour image has as many"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(784, 2)),
            {"input_size": 32},
            "does not take an input of 1×32×32 (RuntimeError",
        ),
        (nn.Sequential(nn.LazyLinear(3)), {}, "has lazy layers that have no size yet: run it once on an image before"),
        (nn.Sequential(nn.Conv2d(1, 2, 3)).half(), {}, "Sequential has float16 weights: pass module.float()"),
        (Net(), {"categories": ["a"]}, "Net has 4 outputs and 1 names for them"),
        (Net(finish=lambda x: x.mean((2, 3))[:1]), {"input_size": 9}, "gives 1 rows for 2 images of 1×9×9"),
        (Net(), {"weights": "x.pt"}, "no weights at x.pt"),
    ],
)
def test_a_module_that_cannot_be_used_is_refused(module: nn.Module, options: dict[str, Any], message: str) -> None:
    if "weights" in options:
        message = "weights given with a module passed from Python: load them into it, or give a spec"
    assert message in refusal(module, **options)


def test_a_scripted_module_is_refused() -> None:
    scripted = torch.jit.trace(Net().eval(), torch.zeros(1, 1, 9, 9))
    assert (
        refusal(scripted) == "a TorchScript module cannot be read layer by layer: pass the nn.Module that it was made from"
    )


# ---------------------------------------------------------------------------------------------------------------------
# What comes out


Aux = namedtuple("Aux", ["aux", "logits"])


@pytest.mark.parametrize(
    ("finish", "outputs"),
    [
        (lambda x: x.mean((2, 3)), 4),
        (lambda x: {"logits": x.mean((2, 3)), "loss": 0}, 4),
        (lambda x: {"aux": x, "out": x.mean((2, 3))}, 4),
        (lambda x: {"tokens": x.flatten(2).mT, "out": x.mean((2, 3))}, 4),
        (lambda x: {"logits": None, "out": x.mean((2, 3))}, 4),
        (lambda x: (x.mean((2, 3)), x), 4),
        (lambda x: Aux(x, x.mean((2, 3))[:, :2]), 2),
        (lambda x: x.mean((1, 2, 3)), 1),
        (lambda x: x.mean((1, 2, 3))[:, None], 1),
        (lambda x: x.mean((2, 3), keepdim=True), 4),
        (lambda x: x, 0),
        (lambda x: x.flatten(2).mT, 0),
        (lambda x: {"features": x.mean((2, 3))}, 0),
        (lambda x: {"out": x}, 0),
        (lambda x: x.mean((2, 3)).argmax(1), 0),
        (lambda x: None, 0),
    ],
)
def test_each_kind_of_output_has_a_clear_number_of_logits(finish: Any, outputs: int) -> None:
    found = load_network(Net(finish=finish), input_size=9)
    assert found.outputs == outputs
    logits = logits_of(found.module(found.sample()))
    assert logits is None if outputs == 0 else logits is not None and logits.shape == (2, outputs)


def test_a_single_logit_may_name_its_two_classes() -> None:
    assert load_network(Net(finish=lambda x: x.mean((1, 2, 3))), input_size=9, categories=["no", "yes"]).outputs == 1


# ---------------------------------------------------------------------------------------------------------------------
# The record


def test_a_network_is_loaded_again_from_its_record(folder: Path) -> None:
    found = load_network("minenet:described")
    record = network_record(found, found.sample())
    assert record.layer_names == ["conv", "drop", "fc"] and record.parameters == 55 and record.outputs == 3
    again = reload(record)
    assert (again.identity, again.preprocess, again.categories) == (found.identity, found.preprocess, found.categories)


def test_a_network_that_squeezes_is_recorded_by_one_image_and_loaded_again(folder: Path) -> None:
    found = load_network("minenet:squeezing", sample_shape=(20, 20))
    record = network_record(found, found.sample(1))
    assert list(record.layers["units"]) == [4, 3] and record.outputs == 3
    assert reload(record).identity == found.identity


def test_a_network_that_has_changed_is_not_taken_for_the_one_recorded(folder: Path) -> None:
    record = network_record(found := load_network("minenet:fine"), found.sample())
    sys.modules.pop("minenet")
    (folder / "minenet.py").write_text(MINE.replace("mean((2, 3))", "amax((2, 3))"))
    with pytest.raises(AtlasError) as refused:
        reload(record)
    assert str(refused.value) == (
        "minenet:fine is not the network that this atlas was built with (its weights, modules or source have changed): "
        "build the atlas again, or bring the old ones back"
    )


def test_a_module_from_python_cannot_be_loaded_again_by_itself() -> None:
    found = load_network(Net())
    with pytest.raises(AtlasError) as refused:
        reload(network_record(found, found.sample()))
    assert str(refused.value) == (
        "python:Net was passed from Python and cannot be opened by itself: pass the module again, or build the atlas "
        "with module:factory"
    )


def test_our_own_networks_have_a_spec() -> None:
    found = load_network("atlas:conv6@none")
    assert found.outputs == 10 and found.preprocess.channels == 1
    assert reload(network_record(found, found.sample())).identity == found.identity


def test_our_own_network_takes_weights_of_another_number_of_classes(tmp_path: Path) -> None:
    from atlas.models.reference import conv6

    save_file(conv6(classes=4).state_dict(), tmp_path / "w.safetensors")
    found = load_network("atlas:conv6", weights=tmp_path / "w.safetensors")
    assert found.outputs == 4 and found.title == "conv6 (w.safetensors)"
