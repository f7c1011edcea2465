"""A part of an atlas as a report shows it: some images, some layers, every record as if there were no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from atlas.activations.records import Activations, Predictions, Statistics
from atlas.data.records import Images
from atlas.errors import AtlasError, choose
from atlas.maps.records import Cells, Graph, Layout, Neighbours
from atlas.maps.volume import Volumes
from atlas.pages.kept import kept
from atlas.pages.view import Space, View
from atlas.patterns.leaks import Leaks
from atlas.patterns.suspects import Suspects


class Part(View):
    """The view of some images of an atlas and of some of its layers; rows and points are numbered anew, in their order.

    `rows` int [kept], ascending, are the images kept (None: all). Statistics, spreads and accuracies stay those of all
    images; a neighbour that is not among the kept is left out of the lists.
    """

    def __init__(self, root: Path, *, rows: np.ndarray | None = None, layers: Sequence[str] = ()):
        super().__init__(root)
        self.whole = len(self.images)
        self.rows = np.arange(self.whole) if rows is None else np.asarray(rows)
        self.place = np.full(self.whole + 1, -1, np.int64)  # row → row here; the last stands for -1
        self.place[self.rows] = np.arange(len(self.rows))
        self.spaces = wanted_spaces(self.spaces, layers)
        if len(self.rows) < self.whole:
            self.images = fewer_images(self.images, self.rows, self.place)

    @kept
    def read(self, name: str, kind: type) -> Any:
        """Return the record `name` of the images kept, read once."""
        record = super().read(name, kind)
        return record if len(self.rows) == self.whole else self._fewer(name, record)

    def _fewer(self, name: str, record: Any) -> Any:
        if isinstance(record, Predictions):
            return only(record, self.rows, "prediction", "confidence", "top_output", "top_probability", "right")
        if isinstance(record, Suspects):
            return only(record, self.rows, "score", "agreement", "usual", "probability")
        if isinstance(record, Layout):
            return only(record, self.points(self.inputs(name, "activations")[0]), *POINTWISE)
        if isinstance(record, Neighbours):
            return fewer_neighbours(record, self.points(self.inputs(name, "activations")[0]))
        if isinstance(record, Activations):
            return self._fewer_points(name, record)
        if isinstance(record, Cells):
            return fewer_points_of_cells(record, self.points(self.inputs(name, "activations")[0]))
        if isinstance(record, Graph):
            return fewer_nodes(record, self.points(self.inputs(name, "activations")[0]))
        if isinstance(record, Volumes):
            return self._fewer_volumes(record)
        if isinstance(record, Statistics):
            return replace(record, top_image=self.place[record.top_image].astype(np.int32))
        return self._fewer_pairs(record) if isinstance(record, Leaks) else record

    def _fewer_volumes(self, record: Volumes) -> Volumes:
        image = self.place[np.asarray(record.image)].astype(np.int32)
        return replace(only(record, np.flatnonzero(image >= 0), "values", "channel", "low", "high"), image=image[image >= 0])

    def _fewer_points(self, name: str, record: Activations) -> Activations:
        points = self.points(name)
        image = self.place[np.asarray(record.point_image)[points]].astype(np.int32)
        yx = np.asarray(record.point_yx)
        units = np.asarray(record.units)[:, points]
        return replace(record, point_image=image, units=units, point_yx=yx[points] if len(yx) else yx)

    def _fewer_pairs(self, record: Leaks) -> Leaks:
        pairs = record.pairs.assign(**{side: self.place[record.pairs[side].to_numpy(int)] for side in ("train", "held_out")})
        return replace(record, pairs=pairs[(pairs["train"] >= 0) & (pairs["held_out"] >= 0)].reset_index(drop=True))

    @kept
    def points(self, activations: str) -> np.ndarray:
        """Return which points of a layer belong to the images kept, by their number among all: int64 [kept point]."""
        whole: Activations = super().read(activations, Activations)
        return np.flatnonzero(self.place[np.asarray(whole.point_image)] >= 0)

    def kept(self, space: Space) -> int:
        """Return how many neighbours each point of a layer has at most: 0 where none were kept."""
        return int(self.read(space.neighbours, Neighbours).indices.shape[1]) if space.neighbours else 0


POINTWISE = ("xy", "confidence", "recall", "trust", "continuity")  # the arrays of a layout that have a value per point


def only(record: Any, rows: np.ndarray, *fields: str) -> Any:
    """Return a record whose `fields` hold only `rows` of them; one that was not computed stays empty."""
    arrays = {field: np.asarray(getattr(record, field)) for field in fields}
    return replace(record, **{field: array[rows] if len(array) else array for field, array in arrays.items()})


def fewer_images(images: Images, rows: np.ndarray, place: np.ndarray) -> Images:
    """Return the images record of some rows; what it counts as available are all there were."""
    table = images.table.iloc[rows].reset_index(drop=True)
    table["duplicate_of"] = place[table["duplicate_of"].to_numpy(np.int64)]
    available = max(len(images), int(images.counts.get("available") or 0))
    return replace(images, table=table, counts={**images.counts, "images": len(rows), "available": available})


def fewer_neighbours(record: Neighbours, points: np.ndarray) -> Neighbours:
    """Return the lists of some points, of which those others that are kept move up; places left over hold -1."""
    place = np.full(len(record.indices) + 1, -1, np.int32)
    place[points] = np.arange(len(points), dtype=np.int32)
    indices = place[np.asarray(record.indices)[points]]
    order = np.argsort(indices < 0, axis=1, kind="stable")
    distances = np.where(indices < 0, np.float32(np.inf), np.asarray(record.distances)[points])
    return replace(record, indices=np.take_along_axis(indices, order, 1), distances=np.take_along_axis(distances, order, 1))


def fewer_points_of_cells(record: Cells, points: np.ndarray) -> Cells:
    """Return cells that know only some points; what was counted and meant over all of them stays."""
    of_points = np.asarray(record.point_cell)
    place = np.full(of_points.shape[1] + 1, -1, np.int32)
    place[points] = np.arange(len(points), dtype=np.int32)
    return replace(record, point_cell=of_points[:, points], representatives=place[np.asarray(record.representatives)])


def fewer_nodes(record: Graph, points: np.ndarray) -> Graph:
    """Return the graph of some of its layer's points; what was measured over all of them stays, communities too."""
    nodes = np.flatnonzero(np.isin(record.points, points))
    place = np.full(len(record.points), -1, np.int32)
    place[nodes] = np.arange(len(nodes), dtype=np.int32)
    edges = place[np.asarray(record.edges)]
    kept = (edges >= 0).all(axis=1)
    fewer = only(record, nodes, "occurrence", "bad", "community", "component", "xy")
    own = np.searchsorted(points, np.asarray(record.points)[nodes]).astype(np.int32)
    return replace(fewer, points=own, edges=edges[kept], distance=np.asarray(record.distance)[kept])


def wanted_spaces(spaces: list[Space], layers: Sequence[str]) -> list[Space]:
    """Return the spaces called by name, ``fc`` or ``conv+fc``, in their own order; an unknown name raises AtlasError."""
    known = {space.id: space for space in spaces}
    for layer in layers:
        if layer not in known:
            raise choose("laid-out layer of this atlas", layer, list(known))
    return [space for space in spaces if not layers or space.id in layers]


def rows_of_split(view: View, split: str | None) -> np.ndarray:
    """Return the rows of one split, or of all images for None: int64 [image]; a split without images raises AtlasError."""
    splits = view.images.table["split"].astype(str)
    if split is None:
        return np.arange(len(splits))
    found = np.flatnonzero(splits == split)
    if not len(found):
        raise AtlasError(f"no image is {split}: there are {', '.join(f'{n} {s}' for s, n in splits.value_counts().items())}")
    return found
