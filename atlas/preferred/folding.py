"""BatchNorm folded into the convolution before it, for as long as an ascent runs: half the work of some networks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_weights

from atlas.models.layers import evaluating

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
SAME = 1e-3  # of a layer's greatest output: what float32 loses by another order of products stays well below

Outputs = Mapping[str, torch.Tensor]


@contextmanager
def folded(module: nn.Module, run: Callable[[], Outputs], *, kept: Collection[str] = ()) -> Iterator[int]:
    """Fold each BatchNorm of `module` into the convolution whose output it alone takes; yield how many.

    `run` runs the module and returns outputs by layer. A pair is found as it runs: the very tensor that one made goes into
    the other, each is called once, and neither is named in `kept`. Where the outputs afterwards are not those of before
    (the convolution's output is used elsewhere too, or its class ignores a bias) nothing is folded.
    The weights are as before afterwards, bit by bit.
    """
    with ExitStack() as stack:
        before, pairs = _watched(module, run, kept)
        for convolution, norm in pairs:
            stack.enter_context(_fold(module.get_submodule(convolution), module.get_submodule(norm)))
        if pairs and not _same(before, run()):
            stack.close()
            pairs = []
        yield len(pairs)


def _watched(module: nn.Module, run: Callable[[], Outputs], kept: Collection[str]) -> tuple[Outputs, list[tuple[str, str]]]:
    """Return the outputs and the pairs of names, convolution and BatchNorm."""
    made: list[tuple[str, torch.Tensor]] = []  # the tensors are held, so that no other takes an identity
    taken: list[tuple[str, Any]] = []

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(layer: nn.Module, inputs: Any, output: Any) -> None:
            made.append((name, output)) if isinstance(layer, CONVOLUTIONS) else taken.append((name, inputs[0]))

        return note

    with ExitStack() as stack:
        stack.enter_context(evaluating(module))
        for name, layer in module.named_modules():
            if name and name not in kept and (_is_plain(layer) or _has_moments(layer)):
                stack.callback(layer.register_forward_hook(hook(name)).remove)
        before = run()
    calls = [name for name, _ in [*made, *taken]]
    return before, [
        (convolution, name)
        for name, given in taken
        for convolution, output in made
        if given is output and calls.count(convolution) == calls.count(name) == 1
    ]


def _is_plain(layer: nn.Module) -> bool:
    """Tell whether a layer is a convolution whose weight is a parameter of its own, with nothing hung before it."""
    plain = isinstance(layer, CONVOLUTIONS) and "weight" in layer._parameters and not parametrize.is_parametrized(layer)
    return plain and not layer._forward_pre_hooks and not layer._forward_hooks


def _has_moments(layer: nn.Module) -> bool:
    """Tell whether a layer is a BatchNorm that uses what it learned and not the batch, with nothing hung before it."""
    own = type(layer) in NORMALISATIONS and layer.running_mean is not None and "forward" not in vars(layer)
    return own and not layer._forward_pre_hooks


@contextmanager
def _fold(convolution: Any, norm: Any) -> Iterator[None]:
    before = dict(convolution._parameters)
    weight, bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    convolution.weight = nn.Parameter(weight.detach(), requires_grad=False)
    convolution.bias = nn.Parameter(bias.detach(), requires_grad=False)
    norm.forward = _as_it_is  # of this one module: its class, its numbers and its hooks stay
    try:
        yield
    finally:
        convolution._parameters.update(before)
        del norm.forward


def _as_it_is(x: torch.Tensor) -> torch.Tensor:
    return x


@torch.no_grad()
def _same(before: Outputs, after: Outputs) -> bool:
    return all(
        torch.allclose(before[layer], after[layer], rtol=0.0, atol=SAME * float(before[layer].abs().max().clamp_min(1e-12)))
        for layer in before
    )
