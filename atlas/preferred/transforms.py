"""The small random changes that an image must survive at every step: shift, turn, scale, noise; one for a whole batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import affine_grid, grid_sample

LARGE = 64  # pixels from which an image is treated as a photograph, below as a digit or a small picture


@dataclass(frozen=True)
class Transforms:
    """How far an image is moved at a step: ``shift`` in pixels either way, ``turn`` in degrees either way, ``scale`` as a
    share either way, ``noise`` as the standard deviation of what is added to values in 0–1.
    """

    shift: float = 0.0
    turn: float = 0.0
    scale: float = 0.0
    noise: float = 0.0

    @property
    def words(self) -> str:
        """What is done, for people."""
        parts = [
            f"shift ±{self.shift:g} px" * bool(self.shift),
            f"turn ±{self.turn:g}°" * bool(self.turn),
            f"scale ±{self.scale:.0%}" * bool(self.scale),
            f"noise {self.noise:g}" * bool(self.noise),
        ]
        return ", ".join(filter(None, parts)) or "none"

    def draw(self, size: Sequence[int], generator: torch.Generator) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return one random change of images of `size` (rgb, y, x), the same for each image of a batch.

        It takes images [image, rgb, y, x] with zero as the background, which is what comes in from beyond the edge.
        """
        shift_y, shift_x, turn, scale = (2 * torch.rand(4, generator=generator) - 1).tolist()
        matrix = affine(
            turn=math.radians(self.turn * turn),
            scale=1 + self.scale * scale,
            shift=(2 * self.shift * shift_x / size[2], 2 * self.shift * shift_y / size[1]),
            aspect=size[2] / size[1],
        )
        added = self.noise * torch.randn(1, *size, generator=generator) if self.noise else None

        def change(pictures: torch.Tensor) -> torch.Tensor:
            if self.shift or self.turn or self.scale:
                grid = affine_grid(matrix[None].to(pictures.device), [1, *pictures.shape[1:]], align_corners=False)
                grid = grid.expand(len(pictures), -1, -1, -1)
                pictures = grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
            return pictures if added is None else pictures + added.to(pictures.device)

        return change


def affine(*, turn: float, scale: float, shift: tuple[float, float], aspect: float) -> torch.Tensor:
    """Return the matrix [2, 3] that torch's ``affine_grid`` takes: where each pixel of the result comes from.

    `turn` in radians, `shift` (x, y) in the grid's units of half an edge, `aspect` width over height.
    """
    cosine, sine = math.cos(turn) / scale, math.sin(turn) / scale
    return torch.tensor([[cosine, -sine / aspect, shift[0]], [sine * aspect, cosine, shift[1]]])


def usual(size: Sequence[int], *, spatial: bool) -> Transforms:
    """Return the transforms that fit inputs of `size` (rgb, y, x), for a network with places or of FC layers alone.

    Photographs: twice lucid's standard jitter of 8 and 4 pixels at 128 (so 12 either way, in proportion), ±12°, ±20 % and
    noise: with lucid's own, logits of EfficientNet-lite0 were raised by fine patterns that show nothing. Small images: less.
    Networks of FC layers know no shift, so theirs are smallest (methods, section 1.8).
    """
    if not spatial:
        return Transforms(shift=1.0, turn=3.0, noise=0.05)
    if min(size[1:]) >= LARGE:
        return Transforms(shift=float(round(min(size[1:]) / 11)), turn=12.0, scale=0.2, noise=0.05)
    return Transforms(shift=max(1.0, round(min(size[1:]) / 14)), turn=5.0, scale=0.05, noise=0.05)
