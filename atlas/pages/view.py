"""Plain tables for a page, read from the records of one atlas: no Bokeh, no torch, nothing that draws."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atlas.activations.records import Activations, Predictions, Statistics
from atlas.data.records import SPLITS, Images
from atlas.errors import AtlasError, one_line
from atlas.maps.records import METHOD_NAMES, Layout, Neighbours
from atlas.pages import doubts, graphs
from atlas.pages.columns import confidence_codes, newest, output_name, own_names, quantise, read_only, text
from atlas.pages.kept import kept
from atlas.pages.opening import Start, start
from atlas.patterns.classes import ClassPatterns, class_patterns
from atlas.store import Store, inputs_of

ALL_SPLITS = 3  # the number of "all" beside the indices of SPLITS


@dataclass(frozen=True)
class Space:
    """One layer of one network, or several jointly: a set of points, its layouts, its neighbour lists."""

    id: str
    layers: list[str]
    network: str | None
    activations: list[str]
    layouts: list[str]
    neighbours: str | None
    predictions: str | None
    statistics: str | None
    doubts: dict[str, str]  # spread, suspects and leaks, those that were made of it
    graph: str | None = None  # the image graph

    @property
    def maps(self) -> list[str]:
        """What its points can be laid out by: its layouts, then the graph's own."""
        return [*self.layouts, *([self.graph] if self.graph else [])]


class View:
    """One atlas as a page needs it. Its arrays are read-only and shared by every session of the process."""

    def __init__(self, root: Path):
        self.store = Store(root)
        self.name = self.store.root.resolve().name
        contents = self.store.contents()
        self.title = str(contents.get("title") or self.name)
        self.names: list[str] = list(contents["shown"])
        self.headers = {name: self.store.header(name) for name in self.names}
        self.images_name = self._only_images()
        self.images = self.store.read(self.images_name, Images)
        self.spaces = self._find_spaces()
        if not self.spaces:
            raise AtlasError(f"the atlas {one_line(self.title)} has no layout yet: run `atlas build` to its end")

    # -- what is there ------------------------------------------------------------------------------------------------

    def of_stage(self, stage: str) -> list[str]:
        """Return the names of the artifacts shown of one stage, in the order they were shown."""
        return [name for name in self.names if self.headers[name].get("stage") == stage]

    def inputs(self, name: str, role: str) -> list[str]:
        """Return the names of the artifacts that `name` was made from in one role."""
        return inputs_of(self.headers[name], role)

    def _only_images(self) -> str:
        names = self.of_stage("images")
        if not names:
            raise AtlasError(f"the atlas {one_line(self.title)} shows no images: build it again")
        return names[-1]  # the last shown is the one the others grew into

    def _find_spaces(self) -> list[Space]:
        grouped: dict[tuple[str, ...], list[str]] = {}
        for name in self.of_stage("layout"):
            sources = tuple(self.inputs(name, "activations"))
            if sources and all(source in self.headers and self.of_these_images(source) for source in sources):
                grouped.setdefault(sources, []).append(name)
        spaces: list[Space] = []
        for sources in sorted(grouped, key=self._order):
            spaces.append(self._space(list(sources), grouped[sources], taken={space.id for space in spaces}))
        return spaces

    def of_these_images(self, name: str) -> bool:
        """Tell whether `name` was made from the images shown."""
        return self.inputs(name, "images") in ([], [self.images_name])

    def _order(self, sources: tuple[str, ...]) -> tuple[int, list[int]]:
        """Single layers first, in order of execution; joint ones after them."""
        return len(sources), [int(self.headers[name]["fields"].get("number") or 0) for name in sources]

    def _method_order(self, layout: str) -> int:
        method = self.headers[layout]["fields"].get("method")
        return list(METHOD_NAMES).index(method) if method in METHOD_NAMES else len(METHOD_NAMES)

    def _space(self, sources: list[str], layouts: list[str], taken: set[str]) -> Space:
        layers = [str(self.headers[name]["fields"]["layer"]) for name in sources]
        networks = {network for name in sources for network in self.inputs(name, "network")}
        network = networks.pop() if len(networks) == 1 else None
        plain = "+".join(layers)
        numbered = [plain, *(f"{plain}~{n}" for n in range(2, 1000))]
        return Space(
            id=next(name for name in numbered if name not in taken),
            layers=layers,
            network=network,
            activations=sources,
            layouts=sorted(layouts, key=self._method_order),
            neighbours=newest(n for n in self.of_stage("neighbours") if self.inputs(n, "activations") == sources),
            predictions=newest(n for n in self.of_stage("predictions") if self._beside(n, network)),
            statistics=next(iter(self.statistics_of(sources[0])), None) if len(layers) == 1 else None,
            doubts=doubts.of_space(self, sources),
            graph=graphs.of_space(self, sources),
        )

    def _beside(self, name: str, network: str | None) -> bool:
        """Whether `name` was made from these images by `network`."""
        return self.of_these_images(name) and (network is None or network in self.inputs(name, "network"))

    def statistics_of(self, activations: str) -> list[str]:
        """Return the statistics of the same layer, network and images as `activations`, those of its functional first."""
        fields, network = self.headers[activations]["fields"], next(iter(self.inputs(activations, "network")), None)
        kept = {name: self.headers[name]["fields"] for name in self.of_stage("statistics") if self._beside(name, network)}
        same = [name for name, own in kept.items() if own.get("layer") == fields["layer"]]
        return sorted(same, key=lambda name: kept[name].get("functional") != fields.get("functional"))

    def space(self, wanted: str) -> Space | None:
        """Return the space called `wanted`, or None."""
        return next((space for space in self.spaces if space.id == wanted), None)

    @functools.cached_property
    def date(self) -> str:
        """When the newest artifact was made: YYYY-MM-DD."""
        dates = [str(header.get("date", "")) for header in self.headers.values()]
        return max(dates)[:10] if dates else datetime.date.today().isoformat()

    # -- records, each read once ----------------------------------------------------------------------------------------

    @kept
    def read(self, name: str, kind: type) -> Any:
        """Return the record `name`, read once."""
        if name not in self.headers:
            raise AtlasError(f"{one_line(repr(name))} is not shown by this atlas")
        return self.store.read(name, kind)

    @functools.cached_property
    def splits(self) -> np.ndarray:
        """Index into SPLITS of every image: uint8 [image]."""
        return read_only(self.images.splits)

    @property
    def opening_split(self) -> str:
        """Held-out where there are both splits, else all."""
        both = {SPLITS.index("train"), SPLITS.index("held-out")} <= set(np.unique(self.splits).tolist())
        return "held-out" if both else "all"

    @kept
    def point_image(self, activations: str) -> np.ndarray:
        """Row of every point's image: int32 [point]."""
        rows = np.asarray(self.read(activations, Activations).point_image, np.int32)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self.images)):
            raise AtlasError(f"{activations} names images that {self.images_name} does not have: build the atlas again")
        return read_only(rows)

    @kept
    def xy(self, layout: str) -> np.ndarray:
        """Coordinates in the unit of the page: uint16 [2, point], one scale for both axes, centred."""
        if self.headers.get(layout, {}).get("stage") == "graph":
            return read_only(graphs.places(self, layout))
        xy = np.nan_to_num(np.asarray(self.read(layout, Layout).xy, np.float64))
        expected = len(self.point_image(self.inputs(layout, "activations")[0]))
        if xy.shape != (expected, 2):
            raise AtlasError(f"{layout} has {len(xy)} points and its layer {expected}: build the atlas again")
        return read_only(quantise(xy))

    @kept
    def predicted(self, predictions: str) -> tuple[list[str], np.ndarray]:
        """Names of what is predicted, the labels first, and every image's code: int16 [image], -1 for none.

        An output that stands for a label takes the label's code, so that class and prediction share their colours.
        """
        record: Predictions = self.read(predictions, Predictions)
        outputs = np.asarray(record.prediction, np.int64)
        mapped = record.map.labels == self.images.labels
        labels = record.map.labels_of(outputs).astype(np.int64) if mapped else np.full_like(outputs, -1)
        others = np.unique(outputs[(labels < 0) & (outputs >= 0)])
        codes = labels.copy()
        loose = (labels < 0) & (outputs >= 0)
        codes[loose] = len(self.images.labels) + np.searchsorted(others, outputs[loose])
        return [*self.images.labels, *(output_name(record, int(o)) for o in others)], read_only(codes.astype(np.int16))

    @kept
    def column(self, name: str, what: str) -> np.ndarray:
        """Return one column for the page; an artifact without it raises AtlasError."""
        stage = self.headers.get(name, {}).get("stage")
        if (stage, what) == ("images", "label"):
            return read_only(self.images.codes.astype(np.int16))
        if (stage, what) == ("images", "split"):
            return self.splits
        if (stage, what) == ("predictions", "prediction"):
            return self.predicted(name)[1]
        if (stage, what) == ("predictions", "mistake"):  # nothing for most images: it packs to a sixth of the predictions
            return read_only(self.predicted(name)[1] - self.images.codes.astype(np.int16))
        if (stage, what) == ("predictions", "right"):
            return read_only(np.asarray(self.read(name, Predictions).right, np.int8))
        if (stage, what) == ("predictions", "confidence"):
            return read_only(confidence_codes(self.read(name, Predictions).confidence))
        if (stage, what) == ("activations", "image"):
            return self.point_image(name)
        if (stage, what) in (("layout", "xy"), ("graph", "xy")):
            return self.xy(name)
        if (stage, what) in (("layout", "recall"), ("suspects", "score")):
            return read_only(doubts.codes(self, name))
        raise AtlasError(f"{one_line(name)} has no column {one_line(what)}")

    # -- one image --------------------------------------------------------------------------------------------------------

    def detail(self, row: int) -> dict[str, Any]:
        """Return what is known of one image, for the side panel; an unknown row raises AtlasError."""
        if not 0 <= row < len(self.images):
            raise AtlasError(f"no image {row}: there are {len(self.images)}")
        entry = self.images.table.iloc[row]
        own = {name: text(entry[name]) for name in own_names(self.images.table)}
        return {
            "row": row,
            **{name: text(entry[name]) for name in ("image_id", "path", "label", "split", "mode", "error")},
            "size": [int(entry["width"] or 0), int(entry["height"] or 0)] if pd.notna(entry["width"]) else [0, 0],
            "duplicate_of": int(entry["duplicate_of"]),
            "columns": own,
        }

    def top(self, predictions: str, row: int) -> dict[str, Any]:
        """Return one image's most probable outputs: name, label, probability, at most five."""
        record: Predictions = self.read(predictions, Predictions)
        if not 0 <= row < len(record.prediction):
            raise AtlasError(f"no image {row}: there are {len(record.prediction)} predictions")
        ranked = zip(record.top_output[row].tolist(), record.top_probability[row].tolist(), strict=True)
        kept = [(output, share) for output, share in ranked if output >= 0 and np.isfinite(share)]
        labels = record.map.labels_of(np.array([output for output, _ in kept], np.int64)).tolist() if kept else []
        confidence = float(record.confidence[row])
        return {
            "right": int(record.right[row]),
            "confidence": confidence if np.isfinite(confidence) else None,
            "top": [
                {"name": output_name(record, output), "label": label, "probability": share}
                for (output, share), label in zip(kept, labels, strict=True)
            ],
        }

    def nearest(self, neighbours: str, point: int) -> dict[str, Any]:
        """Return the kept list of one point: the points and their distances, nearest first."""
        record: Neighbours = self.read(neighbours, Neighbours)
        if not 0 <= point < len(record.indices):
            raise AtlasError(f"no point {point}: there are {len(record.indices)}")
        points, distances = record.indices[point], record.distances[point]
        kept = (points >= 0) & np.isfinite(distances)  # an approximate search may find fewer than asked
        return {
            "metric": record.metric,
            "exact": record.exact,
            "recall": record.recall,
            "points": points[kept].tolist(),
            "distances": [float(f"{d:.6g}") for d in distances[kept]],
        }

    @kept
    def patterns(self, statistics: str, split: int) -> ClassPatterns:
        """Return the class patterns of one layer over one of SPLITS, or over all images for ALL_SPLITS."""
        wanted = None if split == ALL_SPLITS else SPLITS[split]
        return class_patterns(self.read(statistics, Statistics), self.images.labels, split=wanted)

    # -- what the page is told at its start -------------------------------------------------------------------------------

    def start(self, asked: Mapping[str, str]) -> Start:
        """Return what to open on, from the arguments of a URL: whatever is not there is left out with a notice."""
        return start(self, asked)

    @property
    def descriptor(self) -> Space:
        """The last layer before the logits, as the command takes it: the last whose units are not the network's outputs."""
        single = [space for space in self.spaces if len(space.layers) == 1] or self.spaces
        wide = [space for space in single if self._field(space.activations[0], "unit_count") != self._outputs(space)]
        return (wide or single)[-1]

    def _field(self, name: str | None, field: str) -> Any:
        return self.headers.get(name or "", {}).get("fields", {}).get(field)

    def _outputs(self, space: Space) -> int | None:
        """The number of outputs of a space's network; None where it is not known."""
        found = self._field(space.network, "outputs")
        return None if found is None else int(found)

    def row_of(self, image_id: str) -> int | None:
        """Return the row of the image called `image_id`, or None."""
        found = np.flatnonzero(self.images.table["image_id"].to_numpy(object) == image_id)
        return int(found[0]) if len(found) else None

    def colours(self, space: Space) -> list[str]:
        """Return what the points of a space can be coloured by."""
        found = ["class"] if self.images.labels else []
        if space.predictions:
            judged = bool((self.column(space.predictions, "right") >= 0).any())
            found += ["prediction", *(["right"] if judged else []), "confidence"]
        found += doubts.colours(self, space) + (["community"] if space.graph else [])
        known = (self.splits != SPLITS.index("unknown")).any()
        return [*found, "split"] if known or not found else found
