"""How a unit becomes one number where its layer has space: mean, max, centre, class token, or K sampled positions.

Imports no torch: names are checked before anything heavy is loaded.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import AtlasError, choose, one_line
from atlas.models.shapes import has_units, unit_axis

if TYPE_CHECKING:
    import torch

KINDS = ("mean", "max", "centre", "class-token", "positions")
AFTER_RELU = "-after-relu"
NAMES = tuple(name + after for name in ("mean", "max", "centre", "class-token", "positions:4") for after in ("", AFTER_RELU))
MOST_POSITIONS = 256  # points per image; more than a 16 × 16 map has places is surely a slip of the hand


@dataclass(frozen=True)
class Functional:
    """One way to reduce a layer's output to vectors [point, unit]; `points` of them per image."""

    kind: str
    points: int = 1
    after_relu: bool = False

    @classmethod
    def parse(cls, text: str) -> Functional:
        """Return the functional called `text`: mean, max, centre, class-token, positions:K; with -after-relu or not."""
        found = re.fullmatch(r"(mean|max|centre|class-token|positions:([0-9]{1,6}))(-after-relu)?", str(text))
        if not found:
            raise choose("functional", text, NAMES)
        points = int(found[2] or 1)
        if not 1 <= points <= MOST_POSITIONS:
            raise AtlasError(
                f"functional {one_line(repr(text))} asks for {points} positions: 1 to {MOST_POSITIONS} are possible"
            )
        return cls(found[1].partition(":")[0], points, bool(found[3]))

    def __str__(self) -> str:
        number = f":{self.points}" if self.sampled else ""
        return f"{self.kind}{number}{AFTER_RELU if self.after_relu else ''}"

    @property
    def sampled(self) -> bool:
        """Whether the points are positions drawn at random, so that a seed matters."""
        return self.kind == "positions"

    def reduce(
        self, output: torch.Tensor, seed: int, image_ids: Sequence[str], *, axis: int | None = None
    ) -> tuple[torch.Tensor, np.ndarray]:
        """Reduce a layer's output, its first axis the image, to vectors; image by image, position by position.

        `axis` counts the units; None reads it off the output's shape.

        Returns [point, unit] float32, sharing no memory with `output` (an in-place ReLU after the layer cannot change
        it), and the points' relative y, x, float32 [point, 2], or [0, 2] where a vector covers its image. A sum runs in
        float32 whatever the output's type. Outputs that lack what the functional needs raise AtlasError.
        """
        self.check(tuple(output.shape))
        values = units_last(output, axis)
        places = positions(image_ids, self.points, seed) if self.sampled else np.empty((0, 0, 2), np.float32)
        if values.ndim > 2:
            values = self._over_space(values, places)
        return self._finish(values), places.reshape(-1, 2)

    def over_places(self, values: torch.Tensor) -> torch.Tensor:
        """Reduce a layer's output with its units last, [image, …, unit], to one vector per image [image, unit].

        As `reduce` does, with gradients; for all kinds but sampled positions, of which an image has several.
        """
        if values.ndim > 2:
            values = self._over_space(values, np.empty((0, 0, 2), np.float32))
        return values.relu() if self.after_relu else values

    def check(self, shape: Sequence[int]) -> None:
        """Raise AtlasError when a layer whose output is of `shape` cannot be reduced so."""
        if not has_units(shape):
            raise AtlasError(f"its output is {_words(shape)} and activations have 2, 3 or 4 axes: choose another layer")
        space = len(shape) - 2
        if self.kind == "class-token" and space != 1:
            raise AtlasError(f"{self} needs tokens [image, token, unit] and the output is {_words(shape)}: use mean")
        if self.sampled and space not in (1, 2):
            raise AtlasError(f"{self} needs an output with places, and the output is {_words(shape)}: use mean")
        if space == 1 and self.kind in ("centre", "positions"):
            _grid_edge(shape[1], self)

    def _over_space(self, values: torch.Tensor, places: np.ndarray) -> torch.Tensor:
        """[image, …, unit] → [image, unit], or [point, unit] for positions."""
        import torch

        space = tuple(range(1, values.ndim - 1))
        if self.kind == "mean":  # the only one that a ReLU before it changes: maxima and single places commute with it
            return (values.relu() if self.after_relu else values).mean(dim=space, dtype=torch.float32)
        if self.kind == "max":
            return values.float().amax(dim=space)  # torch's own bfloat16 maximum over channels-last took 25 times longer
        if self.kind == "class-token":
            return values[:, 0]
        values = _as_grid(values, self)
        if self.kind == "centre":
            return values[:, values.shape[1] // 2, values.shape[2] // 2]
        return _at(values, places)

    def _finish(self, values: torch.Tensor) -> torch.Tensor:
        import torch

        values = values.detach().to(torch.float32, copy=True)
        return values.relu_() if self.after_relu else values


def units_last(output: torch.Tensor, axis: int | None) -> torch.Tensor:
    """Return a layer's output with its units on the last axis, [image, …, unit]; `axis` None reads theirs off the shape."""
    return output.movedim(unit_axis(tuple(output.shape)) if axis is None else axis, -1)


def positions(image_ids: Sequence[str], count: int, seed: int) -> np.ndarray:
    """Draw `count` places per image from (seed, image_id) alone: relative y, x in [0, 1), float32 [image, count, 2].

    The first of many places are those of few, and two layers or networks that are given the same images sample the same
    places. The source is SHAKE-256, so no generator's version decides it.
    """
    streams = [hashlib.shake_256(f"{seed}\n{i}".encode("utf-8", "surrogatepass")).digest(8 * count) for i in image_ids]
    numbers = np.frombuffer(b"".join(streams), "<u4").reshape(len(streams), count, 2)
    return ((numbers >> 8) / 2.0**24).astype(np.float32)  # 24 bits are exact in float32, so that none rounds up to 1


def _at(values: torch.Tensor, places: np.ndarray) -> torch.Tensor:
    """[image, y, x, unit] and places [image, place, 2] → [point, unit]."""
    import torch

    index = np.floor(places * np.array(values.shape[1:3])).astype(np.int64)
    y, x = torch.from_numpy(index).to(values.device).unbind(-1)
    image = torch.arange(len(values), device=values.device)[:, None]
    return values[image, y, x].flatten(0, 1)


def _as_grid(values: torch.Tensor, functional: Functional) -> torch.Tensor:
    """Return tokens [image, token, unit] as the grid of their patches [image, y, x, unit]; what has y, x as it is."""
    if values.ndim != 3:
        return values
    edge = _grid_edge(values.shape[1], functional)
    return values[:, 1:].unflatten(1, (edge, edge))


def _grid_edge(tokens: int, functional: Functional) -> int:
    edge = math.isqrt(max(tokens - 1, 0))
    if tokens < 2 or edge * edge != tokens - 1:
        raise AtlasError(
            f"{functional} needs a class token and a square grid of patches, and the output has {tokens} tokens: "
            "use mean or class-token"
        )
    return edge


def _words(shape: Sequence[int]) -> str:
    return "[" + ", ".join(["image", *map(str, shape[1:])]) + "]"
