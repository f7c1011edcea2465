"""Small pictures for the tests of the images: patterns from a seed, files of every kind, and a build into a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from atlas.data.gathered import Gathered
from atlas.data.records import Images
from atlas.data.sources import read_images
from atlas.store import Store


def pattern(seed: int, height: int = 20, width: int = 20, rgb: bool = False) -> np.ndarray:
    """Smooth waves that differ for each seed, so that no two pictures are taken for each other: uint8."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    planes = [
        127.5 + 127 * np.sin(generator.uniform(1, 7) * x + generator.uniform(1, 7) * y + generator.uniform(0, 6))
        for _ in range(3 if rgb else 1)
    ]
    return np.stack(planes, -1).astype(np.uint8) if rgb else planes[0].astype(np.uint8)


def write(path: Path, array: np.ndarray, **options: Any) -> Path:
    """Write an array as an image file, its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def class_folders(root: Path, counts: dict[str, int], first_seed: int = 0) -> Path:
    """Write `counts[folder]` PNG files, all different, into each folder."""
    seed = first_seed
    for folder, count in counts.items():
        for number in range(count):
            write(root / folder / f"{number:03d}.png", pattern(seed))
            seed += 1
    return root


def gather(source: Any, tmp_path: Path, **options: Any) -> Gathered:
    """`read_images` with an atlas in ``atlas`` and datasets in ``datasets`` below `tmp_path`."""
    return read_images(source, datasets=tmp_path / "datasets", atlas_root=tmp_path / "atlas", **options)


def build(source: Any, tmp_path: Path, **options: Any) -> Images:
    """The images record of `source`, written and read again."""
    gathered = gather(source, tmp_path, **options)
    return Store(tmp_path / "atlas").build(gathered.recipe, Images, gathered.make)


def cut(images: Images, row: int) -> np.ndarray:
    """The thumbnail of an image, found as docs and pages do: sheet, then row by row."""
    edge, columns = images.thumbnail_edge, images.sheet_columns
    sheet, place = divmod(row, columns * columns)
    top, left = place // columns * edge, place % columns * edge
    with Image.open(images.thumbnails[f"{sheet:03d}.webp"]) as picture:
        assert picture.size == (columns * edge, columns * edge)
        return np.asarray(picture.convert("RGB"))[top : top + edge, left : left + edge]
