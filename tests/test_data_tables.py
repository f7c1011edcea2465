from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from atlas.errors import AtlasError
from tests.pictures import build, class_folders, gather, pattern, write


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with photos/000.png … 003.png."""
    class_folders(tmp_path / "set", {"photos": 4})
    return tmp_path / "set"


def saved(table: pd.DataFrame, folder: Path, kind: str) -> str:
    path = folder / f"table.{kind}"
    table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path, index=False)
    return str(path)


NAMES = [f"photos/{n:03d}.png" for n in range(4)]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_names_files_labels_splits_and_the_users_own_columns(photos: Path, tmp_path: Path, kind: str) -> None:
    given = pd.DataFrame({
        "weight": [1.5, np.nan, 3.0, 4.0],
        "path": NAMES[::-1],
        "label": ["dog", "cat", None, "dog"],
        "split": ["Train", "dev", "testing", "whatever"],
        "note": ["é", "b,c", 'd"', None],
        "width": [1, 2, 3, 4],
        "image_id": list("wxyz"),
    })  # fmt: skip
    images = build(saved(given, photos, kind), tmp_path)
    assert images.table["path"].tolist() == NAMES[::-1]
    assert images.table["label"].fillna("").tolist() == ["dog", "cat", "", "dog"] and images.labels == ["cat", "dog"]
    assert images.table["split"].tolist() == ["train", "held-out", "held-out", "unknown"]
    assert images.table["weight"].equals(given["weight"])
    assert images.table["note"].fillna("").tolist() == ["é", "b,c", 'd"', ""]
    assert images.table["user.width"].tolist() == [1, 2, 3, 4] and images.table["user.image_id"].tolist() == list("wxyz")
    assert (images.table["width"] == 20).all() and images.title == "table"
    assert images.counts["unlabelled"] == 1


def test_labels_are_names_even_where_they_look_like_numbers_or_nothing(photos: Path, tmp_path: Path) -> None:
    given = pd.DataFrame({"path": NAMES, "label": ["007", "NA", "7", ""]})
    assert build(saved(given, photos, "csv"), tmp_path).table["label"].fillna("–").tolist() == ["007", "NA", "7", "–"]
    numbers = pd.DataFrame({"path": NAMES, "label": [3, 10, None, 3]})  # a column of floats
    assert build(saved(numbers, photos, "parquet"), tmp_path).table["label"].fillna("–").tolist() == ["3", "10", "–", "3"]


def test_a_limit_keeps_the_users_columns_with_their_rows(photos: Path, tmp_path: Path) -> None:
    given = pd.DataFrame({"path": NAMES, "number": range(4)})
    table = build(saved(given, photos, "csv"), tmp_path, limit=2).table
    assert [NAMES[n] for n in table["number"]] == table["path"].tolist()


def test_missing_files_and_repeated_paths_keep_their_rows(photos: Path, tmp_path: Path) -> None:
    given = pd.DataFrame({"path": [NAMES[0], "gone.png", NAMES[0], "gone.png", NAMES[1]]})
    images = build(saved(given, photos, "csv"), tmp_path)
    assert images.table["error"].fillna("").tolist() == ["", "there is no such file", "", "there is no such file", ""]
    assert images.table["duplicate_of"].tolist() == [-1, -1, 0, -1, -1]
    assert images.table["image_id"].is_unique
    assert images.counts["undecodable"] == 2 and images.counts["duplicates"] == 1


def test_an_absolute_path_below_the_tables_folder_is_kept_relative(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(photos)
    given = pd.DataFrame({"path": [str(photos / NAMES[0]), "photos/../photos/001.png", str(tmp_path / "alias" / NAMES[2])]})
    saved(given, photos, "csv")
    assert build(str(tmp_path / "alias" / "table.csv"), tmp_path).table["path"].tolist() == NAMES[:3]


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "photos/../../secret.png", "link.png", ".."])
def test_a_path_that_leads_out_of_the_tables_folder_is_refused(photos: Path, tmp_path: Path, path: str) -> None:
    write(tmp_path / "secret.png", pattern(0))
    (photos / "link.png").symlink_to(tmp_path / "secret.png")
    table = saved(pd.DataFrame({"path": [NAMES[0], path]}), photos, "csv")
    with pytest.raises(
        AtlasError, match=r"1 of the paths in .*table\.csv lead out of its folder .*: put the table above"
    ) as caught:
        gather(table, tmp_path)
    assert path in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("file,class\na.png,dog\n", "has no column `path`: its columns are file, class; name the column of image files so"),
        ("path,label\n", "has no rows: each row names one image in its column `path`"),
        ("path,label\n,dog\n", "has no path in row 1: each row names one image"),
        ("", r"the table .*table\.csv cannot be read"),
        ('path\n"a', r"the table .*table\.csv cannot be read"),
    ],
)
def test_a_table_that_does_not_serve_says_why(tmp_path: Path, body: str, message: str) -> None:
    (tmp_path / "table.csv").write_text(body)
    with pytest.raises(AtlasError, match=message) as caught:
        gather(str(tmp_path / "table.csv"), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_parquet_file_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "table.parquet").write_bytes(b"PAR1 no, it is not")
    with pytest.raises(AtlasError, match=r"the table .*table\.parquet cannot be read"):
        gather(str(tmp_path / "table.parquet"), tmp_path)


def test_paths_in_the_index_of_a_parquet_table_are_found(photos: Path, tmp_path: Path) -> None:
    pd.DataFrame({"path": NAMES, "label": list("aabb")}).set_index("path").to_parquet(photos / "table.parquet")
    assert build(str(photos / "table.parquet"), tmp_path).table["path"].tolist() == NAMES


def test_the_recipe_follows_the_users_columns(photos: Path, tmp_path: Path) -> None:
    first = gather(saved(pd.DataFrame({"path": NAMES, "x": range(4)}), photos, "csv"), tmp_path).recipe.key
    second = gather(saved(pd.DataFrame({"path": NAMES, "x": [0, 1, 2, 9]}), photos, "csv"), tmp_path).recipe.key
    assert first != second
