"""An atlas that grows: images appended, only new parts run, new points placed in the maps that stand."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from atlas.arguing import attribute_all, attributions_by, cells_of
from atlas.atlas import Atlas
from atlas.data.growing import Standing, grow
from atlas.data.hashes import FILE, FileHashes
from atlas.data.records import Images
from atlas.errors import AtlasError, one_line
from atlas.maps.records import Layout, Neighbours
from atlas.models.classmap import extend
from atlas.models.records import ClassMap, NetworkRecord
from atlas.pipeline import choose_for, read_class_map
from atlas.planning import METHODS, LayerChoice, LayoutChoice, Plan, check_folder, check_run
from atlas.progress import Advance, Progress
from atlas.recording import record_all, tell_counts
from atlas.showing import staying
from atlas.stages import build_layout, build_neighbours, build_truths, extend_layout, extend_neighbours
from atlas.store import Store, writing

if TYPE_CHECKING:
    import numpy as np

    from atlas.data.gathered import Gathered
    from atlas.models.network import Network


@dataclass(frozen=True)
class Member:
    """One network of an atlas that grows, loaded, with the class map of the labels to come."""

    atlas: Atlas  # restricted to this network
    network: Network
    class_map: ClassMap


def add(
    atlas: str | os.PathLike[str],
    images: Any,
    *,
    limit: int | None = None,
    split: str | None = None,
    seed: int = 0,
    refit: bool = False,
    new_labels: bool = False,
    class_map: str | os.PathLike[str] | None = None,
    verify: bool = False,
    run: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Atlas:
    """Add `images` to an atlas and return it open: rows appended, nothing renumbered, every network's results brought up.

    Only parts with new images go through a network. New points are placed in the layouts that stand, whose points stay
    where they are, each with a confidence; `refit` lays out anew instead. Images that are there already are counted and left
    out. Labels that are no output of a network would end right and wrong in its whole atlas, and are refused unless
    `new_labels` says otherwise or `class_map` names them. A user's mistake raises AtlasError before the long work starts.
    """
    progress, run = progress or Progress(), check_run(dict(run or {}))
    store = Store(atlas)
    opened = Atlas(atlas)
    check_folder(store.root)
    chosen = choose_for(store, images, limit=limit, seed=seed, split=split, progress=progress)
    labels = list(dict.fromkeys([*opened.image_record.labels, *_labels_of(chosen)]))
    members = [_member(opened, name, labels, class_map, new_labels) for name in opened.networks()["name"]]
    name = store.shown("images")[-1]
    gathered = grow(opened.image_record, name, chosen, hashes=FileHashes(store.root / FILE, verify=verify))
    if gathered is None:
        progress.note(f"all {chosen.count} images are in {store.root} already: nothing was added")
        return opened
    new = gathered.count - len(opened.image_record)
    progress.note(f"{new} images are new" + (f", {chosen.count - new} are there already" if chosen.count > new else ""))
    with writing(store.root):
        return _add(store, gathered, members, refit=refit, run=run, progress=progress)


def _labels_of(chosen: Any) -> list[str]:
    """Return the labels of the images chosen, in their source's order."""
    used = set(chosen.listing.table["label"].iloc[chosen.rows].dropna())
    return [label for label in chosen.labels if label in used]


def _member(atlas: Atlas, name: str, labels: list[str], file: Any, new_labels: bool) -> Member:
    """Return a network loaded again, and its class map for `labels`; AtlasError where that would no longer be complete."""
    own = atlas.of_network(name)
    network, known = own.network(), own.predictions.map if own.predictions else None
    if known is None or file is not None:
        return Member(own, network, read_class_map(network, labels, file))
    wanted = known if known.labels == labels else extend(known, labels)
    if known.complete and not wanted.complete and not new_labels:
        missing = [label for number, label in enumerate(labels) if number not in wanted.outputs]
        raise AtlasError(
            f"the label {one_line(missing[0], 60)}{f' and {len(missing) - 1} more' if missing[1:] else ''} of the new "
            f"images is no output of {own.network_record.title}: with it right and wrong would no longer be judged in the "
            "whole atlas: give --class-map FILE, leave those images out, or say --new-labels"
        )
    return Member(own, network, wanted)


def _add(
    store: Store, gathered: Gathered, members: list[Member], *, refit: bool, run: Mapping[str, Any], progress: Progress
) -> Atlas:
    """Build all that is new, then show it in one step: until then the atlas is as it was."""
    images = store.build(gathered.recipe, Images, gathered.make)
    tell_counts(images, progress)
    standing = Standing(gathered.recipe.name, images, store.root, gathered.dataset)
    names: list[str] = []
    for member in members:
        names += _grow_network(member, standing, refit=refit, run=run, progress=progress)
    names = list(dict.fromkeys([standing.name, *names]))
    store.show(names, keep=partial(staying, store, standing.name, names))
    return Atlas(store.root)


def _grow_network(
    member: Member, standing: Standing, *, refit: bool, run: Mapping[str, Any], progress: Progress
) -> list[str]:
    """Bring one network's results up to the images; return their names."""
    store, names = member.atlas.store, []
    for layers, statistics in _rounds(member.atlas):
        names += record_all(_plan(member, standing, layers, statistics, run), progress)
    grown = {_kept(store, name): name for name in names if name.startswith("activations-")}
    replaced = {name: grown[_kept(store, name)] for name in member.atlas.names("activations")}
    lists = {
        old: _neighbours(member.atlas, old, replaced, refit=refit, progress=progress)
        for old in member.atlas.names("neighbours")
    }
    layouts = {
        old: _layout(member.atlas, old, replaced, lists, refit=refit, progress=progress)
        for old in member.atlas.names("layout")
    }
    with progress.stage("class spread, label suspects and leaks", len(lists)) as advance:
        judged = _truths(member.atlas, standing.name, names, replaced, lists, advance)
    argued = _argued(member, standing, replaced, layouts, run, progress)
    return [*names, *lists.values(), *layouts.values(), *judged, *argued]


def _argued(
    member: Member,
    standing: Standing,
    replaced: Mapping[str, str],
    layouts: Mapping[str, str],
    run: Mapping[str, Any],
    progress: Progress,
) -> list[str]:
    """Attribute the new points of the layers that were attributed, and make the cells that were made over all points."""
    atlas = member.atlas
    names = [replaced[old] for name in atlas.names("attributions") for old in atlas.inputs(name, "activations")]
    made = attribute_all(atlas.store, names, member.network, dataset=standing.dataset, run=run, progress=progress)
    argued, grids = attributions_by(atlas.store, made), [atlas.field(name, "sizes") for name in atlas.names("cells")]
    old = [atlas.inputs(name, "layout")[0] for name in atlas.names("cells")]
    with progress.stage("cells", len(old)) as advance:
        for name, sizes in zip(old, grids, strict=True):
            made.append(cells_of(atlas.store, layouts[name], argued, sizes=sizes))
            advance(1)
    return made


def _truths(
    atlas: Atlas, images: str, names: list[str], replaced: Mapping[str, str], lists: Mapping[str, str], advance: Advance
) -> list[str]:
    """Measure spread, suspects and leaks of each single layer again, over all images."""
    predictions = next((name for name in names if name.startswith("predictions-")), None)
    made: list[str] = []
    for old, new in lists.items():
        sources = atlas.inputs(old, "activations")
        if len(sources) == 1:
            made += build_truths(atlas.store, images, predictions, replaced[sources[0]], new)
        advance(1)
    return made


def _kept(store: Store, name: str) -> tuple[str, str]:
    """Return a layer and its functional, by which an atlas's activations are told apart."""
    fields = store.header(name)["fields"]
    return fields["layer"], fields["functional"]


def _rounds(atlas: Atlas) -> Iterator[tuple[list[LayerChoice], list[LayerChoice]]]:
    """Yield layers with vectors and layers with statistics, one functional of each at a time: so many passes are needed."""
    vectors, statistics = _by_round(atlas, "activations"), _by_round(atlas, "statistics")
    for number in range(max(len(vectors), len(statistics))):
        kept = vectors[number] if number < len(vectors) else []
        counted = statistics[number] if number < len(statistics) else []
        yield kept, counted


def _by_round(atlas: Atlas, stage: str) -> list[list[LayerChoice]]:
    rounds: list[list[LayerChoice]] = []
    for name in atlas.names(stage):
        choice = LayerChoice(*(atlas.field(name, field) for field in ("layer", "number", "functional")))
        free = next((r for r in rounds if choice.name not in [other.name for other in r]), None)
        if free is None:
            rounds.append([choice])
        else:
            free.append(choice)
    return rounds


def _plan(
    member: Member,
    standing: Standing,
    layers: list[LayerChoice],
    statistics: list[LayerChoice],
    run: Mapping[str, Any],
) -> Plan:
    """Return the plan of a pass that records these layers as they were recorded before."""
    atlas = member.atlas
    record: NetworkRecord = atlas.network_record
    told: dict[str, Any] = next((atlas.headers[name]["told"] for name in atlas.names("activations")), {})
    precision = run["precision"] if run["precision"] != "auto" else told.get("precision", "auto")
    return Plan(
        store=atlas.store,
        images=standing,
        network=member.network,
        record=record,
        class_map=member.class_map,
        layers=layers,
        statistics=statistics,
        layouts=[],
        metric="",
        seed=_seed(atlas),
        run={**run, "precision": precision},
        verify=False,
        title=None,
    )


def _seed(atlas: Atlas) -> int:
    """Return the seed that positions were drawn with; 0 where none were."""
    parts = [part for name in atlas.names("activations") for part in atlas.inputs(name, "parts")]
    return next((seed for part in parts if (seed := atlas.store.header(part)["parameters"].get("seed")) is not None), 0)


def _neighbours(atlas: Atlas, old: str, replaced: Mapping[str, str], *, refit: bool, progress: Progress) -> str:
    """Extend the lists of one layer, or of several jointly; with `refit` find them anew."""
    names = [replaced[name] for name in atlas.inputs(old, "activations")]
    asked = atlas.headers[old]["parameters"]
    kept = atlas.store.read(old, Neighbours).indices.shape[1]
    if refit or kept < asked["k"]:  # so few images that the lists were cut; they are found anew, and longer
        return build_neighbours(
            atlas.store, names, metric=asked["metric"], k=asked["k"], seed=asked["seed"], progress=progress
        )
    return extend_neighbours(atlas.store, old, names, scales=_scales(atlas, old), progress=progress)


def _scales(atlas: Atlas, neighbours: str) -> np.ndarray | None:
    """Return what layers were divided by where they are joined: as in the layout of the same; None for one layer."""
    own = atlas.inputs(neighbours, "activations")
    layouts = [name for name in atlas.names("layout") if atlas.inputs(name, "activations") == own]
    if len(own) == 1 or not layouts:
        return None
    return atlas.store.read(layouts[-1], Layout).scales


def _layout(
    atlas: Atlas, old: str, replaced: Mapping[str, str], lists: Mapping[str, str], *, refit: bool, progress: Progress
) -> str:
    """Place the new points in one layout; with `refit` lay out all anew."""
    sources = atlas.inputs(old, "activations")
    names = [replaced[name] for name in sources]
    graph = next(name for name in lists if atlas.inputs(name, "activations") == sources)
    asked = atlas.headers[old]["parameters"]
    if refit:
        chosen = {name: asked[name] for name in METHODS[asked["method"]]}
        choice = LayoutChoice(asked["method"], tuple(atlas.field(old, "layers")), chosen)
        return build_layout(str(atlas.store.root), choice, names, lists[graph], asked["seed"], progress=progress)
    return extend_layout(atlas.store, old, names, before=graph, after=lists[graph], progress=progress)
