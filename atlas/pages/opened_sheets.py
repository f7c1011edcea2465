"""Sheets of thumbnails that were decoded, kept as long as they find room: what pictures of a few images are cut from."""

from __future__ import annotations

import io
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping

import numpy as np
from PIL import Image, ImageChops

from atlas.errors import AtlasError

ROOM = 192_000_000  # bytes of all atlases of this process: 98 sheets of grey thumbnails of 28 pixels, a quarter of a million
ROUNDED = 1  # of 255: by how much WebP moves the colours of a grey picture apart
LOCKS = 8  # a sheet that several ask for at once is decoded by one of them; others are not held up by it


class OpenedSheets:
    """Decoded sheets, at most `room` bytes of them; the least lately used goes first, and the newest always stays."""

    def __init__(self, room: int = ROOM):
        self.room, self.taken = room, 0
        self.kept: OrderedDict[Hashable, Image.Image] = OrderedDict()
        self.lock, self.opening = threading.Lock(), [threading.Lock() for _ in range(LOCKS)]
        self.ahead: set[Hashable] = set()  # sheets that `fill` was given

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

    def fill(self, sheets: Mapping[Hashable, Callable[[], bytes]], *, after: float = 0) -> threading.Thread | None:
        """Decode sheets in a thread of their own while there is room, `after` so many seconds.

        Return the thread, or None where all were given before.
        """
        with self.lock:
            wanted = {name: read for name, read in sheets.items() if name not in self.ahead}
            self.ahead.update(wanted)
        if not wanted:
            return None
        thread = threading.Thread(target=self._fill, args=(wanted, after), daemon=True, name="thumbnail sheets")
        thread.start()
        return thread

    def _fill(self, sheets: Mapping[Hashable, Callable[[], bytes]], after: float) -> None:
        time.sleep(after)
        for name, read in sheets.items():
            try:
                sheet = self.get(name, read)
            except (AtlasError, OSError):  # a sheet that cannot be read is told to who asks for its pictures
                continue
            if self.taken + size(sheet) > self.room:
                return

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
