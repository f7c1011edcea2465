"""Real images made many: each of Fashion-MNIST's again and again, every time moved, mirrored or changed in contrast."""

from __future__ import annotations

import numpy as np

SHIFT = 2  # pixels at most in both directions: the networks are trained with as much


class Augmented:
    """A dataset object of `count` images: the first are the real ones, the others made of them, each in its own way.

    Items are (uint8 [28, 28], label); the same index gives the same bytes. `targets` and `classes` are as torchvision has
    them.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, count: int):
        from atlas.data.named import known

        random = np.random.default_rng(0)
        self.order = random.permutation(len(pixels))  # so that any count has all classes and both splits
        self.pixels, self.count = pixels, count
        self.shift = random.integers(-SHIFT, SHIFT + 1, (count, 2), dtype=np.int8)
        self.mirrored = random.random(count) < 0.5
        self.contrast = random.integers(0, len(CONTRASTS), count, dtype=np.int8)
        self.classes = list(known("fashion-mnist").labels)
        self.targets = labels[self.order[np.arange(count) % len(self.order)]].tolist()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        image = self.pixels[self.order[index % len(self.order)]]
        if index >= len(self.order):
            image = moved(image, *self.shift[index].tolist())
            image = CONTRASTS[self.contrast[index]][image[:, ::-1] if self.mirrored[index] else image]
        return image, self.targets[index]


CONTRASTS = np.clip(np.arange(256) * np.linspace(0.8, 1.2, 21)[:, None], 0, 255).astype(np.uint8)


def moved(image: np.ndarray, y: int, x: int) -> np.ndarray:
    """Return an image moved down by `y` and right by `x` pixels, black where it was not."""
    found, edge = np.zeros_like(image), len(image)
    found[max(y, 0) : edge + min(y, 0), max(x, 0) : edge + min(x, 0)] = image[
        max(-y, 0) : edge + min(-y, 0), max(-x, 0) : edge + min(-x, 0)
    ]
    return found
