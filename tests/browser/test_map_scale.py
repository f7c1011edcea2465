"""The map's gestures and its size: a selection is a set of images whatever is drawn of them, and a start costs few bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from atlas.pages.view import View
from benchmarks._crowd import crowd
from tests import worlds
from tests.browser.conftest import serving
from tests.browser.test_explorer_page import drawn

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
Box = tuple[float, float, float, float]  # left, top, right, bottom as shares of the map's place
LEFT, RIGHT, ALL = (0.02, 0.02, 0.5, 0.98), (0.4, 0.02, 0.98, 0.98), (0.01, 0.01, 0.99, 0.99)


def box(page: Page, tool: str, part: Box, *keys: str) -> set[int]:
    """Drag a box or a lasso around a part of the map with `keys` held; return the points drawn inside it."""
    page.get_by_role("button", name=f"{tool} selection").click()
    place = page.locator(".map-place").bounding_box()
    assert place is not None
    left, right = (place["x"] + place["width"] * part[k] for k in (0, 2))
    top, bottom = (place["y"] + place["height"] * part[k] for k in (1, 3))
    for key in keys:
        page.keyboard.down(key)
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in [(right, top), (right, bottom), (left, bottom), (left, top)] if tool == "Lasso" else [(right, bottom)]:
        page.mouse.move(x, y, steps=6)
    page.mouse.up()
    for key in keys:
        page.keyboard.up(key)
    return inside(page, part)


def inside(page: Page, part: Box) -> set[int]:
    """Return the points drawn in a part of the map's place, by the map's own ranges."""
    where = "(m => [m.plot.x_range.start, m.plot.x_range.end, m.plot.y_range.start, m.plot.y_range.end])(AtlasPage.map)"
    x0, x1, y0, y1 = page.evaluate(where)
    x, y, i = (np.array(v) for v in page.evaluate("(d => [[...d.x], [...d.y], [...d.i]])(AtlasPage.map.points.data)"))
    across, down = (x - x0) / (x1 - x0), (y1 - y) / (y1 - y0)
    held = (across > part[0]) & (across < part[2]) & (down > part[1]) & (down < part[3])
    return set(i[held].tolist())


def chosen(page: Page) -> set[int]:
    return set(page.evaluate("AtlasPage.map.chosenRows()"))


@pytest.mark.parametrize("tool", ["Box", "Lasso"])
def test_shift_adds_alt_takes_out_and_a_plain_gesture_begins_anew(url: str, open_page: Open, tool: str) -> None:
    page = open_page(url)
    left = box(page, tool, LEFT)
    assert left and chosen(page) == left
    right = box(page, tool, RIGHT, "Shift")
    assert right - left and left & right and chosen(page) == left | right
    box(page, tool, LEFT, "Alt")
    assert chosen(page) == right - left
    expect(page.locator("#selection-count")).to_contain_text(f"{len(right - left)} image")
    box(page, tool, LEFT)
    assert chosen(page) == left


def test_a_gesture_touches_only_images_that_are_drawn(url: str, view: View, open_page: Open) -> None:
    page = open_page(url)
    everything = box(page, "Box", ALL)
    drawn(page, page.locator(".chip", has_text="stripes").click)
    stripes = {row for row in everything if view.images.codes[row] == 2}
    box(page, "Box", ALL, "Alt")
    assert stripes and chosen(page) == stripes  # hidden, so not taken out
    box(page, "Box", LEFT, "Shift")
    assert chosen(page) == stripes | inside(page, LEFT)
    box(page, "Box", ALL)
    assert chosen(page) == everything - stripes
    drawn(page, page.get_by_role("radio", name="Train 180").click)
    assert chosen(page) == everything - stripes  # a split shows others, and takes nothing out
    drawn(page, lambda: page.select_option("#layer", "conv"))
    drawn(page, page.get_by_role("radio", name="Held-out 120").click)
    assert chosen(page) == everything - stripes
    lit = "(m => { const { indices } = m.points.selected; return indices.length ? [] : Array.from(m.i, p => m.rowOf(p)); })"
    shown = set(page.evaluate(f"{lit}(AtlasPage.map)"))
    assert shown == everything - stripes, "all that is drawn is chosen, and looks as when nothing is"


def test_escape_clears_and_ctrl_z_goes_back_step_by_step(url: str, open_page: Open) -> None:
    page = open_page(url)
    left = box(page, "Box", LEFT)
    both = left | box(page, "Box", RIGHT, "Shift")
    page.keyboard.press("Escape")
    expect(page.locator("#selection-count")).to_have_text("Nothing selected")
    for expected in (both, left, set[int]()):
        page.keyboard.press("Control+z")
        assert chosen(page) == expected
    page.keyboard.press("Control+z")  # nothing before it
    assert chosen(page) == set()


def test_the_whole_map_is_shown_with_the_selection_kept(url: str, open_page: Open) -> None:
    page = open_page(url)
    left = box(page, "Box", LEFT)
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Show the whole map").click()
    lit = "(m => m.points.selected.indices.map(k => m.i[k]))(AtlasPage.map)"
    assert left and chosen(page) == left == set(page.evaluate(lit))


def test_rows_are_selected_added_and_removed_by_any_panel(url: str, open_page: Open) -> None:
    page = open_page(url)
    for rows, how, expected in (
        ([3, 5, 8], "replace", {3, 5, 8}),
        ([9], "add", {3, 5, 8, 9}),
        ([5, 7], "remove", {3, 8, 9}),
    ):
        page.evaluate("([rows, how]) => AtlasPage.page.does.select(rows, how)", [rows, how])
        assert chosen(page) == expected
    page.evaluate("AtlasPage.page.does.select([3, 8, 9], 'remove')")
    expect(page.locator("#selection-count")).to_have_text("Nothing selected")


def test_places_inside_an_outline_are_those_of_even_and_odd_crossings(url: str, open_page: Open) -> None:
    page = open_page(url)
    random = np.random.default_rng(3)
    for corners in (3, 7, 60):
        outline = random.integers(0, 65536, (corners, 2)).astype(float)  # crosses itself
        places = random.integers(0, 65536, (400, 2)).astype(float)
        found = page.evaluate(
            """async ([[x, y], places]) => {
              const { regionOf } = await import("atlas/region");
              const { holds, x0, x1, y0, y1 } = regionOf({ type: "poly", x, y });
              return places.map(([a, b]) => a >= x0 && a <= x1 && b >= y0 && b <= y1 && holds(a, b)); }""",
            [outline.T.tolist(), places.tolist()],
        )
        assert found == [odd(outline, place) for place in places] and any(found)


def odd(outline: np.ndarray, place: np.ndarray) -> bool:
    """Whether a ray to the right crosses the outline an odd number of times, edge by edge."""
    (x, y), after = place, np.roll(outline, -1, axis=0)
    times = 0
    for (ax, ay), (bx, by) in zip(outline, after, strict=True):
        if (ay > y) != (by > y):
            times += x < ax + (y - ay) / (by - ay) * (bx - ax)
    return times % 2 == 1


# -- more points than are drawn one by one

COUNT = 120_000
LOOK = """([[x0, x1], [y0, y1]]) => { const { plot } = AtlasPage.map, tall = plot.inner_height / plot.inner_width;
  const middle = (y0 + y1) / 2, half = (y1 - y0) / 2 * tall;
  AtlasPage.map.look([x0, x1], [middle - half, middle + half]); }"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> View:
    """An atlas of more points than a canvas draws one by one; its images repeat after one sheet."""
    folder = tmp_path_factory.mktemp("many")
    worlds.tiny_atlas(folder / "source", 2500)
    return View(crowd(folder / "cache" / "world", View(folder / "source"), COUNT, space="fc"))


@pytest.fixture(scope="module")
def crowded(many: View) -> Iterator[str]:
    with serving(many.store.root.parent) as address:
        yield address


def settled(page: Page, act: Callable[[], object]) -> None:
    """Do something that moves the map; return when its sample is taken anew."""
    page.evaluate(
        "() => { const c = AtlasPage.map.crowd, old = c.onsampled; window.taken = 0;"
        " c.onsampled = (now) => { old(now); taken++ } }"
    )
    act()
    page.wait_for_function("taken > 0")


def centre(view: View) -> np.ndarray:
    """Return the middle of the first class, where points are many."""
    return np.asarray(np.median(view.xy(view.spaces[0].layouts[0])[:, view.images.codes == 0], axis=1))


def around(view: View, share: float) -> list[list[float]]:
    """Return ranges around the middle of a class, a share of the whole wide."""
    return [[m - share * 32768, m + share * 32768] for m in centre(view).tolist()]


def picture(page: Page, canvas: str) -> np.ndarray:
    """Return what a canvas holds: uint8 [y, x, rgba]."""
    encoded = page.evaluate(f"{canvas}.toDataURL()").partition(",")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGBA"))


def test_a_sample_of_the_points_in_view_is_drawn_and_how_many_is_said(crowded: str, many: View, open_page: Open) -> None:
    page = open_page(crowded + "?split=all")
    xy = many.xy(many.spaces[0].layouts[0])
    expect(page.locator("#shown")).to_contain_text("120 000 of 120 000 points shown")
    i, x, y = (np.array(v) for v in page.evaluate("(d => [[...d.i], [...d.x], [...d.y]])(AtlasPage.map.points.data)"))
    assert 10_000 < len(i) <= 15_000 and len(set(i.tolist())) == len(i) and (xy[:, i] == [x, y]).all()
    expect(page.locator("#sampled")).to_contain_text(f"{len(i):,} of the 120 000 in view as dots".replace(",", " "))
    settled(page, lambda: page.evaluate(LOOK, around(many, 0.05)))
    x0, x1, y0, y1 = page.evaluate("(v => [v.x0, v.x1, v.y0, v.y1])(AtlasPage.map.view())")
    there = np.flatnonzero((xy[0] >= x0) & (xy[0] <= x1) & (xy[1] >= y0) & (xy[1] <= y1))
    drawn_now = np.array(page.evaluate("[...AtlasPage.map.points.data.i]"))
    assert 50 < len(there) < 15_000 and set(there.tolist()) <= set(drawn_now.tolist())  # so few are all drawn
    assert (
        len(drawn_now) <= 15_000 and (np.abs(xy[0, drawn_now] - (x0 + x1) / 2) <= 0.66 * (x1 - x0)).all()
    )  # and what lies around
    expect(page.locator("#sampled")).to_contain_text(f"all {len(there):,} in view as dots".replace(",", " "))


def test_what_is_not_drawn_one_by_one_is_density_in_the_colours_of_its_classes(
    crowded: str, many: View, open_page: Open
) -> None:
    page = open_page(crowded + "?split=all&layer=fc")
    page.evaluate("(c => { c.whole = false; c.paint() })(AtlasPage.map.crowd)")
    seen = picture(page, "AtlasPage.map.crowd.canvas")
    height, width = seen.shape[:2]
    x0, x1, y0, y1 = page.evaluate("(v => [v.x0, v.x1, v.y0, v.y1])(AtlasPage.map.view())")
    xy = many.xy(many.spaces[0].layouts[0]).astype(float)
    column = ((xy[0] - x0) / (x1 - x0) * width).astype(int)
    row = ((y1 - xy[1]) / (y1 - y0) * height).astype(int)
    inner = (column >= 2) & (column < width - 2) & (row >= 2) & (row < height - 2)
    assert (seen[row[inner], column[inner], 3] > 0).all()  # there is no point without its density
    painted = seen[..., 3] > 0
    reach = np.zeros_like(painted)
    for dy, dx in np.ndindex(9, 9):
        reach[np.clip(row + dy - 4, 0, height - 1), np.clip(column + dx - 4, 0, width - 1)] = True
    assert not (painted & ~reach).any()  # and no density without a point
    palette = np.array([[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in page.evaluate("AtlasPage.map.mapper.palette")])
    low, high = palette[:4].min(0) - 5, palette[:4].max(0) + 5
    strong = seen[seen[..., 3] > 120][:, :3]
    assert ((strong >= low) & (strong <= high)).all()


def test_a_lasso_takes_every_point_inside_it_drawn_or_not(crowded: str, many: View, open_page: Open) -> None:
    page = open_page(crowded + "?split=all")
    xy = many.xy(many.spaces[0].layouts[0]).astype(float)
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius, middle = 4000.0 + 1500 * np.sin(5 * turn), centre(many)
    outline = middle + radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    page.evaluate("([x, y]) => AtlasPage.map.sweep({ type: 'poly', x, y }, 'replace')", outline.T.tolist())
    close = np.flatnonzero(np.hypot(*(xy - middle[:, None])) < 5600)
    expected = {int(p) for p in close if odd(outline, xy[:, p])}
    assert chosen(page) == expected and len(expected) > 1000
    lit = "(m => m.points.selected.indices.map(k => m.i[k]))(AtlasPage.map)"
    assert set(page.evaluate(lit)) == expected & set(page.evaluate("[...AtlasPage.map.i]"))
    drawn(page, page.locator(".chip", has_text="stripes").click)
    assert chosen(page) == expected
    page.evaluate("([x, y]) => AtlasPage.map.sweep({ type: 'poly', x, y }, 'remove')", outline.T.tolist())
    assert chosen(page) == {p for p in expected if many.images.codes[p] == 2}


def test_pointing_finds_the_nearest_of_all_points(crowded: str, many: View, open_page: Open) -> None:
    page = open_page(crowded + "?split=all")
    xy = many.xy(many.spaces[0].layouts[0]).astype(float)
    unit = page.evaluate("(m => (m.plot.x_range.end - m.plot.x_range.start) / m.plot.inner_width)(AtlasPage.map)")
    for place in np.random.default_rng(0).uniform(0, 65535, (60, 2)):
        apart = np.hypot(*(xy - place[:, None]))
        found = page.evaluate("([x, y]) => AtlasPage.map.at(x, y, 10)", place.tolist())
        assert (found is None) == (apart.min() > 10 * unit)
        assert found is None or apart[found] == apart.min()


def test_split_layout_and_filter_change_which_points_are_counted(crowded: str, many: View, open_page: Open) -> None:
    page = open_page(crowded + "?split=all")
    drawn(page, lambda: page.select_option("#layout", many.spaces[0].layouts[1]))
    i, x, y = (np.array(v) for v in page.evaluate("(d => [[...d.i], [...d.x], [...d.y]])(AtlasPage.map.points.data)"))
    assert (many.xy(many.spaces[0].layouts[1])[:, i] == [x, y]).all()
    kept = (
        "rows => { AtlasPage.page.does.filter = null;"
        " AtlasPage.state.kept = Uint8Array.from({ length: 120000 }, (_, row) => (row < rows ? 1 : 0));"
        " AtlasPage.page.does.redraw() }"
    )
    drawn(page, lambda: page.evaluate(kept, 110_000))
    expect(page.locator("#shown")).to_contain_text("110 000 of 120 000 points shown")
    assert (
        page.evaluate("Math.max(...AtlasPage.map.i)") < 110_000
        and page.evaluate("AtlasPage.map.crowd.grid.count") == 110_000
    )
    drawn(page, lambda: page.evaluate(kept, 5_000))  # few enough to be drawn one by one again
    assert page.evaluate("AtlasPage.map.crowd.grid") is None and page.evaluate("AtlasPage.map.i.length") == 5_000
    expect(page.locator("#sampled")).to_have_text("")


@pytest.mark.parametrize("share", [1.1, 0.08])
def test_thumbnails_at_any_zoom_are_of_the_points_where_they_stand(
    crowded: str, many: View, open_page: Open, share: float
) -> None:
    page = open_page(crowded + "?split=all")
    settled(page, lambda: page.evaluate(LOOK, around(many, share)))
    page.wait_for_timeout(300)
    if page.get_by_role("button", name="Thumbnails instead of dots").get_attribute("aria-pressed") == "false":
        page.get_by_role("button", name="Thumbnails instead of dots").click()
    page.wait_for_function("AtlasPage.thumbs.shown > 20")
    told = page.evaluate(
        "(t => { const v = t.map.view();"
        " return [t.edge, t.kept.map(k => [k.point, k.x - 1, k.y - 1]), [v.x0, v.x1, v.y0, v.y1]] })(AtlasPage.thumbs)"
    )
    edge, kept, (x0, x1, y0, y1) = told
    canvas = picture(page, "AtlasPage.thumbs.canvas")[..., 0].astype(int)
    height, width = canvas.shape
    xy, checked = many.xy(many.spaces[0].layouts[0]).astype(float), 0
    for point, x, y in kept:
        assert abs(x - (xy[0, point] - x0) / (x1 - x0) * (width - 2)) < 0.05  # the plot is a pixel smaller on each side
        assert abs(y - (y1 - xy[1, point]) / (y1 - y0) * (height - 2)) < 0.05
        x, y = x + 1, y + 1
        left, top = round(x - edge / 2), round(y - edge / 2)
        if (
            abs(x - edge / 2 - left) > 0.2
            or abs(y - edge / 2 - top) > 0.2
            or not (0 <= left < width - edge and 0 <= top < height - edge)
        ):
            continue  # pixels that do not fall on pixels, or cut by the rim
        seen = canvas[top + 4 : top + edge - 4, left + 4 : left + edge - 4]
        expected = source(many, point, edge)[4:-4, 4:-4]
        checked += float(np.median(np.abs(seen - expected))) <= 4
    apart = np.array([[x, y] for _, x, y in kept])
    gaps = np.abs(apart[:, None] - apart[None]).max(-1) + 1e9 * np.eye(len(apart))
    assert checked >= 3 and gaps.min() >= 0.85 * edge - 1e-6


def source(view: View, point: int, edge: int) -> np.ndarray:
    """Return the thumbnail of a point as its sheet holds it, enlarged to `edge` pixels without smoothing."""
    sheet = np.asarray(Image.open(next(iter(view.images.thumbnails.values()))).convert("L"))
    slot = point % 2500
    thumb = sheet[slot // 50 * 28 : slot // 50 * 28 + 28, slot % 50 * 28 : slot % 50 * 28 + 28]
    at = (np.arange(edge) + 0.5) * 28 / edge
    return thumb[np.ix_(at.astype(int), at.astype(int))].astype(int)
