"""The explorer on the demo's real atlas, in a real browser."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

import atlas
from atlas.data.reading import open_reader
from tests.browser.conftest import serving

pytestmark = pytest.mark.browser
FOLDER = Path(__file__).parents[2] / "cache" / "fashion-mnist"


@pytest.fixture(scope="module")
def demo() -> atlas.Atlas:
    return atlas.open(FOLDER)


@pytest.fixture(scope="module")
def url(demo: atlas.Atlas) -> Iterator[str]:
    with serving(FOLDER.parent, "--args", str(FOLDER)) as address:
        yield address


def test_it_opens_on_the_test_images_and_the_training_images_can_be_added(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(url)
    expect(page.locator("body")).to_contain_text("of 70")
    assert page.evaluate("AtlasPage.map.points.data.i.length") == 10_000
    page.get_by_role("radio", name="All").click()
    page.wait_for_function("AtlasPage.map.shown === 70000")
    page.get_by_role("radio", name="Train").click()
    page.wait_for_function("AtlasPage.map.shown === 60000")


def test_a_mistake_is_shown_with_its_own_image_and_its_own_neighbours(
    url: str, open_page: Callable[..., Page], demo: atlas.Atlas
) -> None:
    images = demo.images()
    row = int(np.flatnonzero((images["split"] == "held-out") & (images["right"] == False))[0])  # noqa: E712
    page = open_page(f"{url}?image={images['image_id'][row]}")
    expect(page.locator("body")).to_contain_text("wrong")
    expect(page.locator("body")).to_contain_text(images["path"][row])
    source = page.evaluate("[...document.querySelectorAll('img')].map(i => i.src).find(s => s.includes('/image/'))")
    shown = Image.open(io.BytesIO(page.request.get(source).body())).convert("L")
    stored = open_reader(demo.image_record, demo.store.root).image(row)
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(stored))
    told = [float(text) for text in page.locator("#neighbours em").all_inner_texts()[:3]]
    np.testing.assert_allclose(told, demo.neighbours(row, k=3)["distance"], rtol=0.05)


def test_layouts_and_layers_switch_on_70_000_points(url: str, open_page: Callable[..., Page], demo: atlas.Atlas) -> None:
    page = open_page(url)
    layers = page.locator("#layer")
    layout = page.locator("#layout")
    before = page.evaluate("[...AtlasPage.map.points.data.x.slice(0, 50)]")
    layout.select_option(label="t-SNE")
    page.wait_for_function("before => AtlasPage.map.points.data.x[0] !== before[0]", arg=before)
    layers.select_option(index=3)
    expect(page.locator("body")).to_contain_text("3 layers jointly")
    assert page.evaluate("AtlasPage.map.points.data.i.length") == 10_000


def test_nearer_than_the_finest_icons_stand_the_images_themselves(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{url}?layer=relu_fc1&split=all")
    page.keyboard.press("c")
    page.wait_for_function("AtlasPage.page.icons.visible")
    middle = """() => { const { icons } = AtlasPage.page, { told, grid } = icons, frame = icons.frame();
      const own = told.grid.flatMap((one, cell) => (one === grid ? [cell] : []));
      const cell = own.sort((a, b) => told.points[b] - told.points[a])[0];
      const { left, top } = icons.canvas.getBoundingClientRect();
      return [left + frame.x((told.x0[cell] + told.x1[cell]) / 2), top + frame.y((told.y0[cell] + told.y1[cell]) / 2)]; }"""
    x, y = page.evaluate(middle)
    page.mouse.move(x, y)
    expect(page.locator("#float .icon-card")).to_be_visible()
    for _ in range(12):  # as far as the icons' own limit, where thousands of points are in view
        if not page.evaluate("AtlasPage.page.icons.visible"):
            break
        page.mouse.wheel(0, -120)
        page.wait_for_timeout(300)
    assert page.evaluate("AtlasPage.map.inView().count") > 1500
    expect(page.locator("#float .icon-card")).to_be_hidden()
    page.wait_for_function("AtlasPage.page.thumbs.shown > 20")
    page.keyboard.press("c")
    page.wait_for_function("!AtlasPage.page.thumbs.on")
