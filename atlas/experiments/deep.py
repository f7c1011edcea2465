"""Very deep residual networks for an experiment: trained, or shipped, and looked through block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from atlas.data.named import fetch, known
from atlas.errors import AtlasError
from atlas.experiments import Setting
from atlas.models import reference
from atlas.models.residual import SCALINGS, streams
from atlas.models.training import TrainingData, train
from atlas.models.training_data import Feed
from atlas.patterns.blocks import linear_cka, read_out
from atlas.verbs import draw_training

COMPARED = 128  # blocks at most that are held against each other by CKA: every fourth of 512
CHUNK = 100  # images whose streams through all blocks are held at once: 512 blocks × 64 units are 13 MB, 128 × 1 568 are 80


@dataclass(frozen=True)
class Case:
    """One network on one dataset."""

    net: str
    dataset: str
    depth: int
    epochs: int
    images: int | None = None  # the first of the training images; None: all

    @property
    def title(self) -> str:
        """For people: ``MNIST``, ``Fashion-MNIST, convolutional``."""
        return known(self.dataset).title + (", convolutional" if self.net == "residual-cnn" else "")

    @property
    def name(self) -> str:
        """For files: ``mnist``, ``fashion-mnist-convolutional``."""
        return self.dataset + ("-convolutional" if self.net == "residual-cnn" else "")


@dataclass(frozen=True)
class Scalings:
    """The small trainings that show what the scale of the branches is for."""

    depth: int
    epochs: int
    images: int  # of MNIST, a fifth of them for validation
    batch_size: int = 250


# -- networks ---------------------------------------------------------------------------------------------------------------


def data_of(setting: Setting, dataset: str, images: int | None, tests: int | None = None) -> TrainingData:
    """Return a dataset to train on, or the first `images` of it; and all its test images, or the first `tests`."""
    whole = TrainingData.of(fetch(dataset, setting.cache / "datasets", setting.progress))
    learned, tested = (whole.x_train[:images], whole.y_train[:images]), (whole.x_test[:tests], whole.y_test[:tests])
    return TrainingData(*learned, *tested, whole.labels, whole.name)


def trained(setting: Setting, case: Case) -> Path:
    """Return the folder of a trained network: the shipped one where there is one, else trained into the cache."""
    there = reference.shipped(case.net).get(case.dataset)
    if there is not None and not setting.quick:
        return there
    folder = setting.folder(f"networks/patterns-{case.net}-{case.dataset}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    data, depth = data_of(setting, case.dataset, case.images), {"depth": case.depth}
    result = train(case.net, data, out=folder, epochs=case.epochs, net_arguments=depth, progress=setting.progress)
    if not (folder / "curves.png").exists():
        draw_training(result)
    return folder


# -- block by block -------------------------------------------------------------------------------------------------------


def read_and_compared(setting: Setting, case: Case, folder: Path, recipe: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the accuracy of the output layer read at every block, [block], and the CKA of blocks, [block, block].

    The accuracy is over all test images, the CKA over the first 1 000 and every block, or as many as COMPARED evenly apart.
    """
    module = reference.load_trained(folder)[0]
    feed = Feed.of(data_of(setting, case.dataset, case.images), recipe, torch.device("cpu"))
    weight, bias = (value.detach().numpy() for value in module.get_submodule("logits").parameters())
    labels, right, kept = feed.labels["test"].numpy(), np.zeros(case.depth, np.int64), []
    step = -(-case.depth // COMPARED)
    with setting.progress.stage(f"the output layer read at every block of {case.title}", len(labels)) as advance:
        for start, through in chunks(module, feed):
            right += (read_out(through, weight, bias) == labels[start : start + through.shape[1]]).sum(axis=1)
            kept += [through[step - 1 :: step]] if start < 1000 else []
            advance(through.shape[1])
    return right / len(labels), linear_cka(np.concatenate(kept, axis=1))


def chunks(module: nn.Module, feed: Feed) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the test images' streams, CHUNK images at a time: where they begin, and float32 [block, image, neuron]."""
    images = feed.images["test"]
    for start in range(0, len(images), CHUNK):
        yield start, np.stack([block.numpy() for block in streams(module, feed.ready(images[start : start + CHUNK]))])


def by_neuron(setting: Setting, case: Case, folder: Path, recipe: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return ``mean`` and ``std`` [class, block, neuron] of a convolutional case, over its correctly classified test images.

    The atlas has a map's mean over places as one unit; here every place of a map is a neuron of its own, as in the source.
    """
    module = reference.load_trained(folder)[0]
    feed = Feed.of(data_of(setting, case.dataset, case.images), recipe, torch.device("cpu"))
    weight, bias = (value.detach().numpy() for value in module.get_submodule("logits").parameters())
    labels, sums, count = feed.labels["test"].numpy(), None, np.zeros((len(bias), 1, 1))
    with setting.progress.stage(f"every neuron of {case.title}", len(labels)) as advance:
        for start, through in chunks(module, feed):
            own = labels[start : start + through.shape[1]]
            right = read_out(through[-1:], weight, bias)[0] == own
            sums = np.zeros((2, len(bias), *through[:, 0].shape)) if sums is None else sums
            for label in np.unique(own[right]):
                rows = through[:, right & (own == label)]  # a few: float32 holds their sums
                sums[:, label] += rows.sum(axis=1), np.einsum("bin,bin->bn", rows, rows)
                count[label] += rows.shape[1]
            advance(through.shape[1])
    assert sums is not None  # there are test images
    mean, square = np.divide(sums, count, out=np.full_like(sums, np.nan), where=count > 0)
    return {"mean": mean, "std": np.sqrt(np.maximum(square - mean**2, 0.0))}


# -- scalings ---------------------------------------------------------------------------------------------------------------


def scalings(setting: Setting, asked: Scalings) -> dict[str, dict[str, np.ndarray]]:
    """Train a network per scaling on a part of MNIST; return ``accuracy`` [epoch], ``untrained`` and ``trained`` [block]."""
    data, found = data_of(setting, "mnist", asked.images, asked.images // 5), {}
    for scaling in SCALINGS:
        arguments = {"depth": asked.depth, "scaling": scaling}
        folder = setting.folder(f"networks/scaling-{scaling}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            result = train(
                "residual-mlp", data, out=folder, epochs=asked.epochs, batch_size=asked.batch_size,
                validation=asked.images // 5, net_arguments=arguments, progress=setting.progress,
            )  # fmt: skip
        except AtlasError as reason:
            if "the loss is" not in str(reason):
                raise
            setting.say(f"{scaling}: {reason}")
            found[scaling] = {"accuracy": np.empty(0), "untrained": np.empty(0), "trained": np.empty(0)}
            continue
        feed = Feed.of(data, result.recipe, torch.device("cpu"))
        pair = reference.build("residual-mlp", result.recipe["arguments"]).eval(), reference.load_trained(folder)[0]
        found[scaling] = {
            "accuracy": np.array([row["validation_accuracy"] for row in result.history]),
            **{when: spread(module, feed) for when, module in zip(("untrained", "trained"), pair, strict=True)},
        }
    return found


def spread(module: nn.Module, feed: Feed) -> np.ndarray:
    """Return the standard deviation of the stream after each block over 250 validation images: float64 [block]."""
    images = feed.ready(feed.images["validation"][:250])
    return np.array([float(block.double().std()) for block in streams(module, images)])
