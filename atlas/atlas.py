"""An atlas, opened: its images, layers, vectors, neighbours, layouts and patterns, as tables and arrays."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas import across, argued, notes, truth
from atlas.activations.assemble import vectors_of
from atlas.activations.records import Activations, Statistics, Vectors
from atlas.data.hashes import file_sha256
from atlas.data.records import SPLITS
from atlas.errors import AtlasError, choose, one_line
from atlas.files import exists, is_file
from atlas.holdings import Holdings
from atlas.maps.records import Layout
from atlas.models.records import NetworkRecord
from atlas.patterns.blocks import BlockPatterns
from atlas.patterns.classes import ClassPatterns, class_patterns
from atlas.seeing import Seeing, one_each

if TYPE_CHECKING:
    import xarray as xr

    from atlas.breaking import Inside
    from atlas.maps.records import Graph
    from atlas.models.network import Network
    from atlas.patterns.selectivity import Selectivity
    from atlas.preferred.records import Preferred
    from atlas.progress import Progress
    from atlas.propagating import Propagation
    from atlas.serving import Shown

IMAGE_ID = re.compile(r"[0-9a-f]{16}(-[0-9]+)?")
ROW = re.compile(r"-?[0-9]{1,15}")  # sixteen digits are an image_id


def open_atlas(path: str | os.PathLike[str], *, network: str | int | None = None) -> Atlas:
    """Open the atlas in the folder `path`; AtlasError when there is none or it is of another format.

    Of several networks, `network` says whose results are meant: its title, its spec, or its number in `Atlas.networks()`;
    by default the one added last.
    """
    return Atlas(path, network=network)


def absolute(spec: str, root: Path) -> str:
    """Return a network's spec as it is opened from anywhere: one that names a file or folder is kept relative to `root`."""
    kind, colon, path = spec.rpartition(":") if spec.startswith("atlas:") else ("", "", spec)
    place = root / path
    return f"{kind}{colon}{place}" if os.sep in path and exists(place) else spec


class Atlas(Holdings):
    """One folder's atlas. Everything is read when it is asked for; nothing builds, and only a new image file needs torch."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        network: str | int | None = None,
        networks: dict[str, Network] | None = None,
    ):
        super().__init__(path, network=network)
        self._networks = {} if networks is None else networks  # by name, those loaded so far

    def __repr__(self) -> str:
        return f"Atlas({str(self.store.root)!r}: {len(self.image_record)} images, layers {', '.join(self.layers)})"

    def of_network(self, network: str | int | None) -> Atlas:
        """Return the atlas as one of its networks has it: itself for the network that is meant, or for None."""
        name = self.meant if network is None else self.find_network(network)
        return self if name == self.meant else Atlas(self.store.root, network=name, networks=self._networks)

    # -- tables ---------------------------------------------------------------------------------------------------------

    def images(self, note: str | None = None) -> pd.DataFrame:
        """Return one row per image: image_id, path, label, split, the user's columns, prediction, confidence, right.

        `note` leaves those of a selection that was kept in the explorer, by its name or id: AtlasError where there is none.
        """
        table = self.image_record.table.copy()
        said = self.predictions
        if said is not None:
            names = np.array([*said.map.names, None], object)
            table["prediction"] = names[said.prediction]
            table["confidence"] = said.confidence
            if said.map.complete:
                table["right"] = pd.Series(said.right == 1, dtype="boolean").mask(said.right < 0)
        return table if note is None else table[table["image_id"].isin(notes.find(self.store.root, note).image_ids)]

    def notes(self) -> pd.DataFrame:
        """Return one row per selection kept in the explorer, the newest first: id, name, date, filter, images, gone.

        `gone` counts those of its images that the atlas has no longer; the frame's ``attrs["wrong"]`` has a sentence for
        each file that is no note.
        """
        there = set(self.image_record.table["image_id"])
        found, wrong = notes.read_all(self.store.root)
        rows = [
            [note.id, note.name, note.date, note.filter, len(note.image_ids), len(set(note.image_ids) - there)]
            for note in found
        ]
        table = pd.DataFrame(rows, columns=["id", "name", "date", "filter", "images", "gone"])
        table.attrs = {"wrong": wrong}
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
        """Return the coordinates of one layout: image (row), x, y, confidence, one row per point.

        The confidence, 0 to 1, is that of a point placed later among the others; NaN for one that was laid out.
        """
        record, image = self.layout_record(layer, method)
        places = {"x": record.xy[:, 0], "y": record.xy[:, 1], "confidence": record.confidence}
        return pd.DataFrame({"image": image, **places})

    def layout_record(self, layer: str | None = None, method: str = "umap") -> tuple[Layout, np.ndarray]:
        """Return one layout's record and the image (row) of each of its points; an unknown layout raises AtlasError."""
        layers = [self.layer_name(part) for part in (layer or self.default_layer).split("+")]
        names = self.names("layout", layers=layers, method=method)
        if not names:
            there = self.layouts()[["method", "layers"]].itertuples(index=False) if self.names("layout") else ()
            raise choose("layout", f"{method} of {' + '.join(layers)}", [f"{m} of {of}" for m, of in there])
        record = self.store.read(names[-1], Layout)
        return record, np.asarray(self.store.read(self.inputs(names[-1], "activations")[0], Activations).point_image)

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
            raise self._elsewhere(layer) or choose("layer of this atlas", layer, self.layers)
        return names[-1]

    def _elsewhere(self, layer: str) -> AtlasError | None:
        """Return the error for a layer of another network; None where no network has it."""
        table = self.networks()
        others = table[[layer in layers.split(", ") for layers in table["layers"]]]
        if others.empty:
            return None
        number, title = others.iloc[0][["number", "title"]]
        return AtlasError(
            f"{one_line(layer)} is a layer of network {number} ({one_line(title)}): ask for it with --network {number}, "
            f"or network={number}"
        )

    def layer_name(self, layer: str | int | None = None) -> str:
        """Return a layer's dotted name from its name, or from its number in `atlas layers`; None is the descriptor.

        Where a text like "3" is the name of one layer and the number of another it is the name; "number:3" is the number.
        """
        if layer is None:
            return self.default_layer
        table, text = self.network_record.layers, str(layer)
        numbered = table.loc[table["number"].astype(str) == text.removeprefix("number:"), "name"]
        return str(numbered.iloc[0]) if len(numbered) and text not in set(table["name"]) else text

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
        return class_patterns(self.statistics(layer), self.image_record.labels, split=self._split(split))

    def patterns_across(self, *, split: str = "auto") -> BlockPatterns:
        """Return the class patterns of the most layers of one width side by side: mean and std [class, block, unit].

        `split` as for `patterns`. AtlasError where no two layers with statistics are equally wide.
        """
        return across.patterns_across(self, self._split(split))

    def _split(self, split: str) -> str | None:
        """Return the split that is meant, None for all images."""
        counts = self.image_record.table["split"].value_counts().to_dict()
        if split == "auto":
            split = "held-out" if counts.get("held-out") else "all"
        if split in SPLITS and not counts.get(split):
            there = ", ".join(f"{name} ({count})" for name, count in counts.items())
            raise AtlasError(f"no image is {split}: there are {there}; or take split all")
        return None if split == "all" else split

    # -- neighbours -------------------------------------------------------------------------------------------------------

    def neighbours(self, query: Any, *, layer: str | None = None, k: int = 10) -> pd.DataFrame:
        """Return the k nearest images of `query`: image (row), image_id, path, label, split, prediction, distance.

        `query` is a row, an image_id, an image file, or a vector of the layer. Of several points of one image the
        nearest counts; the queried image itself is left out. The frame's ``attrs`` name layer and metric.
        """
        if k < 1:
            raise AtlasError(f"k is {k}: at least 1 would do")
        space, row = self.seeing.space(layer), self.find_image(query)
        if row is None:
            is_vector = isinstance(query, np.ndarray | list) or hasattr(query, "__array__")
            vectors = np.asarray(query, np.float32) if is_vector else self.describe(query, layer)[space.title]
            points, distances = self.seeing.nearest(space, vectors, k)
        else:
            points, distances = self.seeing.nearest_of_own(space, space.of_row(row), k)
        nearest = one_each(points, distances, space.point_image[points], row, k)
        found = pd.DataFrame([(image, distance) for _, image, distance in nearest], columns=["image", "distance"])
        table = self.images()
        columns = [c for c in ("image_id", "path", "label", "split", "prediction") if c in table]
        found = found.join(table[columns], on="image")[["image", *columns, "distance"]]
        found.attrs = {"layer": space.title, "metric": space.neighbours.metric, "row": row}
        return found

    def row_of(self, image: Any) -> int:
        """Return the row of an image of this atlas, named by row or image_id; AtlasError for any other."""
        row = self.find_image(image)
        if row is None:
            raise AtlasError(f"{one_line(image)} is no image of this atlas: give a row or an image_id")
        return row

    def find_image(self, query: Any) -> int | None:
        """Return the row that `query` names by number or image_id, or whose file has the same bytes; else None."""
        if isinstance(query, np.ndarray | list) or hasattr(query, "__array__"):
            return None
        text = str(query)
        rows = np.flatnonzero(self.image_record.table["image_id"].to_numpy(object) == text)
        if len(rows):  # before a row's number: sixteen digits may well be an image_id
            return int(rows[0])
        if isinstance(query, os.PathLike) or (not ROW.fullmatch(text) and is_file(text)):
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
        rows = np.flatnonzero(known == file_sha256(file)[:16]) if is_file(file) else np.empty(0, int)
        return int(rows[0]) if len(rows) else None

    # -- how far it can be trusted ----------------------------------------------------------------------------------------

    def faithfulness(self, layer: str | None = None, method: str = "umap") -> pd.DataFrame:
        """Return how faithful a layout is at each point: image (row), recall, trust, continuity; NaN where not computed."""
        return truth.faithfulness(self, layer, method)

    def spread(self, layer: str | None = None, *, split: str = "all") -> pd.DataFrame:
        """Return how far each class spreads in a layer: class, points, spread, purity, mixes_with, share.

        `layer` may be several joined by ``+`` that were laid out jointly.
        """
        return truth.spread(self, layer, split)

    def mixing(self, layer: str | None = None, *, split: str = "all") -> pd.DataFrame:
        """Return the share of each class's neighbours that belongs to each class, [class, class]; rows sum to 1."""
        return truth.mixing(self, layer, split)

    def suspects(self, layer: str | None = None, *, k: int | None = None) -> pd.DataFrame:
        """Return the labelled images, the most suspicious label first: image (row), label, neighbours_say, score and more.

        `k` neighbours are asked, by default as many as in the build. The frame's ``attrs`` say how it was judged.
        """
        return truth.suspects(self, layer, k)

    def leaks(self, layer: str | None = None) -> pd.DataFrame:
        """Return the pairs of a training and a held-out image that look the same: rows, distance, likeness, difference."""
        return truth.leaks(self, layer)

    def graph(
        self, layer: str | None = None, *, k: int = 10, split: str = "auto", seed: int = 0, progress: Progress | None = None
    ) -> Graph:
        """Return the image graph of a layer, made and kept in the atlas where it does not stand yet.

        Its nodes are the points of `split` (by default held-out where there are both, else all); an edge joins two that are
        each among the other's `k` nearest. It has ``edges`` [edge, 2], ``community`` and ``xy`` [node], ``homophily``,
        ``hubness``; `atlas.graphing.nodes` has one row per node.
        """
        from atlas.graphing import graph

        return graph(self, layer, k=k, split=split, seed=seed, progress=progress)

    # -- a new image ------------------------------------------------------------------------------------------------------

    def network(self, of: str | None = None) -> Network:
        """Return the network that made the artifact `of` (default: the one that is meant), loaded again. Needs torch.

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

        The network is the one that made the layer. Several layers joined by ``+`` are described as their maps have them.
        """
        space, path = self.seeing.space(layer), Path(file)
        if not is_file(path):
            what = f"{one_line(repr(str(file)))} is no row, no image_id of this atlas and no file"
            raise AtlasError(f"{what}: give a row from 0 to {len(self.image_record) - 1}, or an image file")
        vectors, logits = self.seeing.describe(self.seeing.decoded(path, str(file)), space)
        return {space.title: vectors} | ({} if logits is None else {"logits": logits[None]})

    @cached_property
    def seeing(self) -> Seeing:
        """What sees new images one by one, its indexes and layouts kept open."""
        return Seeing(copy(self))  # not of itself: in a circle the files of an atlas let go would stay open

    def place(self, file: str | os.PathLike[str], *, layer: str | None = None, method: str | None = None) -> pd.DataFrame:
        """Return where an image file stands in a layer's layouts: method, prediction, x, y, confidence, far.

        A row per layout and point; `method` takes one of the layouts; `layer` may be several joined by ``+``. A confidence
        is that of the place, from 0 to 1, missing where the atlas holds the image and laid it out itself; far is true where
        the image is unlike all others in the layer. Needs torch, in this process, unless the atlas holds the image.
        """
        space, path = self.seeing.space(layer), Path(file)
        row = self._same_bytes(path)
        found = self.seeing.see(row, self.seeing.decoded(path, str(file)), space, k=1, method=method)
        said = found["predictions"][0]["prediction"] if found["predictions"] else None
        wrong = [place for place in found["places"] if "error" in place]
        if wrong:
            raise AtlasError(wrong[0]["error"])
        tables = [pd.DataFrame(place).drop(columns="layout") for place in found["places"]]
        table = pd.concat(tables, ignore_index=True).assign(prediction=said)
        return table[["method", "prediction", "x", "y", "confidence", "far"]].astype({"confidence": float})

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

    # -- what a unit wants to see -------------------------------------------------------------------------------------------

    def preferred(
        self,
        layer: str | int | None = None,
        units: Sequence[int] | str | None = None,
        *,
        progress: Progress | None = None,
        device: str = "auto",
        **choices: Any,
    ) -> Preferred:
        """Synthesise the preferred inputs of units of a layer, keep them in the atlas and return their record. Needs torch.

        `units` are numbers, or ``"all"``; by default all of a small layer, and of a larger one those that stand out most.
        Its ``images`` are uint8 [picture, y, x, rgb], with ``units``, ``activation``, ``percentile`` among the real
        images' activations, and ``converged``; ``table()`` has one row per picture. The choices are those of
        `atlas.preferring.Choices`: ``param``, ``steps``, ``size``, ``rate``, ``restarts``, ``variants``, ``seed``,
        ``untrained``.
        """
        from atlas.preferring import preferred

        return preferred(self, layer=layer, units=units, progress=progress, device=device, **choices)

    def selectivity(
        self, layer: str | int | None = None, groups: Mapping[str, Any] | None = None, **options: Any
    ) -> Selectivity:
        """Ask the units of a layer for gratings, hues and two groups of images; keep and return the record. Needs torch.

        `groups` has two names, each with images as `build` takes them. Its ``table()`` has a row per unit: orientation,
        orientation_index, cycles, hue, hue_index, and auc, effect, group. Options are those of `atlas.tuning.selectivity`.
        """
        from atlas.tuning import selectivity

        return selectivity(self, layer, groups=groups, **options)

    def levels(self, images: int | Iterable[int] = 100, layers: Sequence[str] = (), **options: Any) -> pd.DataFrame:
        """Return how much each layer shows of its input and how far it separates the classes: `atlas.levelling.levels`."""
        from atlas.levelling import levels

        return levels(self, images, layers, **options)

    def effects(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return how the images' properties go along with confidence and being right, as `atlas.sweeping.effects`."""
        from atlas.sweeping import effects

        return effects(self)

    def sweep(self, images: int | Iterable[int] = 100, **options: Any) -> pd.DataFrame:
        """Change one property of some images at a time and ask the network anew, as `atlas.sweeping.sweep`. Needs torch."""
        from atlas.sweeping import sweep

        return sweep(self, images, **options)

    def attribution(self, layer: str | None = None) -> Vectors:
        """Return how much each point of a layer argues for each output, [point, output]; `atlas icons` attributes it."""
        return argued.attribution(self, layer)

    def cells(self, layer: str | None = None, method: str = "umap", *, size: int | None = None) -> pd.DataFrame:
        """Return one row per cell of a layout, of the grid of one size or of all.

        Columns: cell, size, column, row, points, images, few, output (what its points argue for most), attribution, opacity,
        label (the most frequent), purity, parent.
        """
        return argued.cells_frame(self, layer, method, size=size)

    def unusual(self, layer: str | None = None, method: str = "umap", *, size: int | None = None) -> pd.DataFrame:
        """Return the cells of a layout that argue for a class few of their members have, the most unusual first."""
        return argued.unusual(self, layer, method, size=size)

    def crossing(self, layer: str | None = None) -> pd.DataFrame:
        """Return the units of a layer whose top images two classes share, the most evenly shared first."""
        return argued.crossing(self, layer)

    def confused(self, layer: str | None = None, method: str = "umap", *, size: int, seed: int = 0) -> pd.DataFrame:
        """Return the cells of a layout by the confusion that gathers there, the greatest excess over chance first.

        Columns as of `atlas.patterns.confused.confused_cells`: label, taken_for, confused, expected, excess, p.
        """
        return argued.confused(self, layer, method, size=size, seed=seed)

    def removal(self, images: int | Sequence[int], layer: str | None = None, **options: Any) -> pd.DataFrame:
        """Return how the probability of the prediction falls as places of images are taken away: which positions matter.

        Those that argue for it most go first, or last, or at random; columns and options as of `atlas.removing.removal`.
        Needs torch.
        """
        from atlas.removing import removal

        return removal(self, images, layer, **options)

    def pasting(self, first: str | int, second: str | int, layer: str | None = None, **options: Any) -> pd.DataFrame:
        """Return how often images of one class are taken for another once a patch that argues for it is pasted in.

        Beside two controls; columns and options as of `atlas.pasting.pasting`. Needs torch.
        """
        from atlas.pasting import pasting

        return pasting(self, first, second, layer, **options)

    def class_atlas(
        self, output: str | int, against: str | int | None = None, layer: str | None = None, *, by: str = "both"
    ) -> pd.DataFrame:
        """Return the points of a layer that argue for a class: point, image (row), label, attribution; the strongest first.

        With `against`, those that argue for either of two classes, and in ``axis`` where each lies between them, −1 to 1.
        `by` is winner (their greatest attribution), top (the 2 000 greatest) or both.
        """
        return argued.class_points(self, output, against, layer, by=by)

    def between(
        self,
        output: str | int,
        against: str | int,
        layer: str | None = None,
        method: str = "umap",
        *,
        size: int | None = None,
    ) -> pd.DataFrame:
        """Return the cells of a layout along the axis from one class to another: cell, size, axis, points, share, label."""
        return argued.class_cells(self, output, against, layer, method, size=size)

    def depth(self, method: str = "umap", *, sizes: Sequence[int] | None = None) -> pd.DataFrame:
        """Return the layers side by side: layer, size, cells, few, label purity, largest attribution, in order of execution.

        Of the layers whose `method` layout has cells; the others are named in the frame's ``attrs["without"]``.
        """
        return argued.depth(self, method, sizes=sizes)

    def propagation(self, image: Any, layers: Sequence[str] | None = None, *, size: int | None = None) -> Propagation:
        """Return what each layer makes of one image, a row, an image_id or a file: `atlas propagate` draws it. Needs torch.

        Per layer: the length of each place's activation, what it argues for, the cell of the grid of `size` that it is most
        like, and what the whole layer argues for.
        """
        from atlas.propagating import propagation

        return propagation(self, image, layers, size=size)

    def inside(self, image: Any, layer: str | None = None, **options: Any) -> Inside:
        """Return one image's activation pattern against its predicted class's and its runner-up's, and when disturbed.

        `image` is a row, an image_id or a file. ``predicted`` and ``runner_up`` have every unit's deviation, the
        standardised distance and where it stands among the class's own images; ``courses`` the same at each strength of
        noise, blur, rotation and shift. Needs torch. The options are those of `atlas.breaking.inside`.
        """
        from atlas.breaking import inside

        return inside(self, image, layer, **options)

    def breaking_points(self, images: int | Sequence[int] = 300, layer: str | None = None, **options: Any) -> pd.DataFrame:
        """Return when the patterns, and when the predictions, of a sample of images break as they are disturbed.

        A row per image and disturbance; columns and options as of `atlas.breaking_points.breaking_points`. Needs torch.
        """
        from atlas.breaking_points import breaking_points

        return breaking_points(self, images, layer, **options)

    # -- to show to others --------------------------------------------------------------------------------------------------

    def link(self, **view: Any) -> str:
        """Return what follows the explorer's address so that it opens on one view: a layer's map, a selection, a colour.

        The options are those of `atlas.linking.link`: ``layer``, ``method``, ``images``, ``colour``, ``image``, ``unit``,
        ``report``.
        """
        from atlas.linking import link

        return link(self, **view)

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        max_size: int | str | None = None,
        layers: Sequence[str] = (),
        split: str | None = None,
        seed: int = 0,
    ) -> dict[str, Any]:
        """Write the explorer of this atlas, with its data, as one HTML file that needs neither a server nor a network.

        Returns the file, its bytes, how many images of how many are in it, and in words what was chosen and left out. The
        options are those of `atlas.pages.report.write_report`.
        """
        from atlas.pages.report import write_report

        return write_report(self.store.root, path, max_size=max_size, layers=layers, split=split, seed=seed)

    def export(self, out: str | os.PathLike[str] | None = None, *, format: str, **options: Any) -> dict[str, Any]:
        """Write the atlas in another format: netcdf, parquet, csv, embedding-atlas or tensorboard; return what was written.

        The options are those of `atlas.export.export`: ``images``, ``layers`` and each format's own.
        """
        from atlas.export import export

        return export(self, out, format=format, **options)

    def volume(self, images: Any, layers: Sequence[str] = (), **choices: Any) -> xr.Dataset:
        """Return images through the network as volumes: activation [image, level, y, x], 0 to 1. Needs torch and xarray.

        `images` are rows, ranges and image_ids, as in ``"0,5,10-19"``, or a kept selection; the choices are those of
        `atlas.volumes.plan`: ``channels`` of each layer, ``size`` of the grid, ``cam``. `export` writes them as netCDF.
        """
        from atlas.export.netcdf import volume

        return volume(self, images, layers, **choices)

    # -- what it is -------------------------------------------------------------------------------------------------------

    def show(self, *, height: int = 860, port: int = 5006, url: str | None = None) -> Shown:
        """Serve the explorer of this atlas in a process of its own; a notebook draws the result as a frame.

        `height` in pixels; `url` where the browser reaches the server through a notebook's proxy. Served once, however often
        it is shown; it ends with this process, or by ``stop()``.
        """
        from atlas.serving import show

        return show(self.store.root, height=height, port=port, url=url)

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
            "networks": self.networks().drop(columns="name").to_dict("records"),
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
