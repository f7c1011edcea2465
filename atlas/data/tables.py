"""Images named by a CSV or Parquet table: path, label, split, and whatever else the user keeps of them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from atlas.data.folders import file_hashes
from atlas.data.hashes import file_sha256
from atlas.data.listing import Listing, listing_table, split_word, text
from atlas.data.reading import inside
from atlas.data.records import COLUMNS, SAID
from atlas.errors import AtlasError, one_line
from atlas.files import LONGEST_PATH

OURS = ("path", "label", "split")
SUFFIXES = (".csv", ".parquet")
NESTED = (list, tuple, dict, set, np.ndarray)
FORM = "give a CSV in UTF-8 with commas between its columns and a head of their names, or a Parquet file"


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
    users = _users_columns(given)
    as_text = _storable(users)
    words = sorted({one_line(value, 40) for value in unread if str(value).strip().lower() not in ("", "nan", "unknown")})
    return Listing(
        table=pd.concat([listing_table(paths, labels, splits), users], axis=1),
        labels=sorted({label for label in labels if label is not None}),
        title=file.stem,
        source={"kind": "table", "root": root, "table": file.name},
        hash=file_hashes(root, paths),
        content=file_sha256(file),
        notes=_notes(words, as_text),
    )


def _notes(splits: list[str], as_text: list[str]) -> list[str]:
    notes = []
    if splits:
        notes.append(f"the splits {', '.join(splits[:5])} are neither train nor held-out: taken as unknown")
    if as_text:
        names = ", ".join(one_line(name, 40) for name in as_text[:5])
        notes.append(f"{len(as_text)} columns of lists or the like are kept as text: {names}")
    return notes


def _read(file: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(file) if file.suffix.lower() == ".parquet" else _read_csv(file)
        table = table.reset_index(drop=table.index.names == [None])  # a named index is a column that the user had
        _check_text(table)
    except Exception as reason:  # the readers raise many kinds for a file that is not what its name says
        raise AtlasError(f"the table {one_line(file)} cannot be read ({one_line(reason, 160)}): {FORM}") from None
    table.columns = [str(name) for name in table.columns]
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise AtlasError(f"{one_line(file)} has two columns {one_line(twice[0], 40)}: give each a name of its own")
    return table


def _check_text(table: pd.DataFrame) -> None:
    """Raise UnicodeDecodeError for text in a Parquet table that is no UTF-8, which is found only when it is looked at."""
    for _, column in table.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.cat.categories.to_series()
        if isinstance(column.dtype, pd.StringDtype):
            column.to_list()


def _read_csv(file: Path) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the head: their ends would be cut off
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
        given = _path_text(value, row + 1, file)
        path = Path(os.path.normpath(root / given))
        if path.is_relative_to(as_given):
            path = root / path.relative_to(as_given)
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


def _path_text(value: object, row: int, file: Path) -> str:
    """Return a cell of the column ``path`` as text; AtlasError where it can be no path."""
    given = text_of(value) or ""
    if isinstance(value, NESTED):
        raise AtlasError(f"{file} has a {type(value).__name__} for a path in row {row}: make the column `path` text")
    if not given.strip():
        raise AtlasError(f"{file} has no path in row {row}: each row names one image in its column `path`")
    if "\0" in given:
        raise AtlasError(f"{file} has a path with a NUL in row {row}, {one_line(given, 80)}: mend it or leave the row out")
    if len(given.encode("utf-8", "surrogatepass")) > LONGEST_PATH:
        raise AtlasError(f"{file} has a path of {len(given)} characters in row {row}: no file has such a name; leave it out")
    return given


def text_of(value: object) -> str | None:
    """Return a cell as text, None where it is missing; bytes as the UTF-8 that they most likely are."""
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):  # type: ignore[call-overload]
        return None
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _label(value: object) -> str | None:
    if isinstance(value, float) and value.is_integer():  # whole numbers beside missing ones come as floats
        value = int(value)
    return text_of(value) or None


def _storable(users: pd.DataFrame) -> list[str]:
    """Turn the columns that no record can keep, lists and the like, into text in place; return their names."""
    nested = [str(name) for name in users if not _is_storable(users[name])]
    for name in nested:
        users[name] = text(text_of(_plain(value)) for value in users[name])
    return nested


def _is_storable(column: pd.Series) -> bool:
    import pyarrow

    try:
        return not any(isinstance(value, NESTED) for value in column) and bool(pyarrow.Array.from_pandas(column) is not None)
    except pyarrow.ArrowException:
        return False


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray) else value


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
    halves = {name: np.float64 for name in names if users[name].dtype == np.float16}  # which Parquet's readers do not take
    return users.astype(halves)
