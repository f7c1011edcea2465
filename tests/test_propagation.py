"""One image through a network: places against brute force, what the layers say of it, the strip; unusual associations."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import atlas
from atlas.activations.attribution import place_attributions
from atlas.argued import cells as cells_record
from atlas.errors import AtlasError
from atlas.iconing import icons
from atlas.looking import lies_over
from atlas.maps.records import Cells
from atlas.pages import figures
from atlas.pages.colours import RIGHT, WRONG
from atlas.pages.figures_propagation import Column, diverging, grid_picture
from atlas.patterns.propagation import finest, magnitudes, nearest_places, rank_of, strongest
from atlas.propagating import _argued, own_cells, propagation
from atlas.strip import propagate
from atlas.tables import LEAST_SCORE
from tests.command import clear_refusal, run, success
from tests.passes import Net
from tests.test_attribution import PICTURES, Plain


@pytest.fixture(scope="module")
def drawn(tiny_atlas: atlas.Atlas, tmp_path_factory: pytest.TempPathFactory) -> atlas.Atlas:
    """A copy of the tiny atlas with icons of its descriptor."""
    folder = tmp_path_factory.mktemp("propagation") / "tiny"
    shutil.copytree(tiny_atlas.store.root, folder)
    return icons(atlas.open(folder), "act", sizes=(2, 4), steps=8)


def held(atlas_: atlas.Atlas, row: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What the tiny network's layers hold of an image, with gradients, and its logits: by plain torch."""
    network, taken, layers = atlas_.network(), {}, ("conv2", "pool", "act")
    module = network.module.eval()

    def keep(name: str) -> Any:
        def hook(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
            output.retain_grad()
            taken[name] = output
            return output.clone()

        return hook

    handles = [getattr(module, name).register_forward_hook(keep(name)) for name in layers]
    pixels = torch.from_numpy(network.preprocess.array(atlas_.seeing.picture(row)))[None]
    with torch.enable_grad():
        logits = module(network.preprocess.tensor(pixels).requires_grad_())[0]
    for handle in handles:
        handle.remove()
    return taken, logits


# -- against brute force ------------------------------------------------------------


def test_places_are_those_of_brute_force(drawn):
    found = propagation(drawn, 7, ["act", "conv2", "pool"])
    taken, logits = held(drawn, 7)
    assert [layer.layer for layer in found.layers] == ["pool", "conv2", "act"], "in order of execution, not as asked"
    assert found.predicted == int(logits.argmax()) and np.allclose(found.probability, logits.softmax(0).detach(), atol=1e-5)
    for which, output in enumerate(found.asked):
        for value in taken.values():
            value.grad = None
        logits[output].backward(retain_graph=True)
        for layer in found.layers:
            value = taken[layer.layer]
            argued = (value * value.grad)[0].detach().numpy().reshape(value.shape[1], *layer.size).sum(0)
            assert np.allclose(layer.argued[which], argued, atol=1e-4), layer.layer
            assert np.isclose(layer.total[output], argued.sum(), atol=1e-3)
    for layer in found.layers:
        mean = taken[layer.layer][0].detach().numpy().reshape(len(layer.whole), -1).mean(axis=1)
        assert np.allclose(layer.whole, mean, atol=1e-5)
        units = strongest(layer.whole)
        assert units == [unit for unit in np.argsort(-mean, kind="stable")[:5] if mean[unit] > 0]
        length = np.linalg.norm(taken[layer.layer][0].detach().numpy().reshape(-1, *layer.size), axis=0)
        assert np.allclose(layer.magnitude, length / length.max(), atol=1e-5) and layer.magnitude.max() == 1


def test_the_nearest_cell_of_each_place_is_that_of_brute_force_and_silent_places_are_like_none(drawn):
    cells = cells_record(drawn, "act")
    maps = np.random.default_rng(0).normal(size=(12, 3, 5)).astype(np.float32)
    maps[:, 1, 2] = 0
    found = nearest_places(cells, maps, maps[:, 0, 0], size=2)
    usable = [cell for cell in cells.of_grid(2) if not cells.few[cell]]
    for y in range(3):
        for x in range(5):
            cosine = [
                float(
                    maps[:, y, x] @ cells.mean[c] / (np.linalg.norm(maps[:, y, x]) * np.linalg.norm(cells.mean[c]) + 1e-30)
                )
                for c in usable
            ]
            if (y, x) == (1, 2):
                assert found.place[y, x] == -1 and np.isnan(found.cosine[y, x])
            else:
                assert found.place[y, x] == usable[int(np.argmax(cosine))] and np.isclose(found.cosine[y, x], max(cosine))
    assert found.whole == found.place[0, 0] and np.isclose(found.whole_cosine, found.cosine[0, 0])


def test_the_last_layer_argues_for_each_class_with_its_very_logit_and_ranks_the_predicted_first(drawn):
    (layer,) = propagation(drawn, 30, ["logits"]).layers
    logits = held(drawn, 30)[1].detach().numpy()
    assert np.allclose(layer.total, logits, atol=1e-5) and rank_of(layer.total, int(logits.argmax())) == 1
    assert [rank_of(np.array([3.0, 1, 3, 2]), output) for output in range(4)] == [1, 4, 1, 3]


def test_most_images_lie_in_a_cell_of_their_own_label(drawn):
    rows = range(0, len(drawn.image_record), 6)
    found = [propagation(drawn, row, ["act"]) for row in rows]
    told = [one.layers[0].nearest for one in found]
    usual = [near.cells.labels[int(near.cells.members[near.whole].argmax())] for near in told]
    assert np.mean([label == one.label for label, one in zip(usual, found, strict=True)]) > 0.8
    assert all(near.whole_cosine > 0.8 for near in told)


def test_a_file_is_followed_as_the_row_of_the_same_pixels_is(drawn, tmp_path):
    file = tmp_path / "new.png"
    picture = drawn.seeing.picture(11)
    marked = Image.fromarray(np.asarray(picture))
    marked.save(file, compress_level=0)  # other bytes, the same pixels
    new, own = propagation(drawn, file), propagation(drawn, 11)
    assert (new.row, new.label, new.true) == (None, None, None) and own.label == drawn.images()["label"][11]
    for one, other in zip(new.layers, own.layers, strict=True):
        assert np.allclose(one.magnitude, other.magnitude) and np.allclose(one.argued[0], other.argued[0], atol=1e-5)


def test_by_default_the_recorded_layers_and_one_of_each_size_come_in_order(drawn):
    found = propagation(drawn, 0)
    names = [layer.layer for layer in found.layers]
    order = list(drawn.network_record.layers["name"])
    assert names == sorted(names, key=order.index) and {"pool", "act", "logits"} <= set(names) and not found.left_out
    assert propagation(drawn, 0, ["act"]).left_out == ["pool", "logits"]
    assert own_cells(drawn, "act").icons is not None and own_cells(drawn, "pool") is None


def test_layers_whose_places_do_not_lie_over_the_image_are_not_shown_unasked():
    for shape, over in (("64×14×14", True), ("3×197×64", False), ("7×7×768 channels last", True), ("197×768 tokens", True),
                        ("256", True), ("32×20×11", True), ("32×20×10", False)):  # fmt: skip
        assert lies_over(shape, (224, 224)) == over, shape
    assert lies_over("32×20×10", (400, 200))


def test_a_layer_that_is_too_large_to_be_held_is_left_out_and_refused_when_asked_for(drawn, monkeypatch):
    monkeypatch.setattr("atlas.looking.MOST_VALUES", 500)
    monkeypatch.setattr("atlas.propagating.MOST_VALUES", 500)
    shapes = drawn.network_record.layers.set_index("name")["shape"]
    assert {layer.layer for layer in propagation(drawn, 0).layers} == {"act", "logits"}, shapes
    with pytest.raises(
        AtlasError, match=r"layer pool has \d+ values for one image \(.*\): at most 500 are looked at, choose"
    ):
        propagation(drawn, 0, ["pool"])


def test_a_layer_that_is_silent_or_not_finite_is_told():
    assert not magnitudes(np.zeros((3, 2, 2))).any()
    with pytest.raises(AtlasError, match="its activations of this image hold NaN or infinity"):
        magnitudes(np.array([[[1.0, np.nan]]]))


def test_the_finest_grid_is_one_that_has_a_cell_of_enough_images(drawn):
    cells = cells_record(drawn, "act")
    fine = np.asarray(cells.grid) == cells.sizes.index(4)
    assert finest(cells) == 4
    few = Cells(**{**vars(cells), "images": np.where(fine, 1, cells.images)})
    assert finest(few) == 2 and finest(Cells(**{**vars(cells), "images": np.ones_like(cells.images)})) is None


# -- what cannot be followed ------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["999999"], "no row 999999"),
        (["nowhere.png"], "is no row, no image_id of this atlas and no file: give a row from 0 to"),
        (["3", "--layer", "pooll"], "did you mean pool"),
        (["3", "--grid", "5"], "no grid of act 5: there is 2, 4"),
        (["3", "-o", "strip.txt"], "strip.txt"),
    ],
)
def test_what_cannot_be_followed_is_refused_in_one_line(drawn, arguments, words):
    image, *rest = arguments
    clear_refusal(run("propagate", drawn.store.root, image, *rest), words)


def test_a_single_logit_argues_for_the_second_of_two_outputs_and_against_none():
    network: Any = Net(Plain(1), 1)
    only = place_attributions(network, PICTURES[0], ["two"])["two"]
    found = _argued(network, PICTURES[0], ["two"], [1, 0], "cpu")["two"]
    assert only.any() and np.array_equal(found[0], only[0]) and not found[1].any()


def test_features_without_logits_are_refused(drawn, monkeypatch):
    features = replace(drawn.network(), outputs=0)
    monkeypatch.setattr(drawn, "network", lambda: features)
    with pytest.raises(AtlasError, match="gives features and no logits, so that nothing can be attributed to them"):
        propagation(drawn, 0)


def test_more_layers_than_a_strip_has_room_for_are_refused(drawn, monkeypatch):
    monkeypatch.setattr("atlas.propagating.MOST_LAYERS", 2)
    with pytest.raises(AtlasError, match="3 layers were asked for: a strip has room for 2, name fewer"):
        propagation(drawn, 0, ["pool", "act", "logits"])


# -- told and drawn ------------------------------------------------------------


def test_the_command_tells_every_layer_and_draws_the_strip(drawn, tmp_path):
    strip = tmp_path / "strip.png"
    told = json.loads(success(run("propagate", drawn.store.root, 5, "-o", strip, "--json")).out)
    found = propagate(drawn, 5)
    assert told["layers"] == json.loads(json.dumps(found["layers"])) and told["file"] == str(strip)
    by_name = {layer["layer"]: layer for layer in told["layers"]}
    assert by_name["pool"]["size"] == [10, 10] and np.shape(by_name["pool"]["magnitude"]) == (10, 10)
    assert by_name["pool"]["cells"] is None and by_name["act"]["cells"]["icons"]
    assert by_name["act"]["cells"]["nearest"]["cell"] == by_name["act"]["cells"]["places"][0][0]
    wide, tall = Image.open(strip).size
    assert wide > 150 * 2.3 * len(by_name) and tall > 800
    said = success(run("propagate", drawn.store.root, 5)).out
    assert "predicted" in said and "10×10" in said and "argues most for" in said


def test_an_activation_grid_draws_each_place_by_its_length_and_its_cell():
    icons_ = np.stack([np.full((4, 4, 3), 10), np.full((4, 4, 3), 200)]).astype(np.uint8)
    column = Column("l", "", np.zeros((1, 2, 2)), np.array([[1, 0.25], [0, 1]], np.float32), np.array([[0, 1], [0, -1]]),
                    icons_, ["#ff0000", "#00ff00"], -1, [], [], [])  # fmt: skip
    drawn_ = grid_picture(column)
    edge = len(drawn_) // 2
    quarters = [drawn_[:edge, :edge], drawn_[:edge, edge:], drawn_[edge:, :edge], drawn_[edge:, edge:]]
    shares = [(part != 247).any(axis=2).mean() for part in quarters]
    assert np.allclose(shares, [1, 0.25, 0, 0], atol=0.02)
    assert quarters[0][edge // 2, edge // 2].tolist() == [10] * 3 and quarters[1][edge // 2, edge // 2].tolist() == [200] * 3
    plain = grid_picture(Column(**{**vars(column), "icons": None}))
    assert plain[edge // 2, edge // 2].tolist() == [255, 0, 0] and plain[edge // 2, edge + edge // 2].tolist() == [0, 255, 0]


def test_an_attributions_colours_are_symmetric_about_nothing():
    rgba = diverging(np.array([[-2.0, 0.0, 1.0, 5.0]]), 2.0)[0]
    as_hex = ["#" + np.round(255 * one[:3]).astype(np.uint8).tobytes().hex() for one in rgba]
    assert (as_hex[0], as_hex[2]) == (RIGHT, WRONG) and rgba[0, 3] == 2 * rgba[2, 3] == rgba[3, 3] and rgba[1, 3] == 0
    assert not diverging(np.zeros((1, 2)), 0.0)[..., 3].any()


def test_a_narrow_strip_says_all_that_a_wide_one_does():
    column = Column(
        "l",
        "4×2×2",
        np.zeros((1, 2, 2)),
        np.ones((2, 2), np.float32),
        None,
        None,
        [],
        -1,
        [],
        [("a", 1.0, True)],
        ["rank 1"],
    )

    def words(count: int) -> str:
        picture = np.zeros((4, 4, 1), np.uint8)
        made = figures.propagation_strip([column] * count, picture=picture, caption=["a"], asked=["a"], title="t")
        return " ".join(text.get_text() for text in made.texts).replace("\n", " ")

    assert words(1) == words(9) and words(1).endswith("the layer's greatest 1")


def test_a_strip_of_no_layers_is_refused():
    with pytest.raises(AtlasError, match="a strip of no layers: give at least one"):
        figures.propagation_strip([], picture=np.zeros((4, 4, 3), np.uint8), caption=[], asked=["a"], title="")


# -- unusual associations ------------------------------------------------------------


def test_the_command_lists_cells_and_units_as_the_functions_rank_them(drawn):
    told = json.loads(success(run("associations", drawn.store.root, "--layer", "act", "--json")).out)
    assert [row["cell"] for row in told["cells"]["rows"]] == drawn.unusual("act")["cell"].tolist()
    assert [row["unit"] for row in told["units"]["rows"]] == drawn.crossing("act")["unit"].tolist()
    coarse = json.loads(success(run("associations", drawn.store.root, "--layer", "act", "--grid", 2, "--json")).out)
    assert {row["size"] for row in coarse["cells"]["rows"]} == {2} < {row["size"] for row in told["cells"]["rows"]}
    said = success(run("associations", drawn.store.root, "--layer", "act")).out
    for table in (drawn.unusual("act"), drawn.crossing("act")):
        usual = int((table["score"] < LEAST_SCORE).sum())
        assert f"{usual} that are as usual" in said, "counted, not listed"


def test_a_layer_without_cells_lists_its_units_and_says_so(drawn):
    said = success(run("associations", drawn.store.root, "--layer", "pool")).out
    assert "no cells 'umap of pool'" in said and "first_share" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--layer", "actt"], "no layer"),
        (["--layer", "act", "--grid", "9"], "no grid 9: there is 2, 4"),
        (["--layer", "act", "--network", "7"], "no network of this atlas"),
    ],
)
def test_associations_that_there_are_not_are_refused_in_one_line(drawn, arguments, words):
    clear_refusal(run("associations", drawn.store.root, *arguments), words)
