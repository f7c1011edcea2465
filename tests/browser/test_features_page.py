"""Kept volumes sliced and units sorted by what they answer to, in a real browser, in the explorer and in a report."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

import atlas
from atlas.maps.volume import CAM, STEPS, Volumes
from atlas.patterns.selectivity import Selectivity
from atlas.store import Recipe, Store
from tests import worlds
from tests.browser.conftest import serving

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
KEPT = [5, 250]
LEVELS = ["conv", "conv", "fc", "fc"]


@pytest.fixture(scope="module")
def featured(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The tiny world whose units were asked and of two of whose images the volumes were kept."""
    store = worlds.tiny_atlas(tmp_path_factory.mktemp("featured") / "cache" / "world")
    inputs = {"images": store.shown("images"), "network": store.shown("network")}
    rng, units = np.random.default_rng(0), worlds.LAYERS["fc"]
    asked = Selectivity(
        layer="fc", number=2, functional="mean", size=[28, 28], groups=["faces", "others"], group_images=[20, 20],
        grey_groups=True, orientations=np.arange(0, 180, 45.0), cycles=np.array([2.0, 4.0]), hues=np.arange(0, 360, 90.0),
        grating=rng.random((4, 2, units), np.float32), hue=rng.random((4, units), np.float32),
        plain=np.zeros(units, np.float32), auc=np.linspace(0.1, 0.9, units, dtype=np.float32),
        effect=np.zeros(units, np.float32),
    )  # fmt: skip
    values = np.tile(np.arange(4, dtype=np.uint8)[:, None, None] * 60, (2, 1, 6, 8))
    values[1, :, :, 7] = STEPS  # the last column of the second image
    channel = np.array([[3, 1, 0, CAM]] * 2, np.int32)
    kept = Volumes(LEVELS, True, [28, 28], np.array(KEPT, np.int32), values, channel, np.zeros((2, 4), np.float32),
                   np.ones((2, 4), np.float32))  # fmt: skip
    shown = []
    for stage, record in (("selectivity", asked), ("volumes", kept)):
        recipe = Recipe(stage, 1, {}, inputs)
        store.build(recipe, type(record), lambda record=record: record)
        shown.append(recipe.name)
    store.show(shown)
    return store


@pytest.fixture(scope="module")
def address(featured: Store) -> Iterator[str]:
    with serving(featured.root.parent) as found:
        yield found


def slice_of(page: Page) -> np.ndarray:
    """The canvas of the slice as grey values [y, x], a pixel a value."""
    canvas = page.locator(".volume-slice")
    size = canvas.evaluate("one => [one.width, one.height]")
    picture = Image.open(io.BytesIO(canvas.screenshot())).convert("L")
    return np.asarray(picture.resize(size, Image.Resampling.BOX)).astype(int)


def slices(page: Page) -> None:
    """Slice the volume of the image that is open along each of its axes."""
    page.wait_for_selector(".volume-slice")
    assert page.locator(".volume-slice").evaluate("one => [one.width, one.height]") == [8, 6]
    expect(page.locator("#part-volume [role=status]")).to_contain_text("level 0 of 4: conv, channel 3")
    first = slice_of(page)
    assert np.ptp(first[:, :7]) < 8 and np.all(first[:, 7] > first[:, 0] + 80), "dark, but for the last column"
    page.locator(".volume-at").fill("3")
    expect(page.locator("#part-volume [role=status]")).to_contain_text("class activation map of fc")
    assert slice_of(page)[0, 0] > first[0, 0] + 20
    page.click('.volume-axes [data-id="y"]')
    assert page.locator(".volume-slice").evaluate("one => [one.width, one.height]") == [4, 8]
    expect(page.locator("#part-volume [role=status]")).to_contain_text("conv 0–1, fc 2–2, class activation map 3")
    across = slice_of(page)
    assert np.all(np.diff(across[0]) > 0) and np.all(across[7] > across[0]), "levels to the right, x downwards"
    page.click('.volume-axes [data-id="x"]')
    assert page.locator(".volume-slice").evaluate("one => [one.width, one.height]") == [4, 6]


def test_a_kept_volume_is_sliced_along_every_axis_and_others_show_none(address: str, open_page: Open) -> None:
    page = open_page(f"{address}?image={KEPT[1]:016x}&split=all")
    slices(page)
    page = open_page(f"{address}?image={KEPT[1] + 1:016x}&split=all")
    page.wait_for_selector("#odd-units")
    assert page.locator(".volume-slice").count() == 0


def test_units_are_sorted_by_what_they_answer_to(address: str, open_page: Open) -> None:
    page = open_page(f"{address}?layer=fc&tab=units")
    page.click("#tab-units")
    page.wait_for_selector('[data-sort="auc"]')
    expect(page.locator('[data-sort="auc"]')).to_have_text("faces")
    page.click('[data-sort="auc"]')
    numbers = [line.get_attribute("data-unit") for line in page.locator("#units-body tr[data-unit]").all()]
    assert numbers == [str(unit) for unit in range(worlds.LAYERS["fc"])][::-1]
    page.click('[data-sort="orientation_index"]')
    page.locator("#units-body tr[data-unit]").first.click()
    expect(page.locator("#unit-panel")).to_contain_text("oriented")


def test_a_report_slices_too(featured: Store, open_page: Open, tmp_path: Path) -> None:
    atlas.open(featured.root).report(tmp_path / "world.html")
    page = open_page((tmp_path / "world.html").as_uri())
    page.evaluate(f"AtlasPage.page.does.open({KEPT[1]}, null)")
    slices(page)
