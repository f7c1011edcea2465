"""A tiny world of known structure: pictures of three shapes, and a network that tells them apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

SHAPES = ("disc", "frame", "stripes")
EDGE = 20


def picture(shape: str, rng: np.random.Generator) -> np.ndarray:
    """Return one picture of a shape: uint8 [y, x, rgb], at a random place, size and colour, with noise."""
    y, x = np.mgrid[:EDGE, :EDGE]
    cy, cx, r = (*rng.uniform(8, 12, 2), rng.uniform(4, 7))
    far = np.maximum(abs(y - cy), abs(x - cx))
    mask = {
        "disc": (y - cy) ** 2 + (x - cx) ** 2 < r * r,
        "frame": (far < r + 1) & (far > r - 1.2),
        "stripes": ((y + int(cy)) // 2 % 2 == 0) & (abs(x - cx) < r + 2),
    }[shape]
    colour = rng.uniform(120, 255, 3)
    return np.clip(mask[..., None] * colour + rng.normal(20, 8, (EDGE, EDGE, 3)), 0, 255).astype(np.uint8)


def write_images(folder: Path, per_class: int = 20, seed: int = 0, splits: tuple[str, ...] = ("train", "test")) -> Path:
    """Write ``folder/SPLIT/SHAPE/000.png`` …; with no splits, ``folder/SHAPE/000.png`` …; return `folder`."""
    rng = np.random.default_rng(seed)
    for split in splits or ("",):
        for shape in SHAPES:
            place = folder / split / shape
            place.mkdir(parents=True, exist_ok=True)
            for k in range(per_class):
                Image.fromarray(picture(shape, rng)).save(place / f"{k:03d}.png")
    return folder


class Tiny(nn.Module):
    """Two convolutions with an in-place ReLU, a pooling, a descriptor of 12 units, three logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.fc1, self.act = nn.Linear(16, 12), nn.ReLU()
        self.logits = nn.Linear(12, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.pool(self.relu(self.conv1(images)))
        maps = self.relu(self.conv2(maps))
        return self.logits(self.act(self.fc1(maps.mean((2, 3)))))


SETTINGS = {"height": EDGE, "width": EDGE, "channels": 3, "mean": (0.2,) * 3, "std": (1.0,) * 3, "categories": list(SHAPES)}


def network() -> tuple[nn.Module, dict]:
    """Return the tiny network and its preprocessing, for ``tests.tiny:network``; its weights come by `--weights`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Tiny(), dict(SETTINGS)


def train(path: Path) -> Path:
    """Train the tiny network to tell the shapes apart, save its weights in `path`, return it; about a second."""
    module, rng = network()[0], np.random.default_rng(99)
    label = np.arange(240) % 3
    images = np.stack([picture(SHAPES[k], rng) for k in label]).transpose(0, 3, 1, 2)
    x, y = torch.from_numpy(images).float() / 255 - 0.2, torch.from_numpy(label)
    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()
        optimizer.step()
    save_file(module.state_dict(), path)
    return path


MODEL = "tests.tiny:network"
