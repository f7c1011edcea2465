"""What the panels of selection, search and filters ask: addresses that may be kept, and questions that are posted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from atlas.pages import finding, selections
from atlas.pages.serving import KEY, NUMBER, Answer, Routes, as_json, images_of, raw
from atlas.pages.shelf import SHELF
from atlas.pages.view import View

IMAGES = r"(images-[0-9a-f]{1,64})"
Ask = Callable[[View, dict[str, Any], bytes], Any]


def columns(key: str) -> Answer:
    """Return what the user's own columns hold: names, kinds, ranges, values."""
    return as_json(finding.about_columns(images_of(key)))


def own_column(key: str, number: str) -> Answer:
    """Return one of the user's columns, little-endian."""
    return raw(finding.column_values(images_of(key), int(number)))


def unusual(key: str) -> Answer:
    """Return how far each point of a layer is from its neighbours, float32."""
    return raw(selections.unusual(SHELF.owner(key), key))


ROUTES: Routes = [
    (rf"/columns/{KEY}\.json", columns),
    (rf"/columns/{KEY}/{NUMBER}\.bin", own_column),
    (rf"/unusual/{KEY}\.bin", unusual),
]


@dataclass(frozen=True)
class Post:
    """One address that takes a body: what answers it, and whether it writes."""

    pattern: str
    answer: Ask
    writes: bool = False


def _exporting(kind: str) -> Ask:
    return lambda view, asked, blob: selections.export(view, asked, blob, kind)


POSTS = [
    Post(rf"/find/{IMAGES}", finding.find),
    Post(rf"/called/{IMAGES}", finding.called),
    Post(rf"/distinguish/{IMAGES}", selections.distinguish),
    *(Post(rf"/export/{IMAGES}/{kind}", _exporting(kind)) for kind in selections.WRITERS),
    Post(rf"/notes/{IMAGES}/list", selections.kept),
    Post(rf"/notes/{IMAGES}/open", selections.reopen),
    Post(rf"/notes/{IMAGES}/keep", selections.keep, writes=True),
    Post(rf"/notes/{IMAGES}/rename", selections.rename, writes=True),
    Post(rf"/notes/{IMAGES}/remove", selections.remove, writes=True),
    Post(rf"/notes/{IMAGES}/restore", selections.restore, writes=True),
]
