"""How an image is written as parameters that gradient ascent moves: pixels, Fourier, MACO, a dataset's components.

Every parameterisation treats each image of a batch alone: a batch of N images moves as N batches of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from atlas.errors import choose
from atlas.preferred.prior import Prior
from atlas.preferred.transforms import LARGE

NAMES = ("pixel", "fourier", "maco", "pca")
LUCID_COLOURS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
"""A root of ImageNet's colour covariance: lucid, optvis/param/color.py."""
LUCID_SCALE = 4.0  # lucid divides its Fourier image by four: optvis/param/spatial.py
SMALL_DECAY = 1.0  # lucid's, which was made for InceptionV1
LARGE_DECAY, LARGE_RATE = 1.5, 0.025  # horama's decay; with lucid's 1 EfficientNet-lite0 drew noise of two pixels over all
SMALLEST_STD = 1e-5  # a flat image is divided by this and stays flat


class Parameterisation(Protocol):
    """A way to write images as numbers.

    ``rate`` is the optimiser's step that fits it, ``optimiser`` its name in `torch.optim`, ``words`` says it to people.
    """

    name: str
    words: str
    rate: float
    optimiser: str

    def start(self, seeds: Sequence[int]) -> torch.Tensor:
        """Return the parameters to start from, [image, …]: those of equal seeds are equal."""
        ...

    def near(self, pictures: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        """Return the parameters of images near `pictures` [image, rgb, y, x] in 0–1, to start from there."""
        ...

    def picture(self, values: torch.Tensor) -> torch.Tensor:
        """Return the images of parameters: [image, rgb, y, x] in 0–1."""
        ...


def as_tensor(values: np.ndarray) -> torch.Tensor:
    """Return a copy of an array, which may be mapped from a file and not to be written."""
    return torch.from_numpy(np.array(values))


def normalised(colours: np.ndarray) -> np.ndarray:
    """Return a colour matrix with its longest column at length 1: lucid, optvis/param/color.py."""
    return colours / np.linalg.norm(colours, axis=0).max()


def noise(seeds: Sequence[int], shape: Sequence[int], scale: float) -> torch.Tensor:
    """Return normal noise [image, …], the same for images of equal seeds whatever is beside them."""
    drawn = {s: torch.randn(*shape, generator=torch.Generator().manual_seed(int(s))) for s in dict.fromkeys(seeds)}
    return torch.stack([drawn[seed] for seed in seeds]) * scale


def logit(level: torch.Tensor) -> torch.Tensor:
    """Return the inverse of the sigmoid, for values kept off 0 and 1."""
    return torch.logit(level.clamp(1e-2, 1 - 1e-2))


@dataclass(frozen=True)
class Pixels:
    """Every pixel a parameter, through a sigmoid about the dataset's mean level: no other prior."""

    prior: Prior
    name = "pixel"
    words = "pixels, without any prior but the mean level"
    rate, optimiser = 0.05, "Adam"
    scale = 0.01  # of the noise at the start, as in lucid

    def start(self, seeds: Sequence[int]) -> torch.Tensor:
        return noise(seeds, self.prior.size, self.scale)

    def near(self, pictures: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        return logit(pictures) - self._offset + self.start(seeds)

    def picture(self, values: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(values + self._offset)

    @property
    def _offset(self) -> torch.Tensor:
        return logit(as_tensor(self.prior.level))[:, None, None]


class Fourier:
    """Coefficients of the Fourier transform, scaled by 1/frequency, of decorrelated colours: lucid's parameterisation.

    z ~ N(0, 0.01²); x = irfft2(z · √(W·H) / max(f, 1/max(W, H))^decay) / 4; colours M · x; image = sigmoid(x + level).
    Source: tensorflow/lucid, optvis/param/spatial.py and color.py. The level is the dataset's mean (a grey for lucid). By
    default the decay is lucid's for small images, and for those of LARGE pixels horama's (serre-lab/Horama), with a smaller
    rate since low frequencies then move farther.
    """

    name = "fourier"
    words = "Fourier coefficients with decorrelated colours, no prior but the mean level and the colours"
    rate, optimiser = 0.05, "Adam"
    scale = 0.01

    def __init__(self, prior: Prior, *, decay: float | None = None):
        self.channels, self.height, self.width = prior.size
        if decay is None:
            decay = LARGE_DECAY if min(self.height, self.width) >= LARGE else SMALL_DECAY
        if decay > SMALL_DECAY:
            self.rate = LARGE_RATE
        even = self.width + self.width % 2  # an odd width has one column too many, which is cut
        self.grid = (self.height, even)
        scale = math.sqrt(even * self.height) / np.maximum(frequencies(*self.grid), 1 / max(even, self.height)) ** decay
        self._scale = torch.from_numpy(scale.astype(np.float32))
        self._colours = as_tensor(prior.colours) if self.channels == 3 else None
        self._offset = logit(as_tensor(prior.level))[:, None, None]

    def start(self, seeds: Sequence[int]) -> torch.Tensor:
        return noise(seeds, (self.channels, *self._scale.shape, 2), self.scale)

    def near(self, pictures: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        plain = logit(pictures) - self._offset
        if self._colours is not None:
            plain = torch.einsum("cd,ndyx->ncyx", torch.linalg.inv(self._colours), plain)
        plain = torch.nn.functional.pad(plain, (0, self.grid[1] - self.width, 0, 0), mode="replicate")
        found = torch.fft.rfft2(plain * LUCID_SCALE) / self._scale
        return torch.view_as_real(found).contiguous() + self.start(seeds)

    def picture(self, values: torch.Tensor) -> torch.Tensor:
        spectrum = torch.view_as_complex(values) * self._scale
        plain = torch.fft.irfft2(spectrum, s=self.grid)[..., : self.width] / LUCID_SCALE
        if self._colours is not None:
            plain = torch.einsum("cd,ndyx->ncyx", self._colours, plain)
        return torch.sigmoid(plain + self._offset)


def frequencies(height: int, width: int) -> np.ndarray:
    """Return the frequency of each coefficient of ``rfft2``, cycles per pixel: float64 [y, frequency]."""
    return np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])


class Maco:
    """The phases of the Fourier transform; its magnitudes are the dataset's own mean: MACO.

    The phases are standardised image by image at every step, so is the image, which then gets the dataset's mean and
    deviation and is clamped to 0–1. Source: Fel et al., "Unlocking Feature Visualization for Deep Networks with MAgnitude
    Constrained Optimization", NeurIPS 2023; the clamp and the dataset's own deviation are ours, for images of any kind.
    """

    name = "maco"
    words = "the phases of a spectrum whose magnitudes are the dataset's own (MACO)"
    rate, optimiser = 1.0, "NAdam"
    scale = 1.0

    def __init__(self, prior: Prior):
        self.channels, self.height, self.width = prior.size
        self._spectrum = as_tensor(prior.spectrum)
        self._colours = as_tensor(prior.colours) if self.channels == 3 else None
        self._level = as_tensor(prior.level)[:, None, None]
        self._std = as_tensor(prior.std)[:, None, None]

    def start(self, seeds: Sequence[int]) -> torch.Tensor:
        return noise(seeds, self._spectrum.shape, self.scale)

    def near(self, pictures: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        plain = pictures - pictures.mean(dim=(2, 3), keepdim=True)
        if self._colours is not None:
            plain = torch.einsum("cd,ndyx->ncyx", torch.linalg.inv(self._colours), plain)
        return torch.angle(torch.fft.rfft2(plain)) + 0.1 * self.start(seeds)

    def picture(self, values: torch.Tensor) -> torch.Tensor:
        spectrum = torch.polar(self._spectrum.expand_as(values), standardised(values))
        plain = torch.fft.irfft2(spectrum, s=(self.height, self.width))
        if self._colours is not None:
            plain = torch.einsum("cd,ndyx->ncyx", self._colours, plain)
        return (standardised(plain) * self._std + self._level).clamp(0, 1)


def standardised(values: torch.Tensor) -> torch.Tensor:
    """Return each image's numbers with mean 0 and standard deviation 1."""
    flat = values.flatten(1)
    std = flat.std(dim=1, unbiased=False).clamp_min(SMALLEST_STD)
    return ((flat - flat.mean(dim=1, keepdim=True)) / std[:, None]).view_as(values)


class Components:
    """The dataset's principal components, each in units of its standard deviation: x = clamp(μ + (s · σ) V, 0, 1).

    The whitened space of images whose statistics depend on the place: centred digits, clothes, faces. A strong prior: it
    makes anything look like the data, so it is shown beside one without.
    """

    name = "pca"
    rate, optimiser = 0.1, "Adam"
    scale = 0.1

    def __init__(self, prior: Prior):
        self.size = prior.size
        self.words = f"the dataset's {len(prior.components)} largest principal components: a strong prior"
        self._mean = as_tensor(prior.mean)
        self._components = as_tensor(prior.components)
        self._deviation = as_tensor(prior.deviation).clamp_min(SMALLEST_STD)

    def start(self, seeds: Sequence[int]) -> torch.Tensor:
        return noise(seeds, self._deviation.shape, self.scale)

    def near(self, pictures: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        along = (pictures - self._mean).flatten(1) @ self._components.T / self._deviation
        return along + self.start(seeds)

    def picture(self, values: torch.Tensor) -> torch.Tensor:
        plain = (values * self._deviation) @ self._components
        return (plain.view(-1, *self.size) + self._mean).clamp(0, 1)


def parameterisation(name: str, prior: Prior) -> Parameterisation:
    """Return the parameterisation called `name` for images like those of `prior`; an unknown one raises AtlasError."""
    kinds = {"pixel": Pixels, "fourier": Fourier, "maco": Maco, "pca": Components}
    if name not in kinds:
        raise choose("parameterisation", name, NAMES)
    return kinds[name](prior)


def usual(size: tuple[int, int, int], *, spatial: bool) -> str:
    """Return the parameterisation for inputs of `size` (rgb, y, x): Fourier for large inputs of networks with places.

    Small inputs (digits, clothes), and networks of fully connected layers alone, look like noise without a dataset's prior:
    the whitened components are theirs (methods, section 0).
    """
    return "fourier" if min(size[1:]) >= LARGE and spatial else "pca"
