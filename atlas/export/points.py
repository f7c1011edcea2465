"""The points of a layer as a table: their images' columns, their places in its layouts, their neighbours, their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.errors import AtlasError, choose, one_line
from atlas.maps.records import Layout, Neighbours

if TYPE_CHECKING:
    import pyarrow as pa

    from atlas.activations.records import Activations
    from atlas.atlas import Atlas


class Points:
    """The points of one layer that lie in some images, in the order of the images, and those of an image in its order."""

    def __init__(self, atlas: Atlas, rows: Sequence[int], layers: Sequence[str] = ()):
        if len(layers) > 1:
            raise AtlasError(f"{len(layers)} layers were asked for: a table is of one, name it with --layer")
        self.atlas, self.rows = atlas, np.asarray(rows)
        self.activations: Activations = atlas.activations(layers[0] if layers else None)
        self.layer = self.activations.layer
        image = np.asarray(self.activations.point_image)
        place = np.full(len(atlas.image_record), -1)
        place[self.rows] = np.arange(len(self.rows))
        chosen = np.flatnonzero(place[image] >= 0)
        self.points = chosen[np.argsort(place[image[chosen]], kind="stable")]
        self.image = image[self.points]
        self.without = [int(row) for row in self.rows[~np.isin(self.rows, image)]]  # they do not decode

    def __len__(self) -> int:
        return len(self.points)

    def layout(self, method: str) -> Layout | None:
        """Return the layer's own newest layout of a method."""
        names = self.atlas.names("layout", layers=[self.layer], method=method)
        return self.atlas.store.read(names[-1], Layout) if names else None

    def methods(self) -> list[str]:
        """The methods of the layer's own layouts, in the order they were made."""
        return list(dict.fromkeys(self.atlas.field(n, "method") for n in self.atlas.names("layout", layers=[self.layer])))

    def chosen(self, method: str | None) -> tuple[str, np.ndarray]:
        """Return a layout's method and the points' places in it [point, 2]; by default UMAP's, or the first there is."""
        there = self.methods()
        if not there:
            raise AtlasError(
                f"layer {one_line(self.layer)} has no layout of its own: lay it out with `atlas build`, or choose another "
                "with --layer"
            )
        wanted = method or ("umap" if "umap" in there else there[0])
        record = self.layout(wanted) if wanted in there else None
        if record is None:
            raise choose(f"layout of {self.layer}", wanted, there)
        return wanted, np.asarray(record.xy)[self.points]

    def places(self) -> dict[str, np.ndarray]:
        """Return ``METHOD_x`` and ``METHOD_y`` of every layout, and of sampled positions where they lie in their image."""
        found: dict[str, np.ndarray] = {}
        if self.activations.spatial:
            yx = np.asarray(self.activations.point_yx)[self.points]
            found |= {"point_y": yx[:, 0], "point_x": yx[:, 1]}
        for method in self.methods():
            xy = self.chosen(method)[1]
            found |= {f"{method}_x": xy[:, 0], f"{method}_y": xy[:, 1]}
        return found

    def vectors(self) -> np.ndarray:
        """Return the points' vectors, float32 [point, unit]."""
        return self.atlas.vectors(self.layer)[self.points].astype(np.float32)

    def neighbours(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return each point's nearest among these points: their places here int64, distances float32, [point, k].

        Those kept where all points are here, in order; of a part, the nearest within it, searched anew with the same metric.
        None where the layer keeps no neighbours, or here is one point only.
        """
        names = self.atlas.names("neighbours", layers=[self.layer])
        if not names or len(self) < 2:
            return None
        record = self.atlas.store.read(names[-1], Neighbours)
        if not np.array_equal(self.points, np.arange(len(self.activations))):
            from atlas.maps.neighbours import build_neighbours

            k = min(record.indices.shape[1], len(self) - 1)
            record = build_neighbours(self.vectors(), layers=[self.layer], metric=record.metric, k=k)
        return np.asarray(record.indices).astype(np.int64), np.asarray(record.distances)


def image_columns(atlas: Atlas, taken: Sequence[str] = ()) -> pd.DataFrame:
    """Return `Atlas.images()`; a user's column whose name is `taken` is called ``user.NAME``."""
    table = atlas.images()
    table.attrs = {}
    return table.rename(columns={name: f"user.{name}" for name in taken if name in table})


def as_lists(values: np.ndarray) -> pa.Array:
    """Return float32 [row, value] as an Arrow column of lists, without a copy of each."""
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(values).ravel())
    return pa.ListArray.from_arrays(np.arange(0, values.size + 1, values.shape[1], dtype=np.int32), flat)


def columns_of(table: pd.DataFrame, more: dict[str, Any]) -> pa.Table:
    """Return a frame and further Arrow columns as one Arrow table."""
    import pyarrow as pa

    found = pa.Table.from_pandas(table, preserve_index=False)
    for name, column in more.items():
        found = found.append_column(name, column)
    return found


def left_out(points: Points) -> list[str]:
    """Return in words the images that have no point."""
    count = len(points.without)
    return [f"left out: {count} of {len(points.rows)} images, which do not decode"] if count else []
