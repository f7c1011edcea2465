"""Builds killed by SIGKILL at random moments, out of disk, and side by side: nothing half, nothing lost, the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from atlas.errors import AtlasError
from atlas.store import BUILDING, Store
from tests import killed

ROOT = Path(__file__).parents[1]


@dataclass
class Forker:
    """The process of tests/killed.py: `run` forks a build there."""

    process: subprocess.Popen
    seconds: float  # an undisturbed build takes

    def run(self, root: Path, seconds: float = -1) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{root} {seconds}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@pytest.fixture(scope="module")
def forker(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    command = [sys.executable, "-m", "tests.killed", str(world), str(tmp_path_factory.mktemp("scratch"))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None and process.stdin is not None
    yield Forker(process, float(process.stdout.readline()))
    process.stdin.close()
    process.stdout.close()
    process.wait()


@pytest.fixture(scope="module")
def undisturbed(forker: Forker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("undisturbed") / "atlas"
    assert forker.run(root) == "finished"
    return arrays(root)


def arrays(root: Path) -> dict[str, bytes]:
    """Every array, table, sheet and index of an atlas, by its path in it."""
    kinds = (".npy", ".parquet", ".webp", ".faiss")
    found = (p for p in root.rglob("*") if p.suffix in kinds and p.name != "hashes.parquet")
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in found}


def check_whole(root: Path) -> None:
    """Hold that every visible artifact is whole: each file that its record.json names is there and reads."""
    store = Store(root)
    for path in root.rglob("record.json"):
        if BUILDING in path.parts:
            continue
        header = store.header(path.parent.relative_to(root).as_posix())
        for name, where in header["files"].items():
            file = path.parent / where
            if where.endswith(".npy"):
                np.load(file, mmap_mode="r")
            elif where.endswith(".parquet"):
                pd.read_parquet(file)
            else:
                assert file.is_dir() and (name == "index" or any(file.iterdir())), name  # exact lists have no index
    folders = {p.parent for p in root.glob("*/record.json")} | {p.parent for p in root.glob("parts/*/*/record.json")}
    seen = [
        p for p in [*root.glob("*"), *root.glob("parts/*/*")] if p.is_dir() and p.name not in (BUILDING, "state", "parts")
    ]
    assert set(seen) == folders, "a folder without record.json is visible"


def kill_until(count: int, seed: int, forker: Forker, folder: Path, undisturbed: dict[str, bytes]) -> None:
    rng = np.random.default_rng(seed)
    kills = 0
    while kills < count:
        root = folder / f"{seed}-{kills}"
        while forker.run(root, seconds := rng.uniform(0, forker.seconds)) == "killed":
            kills += 1
            check_whole(root)
            if kills == count:
                assert forker.run(root) == "finished", seconds
                break
        check_whole(root)
        assert arrays(root) == undisturbed
        assert not [p for p in (root / BUILDING).iterdir() if p.is_dir()]
        shutil.rmtree(root)


@pytest.mark.parametrize("seed", range(4))
def test_a_build_killed_at_random_moments_goes_on_to_the_same_bytes(forker, tmp_path, undisturbed, seed):
    kill_until(5, seed, forker, tmp_path, undisturbed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 110))
def test_two_hundred_kills_change_nothing(forker, tmp_path, undisturbed, seed):
    kill_until(20, seed, forker, tmp_path, undisturbed)


@pytest.fixture
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tmpfs of 150 kB, which holds a part of the tiny atlas and not the whole."""
    disk = tmp_path_factory.mktemp("disk")  # as deep as the others: an atlas keeps the way from it to its images
    mount = subprocess.run(
        [*([] if os.geteuid() == 0 else ["sudo", "-n"]), "mount", "-t", "tmpfs", "-o", "size=150k", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
    )
    assert mount.returncode == 0, f"this test needs to mount a small tmpfs, as root or by sudo -n: {mount.stderr}"
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)  # arrays of it may still be mapped


def test_a_full_disk_is_one_clear_line_and_loses_nothing_finished(world, undisturbed, small_disk, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("atlas.activations.records.PART", killed.PART)
    root = small_disk / "atlas"
    with pytest.raises(AtlasError, match=r"full|free"):
        killed.build(world, root)
    check_whole(root)
    before = set(Store(root).artifacts())
    assert before, "something was finished before the disk was full"
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    killed.build(world, root)
    assert before <= set(Store(root).artifacts())
    assert arrays(root) == undisturbed


def test_two_builds_at_once_both_succeed(world, undisturbed, tmp_path):
    root = tmp_path / "atlas"
    script = (
        "from pathlib import Path; from tests import killed; killed.records.PART = killed.PART\n"
        f"killed.build(Path({str(world)!r}), Path({str(root)!r}))"
    )
    both = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.wait() == 0, process.stderr.read() if process.stderr else ""
        assert process.stderr is not None
        process.stderr.close()
    check_whole(root)
    assert arrays(root) == undisturbed
