from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pandas as pd
import pytest

from atlas.data.hashes import FileHashes
from atlas.errors import AtlasError


def old_file(path: Path, body: bytes, age: float = 100.0) -> Path:
    path.write_bytes(body)
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_file_is_read_once_and_again_only_when_it_has_changed(tmp_path: Path) -> None:
    paths = [old_file(tmp_path / f"{n}.bin", bytes([n])) for n in range(5)]
    expected = [hashlib.sha256(bytes([n])).hexdigest() for n in range(5)]
    first = FileHashes(tmp_path / "atlas" / "hashes.parquet")
    assert first.of_all(paths) == expected and first.read == 5
    second = FileHashes(tmp_path / "atlas" / "hashes.parquet")
    assert second.of_all(paths) == expected and second.read == 0
    old_file(paths[2], b"new", age=50)
    third = FileHashes(tmp_path / "atlas" / "hashes.parquet")
    assert third.of_all(paths)[2] == hashlib.sha256(b"new").hexdigest() and third.read == 1


def test_a_file_put_in_anothers_place_with_its_time_and_size_is_noticed(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a.bin", b"one")
    FileHashes(tmp_path / "h.parquet").of_all([path])
    moment = path.stat().st_mtime_ns
    other = tmp_path / "b.bin"
    other.write_bytes(b"two")
    os.utime(other, ns=(moment, moment))
    other.replace(path)
    assert FileHashes(tmp_path / "h.parquet").of(path) == hashlib.sha256(b"two").hexdigest()


def test_verify_reads_every_file_whatever_is_remembered(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a.bin", b"one")
    FileHashes(tmp_path / "h.parquet").of_all([path])
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # hides the change
    assert FileHashes(tmp_path / "h.parquet").of(path) == hashlib.sha256(b"one").hexdigest()
    checked = FileHashes(tmp_path / "h.parquet", verify=True)
    assert checked.of_all([path]) == [hashlib.sha256(b"two").hexdigest()]
    assert FileHashes(tmp_path / "h.parquet").of(path) == hashlib.sha256(b"two").hexdigest()


def test_a_file_written_this_moment_is_not_remembered(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"one")
    hashes = FileHashes(tmp_path / "h.parquet")
    hashes.of_all([tmp_path / "a.bin"])
    assert not (tmp_path / "h.parquet").exists()


def test_two_builds_remember_together_and_a_damaged_memory_is_forgotten(tmp_path: Path) -> None:
    a, b = old_file(tmp_path / "a.bin", b"a"), old_file(tmp_path / "b.bin", b"b")
    one, two = FileHashes(tmp_path / "h.parquet"), FileHashes(tmp_path / "h.parquet")
    one.of_all([a])
    two.of_all([b])
    assert len(pd.read_parquet(tmp_path / "h.parquet")) == 2
    (tmp_path / "h.parquet").write_bytes(b"PAR1 nonsense")
    again = FileHashes(tmp_path / "h.parquet")
    assert again.of_all([a, b]) == [hashlib.sha256(x).hexdigest() for x in (b"a", b"b")] and again.read == 2
    assert not list(tmp_path.glob(".h.parquet-*"))


def test_paths_are_remembered_relative_to_the_atlas(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a.bin", b"a")
    FileHashes(tmp_path / "atlas" / "h.parquet").of_all([path])
    assert pd.read_parquet(tmp_path / "atlas" / "h.parquet")["path"].tolist() == ["../a.bin"]


def test_a_file_that_cannot_be_read_has_no_hash(tmp_path: Path) -> None:
    assert FileHashes().of_all([tmp_path / "gone", tmp_path, Path("a\0b")]) == [None, None, None]


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AtlasError, match=r"cannot write .*h\.parquet .*: choose another folder with --cache"):
        FileHashes(tmp_path / "file" / "h.parquet").of_all([old_file(tmp_path / "a.bin", b"a")])
