"""A new image in the explorer: predicted, pinned where it belongs, told with its neighbours; others are not disturbed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import atlas
from atlas.worker import Worker
from tests import workers
from tests.browser.conftest import serving
from tests.workers import new_image, png

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
HOSTILE = '<img src=x onerror=alert(1)>"{{7*7}}.png'


@pytest.fixture(scope="module")
def url(tiny_atlas: atlas.Atlas) -> Iterator[str]:
    with workers.private():
        Worker(tiny_atlas.store.root).see(new_image(0))  # the network is loaded before the first page asks
        with serving(tiny_atlas.store.root.parent) as address:
            yield address


def give(page: Page, body: bytes, name: str = "new.png") -> None:
    page.locator("#new-image-file").set_input_files({"name": name, "mimeType": "image/png", "buffer": body})


def pin(page: Page) -> tuple[float, float]:
    """Return where on the screen the pin points to: its dot, below its picture."""
    expect(page.locator(".pin")).to_have_count(1)
    page.wait_for_timeout(100)  # a frame, in which it is drawn
    box: Any = page.locator(".pin").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + 58


def on_screen(page: Page, opened: atlas.Atlas, layer: str, method: str, xy: np.ndarray) -> tuple[float, float]:
    """Return where on the screen a place of a layout lies, by the places of two of its points on the screen."""
    script = """points => {
      const { map } = AtlasPage, { x_range: a, y_range: b, inner_width, inner_height } = map.plot;
      const { left, top } = document.querySelector(".map-place").getBoundingClientRect();
      return points.map((point) => { const [x, y] = map.place(point);
        const share = [(x - a.start) / (a.end - a.start), (b.end - y) / (b.end - b.start)];
        return [left + share[0] * inner_width, top + share[1] * inner_height]; });
    }"""
    known = opened.layout(layer, method)[["x", "y"]].to_numpy()
    low, high = known.argmin(0), known.argmax(0)
    seen = np.array(page.evaluate(script, [int(p) for p in (*low, *high)]))
    share = (xy - known.min(0)) / np.ptp(known, axis=0)
    return (
        seen[0, 0] + share[0] * (seen[2, 0] - seen[0, 0]),
        seen[1, 1] + share[1] * (seen[3, 1] - seen[1, 1]),
    )


def test_a_new_image_is_predicted_placed_and_told_with_its_neighbours(url, tiny_atlas, tmp_path, open_page: Open) -> None:
    page = open_page(url + "?layer=act")
    give(page, new_image(5))
    panel = page.locator("#image-panel")
    expect(panel.locator("h2")).to_have_text("New image")
    expect(panel.locator(".verdict")).to_contain_text("disc")
    (tmp_path / "new.png").write_bytes(new_image(5))
    near = tiny_atlas.neighbours(tmp_path / "new.png", layer="act", k=12)
    rows = [int(cell.get_attribute("data-row") or -1) for cell in panel.locator("#neighbours .cell").all()]
    assert rows == list(near["image"])
    expect(panel.locator("#neighbours em").first).to_have_text(re.compile(r"\d\.\d+"))
    placed = tiny_atlas.place(tmp_path / "new.png", layer="act", method="umap").iloc[0]
    expect(panel.locator("#place")).to_contain_text(f"Confidence of the place {placed.confidence:.2f}")
    page.locator("#layout").select_option(label="UMAP")
    settled(page, tiny_atlas, "umap", placed)


def settled(page, tiny_atlas, method: str, placed) -> None:
    """Wait until the pin stands where the image was placed: the points, and the pin with them, move for a moment."""
    ends = time.monotonic() + 20
    while True:
        expected, found = on_screen(page, tiny_atlas, "act", method, placed[["x", "y"]].to_numpy(float)), pin(page)
        if np.allclose(found, expected, atol=2):
            return
        assert time.monotonic() < ends, (method, found, expected)
        page.wait_for_timeout(100)


def test_the_pin_goes_with_the_layout_and_the_layer_asks_again(url, tiny_atlas, tmp_path, open_page: Open) -> None:
    page = open_page(url + "?layer=act")
    (tmp_path / "new.png").write_bytes(new_image(6, "stripes"))
    give(page, new_image(6, "stripes"))
    for method, words in (("pca", "PCA"), ("tsne", "t-SNE")):
        page.locator("#layout").select_option(label=words)
        placed = tiny_atlas.place(tmp_path / "new.png", layer="act", method=method).iloc[0]
        settled(page, tiny_atlas, method, placed)
    with page.expect_response(re.compile("/new-image/")) as asked:
        page.locator("#layer").select_option("pool+act+logits")
    assert asked.value.status == 200 and "space=pool%2Bact%2Blogits" in asked.value.url
    expect(page.locator("#image-panel")).to_contain_text("distance in pool + act + logits")
    pin(page)


def test_a_file_dropped_on_the_page_is_taken(url, open_page: Open) -> None:
    page = open_page(url + "?layer=act")
    transfer = page.evaluate_handle(
        """bytes => { const all = new DataTransfer();
          all.items.add(new File([new Uint8Array(bytes)], "drop.png")); return all; }""",
        list(new_image(7)),
    )
    page.dispatch_event("#map-card", "dragover", {"dataTransfer": transfer})
    expect(page.locator("#veil")).to_be_visible()
    page.dispatch_event("#map-card", "drop", {"dataTransfer": transfer})
    expect(page.locator("#veil")).to_be_hidden()
    expect(page.locator("#image-panel")).to_contain_text("drop.png")
    pin(page)


def test_what_is_no_image_or_too_large_is_told_and_the_page_stays(url, open_page: Open) -> None:
    page = open_page(url + "?layer=act")
    give(page, b"some words", "notes.txt")
    told = "notes.txt does not decode: it is not an image of a known format; give another image."
    expect(page.get_by_role("alert")).to_have_text(told)
    page.evaluate("AtlasPage.newcomer.take(new File([new Uint8Array(64_000_001)], 'large.tif'))")
    expect(page.get_by_role("alert")).to_have_text("The file has 64 MB: at most 64 MB are taken.")
    expect(page.locator(".pin")).to_have_count(0)
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#image-panel h2")).to_have_text("Image")


def test_a_server_that_is_busy_or_gone_is_told_in_words(url, open_page: Open) -> None:
    page = open_page(url + "?layer=act")
    told = {"error": "the network is busy (32 images are waiting already): try again in a moment"}
    page.route("**/new-image/**", lambda route: route.fulfill(status=503, body=json.dumps(told)))
    give(page, new_image(8))
    expect(page.get_by_role("alert")).to_have_text(told["error"] + ".")
    page.unroute("**/new-image/**")
    page.route("**/new-image/**", lambda route: route.abort())
    give(page, new_image(8))
    expect(page.get_by_role("alert")).to_contain_text("The server could not be reached")


def test_an_image_of_the_atlas_is_opened_as_what_it_is(url, world, tiny_atlas, open_page: Open) -> None:
    page = open_page(url + "?layer=act")
    give(page, (world / "images/test/frame/003.png").read_bytes())
    row = tiny_atlas.find_image(world / "images/test/frame/003.png")
    expect(page.locator("#image-panel")).to_contain_text(f"This very image is in the atlas: it is image {row}.")
    expect(page.locator("#image-panel")).to_have_attribute("data-row", str(row))
    expect(page.locator(".pin")).to_have_count(0)


def test_an_image_unlike_all_others_says_so(url, open_page: Open) -> None:
    page = open_page(url + "?layer=act")
    give(page, png(np.full((20, 20, 3), 255, np.uint8)), "white.png")
    expect(page.locator("#place")).to_contain_text("farther from its neighbours than 99.9 % of the atlas's own images")
    expect(page.locator(".pin.far")).to_have_count(1)


def test_names_stay_text_and_other_pages_are_not_disturbed(url, open_page: Open) -> None:
    other = open_page(url + "?layer=act")
    page = open_page(url + "?layer=act")
    give(page, new_image(9), HOSTILE)
    expect(page.locator(".file-name")).to_have_text(HOSTILE)
    pin(page)
    expect(other.locator(".pin")).to_have_count(0)
    expect(other.locator("#image-panel h2")).to_have_text("Image")


def test_a_neighbour_opens_and_the_pin_leads_back(url, open_page: Open) -> None:
    page = open_page(url + "?layer=act")
    give(page, new_image(10))
    first = page.locator("#image-panel .cell").first
    row = first.get_attribute("data-row")
    first.click()
    expect(page.locator("#image-panel")).to_have_attribute("data-row", str(row))
    page.locator(".pin").click()
    expect(page.locator("#image-panel h2")).to_have_text("New image")
    page.get_by_role("button", name="Close").click()
    expect(page.locator(".pin")).to_have_count(0)
