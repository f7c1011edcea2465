"""What the page fetches: sheets, images, columns and lists, each by an artifact's key and whole numbers only.

Every address carries the key of its artifact, which is the hash of what made it: an answer may be kept for ever, and a
cached picture can never belong to another layout or another atlas.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.server.urls import per_app_patterns
from bokeh.server.views.auth_request_handler import AuthRequestHandler
from tornado.ioloop import IOLoop
from tornado.web import HTTPError, authenticated

from atlas.errors import AtlasError
from atlas.pages import doubts, newcomers
from atlas.pages.newcomers import See
from atlas.pages.shelf import SHELF
from atlas.pages.view import ALL_SPLITS, View

STATIC = Path(__file__).parent / "static"
KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
LARGEST_EDGE = 1024  # pixels of an original as the side panel shows it
KEY = r"([a-z0-9-]{1,80})"
NUMBER = r"(\d{1,8})"

Answer = tuple[str, bytes]  # content type, body


@functools.cache
def static_version() -> str:
    """Return a hash of the page's own files: they are served under it, so that a browser never mixes two versions."""
    whole = hashlib.sha256()
    for path in sorted(STATIC.iterdir()):
        whole.update(path.name.encode() + path.read_bytes())
    return whole.hexdigest()[:12]


# -- answers: plain functions, run in a thread -----------------------------------------------------------------------------


def sheet(key: str, number: str) -> Answer:
    """Return one sheet of thumbnails."""
    paths = _images(key).images.thumbnails
    name = f"{int(number):03d}.webp"
    if name not in paths:
        raise AtlasError(f"no sheet {number}")
    return "image/webp", paths[name].read_bytes()


def image(key: str, row: str) -> Answer:
    """Return one image as it is stored, decoded and encoded anew, at most LARGEST_EDGE pixels wide or high."""
    picture = _reader(key).image(int(row)).copy()
    picture.thumbnail((LARGEST_EDGE, LARGEST_EDGE))
    body = io.BytesIO()
    picture.save(body, "PNG")
    return "image/png", body.getvalue()


@functools.lru_cache(maxsize=16)
def _reader(key: str) -> Any:
    from atlas.data.reading import open_reader  # reads pixels only when a page asks for an original

    view = _images(key)
    return open_reader(view.images, view.store.root)


def column(key: str, what: str) -> Answer:
    """Return one column of numbers, little-endian."""
    values = SHELF.owner(key).column(key, what)
    return "application/octet-stream", values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


def detail(key: str, row: str) -> Answer:
    """Return what is known of one image."""
    return as_json(_images(key).detail(int(row)))


def top(key: str, row: str) -> Answer:
    """Return one image's most probable outputs."""
    return as_json(SHELF.owner(key).top(key, int(row)))


def suspicion(key: str, row: str) -> Answer:
    """Return how suspicious one image's label is."""
    return as_json(doubts.suspicion(SHELF.owner(key), key, int(row)))


def twins(key: str, row: str) -> Answer:
    """Return the images in the other split that look the same as one."""
    return as_json(doubts.twins(SHELF.owner(key), key, int(row)))


def nearest(key: str, point: str) -> Answer:
    """Return the kept neighbours of one point."""
    return as_json(SHELF.owner(key).nearest(key, int(point)))


def patterns(key: str, split: str) -> Answer:
    """Return the class patterns of a layer without their values: labels, counts, title, units."""
    found = SHELF.owner(key).patterns(key, _split(split))
    return as_json(
        {
            "labels": found.labels,
            "count": found.count.tolist(),
            "title": found.title,
            "units": int(found.mean.shape[1]),
        }
    )


def pattern_values(key: str, split: str, what: str) -> Answer:
    """Return the values of the class patterns, float32 [class, unit]."""
    values = getattr(SHELF.owner(key).patterns(key, _split(split)), what)
    return "application/octet-stream", np.asarray(values, "<f4").tobytes()


def static_file(version: str, name: str) -> Answer:
    """Return one of the page's own files; the version only keeps caches apart."""
    path = STATIC / name
    return KINDS[path.suffix], path.read_bytes()


def _images(key: str) -> View:
    view = SHELF.owner(key)
    if key != view.images_name:
        raise AtlasError(f"{key} is not this atlas's images")
    return view


def _split(number: str) -> int:
    if int(number) > ALL_SPLITS:
        raise AtlasError(f"no split {number}")
    return int(number)


def as_json(value: Any) -> Answer:
    """Return `value` as a JSON answer."""
    return "application/json", json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


# -- the handler -----------------------------------------------------------------------------------------------------------

MISSING = (AtlasError, KeyError, IndexError, ValueError, TypeError, OSError, ImportError)


class Keyed(AuthRequestHandler):
    """Answers one kind of address by `answer(*groups)`, off the event loop; Bokeh takes a class for each, no arguments."""

    answer: Callable[..., Answer]

    def initialize(self, **of_bokeh: Any) -> None:
        """Take the application context that Bokeh hands to every handler."""

    @authenticated
    async def get(self, *groups: str) -> None:
        try:
            kind, body = await IOLoop.current().run_in_executor(None, self.answer, *groups)
        except MISSING:  # in words on the page; a stranger's request needs no traceback
            raise HTTPError(404) from None
        self.set_header("Content-Type", kind)
        self.set_header("Cache-Control", "private, max-age=31536000, immutable")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.write(body)


ROUTES: list[tuple[str, Callable[..., Answer]]] = [
    (rf"/thumbs/{KEY}/(\d{{1,6}})\.webp", sheet),
    (rf"/image/{KEY}/{NUMBER}", image),
    (rf"/column/{KEY}/(label|split|prediction|right|confidence|image|xy|recall|score)\.bin", column),
    (rf"/detail/{KEY}/{NUMBER}\.json", detail),
    (rf"/top/{KEY}/{NUMBER}\.json", top),
    (rf"/suspicion/{KEY}/{NUMBER}\.json", suspicion),
    (rf"/twins/{KEY}/{NUMBER}\.json", twins),
    (rf"/nearest/{KEY}/{NUMBER}\.json", nearest),
    (rf"/patterns/{KEY}/([0-3])\.json", patterns),
    (rf"/patterns/{KEY}/([0-3])/(mean|std)\.bin", pattern_values),
    (r"/page/([0-9a-f]{12})/([a-z]+\.(?:css|js|svg))", static_file),
]


def install_routes(see: See | None = None, *, most: int = 0) -> None:
    """Add the routes beside the page of every Bokeh application of this process; a second call changes nothing.

    `see` asks the network of a new image, of at most `most` bytes; without it the page takes none. `per_app_patterns` is
    how plain ``bokeh serve`` builds its addresses; it is undocumented, so it is touched only here.
    """
    standing = {pattern[0] for pattern in per_app_patterns}
    for pattern, answer in ROUTES:
        if pattern not in standing:
            handler = type(f"Keyed_{answer.__name__}", (Keyed,), {"answer": staticmethod(answer)})
            per_app_patterns.append((pattern, handler))
    if see is not None and newcomers.PATTERN not in standing:
        per_app_patterns.append((newcomers.PATTERN, newcomers.handler(see, most)))
