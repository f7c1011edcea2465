"""Between two classes and the layers side by side, in the Classes tab: the functions' numbers, and what a click selects."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

import atlas
from atlas.argued import cells as cells_record
from atlas.arguing import make_depth
from atlas.iconing import icons
from tests.browser.conftest import serving

pytestmark = pytest.mark.browser
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def drawn(tiny_atlas: atlas.Atlas, tmp_path_factory: pytest.TempPathFactory) -> atlas.Atlas:
    folder = tmp_path_factory.mktemp("class-page") / "tiny"
    shutil.copytree(tiny_atlas.store.root, folder)
    return make_depth(icons(atlas.open(folder), "act", sizes=(2, 4), steps=8), sizes=(2, 4))


@pytest.fixture(scope="module")
def url(drawn: atlas.Atlas) -> Iterator[str]:
    with serving(drawn.store.root.parent) as address:
        yield address + "?layer=act&split=all"


def shown(page: Page, name: str) -> None:
    page.evaluate("AtlasPage.page.does.tab('classes')")
    page.get_by_role("radio", name=name).click()


def cells_of(page: Page) -> list[int]:
    return [int(str(one.get_attribute("data-cell"))) for one in page.locator(".between-cell").all()]


def test_cells_stand_between_two_classes_where_the_function_puts_them(url, drawn, open_page: Open) -> None:
    page = open_page(url)
    shown(page, "Between two")
    page.get_by_label("Class on the left").select_option(label="disc")
    page.get_by_label("Class on the right").select_option(label="frame")
    page.get_by_label("Grid").select_option(label="4 × 4 cells")
    table = drawn.between("disc", "frame", "act", size=4)
    expect(page.locator(".between-cell")).to_have_count(len(table))
    steps = page.locator(".between-step")
    for step in range(steps.count()):
        cells = [int(str(one.get_attribute("data-cell"))) for one in steps.nth(step).locator("button").all()]
        for cell in cells:
            axis = table.set_index("cell").loc[cell, "axis"]
            assert step == min(10, int((axis + 1) / 2 * 11)), "each stands in the step of its axis"
    before = cells_of(page)
    page.get_by_title("Turn the two around").click()
    expect(page.get_by_label("Class on the left")).to_have_value(str(list(drawn.predictions.map.names).index("frame")))
    page.wait_for_function("cells => document.querySelectorAll('.between-cell').length === cells", arg=len(before))
    turned = drawn.between("frame", "disc", "act", size=4)
    assert sorted(cells_of(page)) == sorted(turned["cell"]) == sorted(before)
    first = page.locator(".between-cell").first
    cell = int(str(first.get_attribute("data-cell")))
    assert turned.set_index("cell").loc[cell, "axis"] <= turned["axis"].quantile(0.5)
    first.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("AtlasPage.map.chosen !== null")
    chosen = page.evaluate("() => Array.from(AtlasPage.map.chosen).flatMap((on, row) => (on ? [row] : []))")
    assert chosen == sorted(cells_record(drawn, "act").members_of(cell).tolist())


def test_layers_stand_side_by_side_with_their_purity_and_attribution(url, drawn, open_page: Open) -> None:
    page = open_page(url)
    shown(page, "Layers")
    table = drawn.depth()
    rows = page.locator(".depth-table tbody tr")
    expect(rows).to_have_count(table["layer"].nunique())
    for layer in table["layer"].unique():
        own, row = table[table["layer"] == layer], page.locator(f'.depth-table tr[data-layer="{layer}"]')
        for purity in own["purity"]:
            share = f"{100 * purity:.1f}" if purity < 0.9995 else "100"
            expect(row).to_contain_text(f"{share}\u202f%")


def test_a_layout_without_cells_says_what_would_make_them(url, drawn, open_page: Open) -> None:
    page = open_page(url)
    page.locator("#layout").select_option(label="PCA")
    shown(page, "Between two")
    expect(page.locator("#classes-body")).to_contain_text(
        f"atlas icons {drawn.store.root.resolve()} --layer act --method pca"
    )
    shown(page, "Layers")
    expect(page.locator("#classes-body")).to_contain_text(f"atlas depth {drawn.store.root.resolve()} --make --method pca")
    page.locator("#layer").select_option("pool+act+logits")
    shown(page, "Between two")
    expect(page.locator("#classes-body")).to_contain_text("choose a layer alone")
