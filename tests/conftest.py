"""What the tests share: capped threads, the tiny world, an atlas of it, and the demo's atlas built once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from atlas.machine import cap_threads

cap_threads(1)  # before anything imports torch or numba: the tests share two cores with browsers and child processes
os.environ.setdefault("TQDM_DISABLE", "1")

import pytest  # noqa: E402

import atlas  # noqa: E402
from tests import tiny, workers  # noqa: E402

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def private_workers() -> Iterator[None]:
    """Workers that tests start meet their clients in a folder of this run alone, and end with it."""
    with workers.private():
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``images/`` (three shapes, train and test) and ``weights.safetensors`` of the tiny network."""
    folder = tmp_path_factory.mktemp("world")
    tiny.write_images(folder / "images")
    tiny.train(folder / "weights.safetensors")
    return folder


@pytest.fixture(scope="session")
def tiny_atlas(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[atlas.Atlas]:
    """The real pipeline over the tiny world: three layers, four layouts. It lies alone in its folder, which tests serve."""
    cache = tmp_path_factory.mktemp("cache")
    yield atlas.build(
        tiny.MODEL,
        str(world / "images"),
        cache=cache / "tiny",
        layers=["pool", "act", "logits"],
        layouts=["umap:act", "umap:joint", "tsne:act", "pca:act"],
        network={"weights": world / "weights.safetensors"},
    )
    beside = sorted(path.parent.name for path in cache.glob("*/atlas.json"))
    assert beside == ["tiny"], "a server over this folder opens what is alone in it: copy the atlas elsewhere"


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run from the project's root, where ``tests.tiny`` is importable by name."""
    monkeypatch.chdir(ROOT)
    yield
