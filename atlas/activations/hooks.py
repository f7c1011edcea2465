"""Forward hooks that are never left behind: what one forward pass of a network shows of its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from atlas.errors import AtlasError, choose, one_line
from atlas.models.layers import UnitAxes, evaluating, first_tensor, replaced
from atlas.models.network import logits_of
from atlas.models.shapes import has_units

# A layer's output, and its axis that counts units (None: it has none); a tensor that it returns takes the output's place.
Callback = Callable[[torch.Tensor, int | None], torch.Tensor | None]


class Recorder:
    """Hands each forward pass's layer outputs to callbacks, each with its unit axis, while it is open.

    A callback that returns a tensor puts it in the output's place for the rest of the pass; None leaves the output as it is.

    ``with Recorder(module, {"layer3": take}) as recorder: output = recorder(batch)``. The module is in evaluation mode
    inside, its train and eval flags and its hooks are as before outside, whatever was raised. A layer called several
    times in one pass gives the output of its first call, and ``recorder.calls`` tells how often: {layer: calls}.
    Unknown layers, layers that the pass does not reach and outputs without a float tensor raise AtlasError.
    """

    def __init__(self, module: nn.Module, callbacks: Mapping[str, Callback], *, full_precision: str | None = None):
        self.module, self.callbacks, self.full_precision = module, dict(callbacks), full_precision
        self.calls: dict[str, int] = dict.fromkeys(callbacks, 0)
        self._open, self._axes = ExitStack(), UnitAxes()

    def __enter__(self) -> Recorder:
        modules = dict(self.module.named_modules())
        for name in self.callbacks:
            if name not in modules:
                raise choose("layer", name, [n for n in modules if n])
        with ExitStack() as stack:  # undone here when a hook cannot be set, later by __exit__
            stack.enter_context(evaluating(self.module))
            if self.full_precision is not None:  # before the recording hooks, which then see its result
                stack.callback(modules[self.full_precision].register_forward_hook(_in_float32).remove)
            if self.callbacks:
                stack.enter_context(self._axes.watching(self.module))
            for name in self.callbacks:
                stack.callback(modules[name].register_forward_hook(self._hook(name)).remove)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._open.close()

    def __call__(self, batch: torch.Tensor) -> Any:
        """Run one forward pass and return the network's output."""
        self.calls = dict.fromkeys(self.callbacks, 0)
        self._axes.clear()
        output = self.module(batch)
        for name, count in self.calls.items():
            if count == 0:
                raise AtlasError(f"layer {one_line(name)} was not reached by the forward pass: choose another layer")
        return output

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            self.calls[name] += 1
            if self.calls[name] > 1:
                return None
            try:
                found = _float_tensor(output)
                shape = tuple(found.shape)
                other = self.callbacks[name](found, self._axes.axis(module, shape) if has_units(shape) else None)
                return None if other is None else replaced(output, found, other)
            except AtlasError as reason:
                raise AtlasError(f"layer {one_line(name)}: {reason}") from None

        return hook


def _float_tensor(output: Any) -> torch.Tensor:
    found = first_tensor(output)
    if found is not None:
        return found
    kind = f"{str(output.dtype)[6:]} tensor" if isinstance(output, torch.Tensor) else type(output).__name__
    raise AtlasError(f"its output is a {kind} and activations are float tensors: choose another layer")


def final_linear(module: nn.Module, batch: torch.Tensor) -> str | None:
    """Return the name of the linear layer whose output is the network's logits, None where there is no such layer."""
    made: dict[int, tuple[str, torch.Tensor]] = {}

    def remember(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            made[output.data_ptr()] = (name, output)  # the tensor is held, so that no other takes its place in memory

        return hook

    with ExitStack() as stack:
        stack.enter_context(evaluating(module))
        for name, layer in module.named_modules():
            if type(layer) is nn.Linear:
                stack.callback(layer.register_forward_hook(remember(name)).remove)
        logits = logits_of(module(batch))
    return made.get(logits.data_ptr(), (None,))[0] if logits is not None else None


def largest_output(module: nn.Module, batch: torch.Tensor) -> int:
    """Return the bytes of the largest output of any layer for `batch`: what decides how much memory a batch takes."""
    sizes = [batch.numel() * batch.element_size()]

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            sizes.append(output.numel() * output.element_size())

    with ExitStack() as stack:
        stack.enter_context(evaluating(module))
        for layer in module.modules():
            stack.callback(layer.register_forward_hook(hook).remove)
        module(batch)
    return max(sizes)


def _in_float32(module: nn.Linear, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    """Compute a linear layer again in float32: bfloat16 logits have so few digits that the best ones tie."""
    bias = None if module.bias is None else module.bias.float()
    with torch.autocast(output.device.type, enabled=False):
        return nn.functional.linear(inputs[0].float(), module.weight.float(), bias)


@contextmanager
def placed(module: nn.Module, device: torch.device, *, channels_last: bool) -> Iterator[None]:
    """Move `module` to `device`, its convolutions' weights to channels-last where asked; as before afterwards."""
    before = next((p.device for p in [*module.parameters(), *module.buffers()]), device)
    plain = [p for p in module.parameters() if p.ndim == 4 and p.is_contiguous()] if channels_last else []
    module.to(device)
    try:
        for weight in plain:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        yield
    finally:
        for weight in plain:
            weight.data = weight.data.contiguous()
        module.to(before)
