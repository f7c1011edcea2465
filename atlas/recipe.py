"""Recipes: everything that decides a result, and the hash of it that names the artifact."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


def digest(value: Any) -> str:
    """Return the SHA-256 of `value`, hex: None, bools, numbers, strings, bytes, arrays, sequences and mappings, nested.

    Each value is hashed with its type and its length, so that no two different values share an encoding; the order of
    a mapping's keys does not matter.
    """
    state = hashlib.sha256()
    _feed(state, value)
    return state.hexdigest()


def _feed(state: Any, value: Any) -> None:
    def put(kind: str, body: bytes) -> None:
        state.update(f"{kind}:{len(body)}:".encode())
        state.update(body)

    if value is None or isinstance(value, bool | np.bool_):
        put("constant", str(value).encode())
    elif isinstance(value, int | np.integer):
        put("int", str(int(value)).encode())
    elif isinstance(value, float | np.floating):
        put("float", float(value).hex().encode())
    elif isinstance(value, str):
        put("str", value.encode("utf-8", "surrogatepass"))
    elif isinstance(value, bytes):
        put("bytes", value)
    elif isinstance(value, np.ndarray):
        put("array", f"{value.dtype.str}{value.shape}".encode())
        state.update(np.ascontiguousarray(value).data if value.size else b"")
    elif isinstance(value, Mapping):
        put("mapping", str(len(value)).encode())
        for key in sorted(value, key=str):
            _feed(state, str(key))
            _feed(state, value[key])
    elif isinstance(value, Sequence | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        put("sequence", str(len(items)).encode())
        for item in items:
            _feed(state, item)
    else:
        raise TypeError(f"a recipe cannot hold a {type(value).__name__}")


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the major.minor version of each installed distribution in `names`."""
    return {name: ".".join(installed_version(name).split(".")[:2]) for name in names}


@functools.cache
def installed_version(name: str) -> str:
    """Return the version of an installed distribution; read once, for each reading parses a file of a thousand lines."""
    return importlib.metadata.version(name)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides a result: the stage and its version, all parameters, the inputs' names, the libraries.

    `inputs` maps a role to the name of an artifact, or to several. `told` is what the record should also say although it
    decides nothing (device, batch size); it stays out of the key. `folder` is ``parts/<key>`` for the layers of a part.
    """

    stage: str
    version: int
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    inputs: Mapping[str, str | Sequence[str]] = dataclasses.field(default_factory=dict)
    libraries: Sequence[str] = ()
    told: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    folder: str = ""

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 of all that decides the result, hex."""
        return digest(
            [self.stage, self.version, self.parameters, self.inputs, library_versions(self.libraries)],
        )

    @property
    def name(self) -> str:
        """The artifact's name in the atlas: stage and the first 16 digits of the key."""
        short = f"{self.stage}-{self.key[:16]}"
        return f"{self.folder}/{short}" if self.folder else short
