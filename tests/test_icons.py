"""Icons of a layout's cells: drawn along the cells' means, coarse to fine, held against them, and shown on the page."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import atlas
from atlas.argued import cells as cells_record
from atlas.argued import cells_name
from atlas.arguing import make_cells
from atlas.errors import AtlasError
from atlas.iconing import icons, icons_of, to_middle
from atlas.maps.cell_looks import class_opacity
from atlas.maps.records import Cells
from atlas.pages import answers, association_answers
from atlas.pages.cell_answers import NOWHERE, cells_part
from atlas.pages.part import Part
from atlas.pages.preferred_answers import ACROSS, mosaic, preferred_part
from atlas.pages.report_contents import report_addresses
from atlas.pages.shelf import SHELF, asking
from atlas.preferred.icons import likeness, unit_length
from tests import tiny
from tests.command import clear_refusal, run, success


@pytest.fixture(scope="module")
def drawn(tiny_atlas: atlas.Atlas, tmp_path_factory: pytest.TempPathFactory) -> atlas.Atlas:
    """A copy of the tiny atlas with icons of two grids and a few preferred inputs."""
    folder = tmp_path_factory.mktemp("icons") / "tiny"
    shutil.copytree(tiny_atlas.store.root, folder)
    made = icons(atlas.open(folder), "act", sizes=(2, 4), steps=32)
    made.preferred("act", [0, 3], steps=16, restarts=1)
    return atlas.open(folder)


def test_an_icons_activation_lies_along_its_cells_mean(drawn):
    found, cells = icons_of(drawn, "act")
    assert len(found.images) == len(cells.grid) and found.images.shape[1:] == (20, 20, 3)
    network, hidden = drawn.network(), []
    handle = network.module.act.register_forward_hook(lambda *a: hidden.append(a[2]))
    with torch.no_grad():
        pixels = torch.from_numpy(np.array(found.images)).permute(0, 3, 1, 2)
        logits = network.module.eval()(network.preprocess.tensor(pixels))
    handle.remove()
    cosine, ratio = likeness(hidden[0].numpy(), np.asarray(cells.mean))
    assert np.allclose(cosine, found.cosine, atol=1e-3) and np.allclose(ratio, found.ratio, rtol=1e-2)
    assert np.median(found.cosine) > 0.9 and (found.said == logits.argmax(1).numpy()).all()
    assert (np.asarray(found.failed) == (found.cosine < 0.5)).all()


def test_most_icons_are_of_the_class_that_their_cell_argues_for(drawn):
    found, cells = icons_of(drawn, "act")
    usual = np.asarray(cells.members).argmax(axis=1)
    names = drawn.predictions.map.labels_of(found.said)
    assert (names == usual).mean() > 0.45, "three classes would agree by chance in a third"


def test_what_stands_is_not_drawn_anew_and_another_choice_stands_beside(drawn):
    before, shown = icons_of(drawn, "act")[0], drawn.store.shown("icons")
    again = icons(drawn, "act", sizes=(2, 4), steps=32)
    assert again.store.shown("icons") == shown and np.array_equal(before.images, icons_of(again, "act")[0].images)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layer": "pool+act"}, "a joint layout's cells have no direction in one layer"),
        ({"layer": "actt"}, "did you mean"),
        ({"layer": "act", "method": "tsn"}, "tsn of act"),
        ({"layer": "act", "param": "pcb"}, "did you mean pca"),
        ({"layer": "act", "steps": 0}, "steps 0: 1 to 100000 would do"),
        ({"layer": "act", "sizes": (0,)}, "a grid's size"),
        ({"layer": "act", "size": 100_000}, "a picture of 100000 pixels: 8 to 512 would do"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(drawn, given, words):
    with pytest.raises(AtlasError, match=words):
        icons(drawn, given.pop("layer"), given.pop("method", "umap"), **given)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 9), st.integers(1, 9), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_an_image_is_moved_so_that_its_place_lies_in_the_middle(tall, wide, y, x):
    image = np.arange(1.0, 1 + 2 * tall * wide).reshape(2, tall, wide)
    moved = to_middle(image, np.array([y, x]), np.array([0.0, -1.0]))
    down, right = round((0.5 - y) * tall), round((0.5 - x) * wide)
    for row in range(tall):
        for column in range(wide):
            there = 0 <= row - down < tall and 0 <= column - right < wide
            own = image[:, row - down, column - right] if there else [0.0, -1.0]
            assert np.array_equal(moved[:, row, column], own)
    assert np.array_equal(to_middle(image, np.array([0.5, 0.5]), np.zeros(2)), image)


def test_icons_of_positions_begin_at_their_members_images_moved_to_the_middle(world, tmp_path, monkeypatch):
    made = atlas.build(
        tiny.MODEL, str(world / "images"), cache=tmp_path / "atlas", layers=["pool=positions:2"], layouts=["pca"],
        network={"weights": world / "weights.safetensors"}, limit=40,
    )  # fmt: skip
    taken = {}

    def take(network, prior, plan, **asked):
        taken.update(asked, prior=prior)
        raise AtlasError("that is all that was wanted")

    monkeypatch.setattr("atlas.iconing.draw_icons", take)
    with pytest.raises(AtlasError, match="that is all that was wanted"):
        icons(made, "pool", "pca", sizes=(2,), steps=4)
    made = atlas.open(tmp_path / "atlas")
    cells, record = cells_record(made, "pool", "pca"), made.activations("pool")
    began, level = taken["start"](np.arange(len(cells.grid))), taken["prior"].level
    assert record.spatial and began.shape == (len(cells.grid), 3, 20, 20)
    for cell, found in enumerate(began):
        members = [point for point in cells.representatives[cell].tolist() if point >= 0]
        images = []
        for point in members:
            pixels = made.network().preprocess.array(made.seeing.picture(int(record.point_image[point]))) / 255
            images.append(to_middle(pixels.astype(np.float32), record.point_yx[point], level))
        np.testing.assert_allclose(found, np.mean(images, axis=0), atol=1e-5)


def test_rows_of_no_length_have_no_likeness_and_stay_as_they_are():
    rows = np.array([[0.0, 0.0], [3.0, 4.0]], np.float32)
    assert unit_length(rows).tolist() == [[0, 0], [0.6000000238418579, 0.800000011920929]]
    cosine, ratio = likeness(np.array([[1.0, 0.0], [6.0, 8.0]]), rows)
    assert cosine.tolist() == [0, 1] and ratio.tolist() == [0, 2]


def test_the_command_tells_grid_by_grid_and_draws_the_finest(drawn, tmp_path):
    arguments = ["icons", drawn.store.root, "--layer", "act", "-g", 2, "-g", 4, "--steps", 32]
    told = json.loads(success(run(*arguments, "-o", tmp_path / "grid.png", "--json")).out)
    assert [grid["size"] for grid in told["grids"]] == [2, 4]
    assert Image.open(tmp_path / "grid.png").size == (80, 80)
    assert "icons of act on its umap layout" in success(run(*arguments)).out
    clear_refusal(run(*arguments, "-o", tmp_path / "grid.svg"), "grid.svg")


# -- on the page -----------------------------------------------------------------------------------------------------------


def test_the_page_is_told_where_every_cell_lies_and_which_points_are_in_it(drawn):
    view = SHELF.open(drawn.store.root)
    (part,) = cells_part(view)
    told = json.loads(answers.answer(f"/cells/{part['key']}.json")[1])
    assert part["sizes"] == [2, 4] and part["cells"] == len(told["grid"]) and part["icons"]["across"] == ACROSS
    xy = view.xy(part["layout"]).astype(float)
    for number in range(2):
        of = np.frombuffer(answers.answer(f"/cells/{part['key']}/{number}.bin")[1], "<u2")
        for point in np.flatnonzero(of != NOWHERE):
            cell = int(of[point])
            middle = [told["x0"][cell], told["x1"][cell], told["y0"][cell], told["y1"][cell]]
            edge = [
                m == e
                for m, e in zip(middle, [min(told["x0"]), max(told["x1"]), min(told["y0"]), max(told["y1"])], strict=True)
            ]
            assert edge[0] or xy[0, point] >= middle[0] - 1
            assert edge[1] or xy[0, point] <= middle[1] + 1
            assert edge[2] or xy[1, point] >= middle[2] - 1
            assert edge[3] or xy[1, point] <= middle[3] + 1
        own = np.flatnonzero(np.array(told["grid"]) == number)
        assert np.bincount(of[of != NOWHERE], minlength=len(told["grid"]))[own].tolist() == [told["points"][c] for c in own]
    samples = [row for rows in told["samples"] for row in rows]
    assert samples and set(samples) <= set(range(len(drawn.image_record)))
    assert all(0 <= place < len(told["names"]) for row in told["outputs"] for place in row if place >= 0)
    with pytest.raises(AtlasError, match="no grid 7"):
        answers.answer(f"/cells/{part['key']}/7.bin")


def test_a_picture_of_a_sheet_is_the_records_picture(drawn):
    view = SHELF.open(drawn.store.root)
    (cells,), (inputs,) = cells_part(view), preferred_part(view)
    found = icons_of(drawn, "act")[0]
    for address, images in (
        (f"/icons/{cells['icons']['key']}/0.webp", found.images),
        (f"/preferred/{inputs['key']}/0.webp", drawn.preferred("act", [0, 3], steps=16, restarts=1).images),
    ):
        sheet = np.asarray(Image.open(io.BytesIO(answers.answer(address)[1])).convert("RGB"))
        for place in range(min(len(images), ACROSS * ACROSS)):
            y, x = (20 * n for n in divmod(place, ACROSS))
            assert np.array_equal(sheet[y : y + 20, x : x + 20], images[place]), address
    assert inputs["units"] == [0, 3] and inputs["layer"] == "act"
    told = json.loads(answers.answer(f"/preferred/{inputs['key']}.json")[1])
    assert len(told["percentile"]) == 2 and told["real"].startswith("all")
    with pytest.raises(AtlasError, match="no sheet 9"):
        answers.answer(f"/preferred/{inputs['key']}/9.webp")


def test_a_mosaic_holds_grey_pictures_row_by_row():
    pictures = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8)
    made = mosaic(pictures, 2)
    assert made.shape == (6, 6, 3) and made[0, 3, 0] == 1 and made[2, 0, 0] == 2 and made[5, 5, 0] == 0


def test_a_part_of_an_atlas_knows_the_cells_of_its_own_points(drawn):
    rows = np.arange(0, len(drawn.image_record), 3)
    part = Part(drawn.store.root, rows=rows)
    whole = drawn.store.read(cells_name(drawn, "act"), Cells)
    with asking(part):
        (told,) = cells_part(part)
        found = part.read(told["key"], Cells)
    assert np.array_equal(found.point_cell, whole.point_cell[:, rows])
    kept = found.representatives[found.representatives >= 0]
    assert len(kept) and kept.max() < len(rows)
    for cell in range(len(whole.grid)):
        there = [int(np.flatnonzero(rows == p)[0]) for p in whole.representatives[cell] if p in rows]
        assert [p for p in found.representatives[cell] if p >= 0] == there


# -- class atlases and unusual associations ---------------------------------------------------------------------------------


def test_the_page_fades_cells_by_how_strongly_they_argue_for_a_class(drawn):
    (part,) = cells_part(SHELF.open(drawn.store.root))
    record = drawn.store.read(part["key"], Cells)
    told = json.loads(answers.answer(f"/cells/{part['key']}.json")[1])
    found = np.frombuffer(answers.answer(f"/opacity/{part['key']}.bin")[1], np.uint8).reshape(len(told["names"]), -1)
    assert found.shape[1] == part["cells"] and found.max() == 255
    for place, name in enumerate(told["names"]):
        output = drawn.predictions.map.names.index(name)
        assert np.abs(found[place] / 255 - class_opacity(record, output)).max() <= 0.5 / 255
        assert not found[place][np.asarray(record.attribution)[:, output] <= 0].any()


def test_the_page_ranks_cells_and_units_as_the_functions_do(drawn):
    view = SHELF.open(drawn.store.root)
    (part,) = cells_part(view)
    told, table = json.loads(answers.answer(f"/unusual/{part['key']}.json")[1]), drawn.unusual("act")
    assert told["of"] == len(table) and told["cell"] == table["cell"].tolist()[: len(told["cell"])]
    labels = drawn.image_record.labels
    assert [labels[code] for code in told["argues_for"]] == table["argues_for"].tolist()
    assert np.allclose(told["score"], table["score"], rtol=1e-4) and np.allclose(told["share"], table["share"], rtol=1e-4)
    statistics = view.statistics_of(view.space("act").activations[0])[0]
    told, table = json.loads(answers.answer(f"/crossing/{statistics}.json")[1]), drawn.crossing("act")
    assert told["unit"] == table["unit"].tolist() and told["left_out"] == table.attrs
    assert [labels[code] if code >= 0 else None for code in told["second"]] == table["second"].tolist()


def test_a_ranked_list_is_cut_and_says_of_how_many(drawn, monkeypatch):
    monkeypatch.setattr(association_answers, "LISTED", 2)
    (part,) = cells_part(SHELF.open(drawn.store.root))
    told = json.loads(association_answers.unusual.__wrapped__(part["key"])[1])
    assert len(told["cell"]) == len(told["few"]) == 2 < told["of"] == len(drawn.unusual("act"))


def test_a_report_of_some_images_ranks_units_over_all_of_them(drawn):
    part = Part(drawn.store.root, rows=np.arange(0, len(drawn.image_record), 3))
    statistics = part.statistics_of(part.space("act").activations[0])[0]
    with asking(part):
        told = json.loads(association_answers.crossing.__wrapped__(statistics)[1])
    assert told["unit"] == drawn.crossing("act")["unit"].tolist()


def test_what_has_no_attribution_has_no_class_atlas_and_the_report_wishes_for_what_there_is(drawn, tiny_atlas, tmp_path):
    folder = tmp_path / "plain"
    shutil.copytree(tiny_atlas.store.root, folder)
    make_cells(atlas.open(folder), "act", sizes=(2,))
    (part,) = cells_part(SHELF.open(folder))
    for address in ("opacity/{}.bin", "unusual/{}.json"):
        with pytest.raises(AtlasError, match=r"no attribution.*: attribute their layer first"):
            answers.answer("/" + address.format(part["key"]))
    (own,) = cells_part(SHELF.open(drawn.store.root))
    wished = {wish.address for wish in report_addresses(Part(drawn.store.root))}
    assert {f"opacity/{own['key']}.bin", f"unusual/{own['key']}.json"} <= wished
    assert any(address.startswith("crossing/") for address in wished)
    assert f"opacity/{part['key']}.bin" not in {wish.address for wish in report_addresses(Part(folder))}
