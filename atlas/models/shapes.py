"""Which axis of a layer's output counts its units, read off its shape alone. Imports no torch.

`atlas.models.layers.UnitAxes` knows more, from the kinds of layers that ran; this is its last resort.
"""

from __future__ import annotations

from collections.abc import Sequence

FEWEST = 2  # images in a forward pass: networks that squeeze their output drop the image axis of a batch of one


def has_units(shape: Sequence[int]) -> bool:
    """Tell whether an output of this shape, images first, has a unit axis: it has 2, 3 or 4 axes and is not empty."""
    return 2 <= len(shape) <= 4 and all(size > 0 for size in shape)


def channels_last(shape: Sequence[int]) -> bool:
    """Tell whether a 4-D output is [image, y, x, unit]: its two middle axes agree and the last differs from them.

    Torch's own order is [image, unit, y, x]; only transformers of the Swin kind and their like hand out the other.
    """
    return len(shape) == 4 and shape[1] == shape[2] != shape[3]


def unit_axis(shape: Sequence[int]) -> int:
    """Return the axis of `shape` (images first) that counts units.

    [image, unit] → 1; [image, token, unit] → 2; [image, unit, y, x] → 1; [image, y, x, unit] → 3 (see `channels_last`).
    Raises ValueError for any other number of axes.
    """
    if not has_units(shape):
        raise ValueError(f"an output of shape {tuple(shape)} has no unit axis")
    if len(shape) == 3 or channels_last(shape):
        return len(shape) - 1
    return 1


def shape_text(shape: Sequence[int], axis: int | None = None) -> str:
    """Return the shape of one image's output in words: ``64×14×14``, ``197×768 tokens``, ``7×7×768 channels last``.

    `axis` is the one that counts units; None reads it off the shape.
    """
    text = "×".join(str(size) for size in shape[1:]) or "one number"
    if len(shape) == 3:
        return f"{text} tokens"
    last = channels_last(shape) if axis is None else len(shape) == 4 and axis == 3
    return f"{text} channels last" if last else text
