"""CSV and Parquet: a row per image, or per sampled position, with its places in the layouts of one layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.errors import AtlasError
from atlas.export.points import Points, as_lists, columns_of, image_columns
from atlas.export.rows import whole
from atlas.pages.selections import as_csv

if TYPE_CHECKING:
    from atlas.atlas import Atlas


def table_of(atlas: Atlas, rows: Sequence[int], layers: Sequence[str] = ()) -> tuple[pd.DataFrame, Points | None]:
    """Return the table of some images, and the points of its layer, None where the atlas has no layer with vectors.

    Columns: ``image`` (row), those of `Atlas.images()`, ``point_y`` and ``point_x`` (sampled positions), and of each of the
    layer's own layouts ``METHOD_x`` and ``METHOD_y``. An image without a point, which does not decode, keeps a row.
    """
    points = Points(atlas, rows, layers) if layers or atlas.layers else None
    places = {} if points is None else points.places()
    columns = image_columns(atlas, ["image", *places])
    image = np.asarray(rows) if points is None else np.concatenate([points.image, np.array(points.without, int)])
    table = columns.iloc[image].reset_index(drop=True)
    table.insert(0, "image", image)
    for name, values in places.items():
        table[name] = np.concatenate([values, np.full(len(table) - len(values), np.nan, np.float32)])
    order = pd.Series(np.arange(len(rows)), index=list(rows)).loc[image].to_numpy()
    return table.iloc[np.argsort(order, kind="stable")].reset_index(drop=True), points


def write_csv(atlas: Atlas, path: Path, rows: Sequence[int], *, layers: Sequence[str] = ()) -> dict[str, Any]:
    """Write the table as CSV in UTF-8; a cell that a spreadsheet would run as a formula begins with an apostrophe."""
    table, points = table_of(atlas, rows, layers)
    with whole(path) as beside:
        beside.write_bytes(as_csv(table))
    return told(path, rows, table, points, f'pandas.read_csv("{path}")')


def write_parquet(
    atlas: Atlas, path: Path, rows: Sequence[int], *, layers: Sequence[str] = (), vectors: bool = False
) -> dict[str, Any]:
    """Write the table as Parquet; with `vectors` also each point's, as the column ``vector`` of float32 lists."""
    import pyarrow.parquet as pq

    table, points = table_of(atlas, rows, layers)
    more = {}
    if vectors:
        more = {"vector": _vectors(table, points)}
        table = table.rename(columns={"vector": "user.vector"})
    with whole(path) as beside:
        pq.write_table(columns_of(table, more), beside)
    return told(path, rows, table, points, f'pandas.read_parquet("{path}")')


def _vectors(table: pd.DataFrame, points: Points | None) -> Any:
    """The vectors in the order of the table; an image without a point has NaN."""
    if points is None:
        raise AtlasError("the atlas holds no layer's vectors: leave --vectors out, or build one with `atlas build`")
    found = np.full((len(table), points.activations.unit_count), np.nan, np.float32)
    found[~table["image"].isin(points.without).to_numpy()] = points.vectors()
    return as_lists(found)


def told(path: Path, rows: Sequence[int], table: pd.DataFrame, points: Points | None, how: str) -> dict[str, Any]:
    """Return what was written."""
    without = [] if points is None else points.without
    notes = [f"{len(without)} of {len(rows)} images do not decode: their rows have no place"] if without else []
    return {"files": [str(path)], "images": len(rows), "rows": len(table), "notes": notes, "open": how} | (
        {} if points is None else {"layer": points.layer}
    )
