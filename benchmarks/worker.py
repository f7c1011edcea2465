"""A new image: prediction, place and neighbours by the worker, beside a script that loads the network each time."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure

LAYER = "relu_fc1"
AIM = 300  # milliseconds from a file to prediction, place and neighbours, the network loaded
TOGETHER = 30  # clients at once
ASK = ("-c", "from atlas.cli import main; main()", "query")


def main(argv: Sequence[str] | None = None) -> None:
    """Time cold starts, the command, the worker's own answer and a plain script, and print one table."""
    options = measure.arguments(__doc__).parse_args(argv)
    atlas = measure.demo_atlas(options.cache)
    with tempfile.TemporaryDirectory() as folder:
        files = new_images(options.cache, Path(folder), 40 if options.quick else 300)
        rows = [plain(atlas, files[: 2 if options.quick else 5]), *ours(atlas, files, 1 if options.quick else 3)]
    layouts = ", ".join(sorted({method.upper() for method in atlas.layouts().query(f"layers == '{LAYER}'")["method"]}))
    warm = next(row for row in rows if row[0].startswith("`Worker"))
    notes = [
        f"The plain script predicts and searches, and places nothing; ours places the image in {layouts} besides. "
        f"Images are test images of Fashion-MNIST, mirrored, so that the atlas holds none of them.",
        f"Aim: a warm answer within {AIM} ms; its p99 is {warm[2]} ms: {'met' if float(warm[2]) <= AIM else 'missed'}.",
    ]
    sentence = (
        f"From a file to what the network says, milliseconds, over the {len(atlas.image_record)} images of the demo's atlas."
    )
    measure.show(sentence, ["what", "p50", "p99", "runs"], rows, notes=notes)


def new_images(cache: Path, folder: Path, count: int) -> list[Path]:
    """Write the last test images, mirrored, as PNG files."""
    from PIL import Image

    pixels, _ = measure.fashion_mnist(cache)
    files = [folder / f"{number}.png" for number in range(count)]
    for file, image in zip(files, pixels[-count:], strict=True):
        Image.fromarray(np.fliplr(image)).save(file)
    return files


def plain(atlas: Any, files: Sequence[Path]) -> list[str]:
    """Time a script that loads what it needs each time."""
    from atlas.models import reference

    weights = next((Path(reference.__file__).parent / "weights").glob("conv6*/*.safetensors"))
    vectors = files[0].parent / "vectors.npy"
    np.save(vectors, np.asarray(atlas.vectors(LAYER)[:], np.float32))
    command = [sys.executable, "-m", "benchmarks._plain_query", str(weights), str(vectors)]
    return row("a plain script, loading each time", [run([*command, str(file)]) for file in files])


def ours(atlas: Any, files: Sequence[Path], starts: int) -> list[list[str]]:
    """Time the command cold and warm, the worker's answer, and many clients at once."""
    from atlas.worker import Worker

    worker = Worker(atlas.store.root)
    command = [sys.executable, *ASK, str(worker.root)]
    cold = []
    for file in files[:starts]:
        worker.stop()
        cold.append(run([*command, str(file), "-l", LAYER]))
    commands = [run([*command, str(file), "-l", LAYER]) for file in files[:20]]
    answers = [1e3 * measure.timed(lambda file=file: worker.see(file, layer=LAYER))[0] for file in files]  # type: ignore[misc]
    together, _ = measure.timed(lambda: all_at_once(lambda file: worker.see(file, layer=LAYER), files[:TOGETHER]))
    worker.stop()
    return [
        row("`atlas query ATLAS FILE`, the worker not running", cold),
        row("`atlas query ATLAS FILE`, the worker running", commands),
        row("`Worker(root).see(FILE)` from a process that lives", answers),
        row(f"the same by {TOGETHER} clients at once, until the last is answered", [1e3 * together]),
    ]


def all_at_once(ask: Callable[[Path], Any], files: Sequence[Path]) -> list[Any]:
    """Ask of each file in a thread of its own."""
    with ThreadPoolExecutor(len(files)) as pool:
        return list(pool.map(ask, files))


def run(command: Sequence[str]) -> float:
    """Return the milliseconds of a command."""
    return 1e3 * measure.timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=measure.ROOT))[0]


def row(what: str, milliseconds: Sequence[float]) -> list[str]:
    """Return a row of the table."""
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return [what, f"{p50:.0f}", f"{p99:.0f}", str(len(milliseconds))]


if __name__ == "__main__":
    main()
