"""What gradient ascent makes large: a unit, a logit, a direction, a layer, and what they are together.

An objective gives one number per image of a batch; each image may have its own unit or direction. Objectives add, subtract
and are weighted, and say themselves: ``unit("layer3", [17]) - 0.5 * unit("layer3", [18])``. Sources: tensorflow/lucid,
optvis/objectives.py; Carter et al., "Activation Atlas", Distill 2019.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from atlas.activations.functionals import Functional
from atlas.errors import AtlasError

LOGITS = "logits of the network"  # in place of a layer's name: the network's own output
LEAST_COSINE = 0.1  # floor of the cosine: two negative factors would make a positive one (lucid, issue 116)
EPSILON = 1e-4  # added to lengths: lucid, objectives_util.py

Seen = Mapping[str, torch.Tensor]  # layer → its output for the batch, units last: [image, …, unit]


class Objective(ABC):
    """One number per image, from the outputs of some layers."""

    @property
    @abstractmethod
    def layers(self) -> frozenset[str]:
        """The layers it reads; LOGITS for the network's output."""

    @property
    @abstractmethod
    def words(self) -> str:
        """What it is, for people."""

    @abstractmethod
    def values(self, seen: Seen) -> torch.Tensor:
        """Return the objective of each image, [image]."""

    @abstractmethod
    def take(self, rows: torch.Tensor) -> Objective:
        """Return the same for some of its images."""

    def __add__(self, other: Objective) -> Objective:
        return Sum(((1.0, self), (1.0, other)))

    def __sub__(self, other: Objective) -> Objective:
        return Sum(((1.0, self), (-1.0, other)))

    def __mul__(self, weight: float | torch.Tensor) -> Objective:
        return Sum(((weight, self),))

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return self * -1.0


@dataclass(frozen=True)
class Sum(Objective):
    """Objectives, each with its weight: a number, or one per image."""

    parts: tuple[tuple[float | torch.Tensor, Objective], ...]

    @property
    def layers(self) -> frozenset[str]:
        return frozenset().union(*(part.layers for _, part in self.parts))

    @property
    def words(self) -> str:
        return " ".join(_signed(place, weight, part.words) for place, (weight, part) in enumerate(self.parts))

    def values(self, seen: Seen) -> torch.Tensor:
        return torch.stack([weight * part.values(seen) for weight, part in self.parts]).sum(dim=0)

    def take(self, rows: torch.Tensor) -> Objective:
        parts = tuple((w[rows] if isinstance(w, torch.Tensor) else w, part.take(rows)) for w, part in self.parts)
        return Sum(parts)


def _signed(place: int, weight: float | torch.Tensor, words: str) -> str:
    if isinstance(weight, torch.Tensor):
        return f"{'+ ' if place else ''}own weight × ({words})"
    sign = "− " if weight < 0 else "+ " if place else ""
    return f"{sign}{words if abs(weight) == 1 else f'{abs(weight):g} × ({words})'}"


@dataclass(frozen=True)
class Unit(Objective):
    """One unit of a layer per image, made one number by a functional."""

    layer: str
    units: torch.Tensor  # int64 [image]
    functional: Functional

    @property
    def layers(self) -> frozenset[str]:
        return frozenset([self.layer])

    @property
    def words(self) -> str:
        how = f"{self.functional} of " if self.layer != LOGITS else ""
        return f"{how}{_numbers('unit', self.units.tolist())} of {self.layer}"

    def values(self, seen: Seen) -> torch.Tensor:
        found = seen[self.layer]
        index = self.units.to(found.device).view(-1, *[1] * (found.ndim - 1)).expand(*found.shape[:-1], 1)
        return self.functional.over_places(found.gather(-1, index))[:, 0]  # of its own unit alone, not of all

    def take(self, rows: torch.Tensor) -> Objective:
        return replace(self, units=self.units[rows])


def unit(layer: str, units: Sequence[int], *, functional: str = "mean") -> Objective:
    """Return the objective that excites unit `units[i]` of a layer in image `i`; a neuron or a whole channel."""
    return Unit(layer, torch.as_tensor(list(units), dtype=torch.int64), Functional.parse(functional))


def logit(outputs: Sequence[int]) -> Objective:
    """Return the objective that raises logit `outputs[i]` in image `i`: before the softmax, not its probability."""
    return unit(LOGITS, outputs)


@dataclass(frozen=True)
class Direction(Objective):
    """A direction in a layer's space per image: h · v × max(0.1, cos(h, v))^power."""

    layer: str
    vectors: torch.Tensor  # float32 [image, unit]
    power: float
    functional: Functional

    @property
    def layers(self) -> frozenset[str]:
        return frozenset([self.layer])

    @property
    def words(self) -> str:
        times = f" × cosine^{self.power:g}" if self.power else ""
        return f"{self.functional} of {self.layer} along {_some(len(self.vectors), 'direction')}{times}"

    def values(self, seen: Seen) -> torch.Tensor:
        found = self.functional.over_places(seen[self.layer])
        return along(found, self.vectors.to(found.device), self.power)

    def take(self, rows: torch.Tensor) -> Objective:
        return replace(self, vectors=self.vectors[rows])


def along(found: torch.Tensor, wanted: torch.Tensor, power: float) -> torch.Tensor:
    """Return h · v × max(0.1, cos)^power of each row: of activations `found` and directions `wanted`, [image, unit]."""
    dot = (found * wanted).sum(dim=-1)
    if power == 0:
        return dot
    cosine = dot / ((EPSILON + found.norm(dim=-1)) * (EPSILON + wanted.norm(dim=-1)))
    return dot * cosine.clamp_min(LEAST_COSINE) ** power


def direction(layer: str, vectors: Any, *, power: float = 2.0, functional: str = "mean") -> Objective:
    """Return the objective that drives a layer's activation along ``vectors[i]`` [image, unit] in image `i`."""
    wanted = torch.as_tensor(vectors, dtype=torch.float32)
    if wanted.ndim != 2 or not torch.isfinite(wanted).all():
        raise AtlasError(f"directions of {layer} are finite numbers [image, unit], not {list(wanted.shape)}")
    return Direction(layer, wanted, power, Functional.parse(functional))


@dataclass(frozen=True)
class Whole(Objective):
    """All of a layer: the mean square of its activations, as DeepDream has it."""

    layer: str

    @property
    def layers(self) -> frozenset[str]:
        return frozenset([self.layer])

    @property
    def words(self) -> str:
        return f"mean square of all units of {self.layer}"

    def values(self, seen: Seen) -> torch.Tensor:
        return seen[self.layer].flatten(1).square().mean(dim=1)

    def take(self, rows: torch.Tensor) -> Objective:
        return self


def layer(name: str) -> Objective:
    """Return the objective that excites all of a layer."""
    return Whole(name)


@dataclass(frozen=True)
class Diversity(Objective):
    """How unlike the images of one group are in a layer: minus their mean likeness, between −1 and 1."""

    layer: str
    groups: torch.Tensor  # int64 [image]

    @property
    def layers(self) -> frozenset[str]:
        return frozenset([self.layer])

    @property
    def words(self) -> str:
        return f"diversity of {self.layer} within {_some(len(self.groups.unique()), 'group')}"

    def values(self, seen: Seen) -> torch.Tensor:
        found = torch.nn.functional.normalize(styles(seen[self.layer]), dim=1)
        mates = (self.groups[:, None] == self.groups[None]).to(found.device).float().fill_diagonal_(0)
        return -(found @ found.T * mates).sum(dim=1) / mates.sum(dim=1).clamp_min(1)

    def take(self, rows: torch.Tensor) -> Objective:
        return replace(self, groups=self.groups[rows])


def styles(found: torch.Tensor) -> torch.Tensor:
    """Return what likeness is measured on: the Gram matrix of the units over places, or the vector where there are none.

    `found` is [image, …, unit]; the Gram matrix, as in lucid's diversity, forgets where a thing is.
    """
    if found.ndim == 2:
        return found
    flat = found.flatten(1, -2)
    return (flat.transpose(1, 2) @ flat).flatten(1)


def diversity(layer: str, groups: Sequence[int]) -> Objective:
    """Return the objective that makes the images of one group (equal numbers in `groups`) unlike each other in a layer."""
    return Diversity(layer, torch.as_tensor(list(groups), dtype=torch.int64))


def _numbers(word: str, numbers: Sequence[int]) -> str:
    numbers = list(dict.fromkeys(numbers))  # of several starts each is one
    few = ", ".join(map(str, numbers[:3]))
    if len(numbers) == 1:
        return f"{word} {few}"
    return f"{word}s {few}{f' … ({len(numbers)} in all)' if len(numbers) > 3 else ''}"


def _some(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
