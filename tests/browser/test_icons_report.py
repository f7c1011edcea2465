"""Icons, paths, class atlases and preferred inputs in a report: opened from disk, without a server and without a network."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import atlas
from atlas.arguing import make_depth
from atlas.iconing import icons, icons_of
from tests.browser.test_icons import middle_of, shown_cells
from tests.browser.test_report import open_report  # noqa: F401  (a fixture)

pytestmark = pytest.mark.browser
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def drawn(tiny_atlas: atlas.Atlas, tmp_path_factory: pytest.TempPathFactory) -> atlas.Atlas:
    folder = tmp_path_factory.mktemp("icons-report") / "tiny"
    shutil.copytree(tiny_atlas.store.root, folder)
    made = make_depth(icons(atlas.open(folder), "act", sizes=(2, 4), steps=8), sizes=(2, 4))
    made.preferred("act", [0, 3], steps=16, restarts=1)
    return atlas.open(folder)


@pytest.fixture(scope="module")
def report(drawn: atlas.Atlas) -> Path:
    drawn.report(drawn.store.root.parent / "tiny.html")
    return drawn.store.root.parent / "tiny.html"


def test_icons_are_the_records_and_a_cell_selects_its_images(report, drawn, open_report: Open) -> None:  # noqa: F811
    page = open_report(report, behind="#split=all")
    page.keyboard.press("c")
    cells = shown_cells(page)
    found, record = icons_of(drawn, "act")
    cell = max(cells, key=lambda own: record.points[own])
    script = """async cell => { const { icons } = AtlasPage.page, { across, size: [tall, wide] } = icons.part.icons;
      const slot = cell % (across * across);
      const sheet = icons.sheet(Math.floor(cell / (across * across))); await sheet.decode();
      const canvas = new OffscreenCanvas(wide, tall), context = canvas.getContext("2d");
      context.drawImage(sheet, (slot % across) * wide, Math.floor(slot / across) * tall, wide, tall, 0, 0, wide, tall);
      return Array.from(context.getImageData(0, 0, wide, tall).data); }"""
    seen = np.array(page.evaluate(script, cell), np.uint8).reshape(20, 20, 4)[..., :3]
    assert np.array_equal(seen, np.asarray(found.images[cell]))
    page.mouse.move(*middle_of(page, cell))
    expect(page.locator(f'.icon-card[data-cell="{cell}"]')).to_contain_text(f"{record.images[cell]} image")
    page.mouse.click(*middle_of(page, cell))
    page.wait_for_function("AtlasPage.map.chosen !== null")
    chosen = page.evaluate("() => Array.from(AtlasPage.map.chosen).flatMap((on, row) => (on ? [row] : []))")
    assert chosen == sorted(record.members_of(cell).tolist())


def test_a_path_across_the_map_plays_as_a_strip(report, open_report: Open) -> None:  # noqa: F811
    page = open_report(report, behind="#split=all")
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
    page.locator("#path-strip").get_by_role("button", name="Play").click()
    for step in range(steps.count()):  # each picture in its turn, and its cell lit on the map
        expect(steps.nth(step)).to_have_class(re.compile(r"\bnow\b"))
        page.wait_for_function(
            "cell => AtlasPage.page.icons.pointed === cell", arg=int(str(steps.nth(step).get_attribute("data-cell")))
        )
    expect(page.locator("#path-strip .path-step.now")).to_have_count(0)


def test_class_atlases_the_layers_and_what_is_unusual_are_in_it(report, drawn, open_report: Open) -> None:  # noqa: F811
    page = open_report(report, behind="#split=all")
    page.evaluate("AtlasPage.page.does.tab('classes')")
    page.get_by_role("radio", name="Between two").click()
    page.get_by_label("Class on the left").select_option(label="disc")
    page.get_by_label("Class on the right").select_option(label="frame")
    page.get_by_label("Grid").select_option(label="4 × 4 cells")
    expect(page.locator(".between-cell")).to_have_count(len(drawn.between("disc", "frame", "act", size=4)))
    page.get_by_role("radio", name="Layers").click()
    expect(page.locator(".depth-table tbody tr")).to_have_count(drawn.depth()["layer"].nunique())
    page.keyboard.press("c")
    page.wait_for_function("AtlasPage.page.icons.visible")
    page.locator("#icons-class").select_option(label="disc")
    expect(page.locator("#icons-said")).to_contain_text("argue for disc")
    page.get_by_role("radio", name="Unusual").click()
    units = page.locator(".unusual section").last  # of this network no two classes share a unit's top images
    expect(units).to_contain_text(f"0 of {len(drawn.crossing('act'))} listed")


def test_a_unit_leads_to_its_preferred_input_and_from_there_to_its_images(report, drawn, open_report: Open) -> None:  # noqa: F811
    page = open_report(report, behind="#split=all&unit=act:3")
    made = drawn.preferred("act", [0, 3], steps=16, restarts=1)
    expect(page.locator("#unit-preferred")).to_contain_text(f"{made.percentile[1]:.4g}".rstrip("0").rstrip("."))
    page.locator("#unit-select").click()
    page.wait_for_function("AtlasPage.map.chosen !== null")
    chosen = page.evaluate("() => Array.from(AtlasPage.map.chosen).flatMap((on, row) => (on ? [row] : []))")
    best = np.asarray(drawn.vectors("act")[:])[:, 3]
    assert chosen and best[chosen].min() >= np.delete(best, chosen).max(), "the images that fire it most"
