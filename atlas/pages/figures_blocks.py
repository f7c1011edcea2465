"""A network's layers gathered into few enough blocks to draw: norms and activations join theirs, repeated ones fold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

import pandas as pd

MOST = 24  # blocks that one drawing has room for

KINDS = (  # the first that a layer's kind contains, in lower case, decides
    ("pool", ("pool",)),
    ("norm", ("norm",)),
    ("conv", ("conv",)),
    ("fc", ("linear",)),
    ("activation", ("relu", "gelu", "silu", "swish", "sigmoid", "tanh", "softmax", "mish", "elu", "softplus", "activation")),
    ("passing", ("dropout", "droppath", "flatten", "identity", "shuffle", "zeropad", "stochasticdepth")),
)
TRIMS = ("norm", "activation", "passing")  # no blocks of their own: they change what the one before them gives


@dataclass(frozen=True)
class Block:
    """One block of the drawing. `shape` is that of its output: (units, y, x), (tokens, units), (units,) or ()."""

    title: str
    kind: str  # conv, pool, fc, group, other
    shape: tuple[int, ...]
    shape_text: str
    parameters: int
    members: tuple[str, ...]  # all layers it stands for
    trims: tuple[tuple[str, str], ...] = ()  # (layer, norm | activation | passing), after the block itself
    repeat: int = 1
    signature: tuple[object, ...] = ()  # equal in blocks that are built alike


def kind_of(kind: str) -> str:
    """Return conv, pool, fc, norm, activation, passing or other for a module's class name."""
    word = kind.lower()
    return next((name for name, parts in KINDS if any(part in word for part in parts)), "other")


def blocks_of(layers: pd.DataFrame) -> list[Block]:
    """Return the blocks that `layers` (number, name, kind, shape, parameters) are drawn as, in order of execution.

    Where all would be more than MOST, layers are gathered by the modules that hold them, the deepest first, and
    neighbours that are built alike fold into one with a count.
    """
    rows = _rows(layers.sort_values("number"))
    holders = {holder for row in rows for holder in _holders(row.name)}
    leaves = [row for row in rows if row.name not in holders]
    outer = {row.name: row for row in rows if row.name in holders}
    found = _trimmed(leaves)
    depth = max((row.name.count(".") for row in leaves), default=0)
    while len(found) > MOST and depth > 0:
        found = _fold(_gathered(leaves, outer, depth))
        depth -= 1
    found = found if len(found) <= MOST else _fold(found, single=True)
    return _with_holders(found, set(outer))


class Row(NamedTuple):
    """One line of the table of layers."""

    name: str
    kind: str
    shape: str
    parameters: int


def _rows(layers: pd.DataFrame) -> list[Row]:
    columns = (layers[name].tolist() for name in ("name", "kind", "shape", "parameters"))
    return [Row(name, kind, str(shape), int(count)) for name, kind, shape, count in zip(*columns, strict=True)]


def _holders(name: str) -> list[str]:
    """Return the names of the modules that hold the layer `name`, the nearest first."""
    return [name.rsplit(".", up)[0] for up in range(1, name.count(".") + 1)]


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


def _trimmed(leaves: Iterable[Row]) -> list[Block]:
    """Return a block per layer, norms, activations and what passes values through joined to the one before."""
    found: list[Block] = []
    for row in leaves:
        sort = kind_of(row.kind)
        if sort in TRIMS and found:
            last = found[-1]
            trims, members = (*last.trims, (row.name, sort)), (*last.members, row.name)
            total, signature = last.parameters + row.parameters, (*last.signature, row.kind)
            found[-1] = replace(last, trims=trims, members=members, parameters=total, signature=signature)
        else:
            kind = "other" if sort in TRIMS else sort
            block = Block(row.name, kind, _shape(row.shape), row.shape, row.parameters, (row.name,))
            found.append(replace(block, signature=row[1:]))
    return found


def _gathered(leaves: Sequence[Row], outer: Mapping[str, Row], depth: int) -> list[Block]:
    """Return a block per module `depth` parts deep, or less; single layers as `_trimmed` has them."""
    found: list[Block] = []
    loose: list[Row] = []
    for holder, run in groupby(leaves, key=lambda row: ".".join(row.name.split(".")[:depth])):
        inner = list(run)
        if inner[0].name == holder:  # a layer that no module of this depth holds
            loose += inner
            continue
        found += [*_trimmed(loose), _group(holder, inner, outer)]
        loose = []
    return found + _trimmed(loose)


def _group(holder: str, inner: Sequence[Row], outer: Mapping[str, Row]) -> Block:
    shape = outer[holder].shape if holder in outer else inner[-1].shape
    parameters = max(outer[holder].parameters if holder in outer else 0, sum(row.parameters for row in inner))
    alike = tuple((row.name[len(holder) :], *row[1:]) for row in inner)
    members = tuple(row.name for row in inner)
    return Block(holder, "group", _shape(shape), shape, parameters, members, signature=(*alike, shape))


def _with_holders(blocks: Sequence[Block], outer: set[str]) -> list[Block]:
    """Give each module that holds others to the block in which it ends, so that every layer can be pointed at."""
    last = {holder: place for place, block in enumerate(blocks) for name in block.members for holder in _holders(name)}
    added: dict[int, list[str]] = {}
    for holder, place in last.items():
        if holder in outer:
            added.setdefault(place, []).append(holder)
    return [replace(block, members=(*block.members, *added.get(place, []))) for place, block in enumerate(blocks)]


def _fold(blocks: Sequence[Block], *, single: bool = False) -> list[Block]:
    """Fold runs of gathered blocks that are built alike, and with `single` those of single layers too."""
    found: list[Block] = []
    for _, run in groupby(blocks, key=lambda block: (block.kind, block.signature)):
        alike = list(run)
        if len(alike) == 1 or (alike[0].kind != "group" and not single):
            found += alike
            continue
        members = tuple(name for block in alike for name in block.members)
        total = sum(block.parameters for block in alike)
        title = f"{alike[0].title} … {alike[-1].title.rsplit('.', 1)[-1]}"
        found.append(replace(alike[0], title=title, members=members, parameters=total, repeat=len(alike)))
    return found
