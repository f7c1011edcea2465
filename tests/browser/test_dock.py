"""The dock below the map in a real browser: what a cell, a line or a unit selects are exactly those images."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from atlas.activations.records import Statistics
from atlas.pages import unit_answers
from atlas.pages.answers import answer
from atlas.pages.view import View
from atlas.patterns.spread import ClassSpread
from tests import worlds
from tests.browser.conftest import serving

pytestmark = pytest.mark.browser
Open = Callable[..., Page]


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def chosen(page: Page) -> list[int]:
    return list(page.evaluate("AtlasPage.map.chosenRows()"))


def cell(page: Page, canvas: str, row: float, column: float, of: tuple[int, int]) -> None:
    """Click the middle of a cell of a heatmap of `of` rows and columns."""
    box = page.locator(canvas).bounding_box()
    assert box is not None
    page.locator(canvas).click(
        position={"x": (column + 0.5) * box["width"] / of[1], "y": (row + 0.5) * box["height"] / of[0]}
    )


def pixels(page: Page, selector: str, edge: int) -> np.ndarray:
    """Return what is drawn in an element without its frame, as 28 × 28 grey values."""
    page.add_style_tag(
        content=f"{selector} {{ border: 0 !important; border-radius: 0 !important; transform: none !important }}"
    )
    page.wait_for_timeout(300)  # the sheet
    handle = page.locator(selector).first
    handle.scroll_into_view_if_needed()
    picture = Image.open(io.BytesIO(handle.screenshot())).convert("L")
    assert abs(picture.size[0] - edge) <= 1
    return np.asarray(picture.resize((28, 28), Image.Resampling.BOX)).astype(int)


def source(view: View, row: int) -> np.ndarray:
    return np.asarray(Image.open(view.store.root / "files" / f"{row}.png")).astype(int)


def closest(view: View, seen: np.ndarray) -> int:
    """Return the row of the image most like what was seen, among all of the atlas."""
    return int(np.argmin([np.abs(source(view, row) - seen).mean() for row in range(len(view.images))]))


# -- classes ------------------------------------------------------------------------------------------------------------


def test_a_click_on_a_confusion_cell_selects_exactly_those_images(url: str, view: View, open_page: Open) -> None:
    page = open_page(url)
    page.evaluate("AtlasPage.page.does.look = (rows) => { window.looked = rows }")
    tab(page, "Classes")
    page.get_by_role("radio", name="Confusion").click()
    codes, said, held = view.images.codes, view.predicted(str(view.descriptor.predictions))[1], view.splits == 1
    for own, other in ((0, 0), (1, 3), (2, 0), (3, 2)):
        wanted = np.flatnonzero(held & (codes == own) & (said == other)).tolist()
        page.evaluate("window.looked = null")
        cell(page, "#class-canvas", own, other, (4, 4))
        expect(page.locator("#class-said")).to_contain_text(f"{len(wanted)} image" if wanted else "No image")
        if wanted:
            assert chosen(page) == wanted and page.evaluate("window.looked") == wanted


def test_the_largest_confusions_are_listed_first_and_a_line_selects_its_images(
    url: str, view: View, open_page: Open
) -> None:
    page = open_page(url + "?split=all")
    tab(page, "Classes")
    page.get_by_role("radio", name="Confusion").click()
    codes, said = view.images.codes, view.predicted(str(view.descriptor.predictions))[1]
    counts = np.zeros((4, 4), int)
    np.add.at(counts, (codes, said), 1)
    np.fill_diagonal(counts, 0)
    told = [int(text) for text in page.locator(".pairs em").all_inner_texts()]
    assert told == sorted(counts[counts > 0].tolist(), reverse=True)
    own, other = np.unravel_index(counts.argmax(), counts.shape)
    page.locator(".pairs button").first.click()
    assert chosen(page) == np.flatnonzero((codes == own) & (said == other)).tolist()


def test_the_table_of_classes_tells_accuracy_spread_and_purity_and_sorts_by_each(
    url: str, view: View, open_page: Open
) -> None:
    page = open_page(url)
    tab(page, "Classes")
    record: ClassSpread = view.read(view.descriptor.doubts["spread"], ClassSpread)
    place, right = record.place("held-out"), view.column(str(view.descriptor.predictions), "right")
    held, codes = view.splits == 1, view.images.codes
    purity = record.purity[place]
    page.get_by_role("button", name="purity").click()
    lines = page.locator("#classes-body tbody tr")
    assert [int(str(line.get_attribute("data-class"))) for line in lines.all()] == np.argsort(-purity).tolist()
    expect(page.locator("#classes-body th", has_text="purity")).to_have_attribute("aria-sort", "descending")
    best = int(purity.argmax())
    words = lines.first.inner_text()
    for share in (right[held & (codes == best)].mean(), purity[best]):
        assert f"{100 * share:.{0 if share >= 0.9995 else 1}f}\u202f%" in words
    assert f"{record.spread[place][best]:.2f}" in words
    lines.first.get_by_role("button", name=view.images.labels[best]).click()
    assert chosen(page) == np.flatnonzero(held & (codes == best)).tolist()


def test_a_mixing_cell_selects_the_images_with_such_neighbours(url: str, view: View, open_page: Open) -> None:
    page = open_page(url)
    tab(page, "Classes")
    page.get_by_role("radio", name="Mixing").click()
    key = view.descriptor.doubts["spread"]
    over = view.read(key, ClassSpread).place("held-out")
    shares = np.array(view.read(key, ClassSpread).mixing[over])
    np.fill_diagonal(shares, 0)
    own, other = (int(place) for place in np.unravel_index(shares.argmax(), shares.shape))
    rows = np.frombuffer(answer(f"/meeting/{key}/{over}/{own}/{other}.bin")[1], "<i4").reshape(2, -1)[0]
    expect(page.locator("#matrix-names span")).to_have_count(4)
    cell(page, "#class-canvas", own, other, (4, 4))
    expect(page.locator("#class-said")).to_contain_text(f"{len(rows)} image")
    assert len(rows) and chosen(page) == sorted(rows.tolist())


def test_without_a_complete_class_map_nothing_is_right_or_wrong(tmp_path: Path, open_page: Open) -> None:
    worlds.tiny_atlas(tmp_path / "cache" / "world", 90, complete=False)
    with serving(tmp_path / "cache") as address:
        page = open_page(address)
        tab(page, "Classes")
        expect(page.locator("#class-title")).to_contain_text("no output is a label: right and wrong are undefined")
        assert "right" not in page.locator("#classes-body thead").inner_text()
        page.get_by_role("radio", name="Confusion").click()
        expect(page.locator(".pairs li").first).to_contain_text("said to be thing")
        assert page.locator("#matrix-top span").all_inner_texts() == [f"thing {k}" for k in range(4)]  # no output is a label
        expect(page.locator("#class-title")).to_contain_text("undefined. A cell counts a label’s images")
        page.get_by_role("tab", name="Patterns").click()
        assert "taken" not in [o.get_attribute("value") for o in page.locator("#pattern-view option").all()]


# -- patterns -------------------------------------------------------------------------------------------------------------


def test_the_orders_of_units_and_classes_hold_in_what_is_under_the_pointer(url: str, view: View, open_page: Open) -> None:
    page = open_page(url)
    key = str(view.descriptor.statistics)
    found = view.patterns(key, 1)
    order = json.loads(answer(f"/order/{key}/1.json")[1])
    page.select_option("#pattern-order", "similar")
    page.select_option("#pattern-rows", "similar")
    expect(page.locator("#pattern-names span").first).to_have_text(view.images.labels[order["classes"][0]])
    box = page.locator("#pattern-canvas").bounding_box()
    assert box is not None
    for row, column in ((0, 0), (2, 5), (3, 7)):
        page.mouse.move(box["x"] + (column + 0.5) * box["width"] / 8, box["y"] + (row + 0.5) * box["height"] / 4)
        k, unit = order["classes"][row], order["units"][column]
        expect(page.locator("#float b")).to_have_text(view.images.labels[k])
        expect(page.locator("#float")).to_contain_text(f"unit {unit} · mean")
        told = page.locator("#float").inner_text().replace("−", "-")
        assert f"{found.count[k]} images" in told
        numbers = [float(part) for part in told.split("mean ")[1].split(" · ")[0].split(" ± ")]
        np.testing.assert_allclose(numbers, [found.mean[k, unit], found.std[k, unit]], rtol=1e-3)


def test_every_layer_with_statistics_can_be_chosen_whatever_the_map_shows(url: str, view: View, open_page: Open) -> None:
    page = open_page(url + "?layer=fc")
    conv = unit_answers.layers_part(view)[0]["key"]
    page.select_option("#pattern-layer", conv)
    expect(page.locator("#pattern-title")).to_contain_text("conv (mean)")
    assert page.locator("#layer").input_value() == "fc"
    tab(page, "Units")
    expect(page.locator("#units-body tbody tr")).to_have_count(12)


def test_arrows_move_a_cursor_over_the_cells_and_enter_opens_the_unit(url: str, open_page: Open) -> None:
    page = open_page(url)
    page.locator("#pattern-canvas").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowDown"):  # the first sets the cursor on the first cell
        page.keyboard.press(key)
    expect(page.locator("#heat-said")).to_contain_text("square, unit 2 · mean")
    page.keyboard.press("Enter")
    expect(page.locator("#unit-panel h2")).to_contain_text("Unit 2")
    assert page.evaluate("AtlasPage.state.unit") == "fc:2"


def test_a_confusion_pair_is_shown_beside_those_that_are_right_and_few_images_are_told(
    url: str, view: View, open_page: Open
) -> None:
    page = open_page(url)
    tab(page, "Classes")
    page.get_by_role("radio", name="Confusion").click()
    page.locator(".pairs button").first.click()
    taken = len(chosen(page))
    page.get_by_role("button", name="Units that differ").click()
    expect(page.locator("#pattern-names span")).to_have_count(4)
    expect(page.locator("#pattern-title")).to_contain_text(f"{taken} image")
    assert taken < 10
    expect(page.locator("#pattern-note")).to_contain_text(f"only {taken} image")
    own, other = (int(part) for part in page.locator("#pattern-pair").input_value().split())
    pair = json.loads(answer(f"/pair/{view.descriptor.statistics}/1/{own}/{other}.json")[1])
    effect = np.array([np.nan if value is None else value for value in pair["taken"]["effect"]])
    chips = [text.split()[1] for text in page.locator("#pattern-list button").all_inner_texts()]
    assert [int(unit) for unit in chips] == np.argsort(-np.abs(effect)).tolist()[: len(chips)]


def test_one_class_across_layers_opens_the_unit_of_the_layer_that_is_clicked(url: str, open_page: Open) -> None:
    page = open_page(url)
    page.select_option("#pattern-view", "across")
    expect(page.locator("#pattern-scaled")).to_have_value("own")  # 12 and 8 units, of a conv and an FC layer
    expect(page.locator("#pattern-columns span")).to_have_text(["conv", "fc"])
    expect(page.locator("#pattern-note")).to_contain_text("different widths")
    cell(page, "#pattern-canvas", 11, 0, (12, 2))
    expect(page.locator("#unit-panel h2")).to_contain_text("Unit 11conv")


# -- units ----------------------------------------------------------------------------------------------------------------


def test_the_top_images_of_a_unit_are_the_right_pixels(url: str, view: View, open_page: Open) -> None:
    page = open_page(url)
    record = view.read(str(view.descriptor.statistics), Statistics)
    page.evaluate("AtlasPage.page.does.unit('fc', 3)")
    expect(page.locator("#unit-tops .cell")).to_have_count(5)
    rows = [int(str(c.get_attribute("data-row"))) for c in page.locator("#unit-tops .cell").all()]
    assert rows == record.top_image[:, 3].tolist()
    assert closest(view, pixels(page, "#unit-tops .cell .thumb", 40)) == rows[0]
    rings = page.evaluate("(d => [[...d.x], [...d.y]])(AtlasPage.map.rings.data)")
    xy = view.xy(view.descriptor.layouts[0])
    assert sorted(zip(*rings, strict=True)) == sorted((int(xy[0, r]), int(xy[1, r])) for r in rows)
    page.locator("#unit-tops .cell").nth(1).click()
    expect(page.locator("#image-panel")).to_have_attribute("data-row", str(rows[1]))


def test_below_them_stand_images_down_to_the_median(url: str, view: View, open_page: Open) -> None:
    page = open_page(url)
    part = unit_answers.layers_part(view)[1]
    codes = np.frombuffer(answer(f"/codes/{part['activations']}/6.bin")[1], np.uint8).astype(int)
    page.evaluate("AtlasPage.page.does.unit('fc', 6)")
    shown = page.locator("#unit-middling .cell")
    expect(shown).to_have_count(8)
    levels = [int(str(one.locator("em").inner_text()).split("\u202f")[0]) for one in shown.all()]
    assert levels == [99, 99, 90, 90, 75, 75, 50, 50]
    rows = [int(str(one.get_attribute("data-row"))) for one in shown.all()]
    ranks = [round(level / 100 * (len(codes) - 1)) - k % 2 for k, level in enumerate(levels)]
    assert codes[rows].tolist() == np.sort(codes)[ranks].tolist() and len(set(rows)) == 8
    shown.nth(4).click()
    expect(page.locator("#image-panel")).to_have_attribute("data-row", str(rows[4]))


def test_selecting_what_fires_a_unit_takes_the_images_with_its_greatest_codes(url: str, view: View, open_page: Open) -> None:
    page = open_page(url)
    part = unit_answers.layers_part(view)[1]
    codes = np.frombuffer(answer(f"/codes/{part['activations']}/6.bin")[1], np.uint8).astype(int)
    page.evaluate("AtlasPage.page.does.unit('fc', 6)")
    page.get_by_label("How many images").fill("12")
    page.locator("#unit-select").click()
    expect(page.locator("#unit-said")).to_contain_text("12 images selected, held-out. Ranked by values kept in 256 steps")
    held = np.flatnonzero(view.splits == 1)
    got = chosen(page)
    assert len(got) == 12 and set(got) <= set(held.tolist())
    assert sorted(codes[got].tolist()) == sorted(codes[held].tolist())[-12:]


def test_the_table_of_units_sorts_opens_and_follows(url: str, view: View, open_page: Open) -> None:
    page = open_page(url)
    tab(page, "Units")
    found: dict[str, Any] = json.loads(answer(f"/units/{view.descriptor.statistics}/1.json")[1])
    page.get_by_role("button", name="stands out").click()
    lines = page.locator("#units-body tbody tr")
    order = [int(str(line.get_attribute("data-unit"))) for line in lines.all()]
    assert order == np.argsort([-value for value in found["outstanding"]], kind="stable").tolist()
    lines.first.locator(".row-link").click()
    expect(page.locator("#unit-panel h2")).to_contain_text(f"Unit {order[0]}")
    expect(page.locator("#units-body tr.open")).to_have_attribute("data-unit", str(order[0]))
    best = view.images.labels[found["class"][order[0]]]
    expect(page.locator(".class-bars span").first).to_have_text(best)
    page.evaluate("AtlasPage.page.does.unit('fc', 0)")
    expect(page.get_by_role("button", name="Previous unit")).to_be_disabled()
    page.get_by_role("button", name="Next unit").click()
    expect(page.locator("#unit-panel h2")).to_contain_text("Unit 1")
    page.locator("#unit-panel").get_by_role("button", name="Close").click()
    assert page.evaluate("AtlasPage.state.unit") is None and page.evaluate("AtlasPage.map.rings.data.x.length") == 0


def test_the_map_is_asked_for_the_colour_of_the_unit_and_a_unit_that_is_not_there_is_said(url: str, open_page: Open) -> None:
    page = open_page(url)
    page.evaluate("AtlasPage.page.does.colour = (name) => { window.asked = name }")
    page.evaluate("AtlasPage.page.does.unit('conv', 4)")
    page.locator("#unit-colour").click()
    assert page.evaluate("window.asked") == "unit:conv:4"
    page.evaluate("AtlasPage.page.does.unit('conv', 99)")
    expect(page.locator("#notices")).to_contain_text("conv has no unit 99: it has 12.")
    assert page.evaluate("AtlasPage.state.unit") == "conv:4"


# -- the frame ------------------------------------------------------------------------------------------------------------


def test_height_fold_and_tab_are_remembered(url: str, open_page: Open) -> None:
    page = open_page(url)
    grip = page.get_by_role("separator", name="Height of the panel below the map")
    before = page.locator("#dock").bounding_box()
    grip.focus()
    page.keyboard.press("ArrowUp")
    after = page.locator("#dock").bounding_box()
    assert before and after and after["height"] == before["height"] + 24
    box = grip.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 300, box["y"] + 6)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] - 4000)  # the map keeps its part
    page.mouse.up()
    tall = page.locator("#dock").bounding_box()
    card = page.locator("#map-card").bounding_box()
    assert tall and card and card["height"] >= 219
    tab(page, "Units")
    page.reload()
    page.wait_for_function("window.AtlasPage && AtlasPage.ready")
    again = page.locator("#dock").bounding_box()
    assert again and abs(again["height"] - tall["height"]) < 1
    expect(page.get_by_role("tab", name="Units")).to_have_attribute("aria-selected", "true")
    page.get_by_role("button", name="Fold or unfold the panel").click()
    folded = page.locator("#dock").bounding_box()
    assert folded and folded["height"] < 50
    page.get_by_role("tab", name="Classes").click()
    expect(page.locator("#classes-body tbody tr")).to_have_count(4)


def test_a_thousand_classes_are_listed_and_scroll(tmp_path: Path, open_page: Open) -> None:
    labels, codes = [f"class {k}" for k in range(1000)], np.arange(2000) % 1000
    worlds.tiny_atlas(tmp_path / "cache" / "world", labels=labels, codes=codes, images=2000, splits=False)
    with serving(tmp_path / "cache") as address:
        page = open_page(address)
        tab(page, "Classes")
        expect(page.locator("#classes-body tbody tr")).to_have_count(1000)
        page.get_by_role("radio", name="Confusion").click()
        expect(page.locator(".pairs li")).to_have_count(100)
        expect(page.locator(".pair-list .note")).to_contain_text("smaller pairs: see the matrix")
        size = page.evaluate("(c => [c.width, c.height])(document.getElementById('class-canvas'))")
        assert 1000 <= size[1] <= 8000 and size[0] <= 8000
        page.locator("#class-canvas").focus()
        for key in ("ArrowRight", "End", "ArrowDown", "Enter"):
            page.keyboard.press(key)
        expect(page.locator("#heat-said")).to_contain_text("class 1 taken for class 999")
        assert cursor_in_view(page)
        page.keyboard.press("Home")
        assert cursor_in_view(page)


def cursor_in_view(page: Page) -> bool:
    """Whether the cell under the keyboard's cursor lies where the matrix is seen, after the frame that puts it there."""
    page.evaluate("new Promise(requestAnimationFrame)")
    return bool(
        page.evaluate(
            """(() => { const { cursor, told, canvas } = AtlasPage.page.heat, place = (e) => e.getBoundingClientRect();
            const view = place(document.getElementById("classes-body")), box = place(canvas);
            const { bottom: top } = place(document.getElementById("matrix-top"));
            const x = box.left + (cursor[1] * box.width) / told.columns, y = box.top + cursor[0] * told.row;
            const high = y >= Math.max(top, view.top) && y + told.row <= view.bottom;
            return high && x >= view.left && x + 4 <= view.right })()"""
        )
    )


def test_an_atlas_without_labels_opens_on_a_tab_that_it_has(tmp_path: Path, open_page: Open) -> None:
    without_labels(tmp_path / "cache" / "world")
    with serving(tmp_path / "cache") as address:
        page = open_page(address)
        page.evaluate("localStorage.setItem('atlas-dock', JSON.stringify({ tab: 'classes' }))")  # of another atlas
        page.reload()
        page.wait_for_function("window.AtlasPage && AtlasPage.ready")
        page.locator("#dock-fold").focus()
        page.keyboard.press("Tab")
        expect(page.locator("#tab-patterns")).to_be_focused()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#tab-units")).to_be_focused()
        expect(page.locator("#units")).to_be_visible()


def without_labels(root: Path) -> None:
    """Write a tiny atlas of images that carry no labels."""
    pixels = np.stack([worlds.picture(0, row) for row in range(30)])
    worlds.tiny_atlas(root, labels=["only"], codes=np.full(30, -1), pixels=pixels)
    record = next(root.glob("images-*/record.json"))
    told = json.loads(record.read_text())
    told["fields"]["labels"] = []
    record.write_text(json.dumps(told))
