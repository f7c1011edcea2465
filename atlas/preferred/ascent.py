"""Gradient ascent on a batch of images, each for itself: the loop.

The loss is the sum over images, the optimiser works element by element, and whatever is normalised is so image by image: a
batch of N images is N runs of one (methods, section 1.8).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from atlas.errors import AtlasError
from atlas.preferred.forward import Forward
from atlas.preferred.objectives import Objective
from atlas.preferred.parameterisations import Parameterisation
from atlas.preferred.transforms import Transforms

CHECK = 8  # steps between two looks at the image as it is, without transforms: they cost a third of a step each
LOOK_BACK = 32  # steps over which the gain is judged
EARLIEST = 64  # steps before an image may stop
REDIRECTED = 16  # steps in which a ReLU's gradient is redirected, as in lucid: then every live unit is awake
STILL = 0.01  # relative gain over LOOK_BACK steps below which an image stops
HALVED = (64, 128)  # steps at which, of the tries at one unit, the better half goes on
SETTLED = 0.05  # relative gain below which an image at the last step counts as converged
STEPS = (
    256  # of small images, halved so: as high as four whole tries of 192 in .5 to .7 of the time, .97 to 1 of them converged
)


def rounded(pictures: torch.Tensor) -> np.ndarray:
    """Return images [image, rgb, y, x] in 0–1 as they are kept: uint8 [image, y, x, rgb]."""
    return (pictures.detach().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


@dataclass(frozen=True)
class Settings:
    """How an ascent runs: the number of steps, the optimiser's rate (None: the parameterisation's own), the transforms.

    `seed` draws the transforms; `background` [rgb] in 0–1 is what they bring in from beyond the edge.
    """

    steps: int = STEPS
    rate: float | None = None
    transforms: Transforms = field(default_factory=Transforms)
    seed: int = 0
    background: Sequence[float] = (0.0,)
    frames: bool = False


@dataclass(frozen=True)
class Ascent:
    """What came out, image by image.

    ``pictures`` [image, rgb, y, x] in 0–1, the best seen at any check; ``value`` [image] its objective, without transforms;
    ``history`` [check, image] the best so far, NaN after an image stopped; ``steps`` [image]; ``converged`` [image];
    ``moved`` [image] whether any gradient reached the image, ``rose`` [image] whether it came above its start; ``finite``
    [image] whether no NaN came up; ``frames`` uint8 [check, image, y, x, rgb], or None where they were not asked for.
    """

    pictures: torch.Tensor
    value: np.ndarray
    history: np.ndarray
    steps: np.ndarray
    converged: np.ndarray
    moved: np.ndarray
    rose: np.ndarray
    finite: np.ndarray
    frames: np.ndarray | None


def ascend(
    forward: Forward,
    objective: Objective,
    how: Parameterisation,
    *,
    seeds: Sequence[int],
    settings: Settings,
    start: torch.Tensor | None = None,
    groups: Sequence[int] | None = None,
    rivals: Sequence[int] | None = None,
    advance: Callable[[int], object] = lambda steps: None,
) -> Ascent:
    """Raise `objective` in one image per seed; images of equal seeds start from equal noise.

    `start` [image, rgb, y, x] begins near these images. Images of one number in `groups` stop together, for they look at
    each other. Images of one number in `rivals` are tries at the same: the better half goes on at each of HALVED. `advance`
    is told the steps done. A layer that passes no gradient, and an ascent in which every image meets NaN, raise AtlasError.
    """
    values = how.start(seeds) if start is None else how.near(start, seeds)
    run = Run(forward, objective, how, settings, values, groups, rivals)
    generator = torch.Generator().manual_seed(settings.seed)
    for step in range(settings.steps):
        if step % CHECK == 0:
            run.look(step)
            if not len(run.rows):
                advance(settings.steps - step)
                break
        run.step(generator)
        advance(1)
    else:
        run.look(settings.steps, last=True)
    return run.result()


class Run:
    """One ascent under way: the images still moving, and the best of all so far."""

    def __init__(
        self,
        forward: Forward,
        objective: Objective,
        how: Parameterisation,
        settings: Settings,
        values: torch.Tensor,
        groups: Sequence[int] | None,
        rivals: Sequence[int] | None,
    ):
        self.forward, self.objective, self.how, self.settings = forward, objective, how, settings
        self.device = forward.engine.device
        count = len(values)
        self.rows = torch.arange(count)  # of the images still moving
        self.groups = torch.arange(count) if groups is None else torch.as_tensor(list(groups))
        self.rivals = None if rivals is None else torch.as_tensor(list(rivals))
        self.values = values.clone().requires_grad_()
        rate = how.rate if settings.rate is None else settings.rate
        self.optimiser: torch.optim.Optimizer = getattr(torch.optim, how.optimiser)([self.values], lr=rate)
        with torch.no_grad():
            self.pictures = how.picture(self.values).detach().clone()
        self.background = torch.tensor(list(settings.background)).view(1, -1, 1, 1)
        self.best = torch.full((count,), -torch.inf)
        self.steps, self.converged = torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.bool)
        self.moved, self.finite = self.converged.clone(), ~self.converged
        self.history: list[torch.Tensor] = []
        self.frames: list[np.ndarray] = []

    def step(self, generator: torch.Generator) -> None:
        """Move every image one step up."""
        self.forward.waking = int(self.steps.max()) < REDIRECTED
        pictures = self.how.picture(self.values)
        change = self.settings.transforms.draw(pictures.shape[1:], generator)
        seen = self.forward(change(pictures - self.background) + self.background)
        found = self.objective.values(seen)
        gradient = torch.autograd.grad(-found.sum(), self.values, allow_unused=True)[0] if found.requires_grad else None
        if gradient is None:  # there is none at all, or one that ends at a parameter
            raise AtlasError(
                f"no gradient comes from {', '.join(sorted(self.objective.layers))} to the image: the network rounds, "
                "detaches or picks an index on the way; choose a layer before that"
            )
        good = torch.isfinite(gradient).flatten(1).all(dim=1)
        self.moved[self.rows] |= (gradient != 0).flatten(1).any(dim=1)
        self.values.grad = gradient
        self.optimiser.step()
        self.steps[self.rows] += 1
        if not good.all():
            self.finite[self.rows[~good]] = False
            self._keep(good)

    @torch.no_grad()
    def look(self, step: int, *, last: bool = False) -> None:
        """See what the images are worth as they are; keep the best, let those that stand still go."""
        if len(self.rows):
            pictures = self.how.picture(self.values)
            found = self.objective.values(self.forward(pictures)).cpu()
            self.finite[self.rows[~torch.isfinite(found)]] = False
            better = found > self.best[self.rows]  # never so for NaN
            self.best[self.rows[better]] = found[better]
            self.pictures[self.rows[better]] = pictures[better]
        if self.settings.frames:
            self.frames.append(self._shown())
        self.history.append(self.best.clone())
        self.history[-1][self._stopped()] = torch.nan
        self._let_go(step, last=last)

    def _shown(self) -> np.ndarray:
        shown = self.pictures.clone()
        if len(self.rows):
            shown[self.rows] = self.how.picture(self.values)
        return rounded(shown)

    def _stopped(self) -> torch.Tensor:
        gone = torch.ones(len(self.best), dtype=torch.bool)
        gone[self.rows] = False
        return gone

    def _let_go(self, step: int, *, last: bool) -> None:
        if not len(self.rows):
            return
        gain = self._gain()
        if last:
            self.converged[self.rows] = gain < SETTLED
        still = (gain < STILL) & (step >= EARLIEST) & ~torch.tensor(last)
        still = self._together(still) | ~self.finite[self.rows]
        self.converged[self.rows[still]] = self.finite[self.rows[still]]
        gone = still | (self._behind() if step in HALVED else False)
        if gone.any():
            self._keep(~gone)

    def _behind(self) -> torch.Tensor:
        """Tell which of the moving images are in the worse half of their rivals."""
        behind = torch.zeros(len(self.rows), dtype=torch.bool)
        if self.rivals is not None:
            rivals, best = self.rivals[self.rows], self.best[self.rows]
            for one in rivals.unique():
                places = torch.nonzero(rivals == one)[:, 0]
                behind[places[best[places].argsort(descending=True, stable=True)[(len(places) + 1) // 2 :]]] = True
        return behind

    def _gain(self) -> torch.Tensor:
        """Return the relative gain of each moving image over LOOK_BACK steps, or since the start where it is shorter."""
        before = self.history[max(0, len(self.history) - 1 - LOOK_BACK // CHECK)][self.rows]
        now = self.best[self.rows]
        return (now - before) / now.abs().clamp_min(1e-12)

    def _together(self, still: torch.Tensor) -> torch.Tensor:
        groups = self.groups[self.rows]
        moving = groups[~still]
        return still & ~torch.isin(groups, moving)

    def _keep(self, kept: torch.Tensor) -> None:
        """Go on with some of the moving images, their moments in the optimiser with them."""
        rows = torch.nonzero(kept)[:, 0]
        before, state = self.values, self.optimiser.state.pop(self.values, {})
        self.rows, self.objective = self.rows[rows], self.objective.take(rows)
        self.values = before.detach()[rows].clone().requires_grad_()
        self.optimiser.param_groups[0]["params"] = [self.values]
        self.optimiser.state[self.values] = {
            name: value[rows] if value.shape == before.shape else value for name, value in state.items()
        }

    def result(self) -> Ascent:
        """Return what came out; AtlasError where nothing finite did."""
        if not self.finite.any():
            raise AtlasError(
                "the ascent met values that are not finite in every image: give a lower --rate, or another layer"
            )
        rose = self.best > self.history[0]
        return Ascent(
            pictures=self.pictures,
            value=self.best.numpy(),
            history=torch.stack(self.history).numpy(),
            steps=self.steps.numpy(),
            converged=(self.converged & self.finite & self.moved & rose).numpy(),
            moved=self.moved.numpy(),
            rose=rose.numpy(),
            finite=self.finite.numpy(),
            frames=np.stack(self.frames) if self.frames else None,
        )
