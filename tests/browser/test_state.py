"""The page's state in a real browser: colours, the legend of many classes, links, Back and Forward, the second map, keys."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import atlas
from atlas.activations.records import Activations
from atlas.maps.records import Neighbours
from atlas.pages.view import View
from tests import worlds
from tests.browser.conftest import serving
from tests.browser.test_explorer_page import drawn, lonely, screen

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
OWN = {
    "kingdom": lambda codes: np.where(codes < 2, "round", "ruled"),
    "weight": lambda codes: np.arange(len(codes)) * 0.5 - 10,
    "seen": lambda codes: np.array([f"2020-01-{1 + row % 28:02d}" for row in range(len(codes))]),
    "code": lambda codes: np.array([f"<b>{row}" for row in range(len(codes))]),
}
COLOURS = "(() => { const d = AtlasPage.map.points.data; return [[...d.i], [...d.c]] })()"
CHOSEN = "AtlasPage.map.chosenRows()"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state") / "cache"
    worlds.tiny_atlas(folder / "world", 120, own=OWN)
    return folder


def settled(page: Page, part: str) -> None:
    """Wait until the address holds `part`."""
    page.wait_for_function("part => location.href.includes(part)", arg=part)


# -- colours --------------------------------------------------------------------------------------------------------------


def test_any_unit_of_any_layer_colours_the_map_with_its_real_ends(url: str, view: View, open_page: Open) -> None:
    page = open_page(url + "?layer=fc&split=all")
    drawn(page, lambda: page.select_option("#colour", "unit"))
    drawn(page, lambda: page.select_option("#unit-layer", "conv"))
    drawn(page, page.get_by_role("button", name="The next unit").click)
    settled(page, "colour=unit%3Aconv%3A1")
    name = view.space("conv").activations[0]  # type: ignore[union-attr]
    record = view.read(name, Activations)
    points, shown = (np.array(part) for part in page.evaluate(COLOURS))
    codes = np.round(np.asarray(record.units)[1].astype(float) * 254 / 255)[points]
    np.testing.assert_array_equal(shown % 65, np.minimum(63, np.floor(codes / 254 * 64)))
    told = page.locator("#scale span").all_inner_texts()
    ends = [float(told[0].replace("−", "-")), float(told[2].replace("−", "-"))]
    assert np.allclose(ends, [record.unit_low[1], record.unit_high[1]], rtol=1e-3) and told[1] == "unit 1 of conv"
    page.get_by_label("Number of the unit").fill("99")
    drawn(page, lambda: page.keyboard.press("Enter"))
    assert page.get_by_label("Number of the unit").input_value() == "11"  # the last there is


def test_the_users_columns_colour_the_map_by_names_amounts_and_dates(url: str, view: View, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    drawn(page, lambda: page.select_option("#colour", "column:camera"))
    expect(page.locator(".chip")).to_have_text([re.compile(rf"camera {k}\s*40") for k in range(3)])
    points, shown = (np.array(part) for part in page.evaluate(COLOURS))
    assert (shown % 4 == points % 3).all()  # three names, and none
    drawn(page, lambda: page.select_option("#colour", "column:weight"))
    expect(page.locator("#scale div")).to_have_text("−10weight49.5")
    drawn(page, lambda: page.select_option("#colour", "column:seen"))
    expect(page.locator("#scale div")).to_have_text("2020-01-01seen2020-01-28")
    many = page.locator("#colour option", has_text="code")
    expect(many).to_have_text("code (120 different values: too many to colour by)")
    assert many.is_disabled()


def test_a_column_that_cannot_be_fetched_is_told_and_the_colour_stays(url: str, open_page: Open) -> None:
    page = open_page(url)
    page.route("**/unit/**", lambda route: route.abort())
    page.evaluate("AtlasPage.page.does.colour('unit:fc:3')")
    expect(page.locator("#notices")).to_contain_text("cannot be coloured by unit 3 of fc here")
    assert page.locator("#colour").input_value() == "class"


# -- the legend of many ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("thousand") / "cache"
    letters = "abcdefghijklmnopqrst"
    labels = [f"{letters[k % 20]}{letters[k // 20 % 20]} thing {k}" for k in range(1000)]
    codes, pixels = np.arange(1000) % 1000, np.zeros((1000, 28, 28), np.uint8)
    own = {"kingdom": lambda codes: np.array(["animal", "plant", "place", "tool"])[codes % 4]}
    worlds.tiny_atlas(folder / "many", labels=labels, codes=codes, pixels=pixels, splits=False, own=own)
    with serving(folder) as address:
        yield address


def test_a_thousand_classes_stand_in_groups_that_fold_and_are_searched(thousand: str, open_page: Open) -> None:
    page = open_page(thousand)
    expect(page.locator(".chip-fold")).to_have_count(20)  # by first letters
    expect(page.locator(".chip")).to_have_count(0)  # made when a group is opened
    page.get_by_label("Group the classes by").select_option("column:kingdom")
    expect(page.locator(".chip-fold summary b")).to_have_text(["animal", "place", "plant", "tool"])
    page.locator(".chip-fold summary", has_text="plant").click()
    expect(page.locator(".chip")).to_have_count(250)
    drawn(page, page.get_by_role("button", name="Only these").click)
    assert set(page.evaluate("[...AtlasPage.map.points.data.i]")) == set(range(1, 1000, 4))
    page.evaluate("AtlasPage.page.does.select([1, 5, 8], 'replace')")
    expect(page.locator(".chip-fold summary", has_text="plant")).to_contain_text("2 / 250")
    begun = time.perf_counter()
    page.get_by_label("Find a class", exact=True).fill("thing 77")
    expect(page.locator(".chip")).to_have_count(11)
    assert time.perf_counter() - begun < 3
    search = "document.getElementById('chip-search').oninput()"
    took = page.evaluate(f"(() => {{ const begun = performance.now(); {search}; return performance.now() - begun }})()")
    assert took < 400


def test_what_a_group_of_classes_offers_keeps_the_keyboard(thousand: str, open_page: Open) -> None:
    page = open_page(thousand)
    page.locator(".chip-fold summary").nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".chip")).to_have_count(50)
    page.keyboard.press("Tab")
    for words, hidden in (("Show all", 50), ("Hide all", 0)):
        drawn(page, lambda: page.keyboard.press("Enter"))
        expect(page.locator(".chip-fold").nth(1).get_by_role("button", name=words)).to_be_focused()
        assert page.evaluate("AtlasPage.state.hidden.size") == hidden


def test_chips_are_worked_by_keys(url: str, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    page.locator(".chip").nth(0).focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".chip").nth(1)).to_be_focused()
    drawn(page, lambda: page.keyboard.press("i"))
    assert page.evaluate("[...AtlasPage.state.hidden].sort()") == [0, 2, 3]
    expect(page.locator(".chip").nth(1)).to_be_focused()


# -- links, Back and Forward ----------------------------------------------------------------------------------------------


def test_a_link_restores_selection_hidden_classes_view_colour_and_the_second_map(
    url: str, view: View, open_page: Open
) -> None:
    page = open_page(url + "?split=all")
    drawn(page, lambda: page.evaluate("AtlasPage.page.does.colour('column:kingdom')"))
    drawn(page, page.locator(".chip", has_text="round").click)
    rows = [3, 5, 8, 13, 21, 34, 55, 89, 119]
    page.evaluate("rows => AtlasPage.page.does.select(rows, 'replace')", rows)
    page.keyboard.press("s")
    page.wait_for_function("AtlasPage.page.second?.painted")
    page.evaluate("AtlasPage.page.does.look([5, 8])")
    settled(page, "view=")
    settled(page, "sel=")
    seen = page.evaluate("AtlasPage.page.does.seen()")
    other = open_page(re.sub(r"&backend=\w+", "", page.url).replace("#", "&backend=canvas#"))
    assert other.evaluate(CHOSEN) == rows
    assert other.evaluate("[...AtlasPage.state.hidden]") == [0]
    assert other.locator("#colour").input_value() == "column:kingdom"
    assert other.locator("#beside-layout").input_value() == page.locator("#beside-layout").input_value()
    found = np.array(other.evaluate("AtlasPage.page.does.seen()"))
    assert found[0] <= seen[0] + 1 and found[1] >= seen[1] - 1 and found[2] <= seen[2] + 1 and found[3] >= seen[3] - 1
    expect(other.locator("#notices .notice")).to_have_count(0)


def test_a_link_written_in_python_restores_its_view(url: str, view: View, open_page: Open) -> None:
    rows, root = [3, 5, 8, 13], view.store.root
    link = atlas.open(root).link(layer="conv", images=rows, colour="confidence", image=8)
    page = open_page(url + link.replace("#", "&backend=canvas#"))
    assert page.evaluate(CHOSEN) == rows and page.locator("#layer").input_value() == "conv"
    assert page.locator("#colour").input_value() == "confidence"
    expect(page.locator("#image-panel")).to_have_attribute("data-row", "8")
    found = np.array(page.evaluate("AtlasPage.page.does.seen()"))
    left, right, bottom, top = map(float, link.partition("view=")[2].partition("&")[0].split("_"))
    assert found[0] <= left + 1 and found[1] >= right - 1 and found[2] <= bottom + 1 and found[3] >= top - 1
    expect(page.locator("#notices .notice")).to_have_count(0)


def test_back_and_forward_go_through_what_was_done_and_zooming_is_no_step(url: str, open_page: Open) -> None:
    page = open_page(url + "?split=all&layer=fc")
    steps = page.evaluate("history.length")
    page.evaluate("AtlasPage.page.does.open(7, null)")
    settled(page, "image=")
    page.evaluate("AtlasPage.page.does.select([1, 2, 3], 'replace')")
    settled(page, "sel=")
    drawn(page, lambda: page.select_option("#layer", "conv"))
    page.keyboard.press("+")
    settled(page, "view=")
    assert page.evaluate("history.length") == steps + 3
    page.go_back()
    page.wait_for_function("AtlasPage.state.space.id === 'fc'")
    assert page.evaluate(CHOSEN) == [1, 2, 3] and page.locator("#layer").input_value() == "fc"
    page.go_back()
    page.wait_for_function("AtlasPage.map.chosen === null")
    expect(page.locator("#image-panel")).to_have_attribute("data-row", "7")
    page.go_back()
    page.wait_for_function("AtlasPage.state.row === null")
    for _ in range(3):
        page.go_forward()
        page.wait_for_timeout(100)
    page.wait_for_function("AtlasPage.state.space.id === 'conv' && AtlasPage.map.chosen !== null")
    assert page.evaluate(CHOSEN) == [1, 2, 3]
    expect(page.locator("#image-panel")).to_have_attribute("data-row", "7")


def test_back_to_another_split_is_seen_by_every_panel(url: str, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    page.get_by_role("tab", name="Classes").click()
    expect(page.locator("#class-title")).to_contain_text("all images")
    drawn(page, page.get_by_role("radio", name="Train").click)
    expect(page.locator("#class-title")).to_contain_text("train images")
    settled(page, "split=train")
    drawn(page, page.go_back)
    expect(page.locator("#class-title")).to_contain_text("all images")


def test_a_link_to_a_view_of_nothing_shows_the_whole_map(url: str, open_page: Open) -> None:
    page = open_page(url)
    page.goto("about:blank")
    page.goto(f"{url}?backend=canvas#view=0_0.001_0_0.001")
    page.wait_for_function("window.AtlasPage && AtlasPage.ready")
    expect(page.locator("#notices .notice")).to_contain_text("Nothing lies in the link’s view: the whole map is shown.")
    assert page.evaluate("AtlasPage.page.does.seen()") is None


def test_rubbish_behind_the_hash_opens_the_page_with_a_notice(url: str, view: View, open_page: Open) -> None:
    page = open_page(url)
    digest = page.evaluate("JSON.parse(document.getElementById('manifest').textContent).images.digest")
    rubbish = [
        *("sel=%", "sel=120.x.AAAA", f"sel=120.{digest}.AAAA", f"sel=120.{digest}.!!!", f"sel=999.{digest}.AA", "sel=-1.."),
        *("hidden=0-9.1", "hidden=_", "view=1_2_3", "view=0_NaN_1_2", "view=9_1_9_1", "note=../../etc", "note=0"),
        *("view=&hidden=&sel=", "%%%&=&=&sel"),
    ]
    for words in rubbish:
        page.goto("about:blank")
        page.goto(f"{url}?backend=canvas#{words}")
        page.wait_for_function("window.AtlasPage && AtlasPage.ready")
        assert page.evaluate("[AtlasPage.map.chosen, AtlasPage.state.hidden.size, AtlasPage.map.points.data.x.length]") == [
            None,
            0,
            48,
        ]
        wanted = 0 if words.startswith(("%%%", "view=&")) else 1
        expect(page.locator("#notices .notice")).to_have_count(wanted)


def test_a_selection_outlives_added_images_and_is_not_of_other_images(url: str, tmp_path: Path, open_page: Open) -> None:
    worlds.tiny_atlas(tmp_path / "cache" / "grown", 150, splits=False)
    page = open_page(url + "?split=all")
    page.evaluate("AtlasPage.page.does.select([2, 119], 'replace')")
    settled(page, "sel=")
    behind = page.evaluate("location.hash")
    with serving(tmp_path / "cache") as grown:
        other = open_page(grown)
        other.goto("about:blank")
        other.goto(f"{grown}?backend=canvas{behind}")
        other.wait_for_function("window.AtlasPage && AtlasPage.ready")
        assert other.evaluate(CHOSEN) == [2, 119]  # its first 120 are the same images
        other.goto("about:blank")
        other.goto(f"{grown}?backend=canvas{behind.replace('sel=120', 'sel=119')}")
        other.wait_for_function("window.AtlasPage && AtlasPage.ready")
        assert other.evaluate("AtlasPage.map.chosen") is None
        expect(other.locator("#notices")).to_contain_text("of other images than this atlas’s")


def test_a_selection_of_any_images_comes_back_exactly(url: str, open_page: Open) -> None:
    page = open_page(url)
    check = """async ([version, seed, count]) => {
      const { pack, unpack, ranges, unranged } = await import(`${location.pathname}/page/${version}/bits.js`);
      let state = seed;
      const chance = () => ((state = (Math.imul(state, 1103515245) + 12345) >>> 0) / 2 ** 32);
      const share = chance(), chosen = Uint8Array.from({ length: count }, () => +(chance() < share));
      const text = await pack(chosen), found = await unpack(text, count);
      const codes = new Set([...chosen.keys()].filter((k) => chosen[k]));
      const again = codes.size ? unranged(ranges(codes), count) : codes;
      const damaged = await unpack(text.slice(1), count), other = await unpack(text, count + 64);
      return [found && found.every((one, k) => one === chosen[k]), /^[\\w-]*$/.test(text),
        [...again].join() === [...codes].join(), other === null, damaged === null || damaged.length === count];
    }"""
    version = re.search(r"page/([0-9a-f]{12})/", page.content())
    assert version is not None
    for seed, count in ((1, 1), (2, 7), (3, 8), (4, 9), (5, 1000), (6, 70000)):
        assert page.evaluate(check, [version[1], seed, count]) == [True] * 5


# -- moving, and several networks -----------------------------------------------------------------------------------------


def test_points_move_to_their_new_places_and_stand_there_in_the_end(url: str, view: View, open_page: Open) -> None:
    page = open_page(url + "?layer=fc&split=all")
    page.evaluate("""(() => { const { points } = AtlasPage.map; window.seen = [];
      points.properties.data.change.connect(() => seen.push(points.data.x[0])) })()""")
    drawn(page, lambda: page.select_option("#layer", "conv"))
    space = view.space("conv")
    assert space is not None
    x, i = page.evaluate("(() => { const d = AtlasPage.map.points.data; return [[...d.x], [...d.i]] })()")
    assert (view.xy(space.layouts[0])[0, i] == x).all()
    assert len(set(page.evaluate("seen"))) > 3  # on their way
    page.emulate_media(reduced_motion="reduce")
    page.evaluate("seen.length = 0")
    drawn(page, lambda: page.select_option("#layer", "fc"))
    assert len(set(page.evaluate("seen"))) <= 2


def test_a_network_switch_stands_above_the_layers_and_the_title_follows(tmp_path: Path, open_page: Open) -> None:
    world = View(worlds.two_networks(tmp_path / "cache" / "two").root)
    first, second = dict.fromkeys(str(space.network) for space in world.spaces)
    with serving(tmp_path / "cache") as url:
        page = open_page(url + "?layer=conv")
        page.evaluate("AtlasPage.page.does.select([4, 9], 'replace')")
        titles = page.locator("#network-pill").inner_text(), page.locator("#layer option").count()
        before = page.locator("#network").input_value()
        drawn(page, lambda: page.select_option("#network", second if before == first else first))
        assert page.evaluate("AtlasPage.state.space.layers") == ["conv"] and page.evaluate(CHOSEN) == [4, 9]
        assert page.evaluate("AtlasPage.state.space.network") != before
        assert page.locator("#network-pill").inner_text() != titles[0]  # its accuracy
        settled(page, f"network={second if before == first else first}")


# -- the second map, and keys ---------------------------------------------------------------------------------------------


def test_two_maps_share_selection_hover_and_the_open_image_and_tell_common_neighbours(
    url: str, view: View, open_page: Open
) -> None:
    page = open_page(url + "?layer=fc&split=all")
    page.get_by_role("button", name="A second map beside this one").click()
    page.wait_for_function("AtlasPage.page.second?.painted")
    conv = view.space("conv")
    assert conv is not None and page.locator("#beside-layout").input_value() == conv.layouts[0]
    place = """point => { const { left, top } = document.getElementById("beside-canvas").getBoundingClientRect();
      const [x, y] = AtlasPage.page.second.place(point); return [left + x, top + y] }"""
    x, y = np.array([page.evaluate(place, row) for row in range(120)]).T
    apart = np.hypot(np.subtract.outer(x, x), np.subtract.outer(y, y)) + 1e9 * np.eye(120)
    point = int(np.argmax(apart.min(1)))
    page.mouse.move(x[point], y[point])
    expect(page.locator(".hover")).to_have_attribute("data-row", str(point))
    expect(page.locator(".hover-ring")).to_have_count(1)  # on the first map too
    page.mouse.click(x[point], y[point])
    expect(page.locator("#image-panel")).to_have_attribute("data-row", str(point))
    of = [
        set(view.store.read(str(view.space(name).neighbours), Neighbours).indices[point].tolist()) for name in ("fc", "conv")
    ]  # type: ignore[union-attr]
    common = len(of[0] & of[1])
    expect(page.locator("#common")).to_contain_text(f"{common} of its 10 nearest in fc")
    expect(page.locator("#common")).to_contain_text(f"{10 * common}")
    expect(page.locator("#compare-first .cell")).to_have_count(10 - common)
    rings = page.evaluate("AtlasPage.page.second.rings.filter(r => r.radius === 6).map(r => r.point)")
    assert set(rings) == of[1]
    page.get_by_role("button", name="Box selection").click()
    left, top, right, bottom = x.min() - 4, y.min() - 4, np.median(x), y.max() + 4
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(right, bottom, steps=4)
    page.mouse.up()
    chosen = set(page.evaluate(CHOSEN))
    assert {int(k) for k in np.flatnonzero(x < right - 2)} <= chosen <= {int(k) for k in np.flatnonzero(x < right + 2)}
    page.keyboard.press("s")
    expect(page.locator("#beside-card")).to_have_count(0)


def test_the_map_is_worked_by_keys_alone(url: str, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    whole = page.evaluate("AtlasPage.map.plot.x_range.start")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("AtlasPage.map.plot.x_range.start") > whole
    page.keyboard.press("+")
    page.keyboard.press("Enter")
    page.wait_for_function("AtlasPage.state.row !== null")
    page.keyboard.press("v")
    page.wait_for_function("AtlasPage.map.chosen !== null")
    rows = page.evaluate(CHOSEN)
    assert page.evaluate("AtlasPage.state.row") in rows and len(rows) < 120
    page.evaluate("AtlasPage.page.does.close()")
    page.keyboard.press("]")
    page.wait_for_function("row => AtlasPage.state.row === row", arg=rows[0])
    page.keyboard.press("[")
    page.wait_for_function("row => AtlasPage.state.row === row", arg=rows[-1])
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_have_count(0)
    assert page.evaluate("AtlasPage.map.chosen !== null")  # Escape closed the sheet only


def test_looking_at_images_zooms_to_them_and_the_whole_map_keeps_the_selection(url: str, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    point = lonely(page)
    page.evaluate("row => { AtlasPage.page.does.select([row], 'replace'); AtlasPage.page.does.look([row]) }", point)
    box = page.locator(".map-place").bounding_box()
    assert box is not None
    page.wait_for_timeout(200)
    x, y = screen(page, point)
    assert abs(x - box["x"] - box["width"] / 2) < 3 and abs(y - box["y"] - box["height"] / 2) < 3
    page.keyboard.press("0")
    assert page.evaluate(CHOSEN) == [point]
