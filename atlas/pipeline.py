"""The usual run, written with the public parts: images and a network in, an atlas on disk out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.data.records import Images
from atlas.errors import AtlasError, choose
from atlas.files import exists
from atlas.models.records import ClassMap, NetworkRecord
from atlas.planning import (
    LayerChoice,
    Plan,
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
from atlas.recording import record_all
from atlas.showing import staying
from atlas.stages import build_layout, build_neighbours, build_truths, layout_recipe
from atlas.store import Store, writing

if TYPE_CHECKING:
    import torch

    from atlas.atlas import Atlas
    from atlas.data.growing import Standing
    from atlas.data.sources import Chosen
    from atlas.models.network import Network

SIDE_BY_SIDE = 5_000  # points from which a layout is long enough to be worth a process of its own


def build(
    model: str | torch.nn.Module,
    images: Any = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    layers: Sequence[str | int] = (),
    layouts: Sequence[str] = ("umap",),
    preferred: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Atlas:
    """Build the atlas of `model` over `images` in the folder `cache` and return it open.

    With `into`, an atlas that stands, `model` becomes one more network of it, over its images.

    What stands already is not built again. `layers` are names or numbers of `atlas layers`, each optionally with its
    functional (``layer3=max``); `layouts` as `atlas.planning.parse_layouts` reads them; with `preferred` the preferred
    inputs of each of the layers follow. The further options are those of `plan`. A user's mistake raises AtlasError
    before the long work starts.
    """
    progress = progress or Progress()
    todo = plan(model, images, cache=cache, layers=layers, layouts=layouts, progress=progress, **options)
    built = execute(todo, progress)
    return draw_preferred(built, todo.network, progress) if preferred else built


def draw_preferred(built: Atlas, network: Network, progress: Progress) -> Atlas:
    """Draw the preferred inputs of each recorded layer of `network`, loaded already; return the atlas open anew."""
    from atlas.atlas import Atlas

    opened = Atlas(built.store.root, networks={built.names("network")[-1]: network})
    for layer in opened.layers:
        opened.preferred(layer, progress=progress)
    return Atlas(built.store.root)


def plan(
    model: str | torch.nn.Module,
    images: Any = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    into: str | os.PathLike[str] | None = None,
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
    properties: bool = False,
    network: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
    verify: bool = False,
    progress: Progress | None = None,
) -> Plan:
    """Read, resolve and check all that a build needs.

    `statistics` names further layers of which only statistics are kept, or is ``["all"]``; `class_map` is a file or
    ``order``; `network` goes to `load_network` (weights, input_size, mean, std); `run` holds precision (auto, bfloat16,
    float32), batch_size, device and workers, none of which but the precision decides a result. `verify` hashes every
    file anew. With `properties` brightness, contrast and more of each image become columns, as `atlas.data.properties` has
    them. `into` is an atlas that stands: its images are taken, and `images`, where given, must be the same.
    """
    progress = progress or Progress()
    run = _check_choices(run, metric, layouts)
    store = _store_for(cache, into, images, properties)
    choice = {"limit": limit, "seed": seed, "split": split, "properties": properties, "progress": progress}
    chosen_images = standing_images(store, images, **choice) if into is not None else choose_for(store, images, **choice)
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


def _store_for(cache: Any, into: Any, images: Any, properties: bool) -> Store:
    """Return the store that a build writes; a folder that it cannot write, or an atlas it cannot add to, is told now."""
    if into is None and images is None:
        raise AtlasError("say which images: a folder, a table or a dataset's name; or --into ATLAS for those of an atlas")
    if into is not None and cache is not None:
        raise AtlasError("an atlas is built --into one that stands or in a new --cache folder: give one of the two")
    if into is not None and properties:
        raise AtlasError("properties are measured as images are decoded: give --properties to the build of the atlas itself")
    store = Store(into if into is not None else cache if cache is not None else default_cache(images))
    check_folder(store.root)
    if into is not None or (store.root / "atlas.json").exists():
        store.contents()
    return store


def choose_for(store: Store, images: Any, **choice: Any) -> Chosen:
    """Return the images that a build or an addition takes; `choice` holds limit, seed, split and progress."""
    from atlas.data.sources import choose_images

    return choose_images(images, datasets=dataset_folder(store.root), atlas_root=store.root, **choice)


def standing_images(store: Store, images: Any = None, **choice: Any) -> Standing:
    """Return the images of an atlas that stands; `images`, where given, must be the same in the same order."""
    from atlas.data.growing import Standing

    names = store.shown("images")
    if not names:
        raise AtlasError(f"the atlas in {store.root} shows no images: build it with `atlas build MODEL IMAGES`")
    record = store.read(names[-1], Images)
    chosen = None if images is None else choose_for(store, images, **choice)
    standing = Standing(names[-1], record, store.root, None if chosen is None else chosen.dataset)
    if chosen is not None:
        _check_same_images(chosen, record, store.root)
    return standing


def _check_same_images(chosen: Chosen, record: Images, root: Path) -> None:
    found, own = list(chosen.gather().table["image_id"]), list(record.table["image_id"])
    if found != own:
        there = len(set(found) & set(own))
        raise AtlasError(
            f"{there} of these {len(found)} images are among the {len(own)} of {root}, and a network is built into an atlas "
            "over all of its images: leave IMAGES out to take them, or add the others first with `atlas add`"
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
    if exists(spec) and not record.spec.startswith("python:"):
        record = replace(record, spec=record.spec.replace(spec, from_root(spec, root)))
    return network, record if record.weights is None else replace(record, weights=from_root(record.weights, root))


def from_root(path: str | os.PathLike[str], root: Path) -> str:
    """Return a path as it is written in an atlas: relative to its folder, links followed on both sides."""
    return os.path.relpath(os.path.realpath(path), os.path.realpath(root))


def execute(todo: Plan, progress: Progress) -> Atlas:
    """Do what the plan says; return the atlas open. What stands already is kept as it is."""
    with writing(todo.store.root):  # whatever a disk or another process does to the folder meanwhile is one line
        return _execute(todo, progress)


def _execute(todo: Plan, progress: Progress) -> Atlas:
    from atlas.atlas import Atlas

    todo.store.prepare()
    before = set(todo.store.artifacts())
    names = record_all(todo, progress)
    names += _map_all(todo, names, progress)
    images = names[0]
    title = todo.title or (None if (todo.store.root / "atlas.json").exists() else todo.images.title)
    dropped = todo.store.show(names, title=title, keep=partial(staying, todo.store, images, names))
    if dropped:
        progress.note(
            f"{len(dropped)} earlier results, of other images or replaced, are no longer shown: the command that built them "
            f"shows them again, and `atlas gc {todo.store.root} --remove` frees their space"
        )
    if before.issuperset(names):
        progress.note("everything stands already: nothing was built")
    return Atlas(todo.store.root)


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
    made += _truths_all(todo, names, of_layer, graphs, progress)
    points = todo.images.count
    workers = min(todo.run["workers"], len(todo.layouts)) if points >= SIDE_BY_SIDE else 1
    # The longest first, so that no worker is left with it at the end: t-SNE takes several times a UMAP.
    order = sorted(todo.layouts, key=lambda choice: ["tsne", "umap", "pca"].index(choice.method))

    asked = [(choice, [of_layer[name] for name in choice.layers], graphs[choice.layers], todo.seed) for choice in order]
    tasks: list[Task] = [(build_layout, (str(todo.store.root), *one)) for one in asked]
    stands = [todo.store.has(layout_recipe(todo.store, *one).name) for one in asked]
    # What stands is read here: a process of its own would take seconds to start.
    run_all([task for task, there in zip(tasks, stands, strict=True) if not there], workers=workers, progress=progress)
    return made + run_all(tasks, workers=1, progress=progress)


def _truths_all(
    todo: Plan, names: list[str], of_layer: Mapping[str, str], graphs: Mapping[tuple[str, ...], str], progress: Progress
) -> list[str]:
    """Spread, suspects and leaks of each single layer, from its own neighbours."""
    predictions = next((name for name in names if name.startswith("predictions-")), None)
    single = {layers[0]: graph for layers, graph in graphs.items() if len(layers) == 1}
    made: list[str] = []
    with progress.stage("class spread, label suspects and leaks", len(single)) as advance:
        for layer, graph in single.items():
            made += build_truths(todo.store, names[0], predictions, of_layer[layer], graph)
            advance(1)
    return made


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
