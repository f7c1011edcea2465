"""Icons: what a network sees in each cell of a layout, the feature visualisation of the cell's mean activation.

Carter et al., "Activation Atlas", Distill 2019: the direction objective on the (whitened) mean activation. From the coarsest
grid to the finest, each cell begins near its parent's icon, the coarsest near the mean of its members' images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from atlas.activations.functionals import AFTER_RELU
from atlas.models.network import Network
from atlas.preferred.ascent import Ascent, Settings, ascend
from atlas.preferred.forward import Forward, forward
from atlas.preferred.making import batch_of, is_spatial, rounded, shares, values_of
from atlas.preferred.objectives import LOGITS, direction
from atlas.preferred.parameterisations import Parameterisation, parameterisation
from atlas.preferred.prior import Prior
from atlas.preferred.side_by_side import side_by_side
from atlas.preferred.transforms import usual as usual_transforms

STEPS = 128  # of a cell of the coarsest grid
FINER = 0.5  # of the steps, for cells that begin at their parent's icon
POWER = 2.0  # of the cosine: with 0 seven of ten icons were of the right class, with 2 all ten (methods, section 1.8)
WHITENED_POWER = 4.0  # with whitening, as in lucid's notebooks


@dataclass(frozen=True)
class IconPlan:
    """How icons are drawn: which layer by which functional, how long, with which parameterisation."""

    layer: str
    functional: str
    param: str
    steps: int = STEPS
    power: float = POWER
    seed: int = 0
    precision: str = "float32"  # of the ascent; what it reached is measured in float32

    @property
    def ascended(self) -> str:
        """The functional of the ascent and of the measurement; sampled positions are one place each, the centre."""
        plain = self.functional.removesuffix(AFTER_RELU)
        return "centre" if plain.startswith("positions") else plain

    @property
    def measured(self) -> str:
        """The functional by which an icon is measured: the recorded one."""
        return self.ascended + (AFTER_RELU if self.functional.endswith(AFTER_RELU) else "")


@dataclass(frozen=True)
class DrawnIcons:
    """The icons of cells: ``images`` uint8 [cell, y, x, rgb]; ``cosine`` [cell] of each one's activation to the cell's mean,
    ``ratio`` [cell] of its length along the mean to the mean's; ``said`` [cell] the output predicted of it; ``converged``
    [cell].
    """

    images: np.ndarray
    cosine: np.ndarray
    ratio: np.ndarray
    said: np.ndarray
    converged: np.ndarray
    prior: str


def draw_icons(
    network: Network,
    prior: Prior,
    plan: IconPlan,
    *,
    mean: np.ndarray,
    directions: np.ndarray,
    levels: Sequence[np.ndarray],
    parent: np.ndarray,
    start: Callable[[np.ndarray], np.ndarray],
    device: str = "cpu",
    advance: Callable[[int], Any] = lambda steps: None,
) -> DrawnIcons:
    """Draw an icon for each cell.

    `mean` [cell, unit] is what an icon is measured against, `directions` [cell, unit] what is raised; `levels` are the cells
    of each grid, the coarsest first; `parent` [cell] the coarser cell, -1 for none; ``start(cells)`` returns images float
    [cell, rgb, y, x] in 0–1 to begin near, the means of the cells' members.
    """
    how = parameterisation(plan.param, prior)
    pictures = torch.zeros(len(mean), *prior.size)
    converged = np.zeros(len(mean), bool)
    with side_by_side(network, [plan.layer], device=device, precision=plan.precision, ascent=prior.size) as copies:
        told = copies.telling(advance)
        for level, cells in enumerate(levels):
            steps = plan.steps if level == 0 else max(1, round(plan.steps * FINER))
            settings = _settings(network, prior, steps, plan.seed)

            def some_of(one: Forward, some: np.ndarray, settings: Settings = settings) -> Ascent:
                with copies.lock:  # files are read by one thread at a time
                    began = _beginning(pictures, parent[some], start(some))
                return _ascent(one, how, plan, settings, directions[some], began, told)

            places = [cells[share] for share in shares(len(cells), batch_of(prior.size), len(copies))]
            for some, found in zip(places, copies.map(some_of, places), strict=True):
                pictures[some], converged[some] = found.pictures, found.converged
    images = rounded(pictures)
    with forward(network, [plan.layer], device=device, redirect=False) as running:
        reached = values_of(running, images, plan.layer, plan.measured) if len(images) else np.empty_like(mean)
    return DrawnIcons(images, *likeness(reached, mean), predicted(network, images, device), converged, how.words)


def predicted(network: Network, images: np.ndarray, device: str) -> np.ndarray:
    """Return the output that a network predicts of each image uint8 [image, y, x, rgb]: int32, -1 without logits."""
    if not network.outputs or not len(images):
        return np.full(len(images), -1, np.int32)
    with forward(network, [LOGITS], device=device, redirect=False) as running:
        logits = values_of(running, images, LOGITS, "mean")
    return (logits[:, 0] > 0 if network.outputs == 1 else logits.argmax(axis=1)).astype(np.int32)


def _settings(network: Network, prior: Prior, steps: int, seed: int) -> Settings:
    moves = usual_transforms(prior.size, spatial=is_spatial(network))
    return Settings(steps=steps, transforms=moves, seed=seed, background=prior.background.tolist())


def _beginning(pictures: torch.Tensor, parent: np.ndarray, own: np.ndarray) -> torch.Tensor:
    """Return the parents' icons, and the means of the members where there is no parent."""
    began = torch.from_numpy(np.ascontiguousarray(own, np.float32))
    known = parent >= 0
    began[known] = pictures[parent[known]]
    return began


def _ascent(
    running: Forward,
    how: Parameterisation,
    plan: IconPlan,
    settings: Settings,
    directions: np.ndarray,
    began: torch.Tensor,
    advance: Callable[[int], Any],
) -> Ascent:
    wanted = unit_length(directions)
    return ascend(
        running, direction(plan.layer, wanted, power=plan.power, functional=plan.ascended), how,
        seeds=[plan.seed] * len(wanted), settings=settings, start=began, advance=lambda steps: advance(steps * len(wanted)),
    )  # fmt: skip


def unit_length(rows: np.ndarray) -> np.ndarray:
    """Return rows at length 1, rows of zeros as they are: float32."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows, np.float32), where=length > 0, casting="unsafe")


def likeness(reached: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cosine of each row to the one wanted, and its length along that as a share of it: float32 [cell] each."""
    dot = np.einsum("nu,nu->n", reached.astype(np.float64), wanted.astype(np.float64))
    far, own = np.linalg.norm(reached, axis=1), np.linalg.norm(wanted, axis=1)
    cosine = np.divide(dot, far * own, out=np.zeros_like(dot), where=far * own > 0)
    return cosine.astype(np.float32), np.divide(dot, own**2, out=np.zeros_like(dot), where=own > 0).astype(np.float32)
