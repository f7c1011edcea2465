"""New images sent by a page: a POST of the file's bytes, answered with what the network says of it, in the page's words.

The network is asked by a function that the server is given (`install_routes`), in threads of their own, so that a network
that is loading keeps nobody else waiting.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from atlas.activations.records import Predictions
from atlas.errors import AtlasError, one_line
from atlas.maps.records import Layout
from atlas.pages.columns import on_page, output_name
from atlas.pages.posting import Line, Posted
from atlas.pages.shelf import SHELF
from atlas.pages.view import Space, View

See = Callable[..., dict[str, Any]]  # (root, bytes, name=, activations=, k=, cancel=) → what `Worker.see` returns
PATTERN = r"/new-image/(images-[0-9a-f]{1,64})"
NEIGHBOURS = 30
AT_ONCE = 16  # images of one server that may wait for the network together
BUSY = f"{AT_ONCE} new images are waiting for the network already: try again in a moment."

_line = Line("new-image", threads=AT_ONCE, at_once=AT_ONCE, busy=BUSY)
_limit: int | None = None  # bytes of an image, where this server takes any


def limit() -> int | None:
    """Return how many bytes a new image may have; None where this server takes none."""
    return _limit


def handler(see: See, most: int) -> type[Posted]:
    """Return the handler of new images, for Bokeh takes a class and no arguments."""
    global _limit
    _limit = most
    return type("AskedNewImage", (NewImage,), {"see": staticmethod(see), "most": most})


class Looked(Posted):
    """A question to the network, with one image file or none as the request's body."""

    line = _line
    large = "The file is too large"
    foreign = "New images are taken from the explorer's own page only."


class NewImage(Looked):
    """A new image: what the network says of it, where it belongs, what it is near to."""

    see: See

    def reply(self, body: bytes, *groups: str) -> dict[str, Any]:
        """In a thread: what the worker says of the image, in the page's words."""
        view, space = find(groups[0], self.get_query_argument("space", ""))
        name = one_line(self.get_query_argument("name", "") or "the image", 200)
        of_space = {"activations": tuple(space.activations), "vectors": True}
        seen = self.see(view.store.root, body, name=name, k=NEIGHBOURS, cancel=self.cancel, **of_space)
        return for_page(view, space, seen)


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
        "vectors": seen.get("vectors", {}),
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
