"""What is said of a selection, and how it is taken out and kept: plain functions of a view, the selection as packed bits."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from atlas import notes
from atlas.activations.assemble import vectors_of
from atlas.activations.records import Activations, Predictions, Vectors
from atlas.data.records import SAID
from atlas.data.spreadsheet import as_csv
from atlas.errors import AtlasError, choose
from atlas.maps.records import Neighbours
from atlas.pages.columns import output_name
from atlas.pages.serving import Answer
from atlas.pages.view import Space, View
from atlas.patterns.contrast import Moments, effect_sizes, moments, split, strongest

STRONGEST = 10  # units named on each side
NAMED = 20  # image_ids named of those that a note has and the atlas has no longer
KINDS = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet", "paths": "text/plain; charset=utf-8"}


# -- bits: one for each image row, the first in the highest bit of the first byte, as numpy packs them ---------------------


def packed(rows: np.ndarray, count: int) -> bytes:
    """Return rows of `count` images as bits."""
    mask = np.zeros(count, bool)
    mask[rows] = True
    return np.packbits(mask).tobytes()


def unpacked(bits: bytes, count: int, parts: int = 1) -> list[np.ndarray]:
    """Return `parts` masks bool [image] out of bits that follow each other; another length raises AtlasError."""
    size = (count + 7) // 8
    if len(bits) != parts * size:
        raise AtlasError(
            f"the selection is of another atlas ({len(bits)} bytes, {parts * size} expected): load the page again"
        )
    both = np.frombuffer(bits, np.uint8).reshape(parts, size)
    return [np.unpackbits(part)[:count].astype(bool) for part in both]


def space_of(view: View, asked: dict[str, Any]) -> Space:
    """Return the space a question is about."""
    found = view.space(str(asked.get("space")))
    if found is None:
        raise choose("layer", asked.get("space"), [space.id for space in view.spaces])
    return found


# -- units that distinguish ------------------------------------------------------------------------------------------------


def distinguish(view: View, asked: dict[str, Any], blob: bytes) -> dict[str, Any]:
    """Answer which units distinguish the images selected from the rest of those shown: `blob` holds both as bits.

    The effect is Cohen's d over the layer's own vectors (not the 8-bit codes that colour a map), of the layers joined
    where there are several: `up` and `down` name layer, its artifact, unit, d and both means.
    """
    space = space_of(view, asked)
    chosen, shown = unpacked(blob, len(view.images), 2)
    found = [one for name in space.activations for one in _of_layer(view, name, chosen, shown)]
    sizes = np.array([one["d"] for one in found])
    up, down = strongest(sizes, STRONGEST)
    rows = view.point_image(space.activations[0])
    return {
        "chosen": int(chosen[rows].sum()),
        "rest": int((shown & ~chosen)[rows].sum()),
        "units": len(found),
        "flat": int(np.isnan(sizes).sum()),  # units that do not vary, or hold what is no number
        "up": [found[k] for k in up],
        "down": [found[k] for k in down],
    }


def _of_layer(view: View, name: str, chosen: np.ndarray, shown: np.ndarray) -> list[dict[str, Any]]:
    rows = view.point_image(name)
    rest = shown & ~chosen
    whole = _whole(view, name, np.packbits(rest | chosen).tobytes())
    one, other = split(_vectors(view, name), np.flatnonzero(chosen[rows]), np.flatnonzero(rest[rows]), whole)
    sizes = effect_sizes(one, other)
    layer = str(view.headers[name]["fields"]["layer"])
    return [
        {"layer": layer, "key": name, "unit": unit, "d": float(sizes[unit]), "here": float(one.mean[unit]),
         "rest": float(other.mean[unit])}
        for unit in range(len(sizes))
    ]  # fmt: skip


@functools.lru_cache(maxsize=8)
def _vectors(view: View, name: str) -> Vectors:
    return vectors_of(view.store, view.read(name, Activations))


@functools.lru_cache(maxsize=32)
def _whole(view: View, name: str, bits: bytes) -> Moments:
    """The moments of all images that are shown: the same for every selection among them."""
    (mask,) = unpacked(bits, len(view.images))
    return moments(_vectors(view, name), np.flatnonzero(mask[view.point_image(name)]))


def unusual(view: View, name: str) -> np.ndarray:
    """Return how far each point of a layer is from its kept neighbours, on average: float32 [point], NaN where none are."""
    record: Neighbours = view.read(name, Neighbours)
    there = (np.asarray(record.indices) >= 0) & np.isfinite(record.distances)
    total = np.where(there, record.distances, 0).sum(1, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return (total / there.sum(1)).astype(np.float32)


# -- taken out ------------------------------------------------------------------------------------------------------------


def table_of(view: View, predictions: str | None, rows: np.ndarray) -> pd.DataFrame:
    """Return the columns of some images, as `Atlas.images()` has them: our own, the user's, and what the network says."""
    table = view.images.table.iloc[rows].reset_index(drop=True)
    if predictions is None:
        return table
    said: Predictions = view.read(predictions, Predictions)
    output = np.asarray(said.prediction)[rows]
    names = {one: output_name(said, int(one)) for one in np.unique(output[output >= 0]).tolist()}
    values = [
        [names.get(one) for one in output.tolist()],
        np.asarray(said.confidence)[rows],
        pd.Series(said.right[rows] == 1, dtype="boolean").mask(said.right[rows] < 0),
    ]
    return table.assign(**dict(zip(SAID, values, strict=True)))


def as_paths(table: pd.DataFrame) -> bytes:
    """Return one path on each line; a line break inside a path is written as \\n or \\r."""
    lines = [str(path).replace("\r", "\\r").replace("\n", "\\n") for path in table["path"]]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def as_parquet(table: pd.DataFrame) -> bytes:
    """Return a table as Parquet."""
    body = io.BytesIO()
    table.to_parquet(body, index=False)
    return body.getvalue()


WRITERS = {"csv": as_csv, "parquet": as_parquet, "paths": as_paths}


def export(view: View, asked: dict[str, Any], blob: bytes, kind: str) -> Answer:
    """Answer with the selected images, in the order of their rows, as CSV, Parquet or paths."""
    (chosen,) = unpacked(blob, len(view.images))
    table = table_of(view, space_of(view, asked).predictions, np.flatnonzero(chosen))
    return KINDS[kind], WRITERS[kind](table)


# -- kept -----------------------------------------------------------------------------------------------------------------


def _told(view: View, note: notes.Note) -> dict[str, Any]:
    """What a page shows of a note in its list."""
    gone = int((rows_of(view, note.image_ids) < 0).sum())
    return {
        "id": note.id,
        "name": note.name,
        "date": note.date,
        "filter": note.filter,
        "images": len(note.image_ids),
        "gone": gone,
    }


def rows_of(view: View, image_ids: Sequence[str]) -> np.ndarray:
    """Return the row of each image_id, -1 where the atlas has it no longer: int [image_id]."""
    return np.asarray(_index(view).get_indexer(pd.Index(list(image_ids), dtype=object)))


@functools.lru_cache(maxsize=8)
def _index(view: View) -> pd.Index:
    return pd.Index(view.images.table["image_id"].to_numpy(object))


def kept(view: View, asked: dict[str, Any], blob: bytes) -> dict[str, Any]:
    """Answer with the list of kept selections, the newest first, and what of it cannot be read."""
    found, wrong = notes.read_all(view.store.root)
    return {"notes": [_told(view, note) for note in found], "wrong": wrong}


def keep(view: View, asked: dict[str, Any], blob: bytes) -> dict[str, Any]:
    """Keep the selected images under the name asked."""
    (chosen,) = unpacked(blob, len(view.images))
    ids = view.images.table["image_id"].to_numpy(object)[chosen].tolist()
    note = notes.keep(view.store.root, name=_text(asked, "name"), image_ids=ids, filter=_text(asked, "filter"))
    return _told(view, note)


def reopen(view: View, asked: dict[str, Any], blob: bytes) -> dict[str, Any]:
    """Answer with a kept selection: its images as bits in base64, and which of them are no longer there."""
    note = notes.read(view.store.root, _text(asked, "id"))
    rows = rows_of(view, note.image_ids)
    bits = packed(rows[rows >= 0], len(view.images))
    missing = [id for id, row in zip(note.image_ids, rows.tolist(), strict=True) if row < 0]
    return {**_told(view, note), "bits": base64.b64encode(bits).decode(), "missing": missing[:NAMED]}


def rename(view: View, asked: dict[str, Any], blob: bytes) -> dict[str, Any]:
    """Give a kept selection another name."""
    return _told(view, notes.rename(view.store.root, _text(asked, "id"), _text(asked, "name")))


def remove(view: View, asked: dict[str, Any], blob: bytes) -> dict[str, Any]:
    """Put a kept selection away."""
    return _told(view, notes.remove(view.store.root, _text(asked, "id")))


def restore(view: View, asked: dict[str, Any], blob: bytes) -> dict[str, Any]:
    """Bring a removed one back."""
    return _told(view, notes.restore(view.store.root, _text(asked, "id")))


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name, "")
    if not isinstance(value, str):
        raise AtlasError(f"the {name} is no text: load the page again")
    return value
