"""Level after level: how much each still shows of the image, and how far it tells the classes apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.data.properties import luma, steepness
from atlas.errors import AtlasError
from atlas.maps.volume import CHANNELS, Volume, make_volume, resample
from atlas.patterns.levels import correlations, separability
from atlas.progress import Progress
from atlas.sweeping import drawn

if TYPE_CHECKING:
    from atlas.atlas import Atlas

SAMPLE = 100  # images: run once each
INPUT = "input"  # what the row of the pixels themselves is called


def levels(
    atlas: Atlas,
    images: int | Iterable[int] = SAMPLE,
    layers: Sequence[str] = (),
    *,
    channels: int = CHANNELS,
    size: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Return a row per layer, the input first: what each shows of the image, and how it separates the classes. Needs torch.

    `images` are rows, or how many to draw; `layers` by default those of the image panel; `channels`, `size` as of a volume.
    Columns: layer, number, place (its number over the last's), units; ``brightness`` and ``edges``: the mean over the
    images of the largest correlation, whatever its sign, of one of the image's most active channels with the input's luma
    and with its edges; ``brightness_other`` and ``edges_other`` the same with the inputs of the other images: what chance
    and the centre of photographs do; ``silhouette``, ``neighbours``, ``f_ratio`` of the layer's mean vectors, as
    `atlas.patterns.levels.separability` has them, missing where the labels do not allow it.
    """
    from atlas.activations.spatial import activation_maps
    from atlas.volumes import check_rows, chosen_layers, plan

    rows = drawn(atlas, images, seed) if isinstance(images, int) else [int(row) for row in images]
    check_rows(atlas, rows)
    wanted = plan(atlas, rows, layers, channels=channels, size=size, cam="none", device=device)
    names = chosen_layers(atlas, layers) or wanted.layers
    network, looked = atlas.network(), _Looked(names)
    with (progress or Progress()).stage("levels", len(rows)) as advance:
        for row in rows:
            picture = atlas.seeing.picture(row)
            maps = dict(activation_maps(network, picture, names, device=device))
            edge = (size, size) if size else None
            volume = make_volume({name: maps[name] for name in names}, channels=channels, size=edge)
            looked.add(network.preprocess.array(picture), maps, volume)
            advance(1)
    table = looked.table(atlas.image_record.codes[rows])
    numbers = dict(zip(atlas.network_record.layers["name"], atlas.network_record.layers["number"], strict=True))
    table.insert(1, "number", [int(numbers.get(name, 0)) for name in table["layer"]])
    table.insert(2, "place", table["number"] / max(table["number"].max(), 1))
    return table


class _Looked:
    """What is kept of each image that was run: small pictures of the input, the volume's levels, the layers' vectors."""

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self.volumes: list[Volume] = []
        self.bright: list[np.ndarray] = []
        self.steep: list[np.ndarray] = []
        self.vectors: dict[str, list[np.ndarray]] = {name: [] for name in (INPUT, *names)}

    def add(self, pixels: np.ndarray, maps: dict[str, np.ndarray], volume: Volume) -> None:
        """Keep one image: its input uint8 [rgb, y, x], every layer's maps [unit, y, x], its volume."""
        values = np.moveaxis(pixels, 0, -1).squeeze() / 255.0
        grey, size = luma(values), volume.values.shape[1:]
        if self.bright and self.bright[0].shape != size:
            raise AtlasError("the images have volumes of different sizes: give one size for all with size=")
        self.bright.append(resample(grey, (size[0], size[1])).astype(np.float64))
        self.steep.append(resample(steepness(grey), (size[0], size[1])).astype(np.float64))
        self.volumes.append(volume)
        small = np.stack([resample(channel, (16, 16)) for channel in pixels.astype(np.float32)])  # 16 × 16: colours and
        self.vectors[INPUT].append(small.ravel())  # where they lie, few enough numbers for so few images
        for name in self.names:
            own = maps[name].reshape(len(maps[name]), -1)
            self.vectors[name].append(np.where(np.isfinite(own), own, 0).mean(1))

    def table(self, codes: np.ndarray) -> pd.DataFrame:
        """Return the rows of `levels` for the images kept, whose classes are `codes`."""
        seen = {
            what: self._seen(np.stack(pictures)) for what, pictures in (("brightness", self.bright), ("edges", self.steep))
        }
        found = []
        for name in (INPUT, *self.names):
            row: dict[str, Any] = {"layer": name, "units": len(self.vectors[name][0])}
            for what, of in seen.items():
                own, others = of.get(name, (np.nan, np.nan))
                row |= {what: own, f"{what}_other": others}
            found.append(row | self._apart(name, codes))
        return pd.DataFrame(found)

    def _seen(self, pictures: np.ndarray) -> dict[str, tuple[float, float]]:
        """Return, by layer, the mean largest |correlation| with an image's own picture and with those of others."""
        count, best = len(pictures), {name: np.zeros((len(pictures), len(pictures))) for name in self.names}
        for place, volume in enumerate(self.volumes):
            alike = np.nan_to_num(np.abs(correlations(volume.values, pictures)))
            layer = np.array(volume.layer)
            for name in self.names:
                best[name][place] = alike[layer == name].max(0, initial=0.0)
        own = np.eye(count, dtype=bool)
        return {
            name: (float(of[own].mean()), float(of[~own].mean()) if count > 1 else float("nan")) for name, of in best.items()
        }

    def _apart(self, name: str, codes: np.ndarray) -> dict[str, float]:
        there = codes >= 0
        try:
            return separability(np.stack(self.vectors[name])[there], codes[there])
        except AtlasError:  # too few labelled images: the levels still say what they show
            return {"silhouette": np.nan, "neighbours": np.nan, "f_ratio": np.nan}
