"""lucent's side of `benchmarks.preferred`, run by a Python that has it: pictures as a .npy file, seconds as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence


def main(layer: str, units: str, size: str, steps: str, out: str) -> None:
    """Draw each unit of `units` (numbers joined by commas) by itself, as lucent's README does; write [unit, y, x, rgb]."""
    import numpy as np
    import torch
    from lucent.optvis import objectives, param, render, transform
    from torchvision.transforms import Normalize

    from benchmarks._lite0 import factory

    network, settings = factory()
    network = network.eval()
    moves = [*transform.standard_transforms, Normalize(settings["mean"], settings["std"])]
    found, seconds = [], []
    for unit in map(int, units.split(",")):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - lucent draws its transforms from it
        started = time.perf_counter()
        pictures = render.render_vis(
            network, objectives.channel(layer.replace(".", "_"), unit), lambda: param.image(int(size)),
            thresholds=(int(steps),),
            transforms=moves, preprocess=False, fixed_image_size=int(size), progress=False, show_image=False,
        )  # fmt: skip
        seconds.append(time.perf_counter() - started)
        found.append(pictures[-1][0])
    np.save(out, np.stack(found))
    sys.stdout.write("\n" + json.dumps({"seconds": seconds, "torch": torch.__version__}) + "\n")


if __name__ == "__main__":
    arguments: Sequence[str] = sys.argv[1:]
    main(*arguments)
