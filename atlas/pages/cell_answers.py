"""What the page fetches of a layout's cells: where they lie, what they hold and argue for, and their icons in sheets."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from atlas.activations.records import Predictions
from atlas.errors import AtlasError
from atlas.maps.cell_looks import class_opacity, icon_sides, label_opacity
from atlas.maps.records import Cells, Layout
from atlas.pages.columns import on_page, output_name
from atlas.pages.preferred_answers import ACROSS, sheet_of
from atlas.pages.serving import KEY, NUMBER, Answer, Routes, as_json, owner_of, raw, tidy
from atlas.pages.view import View
from atlas.preferred.records import Icons

NOWHERE = 65_535  # in place of a cell's number
TOP_CLASSES = 3  # of a cell's members, told when it is pointed at
SAMPLED = 6  # images shown of a cell


def cells_part(view: View) -> list[dict[str, Any]]:
    """Return the cells of every layout that has some: the newest of each, of which icons were drawn where any were."""
    found: dict[str, dict[str, Any]] = {}
    icons = {view.inputs(name, "cells")[0]: name for name in view.of_stage("icons")}
    for name in view.of_stage("cells"):
        layout = view.inputs(name, "layout")[0]
        if not view.of_these_images(name) or layout not in {key for space in view.spaces for key in space.layouts}:
            continue
        if found.get(layout, {}).get("icons") and name not in icons:
            continue
        record = view.read(name, Cells)
        found[layout] = {
            "key": name,
            "layout": layout,
            "sizes": list(record.sizes),
            "cells": len(record.grid),
            "attributed": record.attributed,
            "icons": icons_part(view, icons[name]) if name in icons else None,
        }
    return list(found.values())


def icons_part(view: View, name: str) -> dict[str, Any]:
    """Return what the page needs of some icons: their key, their size, how they were drawn."""
    record = view.read(name, Icons)
    return {
        "key": name,
        "size": list(record.images.shape[1:3]),
        "across": ACROSS,
        "param": record.parameterisation,
        "prior": record.prior,
        "failed": int(record.failed.sum()),
    }


@functools.lru_cache(maxsize=32)
def table(key: str) -> Answer:
    """Return the cells as a list for each column: bounds in the page's unit, counts, labels, samples, how each icon is."""
    view = owner_of(key, "cells")
    record: Cells = view.read(key, Cells)
    told = _bounds(view, key, record) | _held(view, key, record) | _argued(view, key, record)
    return as_json(told | _drawn(view, key))


def _bounds(view: View, key: str, record: Cells) -> dict[str, Any]:
    """Where each cell lies: its lower corner, and the sides of a cell of each grid."""
    xy = np.nan_to_num(np.asarray(view.read(view.inputs(key, "layout")[0], Layout).xy, np.float64))
    low, high = np.asarray(record.low), np.asarray(record.high)
    sides = [(high - low) / size for size in record.sizes]
    place = np.column_stack([record.column, record.row])
    corner = low + place * np.stack(sides)[record.grid]
    corners = on_page(np.concatenate([corner, corner + np.stack(sides)[record.grid]]), xy).round(1)
    first, last = np.split(corners, 2)
    return {
        "grid": record.grid.tolist(),
        "x0": first[:, 0].tolist(), "y0": first[:, 1].tolist(), "x1": last[:, 0].tolist(), "y1": last[:, 1].tolist(),
    }  # fmt: skip


def _held(view: View, key: str, record: Cells) -> dict[str, Any]:
    """What each cell holds: points, images, its most frequent classes, and images near its mean."""
    members = np.asarray(record.members)
    order = np.argsort(-members, axis=1, kind="stable")[:, :TOP_CLASSES]
    image = np.append(view.point_image(view.inputs(key, "activations")[0]), -1)
    samples = image[np.asarray(record.representatives)][:, :SAMPLED]
    return {
        "points": record.points.tolist(),
        "images": record.images.tolist(),
        "few": record.few.astype(int).tolist(),
        "side": tidy(icon_sides(record)),
        "purity": tidy(np.asarray(record.purity)),
        "classes": order.tolist(),
        "members": np.take_along_axis(members, order, axis=1).tolist(),
        "samples": [[row for row in rows if row >= 0] for rows in samples.tolist()],
    }


def _argued(view: View, key: str, record: Cells) -> dict[str, Any]:
    """What each cell argues for: outputs by name, their mean attribution, how opaque the first is; none without."""
    name = predictions_of(view, key)
    if record.attributed is None or name is None:
        return {"outputs": [], "names": [], "values": [], "opacity": []}
    said: Predictions = view.read(name, Predictions)
    outputs, there = np.asarray(record.best), argued_outputs(record)
    return {
        "outputs": np.where(outputs >= 0, np.searchsorted(there, outputs), -1).tolist(),
        "names": [output_name(said, int(output)) for output in there],
        "codes": said.map.labels_of(there).tolist() if said.map.labels == view.images.labels else [-1] * len(there),
        "values": [tidy(row) for row in np.asarray(record.best_value)],
        "opacity": tidy(label_opacity(record)),
    }


def argued_outputs(record: Cells) -> np.ndarray:
    """Return the outputs that the page knows by name, in their order: the first few of any cell."""
    outputs = np.asarray(record.best)
    return np.unique(outputs[outputs >= 0])


def predictions_of(view: View, key: str) -> str | None:
    """Return the predictions of the network whose layers some cells are of; None where there are none."""
    sources = set(view.inputs(key, "activations"))
    return next((space.predictions for space in view.spaces if set(space.activations) == sources), None)


def _drawn(view: View, key: str) -> dict[str, Any]:
    """How each cell's icon came out; nothing where none were drawn."""
    names = [name for name in view.of_stage("icons") if view.inputs(name, "cells") == [key]]
    if not names:
        return {"cosine": [], "failed": []}
    record: Icons = view.read(names[-1], Icons)
    return {"cosine": tidy(np.asarray(record.cosine)), "failed": record.failed.astype(int).tolist()}


def of_points(key: str, number: str) -> Answer:
    """Return the cell of each point in one grid: uint16 [point], NOWHERE for none."""
    record: Cells = owner_of(key, "cells").read(key, Cells)
    if int(number) >= len(record.sizes):
        raise AtlasError(f"no grid {number}: there are {len(record.sizes)}")
    cell = np.asarray(record.point_cell)[int(number)]
    return raw(np.where((cell < 0) | (cell >= NOWHERE), NOWHERE, cell).astype(np.uint16))


@functools.lru_cache(maxsize=8)
def opacity(key: str) -> Answer:
    """Return how strongly each cell argues for each output named in `table`: uint8 [output, cell], 255 for most."""
    record: Cells = owner_of(key, "cells").read(key, Cells)
    found = [class_opacity(record, int(output)) for output in argued_outputs(record)]
    if not found:
        raise AtlasError(f"the cells of {key} have no attribution: attribute their layer first")
    return raw(np.round(255 * np.stack(found)).astype(np.uint8))


@functools.lru_cache(maxsize=64)
def sheet(key: str, number: str) -> Answer:
    """Return one sheet of icons, in the order of the cells: WebP."""
    return sheet_of(owner_of(key, "icons").read(key, Icons).images, int(number))


ROUTES: Routes = [
    (rf"/cells/{KEY}\.json", table),
    (rf"/cells/{KEY}/{NUMBER}\.bin", of_points),
    (rf"/opacity/{KEY}\.bin", opacity),
    (rf"/icons/{KEY}/{NUMBER}\.webp", sheet),
]
