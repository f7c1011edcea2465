"""Attributions and cells of an atlas that stands: the network runs once more, and every layout gets its grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from atlas.atlas import Atlas
from atlas.data.records import Images
from atlas.errors import choose
from atlas.progress import Progress
from atlas.showing import staying
from atlas.stages import build_attributions, build_cells
from atlas.store import Store, inputs_of, writing

if TYPE_CHECKING:
    from atlas.models.network import Network

SIZES = (8, 16)  # cells a side where nobody says: what icons are drawn of


def attribute(
    atlas: Atlas,
    layers: Sequence[str] | None = None,
    *,
    network: Network | None = None,
    dataset: Any = None,
    batch_size: int | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Atlas:
    """Attribute the logits to the points of some layers, by default of all with vectors; return the atlas opened anew.

    What stands is not computed again. `network` is by default loaded again; `dataset` is the object that the images came
    from, where they did. An unknown layer, one that the logits do not depend on, and a network without logits raise
    AtlasError before the long work starts.
    """
    names = [atlas.activation_name(layer) for layer in (layers or atlas.layers)]
    run = {"batch_size": batch_size, "device": device}
    with writing(atlas.store.root):
        made = attribute_all(atlas.store, names, network or atlas.network(), dataset=dataset, run=run, progress=progress)
    return _shown(atlas, made)


def attribute_all(
    store: Store,
    names: Sequence[str],
    network: Network,
    *,
    dataset: Any = None,
    run: Mapping[str, Any],
    progress: Progress | None = None,
) -> list[str]:
    """Attribute the logits of `network` to the points of its activations `names`; return the attributions, not yet shown.

    `run` holds batch_size and device. Activations of one layer under two functionals take a pass each.
    """
    from atlas.activations.attributing import attribute as attribute_parts
    from atlas.data.reading import open_reader

    made: dict[str, str] = {}
    while len(made) < len(names):
        fields = {name: store.header(name)["fields"] for name in names if name not in made}
        own = {found["layer"]: name for name, found in reversed(fields.items())}  # the first of each layer
        (images,) = {inputs_of(store.header(name), "images")[0] for name in own.values()}
        record = store.read(images, Images)
        parts = attribute_parts(
            store, network, inputs_of(store.header(names[0]), "network")[0], record, images,
            open_reader(record, store.root, dataset=dataset), seed=_seed(store, list(own.values())), progress=progress,
            layers={layer: fields[name]["functional"] for layer, name in own.items()},
            batch_size=run["batch_size"], device=run["device"],
        )  # fmt: skip
        made |= {name: build_attributions(store, name, parts[layer]) for layer, name in own.items()}
    return [made[name] for name in names]


def _seed(store: Store, names: Sequence[str]) -> int:
    """Return the seed that the layers' positions were drawn with; 0 where none were."""
    parts = [part for name in names for part in inputs_of(store.header(name), "parts")]
    return next((seed for part in parts if (seed := store.header(part)["parameters"].get("seed")) is not None), 0)


def make_cells(
    atlas: Atlas,
    layer: str | None = None,
    method: str = "umap",
    *,
    sizes: Sequence[int] | None = None,
) -> Atlas:
    """Divide one layout into cells, in grids of `sizes`; return the atlas opened anew.

    The cells carry the attribution of the layout's layer where it was attributed; of a joint layout, of the last of its
    layers that was. By default there are grids of 8, 16 and 32 cells a side, from 100 000 points on of 20, 40 and 80.
    """
    layers = [atlas.layer_name(part) for part in (layer or atlas.default_layer).split("+")]
    atlas.layout_record(layer, method)  # raises for a layout that there is not
    return _cells_of(atlas, atlas.names("layout", layers=layers, method=method)[-1:], sizes)


def make_depth(
    atlas: Atlas,
    method: str = "umap",
    *,
    sizes: Sequence[int] | None = None,
    network: Network | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Atlas:
    """Attribute every layer that has a layout by `method`, and divide it into cells, so that layers can be compared.

    In grids of `sizes`, by default SIZES, those of icons. What stands is not made again; the atlas is returned opened
    anew. Without such a layout AtlasError is raised.
    """
    layers = [layer for layer in atlas.layers if atlas.names("layout", layers=[layer], method=method)]
    if not layers:
        raise choose(
            "layout of one layer", method, dict.fromkeys(atlas.field(name, "method") for name in atlas.names("layout"))
        )
    if atlas.network_record.outputs:
        atlas = attribute(atlas, layers, network=network, device=device, progress=progress)
    for layer in layers:
        atlas = make_cells(atlas, layer, method, sizes=sizes or SIZES)
    return atlas


def make_all_cells(atlas: Atlas, *, sizes: Sequence[int] | None = None, progress: Progress | None = None) -> Atlas:
    """Divide every layout into cells, as `make_cells` does one; return the atlas opened anew."""
    return _cells_of(atlas, atlas.names("layout"), sizes, progress)


def _cells_of(atlas: Atlas, layouts: Sequence[str], sizes: Sequence[int] | None, progress: Progress | None = None) -> Atlas:
    made, argued = [], attributions_by(atlas.store, atlas.names("attributions"))
    with writing(atlas.store.root), (progress or Progress()).stage("cells", len(layouts)) as advance:
        for name in layouts:
            made.append(cells_of(atlas.store, name, argued, sizes=sizes))
            advance(1)
    return _shown(atlas, made)


def attributions_by(store: Store, names: Sequence[str]) -> dict[str, str]:
    """Return attributions by the activations whose points they are of."""
    return {inputs_of(store.header(name), "activations")[0]: name for name in names}


def cells_of(store: Store, layout: str, argued: Mapping[str, str], *, sizes: Sequence[int] | None = None) -> str:
    """Divide one layout into cells, with the attributions `argued` of the last of its layers that has some."""
    layers = inputs_of(store.header(layout), "activations")
    images = inputs_of(store.header(layers[0]), "images")[0]
    attributions = next((argued[name] for name in reversed(layers) if name in argued), None)
    return build_cells(store, layout, images, attributions=attributions, sizes=sizes)


def _shown(atlas: Atlas, names: Sequence[str]) -> Atlas:
    store: Store = atlas.store
    store.show(names, keep=partial(staying, store, atlas.names("images")[-1], names))
    return Atlas(store.root, network=atlas.asked_network)
