"""What a training is fed with: the images on the device, split once, shuffled and augmented batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from atlas.errors import AtlasError
from atlas.store import digest

if TYPE_CHECKING:
    from atlas.data.named import ArrayDataset

SHIFT = 2  # pixels, each way
EVALUATION_BATCH = 500


@dataclass(frozen=True)
class TrainingData:
    """A dataset to train on: images uint8 [image, y, x] or [image, y, x, rgb], integer labels [image], class names.

    `groups` [image] says which training images belong together, such as those of one person: validation then takes whole
    groups, so that it says something of others.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    labels: Sequence[str]
    name: str
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.labels) < 2:
            raise AtlasError(f"{self.name} has {len(self.labels)} classes: a classifier needs two or more to tell apart")
        for split, images, labels in (("train", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            _check_split(f"{self.name}:{split}", images, labels, len(self.labels))
        shape, other = self.x_train.shape[1:], self.x_test.shape[1:]
        if shape != other:
            raise AtlasError(f"{self.name}: training images are {shape}, test images {other}: give both one size")
        if shape[0] != shape[1]:
            raise AtlasError(f"{self.name}: images are {shape[1]} × {shape[0]} pixels: our networks train on square ones")
        if self.groups is not None and len(self.groups) != len(self.x_train):
            raise AtlasError(f"{self.name}: {len(self.x_train)} training images, {len(self.groups)} groups: give one each")

    @classmethod
    def of(cls, dataset: ArrayDataset) -> TrainingData:
        """Return a fetched dataset's two parts; its subjects, where it has them, as groups."""
        images, codes = dataset.images, dataset.codes
        if "train" not in images:
            raise AtlasError(f"{dataset.title} has no training images: it is there to be looked at by other networks")
        groups = dataset.columns["subject"]["train"] if "subject" in dataset.columns else None
        parts = images["train"], codes["train"], images["test"], codes["test"]
        return cls(*parts, list(dataset.labels), dataset.name, groups)

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return 3 if self.x_train.ndim == 4 else 1

    @property
    def digest(self) -> str:
        """SHA-256 of all images, labels and names, hex."""
        arrays = [self.x_train, self.y_train.astype(np.int64), self.x_test, self.y_test.astype(np.int64)]
        more = [] if self.groups is None else [self.groups.astype(np.int64)]
        return digest([*arrays, list(self.labels), *more])


def _check_split(name: str, images: np.ndarray, labels: np.ndarray, classes: int) -> None:
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        raise AtlasError(f"{name}: images are {images.dtype} {images.shape}: give uint8 [image, y, x] or [image, y, x, rgb]")
    if len(images) == 0 or len(images) != len(labels):
        raise AtlasError(f"{name}: {len(images)} images and {len(labels)} labels: give one label per image, and some images")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= classes:
        raise AtlasError(f"{name}: labels run from {labels.min()} to {labels.max()}: give integers from 0 to {classes - 1}")


def pixel_moments(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of value / 255 per channel, over all pixels, to four decimals."""
    channels = images.reshape(-1, images.shape[-1] if images.ndim == 4 else 1)
    counts = np.stack([np.bincount(channel, minlength=256) for channel in channels.T])  # exact, and needs no float copy
    values, shares = np.arange(256) / 255, counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    std = np.sqrt(np.maximum(shares @ values**2 - mean**2, 0.0))
    return np.round(mean, 4).tolist(), np.maximum(np.round(std, 4), 1e-4).tolist()  # a constant set divides by no zero


def hold_out(labels: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Return `count` rows, sorted, that hold each class in its share of `labels` (largest remainders), chosen by `seed`."""
    generator = np.random.default_rng(seed)
    classes, sizes = np.unique(labels, return_counts=True)
    exact = sizes * (count / len(labels))
    takes = np.floor(exact).astype(int)
    takes[np.argsort(takes - exact, kind="stable")[: count - takes.sum()]] += 1
    chosen = [generator.permutation(np.flatnonzero(labels == c))[:take] for c, take in zip(classes, takes, strict=True)]
    return np.sort(np.concatenate(chosen))


def held_out_rows(data: TrainingData, count: int, *, seed: int) -> np.ndarray:
    """Return the training images, about `count`, that are kept for validation: whole groups where the data have groups."""
    if data.groups is None:
        return hold_out(data.y_train, count, seed=seed)
    return hold_out_groups(data.y_train, data.groups, count, seed=seed)


def hold_out_groups(labels: np.ndarray, groups: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Return the rows, sorted, of whole groups chosen by `seed`, as many as come nearest to `count`, class by class.

    A group's class is its most frequent label; each class keeps a group to train on and gives one, where it has two.
    """
    generator, rows = np.random.default_rng(seed), list[np.ndarray]()
    names, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    of_group = np.array([np.bincount(labels[inverse == number]).argmax() for number in range(len(names))])
    for label in np.unique(of_group):
        order = generator.permutation(np.flatnonzero(of_group == label))
        reached = np.cumsum(sizes[order])
        wanted = count * reached[-1] / len(labels)
        take = int(np.argmin(np.abs(reached - wanted))) + 1
        rows += [np.flatnonzero(inverse == number) for number in order[: min(take, len(order) - 1)]]
    return np.sort(np.concatenate(rows)) if rows else np.empty(0, np.int64)


def augmented(
    images: torch.Tensor, rows: torch.Tensor, *, down: torch.Tensor, right: torch.Tensor, mirror: torch.Tensor
) -> torch.Tensor:
    """Return the images `rows`, each shifted by its own `down` and `right` pixels and mirrored where `mirror` is true.

    Images [image, channel, y, x] in, [row, channel, y, x] out; `down`, `right`, `mirror` [row]. What a shift brings in is 0.
    """
    height, width = images.shape[2:]
    reach = int(torch.stack([down.abs().max(), right.abs().max()]).max())
    padded = nn.functional.pad(images[rows], (reach, reach, reach, reach))
    y = torch.arange(height, device=rows.device) + reach - down[:, None]
    x = torch.arange(width, device=rows.device).expand(len(rows), -1)
    x = torch.where(mirror[:, None], width - 1 - x, x) + reach - right[:, None]
    image = torch.arange(len(rows), device=rows.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=rows.device)[None, :, None, None]
    return padded[image, channel, y[:, None, :, None], x[:, None, None, :]]


@dataclass
class Feed:
    """The images of every split on the device, uint8 [image, channel, y, x], with their labels; and how they are read."""

    images: dict[str, torch.Tensor]
    labels: dict[str, torch.Tensor]
    mean: torch.Tensor
    std: torch.Tensor
    device: torch.device
    precision: str

    @classmethod
    def of(cls, data: TrainingData, recipe: Mapping[str, Any], device: torch.device) -> Feed:
        """Put `data` on `device`, its training images divided into ``train`` and ``validation`` as the recipe says."""
        held = np.zeros(len(data.y_train), bool)
        held[held_out_rows(data, recipe["training"]["validation"], seed=recipe["training"]["seed"])] = True
        splits = {
            "train": (data.x_train[~held], data.y_train[~held]),
            "validation": (data.x_train[held], data.y_train[held]),
            "test": (data.x_test, data.y_test),
        }
        images = {split: _planes(x).to(device) for split, (x, _) in splits.items()}
        labels = {split: torch.from_numpy(y.astype(np.int64)).to(device) for split, (_, y) in splits.items()}
        moments = [torch.tensor(recipe["preprocess"][name], device=device).view(1, -1, 1, 1) for name in ("mean", "std")]
        return cls(images, labels, moments[0], moments[1], device, recipe["training"]["precision"])

    def steps(self, batch_size: int) -> int:
        """Return the steps of an epoch: whole batches only, for a batch of one image has no variance to normalise by."""
        return max(1, len(self.labels["train"]) // batch_size)

    def autocast(self) -> torch.autocast:
        """Return the context in which the network runs."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def ready(self, images: torch.Tensor) -> torch.Tensor:
        """Return uint8 images as the network takes them."""
        return ((images.float() / 255 - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def batches(self, batch_size: int, augment: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the training images once, shuffled and augmented by torch's random state, with their labels."""
        images, labels = self.images["train"], self.labels["train"]
        count, steps = len(labels), self.steps(batch_size)
        order = torch.randperm(count).to(self.device)
        shifts = torch.randint(-SHIFT, SHIFT + 1, (2, count)).to(self.device)
        mirror = (torch.rand(count) < 0.5).to(self.device) & ("flip" in augment)
        for start in range(0, steps * batch_size, batch_size):
            rows, now = order[start : start + batch_size], slice(start, start + batch_size)
            if augment == "none":
                batch = images[rows]
            else:
                batch = augmented(images, rows, down=shifts[0, now], right=shifts[1, now], mirror=mirror[now])
            yield self.ready(batch), labels[rows]

    @torch.inference_mode()
    def evaluate(self, module: nn.Module, split: str) -> tuple[float, float]:
        """Return mean loss and accuracy of `module` over a split, without augmentation."""
        module.eval()
        images, labels = self.images[split], self.labels[split]
        loss, right = 0.0, 0
        for start in range(0, len(labels), EVALUATION_BATCH):
            wanted = labels[start : start + EVALUATION_BATCH]
            with self.autocast():
                logits = module(self.ready(images[start : start + EVALUATION_BATCH])).float()
            loss += float(nn.functional.cross_entropy(logits, wanted, reduction="sum"))
            right += int((logits.argmax(1) == wanted).sum())
        return loss / len(labels), right / len(labels)


def _planes(images: np.ndarray) -> torch.Tensor:
    planes = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.array(planes, order="C"))  # a copy: what was given may be read-only
