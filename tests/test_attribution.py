"""Attribution: both ways agree with each other and with brute force, and the network is as it was afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from atlas.activations.attribution import MORE, PASSES, Attributor, attributions, layer_attributions, place_attributions
from atlas.activations.engine import engine
from atlas.activations.functionals import Functional, positions
from atlas.errors import AtlasError
from tests.passes import Block, Net, Tiny, TinyViT, as_input, make_pixels
from tests.test_hooks import hooks

IDS = [f"{row:016x}" for row in range(5)]
PIXELS = make_pixels(5)
PICTURES = [Image.fromarray(array) for array in PIXELS]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield


class Plain(nn.Module):
    """Writes its ReLUs, pooling and flattening as functions, and adds a branch around a layer."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.one, self.two = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(64, outputs)
        self.norm.running_mean, self.norm.running_var = torch.randn(4), torch.rand(4) + 0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.one(x))
        x = F.max_pool2d(F.relu_(self.norm(self.two(x)) + x), 2)
        return self.head(x.flatten(1))


class Last(nn.Module):
    """Has a layer that hands out [image, y, x, unit]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv, self.mix, self.head = nn.Conv2d(1, 6, 3, stride=2), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.gelu(self.mix(self.conv(x).permute(0, 2, 3, 1))).mean((1, 2)))


class Pair(nn.Module):
    """A layer whose output is a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, Any]]:
        y = self.conv(x)
        return y, {"again": y, "size": y.shape}


class Tuples(nn.Module):
    """Reads both places of what such a layer hands out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.pair, self.head = Pair(), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y, more = self.pair(x)
        return {"logits": self.head(torch.relu_(y).mean((2, 3)) + more["again"].amax((2, 3)))}


class Encoder(nn.Module):
    """torch's own transformer layer, which has a fast path without gradients."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.patches = nn.Conv2d(1, 8, 4, stride=4)
        self.encode = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encode(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


CASES = [
    (Tiny, "conv1", "mean"), (Tiny, "conv1", "positions:3"), (Tiny, "relu", "positions:3"), (Tiny, "conv2", "max"),
    (Tiny, "fc", "mean"), (Plain, "one", "centre"), (Plain, "two", "positions:2"), (Plain, "norm", "mean-after-relu"),
    (Last, "mix", "mean"), (Last, "mix", "positions:2"), (Tuples, "pair", "positions:2"), (Tuples, "pair", "mean"),
    (TinyViT, "blocks.0", "mean"), (TinyViT, "blocks.0.mix", "positions:2"), (TinyViT, "blocks.1", "class-token"),
    (Encoder, "patches", "mean"), (Encoder, "encode", "mean"),
]  # fmt: skip


def all_ways(module: nn.Module, layer: str, functional: str) -> list[np.ndarray]:
    """Forward mode place by place, forward mode with sampled places together, backward passes."""
    with engine(Net(module), torch.device("cpu"), "float32") as opened:  # type: ignore[arg-type]
        attributor = Attributor(opened, {layer: Functional.parse(functional)}, seed=7)
        found = []
        several = {layer} if "positions" in functional else set()
        for forward, together in (({layer}, set()), ({layer}, several), (set(), set())):
            attributor.forward, attributor.together = frozenset(forward), together
            found.append(attributor(opened.tensor(PIXELS[:, None]), IDS)[layer])
    return found


def brute(module: nn.Module, layer: str, functional: str, logit: int) -> np.ndarray:
    """One image and one logit at a time: the tail's gradient in double precision, and the places that are sampled."""
    module = module.double().eval()
    wanted, places = Functional.parse(functional), positions(IDS, 3, 7)
    found = []
    for row, image in enumerate(as_input(PIXELS).double()):
        kept: list[torch.Tensor] = []

        def keep(m: nn.Module, i: Any, output: Any, kept: list[torch.Tensor] = kept) -> Any:
            first = output[0] if isinstance(output, tuple) else output
            kept.append(first.detach().requires_grad_())
            other = kept[0] * 1.0
            return (other, {"again": other}) if isinstance(output, tuple) else other

        handle = module.get_submodule(layer).register_forward_hook(keep)
        output = module(image[None])
        handle.remove()
        logits = output["logits"] if isinstance(output, dict) else output
        (gradient,) = torch.autograd.grad(logits[0, logit], kept[0])
        each = (kept[0] * gradient)[0].detach()
        if each.ndim == 2:
            each = each.T
            each = each[:, 1:].reshape(len(each), 4, 4) if wanted.sampled else each[:, :, None]
        elif isinstance(module, Last):
            each = each.permute(2, 0, 1)
        each = each.reshape(each.shape[0], *(each.shape[1:] or (1, 1))).sum(0)
        at = (places[row, : wanted.points] * each.shape).astype(int)
        found += [each[y, x] for y, x in at] if wanted.sampled else [each.sum()]
    return np.array([float(value) for value in found])


@pytest.mark.parametrize(("kind", "layer", "functional"), CASES)
def test_forward_mode_and_backward_passes_give_what_brute_force_gives(kind: Any, layer: str, functional: str) -> None:
    forward, together, backward = all_ways(kind(), layer, functional)
    assert forward.dtype == np.float32 and forward.shape == (5 * Functional.parse(functional).points, 3)
    np.testing.assert_allclose(forward, backward, atol=2e-6)
    np.testing.assert_allclose(together, forward, atol=1e-7)
    for logit in range(3):
        np.testing.assert_allclose(backward[:, logit], brute(kind(), layer, functional, logit), atol=5e-6)
    assert np.abs(backward).max() > 1e-4


def test_before_the_last_linear_layer_it_is_exact_and_at_the_logits_it_is_the_logits() -> None:
    module = Plain()
    logits = module.eval()(as_input(PIXELS)).detach()
    net: Any = Net(nn.Sequential(module))
    np.testing.assert_allclose(attributions(net, PICTURES, "0.head"), logits, atol=1e-6)
    net = Net(nn.Sequential(*Tiny().children()))
    net = Net(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 3)))
    logits = net.module(as_input(PIXELS)).detach() - net.module[3].bias.detach()
    for layer in ("1", "2"):
        np.testing.assert_allclose(attributions(net, PICTURES, layer), logits, atol=1e-5)


@pytest.mark.parametrize(
    ("outputs", "wanted", "forward"),
    [
        (PASSES, {"two": "mean", "one": "mean"}, set()),
        (PASSES + 1, {"two": "mean", "head": "mean", "one": "positions:4"}, {"two"}),
        (PASSES + 3 * MORE, {"two": "positions:4"}, set()),
        (PASSES + 3 * MORE + 1, {"two": "positions:4"}, {"two"}),
        (100, {"two": "positions:4", "one": "positions:200", "head": "mean"}, {"two", "head"}),
    ],
)
def test_the_way_is_chosen_by_the_number_of_outputs_and_of_places(
    outputs: int, wanted: dict[str, str], forward: set[str]
) -> None:
    with engine(Net(Plain(outputs), outputs), torch.device("cpu"), "float32") as opened:  # type: ignore[arg-type]
        attributor = Attributor(opened, {layer: Functional.parse(name) for layer, name in wanted.items()})
        together = attributor(opened.tensor(PIXELS[:, None]), IDS)
        assert attributor.forward == forward
        for layer in wanted:
            alone = Attributor(opened, {layer: attributor.wanted[layer]})(opened.tensor(PIXELS[:, None]), IDS)[layer]
            np.testing.assert_allclose(together[layer], alone, atol=1e-6)


class Own(torch.autograd.Function):
    """A function without a forward-mode derivative."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return 2 * gradient


class Odd(Plain):
    """Ends in an operation of the user's own, or runs without gradients."""

    def __init__(self, own: bool) -> None:
        super().__init__(50)
        self.own = own

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.own:
            return Own.apply(super().forward(x))  # type: ignore[no-untyped-call]
        with torch.no_grad():
            return super().forward(x)


@pytest.mark.parametrize("own", [True, False])
def test_what_a_network_cannot_do_one_way_is_done_the_other(own: bool) -> None:
    net: Any = Net(Odd(own), 50)
    plain: Any = Net(Plain(50), 50)
    expected = attributions(plain, PICTURES, "two", image_ids=IDS) * (2 if own else 1)
    np.testing.assert_allclose(attributions(net, PICTURES, "two", image_ids=IDS), expected, atol=1e-5)


class Counting(Plain):
    """Counts the runs of a layer before the one that is attributed, and of one after it."""

    def __init__(self, one_by_one: bool) -> None:
        super().__init__(100)
        self.runs, self.one_by_one = {"one": 0, "norm": 0}, one_by_one
        for name in self.runs:
            self.get_submodule(name).register_forward_hook(partial(self.count, name))

    def count(self, name: str, *_: Any) -> None:
        self.runs[name] += 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = super().forward(x)
        return found + 0 * torch.rand(1) if self.one_by_one else found  # chance is not batched over directions


@pytest.mark.parametrize(("one_by_one", "runs"), [(False, 1), (True, 8)])
def test_all_sampled_places_share_one_run_of_the_network_where_it_can_be_batched(one_by_one: bool, runs: int) -> None:
    net: Any = Net(Counting(one_by_one), 100)
    with engine(net, torch.device("cpu"), "float32") as opened:
        attributor = Attributor(opened, {"two": Functional.parse("positions:8")})
        attributor.look(opened.tensor(PIXELS[:2, None]))
        assert attributor.forward == {"two"}
        net.module.runs.update(one=0, norm=0)
        attributor(opened.tensor(PIXELS[:, None]), IDS)
    assert net.module.runs == {"one": runs, "norm": runs}


def test_an_image_s_attribution_does_not_depend_on_its_batch() -> None:
    net: Any = Net(Plain())
    together = attributions(net, PICTURES, "two", "positions:4", image_ids=IDS)
    alone = attributions(net, PICTURES[3:4], "two", "positions:4", image_ids=IDS[3:4])
    np.testing.assert_allclose(alone, together[12:16], atol=1e-6)


def test_a_single_logit_stands_for_two_outputs() -> None:
    net: Any = Net(Plain(1), 1)
    found = attributions(net, PICTURES, "head")
    net.module.eval()
    np.testing.assert_allclose(found, np.hstack([np.zeros((5, 1)), net.module(as_input(PIXELS)).detach()]), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "layer", "size"),
    [(Tiny, "conv1", (8, 8)), (Last, "mix", (3, 3)), (Tuples, "pair", (6, 6)), (Plain, "head", (1, 1))],
)
def test_the_places_of_an_image_add_up_to_its_attribution(kind: Any, layer: str, size: tuple[int, int]) -> None:
    net: Any = Net(kind())
    maps = place_attributions(net, PICTURES[2], [layer])[layer]
    assert maps.shape == (3, *size) and maps.dtype == np.float32
    np.testing.assert_allclose(maps.sum((1, 2)), attributions(net, PICTURES[2:3], layer)[0], atol=1e-6)


def test_a_place_s_attribution_is_that_of_the_position_sampled_there() -> None:
    net: Any = Net(TinyViT())
    maps = place_attributions(net, PICTURES[0], ["blocks.0.mix"])["blocks.0.mix"]
    sampled = attributions(net, PICTURES[:1], "blocks.0.mix", "positions:6", image_ids=IDS[:1])
    y, x = (positions(IDS[:1], 6, 0)[0] * 4).astype(int).T
    np.testing.assert_allclose(sampled, maps[:, y, x].T, atol=1e-6)


def test_several_layers_and_chosen_outputs_are_told_in_one_pass() -> None:
    net: Any = Net(Tiny())
    both = place_attributions(net, PICTURES[0], ["conv2", "conv1", "relu"], outputs=[2, 0])
    assert {layer: maps.shape for layer, maps in both.items()} == {
        "conv2": (2, 4, 4), "conv1": (2, 8, 8), "relu": (2, 8, 8)
    }  # fmt: skip
    for layer, maps in both.items():
        np.testing.assert_allclose(maps, place_attributions(net, PICTURES[0], [layer])[layer][[2, 0]], atol=1e-6)
    np.testing.assert_allclose(both["conv1"], both["relu"], atol=1e-7)  # before the ReLU it is 0 where after it there is 0


class Aside(Plain):
    """Has a layer that the logits do not depend on, and one that runs on whole numbers of them only."""

    def __init__(self) -> None:
        super().__init__()
        self.side = nn.Conv2d(1, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = self.side(x)
        return super().forward(x)


def test_nothing_is_left_behind_in_the_network_whatever_happens() -> None:
    module = Aside().train()
    net: Any = Net(module)
    module.one.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    flags, count = [p.requires_grad for p in module.parameters()], hooks(module)
    for layer, functional in (("two", "mean"), ("two", "positions:2")):
        attributions(net, PICTURES, layer, functional)
    place_attributions(net, PICTURES[0], ["one", "two"])
    with pytest.raises(AtlasError):
        attributions(net, PICTURES, "side")
    with pytest.raises(AtlasError):
        place_attributions(net, PICTURES[0], ["two", "side"])
    assert hooks(module) == count and module.training and torch.is_grad_enabled()
    assert torch.backends.mha.get_fastpath_enabled()
    assert [p.requires_grad for p in module.parameters()] == flags and all(p.grad is None for p in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("layer", "functional", "message"),
    [
        (
            "side",
            "mean",
            "the logits do not depend on layer side in a way that has a gradient: choose one on the way to them",
        ),
        ("twp", "mean", "no layer 'twp': did you mean two"),
        ("head", "positions:2", r"layer head: positions:2 needs an output with places, and the output is"),
        ("two", "class-token", "layer two: class-token needs tokens"),
        ("two", "middle", "no functional 'middle'"),
    ],
)
@pytest.mark.parametrize("outputs", [3, 300])
def test_what_cannot_be_attributed_is_one_clear_line(layer: str, functional: str, message: str, outputs: int) -> None:
    module = Aside()
    module.head = nn.Linear(64, outputs)
    net: Any = Net(module, outputs)
    with pytest.raises(AtlasError, match=message):
        attributions(net, PICTURES, layer, functional)


def test_a_network_without_logits_and_an_unknown_output_are_refused() -> None:
    features: Any = Net(Block(8), 0)
    for act in (lambda: attributions(features, PICTURES, "mix"), lambda: place_attributions(features, PICTURES[0], ["mix"])):
        with pytest.raises(AtlasError, match="network tiny gives features and no logits, so that nothing can be attributed"):
            act()
    net: Any = Net(Tiny())
    with pytest.raises(AtlasError, match="no output 3: network tiny has outputs 0 to 2"):
        place_attributions(net, PICTURES[0], ["conv1"], outputs=[3])
    with pytest.raises(AtlasError, match="no layer 'two'"):
        place_attributions(net, PICTURES[0], ["two"])


@pytest.mark.parametrize(
    ("make", "layers"), [(Plain, ["one", "two", "norm"]), (Last, ["conv", "mix"]), (Encoder, ["patches", "encode"])]
)
def test_what_layers_argue_for_as_a_whole_is_the_sum_over_their_places(make: Any, layers: list[str]) -> None:
    network: Any = Net(make())
    whole, places = layer_attributions(network, PICTURES[0], layers), place_attributions(network, PICTURES[0], layers)
    for layer in layers:
        assert whole[layer].shape == (3,)
        np.testing.assert_allclose(whole[layer], places[layer].sum((1, 2)), atol=1e-4)
