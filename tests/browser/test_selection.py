"""The selection's panel in a real browser: its images, orders, lists, files and kept selections are those selected."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from atlas.activations.records import Predictions
from atlas.atlas import Atlas
from atlas.maps.records import Neighbours
from atlas.pages.report import write_report
from atlas.pages.view import View
from tests import worlds
from tests.browser.conftest import serving

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
COUNT = 400
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("selection") / "cache"
    worlds.tiny_atlas(folder / "world", COUNT)
    worlds.with_columns(folder / "world", {"remark": [f"=1+{row}" for row in range(COUNT)]})
    return folder


def select(page: Page, rows: Any, how: str = "replace") -> None:
    page.evaluate("([rows, how]) => AtlasPage.page.does.select(rows, how)", [[int(row) for row in rows], how])


def chosen(page: Page) -> list[int]:
    found: list[int] = page.evaluate("AtlasPage.map.chosenRows()")
    return found


def gallery(page: Page) -> list[int]:
    found: list[int] = page.evaluate(
        "[...document.querySelectorAll('#gallery .cell')].map(cell => Number(cell.dataset.row))"
    )
    return found


def order(page: Page, by: str) -> list[int]:
    """Put the gallery in another order; return it when it stands."""
    page.evaluate("window.before = document.querySelector('#gallery .cell')")
    page.select_option(".order select", by)
    page.wait_for_function("!before.isConnected && document.querySelector('#gallery .cell')")
    return gallery(page)


ALONE = """row => { const thumb = document.querySelector(`#gallery .cell[data-row="${row}"] .thumb`), slot = row % 2500;
  thumb.closest(".gallery-grid").style.transform = "none";
  thumb.closest(".gallery-grid").style.willChange = "auto";
  thumb.style.cssText += `;position:fixed;left:300px;top:100px;z-index:99;transform:none;border:0;border-radius:0;width:56px;
    height:56px;transition:none;background-size:2800px auto;
    background-position:${-(slot % 50) * 56}px ${-Math.floor(slot / 50) * 56}px` }"""


def thumbnail(page: Page, row: int) -> np.ndarray:
    """Return the pixels of a thumbnail of the gallery, drawn alone, without its frame, as large as two of its own."""
    page.evaluate(ALONE, row)
    return drawn_thumbnail(page, row)


def drawn_thumbnail(page: Page, row: int) -> np.ndarray:
    """Return what is drawn of a thumbnail of the gallery, as 28 × 28 grey values."""
    box = page.locator(f'#gallery .cell[data-row="{row}"] .thumb')
    picture = Image.open(io.BytesIO(box.screenshot())).convert("L")
    return np.asarray(picture.resize((28, 28), Image.Resampling.BOX)).astype(int)


def source(view: View, row: int) -> np.ndarray:
    return np.asarray(Image.open(view.store.root / "files" / f"{row}.png")).astype(int)


def test_each_thumbnail_of_the_gallery_is_its_image(url: str, view: View, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    rows = [3, 77, 211, 398]
    select(page, rows)
    assert sorted(gallery(page)) == rows
    page.wait_for_timeout(300)  # the sheet
    for row in rows:
        inner = (slice(4, -4), slice(4, -4))  # inside the frame
        seen = drawn_thumbnail(page, row)[inner]
        likeness = [np.abs(source(view, other)[inner] - seen).mean() for other in range(COUNT)]
        assert view.images.codes[int(np.argmin(likeness))] == view.images.codes[row]
        seen = thumbnail(page, row)
        assert np.abs(seen - source(view, row)).max() <= 2
        assert int(np.argmin([np.abs(source(view, other) - seen).mean() for other in range(COUNT)])) == row


def test_orders_are_those_of_class_confidence_suspicion_and_distance(url: str, view: View, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(COUNT)[:90])
    select(page, rows)
    space = view.descriptor
    said = view.read(str(space.predictions), Predictions)
    assert order(page, "class") == rows[np.argsort(view.images.codes[rows], kind="stable")].tolist()
    sure = view.column(str(space.predictions), "confidence")[rows].astype(int)
    assert order(page, "confidence") == rows[np.argsort(sure, kind="stable")].tolist()
    assert (np.diff(said.confidence[gallery(page)]) >= -1e-4).all()
    doubt = view.column(space.doubts["suspects"], "score")[rows].astype(int)
    assert order(page, "suspicion") == rows[np.argsort(np.where(doubt == 65535, 1, -doubt), kind="stable")].tolist()
    far = view.read(str(space.neighbours), Neighbours).distances.mean(1)[rows]
    found = order(page, "unusual")
    assert sorted(found) == rows.tolist() and np.allclose(
        np.sort(far)[::-1], [dict(zip(rows, far, strict=True))[r] for r in found]
    )
    page.evaluate("window.before = document.querySelector('#gallery .cell')")
    page.get_by_role("button", name="The other way round").click()
    page.wait_for_function("!before.isConnected")
    assert gallery(page) == found[::-1]


def test_adding_and_taking_away_are_those_of_sets_and_undo_goes_back(url: str, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    rng, expected = np.random.default_rng(1), set()
    for how in ("replace", "add", "remove", "add", "remove", "replace", "add"):
        rows = set(rng.permutation(COUNT)[: rng.integers(1, 200)].tolist())
        before, expected = expected, {"replace": rows, "add": expected | rows, "remove": expected - rows}[how]
        select(page, rows, how)
        assert chosen(page) == sorted(expected)
    page.get_by_role("button", name="Undo").click()
    assert chosen(page) == sorted(before)


def test_a_class_and_a_mistake_select_exactly_their_images(url: str, view: View, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    rows = np.arange(0, COUNT, 2)
    said, codes = view.predicted(str(view.descriptor.predictions))[1], view.images.codes
    select(page, rows)
    right = (said == codes)[rows]
    expect(page.locator(".summary")).to_contain_text(f"{right.sum()} of 200 right")
    page.locator("#part-mix .line").nth(1).click()
    labels = {int(codes[row]) for row in chosen(page)}
    assert len(labels) == 1 and chosen(page) == rows[codes[rows] == labels.pop()].tolist()
    page.get_by_role("button", name="Undo").click()
    page.locator("#selection-tabs [data-id=mistakes]").click()
    expect(page.locator("#selection-tabs [data-id=mistakes]")).to_have_text(f"Mistakes {(~right).sum()}")
    pairs = pd.Series(list(zip(codes[rows][~right], said[rows][~right], strict=True))).value_counts()
    told = page.locator("#pane-confusion .line em").all_inner_texts()
    assert [int(n) for n in told] == pairs.tolist()[: len(told)]
    for line in range(2):
        text = page.locator("#pane-confusion .line b").nth(line).inner_text().split("→")
        a, b = (view.images.labels.index(name.strip()) for name in text)
        page.locator("#pane-confusion .line").nth(line).click()
        assert chosen(page) == rows[(codes[rows] == a) & (said[rows] == b)].tolist()
        page.get_by_role("button", name="Undo").click()


def test_units_that_stand_out_are_named_with_their_effect_and_lead_on(
    url: str, cache: Path, view: View, open_page: Open
) -> None:
    page = open_page(url + "?split=all")
    here = view.images.codes == 1
    select(page, np.flatnonzero(here))
    page.evaluate("AtlasPage.page.does.unit = (...told) => { window.unit = told }")
    page.evaluate("AtlasPage.page.does.colour = (id) => { window.colour = id }")
    page.locator("#selection-tabs [data-id=units]").click()
    page.wait_for_selector("#pane-units .unit")
    vectors = Atlas(cache / "world").vectors("fc")[:].astype(float)
    one, other = vectors[here], vectors[~here]
    pooled = ((len(one) - 1) * one.var(0, ddof=1) + (len(other) - 1) * other.var(0, ddof=1)) / (COUNT - 2)
    sizes = (one.mean(0) - other.mean(0)) / np.sqrt(pooled)
    best = page.locator("#pane-units .unit").first
    assert best.get_attribute("data-unit") == str(int(np.argmax(sizes)))
    assert best.locator("em").inner_text() == f"{sizes.max():.2f}"
    best.click()
    assert page.evaluate("unit") == ["fc", int(np.argmax(sizes))]
    page.get_by_role("button", name=f"Colour the map by unit {np.argmin(sizes)} of fc").click()
    assert page.evaluate("colour") == f"unit:fc:{np.argmin(sizes)}"


@pytest.mark.parametrize("kind", ["csv", "parquet", "paths"])
def test_a_file_holds_the_images_selected(url: str, view: View, cache: Path, open_page: Open, kind: str) -> None:
    page = open_page(url + "?split=all")
    rows = [5, 6, 250, 399]
    select(page, rows)
    with page.expect_download() as started:
        page.locator(f"[data-export={kind}]").click()
    path = started.value.path()
    expected = Atlas(cache / "world").images().iloc[rows]
    if kind == "paths":
        assert path.read_text().split() == expected["path"].tolist()
        assert started.value.suggested_filename == "world-selection.txt"
        return
    table = pd.read_parquet(path) if kind == "parquet" else pd.DataFrame(csv.DictReader(path.open(newline="")))
    assert list(table.columns) == list(expected.columns)
    for name in ("image_id", "path", "label", "split", "prediction"):
        assert table[name].tolist() == expected[name].tolist()
    assert table["remark"].tolist() == [f"{'' if kind == 'parquet' else chr(39)}=1+{row}" for row in rows]


def test_a_selection_is_kept_opened_renamed_deleted_and_brought_back(url: str, view: View, open_page: Open) -> None:
    page, rows = open_page(url + "?split=all"), [1, 2, 300]
    select(page, rows)
    page.get_by_role("button", name="Keep…").click()
    field = page.get_by_label("Name of the selection")
    field.fill(HOSTILE)
    page.keyboard.press("Enter")
    page.get_by_text("Kept selections").click()  # folded while something is selected
    note = page.locator(".kept li", has_text=HOSTILE)
    expect(note).to_contain_text("3 images")
    files = list((view.store.root / "notes").glob("*.json"))
    assert len(files) == 1 and json.loads(files[0].read_text())["image_ids"] == [f"{row:016x}" for row in rows]
    page.keyboard.press("Escape")
    assert chosen(page) == []
    note.locator(".kept-open").click()
    expect(page.locator("#selection-count")).to_have_text("3 images selected")
    assert chosen(page) == rows
    page.get_by_text("Kept selections").click()
    page.get_by_role("button", name=f"Rename {HOSTILE}").click()
    page.get_by_label(f"New name of {HOSTILE}").fill("three")
    page.keyboard.press("Enter")
    expect(page.locator(".kept b")).to_have_text("three")
    page.get_by_role("button", name="Delete three").click()
    expect(page.locator(".kept b")).to_have_count(0)
    assert not list((view.store.root / "notes").glob("*.json"))
    page.locator(".undo").get_by_role("button", name="Undo").click()
    expect(page.locator(".kept b")).to_have_text("three")
    again = open_page(url)
    expect(again.locator(".kept b")).to_have_text("three")
    told = json.loads(files[0].read_text())
    files[0].write_text(json.dumps({**told, "image_ids": [*told["image_ids"], "f" * 16]}))
    again.locator(".kept-open").click()
    expect(again.locator(".notice")).to_contain_text(f"1 image of “three” is no longer in this atlas: {'f' * 16}")
    assert chosen(again) == rows
    files[0].unlink()


def test_a_server_that_only_shows_offers_no_keeping_and_refuses_it(
    cache: Path, view: View, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATLAS_READ_ONLY", "1")
    before = sorted(view.store.root.rglob("*"))
    with serving(cache) as url:
        page = open_page(url + "?split=all")
        select(page, [1])
        expect(page.locator("[data-export=csv]")).to_be_visible()
        expect(page.get_by_role("button", name="Keep…")).to_have_count(0)
        told = page.evaluate(
            """async (key) => {
            const asked = { method: "POST", headers: { "X-Atlas": "page" }, body: "{}\\n" };
            const response = await fetch(`/atlas/notes/${key}/keep`, asked);
            return [response.status, (await response.json()).error] }""",
            view.images_name,
        )
        assert told == [403, "This server only shows: nothing is written in its atlases."]
        assert sorted(view.store.root.rglob("*")) == before


def test_thousands_of_images_scroll_in_a_small_page_to_the_last(tmp_path: Path, open_page: Open) -> None:
    n = 2600  # more than a sheet holds
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, n)
    pixels = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None], (n, 28, 28))
    worlds.tiny_atlas(tmp_path / "cache" / "world", n, pixels=pixels, codes=codes)
    with serving(tmp_path / "cache") as url:
        page = open_page(url + "?split=all")
        select(page, range(n))
        page.select_option(".order select", "class")
        expected = np.argsort(codes, kind="stable").tolist()
        page.wait_for_function(
            "row => Number(document.querySelector('#gallery .cell').dataset.row) === row", arg=expected[0]
        )
        cells = page.locator("#gallery .cell")
        assert gallery(page) == expected[: cells.count()] and 100 <= cells.count() <= 400
        for share in (0.31, 0.77, 1):
            page.evaluate(
                "share => { const s = document.querySelector('.side.right'); s.scrollTop = s.scrollHeight * share }", share
            )
            page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            found, first = gallery(page), int(str(cells.first.get_attribute("data-place")))
            assert found == expected[first : first + len(found)] and len(found) <= 400
            box, side = cells.first.bounding_box(), page.locator(".side.right").bounding_box()
            assert box and side and box["y"] < side["y"] + 400
        assert gallery(page)[-1] == expected[-1]
        cells.last.focus()
        page.keyboard.press("Home")
        expect(page.locator("#gallery .cell:focus")).to_have_attribute("data-row", str(expected[0]))
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        expect(page.locator("#image-panel")).to_have_attribute("data-row", str(expected[1]))


def test_the_pages_own_csv_is_the_servers(url: str, open_page: Open) -> None:
    page = open_page(url)
    cells = ["=1", "+x", "-", "@a", "plain", 'quo"te', "two\nlines", "\ttab", "\rret", "", "a,b", "é", None, 1.5]
    text = page.evaluate("async cells => (await import('atlas/rows')).csv([cells])", cells)
    (found,) = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert found[:8] == ["'=1", "'+x", "'-", "'@a", "plain", 'quo"te', "two\nlines", "'\ttab"]
    assert found[8:] == ["'\rret", "", "a,b", "é", "", "1.5"]


# What the page is told has `static` in it, as a report's has.
def test_a_page_without_a_server_hides_what_needs_one_and_writes_the_same_table(
    url: str, view: View, cache: Path, open_page: Open, tmp_path: Path
) -> None:
    write_report(cache / "world", tmp_path / "world.html")
    tables = []
    for static in (False, True):
        page = open_page((tmp_path / "world.html").as_uri() if static else url + "?split=all")
        select(page, [0, 7, 300])
        with page.expect_download() as started:
            page.locator("[data-export=csv]").click()
        tables.append(list(csv.reader(started.value.path().open(newline=""))))
        for hidden in ("#keep-selection", "[data-export=parquet]", "#selection-tabs [data-id=units]"):
            expect(page.locator(hidden)).to_have_count(0 if static else 1)
        page.get_by_role("combobox", name="Find").fill("37.png")
        expect(page.locator("#found .thumb")).to_have_count(4)
    assert tables[0][0] == tables[1][0] and len(tables[0]) == len(tables[1]) == 4
    sure = tables[0][0].index("confidence")
    for one, other in zip(tables[0][1:], tables[1][1:], strict=True):
        assert one[:sure] + one[sure + 1 :] == other[:sure] + other[sure + 1 :]
        assert abs(float(one[sure]) - float(other[sure])) < 1e-4
