"""Each stage with its recipe: the one place where a result's name, its inputs and what computes it are written together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.activations.assemble import make_activations, make_predictions, merge_statistics, vectors_of
from atlas.activations.attributed import attributions_of, make_attributions
from atlas.activations.records import (
    Activations,
    Attributions,
    PartAttribution,
    PartLayer,
    PartLogits,
    PartMoments,
    Predictions,
    Statistics,
)
from atlas.data.records import SPLITS, Images
from atlas.errors import about
from atlas.maps.records import Cells, Graph, Layout, Neighbours
from atlas.models.records import ClassMap
from atlas.patterns.leaks import NEAREST as LEAKS_K
from atlas.patterns.leaks import Leaks, both_splits, find_leaks
from atlas.patterns.likeness import BEYOND, CERTAIN, LEAST_LIKENESS, MOST_DIFFERENCE
from atlas.patterns.spread import ClassSpread, class_spread
from atlas.patterns.suspects import Suspects, label_suspects
from atlas.patterns.voting import VOTERS
from atlas.planning import LayerChoice, LayoutChoice
from atlas.progress import Progress
from atlas.store import Recipe, Store, inputs_of
from atlas.tables import text_accuracy

if TYPE_CHECKING:
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


def build_statistics(store: Store, done: Pass, layer: LayerChoice, roots: list[str], class_map: ClassMap) -> str:
    """A layer's statistics over all images, merged from its parts."""
    parts, moments = done.statistics[layer.name], done.moments[layer.name]
    inputs = {"images": roots[0], "network": roots[1], "parts": parts, "moments": moments}
    means = [class_map.outputs, class_map.complete]  # which outputs are right; what they are called decides nothing
    recipe = Recipe("statistics", 2, {"layer": layer.name, "functional": layer.functional, "class_map": means}, inputs)

    def make() -> Statistics:
        of_groups = [store.read(name, PartMoments) for name in moments]
        layers = [store.read(name, PartLayer) for name in parts]
        return merge_statistics(layers, of_groups, class_map=class_map, number=layer.number)

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


def read_vectors(store: Store, names: list[str], scales: Sequence[float] | np.ndarray | None = None) -> Vectors | np.ndarray:
    """Return the vectors [point, unit] of one layer, or of several jointly, divided by their own or the `scales` given."""
    from atlas.maps.joint import join

    blocks = _read_blocks(store, names)
    return blocks[0] if len(blocks) == 1 else join(blocks, scales=scales)


def read_scales(store: Store, names: list[str]) -> np.ndarray:
    """Return what the vectors of several layers are divided by where they are joined, [layer]."""
    from atlas.maps.joint import scales_of

    return scales_of(_read_blocks(store, names))


def _read_blocks(store: Store, names: list[str]) -> list[Vectors | np.ndarray]:
    return [vectors_of(store, store.read(name, Activations)) for name in names]


def build_neighbours(
    store: Store, names: list[str], *, metric: str, k: int, seed: int, progress: Progress | None = None
) -> str:
    """The neighbours of one layer's points, or of several layers' jointly; longer lists that stand already serve too."""
    from atlas.maps.neighbours import EXACT_UP_TO
    from atlas.maps.neighbours import build_neighbours as find

    layers = [store.header(name)["fields"]["layer"] for name in names]
    parameters = {"metric": metric, "k": k, "exact_up_to": EXACT_UP_TO, "seed": seed}
    recipe = Recipe("neighbours", 2, parameters, {"activations": names}, ("faiss-cpu",))

    def make() -> Neighbours:
        with about(f"neighbours of {', '.join(layers)}"):
            return find(read_vectors(store, names), layers=layers, metric=metric, k=k, seed=seed, progress=progress)

    longer = _longer_lists(store, recipe)
    if longer is None:
        store.build(recipe, Neighbours, make)
    return longer or recipe.name


def extend_neighbours(
    store: Store, old: str, names: list[str], *, scales: np.ndarray | None = None, progress: Progress | None = None
) -> str:
    """The neighbours `old` for more points: those of the activations `names`, of which it knows the first."""
    from atlas.maps.neighbours import extend_neighbours as extend

    asked = {key: store.header(old)["parameters"][key] for key in ("metric", "k", "exact_up_to", "seed")}
    recipe = Recipe("neighbours", 2, asked | {"extends": old}, {"activations": names}, ("faiss-cpu",))

    def make() -> Neighbours:
        return extend(store.read(old, Neighbours), read_vectors(store, names, scales), progress=progress)

    store.build(recipe, Neighbours, make)
    return recipe.name


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


def layout_recipe(store: Store, choice: LayoutChoice, names: list[str], neighbours: str, seed: int) -> Recipe:
    """Return what names a layout.

    How long exact lists are decides nothing, for a method reads only as many as it needs; so they are told, not hashed. An
    approximate search finds others when it looks for more.
    """
    graph = store.read(neighbours, Neighbours)
    lists = None if graph.exact else graph.indices.shape[1]
    parameters = {"method": choice.method, **choice.parameters, "metric": graph.metric, "lists": lists, "seed": seed}
    return Recipe("layout", 3, parameters, {"activations": names}, LIBRARIES[choice.method], told={"neighbours": neighbours})


def build_layout(
    root: str, choice: LayoutChoice, names: list[str], neighbours: str, seed: int, *, progress: Progress
) -> str:
    """One layout of one layer or of several jointly, from the neighbours' lists."""
    store = Store(Path(root))
    recipe, graph = layout_recipe(store, choice, names, neighbours, seed), store.read(neighbours, Neighbours)

    def make() -> Layout:
        from atlas.maps import layout

        method: Any = {"umap": layout.umap_layout, "tsne": layout.tsne_layout, "pca": layout.pca_layout}[choice.method]
        with about(choice.title):
            made = method(read_vectors(store, names), graph, seed=seed, progress=progress, **choice.parameters)
        return made if len(names) == 1 else replace(made, scales=read_scales(store, names))

    store.build(recipe, Layout, make)
    return recipe.name


def extend_layout(
    store: Store, old: str, names: list[str], *, before: str, after: str, progress: Progress | None = None
) -> str:
    """The layout `old` with the points placed that it does not have yet; its own stay where they are.

    `names` are the activations of all points, `before` and `after` the neighbours of the old points and of all.
    """
    header = store.header(old)
    asked = {key: value for key, value in header["parameters"].items() if key != "extends"}
    recipe = Recipe(
        "layout",
        header["version"],
        asked | {"extends": old},
        {"activations": names},
        LIBRARIES[asked["method"]],
        told={"neighbours": after},
    )

    def make() -> Layout:
        from atlas.maps.extend import extend

        known = store.read(old, Layout)
        vectors = read_vectors(store, names, known.scales)
        lists = store.read(before, Neighbours), store.read(after, Neighbours)
        return extend(known, vectors, *lists, seed=asked["seed"], progress=progress)

    store.build(recipe, Layout, make)
    return recipe.name


def build_attributions(store: Store, activations: str, parts: list[str]) -> str:
    """How much each point of a layer argues for each output, from the parts of a pass that attributed it."""
    header = store.header(activations)
    fields = header["fields"]
    inputs = {role: header["inputs"][role] for role in ("images", "network")}
    inputs |= {"activations": [activations], "parts": parts}
    asked = {"layer": fields["layer"], "functional": fields["functional"]}

    def make() -> Attributions:
        return make_attributions(parts, [store.read(name, PartAttribution) for name in parts], number=fields["number"])

    recipe = Recipe("attributions", 1, asked, inputs)
    store.build(recipe, Attributions, make)
    return recipe.name


def build_cells(
    store: Store, layout: str, images: str, *, attributions: str | None = None, sizes: Sequence[int] | None = None
) -> str:
    """The cells of one layout in grids of `sizes`, by default as many as fit its number of points."""
    from atlas.maps.cells import make_cells
    from atlas.maps.grids import check_sizes, default_sizes

    names = inputs_of(store.header(layout), "activations")
    points = store.read(names[0], Activations).point_image
    sizes = default_sizes(len(points)) if sizes is None else check_sizes(sizes)
    inputs = {"images": images, "layout": layout, "activations": names, "attributions": attributions or []}
    recipe = Recipe("cells", 1, {"sizes": list(sizes)}, inputs, ("numpy",))

    def make() -> Cells:
        seen, argued = store.read(images, Images), store.read(attributions, Attributions) if attributions else None
        return make_cells(
            store.read(layout, Layout), _read_blocks(store, names), points, seen.codes, seen.labels, sizes=sizes,
            attribution=attributions_of(store, argued) if argued else None, attributed=argued.layer if argued else None,
        )  # fmt: skip

    store.build(recipe, Cells, make)
    return recipe.name


def build_graph(
    store: Store,
    names: list[str],
    neighbours: str,
    images: str,
    predictions: str | None,
    *,
    k: int,
    split: str,
    seed: int,
    progress: Progress | None = None,
) -> str:
    """The image graph of one layer's points, or of several layers' jointly: of all points, or of one split's.

    Of all points the lists are those of `neighbours`. Those of one split among themselves are found anew, in its metric:
    in the kept lists most places are taken by images of the other.
    """
    from atlas.maps.graph import make_graph
    from atlas.maps.graph_measures import SHUFFLES
    from atlas.maps.neighbours import build_neighbours as find

    metric = store.header(neighbours)["fields"]["metric"]
    parameters = {"k": k, "split": split, "metric": metric, "shuffles": SHUFFLES, "seed": seed}
    inputs = {"images": images, "activations": names, "predictions": predictions or []}
    inputs |= {"neighbours": neighbours} if split == "all" else {}
    recipe = Recipe("graph", 1, parameters, inputs, ("networkx", "openTSNE", "faiss-cpu"))

    def make() -> Graph:
        seen, of_points, lists = _points(store, images, names[0], neighbours)
        vectors = read_vectors(store, names)
        wanted = split == "all" or seen.splits[of_points] == SPLITS.index(split)
        points = np.flatnonzero(np.broadcast_to(wanted, len(of_points)))
        said = store.read(predictions, Predictions).prediction if predictions else None
        with about(f"the graph of {', '.join(lists.layers)}"):
            if split != "all":
                vectors = vectors[points]
                lists = find(vectors, layers=lists.layers, metric=metric, k=_enough(of_points[points], k), seed=seed,
                             progress=progress)  # fmt: skip
            rows = of_points[points]
            return make_graph(
                vectors, lists, rows, points=points, codes=seen.codes[rows],
                predicted=None if said is None else np.asarray(said)[rows], split=split, k=k, seed=seed, progress=progress,
            )  # fmt: skip

    store.build(recipe, Graph, make)
    return recipe.name


def _enough(rows: np.ndarray, k: int) -> int:
    """Return how many nearest points hold `k` of other images, whatever of a point's own image is among them."""
    return k + int(np.bincount(rows).max()) - 1 if len(rows) else k


def build_truths(store: Store, images: str, predictions: str | None, activations: str, neighbours: str) -> list[str]:
    """What a layer's neighbours say of the images: class spread and label suspects, leaks; each where it is defined.

    The first two need labels, the third both splits; what is left out has nothing to be measured on.
    """
    record = store.read(images, Images)
    made = []
    if (record.codes >= 0).any():
        made = [build_spread(store, images, activations, neighbours)]
        made.append(build_suspects(store, images, predictions, activations, neighbours))
    return [*made, build_leaks(store, images, activations, neighbours)] if both_splits(record.splits) else made


def build_spread(store: Store, images: str, activations: str, neighbours: str) -> str:
    """How far the classes spread and mix in one layer."""
    inputs = {"images": images, "activations": [activations], "neighbours": neighbours}
    recipe = Recipe("spread", 1, {"k": VOTERS}, inputs, ("numpy",))

    def make() -> ClassSpread:
        seen, points, graph = _points(store, images, activations, neighbours)
        vectors = read_vectors(store, [activations])
        return class_spread(vectors, graph, points, seen.codes, seen.labels, splits=seen.splits)

    store.build(recipe, ClassSpread, make)
    return recipe.name


def build_suspects(store: Store, images: str, predictions: str | None, activations: str, neighbours: str) -> str:
    """Whose label the neighbours in one layer, and the network, do not believe."""
    inputs = {"images": images, "activations": [activations], "neighbours": neighbours, "predictions": predictions or []}
    recipe = Recipe("suspects", 1, {"k": VOTERS}, inputs, ("numpy",))

    def make() -> Suspects:
        seen, points, graph = _points(store, images, activations, neighbours)
        said = store.read(predictions, Predictions) if predictions else None
        return label_suspects(graph, points, seen.codes, seen.labels, predictions=said)

    store.build(recipe, Suspects, make)
    return recipe.name


def build_leaks(store: Store, images: str, activations: str, neighbours: str) -> str:
    """Held-out images that look the same as a training image, by one layer's neighbours and their thumbnails."""
    inputs = {"images": images, "activations": [activations], "neighbours": neighbours}
    bounds = {"k": LEAKS_K, "likeness": [LEAST_LIKENESS, BEYOND, CERTAIN], "difference": MOST_DIFFERENCE}
    recipe = Recipe("leaks", 1, bounds, inputs, ("pillow",))

    def make() -> Leaks:
        seen, points, graph = _points(store, images, activations, neighbours)
        return find_leaks(graph, points, seen.splits, seen)

    store.build(recipe, Leaks, make)
    return recipe.name


def _points(store: Store, images: str, activations: str, neighbours: str) -> tuple[Images, np.ndarray, Neighbours]:
    """Return the images, the image of each point of a layer, and the points' neighbours."""
    points = store.read(activations, Activations).point_image
    return store.read(images, Images), points, store.read(neighbours, Neighbours)
