"""The images record."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from atlas.fields import columns, of_stage
from atlas.store import Files

SPLITS = ("train", "held-out", "unknown")
# The columns that are ours in `Images.table`; a user's column of the same name is kept as `user.NAME`.
COLUMNS = ("image_id", "path", "label", "split", "width", "height", "mode", "error", "duplicate_of")
SAID = ("prediction", "confidence", "right")  # what `Atlas.images()` adds, so a user's column of such a name is renamed too


@of_stage("images")
@columns(table=COLUMNS)
@dataclass(frozen=True)
class Images:
    """One set of images, in order; a row is appended, never renumbered.

    ``table`` has one row per image and the columns
    ``image_id`` (str), ``path`` (str, relative to the source's root, or ``train/17`` in a dataset), ``label`` (str, or
    None where unlabelled), ``split`` (one of SPLITS), ``width``, ``height`` (int, as stored), ``mode`` (Pillow's word:
    L, RGB, RGBA, P, I;16, CMYK …), ``error`` (str, or None: why the file does not decode), ``duplicate_of`` (row of the
    first image with the same bytes, or -1), then the user's own columns.
    """

    table: pd.DataFrame
    labels: list[str]  # the classes, in the dataset's own order (for folders and tables: sorted)
    title: str
    source: dict[str, Any]  # how the pixels are read again: "kind" folder | table | named | dataset, "root" and more
    counts: dict[str, Any]  # images, undecodable, duplicates, unlabelled, available, limit, per split
    thumbnails: Files  # 000.webp, 001.webp, …: sheets in image order, row by row
    thumbnail_edge: int  # pixels; each image is fitted into a square of this edge
    sheet_columns: int  # a sheet holds sheet_columns × sheet_columns thumbnails

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def codes(self) -> np.ndarray:
        """Index into `labels` of each image's label, -1 where it has none: int32 [image]."""
        return pd.Categorical(self.table["label"], categories=self.labels).codes.astype(np.int32)

    @cached_property
    def splits(self) -> np.ndarray:
        """Index into SPLITS of each image's split: uint8 [image]."""
        found = pd.Categorical(self.table["split"], categories=list(SPLITS)).codes
        return np.where(found < 0, SPLITS.index("unknown"), found).astype(np.uint8)

    @cached_property
    def decoded(self) -> np.ndarray:
        """Rows of the images that decode: int64 [decoded image]."""
        return np.flatnonzero(self.table["error"].isna().to_numpy())
