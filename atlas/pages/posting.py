"""What a page sends: bodies of a limited size, from the explorer's own page only, answered in threads."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from bokeh.server.views.auth_request_handler import AuthRequestHandler
from tornado.log import app_log
from tornado.web import authenticated, stream_request_body

from atlas.errors import AtlasError
from atlas.files import parse_json
from atlas.pages.selection_answers import Post
from atlas.pages.serving import images_of

ASKED = "X-Atlas"  # a header that no page of another origin can send without asking first, and nobody answers it
READ_ONLY = "This server only shows: nothing is written in its atlases."
DAMAGED = (
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    OSError,
)  # what a damaged record, or a body that is no page's, raises
LONGEST_HEAD = 20_000  # bytes of the JSON before a body's bytes: names and a few numbers
MOST_BYTES = 4_000_000  # of a question: two selections as bits among sixteen million images


def read_only_server() -> bool:
    """Tell whether this server writes nothing into its atlases: ``ATLAS_READ_ONLY`` is set, to anything but 0."""
    return os.environ.get("ATLAS_READ_ONLY", "") not in ("", "0")


class Line:
    """Threads for one kind of request, and how many may wait for them together."""

    def __init__(self, name: str, *, threads: int, at_once: int, busy: str):
        self.at_once, self.busy, self.taken = at_once, busy, 0  # `taken` is counted in the server's loop only
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    @property
    def full(self) -> bool:
        """Whether another one would wait in vain."""
        return self.taken >= self.at_once

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what `function` returns, run in one of the threads."""
        self.taken += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, function, *arguments)
        finally:
            self.taken -= 1


LINE = Line("asked", threads=2, at_once=64, busy="Many ask this server at once: try again in a moment.")


@stream_request_body
class Posted(AuthRequestHandler):
    """Takes one body of at most `most` bytes from our own page; `reply` answers it in a thread of `line`."""

    most: int
    line: Line
    writes = False  # whether it changes what is on the disk
    large = "What was sent is too large"
    foreign = "Requests are taken from the explorer's own page only."

    def initialize(self, **of_bokeh: Any) -> None:
        """Take the application context that Bokeh hands to every handler."""
        self.chunks: list[bytes] = []
        self.cancel = threading.Event()

    async def prepare(self) -> None:
        """Refuse, before the body is read, what no page of ours sends, what is too large, and writing where none is done."""
        await super().prepare()
        self.request.connection.set_max_body_size(self.most)  # type: ignore[union-attr]
        origin = self.request.headers.get("Origin")
        if not self.request.headers.get(ASKED) or (origin and urlsplit(origin).netloc != self.request.host):
            self.tell(403, {"error": self.foreign})
        elif self.writes and read_only_server():
            self.tell(403, {"error": READ_ONLY})
        elif int(self.request.headers.get("Content-Length") or 0) > self.most:
            self.tell(413, {"error": f"{self.large}: at most {self.most / 1e6:g} MB are taken."})

    def data_received(self, chunk: bytes) -> None:
        """Keep one piece of the body."""
        self.chunks.append(chunk)

    def on_connection_close(self) -> None:
        """The page has gone or asks for something else: nobody waits for this answer."""
        self.cancel.set()

    @authenticated
    async def post(self, *groups: str) -> None:
        """Answer, or say in words why there is no answer."""
        if self.line.full:
            self.tell(503, {"error": self.line.busy})
            return
        answer = await self.line.run(self._reply, *groups)
        if self.cancel.is_set():
            return
        if isinstance(answer, tuple):
            self._send(200, *answer)
        else:
            self.tell(400 if isinstance(answer, dict) and "error" in answer else 200, answer)

    def reply(self, body: bytes, *groups: str) -> Any:
        """In a thread: answer with something for JSON, or with a type and bytes; AtlasError says what is wrong."""
        raise AtlasError("nothing answers here")

    def _reply(self, *groups: str) -> Any:
        if self.cancel.is_set():
            return {"error": "nobody waits"}  # its page asked for something else while this one stood in line
        try:
            return self.reply(b"".join(self.chunks), *groups)
        except AtlasError as reason:
            return {"error": str(reason)}
        except DAMAGED:
            app_log.exception("a question of the page failed")  # a damaged record, or a fault of ours
            return {"error": "the server could not answer this: load the page again"}

    def tell(self, status: int, answer: Any) -> None:
        """Finish with an answer in JSON."""
        self._send(
            status, "application/json", json.dumps(answer, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
        )

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.set_status(status)
        self.set_header("Content-Type", kind)
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish(body)


def opened(body: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the two parts of a body: a JSON object on its first line, and the bytes after it. AtlasError for any other."""
    head, _, rest = body.partition(b"\n")
    try:
        asked = parse_json(head) if len(head) <= LONGEST_HEAD else None
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise AtlasError("this is no question of the explorer's page: load the page again")
    return asked, rest


class Asked(Posted):
    """A question about the images that the address names: JSON on the body's first line, then bits."""

    answer: Callable[..., Any]
    most = MOST_BYTES
    line = LINE

    def reply(self, body: bytes, *groups: str) -> Any:
        """In a thread: the answer."""
        asked, blob = opened(body)
        return self.answer(images_of(groups[0]), asked, blob)


def handler(post: Post) -> type[Posted]:
    """Return the handler of one address, for Bokeh takes a class and no arguments."""
    return type("Asked", (Asked,), {"answer": staticmethod(post.answer), "writes": post.writes})
