"""The contact sheets of docs/preferred-inputs.md, redrawn: `python -m benchmarks._sheets_all [--cache cache] [--docs docs]`.

Fetches the photographs and both networks, then runs the very commands of the page. What stands is not made again. On two
cores that do nothing else it takes the better part of an hour.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import _squeezenet
from benchmarks.measure import ROOT, packages, tell

LITE0, SQUEEZE = "benchmarks._lite0:factory", "benchmarks._squeezenet:factory"
FIRST = list(range(10))  # channels: the first ten of a layer, whatever they show
LOGITS = [1, 9, 76, 88, 130, 207, 281, 291, 301, 340, 417, 504, 555, 779, 817, 920, 949, 954, 963, 985]  # of many kinds
LITE0_LAYERS = {"_blocks.2": FIRST, "_blocks.8": FIRST, "_blocks.15": FIRST, "_fc": LOGITS}
SQUEEZE_LAYERS = {"features.3": FIRST, "features.7": FIRST, "features.12": FIRST, "classifier.3": LOGITS}
STEPS = 192  # of each picture
GRIDS, ICON = (8, 16), 80  # of icons: cells a side, pixels of an icon


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    told = parser.parse_args()
    paths = [ROOT, packages(told.cache), _squeezenet.packages(told.cache)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    for command in commands(told.cache, told.docs):
        tell(" ".join(command))
        program = (
            [str(Path(sys.executable).with_name("atlas"))] if command[0] == "atlas" else [sys.executable, "-m", command[0]]
        )
        subprocess.run([*program, *command[1:]], check=True, env=environment)


def commands(cache: Path, docs: Path) -> list[list[str]]:
    """Return every command in order: `atlas`, or a module."""
    photographs = cache / "photographs-1123"
    found = [["benchmarks._photographs", str(photographs), "--cache", str(cache)]]
    found += preferred(LITE0, photographs, cache / "lite0", LITE0_LAYERS, 2, docs / "preferred-efficientnet.webp")
    found += preferred(SQUEEZE, photographs, cache / "squeezenet", SQUEEZE_LAYERS, 1, docs / "preferred-squeezenet.webp")
    cifar, places = cache / "cifar10", cache / "lite0-positions"
    how = ["--input-size", "128", "--precision", "bfloat16"]
    found.append(
        ["atlas", "build", LITE0, "cifar10", "--limit", "20000", *how, "-l", "_blocks.15=positions:1", "-o", str(cifar)]
    )
    found += icons(cifar, "_blocks.15", docs / "icons-cifar10.webp")
    found.append(["atlas", "build", LITE0, str(photographs), *how, "-l", "_blocks.10=positions:16", "-o", str(places)])
    return found + icons(places, "_blocks.10", docs / "icons-photographs.webp")


def preferred(
    network: str, images: Path, atlas: Path, layers: dict[str, list[int]], starts: int, sheet: Path
) -> list[list[str]]:
    """Return the commands that draw units of some layers of a network, logits from several `starts`, and their sheet."""
    names = list(layers)
    others = [part for name in names[:-1] for part in ("--statistics", name)]
    build = ["atlas", "build", network, str(images), "-l", names[-1], *others, "-o", str(atlas)]
    return [build, *(of_units(atlas, *layer, starts) for layer in layers.items()),
            ["benchmarks._sheets", "preferred", str(atlas), str(sheet)]]  # fmt: skip


def of_units(atlas: Path, layer: str, units: Sequence[int], starts: int) -> list[str]:
    """Return the command that draws units of one layer; channels from one start."""
    named = [part for unit in units for part in ("-u", str(unit))]
    how = ["--restarts", str(starts if units is LOGITS else 1), "--steps", str(STEPS)]
    return ["atlas", "preferred", str(atlas), "-l", layer, *named, *how]


def icons(atlas: Path, layer: str, sheet: Path) -> list[list[str]]:
    """Return the commands that draw the icons of an atlas, and their sheet."""
    grids = [part for grid in GRIDS for part in ("-g", str(grid))]
    return [["atlas", "icons", str(atlas), "-l", layer, *grids, "--size", str(ICON)],
            ["benchmarks._sheets", "icons", str(atlas), layer, str(GRIDS[-1]), str(sheet)]]  # fmt: skip


if __name__ == "__main__":
    main()
