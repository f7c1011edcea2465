"""Sheets of thumbnails that were decoded, kept as long as they find room: what pictures of a few images are cut from."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np
from PIL import Image, ImageChops

ROOM = 192_000_000  # bytes of all atlases of this process: 98 sheets of grey thumbnails of 28 pixels, a quarter of a million
ROUNDED = 1  # of 255: by how much WebP moves the colours of a grey picture apart
LOCKS = 8  # a sheet that several ask for at once is decoded by one of them; others are not held up by it


class OpenedSheets:
    """Decoded sheets, at most `room` bytes of them; the least lately used goes first, and the newest always stays."""

    def __init__(self, room: int = ROOM):
        self.room, self.taken = room, 0
        self.kept: OrderedDict[Hashable, Image.Image] = OrderedDict()
        self.lock, self.opening = threading.Lock(), [threading.Lock() for _ in range(LOCKS)]

    def get(self, name: Hashable, read: Callable[[], bytes]) -> Image.Image:
        """Return the sheet called `name`, decoded from the bytes that `read` returns where it is not kept."""
        with self.opening[hash(name) % LOCKS]:
            with self.lock:
                if name in self.kept:
                    self.kept.move_to_end(name)
                    return self.kept[name]
            sheet = decoded(read())
            self._keep(name, sheet)
            return sheet

    def _keep(self, name: Hashable, sheet: Image.Image) -> None:
        with self.lock:
            self.kept[name] = sheet
            self.taken += size(sheet)
            while self.taken > self.room and len(self.kept) > 1:
                self.taken -= size(self.kept.popitem(last=False)[1])


def size(sheet: Image.Image) -> int:
    """Return the bytes of a decoded picture; Pillow takes four for each pixel in colour."""
    return sheet.width * sheet.height * (1 if sheet.mode == "L" else 4)


def decoded(body: bytes) -> Image.Image:
    """Return a picture in colour, or in grey where all of it is: that takes a quarter of the memory."""
    sheet = Image.open(io.BytesIO(body)).convert("RGB")
    grey = sheet.convert("L")
    apart = max(np.asarray(ImageChops.difference(band, grey)).max() for band in sheet.split())
    return grey if apart <= ROUNDED else sheet
