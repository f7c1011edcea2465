"""Selections, exports, kept selections and searches as pure functions: always the right images, whatever is asked."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas import notes
from atlas.atlas import Atlas
from atlas.data import spreadsheet
from atlas.errors import AtlasError
from atlas.maps.records import Neighbours
from atlas.pages import finding, selections
from atlas.pages.answers import answer
from atlas.pages.columns import own_names
from atlas.pages.shelf import SHELF
from atlas.pages.view import View
from atlas.patterns.contrast import effect_sizes, moments, split, strongest, without
from tests import worlds

COUNT = 240
quick = settings(deadline=None, max_examples=40)
rows_of_images = st.sets(st.integers(0, COUNT - 1), min_size=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("selections") / "world"
    own = {
        "weight": [None if row % 7 == 0 else row / 3 for row in range(COUNT)],
        "site": [None if row % 11 == 0 else ["north", "South", "=SUM(A1)"][row % 3] for row in range(COUNT)],
        "remark": [f"remark {row}" for row in range(COUNT)],
        "seen": [row % 2 == 0 for row in range(COUNT)],
    }
    worlds.tiny_atlas(folder, COUNT)
    worlds.with_columns(folder, own)
    return folder


@pytest.fixture(scope="module")
def view(root: Path) -> Iterator[View]:
    yield SHELF.open(root)


def brute_cohen(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cohen's d as the textbook has it."""
    spread = ((len(one) - 1) * one.var(0, ddof=1) + (len(other) - 1) * other.var(0, ddof=1)) / (len(one) + len(other) - 2)
    return (one.mean(0) - other.mean(0)) / np.sqrt(spread)


# -- bits ------------------------------------------------------------------------------------------------------------------


@quick
@given(
    st.integers(1, 500).flatmap(
        lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)), st.sets(st.integers(0, n - 1)))
    )
)
def test_what_is_packed_is_unpacked_to_the_same_rows(case: tuple[int, set[int], set[int]]) -> None:
    count, one, other = case
    bits = b"".join(selections.packed(np.array(sorted(rows), int), count) for rows in (one, other))
    assert [set(np.flatnonzero(mask)) for mask in selections.unpacked(bits, count, 2)] == [one, other]


@pytest.mark.parametrize("bits", [b"", b"\xff", b"\xff" * 31])
def test_bits_of_another_atlas_are_refused(bits: bytes) -> None:
    with pytest.raises(AtlasError, match=rf"of another atlas \({len(bits)} bytes, 30 expected\): load the page again"):
        selections.unpacked(bits, COUNT)


# -- units -----------------------------------------------------------------------------------------------------------------


@quick
@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(2, 60), st.floats(-1e4, 1e4))
def test_effect_sizes_are_cohens_d_however_the_moments_were_found(seed: int, one: int, other: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    vectors = (rng.normal(size=(one + other, 5)) * [1, 2, 0.1, 9, 1] + level).astype(np.float32)
    order = rng.permutation(one + other)
    chosen, rest = order[:one], order[one:]
    expected = brute_cohen(vectors[chosen].astype(float), vectors[rest].astype(float))
    found = split(vectors, chosen, rest, moments(vectors, order))
    assert np.allclose(effect_sizes(*found), expected, rtol=1e-6, atol=1e-9)
    assert np.allclose(effect_sizes(*found[::-1]), -expected, rtol=1e-6, atol=1e-9)


def test_moments_of_many_batches_are_those_of_one() -> None:
    vectors = np.random.default_rng(0).normal(300, 1, (20_000, 3)).astype(np.float32)
    whole = moments(vectors, np.arange(20_000))
    assert np.allclose(whole.mean, vectors.mean(0, dtype=float)) and np.allclose(
        whole.m2, vectors.var(0, dtype=float) * 20_000
    )
    none = without(whole, whole)
    assert none.count == 0


def test_units_that_do_not_vary_have_no_effect_and_none_is_named_twice() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    vectors[:, 2], vectors[:, 4] = 0.1, np.nan
    sizes = effect_sizes(*split(vectors, np.arange(9), np.arange(9, 50), moments(vectors, np.arange(50))))
    assert np.isnan(sizes[[2, 4]]).all() and np.isfinite(np.delete(sizes, [2, 4])).all()
    up, down = strongest(sizes, 10)
    assert sorted([*up, *down]) == [0, 1, 3, 5]
    assert (np.diff(sizes[up]) <= 0).all() and (np.diff(sizes[down]) >= 0).all()
    assert (sizes[up] > 0).all() and (sizes[down] < 0).all()


@pytest.mark.parametrize("layer", ["conv", "fc", "conv+fc"])
def test_the_units_named_are_those_that_numpy_finds(view: View, root: Path, layer: str) -> None:
    rng = np.random.default_rng(1)
    shown = rng.random(COUNT) < 0.8
    chosen = shown & (view.images.codes == 2)
    blob = np.packbits(chosen).tobytes() + np.packbits(shown).tobytes()
    told = selections.distinguish(view, {"space": layer}, blob)
    atlas, expected = Atlas(root), {}
    for name in layer.split("+"):
        vectors = atlas.vectors(name)[:].astype(float)
        for unit, d in enumerate(brute_cohen(vectors[chosen], vectors[shown & ~chosen])):
            expected[name, unit] = d
    best = sorted(expected, key=lambda one: -expected[one])
    up = [one for one in best if expected[one] > 0][:10]
    down = [one for one in best[::-1] if expected[one] < 0][:10]
    assert [(one["layer"], one["unit"]) for one in told["up"]] == up
    assert [(one["layer"], one["unit"]) for one in told["down"]] == down
    assert np.allclose([one["d"] for one in told["up"]], [expected[one] for one in up], rtol=1e-5)
    assert (told["chosen"], told["rest"], told["units"]) == (chosen.sum(), (shown & ~chosen).sum(), len(expected))
    json.dumps(told, allow_nan=False)


def test_a_selection_of_all_that_is_shown_has_nothing_to_be_compared_with(view: View) -> None:
    everything = np.packbits(np.ones(COUNT, bool)).tobytes()
    with pytest.raises(AtlasError, match="240 points are compared with 0: both sides need one, and together three"):
        selections.distinguish(view, {"space": "fc"}, everything * 2)
    with pytest.raises(AtlasError, match=r"no layer 'fd': did you mean fc\?"):
        selections.distinguish(view, {"space": "fd"}, everything * 2)


def test_the_least_usual_point_is_the_one_farthest_from_its_neighbours(view: View) -> None:
    name = str(view.descriptor.neighbours)
    far = np.frombuffer(answer(f"/unusual/{name}.bin")[1], "<f4")
    assert np.allclose(far, view.store.read(name, Neighbours).distances.mean(1))


# -- taken out -------------------------------------------------------------------------------------------------------------


@quick
@given(rows_of_images)
def test_an_export_holds_the_rows_selected_and_all_their_columns(view: View, root: Path, rows: set[int]) -> None:
    chosen = sorted(rows)
    bits = selections.packed(np.array(chosen), COUNT)
    expected = Atlas(root).images().iloc[chosen].reset_index(drop=True)
    files = {kind: selections.export(view, {"space": "fc"}, bits, kind)[1] for kind in selections.KINDS}
    parquet = pd.read_parquet(io.BytesIO(files["parquet"]))
    assert list(parquet.columns) == list(expected.columns)
    for name in expected:
        assert parquet[name].isna().tolist() == expected[name].isna().tolist()
        assert parquet[name].dropna().tolist() == expected[name].dropna().tolist()
    table = pd.read_csv(io.BytesIO(files["csv"]), keep_default_na=False, dtype=str)
    assert table["image_id"].tolist() == expected["image_id"].tolist()
    assert table["prediction"].tolist() == expected["prediction"].tolist()
    assert table["site"].tolist() == expected["site"].fillna("").replace("=SUM(A1)", "'=SUM(A1)").tolist()
    assert files["paths"].decode().splitlines() == expected["path"].tolist()


hostile = st.text(alphabet="=+-@\t\r\n,\"';a0", max_size=8)


@quick
@given(st.lists(st.tuples(hostile, hostile), min_size=1, max_size=8), hostile)
def test_no_cell_of_a_csv_begins_as_a_formula_and_all_others_are_as_they_were(
    cells: list[tuple[str, str]], heading: str
) -> None:
    table = pd.DataFrame({"path": [a for a, _ in cells], f"own{heading}": [b for _, b in cells], "n": -1.5})
    first, *lines = csv.reader(io.StringIO(spreadsheet.as_csv(table).decode(), newline=""), strict=True)
    assert len(lines) == len(cells) and first == ["path", f"own{heading}", "n"]
    for before, (*after, number) in zip(cells, lines, strict=True):
        assert number == "-1.5"  # a number is no formula
        for was, now in zip(before, after, strict=True):
            assert now == (f"'{was}" if was.startswith(spreadsheet.HOSTILE) else was)
            assert not now.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_each_line_of_paths_is_one_path() -> None:
    assert selections.as_paths(pd.DataFrame({"path": ["a/b.png", "two\nlines\r.png"]})) == b"a/b.png\ntwo\\nlines\\r.png\n"


# -- kept ------------------------------------------------------------------------------------------------------------------


@quick
@given(rows_of_images, st.text(min_size=1, max_size=60).filter(lambda name: name.split()))
def test_a_selection_comes_back_as_it_was_kept_after_any_rename_and_undo(view: View, rows: set[int], name: str) -> None:
    bits = selections.packed(np.array(sorted(rows)), COUNT)
    try:
        told = selections.keep(view, {"name": name, "filter": "class: disc"}, bits)
    except AtlasError as reason:
        assert "a kept selection needs a name" in str(reason)  # escaped control characters made it long
        return
    asked = {"id": told["id"]}
    assert "\n" not in told["name"] and told["images"] == len(rows) and told["gone"] == 0
    selections.rename(view, {**asked, "name": "another"}, b"")
    selections.remove(view, asked, b"")
    assert told["id"] not in [note["id"] for note in selections.kept(view, {}, b"")["notes"]]
    selections.restore(view, asked, b"")
    found = selections.reopen(view, asked, b"")
    assert base64.b64decode(found["bits"]) == bits and found["missing"] == []
    assert (found["name"], found["filter"]) == ("another", "class: disc")
    selections.remove(view, asked, b"")


def test_from_python_a_kept_selection_is_a_table_of_its_images(view: View, root: Path) -> None:
    atlas, rows = Atlas(root), [3, 50, 77]
    told = selections.keep(view, {"name": " odd\nones ", "filter": ""}, selections.packed(np.array(rows), COUNT))
    table = atlas.notes()
    assert table[["id", "name", "images", "gone"]].values.tolist() == [[told["id"], "odd ones", 3, 0]]
    assert atlas.images(note="odd ones").index.tolist() == atlas.images(note=told["id"]).index.tolist() == rows
    with pytest.raises(AtlasError, match=r"no kept selection 'odd one': did you mean odd ones\?"):
        atlas.images(note="odd one")
    notes.remove(root, told["id"])


def test_images_that_are_no_longer_there_are_named_and_the_others_selected(view: View, root: Path) -> None:
    gone = ["00000000000000ff-9", "ffffffffffffffff"]
    note = notes.keep(root, name="old", image_ids=[f"{5:016x}", *gone, f"{9:016x}"])
    found = selections.reopen(view, {"id": note.id}, b"")
    (mask,) = selections.unpacked(base64.b64decode(found["bits"]), COUNT)
    assert np.flatnonzero(mask).tolist() == [5, 9] and found["missing"] == gone and found["gone"] == 2
    assert Atlas(root).notes()["gone"].tolist() == [2]
    notes.remove(root, note.id)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", True),
        ('{"format": 2, "image_ids": []}', True),
        ('{"format": 1, "image_ids": ["../../etc/passwd"]}', True),
        ('{"format": 1, "image_ids": [7]}', True),
        ("[]", True),
        ('{"format": 1, "image_ids": [], "name": "<script>"}', False),
    ],
)
def test_a_file_that_is_no_note_is_told_and_the_others_are_listed(root: Path, view: View, text: str, told: bool) -> None:
    (root / "notes").mkdir(exist_ok=True)
    good = notes.keep(root, name="good", image_ids=[f"{1:016x}"])
    path = root / "notes" / "00000000-0000-4000-8000-000000000000.json"
    path.write_text(text)
    try:
        found = selections.kept(view, {}, b"")
        assert good.id in [note["id"] for note in found["notes"]]
        assert bool(found["wrong"]) is told
        assert not told or "is no kept selection: mend or remove that file" in found["wrong"][0]
    finally:
        path.unlink()
        notes.remove(root, good.id)


@pytest.mark.parametrize("name", ["", "  \n", "x" * 121])
def test_a_name_that_is_none_is_refused(root: Path, name: str) -> None:
    with pytest.raises(AtlasError, match="a kept selection needs a name of 1 to 120 characters"):
        notes.keep(root, name=name, image_ids=["0" * 16])


def test_a_note_is_read_only_by_a_uuid_and_nothing_is_kept_of_nothing(root: Path, view: View) -> None:
    for id in ("../atlas", "", "x" * 36, "/etc/passwd"):
        with pytest.raises(AtlasError, match="is the id of no kept selection"):
            notes.read(root, id)
    with pytest.raises(AtlasError, match="no image is selected: select some, then keep them"):
        selections.keep(view, {"name": "none"}, b"\0" * 30)
    with pytest.raises(AtlasError, match="it was deleted"):
        notes.read(root, "00000000-0000-4000-8000-00000000000f")


def test_a_build_that_shows_and_clears_leaves_the_notes_alone(tmp_path: Path) -> None:
    store = worlds.tiny_atlas(tmp_path / "world", 20)
    note = notes.keep(store.root, name="mine", image_ids=["0" * 16])
    before = (store.root / "notes" / f"{note.id}.json").read_bytes()
    store.show([], keep=lambda names: names[:1])
    for name in store.unreached():
        store.remove(name)
    store.prepare()
    assert (store.root / "notes" / f"{note.id}.json").read_bytes() == before and notes.read(store.root, note.id) == note


# -- found -----------------------------------------------------------------------------------------------------------------


@quick
@given(st.text(alphabet="0123456789.pngNORTHremak ", min_size=1, max_size=5).filter(str.strip))
def test_a_search_finds_every_file_and_value_that_holds_the_text(view: View, text: str) -> None:
    found = finding.find(view, {"text": text}, b"")
    table, wanted = view.images.table, text.strip().casefold()
    files = [row for row in range(COUNT) if wanted in table["path"][row].casefold() or wanted in table["image_id"][row]]
    assert found["found"] == len(files) and {one["row"] for one in found["files"]} <= set(files)
    bits = np.frombuffer(finding.called(view, {"text": text}, b"")[1], np.uint8)
    assert np.flatnonzero(np.unpackbits(bits, count=COUNT)).tolist() == files
    assert len(found["files"]) + len(found["values"]) <= 50
    assert all(table["path"][one["row"]] == one["path"] for one in found["files"])
    for value in found["values"]:
        column = table[own_names(view.images.table)[value["column"]]]
        assert wanted in value["value"].casefold() and value["value"] in set(column.dropna().map(str))
        if "code" in value:
            assert (column.map(str) == value["value"]).sum() == value["images"]


def test_a_whole_name_comes_before_names_that_contain_it(view: View) -> None:
    found = finding.find(view, {"text": "7.png"}, b"")
    assert found["files"][0]["row"] == 7 and found["found"] == 24


@pytest.mark.parametrize("text", ["", "  ", "x" * 201, None, 7])
def test_a_search_of_no_text_or_too_long_a_text_is_refused(view: View, text: object) -> None:
    with pytest.raises(AtlasError, match="a search takes 1 to 200 characters"):
        finding.find(view, {"text": text}, b"")


def test_own_columns_come_as_numbers_and_categories_with_what_is_missing(view: View) -> None:
    told = json.loads(answer(f"/columns/{view.images_name}.json")[1])
    assert [(one["name"], one["kind"]) for one in told] == [
        ("camera", "category"), ("weight", "number"), ("site", "category"), ("remark", "category"), ("seen", "category")
    ]  # fmt: skip
    weights = np.frombuffer(answer(f"/columns/{view.images_name}/1.bin")[1], "<f8")
    assert np.array_equal(weights, view.images.table["weight"].to_numpy(float), equal_nan=True)
    codes = np.frombuffer(answer(f"/columns/{view.images_name}/2.bin")[1], "<u2")
    names = [None if code == 65_535 else told[2]["values"][code] for code in codes]
    assert names == [None if pd.isna(site) else site for site in view.images.table["site"]]
    assert told[2]["missing"] == 22 and sum(told[2]["counts"]) == COUNT - 22
    assert told[4]["values"] == ["False", "True"]
    with pytest.raises(AtlasError, match="no column 5: there are 5 of the user's own"):
        answer(f"/columns/{view.images_name}/5.bin")


def test_a_column_of_more_values_than_a_list_can_show_is_searched_not_listed(tmp_path: Path) -> None:
    worlds.tiny_atlas(tmp_path / "world", 1100)
    worlds.with_columns(tmp_path / "world", {"remark": [f"remark {row}" for row in range(1100)]})
    view = SHELF.open(tmp_path / "world")
    assert finding.about_columns(view)[1:] == [{"name": "remark", "kind": "text", "missing": 0, "distinct": 1100}]
    with pytest.raises(AtlasError, match="the column remark holds 1100 different texts: search in it"):
        finding.column_values(view, 1)
    found = finding.find(view, {"text": "REMARK 1099"}, b"")
    assert [(one["value"], one["row"]) for one in found["values"]] == [("remark 1099", 1099)]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (["2024-05-31", None, "2023-01-01", "2024-05-31 12:00"], "date"),
        (pd.to_datetime(["2024-05-31", None, "2023-01-01", "1999-12-31"]), "date"),
        (["2024-05-31", "2024-13-99", "2023-01-01", "x"], "category"),
        (["2020", "2021", "may", None], "category"),
        ([None, None, None, None], "category"),
    ],
)
def test_dates_are_an_amount_in_seconds_and_what_only_looks_like_one_is_text(
    tmp_path: Path, column: object, kind: str
) -> None:
    worlds.tiny_atlas(tmp_path / "world", 4)
    worlds.with_columns(tmp_path / "world", {"taken": pd.Series(column)})
    view = SHELF.open(tmp_path / "world")
    told = finding.about_columns(view)[1]
    assert told["kind"] == kind
    if kind == "date":
        seconds = finding.column_values(view, 1)
        for value, found in zip(column, seconds, strict=True):  # type: ignore[call-overload]
            assert np.isnan(found) if pd.isna(value) else pd.Timestamp(found, unit="s") == pd.Timestamp(value)
        assert (told["low"], told["high"]) == (np.nanmin(seconds), np.nanmax(seconds)) and told["missing"] == 1
