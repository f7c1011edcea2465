"""Records on disk: a frozen dataclass is a folder; its name is the hash of its recipe; it appears whole or not at all.

docs/format.md describes the same for a reader in another language.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from atlas.errors import AtlasError, one_line
from atlas.files import exists, is_file, read_json
from atlas.machine import check_space
from atlas.recipe import Recipe, digest, library_versions
from atlas.record import (
    FORMAT,
    Files,
    Stream,
    bytes_of,
    inputs_of,
    read_header,
    read_record,
    sync_folder,
    write_json,
    write_record,
    write_synced,
)

__all__ = [
    "FORMAT",
    "Files",
    "Recipe",
    "Store",
    "Stream",
    "digest",
    "folder_bytes",
    "inputs_of",
    "library_versions",
    "read_header",
    "read_record",
    "sync_folder",
    "write_json",
    "write_record",
    "write_synced",
    "writing",
]

BUILDING = ".building"  # unfinished artifacts lie here, each beside the lock its builder holds
NAME = re.compile(r"(parts/[0-9a-f]{16}/)?[a-z0-9][a-z0-9-]*")  # what an artifact may be called: no path escapes the atlas
REMEDY = "remove that file and build again; what is finished is found, not made anew"
R = TypeVar("R")


class Store:
    """One atlas's folder: artifacts found by recipe, built aside and renamed; the list of those shown, under a lock."""

    def __init__(self, root: str | os.PathLike[str]):
        self.root = Path(root)

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def path(self, name: str) -> Path:
        """Return the folder of the artifact `name`; a name that is no artifact's raises AtlasError."""
        if not isinstance(name, str) or not NAME.fullmatch(name):
            what = f"{one_line(repr(name))} is no artifact's name, yet something in {self.root} was made from it"
            raise AtlasError(f"{what}: remove what names it, or the whole folder, and build again")
        return self.root / name

    def has(self, name: str) -> bool:
        """Tell whether the artifact `name` stands finished."""
        return is_file(self.path(name) / "record.json")

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
                check_space(self.root, bytes_of(record))
                write_record(folder, record, recipe, time.monotonic() - started)
                _install(folder, final)
        return read_record(final, kind)

    def amend(self, name: str, **fields: Any) -> None:
        """Correct plain fields of a finished record that decided nothing, such as where its images lie now; one rename."""
        header = self.header(name)
        header["fields"] |= fields
        aside = self.root / BUILDING / f"record.json-{uuid.uuid4().hex[:8]}"
        with writing(self.root):
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
        with writing(self.root):
            for lock in (self.root / BUILDING).glob("*.lock"):
                _clear_if_dead(lock)
        for grave in (self.root / BUILDING).glob("removed-*"):
            shutil.rmtree(grave, ignore_errors=True)

    @contextmanager
    def _aside(self, name: str) -> Iterator[Path]:
        token = f"{name.rpartition('/')[2]}-{uuid.uuid4().hex[:8]}"
        folder, lock = self.root / BUILDING / token, FileLock(self.root / BUILDING / f"{token}.lock")
        try:
            with writing(self.root), lock:
                folder.mkdir()
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                Path(lock.lock_file).unlink(missing_ok=True)

    # -- what is shown ------------------------------------------------------------------------------------------------

    def contents(self) -> dict[str, Any]:
        """Return atlas.json: ``format``, ``title``, ``shown`` (names of artifacts)."""
        path = self.root / "atlas.json"
        try:
            contents = read_json(path)
        except FileNotFoundError:
            raise AtlasError(
                f"no atlas in {self.root}: make one with `atlas build MODEL IMAGES --cache {self.root}`"
            ) from None
        except (OSError, ValueError) as reason:
            raise AtlasError(f"{path} cannot be read ({one_line(reason)}): {REMEDY}") from None
        if not isinstance(contents, dict) or contents.get("format") != FORMAT:
            raise AtlasError(f"{path} is not of format {FORMAT}, which this program reads: {REMEDY}")
        shown = contents.get("shown")
        if not isinstance(shown, list) or not all(isinstance(name, str) and NAME.fullmatch(name) for name in shown):
            raise AtlasError(f"{path} names something that is no artifact: {REMEDY}")
        if not isinstance(contents.setdefault("title", ""), str):
            raise AtlasError(f"{path} has a title that is no text: {REMEDY}")
        return contents

    def shown(self, stage: str | None = None) -> list[str]:
        """Return the names of the artifacts shown, of one stage or of all, in the order they were shown."""
        names = self.contents()["shown"]
        return [name for name in names if stage is None or name.rpartition("-")[0] == stage]

    def show(
        self, names: Sequence[str], *, title: str | None = None, keep: Callable[[list[str]], list[str]] = list
    ) -> list[str]:
        """Add `names` to what the atlas shows; of those shown before, `keep` says which stay. Return the dropped.

        Under a lock: two who show at once lose nothing.
        """
        self.prepare()
        with writing(self.root), FileLock(self.root / BUILDING / "atlas.json-lock"):
            before = self.contents() if exists(self.root / "atlas.json") else {"title": self.root.name, "shown": []}
            kept = keep([name for name in before["shown"] if name not in names and self.has(name)])
            after: dict[str, Any] = {
                "format": FORMAT,
                "title": title or before["title"] or self.root.name,
                "shown": kept + list(names),
            }
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
                waiting += inputs_of(self.header(name))
        return found

    def unreached(self) -> dict[str, int]:
        """Return the artifacts that nothing shown was made from, each with its bytes on disk.

        Those finished after the atlas was last shown are left out: a build under way, or one that was killed and will go
        on, has made them.
        """
        reached, shown = self.reached(), (self.root / "atlas.json").stat().st_mtime_ns
        stray = [name for name in self.artifacts() if name not in reached]
        return {name: folder_bytes(self.path(name)) for name in stray if self._finished(name) <= shown}

    def _finished(self, name: str) -> int:
        return (self.path(name) / "record.json").stat().st_mtime_ns

    def remove(self, name: str) -> None:
        """Remove one artifact: renamed away first, so that no half of it is ever seen."""
        self.prepare()
        grave = self.root / BUILDING / f"removed-{uuid.uuid4().hex[:8]}"
        with writing(self.root):
            self.path(name).rename(grave)
        shutil.rmtree(grave, ignore_errors=True)


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Say in one line, as an AtlasError, what keeps the system from writing in the atlas `root` inside this block."""
    try:
        yield
    except OSError as reason:
        raise AtlasError(_hindrance(root, reason)) from None


def _hindrance(root: Path, reason: OSError) -> str:
    said = one_line(reason.strerror or str(reason) or type(reason).__name__, 160)
    short = reason.errno is None and "written" in said  # numpy's own words, without a number, when a write ends early
    if short or reason.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {root} is full: what was finished is kept; free some space and build again"
    if not root.is_dir():
        return f"{root} was removed while it was written ({said}): build again"
    return f"cannot write in {root} ({said}): what was finished is kept; build again, or choose another folder with --cache"


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
