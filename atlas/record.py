"""A record on disk: a frozen dataclass is a folder of arrays, tables and files, and a record.json written last."""

from __future__ import annotations

import dataclasses
import datetime
import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from atlas.errors import AtlasError, one_line
from atlas.fields import check_fields, check_plain
from atlas.files import read_json
from atlas.recipe import Recipe, installed_version

FORMAT = 1
R = TypeVar("R")
HEADER: dict[str, Any] = {  # what a record.json says beside its format
    "stage": str, "version": int, "key": str, "parameters": dict, "inputs": dict, "libraries": dict, "told": dict,
    "date": str, "seconds": (int, float), "fields": dict, "files": dict,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Stream:
    """An array too large to hold: its dtype, its shape, and its blocks along the first axis, written as they come."""

    dtype: Any
    shape: tuple[int, ...]
    blocks: Iterable[np.ndarray]


class Files(Mapping[str, Path]):
    """A field of whole files. To write: pairs of a name and bytes or a function that writes a path. Read: name → path."""

    def __init__(self, items: Iterable[tuple[str, bytes | Callable[[Path], Any]]] = (), *, folder: Path | None = None):
        self.items_to_write, self.folder = items, folder

    def _paths(self) -> dict[str, Path]:
        found = sorted(self.folder.iterdir()) if self.folder and self.folder.is_dir() else []
        return {path.name: path for path in found}

    def __getitem__(self, name: str) -> Path:
        return self._paths()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths())

    def __len__(self) -> int:
        return len(self._paths())


def write_synced(path: Path, write: Callable[[Any], Any]) -> None:
    """Open `path`, let `write` fill it, and return when its bytes are on the disk."""
    with path.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Return when the entries of `folder` are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, synced."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"
    write_synced(path, lambda file: file.write(text.encode("utf-8", "surrogatepass")))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence | set | frozenset):
        return list(value)
    raise TypeError(f"a record cannot hold a {type(value).__name__}")


def _write_bytes(body: bytes, file: Any) -> None:
    file.write(body)


def _write_stream(path: Path, stream: Stream) -> None:
    def write(file: Any) -> None:
        np.lib.format.write_array_header_2_0(
            file, {"descr": np.dtype(stream.dtype).str, "fortran_order": False, "shape": tuple(stream.shape)}
        )
        written = 0
        for block in stream.blocks:
            written += len(block)
            file.write(np.ascontiguousarray(block, dtype=stream.dtype).tobytes())
        assert written == stream.shape[0], (written, stream.shape)

    write_synced(path, write)


def _write_field(folder: Path, name: str, value: Any) -> str | None:
    """Write one field; return the file it went to, or None for a value that belongs in record.json."""
    if isinstance(value, np.ndarray):
        write_synced(folder / f"{name}.npy", lambda file: np.save(file, value, allow_pickle=False))
        return f"{name}.npy"
    if isinstance(value, Stream):
        _write_stream(folder / f"{name}.npy", value)
        return f"{name}.npy"
    if isinstance(value, pd.DataFrame):
        write_synced(folder / f"{name}.parquet", lambda file: value.to_parquet(file, index=False))
        return f"{name}.parquet"
    if isinstance(value, Files):
        (folder / name).mkdir()
        for file_name, body in value.items_to_write:
            path = folder / name / file_name
            if callable(body):
                _call_to_write(body, path)
                with path.open("rb") as written:
                    os.fsync(written.fileno())
            else:
                write_synced(path, partial(_write_bytes, body))
        sync_folder(folder / name)
        return f"{name}/"
    return None


def _call_to_write(body: Callable[[Path], Any], path: Path) -> None:
    try:
        body(path)
    except RuntimeError as reason:  # FAISS has no other word for a disk that is full
        full = os.strerror(errno.ENOSPC) in str(reason)
        raise OSError(errno.ENOSPC if full else errno.EIO, one_line(reason, 160)) from None


def bytes_of(record: Any) -> int:
    """Return the bytes of a record's arrays, those still to be streamed included."""
    values = [getattr(record, field.name) for field in dataclasses.fields(record)]
    arrays = sum(v.nbytes for v in values if isinstance(v, np.ndarray))
    streams = sum(int(np.prod(v.shape)) * np.dtype(v.dtype).itemsize for v in values if isinstance(v, Stream))
    return arrays + streams


def write_record(folder: Path, record: Any, recipe: Recipe, seconds: float = 0.0) -> None:
    """Write the dataclass `record` into the empty `folder`, record.json last."""
    plain: dict[str, Any] = {}
    files: dict[str, str] = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        written = _write_field(folder, field.name, value)
        if written:
            files[field.name] = written
        else:
            plain[field.name] = value
    header = {
        "format": FORMAT,
        "stage": recipe.stage,
        "version": recipe.version,
        "key": recipe.key,
        "parameters": recipe.parameters,
        "inputs": recipe.inputs,
        "libraries": {name: installed_version(name) for name in recipe.libraries},
        "told": recipe.told,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "fields": plain,
        "files": files,
    }
    write_json(folder / "record.json", header)
    sync_folder(folder)


def read_header(folder: Path) -> dict[str, Any]:
    """Return what `folder`/record.json says, checked for this program's format number."""
    path = folder / "record.json"
    try:
        header = read_json(path)
    except FileNotFoundError:
        raise AtlasError(f"no artifact at {folder}: there is no record.json in it") from None
    except (OSError, ValueError) as reason:
        raise AtlasError(f"{path} cannot be read ({one_line(reason)}): remove {folder} and build again") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else None
        raise AtlasError(
            f"{path} is of format {one_line(repr(found))} and this program reads {FORMAT}: remove {folder} and build again"
        )
    wrong = [name for name, kind in HEADER.items() if not isinstance(header.get(name), kind)]
    if wrong:
        raise AtlasError(f"{path} is damaged (no {', '.join(wrong)}): remove {folder} and build again")
    if not all(isinstance(name, str) for name in _input_names(header)):
        raise AtlasError(f"{path} is damaged (inputs that are no names): remove {folder} and build again")
    try:
        check_plain(header)
    except (TypeError, ValueError) as reason:
        raise AtlasError(f"{folder} is damaged ({one_line(reason)}): remove it and build again") from None
    return header


def _input_names(header: Mapping[str, Any]) -> Iterator[Any]:
    for value in header["inputs"].values():
        yield from value if isinstance(value, list) else [value]


def inputs_of(header: Mapping[str, Any], role: str | None = None) -> list[str]:
    """Return the names of the artifacts that a result was made from, in one role or in all."""
    values = header["inputs"].values() if role is None else [header["inputs"].get(role, [])]
    return [name for value in values for name in ([value] if isinstance(value, str) else value)]


def _read_field(folder: Path, name: str, where: str) -> Any:
    if where not in (f"{name}.npy", f"{name}.parquet", f"{name}/"):
        what = f"{folder / 'record.json'} names the file {one_line(where, 80)}, which is not one of its own"
        raise AtlasError(f"{what}: remove {folder} and build again")
    if where.endswith(".npy"):
        return _read_array(folder / where)
    if where.endswith(".parquet"):
        return pd.read_parquet(folder / where)
    return Files(folder=folder / name)


def _read_array(path: Path) -> np.ndarray:
    if path.stat().st_size == 0:
        raise ValueError(f"{path.name} is empty")
    return np.load(path, mmap_mode="r", allow_pickle=False)


def read_record(folder: Path, kind: type[R]) -> R:
    """Return the record of type `kind` in `folder`, its arrays memory-mapped."""
    header = read_header(folder)
    try:
        values = dict(header["fields"])
        values.update({name: _read_field(folder, name, where) for name, where in header["files"].items()})
        known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
        record = kind(**{name: value for name, value in values.items() if name in known})
        check_fields(record)
        return record
    except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError) as reason:
        raise AtlasError(f"{folder} is damaged ({one_line(reason)}): remove it and build again") from None
