"""What the page fetches of unusual associations: cells that argue for a class few members have, units across classes.

Both are over all images of the atlas, in a report of some of them too: as the cells and the statistics were counted.
"""

from __future__ import annotations

import functools
from typing import Any

import pandas as pd

from atlas.activations.records import Predictions, Statistics
from atlas.data.records import Images
from atlas.errors import AtlasError
from atlas.maps.records import Cells
from atlas.pages.cell_answers import predictions_of
from atlas.pages.serving import KEY, Answer, Routes, as_json, owner_of, tidy
from atlas.pages.view import View
from atlas.patterns.associations import crossing_units, unusual_cells

LISTED = 200  # of each ranked list: the rest is counted, and `atlas associations --json` has it


@functools.lru_cache(maxsize=32)
def unusual(key: str) -> Answer:
    """Return the cells whose argument is unusual, the most unusual first: a list for each column, labels as codes."""
    view = owner_of(key, "cells")
    predictions = predictions_of(view, key)
    if predictions is None:
        raise AtlasError(f"{key} has no predictions beside it, so that no cell argues for a class: build the atlas again")
    said: Predictions = view.read(predictions, Predictions)
    table = unusual_cells(view.read(key, Cells), said.map)
    shown = table.head(LISTED)
    told = {name: shown[name].tolist() for name in ("cell", "size", "points", "images")}
    told |= {name: tidy(shown[name].to_numpy(float)) for name in ("attribution", "share", "usual_share", "score")}
    told |= {name: _codes(view, shown[name]) for name in ("argues_for", "usual")}
    return as_json(told | {"few": shown["few"].astype(int).tolist(), "of": len(table), "left_out": dict(table.attrs)})


@functools.lru_cache(maxsize=32)
def crossing(key: str) -> Answer:
    """Return the units whose top images two classes share, the most evenly first: a list for each column."""
    view = owner_of(key, "statistics")
    images = view.store.read(view.images_name, Images)  # of a report's part too: which classes a unit crosses is no sample
    table = crossing_units(view.store.read(key, Statistics), images.codes, images.labels)
    shown = table.head(LISTED)
    told: dict[str, Any] = {name: shown[name].tolist() for name in ("unit", "classes", "images")}
    told |= {name: tidy(shown[name].to_numpy(float)) for name in ("first_share", "second_share", "score")}
    told |= {name: _codes(view, shown[name]) for name in ("first", "second")}
    return as_json(told | {"of": len(table), "left_out": dict(table.attrs)})


def _codes(view: View, names: pd.Series) -> list[int]:
    """Return the page's code of each label, -1 for none."""
    found = {label: code for code, label in enumerate(view.images.labels)}
    return [found.get(name, -1) for name in names.tolist()]


ROUTES: Routes = [
    (rf"/unusual/{KEY}\.json", unusual),
    (rf"/crossing/{KEY}\.json", crossing),
]
