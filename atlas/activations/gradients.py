"""The gradients of a network's logits by the activations of some layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from atlas.activations.engine import Engine
from atlas.activations.sinks import check_rows
from atlas.errors import AtlasError, one_line
from atlas.models.network import Network


class Gradients:
    """One forward pass that remembers what came after some layers, then the gradients of any logit by them."""

    def __init__(self, opened: Engine, batch: torch.Tensor, layers: Sequence[str]):
        self.opened, self.batch, self.layers = opened, batch, list(layers)
        self.taken: dict[str, tuple[torch.Tensor, int | None]] = {}

    def __enter__(self) -> Gradients:
        with torch.no_grad(), self.opened.recorder({layer: self._taker(layer) for layer in self.layers}) as recorder:
            logits = self.opened.logit_tensor(self.opened.run(recorder, self.batch))
        assert logits is not None  # `check_logits`
        self.logits = logits
        if not logits.requires_grad:
            raise independent(self.layers[0])
        self.of(0)  # raises for a layer that they do not depend on
        return self

    def __exit__(self, *raised: object) -> None:
        self.taken.clear()

    def _taker(self, layer: str) -> Callable[[torch.Tensor, int | None], torch.Tensor]:
        def take(output: torch.Tensor, axis: int | None) -> torch.Tensor:
            check_rows(output, len(self.batch))
            axis_of(output, axis)
            torch.set_grad_enabled(True)  # from the first layer on: nothing before it is remembered; __enter__ ends it
            output = output if output.requires_grad else output.detach().requires_grad_()
            self.taken[layer] = output, axis
            return output.clone()  # what works in place after the layer changes the copy

        return take

    def by_place(self, logit: int) -> dict[str, torch.Tensor]:
        """Return the activation times the gradient of one logit, summed over units: [image, place], by layer."""
        gradients = self.of(logit)
        return {
            layer: units_last(output.detach() * gradients[layer], axis).sum(-1)
            for layer, (output, axis) in self.taken.items()
        }

    def as_output(self, layer: str, values: torch.Tensor) -> torch.Tensor:
        """Return values [image, place] as an output of the layer with one unit, which is its last axis."""
        output, axis = self.taken[layer]
        return values.reshape(*output.movedim(axis_of(output, axis), -1).shape[:-1], 1)

    def of(self, logit: int) -> dict[str, torch.Tensor]:
        """Return the gradient of one logit, each image's own, by layer."""
        chosen = torch.zeros_like(self.logits)
        chosen[:, logit] = 1
        tensors = [self.taken[layer][0] for layer in self.layers]

        def gradients(_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
            return torch.autograd.grad(self.logits, tensors, chosen, retain_graph=True, allow_unused=True)

        found = self.opened.run(gradients, self.batch)
        for layer, gradient in zip(self.layers, found, strict=True):
            if gradient is None:
                raise independent(layer)
        return dict(zip(self.layers, found, strict=True))


def units_last(output: torch.Tensor, axis: int | None) -> torch.Tensor:
    """[image, …] → [image, place, unit]; a layer without places has one."""
    values = output.movedim(axis_of(output, axis), -1)
    return values.flatten(1, -2) if values.ndim > 2 else values[:, None]


def axis_of(output: torch.Tensor, axis: int | None) -> int:
    """Return the axis of a layer's output that counts units, as its recorder told; AtlasError where it has none."""
    if axis is None:
        shape = "[" + ", ".join(["image", *map(str, output.shape[1:])]) + "]"
        raise AtlasError(f"its output is {shape} and activations have 2, 3 or 4 axes: choose another layer")
    return axis


def check_logits(network: Network) -> None:
    """Raise AtlasError when `network` has no logits that anything could argue for."""
    if not network.outputs:
        raise AtlasError(
            f"network {one_line(network.title)} gives features and no logits, so that nothing can be attributed to them: "
            "take a classifier"
        )


def independent(layer: str) -> AtlasError:
    """Return the error for a layer that nothing can be attributed to."""
    return AtlasError(
        f"the logits do not depend on layer {one_line(layer)} in a way that has a gradient: choose one on the way to them"
    )
