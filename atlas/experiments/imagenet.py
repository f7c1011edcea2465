"""Which of ImageNet's 1 000 classes a label of CIFAR-10 stands for: class maps for networks trained on ImageNet."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

OUTPUTS: dict[str, tuple[int, ...]] = {  # by label; ImageNet has no deer: its three antelopes stand in
    "airplane": (404, 895),
    "automobile": (436, 468, 511, 609, 627, 656, 661, 751, 817),
    "bird": (*range(7, 25), *range(80, 101), *range(127, 147)),
    "cat": tuple(range(281, 286)),
    "deer": (351, 352, 353),
    "dog": tuple(range(151, 269)),
    "frog": (30, 31, 32),
    "horse": (339,),
    "ship": (403, 484, 510, 554, 625, 628, 724, 780, 814, 871, 914),
    "truck": (555, 569, 675, 717, 864, 867),
}


def write_class_map(path: Path, outputs: Mapping[str, Sequence[int]] = OUTPUTS) -> Path:
    """Write which output stands for which label as a class map's file, CSV; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["output", "label"])
        table.writerows([output, label] for label, found in outputs.items() for output in found)
    return path
