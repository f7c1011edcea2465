"""What a map can be coloured by beyond what every atlas has: any unit of any layer, any column of the user's own table."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.activations.records import Activations, Statistics
from atlas.errors import AtlasError, one_line
from atlas.pages.columns import own_names
from atlas.pages.layers import call, layers, network_of, shared

if TYPE_CHECKING:
    from atlas.pages.view import Space, View

UNIT_STEPS, NO_UNIT = 254, 255  # a unit's values as uint8: the last code is kept for images without a point
OWN_STEPS, NO_OWN = 65_534, 65_535  # an amount, or the number of a name, as uint16
MOST_NAMES = 1_000  # a legend of more cannot be read
FEW_NAMES = 40  # as many as there are colours: up to here names are names, though every image has its own
DAY = r"\d{4}-\d{2}-\d{2}"  # how a date begins, so that "2020" and "may" stay what they are


# -- units -----------------------------------------------------------------------------------------------------------------


def layer_called(view: View, wanted: str, network: str | None) -> str | None:
    """Return what a page calls the layer `wanted`; a bare name that several networks share means that of `network`."""
    known = layers(view)
    own = (key for key, name in known.items() if _is(view, name, wanted) and network_of(view, name) == network)
    return wanted if wanted in known else next(own, None)


def _is(view: View, name: str, layer: str) -> bool:
    return str(view.headers[name]["fields"]["layer"]) == layer


def unit_values(view: View, name: str, number: int) -> tuple[float, float, np.ndarray]:
    """Return one unit's least and largest value, and every image's code between them: uint8 [image].

    An image without a point has NO_UNIT; one of which several positions were sampled has its
    largest. An unknown unit raises AtlasError.
    """
    record: Activations = view.read(name, Activations)
    if not 0 <= number < record.unit_count:
        raise AtlasError(f"no unit {number}: {one_line(record.layer)} has {record.unit_count}")
    values = np.asarray(np.asarray(record.units)[number], np.float32)
    codes = np.round(values * (UNIT_STEPS / 255)).astype(np.int16)
    largest = np.full(len(view.images), -1, np.int16)
    np.maximum.at(largest, view.point_image(name), codes)
    largest[largest < 0] = NO_UNIT
    return float(record.unit_low[number]), float(record.unit_high[number]), largest.astype(np.uint8)


# -- the user's columns ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Own:
    """One of the user's columns as colours: names, an amount, dates; or too many names, or nothing, to colour by."""

    name: str
    kind: str  # "names", "amount", "date" (an amount in seconds since 1970), "many" or "nothing"
    distinct: int
    codes: np.ndarray  # uint16 [image], NO_OWN where it has no value
    names: list[str] = field(default_factory=list)
    ends: tuple[float, float] | None = None
    of_label: list[int] | None = None  # the name of each class where all its images share one: a class of classes

    @property
    def colours(self) -> bool:
        """Whether a map can be coloured by it."""
        return self.kind in ("names", "amount", "date")


@functools.lru_cache(maxsize=8)
def own_columns(view: View) -> list[Own]:
    """Return the user's columns of the images table, in its order."""
    table = view.images.table
    return [_with_classes(view, own_column(name, table[name])) for name in own_names(table)]


def own_column(name: str, values: pd.Series[Any]) -> Own:
    """Return a column as colours, by what it holds: numbers are an amount, days are dates, other values are names."""
    if pd.api.types.is_bool_dtype(values):
        return _named(name, values.astype("object").map({True: "yes", False: "no"}))
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_complex_dtype(values):
        return _amount(name, "amount", values.to_numpy(np.float64, na_value=np.nan))
    if pd.api.types.is_datetime64_any_dtype(values):
        return _amount(name, "date", _seconds(values))
    words = values.where(values.isna(), values.astype(str))
    return _dated(name, words) or _named(name, words)


def _amount(name: str, kind: str, numbers: np.ndarray) -> Own:
    there = np.isfinite(numbers)
    if not there.any():
        return Own(name, "nothing", 0, np.full(len(numbers), NO_OWN, np.uint16))
    low, high = float(numbers[there].min()), float(numbers[there].max())
    share = (np.where(there, numbers, low) / 2 - low / 2) / max(high / 2 - low / 2, 1e-300)  # halves: no overflow
    codes = np.where(there, np.round(np.clip(share, 0, 1) * OWN_STEPS), NO_OWN).astype(np.uint16)
    return Own(name, kind, len(np.unique(numbers[there])), codes, ends=(low, high))


def _seconds(values: pd.Series[Any]) -> np.ndarray:
    times = pd.to_datetime(values, utc=True, errors="coerce").dt.tz_localize(None).to_numpy("datetime64[ms]")
    return np.where(np.isnat(times), np.nan, times.astype(np.int64) / 1000)


def _dated(name: str, words: pd.Series[Any]) -> Own | None:
    """Return a column whose every value is a date, written as in 2024-05-31."""
    there = words.dropna()
    if not len(there) or not there.str.match(DAY).all():
        return None
    times = pd.to_datetime(words, format="ISO8601", utc=True, errors="coerce")
    return _amount(name, "date", _seconds(times)) if times.notna().sum() == len(there) else None


def _named(name: str, words: pd.Series[Any]) -> Own:
    codes, names = pd.factorize(words, sort=True)
    distinct, there = len(names), int((codes >= 0).sum())
    many = distinct > MOST_NAMES or distinct > max(FEW_NAMES, there / 2)
    kind = "nothing" if not distinct else "many" if many else "names"
    kept = np.where(codes < 0, NO_OWN, codes) if kind == "names" else np.full(len(words), NO_OWN)
    return Own(name, kind, distinct, kept.astype(np.uint16), names=[str(one) for one in names] if kind == "names" else [])


def _with_classes(view: View, own: Own) -> Own:
    """Return `own` with the name of each class where all images of a class share one and there are fewer of them."""
    classes = len(view.images.labels)
    if own.kind != "names" or not 1 < own.distinct < classes:
        return own
    labels, codes = view.images.codes, own.codes.astype(np.int64)
    known = (labels >= 0) & (codes != NO_OWN)
    pairs = np.unique(labels[known].astype(np.int64) * NO_OWN + codes[known])
    of, first = np.unique(pairs // NO_OWN, return_index=True)
    if len(of) < len(pairs):  # a class with two of the names
        return own
    groups = np.full(classes, -1)
    groups[of] = pairs[first] % NO_OWN
    return Own(own.name, own.kind, own.distinct, own.codes, own.names, own.ends, groups.tolist())


# -- what a page is told, and what a link may ask for ----------------------------------------------------------------------


def own_part(own: Own) -> dict[str, Any]:
    """Return what the page's select needs of one of the user's columns; the rest comes when it is chosen."""
    return {"name": own.name, "kind": own.kind, "distinct": own.distinct, "classes": own.of_label is not None}


def named(view: View, space: Space, colour: str) -> str | None:
    """Return a link's colour as a page names it, ``unit:fc:17``, ``column:camera``, ``class``; None where there is none.

    A unit of a layer that several networks have is named with its network, ``unit:fc@network-8c1d:17``.
    """
    kind, _, rest = colour.partition(":")
    if kind == "unit" and rest:
        unit = unit_called(view, rest, space.network)
        return None if unit is None else f"unit:{unit[0]}:{unit[1]}"
    if kind == "column" and rest:
        return colour if any(own.name == rest and own.colours for own in own_columns(view)) else None
    return colour if colour in view.colours(space) else None


def unit_named(view: View, words: str, network: str | None) -> str | None:
    """Return a link's unit, ``fc:17``, with the name that means its layer alone; None where it has no panel.

    A panel shows a layer's statistics; the layer is named as links call it, bare, or by the key of its statistics.
    """
    layer, _, number = words.rpartition(":")
    found = statistics_called(view, layer, network)
    if found is None or not _number(number):
        return None
    whole = int(number) < view.read(found, Statistics).mean.shape[1]
    bare = layer in shared(view)
    return None if not whole else f"{call(view, found) if bare else layer}:{int(number)}"


def statistics_called(view: View, wanted: str, network: str | None) -> str | None:
    """Return the statistics of the layer that a link calls `wanted`, those of `network` where a bare name is shared."""
    names, recorded = view.of_stage("statistics"), layers(view).get(wanted)
    bare = [name for name in names if _is(view, name, wanted)]
    own = [name for name in bare if network_of(view, name) == network]
    called = [name for name in names if wanted in (name, call(view, name))]
    return next(iter([*called, *(view.statistics_of(recorded) if recorded else []), *own, *bare]), None)


def unit_called(view: View, words: str, network: str | None) -> tuple[str, int] | None:
    """Return the layer and the number of a unit as a link writes it, ``fc:17``; None where there is none such."""
    wanted, _, number = words.rpartition(":")
    layer = layer_called(view, wanted, network)
    if layer is None or not _number(number):
        return None
    return (layer, int(number)) if int(number) < view.headers[layers(view)[layer]]["fields"]["unit_count"] else None


def _number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 8
