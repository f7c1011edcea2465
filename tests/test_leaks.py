"""Leaks: planted near-duplicates are found and nothing else, same bytes come first, positions count per image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

import atlas
from atlas.data.records import SPLITS, Images
from atlas.data.thumbnails import encode, thumbnail
from atlas.errors import AtlasError
from atlas.maps.neighbours import build_neighbours
from atlas.maps.records import Neighbours
from atlas.patterns import likeness
from atlas.patterns.leaks import Leaks, find_leaks, partners
from atlas.store import Files, Recipe, Store
from atlas.verbs import suspects

TRAIN, HELD_OUT, UNKNOWN = range(3)
EDGE = 32  # pixels


def pictures(count: int, seed: int = 0, edge: int = EDGE) -> np.ndarray:
    """Return pictures with the spectrum of photographs, 1 / frequency, no two alike: uint8 [image, y, x, rgb]."""
    noise = np.fft.fft2(np.random.default_rng(seed).normal(size=(count, edge, edge, 3)), axes=(1, 2))
    frequency = np.maximum(np.hypot(*np.meshgrid(*[np.fft.fftfreq(edge)] * 2)), 1 / edge)
    blobs = gaussian_filter(np.fft.ifft2(noise / frequency[:, :, None], axes=(1, 2)).real, (0, 0, 0, 0.6))
    return np.clip(128 + 45 * blobs / blobs.std(), 0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return np.asarray(Image.open(file))


PLANTED = {
    "encoded anew": encoded,
    "shifted by a pixel": lambda pixels: np.roll(pixels, (1, -1), axis=(0, 1)),
    "darker": lambda pixels: (pixels * 0.8).astype(np.uint8),
    "brighter": lambda pixels: np.clip(pixels.astype(int) + 25, 0, 255).astype(np.uint8),
}


def record(tmp_path: Path, pixels: np.ndarray, splits: np.ndarray, duplicate_of: np.ndarray | None = None) -> Images:
    """Return an images record with thumbnails as the package writes them, read back from the disk."""
    count = len(pixels)
    table = pd.DataFrame(
        {
            "image_id": [f"{row:016x}" for row in range(count)],
            "path": [f"{row}.png" for row in range(count)],
            "label": "thing",
            "split": [SPLITS[split] for split in splits],
            "width": pixels.shape[2],
            "height": pixels.shape[1],
            "mode": "RGB",
            "error": pd.Series([None] * count, dtype="object"),
            "duplicate_of": np.full(count, -1) if duplicate_of is None else duplicate_of,
        }
    )
    columns, edge = 8, pixels.shape[1]
    blocks = (pixels[start : start + columns**2] for start in range(0, count, columns**2))
    made = Images(table, ["thing"], "blobs", {}, {}, Files(list(encode(blocks, columns=columns))), edge, columns)
    store, recipe = Store(tmp_path / "atlas"), Recipe("images", 1, {"count": count})
    store.prepare()
    return store.build(recipe, Images, lambda: made)


def lists_of(pixels: np.ndarray, k: int = 10) -> Neighbours:
    """Neighbours by what a network would see: the picture at a quarter of its size."""
    small = pixels.reshape(len(pixels), EDGE // 4, 4, EDGE // 4, 4, 3).mean(axis=(2, 4)).reshape(len(pixels), -1)
    return build_neighbours(small.astype(np.float32), layers=["fc"], metric="L2", k=k)


Planted = tuple[Leaks, dict[int, int], Images, np.ndarray]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """300 training pictures, 100 held-out ones, of which 24 are altered training pictures; and which is which."""
    pixels = pictures(400)
    splits = np.where(np.arange(400) < 300, TRAIN, HELD_OUT)
    kinds = list(PLANTED.values())
    truth = {300 + n: 7 * n for n in range(24)}
    for held, train in truth.items():
        pixels[held] = kinds[held % len(kinds)](pixels[train])
    images = record(tmp_path_factory.mktemp("leaks"), pixels, splits)
    return find_leaks(lists_of(pixels), np.arange(400), splits, images), truth, images, pixels


def test_planted_near_duplicates_are_found_and_nothing_else(
    planted: Planted,
) -> None:
    found, truth, *_ = planted
    assert dict(zip(found.pairs["held_out"], found.pairs["train"], strict=True)) == truth
    assert (found.held_out, found.of, found.k) == (24, 100, 10) and found.candidates > 24
    assert not found.pairs["same_bytes"].any()
    assert (found.pairs["likeness"] >= found.least_likeness).all() and (found.pairs["difference"] <= 12).all()
    assert found.pairs["likeness"].is_monotonic_decreasing


def test_an_images_partners_are_those_of_either_side(planted: Planted) -> None:
    found, truth, *_ = planted
    for held, train in truth.items():
        assert partners(found, held) == [train] and partners(found, train) == [held]
    assert partners(found, 1) == []


def test_the_distance_is_the_layers_and_the_usual_one_a_median_within_the_training_images(
    planted: Planted,
) -> None:
    found, _, _, pixels = planted
    lists = lists_of(pixels)
    inside = np.where(lists.indices[:300] < 300, lists.distances[:300], np.inf).min(axis=1)
    assert found.usual == pytest.approx(np.median(inside[np.isfinite(inside)]))
    for pair in found.pairs.itertuples():
        either = lists.distances[pair.train][lists.indices[pair.train] == pair.held_out].tolist()
        either += lists.distances[pair.held_out][lists.indices[pair.held_out] == pair.train].tolist()
        assert pair.distance == min(either) < found.usual


def test_files_of_the_same_bytes_are_leaks_without_a_look(tmp_path: Path) -> None:
    pixels = np.full((12, EDGE, EDGE, 3), 90, np.uint8)  # all blank: no detail, so nothing is alike by its looks
    splits = np.array([TRAIN] * 5 + [HELD_OUT] * 5 + [UNKNOWN] * 2)
    twins = np.array([-1, 0, -1, -1, -1, 0, 2, -1, -1, 7, 0, -1])  # 5 and 10 are 0's bytes, 6 is 2's, 9 is 7's own split
    found = find_leaks(lists_of(pixels + np.arange(12, dtype=np.uint8)[:, None, None, None]), np.arange(12), splits,
                       record(tmp_path, pixels, splits, twins))  # fmt: skip
    assert found.pairs[["train", "held_out"]].values.tolist() == [[0, 5], [2, 6]]
    assert found.pairs["same_bytes"].all() and (found.pairs["distance"] == 0).all() and found.held_out == 2


def test_points_of_one_image_are_one_pair_at_their_least_distance(tmp_path: Path) -> None:
    pixels = pictures(6)
    pixels[5] = pixels[0]
    splits = np.array([TRAIN, TRAIN, TRAIN, HELD_OUT, HELD_OUT, HELD_OUT])
    point_image = np.repeat(np.arange(6), 2)
    near = np.full((12, 2), -1, np.int32)
    near[10], near[11] = [0, 11], [1, 10]  # both points of image 5 list points of image 0, and each other
    far = np.tile(np.array([0.5, 0.1], np.float32), (12, 1))
    far[11, 0] = 0.2
    lists = Neighbours(["conv"], "L2", True, None, near, far, Files([]))
    found = find_leaks(lists, point_image, splits, record(tmp_path, pixels, splits))
    assert found.pairs[["train", "held_out"]].values.tolist() == [[0, 5]]
    assert found.pairs["distance"].tolist() == pytest.approx([0.2]) and found.candidates == 1 and found.usual is None


def test_likeness_is_the_correlation_of_detail_at_the_best_shift() -> None:
    grey = pictures(20)[..., 0]
    one, other = grey[:10], np.roll(grey[:10], (1, 0), axis=(1, 2))
    assert likeness.likeness(one, other).min() > 0.98  # all but the rows that came round
    fine = [likeness.detail(g)[:, 1:-1, 1:-1].reshape(10, -1) for g in (one, grey[10:])]
    plain = [np.corrcoef(a, b)[0, 1] for a, b in zip(*fine, strict=True)]
    centre = likeness.SHIFTS.index((0, 0))
    found = likeness.correlations(likeness.detail(one), likeness.detail(grey[10:]))
    np.testing.assert_allclose(found[centre], plain, atol=1e-4)
    assert (found.max(axis=0) < 0.5).all()
    assert (likeness.likeness(np.zeros((3, 28, 28), np.uint8), np.zeros((3, 28, 28), np.uint8)) == 0).all()


def test_the_difference_is_what_remains_after_brightness_and_contrast() -> None:
    pixels = pictures(5)
    darker = (pixels * 0.7 + 20).astype(np.uint8)
    assert likeness.difference(pixels, darker).max() < 1.5  # the rounding
    other = pictures(5, seed=1)
    assert likeness.difference(pixels, other).min() > 20
    red = pixels[..., [1, 2, 0]]  # the same grey detail in other colours
    assert likeness.difference(pixels, red).min() > 5


def test_thumbnails_of_a_sheet_are_those_of_the_atlas_reduced(tmp_path: Path) -> None:
    pixels = pictures(70, edge=64)
    images = record(tmp_path, pixels, np.zeros(70, int))
    rows = np.array([69, 0, 65, 64])
    found = likeness.thumbnails(images, rows, mode="RGB")
    assert found.shape == (4, 32, 32, 3)
    for row, pixels in zip(rows, found, strict=True):
        alone = thumbnail(images, int(row)).convert("RGB").resize((32, 32), Image.Resampling.BOX)
        assert np.abs(np.asarray(alone).astype(int) - pixels).max() <= 1


def test_how_alike_two_must_be_depends_on_what_is_usual() -> None:
    group = np.repeat([7, 3, 5], [6, 6, 2])
    likenesses = np.array([0.8] * 6 + [0.0] * 6 + [0.99, 0.2])
    found = likeness.least_likeness(likenesses, group)
    np.testing.assert_allclose(found[:6], np.tanh(np.arctanh(0.8) + likeness.BEYOND))
    assert (found[6:12] == likeness.LEAST_LIKENESS).all()  # strangers have nothing in common
    everywhere = np.tanh(np.median(np.arctanh(likenesses)) + likeness.BEYOND)
    np.testing.assert_allclose(found[12:], max(everywhere, likeness.LEAST_LIKENESS))  # too few of its own
    assert likeness.least_likeness(np.full(9, 0.99), np.zeros(9)).max() == likeness.CERTAIN
    assert likeness.least_likeness(np.array([]), np.array([])).shape == (0,)


def test_a_split_whose_images_have_no_points_has_no_pair(tmp_path: Path) -> None:
    pixels, splits = pictures(2), np.array([TRAIN, HELD_OUT])
    alone = build_neighbours(np.ones((1, 3), np.float32), layers=["fc"])  # the other image does not decode
    found = find_leaks(alone, np.zeros(1, int), splits, record(tmp_path, pixels, splits))
    assert found.pairs.empty and found.candidates == found.held_out == 0 and found.usual is None


def test_one_split_alone_has_no_leaks(tmp_path: Path) -> None:
    pixels = pictures(4)
    with pytest.raises(AtlasError, match="leaks lie between training and held-out images, and only one of the two is there"):
        find_leaks(lists_of(pixels), np.arange(4), np.zeros(4, int), record(tmp_path, pixels, np.zeros(4, int)))


# -- in an atlas -----------------------------------------------------------------------------------------------------------


def test_an_atlas_lists_its_leaks_with_both_images(tiny_atlas: atlas.Atlas, tmp_path: Path) -> None:
    table = tiny_atlas.leaks("act")
    images = tiny_atlas.images()
    assert {"train_path", "held_out_path", "likeness", "difference", "distance"} <= set(table)
    for row in table.itertuples():
        assert images["split"][row.train] == "train" and images["split"][row.held_out] == "held-out"
        assert row.train_path == images["path"][row.train]
    answer = suspects(tiny_atlas, layer="act", leaks=True, out=tmp_path / "leaks.csv")
    assert f"of {(images['split'] == 'held-out').sum()} held-out images look the same as a training image" in answer["title"]
    assert len(answer["rows"]) == len(table) and (tmp_path / "leaks.csv").exists()
