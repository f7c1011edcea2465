"""Recording: images, network and one pass over them become records; what was made is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atlas.data.records import Images
from atlas.errors import one_line
from atlas.models.records import NetworkRecord
from atlas.planning import Plan
from atlas.progress import Progress
from atlas.stages import build_activations, build_predictions, build_statistics
from atlas.store import Recipe, Store

if TYPE_CHECKING:
    from atlas.activations.extract import Pass


def record_all(todo: Plan, progress: Progress) -> list[str]:
    """Images, network, the pass, and the records made of its parts; return their names, the images' first."""
    from atlas.activations.extract import run
    from atlas.data.reading import open_reader

    store = todo.store
    images_name, images = _build_images(todo, progress)
    network_name = build_network(store, todo.record)
    reader = open_reader(images, store.root, dataset=todo.images.dataset)
    done = run(
        store, todo.network, network_name, images, images_name, reader,
        vectors={layer.name: layer.functional for layer in todo.layers},
        statistics={layer.name: layer.functional for layer in todo.statistics},
        seed=todo.seed, progress=progress,
        precision=todo.run["precision"], batch_size=todo.run["batch_size"], device=todo.run["device"],
    )  # fmt: skip
    told = _tell_run(done, progress)
    names = [images_name, network_name]
    with progress.stage("predictions and statistics", len(todo.layers) + len(todo.statistics) + 1) as advance:
        if todo.record.outputs:
            names.append(build_predictions(store, done, images, names[:2], todo.class_map, progress))
        advance(1)
        for layer in todo.statistics:
            names.append(build_statistics(store, done, layer, names[:2], todo.class_map))
            advance(1)
        for layer in todo.layers:
            names.append(build_activations(store, done, layer, names[:2], told))
            advance(1)
    return names


def _build_images(todo: Plan, progress: Progress) -> tuple[str, Images]:
    from atlas.data.growing import Standing
    from atlas.data.hashes import FILE, FileHashes

    store = todo.store
    if isinstance(todo.images, Standing):
        return todo.images.name, todo.images.record
    gathered = todo.images.gather(hashes=FileHashes(store.root / FILE, verify=todo.verify))
    images = store.build(gathered.recipe, Images, gathered.make)
    if images.source != gathered.source:  # the same images, found elsewhere than when the record was made
        store.amend(gathered.recipe.name, source=gathered.source)
        images = store.read(gathered.recipe.name, Images)
    tell_counts(images, progress)
    return gathered.recipe.name, images


def _tell_run(done: Pass, progress: Progress) -> dict[str, Any]:
    """Say in which precision the network ran, and how far its vectors are from float32's on a few images."""
    told: dict[str, Any] = {"precision": done.precision, "device": done.device, "batch_size": done.batch_size}
    if not done.images_run:
        return told
    line = f"the network ran in {done.precision} on {done.device}, {done.batch_size} images at a time"
    if done.precision == "bfloat16" and done.agreement:
        told["cosine_to_float32"] = done.agreement
        worst = min(done.agreement, key=lambda layer: done.agreement[layer])
        line += f"; cosine to float32 {done.agreement[worst]:.5f} in {worst}, the farthest layer"
    progress.note(line)
    return told


def build_network(store: Store, record: NetworkRecord) -> str:
    """Keep the network's record; by what name it was opened and where its weights lie decides nothing, and is corrected."""
    decisive = {"identity": record.identity, "categories": record.categories, "outputs": record.outputs}
    recipe = Recipe("network", 1, decisive | {"layers": record.layers.to_dict("list")}, libraries=("torch",))
    found = store.build(recipe, NetworkRecord, lambda: record)
    told = ("spec", "weights", "title")
    if any(getattr(found, name) != getattr(record, name) for name in told):
        store.amend(recipe.name, **{name: getattr(record, name) for name in told})
    return recipe.name


def tell_counts(images: Images, progress: Progress) -> None:
    """Say on the terminal what is not as it should be: what does not decode, what is there twice."""
    bad = images.table[images.table["error"].notna()]
    if len(bad):
        progress.note(f"{len(bad)} of {len(images)} images do not decode and are left out:")
        for path, error in bad[["path", "error"]].head(10).itertuples(index=False):
            progress.note(f"  {one_line(path)}: {one_line(error)}")
        if len(bad) > 10:
            progress.note(f"  and {len(bad) - 10} more: the column `error` of the images lists them all")
    twice = int((images.table["duplicate_of"] >= 0).sum())
    if twice:
        progress.note(f"exact duplicates of other images: {twice}, marked in the column `duplicate_of`")
