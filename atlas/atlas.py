"""An atlas, opened: its images, layers, vectors, neighbours, layouts and patterns, as tables and arrays."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from atlas.activations.assemble import vectors_of
from atlas.activations.records import Activations, Predictions, Statistics, Vectors
from atlas.data.hashes import file_sha256
from atlas.data.records import SPLITS, Images
from atlas.errors import AtlasError, choose, one_line
from atlas.maps.records import Layout, Neighbours
from atlas.models.records import NetworkRecord
from atlas.patterns.classes import ClassPatterns, class_patterns
from atlas.store import Store, inputs_of

if TYPE_CHECKING:
    from atlas.models.network import Network

R = TypeVar("R")
IMAGE_ID = re.compile(r"[0-9a-f]{16}(-[0-9]+)?")
ROW = re.compile(r"-?[0-9]+")


def open_atlas(path: str | os.PathLike[str]) -> Atlas:
    """Open the atlas in the folder `path`; AtlasError when there is none or it is of another format."""
    return Atlas(path)


def absolute(spec: str, root: Path) -> str:
    """Return a network's spec as it is opened from anywhere: one that names a file or folder is kept relative to `root`."""
    kind, colon, path = spec.rpartition(":") if spec.startswith("atlas:") else ("", "", spec)
    place = root / path
    return f"{kind}{colon}{place}" if os.sep in path and place.exists() else spec


class Atlas:
    """One folder's atlas. Everything is read when it is asked for; nothing builds, and only a new image file needs torch."""

    def __init__(self, path: str | os.PathLike[str]):
        self.store = Store(path)
        self._networks: dict[str, Network] = {}
        self.title: str = self.store.contents().get("title") or self.store.root.name

    def __repr__(self) -> str:
        return f"Atlas({str(self.store.root)!r}: {len(self.image_record)} images, layers {', '.join(self.layers)})"

    # -- records --------------------------------------------------------------------------------------------------------

    @cached_property
    def headers(self) -> dict[str, dict[str, Any]]:
        """record.json of every artifact shown, by name, in the order they were shown."""
        return {name: self.store.header(name) for name in self.store.shown()}

    def names(self, stage: str, **fields: Any) -> list[str]:
        """Return the names of the artifacts of one stage whose fields have the values given."""
        return [
            name
            for name, header in self.headers.items()
            if header["stage"] == stage and all(header["fields"].get(f) == v for f, v in fields.items())
        ]

    def field(self, name: str, field: str) -> Any:
        """Return one plain field of an artifact; AtlasError where its record.json has lost it."""
        try:
            return self.headers[name]["fields"][field]
        except KeyError:
            folder = self.store.path(name)
            raise AtlasError(f"{folder} is damaged (no {field}): remove it and build again") from None

    def inputs(self, name: str, role: str) -> list[str]:
        """Return the names of the artifacts that an artifact was made from in one role."""
        return inputs_of(self.headers[name], role)

    def record(self, kind: type[R], stage: str, **fields: Any) -> R:
        """Return the newest record of one stage with these fields; AtlasError when there is none."""
        names = self.names(stage, **fields)
        if not names:
            of = f" of {fields['layer']}" if "layer" in fields else ""
            raise AtlasError(f"the atlas in {self.store.root} holds no {stage}{of}: build it with `atlas build`")
        return self.store.read(names[-1], kind)

    @cached_property
    def image_record(self) -> Images:
        """The images record."""
        return self.record(Images, "images")

    @cached_property
    def network_record(self) -> NetworkRecord:
        """The record of the network that was added last."""
        return self.record(NetworkRecord, "network")

    @cached_property
    def predictions(self) -> Predictions | None:
        """The predictions, or None for a network that yields features only."""
        return self.record(Predictions, "predictions") if self.names("predictions") else None

    # -- tables ---------------------------------------------------------------------------------------------------------

    def images(self) -> pd.DataFrame:
        """Return one row per image: image_id, path, label, split, the user's columns, prediction, confidence, right."""
        table = self.image_record.table.copy()
        said = self.predictions
        if said is not None:
            names = np.array([*said.map.names, None], object)
            table["prediction"] = names[said.prediction]
            table["confidence"] = said.confidence
            if said.map.complete:
                table["right"] = pd.Series(said.right == 1, dtype="boolean").mask(said.right < 0)
        return table

    @property
    def layers(self) -> list[str]:
        """The layers with vectors, in order of execution."""
        found = {self.field(n, "layer"): self.field(n, "number") for n in self.names("activations")}
        return sorted(found, key=lambda layer: found[layer])

    def layouts(self) -> pd.DataFrame:
        """Return one row per layout: name, method, layers, its quality."""
        rows = [
            {"name": name, "method": f["method"], "layers": " + ".join(f["layers"]), **f["quality"]}
            for name in self.names("layout")
            for f in [self.headers[name]["fields"]]
        ]
        return pd.DataFrame(rows)

    def layout(self, layer: str | None = None, method: str = "umap") -> pd.DataFrame:
        """Return the coordinates of one layout: image (row), x, y, one row per point."""
        layers = [self.layer_name(part) for part in (layer or self.default_layer).split("+")]
        names = self.names("layout", layers=layers, method=method)
        if not names:
            there = self.layouts()[["method", "layers"]].itertuples(index=False) if self.names("layout") else ()
            raise choose("layout", f"{method} of {' + '.join(layers)}", [f"{m} of {of}" for m, of in there])
        record = self.store.read(names[-1], Layout)
        image = np.asarray(self.store.read(self.inputs(names[-1], "activations")[0], Activations).point_image)
        return pd.DataFrame({"image": image, "x": record.xy[:, 0], "y": record.xy[:, 1]})

    # -- one layer --------------------------------------------------------------------------------------------------------

    @property
    def default_layer(self) -> str:
        """The descriptor: the last layer with vectors before the logits, or the only one."""
        layers = self.layers
        if not layers:
            raise AtlasError(f"the atlas in {self.store.root} holds no layer's vectors: build one with `atlas build`")
        outputs = self.network_record.outputs
        wide = [layer for layer in layers if self.field(self.activation_name(layer), "unit_count") != outputs]
        return (wide or layers)[-1]

    def activation_name(self, layer: str | None = None) -> str:
        """Return the name of a layer's activations; an unknown layer raises AtlasError with the closest matches."""
        layer = self.layer_name(layer)
        names = self.names("activations", layer=layer)
        if not names:
            raise choose("layer of this atlas", layer, self.layers)
        return names[-1]

    def layer_name(self, layer: str | int | None = None) -> str:
        """Return a layer's dotted name from its name, or from its number in `atlas layers`; None is the descriptor."""
        if layer is None:
            return self.default_layer
        table = self.network_record.layers
        numbered = table.loc[table["number"].astype(str) == str(layer), "name"]
        return str(numbered.iloc[0]) if len(numbered) and str(layer) not in set(table["name"]) else str(layer)

    def activations(self, layer: str | None = None) -> Activations:
        """Return a layer's activations record."""
        return self.store.read(self.activation_name(layer), Activations)

    def vectors(self, layer: str | None = None) -> Vectors:
        """Return a layer's vectors [point, unit]; rows are read as they are asked for."""
        return vectors_of(self.store, self.activations(layer))

    def statistics(self, layer: str | None = None) -> Statistics:
        """Return a layer's statistics per unit; an unknown layer raises AtlasError with the closest matches."""
        layer = self.layer_name(layer)
        known = [self.field(name, "layer") for name in self.names("statistics")]
        if layer not in known:
            raise choose("layer with statistics", layer, known)
        return self.record(Statistics, "statistics", layer=layer)

    def patterns(self, layer: str | None = None, *, split: str = "auto") -> ClassPatterns:
        """Return mean and standard deviation [class, unit] over a split's correctly classified images.

        `split` is train, held-out, unknown or all; by default held-out where there are such images, else all. A split
        without images raises AtlasError.
        """
        counts = self.image_record.table["split"].value_counts().to_dict()
        if split == "auto":
            split = "held-out" if counts.get("held-out") else "all"
        if split in SPLITS and not counts.get(split):
            there = ", ".join(f"{name} ({count})" for name, count in counts.items())
            raise AtlasError(f"no image is {split}: there are {there}; or take split all")
        return class_patterns(self.statistics(layer), self.image_record.labels, split=None if split == "all" else split)

    # -- neighbours -------------------------------------------------------------------------------------------------------

    def neighbours(self, query: Any, *, layer: str | None = None, k: int = 10) -> pd.DataFrame:
        """Return the k nearest images of `query`: image (row), image_id, path, label, split, prediction, distance.

        `query` is a row, an image_id, an image file, or a vector of the layer. Of several points of one image the
        nearest counts; the queried image itself is left out. The frame's ``attrs`` name layer and metric.
        """
        if k < 1:
            raise AtlasError(f"k is {k}: at least 1 would do")
        name = self.activation_name(layer)
        index, record = self._index(name), self.store.read(name, Activations)
        row = self.find_image(query)
        if row is not None:
            points, distances = self._of_row(name, index, row, k)
        else:
            per_image = -(-len(record) // max(1, len(np.unique(record.point_image))))
            points, distances = self._of_vectors(index, self._query_vectors(query, layer), k, per_image=per_image)
        image = np.asarray(record.point_image)[points]
        found = pd.DataFrame({"image": image, "distance": distances})
        found = found[found["image"] != row].sort_values("distance", kind="stable").drop_duplicates("image").head(k)
        table = self.images()
        columns = [c for c in ("image_id", "path", "label", "split", "prediction") if c in table]
        found = found.join(table[columns], on="image").reset_index(drop=True)
        found.attrs = {"layer": self.layer_name(layer), "metric": index.metric, "row": row}
        return found[["image", *columns, "distance"]]

    def find_image(self, query: Any) -> int | None:
        """Return the row that `query` names by number or image_id, or whose file has the same bytes; else None."""
        if isinstance(query, np.ndarray | list) or hasattr(query, "__array__"):
            return None
        text = str(query)
        rows = np.flatnonzero(self.image_record.table["image_id"] == text)
        if len(rows):  # before a row's number: sixteen digits may well be an image_id
            return int(rows[0])
        if isinstance(query, os.PathLike) or (not ROW.fullmatch(text) and Path(text).is_file()):
            return self._same_bytes(Path(text))
        if ROW.fullmatch(text):
            if not 0 <= int(text) < len(self.image_record):
                raise AtlasError(f"no row {text}: the images are rows 0 to {len(self.image_record) - 1}")
            return int(text)
        if IMAGE_ID.fullmatch(text):
            raise AtlasError(f"no image {text} in this atlas: `atlas show` says what it holds")
        return None

    def _same_bytes(self, file: Path) -> int | None:
        known = self.image_record.table["image_id"].to_numpy()
        rows = np.flatnonzero(known == file_sha256(file)[:16]) if file.is_file() else np.empty(0, int)
        return int(rows[0]) if len(rows) else None

    def _index(self, activations: str) -> Neighbours:
        names = [n for n in self.names("neighbours") if self.inputs(n, "activations") == [activations]]
        if not names:
            raise AtlasError(f"the atlas in {self.store.root} holds no neighbours of that layer: build it again")
        return self.store.read(names[-1], Neighbours)

    def _of_row(self, name: str, index: Neighbours, row: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The kept lists where they are long enough; a search with the image's own vectors where not."""
        record = self.store.read(name, Activations)
        mine = np.flatnonzero(np.asarray(record.point_image) == row)
        if not len(mine):
            raise AtlasError(f"row {row} has no point: {one_line(self.image_record.table['error'].iloc[row])}")
        if len(mine) == 1 and k <= index.indices.shape[1]:
            return np.asarray(index.indices[mine[0]]), np.asarray(index.distances[mine[0]])
        return self._of_vectors(index, vectors_of(self.store, record)[mine], k + 1, per_image=len(mine))

    def _of_vectors(
        self, index: Neighbours, vectors: np.ndarray, k: int, *, per_image: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """The points nearest to each vector, enough of them to hold k images of `per_image` points."""
        from atlas.maps.neighbours import search

        indices, distances = search(index, np.atleast_2d(vectors), min(k * per_image, len(index.indices)))
        return indices.ravel(), distances.ravel()

    def _query_vectors(self, query: Any, layer: str | None) -> np.ndarray:
        if isinstance(query, np.ndarray | list) or hasattr(query, "__array__"):
            return np.asarray(query, np.float32)
        return self.describe(query, layer)[self.layer_name(layer)]

    # -- a new image ------------------------------------------------------------------------------------------------------

    def network(self, of: str | None = None) -> Network:
        """Return the network that made the artifact `of` (default: the one added last), loaded again. Needs torch.

        AtlasError when it is no longer the same, or cannot be opened.
        """
        from atlas.models.network import reload

        name = self.inputs(of, "network")[0] if of else self.names("network")[-1]
        if name not in self._networks:
            record = self.store.read(name, NetworkRecord)
            weights = None if record.weights is None else str(self.store.root / record.weights)
            self._networks[name] = reload(replace(record, weights=weights, spec=absolute(record.spec, self.store.root)))
        return self._networks[name]

    def describe(self, file: str | os.PathLike[str], layer: str | None = None) -> dict[str, np.ndarray]:
        """Return the vectors [point, unit] of an image file in one layer, and its ``logits`` [1, output]. Needs torch.

        The network is the one that made the layer.
        """
        from atlas.activations.extract import describe
        from atlas.data.reading import decode

        path = Path(file)
        if not path.is_file():
            raise AtlasError(f"{one_line(repr(str(file)))} is no row, no image_id of this atlas and no file")
        name = self.activation_name(layer)
        fields = self.headers[name]["fields"]
        return describe(self.network(name), [decode(path)], {fields["layer"]: fields["functional"]})

    def predict(self, query: Any) -> pd.DataFrame:
        """Return what the network says of an image: output, prediction (its name), probability, the best five first.

        `query` is a row, an image_id, an image file, or logits [output]; only a file that is not in the atlas needs torch.
        """
        from atlas.activations.assemble import probabilities

        if self.predictions is None:
            raise AtlasError("this network yields features only: there is nothing to predict")
        row = None if isinstance(query, np.ndarray) else self.find_image(query)
        if row is None:
            logits = query if isinstance(query, np.ndarray) else self.describe(query)["logits"]
            chances = probabilities(np.atleast_2d(logits))[0]
            best = np.argsort(-chances, kind="stable")[:5]
            chances = chances[best]
        else:
            best, chances = self.predictions.top_output[row], self.predictions.top_probability[row]
            best, chances = best[best >= 0], chances[best >= 0]
        names = self.predictions.map.names
        return pd.DataFrame({"output": best, "prediction": [names[b] for b in best], "probability": chances})

    # -- what it is -------------------------------------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        """Return what the atlas holds: title, images, splits, network, accuracy, layers, layouts, as plain values."""
        images, network, said = self.image_record, self.network_record, self.predictions
        return {
            "title": self.title,
            "folder": str(self.store.root),
            "images": images.counts,
            "undecodable": images.table.loc[images.table["error"].notna(), ["path", "error"]].head(20).values.tolist(),
            "precision": next((self.headers[n]["told"].get("precision") for n in self.names("activations")), None),
            "network": {
                "title": network.title,
                "spec": network.spec,
                "parameters": network.parameters,
                "identity": network.identity[:16],
            },
            "class_map": said.map.sentence if said else None,
            "accuracy": said.accuracy if said else {},
            "layers": [
                {
                    k: self.field(self.activation_name(layer), k)
                    for k in ("number", "layer", "functional", "unit_count", "dtype")
                }
                for layer in self.layers
            ],
            "layouts": self.layouts().to_dict("records"),
            "artifacts": [
                {"name": name, "date": header["date"], "seconds": header["seconds"]} for name, header in self.headers.items()
            ],
        }
