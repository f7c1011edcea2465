"""Our reference networks: two small convolutional ones, and two residual ones that may be very deep."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atlas.errors import AtlasError, choose, one_line
from atlas.files import exists, is_file, is_folder, read_json
from atlas.models.residual import check_sizes, residual_cnn, residual_mlp

WEIGHTS = Path(__file__).parent / "weights"  # shipped: <network>-<dataset>/{weights.safetensors, recipe.json, history.csv}
SMALLEST = 12  # pixels: below that, the last of three poolings has nothing left to pool
DESCRIPTOR = 256  # units of the FC descriptor


# ---------------------------------------------------------------------------------------------------------------------
# Convolutional networks


def conv4(*, channels: int = 1, size: int = 28, classes: int = 10, width: int = 32) -> nn.Module:
    """Return 4 convolutional layers of `width` and 2·`width` units, then two FC layers.

    Images [image, rgb, y, x] of `channels` and `size` × `size` pixels or more; logits [image, class].
    """
    return _convolutional([width, 2 * width], channels=channels, size=size, classes=classes, grid=5)


def conv6(*, channels: int = 1, size: int = 28, classes: int = 10, width: int = 32) -> nn.Module:
    """Return 6 convolutional layers of `width`, 2·`width` and 4·`width` units, then two FC layers.

    Images [image, rgb, y, x] of `channels` and `size` × `size` pixels or more; logits [image, class].
    """
    return _convolutional([width, 2 * width, 4 * width], channels=channels, size=size, classes=classes, grid=3)


def _convolutional(widths: list[int], *, channels: int, size: int, classes: int, grid: int) -> nn.Module:
    """Stack two convolutions and a pooling per width; the last pooling leaves `grid` × `grid`, whatever the image size."""
    check_sizes(channels=channels, classes=classes, width=widths[0])
    if size < SMALLEST:
        raise AtlasError(f"images of {size} pixels are too small for this network: it takes {SMALLEST} pixels or more")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for stage, width in enumerate(widths, start=1):
        for number in (2 * stage - 1, 2 * stage):
            layers[f"conv{number}"] = nn.Conv2d(channels, width, 3, padding=1, bias=False)  # the norm has the bias
            layers[f"bn{number}"] = nn.BatchNorm2d(width)
            layers[f"relu{number}"] = nn.ReLU()
            channels = width
        layers[f"pool{2 * stage}"] = nn.MaxPool2d(2) if stage < len(widths) else nn.AdaptiveMaxPool2d(grid)
    layers["flatten"] = nn.Flatten()
    layers["dropout"] = nn.Dropout(0.3)
    layers["fc1"] = nn.Linear(channels * grid * grid, DESCRIPTOR)
    layers["relu_fc1"] = nn.ReLU()
    layers["dropout_fc1"] = nn.Dropout(0.3)
    layers["logits"] = nn.Linear(DESCRIPTOR, classes)
    return nn.Sequential(layers)


REFERENCE: dict[str, Callable[..., nn.Module]] = {
    "conv4": conv4,
    "conv6": conv6,
    "residual-mlp": residual_mlp,
    "residual-cnn": residual_cnn,
}


# ---------------------------------------------------------------------------------------------------------------------
# Building and loading


def build(name: str, arguments: Mapping[str, Any], *, seed: int = 0) -> nn.Module:
    """Return the reference network `name` with the random weights of `seed`; the caller's random state is left as it was."""
    if name not in REFERENCE:
        raise choose("reference network", name, REFERENCE)
    factory = REFERENCE[name]
    known = factory.__kwdefaults__ or {}
    for argument in arguments:
        if argument not in known:
            raise choose(f"argument of {name}", argument, known)
        kind = type(known[argument])
        if not isinstance(arguments[argument], kind):
            what = {int: "a whole number", str: "a word"}.get(kind, kind.__name__)
            raise AtlasError(f"{argument} of {name} is {what}, not {one_line(repr(arguments[argument]))}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return factory(**arguments)


def load_reference(name: str, dataset: str | None = None) -> tuple[nn.Module, dict[str, Any], list[str] | None, Path | None]:
    """Return a reference network, its preprocessing, its categories and its weights file, the last two None where random.

    `name` is a key of REFERENCE or a folder that `atlas train` made; ``conv6@fashion-mnist`` names the dataset too.
    `dataset` chooses among the shipped weights (default: the only ones, else fashion-mnist); ``none`` is random weights.
    """
    if dataset is None and "@" in name and not exists(name):
        name, _, dataset = name.partition("@")
    if name not in REFERENCE:
        if is_file(Path(name) / "recipe.json"):
            return load_trained(Path(name))
        raise _unknown(name)
    if dataset == "none":
        module = build(name, {}).eval()
        return module, preprocessing(channels=1, size=28, mean=[0.0], std=[1.0]), None, None
    return load_trained(_shipped(name, dataset))


def preprocessing(*, channels: int, size: int, mean: list[float], std: list[float]) -> dict[str, Any]:
    """Return the preprocessing of a reference network: a square of `size` pixels, then (value / 255 − mean) / std."""
    geometry = {"height": size, "width": size, "resize": size, "fit": "crop", "interpolation": "bilinear"}
    return {**geometry, "channels": channels, "mean": list(mean), "std": list(std)}


def load_trained(folder: Path) -> tuple[nn.Module, dict[str, Any], list[str], Path]:
    """Return the network in a folder that `atlas train` made: module in eval mode, preprocessing, categories, weights."""
    from safetensors.torch import load_file

    recipe, weights = read_recipe(folder), folder / "weights.safetensors"
    try:
        module = build(recipe["network"], recipe["arguments"])
        module.load_state_dict(load_file(weights))
    except AtlasError:
        raise
    except Exception as reason:  # safetensors and torch raise kinds of their own
        raise AtlasError(f"{weights} does not fit its recipe ({one_line(reason, 120)}): train it again") from None
    return module.eval(), recipe["preprocess"], recipe["categories"], weights


def read_recipe(folder: Path) -> dict[str, Any]:
    """Return ``recipe.json`` of a folder that `atlas train` made."""
    path = folder / "recipe.json"
    try:
        recipe = read_json(path)
        wanted = {"network": str, "arguments": dict, "preprocess": dict, "categories": list}
        if all(isinstance(recipe[field], kind) for field, kind in wanted.items()):
            return dict(recipe)
    except FileNotFoundError:
        raise AtlasError(f"no trained network in {folder}: make one with `atlas train NET DATASET -o {folder}`") from None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise AtlasError(f"{path} is not the recipe of a training: make it again with `atlas train`")


def shipped(name: str) -> dict[str, Path]:
    """Return the folders of shipped weights of the network `name`, by dataset."""
    folders = sorted(WEIGHTS.glob(f"{name}-*/recipe.json"))
    return {recipe.parent.name.removeprefix(f"{name}-"): recipe.parent for recipe in folders}


def _shipped(name: str, dataset: str | None) -> Path:
    found = shipped(name)
    if not found:
        raise AtlasError(
            f"no weights of {name} are shipped: train it with `atlas train {name} DATASET`, or use atlas:{name}@none"
        )
    wanted = dataset or (next(iter(found)) if len(found) == 1 else "fashion-mnist")
    if wanted not in found:
        raise choose(f"shipped weights of {name} for", wanted, [*found, "none"])
    return found[wanted]


def _unknown(name: str) -> AtlasError:
    if is_folder(name):
        return AtlasError(
            f"no trained network in {name} (it has no recipe.json): make one with `atlas train NET DATASET -o {name}`"
        )
    return choose("reference network", name, REFERENCE)
