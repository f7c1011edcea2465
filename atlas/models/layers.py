"""A network's layers, found by watching one forward pass; the network itself is never changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pandas as pd
import torch
from torch import nn

from atlas.errors import AtlasError, choose, one_line
from atlas.models.shapes import has_units, shape_text, unit_axis

COLUMNS = ("number", "name", "kind", "shape", "parameters", "units")
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
        return output if output.is_floating_point() else None
    for value in _values(output):
        found = first_tensor(value)
        if found is not None:
            return found
    return None


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


def list_layers(module: nn.Module, sample: torch.Tensor) -> pd.DataFrame:
    """Return one row per sub-module that runs when `module` is given `sample` [image, rgb, y, x].

    Columns: ``number`` (from 1), ``name`` (torch's dotted name), ``kind`` (the class, with ×n where it runs n times in a
    pass), ``shape`` (text, of one image's output), ``parameters`` (its own and its children's), ``units`` (0 where it
    gives no tensor with one row per image). The order is that in which the modules finish for the first time: a container
    comes after its children. A module that runs several times is listed once, by its first run; one that never runs is
    left out, and so is the network itself.
    """
    ran: dict[str, list[Any]] = {}  # name → shape, units, runs: noted at once, before an in-place module reuses the tensor

    def watch(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if name not in ran:
                ran[name] = [*_outcome(output, len(sample)), 0]
            ran[name][2] += 1

        return hook

    parts = {name: part for name, part in module.named_modules() if name}
    with ExitStack() as hooks, evaluating(module), torch.no_grad():
        for name, part in parts.items():
            hooks.callback(part.register_forward_hook(watch(name)).remove)
        module(sample.to(device_of(module)))
    rows = [_row(number, name, parts[name], *ran[name]) for number, name in enumerate(ran, 1)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(number: int, name: str, part: nn.Module, shape: str, units: int, runs: int) -> tuple[Any, ...]:
    kind = kind_of(part) + (f" ×{runs}" if runs > 1 else "")
    return number, name, kind, shape, sum(p.numel() for p in part.parameters()), units


def _outcome(output: Any, images: int) -> tuple[str, int]:
    """Return an output's shape in words and its number of units, 0 where it has none that can be used."""
    tensor = first_tensor(output)
    if tensor is None:
        return "no tensor", 0
    shape = tuple(tensor.shape)
    where = "" if tensor is output else f" (first tensor of a {type(output).__name__})"
    if not shape or shape[0] != images:
        return f"{'×'.join(map(str, shape)) or 'one number'}, not one row per image{where}", 0
    return shape_text(shape) + where, shape[unit_axis(shape)] if has_units(shape) else 0


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
        raise AtlasError(f"no layer number {one_line(text)}: this network has layers 1 to {len(names)}, see `atlas layers`")
    return numbered - 1


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.removeprefix("-").isdigit() else None
