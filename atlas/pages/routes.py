"""The page's addresses under ``bokeh serve``: the answers of `answers`, and new images, behind Tornado handlers."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Callable
from typing import Any

from bokeh.server.urls import per_app_patterns
from bokeh.server.views.auth_request_handler import AuthRequestHandler
from bokeh.server.views.doc_handler import DocHandler
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.web import HTTPError, authenticated

from atlas.errors import AtlasError
from atlas.pages import activation_maps, newcomers, posting, ways
from atlas.pages.activation_maps import Maps
from atlas.pages.answers import ROUTES, Answer, column, static_file
from atlas.pages.newcomers import See
from atlas.pages.selection_answers import POSTS
from atlas.pages.ways import Way

LEAST_PACKED = 1024  # bytes
PACKED_BY = 4  # of gzip's levels: 70 000 labels in 2 ms; higher ones are slower and save a few per cent
PACKED_ONCE = 9  # of what every page begins with, which is packed once and kept
KEPT = 48  # of those in memory: the columns of some atlases; one of a million places is 4 MB
TRIED = 65_536  # bytes at a body's beginning that tell whether all of it is worth packing
WORTH = 0.95  # of the bytes that may be left; the places of a map are 0.996, which is no work's worth
BEGINS = (column, static_file)  # what every page begins with
MISSING = (AtlasError, KeyError, IndexError, ValueError, TypeError, OSError, ImportError)


class Keyed(AuthRequestHandler):
    """Answers one kind of address by `answer(*groups)`, off the event loop; Bokeh takes a class for each, no arguments."""

    answer: Callable[..., Answer]

    def initialize(self, **of_bokeh: Any) -> None:
        """Take the application context that Bokeh hands to every handler."""

    @authenticated
    async def get(self, *groups: str) -> None:
        wanted = packs(self.request)
        try:
            kind, body, packed = await IOLoop.current().run_in_executor(None, answered, self.answer, groups, wanted)
        except MISSING:  # in words on the page; a stranger's request needs no traceback
            raise HTTPError(404) from None
        self.set_header("Content-Type", kind)
        self.set_header("Vary", "Accept-Encoding")
        if packed:
            self.set_header("Content-Encoding", "gzip")
        self.set_header("Cache-Control", "private, max-age=31536000, immutable")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.write(body)


class PackedPage(DocHandler):
    """Bokeh's own page, packed: it is the only text of the explorer that would go over the wire as it is."""

    def write(self, chunk: Any) -> None:
        """Write the whole page, which Bokeh writes at once."""
        body = chunk.encode() if isinstance(chunk, str) else chunk
        self.set_header("Vary", "Accept-Encoding")
        if isinstance(body, bytes) and packs(self.request):
            self.set_header("Content-Encoding", "gzip")
            body = pack(body, PACKED_BY)
        super().write(body)


def packs(request: HTTPServerRequest) -> bool:
    """Tell whether who asks can unpack gzip."""
    return "gzip" in request.headers.get("Accept-Encoding", "")


def answered(answer: Callable[..., Answer], groups: tuple[str, ...], wanted: bool) -> tuple[str, bytes, bool]:
    """Return an answer's type and body, and whether the body is packed: where that is `wanted` and worth it."""
    if wanted and answer in BEGINS:
        return begun(answer, groups)
    kind, body = answer(*groups)
    return (kind, pack(body, PACKED_BY), True) if wanted and worth_packing(kind, body) else (kind, body, False)


@functools.lru_cache(maxsize=KEPT)
def begun(answer: Callable[..., Answer], groups: tuple[str, ...]) -> tuple[str, bytes, bool]:
    """Return what every page begins with, packed once: an address has one answer for ever."""
    kind, body = answer(*groups)
    worth = worth_packing(kind, body) and len(pack(body[:TRIED], 1)) < WORTH * len(body[:TRIED])
    return (kind, pack(body, PACKED_ONCE), True) if worth else (kind, body, False)


def worth_packing(kind: str, body: bytes) -> bool:
    """Whether an answer grows smaller when packed: pictures are packed already, and little is not worth it."""
    return len(body) >= LEAST_PACKED and not (kind.startswith("image/") and kind != "image/svg+xml")


def pack(body: bytes, level: int) -> bytes:
    """Return a body packed by gzip, always to the same bytes."""
    return gzip.compress(body, level, mtime=0)


def install_routes(see: See | None = None, *, maps: Maps | None = None, way: Way | None = None, most: int = 0) -> None:
    """Add the routes beside the page of every Bokeh application of this process; a second call changes nothing.

    `see` asks the network of a new image, of at most `most` bytes, `maps` for the activation maps of one, and `way` for its
    way through the layers; without them the page says so. `per_app_patterns` is how plain ``bokeh serve`` builds its
    addresses; it is undocumented, so it is touched only here. Bokeh's own page takes its place in it again, packed.
    """
    per_app_patterns[:] = [(p[0], PackedPage, *p[2:]) if p[1] is DocHandler else p for p in per_app_patterns]
    standing = {pattern[0] for pattern in per_app_patterns}
    for pattern, answer in ROUTES:
        if pattern not in standing:
            handler = type(f"Keyed_{answer.__name__}", (Keyed,), {"answer": staticmethod(answer)})
            per_app_patterns.append((pattern, handler))
    for post in POSTS:
        if post.pattern not in standing:
            per_app_patterns.append((post.pattern, posting.handler(post)))
    if see is not None and newcomers.PATTERN not in standing:
        per_app_patterns.append((newcomers.PATTERN, newcomers.handler(see, most)))
    if maps is not None and activation_maps.PATTERN not in standing:
        per_app_patterns.append((activation_maps.PATTERN, activation_maps.handler(maps, most)))
    if way is not None and ways.PATTERN not in standing:
        per_app_patterns.append((ways.PATTERN, ways.handler(way, most)))
