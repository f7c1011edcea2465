"""Readers fed with anything: a valid result or an AtlasError of one line, never another exception, in bounded time.

The examples are the same in every run; ``-m long`` draws more of them.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas.activations.functionals import Functional
from atlas.data.named import NAMES
from atlas.data.reading import inside
from atlas.data.records import Images
from atlas.data.sources import choose_images
from atlas.data.tables import list_table
from atlas.errors import AtlasError
from atlas.models.classmap import match_classes
from atlas.models.layers import find_layer
from atlas.models.specs import open_spec
from atlas.planning import check_layouts, choose_layers, parse_layouts
from atlas.record import read_header
from atlas.store import Store
from atlas.verbs import _read_argument, query, show, train
from tests import hostile, worlds

SLOW = 20.0  # seconds that one example may take, on a machine that is busy with others; most take milliseconds


def fuzz(few: int, many: int, *strategies: st.SearchStrategy) -> Callable[[Any], Any]:
    """Run a property over `few` derandomised examples, and over `many` when ``long`` is set by the test's mark."""

    def decorate(test: Callable[..., None]) -> Any:
        @pytest.mark.parametrize("count", [few, pytest.param(many, marks=pytest.mark.long)])
        def fuzzed(count: int, tmp_path_factory: pytest.TempPathFactory) -> None:
            folder = tmp_path_factory.mktemp("fuzz")

            @settings(
                max_examples=count, derandomize=True, database=None, deadline=None,
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(st.tuples(*strategies))
            def property(values: tuple[Any, ...]) -> None:
                started = time.monotonic()
                test(folder, *values)
                assert time.monotonic() - started < SLOW

            property()

        fuzzed.__name__, fuzzed.__doc__ = test.__name__, test.__doc__
        return fuzzed

    return decorate


@contextlib.contextmanager
def one_line_or_nothing() -> Iterator[None]:
    """Let an AtlasError pass when it is one line; whatever else is raised fails the test."""
    try:
        yield
    except AtlasError as refusal:
        said = str(refusal)
        assert said and len(said) < 3000 and all(c.isprintable() for c in said), said


# -- tables ------------------------------------------------------------------------------------------------------------

cells = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["pics/000.png", "pics/001.png", "../x.png", "/etc/passwd", "a\0b", "", " ", ".", "..", "link/../../x", "~", "NaN",
         "pics/../pics/000.png", "pics//000.png", "\\\\host\\x", "x" * 300, "a/" * 3000, '"', "'", ",", "\r", "\n",
         "é", "\u202e"]
    ),
    st.integers().map(str), st.floats().map(str),
)  # fmt: skip
heads = st.lists(
    st.sampled_from(["path", "label", "split", "path ", "Path", "", "width", "user.width", "right", "\ufeffpath", "a b"]),
    min_size=1, max_size=5,
)  # fmt: skip


def check_listing(file: Path, folder: Path) -> None:
    """Hold that what a table lists stays in its folder and can be kept as a record and read again."""
    with one_line_or_nothing():
        listing = list_table(file)
        top = Path(os.path.realpath(file.parent))
        for path in listing.table["path"]:
            assert inside(top / path, top), path
        assert listing.table["split"].isin(["train", "held-out", "unknown"]).all()
        assert set(listing.labels) == set(listing.table["label"].dropna())
        chosen = choose_images(str(file), datasets=folder, atlas_root=folder / "atlas")
        with contextlib.suppress(AtlasError):  # none decodes
            gathered = chosen.gather()
            record = Store(folder / "atlas").build(gathered.recipe, Images, gathered.make)
            assert list(record.table["path"]) == list(listing.table["path"])
            assert list(record.table.columns)[9:] == list(listing.table.columns)[3:]
    shutil.rmtree(folder / "atlas", ignore_errors=True)


def in_place(folder: Path, name: str, body: bytes) -> Path:
    """Write a table beside pictures that it may name."""
    if not (folder / "pics").exists():
        hostile.plain(folder / "pics", 2)
    (folder / name).write_bytes(body)
    return folder / name


headed = st.text(max_size=200).map(lambda text: ("path,label\n" + text).encode("utf-8", "replace"))


@fuzz(60, 3000, st.binary(max_size=300) | headed)
def test_any_bytes_as_a_csv(folder: Path, body: bytes) -> None:
    check_listing(in_place(folder, "t.csv", body), folder)


@fuzz(150, 3000, heads, st.lists(st.lists(cells, max_size=6), max_size=6), st.sampled_from([",", ";", "\t"]),
      st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]), st.booleans())  # fmt: skip
def test_any_cells_as_a_csv(
    folder: Path, head: list[str], rows: list[list[str]], separator: str, encoding: str, quoted: bool
) -> None:
    def line(values: list[str]) -> str:
        return separator.join(f'"{value}"' if quoted else value for value in values)

    body = "\n".join(map(line, [head, *rows])).encode(encoding, "replace")
    check_listing(in_place(folder, "t.csv", body), folder)


kinds = st.sampled_from(
    [pa.string(), pa.large_string(), pa.binary(), pa.int8(), pa.uint64(), pa.float16(), pa.float64(), pa.bool_(),
     pa.date32(),
     pa.timestamp("ns"), pa.timestamp("s", "UTC"), pa.duration("us"), pa.time64("ns"), pa.decimal128(38, 10), pa.null(),
     pa.list_(pa.string()), pa.list_(pa.list_(pa.int64())), pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))]),
     pa.map_(pa.string(), pa.float64()), pa.dictionary(pa.int8(), pa.string()), pa.list_(pa.float32(), 3)]
)  # fmt: skip
EXAMPLES: dict[str, list[Any]] = {
    "string": ["pics/000.png", None, ""], "large_string": ["pics/001.png", "../x", None],
    "binary": [b"pics/000.png", b"\xff", None],
    "int8": [1, None, -3], "uint64": [2**64 - 1, 0, None], "halffloat": [np.float16(1), np.float16("nan"), None],
    "double": [1.5, float("inf"), None], "bool": [True, None, False], "null": [None, None, None],
    "list<item: string>": [["a"], [], None], "list<item: list<item: int64>>": [[[1]], [], None],
    "map<string, double>": [[("a", 1.0)], [], None], "fixed_size_list<item: float>[3]": [[1, 2, 3], None, [0, 0, 0]],
    "struct<a: int64, b: list<item: string>>": [{"a": 1, "b": ["x"]}, None, {"a": None, "b": []}],
    "dictionary<values=string, indices=int8, ordered=0>": ["a", "b", None],
}  # fmt: skip


def column(kind: pa.DataType, rows: int) -> pa.Array:
    values = (EXAMPLES.get(str(kind)) or [1, None, 3]) * rows
    if pa.types.is_dictionary(kind):
        return pa.array(values[:rows]).dictionary_encode()
    if pa.types.is_decimal(kind) or pa.types.is_temporal(kind):
        return pa.array(values[:rows], pa.int64() if not pa.types.is_date32(kind) else pa.int32()).cast(kind, safe=False)
    return pa.array(values[:rows], kind)


@fuzz(120, 2000, st.lists(st.tuples(st.sampled_from(["path", "label", "split", "x", "image_id", "right", ""]), kinds),
                          min_size=1, max_size=5), st.integers(0, 4), st.booleans())  # fmt: skip
def test_a_parquet_table_of_any_types(folder: Path, columns: list[tuple[str, pa.DataType]], rows: int, typed: bool) -> None:
    arrays = [pa.array(["pics/000.png"] * rows) if name == "path" and not typed else column(k, rows) for name, k in columns]
    table = pa.Table.from_arrays(arrays, names=[name for name, _ in columns])
    pq.write_table(table, in_place(folder, "t.parquet", b""))
    check_listing(folder / "t.parquet", folder)


@fuzz(60, 2000, st.integers(0, 3000), st.binary(min_size=1, max_size=8))
def test_a_parquet_table_with_bytes_changed(folder: Path, at: int, new: bytes) -> None:
    if not (folder / "whole").exists():
        whole = pd.DataFrame({"path": ["pics/000.png", "pics/001.png"], "label": ["a", "b"], "n": [1.0, 2.0]})
        whole.to_parquet(folder / "whole")
    body = bytearray((folder / "whole").read_bytes())
    at %= len(body)
    body[at : at + len(new)] = new
    check_listing(in_place(folder, "t.parquet", bytes(body)), folder)


# -- record.json and atlas.json ----------------------------------------------------------------------------------------

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8)
    | st.sampled_from(["../../etc", "layout-0", "x" * 500, "\ud800", 10**400, -1, 1e308, "NaN"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
steps = st.lists(st.integers(0, 40), min_size=1, max_size=4)
changes = st.one_of(
    st.tuples(st.just("set"), steps, anything),
    st.tuples(st.just("drop"), steps, st.none()),
    st.tuples(st.just("nest"), steps, st.integers(1, 3000)),
)
bytes_changed = st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=6))


def change(value: Any, where: list[int], kind: str, new: Any) -> Any:
    """Return `value`, JSON, with what lies at the end of the path `where` set, dropped or nested."""
    if not where or not isinstance(value, dict | list) or not value:
        return value if kind == "drop" else Deep(new) if kind == "nest" else new
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[where[0] % len(keys)]
    if kind == "drop" and len(where) == 1:
        del value[key]
    else:
        value[key] = change(value[key], where[1:], kind, new)
    return value


class Deep(int):
    """Lists in lists, so many deep."""


def as_text(value: Any) -> str:
    """Return `value` as JSON; json's own writer gives up on the nesting that its reader is to be fed with."""
    deep: list[int] = []

    def default(item: Any) -> Any:
        if isinstance(item, dict):
            return {str(key): default(inner) for key, inner in item.items()}
        if isinstance(item, Deep):
            deep.append(item)
            return f"@{len(deep) - 1}@"
        return [default(inner) for inner in item] if isinstance(item, list) else item

    text = json.dumps(default(value))
    for number, depth in enumerate(deep):
        text = text.replace(f'"@{number}@"', "[" * depth + "]" * depth)
    return text


WORLD: dict[str, Path] = {}


def world() -> Path:
    """One small atlas, shared by the examples, whose files are put back after each."""
    if "root" not in WORLD:
        WORLD["root"] = Path(tempfile.mkdtemp(prefix="fuzz-world-")) / "a"
        worlds.tiny_atlas(WORLD["root"], 24)
    return WORLD["root"]


@pytest.fixture(scope="module", autouse=True)
def _world_removed() -> Iterator[None]:
    yield
    if WORLD:
        shutil.rmtree(WORLD.pop("root").parent)


def check_reading(file: Path, text: str | bytes) -> None:
    """Hold that every reader of an atlas answers or refuses in one line when one file of it holds `text`."""
    before, root = file.read_bytes(), world()
    try:
        file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        if file.name == "record.json":
            with one_line_or_nothing():
                read_header(file.parent)
        for reader in (lambda: Store(root).contents(), lambda: show(root), lambda: query(root, 3, k=3)):
            with one_line_or_nothing():
                reader()
    finally:
        file.write_bytes(before)


def record_file(number: int) -> Path:
    files = sorted(world().glob("*/record.json"))
    return files[number % len(files)]


@fuzz(150, 4000, st.integers(0, 30), st.lists(changes, min_size=1, max_size=2))
def test_a_record_json_that_was_edited(folder: Path, number: int, edits: list[Any]) -> None:
    file = record_file(number)
    value = json.loads(file.read_text())
    for kind, where, new in edits:
        value = change(value, where, kind, copy.deepcopy(new))
    check_reading(file, as_text(value))


@fuzz(100, 3000, st.integers(0, 30), bytes_changed)
def test_a_record_json_with_bytes_changed(folder: Path, number: int, edit: tuple[int, bytes]) -> None:
    file = record_file(number)
    body = bytearray(file.read_bytes())
    at = edit[0] % len(body)
    body[at : at + len(edit[1])] = edit[1]
    check_reading(file, bytes(body))


@fuzz(80, 2000, changes | bytes_changed | st.binary(max_size=80))
def test_an_atlas_json_that_was_edited(folder: Path, edit: Any) -> None:
    file = world() / "atlas.json"
    if isinstance(edit, bytes):
        check_reading(file, edit)
    elif len(edit) == 3:
        check_reading(file, as_text(change(json.loads(file.read_text()), edit[1], edit[0], copy.deepcopy(edit[2]))))
    else:
        body = bytearray(file.read_bytes())
        body[edit[0] % len(body) :][: len(edit[1])] = edit[1]
        check_reading(file, bytes(body[: edit[0] % len(body)]) + edit[1])


# -- specs -------------------------------------------------------------------------------------------------------------

LAYERS = pd.DataFrame(
    [(1, "conv1", "Conv2d", "8×9×9", 8, 8), (2, "3", "ReLU", "8×9×9", 0, 8), (3, "a=b", "Linear", "5", 9, 5),
     (4, "none", "Odd", "no tensor", 0, 0), (5, "logits", "Linear", "3", 9, 3)],
    columns=["number", "name", "kind", "shape", "parameters", "units"],
)  # fmt: skip
words = st.text(max_size=10) | st.sampled_from(
    ["umap", "tsne", "pca", "conv1", "3", "logits", "all", "joint", "mean", "max", "centre", "positions:3", "positions:0",
     "positions:999999", "positions:²", "-after-relu", "number:2", "n_neighbors", "min_dist", "perplexity", "epochs",
     "parallel", "1e999", "nan", "-0", "9" * 5000, "0x10", "١", "none", "a=b", "\0", "x" * 400, "_1_0"]
)  # fmt: skip
marks = st.sampled_from([":", ",", "=", "+", "", " ", "@", "/", "\n"])
sentences = st.lists(words | marks, max_size=8).map("".join)


@fuzz(400, 4000, st.lists(sentences, min_size=1, max_size=3), st.integers(0, 40))
def test_any_layout(folder: Path, texts: list[str], images: int) -> None:
    with one_line_or_nothing():
        chosen = choose_layers(["conv1", "logits"], LAYERS, functional="mean", outputs=3)
        layouts = parse_layouts(texts, ["conv1", "logits"])
        check_layouts(layouts, chosen, images)
        assert all(choice.neighbours_needed >= 0 and choice.title for choice in layouts)


@fuzz(400, 4000, sentences, sentences)
def test_any_layer_and_functional(folder: Path, text: str, functional: str) -> None:
    with one_line_or_nothing():
        for choice in choose_layers([text], LAYERS, functional=functional, outputs=3):
            assert str(Functional.parse(choice.functional)) == choice.functional
    with one_line_or_nothing():
        assert find_layer(LAYERS, text)["units"] > 0


specs = st.one_of(
    sentences,
    st.tuples(st.sampled_from(["torchvision:", "timm:", "atlas:", "python:", "tests.hostile_networks:", "math:", "os:", ""]),
              sentences).map("".join),
    st.sampled_from(["atlas:" + "x" * 300, "x" * 300 + ".pt2", "a\0b:c", "..:x", ".:x", "a..b:c", "tests.tiny:", ":x",
                     "timm:@none",
                     "tests.tiny:network.__class__", "tests.tiny:EDGE", "tests.tiny:Tiny.x", "builtins:print", "torch:nn",
                     "atlas:conv6@none@none", "atlas:/", "atlas:.", "/dev/zero.pt2", "a.PTH", "builtins:exit", "atlas:\0"]),
)  # fmt: skip


@fuzz(200, 3000, specs)
def test_any_network_spec(folder: Path, spec: str) -> None:
    with one_line_or_nothing():
        open_spec(spec, pretrained=False)


@fuzz(200, 5000, sentences, st.sampled_from(["conv4", "conv6", "residual-mlp"]) | words)
def test_any_argument_of_a_network(folder: Path, argument: str, net: str) -> None:
    with one_line_or_nothing():
        name, value = _read_argument(argument)
        assert name.isidentifier() and isinstance(value, int | float | str)
        train(net, "no-such-dataset", net_arguments={name: value})


@fuzz(200, 5000, sentences | st.text(max_size=300), st.none() | st.integers(-3, 9), sentences)
def test_any_source_of_images(folder: Path, source: str, limit: int | None, split: str) -> None:
    if source.partition(":")[0] in NAMES or Path(source[:200]).anchor:
        return  # a dataset would be fetched, a folder of this machine listed
    with one_line_or_nothing():
        choose_images(
            str(folder / source) if source else source,
            limit=limit, split=split or None, datasets=folder, atlas_root=folder / "a",
        )  # fmt: skip
    with one_line_or_nothing():
        choose_images(f"cifar10:{source}x", datasets=folder, atlas_root=folder / "a")


class_maps = st.one_of(
    st.binary(max_size=60),
    st.lists(st.tuples(words, words), max_size=5).map(lambda rows: "output,label\n" + "\n".join(map(",".join, rows))),
    anything.map(lambda value: json.dumps(value)), st.integers(1, 100_000).map(lambda depth: "[" * depth),
)  # fmt: skip


@fuzz(250, 5000, class_maps, st.sampled_from(["csv", "json"]), st.integers(0, 4), st.lists(words, max_size=4, unique=True))
def test_any_class_map(folder: Path, body: bytes | str, kind: str, outputs: int, labels: list[str]) -> None:
    file = folder / f"map.{kind}"
    file.write_bytes(body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass"))
    with one_line_or_nothing():
        found = match_classes(["cat", "dog", "3", ""][:outputs], outputs, labels, file=file)
        assert all(-1 <= label < max(len(labels), 1) for label in found.outputs)
        assert len(found.sentence.splitlines()) == 1
