"""What a report holds of an atlas: the addresses that a page asks for whole, and columns for what it asks one by one.

A panel gets its data into the report by an address: it asks through ``json()``, ``numbers()`` or ``column()`` of data.js
as it does of a server, and a function in `WISHES` below yields a `Wish` for each address that it may ask for. The answer is
the server's own (`answers.answer`), about the images of the report only, as `part.Part` numbers them. `width` is the bytes
of a number (0 for text); of `rough` ones, float32 or uint16, the last bits may be lost. A wish whose answer takes more than
its `most` bytes is left out, and `what` says in the report what is missing; the panel's promise then rejects, and it says so
in its place. What cannot be listed, one answer for each image or point, is told as columns in held_tables.py and assembled
in static/report.js.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from atlas.activations.records import Activations
from atlas.data.records import SPLITS
from atlas.errors import AtlasError, one_line
from atlas.maps.records import Cells as CellsRecord
from atlas.pages.answers import answer
from atlas.pages.cell_answers import argued_outputs, cells_part
from atlas.pages.columns import own_names
from atlas.pages.feature_answers import volumes_part
from atlas.pages.held import Entry, Held, as_it_came, fewer_bits, packed, rounded
from atlas.pages.preferred_answers import ACROSS, preferred_part
from atlas.pages.shelf import asking
from atlas.pages.unit_answers import layers_part
from atlas.pages.view import ALL_SPLITS, View
from atlas.patterns.spread import ClassSpread

LARGEST = 300_000  # bytes of one answer that a panel can do without: what two thousand thumbnails take
MOST_VOLUMES = 6_000_000  # bytes of volumes before they are packed: 29 of 65 levels of 56 × 56
MOST_PAIRS = 45  # of classes between which cells are held: those of ten


@dataclass(frozen=True)
class Wish:
    """An address that a page asks for, and what it holds in words where it may be left out."""

    address: str
    width: int = 0  # bytes of a number; 0: text
    rough: bool = False  # whether the last bits may be lost: of float32, and of codes of a place or a share
    most: float = float("inf")  # bytes beyond which it is left out
    what: str = ""
    picture: bool = False  # compressed already, and shown as it lies there


def columns(view: View) -> Iterator[Wish]:
    """Yield the columns of images, predictions, points and maps: without them nothing is drawn."""
    yield from (Wish(f"column/{view.images_name}/{what}.bin", width) for what, width in (("label", 2), ("split", 1)))
    for name in dict.fromkeys(space.predictions for space in view.spaces if space.predictions):
        for what, width in (("mistake", 2), ("right", 1), ("confidence", 2)):
            yield Wish(f"column/{name}/{what}.bin", width, rough=what == "confidence")
    for space in view.spaces:
        yield Wish(f"column/{space.activations[0]}/image.bin", 4)
        yield from (Wish(f"column/{layout}/xy.bin", 2, rough=True) for layout in space.layouts)


def amounts(view: View) -> Iterator[Wish]:
    """Yield what maps can be coloured by beyond the names: how faithful a place, how suspicious a label is."""
    for space in view.spaces:
        for layout in space.layouts:
            yield Wish(f"column/{layout}/recall.bin", 2, rough=True, what=f"the faithfulness of {space.id}")
        if "suspects" in space.doubts:
            yield Wish(
                f"column/{space.doubts['suspects']}/score.bin", 2, rough=True, what=f"the label suspicion of {space.id}"
            )


def patterns(view: View) -> Iterator[Wish]:
    """Yield the class patterns of each layer, over each split and over all images."""
    present = [code for code in range(len(SPLITS)) if (view.splits == code).any()]
    for name in dict.fromkeys(
        name for space in view.spaces for source in space.activations for name in view.statistics_of(source)
    ):
        for split in [*present, ALL_SPLITS]:
            what = f"the class patterns of {view.headers[name]['fields']['layer']}"
            yield Wish(f"patterns/{name}/{split}.json", most=LARGEST, what=what)
            yield from (Wish(f"patterns/{name}/{split}/{stat}.bin", 4, True, LARGEST, what) for stat in ("mean", "std"))


def classes(view: View) -> Iterator[Wish]:
    """Yield how the classes of each layer spread and mix, over all images and each split."""
    for space in view.spaces:
        name = space.doubts.get("spread")
        if name:
            yield Wish(f"spread/{name}.json")
            over = range(len(view.read(name, ClassSpread).over))
            yield from (
                Wish(f"mixing/{name}/{place}.bin", 4, True, LARGEST, f"how classes mix in {space.id}") for place in over
            )


def units(view: View) -> Iterator[Wish]:
    """Yield the table of each layer's units, the images that excite them most, and their values where those are few."""
    for space in view.spaces:
        for name in view.statistics_of(space.activations[0]) if len(space.layers) == 1 else []:
            what = f"the units of {space.id}"
            for split in range(ALL_SPLITS + 1):
                yield from (Wish(f"{kind}/{name}/{split}.json", most=LARGEST, what=what) for kind in ("units", "order"))
            yield Wish(f"crossing/{name}.json", most=LARGEST, what=what)
            for array in ("top_image", "top_value", "quantiles"):
                yield Wish(f"units/{name}/{array}.bin", 4, array != "top_image", LARGEST, what)
        if len(space.layers) == 1:
            yield from values_of_units(view, space.activations[0], space.id)


def values_of_units(view: View, name: str, layer: str) -> Iterator[Wish]:
    """Yield every unit's value at every point, where all of them take at most LARGEST bytes."""
    count, points = view.read(name, Activations).unit_count, len(view.point_image(name))
    few = LARGEST if count * points <= LARGEST else -1
    what = f"the map coloured by a unit of {layer}"
    for number in range(count) if few > 0 else [0]:
        yield Wish(f"unit/{name}/{number}.bin", 1, most=few, what=what)
        yield from (Wish(f"codes/{name}/{number}.{kind}", 1, most=few, what=what) for kind in ("bin", "json"))


def preferred(view: View) -> Iterator[Wish]:
    """Yield the preferred inputs of every layer, and how well each succeeded."""
    for part in preferred_part(view):
        what = f"the preferred inputs of {part['layer']}"
        yield Wish(f"preferred/{part['key']}.json", most=LARGEST, what=what)
        for number in range(-(-len(part["units"]) // ACROSS**2)):
            yield Wish(f"preferred/{part['key']}/{number}.webp", most=LARGEST, what=what, picture=True)


def cells(view: View) -> Iterator[Wish]:
    """Yield the cells of each layout that has some: what they hold, which points lie in them, their icons."""
    for part in cells_part(view):
        what = f"the icons of {view.headers[part['layout']]['fields']['method']} of {part['attributed'] or 'a layer'}"
        yield from (Wish(f"{kind}/{part['key']}.json", most=LARGEST, what=what) for kind in ("cells", "unusual", "depth"))
        yield from pairs(view, part, what)
        if part["attributed"]:
            yield Wish(f"opacity/{part['key']}.bin", 1, most=LARGEST, what=f"the classes that {what[4:]} argue for")
        yield from (
            Wish(f"cells/{part['key']}/{number}.bin", 2, most=LARGEST, what=what) for number in range(len(part["sizes"]))
        )
        for number in range(-(-part["cells"] // ACROSS**2)) if part["icons"] else ():
            yield Wish(f"icons/{part['icons']['key']}/{number}.webp", most=LARGEST, what=what, picture=True)


def pairs(view: View, part: dict[str, Any], what: str) -> Iterator[Wish]:
    """Yield the cells between every two classes that they argue for, where these are few enough."""
    outputs = len(argued_outputs(view.read(part["key"], CellsRecord))) if part["attributed"] else 0
    most = LARGEST // MOST_PAIRS if outputs * (outputs - 1) // 2 <= MOST_PAIRS else -1
    for left, right in itertools.combinations(range(outputs if most > 0 else min(outputs, 2)), 2):
        yield Wish(
            f"between/{part['key']}/{left}/{right}.json", most=most, what=f"the cells between two classes of {what[4:]}"
        )


def graphs(view: View) -> Iterator[Wish]:
    """Yield the image graph of each layer that has one: its edges, its communities, its own layout."""
    for space in view.spaces:
        if space.graph:
            what = f"the image graph of {space.id}"
            yield Wish(f"graph/{space.graph}/communities.json", what=what)
            yield Wish(f"graph/{space.graph}/edges.bin", 4, most=4 * LARGEST, what=what)
            yield from (Wish(f"graph/{space.graph}/{name}.bin", 2, what=what) for name in ("lists", "community"))
            yield Wish(f"column/{space.graph}/xy.bin", 2, rough=True)


def own_columns(view: View) -> Iterator[Wish]:
    """Yield the user's own columns, to colour, to filter and to search by."""
    yield Wish(f"columns/{view.images_name}.json", most=LARGEST, what="the values of your own columns")
    for number, name in enumerate(own_names(view.images.table)):
        for kind in ("own", "columns"):
            yield Wish(f"{kind}/{view.images_name}/{number}.bin", 1, most=LARGEST, what=f"the column {one_line(name, 40)}")
        yield Wish(f"own/{view.images_name}/{number}.json", most=LARGEST, what=f"the column {one_line(name, 40)}")


def features(view: View) -> Iterator[Wish]:
    """Yield what units answer to, and the volumes of the report's images that were kept, as far as they are few."""
    for part in layers_part(view):
        if part["selectivity"]:
            yield Wish(
                f"selectivity/{part['selectivity']}.json", most=LARGEST, what=f"what units of {part['layer']} answer to"
            )
    for kept in volumes_part(view):
        one = len(kept["layers"]) * kept["size"][0] * kept["size"][1]
        for number, row in enumerate(kept["rows"]):
            most = LARGEST if number < MOST_VOLUMES // one else -1
            yield Wish(f"volume/{kept['key']}/{row}.bin", 1, most=most, what="some of the volumes")
            yield Wish(f"volume/{kept['key']}/{row}.json", most=most, what="some of the volumes")


WISHES: list[Callable[[View], Iterator[Wish]]] = [
    columns, amounts, patterns, classes, units, preferred, cells, graphs, own_columns, features,
]  # fmt: skip


def report_addresses(view: View) -> list[Wish]:
    """Return every address whose answer a report holds whole, each once."""
    return list({wish.address: wish for wishes in WISHES for wish in wishes(view)}.values())


def hold_addresses(held: Held, view: View) -> list[str]:
    """Hold the answers of all addresses; return in words what was left out for its size or is not there."""
    left: dict[str, None] = {}
    with asking(view):
        for wish in report_addresses(view):
            entry = _entry(wish)
            if entry is not None and len(entry.body) <= wish.most:
                held.add(wish.address, entry)
            elif entry is not None:
                left[wish.what] = None
    return list(left)


def _entry(wish: Wish) -> Entry | None:
    """Return what an address answers; None where it answers nothing: a map too small to be measured, say."""
    try:
        _, body = answer(f"/{wish.address}")
    except (AtlasError, IndexError, KeyError, ValueError):  # as a server answers 404: a split without images, say
        return None
    if wish.rough:
        body = (fewer_bits(np.frombuffer(body, "<f4")) if wish.width == 4 else rounded(np.frombuffer(body, "<u2"))).tobytes()
    return as_it_came(body) if wish.picture else packed(body, wish.width or 1)
