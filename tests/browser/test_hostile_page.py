"""Names of classes, files, columns and kept selections that are scripts: text in every panel, never run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from atlas.pages.report import write_report
from tests import worlds
from tests.browser.conftest import serving

pytestmark = pytest.mark.browser

# What runs where a name meets HTML, an attribute, a script or a template of Bokeh's, Jinja's or the page's own.
NAMES = (
    "<img src=x onerror=alert(1)>",
    '"><script>alert(2)</script>',
    "</script><svg onload=alert(3)>",
    "javascript:alert(4)",
    "{{7*7}}${7*7}<%= 7*7 %>",
    "' onmouseover='alert(5)",
    "@label{safe} $x &lt;b&gt;",
)
COUNT = 84
# Everything that shows a name, one after the other.
ACTS = (
    "page.does.open(3, null)",
    "page.does.select([...Array(60).keys()])",
    "document.querySelectorAll('#selection-tabs [role=radio]').forEach((tab) => tab.click())",
    "page.does.tab('classes')",
    "document.querySelectorAll('#class-view [role=radio]').forEach((tab) => tab.click())",
    "page.does.tab('units')",
    "page.does.unit(page.state.space.layers[0], 1)",
    "page.does.colour('prediction')",
    "page.does.colour('column:' + Object.values(page.state.space.own ?? ['remark'])[0])",
    "page.does.colour('class')",
    "page.does.closeUnit()",
    "page.does.tab('patterns')",
    "page.does.side()",
    "document.getElementById('about')?.click()",
)


def hostile_world(root: Path) -> None:
    """An atlas all of whose words are hostile."""
    worlds.tiny_atlas(root, COUNT, labels=NAMES, title=NAMES[2])
    own = {"remark": [NAMES[row % len(NAMES)] for row in range(COUNT)], NAMES[0]: [NAMES[row % 2] for row in range(COUNT)]}
    worlds.with_columns(root, {"path": [f"{row} {NAMES[row % len(NAMES)]}.png" for row in range(COUNT)], **own})


def walk(page: Page) -> None:
    """Let every panel show its names; fail where one of them became an element."""
    for act in ACTS:
        page.evaluate(f"async () => {{ const {{ page }} = AtlasPage; await ({act}); }}")
        page.wait_for_timeout(250)
    page.locator("#pattern-canvas").hover()
    page.keyboard.press("Escape")
    find = page.get_by_role("combobox", name="Find a class, a file")
    for words in ("<img", "script", "alert", '"'):
        find.fill(words)
        page.wait_for_timeout(500)
    nothing_ran(page)


def nothing_ran(page: Page) -> None:
    strange = (
        "document.querySelectorAll('img[src=x], svg[onload], [onmouseover], [onerror], body script:not([type]):not([src])')"
    )
    assert page.evaluate(f"[...{strange}].filter((e) => /alert/.test(e.outerHTML)).length") == 0
    assert page.locator(".chip").first.is_visible()


def test_every_panel_shows_hostile_names_as_text(tmp_path: Path, open_page: Callable[..., Page]) -> None:
    hostile_world(tmp_path / "cache" / "world")
    with serving(tmp_path / "cache") as url:
        page = open_page(f"{url}?split=all")
        expect(page.locator("h1")).to_have_text(NAMES[2])
        walk(page)
        page.evaluate("AtlasPage.page.does.select([1, 2, 3])")
        page.locator("#keep-selection").press("Enter")  # by key: what is being drawn may push it from under the mouse
        page.locator(".keep-form input").fill(NAMES[0])
        page.keyboard.press("Enter")
        expect(page.locator("#part-kept")).to_contain_text(NAMES[0])
        again = open_page(f"{url}?split=all")
        expect(again.locator("#part-kept")).to_contain_text(NAMES[0])
        nothing_ran(again)
        again.evaluate("AtlasPage.page.does.open(3, null)")
        names = "[...document.querySelectorAll('.pair .cell span')]"
        wide = f"Math.max(...{names}.map((name) => name.offsetWidth / name.closest('.grid').offsetWidth))"
        again.wait_for_selector("#neighbours .cell")
        assert again.evaluate(wide) < 0.34  # each name keeps to its own of three columns


def test_a_report_shows_hostile_names_as_text_too(tmp_path: Path, open_page: Callable[..., Page]) -> None:
    hostile_world(tmp_path / "world")
    write_report(tmp_path / "world", tmp_path / "report.html")
    page = open_page((tmp_path / "report.html").as_uri())
    expect(page.locator("h1")).to_have_text(NAMES[2])
    walk(page)
