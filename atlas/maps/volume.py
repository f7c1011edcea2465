"""One image's activation maps as a volume: the most active channels of each layer on one grid, each from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from atlas.fields import axes, of_stage

CHANNELS = 8  # of each layer: with five layers the levels are still few enough to be told apart by eye
MOST_EDGE = 64  # of a grid that nobody chose: 50 levels of 64 × 64 are 0.8 MB an image
CAM = -1  # the channel of the level that is no channel: the class activation map
STEPS, MISSING = 254, 255  # of a level as it is kept: the code of 1, and of a value that was not finite


@dataclass(frozen=True)
class Volume:
    """The levels of one image, layer after layer, the most active channel of each first; the class activation map last."""

    values: np.ndarray  # float32 [level, y, x]: 0 to 1; NaN where the map was not finite
    layer: list[str]  # [level]
    channel: np.ndarray  # int32 [level]: the channel's number in its layer; CAM for the class activation map
    mean: np.ndarray  # float32 [level]: of the finite values of the map, before it was resampled
    low: np.ndarray  # float32 [level]: what 0 stands for
    high: np.ndarray  # float32 [level]: what 1 stands for
    nonfinite: np.ndarray  # int32 [level]: values of the map that were NaN or infinite


@of_stage("volumes")
@axes(
    image="int32 [image]", values="uint8 [image, level, y, x]", channel="int32 [image, level]",
    low="float32 [image, level]", high="float32 [image, level]",
)  # fmt: skip
@dataclass(frozen=True)
class Volumes:
    """The volumes of some images as an atlas keeps them, to be sliced by a page: ``values`` is 254 for 1, 255 for missing.

    A level stands for low + value / 254 · (high − low). Which channels there are differs from image to image.
    """

    layer: list[str]  # [level]
    cam: bool  # whether the last level is the class activation map
    pixels: list[int]  # y, x of the network's input
    image: np.ndarray  # row
    values: np.ndarray
    channel: np.ndarray
    low: np.ndarray
    high: np.ndarray


def pack(rows: Sequence[int], volumes: Sequence[Volume], pixels: tuple[int, int]) -> Volumes:
    """Return the volumes of some images, all of one size and of the same layers, as they are kept."""
    values = np.stack([one.values for one in volumes])
    codes = np.where(np.isfinite(values), np.round(np.nan_to_num(values) * STEPS), MISSING).astype(np.uint8)
    stacked = {name: np.stack([getattr(one, name) for one in volumes]) for name in ("channel", "low", "high")}
    cam = bool(volumes[0].channel[-1] == CAM)
    return Volumes(list(volumes[0].layer), cam, list(pixels), np.array(rows, np.int32), codes, **stacked)


def make_volume(
    maps: Mapping[str, np.ndarray],
    *,
    channels: int = CHANNELS,
    size: tuple[int, int] | None = None,
    cam: tuple[str, np.ndarray] | None = None,
) -> Volume:
    """Return the volume of one image from each layer's maps, float32 [channel, y, x].

    Of each layer the `channels` with the highest mean, or all where it has fewer; `size` y, x of the grid, by default
    `grid_of`; `cam` the class activation map [y, x] and the layer that it is of.
    """
    size = size or grid_of(maps)
    chosen = [(layer, int(channel)) for layer, own in maps.items() for channel in most_active(own, channels)]
    planes = [maps[layer][channel] for layer, channel in chosen]
    if cam is not None:
        chosen.append((cam[0], CAM))
        planes.append(cam[1])
    scaled = [scale(resample(plane, size)) for plane in planes]
    return Volume(
        np.stack([values for values, _, _ in scaled]),
        [layer for layer, _ in chosen],
        np.array([channel for _, channel in chosen], np.int32),
        np.array([means(plane[None])[0] for plane in planes], np.float32),
        np.array([low for _, low, _ in scaled], np.float32),
        np.array([high for _, _, high in scaled], np.float32),
        np.array([(~np.isfinite(plane)).sum() for plane in planes], np.int32),
    )


def means(maps: np.ndarray) -> np.ndarray:
    """Return the mean of the finite values of each map [map, y, x]; -inf for a map without any, so that it ranks last."""
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    there = np.isfinite(flat)
    total, count = np.where(there, flat, 0).sum(1), there.sum(1)
    return np.divide(total, count, out=np.full(len(flat), -np.inf), where=count > 0)


def most_active(maps: np.ndarray, count: int) -> np.ndarray:
    """Return the `count` channels of [channel, y, x] of highest mean, the highest first, of equals the lower number."""
    return np.argsort(-means(maps), kind="stable")[:count]


def grid_of(maps: Mapping[str, np.ndarray], edge: int | None = None) -> tuple[int, int]:
    """Return y, x of the grid: in the proportions of the largest map, its longer side `edge`, by default at most 64."""
    tall, wide = max((own.shape[1:] for own in maps.values()), key=lambda shape: shape[0] * shape[1])
    factor = (edge or min(MOST_EDGE, max(tall, wide))) / max(tall, wide)
    return max(1, round(tall * factor)), max(1, round(wide * factor))


def resample(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a map [y, x] on a grid of `size` y, x: bilinear, averaged where it shrinks; NaN where a value is not finite."""
    known = np.where(np.isfinite(plane), plane, np.nan).astype(np.float32)
    if known.shape == size:
        return known
    return np.array(Image.fromarray(known).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def scale(plane: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return a map with its least finite value at 0 and its greatest at 1, and both; a constant map is 0."""
    there = np.isfinite(plane)
    if not there.any():
        return np.full(plane.shape, np.nan, np.float32), float("nan"), float("nan")
    low, high = float(plane[there].min()), float(plane[there].max())
    apart = high - low if high > low else 1.0
    return ((plane.astype(np.float64) - low) / apart).astype(np.float32), low, high
