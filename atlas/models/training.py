"""Training a reference network: resumable, seeded, with its recipe and history kept beside the weights."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from atlas.errors import AtlasError
from atlas.models import reference, training_files
from atlas.models.residual import FixupBlock
from atlas.models.training_data import Feed, TrainingData
from atlas.models.training_recipe import DEFAULTS, differences, make_recipe, resolve_device, resolve_settings
from atlas.progress import Advance, Progress
from atlas.store import write_json

__all__ = ["DEFAULTS", "TrainingData", "TrainingResult", "train"]


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
    half: bool = False,
    net_arguments: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """Train the reference network `net` on `data` and leave the epoch that was best on the validation images in `out`.

    AdamW with a one-cycle learning rate that peaks at `lr`. `validation` images (default: 5 000, at most a tenth) are held
    out of the training set, stratified by class; the test images are looked at once, at the end. A training that was
    killed resumes after its last whole epoch, and a finished one is returned as it is; on CPU, with equal threads, a
    resumed training gives the weights of an undisturbed one. None and ``auto`` are DEFAULTS of the network. With `half` the
    weights are kept as float16, half the bytes; the accuracies are those of the rounded weights, which run in float32.
    """
    device = resolve_device(device)
    given = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "precision": precision, "augment": augment}
    settings = resolve_settings(net, data, given, device=device, seed=seed, validation=validation, half=half)
    recipe = make_recipe(net, data, settings, net_arguments or {})
    out = Path(out)
    finished = open_folder(out, recipe)
    if finished:
        return finished
    with alone(out):
        run = Run.start(recipe, data, torch.device(device), out)
        run.go(progress or Progress())
        return run.finish(data)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold the folder of a training, so that a second one in it is refused, not mixed with this."""
    lock = FileLock(out / "training.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise AtlasError(f"another training is at work in {out}: wait for it, or choose another -o") from None
    try:
        yield
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def open_folder(out: Path, recipe: Mapping[str, Any]) -> TrainingResult | None:
    """Make `out` ready; return the training it holds when that is finished and of this recipe."""
    if not out.parent.is_dir():
        raise AtlasError(f"{out.parent} is no folder, so {out.name} cannot be made in it: create it or choose another -o")
    out.mkdir(exist_ok=True)
    if not (out / "recipe.json").exists():
        return None
    found = reference.read_recipe(out)
    if found.get("key") != recipe["key"]:
        raise AtlasError(
            f"{out} holds a finished training with {differences(found, recipe)}: choose another -o, or remove it"
        )
    return TrainingResult(out, found, training_files.read_history(out))


def one_cycle(step: int, steps: int, peak: float) -> float:
    """Return the learning rate of a step: up by a cosine over the first 0.3 of the steps, then down to almost 0.

    Smith and Topin 2017 (Super-Convergence), with the shares of torch's OneCycleLR; without its state, so that a resumed
    training needs none.
    """
    rise = max(1.0, 0.3 * steps - 1)
    low, high, share = (
        (peak / 25, peak, step / rise) if step <= rise else (peak / 1e4, peak, (steps - 1 - step) / (steps - 1 - rise))
    )
    return low + (high - low) * (1 - math.cos(math.pi * share)) / 2


def make_optimizer(module: nn.Module, settings: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Return AdamW that decays matrices and kernels; norms, biases and scales are free.

    Fixup's scalars learn at a tenth of the rate, as its authors do: those of all blocks shift one stream together.
    """
    scalars = {p for block in module.modules() if isinstance(block, FixupBlock) for p in (block.biases, block.scale)}
    others = [p for p in module.parameters() if p not in scalars]
    groups = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": settings["weight_decay"], "share": 1.0},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0, "share": 1.0},
        {"params": [p for p in module.parameters() if p in scalars], "weight_decay": 0.0, "share": 0.1},
    ]
    # Fused: thousands of small tensors take a third of the time.
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings["lr"], fused=True)


def describe(row: Mapping[str, float], epochs: int) -> str:
    """Return a row of the history in words."""
    loss, accuracy, held_loss, held_accuracy = (row[name] for name in training_files.COLUMNS[2:6])
    training = f"training loss {loss:.4f}, accuracy {accuracy:.4f}"
    held_out = f"validation loss {held_loss:.4f}, accuracy {held_accuracy:.4f}"
    return f"epoch {row['epoch']:.0f} of {epochs}: {training}; {held_out}; {row['seconds']:.0f} s"


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
        state = training_files.read_resume(self.out)
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
        state |= {"module": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}
        training_files.write_resume(self.out, state)
        training_files.write_history(self.out, self.history)

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

    def epoch(self, epoch: int, advance: Advance) -> dict[str, float]:
        """Train one epoch, look at the validation images, keep the state; return the epoch's row of the history."""
        started = time.monotonic()
        train_loss, train_accuracy, lr = self.learn(epoch, advance)
        loss, accuracy = self.feed.evaluate(self.module, "validation")
        seconds = time.monotonic() - started
        values = (epoch, lr, train_loss, train_accuracy, loss, accuracy, round(seconds, 2))
        row = dict(zip(training_files.COLUMNS, values, strict=True))
        self.history.append(row)
        self.seconds += seconds
        if accuracy > max((r["validation_accuracy"] for r in self.history[:-1]), default=-1.0):
            self.best, self.best_epoch = training_files.weights_of(self.module), epoch
        self.save()
        return row

    def learn(self, epoch: int, advance: Advance) -> tuple[float, float, float]:
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
            raise AtlasError(
                f"the loss is {mean} in epoch {epoch} (lr {lr:.2g}): train with a smaller --lr than {settings['lr']:g}"
            )
        return mean, float(right) / seen, lr

    def step(self, images: torch.Tensor, labels: torch.Tensor, lr: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Take one step of the optimizer; return loss and logits."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["share"]
        with self.feed.autocast():
            logits = self.module(images)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), logits.detach()

    def finish(self, data: TrainingData) -> TrainingResult:
        """Measure the best weights once on every split, and leave them with recipe and history; the recipe comes last."""
        kept = training_files.rounded(self.best) if self.recipe["training"].get("kept") == "float16" else self.best
        self.module.load_state_dict(kept)  # into float32
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
        training_files.write_weights(self.out, kept)
        training_files.write_history(self.out, self.history)
        write_json(self.out / "recipe.json", {**self.recipe, **made})
        (self.out / "resume.pt").unlink(missing_ok=True)
        return TrainingResult(self.out, {**self.recipe, **made}, self.history)
