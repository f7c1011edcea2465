"""A network's layers, found by watching one forward pass; the network itself is never changed."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import nn

from atlas.errors import AtlasError, choose, one_line
from atlas.models.shapes import FEWEST, has_units, shape_text, unit_axis

COLUMNS = ("number", "name", "kind", "shape", "parameters", "units")
TORCH_ORDER = (  # what gives [image, unit, y, x] for four axes, whatever their lengths
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,  # batch and instance norms
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._MaxUnpoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._LPPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.FractionalMaxPool2d,
    nn.Upsample,
    nn.modules.padding._CircularPadNd,
    nn.modules.padding._ConstantPadNd,
    nn.modules.padding._ReflectionPadNd,
    nn.modules.padding._ReplicationPadNd,
    nn.Dropout2d,
    nn.FeatureAlphaDropout,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
    nn.ChannelShuffle,
)
LAST_ORDER = (nn.Linear.forward, nn.LayerNorm.forward, nn.RMSNorm.forward)  # [image, y, x, unit], unless overridden
PREFERRED = ("logits", "out", "last_hidden_state")  # the keys that hold the main output in torchvision and transformers


@contextmanager
def evaluating(module: nn.Module) -> Iterator[nn.Module]:
    """Put `module` into evaluation mode and give every submodule its own mode back at the end, whatever happens."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        yield module
    finally:
        for part, training in modes:
            part.training = training


def device_of(module: nn.Module) -> torch.device:
    """Return the device of the first parameter or buffer of `module`; the CPU where it has none."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")


def first_tensor(output: Any) -> torch.Tensor | None:
    """Return the float tensor that stands for a module's `output`: itself, or the first in a tuple, mapping or dataclass.

    Where it has fields named ``logits``, ``out`` or ``last_hidden_state`` they are looked at first. None: there is none.
    """
    if isinstance(output, torch.Tensor):
        return output if output.is_floating_point() and output.layout == torch.strided else None  # a sparse one has no axes
    for value in _values(output):
        found = first_tensor(value)
        if found is not None:
            return found
    return None


def replaced(output: Any, old: torch.Tensor, new: torch.Tensor) -> Any:
    """Return a module's `output` with the tensor `old` replaced by `new` wherever it stands; all else is as it was."""
    if output is old:
        return new
    if dataclasses.is_dataclass(output) and not isinstance(output, type | Mapping):
        return dataclasses.replace(output, **{name: replaced(item, old, new) for name, item in fields_of(output).items()})
    if isinstance(output, Mapping):
        other = copy.copy(output)  # of its own class: a transformers ModelOutput stays one
        other.update({key: replaced(item, old, new) for key, item in output.items()})  # type: ignore[attr-defined]
        return other
    if isinstance(output, tuple | list):
        items = [replaced(item, old, new) for item in output]
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)
    return output


def fields_of(output: Any) -> dict[str, Any]:
    """Return the named values of a mapping, a named tuple or a dataclass; empty for anything else."""
    if isinstance(output, Mapping):
        return {str(key): value for key, value in output.items()}
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return dict(zip(output._fields, output, strict=True))
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    return {}


def _values(output: Any) -> list[Any]:
    named = fields_of(output)
    if named:
        order = [key for key in PREFERRED if key in named] + [key for key in named if key not in PREFERRED]
        return [named[key] for key in order]
    return list(output) if isinstance(output, Sequence) and not isinstance(output, str | bytes) else []


def kind_of(module: nn.Module) -> str:
    """Return the name of a module's class; for a module read from an exported program, the class it was exported from."""
    exported = getattr(module, "type_name", None)  # torch.export.unflatten's modules carry it
    name = exported() if callable(exported) else None
    return str(name).rpartition(".")[2] if name else type(module).__name__


def at_least_two(images: torch.Tensor) -> torch.Tensor:
    """Return `images` [image, …], a single one repeated, so that no network squeezes its image axis away."""
    return images if len(images) >= FEWEST else images.repeat(FEWEST, *[1] * (images.ndim - 1))


class UnitAxes:
    """Decides which axis of each layer's output counts its units, from what ran before it in the same forward pass.

    A layer whose kind fixes the order (`TORCH_ORDER`, `LAST_ORDER`) is read so. Any other output of four axes, such as an
    activation's or a block's, is [image, y, x, unit] where the last layer that fixed an order fixed that one, and as many
    units; else [image, unit, y, x] where it has as many units in that place as the last layer of `TORCH_ORDER`, and the
    other way where it is that layer's output with its axes moved; else its shape alone decides (`unit_axis`), as it does
    for two and three axes.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget what ran: a new forward pass begins."""
        self._torch: tuple[int, ...] = (0, 0, 0)  # unit, y, x of the last layer of torch's order
        self._last = 0  # units of a layer that came later, of the other order

    @contextmanager
    def watching(self, module: nn.Module) -> Iterator[UnitAxes]:
        """Note the layers of `module` that fix an order while they run; no hook stays behind."""
        with ExitStack() as hooks:
            for part in module.modules():
                if issubclass(_class_of(part), TORCH_ORDER) or type(part).forward in LAST_ORDER:
                    hooks.callback(part.register_forward_hook(self._note).remove)
            yield self

    def axis(self, module: nn.Module, shape: Sequence[int]) -> int:
        """Return the unit axis of the output of `module`, of `shape` (images first), which it gives now.

        Raises ValueError where the shape has none.
        """
        by_shape = unit_axis(shape)
        if len(shape) != 4:
            return by_shape
        fixed = _fixed_axis(module, shape)
        if fixed is not None:
            return fixed
        if self._last == shape[3] and len(set(shape[1:])) > 1:  # of a cube, torch's order is as likely and more usual
            return 3
        unit, y, x = self._torch
        if shape[1] == unit:
            return 1
        return 3 if tuple(shape[1:]) == (y, x, unit) else by_shape

    def _note(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        shape = tuple(output.shape) if isinstance(output, torch.Tensor) else ()
        axis = _fixed_axis(module, shape)
        if axis == 1:
            self._torch, self._last = shape[1:], 0
        elif axis == 3:
            self._last = shape[3]


def _fixed_axis(module: nn.Module, shape: Sequence[int]) -> int | None:
    """Return the unit axis of an output of four axes where the kind of its layer says it, else None."""
    if len(shape) != 4:
        return None
    if issubclass(_class_of(module), TORCH_ORDER):
        return 1
    alone = len(getattr(module, "normalized_shape", (0,))) == 1  # one axis normalised; of several, none is the units'
    return 3 if type(module).forward in LAST_ORDER and alone else None


def _class_of(module: nn.Module) -> type:
    """Return a module's class; for a module read from an exported program, torch's own that it was exported from."""
    exported = getattr(module, "type_name", None)
    name = exported() if callable(exported) else None
    if not name:
        return type(module)
    found = getattr(nn, kind_of(module), None) if str(name).startswith("torch.nn.") else None
    return found if isinstance(found, type) else type(module)


def list_layers(module: nn.Module, sample: torch.Tensor) -> pd.DataFrame:
    """Return one row per sub-module that runs when `module` is given `sample` [image, rgb, y, x].

    Columns: ``number`` (from 1), ``name`` (torch's dotted name), ``kind`` (the class, with ×n where it runs n times in a
    pass), ``shape`` (text, of one image's output), ``parameters`` (its own and its children's), ``units`` (0 where it
    gives no tensor with one row per image). The order is that in which the modules finish for the first time: a container
    comes after its children. A module that runs several times is listed once, by its first run; one that never runs is
    left out, and so is the network itself. A sample of one image is run as two.
    """
    sample, axes = at_least_two(sample), UnitAxes()
    ran: dict[str, list[Any]] = {}  # name → shape, units, runs: noted at once, before an in-place module reuses the tensor

    def watch(name: str) -> Callable[..., None]:
        def hook(part: nn.Module, _inputs: Any, output: Any) -> None:
            if name not in ran:
                ran[name] = [*_outcome(output, len(sample), partial(axes.axis, part)), 0]
            ran[name][2] += 1

        return hook

    parts = {name: part for name, part in module.named_modules() if name}
    with ExitStack() as hooks, evaluating(module), axes.watching(module), torch.no_grad():
        for name, part in parts.items():
            hooks.callback(part.register_forward_hook(watch(name)).remove)
        module(sample.to(device_of(module)))
    rows = [_row(number, name, parts[name], *ran[name]) for number, name in enumerate(ran, 1)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(number: int, name: str, part: nn.Module, shape: str, units: int, runs: int) -> tuple[Any, ...]:
    kind = kind_of(part) + (f" ×{runs}" if runs > 1 else "")
    return number, name, kind, shape, sum(p.numel() for p in part.parameters()), units


def _outcome(output: Any, images: int, axis_of: Callable[[Sequence[int]], int]) -> tuple[str, int]:
    """Return an output's shape in words and its number of units, 0 where it has none that can be used."""
    tensor = first_tensor(output)
    if tensor is None:
        return "no tensor", 0
    shape = tuple(tensor.shape)
    where = "" if tensor is output else f" (first tensor of a {type(output).__name__})"
    if not shape or shape[0] != images:
        return f"{'×'.join(map(str, shape)) or 'one number'}, not one row per image{where}", 0
    if not has_units(shape):
        return shape_text(shape) + where, 0
    axis = axis_of(shape)
    return shape_text(shape, axis) + where, shape[axis]


def find_layer(layers: pd.DataFrame, wanted: str | int) -> pd.Series:
    """Return the row of `layers` (from `list_layers`) named `wanted`, or numbered so: 3, "3" or "number:3".

    Raises AtlasError for an unknown layer, with the closest names; for a text like "3" that is the name of one layer and
    the number of another; and for a layer whose output has no units.
    """
    row = layers.iloc[_position(layers, wanted)]
    if row["units"] == 0:
        what = f"layer {one_line(row['name'])} ({row['kind']}) gives {row['shape']}"
        raise AtlasError(f"{what}: it has no units; choose another from `atlas layers`")
    return row


def named_layer(layers: pd.DataFrame, name: str) -> pd.Series:
    """Return the row of the layer of exactly this name, though it be the number of another; else as `find_layer` does."""
    names = list(layers["name"])
    return find_layer(layers, f"number:{names.index(name) + 1}" if name in names else name)


def _position(layers: pd.DataFrame, wanted: str | int) -> int:
    names = list(layers["name"])
    text = str(wanted).removeprefix("number:")
    named = names.index(wanted) if wanted in names else None
    numbered = _number(text) if not isinstance(wanted, bool) else None
    if named is not None and numbered is not None and 0 < numbered <= len(names) and numbered != named + 1:
        remedy = f"write number:{named + 1} or number:{text}"
        raise AtlasError(f"layer {wanted} is the name of one layer and the number of another: {remedy}")
    if named is not None:
        return named
    if numbered is None:
        raise choose("layer", wanted, names)
    if not 0 < numbered <= len(names):
        raise AtlasError(f"no layer number {one_line(text)}: there are 1 to {len(names)}, `atlas layers` lists them")
    return numbered - 1


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else None  # more digits are no layer's number
