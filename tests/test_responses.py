"""Responses of all units to groups of images: which images, what is drawn where, and rows of neighbours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import atlas
from atlas.errors import AtlasError
from atlas.neighbour_sheet import neighbour_rows
from atlas.pages.figures_responses import LayerResponses, responses_sheet
from atlas.pages.film_neighbours import size_of
from atlas.pages.film_responses import HEAD, MARGIN, NAMES, SIDE, Layer, Shown, bands, height_of, mosaic, response_frames
from atlas.responding import choose_rows, measured, preference, ranged, recorded_layers, told
from atlas.response_sheet import responses, sheet_layer
from tests import tiny
from tests.command import clear_refusal, run, success

pytestmark = pytest.mark.usefixtures("in_root")


# -- which images, and what they are answered with


def test_as_many_of_each_class_are_taken_as_asked_held_out_first_and_the_others_counted(tiny_atlas: atlas.Atlas) -> None:
    rows, left_out = choose_rows(tiny_atlas, most=25)
    table = tiny_atlas.images().iloc[rows]
    assert table["label"].tolist() == [shape for shape in tiny.SHAPES for _ in range(25)]
    assert table["split"].tolist() == (["held-out"] * 20 + ["train"] * 5) * 3
    assert left_out == dict.fromkeys(tiny.SHAPES, 15)
    only, _ = choose_rows(tiny_atlas, most=3, classes=["stripes", "disc"])
    assert tiny_atlas.images()["label"].iloc[only].tolist() == ["stripes"] * 3 + ["disc"] * 3
    assert len(choose_rows(tiny_atlas)[0]) == 99
    with pytest.raises(AtlasError, match="no class 'disk': did you mean disc"):
        choose_rows(tiny_atlas, classes=["disk"])
    with pytest.raises(AtlasError, match="at most 0 images of a class: 1 or more would do"):
        choose_rows(tiny_atlas, most=0)


def test_the_means_are_those_that_the_atlas_recorded_and_the_ranges_hold_every_value(tiny_atlas: atlas.Atlas) -> None:
    rows = np.array([3, 70, 41])
    found = measured(tiny_atlas, rows, recorded_layers(tiny_atlas))
    assert found.layers == ["pool", "act", "logits"] and found.sizes == [(10, 10), (1, 1), (1, 1)]
    for layer, means, low, high in zip(found.layers, found.means, found.low, found.high, strict=True):
        assert np.allclose(means, tiny_atlas.vectors(layer)[rows], rtol=0.02, atol=0.02), "bfloat16 or float32"
        assert (low <= means.min(axis=0) + 1e-5).all() and (high >= means.max(axis=0) - 1e-5).all()
    assert found.splits == tiny_atlas.images()["split"].iloc[rows].tolist()


def test_a_units_preference_is_cohens_d_and_0_where_nothing_varies() -> None:
    chance = np.random.default_rng(0)
    values = np.stack([chance.normal(0, 1, 400), np.zeros(400), chance.normal(5, 1, 400)], axis=1)
    own = np.arange(400) < 200
    values[own, 0] += 2
    found = preference(values, own, ~own)
    assert found[0] == pytest.approx(2, abs=0.25) and found[1] == 0 and abs(found[2]) < 0.25
    assert (preference(values, own & False, ~own) == 0).all()


def test_the_units_of_a_class_are_chosen_by_training_images_and_told_by_held_out_ones(tiny_atlas: atlas.Atlas) -> None:
    found = measured(tiny_atlas, choose_rows(tiny_atlas, most=40)[0], ["act"])
    values, own = found.means[0], found.of("disc")
    by, of = (np.array(found.splits) == split for split in ("train", "held-out"))
    best = np.argsort(-preference(values, own & by, ~own & by), kind="stable")
    effect = preference(values, own & of, ~own & of)
    units = told(found, "act")["most"]["disc"]
    assert [one["unit"] for one in units] == best[: len(units)].tolist() and 0 < len(units) <= 5
    assert [one["effect"] for one in units] == [round(float(effect[one["unit"]]), 3) for one in units]


# -- pictures


def test_units_of_two_classes_are_ordered_by_the_training_images_and_compared_on_the_held_out_ones(
    tiny_atlas: atlas.Atlas,
) -> None:
    rows, _ = choose_rows(tiny_atlas, most=30, classes=["disc", "stripes"])
    found = measured(tiny_atlas, rows, ["act"])
    drawn, values = sheet_layer(found, "act"), found.means[0]
    alive = (values != 0).any(axis=0)
    values = values[:, alive]
    order = np.argsort(-preference(values, found.of("disc", "train"), found.of("stripes", "train")), kind="stable")
    assert np.allclose(drawn.values, (values / np.maximum(np.abs(values).max(axis=0), 1e-12))[:, order])
    held = preference(values, found.of("disc", "held-out"), found.of("stripes", "held-out"))
    assert np.allclose(drawn.difference, held[order]) and drawn.values.max() <= 1
    assert drawn.silent == (~alive).sum(), "units that answer to nothing are counted, not drawn"
    three = measured(tiny_atlas, choose_rows(tiny_atlas, most=2)[0], ["act"])
    assert not sheet_layer(three, "act").difference.size, "of three classes nothing is compared"


def test_a_sheet_has_every_value_in_its_place_and_marks_every_split() -> None:
    values = np.linspace(0, 1, 12).reshape(4, 3)
    figure = responses_sheet(
        [LayerResponses("conv1", values, np.array([1.0, 0.0, -1.0])), LayerResponses("fc", -values, np.zeros(3))],
        lambda place: np.full((8, 8), 60 * place, np.uint8),
        labels=["a", "a", "b", "b"], splits=["held-out", "train", "held-out", "unknown"], title="t", note="n",
    )  # fmt: skip
    drawn = [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]
    assert any(np.array_equal(array, values[:2]) for array in drawn) and any(
        np.array_equal(array, values[2:]) for array in drawn
    )
    words = " ".join(text.get_text() for text in figure.texts)
    assert all(part in words for part in ("held out", "training image", "split not known", "conv1", "Cohen's d"))


def layer(count: int, size: tuple[int, int] = (8, 8), low: float = 0.0) -> Layer:
    return Layer("conv", size, np.full(count, low, np.float32), np.full(count, 2.0, np.float32))


def test_bands_of_a_film_keep_within_the_frame_and_follow_each_other() -> None:
    layers = [layer(16), layer(64), layer(256, (1, 1)), layer(2, (1, 1)), layer(700), layer(3, (40, 20))]
    lies = bands(layers, 1000)
    for own, band, after in zip(layers, lies, [*lies[1:], None], strict=True):
        assert band.columns * (band.edge + 3) <= 1000 - 2 * MARGIN - SIDE - NAMES + 3 and band.edge >= 1
        assert band.columns * band.rows >= own.count > band.columns * (band.rows - 1)
        assert after is None or after.top >= band.top + band.height
    assert layers[4].count == 512 and height_of(layers, 1000) >= lies[-1].top + lies[-1].height


def test_each_map_stands_in_its_tile_on_its_units_own_scale() -> None:
    own = Layer("conv", (2, 2), np.zeros(3, np.float32), np.array([1.0, 10.0, 0.0], np.float32))
    (band,) = bands([own], 1000)
    maps = np.array([[[0, 1], [0, 0]], [[0, 0], [10, 0]], [[0, 0], [0, 0]]], np.float32)
    drawn, half = mosaic(maps, own, band), band.edge // 2
    step = band.edge + 3
    light = drawn.astype(int).sum(axis=2)
    assert light[2, half + 2] == light[half + 2, step + 2] > 600, "the largest value of each is as light"
    assert light[half + 2, half + 2] == light[2, 2 * step + 2] < 60 and light[0, band.edge] == 765


def test_a_frame_per_image_says_its_class_and_whether_it_was_learned_from() -> None:
    images = [
        Shown(np.zeros((8, 8), np.uint8), "cat", split, "predicted dog, 60 %", True) for split in ("held-out", "train")
    ]
    one = layer(4)
    maps = [{"conv": np.full((4, 8, 8), value, np.float32)} for value in (0.0, 2.0)]
    first, second = response_frames(images, iter(maps), [one], title="t", note="n", width=1000)
    assert first.shape == second.shape == (height_of([one], 1000), 1000, 3)
    (band,) = bands([one], 1000)
    left = MARGIN + SIDE + NAMES
    assert first[band.top + 4, left + 4].sum() < 60 and second[band.top + 4, left + 4].sum() > 600
    mark = HEAD + 184 + 10
    assert not np.array_equal(first[mark : mark + 14, MARGIN : MARGIN + 8], second[mark : mark + 14, MARGIN : MARGIN + 8])


# -- the command


def test_the_command_writes_sheet_film_and_table(tiny_atlas: atlas.Atlas, tmp_path: Path) -> None:
    out, film, table = (tmp_path / name for name in ("sheet.png", "film.webp", "values.csv"))
    answer = json.loads(success(run(
        "responses", tiny_atlas.store.root, "--most", "3", "--class", "disc", "--class", "frame", "-l", "act",
        "-l", "logits",
        "-o", out, "--film", film, "--table", table, "--json",
    )).out)  # fmt: skip
    assert answer["classes"] == {"disc": 3, "frame": 3} and answer["left_out"] == {"disc": 37, "frame": 37}
    assert answer["held_out"] == 6 and answer["training"] == 0
    assert [layer["layer"] for layer in answer["layers"]] == ["act", "logits"]
    with Image.open(film) as shown, Image.open(out) as sheet:
        assert shown.n_frames == 6 and shown.width == 1200 and sheet.width > 600
    values = pd.read_csv(table)
    assert len(values) == 6 * (12 + 3) and set(values["layer"]) == {"act", "logits"}


def test_of_one_image_the_picture_is_of_every_units_map(tiny_atlas: atlas.Atlas, tmp_path: Path) -> None:
    answer = responses(tiny_atlas, [65], layers=["pool"], out=tmp_path / "one.png")
    with Image.open(tmp_path / "one.png") as drawn:
        assert drawn.width == 1200
    assert answer["images"] == 1
    own = measured(tiny_atlas, np.array([65]), ["pool"])
    wide = ranged(own, measured(tiny_atlas, np.array([3, 65, 90]), ["pool"]))
    assert wide.over == 3 and (wide.high[0] >= own.high[0]).all() and (wide.high[0] > own.high[0]).any()
    assert np.array_equal(wide.means[0], own.means[0]), "only the scale is of more images"
    said = success(run("responses", tiny_atlas.store.root, "65", "-l", "pool")).out
    assert "pool" in said and "held out" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-l", "pol"], "no layer 'pol'"),
        (["--film", "film.gif"], "film.gif would be a .gif: .webp, .mp4 would do"),
        (["65", "--most", "3"], "images are named, so there is nothing to choose"),
        (["cat.jpg"], "cat.jpg is no image of this atlas: give a row or an image_id"),
        (["--most", "40", "--film", "film.webp", "--width", "4000"], "million pixels: at most 200 million would do"),
        (["--film", "film.webp", "--width", "90"], "a film 90 pixels wide: 640 to 4096 would do"),
        (["--film", "film.webp", "--seconds", "0"], "0.0 seconds for an image: 0.1 to 60 would do"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(tiny_atlas: atlas.Atlas, arguments: list[str], words: str) -> None:
    clear_refusal(run("responses", tiny_atlas.store.root, *arguments), words)


# -- rows of neighbours


def test_rows_of_neighbours_are_those_of_the_atlas_with_the_share_of_the_same_label(
    tiny_atlas: atlas.Atlas, tmp_path: Path
) -> None:
    rows = [5, 62, 119]
    told = neighbour_rows(
        tiny_atlas, rows, layer="act", k=4, column="split", out=tmp_path / "rows.png", film=tmp_path / "rows.webp"
    )
    for row, one in zip(rows, told["rows"], strict=True):
        near = tiny_atlas.neighbours(row, layer="act", k=4)
        assert [other["image"] for other in one["neighbours"]] == near["image"].tolist()
        assert one["alike"] == int((near["label"] == one["label"]).sum())
    assert told["alike"] == sum(one["alike"] for one in told["rows"]) / 12
    with Image.open(tmp_path / "rows.png") as sheet, Image.open(tmp_path / "rows.webp") as film:
        assert sheet.height > sheet.width / 3 and film.n_frames == 3 and film.size == size_of(4)
    with pytest.raises(AtlasError, match="no column of this atlas 'splits': did you mean split"):
        neighbour_rows(tiny_atlas, rows, column="splits")
    with pytest.raises(AtlasError, match="no image is named"):
        neighbour_rows(tiny_atlas, [])
