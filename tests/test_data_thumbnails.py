from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from atlas.data import thumbnails
from tests.pictures import build, class_folders, cut, pattern, write


def opened(sheets: list[tuple[str, bytes]]) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(body)).convert("RGB")).astype(int) for _, body in sheets]


def test_every_thumbnail_lies_in_its_slot_and_looks_like_its_image() -> None:
    arrays = [pattern(seed, 28, 28) for seed in range(23)]
    sheets = list(thumbnails.sheets(map(Image.fromarray, arrays), edge=28, columns=3))
    assert [name for name, _ in sheets] == ["000.webp", "001.webp", "002.webp"]
    pixels = opened(sheets)
    for row, array in enumerate(arrays):
        sheet, down, right = thumbnails.slot(row, columns=3)
        found = pixels[sheet][28 * down : 28 * (down + 1), 28 * right : 28 * (right + 1)]
        assert np.abs(found - array[..., None]).mean() < 3
    assert all(sheet.shape == (84, 84, 3) for sheet in pixels)


def test_an_image_of_the_edges_size_keeps_its_exact_pixels_before_compression() -> None:
    array = pattern(5, 28, 28, rgb=True)
    assert np.array_equal(thumbnails.cell(Image.fromarray(array), 28), array)
    assert thumbnails.cells(array[None], 28) is not None
    assert np.array_equal(thumbnails.cells(array[None], 28)[0], array)


@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize(("height", "width"), [(28, 28), (9, 14), (10, 3), (1, 1), (40, 64), (60, 31)])
def test_arrays_all_at_once_give_the_thumbnails_of_images_one_by_one(height: int, width: int, rgb: bool) -> None:
    arrays = np.stack([pattern(seed, height, width, rgb=rgb) for seed in range(3)])
    one_by_one = np.stack([thumbnails.cell(Image.fromarray(a), 28) for a in arrays])
    assert np.array_equal(thumbnails.cells(arrays, 28), one_by_one)


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([28, 32, 64]))
def test_an_image_of_any_size_fits_the_square_and_keeps_its_aspect(width: int, height: int, edge: int) -> None:
    shown = thumbnails.fit(width, height, edge)
    assert min(shown) >= 1 and max(shown) <= edge
    assert max(shown) > edge / 2
    scale = max(shown) / max(width, height)
    assert abs(min(shown) - max(1, min(width, height) * scale)) <= 0.5


def test_an_odd_size_is_centred_on_grey() -> None:
    found = thumbnails.cell(Image.new("L", (60, 20), 255), 30)
    assert (found[10:20] == 255).all()
    assert (found[:10] == thumbnails.BACKGROUND).all() and (found[20:] == thumbnails.BACKGROUND).all()


def test_an_image_that_does_not_decode_is_a_grey_cell_with_a_cross() -> None:
    missing = thumbnails.cell(None, 28)
    assert set(np.unique(missing)) == {thumbnails.BACKGROUND, thumbnails.CROSS}
    assert np.array_equal(missing, missing.T) and missing[14, 14] == thumbnails.CROSS


def test_grey_and_colour_share_a_sheet() -> None:
    images = [Image.fromarray(pattern(0, 28, 28)), None, Image.fromarray(pattern(1, 28, 28, rgb=True))]
    (sheet,) = opened(list(thumbnails.sheets(images, edge=28, columns=2)))
    assert np.abs(sheet[:28, :28] - pattern(0, 28, 28)[..., None]).mean() < 4
    assert np.abs(sheet[28:, :28] - pattern(1, 28, 28, rgb=True)).mean() < 8  # WebP halves the resolution of colour


@pytest.mark.parametrize(
    ("longest", "edge", "columns"), [(8, 28, 50), (28, 28, 50), (29, 32, 50), (33, 64, 32), (4000, 64, 32)]
)
def test_the_edge_follows_the_images(longest: int, edge: int, columns: int) -> None:
    assert thumbnails.default_edge(longest) == edge
    assert thumbnails.columns_for(edge) == columns


def test_a_records_sheets_hold_its_images_in_order_undecodable_ones_crossed(tmp_path: Path) -> None:
    class_folders(tmp_path / "photos", {"a": 3, "b": 3})
    (tmp_path / "photos" / "a" / "001.png").write_bytes(b"")
    images = build(str(tmp_path / "photos"), tmp_path)
    for row in (0, 2, 3, 5):
        shown = cut(images, row)[4:24, 4:24].astype(int)  # 20 pixels centred in 28
        assert np.abs(shown - pattern(row)[..., None]).mean() < 4
    assert np.abs(cut(images, 1).astype(int) - thumbnails.missing(28)[..., None]).mean() < 4


def test_photographs_are_reduced_and_shown_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = np.zeros((400, 300, 3), np.uint8)
    upright[:200] = 255  # white above black
    write(tmp_path / "photos" / "turned.jpg", np.ascontiguousarray(np.rot90(upright)), exif=exif, quality=95)
    images = build(str(tmp_path / "photos"), tmp_path)
    shown = cut(images, 0)
    assert images.thumbnail_edge == 64
    assert shown[8:24, 20:44].min() > 230 and shown[40:56, 20:44].max() < 25


def test_seventy_thousand_small_grey_images_take_seconds() -> None:
    pixels = np.stack([pattern(seed, 28, 28) for seed in range(100)]).repeat(100, axis=0)
    started = time.process_time()
    blocks = (thumbnails.cells(pixels[at : at + 2500], 28) for at in range(0, len(pixels), 2500))
    assert len(list(thumbnails.encode(blocks, columns=50))) == 4
    assert (time.process_time() - started) * 7 < 24  # of 10 000; three times the eight seconds that are asked for 70 000
