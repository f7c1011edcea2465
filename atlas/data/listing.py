"""What a source of images lists before any pixel is read: one row per image with its path, label and split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from atlas.data.hashes import FileHashes
from atlas.data.records import SPLITS
from atlas.errors import choose

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "test", "testing", "held-out", "heldout", "dev"), "held-out"),
}
Advance = Callable[[int], None]
# SHA-256 of the images in `rows` of the listing, None where there are no bytes to read; moves the progress on.
Hash = Callable[[np.ndarray, FileHashes, Advance], Sequence[str | None]]


@dataclass(frozen=True)
class Listing:
    """Every image that a source has, in its own order; `table` has path, label and split, then the user's columns."""

    table: pd.DataFrame
    labels: list[str]
    title: str
    source: dict[str, Any]  # as `Images.source`; "root" is added with the atlas's folder
    hash: Hash
    counts: dict[str, int] = field(default_factory=dict)  # of what is no image: ignored, refused
    content: str = ""  # SHA-256 of a table's own file
    dataset: Any = None  # the user's object
    notes: list[str] = field(default_factory=list)  # what the user should know of what was not taken as it stands


def split_word(value: object) -> str:
    """Return which of SPLITS a word stands for; unknown for any other, or none."""
    return SPLIT_WORDS.get(str(value).strip().lower().replace("_", "-"), "unknown")


def wanted_split(value: str) -> str:
    """Return which of SPLITS the user's ``split=`` means; AtlasError for no known word."""
    if value.strip().lower() not in ("unknown", *SPLIT_WORDS):
        raise choose("split", value, SPLITS)
    return split_word(value)


def text(values: Iterable[object]) -> pd.Series:
    """Return a column of text, missing where a value is None."""
    return pd.Series(list(values), dtype=pd.StringDtype(na_value=np.nan))


def listing_table(paths: Iterable[str], labels: Iterable[str | None], splits: Iterable[str]) -> pd.DataFrame:
    """Return the columns that every listing has."""
    return pd.DataFrame({"path": text(paths), "label": text(labels), "split": text(splits)})
