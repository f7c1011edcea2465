"""The Parquet file that the `embedding-atlas` command opens: places, neighbours and pictures, nothing left to compute."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from atlas.errors import AtlasError
from atlas.export.points import Points, as_lists, columns_of, image_columns, left_out
from atlas.export.rows import whole
from atlas.pages.sheets import Cells

if TYPE_CHECKING:
    import pyarrow as pa

    from atlas.atlas import Atlas

OURS = ("projection_x", "projection_y", "neighbors", "thumbnail", "vector", "row", "point_y", "point_x")
BLOCK = 1000  # thumbnails in memory at a time


def write(
    atlas: Atlas,
    path: Path,
    rows: Sequence[int],
    *,
    layers: Sequence[str] = (),
    method: str | None = None,
    vectors: bool = False,
) -> dict[str, Any]:
    """Write the points of one layer for embedding-atlas (format as of its 0.22).

    Columns: ``row`` (of the image), those of `Atlas.images()`, ``projection_x`` and ``projection_y`` of one layout,
    ``neighbors`` ({ids, distances}, ids numbering the rows of this file), ``thumbnail`` ({bytes}: PNG) and, if asked,
    ``vector``.
    """
    import pyarrow.parquet as pq

    points = Points(atlas, rows, layers)
    if not len(points):
        raise AtlasError("none of these images decodes: there is no point to write")
    of, xy = points.chosen(method)
    table = image_columns(atlas, OURS).iloc[points.image].reset_index(drop=True)
    table.insert(0, "row", points.image)
    table["projection_x"], table["projection_y"] = xy[:, 0], xy[:, 1]
    if points.activations.spatial:
        table[["point_y", "point_x"]] = np.asarray(points.activations.point_yx)[points.points]
    found = neighbours(points)
    more = {"thumbnail": thumbnails(atlas, points.image)} | ({} if found is None else {"neighbors": found})
    more |= {"vector": as_lists(points.vectors())} if vectors else {}
    with whole(path) as beside:
        pq.write_table(columns_of(table, more), beside)
    near = "" if found is None else " --neighbors neighbors"
    how = f"embedding-atlas {shlex.quote(str(path))} --x projection_x --y projection_y{near} --image thumbnail"
    missing = [] if found is not None else [f"layer {points.layer} has no neighbours to write: the column is left out"]
    return {
        "files": [str(path)], "images": len(rows) - len(points.without), "rows": len(table), "layer": points.layer,
        "layout": of, "notes": left_out(points) + missing, "open": how,
    }  # fmt: skip


def neighbours(points: Points) -> pa.Array | None:
    """Return the column of neighbours, all lists of one length as its PageRank wants them; None where none are kept."""
    import pyarrow as pa

    kept = points.neighbours()
    if kept is None:
        return None
    return pa.StructArray.from_arrays([as_lists(found) for found in kept], ["ids", "distances"])


def thumbnails(atlas: Atlas, rows: np.ndarray) -> pa.Array:
    """Return the column of the images' thumbnails, as Hugging Face's datasets have pictures: {bytes}."""
    import pyarrow as pa

    bodies = pa.array(_pngs(Cells(atlas.image_record, rows), rows), pa.binary())
    return pa.StructArray.from_arrays([bodies], ["bytes"])


def _pngs(cells: Cells, rows: np.ndarray) -> Iterator[bytes]:
    for start in range(0, len(rows), BLOCK):
        for pixels in cells.take(rows[start : start + BLOCK]):
            body = io.BytesIO()
            grey = (pixels[..., :1] == pixels).all()
            Image.fromarray(pixels[..., 0] if grey else pixels).save(body, "PNG")
            yield body.getvalue()
