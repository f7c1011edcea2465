"""One pass of a network over images that feeds several sinks: vectors, statistics per unit, logits, part by part."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atlas.activations.assemble import predicted
from atlas.activations.batching import SIZES, batches, choose_batch, kept_batch, out_of_memory, read
from atlas.activations.engine import Engine, engine, find_device
from atlas.activations.few import COMPARED, LEAST_COSINE, agreement, describe, kept_agreement
from atlas.activations.hooks import Callback
from atlas.activations.plan import Part, Wanted, plan, serving, wanted_of
from atlas.activations.records import PART, PartLayer, PartLogits, PartMoments
from atlas.activations.sinks import Taker, check_rows, part_layer, part_moments, stored_type
from atlas.activations.streams import Stream, Streams, count_for, streams
from atlas.data.records import Images
from atlas.errors import AtlasError, choose, one_line
from atlas.machine import check_space, torch_threads
from atlas.models.network import Network
from atlas.models.precision import resolve
from atlas.models.shapes import FEWEST
from atlas.progress import Progress
from atlas.store import Store, digest

if TYPE_CHECKING:
    from atlas.data.reading import Reader


__all__ = ["Pass", "check_pass", "describe", "enough_for", "run"]

NAMED = 3  # layers called several times that are named one by one


@dataclass(frozen=True)
class Pass:
    """What a pass made or found: names of parts' artifacts in order, per layer, and how it ran."""

    vectors: dict[str, list[str]]  # layer → PartLayer names
    statistics: dict[str, list[str]]  # layer → PartLayer names; the same as its vectors' where the functional is the same
    moments: dict[str, list[str]]  # layer → PartMoments names, for the layers of `statistics`
    logits: list[str]  # PartLogits names; none for a network of features only
    precision: str  # bfloat16 or float32
    batch_size: int | None  # None where every part stood already
    device: str
    images_run: int  # images that went through the network now
    notes: list[str]  # what the user should know: what was left out, what is stored otherwise
    agreement: dict[str, float] = field(default_factory=dict)  # layer → mean cosine of bfloat16 to float32, where compared

    @property
    def layers(self) -> dict[str, list[str]]:
        """Names of each layer's parts: those with its vectors where they were asked for, else of its statistics."""
        return {**self.statistics, **self.vectors}


@dataclass
class _Job:
    """What all parts of one pass share."""

    store: Store
    network: Network
    reader: Reader
    seed: int
    progress: Progress
    told: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    units: dict[Wanted, int] = field(default_factory=dict)  # width of each layer, known from the first images

    def note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)
            self.progress.note(line)


def run(
    store: Store,
    network: Network,
    network_name: str,
    images: Images,
    images_name: str,
    reader: Reader,
    *,
    vectors: Mapping[str, str],
    statistics: Mapping[str, str],
    precision: str = "auto",
    batch_size: int | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Pass:
    """Run the images through the network once; keep logits, vectors and statistics of the layers asked, part by part.

    `vectors` and `statistics` map a layer's dotted name to a functional. Parts that stand are not computed again, so that
    a killed pass loses at most the part it computes and
    the one it writes, and a layer asked later runs alone. Images that do not decode are left out,
    counted. Statistics are over the functional's values: with sampled positions, over the points.
    """
    wanted = wanted_of(vectors, statistics)
    place = find_device(device)
    asked, precision = precision, resolve(precision, device=place.type)
    check_pass(network, images, reader, wanted, batch_size)
    told = {"network": network_name, "images": images_name, "device": str(place), "title": network.title}
    job = _Job(store, network, reader, seed, progress or Progress(), told)
    if len(images.decoded) < len(images):
        job.notes.append(f"{len(images) - len(images.decoded)} of {len(images)} images do not decode and are left out")
    agreed: dict[str, float] = {}
    if precision == "bfloat16":
        agreed = _agreement(job, place, wanted, images)
        precision = _precision_for(job, agreed) if asked == "auto" else precision
    parts = list(plan(images, wanted, identity=network.identity, outputs=network.outputs, precision=precision, seed=seed))
    waiting = [part for part in parts if not part.complete(store)]
    _tell_regrouped(job, waiting)
    if waiting:
        with engine(network, place, precision) as opened:
            batch_size = _run_parts(job, opened, waiting, batch_size, images.decoded)
    counted = {layer: serving(wanted, layer, functional) for layer, functional in statistics.items()}
    return Pass(
        vectors={w.layer: [part.layers[w].name for part in parts] for w in wanted if w.keep},
        statistics={layer: [part.layers[w].name for part in parts] for layer, w in counted.items()},
        moments={layer: [part.moments[w].name for part in parts] for layer, w in counted.items()},
        logits=[part.logits.name for part in parts if part.logits],
        precision=precision,
        batch_size=batch_size,
        device=str(place),
        images_run=sum(len(part.rows) for part in waiting),
        notes=job.notes,
        agreement=agreed,
    )


# ---------------------------------------------------------------------------------------------------------------------
# Before anything runs


def _agreement(job: _Job, place: torch.device, wanted: Sequence[Wanted], images: Images) -> dict[str, float]:
    """Return how near bfloat16 comes to float32 in the layers whose vectors are kept; compared once per build."""
    functionals = {w.layer: w.functional for w in wanted if w.keep}
    asked = {layer: str(functional) for layer, functional in sorted(functionals.items())}
    state = digest([job.network.identity, asked, str(place), job.seed])

    def compare() -> dict[str, float]:
        job.store.prepare()
        with job.progress.stage("comparing bfloat16 with float32"):
            return _while_it_fits(over)

    def over(count: int) -> dict[str, float]:
        rows = images.decoded[:count]
        array, ids = read(job.reader, job.network.preprocess, rows), list(images.table["image_id"].iloc[rows])
        return agreement(job.network, array, functionals, image_ids=ids, seed=job.seed, device=place)

    return kept_agreement(job.store.root / "state" / f"precision-{state[:16]}.json", compare)


def _while_it_fits(over: Callable[[int], dict[str, float]]) -> dict[str, float]:
    """Return ``over(COMPARED)``, or of the fewest images where so many do not fit into memory."""
    try:
        return over(COMPARED)
    except Exception as reason:
        if not out_of_memory(reason):
            raise
    return over(FEWEST)


def _precision_for(job: _Job, agreed: Mapping[str, float]) -> str:
    """Return bfloat16 where it is near enough to float32; else float32, and say so."""
    worst = min(agreed, key=lambda layer: agreed[layer], default=None)
    if worst is None or agreed[worst] >= LEAST_COSINE:
        return "bfloat16"
    job.note(
        f"bfloat16 is too far from float32 here (cosine {agreed[worst]:.5f} in {one_line(worst)}, at least {LEAST_COSINE} "
        "is wanted): the network runs in float32, slower; `--precision bfloat16` has it otherwise"
    )
    return "float32"


def check_pass(network: Network, images: Images, reader: Reader, wanted: Sequence[Wanted], batch_size: int | None) -> None:
    """Raise AtlasError for what a pass cannot be made of: an unknown layer, other images, none, a batch out of range."""
    names = [name for name, _ in network.module.named_modules() if name]
    for layer in {w.layer: None for w in wanted}:
        if layer not in names:
            raise choose("layer", layer, names)
    if len(reader) != len(images):
        raise AtlasError(f"the source holds {len(reader)} images now and {len(images)} were listed: list them again")
    if not len(images.decoded):
        raise AtlasError(f"none of the {len(images)} images decodes: there is nothing to run the network on")
    if batch_size is not None and not 1 <= batch_size <= PART:
        raise AtlasError(f"a batch of {batch_size} images was asked for: 1 to {PART} are possible")


def _tell_regrouped(job: _Job, waiting: Sequence[Part]) -> None:
    images = sum(len(part.rows) for part in waiting if part.regrouped(job.store))
    if images:
        job.note(f"statistics of {images} images are computed again because labels or splits changed")


# ---------------------------------------------------------------------------------------------------------------------
# Running


def _run_parts(job: _Job, opened: Engine, parts: Sequence[Part], batch_size: int | None, decoded: np.ndarray) -> int:
    """Run `parts`, all unfinished; return the batch size."""
    sample = read(job.reader, job.network.preprocess, decoded[[0, 0]])  # two: some networks squeeze a batch of one
    fits = _look(job, opened, sample, parts[0].layers)
    job.store.prepare()
    check_space(job.store.root, _bytes_needed(job, parts))
    size = batch_size or _batch_size(job, opened, sample, fits=fits, enough=enough_for(len(decoded)))
    threads = torch.get_num_threads()
    job.told |= {"batch_size": size, "threads": threads}
    with (
        streams(opened, threads) as running,
        job.progress.stage(f"activations of {job.network.title}", sum(len(part.rows) for part in parts)) as advance,
        ThreadPoolExecutor(1, thread_name_prefix="parts") as writer,
    ):
        written: Future[None] | None = None  # the part before: on its way to the disk while the next one is computed
        for part in parts:
            takers = {w: Taker(w.functional, part.ids, job.units[w], job.seed) for w in part.missing(job.store)}
            logits = _run_part(job, running, part, takers, size, advance)
            if written is not None:
                written.result()
            written = writer.submit(_keep, job, part, takers, logits, opened.precision)
        if written is not None:
            written.result()
    return size


def _look(job: _Job, opened: Engine, sample: np.ndarray, wanted: Iterable[Wanted]) -> int:
    """Try every layer on two images, so that a mistake shows before the long work; return the batch size that fits."""

    def look(layer: str) -> Any:
        def take(output: torch.Tensor, axis: int | None) -> None:
            check_rows(output, len(sample))
            for w in here[layer]:
                job.units[w] = w.functional.reduce(output, job.seed, ["", ""], axis=axis)[0].shape[1]

        return take

    here = {layer: {w for w in wanted if w.layer == layer} for layer in {w.layer: None for w in wanted}}
    batch = opened.tensor(sample)
    fits = opened.survey(batch)
    with opened.recorder({layer: look(layer) for layer in here}) as recorder:
        opened.logits(opened.run(recorder, opened.tensor(sample)))
    repeated = {layer: count for layer, count in recorder.calls.items() if count > 1}
    for layer, count in list(repeated.items())[:NAMED]:
        job.note(f"layer {one_line(layer)} is called {count} times in a forward pass: its first call is used")
    if len(repeated) > NAMED:
        job.note(f"so are {len(repeated) - NAMED} more layers: of each the first call is used")
    job.told["calls"] = repeated
    return fits


def _bytes_needed(job: _Job, parts: Sequence[Part]) -> int:
    """A low estimate of what the vectors will take: 2 bytes a value."""
    kept = [(p, w) for p in parts for w in p.missing(job.store) if w.keep and not job.store.has(p.layers[w].name)]
    return sum(2 * len(part.rows) * wanted.functional.points * job.units[wanted] for part, wanted in kept)


def enough_for(images: int) -> int:
    """The least power of two that holds all images, so that a handful is not padded to hundreds."""
    return min(SIZES[-1], 1 << max(images - 1, 0).bit_length())


def _batch_size(job: _Job, opened: Engine, sample: np.ndarray, *, fits: int, enough: int) -> int:
    """Return the batch size of this build: chosen by a trial once, then read from the build's state.

    The state is not named by what `fits`: memory that is free now and not later must not change the results.
    """

    def forward(size: int) -> None:
        batch = opened.tensor(np.repeat(sample[:1], max(size, FEWEST), axis=0))
        with opened.recorder({}) as recorder:
            opened.logits(opened.run(recorder, batch))
        if opened.device.type == "cuda":
            torch.cuda.synchronize(opened.device)

    threads = torch.get_num_threads()
    state = digest([job.network.identity, opened.precision, list(sample.shape[1:]), str(opened.device), threads, enough])
    path = job.store.root / "state" / f"batch-{state[:16]}.json"

    def choose() -> int:
        side_by_side = count_for(opened, threads)
        with torch_threads(max(1, threads // side_by_side)):  # as each of them will run
            return choose_batch(forward, limit=min(fits // side_by_side or 1, enough))

    return kept_batch(path, choose)


def _run_part(
    job: _Job, running: Streams, part: Part, takers: Mapping[Wanted, Taker], size: int, advance: Any
) -> np.ndarray | None:
    """Run one part through the network, filling `takers`; return its logits [image, output], None for features only."""

    def give(stream: Stream) -> Mapping[str, Callback]:
        return {layer: partial(take, stream, layer) for layer in {w.layer: None for w in takers}}

    def take(stream: Stream, layer: str, output: torch.Tensor, axis: int | None) -> None:
        for wanted, taker in takers.items():
            if wanted.layer == layer:
                taker.take(output, axis, stream.batch)

    kept: list[np.ndarray] = []
    try:
        for batch, logits in running.run(give, batches(job.reader, job.network.preprocess, part.rows, size)):
            kept += [] if logits is None else [logits[: batch.count]]
            advance(batch.count)
    except Exception as reason:
        if not out_of_memory(reason):
            raise
        raise AtlasError(f"a batch of {size} images does not fit into memory: give a smaller --batch-size") from None
    if not job.network.outputs:
        return None
    return np.concatenate(kept) if kept else np.empty((0, job.network.outputs), np.float32)


def _keep(job: _Job, part: Part, takers: Mapping[Wanted, Taker], logits: np.ndarray | None, precision: str) -> None:
    """Write what one part gave: its logits, then of each layer the moments, whose groups name the predictions, and itself.

    The moments come first: where a layer stands without them, other groups were asked for, and no build was killed.
    """
    if part.logits is not None and logits is not None:
        recipe = dataclasses.replace(part.logits, told=job.told)
        logits = job.store.build(recipe, PartLogits, lambda: PartLogits(logits=logits, image=part.rows)).logits  # type: ignore[arg-type]
    groups = _groups(part.marks, logits)
    for wanted, taker in takers.items():
        made = partial(part_moments, taker.values, groups, layer=wanted.layer, functional=str(wanted.functional))
        job.store.build(dataclasses.replace(part.moments[wanted], told=job.told), PartMoments, made)
        if not job.store.has(part.layers[wanted].name):
            _keep_layer(job, part, wanted, taker, precision)


def _keep_layer(job: _Job, part: Part, wanted: Wanted, taker: Taker, precision: str) -> None:
    stored = stored_type(taker.values, precision) if wanted.keep else None
    told = dict(job.told)
    if stored == "float32" and precision == "bfloat16":
        told["stored"] = f"float32: values of {one_line(wanted.layer)} come near the limit of float16, 65 504"
        job.note(f"layer {one_line(wanted.layer)} has values near the limit of float16, 65 504: it is stored as float32")
    name, functional = wanted.layer, str(wanted.functional)
    made = partial(part_layer, taker.values, layer=name, functional=functional, rows=part.rows, yx=taker.yx, stored=stored)
    job.store.build(dataclasses.replace(part.layers[wanted], told=told), PartLayer, made)


def _groups(marks: np.ndarray, logits: np.ndarray | None) -> np.ndarray:
    """Return each image's group, int32 [image, 3]: split, label, prediction."""
    prediction = np.full(len(marks), -1, np.int32) if logits is None else predicted(logits)
    return np.column_stack([marks, prediction]).astype(np.int32)
