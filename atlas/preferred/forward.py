"""A network run with gradients for its images, no farther than the layers that an objective reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from atlas.activations.engine import Engine, engine, find_device
from atlas.activations.functionals import units_last
from atlas.activations.hooks import Callback, Recorder
from atlas.activations.streams import copies, count_for
from atlas.errors import AtlasError
from atlas.models.layers import at_least_two
from atlas.models.network import Network, logits_of
from atlas.preferred.folding import folded
from atlas.preferred.objectives import LOGITS, Seen
from atlas.preferred.relu import RedirectedReLU


class Reached(BaseException):
    """Raised in a hook to end a forward pass; no `Exception`, which a network's own code might catch."""


class Forward:
    """Runs images in 0–1 through a network and returns what its layers made of them; opened by `forward`."""

    def __init__(self, opened: Engine, layers: Iterable[str], *, redirect: bool):
        self.engine, self.redirect = opened, redirect
        self.waking = True  # whether redirected gradients are wanted now
        self.layers = [layer for layer in layers if layer != LOGITS]
        self.logits = LOGITS in set(layers)
        self.recorder: Recorder = opened.recorder({layer: self._taker(layer) for layer in self.layers})
        self._seen: dict[str, torch.Tensor] = {}
        preprocess, device = opened.network.preprocess, opened.device
        self._mean = torch.tensor(preprocess.mean, device=device).view(1, -1, 1, 1)
        self._std = torch.tensor(preprocess.std, device=device).view(1, -1, 1, 1)

    @property
    def network(self) -> Network:
        """The network that runs."""
        return self.engine.network

    def __call__(self, pictures: torch.Tensor) -> Seen:
        """Return each layer's output, its units last, for images [image, rgb, y, x] in 0–1."""
        images = len(pictures)
        batch = at_least_two(((pictures.to(self._mean.device)) - self._mean) / self._std)
        if self.engine.channels_last:
            batch = batch.contiguous(memory_format=torch.channels_last)
        return {layer: found[:images] for layer, found in self._run(batch).items()}

    def _run(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        self._seen = {}
        try:
            with ExitStack() as stack:
                if self.redirect and self.waking and torch.is_grad_enabled():
                    stack.enter_context(RedirectedReLU())
                output = self.engine.run(self.recorder, batch)
        except Reached:
            return self._seen
        if self.logits:
            found = logits_of(output)
            if found is None:
                raise AtlasError(f"network {self.network.title} yields features only: it has no logits to raise")
            self._seen[LOGITS] = found.float()
        return self._seen

    @torch.no_grad()
    def tried(self, size: Sequence[int]) -> Seen:
        """Return the layers' outputs for one image of noise of `size` (rgb, y, x)."""
        noise = torch.rand(1, *size, generator=torch.Generator().manual_seed(0))
        with self.recorder:
            return {layer: output.clone() for layer, output in self(noise).items()}

    def _taker(self, layer: str) -> Callback:
        def take(output: torch.Tensor, axis: int | None) -> None:
            self._seen[layer] = units_last(output, axis).to(
                torch.float32, copy=True
            )  # what runs next may change it in place
            if len(self._seen) == len(self.layers) and not self.logits:
                raise Reached

        return take


@contextmanager
def forward(
    network: Network,
    layers: Iterable[str],
    *,
    device: str = "cpu",
    redirect: bool = True,
    precision: str = "float32",
    ascent: Sequence[int] | None = None,
) -> Iterator[Forward]:
    """Open a network for gradients of its images: evaluation mode, weights without gradients; as before afterwards.

    For an `ascent` of images of that size (rgb, y, x) it is made ready to run a thousand times: channels last, each
    BatchNorm folded into the convolution before it. In EfficientNet-lite0 this halves the time of a step.
    """
    with forwards(network, layers, device=device, redirect=redirect, precision=precision, ascent=ascent, count=1) as opened:
        yield opened[0]


@contextmanager
def forwards(
    network: Network,
    layers: Iterable[str],
    *,
    device: str = "cpu",
    redirect: bool = True,
    precision: str = "float32",
    ascent: Sequence[int] | None = None,
    count: int,
) -> Iterator[list[Forward]]:
    """Open a network as `forward` does, and copies of it: `count` in all, or as many as fit into memory."""
    with ExitStack() as stack:
        opened = stack.enter_context(engine(network, find_device(device), precision, channels_last=True if ascent else None))
        stack.enter_context(frozen(network.module))
        stack.enter_context(torch.enable_grad())
        wanted = list(layers)
        running = Forward(opened, wanted, redirect=redirect)
        if ascent is not None:
            stack.enter_context(folded(network.module, lambda: running.tried(ascent), kept=running.layers))
        others = copies(opened, count_for(opened, count) - 1)  # before a hook hangs in the network
        members = [running, *(Forward(other, wanted, redirect=redirect) for other in others)]
        for member in members:
            stack.enter_context(member.recorder)
        yield members


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Let no gradient be computed for the weights of `module`; as before afterwards."""
    before = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    try:
        module.requires_grad_(False)
        yield
    finally:
        for parameter, wanted in before:
            parameter.requires_grad_(wanted)
