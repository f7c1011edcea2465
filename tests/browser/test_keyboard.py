"""The page by keyboard alone: every control is reached and seen, and what is drawn anew does not lose the keyboard."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import worlds
from tests.browser.conftest import serving
from tests.browser.test_explorer_page import drawn

pytestmark = pytest.mark.browser
COUNT = 120
# Where the focus is: what it is on, whether that is seen where it lies, and whether it is marked. The map's own ring is
# drawn inside its shadow root, that of the grip as its bar.
WHERE = """() => {
  const e = document.activeElement, r = e.getBoundingClientRect(), { outlineStyle, outlineWidth } = getComputedStyle(e);
  const within = (low, place, high) => Math.max(low + 1, Math.min(high - 1, place));
  const x = within(0, r.left + r.width / 2, innerWidth), y = within(0, r.top + r.height / 2, innerHeight);
  const top = document.elementFromPoint(x, y), inside = r.width > 0 && r.right > 0 && r.left < innerWidth && r.bottom > 0;
  return {
    what: `${e.tagName} ${e.id || e.className} ${e.getAttribute("aria-label") ?? e.textContent.trim().slice(0, 40)}`,
    body: e === document.body,
    seen: inside && r.top < innerHeight && Boolean(top) && (e.contains(top) || top.contains(e)),
    marked: e.matches("#dock-grip, .bk-Figure") || (outlineStyle !== "none" && outlineWidth !== "0px"),
  };
}"""
SEEN_BESIDE = """(() => {
  const { places, point } = AtlasPage.page.second.inView();
  return [...places].map(point).sort((a, b) => a - b);
})()"""


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One page for all: each test begins with nothing selected, opened or filtered."""
    folder = tmp_path_factory.mktemp("keyboard") / "cache"
    worlds.tiny_atlas(folder / "world", COUNT)
    with serving(folder) as url:
        context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="dark", reduced_motion="reduce")
        context.set_default_timeout(30_000)
        opened, errors = context.new_page(), []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.goto(f"{url}?split=all&backend=canvas")
        opened.wait_for_function("window.AtlasPage && AtlasPage.ready")
        yield opened
        context.close()
        assert errors == []


@pytest.fixture(autouse=True)
def anew(page: Page) -> None:
    page.evaluate(
        """async () => { const { does, map } = AtlasPage.page; if (map.chosen) map.clear(); does.close(); does.closeUnit();
        if (AtlasPage.state.beside) await does.side(null); document.activeElement.blur(); }"""
    )


def focused(page: Page) -> str:
    """Return what has the focus, in words."""
    return str(page.evaluate("(e => e.getAttribute('aria-label') || e.textContent.trim())(document.activeElement)"))


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_every_stop_of_the_tab_key_is_seen_and_marked_and_none_is_a_trap(page: Page) -> None:
    page.evaluate(
        """async () => { const { does } = AtlasPage.page; await does.open(5, null); does.select([...Array(30).keys()]);
        await does.addFilter("class", "disc"); await does.side(); }"""
    )
    page.wait_for_function(
        "document.querySelector('#beside-count').textContent && document.querySelector('#odd-units .unit-name')"
    )
    stops = []
    for _ in range(220):
        page.keyboard.press("Tab")
        stops.append(page.evaluate(WHERE))
        if stops[-1]["body"]:
            break
    assert stops.pop()["body"] and len(stops) > 90  # out at the end of the page
    hidden = [stop["what"] for stop in stops if not stop["seen"] or not stop["marked"]]
    assert hidden == []
    words = " ".join(stop["what"] for stop in stops)
    for part in (
        "bk-Figure",
        "beside-canvas",
        "dock-grip",
        "pattern-canvas",
        "filter-switch",
        "Next neighbour",
        "Keep…",
        "chip",
    ):
        assert part in words
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(WHERE)["what"] == stops[-1]["what"]
    page.evaluate("document.getElementById('filter-none').click()")


def test_enter_upon_enter_goes_from_neighbour_to_neighbour(page: Page) -> None:
    page.evaluate("AtlasPage.page.does.open(5, null)")
    page.wait_for_selector("#neighbours .cell")
    rows = [int(str(cell.get_attribute("data-row"))) for cell in page.locator("#neighbours .cell").all()]
    page.get_by_role("button", name="Next neighbour").focus()
    for row in rows[:2]:
        page.keyboard.press("Enter")
        page.wait_for_selector(f"#image-panel[data-row='{row}']")
        assert focused(page) == "Next neighbour (N)"
    page.locator("#neighbours .cell").nth(1).focus()
    page.keyboard.press("Enter")
    page.wait_for_function("row => document.querySelector('#image-panel').dataset.row !== String(row)", arg=rows[1])
    expect(page.locator("#image-panel h2")).to_be_focused()
    page.keyboard.press("Tab")
    assert focused(page) == "Next neighbour (N)"
    page.get_by_role("button", name="Close", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#image-panel h2")).to_be_focused()


def test_the_selections_panel_keeps_the_keyboard_while_the_selection_changes(page: Page) -> None:
    page.evaluate("AtlasPage.page.does.select([...Array(40).keys()])")
    line = page.locator("#part-mix .line").nth(1)
    name = line.locator("span").inner_text()
    line.focus()
    page.keyboard.press("Enter")
    assert focused(page).startswith(name)
    page.keyboard.press("Control+z")
    assert focused(page).startswith(name)
    page.locator("#gallery .cell").first.focus()
    press(page, "ArrowRight", "Control+z")
    page.wait_for_function("AtlasPage.map.chosen === null")
    expect(page.locator("#selection-panel h2").first).to_be_focused()  # nothing is selected, and no gallery
    page.evaluate("AtlasPage.page.does.select([1, 2, 3])")
    page.locator("#keep-selection").focus()
    press(page, "Enter", "Escape")
    expect(page.locator("#keep-selection")).to_be_focused()
    press(page, "Enter", "Enter")
    expect(page.locator("#part-kept li")).to_have_count(1)
    expect(page.locator("#keep-selection")).to_be_focused()


def test_a_panel_that_covers_its_tab_takes_the_keyboard_and_gives_it_back(page: Page) -> None:
    page.locator("#pattern-canvas").focus()
    press(page, "ArrowRight", "ArrowRight", "Enter")
    expect(page.locator("#unit-panel h2")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(page.locator("#tab-patterns")).to_be_focused()  # what is covered is no stop
    press(page, "Tab", "Tab", "Enter")
    expect(page.locator("#unit-panel h2")).to_contain_text("Unit 2")
    assert focused(page) == "Next unit"
    press(page, "Tab", "Enter")
    expect(page.locator("#pattern-canvas")).to_be_focused()


def test_what_is_in_view_on_the_map_with_the_focus_is_selected_added_and_taken_out(page: Page) -> None:
    page.keyboard.press("s")
    page.wait_for_function("AtlasPage.page.second?.painted")
    page.locator("#beside-canvas").focus()
    press(page, "+", "+", "v")
    taken: list[int] = page.evaluate(SEEN_BESIDE)
    assert page.evaluate("AtlasPage.map.chosenRows()") == taken and 0 < len(taken) < COUNT
    expect(page.locator("#beside-card")).to_have_class("map card beside aimed")
    press(page, "+", "x")
    left = sorted({*taken} - {*page.evaluate(SEEN_BESIDE)})
    assert page.evaluate("AtlasPage.map.chosenRows()") == left and 0 < len(left) < len(taken)
    page.get_by_role("button", name="A second map").focus()
    press(page, "0", "x")
    assert page.evaluate("AtlasPage.map.chosen") is None  # all are in view on the first
    page.get_by_title("Close the second map").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#beside")).to_be_focused()


def test_escape_in_a_field_does_not_take_the_selection(page: Page) -> None:
    page.evaluate("AtlasPage.page.does.select([1, 2, 3])")
    drawn(page, lambda: page.select_option("#filter-add", label="file or id"))
    drawn(page, lambda: page.keyboard.type("7.png"))
    drawn(page, lambda: page.keyboard.press("Escape"))  # empties the field
    expect(page.get_by_label("Text in the file or id")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".filter-words")).to_be_focused()
    assert page.evaluate("AtlasPage.map.chosenRows()") == [1, 2, 3]
    page.locator("#filter-none").focus()
    drawn(page, lambda: page.keyboard.press("Enter"))
    expect(page.locator("#filter-add")).to_be_focused()
    page.keyboard.press("Escape")
    assert page.evaluate("AtlasPage.map.chosen") is None


def test_enter_gives_the_panel_below_the_map_its_usual_height(page: Page) -> None:
    dock = page.locator("#dock")
    usual = dock.bounding_box()["height"]  # type: ignore[index]
    page.locator("#dock-grip").focus()
    press(page, "ArrowUp", "ArrowUp")
    assert dock.bounding_box()["height"] > usual  # type: ignore[index]
    page.keyboard.press("Enter")
    assert dock.bounding_box()["height"] == usual  # type: ignore[index]
