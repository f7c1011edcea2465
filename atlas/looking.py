"""The activation maps of one image for people: which layers are worth a look, their strongest units, small pictures."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from atlas.errors import AtlasError, choose, one_line

if TYPE_CHECKING:
    from atlas.models.network import Network

MOST_EDGE = 56  # pixels of a map as it is sent: a screen shows it at about this size; larger ones are averaged
MOST_LAYERS = 8  # looked at unasked: they fit one panel
MOST_UNITS = 64  # of a layer
MOST_VALUES = 1 << 25  # of a layer for one image: 134 MB in float32; attention's heads × tokens × units can be far more


@dataclass(frozen=True)
class LayerMaps:
    """The strongest units' maps of one layer."""

    layer: str
    units: np.ndarray  # int64 [map]: the units with the highest peaks, the highest first
    peak: np.ndarray  # float32 [map]: the largest value of each
    low: float  # the value drawn as 0
    high: float  # the value drawn as 255
    of: int  # units of the layer
    size: tuple[int, int]  # y, x of its maps in the network
    pixels: np.ndarray  # uint8 [map, y, x], at most MOST_EDGE: value ≈ low + pixel / 255 · (high − low)


def places(shape: str) -> int:
    """Return how many places a layer's maps have by its shape in the network's table; 0 where it has none.

    ``64×14×14`` and ``7×7×768 channels last`` have y · x, ``197×768 tokens`` as many as tokens.
    """
    sizes = [int(size) for size in re.findall(r"\d+", shape)]
    if "tokens" in shape and len(sizes) == 2:
        return sizes[0]
    if len(sizes) != 3:
        return 0
    return sizes[0] * sizes[1] if "channels last" in shape else sizes[1] * sizes[2]


def values(shape: str) -> int:
    """Return how many values a layer has for one image by its shape in the network's table; 1 where it does not say."""
    return math.prod(int(size) for size in re.findall(r"\d+", shape))


def lies_over(shape: str, image: tuple[int, int]) -> bool:
    """Tell whether a layer's places can lie over an image of y, x pixels: its maps are not twice as long or wide.

    By its shape in the network's table. An attention's own inputs, heads × tokens × units, are no maps of the image.
    """
    sizes = [int(size) for size in re.findall(r"\d+", shape)]
    if len(sizes) != 3 or "tokens" in shape:
        return True
    tall, wide = sizes[:2] if "channels last" in shape else sizes[1:]
    return 0.5 < (tall / wide) / (image[0] / image[1]) < 2


def edges(preprocess: Mapping[str, Any]) -> tuple[int, int]:
    """Return y, x of a network's input out of its record; equal where its preprocessing does not say."""
    return int(preprocess.get("height") or 1), int(preprocess.get("width") or 1)


def spatial_layers(layers: pd.DataFrame) -> list[str]:
    """Return the layers whose maps have more than one place, in order of execution."""
    return [name for name, shape in zip(layers["name"], layers["shape"], strict=True) if places(str(shape)) > 1]


def worth_a_look(layers: pd.DataFrame, recorded: Sequence[str], image: tuple[int, int]) -> list[str]:
    """Return at most MOST_LAYERS layers to show unasked, in order of execution: those `recorded`, and the last of each size.

    Left out are those whose places do not lie over an image of y, x pixels, and those of more than MOST_VALUES values.
    Where more would be shown they are taken evenly, the first and the last among them.
    """
    fitting = [lies_over(str(shape), image) and values(str(shape)) <= MOST_VALUES for shape in layers["shape"]]
    names = spatial_layers(layers[fitting])
    size = {name: places(str(shape)) for name, shape in zip(layers["name"], layers["shape"], strict=True)}
    last = {size[name]: name for name in names}
    wanted = [name for name in names if name in recorded or name in last.values()]
    chosen = np.linspace(0, len(wanted) - 1, min(len(wanted), MOST_LAYERS)).round().astype(int)
    return [wanted[place] for place in chosen]


def check_layers(asked: Sequence[str], layers: pd.DataFrame) -> None:
    """Refuse a layer that the network does not have, whose maps have no places, or that is too large to be held."""
    names = spatial_layers(layers)
    check_values(asked, layers)
    for name in asked:
        if name in set(layers["name"]) - set(names):
            raise AtlasError(f"layer {name} has no places, so it has no maps: choose another layer")
        if name not in names:
            raise choose("layer with maps", name, names)


def check_values(asked: Sequence[str], layers: pd.DataFrame) -> None:
    """Refuse a layer of more values for one image than are held at once; an unknown one is left to others to refuse."""
    for name, shape in zip(layers["name"], layers["shape"], strict=True):
        if name in asked and values(str(shape)) > MOST_VALUES:
            raise AtlasError(
                f"layer {one_line(name)} has {values(str(shape))} values for one image ({shape}): at most {MOST_VALUES} "
                "are looked at, choose another layer"
            )


def look(network: Network, picture: Image.Image, layers: Sequence[str], *, units: int) -> list[LayerMaps]:
    """Return the maps of the `units` strongest units of each layer. Needs torch."""
    from atlas.activations.spatial import activation_maps

    found = activation_maps(network, picture, layers)
    return [strongest(layer, found[layer], units) for layer in layers]


def as_input(network: Network, picture: Image.Image) -> bytes:
    """Return an image as the network is given it, cut and resized, before its colours are normalised: PNG bytes."""
    pixels, body = np.moveaxis(network.preprocess.array(picture), 0, -1), io.BytesIO()
    Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0]).save(body, "PNG")
    return body.getvalue()


def strongest(layer: str, maps: np.ndarray, count: int) -> LayerMaps:
    """Return the `count` units whose maps [unit, y, x] reach highest, all drawn on one scale: 0, or less, to the peak."""
    finite = np.nan_to_num(maps.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    peak = finite.reshape(len(finite), -1).max(1)
    units = np.argsort(-peak, kind="stable")[:count]
    kept = finite[units]
    low, high = min(0.0, float(kept.min())), float(kept.max())
    scale = 255.0 / (high - low) if high > low else 0.0
    pixels = np.stack([reduced(one) for one in kept])
    codes = np.clip(np.round((pixels - low) * scale), 0, 255).astype(np.uint8)
    return LayerMaps(layer, units, peak[units], low, high, len(maps), maps.shape[1:], codes)


def reduced(values: np.ndarray) -> np.ndarray:
    """Return one map [y, x], averaged to at most MOST_EDGE pixels a side."""
    tall, wide = values.shape
    factor = max(tall, wide) / MOST_EDGE
    if factor <= 1:
        return values
    size = max(1, round(wide / factor)), max(1, round(tall / factor))
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BOX))


def packed(found: Sequence[LayerMaps]) -> tuple[list[dict[str, Any]], bytes]:
    """Return what is to be told of each layer, as plain values, and the pixels of all, one map after the other."""
    told = [
        {
            "layer": one.layer,
            "units": one.units.tolist(),
            "peak": [float(f"{value:.6g}") for value in one.peak.tolist()],
            "low": one.low,
            "high": one.high,
            "of": one.of,
            "size": list(one.size),
            "pixels": list(one.pixels.shape[1:]),
        }
        for one in found
    ]
    return told, b"".join(one.pixels.tobytes() for one in found)
