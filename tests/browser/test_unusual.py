"""Unusual associations and class atlases in the explorer: a line selects its cell's images or opens its unit; cells fade."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import atlas
from atlas.iconing import icons, icons_of
from atlas.maps.cell_looks import class_opacity
from tests import tiny
from tests.browser.conftest import serving

pytestmark = pytest.mark.browser
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def drawn(world: Path, tmp_path_factory: pytest.TempPathFactory) -> atlas.Atlas:
    """Icons of an atlas in which three discs in four lie among the frames."""
    folder = tmp_path_factory.mktemp("unusual-page")
    shutil.copytree(world / "images", folder / "images")
    for discs in (folder / "images").glob("*/disc"):
        for number, file in enumerate(sorted(discs.iterdir())):
            if number % 4:
                shutil.move(file, discs.parent / "frame" / f"disc-{file.name}")
    made = atlas.build(
        tiny.MODEL, str(folder / "images"), cache=folder / "cache" / "tiny", layers=["pool", "act", "logits"],
        layouts=["umap:act", "pca:act"], network={"weights": world / "weights.safetensors"},
    )  # fmt: skip
    return icons(made, "act", sizes=(2, 4), steps=8)


@pytest.fixture(scope="module")
def url(drawn: atlas.Atlas) -> Iterator[str]:
    with serving(drawn.store.root.parent) as address:
        yield address + "?layer=act&split=all"


def unusual(page: Page) -> None:
    page.evaluate("AtlasPage.page.does.tab('classes')")
    page.get_by_role("radio", name="Unusual").click()


def test_a_line_of_a_cell_selects_its_images_and_one_of_a_unit_opens_it(url, drawn, open_page: Open) -> None:
    page = open_page(url)
    unusual(page)
    cells, units = drawn.unusual("act"), drawn.crossing("act")
    lines = page.locator("#classes-body [data-cell]")
    expect(lines).to_have_count(int((cells["score"] >= 0.005).sum()))
    assert [int(line.get_attribute("data-cell") or -1) for line in lines.all()] == cells["cell"].tolist()[: lines.count()]
    cell = int(cells["cell"][0])
    lines.first.click()
    page.wait_for_function("AtlasPage.map.chosen !== null")
    chosen = page.evaluate("() => Array.from(AtlasPage.map.chosen).flatMap((on, row) => (on ? [row] : []))")
    assert chosen == sorted(icons_of(drawn, "act")[1].members_of(cell).tolist())
    expect(page.locator("#class-said")).to_contain_text(f"{len(chosen)} image")
    unit = page.locator("#classes-body [data-unit]").first
    expect(unit).to_have_attribute("data-unit", str(units["unit"][0]))
    unit.click()
    page.wait_for_function("unit => AtlasPage.page.state.unit === `act:${unit}`", arg=int(units["unit"][0]))


def test_a_layout_without_cells_says_what_would_make_them(url, drawn, open_page: Open) -> None:
    page = open_page(url)
    unusual(page)
    expect(page.locator("#classes-body [data-cell]").first).to_be_visible()
    page.locator("#layout").select_option(label="PCA")
    expect(page.locator(".unusual section").first).to_contain_text(
        f"atlas icons {drawn.store.root.resolve()} --layer act --method pca"
    )
    expect(page.locator("#classes-body [data-unit]").first).to_be_visible()


def test_cells_fade_by_how_strongly_they_argue_for_the_class_chosen(url, drawn, open_page: Open) -> None:
    page = open_page(url)
    expect(page.locator("#icons-class")).to_be_hidden()
    page.keyboard.press("c")
    page.wait_for_function("AtlasPage.page.icons.visible")
    page.locator("#icons-class").select_option(label="frame")
    page.wait_for_function("AtlasPage.page.icons.argues !== null")
    opacity = class_opacity(icons_of(drawn, "act")[1], drawn.predictions.map.names.index("frame"))
    seen = page.evaluate("() => AtlasPage.page.icons.told.grid.map((_, cell) => AtlasPage.page.icons.seen(cell))")
    assert np.allclose(seen, 0.06 + 0.94 * opacity, atol=0.003)
    expect(page.locator("#icons-said")).to_contain_text("cells argue for frame, the others are faded")
    page.locator("#icons-class").select_option(label="All classes")
    page.wait_for_function("AtlasPage.page.icons.argues === null")
    expect(page.locator("#icons-said")).to_contain_text("icons on a grid of")
