"""Images from an object in Python with ``len()`` and ``[index]``, such as a torch Dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

from atlas.data.hashes import FileHashes
from atlas.data.listing import Advance, Listing, listing_table
from atlas.data.reading import as_array, split_item, stored_bytes
from atlas.errors import AtlasError, one_line
from atlas.progress import Progress

CHECKED = 64  # items read a second time at once; all the others are when the thumbnails are made


def list_object(dataset: Any, progress: Progress) -> Listing:
    """Return the images of `dataset`, whose items are an image or (image, label).

    An image is a Pillow image, a uint8 array or tensor, or a float tensor [rgb, y, x], which the network gets as it is.
    Labels are named by the object's ``classes`` where it has them, and taken from ``targets`` where these agree with the
    items, so that a limit need not read them all. Raises AtlasError for items of another make, and when a second read of
    an item differs: here for a sample, and for every item when the thumbnails are made.
    """
    items = Items(dataset)
    labels = items.quick_labels() or items.all_labels(progress)
    return Listing(
        table=listing_table(map(str, range(len(dataset))), labels, ["unknown"] * len(dataset)),
        labels=items.classes + sorted({label for label in labels if label} - set(items.classes), key=_numbers_first),
        title=type(dataset).__name__,
        source={"kind": "dataset", "tensors": items.shape is not None},
        hash=items.sha256,
        dataset=dataset,
    )


def _numbers_first(label: str) -> tuple[bool, int, str]:
    whole = label.isascii() and label.isdigit()
    return not whole, int(label) if whole else 0, label


class Items:
    """The items of a dataset object: the label and the hash of each, read once."""

    def __init__(self, dataset: Any):
        self.dataset = dataset
        if len(dataset) == 0:
            raise AtlasError("the dataset has no items: give one that has images")
        inner = getattr(dataset, "dataset", None)  # a torch Subset
        names = getattr(dataset, "classes", None) or getattr(inner, "classes", None)
        self.classes = [str(name) for name in names] if names is not None else []
        self.known: dict[int, tuple[str, str | None]] = {}  # SHA-256 and label
        first = split_item(dataset[0])[0]
        self.shape = as_array(first).shape if _is_float(first) else None

    def read(self, index: int) -> tuple[str, str | None]:
        """Return the SHA-256 and the label of one item."""
        if index not in self.known:
            try:
                image, label = split_item(self.dataset[index])
            except Exception as reason:  # whatever the user's own code raises
                raise AtlasError(f"item {index} of the dataset cannot be read: {one_line(reason)}") from reason
            self.known[index] = self._hash(index, image), self.label(label)
        return self.known[index]

    def _hash(self, index: int, image: Any) -> str:
        shape = as_array(image).shape if _is_float(image) else None
        if shape != self.shape or (shape is not None and len(shape) != 3):
            raise AtlasError(
                f"item {index} of the dataset is {_words(shape)} and the first is {_words(self.shape)}: "
                "give images only, or float tensors [rgb, y, x] of one shape"
            )
        try:
            return hashlib.sha256(stored_bytes(image)).hexdigest()
        except (TypeError, ValueError, AttributeError, AtlasError) as reason:
            raise AtlasError(
                f"item {index} of the dataset holds no image but a {type(image).__name__} ({one_line(reason)}): "
                "give an image or (image, label)"
            ) from None

    def label(self, value: Any) -> str | None:
        """Return the name of a label as the dataset gives it: None, text, or a whole number, its own type or a tensor."""
        if value is None or isinstance(value, str):
            return value
        number = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
        if not isinstance(number, int | float) or not float(number).is_integer():
            raise AtlasError(
                f"the label {one_line(repr(value), 60)} is no class: give text or a whole number, or wrap the dataset"
            )
        named = 0 <= number < len(self.classes)
        return self.classes[int(number)] if named else str(int(number))

    def quick_labels(self) -> list[str | None] | None:
        """Return the labels in ``targets``, as torchvision's datasets have them, where they agree with some items."""
        targets = getattr(self.dataset, "targets", None)
        if targets is None or not hasattr(targets, "__len__") or len(targets) != len(self.dataset):
            return None
        try:
            labels = [self.label(value) for value in targets]
        except (AtlasError, TypeError, ValueError):
            return None
        return labels if all(self.read(index)[1] == labels[index] for index in _spread(len(labels), 8)) else None

    def all_labels(self, progress: Progress) -> list[str | None]:
        """Return the labels of all items, each read and hashed."""
        labels = []
        with progress.stage("hashing images", len(self.dataset)) as advance:
            for index in range(len(self.dataset)):
                labels.append(self.read(index)[1])
                advance(1)
        return labels

    def sha256(self, rows: np.ndarray, hashes: FileHashes, advance: Advance) -> list[str | None]:
        """Return the hash of each of the items `rows`, a sample of them read twice; the signature of `listing.Hash`."""
        found: list[str | None] = []
        for index in rows:
            found.append(self.read(int(index))[0])
            advance(1)
        for place in np.random.default_rng(0).permutation(len(rows))[:CHECKED]:
            check_same(int(rows[place]), split_item(self.dataset[int(rows[place])])[0], found[place])
        return found


def check_same(index: int, image: Any, expected: str | None) -> None:
    """Raise AtlasError unless `image` has the SHA-256 that the item `index` had before."""
    if hashlib.sha256(stored_bytes(image)).hexdigest() != expected:
        raise AtlasError(
            f"two reads of item {index} of the dataset differ, so it has no identity: "
            "give the dataset without its random transforms"
        )


def _is_float(image: Any) -> bool:
    return not isinstance(image, Image.Image) and as_array(image).dtype.kind == "f"


def _words(shape: tuple[int, ...] | None) -> str:
    return "an image" if shape is None else f"a float tensor of {' × '.join(map(str, shape))}"


def _spread(count: int, most: int) -> Iterable[int]:
    return sorted({round(value) for value in np.linspace(0, count - 1, min(count, most))})
