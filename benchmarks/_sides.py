"""One side of `benchmarks.extract` in a process of its own: what it took, as one JSON line on standard output."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure
from benchmarks._stages import Stages
from benchmarks.measure import Memory

BATCH = 256  # of the plain loop
BATCHES = (16, 32, 64, 128, 256, 512)  # tried for the bare pass
ROUND_SECONDS = 1.5  # of the bare pass at one batch size
LAYERS = {"conv6": "relu_fc1", "lite0": "_avg_pooling"}
SPECS = {"conv6": "atlas:conv6@fashion-mnist", "lite0": "benchmarks._lite0:factory"}
Answer = dict[str, Any]


def images_of(case: str, count: int, cache: Path) -> Any:
    """Return the images of a case as `atlas build` takes them, and how it is limited to `count`."""
    if case == "conv6":
        return "fashion-mnist"
    return measure.photographs(cache, count).folder


def chosen_pixels(count: int, cache: Path) -> np.ndarray:
    """Return the images of Fashion-MNIST that `--limit count` takes, in order: uint8 [image, 28, 28]."""
    from atlas.data.sources import choose_images

    folder = measure.datasets(cache)
    rows = choose_images("fashion-mnist", limit=count, datasets=folder, atlas_root=folder.parent / "any").rows
    return measure.fashion_mnist(cache)[0][rows]


def dataset(case: str, count: int, cache: Path, network: Any) -> Any:
    """Return the images of a case as a torch Dataset with torchvision's transforms."""
    from benchmarks import _plain

    if case == "conv6":
        return _plain.Arrays(
            chosen_pixels(count, cache), _plain.conv6_transform(network.preprocess.mean, network.preprocess.std)
        )
    return _plain.Files(sorted(measure.photographs(cache, count).folder.glob("*.jpg")), _plain.lite0_transform())


@contextmanager
def network_of(case: str, cache: Path) -> Iterator[Any]:
    """Load a case's network, in evaluation mode."""
    from atlas.models.network import load_network

    with measure.importable(measure.packages(cache) if case == "lite0" else cache):
        network = load_network(SPECS[case], sample_shape=(28, 28) if case == "conv6" else None)
        network.module.eval()
        yield network


def plain(case: str, count: int, cache: Path, out: Path, *, workers: int) -> Answer:
    """The plain float32 loop: a DataLoader, a forward hook, a list, torch.cat."""
    import torch
    from torch.utils.data import DataLoader

    from benchmarks import _plain

    with network_of(case, cache) as network, Memory() as memory:
        items = dataset(case, count, cache, network)
        _plain.hook_loop(network.module, LAYERS[case], DataLoader(torch.utils.data.Subset(items, range(8)), batch_size=8))
        loader = DataLoader(items, batch_size=BATCH, num_workers=workers)
        seconds, peak, found = memory.during(lambda: _plain.hook_loop(network.module, LAYERS[case], loader))
    np.save(out, found.flatten(1).numpy())
    return {"seconds": seconds, "peak": peak, "workers": workers}


def bare(case: str, count: int, cache: Path, out: Path, *, workers: int) -> Answer:
    """The forward pass alone on images already in memory, at the fastest of all settings: images per second."""
    import torch

    with network_of(case, cache) as network:
        items = dataset(case, count, cache, network)
        images = torch.stack([items[k][0] for k in range(min(count, BATCHES[-1]))])
        rates = {
            (precision, size): _rate(network.module, images, size, bfloat16=precision == "bfloat16")
            for precision in _precisions()
            for size in BATCHES
            if size <= len(images)
        }
    best = max(rates, key=lambda setting: rates[setting])
    return {"rate": rates[best], "precision": best[0], "batch": best[1]}


def _precisions() -> list[str]:
    from atlas.models.precision import resolve

    return ["bfloat16"] if resolve("auto") == "bfloat16" else ["float32"]


def _rate(module: Any, images: Any, size: int, *, bfloat16: bool) -> float:
    import torch

    batches = [b.contiguous(memory_format=torch.channels_last) for b in images.split(size)]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        module.to(memory_format=torch.channels_last)
        module(batches[0])
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < ROUND_SECONDS:
            for batch in batches[: max(1, len(batches) // 4)]:
                module(batch)
                done += len(batch)
        return done / (time.perf_counter() - started)


def ours(case: str, count: int, cache: Path, out: Path, *, workers: int) -> Answer:
    """A build of this project without a layout: the pass over the images, and the whole stage with its parts written."""
    import atlas

    progress = Stages()
    packages = measure.packages(cache) if case == "lite0" else cache
    with tempfile.TemporaryDirectory(dir=out.parent) as work, measure.importable(packages), Memory() as memory:
        built = atlas.build(
            SPECS[case], images_of(case, count, cache), cache=Path(work) / "atlas", layers=[LAYERS[case]], layouts=(),
            limit=count if case == "conv6" else None, progress=progress,
        )  # fmt: skip
        name = next(name for name in progress.names if name.startswith("activations"))
        began, ended = progress.span(name)
        prepared = progress.span("thumbnails")[1]
        np.save(out, np.asarray(built.vectors(LAYERS[case])[:], np.float32))
        return {
            "seconds": ended - began,
            "whole": ended - prepared,
            "peak": memory.peak(prepared, ended),
            "told": [line for line in progress.notes if "the network ran" in line],
        }


SIDES: dict[str, Callable[..., Answer]] = {"plain": plain, "bare": bare, "ours": ours}


def main() -> None:
    """Run one side as asked on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("case", choices=SPECS)
    parser.add_argument("count", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--workers", type=int, default=0)
    asked = parser.parse_args()
    answer = SIDES[asked.side](asked.case, asked.count, asked.cache, asked.out, workers=asked.workers)
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
