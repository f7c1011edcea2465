"""Preferred inputs of many units: in batches, with restarts or several reconstructions, measured as the real images were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from atlas.activations.batching import out_of_memory
from atlas.activations.functionals import AFTER_RELU, Functional
from atlas.errors import AtlasError
from atlas.models.network import Network
from atlas.preferred.ascent import STEPS, Ascent, Settings, ascend, rounded
from atlas.preferred.forward import Forward, forward
from atlas.preferred.objectives import Objective, diversity, unit
from atlas.preferred.parameterisations import Parameterisation, parameterisation, usual
from atlas.preferred.prior import Prior
from atlas.preferred.side_by_side import side_by_side
from atlas.preferred.transforms import Transforms
from atlas.preferred.transforms import usual as usual_transforms

PIXELS_AT_ONCE = 128 * 28 * 28  # in a batch: with more, a small network's outputs leave the processor's cache
FEWEST_AT_ONCE, MOST_AT_ONCE = 8, 128
RESTARTS = 4  # starts per unit, of which the best is kept: the published atlas used as many
SPREAD_APART = 0.5  # of a unit's best real activation: what full likeness among its reconstructions costs


@dataclass(frozen=True)
class Wanted:
    """What is asked for: which units of which layer, and how they are drawn.

    `functional` is the recorded one, by which the result is measured; the ascent leaves its ReLU out. `restarts` tries per
    unit, the best kept; or `variants` reconstructions of each, all kept, made unlike in the layer `apart`.
    """

    layer: str
    units: Sequence[int]
    functional: str
    param: str
    steps: int = STEPS
    rate: float | None = None
    restarts: int = RESTARTS
    variants: int = 1
    apart: str | None = None
    transforms: Transforms | None = None
    seed: int = 0
    frames: bool = False
    precision: str = "float32"  # of the ascent; what it reached is measured in float32

    @property
    def ascended(self) -> str:
        """The functional of the ascent: before the ReLU, whose gradient vanishes; sampled positions are one place each."""
        plain = self.functional.removesuffix(AFTER_RELU)
        return "centre" if plain.startswith("positions") else plain

    @property
    def measured(self) -> str:
        """The functional of the result: the recorded one, of the centre for sampled positions."""
        return self.ascended + (AFTER_RELU if self.functional.endswith(AFTER_RELU) else "")

    @property
    def copies(self) -> int:
        """How many images are drawn per unit."""
        return self.variants if self.variants > 1 else self.restarts


@dataclass(frozen=True)
class Drawn:
    """The pictures of units: arrays as in `Preferred`.

    Where asked for, ``frames`` uint8 [check, picture, y, x, rgb] are the pictures at every check, and ``risen`` [check,
    picture] their activations, by the functional of the results.
    """

    units: np.ndarray
    variant: np.ndarray
    images: np.ndarray
    activation: np.ndarray
    steps_run: np.ndarray
    converged: np.ndarray
    failure: np.ndarray
    history: np.ndarray
    frames: np.ndarray | None
    risen: np.ndarray | None
    objective: str
    prior: str
    transforms: str


def draw(
    network: Network,
    prior: Prior,
    wanted: Wanted,
    *,
    best_real: np.ndarray,
    device: str = "cpu",
    advance: Callable[[int], Any] = lambda steps: None,
) -> Drawn:
    """Draw the preferred inputs of the units of `wanted`; `best_real` [unit] weighs the diversity of reconstructions."""
    how = parameterisation(wanted.param, prior)
    moves = usual_transforms(prior.size, spatial=is_spatial(network)) if wanted.transforms is None else wanted.transforms
    settings = Settings(
        steps=wanted.steps,
        rate=wanted.rate,
        transforms=moves,
        seed=wanted.seed,
        background=prior.background.tolist(),
        frames=wanted.frames,
    )
    layers = {wanted.layer} | ({wanted.apart} if wanted.apart and wanted.variants > 1 else set())
    with side_by_side(network, layers, device=device, precision=wanted.precision, ascent=prior.size) as copies:
        told = copies.telling(advance)
        parts = copies.map(
            lambda one, places: _draw_some(one, how, wanted, settings, best_real, places, told),
            shares(len(wanted.units), batch_of(prior.size) // wanted.copies or 1, len(copies)),
        )
    with forward(network, [wanted.layer], device=device, redirect=False) as running:
        parts = [measured(running, part, wanted) for part in parts]
    words = _objective(wanted, list(range(len(wanted.units))), best_real).words
    return replace(_joined(parts), objective=words, prior=how.words, transforms=moves.words)


def is_spatial(network: Network) -> bool:
    """Tell whether a network has a convolution, so that it knows shifted images."""
    return any(isinstance(part, torch.nn.modules.conv._ConvNd) for part in network.module.modules())


def usual_param(network: Network, size: tuple[int, int, int]) -> str:
    """Return the parameterisation for a network's inputs of `size` (rgb, y, x)."""
    return usual(size, spatial=is_spatial(network))


def batch_of(size: Sequence[int]) -> int:
    """Return how many images of `size` (rgb, y, x) ascend together."""
    return int(np.clip(PIXELS_AT_ONCE // (size[1] * size[2]), FEWEST_AT_ONCE, MOST_AT_ONCE))


def shares(count: int, most: int, threads: int) -> Iterator[list[int]]:
    """Yield the numbers below `count`, at most `most` at a time, and no more than one of `threads` has of them."""
    size = max(1, min(most, -(-count // threads)))
    return (list(range(start, min(start + size, count))) for start in range(0, count, size))


def _objective(wanted: Wanted, places: Sequence[int], best_real: np.ndarray) -> Objective:
    """Each unit at `places` as often as it is drawn; reconstructions of one unit pushed apart."""
    units = [wanted.units[place] for place in places for _ in range(wanted.copies)]
    one = unit(wanted.layer, units, functional=wanted.ascended)
    if wanted.variants == 1 or wanted.apart is None:
        return one
    groups = [place for place in places for _ in range(wanted.copies)]
    weight = torch.tensor([SPREAD_APART * abs(float(best_real[place])) for place in groups])
    return one + diversity(wanted.apart, groups) * weight


def _draw_some(
    running: Forward,
    how: Parameterisation,
    wanted: Wanted,
    settings: Settings,
    best_real: np.ndarray,
    places: list[int],
    advance: Callable[[int], Any],
) -> Drawn:
    copies = wanted.copies
    seeds = [wanted.seed * 1000 + copy for _ in places for copy in range(copies)]
    same = [place for place in places for _ in range(copies)]
    groups, rivals = (same, None) if wanted.variants > 1 else (None, same)
    try:
        found = ascend(
            running, _objective(wanted, places, best_real), how,
            seeds=seeds, settings=settings, groups=groups, rivals=rivals, advance=lambda steps: advance(steps * len(places)),
        )  # fmt: skip
    except Exception as reason:
        if not out_of_memory(reason):
            raise
        raise AtlasError(f"{len(seeds)} images at a time do not fit into memory: give a smaller --size") from None
    units = np.array([wanted.units[place] for place in places for _ in range(copies)], np.int32)
    kept = np.arange(len(seeds)) if wanted.variants > 1 else best_of(found.value, copies)
    return _drawn(found, units, kept, copies if wanted.variants > 1 else 1)


def best_of(value: np.ndarray, copies: int) -> np.ndarray:
    """Return the index of the best of every `copies` neighbouring values."""
    found = np.nan_to_num(value, nan=-np.inf).reshape(-1, copies).argmax(axis=1)
    return np.arange(len(found)) * copies + found


def measured(running: Forward, part: Drawn, wanted: Wanted) -> Drawn:
    """Return pictures with the activation of their own units, measured on the very pixels kept.

    Of pictures as they formed too, where there are frames.
    """

    def of(images: np.ndarray) -> np.ndarray:
        values = values_of(running, images, wanted.layer, wanted.measured)
        return values[np.arange(len(part.units)), part.units].astype(np.float32)

    risen = None if part.frames is None else np.stack([of(frame) for frame in part.frames])
    return replace(part, activation=of(part.images), risen=risen)


@torch.no_grad()
def values_of(running: Forward, images: np.ndarray, layer: str, functional: str, *, size: int = 64) -> np.ndarray:
    """Return a layer's vectors [image, unit] for images uint8 [image, y, x, rgb], at the size they have."""
    how = Functional.parse(functional)
    found = []
    for start in range(0, len(images), size):
        batch = torch.from_numpy(images[start : start + size]).permute(0, 3, 1, 2).float() / 255
        found.append(how.over_places(running(batch)[layer]).cpu().numpy())
    return np.concatenate(found)


def _drawn(found: Ascent, units: np.ndarray, kept: np.ndarray, variants: int) -> Drawn:
    failure = np.select([~found.finite, ~found.moved, ~found.rose], [2, 1, 3], 0)
    return Drawn(
        units=units[kept],
        variant=(np.arange(len(kept)) % variants).astype(np.int32),
        images=rounded(found.pictures[torch.from_numpy(kept)]),
        activation=np.full(len(kept), np.nan, np.float32),  # not measured yet
        steps_run=found.steps[kept].astype(np.int32),
        converged=found.converged[kept],
        failure=failure[kept].astype(np.uint8),
        history=found.history[:, kept].astype(np.float32),
        frames=None if found.frames is None else found.frames[:, kept],
        risen=None,
        objective="",
        prior="",
        transforms="",
    )


def _joined(parts: Sequence[Drawn]) -> Drawn:
    longest = max(len(part.history) for part in parts)
    names = ("units", "variant", "images", "activation", "steps_run", "converged", "failure")
    on_the_way: dict[str, Any] = {}
    for name in ("frames", "risen"):
        found = [_lengthened(getattr(part, name), longest) for part in parts if getattr(part, name) is not None]
        on_the_way[name] = np.concatenate(found, axis=1) if found else None
    together: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return replace(
        parts[0],
        **together,
        **on_the_way,
        history=np.concatenate([_with_gaps(part.history, longest) for part in parts], axis=1),
    )


def _with_gaps(history: np.ndarray, checks: int) -> np.ndarray:
    return np.pad(history, [(0, checks - len(history)), (0, 0)], constant_values=np.nan)


def _lengthened(frames: np.ndarray, checks: int) -> np.ndarray:
    """Hold the last frame of an ascent that ended early."""
    return np.pad(frames, [(0, checks - len(frames))] + [(0, 0)] * (frames.ndim - 1), mode="edge")
