"""Search and filters in a real browser: the map keeps exactly the images that pass, and a result opens what it shows."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from atlas.pages.view import View
from tests import worlds

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
COUNT = 300
FILTER = "(async () => (await import('atlas/filter'))"
PURE = """(async () => { const r = await import('atlas/rows');
  return asked.map(({ n, codes, numbers, among, low, high, rows, turned }) => {
    const values = Float64Array.from(numbers, (x) => x ?? NaN), mask = r.maskOf(rows, n), bits = r.packed(mask);
    const tests = [{ values: codes, among: new Set(among) }, { values, low, high, none: null }];
    return { kept: [...r.keptBy(tests, n)], ordered: r.ordered(rows, (row) => numbers[row], turned), bits: [...bits],
      back: [...r.unpacked(bits, n)], tally: r.tally(rows, codes),
      chosen: [...r.chosenOf(mask, codes.map((code) => code + 1), 5)],
      kept_in_order: r.kept(r.ordered([...Array(n).keys()], (row) => numbers[row], turned), mask, rows.length),
      pairs: r.pairs(rows, codes, codes.map((code) => code * 2)),
      far: r.pairs(rows, codes, codes.map((code) => code * 1e6)).map(([a, b, count]) => [a, b / 5e5, count]) } }) })()"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filter") / "cache"
    worlds.tiny_atlas(folder / "world", COUNT)
    own = {
        "weight": [None if row % 7 == 0 else (row - 100) / 3 for row in range(COUNT)],
        "site": [None if row % 11 == 0 else ["north", "South", "<b onclick=alert(1)>"][row % 3] for row in range(COUNT)],
    }
    worlds.with_columns(folder / "world", own)
    return folder


def drawn(page: Page, act: Callable[[], object]) -> None:
    """Do something that redraws the map; return when it is drawn."""
    before = page.evaluate("AtlasPage.drawn")
    act()
    page.wait_for_function("before => AtlasPage.drawn > before", arg=before)


def shown(page: Page) -> list[int]:
    found: list[int] = page.evaluate("[...AtlasPage.map.points.data.i]")
    return sorted(found)


def pick(page: Page, field: str, *names: str) -> None:
    """Add a filter by names, through its editor."""
    drawn(page, lambda: page.select_option("#filter-add", label=field))
    for name in names:
        drawn(page, page.locator("#filter-edit").get_by_label(name, exact=True).check)


def narrow(page: Page, field: str, low: float, high: float) -> None:
    """Add a filter by an amount, through the two handles of its editor, in shares of the whole range."""
    drawn(page, lambda: page.select_option("#filter-add", label=field))
    for end, share in (("at least", low), ("at most", high)):
        slider = page.get_by_role("slider", name=f"{field}, {end}")
        steps = round(float(str(slider.get_attribute("max"))) * share)
        if str(steps) != slider.input_value():
            drawn(page, lambda slider=slider, steps=steps: slider.fill(str(steps)))  # type: ignore[misc]


def test_filters_by_every_kind_keep_exactly_the_images_that_pass_all_of_them(url: str, view: View, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    table, space = view.images.table, view.descriptor
    said = view.predicted(str(space.predictions))[1]
    right = view.column(str(space.predictions), "right")
    sure = view.column(str(space.predictions), "confidence").astype(float) / 65534
    kept = np.ones(COUNT, bool)
    steps: list[tuple[Callable[[], None], np.ndarray]] = [
        (lambda: pick(page, "class", "disc", "dots", "square"), np.isin(view.images.codes, [0, 1, 3])),
        (lambda: pick(page, "prediction", "dots", "disc"), np.isin(said, [0, 3])),
        (lambda: pick(page, "site", "South", "no value"), (table["site"].isna() | (table["site"] == "South")).to_numpy()),
        (lambda: narrow(page, "confidence", 0.2, 0.9), (sure >= 0.2) & (sure <= 0.9)),
        (lambda: pick(page, "split", "train"), view.splits == 0),
        (lambda: pick(page, "right or wrong", "right"), right == 1),
    ]
    for act, passes in steps:
        act()
        kept &= passes
        assert shown(page) == np.flatnonzero(kept).tolist() and 0 < kept.sum() < COUNT
        expect(page.locator("#filter-count")).to_have_text(f"{kept.sum()} of {COUNT}")
    page.get_by_role("button", name="Select these").click()
    assert page.evaluate("AtlasPage.map.chosenRows()") == np.flatnonzero(kept).tolist()


def test_a_chip_is_switched_off_without_being_removed_and_removed(url: str, view: View, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    pick(page, "class", "stripes")
    pick(page, "split", "held-out")
    both = (view.images.codes == 2) & (view.splits == 1)
    assert shown(page) == np.flatnonzero(both).tolist()
    drawn(page, page.get_by_role("switch", name="Filter by class").click)
    assert shown(page) == np.flatnonzero(view.splits == 1).tolist()
    expect(page.locator(".filter")).to_have_count(2)
    page.keyboard.press("Enter")  # the focus is still on the switch
    page.wait_for_function("n => AtlasPage.map.points.data.i.length === n", arg=int(both.sum()))
    drawn(page, page.get_by_role("button", name="Remove the filter by split").click)
    assert shown(page) == np.flatnonzero(view.images.codes == 2).tolist()
    drawn(page, page.get_by_role("button", name="Clear", exact=True).click)
    assert len(shown(page)) == COUNT and page.locator(".filter").count() == 0


def test_a_range_of_an_own_column_leaves_out_what_lies_outside_and_what_has_no_value(
    url: str, view: View, open_page: Open
) -> None:
    page = open_page(url + "?split=all")
    narrow(page, "weight", 0.25, 0.75)
    told = page.locator("#filter-edit output").inner_text().split(" to ")
    weight = view.images.table["weight"].to_numpy(float)
    assert shown(page) == np.flatnonzero((weight >= float(told[0])) & (weight <= float(told[1]))).tolist()
    drawn(page, lambda: page.select_option("#layer", "conv"))  # another layer keeps the filters
    assert shown(page) == np.flatnonzero((weight >= float(told[0])) & (weight <= float(told[1]))).tolist()


def test_suspicion_is_a_filter_of_layers_that_have_it(url: str, view: View, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    narrow(page, "label suspicion", 0.5, 1)
    codes = view.column(view.descriptor.doubts["suspects"], "score").astype(int)
    expected = np.flatnonzero((codes >= 32767) & (codes != 65535))
    assert shown(page) == expected.tolist() and len(expected)
    drawn(page, lambda: page.select_option("#layer", "conv+fc"))  # the joint layer has none
    expect(page.locator(".filter-words b")).to_have_text("not in this layer")
    assert len(shown(page)) == COUNT


def test_what_is_found_shows_its_own_thumbnail_and_enter_opens_it(url: str, view: View, open_page: Open) -> None:
    page = open_page(url)
    page.get_by_role("combobox", name="Find").fill("217.PNG")
    thumb = page.locator("#found .thumb")
    expect(thumb).to_have_count(1)
    page.wait_for_timeout(300)
    thumb.evaluate("t => { t.style.borderRadius = 0 }")
    seen = np.asarray(Image.open(io.BytesIO(thumb.screenshot())).convert("L").resize((28, 28))).astype(int)
    files = [np.asarray(Image.open(view.store.root / "files" / f"{row}.png")).astype(int) for row in range(COUNT)]
    every = [np.abs(pixels - seen).mean() for pixels in files]
    assert int(np.argmin(every)) == 217 and min(every) < 0.75 * np.partition(every, 1)[1]
    page.keyboard.press("Enter")
    expect(page.locator("#image-panel")).to_have_attribute("data-row", "217")
    expect(page.locator("#found")).to_be_hidden()


def test_an_image_id_a_class_and_a_value_are_found_by_keyboard(url: str, view: View, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    box = page.get_by_role("combobox", name="Find")
    box.fill(f"{123:016x}")
    expect(page.locator("#found small").last).to_have_text(f"{123:016x}")
    page.keyboard.press("Escape")
    expect(page.locator("#found")).to_be_hidden()
    box.fill("stri")
    expect(page.locator("#found [role=option]").first).to_contain_text("stripes")
    drawn(page, lambda: page.keyboard.press("Enter"))
    assert shown(page) == np.flatnonzero(view.images.codes == 2).tolist()
    box.fill("onclick")
    expect(page.locator("#found [role=option]")).to_contain_text("<b onclick=alert(1)>")
    drawn(page, lambda: page.keyboard.press("Enter"))
    both = (view.images.codes == 2) & (view.images.table["site"] == "<b onclick=alert(1)>").to_numpy()
    assert shown(page) == np.flatnonzero(both).tolist()
    box.fill("no such thing")
    expect(page.locator("#found")).to_contain_text("Nothing here is called so.")


def restored(page: Page, words: str) -> None:
    """Set the filters that an address tells, and draw them."""
    page.evaluate("words => { window.words = words }", words)
    page.evaluate(f"{FILTER}.filterFrom(words))()")
    drawn(page, lambda: page.evaluate("AtlasPage.page.does.redraw()"))


def test_filters_come_back_from_their_words_and_nonsense_is_told(url: str, view: View, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    pick(page, "class", "disc", "dots")
    narrow(page, "weight", 0.4, 0.8)
    pick(page, "site", "South")
    drawn(page, page.get_by_role("switch", name="Filter by site").click)
    before, words = shown(page), page.evaluate(f"{FILTER}.filterWords())()")
    assert all(letter.isalnum() or letter in "._-" for letter in words) and len(words) < 200
    again = open_page(url + "?split=all")
    restored(again, words)
    assert shown(again) == before
    assert again.locator(".filter-words").all_inner_texts() == page.locator(".filter-words").all_inner_texts()
    expect(again.get_by_role("switch", name="Filter by site")).to_have_attribute("aria-checked", "false")
    restored(again, "class.n.zzzzzz-<script>-own_1.r.0.1-confidence.r.9.1-class.n.../..")
    expect(again.locator(".notice")).to_contain_text("The link asks for 5 filters that this atlas does not have.")
    assert len(shown(again)) == COUNT


def test_a_text_in_the_file_or_the_id_is_a_filter_that_a_link_restores(url: str, view: View, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    called = [row for row in range(COUNT) if "7.png" in f"{row}.png"]
    page.get_by_role("combobox", name="Find").fill("7.PNG")
    expect(page.locator("#found [aria-selected=true]")).to_contain_text("7.png0000")  # Enter would open one
    drawn(page, page.get_by_role("option", name="Keep all called “7.PNG” 30 images").click)
    assert shown(page) == called and len(called) == 30
    pick(page, "class", "disc", "dots")
    both = [row for row in called if view.images.codes[row] in (0, 3)]
    assert shown(page) == both and 0 < len(both) < 30
    page.locator(".chip", has_text="disc").focus()
    drawn(page, lambda: page.keyboard.press("i"))
    page.evaluate("AtlasPage.page.does.select([7, 8])")
    page.wait_for_function("location.hash.includes('sel=') && location.hash.includes('file.t.372e504e47')")
    again = open_page(page.url)
    assert shown(again) == shown(page) == [row for row in both if view.images.codes[row] == 0]
    assert again.locator(".filter-words").all_inner_texts() == ["file or id “7.PNG”", "class disc, dots"]
    assert again.evaluate("AtlasPage.map.chosenRows()") == [7, 8]
    drawn(page, page.get_by_role("button", name="Clear", exact=True).click)
    assert shown(page) == np.flatnonzero(view.images.codes == 0).tolist()  # alone is alone, whatever was filtered away then


def test_a_filter_of_another_layer_waits_for_it_and_one_that_keeps_nothing_is_told(url: str, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    narrow(page, "label suspicion", 0.5, 1)
    few = shown(page)
    drawn(page, lambda: page.select_option("#layer", "conv+fc"))
    page.wait_for_function("location.href.includes('layer=conv%2Bfc')")
    again = open_page(page.url)
    expect(again.locator(".filter-words")).to_have_text("label suspicion not in this layer")
    expect(again.locator(".notice")).to_have_count(0)
    drawn(again, lambda: again.select_option("#layer", "fc"))
    assert shown(again) == few
    drawn(page, page.get_by_role("button", name="Remove the filter by label suspicion").click)
    page.wait_for_function("!location.hash.includes('suspicion')")
    drawn(page, page.go_back)
    page.wait_for_function("n => AtlasPage.map.points.data.i.length === n", arg=len(few))
    assert shown(page) == few and page.locator(".notice").count() == 0
    restored(again, "confidence.r.2.3-file.t.zz-file.t.3-file.r.0.1")
    expect(again.locator(".notice")).to_contain_text("The link asks for 4 filters that this atlas does not have.")
    assert len(shown(again)) == COUNT


def test_a_link_without_room_for_a_filter_says_so(url: str, open_page: Open) -> None:
    page = open_page(url + "?split=all")
    page.evaluate("AtlasPage.page.does.addFilter('file', 'é'.repeat(199) + '7')")
    page.evaluate("AtlasPage.page.does.addFilter('file', 'é'.repeat(199) + '8')")
    page.locator("#copy-link").click()
    expect(page.locator(".notice")).to_contain_text("The link is without 1 filter")


def cases(rng: np.random.Generator) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield what the page's pure functions are asked, and what NumPy answers: many small cases with ties, ends and gaps."""
    for _ in range(300):
        n = int(rng.integers(1, 60))
        codes, numbers = rng.integers(-1, 4, n), np.round(rng.normal(size=n), 1)
        if rng.random() < 0.6:  # numbers of 32 bits, and whole ones, go another way
            numbers = np.floor(8 * numbers) / 8 if rng.random() < 0.5 else np.abs(np.floor(2**29 * numbers))
        numbers[rng.random(n) < 0.2] = np.nan
        among = rng.permutation(np.arange(-1, 4))[: rng.integers(0, 5)]
        low, high = np.sort(np.round(rng.normal(size=2), 1))
        rows = rng.permutation(n)[: rng.integers(1, n + 1)]
        turned = bool(rng.random() < 0.5)
        key = np.where(np.isnan(numbers[rows]), np.inf, -numbers[rows] if turned else numbers[rows])
        mask = np.isin(np.arange(n), rows)
        pairs: dict[tuple[int, int], int] = {}
        for row in rows:
            one = (int(codes[row]), int(codes[row] * 2))
            pairs[one] = pairs.get(one, 0) + 1
        counted = sorted([[a, b, k] for (a, b), k in pairs.items()], key=lambda one: (-one[2], one[0], one[1]))
        gaps = [None if np.isnan(number) else float(number) for number in numbers]
        asked = {"n": n, "codes": codes.tolist(), "numbers": gaps, "among": among.tolist(), "rows": rows.tolist()}
        asked |= {"low": float(low), "high": float(high), "turned": turned}
        with np.errstate(invalid="ignore"):
            inside = (numbers >= low) & (numbers <= high)
        yield (
            asked,
            {
                "kept": (np.isin(codes, among) & inside).astype(int).tolist(),
                "ordered": rows[np.lexsort([rows, key])].tolist(),
                "kept_in_order": rows[np.lexsort([rows, key])].tolist(),
                "bits": np.packbits(mask).tolist(),
                "back": mask.astype(int).tolist(),
                "tally": sorted(
                    ([a, k] for a, k in Counter(codes[rows].tolist()).items()), key=lambda one: (-one[1], one[0])
                ),
                "chosen": np.bincount(codes[rows] + 1, minlength=5).tolist(),
                "pairs": counted,
                "far": counted,  # so many codes that none has a counter of its own
            },
        )


def test_the_pages_own_functions_filter_order_pack_and_count_as_numpy_does(url: str, open_page: Open) -> None:
    page = open_page(url)
    asked, expected = zip(*cases(np.random.default_rng(7)), strict=True)
    page.evaluate("asked => { window.asked = asked }", list(asked))
    found = page.evaluate(PURE)
    assert found == list(expected)
