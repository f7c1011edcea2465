"""The usual run, written with the public parts: images and a network in, an atlas on disk out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.data.records import Images
from atlas.errors import AtlasError, choose
from atlas.models.records import ClassMap, NetworkRecord
from atlas.planning import (
    LayerChoice,
    LayoutChoice,
    check_folder,
    check_layouts,
    check_run,
    choose_layers,
    dataset_folder,
    graphs_needed,
    parse_layouts,
    read_layout,
)
from atlas.pool import Task, run_all
from atlas.progress import Progress
from atlas.stages import build_activations, build_layout, build_neighbours, build_predictions, build_statistics
from atlas.store import Recipe, Store, inputs_of

if TYPE_CHECKING:
    import torch

    from atlas.activations.extract import Pass
    from atlas.atlas import Atlas
    from atlas.data.reading import Reader
    from atlas.data.sources import Chosen
    from atlas.models.network import Network

COMPARED = 16  # images whose bfloat16 vectors are held against float32's
SIDE_BY_SIDE = 5_000  # points from which a layout is long enough to be worth a process of its own


@dataclass(frozen=True)
class Plan:
    """What a build will do: everything read, resolved and checked, nothing long done."""

    store: Store
    images: Chosen
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


def build(
    model: str | torch.nn.Module,
    images: Any,
    *,
    cache: str | os.PathLike[str] | None = None,
    layers: Sequence[str | int] = (),
    layouts: Sequence[str] = ("umap",),
    progress: Progress | None = None,
    **options: Any,
) -> Atlas:
    """Build the atlas of `model` over `images` in the folder `cache` and return it open.

    What stands already is not built again. `layers` are names or numbers of `atlas layers`, each optionally with its
    functional (``layer3=max``); `layouts` as `atlas.planning.parse_layouts` reads them. The further options are those of
    `plan`. A user's mistake raises AtlasError before the long work starts.
    """
    progress = progress or Progress()
    return execute(plan(model, images, cache=cache, layers=layers, layouts=layouts, progress=progress, **options), progress)


def plan(
    model: str | torch.nn.Module,
    images: Any,
    *,
    cache: str | os.PathLike[str] | None = None,
    layers: Sequence[str | int] = (),
    layouts: Sequence[str] = ("umap",),
    functional: str = "mean",
    statistics: Sequence[str | int] = (),
    metric: str = "cosine",
    limit: int | None = None,
    split: str | None = None,
    class_map: str | os.PathLike[str] | None = None,
    seed: int = 0,
    title: str | None = None,
    network: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
    verify: bool = False,
    progress: Progress | None = None,
) -> Plan:
    """Read, resolve and check all that a build needs.

    `statistics` names further layers of which only statistics are kept, or is ``["all"]``; `class_map` is a file or
    ``order``; `network` goes to `load_network` (weights, input_size, mean, std); `run` holds precision (auto, bfloat16,
    float32), batch_size, device and workers, none of which but the precision decides a result. `verify` hashes every
    file anew.
    """
    from atlas.data.sources import choose_images

    progress = progress or Progress()
    run = _check_choices(run, metric, layouts)
    store = Store(cache if cache is not None else default_cache(images))
    check_folder(store.root)
    if (store.root / "atlas.json").exists():
        store.contents()  # one that cannot be added to is told now
    chosen_images = choose_images(
        images,
        limit=limit,
        seed=seed,
        split=split,
        datasets=dataset_folder(store.root),
        atlas_root=store.root,
        progress=progress,
    )
    loaded, record = _open_network(model, dict(network or {}), chosen_images.sample(), store.root, progress)
    chosen = choose_layers(layers, record.layers, functional=functional, outputs=record.outputs)
    choices = parse_layouts(layouts, [layer.name for layer in chosen])
    check_layouts(choices, chosen, chosen_images.count)
    return Plan(
        store=store,
        images=chosen_images,
        network=loaded,
        record=record,
        class_map=read_class_map(loaded, chosen_images.labels, class_map),
        layers=chosen,
        statistics=_choose_statistics(statistics, chosen, record, functional),
        layouts=choices,
        metric=metric,
        seed=seed,
        run=run,
        verify=verify,
        title=title,
    )


def _check_choices(run: Mapping[str, Any] | None, metric: str, layouts: Sequence[str]) -> dict[str, Any]:
    """Refuse what can be refused by its spelling alone; return the options of the run with their defaults."""
    from atlas.activations.engine import find_device

    checked = check_run(dict(run or {}))
    find_device(checked["device"])
    if metric not in ("cosine", "L2"):
        raise choose("metric", metric, ("cosine", "L2"))
    for text in layouts:
        read_layout(text)
    return checked


def _open_network(
    model: str | torch.nn.Module, options: dict[str, Any], sample: Any, root: Path, progress: Progress
) -> tuple[Network, NetworkRecord]:
    """Return the network and its record, whose files are named relative to the atlas."""
    from atlas.models.network import load_network, network_record

    network = load_network(model, sample_shape=sample.shape, **options)
    for line in [f"preprocessing: {network.preprocess.describe()}", *network.notes]:
        progress.note(line)
    record = network_record(network, sample_input(network, sample))
    spec = record.spec.removeprefix("atlas:") if record.spec.startswith("atlas:") else record.spec
    if Path(spec).exists() and not record.spec.startswith("python:"):
        record = replace(record, spec=record.spec.replace(spec, from_root(spec, root)))
    return network, record if record.weights is None else replace(record, weights=from_root(record.weights, root))


def from_root(path: str | os.PathLike[str], root: Path) -> str:
    """Return a path as it is written in an atlas: relative to its folder, links followed on both sides."""
    return os.path.relpath(os.path.realpath(path), os.path.realpath(root))


def execute(todo: Plan, progress: Progress) -> Atlas:
    """Do what the plan says; return the atlas open. What stands already is kept as it is."""
    from atlas.atlas import Atlas

    todo.store.prepare()
    before = set(todo.store.artifacts())
    names = _record_all(todo, progress)
    names += _map_all(todo, names, progress)
    images = names[0]
    title = todo.title or (None if (todo.store.root / "atlas.json").exists() else todo.images.title)
    dropped = todo.store.show(names, title=title, keep=partial(_staying, todo.store, images, names))
    if dropped:
        progress.note(
            f"{len(dropped)} earlier results, of other images or replaced, are no longer shown: the command that built them "
            f"shows them again, and `atlas gc {todo.store.root} --remove` frees their space"
        )
    if before.issuperset(names):
        progress.note("everything stands already: nothing was built")
    return Atlas(todo.store.root)


def _record_all(todo: Plan, progress: Progress) -> list[str]:
    """Images, network, the pass, and the records made of its parts; return their names, the images' first."""
    from atlas.activations.extract import run
    from atlas.data.reading import open_reader

    store = todo.store
    images_name, images = _build_images(todo, progress)
    network_name = build_network(store, todo.record)
    reader = open_reader(images, store.root, dataset=todo.images.listing.dataset)
    done = run(
        store, todo.network, network_name, images, images_name, reader,
        vectors={layer.name: layer.functional for layer in todo.layers},
        statistics={layer.name: layer.functional for layer in todo.statistics},
        class_map=todo.class_map, seed=todo.seed, progress=progress,
        precision=todo.run["precision"], batch_size=todo.run["batch_size"], device=todo.run["device"],
    )  # fmt: skip
    told = _tell_run(todo, done, images, reader, progress)
    names = [images_name, network_name]
    with progress.stage("predictions and statistics", len(todo.layers) + len(todo.statistics) + 1) as advance:
        if todo.record.outputs:
            names.append(build_predictions(store, done, images, names[:2], todo.class_map, progress))
        advance(1)
        for layer in todo.statistics:
            names.append(build_statistics(store, done, layer, names[:2]))
            advance(1)
        for layer in todo.layers:
            names.append(build_activations(store, done, layer, names[:2], told))
            advance(1)
    return names


def _build_images(todo: Plan, progress: Progress) -> tuple[str, Images]:
    from atlas.data.hashes import FILE, FileHashes

    store = todo.store
    gathered = todo.images.gather(hashes=FileHashes(store.root / FILE, verify=todo.verify))
    images = store.build(gathered.recipe, Images, gathered.make)
    if images.source != gathered.source:  # the same images, found elsewhere than when the record was made
        store.amend(gathered.recipe.name, source=gathered.source)
        images = store.read(gathered.recipe.name, Images)
    _tell_counts(images, progress)
    return gathered.recipe.name, images


def _tell_run(todo: Plan, done: Pass, images: Images, reader: Reader, progress: Progress) -> dict[str, Any]:
    """Say in which precision the network ran, and how far its vectors are from float32's on a few images."""
    told: dict[str, Any] = {"precision": done.precision, "device": done.device, "batch_size": done.batch_size}
    if not done.images_run:
        return told
    line = f"the network ran in {done.precision} on {done.device}, {done.batch_size} images at a time"
    if done.precision == "bfloat16" and not reader.tensors:
        agreement = compare_with_float32(todo, done, images, reader)
        told["cosine_to_float32"] = agreement
        worst = min(agreement, key=lambda layer: agreement[layer], default=None)
        line += "" if worst is None else f"; cosine to float32 {agreement[worst]:.5f} in {worst}, the farthest layer"
    progress.note(line)
    return told


def compare_with_float32(todo: Plan, done: Pass, images: Images, reader: Reader) -> dict[str, float]:
    """Return the mean cosine between the stored vectors and float32's, by layer, over the first images that decode."""
    from atlas.activations.extract import describe
    from atlas.activations.records import PartLayer

    layers = {c.name: c.functional for c in todo.layers if not c.functional.startswith("positions")}
    rows = images.decoded[:COMPARED]
    exact = describe(todo.network, [reader.image(int(row)) for row in rows], layers) if layers else {}
    found = {}
    for layer in layers:
        stored = todo.store.read(done.layers[layer][0], PartLayer).vectors[: len(rows)].astype(np.float64)
        norms = np.linalg.norm(stored, axis=1) * np.linalg.norm(exact[layer], axis=1)
        cosine = np.divide((stored * exact[layer]).sum(1), norms, out=np.ones(len(rows)), where=norms > 0)
        found[layer] = float(np.nan_to_num(cosine).mean())
    return found


def _map_all(todo: Plan, names: list[str], progress: Progress) -> list[str]:
    """Neighbours with all cores one after the other, then the layouts side by side with one thread each."""
    of_layer = {todo.store.header(name)["fields"]["layer"]: name for name in names if name.startswith("activations-")}
    made: list[str] = []
    graphs: dict[tuple[str, ...], str] = {}
    for layers, k in graphs_needed(todo.layers, todo.layouts).items():
        graphs[layers] = build_neighbours(
            todo.store, [of_layer[name] for name in layers], metric=todo.metric, k=k, seed=todo.seed, progress=progress
        )
        made.append(graphs[layers])
    points = todo.images.count
    workers = min(todo.run["workers"], len(todo.layouts)) if points >= SIDE_BY_SIDE else 1
    # The longest first, so that no worker is left with it at the end: t-SNE takes several times a UMAP.
    order = sorted(todo.layouts, key=lambda choice: ["tsne", "umap", "pca"].index(choice.method))
    alone = [choice for choice in order if choice.parameters.get("parallel")]  # these take all the cores by themselves

    def tasks(choices: list[LayoutChoice]) -> list[Task]:
        root, seed = str(todo.store.root), todo.seed
        return [(build_layout, (root, c, [of_layer[n] for n in c.layers], graphs[c.layers], seed)) for c in choices]

    made += run_all(tasks(alone), workers=1, progress=progress)
    return made + run_all(tasks([c for c in order if c not in alone]), workers=workers, progress=progress)


# ---------------------------------------------------------------------------------------------------------------------
# The parts of a plan


def default_cache(images: Any) -> Path:
    """Return ``cache/NAME`` for a named source, a folder or a table; a torch Dataset from Python needs a name."""
    if not isinstance(images, str | os.PathLike):
        raise AtlasError("say where the atlas of a torch Dataset goes: atlas.build(…, cache='cache/NAME')")
    return Path("cache") / (Path(str(images).partition(":")[0]).resolve().stem or "atlas")


def sample_input(network: Network, sample: Any) -> torch.Tensor:
    """Return one image as the network gets it: float [1, rgb, y, x] from a float tensor or a Pillow image."""
    import torch

    if sample.tensor is not None:
        return torch.as_tensor(sample.tensor)[None]
    return network.preprocess.tensor(torch.from_numpy(network.preprocess.array(sample.image).copy())[None])


def read_class_map(network: Network, labels: list[str], wanted: str | os.PathLike[str] | None) -> ClassMap:
    """Match the network's outputs with the images' labels: by name, by the file `wanted`, or by order if it says so."""
    from atlas.models.classmap import match_classes

    by_order = wanted == "order"
    file = Path(wanted) if wanted is not None and not by_order else None
    return match_classes(network.categories, network.outputs, labels, file=file, by_order=by_order)


def _choose_statistics(
    wanted: Sequence[str | int], chosen: list[LayerChoice], record: NetworkRecord, functional: str
) -> list[LayerChoice]:
    if list(wanted) == ["all"]:
        wanted = list(record.layers.loc[record.layers["units"] > 0, "name"])
    names = {layer.name for layer in chosen}
    further = choose_layers(wanted, record.layers, functional=functional, outputs=record.outputs) if wanted else []
    return chosen + [layer for layer in further if layer.name not in names]


def build_network(store: Store, record: NetworkRecord) -> str:
    """Keep the network's record; by what name it was opened and where its weights lie decides nothing, and is corrected."""
    decisive = {"identity": record.identity, "categories": record.categories, "outputs": record.outputs}
    recipe = Recipe("network", 1, decisive | {"layers": record.layers.to_dict("list")}, libraries=("torch",))
    found = store.build(recipe, NetworkRecord, lambda: record)
    told = ("spec", "weights", "title")
    if any(getattr(found, name) != getattr(record, name) for name in told):
        store.amend(recipe.name, **{name: getattr(record, name) for name in told})
    return recipe.name


def _tell_counts(images: Images, progress: Progress) -> None:
    """Say on the terminal what is not as it should be: what does not decode, what is there twice."""
    bad = images.table[images.table["error"].notna()]
    if len(bad):
        progress.note(f"{len(bad)} of {len(images)} images do not decode and are left out:")
        for path, error in bad[["path", "error"]].head(10).itertuples(index=False):
            progress.note(f"  {path}: {error}")
        if len(bad) > 10:
            progress.note(f"  and {len(bad) - 10} more: the column `error` of the images lists them all")
    twice = int((images.table["duplicate_of"] >= 0).sum())
    if twice:
        progress.note(f"exact duplicates of other images: {twice}, marked in the column `duplicate_of`")


def _staying(store: Store, images: str, new: Sequence[str], before: Sequence[str]) -> list[str]:
    """Return which artifacts shown before stay: of the same images, not replaced by one of `new`, nor made from such.

    A network stays while something made by it is shown.
    """
    headers = {name: store.header(name) for name in {*before, *new}}
    about = {name: _subject(store, header) for name, header in headers.items()}
    replaced = {about[name] for name in new}
    stay = [n for n in before if images in {n, *_ancestors(store, n)} and about[n] not in replaced]
    gone = {name for name in before if name not in stay}
    stay = [name for name in stay if gone.isdisjoint(inputs_of(headers[name], "activations"))]
    networks = {network for name in [*stay, *new] for network in inputs_of(headers[name], "network")}
    return [name for name in before if name in stay or name in networks]


def _subject(store: Store, header: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what an artifact is about: of two with one subject the later replaces the earlier."""
    if header["stage"] in ("predictions", "statistics", "activations"):
        networks = [store.header(name)["fields"].get("identity") for name in inputs_of(header, "network")]
        return header["stage"], *networks, header["fields"].get("layer"), header["fields"].get("functional")
    if header["stage"] == "neighbours":
        return header["stage"], *inputs_of(header, "activations")
    return header["stage"], header["key"]


def _ancestors(store: Store, name: str) -> set[str]:
    parents = set(inputs_of(store.header(name)))
    return parents.union(*(_ancestors(store, p) for p in parents if not p.startswith("parts/") and store.has(p)))
