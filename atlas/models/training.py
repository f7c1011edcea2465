"""Training a reference network: resumable, seeded, with its recipe and history kept beside the weights."""

from __future__ import annotations

import csv
import dataclasses
import importlib.metadata
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from atlas.errors import AtlasError, choose, one_line
from atlas.models import precision as precisions
from atlas.models import reference
from atlas.models.checkpoints import read_checkpoint, write_checkpoint, write_weights
from atlas.progress import Progress
from atlas.store import digest, write_json

COLUMNS = ("epoch", "lr", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "seconds")
AUGMENTATIONS = ("none", "shift", "flip-shift")
SHIFT = 2  # pixels, each way
EVALUATION_BATCH = 500
WEIGHT_DECAY = 0.05
# Epochs, batch size and highest learning rate that each network trains well with; 512 blocks add too many small steps
# for bfloat16's 8 bits, so the residual MLP stays in float32.
DEFAULTS: dict[str, dict[str, Any]] = {
    "conv4": {"epochs": 24, "batch_size": 128, "lr": 3e-3},
    "conv6": {"epochs": 24, "batch_size": 128, "lr": 3e-3},
    "residual-mlp": {"epochs": 12, "batch_size": 250, "lr": 1e-3, "precision": "float32", "augment": "none"},
}
MIRRORED = ("fashion-mnist", "cifar10", "faces")  # datasets whose classes survive a left-right flip; digits do not


@dataclass(frozen=True)
class TrainingData:
    """A dataset to train on: images uint8 [image, y, x] or [image, y, x, rgb], integer labels [image], class names."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    labels: Sequence[str]
    name: str

    def __post_init__(self) -> None:
        for split, images, labels in (("train", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            _check_split(f"{self.name}:{split}", images, labels, len(self.labels))
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise AtlasError(f"{self.name}: training images are {self.x_train.shape[1:]}, test images {self.x_test.shape[1:]}")
        if self.x_train.shape[1] != self.x_train.shape[2]:
            raise AtlasError(f"{self.name}: images are {self.x_train.shape[1:3]} pixels: our networks train on square ones")

    @property
    def channels(self) -> int:
        return 3 if self.x_train.ndim == 4 else 1

    @property
    def digest(self) -> str:
        """SHA-256 of all images, labels and names, hex."""
        arrays = [self.x_train, self.y_train, self.x_test, self.y_test]
        return digest([*map(np.asarray, arrays), list(self.labels)])


@dataclass(frozen=True)
class TrainingResult:
    """A finished training: its folder (weights.safetensors, recipe.json, history.csv), the recipe, one row per epoch."""

    folder: Path
    recipe: dict[str, Any]
    history: list[dict[str, float]]

    @property
    def accuracy(self) -> dict[str, float]:
        """Share right of the best weights, without augmentation: ``train``, ``validation``, ``test``."""
        return dict(self.recipe["accuracy"])


def train(
    net: str,
    data: TrainingData,
    *,
    out: Path,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int = 0,
    validation: int | None = None,
    augment: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    net_arguments: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """Train the reference network `net` on `data` and leave the epoch that was best on the validation images in `out`.

    AdamW with a one-cycle learning rate that peaks at `lr`. `validation` images (default: 5 000, at most a tenth) are held
    out of the training set, stratified by class; the test images are looked at once, at the end. A training that was
    killed resumes after its last whole epoch, and a finished one is returned as it is; on CPU, with equal threads, a
    resumed training gives the weights of an undisturbed one. None and ``auto`` are DEFAULTS of the network.
    """
    device = resolve_device(device)
    given = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "precision": precision, "augment": augment}
    settings = resolve_settings(net, data, given, device=device, seed=seed, validation=validation)
    recipe = make_recipe(net, data, settings, net_arguments or {})
    out = Path(out)
    finished = open_folder(out, recipe)
    if finished:
        return finished
    run = Run.start(recipe, data, torch.device(device), out)
    run.go(progress or Progress())
    return run.finish(data)


# ---------------------------------------------------------------------------------------------------------------------
# Settings


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
    net: str, data: TrainingData, given: Mapping[str, Any], *, device: str, seed: int, validation: int | None
) -> dict[str, Any]:
    """Return all that decides a training beside the network and the data, every default filled in."""
    if net not in reference.REFERENCE:
        raise choose("reference network", net, reference.REFERENCE)
    wanted = {name: value for name, value in given.items() if value not in (None, "auto")}
    settings = {"precision": "auto", "augment": "auto", **DEFAULTS[net], **wanted, "seed": seed, "weight_decay": WEIGHT_DECAY}
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
    return settings


def make_recipe(net: str, data: TrainingData, settings: Mapping[str, Any], net_arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides a training, as ``recipe.json`` keeps it, with its ``key``."""
    size = int(data.x_train.shape[1])
    arguments = {"channels": data.channels, "size": size, "classes": len(data.labels), **net_arguments}
    defaults = reference.REFERENCE[net].__kwdefaults__ or {}
    mean, std = pixel_moments(data.x_train)
    recipe = {
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


def pixel_moments(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of value / 255 per channel, over all pixels, to four decimals."""
    channels = images.reshape(-1, images.shape[-1] if images.ndim == 4 else 1)
    counts = np.stack([np.bincount(channel, minlength=256) for channel in channels.T])  # exact, and needs no float copy
    values, shares = np.arange(256) / 255, counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    std = np.sqrt(np.maximum(shares @ values**2 - mean**2, 1e-8))
    return np.round(mean, 4).tolist(), np.round(std, 4).tolist()


def open_folder(out: Path, recipe: Mapping[str, Any]) -> TrainingResult | None:
    """Make `out` ready; return the training it holds when that is finished and of this recipe."""
    if not out.parent.is_dir():
        raise AtlasError(f"{out.parent} is no folder, so {out.name} cannot be made in it: create it or choose another -o")
    out.mkdir(exist_ok=True)
    if not (out / "recipe.json").exists():
        return None
    found = reference.read_recipe(out)
    if found.get("key") != recipe["key"]:
        raise AtlasError(f"{out} holds a finished training with {differences(found, recipe)}: choose another -o, or remove it")
    return TrainingResult(out, found, read_history(out / "history.csv"))


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return in words where the recipe `found` differs from the one `wanted`."""

    def flat(recipe: Mapping[str, Any]) -> dict[str, Any]:
        top = {name: recipe.get(name) for name in ("network", "dataset")}
        return {**top, **recipe.get("arguments", {}), **recipe.get("training", {})}

    ours, theirs = flat(wanted), flat(found)
    changed = [f"{name} {theirs.get(name)} (asked: {value})" for name, value in ours.items() if theirs.get(name) != value]
    return one_line(", ".join(changed[:4]) or "other data")


# ---------------------------------------------------------------------------------------------------------------------
# The run


@dataclass
class Run:
    """A training under way: what its checkpoint holds, and what it is fed with."""

    recipe: dict[str, Any]
    out: Path
    module: nn.Module
    optimizer: torch.optim.Optimizer
    feed: Feed
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    best: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    best_epoch: int = 0
    seconds: float = 0.0

    @classmethod
    def start(cls, recipe: dict[str, Any], data: TrainingData, device: torch.device, out: Path) -> Run:
        """Return a new run, or the one that `out` holds unfinished."""
        module = reference.build(recipe["network"], recipe["arguments"], seed=recipe["training"]["seed"])
        module = module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        run = cls(recipe, out, module, make_optimizer(module, recipe["training"]), Feed.of(data, recipe, device))
        run.resume()
        return run

    def resume(self) -> None:
        """Take up the state that an earlier run of this recipe left in the folder."""
        state = read_checkpoint(self.out)
        if state is None:
            return
        if state["key"] != self.recipe["key"]:
            raise AtlasError(f"{self.out} holds an unfinished training of another recipe: choose another -o, or remove it")
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history, self.best, self.best_epoch = state["history"], state["best"], state["best_epoch"]
        self.seconds = state["seconds"]

    def save(self) -> None:
        """Leave the whole state in the folder: it is there whole or not at all."""
        fields = ("history", "best", "best_epoch", "seconds")
        state = {name: getattr(self, name) for name in fields} | {"key": self.recipe["key"]}
        write_checkpoint(self.out, {**state, "module": self.module.state_dict(), "optimizer": self.optimizer.state_dict()})
        write_history(self.out / "history.csv", self.history)

    def go(self, progress: Progress) -> None:
        """Train the epochs that are left."""
        settings, done = self.recipe["training"], len(self.history)
        steps = self.feed.steps(settings["batch_size"])
        title = f"train {self.recipe['network']} on {self.recipe['dataset']}"
        if done:
            progress.note(f"{title}: resumed after epoch {done} of {settings['epochs']}")
        with progress.stage(title, settings["epochs"] * steps) as advance:
            advance(done * steps)
            for epoch in range(done + 1, settings["epochs"] + 1):
                row = self.epoch(epoch, advance)
                progress.note(describe(row, settings["epochs"]))

    def epoch(self, epoch: int, advance: Any) -> dict[str, float]:
        """Train one epoch, look at the validation images, keep the state; return the epoch's row of the history."""
        started = time.monotonic()
        train_loss, train_accuracy, lr = self.learn(epoch, advance)
        loss, accuracy = self.feed.evaluate(self.module, "validation")
        seconds = time.monotonic() - started
        row = dict(zip(COLUMNS, (epoch, lr, train_loss, train_accuracy, loss, accuracy, round(seconds, 2)), strict=True))
        self.history.append(row)
        self.seconds += seconds
        if accuracy > max((r["validation_accuracy"] for r in self.history[:-1]), default=-1.0):
            self.best, self.best_epoch = weights_of(self.module), epoch
        self.save()
        return row

    def learn(self, epoch: int, advance: Any) -> tuple[float, float, float]:
        """Train one epoch; return mean loss and accuracy over its (augmented) batches, and the last learning rate.

        All randomness of an epoch comes from the seed and its number, so that a resumed run needs no random state.
        """
        settings, device = self.recipe["training"], self.feed.device
        self.module.train()
        steps, total, right, seen = self.feed.steps(settings["batch_size"]), torch.zeros(()), torch.zeros(()), 0
        lr = 0.0
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(1_000_003 * settings["seed"] + epoch)  # a prime keeps the seeds' epochs apart
            for step, (images, labels) in enumerate(self.feed.batches(settings["batch_size"], settings["augment"])):
                lr = one_cycle((epoch - 1) * steps + step, settings["epochs"] * steps, settings["lr"])
                loss, logits = self.step(images, labels, lr)
                total = total.to(device) + loss * len(labels)
                right = right.to(device) + (logits.argmax(1) == labels).sum()
                seen += len(labels)
                advance(1)
        mean = float(total) / seen
        if not math.isfinite(mean):
            raise AtlasError(f"the loss is {mean} in epoch {epoch} (lr {lr:.2g}): train with a smaller --lr than {settings['lr']:g}")
        return mean, float(right) / seen, lr

    def step(self, images: torch.Tensor, labels: torch.Tensor, lr: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Take one step of the optimizer; return loss and logits."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        with self.feed.autocast():
            logits = self.module(images)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), logits.detach()

    def finish(self, data: TrainingData) -> TrainingResult:
        """Measure the best weights once on every split, and leave them with recipe and history; the recipe comes last."""
        self.module.load_state_dict(self.best)
        accuracy = {split: round(self.feed.evaluate(self.module, split)[1], 5) for split in self.feed.images}
        made = {
            "accuracy": accuracy,
            "images": {split: len(rows) for split, rows in self.feed.labels.items()},
            "best_epoch": self.best_epoch,
            "parameters": sum(p.numel() for p in self.module.parameters()),
            "device": torch.cuda.get_device_name() if self.feed.device.type == "cuda" else self.feed.device.type,
            "seconds": round(self.seconds, 1),
            "libraries": {name: importlib.metadata.version(name) for name in ("torch", "numpy", "safetensors")},
        }
        write_weights(self.out, self.best)
        write_history(self.out / "history.csv", self.history)
        write_json(self.out / "recipe.json", {**self.recipe, **made})
        (self.out / "resume.pt").unlink(missing_ok=True)
        return TrainingResult(self.out, {**self.recipe, **made}, self.history)
