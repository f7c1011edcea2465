"""Nothing on the demo's page is cut off, left empty or drawn over, on a tablet and on a large screen."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

import atlas
from tests.browser.conftest import serving
from tests.browser.test_demo_page import FOLDER

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(FOLDER.parent, "--args", str(FOLDER)) as address:
        yield address


@pytest.fixture(scope="module")
def page(url: str, browser: Browser) -> Iterator[Page]:
    """One page for all tests here, each of which leaves nothing chosen behind it."""
    errors: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="dark")
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{url}?backend=canvas")
    page.wait_for_function("window.AtlasPage && AtlasPage.ready")
    yield page
    context.close()
    assert errors == []


def sized(page: Page, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(400)


def box(page: Page, selector: str) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of an element on the screen."""
    found = page.locator(selector).first.bounding_box()
    assert found is not None
    return found["x"], found["y"], found["x"] + found["width"], found["y"] + found["height"]


def test_a_page_on_which_nothing_is_chosen_lists_the_mistakes_made_most_with_their_images(page: Page) -> None:
    images = atlas.open(FOLDER).images()
    wrong = images[(images["split"] == "held-out") & (images["right"] == False)]  # noqa: E712  (a column, not a truth)
    counts = wrong.groupby(["label", "prediction"]).size().sort_values(ascending=False)
    sized(page, 1280, 800)
    told = [int(text) for text in page.locator(".leads em").all_inner_texts()]
    assert told == counts.iloc[: len(told)].tolist() and len(told) == 6
    label, said = counts.index[0]
    own = wrong[(wrong["label"] == label) & (wrong["prediction"] == said)]
    rows = [int(str(cell.get_attribute("data-row"))) for cell in page.locator(".lead-row").first.locator(".cell").all()]
    assert rows and set(rows) <= set(own.index)
    sure = own["confidence"].loc[rows].to_numpy()
    assert np.all(np.diff(sure) <= 1e-3) and sure[0] >= own["confidence"].max() - 1e-3
    page.locator(".leads button").first.click()
    assert page.evaluate("AtlasPage.map.chosenRows()") == sorted(own.index)
    expect(page.locator("[data-part=leads]")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.locator("[data-part=leads]")).to_be_visible()


def test_the_gallery_of_a_selection_begins_where_its_heading_does(page: Page) -> None:
    sized(page, 1440, 900)
    page.evaluate("AtlasPage.page.does.select([...Array(60).keys()])")
    page.wait_for_selector("#gallery .cell")
    assert abs(box(page, "#gallery")[0] - box(page, "#selection-count")[0]) < 2
    assert page.evaluate("AtlasPage && document.querySelector('#gallery').style.getPropertyValue('--across')") == "5"
    page.keyboard.press("Escape")


def test_on_a_tablet_the_tools_of_two_maps_and_the_controls_of_the_patterns_stand_in_one_row(page: Page) -> None:
    sized(page, 1180, 820)
    page.keyboard.press("s")
    page.wait_for_selector("#beside-canvas")
    left, top, right, bottom = box(page, "#tools")
    card = box(page, "#map-card")
    assert card[0] < left and right < card[2] and bottom - top < 50
    head = box(page, "#patterns .dock-head")
    assert head[3] - head[1] < 36
    page.keyboard.press("s")


def test_the_table_of_classes_is_whole_on_a_tablet_and_the_heatmap_fills_a_large_screen(page: Page) -> None:
    sized(page, 1180, 820)
    page.get_by_role("tab", name="Classes").click()
    expect(page.locator("#classes-body tbody tr")).to_have_count(10)
    cells = "[...document.querySelectorAll('#classes-body :is(th, td)')]"
    cut = page.evaluate(f"{cells}.filter((cell) => cell.scrollWidth > cell.clientWidth + 1).length")
    assert cut == 0 and box(page, "#classes-body table")[2] <= box(page, "#classes-body")[2]
    page.get_by_role("radio", name="Confusion").click()
    sized(page, 2560, 1440)
    assert box(page, "#classes-body")[3] - box(page, "#class-canvas")[3] < 40
    page.get_by_role("tab", name="Patterns").click()
    for view in ("classes", "pair"):
        page.locator("#pattern-view").select_option(view)
        page.wait_for_timeout(500)
        last = "#pattern-list" if view == "pair" else "#pattern-canvas"
        assert -1 <= box(page, "#patterns-body")[3] - box(page, last)[3] < 40


def test_nothing_stays_at_the_edges_of_the_map_when_it_was_zoomed_in_and_out(page: Page) -> None:
    sized(page, 1280, 800)
    page.evaluate("AtlasPage.map.whole()")
    page.locator("#map-card").evaluate("card => { card.style.borderRadius = 0; card.style.background = '#000' }")
    for _ in range(6):
        page.evaluate("AtlasPage.map.zoom(0.6)")
        page.wait_for_timeout(60)
    for _ in range(8):
        page.evaluate("AtlasPage.map.zoom(1 / 0.6)")
        page.wait_for_timeout(60)
    page.wait_for_timeout(300)
    page.add_style_tag(content="#map-card > :not(.map-place) { visibility: hidden }")
    shown = np.asarray(Image.open(io.BytesIO(page.locator("#map-card").screenshot())).convert("RGB")).astype(int).max(2)
    inside = shown[1:-1, 1:-1]  # without the card's own frame
    for edge in (inside[:4], inside[-4:], inside[:, :4], inside[:, -4:]):
        assert edge.max() < 20
