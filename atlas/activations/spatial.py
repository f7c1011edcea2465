"""What a network's layers make of one image, place by place: every unit's activation map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atlas.activations.batching import padded, stack
from atlas.activations.engine import engine, find_device
from atlas.activations.sinks import check_rows
from atlas.errors import AtlasError
from atlas.models.network import Network
from atlas.models.shapes import FEWEST, unit_axis

if TYPE_CHECKING:
    from PIL.Image import Image


def activation_maps(
    network: Network, picture: Image, layers: Sequence[str], *, device: str = "cpu"
) -> Mapping[str, np.ndarray]:
    """Return each layer's activation maps of one image: float32 [unit, y, x], by layer, computed in float32.

    The tokens of a transformer are laid out as the grid of their patches, a class token left out. A layer without places
    has one: [unit, 1, 1]. Unknown layers, and tokens that are no square grid, raise AtlasError.
    """
    found: dict[str, np.ndarray] = {}

    def taker(layer: str) -> Any:
        def take(output: torch.Tensor, axis: int | None) -> None:
            check_rows(output, FEWEST)
            found[layer] = laid_out(output[:1].detach().float().cpu().numpy(), axis)

        return take

    with engine(network, find_device(device), "float32") as opened:
        batch = opened.tensor(padded(stack([network.preprocess.array(picture)]), FEWEST))
        with opened.recorder({layer: taker(layer) for layer in layers}) as recorder:
            opened.run(recorder, batch)
    return found


def laid_out(output: np.ndarray, axis: int | None) -> np.ndarray:
    """Return a layer's output for one image, [1, …] with units on `axis`, as maps: float32 [unit, y, x], a copy."""
    values = np.moveaxis(output, unit_axis(output.shape) if axis is None else axis, -1)[0]
    if values.ndim == 1:
        values = values[None, None]
    if values.ndim == 2:
        values = as_grid(values)
    return np.array(values.transpose(2, 0, 1), np.float32)  # a copy: an in-place ReLU after the layer cannot change it


def as_grid(tokens: np.ndarray) -> np.ndarray:
    """Return tokens [token, unit] as the square grid of their patches [y, x, unit], a class token before them left out."""
    for first in (0, 1):
        edge = math.isqrt(len(tokens) - first)
        if edge and edge * edge == len(tokens) - first:
            return tokens[first:].reshape(edge, edge, -1)
    raise AtlasError(f"its output has {len(tokens)} tokens, which are no square grid: choose another layer")
