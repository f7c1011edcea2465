"""Where thumbnails lie in many sheets, a page asks for the pictures it shows and no more: each is the right image's."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from atlas.errors import AtlasError
from atlas.pages.answers import answer
from atlas.pages.shelf import SHELF
from atlas.pages.view import View
from tests import worlds
from tests.browser.test_explorer_page import closest, pixels, source

pytestmark = pytest.mark.browser
COLUMNS = 5  # of a sheet: 25 thumbnails in each, 12 sheets in all


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("picks") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worlds, "COLUMNS", COLUMNS)
        worlds.tiny_atlas(folder / "world")
    return folder


def test_pictures_side_by_side_are_the_images_asked_for_in_their_order(view: View) -> None:
    rows = [299, 0, 24, 25, 131, 0]
    kind, body = answer(f"/picks/{view.images_name}/{'-'.join(map(str, rows))}.webp")
    strip = np.asarray(Image.open(io.BytesIO(body)).convert("L")).astype(int)
    assert kind == "image/webp" and strip.shape == (28, 28 * len(rows))
    for place, row in enumerate(rows):
        assert np.abs(strip[:, 28 * place : 28 * (place + 1)] - source(view, row)).mean() < 6


@pytest.mark.parametrize("rows", ["300", "1-2-300", "99999999"])
def test_an_image_that_is_not_there_is_refused(view: View, rows: str) -> None:
    with pytest.raises(AtlasError, match=r"no image .*: there are 300"):
        answer(f"/picks/{view.images_name}/{rows}.webp")


@pytest.mark.parametrize("rows", ["", "-1", "1-", "a", "1-2-" + "3-" * 64 + "4", "../x"])
def test_what_is_no_list_of_rows_has_no_address(view: View, rows: str) -> None:
    with pytest.raises(AtlasError, match="there is nothing at"):
        answer(f"/picks/{view.images_name}/{rows}.webp")


def picked(asked: list[str]) -> list[int]:
    """Return the rows whose pictures were asked for, in their order."""
    lists = [re.search(r"/picks/[^/]*/([0-9-]+)", address) for address in asked]
    return [int(row) for found in lists if found for row in found[1].split("-")]


def seen(page: Page) -> list[int]:
    """Return the rows of the gallery's cells that are in view."""
    inside = (
        "c => { const { top, bottom } = c.getBoundingClientRect(); return bottom > -7 && top < innerHeight }"  # 7: the gap
    )
    return list(page.evaluate(f"[...document.querySelectorAll('#gallery .cell')].filter({inside}).map(c => +c.dataset.row)"))


def test_the_gallery_shows_the_right_images_and_reads_no_sheet(url: str, view: View, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{url}?split=all&view=none")
    assert SHELF.open(view.store.root).images.sheet_columns == COLUMNS
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    rows = list(range(3, 300, 7))
    page.evaluate("rows => AtlasPage.page.does.select(rows)", rows)
    page.wait_for_selector("#gallery .cell")
    page.wait_for_timeout(500)
    assert picked(asked) == seen(page) and 0 < len(seen(page)) < len(rows)  # those in view and no others
    page.locator("#gallery .cell").last.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    assert sorted(picked(asked)) == rows  # each once
    for row in (rows[0], rows[len(rows) // 2], rows[-1]):
        assert closest(view, pixels(page, f"#gallery .cell[data-row='{row}'] .thumb")) == row
    page.evaluate("AtlasPage.page.does.open(150, null)")
    page.wait_for_selector("#neighbours .cell")
    page.wait_for_timeout(500)
    near = int(page.locator("#neighbours .cell").first.get_attribute("data-row") or -1)
    assert closest(view, pixels(page, f"#neighbours .cell[data-row='{near}'] .thumb")) == near
