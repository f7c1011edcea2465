"""The explorer in a real browser: what is shown of a point is that point's, wherever one clicks, switches or selects."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

import atlas
from atlas.maps.records import Neighbours
from atlas.pages.doubts import twins
from atlas.pages.view import View
from atlas.patterns.suspects import Suspects
from tests import tiny, worlds
from tests.browser import conftest
from tests.browser.conftest import serving

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
HOSTILE = ("<img src=x onerror=alert(1)>", '"><script>alert(2)</script>', "javascript:alert(3)", "{{7*7}}${7*7}")


def screen(page: Page, point: int) -> tuple[float, float]:
    """Return where on the screen a point of the map is."""
    place = """point => {
      const { map } = AtlasPage, { x_range: a, y_range: b, inner_width, inner_height } = map.plot, [x, y] = map.place(point);
      const { left, top } = document.querySelector(".map-place").getBoundingClientRect();
      return [left + (x - a.start) / (a.end - a.start) * inner_width, top + (b.end - y) / (b.end - b.start) * inner_height];
    }"""
    x, y = page.evaluate(place, point)
    return x, y


def lonely(page: Page) -> int:
    """Return the point shown that is farthest from its nearest neighbour on the map: a pointer there can mean no other."""
    x, y, i = page.evaluate("(() => { const d = AtlasPage.map.points.data; return [[...d.x], [...d.y], [...d.i]] })()")
    places = np.stack([x, y], axis=1).astype(float)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(len(places))
    middle = np.abs(places - places.mean(0)).max(1) < 0.7 * np.ptp(places, axis=0).max() / 2  # clear of the tools at the rim
    return int(i[int(np.argmax(np.where(middle, apart.min(1), 0)))])


def pixels(page: Page, selector: str) -> np.ndarray:
    """Return what is drawn in an element, as 28 × 28 grey values."""
    picture = Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("L")
    return np.asarray(picture.resize((28, 28), Image.Resampling.BOX)).astype(int)


def source(view: View, row: int) -> np.ndarray:
    return np.asarray(Image.open(view.store.root / "files" / f"{row}.png")).astype(int)


def closest(view: View, seen: np.ndarray) -> int:
    """Return the row of the image most like what was seen, among all of the atlas."""
    every = [np.abs(source(view, row) - seen).mean() for row in range(len(view.images))]
    return int(np.argmin(every))


def drawn(page: Page, act: Callable[[], object]) -> None:
    """Do something that redraws the map; return when it is drawn."""
    before = page.evaluate("AtlasPage.drawn")
    act()
    page.wait_for_function("before => AtlasPage.drawn > before", arg=before)


def test_the_page_opens_on_held_out_points_and_says_so(url: str, open_page: Open) -> None:
    page = open_page(url)
    expect(page.locator("#shown")).to_contain_text("120 of 300 points shown")
    expect(page.locator("#split-note")).to_have_text("180 train images hidden.")
    expect(page.get_by_role("radio", name="Held-out 120")).to_have_attribute("aria-checked", "true")
    expect(page.locator("#faithful")).to_contain_text("keeps 41 % of each point’s 15 nearest neighbours")


def test_hover_shows_the_image_of_the_point_under_the_pointer(url: str, view: View, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    point = lonely(page)
    x, y = screen(page, point)
    page.mouse.move(x - 6, y - 6)
    page.mouse.move(x, y)
    expect(page.locator(".hover")).to_have_attribute("data-row", str(point))
    expect(page.locator(".hover b")).to_have_text(str(view.images.table["label"].iloc[point]))
    page.wait_for_timeout(400)  # the sheet
    page.evaluate(
        "document.querySelector('.hover-thumb').style.cssText += ';border:0;border-radius:0;width:56px;height:56px'"
    )
    seen = pixels(page, ".hover-thumb")
    assert np.abs(seen - source(view, point)).max() <= 2
    assert closest(view, seen) == point


def test_a_click_opens_what_the_tooltip_showed_in_a_crowd_too(url: str, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    page.get_by_role("slider", name="Point size").fill("14")  # large dots that cover each other
    for point in page.evaluate("[...AtlasPage.map.points.data.i].slice(0, 300)")[::30]:
        x, y = screen(page, point)
        page.mouse.move(x + 9, y - 5)
        page.mouse.move(x + 3, y + 2)
        page.evaluate("new Promise(requestAnimationFrame)")
        if page.locator(".hover").is_visible():
            told = page.locator(".hover").get_attribute("data-row")
            page.mouse.click(x + 3, y + 2)
            expect(page.locator("#image-panel")).to_have_attribute("data-row", str(told))


def test_a_click_shows_the_image_its_numbers_and_its_neighbours(url: str, view: View, open_page: Open) -> None:
    page = open_page(url)
    point = lonely(page)
    page.mouse.click(*screen(page, point))
    page.wait_for_selector("#neighbours")
    facts = page.locator("#image-panel .facts:not(.doubts)")
    expect(facts).to_contain_text(str(view.images.table["image_id"].iloc[point]))
    expect(facts).to_contain_text(f"{point}.png")
    body = page.evaluate(
        "async () => { const i = document.querySelector('.picture-frame img'); await i.decode(); return i.src }"
    )
    assert body.endswith(f"/image/{view.images_name}/{point}")
    kept = view.store.read(str(view.descriptor.neighbours), Neighbours)
    cells = page.locator("#neighbours .cell")
    assert [int(str(cell.get_attribute("data-row"))) for cell in cells.all()] == kept.indices[point].tolist()
    told = page.locator("#neighbours em").all_inner_texts()
    assert np.allclose([float(text) for text in told], kept.distances[point], rtol=1e-2)
    assert len({len(text.partition(".")[2]) for text in told}) == 1  # as many decimals for all
    assert page.evaluate("AtlasPage.map.rings.data.x.length") == 1 + worlds.KEPT


def test_a_neighbour_becomes_the_image_and_k_is_a_slider(url: str, view: View, open_page: Open) -> None:
    page = open_page(f"{url}?image={view.images.table['image_id'].iloc[200]}")
    page.wait_for_selector("#neighbours")
    page.get_by_label("How many neighbours").fill("3")
    expect(page.locator("#neighbours .cell")).to_have_count(3)
    second = view.nearest(str(view.descriptor.neighbours), 200)["points"][1]
    page.locator("#neighbours .cell").nth(1).click()
    expect(page.locator("#image-panel .facts:not(.doubts)")).to_contain_text(f"{second}.png")
    assert f"image={view.images.table['image_id'].iloc[second]}" in page.url


def test_the_split_switch_changes_which_points_there_are(url: str, view: View, open_page: Open) -> None:
    page = open_page(url)
    drawn(page, page.get_by_role("radio", name="Train 180").click)
    points = page.evaluate("[...AtlasPage.map.points.data.i]")
    assert sorted(points) == np.flatnonzero(view.splits == 0).tolist()
    drawn(page, page.get_by_role("radio", name="All 300").click)
    expect(page.locator("#shown")).to_contain_text("300 of 300 points shown")
    assert len(page.evaluate("[...AtlasPage.map.points.data.i]")) == 300


def test_layer_and_layout_switches_move_the_points_to_their_places(url: str, view: View, open_page: Open) -> None:
    page = open_page(url)
    for space in view.spaces:
        if page.locator("#layer").input_value() != space.id:
            drawn(page, lambda space=space: page.select_option("#layer", space.id))  # type: ignore[misc]
        for layout in space.layouts:
            if page.locator("#layout").input_value() != layout:
                drawn(page, lambda layout=layout: page.select_option("#layout", layout))  # type: ignore[misc]
            x, y, i = page.evaluate(
                "(() => { const d = AtlasPage.map.points.data; return [[...d.x], [...d.y], [...d.i]] })()"
            )
            assert (view.xy(layout)[:, i] == [x, y]).all()
            assert f"layout={layout}" in page.url and "layer=" in page.url


def test_a_lasso_selects_the_images_inside_it(url: str, view: View, open_page: Open) -> None:
    page = open_page(url)
    page.get_by_role("button", name="Lasso selection").click()
    box = page.locator(".map-place").bounding_box()
    assert box is not None
    left, top, right, bottom = box["x"] + 200, box["y"] + 60, box["x"] + 420, box["y"] + 300
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in [(right, top), (right, bottom), (left, bottom), (left, top)]:
        page.mouse.move(x, y, steps=6)
    page.mouse.up()
    shown = page.evaluate("[...AtlasPage.map.points.data.i]")
    places = {point: screen(page, point) for point in shown}
    inside = {point for point, (x, y) in places.items() if left + 2 < x < right - 2 and top + 2 < y < bottom - 2}
    rim = {point for point, (x, y) in places.items() if left - 2 <= x <= right + 2 and top - 2 <= y <= bottom + 2} - inside
    gallery = [int(str(cell.get_attribute("data-row"))) for cell in page.locator("#gallery .cell").all()]
    assert inside and inside <= set(gallery) <= inside | rim
    expect(page.locator("#selection-count")).to_contain_text(f"{len(gallery)} image")
    tally = view.images.table["label"].iloc[gallery].value_counts()
    assert page.locator("#selection-panel .lines em").first.inner_text() == str(tally.max())
    page.keyboard.press("Escape")
    expect(page.locator("#selection-count")).to_have_text("Nothing selected")


def test_a_selection_is_kept_when_the_layer_changes(url: str, open_page: Open) -> None:
    page = open_page(url)
    page.evaluate("AtlasPage.map.points.selected.indices = [3, 5, 8]")
    before = page.evaluate("AtlasPage.map.chosenRows()")
    drawn(page, lambda: page.select_option("#layer", "conv"))
    i = page.evaluate("(() => { const m = AtlasPage.map; return m.points.selected.indices.map(k => m.i[k]) })()")
    assert sorted(i) == sorted(before) and len(before) == 3


def test_a_chip_hides_its_class_and_a_double_click_isolates_it(url: str, view: View, open_page: Open) -> None:
    page = open_page(url)
    chip = page.locator(".chip", has_text="stripes")
    drawn(page, chip.click)
    held = (view.splits == 1) & (view.images.codes != 2)
    assert sorted(page.evaluate("[...AtlasPage.map.points.data.i]")) == np.flatnonzero(held).tolist()
    expect(chip).to_have_attribute("aria-pressed", "false")
    drawn(page, chip.click)
    page.wait_for_timeout(600)  # so that the next two are a pair of their own
    chip.dblclick()
    page.wait_for_function("AtlasPage.state.hidden.size === 3")
    page.wait_for_timeout(200)
    assert set(view.images.codes[page.evaluate("[...AtlasPage.map.points.data.i]")]) == {2}


def test_class_patterns_follow_split_and_statistic_and_name_what_is_under_the_pointer(
    url: str, view: View, open_page: Open
) -> None:
    page = open_page(url)
    expect(page.locator("#pattern-title")).to_contain_text("correctly classified held-out images")
    page.get_by_role("radio", name="std").click()
    box = page.locator("#pattern-canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 2.5 / 8, box["y"] + box["height"] * 1.5 / 4)
    found = view.patterns(str(view.descriptor.statistics), 1)
    expect(page.locator("#float")).to_contain_text(f"± {found.std[1, 2]:.4g} · {found.count[1]} images")
    expect(page.locator("#float b")).to_have_text("square")
    page.get_by_role("radio", name="Train 180").click()
    expect(page.locator("#pattern-title")).to_contain_text("correctly classified train images")


def test_few_points_are_thumbnails_until_the_switch_makes_them_dots(url: str, open_page: Open) -> None:
    page = open_page(url)  # 120 points
    page.wait_for_function("AtlasPage.thumbs.shown > 20")
    switch = page.get_by_role("button", name="Thumbnails instead of dots")
    expect(switch).to_have_attribute("aria-pressed", "true")
    overlap = """() => { const { thumbs, map } = AtlasPage, c = document.getElementById("thumbs-over");
      return { edge: thumbs.edge, painted: c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some(Boolean) } }"""
    found = page.evaluate(overlap)
    assert 28 <= found["edge"] <= 96 and found["painted"]
    switch.click()
    page.wait_for_function("AtlasPage.thumbs.shown === 0")
    expect(switch).to_have_attribute("aria-pressed", "false")
    assert not page.evaluate(overlap)["painted"]
    switch.click()
    page.wait_for_function("AtlasPage.thumbs.shown > 20")
    drawn(page, page.get_by_role("radio", name="All 300").click)
    page.wait_for_function("AtlasPage.thumbs.shown === 0")  # many points are dots again
    expect(switch).to_have_attribute("aria-pressed", "false")


def test_thumbnails_of_few_images_overlap_little_and_a_click_anywhere_on_one_opens_it(
    tmp_path: Path, open_page: Open
) -> None:
    worlds.tiny_atlas(tmp_path / "cache" / "world", 20, splits=False, available=50)
    with serving(tmp_path / "cache") as url:
        page = open_page(url)
        page.wait_for_function("AtlasPage.thumbs.shown > 0")
        edge, x, y, kept = page.evaluate(
            "(t => [t.edge, t.kept.map(p => p.x), t.kept.map(p => p.y), t.kept.map(p => t.map.i[p.k])])(AtlasPage.thumbs)"
        )
        apart = np.maximum(np.abs(np.subtract.outer(x, x)), np.abs(np.subtract.outer(y, y)))
        assert (apart + 1e9 * np.eye(len(x))).min() >= 0.85 * edge
        assert len(kept) == 20 or edge <= 44  # as large as all find room, and only then some stay dots
        expect(page.locator("#images-pill")).to_have_text("20 of 50 images")
        point = lonely(page)
        x, y = screen(page, point)
        assert point in kept
        reach = edge / 2 - 3
        page.mouse.move(x + reach, y)
        expect(page.locator(".hover")).to_have_attribute("data-row", str(point))
        expect(page.locator(".hover .faint")).to_have_text(f"image {point}")  # no split is known: none is told
        page.mouse.click(x + reach, y)
        expect(page.locator("#image-panel")).to_have_attribute("data-row", str(point))
        expect(page.locator("#image-panel .facts:not(.doubts)")).not_to_contain_text("unknown")
        expect(page.locator("#network-pill")).not_to_contain_text(" on ")


def test_the_tooltip_goes_when_the_layer_changes_by_keyboard(url: str, open_page: Open) -> None:
    page = open_page(url)
    page.mouse.move(*screen(page, lonely(page)))
    expect(page.locator(".hover")).to_be_visible()
    page.locator("#layer").focus()
    drawn(page, lambda: page.keyboard.press("ArrowUp"))
    expect(page.locator("#float")).to_be_hidden()


def test_without_statistics_the_patterns_panel_is_as_high_as_its_sentence(tmp_path: Path, open_page: Open) -> None:
    store = worlds.tiny_atlas(tmp_path / "cache" / "world", 30)
    store.show([], keep=lambda names: [name for name in names if not name.startswith("statistics-")])
    with serving(tmp_path / "cache") as url:
        page = open_page(url)
        expect(page.locator("#pattern-title")).to_have_text("No statistics were kept for this layer.")
        box = page.locator("#dock").bounding_box()
        assert box is not None and box["height"] < 60


def test_many_classes_have_rows_high_enough_for_their_names_and_a_scroll_of_their_own(
    tmp_path: Path, open_page: Open
) -> None:
    labels, codes = [f"class {k}" for k in range(60)], np.arange(240) % 60
    worlds.tiny_atlas(tmp_path / "cache" / "world", labels=labels, codes=codes)
    with serving(tmp_path / "cache") as url:
        page = open_page(url)
        names = page.locator("#pattern-names span")
        tops = names.evaluate_all("spans => spans.map(span => span.getBoundingClientRect().top)")
        assert len(tops) == 60 and np.diff(tops).min() >= 12
        body = page.evaluate("(b => [b.scrollHeight, b.clientHeight])(document.getElementById('patterns-body'))")
        assert body[0] > 2 * body[1]


def test_classes_without_an_image_in_the_atlas_have_no_row_of_patterns(tmp_path: Path, open_page: Open) -> None:
    codes = np.repeat([1, 3, 1, 3], 10)  # of both classes in both splits
    worlds.tiny_atlas(tmp_path / "cache" / "world", codes=codes)
    with serving(tmp_path / "cache") as url:
        page = open_page(url)
        assert page.locator("#pattern-names span").all_inner_texts() == ["square", "dots"]
        expect(page.locator("#pattern-note")).to_have_text("2 classes of which this atlas has no image are left out.")
        box = page.locator("#pattern-canvas").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 5, box["y"] + box["height"] * 1.5 / 2)
        expect(page.locator("#float b")).to_have_text("dots")


@pytest.fixture(scope="module")
def positions(world: Path, tmp_path_factory: pytest.TempPathFactory) -> View:
    """The real pipeline over the tiny world, three sampled positions of a convolutional layer for each image."""
    built = atlas.build(
        tiny.MODEL,
        str(world / "images"),
        cache=tmp_path_factory.mktemp("positions") / "cache" / "world",
        layers=["pool=positions:3", "act"],
        layouts=["pca:pool", "pca:act"],
        network={"weights": world / "weights.safetensors"},
    )
    return View(built.store.root)


def test_a_click_on_a_sampled_position_opens_its_image_and_lights_all_its_points(positions: View, open_page: Open) -> None:
    space = positions.space("pool")
    assert space is not None
    rows, xy = positions.point_image(space.activations[0]), positions.xy(space.layouts[0])
    with serving(positions.store.root.parent) as url:
        page = open_page(url + "?layer=pool&split=all")
        expect(page.locator("#shown")).to_contain_text(f"{len(rows)} of {len(rows)} positions shown")
        point = lonely(page)
        row, own = int(rows[point]), np.flatnonzero(rows == rows[point])
        assert len(own) == 3 and row != point
        page.mouse.click(*screen(page, point))
        page.wait_for_selector("#neighbours")
        expect(page.locator("#image-panel")).to_have_attribute("data-row", str(row))
        expect(page.locator("#image-panel .facts:not(.doubts)")).to_contain_text(
            str(positions.images.table["path"].iloc[row])
        )
        expect(page.locator(".picture-frame img")).to_have_attribute(
            "src", re.compile(f"/image/{positions.images_name}/{row}$")
        )
        x, y, width = page.evaluate("(d => [[...d.x], [...d.y], [...d.width]])(AtlasPage.map.rings.data)")
        lit = {(a, b) for a, b, wide in zip(x, y, width, strict=True) if wide == 3}
        assert lit == {(int(xy[0, p]), int(xy[1, p])) for p in own}
        cells = [int(str(cell.get_attribute("data-row"))) for cell in page.locator("#neighbours .cell").all()]
        near = positions.nearest(str(space.neighbours), point)["points"]
        assert cells == [r for r in dict.fromkeys(rows[near].tolist()) if r != row][: len(cells)] and len(cells) > 1
        page.evaluate("p => { const m = AtlasPage.map; m.points.selected.indices = [m.i.indexOf(p)] }", point)
        lights = "(m => m.points.selected.indices.map(k => m.i[k]))(AtlasPage.map)"
        assert sorted(page.evaluate(lights)) == own.tolist()
        drawn(page, lambda: page.select_option("#layer", "act"))
        page.wait_for_function("AtlasPage.map.rings.data.x.length > 1")
        expect(page.locator("#image-panel")).to_have_attribute("data-row", str(row))
        assert page.evaluate(lights) == [row]


def test_dark_and_light_follow_the_system_and_a_switch(url: str, open_page: Open) -> None:
    page = open_page(url, scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Dark or light").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark" and page.evaluate(ground) != light
    page.reload()
    page.wait_for_function("window.AtlasPage && AtlasPage.ready")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_link_restores_what_was_seen(url: str, view: View, open_page: Open) -> None:
    page = open_page(url)
    drawn(page, lambda: page.select_option("#layer", "conv+fc"))
    drawn(page, lambda: page.select_option("#colour", "confidence"))
    page.mouse.click(*screen(page, lonely(page)))
    page.wait_for_selector("#neighbours")
    page.wait_for_function("location.search.includes('image=')")
    address, shown = page.url, page.locator("#image-panel .facts code").inner_text()
    other = open_page(re.sub(r"&backend=\w+", "", address))
    expect(other.locator("#image-panel .facts code")).to_have_text(shown)
    assert other.locator("#layer").input_value() == "conv+fc" and other.locator("#colour").input_value() == "confidence"


def test_the_map_is_coloured_by_faithfulness_of_points_and_suspicion_of_images(
    url: str, view: View, open_page: Open
) -> None:
    page = open_page(url + "?layer=fc&split=all")
    space = view.space("fc")
    assert space is not None
    codes = "(() => { const d = AtlasPage.map.points.data; return [[...d.i], [...d.c]] })()"
    for colour, name, what, caption in (
        ("faithfulness", space.layouts[0], "recall", "nearest kept"),
        ("suspicion", space.doubts["suspects"], "score", "suspicion"),
    ):
        drawn(page, lambda colour=colour: page.select_option("#colour", colour))
        points, shown = (np.array(part) for part in page.evaluate(codes))
        share = view.column(name, what)[points] / 65534
        expected = np.minimum(63, np.floor(share * 64))  # of 64 steps, and one for none; training images once more, faint
        np.testing.assert_array_equal(shown % 65, expected)
        assert len(points) == 300 and np.unique(shown % 65).size > 5
        expect(page.locator("#scale")).to_contain_text(caption)


def test_the_panel_names_suspicion_and_a_twin_in_the_other_split(tmp_path: Path, open_page: Open) -> None:
    cache = tmp_path / "cache"
    codes = np.arange(60) % 4
    pixels = np.stack([worlds.picture(int(code), row) for row, code in enumerate(codes)])
    pixels[36] = pixels[4]  # a neighbour of it in the layer, by the seed of the world
    store = worlds.tiny_atlas(cache / "twins", pixels=pixels, codes=codes, images=60)
    view = View(store.root)
    held, train = 36, 4
    suspect = view.read(view.spaces[1].doubts["suspects"], Suspects)
    with serving(cache) as url:
        page = open_page(f"{url}?layer=fc&split=all&image={view.images.table['image_id'][held]}")
        expect(page.locator("#suspicion")).to_contain_text("%")
        says = view.images.labels[suspect.usual[held]]
        if says != view.images.table["label"][held]:
            expect(page.locator("#suspicion")).to_contain_text(f"its neighbours say {says}")
        assert twins(view, view.spaces[1].doubts["leaks"], held)["twins"] == [train]
        page.get_by_role("button", name=f"image {train}", exact=True).click()
        expect(page.locator("#image-panel")).to_have_attribute("data-row", str(train))
        expect(page.locator("#twins")).to_contain_text(f"image {held} (held-out)")


def test_a_tampered_link_opens_the_page_with_notices(url: str, open_page: Open) -> None:
    page = open_page(url + "?layer=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&image=..%2F..%2Fetc&split=%00")
    expect(page.locator("#notices .notice")).to_have_count(3)
    expect(page.locator("#shown")).to_contain_text("120 of 300")


def test_an_atlas_of_one_image_says_that_there_are_no_neighbours(tmp_path: Path, open_page: Open) -> None:
    worlds.tiny_atlas(tmp_path / "cache" / "world", 1)
    with serving(tmp_path / "cache") as url:
        page = open_page(url)
        page.keyboard.press("Enter")
        page.keyboard.press("s")
        for part in ("#part-journey", "#compare-panel"):
            expect(page.locator(part)).to_contain_text("There is no other image among its neighbours.")
        expect(page.locator("#beside-common")).to_be_hidden()
        assert "NaN" not in page.locator("body").inner_text()


def test_every_control_has_a_name(url: str, open_page: Open) -> None:
    page = open_page(url)
    nameless = """[...document.querySelectorAll("button, select, input, a")].filter(e => e.offsetParent
      && !(e.getAttribute("aria-label") || e.textContent.trim() || e.closest("label")?.textContent.trim())
    ).map(e => e.outerHTML)"""
    assert page.evaluate(nameless) == []


def test_hostile_names_are_shown_as_text_and_never_run(tmp_path: Path, open_page: Open) -> None:
    worlds.tiny_atlas(tmp_path / "cache" / "world", 80, labels=HOSTILE, title="</script><img src=x onerror=alert(4)>")
    with serving(tmp_path / "cache") as url:
        page = open_page(url + "?split=all")
        expect(page.locator("h1")).to_have_text("</script><img src=x onerror=alert(4)>")
        expect(page.locator(".chip").first).to_contain_text("<img src=x onerror=alert(1)>")
        point = lonely(page)
        page.mouse.move(*screen(page, point))
        page.mouse.click(*screen(page, point))
        page.wait_for_selector("#neighbours")
        page.evaluate("AtlasPage.map.points.selected.indices = [...Array(40).keys()]")
        page.wait_for_selector("#gallery")
        page.locator("#pattern-canvas").hover()
        page.wait_for_timeout(300)
        assert page.locator("img[src=x]").count() == 0


def test_two_atlases_are_cards_that_open_them(tmp_path: Path, open_page: Open) -> None:
    for name in ("one", "two"):
        worlds.tiny_atlas(tmp_path / "cache" / name, 40, title=f"World {name}", seed=len(name))
    with serving(tmp_path / "cache") as url:
        page = open_page(url, ready=False)
        expect(page.locator(".atlas-card")).to_have_count(2)
        page.locator(".atlas-card").nth(1).click()
        page.wait_for_function("window.AtlasPage && AtlasPage.ready")
        expect(page.locator("h1")).to_have_text("World two")


def test_a_missing_browser_fails_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest.shutil, "which", lambda name: None)
    with pytest.raises(pytest.fail.Exception, match="run `apt-get install chromium`"):
        conftest.find_browser()
