"""Kept selections: one small file for each in the atlas's folder ``notes``, written by people and by no build."""

from __future__ import annotations

import datetime
import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError, choose, one_line
from atlas.files import is_file, read_json
from atlas.record import FORMAT, write_json
from atlas.store import writing

FOLDER = "notes"
REMOVED = ".removed"  # inside it: what was deleted, until someone empties it, so that deleting can be undone
LONGEST_NAME, LONGEST_FILTER = 120, 2000  # characters
MOST = 2000  # kept selections of one atlas; a list that nobody reads is a fault in a script
IDENTITY = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
IMAGE_ID = re.compile(r"[0-9a-f]{16}(-[0-9]{1,9})?")  # as the images record writes them


@dataclass(frozen=True)
class Note:
    """A kept selection: its identity (a UUID, its file's name), its name, when and under which filter, its images."""

    id: str
    name: str
    date: str  # UTC, ISO 8601
    filter: str  # in words, as the page said it; for people, never parsed
    image_ids: list[str]


def keep(root: Path, *, name: str, image_ids: Sequence[str], filter: str = "") -> Note:
    """Write a new note into the atlas `root` and return it; a name or a list of images that is none raises AtlasError."""
    if len(_files(root)) >= MOST:
        raise AtlasError(f"{MOST} selections are kept in {root / FOLDER}: delete some first")
    if not image_ids:
        raise AtlasError("no image is selected: select some, then keep them")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    note = Note(str(uuid.uuid4()), name_of(name), now, one_line(filter, LONGEST_FILTER), list(image_ids))
    _write(root, note)
    return note


def name_of(name: object) -> str:
    """Return a note's name on one line without spaces around it; an empty or long one raises AtlasError."""
    wanted = one_line(" ".join(str(name).split()), 10_000)
    if not 0 < len(wanted) <= LONGEST_NAME:
        raise AtlasError(f"a kept selection needs a name of 1 to {LONGEST_NAME} characters: {len(wanted)} were given")
    return wanted


def rename(root: Path, id: str, name: str) -> Note:
    """Give a note another name; return it."""
    note = read(root, id)
    renamed = Note(note.id, name_of(name), note.date, note.filter, note.image_ids)
    _write(root, renamed)
    return renamed


def remove(root: Path, id: str) -> Note:
    """Put a note away, so that `restore` brings it back; return it."""
    note = read(root, id)
    with writing(root):
        (root / FOLDER / REMOVED).mkdir(exist_ok=True)
        _path(root, id).replace(_path(root, id, removed=True))
    return note


def restore(root: Path, id: str) -> Note:
    """Bring a removed note back; return it."""
    if not is_file(_path(root, id, removed=True)):
        raise AtlasError(f"no selection {one_line(id, 60)} was deleted here")
    with writing(root):
        _path(root, id, removed=True).replace(_path(root, id))
    return read(root, id)


def read(root: Path, id: str) -> Note:
    """Return one note; AtlasError where there is none, or its file is no note."""
    path = _path(root, id)
    if not is_file(path):
        raise AtlasError(f"no kept selection {one_line(id, 60)}: it was deleted")
    try:
        return _checked(id, read_json(path))
    except (OSError, ValueError, KeyError, TypeError):
        raise AtlasError(f"{path} is no kept selection: mend or remove that file") from None


def read_all(root: Path) -> tuple[list[Note], list[str]]:
    """Return the notes of an atlas, the newest first, and a sentence for each file that is none."""
    notes, wrong = [], []
    for id in _files(root):
        try:
            notes.append(read(root, id))
        except AtlasError as reason:
            wrong.append(str(reason))
    return sorted(notes, key=lambda note: (note.date, note.id), reverse=True), wrong


def find(root: Path, wanted: str) -> Note:
    """Return the note of this id, or the one of this name; AtlasError with those there are."""
    notes, _ = read_all(root)
    named = [note for note in notes if wanted in (note.id, note.name)]
    if len(named) > 1:
        raise AtlasError(
            f"{len(named)} kept selections are called {one_line(wanted)}: give the id of one, as notes() has it"
        )
    if not named:
        raise choose("kept selection", wanted, [note.name for note in notes])
    return named[0]


def _files(root: Path) -> list[str]:
    folder = root / FOLDER
    found = [path.stem for path in folder.glob("*.json")] if folder.is_dir() else []
    return sorted(id for id in found if IDENTITY.fullmatch(id))


def _path(root: Path, id: str, *, removed: bool = False) -> Path:
    if not IDENTITY.fullmatch(str(id)):
        raise AtlasError(f"{one_line(repr(id), 60)} is the id of no kept selection")
    return root / FOLDER / (REMOVED if removed else "") / f"{id}.json"


def _checked(id: str, told: dict[str, Any]) -> Note:
    """Return the note in a file of strangers: a ValueError where something is not as we write it."""
    ids = told["image_ids"]
    if (
        told["format"] != FORMAT
        or not isinstance(ids, list)
        or not all(isinstance(i, str) and IMAGE_ID.fullmatch(i) for i in ids)
    ):
        raise ValueError("not a note of this format")
    words = [str(told.get(what, "")) for what in ("name", "date", "filter")]
    return Note(id, one_line(words[0] or id, LONGEST_NAME), one_line(words[1], 40), one_line(words[2], LONGEST_FILTER), ids)


def _write(root: Path, note: Note) -> None:
    """Write a note beside its file and rename it: a reader sees the old one or the new one, whole."""
    told = {"format": FORMAT, **asdict(note)}
    del told["id"]
    path = _path(root, note.id)
    aside = path.with_name(f".{note.id}-{os.getpid()}")
    with writing(root):
        path.parent.mkdir(exist_ok=True)
        write_json(aside, told)
        aside.replace(path)
