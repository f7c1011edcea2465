"""Networks that tell two classes of people apart, judged by people that they have not seen: folds, controls, intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from atlas.data.faces import HELD, held_out
from atlas.data.named import ArrayDataset, fetch
from atlas.errors import AtlasError
from atlas.experiments import Setting
from atlas.machine import torch_threads
from atlas.models import reference
from atlas.models.preprocess import Preprocess
from atlas.models.training import TrainingData, train
from atlas.models.training_data import Feed
from atlas.patterns.probing import linear_probe

NETS = ("conv4", "conv6")
WIDTH = 16  # units of the first two convolutions: half of what Fashion-MNIST's networks have, for a hundredth of its images
EPOCHS, QUICK_EPOCHS, BATCH, RATE = 40, 16, 32, 3e-3
LARGE = 2_400  # images of a large dataset that are taken
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the linear probe, as scikit-learn's C
DRAWS = 10_000  # of the bootstrap


@dataclass(frozen=True)
class People:
    """Labelled photographs of people: images uint8 [image, y, x], class and subject [image]."""

    name: str  # of the dataset
    title: str
    images: np.ndarray
    codes: np.ndarray
    subjects: np.ndarray
    labels: list[str]

    @classmethod
    def of(cls, dataset: ArrayDataset, most: int) -> People:
        """Return a fetched dataset's images, or as many as `most`: five of its training part to one of its test part."""
        count = {"train": most * 5 // 6, "test": most // 6} if len(dataset.codes["train"]) > most else {}
        parts = [(part, slice(count.get(part))) for part in ("train", "test")]
        sources = dataset.images, dataset.codes, dataset.columns["subject"]
        images, codes, subjects = (np.concatenate([of[part][rows] for part, rows in parts]) for of in sources)
        return cls(dataset.name, dataset.title, images, codes, subjects.astype(int), list(dataset.labels))

    def at(self, size: int) -> np.ndarray:
        """Return the images at a size, resized as a network of that size resizes them: uint8 [image, y, x]."""
        how = Preprocess(height=size, width=size, resize=size, channels=1, mean=(0.0,), std=(1.0,))
        return np.stack([how.array(Image.fromarray(image))[0] for image in self.images])

    def fold(self, fold: int) -> np.ndarray:
        """Return which images a fold holds out, whole subjects of both classes: bool [image]."""
        return held_out(self.codes, self.subjects, fold, HELD)

    def data(self, size: int, fold: int) -> TrainingData:
        """Return what a fold trains on and is tested by."""
        images, test = self.at(size), self.fold(fold)
        parts = images[~test], self.codes[~test], images[test], self.codes[test]
        return TrainingData(*parts, self.labels, self.name, self.subjects[~test])


def people(setting: Setting) -> People:
    """Return CelebA's Male where it can be had, else the portraits of 30 people; these too for a quick run."""
    where = setting.cache / "datasets"
    if setting.quick:
        return People.of(fetch("faces", where, setting.progress), LARGE)
    try:
        dataset = fetch("celeba", where, setting.progress)
    except AtlasError as reason:
        setting.say(f"{reason}; the portraits of 30 people stand in for it")
        dataset = fetch("faces", where, setting.progress)
    return People.of(dataset, LARGE)


# -- networks ---------------------------------------------------------------------------------------------------------------


def trained(setting: Setting, whole: People, net: str, size: int, fold: int) -> Path:
    """Return the folder of a network that has learned from all subjects but those of a fold."""
    folder = setting.folder(f"networks/{whole.name}-{net}-{size}-fold{fold + 1}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    data = whole.data(size, fold)
    epochs = QUICK_EPOCHS if setting.quick else EPOCHS
    with torch_threads(1):  # few images: the order of sums, which is the threads', may decide which epoch is the best
        train(
            net, data, out=folder, epochs=epochs, batch_size=min(BATCH, len(data.x_train) // 4), lr=RATE,
            validation=len(data.x_train) // 5, precision="float32", net_arguments={"width": WIDTH},
            progress=setting.progress,
        )  # fmt: skip
    return folder


def said_by(folder: Path, data: TrainingData) -> np.ndarray:
    """Return the class that a trained network says of each test image: int [image]."""
    module, recipe = reference.load_trained(folder)[0], reference.read_recipe(folder)
    feed = Feed.of(data, recipe, torch.device("cpu"))
    with torch.inference_mode():
        return np.asarray(module(feed.ready(feed.images["test"])).argmax(1).numpy())


# -- controls ---------------------------------------------------------------------------------------------------------------


def majority(data: TrainingData, groups: np.ndarray) -> np.ndarray:
    """Say of every test image the class that most training images have."""
    return np.full(len(data.y_test), np.bincount(data.y_train).argmax())


def by_pixels(data: TrainingData, groups: np.ndarray) -> np.ndarray:
    """Say what a logistic regression on the pixels says, its strength chosen by training subjects left out in turn."""
    learned, tested = (images.reshape(len(images), -1) / 255 for images in (data.x_train, data.x_test))
    return linear_probe(learned, data.y_train, tested, data.y_test, groups=groups, strengths=STRENGTHS).predicted


MAJORITY, PROBE = "the more frequent class", "linear probe on pixels"
CONTROLS: dict[str, Callable[[TrainingData, np.ndarray], np.ndarray]] = {
    MAJORITY: majority,
    PROBE: by_pixels,
}


# -- cross-validation -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """What one method said of every image, each said by the fold that had not seen its subject."""

    method: str
    size: int
    said: np.ndarray  # int [image]; -1 where no fold has said it
    codes: np.ndarray
    subjects: np.ndarray
    folds: np.ndarray  # int [image]

    @property
    def right(self) -> np.ndarray:
        """Which images that were judged are right: bool [judged]."""
        return (self.said == self.codes)[self.said >= 0]

    @property
    def accuracy(self) -> float:
        """Share of images right."""
        return float(self.right.mean())

    def confusion(self, fold: int | None = None) -> list[list[int]]:
        """Return counts [class][said], of one fold or of all."""
        own = (self.said >= 0) & (True if fold is None else self.folds == fold)
        count = int(self.codes.max()) + 1
        return np.bincount(self.codes[own] * count + self.said[own], minlength=count**2).reshape(count, count).tolist()

    def told(self) -> dict[str, Any]:
        """Return it as plain values."""
        judged = self.said >= 0
        low, high = interval(self.right, self.subjects[judged])
        each = [float((self.said == self.codes)[self.folds == fold].mean()) for fold in np.unique(self.folds[judged])]
        per_class = [float(self.right[self.codes[judged] == code].mean()) for code in np.unique(self.codes)]
        people = by_subject(self.right, self.subjects[judged])
        return {
            "method": self.method, "size": self.size, "images": int(judged.sum()), "subjects": len(people),
            "accuracy": round(self.accuracy, 4), "interval": [round(low, 4), round(high, 4)],
            "balanced": round(float(np.mean(per_class)), 4), "per_class": [round(value, 4) for value in per_class],
            "folds": [round(value, 4) for value in each],
            "confusion": [self.confusion(int(fold)) for fold in np.unique(self.folds[judged])],
            "subjects_all_right": int(sum(share == 1 for share in people.values())),
        }  # fmt: skip


def by_subject(right: np.ndarray, subjects: np.ndarray) -> dict[int, float]:
    """Return the share right of each subject's images."""
    return {int(subject): float(right[subjects == subject].mean()) for subject in np.unique(subjects)}


def interval(values: np.ndarray, subjects: np.ndarray, *, seed: int = 0, draws: int = DRAWS) -> tuple[float, float]:
    """Return the 95 % interval of the mean of `values` [image] by a bootstrap that draws whole subjects.

    The images of a person are alike; drawing single images would make the interval too narrow (Field and Welsh,
    Bootstrapping clustered data, JRSS B 69, 2007).
    """
    _, own = np.unique(subjects, return_inverse=True)
    sums, sizes = np.bincount(own, weights=values.astype(float)), np.bincount(own)
    drawn = np.random.default_rng(seed).integers(0, len(sizes), (draws, len(sizes)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def judge(setting: Setting, whole: People, sizes: tuple[int, ...], folds: int) -> list[Judged]:
    """Return what the networks, at each size, and the controls say of every image, fold by fold."""
    of_image = np.full(len(whole.codes), -1)
    for fold in range(folds):
        of_image[whole.fold(fold)] = fold
    found = []

    def take(method: str, size: int, say: Callable[[TrainingData, int], np.ndarray]) -> None:
        said = np.full(len(whole.codes), -1)
        for fold in range(folds):
            said[whole.fold(fold)] = say(whole.data(size, fold), fold)
        found.append(Judged(method, size, said, whole.codes, whole.subjects, of_image))

    def by_network(net: str, size: int) -> Callable[[TrainingData, int], np.ndarray]:
        return lambda data, fold: said_by(trained(setting, whole, net, size, fold), data)

    def by_control(name: str) -> Callable[[TrainingData, int], np.ndarray]:
        return lambda data, fold: CONTROLS[name](data, whole.subjects[~whole.fold(fold)])

    for size in sizes:
        for net in NETS:
            take(net, size, by_network(net, size))
        for name in [name for name in CONTROLS if name != MAJORITY or size == sizes[0]]:  # of no size
            take(name, size, by_control(name))
    return found


def against(one: Judged, other: Judged) -> dict[str, Any]:
    """Return by how much one method is right more often than another on the same images, with its 95 % interval."""
    apart = one.right.astype(float) - other.right.astype(float)
    low, high = interval(apart, one.subjects[one.said >= 0])
    names = {"method": one.method, "other": other.method, "size": one.size}
    return names | {"difference": round(float(apart.mean()), 4), "interval": [round(low, 4), round(high, 4)]}


def compared(judged: list[Judged]) -> list[dict[str, Any]]:
    """Return how the networks compare with the linear probe at each size."""
    probes = {one.size: one for one in judged if one.method == PROBE}
    return [against(one, probes[one.size]) for one in judged if one.method in NETS]


def best_size(judged: list[Judged]) -> int:
    """Return the size at which the networks are right most often, cross-validated."""
    sizes = dict.fromkeys(one.size for one in judged)
    return max(sizes, key=lambda size: np.mean([one.accuracy for one in judged if one.size == size and one.method in NETS]))
