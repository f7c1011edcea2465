"""The report from disk, without a network: the page's own views, linked, and each shows the right image."""

from __future__ import annotations

import io
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from atlas.pages.report import write_report
from atlas.pages.view import View
from tests import worlds
from tests.browser.test_explorer_page import closest, drawn, lonely, screen

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
HOSTILE = ("</script><img src=x onerror=alert(1)>", "<!--<script>", '"><script>alert(2)</script>', "{{7*7}}${7*7}")


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> View:
    root = tmp_path_factory.mktemp("offline") / "world"
    worlds.tiny_atlas(root)
    write_report(root, root.parent / "world.html", max_size="4MB")
    return View(root)


@pytest.fixture
def open_report(browser: Browser) -> Iterator[Open]:
    """Return a function that opens a file without a network; a request, an error or a warning fails the test."""
    contexts, wrong = [], []

    def go(path: Path, *, scheme: str = "dark", behind: str = "") -> Page:
        context = browser.new_context(
            viewport={"width": 1280, "height": 800},
            color_scheme=scheme,  # type: ignore[arg-type]
            offline=True,
        )
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        own = path.resolve().as_uri()
        page.on("request", lambda asked: None if asked.url.startswith((own, "blob:", "data:")) else wrong.append(asked.url))
        page.goto(own + behind)
        page.wait_for_function("window.AtlasPage && AtlasPage.ready")
        return page

    yield go
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def page(view: View, open_report: Open) -> Page:
    return open_report(view.store.root.parent / "world.html")


UNDRESS = """s => {
  const one = document.querySelector(s), cell = one.closest("button");
  const { columns } = JSON.parse(document.getElementById("manifest").textContent).images;
  const scale = 56 / (parseFloat(one.style.backgroundSize) / columns); // two pixels of the screen for each of the image
  const [x, y] = one.style.backgroundPosition.split(" ").map((at) => `${parseFloat(at) * scale}px`);
  one.style.cssText += `;border:0;border-radius:0;box-shadow:none;opacity:1;filter:none;width:56px;height:56px;`
    + `background-size:${56 * columns}px auto;background-position:${x} ${y}`;
  if (cell) cell.style.cssText += ";opacity:1;filter:none;transition:none";
}"""


def shown(page: Page, selector: str) -> np.ndarray:
    """Return the thumbnail in an element as 28 × 28 grey values, its frame and corners taken off."""
    page.evaluate(UNDRESS, selector)
    picture = Image.open(io.BytesIO(page.locator(selector).first.screenshot())).convert("L")
    return np.asarray(picture.resize((28, 28), Image.Resampling.BOX)).astype(int)


def test_it_opens_from_disk_on_the_same_points_as_the_server(page: Page) -> None:
    expect(page.locator("#shown")).to_contain_text("120 of 300 points shown")
    expect(page.locator("#images-pill")).to_have_text("300 images")
    assert page.locator("#new-image").is_hidden()


def test_a_click_shows_the_image_and_the_neighbours_of_the_records(page: Page, view: View) -> None:
    point = lonely(page)
    page.mouse.click(*screen(page, point))
    page.wait_for_selector("#neighbours button")
    panel = page.locator("#image-panel")
    detail = view.detail(point)
    for words in (detail["image_id"], detail["path"], "camera", detail["label"]):
        expect(panel).to_contain_text(words)
    space = next(space for space in view.spaces if space.id == page.evaluate("AtlasPage.state.space.id"))
    near = view.nearest(str(space.neighbours), point)
    rows = page.evaluate("[...document.querySelectorAll('#neighbours button')].map(b => Number(b.dataset.row))")
    assert rows == near["points"][: len(rows)] and len(rows) >= 8
    told = [float(text) for text in page.locator("#neighbours em").all_inner_texts()]
    np.testing.assert_allclose(told, near["distances"][: len(told)], rtol=0.011)
    top = view.top(str(space.predictions), point)["top"]
    figures = [float(text.split("\u202f")[0]) for text in page.locator("#image-panel .bars em").all_inner_texts()]
    np.testing.assert_allclose(figures, [100 * part["probability"] for part in top], atol=0.06)
    page.wait_for_timeout(300)
    assert closest(view, shown(page, "#neighbours button .thumb")) == rows[0]
    assert closest(view, shown(page, ".picture-frame i")) == point


@pytest.mark.parametrize("way", ["lasso", "box"])
def test_what_is_drawn_around_is_in_the_gallery(page: Page, view: View, way: str) -> None:
    page.locator(f"[data-tool={way}]").click()
    box = page.locator(".map-place").bounding_box()
    assert box
    x0, y0, x1, y1 = (
        box["x"] + box["width"] * 0.1,
        box["y"] + 20,
        box["x"] + box["width"] * 0.55,
        box["y"] + box["height"] - 20,
    )
    page.mouse.move(x0, y0)
    page.mouse.down()
    for x, y in [(x1, y0), (x1, y1), (x0, y1)] if way == "lasso" else [(x1, y1)]:
        page.mouse.move(x, y, steps=5)
    page.mouse.up()
    page.wait_for_selector("#gallery button")
    rows = page.evaluate("[...document.querySelectorAll('#gallery button')].map(b => Number(b.dataset.row))")
    points = page.evaluate("[...AtlasPage.map.i]")
    places = {point: screen(page, point) for point in points}
    inside = sorted(p for p, (x, y) in places.items() if x0 + 2 < x < x1 - 2 and y0 + 2 < y < y1 - 2)
    assert set(inside) <= set(rows) and len(rows) < len(points)
    outside = {p for p, (x, y) in places.items() if x < x0 - 2 or x > x1 + 2 or y < y0 - 2 or y > y1 + 2}
    assert not outside & set(rows)
    page.wait_for_timeout(300)
    assert closest(view, shown(page, "#gallery button .thumb")) == rows[0]


def test_layers_layouts_colours_and_the_legend_work(page: Page, view: View) -> None:
    drawn(page, lambda: page.locator("#layer").select_option("conv+fc"))
    assert page.evaluate("AtlasPage.map.now.space.id") == "conv+fc"
    drawn(page, lambda: page.locator("#layer").select_option("conv"))
    drawn(page, lambda: page.locator("#layout").select_option(label="PCA"))
    for colour in page.locator("#colour option").evaluate_all("all => all.map(o => o.value)"):
        drawn(page, lambda colour=colour: page.locator("#colour").select_option(colour))
    drawn(page, lambda: page.locator("#colour").select_option("class"))
    before = page.evaluate("AtlasPage.map.i.length")
    chip = page.locator("#chips button").first
    drawn(page, chip.click)
    hidden = int(chip.locator("small").inner_text())
    assert page.evaluate("AtlasPage.map.i.length") == before - hidden


def test_a_text_in_the_file_is_a_filter_in_a_report_too(page: Page, view: View) -> None:
    page.evaluate("AtlasPage.page.does.addFilter('file', '7.PNG')")
    page.wait_for_function("AtlasPage.page.state.kept")
    kept = page.evaluate("[...AtlasPage.page.state.kept].flatMap((is, row) => (is ? [row] : []))")
    assert kept == [row for row, path in enumerate(view.images.table["path"]) if "7.png" in path]
    page.evaluate("document.getElementById('filter-none').click()")
    page.wait_for_function("!AtlasPage.page.state.kept")


def test_the_patterns_are_drawn_and_every_split_has_them(page: Page) -> None:
    expect(page.locator("#pattern-title")).to_contain_text("correctly classified held-out images")
    page.get_by_role("radio", name="All").click()
    expect(page.locator("#pattern-title")).to_contain_text("correctly classified images")


def test_dark_and_light_switch_and_follow_the_system(view: View, open_report: Open) -> None:
    page = open_report(view.store.root.parent / "world.html", scheme="light")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.locator("#theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_link_to_a_report_restores_what_was_seen(page: Page, view: View, open_report: Open) -> None:
    space = view.space("conv")
    assert space is not None
    drawn(page, lambda: page.locator("#layer").select_option("conv"))
    drawn(page, lambda: page.locator("#layout").select_option(label="PCA"))
    drawn(page, page.get_by_role("radio", name="All").click)
    drawn(page, lambda: page.evaluate("AtlasPage.page.does.colour('unit:fc:3')"))
    page.evaluate("AtlasPage.page.does.select([3, 5, 8], 'replace')")
    page.evaluate("AtlasPage.page.does.open(7, null)")
    page.evaluate("AtlasPage.page.does.unit('conv', 2)")
    page.evaluate("AtlasPage.page.does.side()")
    page.evaluate("AtlasPage.page.does.look([5, 8])")
    page.wait_for_function("location.hash.includes('view=') && location.hash.includes('beside=')")
    page.wait_for_timeout(600)  # the second map has taken its place, and what is seen is written down
    page.evaluate("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve() }")
    page.locator("#copy-link").click()
    page.wait_for_function("window.copied")
    link = page.evaluate("window.copied")
    assert link == page.url and link.startswith("file://")
    other = open_report(view.store.root.parent / "world.html", behind=f"#{link.partition('#')[2]}")
    told = "(s => [s.space.id, s.layout.key, s.split, s.colour, s.row, s.unit, s.beside.layout.key])(AtlasPage.state)"
    assert other.evaluate(told) == page.evaluate(told) and other.evaluate(told)[:6] == [
        *("conv", space.layouts[1], "all", "unit:fc:3", 7, "conv:2")
    ]
    assert other.evaluate("AtlasPage.map.chosenRows()") == [3, 5, 8]
    (x0, x1, y0, y1), seen = page.evaluate("AtlasPage.page.does.seen()"), other.evaluate("AtlasPage.page.does.seen()")
    slack = 0.02 * (x1 - x0)
    assert seen[0] <= x0 + slack and seen[1] >= x1 - slack and seen[2] <= y0 + slack and seen[3] >= y1 - slack
    expect(other.locator("#notices .notice")).to_have_count(0)
    other.evaluate("AtlasPage.page.does.open(9, null)")
    other.wait_for_function("AtlasPage.state.row === 9 && !location.hash.includes(`image=${'0'.repeat(15)}7`)")
    other.go_back()
    other.wait_for_function("AtlasPage.state.row === 7")


def test_a_link_to_another_layout_frames_its_points(page: Page, view: View, open_report: Open) -> None:
    layout = view.space("conv").layouts[1]  # type: ignore[union-attr]
    other = open_report(view.store.root.parent / "world.html", behind=f"#layer=conv&layout={layout}&split=all")
    x0, x1, y0, y1 = other.evaluate("(v => [v.x0, v.x1, v.y0, v.y1])(AtlasPage.map.view())")
    x, y = view.xy(layout)
    assert x0 < x.min() and x.max() < x1 and y0 < y.min() and y.max() < y1


TAMPERED = {
    "layer": "gone",
    "layout": "layout-0000",
    "split": "everything",
    "colour": "<img src=x onerror=alert(1)>",
    "image": "../../etc",
    "beside": "x",
    "unit": "gone:1",
    "view": "0_NaN",
    "hidden": "9",
    "sel": "1",
    "filter": "class.n.zzzz",
}


def test_a_tampered_link_opens_the_report_with_a_notice_for_each_part(view: View, open_report: Open) -> None:
    page = open_report(view.store.root.parent / "world.html", behind=f"#{urllib.parse.urlencode(TAMPERED)}")
    told = page.locator("#notices .notice").all_inner_texts()
    assert len(told) == len(TAMPERED), told
    words_of = {"beside": "second map"}
    for what in ("layer", "layout", "split", "colour", "image", "beside"):
        assert any(
            f"the {words_of.get(what, what)} {TAMPERED[what]}, which this report does not have" in words for words in told
        )
    expect(page.locator("#shown")).to_contain_text("120 of 300 points shown")
    assert page.locator("#notices img").count() == 0


def test_about_tells_where_it_comes_from_and_what_was_chosen(page: Page) -> None:
    page.get_by_role("button", name="About", exact=True).click()
    dialog = page.get_by_role("dialog")
    for words in ("About this report", "All 300 images are in it.", "tiny network", "trustworthiness", "0" * 64):
        expect(dialog).to_contain_text(words)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_a_sample_names_its_images_by_their_own_rows(view: View, open_report: Open, tmp_path: Path) -> None:
    write_report(view.store.root, tmp_path / "held.html", split="held-out")
    page = open_report(tmp_path / "held.html")
    expect(page.locator("#images-pill")).to_have_text("120 of 300 images")
    page.evaluate("AtlasPage.page.does.open(7, 7)")
    page.wait_for_selector("#image-panel .facts")
    rows = np.flatnonzero(view.images.table["split"] == "held-out")
    expect(page.locator("#image-panel")).to_contain_text(str(view.images.table["image_id"].iloc[rows[7]]))
    page.wait_for_timeout(300)
    assert closest(view, shown(page, ".picture-frame i")) == rows[7]


def test_hostile_names_run_nothing(open_report: Open, tmp_path: Path) -> None:
    worlds.tiny_atlas(tmp_path / "world", 80, labels=HOSTILE, title=HOSTILE[0])
    write_report(tmp_path / "world", tmp_path / "hostile.html")
    page = open_report(tmp_path / "hostile.html")
    page.evaluate("AtlasPage.page.does.open(3, 3)")
    page.wait_for_selector("#neighbours")
    assert page.locator("h1").inner_text() == HOSTILE[0]
    assert HOSTILE[0] in page.locator("#chips").inner_text()
    page.get_by_role("button", name="About", exact=True).click()
    assert page.locator("img[src='x']").count() == 0
