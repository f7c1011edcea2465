"""What the page fetches: sheets, images, columns and lists, each by an artifact's key and whole numbers only.

Plain functions that know no server: `routes` answers requests with them, and the report holds their answers. Every address
carries the key of its artifact, which is the hash of what made it: an answer may be kept for ever, and a cached picture can
never belong to another layout or another atlas.
"""

from __future__ import annotations

import functools
import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from atlas.errors import AtlasError, one_line
from atlas.pages import (
    association_answers,
    cell_answers,
    class_answers,
    class_atlas_answers,
    colour_answers,
    doubts,
    feature_answers,
    graph_answers,
    image_answers,
    preferred_answers,
    selection_answers,
    unit_answers,
)
from atlas.pages.bundle import bundle
from atlas.pages.opened_sheets import OpenedSheets
from atlas.pages.serving import KEY, NUMBER, Answer, Routes, as_json, images_of, raw, split_of
from atlas.pages.shelf import SHELF
from atlas.pages.view import View

STATIC = Path(__file__).parent / "static"
BUNDLE = "modules.js"  # the page's modules in one file
KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
PICKED_QUALITY = 75  # of WebP: 180 bytes each on Fashion-MNIST, 2.3 of 255 away from the sheet they are cut from
SHEETS = OpenedSheets()  # of all atlases of this process
FEW_SHEETS = 1  # up to which a page takes the whole sheet, and asks for no picks (data.js)
PAINTED = 2.0  # seconds in which a page comes up: decoding then takes none of its time
LARGEST_EDGE = 1024  # pixels of an original as the side panel shows it


@functools.cache
def static_version() -> str:
    """Return a hash of the page's own files: they are served under it, so that a browser never mixes two versions."""
    whole = hashlib.sha256()
    for path in sorted(STATIC.iterdir()):
        whole.update(path.name.encode() + path.read_bytes())
    whole.update(bundle(STATIC))  # and of how they are put together
    return whole.hexdigest()[:12]


def answer(address: str) -> Answer:
    """Return the answer to an address of ROUTES, ``/column/layout-0a1b/xy.bin``; an unknown one raises AtlasError."""
    for pattern, function in ROUTES:
        found = re.fullmatch(pattern, address)
        if found:
            return function(*found.groups())
    raise AtlasError(f"there is nothing at {one_line(address, 80)}")


def sheet(key: str, number: str) -> Answer:
    """Return one sheet of thumbnails."""
    paths = images_of(key).images.thumbnails
    name = f"{int(number):03d}.webp"
    if name not in paths:
        raise AtlasError(f"no sheet {number}")
    return "image/webp", paths[name].read_bytes()


def picks(key: str, rows: str) -> Answer:
    """Return the thumbnails of some images side by side: what a page shows of them, without all sheets they lie in."""
    images = images_of(key).images
    wanted = [int(row) for row in rows.split("-")]
    if max(wanted) >= len(images):
        raise AtlasError(f"no image {max(wanted)}: there are {len(images)}")
    edge, across = images.thumbnail_edge, images.sheet_columns
    strip = Image.new("RGB", (edge * len(wanted), edge))
    for place, row in enumerate(wanted):
        number, slot = divmod(row, across * across)
        x, y = slot % across * edge, slot // across * edge
        opened = SHEETS.get((key, number), _reads(key, number))
        strip.paste(opened.crop((x, y, x + edge, y + edge)), (place * edge, 0))
    body = io.BytesIO()
    strip.save(body, "WEBP", quality=PICKED_QUALITY)
    return "image/webp", body.getvalue()


def _reads(key: str, number: int) -> Callable[[], bytes]:
    return lambda: sheet(key, str(number))[1]


def decode_ahead(view: View) -> None:
    """Decode the sheets of an atlas in the background, so that the first selection's pictures need not wait for them."""
    key, count = view.images_name, len(view.images.thumbnails)
    if count > FEW_SHEETS:
        SHEETS.fill({(key, number): _reads(key, number) for number in range(count)}, after=PAINTED)


def image(key: str, row: str) -> Answer:
    """Return one image as it is stored, decoded and encoded anew, at most LARGEST_EDGE pixels wide or high."""
    picture = _reader(key).image(int(row)).copy()
    picture.thumbnail((LARGEST_EDGE, LARGEST_EDGE))
    body = io.BytesIO()
    picture.save(body, "PNG")
    return "image/png", body.getvalue()


@functools.lru_cache(maxsize=16)
def _reader(key: str) -> Any:
    from atlas.data.reading import open_reader  # reads pixels only when a page asks for an original

    view = images_of(key)
    return open_reader(view.images, view.store.root)


def column(key: str, what: str) -> Answer:
    """Return one column of numbers, little-endian."""
    values = SHELF.owner(key).column(key, what)
    return raw(values)


def detail(key: str, row: str) -> Answer:
    """Return what is known of one image."""
    return as_json(images_of(key).detail(int(row)))


def top(key: str, row: str) -> Answer:
    """Return one image's most probable outputs."""
    return as_json(SHELF.owner(key).top(key, int(row)))


def suspicion(key: str, row: str) -> Answer:
    """Return how suspicious one image's label is."""
    return as_json(doubts.suspicion(SHELF.owner(key), key, int(row)))


def twins(key: str, row: str) -> Answer:
    """Return the images in the other split that look the same as one."""
    return as_json(doubts.twins(SHELF.owner(key), key, int(row)))


def nearest(key: str, point: str) -> Answer:
    """Return the kept neighbours of one point."""
    return as_json(SHELF.owner(key).nearest(key, int(point)))


def patterns(key: str, split: str) -> Answer:
    """Return the class patterns of a layer without their values: labels, counts, title, units."""
    found = SHELF.owner(key).patterns(key, split_of(split))
    return as_json(
        {
            "labels": found.labels,
            "count": found.count.tolist(),
            "title": found.title,
            "units": int(found.mean.shape[1]),
        }
    )


def pattern_values(key: str, split: str, what: str) -> Answer:
    """Return the values of the class patterns, float32 [class, unit]."""
    values = getattr(SHELF.owner(key).patterns(key, split_of(split)), what)
    return "application/octet-stream", np.asarray(values, "<f4").tobytes()


def static_file(version: str, name: str) -> Answer:
    """Return one of the page's own files, or all its modules as one; the version only keeps caches apart."""
    path = STATIC / name
    return KINDS[path.suffix], bundle(STATIC) if name == BUNDLE else path.read_bytes()


ROUTES: Routes = [
    (rf"/thumbs/{KEY}/(\d{{1,6}})\.webp", sheet),
    (rf"/picks/{KEY}/(\d{{1,8}}(?:-\d{{1,8}}){{0,63}})\.webp", picks),
    (rf"/image/{KEY}/{NUMBER}", image),
    (rf"/column/{KEY}/(label|split|prediction|mistake|right|confidence|image|xy|recall|score)\.bin", column),
    (rf"/detail/{KEY}/{NUMBER}\.json", detail),
    (rf"/top/{KEY}/{NUMBER}\.json", top),
    (rf"/suspicion/{KEY}/{NUMBER}\.json", suspicion),
    (rf"/twins/{KEY}/{NUMBER}\.json", twins),
    (rf"/nearest/{KEY}/{NUMBER}\.json", nearest),
    (rf"/patterns/{KEY}/([0-3])\.json", patterns),
    (rf"/patterns/{KEY}/([0-3])/(mean|std)\.bin", pattern_values),
    (r"/page/([0-9a-f]{12})/([a-z]+\.(?:css|js|svg))", static_file),
    *colour_answers.ROUTES,
    *image_answers.ROUTES,
    *selection_answers.ROUTES,
    *unit_answers.ROUTES,
    *class_answers.ROUTES,
    *preferred_answers.ROUTES,
    *cell_answers.ROUTES,
    *feature_answers.ROUTES,
    *graph_answers.ROUTES,
    *association_answers.ROUTES,
    *class_atlas_answers.ROUTES,
]
