"""What tests of the worker share: a private folder of sockets, an atlas whose network misbehaves, images, patience."""

from __future__ import annotations

import io
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import atlas
from tests import odd, tiny


@contextmanager
def private() -> Iterator[Path]:
    """Keep sockets in a folder of their own, short as their paths must be; end the workers that are left."""
    folder = Path(tempfile.mkdtemp(prefix="aw-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        patch.setenv(odd.GATE, str(folder / "gate"))
        yield folder
        for lock in folder.glob("*/*.alive"):
            for pid in holders(lock):
                os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder)


def holders(lock: Path) -> list[int]:
    """Return the processes other than this one that have a file open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(link.resolve() == lock for link in (process / "fd").iterdir()):
                found.append(int(process.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def odd_atlas(world: Path, folder: Path) -> Path:
    """Build a small atlas of the network that misbehaves; return its folder."""
    weights = {"weights": world / "weights.safetensors"}
    images = str(world / "images")
    atlas.build("tests.odd:network", images, cache=folder, layers=["act"], layouts=["pca"], limit=30, network=weights)
    return folder


def png(picture: np.ndarray) -> bytes:
    body = io.BytesIO()
    Image.fromarray(picture).save(body, "PNG")
    return body.getvalue()


def grey(value: int) -> bytes:
    return png(np.full((tiny.EDGE, tiny.EDGE, 3), value, np.uint8))


def new_image(seed: int, shape: str = "disc") -> bytes:
    return png(tiny.picture(shape, np.random.default_rng(1000 + seed)))


def later(act: Callable[[], Any]) -> Future:
    """Run `act` in a thread of its own; return its future."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(act)
    finally:
        pool.shutdown(wait=False)


def until(true: Callable[[], Any], seconds: float = 10) -> Any:
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)
    return value


def gone(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().split(")")[1].split()[0] == "Z"
    except OSError:
        return True
