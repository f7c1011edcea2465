"""What makes a network the same network: a hash over its weights, its modules, their source and its preprocessing."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from atlas.models.preprocess import Preprocess
from atlas.store import digest

LIBRARIES = ("torch", "torchvision", "timm", "builtins", "abc", "typing", "collections")  # their versions are in the recipe
ADDRESS = re.compile(r"0x[0-9a-fA-F]+")  # where an object lies in memory, as reprs show it: another in each process


def identity(module: nn.Module, preprocess: Preprocess) -> str:
    """Return the network's identity: SHA-256, hex.

    Over the state dict (names, types, shapes, bytes), the module tree (names, classes, extra_repr, plain attributes), the
    source of the classes outside torch, torchvision and timm, and the preprocessing. It depends neither on the device nor
    on whether the network is in training mode.
    """
    return digest(
        [
            _weights(module),
            [list(_module_facts(name, part)) for name, part in module.named_modules(remove_duplicate=False)],
            {_qualified(kind): _source(kind) or "" for kind in foreign_classes(module)},
            preprocess.to_dict(),
        ]
    )


def unread_sources(module: nn.Module) -> list[str]:
    """Return the names of the classes whose source cannot be read: a change in their code leaves the identity as it is."""
    return sorted(_qualified(kind) for kind in foreign_classes(module) if _source(kind) is None)


def foreign_classes(module: nn.Module) -> list[type]:
    """Return the classes of `module` and its parts, with those they inherit from, no library's own."""
    kinds = {kind for part in module.modules() for kind in type(part).__mro__}
    return sorted((kind for kind in kinds if kind.__module__.partition(".")[0] not in LIBRARIES), key=_qualified)


def _weights(module: nn.Module) -> str:
    state = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if isinstance(value, torch.Tensor):
            state.update(f"{name}:{value.dtype}:{tuple(value.shape)}:".encode())
            state.update(_bytes(value).data)
        else:  # a module's extra state may be anything
            state.update(f"{name}:{ADDRESS.sub('', repr(value))}:".encode())
    return state.hexdigest()


def _bytes(value: torch.Tensor) -> np.ndarray:
    whole = value.detach().cpu().contiguous().reshape(-1)  # row-major whatever the memory format
    return whole.view(torch.uint8).numpy()


def _module_facts(name: str, part: nn.Module) -> Iterator[Any]:
    yield name
    yield _qualified(type(part))
    yield ADDRESS.sub("", part.extra_repr())
    yield {key: value for key, value in vars(part).items() if _is_plain(key, value)}
    graph = getattr(part, "graph", None)  # an exported or traced module's code is its graph
    yield str(graph) if isinstance(graph, torch.fx.Graph) else ""


def _is_plain(key: str, value: Any) -> bool:
    """Tell whether an attribute is a plain value that may decide what the module computes: a residual's scale, a flag."""
    if key.startswith("_") or key == "training":
        return False
    if isinstance(value, tuple | list):
        return all(isinstance(item, bool | int | float | str) or item is None for item in value)
    return isinstance(value, bool | int | float | str) or value is None


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _source(kind: type) -> str | None:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return None  # made in a notebook, by exec or in C
