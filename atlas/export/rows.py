"""Which images are meant: rows, ranges and image_ids, or a kept selection; and a file that is whole or not there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from atlas import notes
from atlas.errors import AtlasError, one_line
from atlas.store import writing

if TYPE_CHECKING:
    from atlas.atlas import Atlas

RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")
PARTS = re.compile(r"(?:[0-9]{1,15}|[0-9]{1,9}-[0-9]{1,9}|[0-9a-f]{16}(?:-[0-9]+)?)(?:\s*,\s*(?:[0-9a-f]+(?:-[0-9]+)?))*")


def rows_of(atlas: Atlas, images: str | Sequence[int | str]) -> list[int]:
    """Return the rows of images, in the order named, each once.

    `images` is ``"all"``, rows, ranges and image_ids in a list or joined by commas, or the name or id of a kept selection;
    AtlasError for what is none of these.
    """
    if isinstance(images, str) and images == "all":
        return list(range(len(atlas.image_record)))
    if isinstance(images, str) and not PARTS.fullmatch(images.strip()):
        return _kept(atlas, images)
    parts = images.split(",") if isinstance(images, str) else images
    found = [row for part in parts for row in _rows(atlas, str(part).strip())]
    if not found:
        raise AtlasError("no image was named: rows such as 0,5,10-19 would do, or all")
    return list(dict.fromkeys(found))


def _rows(atlas: Atlas, part: str) -> Sequence[int]:
    span = RANGE.fullmatch(part)
    if span is None:
        row = atlas.find_image(part)
        if row is None:
            raise AtlasError(f"{one_line(repr(part))} is no row and no image_id: rows such as 0,5,10-19 would do, or all")
        return [row]
    first, last = int(span[1]), int(span[2])
    if not first <= last < len(atlas.image_record):
        raise AtlasError(f"no rows {part}: the images are rows 0 to {len(atlas.image_record) - 1}, the smaller number first")
    return range(first, last + 1)


def _kept(atlas: Atlas, name: str) -> list[int]:
    """Return the rows of a kept selection; images that the atlas has no longer are refused, not left out in silence."""
    ids = notes.find(atlas.store.root, name).image_ids
    known = {id: row for row, id in enumerate(atlas.image_record.table["image_id"])}
    gone = [id for id in ids if id not in known]
    if gone:
        raise AtlasError(f"{len(gone)} images of the selection {one_line(name)} are no longer in the atlas, {gone[0]} first")
    return [known[id] for id in ids]


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write to, and rename it at the end, so that `path` is never half a file."""
    beside = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        with writing(path.absolute().parent):
            yield beside
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
