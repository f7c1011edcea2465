"""A deep network of which statistics were kept and no vectors: read in part, legible, and it says what lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from atlas.pages.view import View
from tests import worlds
from tests.browser.test_dock import tab

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
BLOCKS, UNITS = 128, 64  # a quarter of the deepest that was looked at: the page draws one like the other


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deep") / "cache"
    worlds.deep_atlas(folder / "world", BLOCKS, UNITS, 120)
    return folder


@pytest.fixture
def asked(open_page: Open, url: str) -> Iterator[tuple[Page, list[str]]]:
    """The page of the deep network, and what it fetched since it stands."""
    page = open_page(url)
    found: list[str] = []
    page.on("request", lambda request: found.append(request.url))
    yield page, found


def test_one_class_is_read_across_all_layers_in_one_answer(asked: tuple[Page, list[str]], view: View) -> None:
    page, fetched = asked
    assert not [url for url in fetched if "/across/" in url or "/patterns/" in url]
    page.select_option("#pattern-view", "across")
    expect(page.locator("#pattern-title")).to_contain_text(f"disc: {BLOCKS + 2} layers")
    assert len([url for url in fetched if "/across/" in url]) == 1
    assert not [url for url in fetched if "blocks" in url] and len([url for url in fetched if "/patterns/" in url]) <= 1
    expect(page.locator("#pattern-scaled")).to_have_value("one")  # the blocks of one stream
    names = page.locator("#pattern-columns span").all_inner_texts()
    assert 3 < len(names) < 12 and names[0] == "conv" and all(name.startswith("blocks.") for name in names[1:])
    last = page.locator("#pattern-columns span").last.bounding_box()
    canvas = page.locator("#pattern-canvas").bounding_box()
    assert last and canvas and last["x"] + last["width"] <= canvas["x"] + canvas["width"] + 1
    page.mouse.click(canvas["x"] + canvas["width"] - 2, canvas["y"] + 1)
    expect(page.locator(".unit-head")).to_contain_text(f"blocks.{BLOCKS - 1}")


def test_what_is_asked_for_and_still_on_its_way_is_said(asked: tuple[Page, list[str]]) -> None:
    page, _ = asked
    held: list[object] = []
    page.route("**/across/**", lambda route: held.append(route))
    page.select_option("#pattern-view", "across")
    expect(page.locator("#pattern-title")).to_have_text(f"{BLOCKS + 2} layers are being read")
    page.wait_for_function("getComputedStyle(document.getElementById('patterns-body')).opacity < 0.5")
    while held:
        held.pop().continue_()  # type: ignore[attr-defined]
    expect(page.locator("#pattern-title")).to_contain_text("disc:")
    page.wait_for_function("getComputedStyle(document.getElementById('patterns-body')).opacity === '1'")


def test_a_layer_of_which_only_statistics_were_kept_says_what_would_let_its_units_colour_the_map(
    asked: tuple[Page, list[str]],
) -> None:
    page, _ = asked
    page.evaluate("AtlasPage.page.does.unit('blocks.7', 3)")
    expect(page.locator("#unit-values")).to_contain_text("with --layer blocks.7 added")
    page.locator("#unit-colour").click()
    expect(page.locator("#notices")).to_contain_text(
        "cannot be coloured by unit 3 of blocks.7 here: only statistics were kept"
    )
    expect(page.locator("#notices")).to_contain_text("with --layer blocks.7 added")
    assert page.evaluate("AtlasPage.state.colour") == "class"
    page.evaluate("AtlasPage.page.does.colour('unit:fc:0')")
    page.locator("#unit-chooser").wait_for()
    bare = page.locator("#unit-layer optgroup[label='Only statistics were kept'] option")
    expect(bare).to_have_count(BLOCKS)
    page.locator("#notices button").click()
    page.select_option("#unit-layer", label="blocks.9")
    expect(page.locator("#notices")).to_contain_text("Only statistics were kept of blocks.9")
    expect(page.locator("#unit-layer")).to_have_value("fc")


def test_the_table_of_units_of_any_layer_is_fetched_when_it_is_chosen(asked: tuple[Page, list[str]], view: View) -> None:
    page, fetched = asked
    tab(page, "units")
    page.select_option("#units-layer", label=f"blocks.{BLOCKS - 1}")
    expect(page.locator("#units-title")).to_contain_text(f"{UNITS} units")
    assert len({url for url in fetched if "/units/" in url and url.endswith(".json")}) == 2  # the map's layer, and this
    name = next(n for n in view.of_stage("statistics") if view.headers[n]["fields"]["layer"] == f"blocks.{BLOCKS - 1}")
    told = float(page.locator("#units-body tbody tr").first.locator("td").nth(1).inner_text().replace("−", "-"))
    patterns = page.evaluate("key => fetch(`atlas/units/${key}/1.json`).then(answer => answer.json())", name)
    np.testing.assert_allclose(told, patterns["mean"][0], rtol=0.01)
