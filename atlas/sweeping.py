"""How the properties of images bear on what the network says: observed over an atlas, and changed one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.activations.assemble import probabilities
from atlas.data.disturbing import Disturbance, find_kinds, ladder
from atlas.data.properties import CIRCULAR, PROPERTIES, measure
from atlas.data.selection import select
from atlas.data.sweeping import AS_IT_IS, SWEEPS
from atlas.errors import AtlasError, choose
from atlas.patterns.properties import BINS, binned, relations
from atlas.progress import Progress

if TYPE_CHECKING:
    from atlas.activations.records import Predictions
    from atlas.atlas import Atlas

SAMPLE = 100  # images: the standard error of an accuracy is then 5 points at most


def effects(atlas: Atlas, *, bins: int = BINS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return how each property of the images goes along with confidence and being right, and the same in bins.

    The first frame is that of `atlas.patterns.properties.relations`; the second `binned` of every property but the hue,
    with the columns ``property`` and ``bin``, the hue in as many equal sectors of the circle. AtlasError where the atlas was
    built without properties, or its network yields features only. Needs no torch.
    """
    said, values = _said(atlas), properties_of(atlas)
    right = said.right if said.map.complete else None
    linear = {name: column for name, column in values.items() if name != CIRCULAR}
    found = relations(linear, said.confidence, right, atlas.image_record.codes)
    parts = [binned(column, said.confidence, right, bins=bins).assign(property=name) for name, column in linear.items()]
    parts.append(_sectors(values[CIRCULAR], said.confidence, right, bins).assign(property=CIRCULAR))
    table = pd.concat([part.assign(bin=np.arange(len(part))) for part in parts], ignore_index=True)
    return found, table[["property", "bin", *(name for name in table if name not in ("property", "bin"))]]


def properties_of(atlas: Atlas) -> dict[str, np.ndarray]:
    """Return the properties that the atlas's images were measured by: name → float64 [image]; AtlasError where not."""
    counts, table = atlas.image_record.counts, atlas.image_record.table
    names = [name for name in counts.get("measured", []) if name in table]
    if not names:
        raise AtlasError(
            "the images of this atlas were not measured: build it again with --properties (what the network made of them "
            "stands and is not run again)"
        )
    return {name: table[name].to_numpy(np.float64) for name in names}


def _sectors(hue: np.ndarray, confidence: np.ndarray, right: np.ndarray | None, bins: int) -> pd.DataFrame:
    """Return a row per sector of the hue circle, the first about red."""
    wide = 360 / bins
    sector = np.floor((np.nan_to_num(hue) + wide / 2) % 360 / wide)
    parts = []
    for number in range(bins):
        mine = np.isfinite(hue) & (sector == number)
        if mine.any():
            one = binned(hue[mine], confidence[mine], None if right is None else right[mine], bins=1)
            parts.append(one.assign(low=(number - 0.5) * wide, high=(number + 0.5) * wide))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _said(atlas: Atlas) -> Predictions:
    if atlas.predictions is None:
        raise AtlasError("this network yields features only: it has no confidence and no accuracy; take a classifier")
    return atlas.predictions


# -- one property at a time ------------------------------------------------------------------------------------------------


def sweep(
    atlas: Atlas,
    images: int | Iterable[int] = SAMPLE,
    *,
    kinds: Sequence[str] = (),
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Change one property of some images at a time and ask the network anew. Needs torch.

    `images` are rows, or how many to draw in proportion over labels and splits; `kinds` are names of
    `atlas.data.sweeping.SWEEPS`, by default all. A row per image, kind and strength, the unchanged image among them: image,
    label, kind, strength, ``prediction``, ``confidence`` of it, ``probability`` of what was predicted unchanged, ``right``
    (missing where undefined), ``kept`` (the prediction is that of the unchanged image), and the properties as measured
    after the change, of the network's input. The images are changed as the network is given them, cut and resized.
    """
    chosen, said = find_kinds(kinds, SWEEPS, "property to sweep"), _said(atlas)
    rows = drawn(atlas, images, seed) if isinstance(images, int) else [int(row) for row in images]
    for row in rows:
        if not 0 <= row < len(atlas.image_record):
            raise choose("image", str(row), [f"rows 0 to {len(atlas.image_record) - 1}"])
    found: list[dict[str, Any]] = []
    with (progress or Progress()).stage("sweeping properties", len(rows)) as advance:
        for row in rows:
            found += _one(atlas, said, row, chosen, seed, device)
            advance(1)
    table = pd.DataFrame(found)
    table["right"] = table["right"].astype("boolean")
    return table


def drawn(atlas: Atlas, count: int, seed: int) -> list[int]:
    """Draw `count` images that decode, in proportion over labels and splits."""
    if count < 1:
        raise AtlasError(f"{count} images: at least 1 would do")
    table = atlas.image_record.table.iloc[atlas.image_record.decoded]
    if count >= len(table):
        return list(map(int, table.index))
    chosen = select(table["label"].reset_index(drop=True), table["split"].reset_index(drop=True), count, seed=seed)
    return list(map(int, table.index[chosen]))


def _one(
    atlas: Atlas, said: Predictions, row: int, kinds: Sequence[Disturbance], seed: int, device: str
) -> list[dict[str, Any]]:
    from atlas.activations.engine import find_device
    from atlas.activations.few import outputs

    network = atlas.network()
    pixels = network.preprocess.array(atlas.seeing.picture(row))
    ladders = [ladder(pixels, kind, seed=seed) for kind in kinds]
    batch = np.concatenate([pixels[None], *(steps[1:] for steps in ladders)])
    logits = outputs(network, batch, {}, image_ids=[""] * len(batch), seed=seed, device=find_device(device),
                     precision="float32")["logits"]  # fmt: skip
    chances = probabilities(logits)
    code, first = int(atlas.image_record.codes[row]), int(chances[0].argmax())
    label = atlas.image_record.labels[code] if code >= 0 else None
    found, start = [], 1
    for kind in kinds:
        places = [0, *range(start, start + len(kind.strengths))]
        start += len(kind.strengths)
        for strength, place in zip((AS_IT_IS.get(kind.name, 1.0), *kind.strengths), places, strict=True):
            best = int(chances[place].argmax())
            right = bool(said.map.outputs[best] == code) if said.map.complete and code >= 0 else None
            seen = measure(np.moveaxis(batch[place], 0, -1).squeeze())
            found.append({"image": row, "label": label, "kind": kind.name, "strength": float(strength),
                          "prediction": said.map.names[best], "confidence": float(chances[place, best]),
                          "probability": float(chances[place, first]), "right": right, "kept": best == first,
                          **{name: seen[name] for name in PROPERTIES if name != "size"}})  # fmt: skip
    return found


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return what a sweep found, a row per kind and strength: images, accuracy, confidence, probability, kept, and the
    mean of each property as measured."""
    means = {"right": "accuracy", "confidence": "confidence", "probability": "probability", "kept": "kept"}
    measured = [name for name in PROPERTIES if name in table and name != CIRCULAR]
    grouped = table.assign(right=table["right"].astype("Float64"), kept=table["kept"].astype(float)).groupby(
        ["kind", "strength"], sort=False
    )
    found = grouped.agg(
        images=("image", "size"), **{new: (old, "mean") for old, new in means.items()},
        **{name: (name, "mean") for name in measured},
    )  # fmt: skip
    return found.reset_index().sort_values(["kind", "strength"], kind="stable", ignore_index=True)
