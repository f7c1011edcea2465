"""From an image to a network's input: the preprocessing that belongs to its weights. Imports torch only where it is used."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from atlas.errors import AtlasError, choose, one_line

if TYPE_CHECKING:
    import torch

FITS = ("crop", "stretch", "none")
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
LONGEST = 16  # a strip longer than 16 times its width is cut to its middle first: resized whole it would fill the memory


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes a network's input: resized, cut to its centre, scaled to 0–1, normalised.

    ``height`` and ``width`` are the input's size (None: the image's own). ``fit`` says how an image gets there: ``crop``
    resizes its shorter side to ``resize`` pixels (None: just enough to cover the input) and takes the centre; ``stretch``
    resizes both sides to ``resize`` (None: to the input's size) whatever the aspect, then takes the centre; ``none``
    resizes nothing. ``mean`` and ``std`` are per channel, of values in 0–1. Raises AtlasError for values that cannot be.
    """

    height: int | None = None
    width: int | None = None
    resize: int | None = None
    fit: str = "crop"
    channels: int = 3
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise AtlasError(f"preprocessing to {one_line(self.channels)} channels: images have 1 (grey) or 3 (colour)")
        for name in ("mean", "std"):
            object.__setattr__(self, name, _per_channel(name, getattr(self, name), self.channels))
        if any(value <= 0 for value in self.std):
            raise AtlasError(f"preprocessing divides by std {self.std}: each must be above 0")
        if self.fit not in FITS:
            raise choose("way to fit an image", self.fit, FITS)
        if self.interpolation not in INTERPOLATIONS:
            raise choose("interpolation", self.interpolation, INTERPOLATIONS)
        for name in ("height", "width", "resize"):
            object.__setattr__(self, name, _pixels(name, getattr(self, name)))
        if (self.height is None) != (self.width is None):
            raise AtlasError(f"preprocessing to height {self.height}, width {self.width}: give both or neither")

    def array(self, image: Image.Image) -> np.ndarray:
        """Return `image` as the network's input before normalising: uint8 [rgb, y, x], grey [1, y, x]."""
        mode = "L" if self.channels == 1 else "RGB"
        fitted = self._centre(self._resized(image if image.mode == mode else image.convert(mode)))
        pixels = np.asarray(fitted)
        return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def tensor(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the uint8 `batch` [image, rgb, y, x] as the network takes it: float32, (value / 255 − mean) / std."""
        import torch

        mean = torch.tensor(self.mean, dtype=torch.float32, device=batch.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, dtype=torch.float32, device=batch.device).view(1, -1, 1, 1)
        return batch.to(torch.float32).div_(255).sub_(mean).div_(std)

    def _resized(self, image: Image.Image) -> Image.Image:
        if self.fit == "none":
            return image
        image = _cut_long(image) if self.height else image
        size = self._stretched_size() if self.fit == "stretch" else self._covering_size(*image.size)
        return image if size in (None, image.size) else image.resize(size, INTERPOLATIONS[self.interpolation])

    def _stretched_size(self) -> tuple[int, int] | None:
        if self.resize:
            return self.resize, self.resize
        return (self.width, self.height) if self.width and self.height else None

    def _covering_size(self, width: int, height: int) -> tuple[int, int] | None:
        if self.resize:  # torchvision's rounding: the longer side is cut to a whole number
            short, long = min(width, height), max(width, height)
            longer = max(1, int(self.resize * long / short))
            return (self.resize, longer) if width <= height else (longer, self.resize)
        if not self.height or not self.width:
            return None
        scale = max(self.width / width, self.height / height)
        return max(self.width, round(width * scale)), max(self.height, round(height * scale))

    def _centre(self, image: Image.Image) -> Image.Image:
        if not self.height or not self.width or image.size == (self.width, self.height):
            return image
        left, top = _margin(image.width, self.width), _margin(image.height, self.height)
        return image.crop((left, top, left + self.width, top + self.height))  # beyond the edge Pillow adds black

    def at_size(self, edge: int) -> Preprocess:
        """Return the same for inputs of `edge` × `edge` pixels, the margin before the crop kept in proportion."""
        edge = _pixels("input size", edge) or 0
        resize = round(self.resize * edge / self.height) if self.resize and self.height else None
        return dataclasses.replace(
            self, height=edge, width=edge, resize=resize, fit="crop" if self.fit == "none" else self.fit
        )

    def at_own_size(self) -> Preprocess:
        """Return the same without resizing and cutting: every image is run at its own size."""
        return dataclasses.replace(self, height=None, width=None, resize=None, fit="none")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `from_dict` reads them back."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """Return the preprocessing that `values` names by field; an unknown field raises AtlasError."""
        names = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in names:
                wrong = str(choose("field of the preprocessing", name, names))
                raise AtlasError(f"{wrong} (there are {', '.join(names)}, and `categories`)")
        return cls(**values)

    def describe(self) -> str:
        """Return the preprocessing as a sentence for the page and the terminal."""
        steps = [("grey" if self.channels == 1 else "RGB"), *self.fit_words(), "values ÷ 255"]
        if any(self.mean) or any(value != 1 for value in self.std):
            steps.append(f"− mean ({_numbers(self.mean)}), ÷ std ({_numbers(self.std)})")
        return ", ".join(steps)

    def fit_words(self) -> list[str]:
        """Return how an image comes to the input's size, step by step, in words."""
        if self.fit == "none" or not (self.resize or self.height):
            return [f"centre {self.width}×{self.height} px" if self.height else "size as it is"]
        if self.fit == "stretch":
            resized = [f"stretched to {self.resize or self.width}×{self.resize or self.height} px ({self.interpolation})"]
        elif self.resize:
            resized = [f"shorter side to {self.resize} px ({self.interpolation})"]
        else:
            resized = [f"resized to cover {self.width}×{self.height} px ({self.interpolation})"]
        return resized + ([f"centre {self.width}×{self.height} px"] if self.height else [])


def _per_channel(name: str, value: Any, channels: int) -> tuple[float, ...]:
    values = [value] if isinstance(value, int | float) else list(value) if isinstance(value, Sequence) else [math.nan]
    try:
        numbers = tuple(float(number) for number in values)
    except (TypeError, ValueError):
        numbers = (math.nan,)
    numbers = numbers * channels if len(numbers) == 1 else numbers
    if len(numbers) != channels or not all(map(math.isfinite, numbers)):
        raise AtlasError(f"preprocessing {name} {one_line(value)}: give one number, or {channels}, one for each channel")
    return numbers


def _pixels(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= 8192:
        raise AtlasError(f"preprocessing {name} {one_line(value)}: give a whole number of pixels from 1 to 8192")
    return int(value)


def _margin(size: int, wanted: int) -> int:
    """Return where a centre crop starts, negative where it lies outside; torchvision's rounding."""
    return round((size - wanted) / 2.0) if size >= wanted else -((wanted - size) // 2)


def _cut_long(image: Image.Image) -> Image.Image:
    width, height = image.size
    most = LONGEST * min(width, height)
    if max(width, height) <= most:
        return image
    left, top = max(0, (width - most) // 2), max(0, (height - most) // 2)
    return image.crop((left, top, left + min(width, most), top + min(height, most)))


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


# ---------------------------------------------------------------------------------------------------------------------
# What the libraries say about their weights


def from_torchvision(preset: Any) -> Preprocess:
    """Return the preprocessing of torchvision's ``ImageClassification`` preset."""
    crop, resize = preset.crop_size[0], preset.resize_size[0]
    return Preprocess(
        height=crop,
        width=crop,
        resize=resize,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )


def from_timm(config: Mapping[str, Any]) -> Preprocess:
    """Return the preprocessing of a data config of timm, as ``timm.data.create_transform`` runs it for evaluation.

    The crop mode ``border``, which pads, is taken as ``center``: `Network.notes` says so.
    """
    channels, height, width = config["input_size"]
    stretch = config.get("crop_mode") == "squash"
    resize = math.floor(height / (config.get("crop_pct") or 0.875))  # timm's own default share
    return Preprocess(
        height=height,
        width=width,
        resize=resize if height == width else None,
        fit="stretch" if stretch else "crop",
        channels=channels,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"] if config["interpolation"] in INTERPOLATIONS else "bicubic",
    )
