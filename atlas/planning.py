"""What a build will do, every choice read, resolved and checked before the long work starts."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from atlas.errors import AtlasError, choose, one_line
from atlas.files import exists
from atlas.machine import cores
from atlas.maps.records import LEAST_POINTS, METHOD_NAMES
from atlas.models.records import ClassMap, NetworkRecord
from atlas.store import Store

if TYPE_CHECKING:
    from atlas.data.growing import Standing
    from atlas.data.sources import Chosen
    from atlas.models.network import Network

# Each method's own parameters and their defaults; a test holds them equal to those of atlas.maps.layout.
METHODS: dict[str, dict[str, Any]] = {
    "umap": {"n_neighbors": 15, "min_dist": 0.1, "epochs": None},
    "tsne": {"perplexity": 30.0},
    "pca": {},
}
KINDS: dict[str, type] = {"n_neighbors": int, "min_dist": float, "epochs": int, "perplexity": float}
PRECISIONS = ("auto", "bfloat16", "float32")
LISTED = 30  # neighbours kept per point for the page, where no layout needs more
NOT_LAYERS = r"Dropout|Flatten|Identity|\w+Pad\d?d"  # they repeat the layer before them


@dataclass(frozen=True)
class LayerChoice:
    """One layer to record, by torch's dotted name, and the functional that makes a unit one number."""

    name: str
    number: int
    functional: str


@dataclass(frozen=True)
class LayoutChoice:
    """One layout to make: the method, of which layers (several: jointly), and the method's own parameters."""

    method: str
    layers: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def neighbours_needed(self) -> int:
        """How many neighbours of each point the method asks of the graph: t-SNE three times its perplexity."""
        if self.method == "tsne":
            return math.ceil(3 * self.parameters["perplexity"])
        return self.parameters["n_neighbors"] if self.method == "umap" else 0

    @property
    def title(self) -> str:
        """For people: ``UMAP of fc1``."""
        of = self.layers[0] if len(self.layers) == 1 else f"{len(self.layers)} layers jointly"
        return f"{METHOD_NAMES[self.method]} of {of}"


@dataclass(frozen=True)
class Plan:
    """What a build will do: everything read, resolved and checked, nothing long done."""

    store: Store
    images: Chosen | Standing
    network: Network
    record: NetworkRecord
    class_map: ClassMap
    layers: list[LayerChoice]
    statistics: list[LayerChoice]
    layouts: list[LayoutChoice]
    metric: str
    seed: int
    run: Mapping[str, Any]
    verify: bool
    title: str | None


def choose_layers(wanted: Sequence[str | int], layers: pd.DataFrame, *, functional: str, outputs: int) -> list[LayerChoice]:
    """Return the layers named by ``NAME``, ``NUMBER`` or ``NAME=FUNCTIONAL``; none named: `default_layers`.

    An unknown layer, one that yields no numbers, and an unknown functional raise AtlasError.
    """
    from atlas.activations.functionals import Functional
    from atlas.models.layers import find_layer

    chosen = []
    for text in wanted or default_layers(layers, outputs):
        name, _, own = str(text).partition("=")
        row = find_layer(layers, name)
        chosen.append(LayerChoice(str(row["name"]), int(row["number"]), str(Functional.parse(own or functional))))
    twice = [c.name for k, c in enumerate(chosen) if c.name in [d.name for d in chosen[:k]]]
    if twice:
        raise AtlasError(f"layer {twice[0]} is named twice: one functional per layer and build")
    return chosen


def default_layers(layers: pd.DataFrame, outputs: int) -> list[str]:
    """Return a spatial layer before the last shrinking of the map, the descriptor and the logits, those that exist."""
    useful = layers[(layers["units"] > 0) & ~layers["kind"].str.match(NOT_LAYERS)]
    if useful.empty:
        raise AtlasError("no layer of the network yields numbers: name the module that does with --layer")
    logits = useful[useful["units"] == outputs].tail(1) if outputs else useful.tail(0)
    before = useful[useful["number"] < logits["number"].iloc[0]] if len(logits) else useful
    area = before["shape"].map(_area)
    spatial = before[area > 1]
    larger = spatial[area[spatial.index] > area[spatial.index].iloc[-1]] if len(spatial) else spatial
    names = [*(larger if len(larger) else spatial)["name"].tail(1), *before["name"].tail(1), *logits["name"]]
    return list(dict.fromkeys(names))


def _area(shape: str) -> int:
    """Return the number of positions of a layer from the text of its shape: ``64×14×14`` has 196."""
    numbers = [int(n) for n in shape.split(" ")[0].split("×") if n.isdigit()]
    if len(numbers) == 3:
        return numbers[0] * numbers[1] if "last" in shape else numbers[1] * numbers[2]
    return 1


def parse_layouts(texts: Sequence[str], layers: Sequence[str]) -> list[LayoutChoice]:
    """Return the layouts that `texts` ask for, of the chosen `layers`.

    Each is ``METHOD[:LAYERS][,name=value…]``: METHOD umap, tsne or pca; LAYERS a layer, ``all`` (each by itself, the
    default), ``joint`` (all together) or some joined by ``+``. Anything else raises AtlasError.
    """
    return list({repr(choice): choice for text in texts for choice in _parse_layout(text, list(layers))}.values())


def read_layout(text: str) -> tuple[str, str, dict[str, Any]]:
    """Return a layout's method, its layers as written, and its parameters with defaults; AtlasError for what is none."""
    head, *pairs = str(text).split(",")
    method, _, of = head.partition(":")
    if method not in METHODS:
        raise choose("layout method", method, METHODS)
    return method, of, METHODS[method] | dict(_parse_pair(method, pair) for pair in pairs)


def _parse_layout(text: str, layers: list[str]) -> list[LayoutChoice]:
    method, of, parameters = read_layout(text)
    if of in ("", "all"):
        return [LayoutChoice(method, (layer,), parameters) for layer in layers]
    together = layers if of == "joint" else of.split("+")
    for layer in together:
        if layer not in layers:
            raise choose("chosen layer", layer, layers)
    return [LayoutChoice(method, tuple(together), parameters)]


def _parse_pair(method: str, pair: str) -> tuple[str, Any]:
    name, _, value = pair.partition("=")
    if name not in METHODS[method]:
        raise choose(f"{method} parameter", name, METHODS[method])
    try:
        number = KINDS[name](value)
    except ValueError:
        raise AtlasError(f"{method} {name} is a number, not {one_line(repr(value))}") from None
    if not 0 <= number < 1e6 or (number == 0 and name != "min_dist"):
        raise AtlasError(f"{method} {name}={value} is out of range: a positive number would do")
    return name, number


def check_layouts(layouts: list[LayoutChoice], layers: list[LayerChoice], images: int) -> None:
    """Refuse a joint layout of layers whose points are not the same, and a layout of fewer points than its method needs."""
    functionals = {layer.name: layer.functional for layer in layers}
    for choice in layouts:
        kinds = {f if f.startswith("positions") else "image" for f in map(functionals.get, choice.layers) if f}
        if len(kinds) > 1:
            raise AtlasError(
                f"{choice.title} needs the same points in each layer and there are {', '.join(sorted(kinds))}: "
                "give the layers the same functional"
            )
        points = images * positions(functionals[choice.layers[0]])
        if points < LEAST_POINTS[choice.method]:
            raise AtlasError(
                f"{choice.title} needs at least {LEAST_POINTS[choice.method]} points and there are {points}: "
                f"give more images{', or `--layout pca`' if points >= LEAST_POINTS['pca'] else ''}"
            )


def graphs_needed(layers: Sequence[LayerChoice], layouts: Sequence[LayoutChoice]) -> dict[tuple[str, ...], int]:
    """Return how many neighbours are listed per point, by layer, and by the layers that are laid out jointly."""
    spaces = dict.fromkeys([(layer.name,) for layer in layers] + [choice.layers for choice in layouts])
    return {space: max([LISTED, *(c.neighbours_needed for c in layouts if c.layers == space)]) for space in spaces}


def check_folder(root: Path) -> None:
    """Refuse a folder that an atlas cannot be written in, before anything is made."""
    nearest = next(path for path in (root.absolute(), *root.absolute().parents) if exists(path))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        what = "is no folder" if not nearest.is_dir() else "cannot be written in"
        raise AtlasError(f"cannot make an atlas in {root}: {nearest} {what}; choose another with --cache")


def positions(functional: str) -> int:
    """Return how many points an image has under a functional."""
    return int(functional.partition(":")[2].partition("-")[0]) if functional.startswith("positions") else 1


def check_run(run: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a run with their defaults; an unknown one, or a value out of range, raises AtlasError."""
    known = {"precision": "auto", "batch_size": None, "device": "auto", "workers": cores()}
    for name in run:
        if name not in known:
            raise choose("option of a run", name, known)
    run = known | {name: value for name, value in run.items() if value is not None}
    if run["precision"] not in PRECISIONS:
        raise choose("precision", run["precision"], PRECISIONS)
    for name in ("batch_size", "workers"):
        if run[name] is not None and run[name] < 1:
            raise AtlasError(f"{name.replace('_', ' ')} is {run[name]}: at least 1 would do")
    return run


def dataset_folder(root: Path) -> Path:
    """Return where named datasets are kept: beside the atlas, shared by all atlases of one cache."""
    return Path(os.environ.get("ATLAS_DATASETS", root.parent / "datasets"))
