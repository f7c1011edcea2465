"""Hostile images, names, places and numbers of images, through the real command."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import atlas
from atlas.data.decoding import decode, look
from tests import hostile
from tests.command import bound, build, clear_refusal, files_of, run, success


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[atlas.Atlas, str]:
    """The atlas of every odd image beside twelve plain ones, and what was told while it was built."""
    folder = tmp_path_factory.mktemp("odd")
    answer = success(build(hostile.images(folder / "images"), folder / "atlas"))
    return atlas.open(folder / "atlas"), answer.err


def test_each_odd_image_is_read_or_counted_and_told(odd: tuple[atlas.Atlas, str]) -> None:
    opened, said = odd
    table = opened.images()
    errors = table.set_index("path")["error"]
    expected = {f"odd/{name}": good for name, (good, _) in hostile.IMAGES.items()}
    assert {path: bool(pd.isna(errors[path])) for path in expected} == expected
    bad = sum(not good for good in expected.values())
    assert f"{bad} of {len(table)} images do not decode and are left out:" in said
    assert opened.image_record.counts["undecodable"] == bad
    points = set(np.asarray(opened.activations().point_image).tolist())
    assert points == set(np.flatnonzero(table["error"].isna()).tolist())
    assert f"{bad} undecodable" in success(run("show", opened.store.root)).out


def test_a_small_file_with_a_huge_header_costs_no_memory(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in hostile.IMAGES:
        if name.startswith("huge"):
            seen = look(hostile.IMAGES[name][1]())
            assert seen.image is None and "million pixels" in str(seen.error), name
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100_000, f"{grown} kB: the smallest of them holds 2.5 GB of pixels"


def test_colours_of_16_bits_come_out_as_8_or_are_refused_but_never_others() -> None:
    image = decode(hostile.tiff_16_bit_colour()) if hostile.IMAGES["colour-16.tif"][0] else None
    if image is not None:
        assert np.abs(np.asarray(image).astype(int) - hostile.RGB).max() <= 1


def test_an_unknown_exif_rotation_is_no_rotation() -> None:
    upright, unknown = (np.asarray(decode(hostile.rotated(turn))) for turn in (1, 9))
    assert np.array_equal(upright, unknown)


def test_a_query_of_each_file_is_an_answer_or_one_line(odd: tuple[atlas.Atlas, str], tmp_path: Path) -> None:
    opened, _ = odd
    for name in ("point.png", "line.png", "cut.jpg", "huge.png", "zip.png", "empty.png"):
        file = tmp_path / name
        file.write_bytes(hostile.IMAGES[name][1]())
        answer = run("query", opened.store.root, file, "-k", 3, "--json")
        if hostile.IMAGES[name][0]:
            assert len(json.loads(success(answer).out)["neighbours"]) == 3
        else:
            row = next(k for k, path in enumerate(opened.images()["path"]) if path.endswith(name))
            clear_refusal(answer, f"{name} does not decode")
            clear_refusal(run("query", opened.store.root, row), f"row {row} has no point")


@pytest.mark.parametrize("name", ["cut.jpg", "zip.png", "huge.bmp", "empty.png"])
def test_a_new_file_that_does_not_decode_says_why(odd: tuple[atlas.Atlas, str], tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(hostile.IMAGES[name][1]() + (b"" if name == "empty.png" else b"new bytes"))
    if name == "empty.png":  # its bytes are known; another empty file is the same image
        return
    clear_refusal(run("query", odd[0].store.root, tmp_path / name), "does not decode", name)


# -- names ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> tuple[atlas.Atlas, str]:
    """The atlas of images with hostile names, each class with one that does not decode."""
    folder = tmp_path_factory.mktemp("named")
    hostile.names(folder / "images")
    for name in hostile.NAMES:
        (folder / "images" / name / f"{name}.jpg").write_bytes(b"")
    answer = success(build(folder / "images", folder / "atlas", "--title", hostile.NAMES[4]))
    return atlas.open(folder / "atlas"), answer.err


def test_every_name_is_kept_as_it_is_and_none_reaches_the_terminal_raw(named: tuple[atlas.Atlas, str]) -> None:
    opened, said = named
    table = opened.images()
    assert opened.image_record.labels == sorted(hostile.NAMES)
    assert sorted(table.loc[table["error"].isna(), "path"]) == sorted(f"{name}/{name}.png" for name in hostile.NAMES)
    assert "1 links or file names are refused" in said and opened.image_record.counts["refused"] == 1
    assert "\\x1b[31mred\\x07/\\x1b[31mred\\x07.jpg: the file is empty" in said


def test_the_verbs_show_no_name_raw(named: tuple[atlas.Atlas, str], tmp_path: Path) -> None:
    root = named[0].store.root
    for arguments in (
        ["show", root],
        ["list", root.parent],
        ["query", root, 3],
        ["patterns", root, "-o", tmp_path / "p.png"],
    ):
        success(run(*arguments))
    rows = json.loads(run("query", root, 3, "-k", 12, "--json").out)["neighbours"]
    assert {row["label"] for row in rows} <= set(hostile.NAMES)
    success(run("query", root, 3, "--sheet", tmp_path / "s.png"))


@pytest.mark.parametrize("name", ["x" * 300, "a\nb", "nothing/" * 700, "~nobody-here/x", "9" * 5000, "-1", "\udcff.png"])
def test_a_query_of_a_hostile_name_is_one_line(named: tuple[atlas.Atlas, str], name: str) -> None:
    clear_refusal(run("query", named[0].store.root, "--", name), "no row")


@pytest.mark.parametrize("name", ["x" * 300, "a\nb", "~nobody-here/x", "\udcff", "cifar10:\n", "y/" * 3000, ""])
def test_a_source_of_a_hostile_name_is_one_line(tmp_path: Path, name: str) -> None:
    clear_refusal(build(name, tmp_path / "a"))
    assert not (tmp_path / "a").exists()


# -- places --------------------------------------------------------------------------------------------------------------


def test_links_loops_pipes_and_sockets_are_counted_and_never_opened(tmp_path: Path) -> None:
    hostile.places(tmp_path / "images", tmp_path / "outside.png")
    started = time.monotonic()
    answer = success(build(tmp_path / "images", tmp_path / "a"))
    assert time.monotonic() - started < 20
    assert "8 links or file names are refused: they lead out of the folder, are no files" in answer.err
    assert list(atlas.open(tmp_path / "a").images()["path"]) == [f"cat/{n:03d}.png" for n in range(6)]


def test_a_table_that_names_a_pipe_or_a_folder_keeps_its_row(tmp_path: Path) -> None:
    hostile.places(tmp_path / "images", tmp_path / "outside.png")
    names = ["cat/000.png", "cat/001.png", "pipe.png", "folder.png", "socket.png", "nowhere.png", "cat/002.png"]
    (tmp_path / "images" / "t.csv").write_text("path\n" + "\n".join(names) + "\n")
    assert "4 of 7 images do not decode" in success(build(tmp_path / "images" / "t.csv", tmp_path / "a")).err
    errors = atlas.open(tmp_path / "a").images().set_index("path")["error"]
    assert errors["pipe.png"] == "it is no file but a pipe" and errors["folder.png"] == "it is no file but a folder"
    clear_refusal(run("query", tmp_path / "a", tmp_path / "images" / "pipe.png"), "no file")


def test_files_and_folders_that_may_not_be_read_are_told_and_counted(tmp_path: Path) -> None:
    folder, cache = hostile.closed(tmp_path / "images"), tmp_path / "a"
    done = bound("build", "tests.tiny:network", folder, "--cache", cache, "--layout=pca", "--batch-size=16")
    assert done.code == 0 and "Traceback" not in done.err, done.err
    assert "1 links or file names are refused" in done.err and "may not be read" in done.err
    assert "1 of 7 images do not decode" in done.err
    assert "cat/closed.png: it may not be read by this user" in done.err
    folder.chmod(0)
    done = bound("build", "tests.tiny:network", folder, "--cache", tmp_path / "b")
    folder.chmod(0o755)
    clear_refusal(done, "cannot be read: Permission denied")


# -- how many ------------------------------------------------------------------------------------------------------------


def test_one_image_makes_no_map_and_says_so_before_the_work(tmp_path: Path) -> None:
    folder = hostile.plain(tmp_path / "images", 1)
    said = clear_refusal(
        build(folder, tmp_path / "a"), "PCA of", "needs at least 2 points and there are 1", "give more images"
    )
    assert "--layout pca" not in said and not (tmp_path / "a").exists()
    clear_refusal(build(folder, tmp_path / "a", "--layout=umap"), "needs at least 4 points and there are 1")


def test_two_images_make_an_atlas(tmp_path: Path) -> None:
    success(build(hostile.plain(tmp_path / "images", 2), tmp_path / "a"))
    assert len(json.loads(success(run("query", tmp_path / "a", 0, "--json")).out)["neighbours"]) == 1


def test_one_class_has_patterns(tmp_path: Path) -> None:
    hostile.plain(tmp_path / "images" / "cat", 6)
    (tmp_path / "images" / "empty").mkdir()
    success(build(tmp_path / "images", tmp_path / "a"))
    success(run("patterns", tmp_path / "a", "-o", tmp_path / "p.png"))
    assert atlas.open(tmp_path / "a").image_record.labels == ["cat"]


def test_a_folder_of_empty_classes_says_what_it_has(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
    clear_refusal(
        build(tmp_path / "images", tmp_path / "a"), "no images in", "it has no files; images are files that end in"
    )


def test_a_thousand_classes_have_patterns_and_a_page(tmp_path: Path) -> None:
    from atlas.pages.view import View

    success(build(hostile.classes(tmp_path / "images", 1000), tmp_path / "a"))
    success(run("patterns", tmp_path / "a", "-o", tmp_path / "p.png"))
    view = View(tmp_path / "a")
    assert len(view.images.labels) == 1000 and view.column(view.images_name, "label").max() == 999


def test_images_that_are_all_equal_say_so_and_lose_nothing(tmp_path: Path) -> None:
    folder = hostile.plain(tmp_path / "images" / "cat", 1)
    for number in range(1, 6):
        os.link(folder / "000.png", folder / f"{number:03d}.png")
    clear_refusal(
        build(folder, tmp_path / "a"), "all 6 vectors are equal: nothing to lay out; choose another layer or other"
    )
    before = files_of(tmp_path / "a")
    assert any("/vectors.npy" in name for name in before), "the pass is kept"
    hostile.plain(tmp_path / "more", 3, first=500)
    for path in (tmp_path / "more").iterdir():
        path.rename(folder / f"z{path.name}")
    success(build(folder, tmp_path / "a"))
    after = files_of(tmp_path / "a")
    assert {name: after[name] for name in before} == before


def test_more_neighbours_than_images_are_all_of_them_and_told(tmp_path: Path) -> None:
    success(build(hostile.plain(tmp_path / "images", 5), tmp_path / "a"))
    for wanted in (4, 5, 10**12):
        answer = json.loads(success(run("query", tmp_path / "a", 0, "-k", wanted, "--json")).out)
        assert len(answer["neighbours"]) == 4
        assert bool(answer["note"]) == (wanted > 4)
    for wanted in (0, -3):
        clear_refusal(run("query", tmp_path / "a", 0, "-k", wanted), f"k is {wanted}: at least 1 would do")


def test_ten_thousand_files_in_one_folder_are_listed_in_a_moment(tmp_path: Path) -> None:
    folder = hostile.many(tmp_path / "images", 10_000)
    started = time.monotonic()
    answer = success(build(folder, tmp_path / "a", "--limit", 40, "--dry-run"))
    assert "images   40" in answer.out and time.monotonic() - started < 10


@pytest.mark.long
def test_a_hundred_thousand_files_in_one_folder_make_an_atlas(tmp_path: Path) -> None:
    folder = hostile.many(tmp_path / "images")
    answer = success(build(folder, tmp_path / "a", "--limit", 2000))
    assert "2000 of 100000 images" in answer.err and len(atlas.open(tmp_path / "a").images()) == 2000
    success(build(folder, tmp_path / "b", "--layer=logits"))
    assert len(atlas.open(tmp_path / "b").images()) == 100_000


# -- going while they are read -------------------------------------------------------------------------------------------


def test_images_that_go_during_the_build_are_one_line_and_the_rest_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atlas.activations import extract

    folder = hostile.plain(tmp_path / "images", 8)
    body, before = (folder / "005.png").read_bytes(), extract.run

    def lose(*arguments: object, **options: object) -> object:
        (folder / "005.png").unlink()
        return before(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(extract, "run", lose)
    clear_refusal(build(folder, tmp_path / "a"), "image 5 cannot be read any more", "build again")
    monkeypatch.undo()
    kept = files_of(tmp_path / "a")
    (folder / "005.png").write_bytes(body)
    success(build(folder, tmp_path / "a"))
    assert kept.items() <= files_of(tmp_path / "a").items()


def test_an_image_whose_row_is_asked_for_after_it_has_gone_is_shown_by_its_thumbnail(tmp_path: Path) -> None:
    folder = hostile.plain(tmp_path / "images", 6)
    success(build(folder, tmp_path / "a"))
    (folder / "002.png").unlink()
    success(run("query", tmp_path / "a", 2, "-k", 3, "--sheet", tmp_path / "s.png"))
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.width > 500
