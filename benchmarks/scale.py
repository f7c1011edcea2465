"""The whole chain at growing sizes: seconds and peak memory of each stage, and how they grow."""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import measure

SIZES = (10_000, 70_000, 300_000, 1_000_000)
QUICK = (1_000, 4_000)
LAYERS = ("relu_fc1", "logits")
LAYOUTS = ("umap:relu_fc1",)
LIMIT_GB = 4.0
STEEP = 1.2  # an exponent above it is no longer "near linear": n log n from 10 000 to 1 000 000 is 1.09
SHORT = 1.0  # seconds: the growth of shorter stages is that of the clock
Stage = dict[str, Any]  # name, seconds, peak


def build(count: int, cache: Path, *options: str) -> list[Stage]:
    """Build an atlas of `count` images in a process of its own; return its stages in order."""
    measure.tell(f"\nthe chain at {count} images")
    command = [sys.executable, "-m", "benchmarks.scale", "--one", str(count), "--cache", str(cache), *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=measure.ROOT)
    return list(json.loads(done.stdout.splitlines()[-1]))


def one(count: int, cache: Path, layouts: Sequence[str] = LAYOUTS) -> list[Stage]:
    """Build in this process; return each stage's name, seconds and peak bytes, the whole last."""
    import time

    import atlas
    from benchmarks._augmented import Augmented
    from benchmarks._stages import Stages

    progress = Stages()
    pixels, labels = measure.fashion_mnist(cache)
    with tempfile.TemporaryDirectory(dir=cache) as work, measure.Memory() as memory:
        began = time.monotonic()
        atlas.build(
            "atlas:conv6@fashion-mnist", Augmented(pixels, labels, count),
            cache=Path(work) / "atlas", layers=LAYERS, layouts=layouts, progress=progress,
        )  # fmt: skip
        spans = [*progress.spans, ("in all", began, time.monotonic())]
        return [{"name": name, "seconds": end - start, "peak": memory.peak(start, end)} for name, start, end in spans]


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> str:
    """Return p of seconds ∝ images^p between the last two sizes, or an empty text for what is too short to tell."""
    if len(sizes) < 2 or min(seconds[-2:]) < SHORT:
        return ""
    power = math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2])
    return "" if math.isnan(power) else f"{power:.2f}"


def table(sizes: Sequence[int], found: Sequence[list[Stage]]) -> tuple[list[str], list[list[str]], list[str]]:
    """Return the columns, a row per stage, and what is to be noted."""
    columns = ["stage", *(f"{size} s" for size in sizes), "exponent", *(f"{size} GB" for size in sizes)]
    rows, steep = [], []
    for name in dict.fromkeys(stage["name"] for stages in found for stage in stages):
        mine = [next((s for s in stages if s["name"] == name), None) for stages in found]
        seconds = [stage["seconds"] if stage else float("nan") for stage in mine]
        power = exponent(sizes, seconds)
        if power and float(power) > STEEP:
            steep.append(f"{name} ({power})")
        peaks = [measure.gigabytes(stage["peak"]) if stage else "–" for stage in mine]
        rows.append([name, *("–" if math.isnan(value) else f"{value:.1f}" for value in seconds), power, *peaks])
    most = max(stage["peak"] for stages in found for stage in stages) / 1e9
    told = f"The greatest peak is {most:.2f} GB (aim: at most {LIMIT_GB:.0f})."
    growth = f"Steeper than images^{STEEP}: {', '.join(steep)}." if steep else f"No stage grows faster than images^{STEEP}."
    return columns, rows, [f"{told} {growth} Stages of workers side by side share their peak."]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = measure.arguments(__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, metavar="IMAGES", help=f"how many images; {SIZES} without")
    parser.add_argument("--no-layout", action="store_true", help="leave out the layout, the longest of the stages")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args(argv)
    asked.cache.mkdir(parents=True, exist_ok=True)
    if asked.one:
        sys.stdout.write(json.dumps(one(asked.one, asked.cache, () if asked.no_layout else LAYOUTS)) + "\n")
        return
    sizes = sorted(asked.sizes or (QUICK if asked.quick else SIZES))
    options = ["--no-layout"] if asked.no_layout else []
    columns, rows, notes = table(sizes, [build(size, asked.cache, *options) for size in sizes])
    measure.show(
        "Seconds and peak anonymous memory of each stage of `atlas build` with conv6 on Fashion-MNIST, a dataset object in "
        "memory; beyond 70 000 the images are these moved, mirrored and changed in contrast, each in another way.",
        columns,
        rows,
        notes=notes,
    )


if __name__ == "__main__":
    main()
