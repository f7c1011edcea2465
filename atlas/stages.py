"""Each stage with its recipe: the one place where a result's name, its inputs and what computes it are written together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.activations.assemble import make_activations, make_predictions, merge_statistics, vectors_of
from atlas.activations.records import Activations, PartLayer, PartLogits, PartMoments, Predictions, Statistics
from atlas.data.records import Images
from atlas.maps.records import Layout, Neighbours
from atlas.models.records import ClassMap
from atlas.planning import LayerChoice, LayoutChoice
from atlas.progress import Progress
from atlas.store import Recipe, Store
from atlas.tables import text_accuracy

if TYPE_CHECKING:
    import numpy as np

    from atlas.activations.extract import Pass
    from atlas.activations.records import Vectors


def build_predictions(
    store: Store, done: Pass, images: Images, roots: list[str], class_map: ClassMap, progress: Progress
) -> str:
    """Predictions from the parts' logits; warnings about the class map are told."""
    inputs = {"images": roots[0], "network": roots[1], "parts": done.logits}
    recipe = Recipe("predictions", 1, {"class_map": asdict(class_map)}, inputs)

    def make() -> Predictions:
        made = make_predictions([store.read(name, PartLogits) for name in done.logits], images, class_map)
        assert made is not None  # only called for a network with logits
        return made

    record = store.build(recipe, Predictions, make)
    for line in [class_map.sentence, *record.warnings]:
        progress.note(line)
    for split, found in record.accuracy.items():
        progress.note(f"accuracy {text_accuracy(split, found)}")
    return recipe.name


def build_statistics(store: Store, done: Pass, layer: LayerChoice, roots: list[str]) -> str:
    """A layer's statistics over all images, merged from its parts."""
    parts, moments = done.statistics[layer.name], done.moments[layer.name]
    inputs = {"images": roots[0], "network": roots[1], "parts": parts, "moments": moments}
    recipe = Recipe("statistics", 1, {"layer": layer.name, "functional": layer.functional}, inputs)

    def make() -> Statistics:
        of_groups = [store.read(name, PartMoments) for name in moments]
        return merge_statistics([store.read(name, PartLayer) for name in parts], of_groups, number=layer.number)

    store.build(recipe, Statistics, make)
    return recipe.name


def build_activations(store: Store, done: Pass, layer: LayerChoice, roots: list[str], told: Mapping[str, Any]) -> str:
    """A layer's parts in order, its points, and every unit once more for colour."""
    parts = done.layers[layer.name]
    inputs = {"images": roots[0], "network": roots[1], "parts": parts}
    recipe = Recipe("activations", 1, {"layer": layer.name, "functional": layer.functional}, inputs, told=told)

    def make() -> Activations:
        return make_activations(parts, [store.read(name, PartLayer) for name in parts], number=layer.number)

    store.build(recipe, Activations, make)
    return recipe.name


def read_vectors(store: Store, names: list[str]) -> Vectors | np.ndarray:
    """Return the vectors [point, unit] of one layer, or of several jointly."""
    from atlas.maps.joint import join

    blocks = [vectors_of(store, store.read(name, Activations)) for name in names]
    return blocks[0] if len(blocks) == 1 else join(blocks)


def build_neighbours(
    store: Store, names: list[str], *, metric: str, k: int, seed: int, progress: Progress | None = None
) -> str:
    """The neighbours of one layer's points, or of several layers' jointly; longer lists that stand already serve too."""
    from atlas.maps.neighbours import EXACT_UP_TO
    from atlas.maps.neighbours import build_neighbours as find

    layers = [store.header(name)["fields"]["layer"] for name in names]
    parameters = {"metric": metric, "k": k, "exact_up_to": EXACT_UP_TO, "seed": seed}
    recipe = Recipe("neighbours", 1, parameters, {"activations": names}, ("faiss-cpu",))

    def make() -> Neighbours:
        return find(read_vectors(store, names), layers=layers, metric=metric, k=k, seed=seed, progress=progress)

    longer = _longer_lists(store, recipe)
    if longer is None:
        store.build(recipe, Neighbours, make)
    return longer or recipe.name


def _longer_lists(store: Store, recipe: Recipe) -> str | None:
    """Return the neighbours that differ from those of `recipe` only in having more of them, or None."""
    wanted = dict(recipe.parameters)
    for name in (path.name for path in store.root.glob("neighbours-*")):
        header = store.header(name)
        found = header["parameters"]
        alike = header["version"] == recipe.version and header["inputs"] == recipe.inputs and store.has(name)
        if alike and found["k"] > wanted["k"] and found | {"k": 0} == wanted | {"k": 0}:
            return name
    return None


LIBRARIES = {"umap": ("umap-learn", "numba"), "tsne": ("openTSNE",), "pca": ("numpy",)}


def build_layout(
    root: str, choice: LayoutChoice, names: list[str], neighbours: str, seed: int, *, progress: Progress
) -> str:
    """One layout of one layer or of several jointly, from the neighbours' lists.

    How long exact lists are decides nothing, for a method reads only as many as it needs; so they are told, not hashed. An
    approximate search finds others when it looks for more.
    """
    store = Store(Path(root))
    graph = store.read(neighbours, Neighbours)
    lists = None if graph.exact else graph.indices.shape[1]
    parameters = {"method": choice.method, **choice.parameters, "metric": graph.metric, "lists": lists, "seed": seed}
    recipe = Recipe(
        "layout", 1, parameters, {"activations": names}, LIBRARIES[choice.method], told={"neighbours": neighbours}
    )

    def make() -> Layout:
        from atlas.maps import layout

        method: Any = {"umap": layout.umap_layout, "tsne": layout.tsne_layout, "pca": layout.pca_layout}[choice.method]
        return method(read_vectors(store, names), graph, seed=seed, progress=progress, **choice.parameters)

    store.build(recipe, Layout, make)
    return recipe.name
