"""What the server answers image by image, as columns that a report holds whole; static/report.js assembles the answers.

`names` of outputs, ids and paths are text; shares are the page's codes (columns.confidence_codes); neighbours are numbered
along a curve through the map (Morton 1966), where those near each other have near numbers, and told as the difference from
their point's; distances are kept in steps of one percent.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pandas as pd

from atlas.activations.records import Predictions
from atlas.data.records import COLUMNS
from atlas.maps.records import Layout, Neighbours
from atlas.pages.columns import confidence_codes, output_name, text
from atlas.pages.held import Entry, Held, as_it_came, packed, rounded
from atlas.pages.view import Space, View
from atlas.patterns.leaks import Leaks
from atlas.patterns.suspects import Suspects

NONE = 65_535  # no output, no label, as uint16
STEPS = 100  # codes per factor e of a distance: two distances of one code differ by one percent
WHOLE_NUMBERS = ("width", "height", "duplicate_of")  # of the columns of the images; the others are text
TOLD = ("image_id", "label", "split")  # of the columns of the images: those that are held in another way
NUMBERED = re.compile(r"(.*?)([0-9]{1,9})([^0-9]*)", re.DOTALL)
FEW_KINDS = 20  # names of one kind, at least, for their numbers to be held apart
ID = re.compile("[0-9a-f]{16}")


def hold_answers(held: Held, view: View) -> None:
    """Hold all that `detail`, `top`, `standing`, `suspicion` and `twins` answer."""
    hold_detail(held, view)
    for predictions in dict.fromkeys(space.predictions for space in view.spaces if space.predictions):
        hold_top(held, view, predictions)
    for space in view.spaces:
        for layout in space.layouts:
            quality = view.read(layout, Layout).quality
            held.add(f"report/standing/{layout}.json", as_text({"k": quality.get("recall_k") or quality.get("k")}))
        if "suspects" in space.doubts:
            hold_suspicion(held, view, space.doubts["suspects"])
        if "leaks" in space.doubts:
            hold_twins(held, view, space.doubts["leaks"])


def as_text(value: Any) -> Entry:
    """Return a value as JSON, deflated."""
    return packed(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace"))


def as_numbers(values: np.ndarray) -> Entry:
    """Return numbers, little-endian, deflated."""
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return packed(values.tobytes(), values.itemsize)


def hold_detail(held: Held, view: View) -> None:
    """Hold every column of the images' table as text, one value where all are the same."""
    table = view.images.table
    ours = {name: column(table[name]) for name in COLUMNS if name not in TOLD}
    ids = [str(name) for name in table["image_id"]]
    odd = {row: name for row, name in enumerate(ids) if not ID.fullmatch(name)}  # "-2": the second of the same bytes
    plain = bytes.fromhex("".join(f"{0:016x}" if row in odd else name for row, name in enumerate(ids)))
    held.add(f"report/detail/{view.images_name}/ids.bin", as_it_came(plain))  # a hash does not deflate
    own = {str(name): column(table[name]) for name in table.columns if name not in COLUMNS}
    held.add(f"report/detail/{view.images_name}.json", as_text({"ours": ours, "own": own, "odd": odd}))


def column(values: pd.Series) -> dict[str, Any]:
    """Return a table's column: {"each": its values}, {"all": the value} where all are the same, or numbered names."""
    told = values.tolist() if values.name in WHOLE_NUMBERS else [text(value) for value in values.astype(object)]
    told = [None if value != value else value for value in told]
    if told and all(value == told[0] for value in told):
        return {"all": told[0]}
    return (numbered(told) if values.name not in WHOLE_NUMBERS else None) or {"each": told}


def numbered(names: list[str | None]) -> dict[str, Any] | None:
    """Return names such as ``cat/img_0012.jpg`` as kinds, and of each name its kind and its number less the one before it.

    A kind is what stands before the last number, its width where it begins with zeros, else 0, and what stands after it.
    None where hardly two names are of one kind.
    """
    parts = [NUMBERED.fullmatch(name or "") for name in names]
    if not all(parts):
        return None
    kinds = [(part[1], len(part[2]) if part[2][0] == "0" and len(part[2]) > 1 else 0, part[3]) for part in parts if part]
    order = {kind: place for place, kind in enumerate(dict.fromkeys(kinds))}
    if len(order) * FEW_KINDS > len(names):
        return None
    numbers = np.diff([int(part[2]) for part in parts if part], prepend=0).tolist()
    return {"kinds": list(order), "kind": [order[kind] for kind in kinds], "number": numbers}


def hold_top(held: Held, view: View, name: str) -> None:
    """Hold the most probable outputs of every image: which, as uint16 [rank, image], and their shares."""
    record: Predictions = view.read(name, Predictions)
    outputs, shares = np.asarray(record.top_output, np.int64).T, np.asarray(record.top_probability).T
    there = np.unique(outputs[outputs >= 0])
    labels = record.map.labels_of(there).tolist() if len(there) else []
    code = np.where(outputs >= 0, np.searchsorted(there, outputs), NONE).astype(np.uint16)
    codes = rounded(confidence_codes(shares))
    first = len(codes) > 0 and bool((codes[0] == rounded(confidence_codes(record.confidence))).all())  # a column of the page
    told = {
        "names": [output_name(record, int(output)) for output in there],
        "labels": labels,
        "ranks": len(outputs),
        "first": first,
    }
    held.add(f"report/top/{name}.json", as_text(told))
    held.add(f"report/top/{name}/outputs.bin", as_numbers(code))
    held.add(f"report/top/{name}/shares.bin", as_numbers(codes[1:] if first else codes))


def hold_nearest(held: Held, view: View, space: Space, most: int) -> None:
    """Hold the `most` nearest of every point, and their distances."""
    name = str(space.neighbours)
    record: Neighbours = view.read(name, Neighbours)
    indices, distances = np.asarray(record.indices)[:, :most], np.asarray(record.distances)[:, :most]
    there = (indices >= 0) & np.isfinite(distances)
    order, least = along_map(rounded(view.xy(space.layouts[0]))), least_distance(distances[there])
    told = {"k": int(indices.shape[1]), "metric": record.metric, "exact": record.exact, "recall": record.recall,
            "points": len(indices), "layout": space.layouts[0], "image": points_of(view, space),
            "least": least, "steps": STEPS}  # fmt: skip
    held.add(f"report/nearest/{name}.json", as_text(told))
    held.add(f"report/nearest/{name}/points.bin", as_numbers(differences(indices, there, order)))
    held.add(f"report/nearest/{name}/distances.bin", as_numbers(distance_codes(distances, there, least)[order].T))


def points_of(view: View, space: Space) -> str | None:
    """Return the activations whose column tells the image of each point; None where point n is image n."""
    rows = view.point_image(space.activations[0])
    same = len(rows) == len(view.images) and bool((rows == np.arange(len(rows))).all())
    return None if same else space.activations[0]


def along_map(xy: np.ndarray) -> np.ndarray:
    """Return the points along Morton's curve through a map, uint16 [2, point]; ties by number: int64 [point]."""
    return np.argsort(_spread(xy[0]) | (_spread(xy[1]) << np.uint64(1)), kind="stable")


def _spread(values: np.ndarray) -> np.ndarray:
    """Put a zero before each of the sixteen bits."""
    bits = values.astype(np.uint64)
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        bits = (bits | (bits << np.uint64(shift))) & np.uint64(mask)
    return bits


def differences(indices: np.ndarray, there: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return the neighbours' places along the map less their point's, 2d or −2d − 1, in that order: uint32; 0 for none."""
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    apart = place[np.where(there, indices, 0)] - place[:, None]
    codes = np.where(apart >= 0, 2 * apart, -2 * apart - 1)  # no point is its own neighbour: 0 is free
    return np.where(there, codes, 0).astype(np.uint32)[order]


def least_distance(distances: np.ndarray) -> float:
    """Return the least distance above nothing, 1 where there is none."""
    positive = distances[distances > 0]
    return float(positive.min()) if len(positive) else 1.0


def distance_codes(distances: np.ndarray, there: np.ndarray, least: float) -> np.ndarray:
    """Return distances as steps above the least one, each less the one before it: uint16 [point, k]; 0 for no distance."""
    steps = 1 + np.round(np.log(np.maximum(np.where(there, distances, least), least) / least) * STEPS)
    codes = np.where(there & (distances > 0), steps, 0)
    codes = np.where(there, codes, np.maximum.accumulate(codes, axis=1))
    return np.diff(np.clip(codes, 0, NONE).astype(np.uint16), axis=1, prepend=np.uint16(0))


def hold_suspicion(held: Held, view: View, name: str) -> None:
    """Hold how suspicious each label is; the score itself is a column of the page."""
    record: Suspects = view.read(name, Suspects)
    usual = np.asarray(record.usual, np.int64)
    held.add(f"report/suspicion/{name}.json", as_text({"labels": record.labels, "k": record.k}))
    held.add(f"report/suspicion/{name}/agreement.bin", as_numbers(rounded(confidence_codes(record.agreement))))
    held.add(f"report/suspicion/{name}/usual.bin", as_numbers(np.where(usual < 0, NONE, usual).astype(np.uint16)))


def hold_twins(held: Held, view: View, name: str) -> None:
    """Hold the images that have a twin in the other split, with their twins, the most alike first."""
    pairs = view.read(name, Leaks).pairs
    found: dict[int, list[int]] = {}
    for one, other in pairs[["train", "held_out"]].itertuples(index=False):
        found.setdefault(int(one), []).append(int(other))
        found.setdefault(int(other), []).append(int(one))
    held.add(f"report/twins/{name}.json", as_text({str(row): twins for row, twins in found.items()}))
