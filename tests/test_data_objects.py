from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset, TensorDataset

from atlas.data.reading import open_reader
from atlas.errors import AtlasError
from tests.pictures import build, cut, gather, pattern


class Pairs:
    """A dataset in the manner of torchvision: items are (image, class), names in ``classes``, classes in ``targets``."""

    def __init__(self, items: list[Any], classes: list[str] | None = None, targets: list[int] | None = None):
        self.items, self.reads = items, 0
        if classes:
            self.classes = classes
        if targets:
            self.targets = targets

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        return self.items[index]


def pictures(count: int = 6) -> list[tuple[Image.Image, int]]:
    return [(Image.fromarray(pattern(n)), n % 2) for n in range(count)]


def test_items_of_image_and_class_become_images_with_named_labels(tmp_path: Path) -> None:
    dataset = Pairs(pictures(), classes=["cat", "dog"])
    images = build(dataset, tmp_path, title="Pairs of pets")
    assert images.labels == ["cat", "dog"] and images.table["label"].tolist() == ["cat", "dog"] * 3
    assert images.table["image_id"][0] == hashlib.sha256(pattern(0).tobytes()).hexdigest()[:16]
    assert images.title == "Pairs of pets"
    reader = open_reader(images, tmp_path / "atlas", dataset=dataset)
    assert not reader.tensors and reader.path(0) is None
    for row in range(6):
        assert np.array_equal(np.asarray(reader.image(row)), pattern(row))
        assert np.abs(cut(images, row)[4:24, 4:24].astype(int) - pattern(row)[..., None]).mean() < 4


def test_images_alone_have_no_labels_and_arrays_do_as_well(tmp_path: Path) -> None:
    images = build([pattern(n, rgb=True) for n in range(3)], tmp_path)
    assert images.labels == [] and images.counts["unlabelled"] == 3
    assert images.table["mode"].tolist() == ["RGB"] * 3
    assert images.table["image_id"][1] == hashlib.sha256(pattern(1, rgb=True).tobytes()).hexdigest()[:16]


def test_float_tensors_reach_the_network_as_they_are(tmp_path: Path) -> None:
    stack = torch.stack([torch.from_numpy(pattern(n, rgb=True)).permute(2, 0, 1) / 64 - 2 for n in range(4)])
    dataset = TensorDataset(stack, torch.tensor([3, 10, 3, 10]))
    images = build(dataset, tmp_path)
    assert images.labels == ["3", "10"]  # by number, not by letter
    reader = open_reader(images, tmp_path / "atlas", dataset=dataset)
    assert reader.tensors
    for row in range(4):
        assert reader.tensor(row).dtype == np.float32 and np.array_equal(reader.tensor(row), stack[row].numpy())
    assert reader.image(0).mode == "RGB"
    sample = gather(dataset, tmp_path).sample()
    assert sample.tensor is not None and sample.tensor.shape == (3, 20, 20) and sample.shape == (20, 20)


def test_a_torch_subset_knows_the_names_of_its_dataset(tmp_path: Path) -> None:
    images = build(Subset(Pairs(pictures(), classes=["cat", "dog"]), [1, 3]), tmp_path)  # type: ignore[arg-type]
    assert images.labels == ["cat", "dog"] and images.table["label"].tolist() == ["dog", "dog"]


def test_a_limit_does_not_read_the_items_left_out_where_targets_name_the_classes(tmp_path: Path) -> None:
    dataset = Pairs(pictures(400), classes=["cat", "dog"], targets=[n % 2 for n in range(400)])
    gathered = gather(dataset, tmp_path, limit=10)
    assert gathered.table["label"].value_counts().to_dict() == {"cat": 5, "dog": 5}
    assert dataset.reads < 100


def test_targets_that_disagree_with_the_items_are_not_believed(tmp_path: Path) -> None:
    dataset = Pairs(pictures(), classes=["cat", "dog"], targets=[1, 0] * 3)
    assert build(dataset, tmp_path).table["label"].tolist() == ["cat", "dog"] * 3


def test_duplicates_among_items_are_marked(tmp_path: Path) -> None:
    images = build([pattern(0), pattern(1), pattern(0)], tmp_path)
    assert images.table["duplicate_of"].tolist() == [-1, -1, 0]


def test_a_dataset_whose_reads_differ_is_refused_at_once(tmp_path: Path) -> None:
    class Noisy(Pairs):
        def __getitem__(self, index: int) -> Any:
            self.reads += 1
            return pattern(self.reads)

    message = r"two reads of item \d+ of the dataset differ, so it has no identity: give the dataset without its random"
    with pytest.raises(AtlasError, match=message):
        gather(Noisy([0] * 5), tmp_path)


def test_a_single_item_that_changes_is_found_when_the_thumbnails_are_made(tmp_path: Path) -> None:
    dataset = Pairs(pictures(200))
    gathered = gather(dataset, tmp_path)
    dataset.items[123] = (Image.fromarray(pattern(999)), 1)
    with pytest.raises(AtlasError, match="two reads of item 123 of the dataset differ"):
        gathered.make()


def test_without_the_object_or_with_another_the_pixels_cannot_be_read_again(tmp_path: Path) -> None:
    images = build(Pairs(pictures()), tmp_path)
    with pytest.raises(AtlasError, match="these images came from a dataset object in Python: give it again as dataset="):
        open_reader(images, tmp_path / "atlas")
    with pytest.raises(AtlasError, match="the dataset has 5 items and these images were read from one with more"):
        open_reader(images, tmp_path / "atlas", dataset=Pairs(pictures(5)))
    with pytest.raises(AtlasError, match="item 0 of the dataset is not the image that was read before"):
        open_reader(images, tmp_path / "atlas", dataset=Pairs(pictures(7)[1:]))


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "the dataset has no items: give one that has images"),
        ([{"pixels": 1}], "item 0 of the dataset holds no image but a dict"),
        ([(pattern(0), {"boxes": []})], "the label {'boxes': ..} is no class: give text or a whole number"),
        ([(pattern(0), 0.5)], "the label 0.5 is no class"),
        ([(pattern(0), float("nan"))], "the label nan is no class"),
        (
            [np.zeros((3, 4, 4), np.float32), pattern(0)],
            "item 1 of the dataset is an image and the first is a float tensor of 3 × 4 × 4",
        ),
        ([np.zeros((4, 4), np.float32)], r"item 0 of the dataset is a float tensor of 4 × 4 .* give images only, or float"),
    ],
)
def test_items_that_do_not_serve_are_refused(tmp_path: Path, items: list[Any], message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        gather(Pairs(items), tmp_path)


def test_an_item_that_raises_is_named(tmp_path: Path) -> None:
    class Broken(Pairs):
        def __getitem__(self, index: int) -> Any:
            if index == 2:
                raise FileNotFoundError("no such\nfile")
            return super().__getitem__(index)

    with pytest.raises(AtlasError, match=r"item 2 of the dataset cannot be read: no such\\nfile"):
        gather(Broken(pictures()), tmp_path)
