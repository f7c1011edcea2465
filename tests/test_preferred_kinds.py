"""Preferred inputs of every kind of network: each trained, each logit raised above the 99th percentile of real images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from atlas.models.network import load_network
from atlas.models.preprocess import Preprocess
from atlas.preferred import objectives as O
from atlas.preferred.forward import forward
from atlas.preferred.making import Wanted, draw, is_spatial, usual_param, values_of
from atlas.preferred.prior import make_prior
from atlas.preferred.real import of_sample
from tests import tiny

IMAGES = 300
BATCH = 60


def images_of(size: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures of the three shapes uint8 [image, rgb, y, x] and their labels."""
    rng = np.random.default_rng(5)
    label = np.arange(IMAGES) % 3
    pixels = np.stack([tiny.picture(tiny.SHAPES[k], rng) for k in label]).transpose(0, 3, 1, 2)
    pixels = pixels if channels == 3 else pixels.mean(axis=1, keepdims=True).astype(np.uint8)
    larger = F.interpolate(torch.from_numpy(pixels).float(), (size, size), mode="bilinear")
    return larger.round().to(torch.uint8).numpy(), label


class Calls(nn.Module):
    """A network that calls ``F.relu`` and pools by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 24, 3, padding=1)
        self.fc, self.logits = nn.Linear(24, 16), nn.Linear(16, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = F.max_pool2d(F.relu(self.conv1(images)), 2)
        return self.logits(F.relu(self.fc(F.relu(self.conv2(maps)).mean((2, 3)))))


class Patches(nn.Module):
    """A small vision transformer: patches of 5 pixels, a class token, two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 24, 5, stride=5)
        self.token, self.places = nn.Parameter(torch.zeros(1, 1, 24)), nn.Parameter(0.02 * torch.randn(1, 17, 24))
        block = nn.TransformerEncoderLayer(24, 4, 48, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.logits = nn.Linear(24, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1) + self.places
        return self.logits(self.blocks(tokens)[:, 0])


def plain(channels: int, *, in_place: bool = False, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 12, 3 if stride == 1 else 7, stride=stride, padding=1), nn.ReLU(inplace=in_place),
        nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(inplace=in_place), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(24, 16), nn.ReLU(inplace=in_place), nn.Linear(16, 3),
    )  # fmt: skip


def normed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1),
        nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 3),
    )  # fmt: skip


def flat() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 400, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))


KINDS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {  # the network, its input's size, its colours
    "colour": (lambda: plain(3), 20, 3),
    "grey": (lambda: plain(1), 20, 1),
    "28 px": (lambda: plain(1), 28, 1),
    "224 px": (lambda: plain(3, stride=4), 224, 3),
    "FC-only": (flat, 20, 3),
    "BatchNorm": (normed, 20, 3),
    "ViT": (Patches, 20, 3),
    "F.relu": (Calls, 20, 3),
    "in-place ReLU": (lambda: plain(3, in_place=True), 20, 3),
}


def trained(module: nn.Module, images: np.ndarray, label: np.ndarray) -> float:
    """Train a network to tell the shapes apart; return its accuracy."""
    x, y = torch.from_numpy(images).float() / 255, torch.from_numpy(label)
    optimiser = torch.optim.Adam(module.parameters(), 5e-3)
    generator = torch.Generator().manual_seed(0)
    module.train()
    for _ in range(120):
        rows = torch.randint(len(x), (BATCH,), generator=generator)
        optimiser.zero_grad()
        F.cross_entropy(module(x[rows]), y[rows]).backward()
        optimiser.step()
    with torch.no_grad():
        return float((module.eval()(x).argmax(1) == y).float().mean())


@pytest.mark.parametrize("kind", KINDS)
def test_every_logit_is_raised_above_the_99th_percentile_of_real_images(kind):
    make, size, channels = KINDS[kind]
    images, label = images_of(size, channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = make()
        accuracy = trained(module, images, label)
    assert accuracy > 0.7, "the network has learned something"
    plain_values = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
    network = load_network(module, preprocess=Preprocess(height=size, width=size, channels=channels, **plain_values))
    last = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)][-1]
    edge = min(size, 96)
    smaller = F.interpolate(torch.from_numpy(images).float(), (edge, edge)).to(torch.uint8).numpy()
    wanted = Wanted(
        layer=last, units=[0, 1, 2], functional="mean", param=usual_param(network, (channels, edge, edge)),
        steps=192,
    )  # fmt: skip
    drawn = draw(network, make_prior(smaller), wanted, best_real=np.ones(3))
    with forward(network, [last], redirect=False) as running:
        real = of_sample(values_of(running, images.transpose(0, 2, 3, 1), last, "mean"), IMAGES)
    assert (real.percentile(np.arange(3), drawn.activation) >= 99).all(), (drawn.activation, real.best(np.arange(3)))
    assert drawn.failure.tolist() == [0, 0, 0] and is_spatial(network) == (kind != "FC-only")
    assert O.logit([0]).words == f"unit 0 of {O.LOGITS}"
