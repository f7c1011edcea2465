"""A tiny world for the tests of a pass: images made from a seed, a reader that counts, networks of a few weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

from atlas.activations import extract
from atlas.activations.records import PartLayer, PartLogits, PartMoments
from atlas.data.decoding import Seen
from atlas.data.reading import Reader
from atlas.data.records import Images
from atlas.models.preprocess import Preprocess
from atlas.models.records import ClassMap
from atlas.store import Files, Store, digest

LABELS = ["bag", "boot", "coat"]
GREY = Preprocess(height=8, width=8, channels=1, mean=(0.5,), std=(0.25,))


class PixelReader(Reader):
    """Grey pixels [image, y, x], handed out as arrays, as Pillow images only, or as float tensors."""

    def __init__(self, array: np.ndarray, *, arrays: bool = True, tensors: bool = False):
        super().__init__([str(i) for i in range(len(array))])
        self.array, self.arrays, self.tensors = array, arrays, tensors
        self.read: list[int] = []

    def look(self, row: int, *, at_least: int | None = None) -> Seen:
        height, width = self.array.shape[1:]
        return Seen(Image.fromarray(self.array[row]), width, height, "L")

    def pixels(self, rows: Any) -> np.ndarray | None:
        self.read += [int(row) for row in rows] if self.arrays else []
        return self.array[np.asarray(rows)] if self.arrays else None

    def image(self, row: int) -> Image.Image:
        self.read.append(row)
        return Image.fromarray(self.array[row])

    def tensor(self, row: int) -> np.ndarray:
        return self.array[row][None].astype(np.float32) / 255


@dataclass
class Net:
    """What a pass needs of a network."""

    module: nn.Module
    outputs: int = 3
    preprocess: Preprocess = GREY
    title: str = "tiny"
    passes: list[int] = field(default_factory=list)  # images in each forward pass

    def __post_init__(self) -> None:
        self.module.register_forward_pre_hook(lambda module, inputs: self.passes.append(len(inputs[0])))

    @property
    def identity(self) -> str:
        weights = {name: value.numpy() for name, value in self.module.state_dict().items()}
        return digest([weights, repr(self.module), self.preprocess.to_dict()])


class Tiny(nn.Module):
    """Two convolutions and a linear layer; the ReLU after the first one works in place."""

    def __init__(self, seed: int = 0, outputs: int = 3):
        super().__init__()
        torch.manual_seed(seed)
        self.conv1 = nn.Conv2d(1, 5, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(5, 6, 3, stride=2, padding=1)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(6, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv2(self.relu(self.conv1(x)))
        return self.fc(self.drop(x.mean((2, 3))))


class Block(nn.Module):
    """One block of a vision transformer."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.attend = nn.LayerNorm(width), nn.MultiheadAttention(width, 2, batch_first=True)
        self.mix = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        return x + self.mix(self.attend(y, y, y, need_weights=False)[0])


class TinyViT(nn.Module):
    """A vision transformer of two blocks over 4 × 4 patches and a class token."""

    def __init__(self, width: int = 8):
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, width)), nn.Parameter(torch.randn(1, 17, width))
        self.blocks = nn.Sequential(Block(width), Block(width))
        self.head = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place
        return self.head(self.blocks(x)[:, 0])


def make_images(count: int, *, broken: tuple[int, ...] = (), unlabelled: tuple[int, ...] = (), seed: int = 0) -> Images:
    """An images record of `count` rows; every third image is held out."""
    rng = np.random.default_rng(seed)
    labels = [None if row in unlabelled else LABELS[i] for row, i in enumerate(rng.integers(0, 3, count))]
    table = pd.DataFrame(
        {
            "image_id": [f"{seed:04x}{row:012x}" for row in range(count)],
            "path": [f"{row}.png" for row in range(count)],
            "label": labels,
            "split": ["held-out" if row % 3 == 0 else "train" for row in range(count)],
            "error": ["truncated" if row in broken else None for row in range(count)],
        }
    )
    return Images(table, LABELS, "tiny", {}, {}, Files(), 28, 50)


def make_pixels(count: int, edge: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + 1).integers(0, 256, (count, edge, edge), np.uint8)


def class_map(outputs: list[int] | None = None) -> ClassMap:
    outputs = [0, 1, 2] if outputs is None else outputs
    return ClassMap([f"output {i}" for i in range(len(outputs))], outputs, LABELS, "order", "")


def run(root: Any, net: Net, images: Images, reader: Reader, **options: Any) -> extract.Pass:
    """A pass with small batches in float32, unless asked otherwise."""
    defaults: dict[str, Any] = {
        "vectors": {"conv2": "mean"},
        "statistics": {},
        "precision": "float32",
        "batch_size": 7,
    }
    return extract.run(Store(root), net, "network-0", images, "images-0", reader, **{**defaults, **options})  # type: ignore[arg-type]


def parts_of(root: Any, names: list[str]) -> list[PartLayer]:
    return [Store(root).read(name, PartLayer) for name in names]


def moments_of(root: Any, names: list[str]) -> list[PartMoments]:
    return [Store(root).read(name, PartMoments) for name in names]


def logits_of_parts(root: Any, names: list[str]) -> list[PartLogits]:
    return [Store(root).read(name, PartLogits) for name in names]


def plain_hook_loop(module: nn.Module, layer: str, batch: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """What a reader of torch's tutorial would write: one hook, one image at a time; the layer's outputs and the logits."""
    kept = []
    handle = module.get_submodule(layer).register_forward_hook(lambda m, i, output: kept.append(output.clone()))
    with torch.no_grad():
        logits = torch.cat([module.eval()(image[None]) for image in batch])
    handle.remove()
    return torch.cat(kept).numpy(), logits.numpy()


def as_input(array: np.ndarray) -> torch.Tensor:
    return GREY.tensor(torch.from_numpy(array[:, None].copy()))
