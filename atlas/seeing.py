"""What an atlas makes of one image: what its network says of it, its nearest images in a layer, its place on the maps.

Used in a caller's own process by `Atlas.place`, and by the worker. An image whose very bytes the atlas holds is answered
from its records, without torch.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.activations.assemble import probabilities, vectors_of
from atlas.activations.records import Activations, Predictions, Vectors
from atlas.data.decoding import look
from atlas.data.reading import Reader, open_reader
from atlas.errors import AtlasError, choose, one_line
from atlas.files import is_file
from atlas.maps.records import METHOD_NAMES, Layout, Neighbours
from atlas.models.records import NetworkRecord

if TYPE_CHECKING:
    from PIL.Image import Image

    from atlas.atlas import Atlas
    from atlas.maps.blocks import Rows

THUMBNAIL = 256  # pixels of the longer side at most
BEST = 5  # predictions told
FOR_PLACES = 24  # neighbours: the maps' methods read fifteen and a few to spare
KNOWN = ("image_id", "path", "label", "split")


class Index:
    """An index that remembers its last search: one serves an image's list of neighbours and its place on every map."""

    def __init__(self, search: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]):
        self._search = search
        self._queries, self._k = b"", 0
        self._found: tuple[np.ndarray, np.ndarray] = (np.empty(0), np.empty(0))

    def search(self, queries: np.ndarray, k: int, /) -> tuple[np.ndarray, np.ndarray]:
        """Return the `k` nearest points of each query, nearest first: indices and distances [query, k]."""
        key = np.ascontiguousarray(queries, np.float32).tobytes()
        if key != self._queries or k > self._k:
            self._found = self._search(queries, k)
            self._queries, self._k = key, k
        indices, distances = self._found
        return indices[:, :k], distances[:, :k]


@dataclass(frozen=True)
class Space:
    """One layer's points, or those of several layers jointly, kept open for the next image."""

    atlas: Atlas
    activations: tuple[str, ...]
    _read: dict[str, Layout] = field(default_factory=dict)

    @cached_property
    def records(self) -> list[Activations]:
        """The activations of each layer."""
        return [self.atlas.store.read(name, Activations) for name in self.activations]

    @cached_property
    def network(self) -> str:
        """The name of the network that made the layers; AtlasError where several did."""
        networks = {name for layer in self.activations for name in self.atlas.inputs(layer, "network")}
        if len(networks) != 1:
            raise AtlasError(f"{self.title} are layers of {len(networks)} networks: ask of the layers of one")
        return networks.pop()

    @cached_property
    def network_record(self) -> NetworkRecord:
        """The record of the network that made the layers."""
        return self.atlas.store.read(self.network, NetworkRecord)

    @property
    def recorded(self) -> list[str]:
        """The layers of that network whose vectors the atlas holds."""
        return self.atlas.of_network(self.network).layers

    @property
    def by_name(self) -> dict[str, Activations]:
        """The activations of each layer by the artifact's name."""
        return dict(zip(self.activations, self.records, strict=True))

    @property
    def title(self) -> str:
        """The layers in words."""
        return " + ".join(record.layer for record in self.records)

    @cached_property
    def point_image(self) -> np.ndarray:
        """Row of every point's image: int32 [point]."""
        return np.asarray(self.records[0].point_image)

    @cached_property
    def per_image(self) -> int:
        """How many points an image has."""
        return -(-len(self.point_image) // max(1, len(np.unique(self.point_image))))

    @cached_property
    def blocks(self) -> list[Vectors]:
        """Each layer's vectors [point, unit]."""
        return [vectors_of(self.atlas.store, record) for record in self.records]

    @cached_property
    def vectors(self) -> Rows:
        """The vectors [point, unit] that the neighbours and the maps were made from."""
        return self.joined(self.blocks)

    @cached_property
    def scales(self) -> np.ndarray:
        """What each layer's vectors are divided by where several are joined: as the newest map of them has it."""
        from atlas.maps.joint import scales_of

        return self.layout(list(self.layouts)[-1]).scales if self.layouts else scales_of(self.blocks)

    def joined(self, blocks: Sequence[Rows]) -> Rows:
        """Return vectors of each layer as one array; those of a single layer as they are."""
        from atlas.maps.joint import join

        return blocks[0] if len(blocks) == 1 else join(blocks, scales=self.scales)

    @cached_property
    def neighbours(self) -> Neighbours:
        """The layer's lists; AtlasError where there are none."""
        names = self._made_of_these("neighbours")
        if not names:
            raise AtlasError(f"the atlas in {self.atlas.store.root} holds no neighbours of {self.title}: build it again")
        return self.atlas.store.read(names[-1], Neighbours)

    @cached_property
    def index(self) -> Index:
        """The opened index of the layer's points."""
        from atlas.maps.neighbours import open_index

        return Index(open_index(self.neighbours, self.vectors).search)

    @cached_property
    def layouts(self) -> dict[str, str]:
        """The method of each layout of these points, by its name."""
        return {name: self.atlas.field(name, "method") for name in self._made_of_these("layout")}

    def layout(self, name: str) -> Layout:
        """Return one layout, read once."""
        if name not in self._read:
            self._read[name] = self.atlas.store.read(name, Layout)
        return self._read[name]

    @cached_property
    def predictions(self) -> Predictions | None:
        """What the network says of the atlas's images, or None for a network of features only."""
        names = [n for n in self.atlas.names("predictions") if self.network in self.atlas.inputs(n, "network")]
        return self.atlas.store.read(names[-1], Predictions) if names else None

    def _made_of_these(self, stage: str) -> list[str]:
        return [n for n in self.atlas.names(stage) if tuple(self.atlas.inputs(n, "activations")) == self.activations]

    def of_row(self, row: int) -> np.ndarray:
        """Return the points of an image of the atlas; AtlasError where it has none."""
        points = np.flatnonzero(self.point_image == row)
        if not len(points):
            reason = one_line(self.atlas.image_record.table["error"].iloc[row])
            raise AtlasError(f"row {row} has no point in {self.title}: {reason}; ask for another row")
        return points


class Seeing:
    """Sees images one by one for one opened atlas; what an image needs is opened once."""

    def __init__(self, atlas: Atlas):
        self.atlas = atlas
        self._spaces: dict[tuple[str, ...], Space] = {}

    def see(
        self,
        row: int | None,
        picture: Image,
        space: Space,
        *,
        k: int = 10,
        method: str | None = None,
        vectors: bool = False,
    ) -> dict[str, Any]:
        """Return what is to be told of an image, as plain values; `row` is its own where the atlas holds its bytes.

        ``predictions`` the best five; ``neighbours`` the `k` nearest images of `space` and ``points`` their points;
        ``places`` where it stands in each layout (of one `method` or of all): x, y, confidence and far per point. A
        confidence is None where the point was laid out, not placed. With `vectors` a new image's first vector in each layer
        is told under ``vectors``, by the name of the activations. A new image needs torch.
        """
        layouts = self._layouts(space, method)
        own_vectors: dict[str, list[float]] = {}
        if row is None:
            found = self.described(picture, space)
            own_vectors = {name: _first(found[record.layer]) for name, record in space.by_name.items()} if vectors else {}
            described, logits = self._joined(found, space)
            points, distances = self.nearest(space, described, k)
            places = [self._told(space, name, partial(_placed, space=space, vectors=described)) for name in layouts]
        else:
            own, logits = space.of_row(row), None
            points, distances = self.nearest_of_own(space, own, k)
            places = [self._told(space, name, partial(_standing, own=own)) for name in layouts]
        nearest = one_each(points, distances, space.point_image[points], row, k)
        table = self.atlas.image_record.table
        return {
            "row": row,
            **{name: None if row is None else _plain(table[name].iloc[row]) for name in KNOWN},
            "layer": space.title,
            "metric": space.neighbours.metric,
            "predictions": self._predictions(space, row, logits),
            "places": places,
            "note": "" if len(nearest) == k else f"{len(nearest)} of the {k} asked for: there are no others",
            "points": [point for point, _, _ in nearest],
            **({"vectors": own_vectors} if vectors else {}),
            "neighbours": [self._neighbour(space, image, distance) for _, image, distance in nearest],
        }

    # -- the image --------------------------------------------------------------------------------------------------------

    def decoded(self, source: Any, name: str) -> Image:
        """Return the image in a file or its bytes; AtlasError with the reason where it does not decode."""
        seen = look(source)
        if seen.image is None:
            raise AtlasError(f"{one_line(name)} does not decode: {seen.error}; give another image")
        return seen.image

    def picture(self, row: int) -> Image:
        """Return an image of the atlas, read again; AtlasError where there is none, or its source has gone."""
        count = len(self.atlas.image_record)
        if not 0 <= row < count:
            raise AtlasError(f"no row {row}: the images are rows 0 to {count - 1}")
        return self._reader.image(row)

    def any_picture(self, image: Any, row: int | None) -> Image:
        """Return the image of a row, or where that is None of the file `image`; AtlasError where it is neither."""
        if row is not None:
            return self.picture(row)
        if not is_file(Path(str(image))):
            raise AtlasError(
                f"{one_line(repr(str(image)))} is no row, no image_id of this atlas and no file: give a row from 0 to "
                f"{len(self.atlas.image_record) - 1}, or an image file"
            )
        return self.decoded(Path(str(image)), str(image))

    @cached_property
    def _reader(self) -> Reader:
        return open_reader(self.atlas.image_record, self.atlas.store.root)

    def thumbnail(self, picture: Image) -> bytes:
        """Return the image as it was seen, at most THUMBNAIL pixels wide or high: PNG bytes."""
        small, body = picture.copy(), io.BytesIO()
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        small.save(body, "PNG")
        return body.getvalue()

    def row_of(self, data: bytes) -> int | None:
        """Return the row of the image whose file has these bytes, or None."""
        found = np.flatnonzero(self.atlas.image_record.table["image_id"] == hashlib.sha256(data).hexdigest()[:16])
        return int(found[0]) if len(found) else None

    # -- the space --------------------------------------------------------------------------------------------------------

    def space(self, layer: str | None = None, activations: Sequence[str] = (), *, network: str | int | None = None) -> Space:
        """Return the space of a layer, of several joined by ``+``, or of activations by name; AtlasError for others.

        Activations name their network themselves; of a layer it is `network`, or the one that the atlas means.
        """
        gone = [name for name in activations if name not in self.atlas.headers]
        if gone:
            raise AtlasError(f"the atlas has changed and does not show {one_line(gone[0], 60)} any more: open it again")
        member = self.atlas.of_network(self.atlas.network_of(activations[0]) if activations else network)
        names = tuple(activations) or tuple(member.activation_name(part) for part in (layer.split("+") if layer else [None]))
        if names not in self._spaces:
            self._spaces[names] = Space(member, names)
        return self._spaces[names]

    def describe(self, picture: Image, space: Space) -> tuple[np.ndarray, np.ndarray | None]:
        """Return a new image's vectors [point, unit] in `space`, and its logits [output] or None. Needs torch."""
        return self._joined(self.described(picture, space), space)

    def described(self, picture: Image, space: Space) -> dict[str, np.ndarray]:
        """Return a new image's own vectors [point, unit] by layer, and ``logits`` [1, output]. Needs torch."""
        from atlas.activations.extract import describe

        wanted = {record.layer: record.functional for record in space.records}
        return describe(space.atlas.network(space.activations[0]), [picture], wanted)

    def _joined(self, found: dict[str, np.ndarray], space: Space) -> tuple[np.ndarray, np.ndarray | None]:
        vectors = np.asarray(space.joined([found[record.layer] for record in space.records]), np.float32)
        return vectors, found["logits"][0] if "logits" in found else None

    def _layouts(self, space: Space, method: str | None) -> list[str]:
        found = [name for name, of in space.layouts.items() if method in (None, of)]
        if method is not None and not found:
            raise choose(f"layout of {space.title}", method, dict.fromkeys(space.layouts.values()))
        return found

    # -- what is told -----------------------------------------------------------------------------------------------------

    def nearest(self, space: Space, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The points nearest to each vector, enough of them to hold k other images."""
        wanted, count = k * space.per_image, len(space.point_image)
        space.index.search(vectors, min(max(wanted, FOR_PLACES), count))  # what the maps ask for next is in it
        points, distances = space.index.search(vectors, min(wanted, count))
        return points.ravel(), distances.ravel()

    def nearest_of_own(self, space: Space, own: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The kept lists where they are long enough; a search with the image's own vectors where not."""
        lists = space.neighbours
        if len(own) == 1 and k <= lists.indices.shape[1]:
            return np.asarray(lists.indices[own[0]]), np.asarray(lists.distances[own[0]])
        return self.nearest(space, np.asarray(space.vectors[own], np.float32), k + 1)

    def _neighbour(self, space: Space, image: int, distance: float) -> dict[str, Any]:
        """One image near the one seen: its row, what is known of it, what the network said of it, its distance."""
        said, table = space.predictions, self.atlas.image_record.table
        found: dict[str, Any] = {"image": image, **{name: _plain(table[name].iat[image]) for name in KNOWN}}
        if said is not None:
            output = int(said.prediction[image])
            found["prediction"] = said.map.names[output] if output >= 0 else None
        return {**found, "distance": distance}

    def _predictions(self, space: Space, row: int | None, logits: np.ndarray | None) -> list[dict[str, Any]]:
        """The best outputs first: output, prediction (its name), probability."""
        said = space.predictions
        if said is None or (row is None and logits is None):
            return []
        if row is not None:
            outputs, shares = said.top_output[row], said.top_probability[row]
        else:
            chances = probabilities(np.atleast_2d(np.asarray(logits)))[0]
            outputs = np.argsort(-chances, kind="stable")[:BEST]
            shares = chances[outputs]
        names = said.map.names
        pairs = zip(outputs.tolist(), shares.tolist(), strict=True)
        return [{"output": o, "prediction": names[o], "probability": p} for o, p in pairs if o >= 0 and math.isfinite(p)]

    def _told(self, space: Space, name: str, where: Callable[[Layout], dict[str, Any]]) -> dict[str, Any]:
        """Where points stand in one layout, or why that cannot be said: one layout that is damaged spoils no other."""
        method = space.layouts[name]
        told = {"layout": name, "method": method, "title": METHOD_NAMES.get(method, method)}
        try:
            return told | where(space.layout(name))
        except AtlasError as reason:
            return told | {"error": str(reason)}


def _placed(layout: Layout, *, space: Space, vectors: np.ndarray) -> dict[str, Any]:
    """Where new points are placed."""
    from atlas.maps.place import FAR, place

    found = place(layout, space.index, space.vectors, vectors)
    note = FAR if found.far.any() else ""
    return _coordinates(found.xy) | {"confidence": found.confidence.tolist(), "far": found.far.tolist(), "note": note}


def _standing(layout: Layout, *, own: np.ndarray) -> dict[str, Any]:
    """Where points of the atlas stand."""
    kept = [c if math.isfinite(c) else None for c in layout.confidence[own].tolist()]
    return _coordinates(layout.xy[own]) | {"confidence": kept, "far": [False] * len(own), "note": ""}


def one_each(
    points: np.ndarray, distances: np.ndarray, images: np.ndarray, row: int | None, k: int
) -> list[tuple[int, int, float]]:
    """Return the nearest points of `k` images, nearest first, none of them of `row`: point, image, distance."""
    order = np.argsort(distances, kind="stable")
    taken: dict[int, tuple[int, int, float]] = {}
    for point, image, distance in zip(*(part[order].tolist() for part in (points, images, distances)), strict=True):
        if point >= 0 and image != row and len(taken) < k:  # -1: an approximate search found fewer
            taken.setdefault(image, (point, image, distance))
    return list(taken.values())


def _first(vectors: np.ndarray) -> list[float]:
    """Return the first vector [unit] of an image as plain numbers; what is not finite is 0, as JSON has no such number."""
    return [float(f"{value:.6g}") for value in np.nan_to_num(vectors[0], posinf=0.0, neginf=0.0).tolist()]


def _coordinates(xy: np.ndarray) -> dict[str, list[float]]:
    x, y = np.asarray(xy, np.float64).T.tolist()
    return {"x": x, "y": y}


def _plain(value: Any) -> str | None:
    return None if value is None or pd.isna(value) else str(value)
