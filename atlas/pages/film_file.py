"""Films as files: animated WebP by Pillow, MP4 by the `video` extra. Frames are arrays, each shown for its time."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from atlas.errors import AtlasError, one_line

SUFFIXES = (".webp", ".mp4")
MOST_FRAMES = 400  # half an hour of pages, or an ascent of 3 200 steps
MOST_SIDE = 4096  # pixels of a frame's side: what players of video take
MOST_PIXELS = 200_000_000  # of all frames together: 600 MB while a WebP is written
LOSSLESS = 64  # pixels of a picture's side up to which a film of it is written without loss
QUALITY = 90  # of WebP for larger ones
RATE = 10  # frames a second of an MP4
EXTRA = "an .mp4 needs the video extra: `pip install imageio-ffmpeg`, or give a name that ends in .webp"


def check_film(path: str | os.PathLike[str]) -> None:
    """Refuse, before the work, a film that cannot be written: its kind, its folder, or what would write it is missing."""
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        raise AtlasError(
            f"{one_line(file.name)} would be a {file.suffix or 'file without suffix'}: {', '.join(SUFFIXES)} would do"
        )
    if not file.absolute().parent.is_dir():
        raise AtlasError(f"no folder {one_line(file.absolute().parent)} to write {one_line(file.name)} in: make it first")
    if file.is_dir():
        raise AtlasError(f"{one_line(file)} is a folder: give a file's name")
    if file.suffix.lower() == ".mp4":
        _encoder()


def check_size(frames: int, size: tuple[int, int], remedy: str) -> None:
    """Refuse a film of too many frames, or of frames of too many pixels (width, height); `remedy` says what would do."""
    width, height = size
    if frames > MOST_FRAMES:
        raise AtlasError(f"a film of {frames} frames: at most {MOST_FRAMES} would do; {remedy}")
    if max(size) > MOST_SIDE:
        raise AtlasError(f"frames of {width} × {height} pixels: at most {MOST_SIDE} a side would do; {remedy}")
    if frames * width * height > MOST_PIXELS:
        most = MOST_PIXELS // 1_000_000
        raise AtlasError(
            f"{frames} frames of {width} × {height} pixels are {frames * width * height / 1e6:.0f} million pixels: "
            f"at most {most} million would do; {remedy}"
        )


def write_film(
    path: str | os.PathLike[str],
    frames: Iterable[np.ndarray],
    seconds: Sequence[float],
    *,
    lossless: bool = True,
    quality: int = QUALITY,
    advance: Callable[[int], Any] = lambda frames: None,
) -> Path:
    """Write frames uint8 [y, x, rgb], each shown for its `seconds`, as the suffix says; return the path.

    The same frames make the same bytes. The file appears whole or not at all. `lossless`, and the
    `quality` without it (1 to 100), are of WebP alone.
    """
    path = Path(path)
    check_film(path)
    told = _told(frames, advance)
    with _aside(path) as beside:
        if path.suffix.lower() == ".mp4":
            _write_mp4(beside, told, seconds)
        else:
            _write_webp(beside, told, seconds, lossless=lossless, quality=quality)
    return path


def _told(frames: Iterable[np.ndarray], advance: Callable[[int], Any]) -> Iterator[np.ndarray]:
    for frame in frames:
        yield frame
        advance(1)


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """Give a name beside `path`, which takes it over at the end; what the system refuses is one line."""
    beside = path.absolute().parent / f".film-{uuid.uuid4().hex[:8]}{path.suffix.lower()}"
    try:
        yield beside
        beside.replace(path)
    except OSError as reason:
        said = one_line(reason.strerror or str(reason), 160)
        raise AtlasError(f"{one_line(path)} cannot be written ({said}): choose another place, or free some space") from None
    finally:
        beside.unlink(missing_ok=True)


def _write_webp(path: Path, frames: Iterable[np.ndarray], seconds: Sequence[float], *, lossless: bool, quality: int) -> None:
    first, *rest = (Image.fromarray(frame) for frame in frames)
    # With loss every frame stands for itself, or the one before shows through.
    how: Any = {"lossless": True, "quality": 50} if lossless else {"quality": quality, "kmin": 0, "kmax": 1}
    times = [round(1000 * shown) for shown in seconds]
    first.save(path, "WEBP", save_all=True, append_images=rest, duration=times, loop=0, method=4, **how)


def _write_mp4(path: Path, frames: Iterable[np.ndarray], seconds: Sequence[float]) -> None:
    encoder, writer, count = _encoder(), None, 0
    try:
        for frame, shown in zip(frames, seconds, strict=True):
            body = np.ascontiguousarray(_even(frame))
            if writer is None:
                writer = _mp4(encoder, path, body.shape[1], body.shape[0])
            for _ in range(max(1, round(shown * RATE))):
                writer.send(body)
                count += 1
    finally:
        if writer is not None:
            writer.close()
    if not path.exists() or encoder.count_frames_and_secs(str(path))[0] != count:
        raise AtlasError(
            f"the encoder left no whole film of {count} frames: free some space, or give a name that ends in .webp"
        )


def _mp4(encoder: Any, path: Path, width: int, height: int) -> Any:
    exact = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-threads", "1"]  # the same frames, the same bytes
    writer = encoder.write_frames(
        str(path), (width, height), fps=RATE, codec="libx264", quality=8, macro_block_size=2, ffmpeg_log_level="error",
        output_params=[*exact, "-movflags", "+faststart"],
    )  # fmt: skip
    writer.send(None)
    return writer


def _even(frame: np.ndarray) -> np.ndarray:
    """Return a frame with even sides, which its kind of video asks for: the last row or column twice where one is odd."""
    height, width = frame.shape[:2]
    return np.pad(frame, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge")


def _encoder() -> Any:
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):  # the latter where the package has no program for this machine
        raise AtlasError(EXTRA) from None
    return imageio_ffmpeg


def seconds_of(frames: int, *, held: float) -> list[float]:
    """Return how long each of `frames` is shown: about six seconds together, the last one `held` longer."""
    each = math.ceil(min(max(6 / frames, 1 / RATE), 0.2) * RATE) / RATE
    return [each] * (frames - 1) + [each + held]
