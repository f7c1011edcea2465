"""The second map's thumbnails: the first map's behaviour, by the same code, each where its point stands."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from atlas.pages.view import View
from tests.browser.test_map_scale import picture, source

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
SECOND = "AtlasPage.page.second"


@pytest.fixture
def page(url: str, open_page: Open) -> Page:
    page = open_page(url + "?split=all&layer=fc")
    page.keyboard.press("s")
    page.wait_for_function(f"{SECOND}?.painted")
    return page


def nearer(page: Page, share: float) -> None:
    """Look at a share of the second map around its first point."""
    page.evaluate(
        f"share => {{ const m = {SECOND}, {{ xy, count }} = m.now, half = share * 32768;"
        " m.fit([xy[0] - half, xy[0] + half, xy[count] - half, xy[count] + half]) }",
        share,
    )


def test_thumbnails_of_both_maps_follow_one_switch(page: Page) -> None:
    switch = page.get_by_role("button", name="Thumbnails instead of dots")
    assert page.evaluate(f"[AtlasPage.thumbs.on, {SECOND}.thumbs.on]") == [False, False]
    switch.click()
    page.wait_for_function(f"AtlasPage.thumbs.shown > 10 && {SECOND}.thumbs.shown > 10")
    expect(page.locator("#beside-count")).to_contain_text("in view as pictures")
    switch.click()
    page.wait_for_function(f"!AtlasPage.thumbs.on && !{SECOND}.thumbs.on")
    expect(page.locator("#beside-count")).not_to_contain_text("pictures")


@pytest.mark.parametrize("way", ["near", "asked"])
def test_each_thumbnail_is_of_the_point_where_it_stands(page: Page, view: View, way: str) -> None:
    nearer(page, 0.12 if way == "near" else 1.0)
    if way == "asked":
        page.keyboard.press("t")
    page.wait_for_function(f"{SECOND}.thumbs.shown > 2")
    page.wait_for_timeout(200)
    edge, kept = page.evaluate(
        f"(t => [t.edge, t.kept.map(k => [k.point, k.x, k.y, ...t.map.place(k.point)])])({SECOND}.thumbs)"
    )
    canvas = picture(page, f"{SECOND}.thumbs.canvas")[..., 0].astype(int)
    checked = 0
    for point, x, y, px, py in kept:
        assert abs(x - px) < 1e-6 and abs(y - py) < 1e-6
        left, top = round(x - edge / 2), round(y - edge / 2)
        if not (0 <= left < canvas.shape[1] - edge and 0 <= top < canvas.shape[0] - edge):
            continue
        seen = canvas[top + 6 : top + edge - 6, left + 6 : left + edge - 6]
        shifts = [
            source(view, point, edge)[6 + a : edge - 6 + a, 6 + b : edge - 6 + b] for a in (-1, 0, 1) for b in (-1, 0, 1)
        ]
        checked += min(float(np.median(np.abs(seen - one))) for one in shifts) <= 4
    assert checked >= 2 and checked >= 0.6 * len(kept)


def test_a_thumbnail_is_pointed_at_and_opened_and_a_selection_fades_the_others(page: Page) -> None:
    nearer(page, 0.12)
    page.wait_for_function(f"{SECOND}.thumbs.shown > 2")
    x, y, row = page.evaluate(
        "(t => { const { left, top } = t.canvas.getBoundingClientRect();"
        " const k = t.kept.find(k => k.x > 60 && k.y > 80 && k.y < 400);"
        " return [left + k.x, top + k.y, t.map.rowOf(k.point)] })(" + SECOND + ".thumbs)"
    )
    page.mouse.click(x, y)
    page.wait_for_function("AtlasPage.state.row !== null")
    assert page.evaluate("AtlasPage.state.row") == row
    page.wait_for_function(f"[...{SECOND}.marked.values()].includes(3)")
    page.keyboard.press("s")
    expect(page.locator("#beside-thumbs")).to_have_count(0)


def test_what_was_looked_at_stays_in_view_beside_a_second_map_and_is_seen_as_before_without_it(
    url: str, open_page: Open
) -> None:
    page = open_page(url + "?split=all&layer=fc")
    page.evaluate("AtlasPage.page.does.look([5, 8])")
    seen, wide = "AtlasPage.page.does.seen()", page.evaluate("AtlasPage.map.plot.inner_width")
    x0, x1, y0, y1 = before = page.evaluate(seen)
    page.keyboard.press("s")
    page.wait_for_function(f"wide => AtlasPage.map.plot.inner_width < 0.8 * wide && {seen}[0] !== {x0}", arg=wide)
    page.wait_for_timeout(300)
    beside = page.evaluate(seen)
    slack = 0.01 * (x1 - x0)
    assert beside[0] < x0 + slack and beside[1] > x1 - slack and beside[2] < y0 + slack and beside[3] > y1 - slack
    scales = page.evaluate(
        f"(([a, b, c, d], p) => [(b - a) / p.inner_width, (d - c) / p.inner_height])({seen}, AtlasPage.map.plot)"
    )
    assert scales[0] == pytest.approx(scales[1], rel=0.01)
    page.keyboard.press("s")
    page.wait_for_function("wide => AtlasPage.map.plot.inner_width >= wide - 2", arg=wide)
    page.wait_for_timeout(300)
    assert page.evaluate(seen) == pytest.approx(before, abs=slack)


def test_the_opacity_of_dots_is_that_of_both_maps(page: Page) -> None:
    page.locator("#opacity").evaluate("input => { input.value = 0.3; input.oninput({ target: input }) }")
    page.wait_for_function(f"{SECOND}.alpha === 0.3 && AtlasPage.map.alpha === 0.3")
