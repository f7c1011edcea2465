"""Images chosen and hashed but not yet decoded: the recipe of their record, and the record itself once it is asked for."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from atlas.data import thumbnails
from atlas.data.decoding import PIXELS, Seen
from atlas.data.listing import Advance, Listing, text
from atlas.data.objects import check_same
from atlas.data.parallel import ordered
from atlas.data.properties import EDGE, MEASURED, PROPERTIES, measure
from atlas.data.properties import table as properties_table
from atlas.data.reading import ArrayReader, JoinedReader, ObjectReader, Reader, look_at, reader_for
from atlas.data.records import COLUMNS, SPLITS, Images
from atlas.errors import AtlasError, one_line
from atlas.progress import Progress
from atlas.store import Files, Recipe, digest

VERSION = 1  # of the stage "images": raised when its result can differ for the same recipe
PEEKED = 16  # images whose size decides the edge of the thumbnails


@dataclass(frozen=True)
class Sample:
    """One image by which a network is tried: as a picture, and as the float tensor [rgb, y, x] where it is one."""

    image: Image.Image
    tensor: np.ndarray | None
    shape: tuple[int, int] | None  # height and width, where a few images looked at all have the same


@dataclass
class Gathered:
    """The images of one source, chosen and hashed; `make` decodes them into the record that `recipe` names."""

    table: pd.DataFrame  # image_id, path, label, split, duplicate_of, then the user's columns
    sha256: list[str | None]
    labels: list[str]
    title: str
    source: dict[str, Any]
    counts: dict[str, Any]
    thumbnail_edge: int
    sheet_columns: int
    recipe: Recipe
    reader: Reader
    atlas_root: Path
    dataset: Any  # the user's object, for `open_reader`; None for files and named datasets
    progress: Progress
    before: Images | None = None  # the record that these images are appended to: its rows come first, as they are
    measured: bool = False  # whether the properties of each image become columns
    _properties: list[dict[str, float] | None] = field(default_factory=list)  # of the images decoded so far, where measured

    @property
    def count(self) -> int:
        """How many images there are, those that will not decode included."""
        return len(self.table)

    def sample(self) -> Sample:
        """Return the first image that decodes; AtlasError when none does."""
        return sample_of(self.reader)

    def make(self) -> Images:
        """Return the record: each image decoded once, for its size and its thumbnail. AtlasError when none decodes."""
        seen: list[Seen] = []
        self._properties.clear()
        spool = Spool(self.atlas_root)
        with self.progress.stage("thumbnails", self.count - self._first) as advance:
            blocks = self._blocks(seen, advance)
            full = self._first // self.sheet_columns**2
            for name, body in thumbnails.encode(blocks, columns=self.sheet_columns, first=full):
                spool.add(name, body)
        table = self._table(seen[self._old - self._first :])
        undecodable = int(table["error"].notna().sum())
        if undecodable == self.count:
            raise none_decodes(self.reader, seen[0].error)
        return Images(
            table=table,
            labels=self.labels,
            title=self.title,
            source=self.source,
            counts=self.counts | {"undecodable": undecodable} | ({"measured": list(PROPERTIES)} if self.measured else {}),
            thumbnails=Files([*self._full_sheets(full), *spool]),
            thumbnail_edge=self.thumbnail_edge,
            sheet_columns=self.sheet_columns,
        )

    @property
    def _old(self) -> int:
        """How many images the record before holds."""
        return 0 if self.before is None else len(self.before)

    @property
    def _first(self) -> int:
        """The row from which thumbnails are made: sheets that were full already are kept as they are."""
        return self._old // self.sheet_columns**2 * self.sheet_columns**2

    def _full_sheets(self, count: int) -> Iterator[tuple[str, Any]]:
        for name, path in list((self.before.thumbnails if self.before else {}).items())[:count]:
            yield name, partial(shutil.copyfile, path)

    def _table(self, seen: list[Seen]) -> pd.DataFrame:
        """Return the whole table; `seen` are the images that the record before does not hold."""
        known = self.table.iloc[self._old :].assign(
            width=np.asarray([one.width for one in seen], np.int32),
            height=np.asarray([one.height for one in seen], np.int32),
            mode=text(one.mode for one in seen),
            error=text(one.error for one in seen),
        )
        if self.measured:
            found = properties_table(self._properties[self._old - self._first :])
            known = known.assign(**{name: found[name].to_numpy() for name in PROPERTIES})
        known = known[[*COLUMNS, *(name for name in known.columns if name not in COLUMNS)]]
        return known if self.before is None else stacked(self.before.table, known)

    def _blocks(self, seen: list[Seen], advance: Advance) -> Iterator[np.ndarray]:
        """Yield the thumbnails of each sheet, and note in `seen` what each image was, its pixels let go."""
        if isinstance(self.reader, ArrayReader):
            yield from self._array_blocks(self.reader, seen, advance)
            return

        def single() -> Iterator[np.ndarray]:
            for one, cell, properties in ordered(self._look, range(self._first, self.count)):
                seen.append(one)
                self._properties.append(properties)
                advance(1)
                yield cell

        yield from thumbnails.blocks(single(), self.sheet_columns)

    def _array_blocks(self, reader: ArrayReader, seen: list[Seen], advance: Advance) -> Iterator[np.ndarray]:
        step = self.sheet_columns**2
        for start in range(self._first, self.count, step):
            pixels = reader.pixels(range(start, min(start + step, self.count)))
            height, width = pixels.shape[1:3]
            seen += [Seen(None, width, height, "L" if pixels.ndim == 3 else "RGB")] * len(pixels)
            self._properties += [measure(one) for one in pixels] if self.measured else []
            advance(len(pixels))
            yield thumbnails.cells(pixels, self.thumbnail_edge)

    def _look(self, row: int) -> tuple[Seen, np.ndarray, dict[str, float] | None]:
        reader, own = self.reader.of(row) if isinstance(self.reader, JoinedReader) else (self.reader, row)
        if isinstance(reader, ObjectReader):
            value = reader.item(own)
            if row >= self._old:
                check_same(int(reader.paths[own]), value, self.sha256[row])
            one = look_at(value)
        else:
            one = reader.look(own, at_least=max(2 * self.thumbnail_edge, EDGE if self.measured else 0))
        found = measure(one.image, (one.width, one.height)) if self.measured and one.image is not None else None
        return Seen(None, one.width, one.height, one.mode, one.error), self._cell(row, one.image), found

    def _cell(self, row: int, image: Image.Image | None) -> np.ndarray:
        if image is None and self.before is not None and row < self._old:  # its file has gone since: as it was shown before
            image = thumbnails.thumbnail(self.before, row)
        return thumbnails.cell(image, self.thumbnail_edge)


def stacked(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of two tables; a column whose kinds differ becomes text, one that either lacks is missing there."""
    both = [name for name in before.columns if name in after.columns and name not in COLUMNS]
    mixed = [name for name in both if before[name].dtype != after[name].dtype and not _numeric(before[name], after[name])]
    as_text = [table.assign(**{name: table[name].astype("string") for name in mixed}) for table in (before, after)]
    return pd.concat(as_text, ignore_index=True)


def _numeric(*columns: pd.Series) -> bool:
    return all(pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column) for column in columns)


def sample_of(reader: Reader) -> Sample:
    """Return the first image of `reader` that decodes; AtlasError when none does."""
    sizes = set(peek(reader).values()) - {(0, 0)}  # one that cannot be read says nothing of the others
    for row in range(len(reader)):
        image = reader.look(row).image
        if image is not None:
            tensor = reader.tensor(row) if reader.tensors else None
            return Sample(image, tensor, (image.height, image.width) if len(sizes) == 1 else None)
    raise none_decodes(reader, reader.look(0).error)


def none_decodes(reader: Reader, reason: str | None) -> AtlasError:
    """Return the error for images of which not one decodes."""
    return AtlasError(f"none of the {len(reader)} images decodes; the first is {one_line(reader.paths[0])}: {reason}")


class Spool:
    """Sheets waiting to be written: in one nameless temporary file, so that memory stays small and a kill leaves nothing."""

    def __init__(self, folder: Path):
        self.file = tempfile.TemporaryFile(dir=folder if folder.is_dir() else None)  # noqa: SIM115  (lives as long as this)
        self.sheets: list[tuple[str, int]] = []

    def add(self, name: str, body: bytes) -> None:
        """Keep one sheet; AtlasError when the disk is full."""
        try:
            self.file.write(body)
            self.file.flush()
        except OSError as reason:
            raise AtlasError(f"the thumbnails do not fit on the disk ({reason.strerror}): free some space") from None
        self.sheets.append((name, len(body)))

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        self.file.seek(0)
        for name, count in self.sheets:
            yield name, self.file.read(count)


def gather(
    listing: Listing,
    rows: np.ndarray,
    sha256: Sequence[str | None],
    chosen: Mapping[str, Any],
    atlas_root: Path,
    *,
    thumbnail_edge: int | None = None,
    title: str | None = None,
    properties: bool = False,
    progress: Progress | None = None,
) -> Gathered:
    """Return the images `rows` of a listing, whose bytes have the hashes `sha256`; `chosen` says how they were chosen.

    With `properties` each image is measured when it is decoded, as `properties.PROPERTIES` has it.
    """
    title = title or listing.title
    table = listing.table.iloc[rows].reset_index(drop=True)
    ids, duplicate_of = identities(sha256, list(table["path"]))
    table = table.assign(image_id=text(ids), duplicate_of=np.asarray(duplicate_of, np.int64))
    source = source_of(listing, atlas_root)
    reader = reader_for(source, list(table["path"]), atlas_root, dataset=listing.dataset)
    longest = max(map(max, peek(reader).values())) or 64  # none could be read: as for photographs
    edge = thumbnail_edge or thumbnails.default_edge(longest)
    columns = thumbnails.columns_for(edge)
    parameters = {
        **chosen,
        "source": {name: value for name, value in source.items() if name != "root"},  # where it lies decides nothing
        "content": _content(table, sha256, listing),
        "labels": listing.labels,
        "thumbnail_edge": edge,
        "sheet_columns": columns,
        "most_pixels": PIXELS,
        **({"properties": MEASURED} if properties else {}),
    }
    return Gathered(
        table=table,
        sha256=list(sha256),
        labels=listing.labels,
        title=title,
        source=source,
        counts=counts_of(table, chosen) | listing.counts,
        thumbnail_edge=edge,
        sheet_columns=columns,
        recipe=Recipe("images", VERSION, parameters, libraries=("Pillow",)),
        reader=reader,
        atlas_root=atlas_root,
        dataset=listing.dataset,
        progress=progress or Progress(),
        measured=properties,
    )


def check_names(table: pd.DataFrame, measured: bool) -> None:
    """Refuse a user's column of the name of a property that is to be measured."""
    taken = [name for name in PROPERTIES if measured and name in table]
    if taken:
        raise AtlasError(
            f"the images have a column {taken[0]} already, which is measured here too: rename it, or leave --properties out"
        )


def source_of(listing: Listing, atlas_root: Path) -> dict[str, Any]:
    """Return how a listing's pixels are read again, its root relative to the atlas."""
    source = dict(listing.source)
    if "root" in source:
        source["root"] = os.path.relpath(source["root"], os.path.realpath(atlas_root))
    return source


def identities(sha256: Sequence[str | None], paths: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the image_id of each image, and the row of the first image with the same bytes, or -1.

    A file whose bytes cannot be read is known by its path, and is nobody's duplicate.
    """
    first: dict[str, int] = {}
    times: dict[str, int] = {}
    ids, duplicate_of = [], []
    for row, (sha, path) in enumerate(zip(sha256, paths, strict=True)):
        short = (sha or digest(["unreadable", path]))[:16]
        times[short] = times.get(short, 0) + 1
        ids.append(short if times[short] == 1 else f"{short}-{times[short]}")
        duplicate_of.append(first.get(sha, -1) if sha else -1)
        if sha:
            first.setdefault(sha, row)
    return ids, duplicate_of


def peek(reader: Reader) -> dict[int, tuple[int, int]]:
    """Return width and height of a few images spread over `reader`, by row; (0, 0) where one cannot be read."""
    rows = sorted({round(value) for value in np.linspace(0, len(reader) - 1, min(PEEKED, len(reader)))})
    return {row: reader.size(row) for row in rows}


def _content(table: pd.DataFrame, sha256: Sequence[str | None], listing: Listing) -> str:
    columns = [table[name].astype(object).where(table[name].notna(), None).tolist() for name in ("path", "label", "split")]
    return digest([json.dumps([list(sha256), *columns]), listing.content])


def counts_of(table: pd.DataFrame, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is counted of the images of a table: images, available, limit, duplicates, unlabelled, splits."""
    return {
        "images": len(table),
        "available": chosen["available"],
        "limit": chosen["limit"],
        "duplicates": int((table["duplicate_of"] >= 0).sum()),
        "unlabelled": int(table["label"].isna().sum()),
        "splits": {split: int((table["split"] == split).sum()) for split in SPLITS},
    }
