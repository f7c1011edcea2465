"""What people write: a torch Dataset with torchvision's transforms. Imports torch and torchvision alone, for any Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import transforms


class Arrays(torch.utils.data.Dataset):
    """Images of an array, as torchvision's FashionMNIST gives them: a Pillow image through the transforms."""

    def __init__(self, pixels: np.ndarray, transform: Any):
        self.pixels, self.transform = pixels, transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Any:
        return self.transform(Image.fromarray(self.pixels[index])), 0


class Files(torch.utils.data.Dataset):
    """Images of files, as torchvision's ImageFolder gives them."""

    def __init__(self, files: Sequence[Path], transform: Any):
        self.files, self.transform = list(files), transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        return self.transform(Image.open(self.files[index]).convert("RGB")), 0


def conv6_transform(mean: Sequence[float], std: Sequence[float]) -> Any:
    """Return the usual transforms of Fashion-MNIST."""
    return transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])


def lite0_transform() -> Any:
    """Return the usual transforms of ImageNet's networks, with EfficientNet-lite0's mean and standard deviation."""
    return transforms.Compose(
        [
            transforms.Resize(256, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([127 / 255] * 3, [128 / 255] * 3),
        ]
    )


def hook_loop(network: torch.nn.Module, layer: str, loader: Any) -> torch.Tensor:
    """Return a layer's outputs for all images, as a forward hook in a plain float32 loop collects them."""
    found: list[torch.Tensor] = []
    hook = network.get_submodule(layer).register_forward_hook(
        lambda module, inputs, output: found.append(output.detach().cpu())
    )
    with torch.no_grad():
        for images, _ in loader:
            network(images)
    hook.remove()
    return torch.cat(found)
