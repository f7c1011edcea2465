"""Recording a layer: images per second beside a plain hook loop, thingsvision and the bare forward pass."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure

TITLES = {"conv6": "conv6, Fashion-MNIST 28 px", "lite0": "EfficientNet-lite0, photographs 224 px"}
COUNTS = {"conv6": 10_000, "lite0": 1_280}  # images of the comparison
QUICK = {"conv6": 1_024, "lite0": 64}
MEMORY = (10_000, 70_000)  # images at which the peak memory of ours is compared
QUICK_MEMORY = (1_024, 4_096)
PEER = measure.ROOT / "benchmarks" / "_thingsvision.py"
Answer = dict[str, Any]


def side(name: str, case: str, count: int, out: Path, cache: Path, *options: str) -> Answer:
    """Run one side in a process of its own and return what it says."""
    command = [sys.executable, "-m", "benchmarks._sides", name, case, str(count), str(out), str(cache), *options]
    measure.tell(f"{name} of {TITLES[case]}, {count} images")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=measure.ROOT)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def best_plain(case: str, count: int, out: Path, cache: Path) -> Answer:
    """Return the faster of the plain loops: images read in the loop's own process, or by two workers."""
    found = [side("plain", case, count, out, cache, "--workers", str(workers)) for workers in (0, 2)]
    return min(found, key=lambda answer: answer["seconds"])


def thingsvision(python: str | None, case: str, count: int, cache: Path) -> tuple[Answer | None, str]:
    """Return what thingsvision took in the Python given, or None and why there is nothing to say."""
    if not python:
        return None, (
            "thingsvision was left out: no `--thingsvision PYTHON`. Version 2.7.3 installs torch 2.0.1 and numpy 1.26, "
            "other versions than this project's, so it needs an environment of its own."
        )
    with tempfile.TemporaryDirectory() as work:
        command = [python, str(PEER), case, *_inputs_of(case, count, cache, Path(work))]
        path = os.pathsep.join([str(measure.ROOT), str(measure.packages(cache))])
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}, check=False)
    if done.returncode:
        return None, f"thingsvision was left out: {(done.stderr.strip().splitlines() or ['it failed'])[-1]}"
    return dict(json.loads(done.stdout.splitlines()[-1])), ""


def _inputs_of(case: str, count: int, cache: Path, work: Path) -> list[str]:
    """Return the arguments that tell the peer's process its images and its weights."""
    from benchmarks import _sides

    if case == "lite0":
        return [str(measure.photographs(cache, count).folder), ""]
    np.save(work / "pixels.npy", _sides.chosen_pixels(count, cache))
    from atlas.models.reference import shipped

    return [str(work / "pixels.npy"), str(shipped("conv6")["fashion-mnist"] / "weights.safetensors")]


def compare(case: str, count: int, cache: Path, peer: str | None) -> tuple[list[list[str]], list[str]]:
    """Measure all sides of one case; return its rows and what is to be noted."""
    with tempfile.TemporaryDirectory(dir=cache) as work:
        plain_out, our_out = Path(work) / "plain.npy", Path(work) / "ours.npy"
        before = side("bare", case, count, our_out, cache)
        ours = side("ours", case, count, our_out, cache)
        plain = best_plain(case, count, plain_out, cache)
        other, why_not = thingsvision(peer, case, count, cache)
        after = side("bare", case, count, plain_out, cache)
        mean, least = cosines(np.load(plain_out), np.load(our_out))
    bare = max(before, after, key=lambda answer: answer["rate"])
    plain_rate = count / plain["seconds"]

    def row(name: str, rate: float, *, peak: int | None = None, cosine: str = "") -> list[str]:
        memory = "" if peak is None else measure.gigabytes(peak)
        return [TITLES[case], name, f"{rate:.0f}", f"{rate / plain_rate:.2f}", f"{rate / bare['rate']:.2f}", cosine, memory]

    rows = [row(f"plain float32 hook loop, batch 256, {plain['workers']} workers", plain_rate, peak=plain["peak"])]
    if other:
        rows.append(row("thingsvision 2.7.3", count / other["seconds"]))
    rows += [
        row(f"bare forward pass, {bare['precision']}, batch {bare['batch']}", bare["rate"]),
        row(
            "ours, the pass with its parts written",
            count / ours["seconds"],
            peak=ours["peak"],
            cosine=f"{mean:.5f}, {least:.5f}",
        ),
        row("ours, with comparing precisions and choosing the batch", count / ours["whole"]),
    ]
    notes = [f"{TITLES[case]}: {count} images; {'; '.join(ours['told'])}.", why_not]
    if case == "lite0":
        notes[0] += f" The photographs are {measure.photographs(cache, count).words}."
    return rows, [note for note in notes if note]


def cosines(plain: np.ndarray, ours: np.ndarray) -> tuple[float, float]:
    """Return the mean and the least cosine between two descriptors of each image, float32 [image, unit] each."""
    products = (plain.astype(np.float64) * ours).sum(1)
    found = products / np.maximum(np.linalg.norm(plain.astype(np.float64), axis=1) * np.linalg.norm(ours, axis=1), 1e-30)
    return float(found.mean()), float(found.min())


def memory_note(counts: Sequence[int], cache: Path) -> str:
    """Measure our pass at two sizes; return the sentence on its peak memory."""
    with tempfile.TemporaryDirectory(dir=cache) as work:
        few, many = (side("ours", "conv6", count, Path(work) / "ours.npy", cache) for count in counts)
    more = many["peak"] / few["peak"] - 1
    return (
        f"Peak anonymous memory of our pass over conv6: {measure.gigabytes(few['peak'])} GB at {counts[0]} images, "
        f"{measure.gigabytes(many['peak'])} GB at {counts[1]}: {100 * more:+.0f} % (aim: at most +10 %); "
        f"{counts[1] / many['seconds']:.0f} images per second at {counts[1]}."
    )


def parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    made = measure.arguments(__doc__)
    made.add_argument("--cases", nargs="+", choices=TITLES, default=list(TITLES), help="which networks (%(default)s)")
    made.add_argument("--thingsvision", metavar="PYTHON", help="a Python that has thingsvision; left out without")
    made.add_argument("--no-memory", action="store_true", help="leave out the memory at two sizes")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    asked = parser().parse_args(argv)
    asked.cache.mkdir(parents=True, exist_ok=True)
    rows, notes = [], []
    for case in asked.cases:
        found = compare(case, (QUICK if asked.quick else COUNTS)[case], asked.cache, asked.thingsvision)
        rows += found[0]
        notes += [note for note in found[1] if note not in notes]
    if not asked.no_memory:
        notes.append(memory_note(QUICK_MEMORY if asked.quick else MEMORY, asked.cache))
    notes.append(
        "Cosine is between our vectors and the plain loop's, mean and least. The bare pass reads, decodes and writes "
        "nothing: its images lie in memory, and of all batch sizes the fastest counts. Aims: 3 × the plain loop at a mean "
        "cosine of at least 0.999, and 0.9 of the bare pass. Decoding shares the cores with the network."
    )
    columns = ["network and images", "how", "images/s", "× plain", "of bare", "cosine", "peak GB"]
    measure.show("Images per second, one layer recorded, each side in a process of its own.", columns, rows, notes=notes)


if __name__ == "__main__":
    main()
