"""What a network's input must be when its weights do not say: read off its first layer and tried."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from atlas.errors import AtlasError
from atlas.models.preprocess import Preprocess

# The sizes classifiers are most often made for, tried in this order: grey ones are small, colour ones ImageNet's or CIFAR's.
EDGES = {1: (28, 32, 64, 96, 128, 224), 3: (224, 32, 64, 96, 128, 28, 227, 256, 299, 384)}
SMALL = 256  # pixels: larger images are photographs, and networks are made for smaller inputs than those


def guesses(
    module: nn.Module, *, input_size: int | None, sample_shape: tuple[int, ...] | None
) -> Iterator[tuple[Preprocess, str]]:
    """Yield the preprocessings to try, best first, each with a sentence on how it was found; mean 0 and std 1.

    `input_size` (pixels) settles the size; else a first Linear layer's width does (784 is 28×28 grey, 3 072 is 32×32 in
    colour); else `sample_shape`, the images' own [y, x], where they are small; else common sizes. Raises AtlasError for a
    first layer that takes neither grey nor colour images.
    """
    own = image_size(sample_shape)
    channels, flat = _first_layer(module, own)
    for height, width, how in _sizes(channels, flat, input_size, own):
        preprocess = Preprocess(height=height, width=width, channels=channels, mean=(0.0,), std=(1.0,))
        yield preprocess, f"its weights name no preprocessing: {height}×{width} px is {how}; values in 0–1, not normalised"


def image_size(shape: tuple[int, ...] | None) -> tuple[int, int] | None:
    """Return height and width from the shape of an image: [y, x], [y, x, rgb] or a tensor's [rgb, y, x]."""
    if shape is None or len(shape) < 2:
        return None
    first = 1 if len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3) else 0
    return int(shape[first]), int(shape[first + 1])


def _sizes(
    channels: int, flat: int | None, input_size: int | None, own: tuple[int, int] | None
) -> Iterator[tuple[int, int, str]]:
    if input_size or flat:
        edge = input_size or flat or 0
        yield edge, edge, "the size given" if input_size else "what its first Linear layer takes"
        return
    small = own is not None and max(own) <= SMALL
    if own and small:
        yield *own, "the images' own size"
    for edge in EDGES[channels]:
        yield edge, edge, "the first of the usual sizes that it takes"
    if own and not small:
        yield *own, "the images' own size"


def _first_layer(module: nn.Module, own: tuple[int, int] | None) -> tuple[int, int | None]:
    """Return the channels that the first layer takes and, where it is a Linear one, the edge of a square image."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            if part.in_channels not in (1, 3):
                found = f"the network's first layer takes {part.in_channels} channels"
                raise AtlasError(f"{found}: images have 1 (grey) or 3 (colour)")
            return part.in_channels, None
        if isinstance(part, nn.Linear):
            return _flat(part.in_features, own)
    return 3, None  # its first layer is of no kind known here: colour is tried


def _flat(features: int, own: tuple[int, int] | None) -> tuple[int, int | None]:
    if own and features in (own[0] * own[1], 3 * own[0] * own[1]):
        return (1 if features == own[0] * own[1] else 3), None
    for channels in (1, 3):
        edge = math.isqrt(features // channels)
        if channels * edge * edge == features:
            return channels, edge
    what = f"the network's first layer takes {features} values"
    raise AtlasError(f"{what}, and no square grey or colour image has as many: give its preprocessing")


def sample_of(preprocess: Preprocess, *, images: int = 2, sample_shape: tuple[int, ...] | None = None) -> torch.Tensor:
    """Return a normalised mid-grey batch of the size that `preprocess` makes: float32 [image, rgb, y, x]."""
    height, width = image_size(sample_shape) or (224, 224)
    size = (images, preprocess.channels, preprocess.height or height, preprocess.width or width)
    return preprocess.tensor(torch.full(size, 128, dtype=torch.uint8))
