"""Very deep residual networks: blocks of one stream that the output layer can be read from at every depth."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from atlas.errors import AtlasError, choose

SCALINGS = ("inverse-sqrt", "rezero", "fixup", "none")
Make = Callable[..., nn.Module]  # a map of the stream to itself, of (width, width)


class ResidualBlock(nn.Module):
    """``x + scale · fc2(relu2(fc1(relu1(x))))``, torch's own initialisation in the branch; ``conv1`` and ``conv2`` of maps.

    `scaling` says what the scale is: ``none`` 1, ``inverse-sqrt`` 1/√depth (so that the stream's variance grows by a
    constant factor over the whole depth, not per block), ``rezero`` one trained number per block that starts at 0
    (Bachlechner et al. 2020, ReZero is All You Need).
    """

    def __init__(self, width: int, *, depth: int, scaling: str, kind: str = "fc", make: Make = nn.Linear) -> None:
        super().__init__()
        self.kind = kind
        _stack(self, kind, partial(make, width, width))
        self.scale: float | nn.Parameter = 1 / math.sqrt(depth) if scaling == "inverse-sqrt" else 1.0
        if scaling == "rezero":
            self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, stream: torch.Tensor) -> torch.Tensor:
        relu1, first, relu2, last = _branch(self)
        return stream + self.scale * last(relu2(first(relu1(stream))))

    def extra_repr(self) -> str:
        return "scale=trained" if isinstance(self.scale, nn.Parameter) else f"scale={self.scale:.6g}"


class FixupBlock(nn.Module):
    """A residual block initialised by Fixup (Zhang, Dauphin, Ma 2019), of m = 2 linear layers per branch.

    The first layer is He's initialisation times depth^(−1/(2m−2)) = depth^(−1/2), the last is 0; a scalar bias stands
    before each linear layer and each activation, and one scalar multiplies the branch.
    """

    def __init__(self, width: int, *, depth: int, scaling: str = "fixup", kind: str = "fc", make: Make = nn.Linear) -> None:
        super().__init__()
        self.kind = kind
        _stack(self, kind, partial(make, width, width, bias=False))
        self.biases = nn.Parameter(torch.zeros(5))  # before relu1, the first map, relu2, the last, and after the scale
        self.scale = nn.Parameter(torch.ones(()))
        _, first, _, last = _branch(self)
        inputs = first.weight[0].numel()
        nn.init.normal_(first.weight, std=math.sqrt(2 / inputs) * depth**-0.5)
        nn.init.zeros_(last.weight)

    def forward(self, stream: torch.Tensor) -> torch.Tensor:
        bias, (relu1, first, relu2, last) = self.biases, _branch(self)
        inner = first(relu1(stream + bias[0]) + bias[1])
        return stream + self.scale * last(relu2(inner + bias[2]) + bias[3]) + bias[4]


def _stack(block: nn.Module, kind: str, make: Make) -> None:
    """Give a block its branch: relu1, the first map, relu2, the last, in order of execution."""
    for number in (1, 2):
        block.add_module(f"relu{number}", nn.ReLU())
        block.add_module(f"{kind}{number}", make())


def _branch(block: nn.Module) -> tuple[Any, ...]:
    return tuple(block.get_submodule(name) for name in ("relu1", f"{block.kind}1", "relu2", f"{block.kind}2"))


@torch.inference_mode()
def streams(module: nn.Module, images: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the output of each block for `images` [image, rgb, y, x], as the network takes them: [image, neuron]."""
    for name, part in module.named_children():
        if name == "blocks":
            for block in part.children():
                images = block(images)
                yield images.flatten(1)
            return
        images = part(images)


def residual_mlp(
    *,
    channels: int = 1,
    size: int = 28,
    classes: int = 10,
    depth: int = 512,
    width: int = 64,
    scaling: str = "inverse-sqrt",
) -> nn.Module:
    """Return a residual MLP of `depth` blocks on flattened images; `scaling` is one of SCALINGS.

    Without scaling the stream grows with every block, and deep ones do not train.
    """
    _check(scaling, channels=channels, size=size, classes=classes, depth=depth, width=width)
    before = [("flatten", nn.Flatten()), ("stem", nn.Linear(channels * size * size, width))]
    blocks = _blocks(width, depth=depth, scaling=scaling)
    return _residual(before, blocks, [("logits", nn.Linear(width, classes))], scaling)


def residual_cnn(
    *,
    channels: int = 1,
    size: int = 28,
    classes: int = 10,
    depth: int = 128,
    width: int = 8,
    scaling: str = "inverse-sqrt",
) -> nn.Module:
    """Return a residual CNN of `depth` blocks of `width` feature maps; `scaling` is one of SCALINGS.

    A 2 × 2 convolution of stride 2 halves the image, the blocks' 3 × 3 convolutions keep its size, and the output layer
    reads all neurons of the last block. Source: the convolutional kind of KaiFabi/NeuronActivationPattern, without norms.
    """
    _check(scaling, channels=channels, size=size, classes=classes, depth=depth, width=width)
    if size < 2:
        raise AtlasError(f"images of {size} pixels are too small for this network: it takes 2 pixels or more")
    before = [("stem", nn.Conv2d(channels, width, 2, stride=2))]
    blocks = _blocks(width, depth=depth, scaling=scaling, kind="conv", make=partial(nn.Conv2d, kernel_size=3, padding=1))
    after = [("flatten", nn.Flatten()), ("logits", nn.Linear(width * (size // 2) ** 2, classes))]
    return _residual(before, blocks, after, scaling)


def _check(scaling: str, **sizes: int) -> None:
    if scaling not in SCALINGS:
        raise choose("scaling", scaling, SCALINGS)
    check_sizes(**sizes)


def check_sizes(**sizes: int) -> None:
    """Refuse a network of no channel, layer or unit, or of fewer than two classes."""
    for name, value in sizes.items():
        least = 2 if name == "classes" else 1
        if value < least:
            raise AtlasError(f"{name} {value} makes no classifier: give {least} or more")


def _blocks(width: int, *, depth: int, scaling: str, kind: str = "fc", make: Make = nn.Linear) -> nn.Sequential:
    block = FixupBlock if scaling == "fixup" else ResidualBlock
    return nn.Sequential(*[block(width, depth=depth, scaling=scaling, kind=kind, make=make) for _ in range(depth)])


def _residual(
    before: Sequence[tuple[str, nn.Module]], blocks: nn.Sequential, after: Sequence[tuple[str, nn.Module]], scaling: str
) -> nn.Sequential:
    """Join the parts; of Fixup the output layer starts at 0."""
    logits = after[-1][1]
    if scaling == "fixup":
        for parameter in logits.parameters():
            nn.init.zeros_(parameter)
    return nn.Sequential(OrderedDict([*before, ("blocks", blocks), *after]))
