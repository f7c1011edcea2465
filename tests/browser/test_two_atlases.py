"""Two atlases and two layouts in one browser, the server restarted between: what is seen is always the open atlas's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from atlas.pages.view import View
from tests import worlds
from tests.browser.conftest import serving
from tests.browser.test_explorer_page import pixels, source

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two atlases of different images, alike in everything else: the second's pictures are the first's negatives."""
    folder = tmp_path_factory.mktemp("two") / "cache"
    codes = np.arange(300) % len(worlds.LABELS)
    pictures = np.stack([worlds.picture(int(code), row) for row, code in enumerate(codes)])
    worlds.tiny_atlas(folder / "one", codes=codes, pixels=pictures)
    worlds.tiny_atlas(folder / "two", codes=codes, pixels=255 - pictures)
    return folder


def neighbours_shown(page: Page, view: View, row: int) -> None:
    """Open an image and compare its picture and its neighbours' with their files."""
    page.evaluate("row => AtlasPage.page.does.open(row, null)", row)
    page.wait_for_selector(f"#image-panel[data-row='{row}'] img")
    page.wait_for_function("document.querySelector('#image-panel img').complete")
    assert np.abs(pixels(page, "#image-panel .picture-frame img") - source(view, row)).mean() < 30
    other = int(page.locator("#neighbours .cell").first.get_attribute("data-row") or -1)
    page.wait_for_timeout(200)
    seen = pixels(page, f"#neighbours .cell[data-row='{other}'] .thumb")[4:24, 4:24]
    assert np.abs(seen - source(view, other)[4:24, 4:24]).mean() < 30


def test_pictures_stay_with_their_atlas_when_the_server_starts_anew(cache: Path, browser: Browser) -> None:
    views = {name: View(cache / name) for name in ("one", "two")}
    context = browser.new_context(viewport={"width": 1280, "height": 800})  # one profile: one cache, one storage
    page = context.new_page()
    for _ in range(2):
        with serving(cache) as url:
            for name in ("one", "two", "one"):
                for layout in views[name].spaces[0].layouts[:2]:
                    page.goto(f"{url}?atlas={name}&layer={views[name].spaces[0].id}&layout={layout}&backend=canvas")
                    page.wait_for_function("window.AtlasPage && AtlasPage.ready")
                    assert page.evaluate("AtlasPage.state.layout.key") == layout
                    neighbours_shown(page, views[name], 17)
    context.close()
