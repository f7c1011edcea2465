"""A corpus of hostile inputs, the same bytes each time: ``python -m tests.hostile FOLDER`` writes it.

``images``, ``names``, ``places``, ``tables`` and ``many`` write one kind each into a folder; the networks and checkpoints
are in `tests.hostile_networks`.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.pictures import pattern

RGB, GREY = pattern(1, 24, 31, rgb=True), pattern(2, 24, 31)
HUGE = 50_000  # pixels of each side: 2 500 million of them in a file of a few bytes


def encoded(array: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    """Return an image as the bytes of a file."""
    file = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(file, kind, **options)
    return file.getvalue()


# -- images ------------------------------------------------------------------------------------------------------------


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header promises a size that its few bytes do not hold."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"\0" * 100)) + png_chunk(b"IEND", b"")


def bmp_claiming(width: int, height: int) -> bytes:
    return struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 154, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + b"\0" * 100


def gif_claiming(width: int, height: int) -> bytes:
    """A GIF of 1 × 1 whose one frame is said to be as large as asked."""
    screen = struct.pack("<6sHHBBB", b"GIF89a", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0) + b"\x02\x02\x44\x01\0"
    return screen + frame + b"\x3b"


def jpeg_claiming(width: int, height: int) -> bytes:
    whole = bytearray(encoded(RGB, "JPEG"))
    at = whole.index(b"\xff\xc0") + 5  # the frame header: length, precision, then height and width
    whole[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(whole)


def tiff_claiming(width: int, height: int) -> bytes:
    """A TIFF of one strip of a hundred bytes."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 100)]
    body = b"\0" * 100
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"


def tiff_16_bit_colour() -> bytes:
    """A TIFF of three 16-bit samples per pixel, which Pillow itself cannot write."""
    pixels = (RGB.astype("<u2") * 257).tobytes()
    height, width = RGB.shape[:2]
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 8 + len(pixels)), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 8), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, len(pixels)), (284, 3, 1, 1),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(pixels) + 6)
    return head + pixels + struct.pack("<HHH", 16, 16, 16) + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"


def palette_with_transparency() -> bytes:
    picture = Image.new("P", (9, 7))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((0, 0), 1)
    return encoded(picture, "PNG", transparency=0)


def rotated(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(RGB, "JPEG", exif=exif)


def animated() -> bytes:
    frames = [Image.fromarray(pattern(seed, rgb=True)) for seed in range(5)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.png"), encoded(RGB, "PNG"))
    return file.getvalue()


def png_of_much_text() -> bytes:
    """A PNG whose text unfolds from a few kilobytes to 64 MB."""
    text = png_chunk(b"zTXt", b"comment\0\0" + zlib.compress(b"a" * (64 << 20), 9))
    plain = encoded(RGB, "PNG")
    return plain[:33] + text + plain[33:]  # after the signature and the header


# Each file's name, whether it is an image that has to be read, and what makes its bytes.
IMAGES: dict[str, tuple[bool, Callable[[], bytes]]] = {
    "animated.gif": (True, animated),
    "cmyk.jpg": (True, lambda: encoded(Image.new("CMYK", (20, 20), (0, 200, 90, 30)), "JPEG")),
    "cmyk.tif": (True, lambda: encoded(Image.new("CMYK", (20, 20), (0, 200, 90, 30)), "TIFF")),
    "grey-16.tif": (True, lambda: encoded(GREY.astype(np.uint16) * 257, "TIFF")),
    "line.png": (True, lambda: encoded(pattern(3, 10_000, 1), "PNG")),
    "lying-line.png": (True, lambda: encoded(pattern(4, 1, 10_000, rgb=True), "PNG")),
    "palette.png": (True, palette_with_transparency),
    "point.png": (True, lambda: encoded(RGB[:1, :1], "PNG")),
    **{f"turned-{n}.jpg": (True, lambda n=n: rotated(n)) for n in range(1, 10)},  # type: ignore[misc]
    "colour-16.tif": (True, tiff_16_bit_colour),
    "cut.jpg": (False, lambda: encoded(RGB, "JPEG")[:-60]),
    "cut.png": (False, lambda: encoded(RGB, "PNG")[:-900]),
    "cut-in-the-header.png": (False, lambda: encoded(RGB, "PNG")[:20]),
    "empty.png": (False, lambda: b""),
    "huge.bmp": (False, lambda: bmp_claiming(HUGE, HUGE)),
    "huge.gif": (False, lambda: gif_claiming(HUGE, HUGE)),
    "huge.jpg": (False, lambda: jpeg_claiming(HUGE, HUGE)),
    "huge.png": (False, lambda: png_claiming(HUGE, HUGE)),
    "huge.ppm": (False, lambda: b"P6\n%d %d\n255\n" % (HUGE, HUGE) + b"\0" * 100),
    "huge.tif": (False, lambda: tiff_claiming(HUGE, HUGE)),
    "much-text.png": (False, png_of_much_text),
    "postscript.png": (False, lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n"),
    "script.png": (False, lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"),
    "zip.png": (False, zipped),
}


def images(folder: Path) -> Path:
    """Write IMAGES into ``folder/odd``, and twelve plain pictures into ``folder/plain``; return `folder`."""
    plain(folder / "plain", 12)
    (folder / "odd").mkdir(parents=True)
    for name, (_, make) in IMAGES.items():
        (folder / "odd" / name).write_bytes(make())
    return folder


def plain(folder: Path, count: int, *, first: int = 100) -> Path:
    """Write `count` small pictures, all different; return `folder`."""
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:03d}.png").write_bytes(encoded(pattern(first + number, rgb=True), "PNG"))
    return folder


# -- names and places --------------------------------------------------------------------------------------------------

NAMES = (
    "<script>alert(1)", '"><img src=x onerror=alert(1)>', "it's \"quoted\" `so` $(reboot)", "two\nlines\r\nmore",
    "\x1b[31mred\x07", "emoji 🦜👩‍🔬", "b" * 200, "-rf", "--help", "  spaces  ", "dots..", "a,b;c\td", "100%s{0}",
    "\u202egnp.exe", "back\\slash", "NaN", "é", "e\u0301",
)  # fmt: skip


def names(folder: Path) -> Path:
    """Write a class for each of NAMES with a picture of that name in it, and one name that is not UTF-8."""
    for number, name in enumerate(NAMES):
        place = folder / name
        place.mkdir(parents=True)
        (place / f"{name}.png").write_bytes(encoded(pattern(200 + number, rgb=True), "PNG"))
    not_utf_8 = os.fsencode(folder) + b"/\xff\xfe.png"
    Path(os.fsdecode(not_utf_8)).write_bytes(encoded(pattern(300), "PNG"))
    return folder


def places(folder: Path, outside: Path) -> Path:
    """Write six plain pictures, and what only looks like pictures: links, loops, pipes, sockets, folders, devices."""
    plain(folder / "cat", 6)
    outside.write_bytes(encoded(pattern(400), "PNG"))
    (folder / "out.png").symlink_to(outside)
    (folder / "up").symlink_to(folder.parent)
    (folder / "round").symlink_to(folder)
    (folder / "self.png").symlink_to("self.png")
    (folder / "nowhere.png").symlink_to("gone.png")
    (folder / "process.png").symlink_to("/proc/self/mem")
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "empty class").mkdir()
    os.mknod(folder / "socket.png", stat.S_IFSOCK | 0o600)
    return folder


def closed(folder: Path) -> Path:
    """Write six plain pictures, a file and a folder that only their owner may read, once they are someone else's."""
    plain(folder / "cat", 6)
    (folder / "cat" / "closed.png").write_bytes(encoded(pattern(401), "PNG"))
    plain(folder / "shut", 2)
    (folder / "cat" / "closed.png").chmod(0)
    (folder / "shut").chmod(0)
    return folder


def many(folder: Path, count: int = 100_000) -> Path:
    """Fill one folder with `count` names of two hundred real pictures: hard links, so that it takes seconds."""
    kept = plain(folder.with_name(f".{folder.name}-kept"), 200)
    sources = sorted(kept.iterdir())
    folder.mkdir(parents=True)
    for number in range(count):
        os.link(sources[number % len(sources)], folder / f"{number:06d}.png")
    shutil.rmtree(kept)
    return folder


def classes(folder: Path, count: int) -> Path:
    """Write `count` classes of one picture each."""
    for number in range(count):
        place = folder / f"class {number:04d}"
        place.mkdir(parents=True)
        (place / "a.png").write_bytes(encoded(pattern(number, 8, 8), "PNG"))
    return folder


# -- tables ------------------------------------------------------------------------------------------------------------


def csv(folder: Path, name: str, body: bytes | str) -> None:
    (folder / name).write_bytes(body if isinstance(body, bytes) else body.encode())


def parquet(folder: Path, name: str, columns: dict[str, Any] | pa.Table) -> None:
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), folder / name)


def tables(folder: Path) -> Path:
    """Write six pictures into ``folder/pics`` and tables of them: those called ``good-*`` serve, all others do not."""
    plain(folder / "pics", 6)
    (folder / "outside.png").symlink_to("/etc/passwd")
    paths = [f"pics/{n:03d}.png" for n in range(6)]
    rows = "".join(f"{path},{label}\n" for path, label in zip(paths, "aabbcc", strict=True))
    csv(folder, "good-bom.csv", b"\xef\xbb\xbf" + f"path,label\n{rows}".encode())
    csv(folder, "good-missing.csv", f"path,label\n{rows}gone.png,a\n/nowhere/../{folder}/pics/also-gone.png,b\n")
    csv(folder, "good-duplicates.csv", f"path,label\n{rows}{rows}")
    csv(
        folder,
        "good-large-cell.csv",
        f"path,label,note\n{paths[0]},a,{'x' * (10 << 20)}\n{paths[1]},b,y\n",
    )
    csv(folder, "good-nul-in-a-note.csv", f"path,label,note\n{paths[0]},a,x\0y\n{paths[1]},b,z\n")
    parquet(folder, "good-nested.parquet", nested(paths))
    csv(folder, "escaping.csv", f"path\n{paths[0]}\n../../../../etc/passwd\n")
    csv(folder, "escaping-by-a-link.csv", f"path\n{paths[0]}\noutside.png\n")
    csv(folder, "no-path.csv", "file,label\na.png,x\n")
    csv(folder, "wrong-separator.csv", "path;label\n" + rows.replace(",", ";"))
    csv(folder, "wider-than-its-head.csv", f"path,label\n{paths[0]},a,b,c\n{paths[1]},a\n")
    csv(folder, "nul.csv", f"path,label\n{paths[0]}\0.png,a\n")
    csv(folder, "long-path.csv", f"path,label\n{'a/' * (5 << 20)}b.png,a\n")
    csv(folder, "utf-16.csv", f"path,label\n{rows}".encode("utf-16"))
    csv(folder, "not-utf-8.csv", b"path,label\npics/\xff.png,a\n")
    csv(folder, "open-quote.csv", 'path,label\n"pics/000.png,a\n')
    csv(folder, "empty.csv", b"")
    csv(folder, "picture.csv", encoded(RGB, "PNG"))
    parquet(folder, "path-of-lists.parquet", {"path": [[path] for path in paths]})
    parquet(folder, "path-of-records.parquet", {"path": [{"file": path} for path in paths]})
    parquet(folder, "two-paths.parquet", pa.table([pa.array(paths), pa.array(paths)], names=["path", "path"]))
    whole = (folder / "good-nested.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / "foot.parquet").write_bytes(whole[:-200] + b"\xff" * 192 + whole[-8:])
    return folder


def nested(paths: list[str]) -> dict[str, Any]:
    """Columns of every kind that Parquet has and no CSV."""
    count = len(paths)
    return {
        "path": paths,
        "label": pa.array([None, b"bytes", b"a", b"a", b"b", b"b"], pa.binary()),
        "lists": [[1, 2], [], None, [3], [4], [5]],
        "records": [{"a": 1, "b": {"c": "x"}}] * count,
        "map": pa.array([[("k", 1)]] * count, pa.map_(pa.string(), pa.int64())),
        "decimal": pa.array([None, *range(count - 1)], pa.decimal128(30, 4)),
        "time": pa.array(range(count), pa.time64("us")),
        "moment": pa.array(range(count), pa.timestamp("ns", "Europe/Berlin")),
        "words": pa.array(["a", "b"] * (count // 2)).dictionary_encode(),
        "nothing": pa.nulls(count),
        "half": pa.array(np.arange(count, dtype=np.float16)),
        "image_id": ["<script>"] * count,
        "right": ["mine"] * count,
    }


def make(folder: Path) -> None:
    """Write the whole corpus but the hundred thousand files into `folder`."""
    from tests import hostile_networks

    images(folder / "images")
    names(folder / "names")
    places(folder / "places", folder / "outside.png")
    closed(folder / "closed")
    classes(folder / "a thousand classes", 1000)
    plain(folder / "one image", 1)
    plain(folder / "one class" / "cat", 6)
    tables(folder / "tables")
    hostile_networks.checkpoints(folder / "checkpoints")
    many(folder / "many")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.hostile FOLDER")
    make(Path(sys.argv[1]))
