"""BatchNorm folded into convolutions for an ascent: the same outputs and gradients, and a network as it was afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from atlas.models.network import Network, load_network
from atlas.models.preprocess import Preprocess
from atlas.preferred.folding import folded
from atlas.preferred.forward import forward
from atlas.preferring import Preferring
from tests import tiny

SIZE = (3, 20, 20)


def settled(module: nn.Module) -> nn.Module:
    """Return a network whose BatchNorms have numbers of their own, in evaluation mode."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d) and part.track_running_stats:
            for values in (part.weight, part.running_var):
                nn.init.uniform_(values, 0.5, 2.0)
            for values in (part.bias, part.running_mean):
                nn.init.normal_(values)
    return module.eval()


def plain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.ReLU6(), nn.Flatten(), nn.Linear(8 * 16 * 16, 4),
    )  # fmt: skip


def own(module: nn.Module) -> Network:
    return load_network(settled(module), preprocess=Preprocess(height=20, width=20, channels=3))


def seen_and_gradient(network: Network, layer: str, **how) -> tuple[torch.Tensor, torch.Tensor]:
    pictures = torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with forward(network, [layer], redirect=False, **how) as running:
        found = running(pictures)[layer]
        return found.detach(), torch.autograd.grad(found.square().sum(), pictures)[0]


@pytest.mark.parametrize("layer", ["1", "2", "3", "5", "7"])
def test_folded_layers_have_the_outputs_and_gradients_of_before(layer):
    network = own(plain())
    for ours, theirs in zip(seen_and_gradient(network, layer, ascent=SIZE), seen_and_gradient(network, layer), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


def test_both_pairs_are_folded_and_the_weights_are_as_before_afterwards():
    module = settled(plain())
    before = {name: values.clone() for name, values in module.state_dict().items()}
    batch = torch.rand(1, *SIZE)
    with pytest.raises(KeyError), folded(module, lambda: {"": module(batch)}) as count:
        assert count == 2
        assert not torch.equal(module[0].weight, before["0.weight"])
        raise KeyError
    after = module.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert torch.equal(module[1](batch.new_ones(1, 8, 2, 2)), torch.nn.functional.batch_norm(
        batch.new_ones(1, 8, 2, 2), before["1.running_mean"], before["1.running_var"], before["1.weight"], before["1.bias"]
    ))  # fmt: skip


class Branching(nn.Module):
    """Its convolution's output is used beside the BatchNorm too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.conv(x)
        return self.norm(made) + made


class Twice(Branching):
    """Its convolution runs twice, once without the BatchNorm."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)) * self.conv(x.flip(3))


class Biasless(nn.Conv2d):
    """A convolution that knows no bias."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.weight)


@pytest.mark.parametrize(
    "module",
    [
        Branching(),
        Twice(),
        nn.Sequential(Biasless(3, 4, 3, bias=False), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
    ],
    ids=["branching", "called twice", "without bias", "not neighbours", "parametrised", "of the batch"],
)
def test_what_folding_would_change_is_left(module):
    settled(module)
    batch = torch.rand(2, *SIZE)
    before = module(batch)
    with folded(module, lambda: {"": module(batch)}) as count:
        assert count == 0
        assert torch.equal(module(batch), before)


def test_a_layer_that_is_looked_at_keeps_its_own_output():
    module = settled(plain())
    batch = torch.rand(1, *SIZE)
    with folded(module, lambda: {"": module(batch)}, kept=["0"]) as count:
        assert count == 1


def test_depthwise_networks_ascend_in_float32_where_nothing_else_is_asked(world, monkeypatch):
    monkeypatch.setattr("atlas.models.precision.has_fast_bfloat16", lambda: True)
    grouped, whole = own(plain()), load_network(tiny.MODEL, weights=world / "weights.safetensors")

    def chosen(network: Network, wanted: str) -> str:
        preferring = Preferring.__new__(Preferring)
        preferring.network, preferring.device = network, "cpu"
        return preferring.precision(wanted)

    assert chosen(grouped, "auto") == "float32"
    assert chosen(grouped, "bfloat16") == "bfloat16"
    assert chosen(whole, "auto") == "bfloat16"
