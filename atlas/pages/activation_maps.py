"""The activation maps of one image, asked by a page of the network: a POST, for they are computed and kept nowhere.

Within the limits of new images: as many at once, as many bytes, the same origin, and nobody else is kept waiting.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from atlas.errors import AtlasError, one_line
from atlas.pages.newcomers import Looked, find

Maps = Callable[..., dict[str, Any]]  # (root, bytes or row, name=, layers=, units=, activations=, cancel=) → `Worker.maps`
PATTERN = r"/activation-maps/(images-[0-9a-f]{1,64})"
UNITS = 8  # of a layer: one line of the panel
MOST_DIGITS = 8  # of a row's number
MOST_NAME = 4096  # characters of a layer's name


def handler(maps: Maps, most: int) -> type[Looked]:
    """Return the handler of activation maps, for Bokeh takes a class and no arguments."""
    return type("AskedMaps", (ActivationMaps,), {"maps": staticmethod(maps), "most": most})


class ActivationMaps(Looked):
    """The strongest activation maps of an image of the atlas by its row, or of the file in the request's body."""

    maps: Maps

    def reply(self, body: bytes, *groups: str) -> dict[str, Any]:
        """In a thread: the maps as the page draws them."""
        view, space = find(groups[0], self.get_query_argument("space", ""))
        name = one_line(self.get_query_argument("name", "") or "the image", 200)
        layer = self.get_query_argument("layer", "")[:MOST_NAME]
        row = self.get_query_argument("row", "")
        source = row_of(row, len(view.images)) if row else body
        question = {"layers": [layer] if layer else [], "units": UNITS, "activations": tuple(space.activations)}
        return for_page(self.maps(view.store.root, source, name=name, cancel=self.cancel, **question))


def row_of(text: str, count: int) -> int:
    """Return the row that a request names; AtlasError where there is no such image."""
    row = int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else count
    if row >= count:
        raise AtlasError(f"no image {one_line(text, 20)}: there are {count}")
    return row


def for_page(seen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the worker's answer as the page takes it: the maps in base64, the picture as a URL."""
    layers = [{**told, "maps": base64.b64encode(told["maps"]).decode()} for told in seen["layers"]]
    picture = "data:image/png;base64," + base64.b64encode(seen["picture"]).decode()
    return {"layers": layers, "others": seen["others"], "picture": picture}
