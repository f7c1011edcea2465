"""The panel of one image in a real browser: neighbours on the map, odd units, the way through the layers, its maps."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

import atlas
from atlas.activations.assemble import vectors_of
from atlas.activations.records import Activations
from atlas.maps.records import Layout, Neighbours
from atlas.pages.layers import layers_part
from atlas.pages.view import View
from atlas.worker import Worker
from tests import workers
from tests.browser.conftest import serving
from tests.browser.test_new_image import give
from tests.workers import new_image

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
ROW = 250  # held out


def opened(open_page: Open, url: str, row: int, rest: str = "") -> Page:
    page = open_page(f"{url}?image={row:016x}{rest}")
    page.wait_for_selector("#odd-units")
    page.wait_for_selector(".journey-line")
    return page


def rows(page: Page, selector: str) -> list[int]:
    return [int(str(cell.get_attribute("data-row"))) for cell in page.locator(f"{selector} .cell").all()]


def pixels(page: Page, selector: str, edge: int = 28) -> np.ndarray:
    picture = Image.open(io.BytesIO(page.locator(selector).first.screenshot())).convert("L")
    return np.asarray(picture.resize((edge, edge), Image.Resampling.BOX)).astype(int)


def source(view: View, row: int) -> np.ndarray:
    return np.asarray(Image.open(view.store.root / "files" / f"{row}.png")).astype(int)


def by_hand(view: View, layout: str, row: int, among: np.ndarray, k: int) -> list[float]:
    """Return the distances on the map, in its unit, to the `k` nearest of some points."""
    xy = view.xy(layout).astype(float)
    far = np.hypot(*(xy[:, among] - xy[:, [row]]))
    return sorted(far[among != row])[:k]


def distances(view: View, layout: str, row: int, found: list[int]) -> list[float]:
    xy = view.xy(layout).astype(float)
    return list(np.hypot(*(xy[:, found] - xy[:, [row]])))


# -- neighbours ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["held-out", "all"])
def test_neighbours_on_the_map_are_the_nearest_drawn_and_what_differs_is_marked(
    url: str, view: View, open_page: Open, split: str
) -> None:
    page = opened(open_page, url, ROW, f"&layer=fc&split={split}")
    space = view.space("fc")
    assert space is not None
    drawn = np.arange(300) if split == "all" else np.flatnonzero(view.splits == 1)
    found = rows(page, "#screen-neighbours")
    assert np.allclose(distances(view, space.layouts[0], ROW, found), by_hand(view, space.layouts[0], ROW, drawn, 10))
    layer = view.read(str(space.neighbours), Neighbours).indices[ROW].tolist()
    assert rows(page, "#neighbours") == layer
    shared = set(found) & set(layer)
    expect(page.locator("#near-words")).to_contain_text(f"{len(shared)} of 10 in common")
    for selector, every in (("#neighbours", layer), ("#screen-neighbours", found)):
        differ = page.locator(f"{selector} .differs").evaluate_all("cells => cells.map(cell => Number(cell.dataset.row))")
        assert differ == [row for row in every if row not in shared]
    away = len(set(layer) - set(drawn.tolist()))
    assert page.locator("#neighbours .away").count() == away
    for cell, row in zip(page.locator("#screen-neighbours .cell").all(), found, strict=True):
        expect(cell.locator("em")).to_have_text(f"№ {layer.index(row) + 1}" if row in layer else "> 10")


def test_points_that_are_not_drawn_count_when_asked_and_the_layout_says_what_it_keeps_here(
    url: str, view: View, open_page: Open
) -> None:
    page = opened(open_page, url, ROW, "&layer=fc&split=held-out")
    space = view.space("fc")
    assert space is not None
    page.get_by_role("radio", name="among all points").click()
    expected = by_hand(view, space.layouts[0], ROW, np.arange(300), 10)
    assert np.allclose(distances(view, space.layouts[0], ROW, rows(page, "#screen-neighbours")), expected)
    recall = float(view.read(space.layouts[0], Layout).recall[ROW])
    expect(page.locator("#own-recall")).to_contain_text(f"keeps {round(recall * 15)} of its 15 nearest here")


def until(page: Page, check: Callable[[], bool]) -> None:
    """Wait until something holds, at most five seconds."""
    for _ in range(50):
        if check():
            return
        page.wait_for_timeout(100)
    assert check()


def test_another_layout_or_filter_has_other_neighbours_on_the_map(url: str, view: View, open_page: Open) -> None:
    page = opened(open_page, url, ROW, "&layer=fc&split=all")
    space = view.space("fc")
    assert space is not None and len(space.layouts) == 2
    layout = space.layouts[1]

    def nearest_of(kept: np.ndarray) -> bool:
        found = rows(page, "#screen-neighbours")
        wanted = by_hand(view, layout, ROW, kept, 10)
        return len(found) == len(wanted) and np.allclose(distances(view, layout, ROW, found), wanted)

    page.locator("#layout").select_option(label="PCA")
    until(page, lambda: nearest_of(np.arange(300)))
    first = rows(page, "#screen-neighbours")[0]
    page.locator(".chip", has_text=str(view.images.table["label"][first])).click()
    until(page, lambda: nearest_of(np.flatnonzero(view.images.codes != view.images.codes[first])))


def test_every_thumbnail_of_the_panel_is_its_own_images(url: str, view: View, open_page: Open) -> None:
    page = opened(open_page, url, ROW, "&layer=fc&split=all")
    page.wait_for_timeout(400)  # the sheet
    probe = """(thumb) => { document.getElementById("probe")?.remove();
      const at = thumb.style.backgroundPosition.split(" ").map(side => parseFloat(side) / 40 * 56 + "px").join(" ");
      const made = document.createElement("i"), { backgroundImage } = thumb.style;
      Object.assign(made.style, { position: "fixed", left: 0, top: 0, width: "56px", height: "56px", zIndex: 99,
        backgroundImage, backgroundSize: "2800px auto", backgroundPosition: at, imageRendering: "pixelated" });
      made.id = "probe"; document.body.append(made); }"""  # as large as its pixels need, for 40 of 28 tear them
    every = np.stack([source(view, row) for row in range(300)])
    for selector in ("#neighbours", "#screen-neighbours", ".journey-row"):
        for place, row in list(enumerate(rows(page, selector)))[:6]:
            page.locator(f"{selector} .thumb").nth(place).evaluate(probe)
            assert int(np.abs(every - pixels(page, "#probe")).mean((1, 2)).argmin()) == row, (selector, place)


def test_n_and_p_go_through_the_neighbours_and_back(url: str, view: View, open_page: Open) -> None:
    page = opened(open_page, url, ROW, "&layer=fc&split=all")
    near = rows(page, "#neighbours")
    panel = page.locator("#image-panel")
    steps = [("n", near[0], 1), ("n", near[1], 2), ("p", near[0], 1), ("p", ROW, 0), ("p", ROW, 0)]
    for key, row, number in steps:
        words = f"neighbour {number} of 10" if number else "10 neighbours"
        page.keyboard.press(key)
        expect(panel).to_have_attribute("data-row", str(row))
        expect(page.locator("#step-words")).to_have_text(words)
    page.get_by_role("button", name="Next neighbour (N)").click()
    expect(panel).to_have_attribute("data-row", str(near[0]))
    page.locator("#screen-neighbours .cell").first.click()
    expect(page.locator("#step-words")).to_have_text("10 neighbours")  # a walk begins anew


def test_arrow_keys_move_through_a_grid_of_neighbours(url: str, open_page: Open) -> None:
    page = opened(open_page, url, ROW, "&layer=fc&split=all")
    page.locator("#neighbours .cell").first.focus()
    focused = "Number(document.activeElement.dataset.row)"
    near = rows(page, "#neighbours")
    for key, expected in (("ArrowRight", near[1]), ("ArrowDown", near[4]), ("ArrowLeft", near[3]), ("ArrowUp", near[0])):
        page.keyboard.press(key)
        assert page.evaluate(focused) == expected
    page.keyboard.press("Enter")
    expect(page.locator("#image-panel")).to_have_attribute("data-row", str(near[0]))


# -- the picture -----------------------------------------------------------------------------------------------------------


def test_a_click_enlarges_the_picture_and_escape_closes_it_only(url: str, view: View, open_page: Open) -> None:
    page = opened(open_page, url, ROW)
    page.locator(".picture-frame").click()
    dialog = page.locator("dialog.large")
    expect(dialog).to_be_visible()
    page.wait_for_timeout(200)
    seen = pixels(page, "dialog.large img")
    assert page.locator("dialog.large img").bounding_box()["width"] > 500  # type: ignore[index]
    assert np.abs(seen - source(view, ROW)).mean() < 4
    page.keyboard.press("n")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.locator("#image-panel")).to_have_attribute("data-row", str(ROW))


def test_the_path_is_copied(url: str, open_page: Open) -> None:
    page = opened(open_page, url, ROW)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="copy path").click()
    expect(page.get_by_role("button", name="copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == f"{ROW}.png"


# -- its units -------------------------------------------------------------------------------------------------------------


def wrong_row(view: View) -> int:
    """Return a held-out image that the network has wrong."""
    space = view.space("fc")
    assert space is not None and space.predictions
    return int(np.flatnonzero((view.column(space.predictions, "right") == 0) & (view.splits == 1))[0])


def in_percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.9995 or share < 0.0005 else f"{100 * share:.1f}"


def z_scores(view: View, layer: str, row: int, code: int, split: int) -> np.ndarray:
    part = next(part for part in layers_part(view) if part["layer"] == layer)
    vector = vectors_of(view.store, view.read(part["activations"], Activations))[row].astype(np.float64)
    found = view.patterns(part["statistics"], split)
    return (vector - found.mean[code]) / found.std[code]


def listed(page: Page) -> tuple[list[int], list[float]]:
    lines = page.locator("#odd-units .odd-unit")
    units = lines.evaluate_all("lines => lines.map(line => Number(line.dataset.unit))")
    told = page.locator("#odd-units em").all_inner_texts()
    return units, [float(text.replace("−", "-").removesuffix(" σ")) for text in told]


def test_the_units_that_deviate_most_are_numpys_of_its_class_and_of_what_it_is_taken_for(
    url: str, view: View, open_page: Open
) -> None:
    row = wrong_row(view)
    page = opened(open_page, url, row, "&layer=conv")
    space = view.space("conv")
    assert space is not None
    predicted = int(view.column(str(space.predictions), "prediction")[row])
    names = view.images.labels
    for code, kind in ((int(view.images.codes[row]), "its label"), (predicted, "the prediction")):
        z = z_scores(view, "conv", row, code, 1)
        side = page.get_by_role("button", name=f"{names[code]} {kind}")
        expect(side).to_contain_text(in_percent((np.abs(z) > 2).mean()))
        side.click()
        expect(page.get_by_role("button", name=f"{names[code]} {kind}")).to_have_attribute("aria-pressed", "true")
        units, told = listed(page)
        assert units == np.argsort(-np.abs(z), kind="stable")[:8].tolist()
        assert np.allclose(told, z[units], atol=0.06)
    page.get_by_role("button", name="Show more").click()
    assert sorted(listed(page)[0]) == list(range(12))


def test_the_picture_of_all_units_has_their_deviations_for_colours(url: str, view: View, open_page: Open) -> None:
    page = opened(open_page, url, ROW, "&layer=fc&split=all")
    z = z_scores(view, "fc", ROW, int(view.images.codes[ROW]), 3)
    page.wait_for_timeout(100)
    read = """() => { const c = document.querySelector(".fingerprint canvas"), d = c.getContext("2d"), w = c.clientWidth;
      const columns = Math.min(8, Math.max(Math.ceil(Math.sqrt(32)), Math.ceil(w / 16))), cell = c.width / columns;
      const at = u => d.getImageData((u % columns + .4) * cell, (Math.floor(u / columns) + .4) * cell, 1, 1);
      return [...Array(8).keys()].map(u => [...at(u).data]) }"""
    seen = np.array(page.evaluate(read))
    warmth = seen[:, 0].astype(int) - seen[:, 2]  # red less blue: the palette goes from blue to orange
    strong = np.abs(z) > 1
    assert strong.any() and (np.sign(warmth[strong]) == np.sign(z[strong])).all()


def test_a_unit_opens_its_panel_and_colours_the_map(url: str, open_page: Open) -> None:
    page = opened(open_page, url, ROW, "&layer=fc&split=all")
    page.evaluate(
        "(hear => Object.assign(AtlasPage.page.does, { unit: hear, colour: hear }))((...said) => { window.asked = said })"
    )
    unit = listed(page)[0][0]
    page.get_by_role("button", name=f"unit {unit}", exact=True).click()
    assert page.evaluate("window.asked") == ["fc", unit]
    page.get_by_role("button", name=f"Colour the map by unit {unit}", exact=True).click()
    assert page.evaluate("window.asked") == [f"unit:fc:{unit}"]


def test_units_of_another_layer_are_a_choice(url: str, view: View, open_page: Open) -> None:
    page = opened(open_page, url, ROW, "&layer=fc&split=all")
    page.get_by_role("region", name="Unusual units").get_by_label("Layer of the units").select_option(label="conv")
    z = z_scores(view, "conv", ROW, int(view.images.codes[ROW]), 3)
    expect(page.locator(".deviation-scale")).to_contain_text("conv (mean) against")
    assert listed(page)[0] == np.argsort(-np.abs(z), kind="stable")[:8].tolist()


def test_deviations_without_a_spread_or_a_number_are_sorted_out(url: str, open_page: Open) -> None:
    page = open_page(url)
    found = page.evaluate(
        """async () => {
          const { deviations, farthest } = await import("atlas/deviation");
          const vector = [1, 5, 2, 2.0001, 3, 9], side = { mean: [0, 1, 2, 2, null, 3], std: [2, 0, 0, 0, 1, 0] };
          const z = deviations(vector, side);
          return [[...z].map(String), farthest(z, vector, side)]; }"""
    )
    assert found == [["0.5", "Infinity", "0", "0", "NaN", "Infinity"], [5, 1, 0, 3, 2]]


# -- the layers ------------------------------------------------------------------------------------------------------------


def test_the_way_through_the_layers_has_each_layers_neighbours_and_their_classes(
    url: str, view: View, open_page: Open
) -> None:
    page = opened(open_page, url, ROW, "&layer=fc&split=all")
    own = view.images.codes[ROW]
    for part in layers_part(view):
        line = page.locator(f'.journey-line[data-layer="{part["layer"]}"]')
        near = view.read(part["neighbours"], Neighbours).indices[ROW]
        cells = [int(str(cell.get_attribute("data-row"))) for cell in line.locator(".cell").all()]
        assert cells == near[:6].tolist()
        expect(line.locator(".journey-head em")).to_contain_text(in_percent((view.images.codes[near] == own).mean()))
        widths = line.locator(".mix i").evaluate_all("bars => bars.map(bar => parseFloat(bar.style.width))")
        counts = np.unique(view.images.codes[near], return_counts=True)[1]
        assert sorted(widths) == pytest.approx(sorted(10.0 * counts))
    page.get_by_role("button", name="conv", exact=True).click()
    page.wait_for_function("AtlasPage.state.space.id === 'conv'")
    expect(page.locator("#image-panel")).to_have_attribute("data-row", str(ROW))


# -- calm ------------------------------------------------------------------------------------------------------------------


def test_a_section_that_was_folded_stays_folded_and_fetches_nothing(url: str, open_page: Open) -> None:
    page = opened(open_page, url, ROW, "&layer=fc&split=all")
    page.get_by_role("button", name="Across the layers").click()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.keyboard.press("n")
    expect(page.locator("#step-words")).to_have_text("neighbour 1 of 10")
    page.wait_for_timeout(300)
    expect(page.get_by_role("button", name="Across the layers")).to_have_attribute("aria-expanded", "false")
    assert not [address for address in asked if "/journey/" in address]
    page.reload()
    page.wait_for_selector("#odd-units")
    expect(page.locator(".journey-line")).to_have_count(0)
    page.get_by_role("button", name="Across the layers").click()
    expect(page.locator(".journey-line")).to_have_count(2)


def test_the_panel_keeps_its_heights_while_the_next_image_is_on_its_way(url: str, open_page: Open) -> None:
    page = opened(open_page, url, ROW, "&layer=fc&split=all")
    tops = "[...document.querySelectorAll('.part')].map(part => part.offsetTop)"
    before = page.evaluate(tops)
    page.route("**/vector/**", lambda route: None)  # never answered
    page.route("**/journey/**", lambda route: None)
    page.keyboard.press("n")
    expect(page.locator("#step-words")).to_have_text("neighbour 1 of 10")
    assert np.abs(np.array(page.evaluate(tops)) - before).max() <= 40  # of what is told of the image a line or two may wrap


def test_what_cannot_be_fetched_is_told_in_its_section_and_the_rest_stays(url: str, open_page: Open) -> None:
    page = open_page(f"{url}?layer=fc")
    for what in ("vector", "journey", "standing"):
        page.route(f"**/{what}/**", lambda route: route.fulfill(status=404))
    page.evaluate(f"AtlasPage.page.does.open({ROW}, null)")
    expect(page.locator("#part-units")).to_contain_text("The units of this image cannot be had here.")
    expect(page.locator("#part-journey")).to_contain_text("The neighbours in the other layers cannot be had here.")
    expect(page.locator("#neighbours .cell")).to_have_count(10)


# -- activation maps -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tiny_atlas: atlas.Atlas) -> Iterator[str]:
    with workers.private():
        Worker(tiny_atlas.store.root).see(new_image(0))  # the network is loaded before the first page asks
        with serving(tiny_atlas.store.root.parent) as address:
            yield address


def test_activation_maps_are_the_workers_for_an_image_of_the_atlas_and_a_new_one(
    real: str, tiny_atlas: atlas.Atlas, open_page: Open
) -> None:
    page = open_page(f"{real}?layer=act&image={tiny_atlas.images()['image_id'].iloc[5]}")
    worker = Worker(tiny_atlas.store.root)
    for asked in (5, new_image(5)):
        if isinstance(asked, bytes):
            give(page, asked)
            expect(page.locator("#image-panel h2")).to_have_text("New image")
        page.locator("#ask-maps").click()
        expected = worker.maps(asked)["layers"]
        expect(page.locator(".maps-layer")).to_have_count(len(expected))
        for told in expected:
            layer = page.locator(f'.maps-layer[data-layer="{told["layer"]}"]')
            units = layer.locator(".map-tile").evaluate_all("tiles => tiles.map(tile => Number(tile.dataset.unit))")
            assert units == told["units"]
            painted = layer.locator("canvas").first.evaluate(
                "c => [c.height, c.width, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]"
            )
            assert painted[:2] == told["pixels"]
            light = np.array(painted[2]).reshape(-1, 4)[:, :3].sum(1)
            codes = np.frombuffer(told["maps"], np.uint8)[: len(light)]
            assert np.corrcoef(light, codes)[0, 1] > 0.9  # dark to light with the value
    page.get_by_label("Layer of the maps").select_option("conv1")
    expect(page.locator(".maps-layer")).to_have_count(1)


def test_a_new_image_is_held_against_what_it_is_taken_for(
    real: str, tiny_atlas: atlas.Atlas, tmp_path: Path, open_page: Open
) -> None:
    page = open_page(f"{real}?layer=act&split=all")
    give(page, new_image(5))
    page.wait_for_selector("#odd-units")
    (tmp_path / "new.png").write_bytes(new_image(5))
    vector = tiny_atlas.describe(tmp_path / "new.png", "act")["act"][0].astype(np.float64)
    found = tiny_atlas.patterns("act", split="all")
    code = found.labels.index("disc")
    z = (vector - found.mean[code]) / np.where(found.std[code] > 0, found.std[code], np.nan)
    units, told = listed(page)
    for unit, value in zip(units, told, strict=True):
        if np.isfinite(z[unit]):
            assert abs(value - z[unit]) < 0.06 + 0.01 * abs(z[unit])
    finite = np.abs(np.nan_to_num(z))
    assert int(finite.argmax()) in units
    expect(page.locator("#screen-neighbours .cell")).to_have_count(12)


def test_maps_that_cannot_be_had_are_told_in_words_and_can_be_asked_again(real: str, open_page: Open) -> None:
    page = open_page(f"{real}?layer=act")
    page.evaluate("AtlasPage.page.does.open(3, null)")
    told = {"error": "the network is busy (32 images are waiting already): try again in a moment"}
    page.route("**/activation-maps/**", lambda route: route.fulfill(status=503, body=json.dumps(told)))
    page.locator("#ask-maps").click()
    expect(page.locator("#part-maps").get_by_role("alert")).to_have_text(told["error"] + ".")
    page.unroute("**/activation-maps/**")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".maps-layer").first).to_be_visible()
