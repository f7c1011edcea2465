"""Planted twins: how many of them are found

Training images of Fashion-MNIST are encoded anew, shifted, brightened or noised, and the network describes each. One is
found where its original is among its 10 nearest and as much more alike than the others as a leak must be.
Below: what stands in the data set itself.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.measure import arguments, demo_atlas, fashion_mnist, show

PLANTED = 300


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Return pixels encoded as JPEG and decoded."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("L"))


def noised(pixels: np.ndarray) -> np.ndarray:
    """Return pixels with a normal noise of three grey values."""
    return np.clip(pixels + np.random.default_rng(0).normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)


ALTERED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG, quality 90": lambda pixels: jpeg(pixels, 90),
    "JPEG, quality 75": lambda pixels: jpeg(pixels, 75),
    "shifted by a pixel": lambda pixels: np.roll(pixels, 1, axis=1),
    "brightness × 0.8": lambda pixels: (pixels * 0.8).astype(np.uint8),
    "brightness × 1.2": lambda pixels: np.clip(pixels * 1.2, 0, 255).astype(np.uint8),
    "noise of 3 grey values": noised,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Print both tables."""
    from PIL import Image

    from atlas.activations.extract import describe
    from atlas.patterns import likeness
    from atlas.patterns.leaks import NEAREST
    from atlas.truth import leaks_record

    options = arguments(__doc__).parse_args(argv)
    opened = demo_atlas(options.cache)
    count = 60 if options.quick else PLANTED
    rows = np.sort(np.random.default_rng(0).choice(60_000, count, replace=False))
    pixels, _ = fashion_mnist(options.cache)
    table = []
    for name, alter in ALTERED.items():
        altered = np.stack([alter(original) for original in pixels[rows]])
        pictures = [Image.fromarray(one) for one in altered]
        seen = describe(opened.network(), pictures, dict.fromkeys(opened.layers, "mean"))
        line = [name]
        for layer in opened.layers:
            near, _ = opened.seeing.space(layer).index.search(seen[layer].astype(np.float32), NEAREST)
            group = np.repeat(np.arange(count), NEAREST)
            alike = likeness.likeness(pixels[near.ravel()], altered[group])
            twin = (alike >= likeness.least_likeness(alike, group)) & (near.ravel() == rows[group])
            line.append(f"{twin.sum() / count:.3f}")
        table.append(line)
    columns = ["altered by", *(f"found in {layer}" for layer in opened.layers)]
    show(f"Share found of {count} planted twins", columns, table)
    found = {layer: leaks_record(opened, layer) for layer in opened.layers}
    lines = [
        [layer, str(one.candidates), str(len(one.pairs)), f"{one.held_out} of {one.of}"] for layer, one in found.items()
    ]
    show("In Fashion-MNIST itself", ["layer", "pairs compared", "pairs alike", "held-out images with a twin"], lines)


if __name__ == "__main__":
    main()
