"""Tables as CSV that a spreadsheet opens as what they are: no cell of a stranger's text is run as a formula."""

from __future__ import annotations

import csv
from typing import Any

import pandas as pd

HOSTILE = ("=", "+", "-", "@", "\t", "\r", "\n")  # how a cell begins that a spreadsheet runs (OWASP, CSV injection)


def guarded(cell: Any) -> Any:
    """Return a cell of text as a spreadsheet takes it for text: one that it would run begins with an apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(HOSTILE) else cell


def as_csv(table: pd.DataFrame) -> bytes:
    """Return a table as CSV in UTF-8, text quoted; what a spreadsheet would run as a formula is `guarded`, headings too."""
    words = [name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    safe = table.assign(**{name: table[name].map(guarded, na_action="ignore") for name in words})
    told = safe.rename(columns=guarded).to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return bytes(told.encode("utf-8", "replace"))
