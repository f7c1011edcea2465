"""A map of more points than are drawn one by one stands still: what is shown stays shown while it is moved and zoomed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from playwright.sync_api import Page

from atlas.pages.view import View
from benchmarks._crowd import crowd
from tests import worlds
from tests.browser.conftest import serving
from tests.browser.test_map_scale import LOOK, around, picture, settled

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
COUNT = 120_000
DRAWN = """(m => { const { x0, x1, y0, y1 } = m.view(), { x, y } = m.points.data, found = [];
  for (let k = 0; k < x.length; k++)
    if (x[k] >= x0 && x[k] <= x1 && y[k] >= y0 && y[k] <= y1) found.push([m.i[k], x[k], y[k]]);
  return found })(AtlasPage.map)"""
PAINTED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done))))"
MOVE = f"([right, up]) => {{ AtlasPage.page.does.pan(right, up); return {PAINTED} }}"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> View:
    folder = tmp_path_factory.mktemp("steady")
    worlds.tiny_atlas(folder / "source", 2500)
    return View(crowd(folder / "cache" / "world", View(folder / "source"), COUNT, space="fc"))


@pytest.fixture(scope="module")
def crowded(many: View) -> Iterator[str]:
    with serving(many.store.root.parent) as address:
        yield address


@pytest.fixture
def page(crowded: str, many: View, open_page: Open) -> Page:
    page = open_page(crowded + "?split=all")
    settled(page, lambda: page.evaluate(LOOK, around(many, 0.3)))
    page.wait_for_timeout(500)  # the level of its zoom stands alone
    return page


def in_view(page: Page) -> dict[int, tuple[int, int]]:
    return {point: (x, y) for point, x, y in page.evaluate(DRAWN)}


def seen_at(page: Page) -> list[float]:
    return list(page.evaluate("(v => [v.x0, v.x1, v.y0, v.y1])(AtlasPage.map.view())"))


def test_density_moves_with_the_map_and_looks_the_same(page: Page) -> None:
    before = picture(page, "AtlasPage.map.crowd.canvas").astype(int)
    width = before.shape[1]
    page.evaluate(MOVE, [37 / width, 0])  # an odd number of pixels, which is no whole number of squares
    after = picture(page, "AtlasPage.map.crowd.canvas").astype(int)
    apart = np.abs(before[:, 37:] - after[:, : width - 37])[..., 3]
    assert before[..., 3].max() > 150 and apart.max() <= 3


def test_points_stay_while_the_map_is_moved_and_are_there_when_it_comes(page: Page) -> None:
    for step in [(0.05, 0.0), (0.05, 0.05), (-0.1, 0.0), (0.0, -0.15)]:
        before, share = in_view(page), page.evaluate("AtlasPage.map.crowd.share")
        page.evaluate(MOVE, list(step))
        x0, x1, y0, y1 = seen_at(page)
        stay = {point for point, (x, y) in before.items() if x0 <= x <= x1 and y0 <= y <= y1}
        now = in_view(page)
        assert stay <= set(now) or page.evaluate("AtlasPage.map.crowd.share") < share
        assert len(stay) > 0.5 * len(before) > 500
        middle, edge = (x0 + x1) / 2, [x for x, _ in now.values()]
        assert min(edge) < middle < max(edge)


def test_no_point_goes_while_the_map_is_zoomed_in(page: Page) -> None:
    page.evaluate("AtlasPage.map.whole()")
    page.wait_for_timeout(400)
    for _ in range(6):
        before = in_view(page)
        settled(page, lambda: page.evaluate("AtlasPage.map.zoom(0.7)"))
        x0, x1, y0, y1 = seen_at(page)
        stay = {point for point, (x, y) in before.items() if x0 <= x <= x1 and y0 <= y <= y1}
        assert stay and stay <= set(in_view(page))


def test_one_level_of_density_gives_way_to_the_next_without_a_flash(page: Page) -> None:
    strengths = page.evaluate(
        """async () => { const { crowd } = AtlasPage.map, { canvas } = crowd, found = [];
          const strength = () => { const { width, height } = canvas, context = canvas.getContext("2d");
            const { data } = context.getImageData(width * 0.4, height * 0.4, width * 0.2, height * 0.2);
            let sum = 0;
            for (let k = 3; k < data.length; k += 4) sum += data[k];
            return (sum / data.length) * 4 * Number(canvas.style.opacity || 1); };
          found.push([crowd.shown, strength()]);
          for (let turn = 0; turn < 12; turn++) { AtlasPage.map.zoom(0.94);
            for (let frame = 0; frame < 3; frame++) {
              await new Promise(requestAnimationFrame);
              found.push([crowd.shown, strength()]); } }
          return found }"""
    )
    levels, seen = [level for level, _ in strengths], np.array([strength for _, strength in strengths])
    low, high = sorted((seen[0], seen[-1]))
    assert len(set(levels)) >= 2 and high > 10
    assert seen.min() > low - 0.15 * high and seen.max() < 1.15 * high  # on its way from the one to the other it is neither


def test_density_dims_with_a_selection_and_looks_as_before_when_it_ends_or_holds_everything(page: Page) -> None:
    def seen(act: str) -> np.ndarray:
        page.evaluate(f"{act}; {PAINTED}")
        return picture(page, "AtlasPage.map.crowd.canvas").astype(int)

    before = seen("0")
    part = seen("AtlasPage.map.choose(Uint32Array.from({ length: 50 }, (_, row) => row))")
    assert part[..., 3].sum() < 0.8 * before[..., 3].sum()
    everything = seen("AtlasPage.map.sweep({ type: 'rect', x0: 0, x1: 65535, y0: 0, y1: 65535 }, 'replace')")
    again = seen("AtlasPage.map.choose(Uint32Array.from({ length: 50 }, (_, row) => row))")
    ended = seen("AtlasPage.map.clear()")
    for now, wanted in [(everything, before), (again, part), (ended, before)]:
        assert np.abs(now - wanted)[..., 3].max() <= 3
