"""Whether a record holds what its class says: the type of each field, and the numbers and axes of each array.

``@axes(indices="int32 [point, k]")`` on a record's class says what an array holds: the type is numpy's, or ``float``,
``int`` or ``number`` for any of that kind; an axis called alike has the same length in all arrays of the record, and a
number is the length itself. ``@columns(table=("path", "label"))`` says which columns a table has.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

KINDS = {"float": "f", "int": "iu", "number": "fiu"}
RECORDS: dict[str, Any] = {}  # stage → class, of the modules imported so far
C = TypeVar("C", bound=type)


def axes(**said: str) -> Callable[[C], C]:
    """Return the decorator of a record's class that names the type and the axes of its arrays."""
    return functools.partial(_mark, "_axes", said)


def columns(**said: Sequence[str]) -> Callable[[C], C]:
    """Return the decorator of a record's class that names the columns of its tables."""
    return functools.partial(_mark, "_columns", said)


def of_stage(stage: str) -> Callable[[C], C]:
    """Return the decorator of the class of the records that a stage makes: their headers are checked as they are read."""

    def register(kind: C) -> C:
        RECORDS[stage] = kind
        return kind

    return register


def _mark(name: str, said: Mapping[str, Any], kind: C) -> C:
    setattr(kind, name, said)
    return kind


def check_fields(record: Any) -> None:
    """Raise TypeError or ValueError, in a few words, for the first field of `record` that is not what its class says."""
    kind: Any = type(record)
    for name, hint in hints_of(kind).items():
        _check_value(name, getattr(record, name), hint)
    _check_arrays(record, getattr(record, "_axes", {}))
    for name, wanted in getattr(record, "_columns", {}).items():
        missing = [column for column in wanted if column not in getattr(record, name)]
        if missing:
            raise ValueError(f"{name} has no column {missing[0]}")


def check_plain(header: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError, in a few words, for a plain field in record.json that is not what its class says."""
    kind: Any = RECORDS.get(header["stage"])
    for name, hint in hints_of(kind).items() if kind else ():
        if name in header["fields"]:
            _check_value(name, header["fields"][name], hint)
        elif name not in header["files"] and not hasattr(kind, name):  # a default is an attribute of the class
            raise ValueError(f"no {name}")


def _check_value(name: str, value: Any, hint: Any) -> None:
    if not fits(value, hint):
        raise TypeError(f"{name} is a {type(value).__name__}, or holds what is not {_words(hint)}")


@functools.cache
def hints_of(kind: Any) -> dict[str, Any]:
    """Return the type of each field of a dataclass."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def fits(value: Any, hint: Any) -> bool:
    """Tell whether `value`, as JSON and numpy give it, is of the type `hint`, what is in lists and mappings included."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is list:
        return isinstance(value, list) and all(fits(item, inner[0]) for item in value)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(fits(item, inner[1]) for item in value.values())
    if hint in (int, float):
        return isinstance(value, int | float if hint is float else int) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


def _words(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint)) if not typing.get_args(hint) else str(hint).replace("typing.", "")


def _check_arrays(record: Any, axes: Mapping[str, str]) -> None:
    lengths: dict[str, tuple[int, str]] = {}
    for name, said in axes.items():
        value = getattr(record, name)
        if isinstance(value, np.ndarray):  # a stream not yet written has its own check
            kind, _, names = said.rstrip("]").partition(" [")
            _check_numbers(name, value, kind)
            _check_shape(name, value.shape, names.split(", "), lengths)


def _check_numbers(name: str, value: np.ndarray, kind: str) -> None:
    right = value.dtype.kind in KINDS[kind] if kind in KINDS else value.dtype == np.dtype(kind)
    if not right:
        raise ValueError(f"{name} holds {value.dtype} and not {kind}")


def _check_shape(name: str, shape: tuple[int, ...], names: list[str], lengths: dict[str, tuple[int, str]]) -> None:
    if len(shape) != len(names):
        raise ValueError(f"{name} has {len(shape)} axes and not {len(names)}")
    for length, axis in zip(shape, names, strict=True):
        wanted, where = (int(axis), "its class") if axis.isdigit() else lengths.setdefault(axis, (length, name))
        if length != wanted:
            raise ValueError(f"{name} has {length} along the axis {axis}, and {where} {wanted}")
