"""Preferred inputs of a real atlas: records, percentiles among real images, controls, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import atlas
from atlas.errors import AtlasError
from atlas.inside import maps_of_atlas
from atlas.preferred.real import Real, of_statistics
from atlas.preferred.records import FAILURES, Preferred
from atlas.preferred.untrained import untrained
from atlas.response_sheet import responses
from atlas.reusing import extractor
from tests import tiny
from tests.command import clear_refusal, run, success

FAST = {"steps": 24, "restarts": 2}


@pytest.fixture(scope="module")
def own(tiny_atlas: atlas.Atlas, tmp_path_factory: pytest.TempPathFactory) -> atlas.Atlas:
    """A copy of the tiny atlas, to write preferred inputs into."""
    folder = tmp_path_factory.mktemp("preferring") / "tiny"
    shutil.copytree(tiny_atlas.store.root, folder)
    return atlas.open(folder)


def test_each_units_picture_is_measured_as_the_real_images_were(own):
    made = own.preferred("act", [0, 3, 7], **FAST)
    assert made.images.shape == (3, 20, 20, 3) and made.images.dtype == np.uint8
    network = own.network()
    with torch.no_grad():
        pixels = torch.from_numpy(np.array(made.images)).permute(0, 3, 1, 2)
        hidden: list[torch.Tensor] = []
        handle = network.module.act.register_forward_hook(lambda *a: hidden.append(a[2]))
        network.module.eval()(network.preprocess.tensor(pixels))
        handle.remove()
    assert np.allclose(hidden[0][[0, 1, 2], [0, 3, 7]].numpy(), made.activation, rtol=1e-4, atol=1e-4)
    real = own.vectors("act")[:].astype(np.float32)[:, [0, 3, 7]]
    shares = 100 * (real <= made.activation).mean(axis=0)
    assert np.allclose(made.percentile, shares) and np.allclose(made.best_real, real.max(axis=0))
    assert made.real == f"all {len(real)} images"


def test_it_is_kept_shown_and_not_made_twice(own):
    before = own.preferred("act", [0, 3, 7], **FAST)
    shown = own.store.shown("preferred")
    again = own.preferred("act", [0, 3, 7], **FAST)
    assert own.store.shown("preferred") == shown and np.array_equal(before.images, again.images)
    assert own.store.header(shown[-1])["fields"]["settings"]["seed"] == 0
    other = own.preferred("act", [0, 3, 7], seed=1, **FAST)
    assert not np.array_equal(other.images, again.images)


def test_the_same_of_a_newer_program_replaces_it_and_other_settings_stand_beside(own):
    own.preferred("act", [0], seed=9, **FAST)
    made = own.store.shown("preferred")[-1]
    older = "preferred-0000000000000000"
    shutil.copytree(own.store.root / made, own.store.root / older)
    told = json.loads((own.store.root / older / "record.json").read_text("utf-8"))
    (own.store.root / older / "record.json").write_text(json.dumps(told | {"version": 1, "key": "0" * 64}), "utf-8")
    own.store.show([older], keep=lambda before: [name for name in before if name != made])
    others = [name for name in own.store.shown() if name != older]
    atlas.open(own.store.root).preferred("act", [0], seed=9, **FAST)
    assert own.store.shown() == [*others, made], "the older one is gone, and nothing else"


def test_of_all_starts_the_best_is_kept(own):
    one = own.preferred("logits", [0, 1, 2], steps=24, restarts=1)
    four = own.preferred("logits", [0, 1, 2], steps=24, restarts=4)
    assert (four.activation >= one.activation - 0.02 * np.abs(one.activation)).all()
    assert len(four) == 3


def test_several_reconstructions_of_a_unit_are_unlike_and_all_kept(own):
    made = own.preferred("pool", [2, 5], steps=24, variants=3)
    assert made.units.tolist() == [2, 2, 2, 5, 5, 5] and made.variant.tolist() == [0, 1, 2, 0, 1, 2]
    assert "diversity of" in made.objective
    assert not np.array_equal(made.images[0], made.images[1])
    assert list(made.table()["unit"]) == made.units.tolist()


def test_a_layer_that_was_not_recorded_is_measured_on_a_sample_of_the_images(own):
    made = own.preferred("conv1", [0, 1], **FAST)
    assert made.real == "all 120 images" and made.measured == "mean"
    assert np.isfinite(made.percentile).all()


def test_by_default_a_small_layers_units_are_all_drawn_but_dead_ones_which_are_named(own, monkeypatch):
    name = "atlas.preferring.Preferring.real"
    values = np.sort(np.random.default_rng(0).random((12, 50)).astype(np.float32), axis=1)
    values[4] = 0.0
    monkeypatch.setattr(name, lambda self, layer, units, functional: Real(values[list(units)], "of a test"))
    made = own.preferred("act", steps=8, restarts=1, seed=5)
    assert made.dead == [4] and made.units.tolist() == [u for u in range(12) if u != 4]
    with pytest.raises(AtlasError, match="every unit asked of act is dead"):
        own.preferred("act", [4], steps=8, restarts=1, seed=5)


def test_an_untrained_control_has_the_same_modules_other_weights_and_settled_norms(own):
    network = own.network()
    images = torch.rand(40, 3, 20, 20)
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    control = untrained(network, images, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in network.module.state_dict().items())
    assert not torch.equal(control.module.conv1.weight, network.module.conv1.weight)
    again = untrained(network, images, seed=0)
    assert torch.equal(control.module.conv1.weight, again.module.conv1.weight)
    norm = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    norm[1].running_mean.fill_(50.0)
    settled = untrained(type(network)(**{**vars(network), "module": norm}), images, seed=0).module
    with torch.no_grad():
        found = settled(images)
    assert torch.allclose(found.mean((0, 2, 3)), torch.zeros(4), atol=0.05), "a settled norm centres what it sees"
    made = own.preferred("logits", [0], untrained=True, **FAST)
    assert made.untrained and made.real == "all 120 images"


def test_a_rank_among_quantiles_is_near_the_rank_among_all(own):
    values = own.vectors("act")[:].astype(np.float32)
    units = [int(np.argmax(values.std(axis=0)))]
    exact = Real(np.sort(values[:, units].T, axis=1), "all")
    rough = of_statistics(own.statistics("act"), units)
    for value in np.quantile(values[:, units[0]], [0.2, 0.5, 0.9]):
        place, found = np.array([0]), np.array([value])
        assert abs(exact.percentile(place, found)[0] - rough.percentile(place, found)[0]) < 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"units": [99]}, "act has no unit 99: it has 12, numbered 0 to 11"),
        ({"units": [-1]}, "act has no unit -1"),
        ({"units": [1, 1]}, "unit 1 is named twice"),
        ({"units": []}, "no unit is named"),
        ({"units": [1], "param": "fuorier"}, "did you mean fourier"),
        ({"units": [1], "steps": 0}, "steps 0: 1 to 100000 would do"),
        ({"units": [1], "size": 3}, "a picture of 3 pixels: 8 to 512 would do"),
        ({"units": [1], "rate": -1.0}, "rate -1.0: a number above 0 would do"),
        ({"units": [1], "variants": 99}, "variants 99: 1 to 16 would do"),
        ({"units": [1], "stpes": 9}, "did you mean steps"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(own, given, words):
    with pytest.raises(AtlasError, match=words):
        own.preferred("act", **given)


def test_an_unknown_layer_is_refused_with_the_closest(own):
    with pytest.raises(AtlasError, match="did you mean"):
        own.preferred("actt", [0])


def numbered() -> tuple[nn.Module, dict[str, object]]:
    """A network whose layers are called by numbers, each one less than its own."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 6), nn.Linear(6, 3)]
    return nn.Sequential(*layers), tiny.SETTINGS


def test_a_layer_whose_name_is_another_layers_number_is_drawn_and_looked_into(world, tmp_path):
    images = str(world / "images")
    made = atlas.build(
        "tests.test_preferring:numbered", images, cache=tmp_path / "numbered", layers=["number:5"], layouts=["pca:4"]
    )
    assert made.default_layer == made.layer_name("4") == made.layer_name("number:5") == "4"
    assert made.preferred(units=[1], **FAST).layer == "4"
    assert made.preferred("number:6", **FAST).layer == "5"
    assert maps_of_atlas(made, 0).layer == "4" and maps_of_atlas(made, 0, "number:1").maps.shape[0] == 4
    assert made.selectivity("4").layer == "4" and made.removal([0], "1").attrs["layer"] == "1"
    assert [layer["layer"] for layer in responses(made, layers=["1", "number:1"])["layers"]] == ["0", "1"]
    assert extractor(made, tmp_path / "cut.pt2", layer="4")["layer"] == "4"


def test_the_command_tells_what_came_out_and_draws_a_sheet(own, tmp_path):
    arguments = ["preferred", str(own.store.root), "--layer", "logits", "-u", "0", "-u", "2", "--steps", "24"]
    done = success(run(*arguments, "--controls", "-o", tmp_path / "sheet.png", "--json"))
    told = json.loads(done.out)
    assert [row["unit"] for row in told["pictures"]] == [0, 2] and Path(told["file"]).is_file()
    assert Image.open(tmp_path / "sheet.png").width > 800
    text = success(run(*arguments)).out
    assert "percentiles are among all" in text and "raised: mean of units 0, 2 of logits" in text
    several = json.loads(success(run(*arguments, "--controls", "--variants", "2", "--json")).out)
    assert [row["unit"] for row in several["pictures"]] == [0, 0, 2, 2]
    clear_refusal(run(*arguments, "--all"), "--unit and --all exclude each other")


def test_the_record_reads_back_and_names_its_failures(own):
    name = own.store.shown("preferred")[0]
    record = own.store.read(name, Preferred)
    assert set(record.table()["failure"]) <= set(FAILURES) and len(record) == len(record.images)
    assert record.history.shape[1] == len(record) and record.images.shape[1] == tiny.EDGE
