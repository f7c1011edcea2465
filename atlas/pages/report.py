"""The report: the explorer of an atlas in one HTML file, with its data, for those who have neither a server nor a network.

The page is the explorer's (templates/index.html, static/), made by the same builders; its data lie in the file by the
addresses under which a server answers (report_contents.py, held.py). How large it becomes is chosen by `LEVELS`.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atlas.data.selection import select
from atlas.data.thumbnails import columns_for
from atlas.errors import AtlasError, one_line
from atlas.machine import size
from atlas.pages.held import IN_TEXT, Held, as_it_came, packed
from atlas.pages.held_tables import hold_answers, hold_nearest
from atlas.pages.part import Part, rows_of_split
from atlas.pages.provenance import number
from atlas.pages.report_contents import hold_addresses
from atlas.pages.report_page import page_html, with_data
from atlas.pages.sheets import Cells
from atlas.pages.view import Space, View

MOST = 18_000_000  # bytes of a report of which nothing else was said: what 70 000 thumbnails of 28 pixels take
FITS = 0.99  # of the wanted size that is planned for: thumbnails are estimated on a draw
LEAST_EDGE = 20  # pixels of a thumbnail below which nothing is seen in it
LEAST_IMAGES = 10
BOKEH = "report/bokeh.js"  # where the page finds it
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?B|)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Level:
    """How a report is written: share of the thumbnails' edge, WebP quality, neighbours of the first layer and of others."""

    scale: float
    quality: int
    first: int
    others: int


# From rich to lean. Without a wished size the richest three are passed over: few look so closely, and mail has its limits.
LEVELS = (
    *(Level(1, 90, 30, 30), Level(1, 75, 30, 30), Level(1, 60, 15, 15), Level(1, 50, 8, 8), Level(1, 40, 8, 4)),
    *(
        Level(1, 30, 8, 4),
        Level(1, 30, 8, 3),
        Level(1, 30, 8, 2),
        Level(0.75, 40, 8, 2),
        Level(0.75, 30, 8, 2),
        Level(0.5, 30, 8, 2),
    ),
)
COARSEST = min(level.quality for level in LEVELS)
ENOUGH = 0.29  # bytes for a pixel of a thumbnail: 300 at 32 × 32, where no size was wished
USUAL = 3  # the level that is tried first where no size was wished


@dataclass(frozen=True)
class Told:
    """What was written: the file, its bytes, images of how many, and in words what was chosen and left out."""

    file: str
    bytes: int
    images: int
    of: int
    edge: int
    quality: int
    sentences: list[str]


def write_report(
    root: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    max_size: int | str | None = None,
    layers: Sequence[str] = (),
    split: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Write the report of the atlas in `root` to the file `out`; return what was chosen and left out (`Told`).

    It has at most `max_size` bytes (``20MB``; default 18 MB): of smaller or coarser thumbnails, of fewer neighbours, at last
    of a sample, in proportion over classes and splits, drawn from `seed`. `layers` and `split` take some of the layers and
    images only. AtlasError where there is no atlas, `out` cannot be written, or so little room holds nothing.
    """
    path, most = writable(out), MOST if max_size is None else read_size(max_size)
    whole = View(Path(root))
    rows = rows_of_split(whole, split)
    plan = Plan(Path(root), rows, most, layers, wished=max_size is not None)
    body, told = plan.written(seed)
    write(path, body)
    return asdict(
        Told(str(path), len(body), told["count"], len(whole.images), told["edge"], told["quality"], told["sentences"])
    )


class Plan:
    """One report to be written within `most` bytes."""

    def __init__(self, root: Path, rows: np.ndarray, most: int, layers: Sequence[str], *, wished: bool):
        self.root, self.rows, self.most, self.layers, self.wished = root, rows, most, layers, wished

    def written(self, seed: int) -> tuple[bytes, dict[str, Any]]:
        """Return the file and what was chosen: the richest level that fits with all images, else a sample at the leanest."""
        draft = Draft(self, self.rows)
        for level in LEVELS if self.wished else draft.usual_levels():
            if draft.fits(level, self.most * FITS):
                body, told = draft.finished(level)
                if len(body) <= self.most:
                    return body, told
        return self._sampled(draft, LEVELS[-1], seed)

    def _sampled(self, draft: Draft, level: Level, seed: int) -> tuple[bytes, dict[str, Any]]:
        page = draft.constant
        each = (draft.estimate(level) - page) / max(1, len(self.rows))
        count, least = int((self.most * FITS - page) / each), min(LEAST_IMAGES, len(self.rows))
        while count >= least:
            body, told = Draft(self, self._drawn(draft.view, count, seed)).finished(level)
            if len(body) <= self.most:
                return body, told
            count = int(count * 0.97 * self.most / len(body))
        enough = size(2 * page + each * least)
        raise AtlasError(
            f"a report of {size(self.most)} holds no images: the page alone takes {size(page)}; {enough} would do"
        )

    def _drawn(self, view: View, count: int, seed: int) -> np.ndarray:
        table = view.images.table
        return self.rows[select(table["label"], table["split"], count, seed=seed)]


class Draft:
    """A report of some images, and what it would take at each level."""

    def __init__(self, plan: Plan, rows: np.ndarray):
        self.plan, self.rows = plan, rows
        whole = View(plan.root)
        self.cells = Cells(whole.images, rows)
        self.view = Part(plan.root, rows=rows if len(rows) < len(whole.images) else None, layers=plan.layers)
        self.fixed = Held()
        self.found: dict[tuple[str, int], Held] = {}
        self.left = hold_addresses(self.fixed, self.view)
        hold_answers(self.fixed, self.view)
        page = page_html(self.view, {}, images={})
        self.fixed.add(BOKEH, packed(page.bokeh.encode()))
        self.page_bytes = len(page.html.encode())

    def lists(self, space: Space, most: int) -> Held:
        """Return the `most` nearest of each point of a layer; each found once."""
        if (space.id, most) not in self.found:
            self.found[space.id, most] = held = Held()
            hold_nearest(held, self.view, space, most)
        return self.found[space.id, most]

    def kept(self, level: Level) -> list[tuple[Space, int]]:
        """Return how many neighbours of each point are held in each layer: more in that which the page opens on."""
        first, listed = self.view.start({}).space, [space for space in self.view.spaces if space.neighbours]
        wanted = [(space, level.first if space.id == first else level.others) for space in listed]
        return [(space, min(most, self.view.kept(space))) for space, most in wanted]

    def held(self, level: Level) -> Held:
        """Return all that is held at a level but the thumbnails."""
        held = Held()
        for part in [self.fixed, *(self.lists(space, most) for space, most in self.kept(level))]:
            held.entries |= part.entries
        return held

    def usual_levels(self) -> list[Level]:
        """Return the levels to try where no size was wished: from USUAL on, colour as coarse as to take ENOUGH bytes."""
        return [level for level in LEVELS[USUAL:] if level.quality == COARSEST or self.light(level)]

    def light(self, level: Level) -> bool:
        """Tell whether a level's thumbnails take ENOUGH bytes at most."""
        edge = self.edge(level)
        return self.cells.bytes_each(edge, level.quality) <= ENOUGH * edge**2

    def edge(self, level: Level) -> int:
        """Return the pixels of a thumbnail at a level."""
        own = self.cells.images.thumbnail_edge
        return min(own, max(LEAST_EDGE, round(own * level.scale)))

    def estimate(self, level: Level) -> float:
        """Return the bytes of the file at a level, the thumbnails estimated on a draw."""
        return self.page_bytes + self.held(level).size + self.picture_bytes(level)

    def fits(self, level: Level, most: float) -> bool:
        """Tell whether a level takes at most `most` bytes; neighbours take long, and are gathered where the rest fits."""
        rest = self.page_bytes + self.fixed.size + self.picture_bytes(level)
        return rest <= most and self.estimate(level) <= most

    @property
    def constant(self) -> float:
        """Bytes that do not grow with the number of images: the page, Bokeh, the class patterns."""
        bodies = [e.body for address, e in self.fixed.entries.items() if address.startswith(("patterns/", BOKEH))]
        return self.page_bytes + IN_TEXT * sum(map(len, bodies))

    def picture_bytes(self, level: Level) -> float:
        """Return the bytes of the thumbnails in the file, estimated on a draw."""
        return self.cells.bytes_each(self.edge(level), level.quality) * len(self.rows) * IN_TEXT

    def finished(self, level: Level) -> tuple[bytes, dict[str, Any]]:
        """Return the file at a level, and what was chosen."""
        held, edge = self.held(level), self.edge(level)
        for place, body in enumerate(self.cells.sheets(edge, level.quality)):
            held.add(f"thumbs/{self.view.images_name}/{place}.webp", as_it_came(body))
        sentences = self.sentences(edge, level)
        told = {"count": len(self.rows), "edge": edge, "quality": level.quality, "sentences": sentences}
        page = page_html(self.view, {"report": told}, images={"edge": edge, "columns": columns_for(edge)})
        held.add(BOKEH, packed(page.bokeh.encode()))
        return with_data(page.html, held), told

    def sentences(self, edge: int, level: Level) -> list[str]:
        """Return in words what was chosen and what was left out."""
        return [*self._images_words(), self._picture_words(edge, level), *self._neighbour_words(level), *self._left_words()]

    def _images_words(self) -> list[str]:
        count, whole = len(self.rows), self.view.whole
        if count == whole:
            return [f"All {number(whole)} images are in it."]
        of = len(self.plan.rows)
        drawn = f", drawn at random in proportion over classes and splits from {number(of)}" if count < of else ""
        return [
            f"{number(count)} of {number(whole)} images are in it{drawn}; the others are left out, as neighbours too.",
            "Accuracy, class patterns, spread and faithfulness are those of all images.",
        ]

    def _picture_words(self, edge: int, level: Level) -> str:
        own = self.cells.images.thumbnail_edge
        smaller = "" if edge == own else f" (the atlas has {own})"
        return f"Thumbnails of {edge} × {edge} pixels{smaller}, as WebP of quality {level.quality}, stand for the originals."

    def _neighbour_words(self, level: Level) -> list[str]:
        kept = self.kept(level)
        words = [f"{space.id} {most}" for space, most in kept]
        return (
            [f"Nearest neighbours kept of each point at most: {', '.join(words)}; their distances to 1 %."] if words else []
        )

    def _left_words(self) -> list[str]:
        hidden = [space.id for space in View(self.plan.root).spaces if space.id not in {own.id for own in self.view.spaces}]
        return [
            *([f"Left out for their size: {', '.join(self.left)}."] if self.left else []),
            *([f"Layers left out: {', '.join(hidden)}."] if hidden else []),
            "Not in a report: new images, kept selections, and what a server reckons when asked (units of one image or of a "
            "selection, activation maps, an image's way through the layers, pairs of classes, a class across layers, the "
            "order of the least usual images).",
        ]


def read_size(value: int | str) -> int:
    """Return bytes of ``20MB``, ``500 kB`` or a number; AtlasError for anything else."""
    found = SIZE.fullmatch(str(value))
    if not found or float(found[1]) <= 0:
        raise AtlasError(f"{one_line(repr(str(value)))} is no size: 20MB, 500kB or a number of bytes would do")
    return int(float(found[1]) * UNITS[found[2].upper()])


def writable(out: str | os.PathLike[str]) -> Path:
    """Return the file to be written; AtlasError where it is no HTML file's name or its folder cannot be written in."""
    path = Path(out)
    if path.suffix.lower() not in (".html", ".htm"):
        raise AtlasError(
            f"a report is an HTML file, and {one_line(path.name)} is named as none: give it a name such as report.html"
        )
    folder = path.absolute().parent
    if not folder.is_dir():
        raise AtlasError(f"no folder {folder} to write {one_line(path.name)} in: make it first")
    if path.is_dir() or not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise AtlasError(f"{one_line(str(path))} cannot be written: choose another file")
    return path


def write(path: Path, body: bytes) -> None:
    """Write the file beside its place, then rename it: there is a whole report or none."""
    aside = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        aside.write_bytes(body)
        aside.replace(path)
    except OSError as reason:
        aside.unlink(missing_ok=True)
        raise AtlasError(
            f"{one_line(str(path))} cannot be written ({reason.strerror}): choose another place, or free some"
        ) from None
