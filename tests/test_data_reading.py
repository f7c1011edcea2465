from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atlas.data.decoding import look, stored_size
from atlas.data.reading import FileReader, decode, open_reader, to_image
from atlas.errors import AtlasError
from tests.pictures import build, class_folders, pattern, write

GREY, RGB = pattern(1, 24, 31), pattern(2, 24, 31, rgb=True)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header promises a size that its few bytes do not hold."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "PPM"])
def test_a_grey_image_keeps_its_pixels_and_stays_grey(kind: str) -> None:
    image = decode(encoded(Image.fromarray(GREY), kind))
    assert image.mode in ("L", "RGB")
    assert np.array_equal(np.asarray(image.convert("L")), GREY)
    assert image.mode == "L" or kind == "GIF"  # a GIF has a palette


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_a_colour_image_keeps_its_pixels(kind: str) -> None:
    assert np.array_equal(np.asarray(decode(encoded(Image.fromarray(RGB), kind))), RGB)


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95})])
def test_a_lossy_image_comes_out_close(kind: str, options: dict[str, int]) -> None:
    found = np.asarray(decode(encoded(Image.fromarray(RGB), kind, **options))).astype(int)
    assert np.abs(found - RGB).mean() < 4


def test_transparency_is_laid_over_white_or_over_black_if_asked() -> None:
    alpha = np.full(RGB.shape[:2], 255, np.uint8)
    alpha[:, 10:] = 0
    body = encoded(Image.fromarray(np.dstack([RGB, alpha])), "PNG")
    over_white, over_black = np.asarray(decode(body)), np.asarray(decode(body, background="black"))
    assert np.array_equal(over_white[:, :10], RGB[:, :10])
    assert (over_white[:, 10:] == 255).all()
    assert (over_black[:, 10:] == 0).all()


def test_half_transparency_is_mixed() -> None:
    body = encoded(Image.new("RGBA", (4, 4), (0, 100, 200, 128)), "PNG")
    assert np.abs(np.asarray(decode(body))[0, 0].astype(int) - [127, 177, 227]).max() <= 1


def test_grey_with_transparency_stays_grey() -> None:
    image = decode(encoded(Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (31, 24), 0)]), "PNG"))
    assert image.mode == "L" and (np.asarray(image) == 255).all()


def test_a_transparent_grey_value_of_a_png_is_transparent() -> None:
    image = decode(encoded(Image.new("L", (4, 4), 7), "PNG", transparency=7))
    assert image.mode == "L" and (np.asarray(image) == 255).all()


def test_a_palette_becomes_its_colours_and_its_transparent_entry_white() -> None:
    picture = Image.new("P", (4, 2))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((0, 0), 1)
    assert np.asarray(decode(encoded(picture, "PNG")))[0, :2].tolist() == [[200, 100, 50], [10, 20, 30]]
    found = np.asarray(decode(encoded(picture, "PNG", transparency=0)))
    assert found[0, :2].tolist() == [[200, 100, 50], [255, 255, 255]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_to_eight_not_clipped(kind: str) -> None:
    wide = GREY.astype(np.uint16) * 257
    image = decode(encoded(Image.fromarray(wide), kind))
    assert image.mode == "L" and np.array_equal(np.asarray(image), GREY)


def test_floats_and_wide_integers_are_stretched_from_least_to_greatest() -> None:
    values = np.linspace(-3.0, 5.0, 32, dtype=np.float32).reshape(4, 8)
    assert np.asarray(decode(encoded(Image.fromarray(values), "TIFF"))).reshape(-1)[[0, 31]].tolist() == [0, 255]
    wide = np.linspace(-1e6, 1e6, 32).astype(np.int32).reshape(4, 8)
    assert np.asarray(decode(encoded(Image.fromarray(wide), "TIFF"))).reshape(-1)[[0, 31]].tolist() == [0, 255]
    assert (np.asarray(decode(encoded(Image.new("F", (3, 3), 2.5), "TIFF"))) == 0).all()


def test_cmyk_becomes_rgb() -> None:
    image = decode(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"))
    assert image.mode == "RGB"
    assert np.asarray(image)[0, 0].tolist() == [255, 0, 0]
    assert (
        np.abs(np.asarray(decode(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")))[0, 0] - [255, 0, 0]).max()
        < 8
    )


def test_one_bit_becomes_black_and_white() -> None:
    image = decode(encoded(Image.fromarray(GREY > 100), "PNG"))
    assert image.mode == "L" and set(np.unique(np.asarray(image))) == {0, 255}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(orientation: int) -> None:
    """The stored pixels are made with the inverse of what EXIF 2.32 says a viewer has to do."""
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation](RGB)
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = encoded(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    assert np.array_equal(np.asarray(decode(body)), RGB)
    assert (look(body).width, look(body).height) == stored.shape[1::-1]  # as stored


def test_of_several_frames_the_first_is_taken() -> None:
    first, second = Image.fromarray(RGB), Image.fromarray(255 - RGB)
    assert np.array_equal(np.asarray(decode(encoded(first, "TIFF", save_all=True, append_images=[second]))), RGB)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the file is empty"),
        (b"hello, I am text", "it is not an image of a known format"),
        (encoded(Image.fromarray(RGB), "PNG")[:-900], "truncated"),
        (encoded(Image.fromarray(RGB), "JPEG")[:-60], "truncated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is not an image of a known format"),
        (png_claiming(20_000, 6_000), "it has 120 million pixels, more than the 100 million allowed"),
        (png_claiming(60_000, 60_000), "it has more than the 100 million pixels allowed"),
    ],
)
def test_what_does_not_decode_says_why_and_nothing_is_warned(body: bytes, message: str) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(AtlasError, match=message) as caught:
            decode(body)
    assert "\n" not in str(caught.value)
    assert not warned


def test_a_missing_file_and_a_folder_are_reasons_too(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match=r"gone\.png does not decode: there is no such file"):
        decode(tmp_path / "gone.png")
    assert look(tmp_path).error and stored_size(tmp_path / "gone.png") == (0, 0)


def test_the_pixel_limit_can_be_set_and_an_unknown_background_is_refused() -> None:
    body = encoded(Image.fromarray(GREY), "PNG")
    with pytest.raises(AtlasError, match=r"it has 0 million pixels, more than the 0\.0005 million allowed"):
        decode(body, pixels=500)
    with pytest.raises(AtlasError, match="no background 'green': transparency is laid over white or black"):
        decode(body, background="green")


def test_a_jpeg_for_a_thumbnail_may_be_smaller_but_not_smaller_than_asked() -> None:
    body = encoded(Image.fromarray(pattern(3, 480, 640, rgb=True)), "JPEG")
    seen = look(body, at_least=64)
    assert seen.image is not None and 64 <= min(seen.image.size) < 480
    assert (seen.width, seen.height) == (640, 480)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, GREY),
        (GREY[None], GREY),
        (GREY[..., None], GREY),
        (RGB, RGB),
        (RGB.transpose(2, 0, 1), RGB),
        (GREY > 100, (GREY > 100) * 255),
        (GREY.astype(np.uint16) * 257, GREY),
        (GREY.astype(np.float32) / 255, GREY),
        ((RGB / 255).transpose(2, 0, 1), RGB),
        (torch.from_numpy(RGB.transpose(2, 0, 1).copy()), RGB),
        (torch.from_numpy(GREY.copy()).half()[None] / 255, GREY),
    ],
)
def test_arrays_and_tensors_of_any_order_become_the_same_image(array: object, expected: np.ndarray) -> None:
    assert np.abs(np.asarray(to_image(array)).astype(int) - expected).max() <= (1 if "float16" in str(array) else 0) + 1e-9


def test_an_array_where_both_orders_fit_is_read_as_numpy_or_torch_would() -> None:
    cube = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert np.array_equal(np.asarray(to_image(cube)), cube)
    assert np.array_equal(np.asarray(to_image(torch.from_numpy(cube))), cube.transpose(1, 2, 0))


def test_normalised_floats_are_stretched_and_no_number_is_dark() -> None:
    values = np.array([[-2.0, 0.0, 2.0, np.nan]], np.float32)
    assert np.asarray(to_image(values)).tolist() == [[0, 128, 255, 0]]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 5, 7), np.uint8), "an array of shape 2 × 5 × 7 is no image"),
        (np.zeros(5, np.float32), "a float array of shape 5 is no image"),
        (np.zeros((5, 5), np.int64), "an image of int64 cannot be shown"),
    ],
)
def test_what_is_no_image_is_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        to_image(array)


def test_a_reader_gives_the_sources_pixels_back_row_by_row(tmp_path: Path) -> None:
    class_folders(tmp_path / "photos", {"a": 3, "b": 2})
    images = build(str(tmp_path / "photos"), tmp_path)
    reader = open_reader(images, tmp_path / "atlas")
    assert len(reader) == 5 and not reader.tensors and reader.pixels([0, 1]) is None
    for row in range(5):
        assert np.array_equal(np.asarray(reader.image(row)), pattern(row))
        assert reader.path(row) == tmp_path / "photos" / images.table["path"][row]
    with pytest.raises(AtlasError, match="these images are pixels, not float tensors"):
        reader.tensor(0)


def test_a_reader_refuses_paths_and_links_that_lead_out_of_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "secret.png", GREY)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "link.png").symlink_to(tmp_path / "secret.png")
    reader = FileReader(
        tmp_path / "photos", ["../secret.png", str(tmp_path / "secret.png"), "link.png", ".", "a/../../secret.png"]
    )
    for row in range(len(reader)):
        with pytest.raises(AtlasError, match=r"leads out of .*photos: it is not read"):
            reader.image(row)


def test_an_image_that_does_not_decode_is_named_with_its_row(tmp_path: Path) -> None:
    class_folders(tmp_path / "photos", {"a": 1})
    (tmp_path / "photos" / "a" / "torn.png").write_bytes(b"not at all")
    images = build(str(tmp_path / "photos"), tmp_path)
    with pytest.raises(AtlasError, match=r"image 1 \(a/torn\.png\) does not decode: it is not an image"):
        open_reader(images, tmp_path / "atlas").image(1)


def test_images_moved_away_are_missed_with_the_folders_name(tmp_path: Path) -> None:
    images = build(str(class_folders(tmp_path / "photos", {"a": 1})), tmp_path)
    (tmp_path / "photos").rename(tmp_path / "moved")
    with pytest.raises(AtlasError, match=r"the images' folder .*photos is not there: put it back, or build again"):
        open_reader(images, tmp_path / "atlas")


def test_an_atlas_moved_together_with_its_images_still_reads_them(tmp_path: Path) -> None:
    images = build(str(class_folders(tmp_path / "here" / "photos", {"a": 2})), tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    assert np.array_equal(np.asarray(open_reader(images, tmp_path / "there" / "atlas").image(1)), pattern(1))
