"""Preferred inputs of an atlas's units: the network opened, the dataset's statistics kept, the pictures made and kept."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atlas.activations.batching import read
from atlas.activations.engine import find_device
from atlas.activations.records import Activations, Statistics
from atlas.activations.rounding import depthwise
from atlas.data.reading import Reader, open_reader
from atlas.data.records import SPLITS
from atlas.errors import AtlasError, choose, one_line
from atlas.models.layers import named_layer
from atlas.models.network import Network
from atlas.models.precision import resolve
from atlas.models.preprocess import Preprocess
from atlas.patterns.classes import class_patterns
from atlas.patterns.units import outstanding
from atlas.preferred import making
from atlas.preferred.forward import forward
from atlas.preferred.objectives import LOGITS
from atlas.preferred.parameterisations import NAMES
from atlas.preferred.prior import COMPONENTS, Prior, make_prior, most_images
from atlas.preferred.real import MOST_NUMBERS, Real, of_sample, of_statistics, of_vectors
from atlas.preferred.records import Preferred
from atlas.preferred.untrained import untrained
from atlas.progress import Progress
from atlas.store import Recipe

if TYPE_CHECKING:
    from atlas.atlas import Atlas

FEW = 64  # units drawn where none are named and the layer has more: those that stand out most
SEVERAL, FEWER_RESTARTS = 64, 2  # beyond so many units each gets fewer starts: a layer takes half a minute as it is
EDGE = 128  # pixels of a picture where the network takes larger ones and does not mind: lucid's own default
SMALLEST, LARGEST = 8, 512  # pixels of a picture's edge that can be asked for
SAMPLED = 1_024  # real images that a layer is measured on where the atlas holds no statistics of it
TRAINING_SHARE = 500  # training images from which the statistics of a dataset are taken of them alone
SETTLING = 256  # real images by which the norms of an untrained network are settled


@dataclass(frozen=True)
class Choices:
    """How preferred inputs are drawn; None is the choice that fits the network, or the number of units."""

    param: str | None = None
    steps: int = making.STEPS
    size: int | None = None
    rate: float | None = None
    restarts: int | None = None
    variants: int = 1
    seed: int = 0
    precision: str = "auto"
    untrained: bool = False

    def check(self) -> None:
        """Raise AtlasError for a choice out of its range."""
        for name, least, most in (("steps", 1, 100_000), ("restarts", 1, 64), ("variants", 1, 16)):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise AtlasError(f"{name} {value}: {least} to {most} would do")
        check_edge(self.size)
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise AtlasError(f"rate {self.rate}: a number above 0 would do, such as 0.05")


def check_edge(edge: int | None) -> None:
    """Raise AtlasError for an edge of a picture, in pixels, that is out of its range; None is the network's own."""
    if edge is not None and not SMALLEST <= edge <= LARGEST:
        raise AtlasError(f"a picture of {edge} pixels: {SMALLEST} to {LARGEST} would do")


class Preferring:
    """One network of an atlas, opened to draw the preferred inputs of its layers."""

    def __init__(self, atlas: Atlas, *, progress: Progress | None = None, device: str = "auto"):
        self.atlas, self.progress = atlas, progress or Progress()
        self.device = device

    @cached_property
    def network(self) -> Network:
        """The network, loaded."""
        return self.atlas.network()

    @cached_property
    def reader(self) -> Reader:
        """The atlas's images, as they are stored."""
        return open_reader(self.atlas.image_record, self.atlas.store.root)

    def draw(self, layer: str, units: Sequence[int], choices: Choices, *, formed: list[making.Drawn] | None = None) -> str:
        """Build the record of the preferred inputs of some units of a layer; return its name. It is not shown yet.

        `formed`, where given, receives the same pictures with those on the way: drawn once more where the record stands.
        """
        choices.check()
        row = named_layer(self.atlas.network_record.layers, layer)
        check_units(units, int(row["units"]), str(row["name"]))
        asked = self._wanted(str(row["name"]), units, choices)
        size = self.size(choices.size)
        parameters = dataclasses.asdict(asked) | {"size": list(size), "untrained": choices.untrained}
        of_prior = self.prior(size)
        inputs = {
            "network": self.atlas.names("network")[-1:],
            "images": self.atlas.names("images")[-1:],
            "prior": of_prior,
            "measured": self._source(asked.layer, asked.functional),
        }
        recipe = Recipe("preferred", 5, parameters, inputs, ("torch",))

        def make() -> Preferred:
            return self._make(asked, int(row["number"]), choices, of_prior, formed)

        self.atlas.store.build(recipe, Preferred, make)
        if formed is not None and not formed:
            make()
        return recipe.name

    # -- what is asked ---------------------------------------------------------------------------------------------------

    def _wanted(self, layer: str, units: Sequence[int], choices: Choices) -> making.Wanted:
        param = choices.param or making.usual_param(self.network, self.size(choices.size))
        return making.Wanted(
            layer=layer, units=[int(unit) for unit in units], functional=self.functional(layer), param=param,
            steps=choices.steps, rate=choices.rate, variants=choices.variants,
            restarts=choices.restarts or (making.RESTARTS if len(units) <= SEVERAL else FEWER_RESTARTS),
            apart=self._apart(layer) if choices.variants > 1 else None, seed=choices.seed,
            precision=self.precision(choices.precision),
        )  # fmt: skip

    def precision(self, wanted: str) -> str:
        """Return bfloat16 or float32, as asked or as is faster here; what is reached is measured in float32."""
        device = find_device(self.device).type
        if wanted == "auto" and device == "cpu" and depthwise(self.network.module):
            return "float32"  # a depthwise convolution's backward pass in bfloat16 takes a processor three times as long
        return resolve(wanted, device=device)

    def functional(self, layer: str) -> str:
        """The functional by which the atlas recorded a layer; the mean where it did not."""
        for stage in ("activations", "statistics"):
            names = self.atlas.names(stage, layer=layer)
            if names:
                return str(self.atlas.field(names[-1], "functional"))
        return "mean"

    def _apart(self, layer: str) -> str:
        """The layer in which several reconstructions are made unlike: the last with places up to this one, or itself."""
        table = self.atlas.network_record.layers
        up_to = table[table["number"] <= int(named_layer(table, layer)["number"])]
        spatial = [name for name, shape in zip(up_to["name"], up_to["shape"], strict=True) if str(shape).count("×") == 2]
        return str(spatial[-1]) if spatial else layer

    def size(self, edge: int | None) -> tuple[int, int, int]:
        """Return rgb, y, x of the pictures: as asked, else EDGE where the network takes larger ones and those too."""
        preprocess = self.network.preprocess
        own = preprocess.height or EDGE, preprocess.width or EDGE
        if edge is not None:
            self._check_runs(edge, own)
            return preprocess.channels, edge, edge
        if min(own) > EDGE and self._runs(EDGE):
            return preprocess.channels, EDGE, EDGE
        return preprocess.channels, *own

    def _check_runs(self, edge: int, own: tuple[int, int]) -> None:
        if (edge, edge) != own and not self._runs(edge):
            raise AtlasError(
                f"network {one_line(self.network.title)} takes no images of {edge} pixels, only of {own[1]}×{own[0]}: "
                "leave --size out"
            )

    def _runs(self, edge: int) -> bool:
        sample = torch.zeros(2, self.network.preprocess.channels, edge, edge)
        try:
            with forward(self.network, [LOGITS], redirect=False) as running, torch.no_grad():
                running.engine.run(running.engine.module, sample.to(running.engine.device))
        except AtlasError:
            return False
        return True

    # -- what the images say -----------------------------------------------------------------------------------------------

    def prior(self, size: tuple[int, int, int]) -> str:
        """Build the record of what the images say at a size; return its name."""
        rows = self._sample(most_images(math.prod(size)), of_training=True)
        preprocess = self._preprocess(size)
        parameters = {"images": len(rows), "components": COMPONENTS, "preprocess": preprocess.to_dict(), "size": list(size)}
        recipe = Recipe("prior", 1, parameters, {"images": self.atlas.names("images")[-1:]}, ("numpy",))

        def make() -> Prior:
            with self.progress.stage("the images' statistics", 1) as advance:
                made = make_prior(self.pixels(rows, size))
                advance(1)
            return made

        self.atlas.store.build(recipe, Prior, make)
        return recipe.name

    def _preprocess(self, size: tuple[int, int, int]) -> Preprocess:
        own = self.network.preprocess
        return own if (own.height, own.width) == size[1:] else own.at_size(size[1])

    def pixels(self, rows: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
        """Return images as the network takes them, at a size: uint8 [image, rgb, y, x]."""
        if self.reader.tensors:
            raise AtlasError(
                "the images came as tensors from Python, which have no pixels in 0–255: preferred inputs need image files"
            )
        return read(self.reader, self._preprocess(size), rows)

    def _sample(self, count: int, *, of_training: bool) -> np.ndarray:
        """Return rows of images that decode, drawn by chance, rising; of the training ones where there are enough."""
        images = self.atlas.image_record
        rows = images.decoded
        training = rows[images.splits[rows] == SPLITS.index("train")]
        rows = training if of_training and len(training) >= TRAINING_SHARE else rows
        if len(rows) < 2:
            raise AtlasError("fewer than two images decode: preferred inputs are held against real images")
        chosen = np.random.default_rng(0).choice(rows, min(count, len(rows)), replace=False)
        return np.sort(chosen)

    def _source(self, layer: str, functional: str) -> list[str]:
        """Return the artifact that the real activations are read from: vectors, else statistics, else none."""
        for stage in ("activations", "statistics"):
            names = self.atlas.names(stage, layer=layer, functional=functional)
            if names:
                return names[-1:]
        return []

    def real(self, layer: str, units: Sequence[int], functional: str) -> Real:
        """Return the real images' activations of some units by a functional."""
        source = self._source(layer, functional)
        if source and source[0].startswith("activations"):
            record = self.atlas.store.read(source[0], Activations)
            if len(record) * len(units) <= MOST_NUMBERS:
                return of_vectors(self.atlas.vectors(layer), units, "positions" if record.spatial else "images")
        statistics = self.atlas.names("statistics", layer=layer, functional=functional)
        if statistics:
            return of_statistics(self.atlas.store.read(statistics[-1], Statistics), units)
        return self._measured(layer, units, functional)

    def _measured(self, layer: str, units: Sequence[int], functional: str) -> Real:
        rows = self._sample(SAMPLED, of_training=False)
        own = self._own_size()
        with forward(self.network, [layer], device=self.device, redirect=False) as running:
            pixels = self.pixels(rows, own).transpose(0, 2, 3, 1)
            values = making.values_of(running, pixels, layer, functional)
        return of_sample(values[:, list(units)], len(self.atlas.image_record.decoded))

    def _own_size(self) -> tuple[int, int, int]:
        preprocess = self.network.preprocess
        return preprocess.channels, preprocess.height or EDGE, preprocess.width or EDGE

    # -- the pictures -------------------------------------------------------------------------------------------------------

    def _make(
        self, asked: making.Wanted, number: int, choices: Choices, of_prior: str, formed: list[making.Drawn] | None
    ) -> Preferred:
        prior = self.atlas.store.read(of_prior, Prior)
        network, real = self.network, self.real(asked.layer, asked.units, asked.measured)
        if choices.untrained:
            network, real = self._control(asked, choices.seed)
        live = np.flatnonzero(real.varies)
        if not len(live):
            raise AtlasError(f"every unit asked of {asked.layer} is dead: none varies over {real.words}")
        units = [asked.units[place] for place in live.tolist()]
        drawn = dataclasses.replace(asked, units=units, frames=formed is not None)
        title = f"preferred inputs of {asked.layer}{' of an untrained network' if choices.untrained else ''}"
        with self.progress.stage(title, asked.steps * len(live)) as advance:
            found = making.draw(network, prior, drawn, best_real=real.best(live), device=self.device, advance=advance)
        if formed is not None:
            formed.append(found)
        places = np.repeat(live, choices.variants)
        return Preferred(
            layer=asked.layer, number=number, functional=asked.ascended, measured=asked.measured,
            objective=found.objective, parameterisation=asked.param, prior=found.prior, transforms=found.transforms,
            untrained=choices.untrained, real=real.words,
            dead=[asked.units[p] for p in np.flatnonzero(~real.varies).tolist()],
            settings={
                **dataclasses.asdict(choices), "size": list(prior.size[1:]), "param": asked.param,
                "restarts": asked.restarts,
            },
            units=found.units, variant=found.variant, images=found.images, activation=found.activation,
            percentile=real.percentile(places, found.activation), best_real=real.best(places),
            steps_run=found.steps_run, converged=found.converged, failure=found.failure, history=found.history,
        )  # fmt: skip

    def _control(self, asked: making.Wanted, seed: int) -> tuple[Network, Real]:
        """Return the network with random weights, and what the real images reach in it."""
        rows, own = self._sample(SAMPLED, of_training=False), self._own_size()
        pixels = self.pixels(rows, own)
        network = untrained(
            self.network, self.network.preprocess.tensor(torch.from_numpy(pixels[:SETTLING].copy())), seed=seed
        )
        with forward(network, [asked.layer], device=self.device, redirect=False) as running:
            values = making.values_of(running, pixels.transpose(0, 2, 3, 1), asked.layer, asked.measured)
        return network, of_sample(values[:, list(asked.units)], len(self.atlas.image_record.decoded))


def check_units(units: Sequence[int], there: int, layer: str) -> None:
    """Refuse units that a layer does not have, or named twice."""
    for unit in units:
        if isinstance(unit, bool) or not 0 <= int(unit) < there:
            raise AtlasError(f"{one_line(layer)} has no unit {unit}: it has {there}, numbered 0 to {there - 1}")
    if len(set(units)) < len(units):
        twice = next(unit for unit in units if list(units).count(unit) > 1)
        raise AtlasError(f"unit {twice} is named twice: once would do")
    if not len(units):
        raise AtlasError("no unit is named: give at least one")


def usual_units(atlas: Atlas, layer: str) -> list[int]:
    """Return the units drawn where none is named: all of a layer, or the FEW that stand out most for one class.

    A unit stands out by how far its greatest class mean lies above the others'; without statistics or labels, the first.
    """
    row = named_layer(atlas.network_record.layers, layer)
    count = int(row["units"])
    if count <= FEW:
        return list(range(count))
    names = atlas.names("statistics", layer=str(row["name"]))
    if not names or not atlas.image_record.labels:
        return list(range(FEW))
    statistics = atlas.store.read(names[-1], Statistics)
    found = class_patterns(statistics, atlas.image_record.labels, split=None)
    score = np.nan_to_num(outstanding(found.mean, found.std), nan=-np.inf)
    return sorted(np.argsort(-score, kind="stable")[:FEW].tolist())


def wanted_units(atlas: Atlas, layer: str, units: Sequence[int] | str | None) -> list[int]:
    """Return the units that are meant: numbers as they are, ``"all"``, or None for `usual_units`."""
    if units is None:
        return usual_units(atlas, layer)
    if units == "all":
        return list(range(int(named_layer(atlas.network_record.layers, layer)["units"])))
    return list(units)  # type: ignore[arg-type]


def preferred(
    atlas: Atlas,
    *,
    layer: str | int | None = None,
    units: Sequence[int] | str | None = None,
    progress: Progress | None = None,
    device: str = "auto",
    formed: list[making.Drawn] | None = None,
    **choices: Any,
) -> Preferred:
    """Draw the preferred inputs of units of a layer and show them in the atlas; return their record.

    `units` are numbers, ``"all"``, or None for `usual_units`. The further choices are those of `Choices`. A list `formed`
    receives the pictures with those on the way to them.
    """
    name = atlas.layer_name(layer)
    wanted = wanted_units(atlas, name, units)
    made = Preferring(atlas, progress=progress, device=device).draw(name, wanted, checked_choices(choices), formed=formed)
    atlas.show_beside([made])
    return atlas.store.read(made, Preferred)


def checked_choices(choices: dict[str, Any]) -> Choices:
    """Return the choices, those of None left at their defaults; an unknown parameterisation raises AtlasError."""
    known = [field.name for field in dataclasses.fields(Choices)]
    for name in choices:
        if name not in known:
            raise choose("choice for preferred inputs", name, known)
    made = Choices(**{name: value for name, value in choices.items() if value is not None})
    if made.param is not None and made.param not in NAMES:
        raise choose("parameterisation", made.param, NAMES)
    made.check()
    return made
