"""Reading the pixels of an images record again: from files, from a fetched dataset's arrays, or from the user's object."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from atlas.data.decoding import Seen, as_array, decode, look, stored_size, to_8_bit, to_image
from atlas.data.records import Images
from atlas.errors import AtlasError, one_line

__all__ = [
    "ArrayReader",
    "FileReader",
    "JoinedReader",
    "ObjectReader",
    "Reader",
    "decode",
    "open_reader",
    "reader_for",
    "to_image",
]

SEVERAL = "several"  # the kind of source of images that were added from more than one place


class Reader(ABC):
    """The pixels of the images of one record, by row; safe to use from several threads."""

    tensors = False  # whether `tensor` gives what the network is to be fed with, as it is

    def __init__(self, paths: Sequence[str]):
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    @abstractmethod
    def look(self, row: int, *, at_least: int | None = None) -> Seen:
        """Return what is in `row`, never raising for its contents; `at_least` as in `decoding.look`."""

    def image(self, row: int) -> Image.Image:
        """Return the image in `row`, upright, of mode L or RGB; AtlasError with the reason where it does not decode."""
        seen = self.look(row)
        if seen.image is None:
            raise AtlasError(f"image {row} ({one_line(self.paths[row])}) does not decode: {seen.error}")
        return seen.image

    def size(self, row: int) -> tuple[int, int]:
        """Return width and height of the image in `row` as stored; (0, 0) where they cannot be read."""
        seen = self.look(row)
        return seen.width, seen.height

    def pixels(self, rows: Sequence[int] | np.ndarray) -> np.ndarray | None:
        """Return the images in `rows`: uint8 [image, y, x] or [image, y, x, rgb]; None where they are not such arrays."""
        return None

    def tensor(self, row: int) -> np.ndarray:
        """Return the float tensor in `row`: float32 [rgb, y, x]; only where `tensors` is true."""
        raise AtlasError("these images are pixels, not float tensors: read them with image()")

    def path(self, row: int) -> Path | None:
        """Return the file of the image in `row`, or None where it is not a file of its own."""
        return None


class FileReader(Reader):
    """Image files below one folder; a path that leads out of it is refused, whatever the record says."""

    def __init__(self, root: Path, paths: Sequence[str]):
        super().__init__(paths)
        self.root = Path(os.path.realpath(root))

    def path(self, row: int) -> Path:
        """Return the file of the image in `row`; AtlasError where its path or a link in it leads out of the folder."""
        path = self.root / self.paths[row]
        if "\0" not in self.paths[row] and not inside(path, self.root):
            raise AtlasError(f"the path {one_line(self.paths[row])} leads out of {self.root}: it is not read")
        return path

    def look(self, row: int, *, at_least: int | None = None) -> Seen:
        """Return what is in the file of `row`."""
        return look(self.path(row), at_least=at_least)

    def size(self, row: int) -> tuple[int, int]:
        """Return width and height as the file's header says."""
        return stored_size(self.path(row))


class ArrayReader(Reader):
    """The arrays of a fetched dataset, memory-mapped; rows are named ``train/17``."""

    def __init__(self, arrays: Mapping[str, np.ndarray], paths: Sequence[str]):
        super().__init__(paths)
        self.names = list(arrays)
        self.arrays = [arrays[name] for name in self.names]
        split = [path.partition("/") for path in paths]
        self.which = np.asarray([self.names.index(name) for name, _, _ in split], np.int8)
        self.index = np.asarray([int(index) for _, _, index in split], np.int64)

    def pixels(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the images in `rows`: uint8 [image, y, x] or [image, y, x, rgb]."""
        rows = np.asarray(rows, np.int64)
        which, index = self.which[rows], self.index[rows]
        result = np.empty((len(rows), *self.arrays[0].shape[1:]), np.uint8)
        for number in np.unique(which):
            mine = which == number
            result[mine] = self.arrays[number][index[mine]]
        return result

    def look(self, row: int, *, at_least: int | None = None) -> Seen:
        """Return the image in `row`."""
        image = Image.fromarray(np.ascontiguousarray(self.arrays[self.which[row]][self.index[row]]))
        return Seen(image, *image.size, image.mode)


class ObjectReader(Reader):
    """A dataset object with ``len()`` and ``[index]`` whose items are an image or (image, label); rows name the index."""

    def __init__(self, dataset: Any, paths: Sequence[str], *, tensors: bool):
        super().__init__(paths)
        self.dataset, self.tensors = dataset, tensors
        self.lock = Lock()  # the object is the user's; nothing says that it stands several threads

    def item(self, row: int) -> Any:
        """Return the image of the item in `row` as the object gives it, its label left out."""
        with self.lock:
            return split_item(self.dataset[int(self.paths[row])])[0]

    def look(self, row: int, *, at_least: int | None = None) -> Seen:
        """Return the image in `row`; float tensors as a picture of them."""
        return look_at(self.item(row))

    def tensor(self, row: int) -> np.ndarray:
        """Return the float tensor in `row`: float32 [rgb, y, x]."""
        return as_array(self.item(row)) if self.tensors else super().tensor(row)


class JoinedReader(Reader):
    """The readers of several sources one after the other: of an atlas that images were added to."""

    def __init__(self, readers: Sequence[Reader]):
        super().__init__([path for reader in readers for path in reader.paths])
        kinds = {reader.tensors for reader in readers}
        if len(kinds) > 1:
            raise AtlasError("some of the images are pixels and some float tensors: one atlas holds images of one kind")
        self.readers, self.tensors = list(readers), kinds.pop()
        self.starts = np.cumsum([0, *map(len, readers)])

    def of(self, row: int) -> tuple[Reader, int]:
        """Return the reader of the image in `row`, and its row there."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.readers[number], int(row - self.starts[number])

    def look(self, row: int, *, at_least: int | None = None) -> Seen:
        """Return what is in `row`."""
        reader, own = self.of(row)
        return reader.look(own, at_least=at_least)

    def size(self, row: int) -> tuple[int, int]:
        """Return width and height as the image's own reader says."""
        reader, own = self.of(row)
        return reader.size(own)

    def pixels(self, rows: Sequence[int] | np.ndarray) -> np.ndarray | None:
        """Return the images in `rows` where all are of one source of arrays; else None."""
        rows = np.asarray(rows, np.int64)
        numbers = np.unique(np.searchsorted(self.starts, rows, side="right") - 1)
        return self.readers[numbers[0]].pixels(rows - self.starts[numbers[0]]) if len(numbers) == 1 else None

    def tensor(self, row: int) -> np.ndarray:
        """Return the float tensor in `row`."""
        reader, own = self.of(row)
        return reader.tensor(own)

    def path(self, row: int) -> Path | None:
        """Return the file of the image in `row`, or None."""
        reader, own = self.of(row)
        return reader.path(own)


def split_item(item: Any) -> tuple[Any, Any]:
    """Return image and label of a dataset's item; the label is None where the item is an image alone."""
    return (item[0], item[1] if len(item) > 1 else None) if isinstance(item, tuple | list) and item else (item, None)


def look_at(value: Any) -> Seen:
    """Return what a dataset's image (Pillow image, array or tensor) shows."""
    if isinstance(value, Image.Image):
        return Seen(to_8_bit(value), *value.size, value.mode)
    image = to_image(value)
    kind = as_array(value).dtype
    return Seen(image, *image.size, image.mode if kind == np.uint8 else str(kind))


def stored_bytes(value: Any) -> bytes:
    """Return the bytes by which a dataset's image is known: its pixels in 8 bits, or its float32 values."""
    array = None if isinstance(value, Image.Image) else as_array(value)
    if array is not None and array.dtype.kind == "f":
        return array.tobytes()
    return np.asarray(to_8_bit(value) if array is None else to_image(value)).tobytes()


def inside(path: Path, root: Path) -> bool:
    """Tell whether `path`, its links followed, lies below `root`, which is a real path."""
    real = Path(os.path.realpath(path))
    return real != root and real.is_relative_to(root)


def open_reader(images: Images, atlas_root: Path, *, dataset: Any = None) -> Reader:
    """Return the reader of the record `images` in the atlas `atlas_root`.

    Images that came from an object in Python need that object again as `dataset`. Raises AtlasError where the folder, the
    fetched dataset or the object is missing, or the object yields other images.
    """
    reader = reader_for(images.source, [str(path) for path in images.table["path"]], atlas_root, dataset=dataset)
    start = 0
    for part in reader.readers if isinstance(reader, JoinedReader) else [reader]:
        if isinstance(part, ObjectReader):
            _same_object(part, list(images.table["image_id"].iloc[start : start + len(part)]))
        start += len(part)
    return reader


def reader_for(source: Mapping[str, Any], paths: Sequence[str], atlas_root: Path, *, dataset: Any = None) -> Reader:
    """Return the reader of `paths` in a record's `source`."""
    kind = source.get("kind")
    if kind == SEVERAL:
        return JoinedReader(_readers(source, paths, atlas_root, dataset))
    if kind == "dataset":
        if dataset is None:
            raise AtlasError("these images came from a dataset object in Python: give it again as dataset=")
        return ObjectReader(dataset, paths, tensors=bool(source["tensors"]))
    if kind not in ("folder", "table", "named"):
        raise AtlasError(f"the images are of the kind {one_line(repr(kind))}, which this program does not know")
    root = Path(os.path.realpath(atlas_root / source["root"]))
    if not root.is_dir():
        raise AtlasError(f"the images' folder {root} is not there: put it back, or build again from where it is now")
    return _named_reader(source, paths, root) if kind == "named" else FileReader(root, paths)


def sources_of(source: Mapping[str, Any], count: int) -> list[tuple[Mapping[str, Any], int]]:
    """Return the sources of `count` images in order, each with how many of them it gave."""
    parts = (
        [(part["source"], int(part["images"])) for part in source["parts"]]
        if source["kind"] == SEVERAL
        else [(source, count)]
    )
    if sum(images for _, images in parts) != count:
        raise AtlasError(f"the sources of the images hold {sum(n for _, n in parts)} and there are {count}: build again")
    return parts


def _readers(source: Mapping[str, Any], paths: Sequence[str], atlas_root: Path, dataset: Any) -> list[Reader]:
    readers, start = [], 0
    for part, count in sources_of(source, len(paths)):
        readers.append(reader_for(part, paths[start : start + count], atlas_root, dataset=dataset))
        start += count
    return readers


def _named_reader(source: Mapping[str, Any], paths: Sequence[str], root: Path) -> ArrayReader:
    from atlas.data import named

    return ArrayReader(named.open_arrays(str(source["name"]), root).images, paths)


def _same_object(reader: ObjectReader, ids: Sequence[str], most: int = 16) -> None:
    """Refuse an object that is not the one recorded, by the length and the bytes of a few items spread over it."""
    indices = [int(path) for path in reader.paths]
    if indices and max(indices) >= len(reader.dataset):
        raise AtlasError(
            f"the dataset has {len(reader.dataset)} items and these images were read from one with more: give the same again"
        )
    for row in sorted({round(i) for i in np.linspace(0, len(indices) - 1, min(most, len(indices)))}):
        found = hashlib.sha256(stored_bytes(reader.item(row))).hexdigest()[:16]
        if found != ids[row].partition("-")[0]:
            raise AtlasError(
                f"item {indices[row]} of the dataset is not the image that was read before: give the same again"
            )
