"""Atlases of any size for the explorer's benchmark: the points of a real one again and again, each time moved a little.

Nothing is computed by a network: the records are written directly. The n-th image shows the (n mod base)-th image of the
source, so thumbnails, classes, predictions and confidences are real ones, and sheets repeat with the images.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atlas.activations.records import Activations, Predictions
from atlas.data.records import Images
from atlas.maps.records import Layout
from atlas.models.records import NetworkRecord
from atlas.pages.view import Space, View
from atlas.store import Files, Recipe, Store

APART = 0.006  # of the map's extent: the standard deviation by which a copy lies beside its original
UNITS = 4  # of the layer's units that are kept for colouring


def crowd(root: Path, source: View, count: int, *, space: str | None = None) -> Path:
    """Write an atlas of `count` images into `root` from one layer of `source`; return `root`. One that is there stays.

    The source's images must fill its sheets, or be at least `count`, so that sheets repeat: ValueError otherwise.
    """
    if (root / "atlas.json").exists():
        return root
    store, of = Store(root), source.space(space or "") or source.descriptor
    if count > len(source.images) and len(source.images) % source.images.sheet_columns**2:
        raise ValueError(f"{len(source.images)} images do not fill their sheets")
    rows = np.arange(count) % len(source.images)
    made = {"images": keep(store, "images", images(source, rows), count)}
    network = source.read(str(of.network), NetworkRecord)
    made["network"] = keep(store, "network", network, count)
    predictions = keep(store, "predictions", predicted(source, of, rows), count, **made)
    layer = keep(store, "activations", activations(source, of, rows), count, **made)
    layouts = [keep(store, "layout", layout(source, name, rows), count, activations=layer) for name in of.layouts]
    store.show([*made.values(), predictions, layer, *layouts], title=f"{count:,} points".replace(",", " "))
    return root


def keep(store: Store, stage: str, record: Any, count: int, **inputs: str) -> str:
    """Write a record; return its name."""
    method = {"method": record.method} if isinstance(record, Layout) else {}
    recipe = Recipe(stage, 1, {"crowd": count, **method}, dict(inputs))
    store.build(recipe, type(record), lambda: record)
    return recipe.name


def images(source: View, rows: np.ndarray) -> Images:
    """Return the images of `rows`, each with an identity of its own; sheets are those of the source, repeated."""
    record = source.images
    table = record.table.iloc[rows].reset_index(drop=True)
    table["image_id"] = pd.Series([f"{row:016x}" for row in range(len(rows))])
    table["duplicate_of"] = -1
    sheets, each = list(record.thumbnails.values()), record.sheet_columns**2
    wanted = range(-(-len(rows) // each))
    files = Files([(f"{k:03d}.webp", sheets[k % len(sheets)].read_bytes()) for k in wanted])
    counts = {**record.counts, "images": len(rows), "available": len(rows), "limit": None}
    return dataclasses.replace(record, table=table, counts=counts, thumbnails=files, title=f"{len(rows)} images")


def predicted(source: View, space: Space, rows: np.ndarray) -> Predictions:
    """Return the predictions of `rows`."""
    record: Predictions = source.read(str(space.predictions), Predictions)
    columns = ("prediction", "confidence", "top_output", "top_probability", "right")
    return dataclasses.replace(record, **{name: np.asarray(getattr(record, name))[rows] for name in columns})


def activations(source: View, space: Space, rows: np.ndarray) -> Activations:
    """Return the layer's points without vectors, and the first of its units for colouring."""
    record: Activations = source.read(space.activations[0], Activations)
    units = np.asarray(record.units[:UNITS])[:, rows]  # type: ignore[index]
    low, high = np.asarray(record.unit_low)[:UNITS], np.asarray(record.unit_high)[:UNITS]
    return dataclasses.replace(
        record, parts=[], part_points=[], unit_count=len(units), point_image=np.arange(len(rows), dtype=np.int32),
        units=units, unit_low=low, unit_high=high,
    )  # fmt: skip


def layout(source: View, name: str, rows: np.ndarray) -> Layout:
    """Return a layout whose first points lie where they were, and whose copies lie around them."""
    record: Layout = source.read(name, Layout)
    xy = np.asarray(record.xy)[rows]
    base = len(record.xy)
    if len(rows) > base:
        random = np.random.default_rng(0)
        xy[base:] += random.normal(0, APART * np.ptp(record.xy, axis=0).max(), (len(rows) - base, 2)).astype(np.float32)
    columns = {c: np.asarray(getattr(record, c))[rows] for c in ("confidence", "recall", "trust", "continuity")}
    return dataclasses.replace(record, xy=xy, quality={}, **columns)
