"""New images sent by a page: a POST of the file's bytes, answered with what the network says of it, in the page's words.

The network is asked by a function that the server is given (`install_routes`), in threads of their own, so that a network
that is loading keeps nobody else waiting.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from bokeh.server.views.auth_request_handler import AuthRequestHandler
from tornado.web import authenticated, stream_request_body

from atlas.activations.records import Predictions
from atlas.errors import AtlasError, one_line
from atlas.maps.records import Layout
from atlas.pages.columns import on_page, output_name
from atlas.pages.shelf import SHELF
from atlas.pages.view import Space, View

See = Callable[..., dict[str, Any]]  # (root, bytes, name=, activations=, k=, cancel=) → what `Worker.see` returns
PATTERN = r"/new-image/(images-[0-9a-f]{1,64})"
ASKED = "X-Atlas"  # a header that no page of another origin can send without asking first, and nobody answers it
NEIGHBOURS = 30
AT_ONCE = 16  # images of one server that may wait for the network together
BUSY = f"{AT_ONCE} new images are waiting for the network already: try again in a moment."

_threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="new-image")
_taken = 0  # of the threads; counted in the server's loop only
_limit: int | None = None  # bytes of an image, where this server takes any


def limit() -> int | None:
    """Return how many bytes a new image may have; None where this server takes none."""
    return _limit


def handler(see: See, most: int) -> type[AuthRequestHandler]:
    """Return the handler of new images, for Bokeh takes a class and no arguments."""
    global _limit
    _limit = most
    return type("AskedNewImage", (NewImage,), {"see": staticmethod(see), "most": most})


@stream_request_body
class NewImage(AuthRequestHandler):
    """Takes one image file as a request's body, no more of it than `most` bytes, and answers in JSON."""

    see: See
    most: int

    def initialize(self, **of_bokeh: Any) -> None:
        """Take the application context that Bokeh hands to every handler."""
        self.chunks: list[bytes] = []
        self.cancel = threading.Event()

    async def prepare(self) -> None:
        """Refuse, before the body is read, what no page of ours sends and what is too large."""
        await super().prepare()
        self.request.connection.set_max_body_size(self.most)  # type: ignore[union-attr]
        origin = self.request.headers.get("Origin")
        if not self.request.headers.get(ASKED) or (origin and urlsplit(origin).netloc != self.request.host):
            self._tell(403, {"error": "New images are taken from the explorer's own page only."})
        elif int(self.request.headers.get("Content-Length") or 0) > self.most:
            self._tell(413, {"error": f"The file is too large: at most {self.most / 1e6:g} MB are taken."})

    def data_received(self, chunk: bytes) -> None:
        """Keep one piece of the body."""
        self.chunks.append(chunk)

    def on_connection_close(self) -> None:
        """The page has gone or asks for another image: nobody waits for this answer."""
        self.cancel.set()

    @authenticated
    async def post(self, key: str) -> None:
        """Answer what the network says of the image, or why it says nothing, in words."""
        global _taken
        if _taken >= AT_ONCE:
            self._tell(503, {"error": BUSY})
            return
        _taken += 1
        try:
            answer = await asyncio.get_running_loop().run_in_executor(_threads, self._answer, key)
        finally:
            _taken -= 1
        if not self.cancel.is_set():
            self._tell(400 if "error" in answer else 200, answer)

    def _answer(self, key: str) -> dict[str, Any]:
        """In a thread: the answer, or the mistake in words."""
        try:
            view, space = find(key, self.get_query_argument("space", ""))
            name = one_line(self.get_query_argument("name", "") or "the image", 200)
            body = b"".join(self.chunks)
            seen = self.see(
                view.store.root, body, name=name, activations=tuple(space.activations), k=NEIGHBOURS, cancel=self.cancel
            )
            return for_page(view, space, seen)
        except AtlasError as reason:
            return {"error": str(reason)}

    def _tell(self, status: int, answer: dict[str, Any]) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish(json.dumps(answer, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace"))


def find(key: str, wanted: str) -> tuple[View, Space]:
    """Return the view of the images `key`, and its space called `wanted`; AtlasError where there is none."""
    view = SHELF.owner(key)
    space = view.space(wanted)
    if space is None:
        raise AtlasError(f"this atlas has no layer {one_line(repr(wanted), 60)}: load the page again")
    return view, space


def for_page(view: View, space: Space, seen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the worker's answer as the page takes it: labels by code, places in the page's unit, the thumbnail as a URL."""
    return {
        **{name: seen[name] for name in ("row", "query", "metric", "points")},
        "distances": [float(f"{found['distance']:.6g}") for found in seen["neighbours"]],
        "top": top(view, space, seen["predictions"]),
        "places": {p["layout"]: on_map(view, p) for p in seen["places"] if p["layout"] in space.layouts},
        "thumbnail": "data:image/png;base64," + base64.b64encode(seen["thumbnail"]).decode(),
    }


def top(view: View, space: Space, predictions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return predictions as the page shows an image's: name, code of the label it stands for or -1, probability."""
    if not space.predictions or not predictions:
        return []
    record: Predictions = view.read(space.predictions, Predictions)
    labels = record.map.labels_of(np.array([p["output"] for p in predictions])).tolist()
    return [
        {"name": output_name(record, p["output"]), "label": label, "probability": p["probability"]}
        for p, label in zip(predictions, labels, strict=True)
    ]


def on_map(view: View, place: Mapping[str, Any]) -> dict[str, Any]:
    """Return a place with its coordinates in the page's unit."""
    if "error" in place:
        return {"error": place["error"]}
    layout = np.nan_to_num(np.asarray(view.read(place["layout"], Layout).xy, np.float64))
    x, y = on_page(np.column_stack([place["x"], place["y"]]), layout).T.round(1).tolist()
    return {"x": x, "y": y, "confidence": place["confidence"], "far": place["far"], "note": place["note"]}
