"""The store: whole artifacts or none, names from recipes, one list of what is shown."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.errors import AtlasError
from atlas.store import BUILDING, Files, Recipe, Store, Stream, digest


@dataclass(frozen=True)
class Sample:
    numbers: Any
    table: pd.DataFrame
    sheets: Files
    words: list[str]
    streamed: Any


def sample(size: int = 10) -> Sample:
    blocks = (np.full((2, 3), k, np.float32) for k in range(size // 2))
    return Sample(
        np.arange(size),
        pd.DataFrame({"path": ["a", "ü <b>"], "n": [1, 2]}),
        Files([("000.webp", b"first"), ("001.webp", lambda path: path.write_bytes(b"second"))]),
        ["x"],
        Stream(np.float32, (size // 2 * 2, 3), blocks),
    )


RECIPE = Recipe("sample", 1, {"size": 10, "metric": "cosine"}, {"images": "images-00"}, ("numpy",))


def test_a_record_comes_back_as_it_was_written(tmp_path):
    record = Store(tmp_path).build(RECIPE, Sample, sample)
    assert record.words == ["x"] and list(record.numbers) == list(range(10))
    assert isinstance(record.numbers, np.memmap) and not record.numbers.flags.writeable
    assert list(record.table["path"]) == ["a", "ü <b>"]
    assert {name: path.read_bytes() for name, path in record.sheets.items()} == {"000.webp": b"first", "001.webp": b"second"}
    np.testing.assert_array_equal(record.streamed[:, 0], np.repeat(np.arange(5.0), 2))


def test_a_second_build_makes_nothing(tmp_path):
    store = Store(tmp_path)
    store.build(RECIPE, Sample, sample)
    store.build(RECIPE, Sample, lambda: pytest.fail("built twice"))


def test_record_json_says_where_the_result_comes_from(tmp_path):
    store = Store(tmp_path)
    store.build(replace(RECIPE, told={"device": "cpu"}), Sample, sample)
    header = json.loads((store.path(RECIPE.name) / "record.json").read_text())
    assert header["format"] == 1 and header["parameters"] == {"size": 10, "metric": "cosine"}
    assert header["inputs"] == {"images": "images-00"} and header["libraries"]["numpy"] == np.__version__
    assert header["told"] == {"device": "cpu"} and header["seconds"] >= 0 and header["date"].startswith("20")


@pytest.mark.parametrize(
    "other",
    [
        replace(RECIPE, version=2),
        replace(RECIPE, parameters={"size": 10, "metric": "L2"}),
        replace(RECIPE, parameters={"size": 10.0, "metric": "cosine"}),
        replace(RECIPE, inputs={"images": "images-01"}),
        replace(RECIPE, libraries=("numpy", "pandas")),
    ],
)
def test_whatever_decides_the_result_changes_the_name(other):
    assert other.name != RECIPE.name


def test_what_decides_nothing_does_not_change_the_name():
    assert replace(RECIPE, told={"device": "cuda"}).name == RECIPE.name
    assert replace(RECIPE, parameters={"metric": "cosine", "size": 10}).name == RECIPE.name


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


@given(plain, plain)
@settings(max_examples=300, deadline=None)
def test_two_values_share_a_digest_only_when_they_are_the_same(a, b):
    assert (digest(a) == digest(b)) == same(a, b)


def test_nested_values_with_the_same_letters_differ():
    assert len({digest(v) for v in (["ab", "c"], ["a", "bc"], [["ab"], "c"], {"ab": "c"}, "abc", b"abc")}) == 6
    assert digest(np.zeros(4, np.float32)) != digest(np.zeros((2, 2), np.float32)) != digest(np.zeros(4, np.int32))


def test_a_field_that_decides_nothing_can_be_corrected(tmp_path):
    store = Store(tmp_path)
    store.build(RECIPE, Sample, sample)
    store.amend(RECIPE.name, words=["moved"])
    assert store.read(RECIPE.name, Sample).words == ["moved"] and list(store.read(RECIPE.name, Sample).numbers) == list(
        range(10)
    )


# -- killed, full, raced ------------------------------------------------------------------------------------------------


def build_slowly(root: Path, started: Any) -> None:
    def make() -> Sample:
        started.set()
        time.sleep(60)
        return sample()

    Store(root).build(RECIPE, Sample, make)


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.npy")}


@pytest.mark.parametrize("seed", range(8))
def test_a_build_killed_while_writing_leaves_no_half_artifact(tmp_path, seed):
    script = (
        "import sys, numpy as np; sys.path.insert(0, sys.argv[2]); from tests.test_store import *\n"
        "store = Store(sys.argv[1]); print('go', flush=True)\n"
        "for k in range(10_000): store.build(replace(RECIPE, version=k), Sample, sample)"
    )
    root = Path(__file__).parents[1]
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(root)], stdout=subprocess.PIPE, cwd=root)
    assert child.stdout is not None and child.stdout.readline() == b"go\n"
    time.sleep(np.random.default_rng(seed).uniform(0.01, 0.4))
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    store = Store(tmp_path)
    finished = store.artifacts()
    for name in finished:  # each that shows is whole
        record = store.read(name, Sample)
        assert len(record.numbers) == 10 and len(record.sheets) == 2 and len(record.streamed) == 10
    shown = {path.name for path in tmp_path.iterdir() if path.is_dir()} - {BUILDING}
    assert shown == set(finished)
    store.build(replace(RECIPE, version=-1), Sample, sample)  # and the next run clears what the dead one left
    assert not [p for p in (tmp_path / BUILDING).iterdir() if p.is_dir()]


def test_a_living_builder_is_not_cleared_away(tmp_path):
    store, inside, go = Store(tmp_path), threading.Event(), threading.Event()

    def blocks():
        inside.set()
        go.wait(30)
        yield np.zeros((2, 3), np.float32)

    slow = threading.Thread(
        target=lambda: store.build(RECIPE, Sample, lambda: replace(sample(), streamed=Stream(np.float32, (2, 3), blocks())))
    )
    slow.start()
    assert inside.wait(30)
    Store(tmp_path).build(replace(RECIPE, version=2), Sample, sample)
    go.set()
    slow.join()
    assert store.has(RECIPE.name)


def race(root: Path, barrier: Any, results: Any) -> None:
    barrier.wait()
    results.put(int(Store(root).build(RECIPE, Sample, sample).numbers.sum()))


def test_two_builders_of_one_artifact_both_succeed(tmp_path):
    context = multiprocessing.get_context("fork")
    for attempt in range(5):
        barrier, results = context.Barrier(2), context.SimpleQueue()
        both = [context.Process(target=race, args=(tmp_path / str(attempt), barrier, results)) for _ in range(2)]
        for process in both:
            process.start()
        assert [results.get(), results.get()] == [45, 45]
        for process in both:
            process.join()
            assert process.exitcode == 0


def test_too_little_room_is_told_before_the_work_starts(tmp_path):
    with pytest.raises(AtlasError, match=r"needs 1\.0 EB|needs .* free"):
        Store(tmp_path).build(RECIPE, Sample, lambda: pytest.fail("started"), needs=10**18)


# -- reading what is not right ------------------------------------------------------------------------------------------


def broken(tmp_path: Path, change: Any) -> Store:
    store = Store(tmp_path)
    store.build(RECIPE, Sample, sample)
    path = store.path(RECIPE.name) / "record.json"
    header = json.loads(path.read_text())
    change(header, path)
    return store


def write(header: dict, path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**header, **changes}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, p: write(h, p, format=2), "format 2 and this program reads 1"),
        (lambda h, p: p.write_text("{"), "cannot be read"),
        (lambda h, p: p.write_text("[]"), "format None"),
        (lambda h, p: p.unlink(), "no record.json"),
        (lambda h, p: (p.parent / "numbers.npy").unlink(), "damaged"),
        (lambda h, p: (p.parent / "numbers.npy").write_bytes(b"\x80\x04pickle"), "damaged"),
        (lambda h, p: write(h, p, files={"numbers": "../../etc/passwd"}), "not one of its own"),
        (lambda h, p: write(h, p, fields={}), "damaged"),
        (lambda h, p: write(h, p, fields=[]), "is damaged .no fields."),
        (lambda h, p: p.write_text('{"format": 1}'), "is damaged .no stage, version, key, parameters, inputs"),
        (lambda h, p: (p.parent / "numbers.npy").write_bytes(b""), "damaged"),
    ],
)
def test_an_artifact_that_is_not_right_is_one_clear_line(tmp_path, change, message):
    store = broken(tmp_path, change)
    with pytest.raises(AtlasError, match=message) as refusal:
        store.read(RECIPE.name, Sample)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["../x", "/etc", "a/b", "parts/zz/a", "", "A", "parts/0123456789abcdef/../../x", 3])
def test_no_name_leads_out_of_the_atlas(tmp_path, name):
    with pytest.raises(AtlasError, match="no artifact's name"):
        Store(tmp_path).path(name)


def test_pickled_arrays_are_never_loaded(tmp_path):
    store = broken(tmp_path, lambda h, p: np.save(p.parent / "numbers.npy", np.array([{}], object), allow_pickle=True))
    with pytest.raises(AtlasError, match="damaged"):
        store.read(RECIPE.name, Sample)


# -- what is shown ------------------------------------------------------------------------------------------------------


def test_two_who_show_at_once_lose_nothing(tmp_path):
    store = Store(tmp_path)
    names = [store_one(store, k) for k in range(24)]

    def show(half: list[str]) -> None:
        for name in half:
            Store(tmp_path).show([name])

    threads = [threading.Thread(target=show, args=(half,)) for half in (names[::2], names[1::2])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(store.shown()) == sorted(names)


def store_one(store: Store, version: int, **inputs: str) -> str:
    recipe = replace(RECIPE, version=version, inputs=inputs)
    store.build(recipe, Sample, sample)
    return recipe.name


def test_what_nothing_shown_was_made_from_is_unreached_and_can_go(tmp_path):
    store = Store(tmp_path)
    parent = store_one(store, 1)
    child, stray = store_one(store, 2, parent=parent), store_one(store, 3)
    store.show([child])
    assert store.reached() == {parent, child} and list(store.unreached()) == [stray]
    store.remove(stray)
    assert store.artifacts() == sorted([parent, child]) and not list((tmp_path / BUILDING).glob("removed-*"))


def test_an_atlas_that_is_not_there_says_how_to_make_one(tmp_path):
    with pytest.raises(AtlasError, match="make one with `atlas build"):
        Store(tmp_path / "none").contents()


def test_a_read_only_folder_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AtlasError, match="cannot write an atlas"):
        Store(tmp_path / "file" / "atlas").prepare()


assert os.name == "posix", "the tests of kills need signals"
