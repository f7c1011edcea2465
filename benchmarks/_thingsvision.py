"""thingsvision's side of `benchmarks.extract`, run by a Python that has it: seconds as one JSON line. Imports no atlas room
but the reference network."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main(case: str, images: str, weights: str) -> None:
    """Extract one layer of `images`, a folder or a .npy of pixels, as thingsvision's README does."""
    import numpy as np
    import torch
    from thingsvision.core.extraction.torch import PyTorchExtractor

    from benchmarks import _plain

    if case == "conv6":
        from safetensors.torch import load_file

        from atlas.models.reference import conv6

        network, layer = conv6(), "relu_fc1"
        network.load_state_dict(load_file(weights))
        items = _plain.Arrays(np.load(images), _plain.conv6_transform((0.5,), (0.5,)))  # the same work, whatever the numbers
    else:
        from benchmarks._lite0 import factory

        network, layer = factory()[0], "_avg_pooling"
        items = _plain.Files(sorted(Path(images).glob("*.jpg")), _plain.lite0_transform())
    extractor = PyTorchExtractor("own", False, "cpu", model=network.eval(), preprocess=None)
    loader = torch.utils.data.DataLoader(items, batch_size=256)
    started = time.perf_counter()
    extractor.extract_features(batches=loader, module_name=layer, flatten_acts=True, output_type="ndarray")
    sys.stdout.write("\n" + json.dumps({"seconds": time.perf_counter() - started, "torch": torch.__version__}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
