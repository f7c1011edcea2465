"""What the page fetches of units: a layer's table, its orders, pairs of classes, one class across layers, one unit's codes.

Plain functions by an artifact's key and whole numbers, as in `answers`. Statistics are over images of any split unless one
is named by its number, `ALL_SPLITS` for all.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from atlas.activations.records import Activations, Predictions, Statistics
from atlas.data.records import SPLITS
from atlas.errors import AtlasError
from atlas.pages.feature_answers import selectivity_of
from atlas.pages.layers import call
from atlas.pages.serving import KEY, NUMBER, Answer, Routes, as_json, owner_of, raw, split_of, tidy
from atlas.pages.view import ALL_SPLITS, View, newest
from atlas.patterns.units import (
    Moments,
    effect,
    favourite,
    judged,
    moments,
    of_split,
    outstanding,
    pair_moments,
    selectivity,
    similarity_order,
    with_images,
)

SHOWN_LEVELS = (0, 5, 25, 50, 75, 95, 100)  # percent: the quantiles a unit's panel tells
FEW_LAYERS = 2  # from so many layers on one class is drawn across them


# -- what there is, told once with the manifest ----------------------------------------------------------------------------


@functools.lru_cache(maxsize=16)
def layers_part(view: View) -> list[dict[str, Any]]:
    """Return every layer that has statistics, in order of execution: keys, names and numbers."""
    names = [name for name in view.of_stage("statistics") if _of_these(view, name)]
    numbered = sorted(names, key=lambda name: (_network(view, name) or "", int(_field(view, name, "number") or 0)))
    sources = activations_of(view)
    return [layer_part(view, name, sources.get(name)) for name in numbered]


def layer_part(view: View, name: str, source: str | None) -> dict[str, Any]:
    """Return what the page needs to know of one layer's statistics; `source` are the activations its codes come from."""
    return {
        "key": name,
        "layer": str(_field(view, name, "layer")),
        "call": call(view, name),
        "functional": str(_field(view, name, "functional")),
        "units": _unit_count(view, name),
        "network": _network(view, name),
        "predictions": predictions_of(view, name),
        "activations": source,
        "selectivity": selectivity_of(view, str(_field(view, name, "layer")), _network(view, name)),
        "coded": None if source is None else str(_field(view, source, "functional")),
        "identity": source is not None and _identity(view, source),  # point n is image n
    }


def _unit_count(view: View, name: str) -> int:
    """Return how many units a layer has, from one array's header: to open all arrays of 512 layers takes seconds."""
    try:
        return int(np.load(view.store.path(name) / "mean.npy", mmap_mode="r", allow_pickle=False).shape[1])
    except (OSError, ValueError, IndexError):
        return int(view.read(name, Statistics).mean.shape[1])  # which says what is damaged


def across_part(view: View) -> list[dict[str, Any]]:
    """Return the sets of layers across which one class can be drawn: those of one network and one functional."""
    return [
        {"key": names[0], "digest": digest_of(names), "network": _network(view, names[0]), "layers": names}
        for names in _across(view)
    ]


def _across(view: View) -> list[list[str]]:
    grouped: dict[tuple[Any, Any], list[str]] = {}
    for part in layers_part(view):
        grouped.setdefault((part["network"], part["functional"]), []).append(part["key"])
    return [names for names in grouped.values() if len(names) >= FEW_LAYERS]


def digest_of(names: Iterable[str]) -> str:
    """Return a hash of the names of a set of layers, which changes when the set does."""
    return hashlib.sha256(" ".join(names).encode()).hexdigest()[:16]


def _field(view: View, name: str, field: str) -> Any:
    return view.headers[name].get("fields", {}).get(field)


def _network(view: View, name: str) -> str | None:
    return next(iter(view.inputs(name, "network")), None)


def _of_these(view: View, name: str) -> bool:
    return view.inputs(name, "images") in ([], [view.images_name])


def _identity(view: View, activations: str) -> bool:
    points = view.point_image(activations)
    return len(points) == len(view.images) and bool((points == np.arange(len(points))).all())


def activations_of(view: View) -> dict[str, str]:
    """Return, by statistics, the activations of the same layer and network, those of the same functional first."""
    found: dict[str, str] = {}
    for name in filter(functools.partial(_of_these, view), view.of_stage("activations")):
        for statistics in view.statistics_of(name):
            exact = _field(view, name, "functional") == _field(view, statistics, "functional")
            if exact or statistics not in found:
                found[statistics] = name
    return found


def predictions_of(view: View, statistics: str) -> str | None:
    """Return the predictions of the network that some statistics are of."""
    network = _network(view, statistics)
    mine = (n for n in view.of_stage("predictions") if _of_these(view, n) and network in (None, *view.inputs(n, "network")))
    return newest(mine)


# -- one layer -------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def units(key: str, split: str) -> Answer:
    """Return the table of a layer's units over one split: a list for each column."""
    view, record = _statistics(key)
    number = split_of(split)
    whole = moments(record, of_split(record, _split_name(number)))
    count = int(np.asarray(record.count).sum())
    told = {
        "layer": record.layer, "functional": record.functional, "images": whole.count, "all": count,
        "noun": "point" if record.functional.startswith("positions") else "image",
        "ranks": int(record.top_image.shape[0]), "levels": list(SHOWN_LEVELS), "judged": judged(record),
        "mean": tidy(whole.mean), "std": tidy(whole.std), "nonfinite": np.asarray(record.nonfinite).tolist(),
        "zeros": tidy(np.asarray(record.zeros) / max(count, 1)), "dead": dead(record).astype(int).tolist(),
    }  # fmt: skip
    return as_json(told | _classes(view, key, number))


def dead(record: Statistics) -> np.ndarray:
    """Return which units are never above 0, over all images: bool [unit]."""
    top = np.asarray(record.top_value)
    return ~(top.max(axis=0, initial=-np.inf, where=np.isfinite(top)) > 0)


def _classes(view: View, key: str, split: int) -> dict[str, Any]:
    """Return of each unit the class that excites it most and how selective it is, over the class patterns' images."""
    if not view.images.labels:
        return {"class": None, "selectivity": None, "outstanding": None}
    found = view.patterns(key, split)
    return {
        "class": favourite(found.mean).tolist(),
        "selectivity": tidy(selectivity(found.mean)),
        "outstanding": tidy(outstanding(found.mean, found.std)),
    }


def unit_array(key: str, what: str) -> Answer:
    """Return what a unit's panel shows beside its classes: top_image int32, top_value float32 [rank, unit], quantiles."""
    record = _statistics(key)[1]
    if what == "quantiles":
        places = [round(level / 100 * (len(record.quantiles) - 1)) for level in SHOWN_LEVELS]
        return raw(np.asarray(record.quantiles[places], "<f4"))
    return raw(np.asarray(getattr(record, what), "<i4" if what == "top_image" else "<f4"))


@functools.lru_cache(maxsize=64)
def order(key: str, split: str) -> Answer:
    """Return the orders of a layer's units and classes that take some computing: those in which the alike stand together."""
    view, _ = _statistics(key)
    found = view.patterns(key, split_of(split))
    return as_json(
        {
            "units": similarity_order(found.mean[found.count > 0].T).tolist(),
            "classes": similarity_order(_contrast(found.mean)).tolist(),
        }
    )


def _contrast(mean: np.ndarray) -> np.ndarray:
    """Return class means less the mean over classes, zeros for a class without images: float64 [class, unit]."""
    there = with_images(mean)
    return np.where(there[:, None], mean - (mean[there].mean(axis=0) if there.any() else 0.0), 0.0)


@functools.lru_cache(maxsize=64)
def pair(key: str, split: str, first: str, second: str) -> Answer:
    """Return two classes beside each other: one right, one taken for the other, the other right; and their differences."""
    view, record = _statistics(key)
    one, other = (_label(view, number) for number in (first, second))
    parts = pair_moments(record, taken(view, key, record), one, other, split=_split_name(split_of(split)))
    return as_json(
        {
            "judged": judged(record),
            "count": [part.count for part in parts],
            "mean": [tidy(part.mean) for part in parts],
            "std": [tidy(part.std) for part in parts],
            "classes": _difference(parts[0], parts[2]),
            "taken": _difference(parts[0], parts[1]),
        }
    )


def _difference(one: Moments, other: Moments) -> dict[str, Any]:
    return {"difference": tidy(one.mean - other.mean), "effect": tidy(effect(one, other))}


def taken(view: View, key: str, record: Statistics) -> np.ndarray:
    """Return the label that each group's prediction stands for, -1 for none: int [group]."""
    outputs = np.asarray(record.groups)[:, 2]
    name = predictions_of(view, key)
    mapped = name is not None and view.read(name, Predictions).map.labels == view.images.labels
    return view.read(str(name), Predictions).map.labels_of(outputs) if mapped else np.full(len(outputs), -1)


def across(key: str, digest: str, split: str, label: str, what: str) -> Answer:
    """Return one class's pattern in each layer of a set, one after the other: float32 [units of all layers].

    `what` is mean, std, or contrast: its mean less the mean over classes.
    """
    view, _ = _statistics(key)
    names = next((names for names in _across(view) if digest_of(names) == digest), None)
    if names is None:
        raise AtlasError("this set of layers is not shown: load the page again")
    number, row = split_of(split), _label(view, label)
    return raw(np.concatenate([_row(view, name, number, row, what) for name in names]).astype("<f4"))


def _row(view: View, name: str, split: int, row: int, what: str) -> np.ndarray:
    found = view.patterns(name, split)
    if what == "contrast":
        return found.mean[row] - np.nanmean(found.mean, axis=0) if found.count[row] else found.mean[row]
    return np.asarray(getattr(found, what)[row])


# -- one unit over the points ----------------------------------------------------------------------------------------------


def codes(key: str, unit: str) -> Answer:
    """Return one unit's activations as codes, uint8 [point]."""
    record, number = _unit(key, unit)
    return raw(np.asarray(cast(np.ndarray, record.units)[number], np.uint8))


def scale(key: str, unit: str) -> Answer:
    """Return what a unit's codes 0 and 255 stand for; values beyond have the codes of the ends."""
    record, number = _unit(key, unit)
    return as_json({"low": float(record.unit_low[number]), "high": float(record.unit_high[number])})


def _unit(key: str, unit: str) -> tuple[Activations, int]:
    view = owner_of(key, "activations")
    record: Activations = view.read(key, Activations)
    if int(unit) >= record.unit_count:
        raise AtlasError(f"{record.layer} has no unit {unit}: it has {record.unit_count}")
    return record, int(unit)


def _statistics(key: str) -> tuple[View, Statistics]:
    view = owner_of(key, "statistics")
    return view, view.read(key, Statistics)


def _label(view: View, number: str) -> int:
    if int(number) >= len(view.images.labels):
        raise AtlasError(f"no class {number}: there are {len(view.images.labels)}")
    return int(number)


def _split_name(number: int) -> str | None:
    return None if number == ALL_SPLITS else SPLITS[number]


ROUTES: Routes = [
    (rf"/units/{KEY}/([0-3])\.json", units),
    (rf"/units/{KEY}/(top_image|top_value|quantiles)\.bin", unit_array),
    (rf"/order/{KEY}/([0-3])\.json", order),
    (rf"/pair/{KEY}/([0-3])/{NUMBER}/{NUMBER}\.json", pair),
    (rf"/across/{KEY}/([0-9a-f]{{16}})/([0-3])/{NUMBER}/(mean|std|contrast)\.bin", across),
    (rf"/codes/{KEY}/{NUMBER}\.bin", codes),
    (rf"/codes/{KEY}/{NUMBER}\.json", scale),
]
