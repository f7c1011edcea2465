"""Decoded sheets: the same pixels as the file's, decoded once, and no more of them than find room."""

from __future__ import annotations

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from atlas.pages.opened_sheets import OpenedSheets, decoded, size

EDGE = 40


def written(seed: int, *, colour: bool = False) -> bytes:
    """Return a WebP of noise, grey or in colour, as sheets are written."""
    pixels = np.random.default_rng(seed).integers(0, 256, (EDGE, EDGE, 3) if colour else (EDGE, EDGE), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=90)
    return file.getvalue()


@pytest.mark.parametrize("colour", [False, True])
def test_a_decoded_sheet_has_the_pixels_of_its_file_and_a_grey_one_takes_a_quarter(colour: bool) -> None:
    sheet = decoded(written(3, colour=colour))
    assert sheet.mode == ("RGB" if colour else "L") and size(sheet) == EDGE**2 * (4 if colour else 1)
    expected = np.asarray(Image.open(io.BytesIO(written(3, colour=colour))).convert("RGB")).astype(int)
    assert np.abs(np.asarray(sheet.convert("RGB")) - expected).max() <= (0 if colour else 1)


def test_sheets_are_kept_while_there_is_room_and_the_least_lately_used_goes_first() -> None:
    sheets, read = OpenedSheets(room=3 * EDGE**2), []

    def get(number: int) -> None:
        sheets.get(number, lambda: (read.append(number), written(number))[1])

    for number in (1, 2, 3, 1, 4, 1, 2):
        get(number)
    assert read == [1, 2, 3, 4, 2] and sheets.taken == 3 * EDGE**2 and list(sheets.kept) == [4, 1, 2]


def test_a_sheet_larger_than_the_room_is_kept_alone() -> None:
    sheets = OpenedSheets(room=10)
    assert [sheets.get(number, lambda: written(0)).size for number in (1, 2)] == [(EDGE, EDGE)] * 2
    assert list(sheets.kept) == [2] and sheets.taken == EDGE**2


def test_many_at_once_have_a_sheet_decoded_once() -> None:
    sheets, read, together = OpenedSheets(), [], threading.Barrier(8)

    def slowly() -> bytes:
        read.append(1)
        time.sleep(0.05)
        return written(1)

    def get(_: int) -> Image.Image:
        together.wait()
        return sheets.get("one", slowly)

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(get, range(8)))
    assert len(read) == 1 and all(one is found[0] for one in found)


def test_sheets_are_decoded_ahead_while_there_is_room_once_and_one_that_cannot_be_read_is_passed_over() -> None:
    sheets, read = OpenedSheets(room=3 * EDGE**2), []

    def gone() -> bytes:
        raise OSError("gone")

    wanted = {number: lambda number=number: (read.append(number), written(number))[1] for number in range(6)} | {1: gone}
    thread = sheets.fill(wanted)
    assert thread is not None
    thread.join(10)
    assert read == [0, 2, 3] == list(sheets.kept) and sheets.taken <= sheets.room
    assert sheets.fill(wanted) is None
    sheets.get(2, lambda: written(2))
    assert read == [0, 2, 3], "it is there already"
