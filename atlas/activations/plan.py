"""What a pass has to make: which parts of the images, which artifacts of each, and the recipes that name them.

Imports no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atlas.activations import records
from atlas.activations.functionals import Functional
from atlas.data.records import SPLITS, Images
from atlas.store import Recipe, Store, digest

VERSION = 2  # of the stages `layer` and `logits`; 2: depthwise weights keep their sums in bfloat16
MOMENTS = 2  # of the stage `moments`; 2: that, and its groups do not say what is right, which the class map decides
ATTRIBUTION = 1  # of the stage `attribution`
LIBRARIES = ("torch",)


@dataclass(frozen=True)
class Wanted:
    """One artifact of each part: a layer under a functional, its vectors kept or only its statistics."""

    layer: str
    functional: Functional
    keep: bool


@dataclass(frozen=True)
class Part:
    """At most PART consecutive rows of the images, and what is wanted of them."""

    rows: np.ndarray  # of the images that decode
    ids: list[str]  # theirs
    marks: np.ndarray  # int32 [image that decodes, 2]: split and label
    logits: Recipe | None
    layers: dict[Wanted, Recipe]
    moments: dict[Wanted, Recipe]

    def missing(self, store: Store) -> list[Wanted]:
        """What does not stand yet, itself or its moments."""
        return [w for w in self.layers if not (store.has(self.layers[w].name) and store.has(self.moments[w].name))]

    def regrouped(self, store: Store) -> bool:
        """Whether moments are missing of a layer that stands: a pass writes them first, so other groups were asked then."""
        return any(store.has(self.layers[w].name) for w in self.missing(store))

    def complete(self, store: Store) -> bool:
        """Whether nothing is left to do."""
        return not self.missing(store) and (self.logits is None or store.has(self.logits.name))


def wanted_of(vectors: Mapping[str, str], statistics: Mapping[str, str]) -> list[Wanted]:
    """Return the artifacts that hold what is asked, layer → functional; one for both where the functional is the same."""
    kept = [Wanted(layer, Functional.parse(name), True) for layer, name in vectors.items()]
    others = [Wanted(layer, Functional.parse(name), False) for layer, name in statistics.items()]
    return kept + [w for w in others if dataclasses.replace(w, keep=True) not in kept]


def serving(wanted: Sequence[Wanted], layer: str, functional: str) -> Wanted:
    """Return the artifact that holds a layer's statistics; the one with vectors where it is of the same functional."""
    return next(w for w in wanted if w.layer == layer and w.functional == Functional.parse(functional))


def plan(
    images: Images,
    wanted: Sequence[Wanted],
    *,
    identity: str,
    outputs: int,
    precision: str,
    seed: int,
) -> Iterator[Part]:
    """Yield the parts of a pass of the network of this `identity`, each artifact with the recipe that names it."""
    ids = images.table["image_id"].to_numpy()
    splits = images.table["split"].map(SPLITS.index).to_numpy(np.int32)
    marks = np.stack([splits, images.codes], axis=1).astype(np.int32)
    for start in range(0, len(images), records.PART):
        mine = slice(start, min(start + records.PART, len(images)))
        rows = images.decoded[(images.decoded >= mine.start) & (images.decoded < mine.stop)].astype(np.int32)
        # Rows are absolute in the part, and which images decode may differ with the library that decodes.
        key = digest([list(ids[mine]), start, rows, identity, precision])[:16]
        groups = digest([marks[mine]])
        logits = Recipe("logits", VERSION, {"part": key}, {}, LIBRARIES, folder=f"parts/{key}") if outputs else None
        layers = {w: _recipe("layer", w, key, seed, keep_vectors=w.keep) for w in wanted}
        told_by = {"logits": logits.name} if logits else {}
        moments = {w: dataclasses.replace(_recipe("moments", w, key, seed, groups=groups), inputs=told_by) for w in wanted}
        yield Part(rows, list(ids[rows]), marks[rows], logits, layers, moments)


def attribution_recipe(part: Part, wanted: Wanted) -> Recipe:
    """Return the recipe of the attribution of one layer of a part: decided by what decides the layer itself."""
    layer = part.layers[wanted]
    parameters = {name: value for name, value in layer.parameters.items() if name != "keep_vectors"}
    return Recipe("attribution", ATTRIBUTION, parameters, {}, LIBRARIES, folder=layer.folder)


def _recipe(stage: str, wanted: Wanted, part: str, seed: int, **others: Any) -> Recipe:
    parameters: dict[str, Any] = {"part": part, "layer": wanted.layer, "functional": str(wanted.functional), **others}
    if wanted.functional.sampled:
        parameters["seed"] = seed
    return Recipe(stage, MOMENTS if stage == "moments" else VERSION, parameters, {}, LIBRARIES, folder=f"parts/{part}")
