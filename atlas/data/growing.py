"""Images appended to a record: its rows stay as they are, and what is there already is not added again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atlas.data.decoding import PIXELS
from atlas.data.gathered import VERSION, Gathered, Sample, check_names, counts_of, identities, sample_of, source_of
from atlas.data.hashes import FILE, FileHashes
from atlas.data.listing import text
from atlas.data.properties import MEASURED
from atlas.data.reading import SEVERAL, open_reader, reader_for, sources_of
from atlas.data.records import Images
from atlas.data.sources import Chosen
from atlas.errors import AtlasError, one_line
from atlas.store import Recipe, digest


@dataclass(frozen=True)
class Standing:
    """The images of an atlas as a build takes them: the record stands, nothing is listed, hashed or decoded again."""

    name: str
    record: Images
    atlas_root: Path
    dataset: Any = None  # the object in Python that they came from

    @property
    def count(self) -> int:
        """How many images there are, those that do not decode included."""
        return len(self.record)

    @property
    def labels(self) -> list[str]:
        """The classes, in the record's order."""
        return self.record.labels

    @property
    def title(self) -> str:
        """The name of what was read first."""
        return self.record.title

    def sample(self) -> Sample:
        """Return the first image that decodes; AtlasError when none can be read any more."""
        return sample_of(open_reader(self.record, self.atlas_root, dataset=self.dataset))


def grow(images: Images, name: str, chosen: Chosen, *, hashes: FileHashes | None = None) -> Gathered | None:
    """Return the record `images`, called `name`, with the `chosen` images after its own; None where it has them all.

    An image is there already when its path and its bytes are, in the same source. A file of the record whose bytes have
    changed since raises AtlasError: its row would then show another image than the one that was computed.
    """
    source = source_of(chosen.listing, chosen.atlas_root)
    with chosen.progress.stage("hashing images", chosen.count) as advance:
        sha256 = chosen.listing.hash(chosen.rows, hashes or FileHashes(chosen.atlas_root / FILE), advance)
    short = [None if sha is None else sha[:16] for sha in sha256]
    paths = [str(path) for path in chosen.listing.table["path"].iloc[chosen.rows]]
    new = ~_there(images, source, paths, short)
    if not new.any():
        return None
    rows = np.flatnonzero(new)
    return _appended(images, name, replace(chosen, rows=chosen.rows[rows]), source, [sha256[int(row)] for row in rows])


def _there(images: Images, source: Mapping[str, Any], paths: Sequence[str], short: Sequence[str | None]) -> np.ndarray:
    """Tell of each image whether the record has it already: bool [image]."""
    known = _known(images, source)
    changed = [path for path, sha in zip(paths, short, strict=True) if sha and known.get(path, sha) != sha]
    if changed:
        raise AtlasError(
            f"{len(changed)} of the images have changed since they were added, the first is {one_line(changed[0])}: "
            "put them back or give them other names, or build the atlas anew"
        )
    return np.array([path in known for path in paths], bool)


def _known(images: Images, source: Mapping[str, Any]) -> dict[str, str]:
    """Return what the record holds of one source: path → the first 16 digits of its SHA-256."""
    known: dict[str, str] = {}
    start = 0
    for own, count in sources_of(images.source, len(images)):
        if dict(own) == dict(source):
            mine = images.table.iloc[start : start + count]
            known |= dict(zip(mine["path"], mine["image_id"].str.partition("-")[0], strict=True))
        start += count
    return known


def _appended(images: Images, name: str, chosen: Chosen, source: dict[str, Any], sha256: Sequence[str | None]) -> Gathered:
    """Return the images of the record and the chosen ones, the latter hashed and not decoded yet."""
    listing = chosen.listing
    added = listing.table.iloc[chosen.rows].reset_index(drop=True)
    measured = list(images.counts.get("measured", []))
    check_names(added, bool(measured))
    before = images.table[[c for c in images.table.columns if c not in ("width", "height", "mode", "error", *measured)]]
    short = [*before["image_id"].str.partition("-")[0], *(None if sha is None else sha[:16] for sha in sha256)]
    ids, duplicate_of = identities(short, [*before["path"], *added["path"]])
    old = len(images)
    added = added.assign(image_id=text(ids[old:]), duplicate_of=np.asarray(duplicate_of[old:], np.int64))
    table = pd.concat([before, added], ignore_index=True)
    labels = _labels(images.labels, listing.labels, set(added["label"].dropna()))
    whole = _joined_source(images, source, len(added))
    parameters = {
        "before": name,
        "source": {key: value for key, value in source.items() if key != "root"},
        "content": digest([list(ids[old:]), *_own_columns(added), listing.content]),
        "labels": labels,
        "sheet_columns": images.sheet_columns,
        "most_pixels": PIXELS,
        **({"properties": MEASURED} if measured else {}),
    }
    return Gathered(
        table=table,
        sha256=[*(None for _ in range(old)), *sha256],
        labels=labels,
        title=images.title,
        source=whole,
        counts=_counts(images, table, chosen, source),
        thumbnail_edge=images.thumbnail_edge,
        sheet_columns=images.sheet_columns,
        recipe=Recipe("images", VERSION, parameters, libraries=("Pillow",)),
        reader=reader_for(whole, [str(path) for path in table["path"]], chosen.atlas_root, dataset=listing.dataset),
        atlas_root=Path(chosen.atlas_root),
        dataset=listing.dataset,
        progress=chosen.progress,
        before=images,
        measured=bool(measured),
    )


def _own_columns(added: pd.DataFrame) -> list[list[str | None]]:
    """Return the columns that decide: path, label, split; a user's own come with their table's hash."""
    return [[None if pd.isna(value) else str(value) for value in added[name]] for name in ("path", "label", "split")]


def _labels(known: Sequence[str], offered: Sequence[str], used: set[str]) -> list[str]:
    """Return the labels: those known keep their numbers, new ones follow in their dataset's own order."""
    return [*known, *(label for label in offered if label in used and label not in known)]


def _joined_source(images: Images, source: dict[str, Any], count: int) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [
        {"source": dict(own), "images": number} for own, number in sources_of(images.source, len(images))
    ]
    if parts[-1]["source"] == source:
        parts[-1]["images"] += count
    else:
        parts.append({"source": source, "images": count})
    return parts[0]["source"] if len(parts) == 1 else {"kind": SEVERAL, "parts": parts}


def _counts(images: Images, table: pd.DataFrame, chosen: Chosen, source: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts over all; what there was to choose from, refused and ignored is added up."""
    before, added = images.counts, chosen.listing.counts
    again = any(dict(own) == source for own, _ in sources_of(images.source, len(images)))  # counted when it was listed first
    there = 0 if again else chosen.how["available"]
    how = {"limit": before["limit"] or chosen.how["limit"], "available": max(before["available"] + there, len(table))}
    summed = {key: before.get(key, 0) + number for key, number in added.items()}
    kept = {key: value for key, value in before.items() if key not in summed}
    return kept | counts_of(table, how) | summed | {"additions": [*before.get("additions", []), len(chosen.rows)]}
