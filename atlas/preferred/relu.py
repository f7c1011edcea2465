"""A ReLU's gradient, redirected where it would vanish, so that units that are silent at the start can be woken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

PLAIN = (torch.relu, torch.nn.functional.relu, torch.Tensor.relu)
IN_PLACE = (torch.relu_, torch.Tensor.relu_, torch.nn.functional.relu_)
CLIPPED = (torch.nn.functional.relu6, torch.nn.functional.hardtanh, torch.nn.functional.hardtanh_)


FEW = 4  # units looked at first for a gradient that has not vanished


class Redirected(torch.autograd.Function):
    """ReLU whose backward pass lets gradients through that would raise negative inputs, where else an image's vanish.

    For the gradient g of what is to be made small: plain = g · [0 < x < ceiling]; an image whose plain gradient is zero
    everywhere in this layer gets g but where x ≤ 0 and g > 0. Source: tensorflow/lucid,
    misc/redirected_relu_grad.py, rule by batch entry.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, ceiling: float | None, in_place: bool) -> torch.Tensor:
        ctx.ceiling = ceiling
        if in_place:
            ctx.mark_dirty(x)
        if ceiling is None:
            made = (torch.relu_ if in_place else torch.relu)(x)
        else:
            made = torch.nn.functional.hardtanh(x, 0.0, ceiling, inplace=in_place)
        ctx.save_for_backward(made)
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (made,) = ctx.saved_tensors
        if ctx.ceiling is None:
            plain = torch.ops.aten.threshold_backward(gradients[0], made, 0)
        else:
            plain = torch.ops.aten.hardtanh_backward(gradients[0], made, 0.0, ctx.ceiling)
        if not _vanished(plain[:, :FEW]).any():  # nearly always so, and a hundredth of the work
            return plain, None, None
        vanished = _vanished(plain)
        if not vanished.any():
            return plain, None, None
        kept = gradients[0].masked_fill((made == 0) & (gradients[0] > 0), 0.0)
        return torch.where(vanished.view(-1, *[1] * (plain.ndim - 1)), kept, plain), None, None


def _vanished(gradient: torch.Tensor) -> torch.Tensor:
    """Tell of each image whether its gradient is zero everywhere: bool [image]."""
    return ~(gradient != 0).flatten(1).any(dim=1)


class RedirectedReLU(TorchFunctionMode):
    """Inside, every ReLU that a network calls has the redirected gradient: ``nn.ReLU``, ``F.relu``, in place, ReLU6."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        x = args[0] if args else kwargs.get("input")
        if isinstance(x, torch.Tensor) and x.requires_grad and x.ndim >= 2:
            if func in PLAIN or func in IN_PLACE:
                return Redirected.apply(x, None, func in IN_PLACE or _flag(args, 1, kwargs))
            if func in CLIPPED and _floor(func, args, kwargs) == 0:
                return Redirected.apply(x, _ceiling(func, args, kwargs), _in_place(func, args, kwargs))
        return func(*args, **kwargs)


def _flag(args: Any, place: int, kwargs: dict[str, Any]) -> bool:
    return bool(args[place] if len(args) > place else kwargs.get("inplace", False))


def _floor(func: Any, args: Any, kwargs: dict[str, Any]) -> float:
    return 0.0 if func is CLIPPED[0] else float(args[1] if len(args) > 1 else kwargs.get("min_val", -1.0))


def _ceiling(func: Any, args: Any, kwargs: dict[str, Any]) -> float:
    return 6.0 if func is CLIPPED[0] else float(args[2] if len(args) > 2 else kwargs.get("max_val", 1.0))


def _in_place(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    return func is CLIPPED[2] or _flag(args, 1 if func is CLIPPED[0] else 3, kwargs)
