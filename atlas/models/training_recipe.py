"""What decides a training: its settings with every default filled in, and the recipe kept beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from atlas.errors import AtlasError, choose, one_line
from atlas.models import precision as precisions
from atlas.models import reference
from atlas.models.training_data import TrainingData, pixel_moments
from atlas.store import digest

AUGMENTATIONS = ("none", "shift", "flip-shift")
WEIGHT_DECAY = 0.05
# Epochs, batch size and highest learning rate that each network trains well with; 512 blocks add too many small steps
# for bfloat16's 8 bits, so the residual networks stay in float32.
DEFAULTS: dict[str, dict[str, Any]] = {
    "conv4": {"epochs": 24, "batch_size": 128, "lr": 3e-3},
    "conv6": {"epochs": 24, "batch_size": 128, "lr": 3e-3},
    "residual-mlp": {"epochs": 12, "batch_size": 250, "lr": 1e-3, "precision": "float32", "augment": "none"},
    "residual-cnn": {"epochs": 4, "batch_size": 125, "lr": 1e-3, "precision": "float32", "augment": "none"},
}
MIRRORED = ("fashion-mnist", "cifar10", "faces", "celeba")  # datasets whose classes survive a left-right flip; digits do not


def resolve_device(device: str) -> str:
    """Return torch's name of `device`, ``auto`` resolved."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as reason:
        raise AtlasError(f"no device {device!r} here ({one_line(reason, 80)}): use --device cpu") from None
    return device


def resolve_settings(
    net: str,
    data: TrainingData,
    given: Mapping[str, Any],
    *,
    device: str,
    seed: int,
    validation: int | None,
    half: bool = False,
) -> dict[str, Any]:
    """Return all that decides a training beside the network and the data, every default filled in."""
    if net not in reference.REFERENCE:
        raise choose("reference network", net, reference.REFERENCE)
    wanted = {name: value for name, value in given.items() if value not in (None, "auto")}
    settings = {
        "precision": "auto",
        "augment": "auto",
        **DEFAULTS[net],
        **wanted,
        "seed": seed,
        "weight_decay": WEIGHT_DECAY,
    }
    settings["precision"] = precisions.resolve(settings["precision"], device=device)
    if settings["augment"] == "auto":
        settings["augment"] = "flip-shift" if data.name in MIRRORED else "shift"
    if settings["augment"] not in AUGMENTATIONS:
        raise choose("augmentation", settings["augment"], AUGMENTATIONS)
    for name in ("epochs", "batch_size", "lr"):
        if not settings[name] > 0:
            raise AtlasError(f"{name.replace('_', ' ')} {settings[name]} trains nothing: give a number above 0")
    count = len(data.x_train)
    settings["validation"] = min(5000, count // 10) if validation is None else validation
    if not len(data.labels) <= settings["validation"] <= count // 2:
        raise AtlasError(
            f"{settings['validation']} validation images of {count} training images: "
            f"give a number from {len(data.labels)}, one per class, to {count // 2}"
        )
    return settings | ({"kept": "float16"} if half else {})  # of the file; they run in float32


def make_recipe(
    net: str, data: TrainingData, settings: Mapping[str, Any], net_arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what decides a training, as ``recipe.json`` keeps it, with its ``key``."""
    size = int(data.x_train.shape[1])
    arguments = {"channels": data.channels, "size": size, "classes": len(data.labels), **net_arguments}
    defaults = reference.REFERENCE[net].__kwdefaults__ or {}
    mean, std = pixel_moments(data.x_train)
    recipe: dict[str, Any] = {
        "format": 1,
        "network": net,
        "arguments": {**defaults, **arguments},
        "dataset": data.name,
        "dataset_sha256": data.digest,
        "categories": list(data.labels),
        "preprocess": reference.preprocessing(channels=data.channels, size=size, mean=mean, std=std),
        "training": {**settings, "optimizer": "AdamW", "schedule": "one cycle"},
    }
    reference.build(net, recipe["arguments"])  # refuses what the network does not take, before any work
    return {**recipe, "key": digest(recipe)}


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return in words where the recipe `found` differs from the one `wanted`."""

    def flat(recipe: Mapping[str, Any]) -> dict[str, Any]:
        top = {name: recipe.get(name) for name in ("network", "dataset")}
        return {**top, "kept": "float32", **recipe.get("arguments", {}), **recipe.get("training", {})}

    ours, theirs = flat(wanted), flat(found)
    changed = [f"{name} {theirs.get(name)} (asked: {value})" for name, value in ours.items() if theirs.get(name) != value]
    return one_line(", ".join(changed[:4]) or "other data")
