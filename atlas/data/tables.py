"""Images named by a CSV or Parquet table: path, label, split, and whatever else the user keeps of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from atlas.data.folders import file_hashes
from atlas.data.hashes import file_sha256
from atlas.data.listing import Listing, listing_table, split_word
from atlas.data.reading import inside
from atlas.data.records import COLUMNS, SAID
from atlas.errors import AtlasError, one_line

OURS = ("path", "label", "split")
SUFFIXES = (".csv", ".parquet")


def list_table(file: Path) -> Listing:
    """Return the images that the table `file` names, in its order; paths are relative to the table's folder.

    A file that is missing keeps its row. Raises AtlasError without a column ``path``, and for a path that leads out of the
    table's folder.
    """
    given = _read(file)
    if "path" not in given:
        found = ", ".join(one_line(name, 40) for name in given.columns[:12])
        raise AtlasError(
            f"{file} has no column `path`: its columns are {found or 'none'}; name the column of image files so"
        )
    if given.empty:
        raise AtlasError(f"{file} has no rows: each row names one image in its column `path`")
    root = Path(os.path.realpath(file.parent))
    paths = _paths(given["path"], root, file)
    labels = [_label(value) for value in given["label"]] if "label" in given else [None] * len(given)
    splits = [split_word(value) for value in given["split"]] if "split" in given else ["unknown"] * len(given)
    unread = [value for value, split in zip(given.get("split", []), splits, strict=False) if split == "unknown"]
    words = sorted({one_line(value, 40) for value in unread if str(value).strip().lower() not in ("", "nan", "unknown")})
    return Listing(
        table=pd.concat([listing_table(paths, labels, splits), _users_columns(given)], axis=1),
        labels=sorted({label for label in labels if label is not None}),
        title=file.stem,
        source={"kind": "table", "root": root, "table": file.name},
        hash=file_hashes(root, paths),
        content=file_sha256(file),
        notes=[f"the splits {', '.join(words[:5])} are neither train nor held-out: taken as unknown"] if words else [],
    )


def _read(file: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(file) if file.suffix.lower() == ".parquet" else _read_csv(file)
        table = table.reset_index(drop=table.index.names == [None])  # a named index is a column that the user had
    except Exception as reason:  # the readers raise many kinds for a file that is not what its name says
        raise AtlasError(f"the table {file} cannot be read: {one_line(reason)}") from None
    table.columns = [str(name) for name in table.columns]
    return table


def _read_csv(file: Path) -> pd.DataFrame:
    table = pd.read_csv(file, encoding="utf-8-sig", low_memory=False, index_col=False)
    ours = [name for name in OURS if name in table]
    if ours:  # as they stand: a label "NA" or "007" is a name, neither a missing value nor a number
        table[ours] = pd.read_csv(
            file, encoding="utf-8-sig", usecols=ours, dtype=str, keep_default_na=False, index_col=False
        )[ours]
    return table


def _paths(values: Iterable[object], root: Path, file: Path) -> list[str]:
    paths, outside = [], []
    as_given = Path(os.path.abspath(file.parent))  # noqa: PTH100  (`root` without its links followed, for absolute paths)
    for row, value in enumerate(values):
        given = "" if value is None or value is pd.NA or value != value else str(value)
        path = Path(os.path.normpath(root / given))
        if path.is_relative_to(as_given):
            path = root / path.relative_to(as_given)
        if not given.strip():
            raise AtlasError(f"{file} has no path in row {row + 1}: each row names one image in its column `path`")
        if "\0" in given:
            raise AtlasError(f"{file} has a path with a NUL in row {row + 1}: {one_line(given)}")
        if not path.is_relative_to(root) or not inside(path, root):
            outside.append(given)
        else:
            paths.append(path.relative_to(root).as_posix())
    if outside:
        raise AtlasError(
            f"{len(outside)} of the paths in {file} lead out of its folder {root}, the first is {one_line(outside[0])}: "
            "put the table above the images"
        )
    return paths


def _label(value: object) -> str | None:
    if value is None or value is pd.NA or value != value or str(value) == "":
        return None
    if isinstance(value, float) and value.is_integer():  # whole numbers beside missing ones come as floats
        value = int(value)
    return str(value)


def _users_columns(given: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that are not ours, those of our names as ``user.NAME``."""
    users = given.drop(columns=[name for name in OURS if name in given.columns])
    taken = {*COLUMNS, *SAID}
    names = []
    for name in users.columns:
        while name in taken:
            name = f"user.{name}"
        taken.add(name)
        names.append(name)
    users.columns = names
    return users.astype({name: np.float64 for name in names if users[name].dtype == np.float16})
