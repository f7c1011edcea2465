"""The page's addresses under ``bokeh serve``: the answers of `answers`, and new images, behind Tornado handlers."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

from bokeh.server.urls import per_app_patterns
from bokeh.server.views.auth_request_handler import AuthRequestHandler
from tornado.ioloop import IOLoop
from tornado.web import HTTPError, authenticated

from atlas.errors import AtlasError
from atlas.pages import activation_maps, newcomers, posting, ways
from atlas.pages.activation_maps import Maps
from atlas.pages.answers import ROUTES, Answer
from atlas.pages.newcomers import See
from atlas.pages.selection_answers import POSTS
from atlas.pages.ways import Way

LEAST_PACKED = 1024  # bytes
PACKED_BY = 4  # of gzip's levels: 70 000 labels in 2 ms; higher ones are slower and save a few per cent
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
        self.set_header("Vary", "Accept-Encoding")
        if worth_packing(kind, body) and "gzip" in self.request.headers.get("Accept-Encoding", ""):
            body = await IOLoop.current().run_in_executor(None, pack, body)
            self.set_header("Content-Encoding", "gzip")
        self.set_header("Cache-Control", "private, max-age=31536000, immutable")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.write(body)


def worth_packing(kind: str, body: bytes) -> bool:
    """Whether an answer grows smaller when packed: pictures are packed already, and little is not worth it."""
    return len(body) >= LEAST_PACKED and not (kind.startswith("image/") and kind != "image/svg+xml")


def pack(body: bytes) -> bytes:
    """Return a body packed by gzip, always to the same bytes."""
    return gzip.compress(body, PACKED_BY, mtime=0)


def install_routes(see: See | None = None, *, maps: Maps | None = None, way: Way | None = None, most: int = 0) -> None:
    """Add the routes beside the page of every Bokeh application of this process; a second call changes nothing.

    `see` asks the network of a new image, of at most `most` bytes, `maps` for the activation maps of one, and `way` for its
    way through the layers; without them the page says so. `per_app_patterns` is how plain ``bokeh serve`` builds its
    addresses; it is undocumented, so it is touched only here.
    """
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
