"""Pictures of the explorer for the documents: `python -m tests.browser.screenshots ATLAS FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from atlas.atlas import open_atlas
from tests.browser.conftest import find_browser, serving


def opened(page: Page, url: str) -> Page:
    """Open a page of the explorer on the canvas backend and wait until it is drawn."""
    page.goto(url + ("&" if "?" in url else "?") + "backend=canvas")
    page.wait_for_function("window.AtlasPage && AtlasPage.ready")
    page.wait_for_timeout(800)
    return page


def worst_mistake(atlas: Path) -> str:
    """Return the image_id of the held-out image of which the network is surest and wrong."""
    images = open_atlas(atlas).images()
    wrong = images[(images["split"] == "held-out") & (images["right"] == False)]  # noqa: E712  (a column, not a truth)
    return str(wrong.sort_values("confidence")["image_id"].iloc[-1])


def main(atlas: Path, folder: Path) -> None:
    """Write the pictures of one atlas."""
    with serving(atlas.resolve().parent, "--args", str(atlas.resolve())) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        mistake = worst_mistake(atlas)
        for scheme in ("dark", "light"):
            page = browser.new_page(viewport={"width": 1600, "height": 960}, color_scheme=scheme)  # type: ignore[arg-type]
            opened(page, f"{url}?image={mistake}").screenshot(path=folder / f"explorer-{scheme}.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
