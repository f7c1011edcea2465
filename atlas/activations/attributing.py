"""One pass that attributes a network's logits to the points of some layers, kept part by part like the layers themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atlas.activations.attributed import part_attribution
from atlas.activations.attribution import Attributor
from atlas.activations.batching import batches, choose_batch, kept_batch, out_of_memory, read
from atlas.activations.engine import Engine, engine, find_device
from atlas.activations.extract import check_pass, enough_for
from atlas.activations.gradients import check_logits
from atlas.activations.plan import Part, Wanted, attribution_recipe, plan, wanted_of
from atlas.activations.records import PartAttribution
from atlas.data.records import Images
from atlas.errors import AtlasError
from atlas.models.network import Network
from atlas.models.shapes import FEWEST
from atlas.progress import Advance, Progress
from atlas.store import Store, digest

if TYPE_CHECKING:
    from atlas.data.reading import Reader

KEPT = 16  # outputs as large as the largest that a graph for gradients holds: those of a residual network's stages add up so
PRECISION = "float32"  # gradients in bfloat16 lose the small ones, and most are small


@dataclass(frozen=True)
class _Pass:
    """What all parts of one pass share."""

    store: Store
    network: Network
    reader: Reader
    seed: int
    told: dict[str, Any]


def attribute(
    store: Store,
    network: Network,
    network_name: str,
    images: Images,
    images_name: str,
    reader: Reader,
    *,
    layers: Mapping[str, str],
    batch_size: int | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, list[str]]:
    """Attribute the logits of all images to each layer's points; return the names of each layer's parts, in order.

    `layers` maps a layer's dotted name to the functional that its points have. Parts that stand are not computed again, so
    that a killed pass loses at most the part it computes. The network runs in float32. Images that do not decode are left
    out, as from the layers. Mistakes raise AtlasError before the long work starts.
    """
    wanted = wanted_of(layers, {})
    place = find_device(device)
    check_logits(network)
    check_pass(network, images, reader, wanted, batch_size)
    told = {"network": network_name, "images": images_name, "device": str(place), "title": network.title}
    todo, progress = _Pass(store, network, reader, seed, told), progress or Progress()
    parts = list(plan(images, wanted, identity=network.identity, outputs=network.outputs, precision=PRECISION, seed=seed))
    waiting = [part for part in parts if _missing(store, part, wanted)]
    if waiting:
        store.prepare()
        with engine(network, place, PRECISION) as opened:
            _look(todo, opened, wanted, images.decoded)
            size = batch_size or _batch_size(todo, opened, wanted, images.decoded)
            _run_parts(todo, opened, waiting, wanted, size, progress)
    return {w.layer: [attribution_recipe(part, w).name for part in parts] for w in wanted}


def _missing(store: Store, part: Part, wanted: Sequence[Wanted]) -> list[Wanted]:
    return [w for w in wanted if not store.has(attribution_recipe(part, w).name)]


def _attributor(todo: _Pass, opened: Engine, wanted: Sequence[Wanted]) -> Attributor:
    return Attributor(opened, {w.layer: w.functional for w in wanted}, seed=todo.seed)


def _look(todo: _Pass, opened: Engine, wanted: Sequence[Wanted], decoded: np.ndarray) -> None:
    """Try every layer on two images, so that a mistake shows before the long work."""
    _attributor(todo, opened, wanted).look(opened.tensor(read(todo.reader, todo.network.preprocess, decoded[[0, 0]])))


def _batch_size(todo: _Pass, opened: Engine, wanted: Sequence[Wanted], decoded: np.ndarray) -> int:
    """Return the batch size of this pass: chosen by a trial once, then read from the build's state."""
    sample, attributor = read(todo.reader, todo.network.preprocess, decoded[[0, 0]]), _attributor(todo, opened, wanted)
    fits, enough = opened.survey(opened.tensor(sample)), enough_for(len(decoded))
    where = [str(opened.device), torch.get_num_threads(), enough]
    state = digest(["attribution", todo.network.identity, list(sample.shape[1:]), *where])

    def forward(size: int) -> None:
        attributor(opened.tensor(np.repeat(sample[:1], max(size, FEWEST), axis=0)), [""] * size)
        if opened.device.type == "cuda":
            torch.cuda.synchronize(opened.device)

    path = todo.store.root / "state" / f"batch-{state[:16]}.json"
    return kept_batch(path, lambda: choose_batch(forward, limit=min(max(1, fits // KEPT), enough)))


def _run_parts(
    todo: _Pass, opened: Engine, parts: Sequence[Part], wanted: Sequence[Wanted], size: int, progress: Progress
) -> None:
    told = todo.told | {"batch_size": size, "threads": torch.get_num_threads()}
    count = sum(len(part.rows) for part in parts)
    with progress.stage(f"attribution of {todo.network.title}", count) as advance:
        for part in parts:
            own = _missing(todo.store, part, wanted)
            values = _values(todo, _attributor(todo, opened, own), part, size, advance)
            for w in own:
                recipe = replace(attribution_recipe(part, w), told=told)
                named = {"layer": w.layer, "functional": str(w.functional)}
                todo.store.build(recipe, PartAttribution, partial(part_attribution, values[w.layer], **named))


def _values(todo: _Pass, attributor: Attributor, part: Part, size: int, advance: Advance) -> dict[str, np.ndarray]:
    """Return a part's attributions by layer, float32 [point, output]."""
    none = np.empty((0, max(2, todo.network.outputs)), np.float32)  # a part may have no image that decodes
    found = {layer: [none] for layer in attributor.wanted}
    try:
        for batch in batches(todo.reader, todo.network.preprocess, part.rows, size):
            ids = part.ids[batch.start : batch.start + batch.count]
            for layer, values in attributor(attributor.opened.tensor(batch.array), ids).items():
                found[layer].append(values)
            advance(batch.count)
    except Exception as reason:
        if not out_of_memory(reason):
            raise
        raise AtlasError(f"a batch of {size} images does not fit into memory: give a smaller --batch-size") from None
    return {layer: np.concatenate(values) for layer, values in found.items()}
