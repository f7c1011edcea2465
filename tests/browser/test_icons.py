"""Preferred inputs and icons in the explorer: the right pictures, a cell's own images, a path as a strip."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import atlas
from atlas.iconing import icons, icons_of
from tests.browser.conftest import serving

pytestmark = pytest.mark.browser
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def drawn(tiny_atlas: atlas.Atlas, tmp_path_factory: pytest.TempPathFactory) -> atlas.Atlas:
    folder = tmp_path_factory.mktemp("icons-page") / "tiny"
    shutil.copytree(tiny_atlas.store.root, folder)
    made = icons(atlas.open(folder), "act", sizes=(2, 4), steps=24)
    made.preferred("act", [0, 3], steps=16, restarts=1)
    made.preferred("act", [3], steps=16, restarts=1, untrained=True)
    return atlas.open(folder)


@pytest.fixture(scope="module")
def url(drawn: atlas.Atlas) -> Iterator[str]:
    with serving(drawn.store.root.parent) as address:
        yield address + "?layer=act&split=all"


def middle_of(page: Page, cell: int) -> tuple[float, float]:
    """Return where on the screen a cell's middle lies."""
    script = """cell => { const { icons } = AtlasPage.page, frame = icons.frame(), { told } = icons;
      const { left, top } = icons.canvas.getBoundingClientRect();
      return [left + frame.x((told.x0[cell] + told.x1[cell]) / 2), top + frame.y((told.y0[cell] + told.y1[cell]) / 2)]; }"""
    x, y = page.evaluate(script, cell)
    return x, y


def shown_cells(page: Page) -> list[int]:
    page.wait_for_function("AtlasPage.page.icons.visible")
    found: Any = page.evaluate(
        "() => AtlasPage.page.icons.told.grid.flatMap((g, cell) => (g === AtlasPage.page.icons.grid ? [cell] : []))"
    )
    return list(found)


def test_icons_stand_in_the_cells_and_a_click_selects_a_cells_own_images(url, drawn, open_page: Open) -> None:
    page = open_page(url)
    expect(page.locator("#icons")).to_be_visible()
    page.keyboard.press("c")
    cells = shown_cells(page)
    expect(page.locator("#icons-said")).to_contain_text(f"{len(cells)} icons on a grid of")
    record = icons_of(drawn, "act")[1]
    cell = max(cells, key=lambda own: record.points[own])
    page.mouse.move(*middle_of(page, cell))
    card = page.locator(f'.icon-card[data-cell="{cell}"]')
    expect(card).to_contain_text(f"{record.images[cell]} image")
    page.mouse.click(*middle_of(page, cell))
    page.wait_for_function("AtlasPage.map.chosen !== null")
    chosen = page.evaluate("() => Array.from(AtlasPage.map.chosen).flatMap((on, row) => (on ? [row] : []))")
    assert chosen == sorted(record.members_of(cell).tolist())


def test_the_icon_drawn_is_the_records_icon(url, drawn, open_page: Open) -> None:
    page = open_page(url)
    page.keyboard.press("c")
    cell = shown_cells(page)[0]
    script = """async cell => { const { icons } = AtlasPage.page, { across, size: [tall, wide] } = icons.part.icons;
      const slot = cell % (across * across);
      const sheet = icons.sheet(Math.floor(cell / (across * across))); await sheet.decode();
      const canvas = new OffscreenCanvas(wide, tall), context = canvas.getContext("2d");
      context.drawImage(sheet, (slot % across) * wide, Math.floor(slot / across) * tall, wide, tall, 0, 0, wide, tall);
      return Array.from(context.getImageData(0, 0, wide, tall).data); }"""
    seen = np.array(page.evaluate(script, cell), np.uint8).reshape(20, 20, 4)[..., :3]
    assert np.array_equal(seen, np.asarray(icons_of(drawn, "act")[0].images[cell]))


def test_a_path_across_the_icons_becomes_a_strip_of_its_cells(url, open_page: Open) -> None:
    page = open_page(url)
    page.keyboard.press("c")
    cells = shown_cells(page)
    first, last = middle_of(page, cells[0]), middle_of(page, cells[-1])
    page.locator("#path").click()
    page.mouse.move(*first)
    page.mouse.down()
    page.mouse.move(*last, steps=12)
    page.mouse.up()
    steps = page.locator("#path-strip .path-step")
    expect(steps.first).to_have_attribute("data-cell", str(cells[0]))
    expect(steps.last).to_have_attribute("data-cell", str(cells[-1]))
    page.locator("#path-strip").get_by_text("Close").click()
    expect(page.locator("#path-strip")).to_be_hidden()


def test_a_units_panel_shows_its_preferred_input_with_what_it_reached(url, drawn, open_page: Open) -> None:
    page = open_page(url + "&unit=act:3")
    made = drawn.preferred("act", [0, 3], steps=16, restarts=1)
    part = page.locator("#unit-preferred")
    expect(part).to_contain_text(f"{made.percentile[1]:.4g}".rstrip("0").rstrip("."))
    expect(part).to_contain_text(re.compile("converged|still rising"))
    others = part.locator(".preferred-others button")
    expect(others).to_have_count(2)
    expect(others.nth(1)).to_contain_text("untrained")
    others.nth(1).click()
    expect(part).to_contain_text("random weights: a control")
    page.evaluate("AtlasPage.page.does.unit('act', 5)")
    expect(page.locator("#unit-preferred code")).to_have_text(
        f"atlas preferred {drawn.store.root.resolve()} --layer act --unit 5"
    )
    page.locator("#tab-units").click()
    expect(page.locator("#units-body i.preferred")).to_have_count(2)


def test_a_path_is_drawn_and_played_by_the_keyboard_alone(url, open_page: Open) -> None:
    page = open_page(url)
    page.keyboard.press("d")
    expect(page.locator("#notices")).to_contain_text("A path needs icons on the map")
    page.keyboard.press("c")
    cells = shown_cells(page)
    page.keyboard.press("d")
    expect(page.locator("#path-strip")).to_contain_text("Space begins the line")
    visited = []
    for key in (
        "ArrowLeft",
        "ArrowLeft",
        "ArrowLeft",
        " ",
        "ArrowRight",
        "ArrowUp",
        "ArrowRight",
        "ArrowDown",
        "ArrowRight",
    ):
        before = page.evaluate("AtlasPage.page.icons.pointed ?? null")
        page.keyboard.press(key)
        now = page.evaluate("AtlasPage.page.icons.pointed")
        assert now in cells
        if key == " ":
            visited = [now]
            expect(page.locator("#heat-said")).to_have_text("The line begins here.")
        elif visited and now != before:
            visited.append(now)
    assert len(visited) > 1 and "on the line: " in str(page.locator("#heat-said").text_content())
    page.keyboard.press("Enter")
    steps = page.locator("#path-strip .path-step")
    found = [int(str(step.get_attribute("data-cell"))) for step in steps.all()]
    assert found[0] == visited[0] and found[-1] == visited[-1]
    places = iter(found)
    assert all(cell in places for cell in visited), "every cell that the cursor came to is on the strip, in its order"
    expect(page.get_by_role("button", name="Play")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.path-step.now')")
    steps.first.focus()
    page.keyboard.press("ArrowRight")
    expect(steps.nth(1)).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#path-strip")).to_be_hidden()
    expect(page.locator("#path")).to_be_focused()


def test_the_cell_under_the_keyboards_cursor_gives_its_images(url, drawn, open_page: Open) -> None:
    page = open_page(url)
    page.keyboard.press("c")
    shown_cells(page)
    page.keyboard.press("d")
    page.keyboard.press("ArrowRight")
    cell = page.evaluate("AtlasPage.page.icons.pointed")
    page.keyboard.press("Enter")
    page.wait_for_function("AtlasPage.map.chosen !== null")
    chosen = page.evaluate("() => Array.from(AtlasPage.map.chosen).flatMap((on, row) => (on ? [row] : []))")
    assert chosen == sorted(icons_of(drawn, "act")[1].members_of(cell).tolist())
    assert page.locator("#path-strip").is_hidden() and page.locator("#path").get_attribute("aria-pressed") == "false"
    page.keyboard.press("Escape")
    page.wait_for_function("AtlasPage.map.chosen === null")
