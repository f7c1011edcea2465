"""SHA-256 of files, remembered by path, size, modification time and inode, so that a second build reads none of them."""

from __future__ import annotations

import errno
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from atlas.data.parallel import ordered
from atlas.errors import AtlasError, one_line
from atlas.files import kind_of_file

FILE = "hashes.parquet"
# A file written again within one tick of the clock keeps its time and its size: a hash this fresh is not remembered.
FRESH_SECONDS = 1.0


class Stamp(NamedTuple):
    """What a file's hash is remembered by, beside its path."""

    size: int
    mtime_ns: int
    inode: int


def stamp(path: Path) -> Stamp:
    """Return the stamp of the file `path`."""
    found = path.stat()
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of the file `path`, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class FileHashes:
    """Hashes of files as remembered in the table `file` (in an atlas: hashes.parquet); losing it costs one more reading.

    Paths are kept relative to the table's folder. With `verify` every file is read again whatever is remembered; with
    `file` None nothing is kept on disk.
    """

    def __init__(self, file: Path | None = None, *, verify: bool = False):
        self.file = file
        self.known: dict[str, tuple[Stamp, str]] = {} if file is None or verify else dict(_read(file))
        self.changed = False
        self.read = 0  # files whose bytes were read by this object

    def of(self, path: Path) -> str | None:
        """Return the SHA-256 of the file `path`, hex; None when it cannot be read."""
        try:
            before = stamp(path)
            key = self._key(path)
            if key in self.known and self.known[key][0] == before:
                return self.known[key][1]
            if kind_of_file(path):
                return None
            found = file_sha256(path)
            self.read += 1
            if stamp(path) == before and time.time() - before.mtime_ns / 1e9 > FRESH_SECONDS:
                self.known[key] = (before, found)
                self.changed = True
            return found
        except (OSError, ValueError):  # ValueError: a NUL in a path that came from a table
            return None

    def of_all(self, paths: Iterable[Path], advance: Callable[[int], None] = lambda count: None) -> list[str | None]:
        """Return the SHA-256 of each of `paths`, in order, read by several threads; then remember them."""
        found = []
        for value in ordered(self.of, paths, chunk=64):
            found.append(value)
            advance(1)
        self.save()
        return found

    def save(self) -> None:
        """Write what is new beside the old file and put it in its place; what another build remembered is kept."""
        if self.file is None or not self.changed:
            return
        merged = dict(_read(self.file)) | self.known
        rows = [(path, *mark, sha) for path, (mark, sha) in merged.items()]
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            aside = self.file.with_name(f".{self.file.name}-{uuid.uuid4().hex[:8]}")
            try:
                with aside.open("wb") as file:  # pyarrow's own files have no number for why they cannot be written
                    pd.DataFrame(rows, columns=["path", *Stamp._fields, "sha256"]).to_parquet(file, index=False)
                aside.replace(self.file)
            finally:
                aside.unlink(missing_ok=True)
        except OSError as reason:
            room = "free some space, or " if reason.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            what = f"cannot write {self.file} ({reason.strerror or one_line(reason, 120)})"
            raise AtlasError(f"{what}: {room}choose another folder with --cache") from None
        self.changed = False

    def _key(self, path: Path) -> str:
        return os.path.relpath(path, os.path.realpath(self.file.parent)) if self.file else str(path)


def _read(file: Path) -> Iterator[tuple[str, tuple[Stamp, str]]]:
    try:
        table = pd.read_parquet(file)
        rows = list(zip(*(table[name] for name in ("path", *Stamp._fields, "sha256")), strict=True))
    except Exception:  # missing or damaged by whatever cause: everything is hashed again
        return
    for path, size, mtime_ns, inode, sha in rows:
        yield str(path), (Stamp(int(size), int(mtime_ns), int(inode)), str(sha))
