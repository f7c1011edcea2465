"""Images found by what is written of them: file names, image ids, the user's own columns; and those columns as numbers."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import pandas as pd

from atlas.errors import AtlasError
from atlas.pages.columns import own_names, read_only
from atlas.pages.view import View

LONGEST = 200  # characters of a question
MOST = 50  # answers
VALUES = 1000  # distinct values from which a column is text to search in, and no list to choose from
DAY = re.compile(r"\d{4}-\d{2}-\d{2}(?!\d)")  # how a date begins
NO_VALUE = 65_535  # the code of a missing category


@functools.lru_cache(maxsize=32)
def _own(view: View, number: int) -> tuple[dict[str, Any], np.ndarray]:
    """What the page is told of a column, and its values [image]: float64 of numbers and dates, else uint16 codes."""
    names = own_names(view.images.table)
    if number >= len(names):
        raise AtlasError(f"no column {number}: there are {len(names)} of the user's own")
    values = view.images.table[names[number]]
    told = {"name": names[number], "missing": int(values.isna().sum())}
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return _numbers(told, values)
    days = _days(values)
    return _categories(told, values) if days is None else _numbers(told, days, kind="date")


def _days(values: pd.Series) -> pd.Series | None:
    """Return dates as seconds since 1970, where all there are were read as dates or are written as 2024-05-31."""
    there = values.dropna()
    if not pd.api.types.is_datetime64_any_dtype(values):
        if not len(there) or not there.map(lambda value: isinstance(value, str) and bool(DAY.match(value))).all():
            return None
        values = pd.to_datetime(values, format="ISO8601", utc=True, errors="coerce")
    times = pd.to_datetime(values, utc=True).dt.tz_localize(None).to_numpy("datetime64[ms]")
    if np.isnat(times).sum() > len(values) - len(there):  # one that only looks like a date: 2024-13-99
        return None
    return pd.Series(np.where(np.isnat(times), np.nan, times.astype(np.int64) / 1000))


def _numbers(told: dict[str, Any], values: pd.Series, kind: str = "number") -> tuple[dict[str, Any], np.ndarray]:
    numbers = values.to_numpy(np.float64, na_value=np.nan)
    finite = numbers[np.isfinite(numbers)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (None, None)
    whole = bool(len(finite) and (finite == np.round(finite)).all())
    return {**told, "kind": kind, "low": low, "high": high, "whole": whole}, read_only(numbers)


def _categories(told: dict[str, Any], values: pd.Series) -> tuple[dict[str, Any], np.ndarray]:
    codes, names = pd.factorize(as_words(values), sort=True)
    if len(names) > VALUES:
        return {**told, "kind": "text", "distinct": len(names)}, read_only(np.full(len(values), NO_VALUE, np.uint16))
    counts = np.bincount(codes[codes >= 0], minlength=len(names)).tolist()
    coded = np.where(codes < 0, NO_VALUE, codes).astype(np.uint16)
    return {**told, "kind": "category", "values": [str(n) for n in names], "counts": counts}, read_only(coded)


def as_words(values: pd.Series) -> pd.Series:
    """Return a column as text, missing where it is missing."""
    return values.map(str, na_action="ignore").astype(object)


def about_columns(view: View) -> list[dict[str, Any]]:
    """Return what the page is told of the user's columns: name, kind, missing, and range or values with their counts."""
    return [_own(view, number)[0] for number in range(len(own_names(view.images.table)))]


def column_values(view: View, number: int) -> np.ndarray:
    """Return a column of numbers as float64, of categories as codes uint16; one of free text raises AtlasError."""
    told, values = _own(view, number)
    if told["kind"] == "text":
        raise AtlasError(f"the column {told['name']} holds {told['distinct']} different texts: search in it")
    return values


# -- search ---------------------------------------------------------------------------------------------------------------


def find(view: View, asked: dict[str, Any], blob: bytes) -> dict[str, Any]:
    """Answer which files have the text in their path or image_id, and which columns' values have it, upper or lower case.

    At most MOST answers together, with how many there are; classes and predictions the page finds itself.
    """
    wanted = searched(asked)
    values = [one for number in range(len(own_names(view.images.table))) for one in _values(view, number, wanted)]
    rows = matches(view, wanted)
    left = MOST - min(len(values), MOST // 2)  # files are not crowded out by values, nor values by files
    table = view.images.table
    files = [
        {"row": row, "path": str(table["path"].iat[row]), "image_id": str(table["image_id"].iat[row])}
        for row in rows[:left].tolist()
    ]
    return {"files": files, "found": len(rows), "values": values[: MOST - len(files)], "values_found": len(values)}


def called(view: View, asked: dict[str, Any], blob: bytes) -> tuple[str, bytes]:
    """Answer which files have the text in their path or image_id: all of them, a bit for each image as numpy packs them."""
    mask = np.zeros(len(view.images), bool)
    mask[matches(view, searched(asked))] = True
    return "application/octet-stream", np.packbits(mask).tobytes()


def searched(asked: dict[str, Any]) -> str:
    """Return the text of a question, casefolded; AtlasError where there is none, or too much."""
    text = asked.get("text")
    if not isinstance(text, str) or not 0 < len(text.strip()) <= LONGEST:
        raise AtlasError(f"a search takes 1 to {LONGEST} characters")
    return text.strip().casefold()


def matches(view: View, wanted: str) -> np.ndarray:
    """Return the rows whose path or image_id holds `wanted` (casefolded), whole names and ids first: int [row]."""
    paths, ids = _folded(view)
    rows = np.array(
        [row for row, (path, id) in enumerate(zip(paths, ids, strict=True)) if wanted in path or wanted in id], int
    )
    whole = [wanted not in (ids[row], paths[row], paths[row].rpartition("/")[2]) for row in rows]
    return rows[np.argsort(whole, kind="stable")] if len(rows) else rows


@functools.lru_cache(maxsize=4)
def _folded(view: View) -> tuple[list[str], list[str]]:
    table = view.images.table
    return [str(path).casefold() for path in table["path"]], [str(id) for id in table["image_id"]]


def _values(view: View, number: int, wanted: str) -> list[dict[str, Any]]:
    """The values of one column that hold `wanted`: with their code where they are categories, with a row where text."""
    told, _ = _own(view, number)
    if told["kind"] == "category":
        pairs = enumerate(zip(told["values"], told["counts"], strict=True))
        return [
            {"column": number, "value": value, "code": code, "images": images}
            for code, (value, images) in pairs
            if wanted in value.casefold()
        ]
    words = _words(view, number)
    rows = [row for row, word in enumerate(words) if word is not None and wanted in word][: MOST + 1]
    column = view.images.table[told["name"]]
    return [{"column": number, "value": str(column.iat[row])[:LONGEST], "row": row} for row in rows]


@functools.lru_cache(maxsize=8)
def _words(view: View, number: int) -> list[str | None]:
    values = as_words(view.images.table[own_names(view.images.table)[number]])
    return [value.casefold() if isinstance(value, str) else None for value in values]
