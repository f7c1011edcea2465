"""The report: what its file holds is what the server answers, in the size asked for, or it says what was left out."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import atlas
from atlas.errors import AtlasError
from atlas.pages import report
from atlas.pages.answers import STATIC, answer
from atlas.pages.bundle import squeezed
from atlas.pages.columns import NO_CONFIDENCE
from atlas.pages.held import STEP, Held, as_it_came, bytes_of, characters, fewer_bits, rounded
from atlas.pages.held_tables import along_map, numbered
from atlas.pages.part import Part
from atlas.pages.report import LEVELS, read_size, write_report
from atlas.pages.report_contents import report_addresses
from atlas.pages.report_page import inlined
from atlas.pages.shelf import asking
from atlas.pages.view import View
from tests import worlds
from tests.command import run

HOSTILE = ("</script><img src=x onerror=alert(1)>", "<!--", "\u2028'\"", "]]>")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "world"
    worlds.tiny_atlas(folder)
    return folder


@pytest.fixture(scope="module")
def file(root: Path) -> Path:
    path = root.parent / "world.html"
    write_report(root, path)
    return path


class Opened:
    """A report's file as its page reads it."""

    def __init__(self, path: Path):
        self.html = path.read_bytes().decode("utf-8")
        self.index = json.loads(self.element("held-index"))
        self.text = self.element("held")
        self.manifest = json.loads(self.element("manifest"))

    def element(self, name: str) -> str:
        found = re.search(rf'<script[^>]* id="{name}">(.*?)</script>', self.html, re.DOTALL)
        assert found, name
        return found[1]

    def bytes(self, address: str) -> bytes:
        start, held, size, width = self.index[address]
        body = bytes_of(self.text[start : start + -(-8 * held // 7)], held)
        if width:
            body = zlib.decompress(body)
        if width > 1:
            body = np.frombuffer(body, np.uint8).reshape(width, -1).T.tobytes()
        assert len(body) == size
        return body


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_come_back_from_characters_that_html_leaves_as_they_are(body: bytes) -> None:
    text = characters(body)
    assert bytes_of(text, len(body)) == body
    assert len(text) == as_it_came(body).characters
    assert not set(text) & set("\0\r<")


def test_a_long_body_is_written_block_by_block_and_read_as_one() -> None:
    body = np.random.default_rng(0).integers(0, 256, (7 << 17) * 2 + 5, np.uint8).tobytes()
    assert bytes_of(characters(body), len(body)) == body


def test_the_size_that_is_told_is_that_of_the_text() -> None:
    held = Held()
    for size in (0, 1, 6, 100_000):
        held.add(str(size), as_it_came(np.random.default_rng(size).bytes(size)))
    assert len(held.text().encode()) == pytest.approx(held.size, rel=0.01)


def test_rounding_keeps_what_a_page_shows_and_what_stands_for_none() -> None:
    codes = np.arange(65_536, dtype=np.uint16)
    near = rounded(codes).astype(int)
    assert near[-1] == NO_CONFIDENCE and (near[:-1] < NO_CONFIDENCE).all()
    assert np.abs(near - codes.astype(int)).max() < STEP
    values = np.array([1.0, -3.14159, 1e-30, np.nan, np.inf, 0], np.float32)
    np.testing.assert_allclose(fewer_bits(values), values, rtol=2**-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a/", "b 7 ", ""]), st.integers(0, 9999), st.sampled_from([0, 4])), min_size=60))
def test_numbered_names_come_back(parts: list[tuple[str, int, int]]) -> None:
    names = [f"{before}{str(number).zfill(width)}.png" for before, number, width in parts]
    found = numbered(names)  # type: ignore[arg-type]
    if found is None:
        return
    sums = np.cumsum(found["number"])
    kinds = [found["kinds"][kind] for kind in found["kind"]]
    assert [f"{a}{str(n).zfill(w)}{b}" for (a, w, b), n in zip(kinds, sums, strict=True)] == names


def test_the_curve_goes_by_both_axes_in_turn() -> None:
    xy = np.array([[0, 1, 0, 1, 65535], [0, 0, 1, 1, 65535]], np.uint16)
    assert along_map(xy[:, ::-1]).tolist() == [4, 3, 2, 1, 0]


def test_every_address_answers_as_the_server_does(root: Path, file: Path) -> None:
    opened, view = Opened(file), View(root)
    wishes = report_addresses(Part(root))
    assert {wish.address for wish in wishes if wish.address.startswith(("column/", "patterns/"))} <= set(opened.index)
    with asking(view):
        for wish in [wish for wish in wishes if wish.address in opened.index]:
            told, held = answer(f"/{wish.address}")[1], opened.bytes(wish.address)
            if not wish.rough:
                assert held == told, wish.address
            elif wish.width == 4:
                np.testing.assert_allclose(np.frombuffer(held, "<f4"), np.frombuffer(told, "<f4"), rtol=2**-12)
            else:
                assert np.abs(np.frombuffer(held, "<u2").astype(int) - np.frombuffer(told, "<u2").astype(int)).max() < STEP


def test_the_neighbours_held_are_those_of_the_records(root: Path, file: Path) -> None:
    opened, view = Opened(file), View(root)
    for space in view.spaces:
        place = f"report/nearest/{space.neighbours}"
        told = json.loads(opened.bytes(f"{place}.json"))
        codes = np.frombuffer(opened.bytes(f"{place}/points.bin"), "<u4").reshape(-1, told["k"]).astype(np.int64)
        steps = (
            np.frombuffer(opened.bytes(f"{place}/distances.bin"), "<u2").reshape(told["k"], -1).cumsum(0, dtype=np.uint16)
        )
        order = along_map(np.frombuffer(opened.bytes(f"column/{told['layout']}/xy.bin"), "<u2").reshape(2, -1))
        apart = np.where(codes % 2, -(codes + 1) // 2, codes // 2)
        for at, point in enumerate(order):
            own = view.nearest(str(space.neighbours), int(point))
            assert order[at + apart[at]].tolist() == own["points"][: told["k"]]
            np.testing.assert_allclose(
                told["least"] * np.exp((steps[:, at] - 1.0) / told["steps"]), own["distances"][: told["k"]], rtol=0.0051
            )


def test_a_part_of_an_atlas_tells_of_its_images_what_the_whole_tells(root: Path) -> None:
    rows = np.flatnonzero(np.random.default_rng(1).random(300) < 0.4)
    whole, part = View(root), Part(root, rows=rows)
    new = {int(row): place for place, row in enumerate(rows)}
    space = part.spaces[0]
    for place, row in list(enumerate(rows))[::9]:
        mine, own = part.detail(place), whole.detail(int(row))
        assert mine == {**own, "row": place}
        assert part.top(str(space.predictions), place) == whole.top(str(space.predictions), int(row))
        near, all_near = part.nearest(str(space.neighbours), place), whole.nearest(str(space.neighbours), int(row))
        kept = [(new[p], d) for p, d in zip(all_near["points"], all_near["distances"], strict=True) if p in new]
        assert list(zip(near["points"], near["distances"], strict=True)) == kept
    for name, what in ((part.images_name, "label"), (str(space.predictions), "right"), (space.doubts["suspects"], "score")):
        np.testing.assert_array_equal(part.column(name, what), whole.column(name, what)[rows])
    np.testing.assert_array_equal(part.point_image(space.activations[0]), np.arange(len(rows)))


def test_a_small_size_takes_a_sample_of_every_class_and_split_and_says_so(root: Path, tmp_path: Path) -> None:
    big = tmp_path / "big"
    worlds.tiny_atlas(big, 3000)
    draft = report.Draft(report.Plan(big, np.arange(3000), 1, (), wished=True), np.arange(3000))
    most = int(draft.constant + 0.4 * (draft.estimate(LEVELS[-1]) - draft.constant))
    told = write_report(big, tmp_path / "few.html", max_size=most, seed=3)
    assert most * 0.9 < told["bytes"] == (tmp_path / "few.html").stat().st_size <= most
    assert 800 < told["images"] < 1600
    opened = Opened(tmp_path / "few.html")
    labels = np.frombuffer(opened.bytes(f"column/{opened.manifest['images']['key']}/label.bin"), "<i2")
    splits = np.frombuffer(opened.bytes(f"column/{opened.manifest['images']['key']}/split.bin"), np.uint8)
    whole = View(big)
    np.testing.assert_allclose(np.bincount(labels) / len(labels), np.bincount(whole.images.codes) / 3000, atol=0.01)
    assert np.mean(splits == 0) == pytest.approx(0.6, abs=0.01)
    assert opened.manifest["images"]["count"] == told["images"] and opened.manifest["images"]["available"] == 3000
    assert "drawn at random" in opened.manifest["report"]["sentences"][0]


def test_a_larger_size_gives_better_thumbnails_and_more_neighbours(root: Path, tmp_path: Path) -> None:
    usual, rich = (write_report(root, tmp_path / f"{n}.html", max_size=n) for n in (None, "5MB"))
    assert rich["quality"] > usual["quality"] and rich["images"] == usual["images"] == rich["of"]
    assert usual["bytes"] < rich["bytes"] < 5e6


def test_one_layer_and_one_split_may_be_taken(root: Path, tmp_path: Path) -> None:
    told = write_report(root, tmp_path / "part.html", layers=["conv"], split="held-out")
    opened = Opened(tmp_path / "part.html")
    assert [space["id"] for space in opened.manifest["spaces"]] == ["conv"] and told["images"] == 120
    assert any("Layers left out: fc, conv+fc." in words for words in told["sentences"])


def test_the_file_asks_for_nothing_and_forbids_it(file: Path) -> None:
    html = Opened(file).html
    assert "connect-src 'none'" in html and html.index("Content-Security-Policy") < html.index("<script")
    assert not re.search(r"""(src|href)=["'](?!data:|\?|#)""", re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL))
    assert "atlas/page/" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)


def test_every_module_and_every_linked_style_is_in_the_file(file: Path) -> None:
    opened = Opened(file)
    modules = json.loads(opened.element("modules"))
    assert set(modules) == {path.stem for path in STATIC.glob("*.js")} - {"early", "unpack"}
    assert all(modules[name] == squeezed((STATIC / f"{name}.js").read_text("utf-8")) for name in modules)
    linked = re.findall(r"/(\w+)\.css", (STATIC.parent / "templates" / "index.html").read_text("utf-8"))
    assert linked and all((STATIC / f"{name}.css").read_text("utf-8") in opened.html for name in linked)


def test_hostile_names_stay_data(tmp_path: Path) -> None:
    worlds.tiny_atlas(tmp_path / "world", 60, labels=HOSTILE, title=HOSTILE[0])
    write_report(tmp_path / "world", tmp_path / "out.html")
    opened = Opened(tmp_path / "out.html")
    assert opened.manifest["images"]["labels"] == list(HOSTILE)
    assert "onerror" not in re.sub(
        r'<script type="application/json".*?</script>|<script>.*?</script>',
        "",
        opened.html.replace("&lt;/script", ""),
        flags=re.DOTALL,
    ).replace("img src=x onerror=alert(1)&gt;", "")
    assert inlined('"<link href=') == '"<link href='


def test_it_tells_where_everything_comes_from(root: Path, file: Path) -> None:
    about = {part["title"]: dict(part["lines"]) for part in Opened(file).manifest["about"]}
    assert about["Images"]["images"] == "300" and about["Images"]["splits"] == "train 180, held-out 120"
    assert about["Network tiny network"]["identity"] == "0" * 64
    assert (
        about["Network tiny network"]["right on held-out"].startswith("261 of 300")
        or "of 300" in about["Network tiny network"]["right on held-out"]
    )
    assert "n neighbors 15" in about["Layers"]["fc UMAP"] and "trustworthiness" in about["Layers"]["fc UMAP"]
    assert about["Programs"]


def test_the_command_and_python_write_the_same_file(root: Path, tmp_path: Path) -> None:
    said = run("report", root, "-o", tmp_path / "a.html")
    assert said.code == 0 and "300 of 300 images" in said.out and "8; their distances" in said.out
    told = atlas.open(root).report(tmp_path / "b.html")
    assert told["bytes"] == pytest.approx(
        (tmp_path / "a.html").stat().st_size, abs=60
    )  # Bokeh's own ids deflate differently
    assert json.loads(run("report", root, "-o", tmp_path / "c.html", "--json").out)["images"] == 300


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-o", "report.txt"), "an HTML file"),
        (("-o", "missing/report.html"), "no folder"),
        (("-o", "x.html", "--max-size", "large"), "is no size: 20MB"),
        (("-o", "x.html", "--max-size", "0"), "is no size"),
        (("-o", "x.html", "--max-size", "100kB"), "would do"),
        (("-o", "x.html", "--split", "unknown"), "no image is unknown"),
        (("-o", "x.html", "--layer", "fcc"), "fc"),
    ],
)
def test_a_mistake_is_one_line_and_no_file(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options, words
) -> None:
    monkeypatch.chdir(tmp_path)
    said = run("report", root, *options)
    assert said.code == 2 and words in said.refusal and len(said.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_no_atlas_is_one_line(tmp_path: Path) -> None:
    said = run("report", tmp_path / "nothing", "-o", tmp_path / "x.html")
    assert said.code == 2 and "nothing" in said.refusal


def test_a_file_that_cannot_be_written_leaves_the_one_before(root: Path, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("before")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(AtlasError, match="cannot be written"):
        write_report(root, path)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"] and path.read_text() == "before"


@pytest.mark.parametrize(("text", "count"), [("20MB", 20_000_000), ("1.5 mb", 1_500_000), ("700kB", 700_000), (5000, 5000)])
def test_sizes_are_read(text: str | int, count: int) -> None:
    assert read_size(text) == count
