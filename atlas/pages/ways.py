"""One image's way through the network, asked by a page: a POST, computed by the worker, and kept for the next who asks.

Within the limits of new images. What is kept is found by the artifacts that made it, the image's row and the layer asked
for, so that new icons, or another network, are never answered with old pictures. New images are not kept.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from atlas.errors import one_line
from atlas.pages.activation_maps import MOST_NAME, row_of
from atlas.pages.cell_answers import icons_part
from atlas.pages.newcomers import Looked, find
from atlas.pages.view import Space, View

Way = Callable[..., dict[str, Any]]  # (root, bytes or row, name=, layers=, activations=, cancel=) → `Worker.propagate`
PATTERN = r"/propagation/(images-[0-9a-f]{1,64})"
MOST_KEPT = 32_000_000  # bytes of answers: some hundreds
BYTES = ("magnitude", "place", "cosines", "argues")  # of each layer


class Kept:
    """Answers by what made them; the ones that nobody asked for longest go first."""

    def __init__(self, most: int = MOST_KEPT):
        self.most, self.size = most, 0
        self.answers: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, key: tuple[Any, ...]) -> bytes | None:
        """Return what is kept by a key."""
        with self.lock:
            if key in self.answers:
                self.answers.move_to_end(key)
            return self.answers.get(key)

    def put(self, key: tuple[Any, ...], answer: bytes) -> None:
        """Keep an answer, and let others go until all have room."""
        with self.lock:
            self.size += len(answer) - len(self.answers.pop(key, b""))
            self.answers[key] = answer
            while self.size > self.most:
                self.size -= len(self.answers.popitem(last=False)[1])


KEPT = Kept()  # one per process, as the shelf


def handler(way: Way, most: int) -> type[Looked]:
    """Return the handler of images' ways, for Bokeh takes a class and no arguments."""
    return type("AskedWay", (AskedWay,), {"way": staticmethod(way), "most": most})


class AskedWay(Looked):
    """The way of an image of the atlas by its row, or of the file in the request's body."""

    way: Way

    def reply(self, body: bytes, *groups: str) -> Any:
        """In a thread: what the layers make of the image, as the page draws it."""
        view, space = find(groups[0], self.get_query_argument("space", ""))
        name = one_line(self.get_query_argument("name", "") or "the image", 200)
        layer, row = self.get_query_argument("layer", "")[:MOST_NAME], self.get_query_argument("row", "")
        source = row_of(row, len(view.images)) if row else body
        key = (*made_of(view, space), source, layer) if row else None
        kept = KEPT.get(key) if key else None
        if kept is None:
            question = {"layers": [layer] if layer else [], "activations": tuple(space.activations)}
            kept = packed(view, self.way(view.store.root, source, name=name, cancel=self.cancel, **question))
            if key:
                KEPT.put(key, kept)
        return "application/json", kept


def made_of(view: View, space: Space) -> tuple[Any, ...]:
    """Return the artifacts that decide what is told of an image: images, network, cells and icons."""
    networks = sorted({name for layer in space.activations for name in view.inputs(layer, "network")})
    return view.images_name, *networks, *view.of_stage("cells"), *view.of_stage("icons")


def packed(view: View, seen: Mapping[str, Any]) -> bytes:
    """Return the worker's answer as the page takes it: bytes in base64, the picture as a URL, what icons each layer has."""
    layers = []
    for told in seen["layers"]:
        drawn = icons_part(view, told["icons"]) if told.get("icons") in view.headers else None
        layers.append({**told, **{name: _text(told[name]) for name in BYTES}, "icons": drawn})
    answer = {**seen, "layers": layers, "picture": "data:image/png;base64," + _text(seen["picture"])}
    return json.dumps(answer, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def _text(body: bytes) -> str:
    return base64.b64encode(body).decode()
