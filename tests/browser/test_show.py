"""`a.show()`: a notebook's frame holds the explorer, alive."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from atlas.atlas import open_atlas
from tests import worlds

pytestmark = pytest.mark.browser


def test_a_frame_of_a_notebook_holds_the_explorer_and_a_click_there_opens_an_image(tmp_path: Path, browser: Browser) -> None:
    worlds.tiny_atlas(tmp_path / "world")
    shown = open_atlas(tmp_path / "world").show(height=700, port=5980)
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    try:
        page = context.new_page()
        page.set_content(f"<h1>A notebook</h1>{shown._repr_html_()}")
        frame = page.frames[1]
        frame.wait_for_function("window.AtlasPage && AtlasPage.ready", timeout=60_000)
        frame.evaluate("AtlasPage.page.does.open(5, null)")
        frame.wait_for_selector("#image-panel[data-row='5']")
        assert (
            open_atlas(tmp_path / "world").show(height=700)._repr_html_() == shown._repr_html_()
        )  # one server for all frames
        assert page.locator("iframe").bounding_box()["height"] == 700  # type: ignore[index]
    finally:
        context.close()
        shown.stop()
