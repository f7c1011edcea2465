"""What the page fetches to colour a map by a unit or a column, and to know whether a link speaks of these images."""

from __future__ import annotations

import functools
import hashlib

import numpy as np

from atlas.errors import AtlasError
from atlas.pages.colourings import Own, own_columns, unit_values
from atlas.pages.serving import KEY, NUMBER, Answer, Routes, as_json, images_of
from atlas.pages.shelf import SHELF
from atlas.pages.view import View


def unit(key: str, number: str) -> Answer:
    """Return one unit of a layer: its ends, two float32, then a code for every image, uint8 (see `unit_values`)."""
    low, high, codes = unit_values(SHELF.owner(key), key, int(number))
    return "application/octet-stream", np.array([low, high], "<f4").tobytes() + codes.tobytes()


def own(key: str, number: str) -> Answer:
    """Return what one of the user's columns holds: its kind, and its names or its ends."""
    found = _own(key, number)
    return as_json({"kind": found.kind, "names": found.names, "ends": found.ends, "of_label": found.of_label})


def own_codes(key: str, number: str) -> Answer:
    """Return the codes of one of the user's columns, uint16 [image]."""
    return "application/octet-stream", _own(key, number).codes.astype("<u2").tobytes()


def _own(key: str, number: str) -> Own:
    found = own_columns(images_of(key))
    if int(number) >= len(found):
        raise AtlasError(f"no column {number} of the user's: there are {len(found)}")
    return found[int(number)]


def first(key: str, count: str) -> Answer:
    """Return a short hash of the first `count` images: a selection made when there were so many is of these, or is not."""
    return as_json({"digest": digest(images_of(key), int(count))})


@functools.lru_cache(maxsize=64)
def digest(view: View, count: int) -> str:
    """Return a short hash of the image_ids of the first `count` images."""
    if count > len(view.images):
        raise AtlasError(f"no {count} images: there are {len(view.images)}")
    ids = view.images.table["image_id"].iloc[:count].astype(str)
    return hashlib.sha256("\n".join(ids).encode("utf-8", "surrogatepass")).hexdigest()[:12]


ROUTES: Routes = [
    (rf"/unit/{KEY}/{NUMBER}\.bin", unit),
    (rf"/own/{KEY}/{NUMBER}\.json", own),
    (rf"/own/{KEY}/{NUMBER}\.bin", own_codes),
    (rf"/first/{KEY}/{NUMBER}\.json", first),
]
