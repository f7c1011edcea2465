"""axe-core finds nothing serious on the explorer's page, in any of its states, dark or light."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

pytestmark = pytest.mark.browser

# What the page shows beyond its start: an image, a selection, each tab, a unit, a second map, the sheet of keys.
STATES = {
    "start": "",
    "an image": "AtlasPage.page.does.open(5, null)",
    "a selection": "AtlasPage.page.does.select([...Array(80).keys()])",
    "classes": "AtlasPage.page.does.tab('classes')",
    "units": "AtlasPage.page.does.tab('units')",
    "a unit": "AtlasPage.page.does.unit(AtlasPage.state.space.layers[0], 1)",
    "two maps": "AtlasPage.page.does.side()",
    "keys": "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: '?', bubbles: true }))",
}


def serious(page: Page) -> list[str]:
    """What axe calls serious or critical: the rule, where, and what would mend it."""
    response = Axe().run(page).response
    assert len(response["passes"]) > 10  # it did look
    return [
        f"{rule['id']}: {node['target']} {node['failureSummary'].splitlines()[-1].strip()}"
        for rule in response["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_axe_finds_nothing_serious_in_any_state(url: str, open_page: Callable[..., Page], scheme: str) -> None:
    page = open_page(f"{url}?split=all", scheme=scheme)
    wrong = {}
    for state, act in STATES.items():
        page.evaluate(f"async () => {{ await {act or 'null'} }}")
        page.wait_for_timeout(700)  # what fades in is judged when it stands
        assert state != "keys" or page.locator("dialog[open]").count() == 1
        found = serious(page)
        if found:
            wrong[state] = found
    assert wrong == {}


def test_a_button_without_a_name_would_be_found(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(url)
    page.evaluate("document.querySelector('header').append(document.createElement('button'))")
    assert any(line.startswith("button-name") for line in serious(page))
