"""One image inside a network: every unit's activation map of one layer, and at which size the image was run.

What computes maps knows no picture of them, and what draws them (`atlas.pages.figures_maps`) no network: arrays are between.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atlas.activations.spatial import activation_maps
from atlas.errors import AtlasError
from atlas.models.layers import find_layer, list_layers
from atlas.models.network import Network

if TYPE_CHECKING:
    from PIL.Image import Image

    from atlas.models.preprocess import Preprocess


@dataclass(frozen=True)
class ImageMaps:
    """The activation maps of one image in one layer."""

    layer: str
    number: int  # of the layer in `atlas layers`
    kind: str
    maps: np.ndarray  # float32 [unit, y, x]; a layer without places has one
    input: np.ndarray  # uint8 [rgb, y, x]: the image as the network took it, before its colours are normalised
    image_size: tuple[int, int]  # y, x of the image that was given
    own_size: bool  # whether it was run at that size
    sizing: str  # the same in words

    @property
    def input_size(self) -> tuple[int, int]:
        """The size at which the image was run, y, x."""
        tall, wide = self.input.shape[1:]
        return tall, wide


def image_maps(
    network: Network, picture: Image, layer: str | int, *, own_size: bool = False, device: str = "cpu"
) -> ImageMaps:
    """Return every unit's map of `picture` in `layer`, a name or a number of `atlas layers`; in float32. Needs torch.

    The image is resized and cut as the network's weights ask, or with `own_size` run as large as it is. An unknown layer,
    and a size that the network does not take, raise AtlasError.
    """
    row = find_layer(list_layers(network.module, network.sample()), layer)
    chosen = network.preprocess.at_own_size() if own_size else network.preprocess
    maps = _run(dataclasses.replace(network, preprocess=chosen), picture, str(row["name"]), device, own_size)
    pixels = chosen.array(picture)
    size = picture.height, picture.width
    return ImageMaps(
        layer=str(row["name"]), number=int(row["number"]), kind=str(row["kind"]), maps=maps, input=pixels, image_size=size,
        own_size=size == pixels.shape[1:], sizing=sizing(network.preprocess, size, pixels.shape[1:]),
    )  # fmt: skip


def _run(network: Network, picture: Image, layer: str, device: str, own_size: bool) -> np.ndarray:
    try:
        return activation_maps(network, picture, [layer], device=device)[layer]
    except AtlasError as reason:
        if not own_size:
            raise
        raise AtlasError(f"{reason}; or leave out own size, and it is resized to what the network takes") from None


def sizing(preprocess: Preprocess, image: tuple[int, int], taken: tuple[int, ...]) -> str:
    """Return in words how an image of y, x pixels came to the size at which it was run."""
    given, ran = (f"{size[0]}×{size[1]} px" for size in (image, taken))
    usual = f"{preprocess.height}×{preprocess.width} px" if preprocess.height else ran
    if given == ran:
        return f"run at its own size, {given}" + (
            ", which is the network's" if usual == ran else f"; the network's is {usual}"
        )
    return f"resized from {given} to {ran} ({', '.join(preprocess.fit_words())})"
