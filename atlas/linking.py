"""Links that restore a view of the explorer, or of a report, written from Python."""

from __future__ import annotations

import base64
import urllib.parse
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.data.records import SPLITS
from atlas.errors import AtlasError, choose, one_line
from atlas.maps.blocks import whole_number
from atlas.maps.records import Layout
from atlas.pages.colour_answers import digest
from atlas.pages.columns import on_page
from atlas.pages.view import Space, View

if TYPE_CHECKING:
    from atlas.atlas import Atlas

ROOM = 0.15  # of the selected points' extent, left free on each side of them
LEAST = 0.02  # of the map's edge: the smallest extent that a link zooms to


def link(
    atlas: Atlas,
    *,
    layer: str | None = None,
    method: str = "umap",
    images: Sequence[int] | np.ndarray | None = None,
    zoom: bool = True,
    split: str = "all",
    colour: str | None = None,
    image: Any = None,
    unit: str | None = None,
    report: bool = False,
) -> str:
    """Return what follows the explorer's address, or a report's, so that it opens on one view of an atlas.

    `layer` may be several joined by ``+``. `images` are rows: they are selected, and with `zoom` the view is the rectangle
    around their points. `colour` is what the page calls it (``right``, ``confidence``, ``unit:fc:17``); `image` and `unit`
    (``fc:17``) open their panels. Before it stands ``http://localhost:5006/atlas``, or with `report` the file's address.
    What the atlas does not have raises AtlasError.
    """
    view = View(atlas.store.root)
    space = _space(view, atlas, layer)
    layouts = {str(view.headers[name]["fields"]["method"]): name for name in space.layouts}
    if method not in layouts:
        raise choose(f"layout of {space.id}", method, layouts)
    if split not in ("all", *SPLITS[:2]):
        raise choose("split", split, ("all", *SPLITS[:2]))
    asked = {} if report else {"atlas": view.name}
    asked |= {"layer": space.id, "split": split}  # the id means one layer of one network
    if layouts[method] != space.layouts[0]:  # the first is opened unasked, also where the same atlas was built anew
        asked["layout"] = layouts[method]
    row = None if image is None else atlas.row_of(image)
    named = {"colour": colour, "image": None if row is None else str(view.images.table["image_id"].iloc[row]), "unit": unit}
    asked |= {name: value for name, value in named.items() if value is not None}
    started = view.start(asked)
    if started.notices:
        raise AtlasError("; ".join(started.notices).replace("The link asks", "a link was asked").rstrip("."))
    behind = {} if images is None else _selected(view, space, layouts[method], images, zoom)
    if report:
        return "#" + urllib.parse.urlencode(asked | behind)
    return "?" + urllib.parse.urlencode(asked) + ("#" + urllib.parse.urlencode(behind) if behind else "")


def _space(view: View, atlas: Atlas, layer: str | None) -> Space:
    layers = [atlas.layer_name(part) for part in (layer or atlas.default_layer).split("+")]
    of = [space for space in view.spaces if space.layers == layers and space.network in (None, atlas.meant)]
    if not of:
        raise choose("layer with a layout", one_line("+".join(layers)), [space.id for space in view.spaces])
    return of[0]


def _selected(view: View, space: Space, layout: str, images: Sequence[int] | np.ndarray, zoom: bool) -> dict[str, str]:
    """Return the arguments of a selection: the rectangle around it, and its images as the page packs them."""
    count = len(view.images)
    rows = np.unique([whole_number("an image's row", row, 0) for row in np.asarray(images).ravel().tolist()]).astype(int)
    if not len(rows) or rows[-1] >= count:
        raise AtlasError(f"no images to select: give rows from 0 to {count - 1}")
    told = {"view": _around(view, space, layout, rows)} if zoom else {}
    return told | {"sel": f"{count}.{digest(view, count)}.{packed(rows, count)}"}


def _around(view: View, space: Space, layout: str, rows: np.ndarray) -> str:
    """Return the rectangle around the images' points as a link writes it: left, right, bottom, top in the page's unit."""
    xy = np.nan_to_num(np.asarray(view.read(layout, Layout).xy, np.float64))
    own = on_page(xy[np.isin(view.point_image(space.activations[0]), rows)], xy)
    edge = LEAST * 65_535
    low, high = own.min(axis=0), own.max(axis=0)
    free = ROOM * (high - low) + np.maximum(0, edge - (high - low)) / 2
    ends = np.stack([low - free, high + free], axis=1).ravel()
    return "_".join(f"{end:.7g}" for end in ends.tolist())


def packed(rows: np.ndarray, count: int) -> str:
    """Return rows of `count` images as a link holds them: one bit per image, deflated, in base64url."""
    chosen = np.zeros(count, np.uint8)
    chosen[rows] = 1
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = squeezed.compress(np.packbits(chosen, bitorder="little").tobytes()) + squeezed.flush()
    return base64.urlsafe_b64encode(body).decode().rstrip("=")
