"""One image's way through the network in the image panel: the worker's numbers drawn, told, selected; refusals in words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import atlas
from atlas.iconing import icons, icons_of
from atlas.worker import Worker
from tests import workers
from tests.browser.conftest import serving
from tests.browser.test_new_image import give
from tests.workers import new_image

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
ROW = 5


@pytest.fixture(scope="module")
def drawn(tiny_atlas: atlas.Atlas, tmp_path_factory: pytest.TempPathFactory) -> atlas.Atlas:
    folder = tmp_path_factory.mktemp("way-page") / "tiny"
    shutil.copytree(tiny_atlas.store.root, folder)
    return icons(atlas.open(folder), "act", sizes=(2, 4), steps=24)


@pytest.fixture(scope="module")
def url(drawn: atlas.Atlas) -> Iterator[str]:
    with workers.private():
        Worker(drawn.store.root).see(new_image(0))  # the network is loaded before the first page asks
        with serving(drawn.store.root.parent) as address:
            yield f"{address}?layer=act&split=all"


def followed(open_page: Open, url: str, drawn: atlas.Atlas) -> tuple[Page, dict[str, Any]]:
    page = open_page(f"{url}&image={drawn.images()['image_id'].iloc[ROW]}")
    page.locator("#ask-way").click()
    expect(page.locator(".way-layer").first).to_be_visible()
    return page, Worker(drawn.store.root).propagate(ROW)


def painted(page: Page, layer: str, tile: int) -> np.ndarray:
    """Return what a tile of a layer shows, uint8 [y, x, rgba]."""
    canvas = page.locator(f'.way-layer[data-layer="{layer}"] canvas').nth(tile)
    tall, wide, data = canvas.evaluate(
        "c => [c.height, c.width, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]"
    )
    return np.array(data, np.uint8).reshape(tall, wide, 4)


def test_every_layer_is_drawn_with_the_workers_numbers(url, drawn, open_page: Open) -> None:
    page, seen = followed(open_page, url, drawn)
    expect(page.locator(".way-layer")).to_have_count(len(seen["layers"]))
    for told in seen["layers"]:
        layer = page.locator(f'.way-layer[data-layer="{told["layer"]}"]')
        expect(layer.locator(".way-rank")).to_contain_text(f"number {told['ranks'][0]} of {told['of']}")
        expect(layer.locator(".bars [role=listitem]")).to_have_count(3)
    told = next(one for one in seen["layers"] if one["layer"] == "conv2")
    tall, wide = told["grid"]
    tile = painted(page, "conv2", 1)
    edge = tile.shape[0] // tall
    background = tile[0, 0, :3].astype(int)
    filled = (np.abs(tile[..., :3].astype(int) - background).sum(2) > 30).reshape(tall, edge, wide, edge).mean((1, 3))
    magnitude = np.frombuffer(told["magnitude"], np.uint8).reshape(tall, wide) / 255
    np.testing.assert_allclose(filled, magnitude, atol=0.12)  # a place's area is its share of the greatest activation
    argued = np.frombuffer(told["argues"], np.int8).reshape(-1, *told["argued"])[0].astype(int)
    colour = painted(page, "conv2", 0).reshape(tall, edge, wide, edge, 4)[:, edge // 2, :, edge // 2].astype(int)
    orange = colour[..., 0] - colour[..., 2]
    assert orange[argued > 60].min(initial=255) > 0 > orange[argued < -60].max(initial=-255)


def test_a_grid_shows_the_icons_of_the_cells_and_a_key_selects_a_cells_images(url, drawn, open_page: Open) -> None:
    page, seen = followed(open_page, url, drawn)
    told = next(one for one in seen["layers"] if one["layer"] == "act")
    record, cells = icons_of(drawn, "act")
    (cell,) = np.frombuffer(told["place"], "<i4").tolist()  # one place: its attribution is the layer's, told in words
    tile = painted(page, "act", 0)[..., :3].astype(float).mean((0, 1))
    assert told["cell"] == cell and np.abs(tile - np.asarray(record.images[cell], float).mean((0, 1))).max() < 12
    page.locator('.way-layer[data-layer="act"] canvas').focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#float")).to_contain_text("act, row 1, column 1")
    expect(page.locator("#part-way [role=status]")).to_contain_text("100\u202f% of the greatest activation")
    page.keyboard.press("Enter")
    page.wait_for_function("AtlasPage.map.chosen !== null")
    chosen = page.evaluate("() => Array.from(AtlasPage.map.chosen).flatMap((on, row) => (on ? [row] : []))")
    assert chosen == sorted(cells.members_of(cell).tolist())


def test_all_layers_stand_in_one_strip_and_a_place_is_lit_on_the_map(url, drawn, open_page: Open) -> None:
    page, seen = followed(open_page, url, drawn)
    page.keyboard.press("c")
    page.wait_for_function("AtlasPage.page.icons.visible")
    page.get_by_role("button", name="As one strip").click()
    strip = page.locator(".way-strip .way-layer")
    expect(strip).to_have_count(len(seen["layers"]) + 1)
    names = [str(one.get_attribute("data-layer")) for one in strip.all()[1:]]
    order = list(drawn.network_record.layers["name"])
    assert names == sorted(names, key=order.index) == [one["layer"] for one in seen["layers"]]
    lefts = [one.bounding_box()["x"] for one in strip.all()]  # type: ignore[index]
    assert lefts == sorted(lefts)
    told = next(one for one in seen["layers"] if one["layer"] == "act")
    page.locator('.way-strip [data-layer="act"] canvas').hover()
    page.wait_for_function("cell => AtlasPage.page.icons.pointed === cell", arg=told["cell"])
    expect(page.locator("dialog #float")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".way-strip")).to_have_count(0)
    expect(page.locator("#image-panel")).to_have_attribute("data-row", str(ROW))
    assert page.locator("#float").count() == 1, "it stays in the page when the strip is closed"


def test_a_new_image_is_followed_too(url, drawn, open_page: Open) -> None:
    page = open_page(url)
    give(page, new_image(5))
    expect(page.locator("#image-panel h2")).to_have_text("New image")
    page.locator("#ask-way").click()
    expected = Worker(drawn.store.root).propagate(new_image(5))["layers"]
    expect(page.locator(".way-layer")).to_have_count(len(expected))


def test_what_cannot_be_followed_is_told_in_words_and_can_be_asked_again(url, open_page: Open) -> None:
    page = open_page(url)
    page.evaluate("AtlasPage.page.does.open(3, null)")
    told = {"error": "a new image needs torch: no module named torch"}
    page.route("**/propagation/**", lambda route: route.fulfill(status=400, body=json.dumps(told)))
    page.locator("#ask-way").click()
    expect(page.locator("#part-way").get_by_role("alert")).to_have_text(told["error"] + ".")
    page.unroute("**/propagation/**")
    page.locator("#part-way").get_by_role("button", name="Try again").click()
    expect(page.locator(".way-layer").first).to_be_visible()
