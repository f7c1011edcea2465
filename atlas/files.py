"""Paths and JSON from strangers: questions that answer, whatever the name is, and a reader with one kind of error."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, NoReturn

LONGEST_PATH = 4096  # bytes, Linux's PATH_MAX: no file has a longer one, and resolving it takes time by its square


def is_file(path: str | os.PathLike[str]) -> bool:
    """Tell whether there is a regular file at `path`; False, too, for a name that no file can have.

    `Path.is_file` raises for a name that is too long, before Python 3.14.
    """
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Tell whether there is a folder at `path`; False, too, for a name that no folder can have."""
    return os.path.isdir(path)  # noqa: PTH112


def exists(path: str | os.PathLike[str]) -> bool:
    """Tell whether there is anything at `path`; False, too, for a name that nothing can have."""
    return os.path.exists(path)  # noqa: PTH110


def kind_of_file(path: Path) -> str | None:
    """Return what is at `path` in words where it is no regular file: reading a pipe or a device may never end."""
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return None
    kinds = {"folder": stat.S_ISDIR, "pipe": stat.S_ISFIFO, "socket": stat.S_ISSOCK}
    return next((kind for kind, test in kinds.items() if test(mode)), "device")


def read_json(path: Path) -> Any:
    """Return what the JSON file `path` holds; ValueError, or the OSError of opening it, for what is no JSON."""
    return parse_json(path.read_text("utf-8"))


def parse_json(text: str | bytes) -> Any:
    """Return what the JSON `text` says; ValueError for what is no JSON, NaN and infinity and endless nesting included."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")
