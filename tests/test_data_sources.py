from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atlas.data.hashes import FileHashes
from atlas.data.records import COLUMNS, Images
from atlas.errors import AtlasError
from atlas.store import Store
from tests.heard import Heard
from tests.pictures import build, class_folders, gather, pattern, write


def test_a_subfolder_is_a_class_whatever_lies_deeper_in_it(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", {"dog": 2, "cat": 1, "cat/black": 1})
    images = build(str(root), tmp_path)
    assert images.table["path"].tolist() == ["cat/000.png", "cat/black/000.png", "dog/000.png", "dog/001.png"]
    assert images.table["label"].tolist() == ["cat", "cat", "dog", "dog"]
    assert images.labels == ["cat", "dog"] and images.title == "pets"
    assert images.codes.tolist() == [0, 0, 1, 1]
    assert (images.table["split"] == "unknown").all()
    assert list(images.table.columns) == list(COLUMNS)


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    images = build(class_folders(tmp_path / "photos", {"": 3}), tmp_path)
    assert images.table["label"].isna().all() and images.labels == []
    assert images.counts["unlabelled"] == 3 and images.codes.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("word", ["val", "valid", "validation", "test", "Test"])
def test_train_and_test_folders_are_splits_of_the_classes_in_them(tmp_path: Path, word: str) -> None:
    root = class_folders(tmp_path / "pets", {"train/cat": 2, "train/dog": 1, f"{word}/cat": 1})
    images = build(str(root), tmp_path)
    assert images.labels == ["cat", "dog"]
    expected = {("train", "cat"): 2, ("train", "dog"): 1, ("held-out", "cat"): 1}
    assert images.table.groupby(["split", "label"]).size().to_dict() == expected
    assert images.counts["splits"] == {"train": 3, "held-out": 1, "unknown": 0}


def test_folders_called_train_and_bus_are_classes(tmp_path: Path) -> None:
    images = build(str(class_folders(tmp_path / "vehicles", {"train": 1, "bus": 1, "bus/red": 1})), tmp_path)
    assert images.labels == ["bus", "train"] and (images.table["split"] == "unknown").all()


@pytest.mark.parametrize(("given", "kept"), [("train", "train"), ("validation", "held-out"), ("held-out", "held-out")])
def test_a_split_given_is_that_of_all_images(tmp_path: Path, given: str, kept: str) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 1, "dog": 1})
    assert (build(str(root), tmp_path, split=given).table["split"] == kept).all()
    with pytest.raises(AtlasError, match="no split 'tarin': did you mean train"):
        gather(str(root), tmp_path, split="tarin")


def test_size_mode_and_error_are_those_of_each_file(tmp_path: Path) -> None:
    root = tmp_path / "mixed"
    write(root / "grey.png", pattern(0, 24, 31))
    write(root / "rgb.JPG", pattern(1, 40, 20, rgb=True))
    write(root / "wide.png", pattern(2, 5, 9).astype(np.uint16) * 257)
    Image.new("CMYK", (6, 7)).save(root / "print.tif")
    Image.new("RGBA", (6, 7)).save(root / "clear.webp")
    Image.new("P", (6, 7)).save(root / "few.gif")
    (root / "torn.png").write_bytes((root / "grey.png").read_bytes()[:-40])
    (root / "void.png").write_bytes(b"")
    (root / "text.png").write_text("no picture")
    (root / "readme.txt").write_text("of another kind")
    (root / ".hidden.png").write_bytes((root / "grey.png").read_bytes())
    images = build(str(root), tmp_path)
    table = images.table.set_index("path")
    assert table.loc["grey.png", ["width", "height", "mode"]].tolist() == [31, 24, "L"]
    assert table.loc["rgb.JPG", ["width", "height", "mode"]].tolist() == [20, 40, "RGB"]
    assert table.loc["wide.png", "mode"] == "I;16" and table.loc["print.tif", "mode"] == "CMYK"
    assert table.loc["clear.webp", "mode"] == "RGBA" and table.loc["few.gif", "mode"] == "P"
    assert "truncated" in table.loc["torn.png", "error"]
    assert table.loc["torn.png", ["width", "height"]].tolist() == [31, 24]
    assert table.loc["void.png", "error"] == "the file is empty"
    assert table.loc["text.png", "error"] == "it is not an image of a known format"
    assert images.counts["undecodable"] == 3 and images.counts["images"] == 9 and images.counts["ignored"] == 2
    assert images.decoded.tolist() == np.flatnonzero(images.table["error"].isna()).tolist() and len(images.decoded) == 6


def test_an_image_is_known_by_its_bytes_and_a_duplicate_by_its_number(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 2, "dog": 1})
    shutil.copy(root / "cat" / "000.png", root / "cat" / "copy.png")
    shutil.copy(root / "cat" / "000.png", root / "dog" / "again.png")
    table = build(str(root), tmp_path).table
    first = hashlib.sha256((root / "cat" / "000.png").read_bytes()).hexdigest()[:16]
    assert table["image_id"].is_unique
    by_path = table.set_index("path")
    assert by_path.loc["cat/copy.png", "image_id"] == f"{first}-2"
    assert by_path.loc["dog/again.png", "image_id"] == f"{first}-3"
    assert table["duplicate_of"].tolist() == [-1, -1, 0, -1, 0]
    assert build(str(root), tmp_path).counts["duplicates"] == 2


def test_a_limit_is_stratified_seeded_and_stated(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 12, "dog": 6, "eel": 2})
    notes = Heard()
    images = build(str(root), tmp_path, limit=10, seed=4, progress=notes)
    assert images.table["label"].value_counts().to_dict() == {"cat": 6, "dog": 3, "eel": 1}
    assert images.table["path"].is_monotonic_increasing
    assert images.counts["limit"] == 10 and images.counts["available"] == 20 and images.labels == ["cat", "dog", "eel"]
    assert "10 of 20 images, in proportion over the labels, seed 4" in notes.lines
    assert (
        gather(str(root), tmp_path, limit=10, seed=4).recipe.key == gather(str(root), tmp_path, limit=10, seed=4).recipe.key
    )
    assert (
        gather(str(root), tmp_path, limit=10, seed=5).recipe.key != gather(str(root), tmp_path, limit=10, seed=4).recipe.key
    )
    assert gather(str(root), tmp_path, limit=99).recipe.key == gather(str(root), tmp_path).recipe.key
    with pytest.raises(AtlasError, match="a limit of 0 leaves no images"):
        gather(str(root), tmp_path, limit=0)


def test_the_recipe_follows_the_bytes_and_the_names(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 2})
    key = gather(str(root), tmp_path).recipe.key
    assert gather(str(root), tmp_path, seed=9).recipe.key == key  # without a limit no chance enters
    assert gather(str(root), tmp_path, title="Pets").recipe.key == key  # a title decides nothing
    (root / "cat" / "000.png").rename(root / "cat" / "first.png")
    renamed = gather(str(root), tmp_path).recipe.key
    assert renamed != key
    write(root / "cat" / "first.png", pattern(77))
    assert gather(str(root), tmp_path).recipe.key not in (key, renamed)


def test_files_are_hashed_once_and_remembered_in_the_atlas(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 3})
    for path in root.rglob("*.png"):
        os.utime(path, (1e9, 1e9))
    gather(str(root), tmp_path)
    hashes = FileHashes(tmp_path / "atlas" / "hashes.parquet")
    key = gather(str(root), tmp_path, hashes=hashes).recipe.key
    assert hashes.read == 0
    verified = FileHashes(tmp_path / "atlas" / "hashes.parquet", verify=True)
    assert gather(str(root), tmp_path, hashes=verified).recipe.key == key and verified.read == 3


def test_links_are_followed_only_where_they_stay_inside(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 1})
    write(tmp_path / "outside.png", pattern(50))
    (root / "cat" / "inside.png").symlink_to(root / "cat" / "000.png")
    (root / "cat" / "out.png").symlink_to(tmp_path / "outside.png")
    (root / "cat" / "loop").symlink_to(root)
    notes = Heard()
    images = build(str(root), tmp_path, progress=notes)
    assert images.table["path"].tolist() == ["cat/000.png", "cat/inside.png"]
    assert images.counts["refused"] == 2
    assert any(line.startswith("2 links or file names are refused") for line in notes.lines)


def test_a_name_that_is_not_utf_8_is_refused_and_counted(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 1})
    shutil.copy(os.fsencode(root / "cat" / "000.png"), os.fsencode(root / "cat") + b"/\xff.png")
    assert build(str(root), tmp_path).counts["refused"] == 1


def test_an_atlas_inside_the_images_folder_is_not_read_as_images(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 2})
    from atlas.data.sources import read_images

    for _ in range(2):
        gathered = read_images(str(root), datasets=tmp_path / "d", atlas_root=root / "atlas")
        images = Store(root / "atlas").build(gathered.recipe, Images, gathered.make)
        assert images.table["path"].tolist() == ["cat/000.png", "cat/001.png"]
    with pytest.raises(AtlasError, match=r"images and atlas would share the folder .*pets: choose another"):
        read_images(str(root), datasets=tmp_path / "d", atlas_root=root)


def test_when_nothing_decodes_the_first_reason_is_said(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"")
    with pytest.raises(AtlasError, match=r"none of the 1 images decodes; the first is a\.png: the file is empty"):
        build(str(tmp_path / "bad"), tmp_path)
    with pytest.raises(AtlasError, match="none of the 1 images decodes"):
        gather(str(tmp_path / "bad"), tmp_path).sample()


def test_a_sample_is_the_first_image_that_decodes_with_the_common_shape(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 3})
    sample = gather(str(root), tmp_path).sample()
    assert np.array_equal(np.asarray(sample.image), pattern(0)) and sample.shape == (20, 20) and sample.tensor is None
    write(root / "cat" / "odd.png", pattern(9, 30, 10))
    (root / "cat" / "000.png").write_bytes(b"")
    sample = gather(str(root), tmp_path).sample()
    assert np.array_equal(np.asarray(sample.image), pattern(1)) and sample.shape is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "no images in .*empty: it has no files; images are files that end in"),
        ("texts", r"no images in .*texts: it has 2 \.txt; images are files"),
        ("texts/a.txt", r"no images in .*a\.txt: the file is no \.csv or \.parquet table"),
        ("one/x.png", r"no images in .*x\.png: the file is one image: give its folder"),
        (
            "nowhere",
            "no images at .*nowhere: there is no such folder or table; the datasets known by name are fashion-mnist",
        ),
        ("fashion-mnits", "no images at .*fashion-mnits: there is no such folder or table; did you mean fashion-mnist"),
    ],
)
def test_a_source_without_images_says_what_was_found(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    for letter in "ab":
        (tmp_path / "texts" / f"{letter}.txt").write_text("words")
    write(tmp_path / "one" / "x.png", pattern(0))
    with pytest.raises(AtlasError, match=message) as caught:
        gather(str(tmp_path / name), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_thing_that_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        AtlasError, match=r"a int is no source of images: give a path, a name, or an object with len\(\) and \[\]"
    ):
        gather(7, tmp_path)


@pytest.mark.parametrize("names", [("train", "held-out"), ("training", "dev"), ("train", "test")])
def test_split_folders_are_known_by_every_word_for_them(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        class_folders(tmp_path / "pets" / name, {"cat": 2, "dog": 2})
    images = gather(str(tmp_path / "pets"), tmp_path).make()
    assert images.labels == ["cat", "dog"]
    assert images.table["split"].value_counts().to_dict() == {"train": 4, "held-out": 4}


def test_flat_split_folders_are_splits_not_classes(tmp_path: Path) -> None:
    class_folders(tmp_path / "pets", {"train": 2, "test": 2})
    images = gather(str(tmp_path / "pets"), tmp_path).make()
    assert images.labels == [] and set(images.table["split"]) == {"train", "held-out"}


def test_files_of_other_kinds_are_told_by_kind(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 2})
    for k in range(3):
        (root / "cat" / f"{k}.heic").write_bytes(b"x")
    heard = Heard()
    gather(str(root), tmp_path, progress=heard)
    assert heard.lines == ["3 files are of no kind that is read, and are left out: 3 .heic"]
