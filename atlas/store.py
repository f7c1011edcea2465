"""Records on disk: a frozen dataclass is a folder; its name is the hash of its recipe; it appears whole or not at all.

docs/format.md describes the same for a reader in another language.
"""

from __future__ import annotations

import dataclasses
import datetime
import errno
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from atlas.errors import AtlasError, one_line
from atlas.machine import check_space

FORMAT = 1
BUILDING = ".building"  # unfinished artifacts lie here, each beside the lock its builder holds
NAME = re.compile(r"(parts/[0-9a-f]{16}/)?[a-z0-9][a-z0-9-]*")  # what an artifact may be called: no path escapes the atlas
R = TypeVar("R")


# ---------------------------------------------------------------------------------------------------------------------
# Recipes: what decides a result


def digest(value: Any) -> str:
    """Return the SHA-256 of `value`, hex: None, bools, numbers, strings, bytes, arrays, sequences and mappings, nested.

    Each value is hashed with its type and its length, so that no two different values share an encoding; the order of
    a mapping's keys does not matter.
    """
    state = hashlib.sha256()
    _feed(state, value)
    return state.hexdigest()


def _feed(state: Any, value: Any) -> None:
    def put(kind: str, body: bytes) -> None:
        state.update(f"{kind}:{len(body)}:".encode())
        state.update(body)

    if value is None or isinstance(value, bool | np.bool_):
        put("constant", str(value).encode())
    elif isinstance(value, int | np.integer):
        put("int", str(int(value)).encode())
    elif isinstance(value, float | np.floating):
        put("float", float(value).hex().encode())
    elif isinstance(value, str):
        put("str", value.encode("utf-8", "surrogatepass"))
    elif isinstance(value, bytes):
        put("bytes", value)
    elif isinstance(value, np.ndarray):
        put("array", f"{value.dtype.str}{value.shape}".encode())
        state.update(np.ascontiguousarray(value).data if value.size else b"")
    elif isinstance(value, Mapping):
        put("mapping", str(len(value)).encode())
        for key in sorted(value, key=str):
            _feed(state, str(key))
            _feed(state, value[key])
    elif isinstance(value, Sequence | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        put("sequence", str(len(items)).encode())
        for item in items:
            _feed(state, item)
    else:
        raise TypeError(f"a recipe cannot hold a {type(value).__name__}")


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the major.minor version of each installed distribution in `names`."""
    return {name: ".".join(importlib.metadata.version(name).split(".")[:2]) for name in names}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides a result: the stage and its version, all parameters, the inputs' names, the libraries.

    `inputs` maps a role to the name of an artifact, or to several. `told` is what the record should also say although it
    decides nothing (device, batch size); it stays out of the key. `folder` is ``parts/<key>`` for the layers of a part.
    """

    stage: str
    version: int
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    inputs: Mapping[str, str | Sequence[str]] = dataclasses.field(default_factory=dict)
    libraries: Sequence[str] = ()
    told: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    folder: str = ""

    @property
    def key(self) -> str:
        """SHA-256 of all that decides the result, hex."""
        return digest(
            [self.stage, self.version, self.parameters, self.inputs, library_versions(self.libraries)],
        )

    @property
    def name(self) -> str:
        """The artifact's name in the atlas: stage and the first 16 digits of the key."""
        short = f"{self.stage}-{self.key[:16]}"
        return f"{self.folder}/{short}" if self.folder else short


# ---------------------------------------------------------------------------------------------------------------------
# What a record's fields may be, beside JSON values: arrays, tables, streamed arrays, files


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
                body(path)
                with path.open("rb") as written:
                    os.fsync(written.fileno())
            else:
                write_synced(path, partial(_write_bytes, body))
        sync_folder(folder / name)
        return f"{name}/"
    return None


def _bytes_of(record: Any) -> int:
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
        "libraries": {name: importlib.metadata.version(name) for name in recipe.libraries},
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
        header = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise AtlasError(f"no artifact at {folder}: there is no record.json in it") from None
    except (OSError, ValueError) as reason:
        raise AtlasError(f"{path} cannot be read ({one_line(reason)}): remove {folder} and build again") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else None
        raise AtlasError(
            f"{path} is of format {one_line(repr(found))} and this program reads {FORMAT}: build the atlas again"
        )
    return header


def _read_field(folder: Path, name: str, where: str) -> Any:
    if where not in (f"{name}.npy", f"{name}.parquet", f"{name}/"):
        raise AtlasError(f"{folder / 'record.json'} names the file {one_line(where)}, which is not one of its own")
    if where.endswith(".npy"):
        return np.load(folder / where, mmap_mode="r", allow_pickle=False)
    if where.endswith(".parquet"):
        return pd.read_parquet(folder / where)
    return Files(folder=folder / name)


def read_record(folder: Path, kind: type[R]) -> R:
    """Return the record of type `kind` in `folder`, its arrays memory-mapped."""
    header = read_header(folder)
    try:
        values = dict(header["fields"])
        values.update({name: _read_field(folder, name, where) for name, where in header["files"].items()})
        known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
        return kind(**{name: value for name, value in values.items() if name in known})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as reason:
        raise AtlasError(f"{folder} is damaged ({one_line(reason)}): remove it and build again") from None


# ---------------------------------------------------------------------------------------------------------------------
# The folder of an atlas


class Store:
    """One atlas's folder: artifacts found by recipe, built aside and renamed; the list of those shown, under a lock."""

    def __init__(self, root: str | os.PathLike[str]):
        self.root = Path(root)

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def path(self, name: str) -> Path:
        """Return the folder of the artifact `name`; a name that is no artifact's raises AtlasError."""
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise AtlasError(f"{one_line(repr(name))} is no artifact's name")
        return self.root / name

    def has(self, name: str) -> bool:
        """Tell whether the artifact `name` stands finished."""
        return (self.path(name) / "record.json").is_file()

    def read(self, name: str, kind: type[R]) -> R:
        """Return the record `name`, its arrays memory-mapped."""
        return read_record(self.path(name), kind)

    def header(self, name: str) -> dict[str, Any]:
        """Return record.json of the artifact `name`: its stage, parameters, inputs, date, seconds, fields."""
        return read_header(self.path(name))

    def build(self, recipe: Recipe, kind: type[R], make: Callable[[], R], *, needs: int = 0) -> R:
        """Return the record of type `kind` that `recipe` names, made by `make` unless it stands already.

        It is written into a temporary folder on the same disk, synced, then renamed: a kill at any moment leaves either
        the whole artifact or none. When two build the same, the first to finish wins and both get its record. `needs`
        is an estimate of its bytes, checked against the free space before `make` runs.
        """
        final = self.path(recipe.name)
        if not self.has(recipe.name):
            self.prepare()
            if needs:
                check_space(self.root, needs)
            started = time.monotonic()
            record = make()
            with self._aside(recipe.name) as folder:
                check_space(self.root, _bytes_of(record))
                write_record(folder, record, recipe, time.monotonic() - started)
                _install(folder, final)
        return read_record(final, kind)

    def amend(self, name: str, **fields: Any) -> None:
        """Correct plain fields of a finished record that decided nothing, such as where its images lie now; one rename."""
        header = self.header(name)
        header["fields"] |= fields
        aside = self.root / BUILDING / f"record.json-{uuid.uuid4().hex[:8]}"
        write_json(aside, header)
        aside.replace(self.path(name) / "record.json")

    def prepare(self) -> None:
        """Make the atlas's folder when it is missing, and clear what killed builders left."""
        try:
            (self.root / BUILDING).mkdir(parents=True, exist_ok=True)
        except OSError as reason:
            raise AtlasError(
                f"cannot write an atlas in {self.root} ({reason.strerror}): choose another with --cache"
            ) from None
        for lock in (self.root / BUILDING).glob("*.lock"):
            _clear_if_dead(lock)

    @contextmanager
    def _aside(self, name: str) -> Iterator[Path]:
        token = f"{name.rpartition('/')[2]}-{uuid.uuid4().hex[:8]}"
        folder, lock = self.root / BUILDING / token, FileLock(self.root / BUILDING / f"{token}.lock")
        try:
            with lock:
                folder.mkdir()
                yield folder
        except OSError as reason:
            if reason.errno in (errno.ENOSPC, errno.EDQUOT):
                raise AtlasError(
                    f"the disk of {self.root} is full: what was finished is kept; free some space and build again"
                ) from None
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)

    # -- what is shown ------------------------------------------------------------------------------------------------

    def contents(self) -> dict[str, Any]:
        """Return atlas.json: ``format``, ``title``, ``shown`` (names of artifacts)."""
        path = self.root / "atlas.json"
        try:
            contents = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise AtlasError(
                f"no atlas in {self.root}: make one with `atlas build MODEL IMAGES --cache {self.root}`"
            ) from None
        except (OSError, ValueError) as reason:
            raise AtlasError(f"{path} cannot be read ({one_line(reason)}): build the atlas again") from None
        if not isinstance(contents, dict) or contents.get("format") != FORMAT:
            raise AtlasError(f"{path} is not of format {FORMAT}, which this program reads: build the atlas again")
        if not all(isinstance(name, str) and NAME.fullmatch(name) for name in contents.get("shown", [None])):
            raise AtlasError(f"{path} names something that is no artifact: build the atlas again")
        return contents

    def shown(self, stage: str | None = None) -> list[str]:
        """Return the names of the artifacts shown, of one stage or of all, in the order they were shown."""
        names = self.contents()["shown"]
        return [name for name in names if stage is None or name.rpartition("-")[0] == stage]

    def show(
        self, names: Sequence[str], *, title: str | None = None, keep: Callable[[str], bool] = lambda name: True
    ) -> list[str]:
        """Add `names` to what the atlas shows, dropping those shown before that `keep` refuses; return the dropped.

        Under a lock: two who show at once lose nothing.
        """
        self.prepare()
        with FileLock(self.root / BUILDING / "atlas.json-lock"):
            before = self.contents() if (self.root / "atlas.json").exists() else {"title": self.root.name, "shown": []}
            kept = [name for name in before["shown"] if name not in names and self.has(name) and keep(name)]
            after: dict[str, Any] = {"format": FORMAT, "title": title or before["title"], "shown": kept + list(names)}
            if after != before:
                temporary = self.root / BUILDING / f"atlas.json-{uuid.uuid4().hex[:8]}"
                write_json(temporary, after)
                temporary.replace(self.root / "atlas.json")
                sync_folder(self.root)
        return [name for name in before["shown"] if name not in after["shown"]]

    # -- what can go ----------------------------------------------------------------------------------------------------

    def artifacts(self) -> list[str]:
        """Return the names of all finished artifacts, parts' layers included."""
        records = [*self.root.glob("*/record.json"), *self.root.glob("parts/*/*/record.json")]
        folders = [record.parent for record in records]
        return sorted(folder.relative_to(self.root).as_posix() for folder in folders)

    def reached(self) -> set[str]:
        """Return the names of the artifacts shown and of all that they were made from."""
        found: set[str] = set()
        waiting = list(self.shown())
        while waiting:
            name = waiting.pop()
            if name not in found and self.has(name):
                found.add(name)
                for value in self.header(name)["inputs"].values():
                    waiting += [value] if isinstance(value, str) else list(value)
        return found

    def unreached(self) -> dict[str, int]:
        """Return the artifacts that nothing shown was made from, each with its bytes on disk."""
        reached = self.reached()
        return {name: folder_bytes(self.path(name)) for name in self.artifacts() if name not in reached}

    def remove(self, name: str) -> None:
        """Remove one artifact: renamed away first, so that no half of it is ever seen."""
        self.prepare()
        grave = self.root / BUILDING / f"removed-{uuid.uuid4().hex[:8]}"
        self.path(name).rename(grave)
        shutil.rmtree(grave, ignore_errors=True)


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files under `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _install(folder: Path, final: Path) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.rename(final)
    except OSError as reason:
        if reason.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return  # the other builder of the same artifact was faster; its folder is as good
    sync_folder(final.parent)


def _clear_if_dead(lock: Path) -> None:
    try:
        with FileLock(lock, timeout=0):
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)
    except Timeout:
        pass  # its builder is alive
