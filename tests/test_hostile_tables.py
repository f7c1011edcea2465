"""Hostile tables, through the real command."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import atlas
from tests import hostile
from tests.command import build, clear_refusal, run, success
from tests.heard import Heard

REFUSALS = {
    "escaping.csv": "lead out of its folder",
    "escaping-by-a-link.csv": "lead out of its folder",
    "no-path.csv": "has no column `path`",
    "wrong-separator.csv": "its columns are path;label",
    "wider-than-its-head.csv": "cannot be read (Length of header or names does not match length of data",
    "nul.csv": "has a path with a NUL in row 1",
    "long-path.csv": "has a path of 10485765 characters in row 1",
    "utf-16.csv": "cannot be read ('utf-8' codec can't decode",
    "not-utf-8.csv": "cannot be read ('utf-8' codec can't decode",
    "open-quote.csv": "cannot be read (Error tokenizing data",
    "empty.csv": "cannot be read (No columns",
    "picture.csv": "cannot be read",
    "path-of-lists.parquet": "has a ndarray for a path in row 1: make the column `path` text",
    "path-of-records.parquet": "has a dict for a path in row 1",
    "two-paths.parquet": "cannot be read",
    "cut.parquet": "cannot be read",
    "foot.parquet": "cannot be read",
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of hostile tables and their pictures."""
    return hostile.tables(tmp_path_factory.mktemp("tables"))


def test_every_table_of_the_corpus_is_tested(tables: Path) -> None:
    there = {path.name for path in tables.iterdir() if path.suffix in (".csv", ".parquet")}
    assert {name for name in there if not name.startswith("good-")} == set(REFUSALS)


@pytest.mark.parametrize("name", REFUSALS)
def test_a_table_that_cannot_serve_is_one_line_and_builds_nothing(tables: Path, tmp_path: Path, name: str) -> None:
    clear_refusal(build(tables / name, tmp_path / "a"), REFUSALS[name])
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("name", "rows", "told"),
    [
        ("good-bom.csv", 6, ""),
        ("good-missing.csv", 8, "2 of 8 images do not decode and are left out:"),
        ("good-duplicates.csv", 12, "exact duplicates of other images: 6"),
        ("good-large-cell.csv", 2, ""),
        ("good-nul-in-a-note.csv", 2, ""),
        ("good-nested.parquet", 6, "3 columns of lists or the like are kept as text: lists, records, map"),
    ],
)
def test_an_odd_table_serves_and_what_is_odd_is_told(tables: Path, tmp_path: Path, name: str, rows: int, told: str) -> None:
    answer = success(build(tables / name, tmp_path / "a"))
    assert told in answer.err and len(atlas.open(tmp_path / "a").images()) == rows
    success(run("show", tmp_path / "a"))
    assert len(json.loads(run("query", tmp_path / "a", 0, "--json").out)["neighbours"]) >= 1


def test_every_column_of_a_nested_table_reaches_the_page(tables: Path, tmp_path: Path) -> None:
    from atlas.pages.view import View

    success(build(tables / "good-nested.parquet", tmp_path / "a"))
    table = atlas.open(tmp_path / "a").images()
    given = pd.read_parquet(tables / "good-nested.parquet")
    assert table["label"].fillna("–").tolist() == ["–", "bytes", "a", "a", "b", "b"]
    assert table["lists"].fillna("–").tolist() == ["[1, 2]", "[]", "–", "[3]", "[4]", "[5]"]
    assert table["decimal"].tolist() == given["decimal"].tolist() and table["words"].tolist() == given["words"].tolist()
    assert (table["user.image_id"] == "<script>").all() and (table["user.right"] == "mine").all()
    view = View(tmp_path / "a")
    for row in range(6):
        json.dumps(view.detail(row), allow_nan=False)


def test_a_missing_file_that_comes_back_is_an_image_again(tmp_path: Path) -> None:
    hostile.plain(tmp_path / "set", 5)
    (tmp_path / "set" / "t.csv").write_text("path\n" + "".join(f"{n:03d}.png\n" for n in range(6)))
    assert "1 of 6 images do not decode" in success(build(tmp_path / "set" / "t.csv", tmp_path / "a")).err
    hostile.plain(tmp_path / "more", 1, first=700)
    (tmp_path / "more" / "000.png").rename(tmp_path / "set" / "005.png")
    success(build(tmp_path / "set" / "t.csv", tmp_path / "a"))
    assert atlas.open(tmp_path / "a").images()["error"].isna().all()


def test_a_table_is_read_the_same_from_python(tables: Path, tmp_path: Path) -> None:
    heard = Heard()
    opened = atlas.build(
        "tests.tiny:network", str(tables / "good-nested.parquet"), cache=tmp_path / "a", layouts=["pca"], progress=heard
    )
    assert len(opened.images()) == 6 and any("kept as text" in line for line in heard.lines)
