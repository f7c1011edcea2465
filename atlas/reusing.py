"""A network reused: cut at a layer or some units, written as a program of torch's own, and probed on another dataset."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.atlas import Atlas, open_atlas
from atlas.errors import AtlasError, one_line
from atlas.models.layers import named_layer
from atlas.one_image import is_atlas
from atlas.planning import dataset_folder
from atlas.progress import Progress
from atlas.verbs import check_writable, damage_told

if TYPE_CHECKING:
    from atlas.data.gathered import Gathered
    from atlas.models.network import Network
    from atlas.models.preprocess import Preprocess
    from atlas.patterns.probing import Probe

SUFFIX = ".pt2"
TRAIN, TEST = 2000, 1000  # images: the standard error of an accuracy is then 1.6 points at most
BATCH = 32
SMALL_EDGE = 16  # pixels of the control: the image itself, made small
Extract = Callable[[np.ndarray], np.ndarray]  # uint8 [image, rgb, y, x] → float [image, unit]


def extractor(
    model: str | os.PathLike[str] | Atlas,
    out: str | os.PathLike[str],
    *,
    layer: str | int | None = None,
    units: Sequence[int] = (),
    functional: str = "mean",
    network: str | int | None = None,
    weights: str | os.PathLike[str] | None = None,
    input_size: int | None = None,
) -> dict[str, Any]:
    """Write a network cut at a layer, or at some of its units, to the file `out` (.pt2); return what it says of itself.

    `model` is a network as `atlas layers` takes it, or an atlas, whose descriptor is cut where no layer is named. The file
    loads by ``torch.export.load(FILE).module()`` where this package is not installed, and takes float32 images of values in
    0–1, [image, rgb, y, x]; the colours are normalised inside. `functional` is mean, max, centre, class-token or maps.
    """
    from atlas.activations.cutting import export

    check_writable(out, (SUFFIX,))
    if is_atlas(model):
        if weights is not None or input_size is not None:
            raise AtlasError("an atlas knows its network's weights and size: leave --weights and --input-size out")
        opened = model if isinstance(model, Atlas) else open_atlas(str(model), network=network)
        with damage_told(opened.store.root):
            number = int(named_layer(opened.network_record.layers, opened.layer_name(layer))["number"])
            return export(opened.network(), number, Path(out), units=units or None, functional=functional)
    from atlas.models.network import load_network

    if layer is None:
        raise AtlasError(f"say where {one_line(model, 80)} is to be cut: --layer NAME or NUMBER of `atlas layers`")
    if network is not None:
        raise AtlasError(f"{one_line(model, 80)} is a network and no atlas's folder: leave --network out")
    loaded = load_network(str(model), weights=weights, input_size=input_size)
    return export(loaded, layer, Path(out), units=units or None, functional=functional)


def probe(
    file: str | os.PathLike[str],
    images: Any,
    *,
    train: int = TRAIN,
    test: int = TEST,
    seed: int = 0,
    datasets: str | os.PathLike[str] | None = None,
    control: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fit a linear probe on what an extractor makes of labelled images; return its accuracy, and that of a control.

    `file` is one that `extractor` wrote; it is run as any torch program. `images` as of `atlas.build`: where some are train
    and some held-out the probe is fitted on the one and judged on the other, else on two draws of all; `train` and `test`
    images at most, drawn in proportion over the labels. The control is the same probe on the images themselves, made small.
    Needs torch.
    """
    from atlas.activations.cutting import load
    from atlas.models.preprocess import Preprocess

    progress = progress or Progress()
    program, told = load(Path(file))
    preprocess = Preprocess.from_dict(told["preprocess"])
    sets = labelled(images, train, test, seed, datasets, progress)
    answer = {"file": str(file), "layer": told["layer"], "network": told["network"], "units": told["units"],
              "probe": probed(program_of(program), preprocess, sets, seed, progress, "extracting")}  # fmt: skip
    return answer | ({"control": probed(small, preprocess, sets, seed, progress, "the images alone")} if control else {})


Labelled = tuple["Gathered", np.ndarray, np.ndarray]  # images, the rows of training and of test


def labelled(
    images: Any, train: int, test: int, seed: int, datasets: str | os.PathLike[str] | None, progress: Progress
) -> Labelled:
    """Return labelled images and the rows that a probe is fitted and judged on, drawn in proportion over the labels."""
    from atlas.data.selection import select
    from atlas.data.sources import choose_images

    if train < 1 or test < 1:
        raise AtlasError(f"{train} training and {test} test images: at least 1 of each would do")
    root = Path(datasets) if datasets is not None else dataset_folder(Path("cache/probe"))
    gathered = choose_images(images, datasets=root, atlas_root=root, progress=progress).gather()
    table = gathered.table
    if table["label"].isna().all():
        raise AtlasError("a probe needs labelled images: a folder per class, a table with the column label, or a dataset")
    known, chosen = np.flatnonzero(table["label"].notna()), []
    parts = [known[table["split"].iloc[known] == split] for split in ("train", "held-out")]
    if not all(map(len, parts)):
        mixed = np.random.default_rng(seed).permutation(known)
        cut = round(len(mixed) * train / (train + test))
        parts = [np.sort(mixed[:cut]), np.sort(mixed[cut:])]
    for rows, count in zip(parts, (train, test), strict=True):
        part = table.iloc[rows].reset_index(drop=True)
        chosen.append(rows if count >= len(rows) else rows[select(part["label"], part["split"], count, seed=seed)])
    return gathered, chosen[0], chosen[1]


def probed(
    extract: Extract, preprocess: Preprocess, sets: Labelled, seed: int, progress: Progress, words: str
) -> dict[str, Any]:
    """Return what a linear probe reaches on what `extract` makes of the images, as plain values."""
    from atlas.patterns.probing import linear_probe

    gathered, train, test = sets
    vectors, there = [], []
    with progress.stage(words, len(train) + len(test)) as advance:
        for rows in (train, test):
            found, seen = _run(extract, preprocess, gathered, rows, advance)
            vectors.append(found)
            there.append(seen)
    codes = {label: number for number, label in enumerate(gathered.labels)}
    numbers = [np.array([codes[label] for label in gathered.table["label"].iloc[rows]]) for rows in there]
    with progress.stage(f"a linear probe, {words}", 1) as advance:
        found_probe = linear_probe(vectors[0], numbers[0], vectors[1], numbers[1], seed=seed)
        advance(1)
    return plain(found_probe, gathered.labels) | {"dimensions": int(vectors[0].shape[1])}


def _run(
    extract: Extract, preprocess: Preprocess, gathered: Gathered, rows: np.ndarray, advance: Callable[[int], Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors of the images in `rows` that decode, and their rows."""
    found, there = [], []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        seen = [(row, gathered.reader.look(int(row)).image) for row in part]
        kept = [(row, preprocess.array(image)) for row, image in seen if image is not None]
        if kept:
            found.append(extract(np.stack([pixels for _, pixels in kept])))
            there += [row for row, _ in kept]
        advance(len(part))
    return np.concatenate(found).reshape(len(there), -1).astype(np.float32), np.array(there)


def program_of(program: Any) -> Extract:
    """Return an exported program as a function of pixels."""
    import torch

    def extract(pixels: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            found: np.ndarray = program(torch.from_numpy(pixels).float() / 255).float().numpy()
        return found

    return extract


def cut_of(network: Network, layers: Sequence[str]) -> Extract:
    """Return the mean over the places of some layers of a network, joined, as a function of pixels: no file is written."""
    from atlas.activations.engine import find_device
    from atlas.activations.few import outputs
    from atlas.activations.functionals import Functional

    wanted = {layer: Functional("mean") for layer in layers}

    def extract(pixels: np.ndarray) -> np.ndarray:
        found = outputs(network, pixels, wanted, image_ids=[""] * len(pixels), seed=0, device=find_device("cpu"),
                        precision="float32")  # fmt: skip
        return np.concatenate([found[layer] for layer in layers], axis=1)

    return extract


def small(pixels: np.ndarray) -> np.ndarray:
    """Return images as small pictures of SMALL_EDGE pixels: what a linear classifier reads without any network."""
    from atlas.maps.volume import resample

    size = SMALL_EDGE, SMALL_EDGE
    return np.stack([[resample(channel, size) for channel in image.astype(np.float32)] for image in pixels]) / 255


def plain(found: Probe, labels: Sequence[str]) -> dict[str, Any]:
    """Return a probe as plain values."""
    shares = {label: float(share) for label, share in zip(labels, found.per_class, strict=False) if share == share}
    return {
        "accuracy": found.accuracy, "low": found.low, "high": found.high, "chance": found.chance,
        "train_accuracy": found.train_accuracy, "strength": found.strength, "train": found.train, "test": found.test,
        "per_class": shares,
    }  # fmt: skip
