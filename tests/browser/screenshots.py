"""Pictures of the explorer for the documents, dark and light: `python -m tests.browser.screenshots ATLAS FOLDER`."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from atlas.atlas import open_atlas
from atlas.graph_sheet import graph
from tests.browser.conftest import find_browser, serving

SIZE = {"width": 1440, "height": 900}
SETTLED = 1500  # milliseconds until thumbnails and panels stand
QUALITY = 88  # of WebP: a quarter of a PNG's bytes, and the colours stay
Taken = Callable[[Page], None]


def does(action: str) -> Taken:
    """Return what does one of the page's own actions."""
    return lambda page: page.evaluate(f"async () => {{ const {{ page }} = AtlasPage; await ({action}); }}")


def scrolled(to: str) -> Taken:
    """Return what brings a part of the right side into view."""
    return lambda page: page.evaluate("to => document.querySelector(to).scrollIntoView({ block: 'start' })", to)


def confusion(page: Page) -> None:
    """Open the confusion matrix and click its greatest mistake: the first of the list beside it."""
    page.evaluate("AtlasPage.page.does.tab('classes')")
    page.get_by_role("radio", name="Confusion").click()
    page.wait_for_timeout(SETTLED)
    page.locator("#classes-body button").first.click()


def suspects(page: Page) -> None:
    """Keep the images whose label is most doubted, all splits."""
    page.evaluate("AtlasPage.page.does.colour('suspicion')")
    page.get_by_role("radio", name="All").first.click()


def pointed(page: Page) -> None:
    """Point at the cell in which the greatest number of images lie."""
    script = """() => { const { icons } = AtlasPage.page, frame = icons.frame(), { told, grid } = icons;
      const cells = told.grid.flatMap((own, cell) => (own === grid ? [cell] : []));
      const cell = cells.sort((a, b) => told.points[b] - told.points[a])[0];
      const { left, top } = icons.canvas.getBoundingClientRect();
      return [left + frame.x((told.x0[cell] + told.x1[cell]) / 2), top + frame.y((told.y0[cell] + told.y1[cell]) / 2)]; }"""
    page.mouse.move(*page.evaluate(script))


def crossing(page: Page) -> None:
    """Open the image with the most edges to other classes in the graph's own layout, and look at what is around it."""
    script = """async () => { const { page } = AtlasPage, { graph } = page;
      await page.does.layout(graph.part.key);
      await page.does.edges("all");
      const found = new Map(), half = graph.edges.length / 2;
      const add = (point) => found.set(point, (found.get(point) ?? 0) + 1);
      graph.kind.forEach((kind, e) => { if (kind === 2) [e, half + e].forEach((k) => add(graph.edges[k])); });
      const [[point]] = [...found].sort(([, a], [, b]) => b - a), [x, y] = page.map.place(point);
      await page.does.open(page.map.rowOf(point), point);
      const { plot } = page.map, wide = 9000, high = (wide * plot.inner_height) / plot.inner_width;
      page.map.look([x - wide, x + wide], [y - high, y + high]); }"""
    page.evaluate(script)


# The pictures by name: what the address asks for, then what is done. `{image}` is the surest mistake of the atlas.
PICTURES: dict[str, tuple[str, list[Taken]]] = {
    "explorer": ("?image={image}", []),
    "image": ("?image={image}", [scrolled("[data-part=units]")]),
    "classes": ("", [confusion]),
    "selection": ("", [confusion, lambda page: page.locator("#selection-tabs [data-id=units]").click()]),
    "units": ("", [does("page.does.tab('units')"), does("page.does.unit(page.state.space.layers[0], 1)"),
                   does("page.does.colour(`unit:${page.state.space.layers[0]}:1`)")]),
    "icons": ("?layer=relu_fc1&split=all", [lambda page: page.keyboard.press("c"), pointed]),
    "two-maps": ("?image={image}", [does("page.does.side()")]),
    "suspicion": ("", [suspects]),
    "graph": ("", [crossing]),
}  # fmt: skip


def opened(page: Page, url: str) -> Page:
    """Open a page of the explorer on the canvas backend and wait until it is drawn."""
    page.goto(url + ("&" if "?" in url else "?") + "backend=canvas")
    page.wait_for_function("window.AtlasPage && AtlasPage.ready")
    page.wait_for_timeout(SETTLED)
    return page


def worst_mistake(atlas: Path) -> str:
    """Return the image_id of the held-out image of which the network is surest and wrong."""
    images = open_atlas(atlas).images()
    wrong = images[(images["split"] == "held-out") & (images["right"] == False)]  # noqa: E712  (a column, not a truth)
    return str(wrong.sort_values("confidence")["image_id"].iloc[-1])


def keep(page: Page, path: Path) -> None:
    """Write what the page shows as WebP."""
    page.wait_for_timeout(SETTLED)
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, quality=QUALITY, method=6)


def main(atlas: Path, folder: Path) -> None:
    """Write the pictures of one atlas; that of the graph itself is the command's."""
    graph(atlas, out=folder / "graph.png")
    Image.open(folder / "graph.png").convert("RGB").resize((1230, 1284)).save(folder / "graph.webp", quality=80, method=6)
    (folder / "graph.png").unlink()
    with serving(atlas.resolve().parent, "--args", str(atlas.resolve())) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        mistake = worst_mistake(atlas)
        for scheme in ("dark", "light"):
            for name, (asked, acts) in PICTURES.items():
                context = browser.new_context(viewport=SIZE, color_scheme=scheme)  # type: ignore[arg-type]
                page = opened(context.new_page(), url + asked.format(image=mistake))
                for act in acts:
                    act(page)
                    page.wait_for_timeout(SETTLED)
                keep(page, folder / f"{name}-{scheme}.webp")
                context.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
