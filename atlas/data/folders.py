"""Images in a folder: one subfolder per class, train and test folders of those, or a flat folder."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from atlas.data.decoding import SUFFIXES
from atlas.data.hashes import FileHashes
from atlas.data.listing import Advance, Hash, Listing, listing_table, split_word
from atlas.data.reading import inside
from atlas.errors import AtlasError, one_line
from atlas.files import is_file

REFUSED = "links, pipes, closed folders or names"  # in words, each counted as refused


def list_folder(root: Path, *, leave_out: Path | None = None) -> Listing:
    """Return the images below the folder `root`, sorted by path; `leave_out` is a folder in it that is not entered.

    Subfolders name the classes, or the splits where all of them are called so (train, val, test, held-out …). Files of
    other kinds, hidden ones, links that lead out and what is no file are counted. Raises AtlasError where there is no image.
    """
    root = Path(os.path.realpath(root))
    if leave_out is not None and os.path.realpath(leave_out) == str(root):
        raise AtlasError(f"images and atlas would share the folder {root}: choose another for the atlas with --cache")
    paths, counts = _image_files(root, leave_out)
    if not paths:
        raise AtlasError(_nothing(root, counts))
    splits, labels = _labels([path.split("/") for path in paths])
    return Listing(
        table=listing_table(paths, labels, splits),
        labels=sorted({label for label in labels if label is not None}),
        title=root.name or str(root),
        source={"kind": "folder", "root": root},
        hash=file_hashes(root, paths),
        counts={name: counts[name] for name in ("ignored", "refused")},
        notes=_ignored(counts),
    )


def file_hashes(root: Path, paths: list[str]) -> Hash:
    """Return the function that hashes the files `paths` below `root`."""

    def sha256(rows: np.ndarray, hashes: FileHashes, advance: Advance) -> list[str | None]:
        return hashes.of_all((root / paths[row] for row in rows), advance)

    return sha256


def _image_files(root: Path, leave_out: Path | None) -> tuple[list[str], Counter[str]]:
    """Return the images' paths relative to `root`, sorted, and the counts of what is left out, by reason and suffix."""
    counts: Counter[str] = Counter()
    paths = []
    for path in _files(root, leave_out, counts):
        relative = path.relative_to(root).as_posix()
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES or any(part.startswith(".") for part in relative.split("/")):
            counts["ignored"] += 1
            counts[suffix or "no suffix"] += 1
        elif not _encodes(relative) or not _is_file_inside(path, root):
            counts["refused"] += 1
        else:
            paths.append(relative)
    return sorted(paths), counts


def _files(root: Path, leave_out: Path | None, counts: Counter[str]) -> Iterator[Path]:
    def unreadable(reason: OSError) -> None:
        if reason.filename == str(root):
            raise AtlasError(f"the folder {root} cannot be read: {reason.strerror}; give one that you may read")
        counts["refused"] += 1

    without = os.path.realpath(leave_out) if leave_out else None
    for folder, below, files in os.walk(root, followlinks=False, onerror=unreadable):
        linked = [name for name in below if (Path(folder) / name).is_symlink()]
        counts["refused"] += len(linked)  # a link to a folder may lead out, or round in a circle
        below[:] = [name for name in below if name not in linked and os.path.join(folder, name) != without]  # noqa: PTH118
        yield from (Path(folder) / name for name in files)


def _is_file_inside(path: Path, root: Path) -> bool:
    """Tell whether `path` is a file of its own or a link to one below `root`: no pipe, no socket, no link that leads out."""
    mode = path.lstat().st_mode
    return stat.S_ISREG(mode) or (stat.S_ISLNK(mode) and inside(path, root) and is_file(path))


def _encodes(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:  # a name that is not UTF-8 could be written into no table
        return False
    return True


def _labels(parts: list[list[str]]) -> tuple[list[str], list[str | None]]:
    """Return split and label of each path, given as its parts."""
    top = {part[0].lower() for part in parts if len(part) > 1}
    if top and all(split_word(name) != "unknown" for name in top) and all(len(part) > 1 for part in parts):
        return [split_word(part[0]) for part in parts], [part[1] if len(part) > 2 else None for part in parts]
    return ["unknown"] * len(parts), [part[0] if len(part) > 1 else None for part in parts]


def _ignored(counts: Counter[str]) -> list[str]:
    kinds = ", ".join(f"{n} {one_line(kind)}" for kind, n in counts.most_common() if kind not in ("ignored", "refused"))
    return [f"{counts['ignored']} files are of no kind that is read, and are left out: {kinds}"] if counts["ignored"] else []


def _nothing(root: Path, counts: Counter[str]) -> str:
    others = ", ".join(f"{n} {one_line(name)}" for name, n in counts.most_common() if name not in ("ignored", "refused"))
    refused = f" and {counts['refused']} {REFUSED} that are refused" if counts["refused"] else ""
    found = f"it has {others or 'no files'}{refused}"
    return f"no images in {root}: {found}; images are files that end in {', '.join(sorted(SUFFIXES)[:4])} and the like"
