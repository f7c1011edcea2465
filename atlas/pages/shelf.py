"""Which atlases this process knows: found in the cache or given by path, opened once, shared by every session."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from atlas.errors import AtlasError, one_line
from atlas.pages.view import View

EXPECTED = (KeyError, ValueError, TypeError, IndexError, AttributeError, OSError)  # what a damaged record raises in use


ALONE: ContextVar[View | None] = ContextVar("alone", default=None)


@contextmanager
def asking(view: View) -> Iterator[None]:
    """Within it all questions about what `view` shows go to `view`: to the part of an atlas that a report is made of."""
    token = ALONE.set(view)
    try:
        yield
    finally:
        ALONE.reset(token)


class Shelf:
    """Opened views by folder. A folder whose atlas.json has changed is opened anew."""

    def __init__(self) -> None:
        self.opened: dict[Path, tuple[int, View]] = {}
        self.known: set[Path] = set()
        self.lock = threading.Lock()

    def open(self, root: Path) -> View:
        """Return the view of the atlas in `root`; one that cannot be read raises AtlasError."""
        root = root.resolve()
        with self.lock:
            self.known.add(root)
            stamp = _stamp(root)
            found = self.opened.get(root)
            if found is None or found[0] != stamp:
                found = self.opened[root] = (stamp, _open(root))
            return found[1]

    def owner(self, artifact: str) -> View:
        """Return the view that shows `artifact`: among those opened, then among those known but not opened yet."""
        alone = ALONE.get()
        if alone is not None and artifact in alone.headers:
            return alone
        for _, view in list(self.opened.values()):
            if artifact in view.headers:
                return view
        for root in sorted(self.known - set(self.opened)):
            try:
                if artifact in self.open(root).headers:
                    return self.open(root)
            except AtlasError:
                continue
        raise AtlasError(f"no atlas open here shows {one_line(repr(artifact), 60)}")


def _stamp(root: Path) -> int:
    try:
        return (root / "atlas.json").stat().st_mtime_ns
    except OSError:
        return 0


def _open(root: Path) -> View:
    try:
        return View(root)
    except EXPECTED as reason:
        words = one_line(f"{type(reason).__name__}: {reason}", 120)
        raise AtlasError(f"the atlas in {root} is damaged ({words}): build it again with `atlas build`") from None


def find_atlases(cache: Path) -> list[Path]:
    """Return the atlases in a cache folder, by name; the folder itself where it is one."""
    if (cache / "atlas.json").is_file():
        return [cache]
    return sorted(path.parent for path in cache.glob("*/atlas.json")) if cache.is_dir() else []


def cache_folder(repository: Path) -> Path:
    """Return the folder atlases lie in: ``$ATLAS_CACHE``, else ``cache`` in the repository."""
    return Path(os.environ.get("ATLAS_CACHE") or repository / "cache")


SHELF = Shelf()  # one per process: Bokeh runs main.py anew for every session, and this must be shared by them
