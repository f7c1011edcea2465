"""A control: the same network with weights drawn at random, to see what a method draws where nothing was learned."""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import nn

from atlas.models.layers import evaluating
from atlas.models.network import Network


def untrained(network: Network, images: torch.Tensor, *, seed: int) -> Network:
    """Return a copy of `network` with weights drawn anew, its norms' running statistics taken from `images`.

    Each module draws its own by ``reset_parameters``, as torch does for a new one; parameters that belong to none are drawn
    normal with the deviation they have. `images` [image, rgb, y, x] are as the network takes them.
    """
    module = copy.deepcopy(network.module)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        reset: set[int] = set()
        for part in module.modules():
            again = getattr(part, "reset_parameters", None)
            if callable(again):
                again()
                reset |= {id(value) for value in part.parameters(recurse=False)}
        for value in module.parameters():
            if id(value) not in reset and value.is_floating_point():
                value.normal_(0.0, float(value.std()) if value.numel() > 1 else 1.0)
        settle_norms(module, images)
    return dataclasses.replace(network, module=module, title=f"{network.title}, untrained", identity=f"untrained-{seed}")


def settle_norms(module: nn.Module, images: torch.Tensor) -> None:
    """Estimate the running statistics of batch norms from one pass over `images`, dropout off."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    before = [norm.momentum for norm in norms]
    with evaluating(module):
        for norm in norms:
            norm.train()
            norm.momentum = None  # a plain mean over what it sees
        module(images)
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
