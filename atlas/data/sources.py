"""Images from wherever the user has them: what there is, which of it is taken, and the record of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atlas.data import named
from atlas.data.decoding import SUFFIXES
from atlas.data.folders import list_folder
from atlas.data.gathered import Gathered, Sample, check_names, gather, sample_of, source_of
from atlas.data.hashes import FILE, FileHashes
from atlas.data.listing import Advance, Listing, listing_table, text, wanted_split
from atlas.data.objects import list_object
from atlas.data.reading import open_reader, reader_for
from atlas.data.selection import select
from atlas.data.tables import SUFFIXES as TABLES
from atlas.data.tables import list_table
from atlas.errors import AtlasError, close_matches, one_line
from atlas.files import is_file, is_folder
from atlas.progress import Progress

__all__ = ["Chosen", "Gathered", "choose_images", "open_reader", "read_images"]


@dataclass
class Chosen:
    """The images of a source that were chosen: listed, not a byte of them read yet."""

    listing: Listing
    rows: np.ndarray  # of the listing, int64 [image]
    how: dict[str, Any]  # limit, available, seed
    atlas_root: Path
    progress: Progress
    properties: bool = False  # whether each image is measured when it is decoded

    @property
    def count(self) -> int:
        """How many images there are, those that will not decode included."""
        return len(self.rows)

    @property
    def labels(self) -> list[str]:
        """The classes, in the dataset's own order."""
        return self.listing.labels

    @property
    def title(self) -> str:
        """The dataset's name, or the folder's or table's."""
        return self.listing.title

    @property
    def dataset(self) -> Any:
        """The object in Python that the images come from; None for files and named datasets."""
        return self.listing.dataset

    def sample(self) -> Sample:
        """Return the first image that decodes; AtlasError when none does."""
        paths = list(self.listing.table["path"].iloc[self.rows])
        source = source_of(self.listing, self.atlas_root)
        return sample_of(reader_for(source, paths, self.atlas_root, dataset=self.listing.dataset))

    def gather(
        self, *, hashes: FileHashes | None = None, thumbnail_edge: int | None = None, title: str | None = None
    ) -> Gathered:
        """Return the images hashed, with the recipe of their record; the hashes of files are remembered in the atlas."""
        with self.progress.stage("hashing images", self.count) as advance:
            sha256 = self.listing.hash(self.rows, hashes or FileHashes(self.atlas_root / FILE), advance)
        gathered = gather(
            self.listing,
            self.rows,
            sha256,
            self.how,
            self.atlas_root,
            thumbnail_edge=thumbnail_edge,
            title=title,
            properties=self.properties,
            progress=self.progress,
        )
        _tell(gathered, self.progress)
        return gathered


def choose_images(
    source: Any,
    *,
    limit: int | None = None,
    seed: int = 0,
    split: str | None = None,
    properties: bool = False,
    datasets: Path,
    atlas_root: Path,
    progress: Progress | None = None,
) -> Chosen:
    """Return which images of `source` are taken; nothing but names is read, so that mistakes show before the long work.

    `source` is a folder, a .csv or .parquet table, the name of a dataset (``fashion-mnist``, ``cifar10:test``; a folder of
    that name is ``./cifar10``), or an object with ``len()`` and ``[index]``. `limit` keeps that many images, seeded and in
    proportion over labels and splits; `split` says what all of them are; `properties` has each measured. Fetched datasets
    are kept in `datasets`. Raises AtlasError where there are no images to read.
    """
    progress = progress or Progress()
    if limit is not None and limit < 1:
        raise AtlasError(f"a limit of {limit} leaves no images: give at least 1, or no limit")
    if not 0 <= seed < 2**32:
        raise AtlasError(f"a seed of {seed}: give a whole number from 0 to {2**32 - 1}")
    forced = None if split is None else wanted_split(split)
    listing = list_source(source, datasets=datasets, atlas_root=atlas_root, progress=progress)
    for line in listing.notes:
        progress.note(line)
    if forced:
        listing.table["split"] = text([forced] * len(listing.table))
    check_names(listing.table, properties)
    available = len(listing.table)
    limit = None if limit is None or limit >= available else limit
    rows = (
        np.arange(available) if limit is None else select(listing.table["label"], listing.table["split"], limit, seed=seed)
    )
    how = {"limit": limit, "available": available, "seed": None if limit is None else seed}
    return Chosen(listing, rows, how, atlas_root, progress, properties)


def read_images(
    source: Any,
    *,
    datasets: Path,
    atlas_root: Path,
    hashes: FileHashes | None = None,
    thumbnail_edge: int | None = None,
    title: str | None = None,
    **choice: Any,
) -> Gathered:
    """Return what is to be known of the images in `source` before they are decoded: `choose_images`, then `gather`."""
    chosen = choose_images(source, datasets=datasets, atlas_root=atlas_root, **choice)
    return chosen.gather(hashes=hashes, thumbnail_edge=thumbnail_edge, title=title)


def _tell(gathered: Gathered, progress: Progress) -> None:
    counts = gathered.counts
    if counts["limit"]:
        seed = gathered.recipe.parameters["seed"]
        progress.note(f"{counts['images']} of {counts['available']} images, in proportion over the labels, seed {seed}")
    if counts.get("refused"):
        reasons = "they lead out of the folder, are no files, may not be read or are not UTF-8"
        progress.note(f"{counts['refused']} links or file names are refused: {reasons}")


def list_source(source: Any, *, datasets: Path, atlas_root: Path, progress: Progress) -> Listing:
    """Return the listing of any source that `read_images` takes."""
    if not isinstance(source, str | os.PathLike):
        if hasattr(source, "__len__") and hasattr(source, "__getitem__") and not isinstance(source, Mapping | bytes):
            return list_object(source, progress)
        raise AtlasError(
            f"a {type(source).__name__} is no source of images: give a path, a name, or an object with len() and []"
        )
    name, colon, part = str(source).partition(":")
    if isinstance(source, str) and name in named.NAMES:
        return _list_named(name, part if colon else None, datasets, progress)
    path = _at_home(Path(source))
    if not str(source).strip():
        raise AtlasError("no images at '': give a folder, a table or a dataset's name; this folder is .")
    if is_folder(path):
        return list_folder(path, leave_out=atlas_root)
    if is_file(path) and path.suffix.lower() in TABLES:
        return list_table(path)
    raise AtlasError(_no_source(path))


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # of a user who is not known: it may be a name as it stands
        return path


def _no_source(path: Path) -> str:
    shown = one_line(path)
    if is_file(path):
        alone = "one image: give its folder" if path.suffix.lower() in SUFFIXES else "no .csv or .parquet table"
        return f"no images in {shown}: the file is {alone}"
    names = close_matches(path.name.partition(":")[0], named.NAMES)
    meant = f"did you mean {names[0]}?" if names else f"the datasets known by name are {', '.join(named.NAMES)}"
    return f"no images at {shown}: there is no such folder or table; {meant}"


def _list_named(name: str, part: str | None, datasets: Path, progress: Progress) -> Listing:
    there = named.known(name).parts
    if part is not None and part not in there:
        both = f"{name}:train, {name}:test or {name} for both" if len(there) > 1 else f"{name} or {name}:{there[0]}"
        raise AtlasError(f"no part {one_line(repr(part))} of {name}: give {both}")
    dataset = named.fetch(name, datasets, progress)
    parts = there if part is None else (part,)
    sizes = {part: len(dataset.codes[part]) for part in parts}
    table = listing_table(
        (f"{part}/{index}" for part in parts for index in range(sizes[part])),
        (dataset.labels[code] for part in parts for code in dataset.codes[part]),
        ("train" if part == "train" else "held-out" for part in parts for _ in range(sizes[part])),
    )
    more = {column: np.concatenate([values[part] for part in parts]) for column, values in dataset.columns.items()}
    return Listing(
        table=table.assign(**more),
        labels=dataset.labels,
        title=dataset.title if part is None else f"{dataset.title} ({part})",
        source={"kind": "named", "name": name, "part": part, "root": Path(os.path.realpath(dataset.folder))},
        hash=lambda rows, hashes, advance: _array_hashes(dataset, parts, rows, advance),
    )


def _array_hashes(dataset: named.ArrayDataset, parts: Sequence[str], rows: np.ndarray, advance: Advance) -> list[str | None]:
    found: list[str | None] = []
    start = 0
    for part in parts:
        images = dataset.images[part]
        mine = rows[(rows >= start) & (rows < start + len(images))] - start
        start += len(images)
        for row in mine:
            found.append(hashlib.sha256(images[row].tobytes()).hexdigest())
        advance(len(mine))
    return found
