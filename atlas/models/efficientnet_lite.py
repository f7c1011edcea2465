"""EfficientNet-lite0, which neither torchvision nor a checkpoint alone brings along: ReLU6, no squeeze and excitation.

Tan and Le 2019 (arXiv 1905.11946); the lite variants are of tensorflow/tpu, models/official/efficientnet/lite. The names of
its layers are those of the PyPI package efficientnet_lite_pytorch, whose weights fit.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

# repeats, kernel, stride, expansion, units of the output
BLOCKS = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))  # fmt: skip
STEM, HEAD = 32, 1280
EPSILON, MOMENTUM = 1e-3, 0.01  # of the batch norms, as in TensorFlow's


class SamePadding(nn.Conv2d):
    """A convolution with TensorFlow's padding: as many places as ceil(size / stride), the odd pixel at the far edge."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        sizes = zip(input.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True)  # x, then y
        pads = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size, kernel, stride in sizes]
        around = [side for pad in pads for side in (pad // 2, pad - pad // 2)]
        return super().forward(functional.pad(input, around) if any(around) else input)


def _norm(units: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(units, eps=EPSILON, momentum=MOMENTUM)


class Block(nn.Module):
    """An inverted residual block: expanded by 1 × 1, filtered unit by unit, projected back; added where the sizes agree."""

    def __init__(self, units: int, out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = units * expansion
        if expansion > 1:
            self._expand_conv = SamePadding(units, inner, 1, bias=False)
            self._bn0 = _norm(inner)
            self._relu0 = nn.ReLU6()
        self._depthwise_conv = SamePadding(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = _norm(inner)
        self._relu1 = nn.ReLU6()
        self._project_conv = SamePadding(inner, out, 1, bias=False)
        self._bn2 = _norm(out)
        self.expands, self.adds = expansion > 1, stride == 1 and units == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self._relu0(self._bn0(self._expand_conv(x))) if self.expands else x
        inner = self._relu1(self._bn1(self._depthwise_conv(inner)))
        out = self._bn2(self._project_conv(inner))
        return x + out if self.adds else out


class EfficientNetLite0(nn.Module):
    """The network: images [image, rgb, y, x], by default of 224 × 224 pixels; logits [image, class]."""

    def __init__(self, classes: int = 1000):
        super().__init__()
        self._conv_stem = SamePadding(3, STEM, 3, 2, bias=False)
        self._bn0 = _norm(STEM)
        self._relu0 = nn.ReLU6()
        blocks, units = [], STEM
        for repeats, kernel, stride, expansion, out in BLOCKS:
            for number in range(repeats):
                blocks.append(Block(units, out, kernel, stride if number == 0 else 1, expansion))
                units = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SamePadding(units, HEAD, 1, bias=False)
        self._bn1 = _norm(HEAD)
        self._relu1 = nn.ReLU6()
        self._avg_pooling = nn.AdaptiveAvgPool2d(1)
        self._dropout = nn.Dropout(0.2)
        self._fc = nn.Linear(HEAD, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self._relu0(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = self._relu1(self._bn1(self._conv_head(x)))
        return self._fc(self._dropout(self._avg_pooling(x).flatten(1)))


def lite0() -> tuple[nn.Module, dict[str, object]]:
    """Return the network with random weights, and the preprocessing that ImageNet's weights want: (value − 127) / 128."""
    sizes: dict[str, object] = {"height": 224, "width": 224, "resize": 256, "interpolation": "bicubic"}
    return EfficientNetLite0(), {**sizes, "mean": [127 / 255] * 3, "std": [128 / 255] * 3}
