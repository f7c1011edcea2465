"""Hostile checkpoints and networks, through the real command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import atlas
from atlas.worker.client import Worker
from tests import hostile, hostile_networks
from tests.command import build, clear_refusal, files_of, run, success

CODE = "holds Python objects beside tensors (posix.mkdir) and is not read: that could run code"
CHECKPOINTS = {
    "code.pth": CODE,
    "code-within.pth": CODE,
    "code-old-format.pth": CODE,
    "code.pkl": "is no checkpoint of torch.save",
    "code.safetensors": "cannot be read as safetensors",
    "wrong-shapes.pth": "8 of another shape (conv1.weight is 1×3×3×3 in the file and 8×3×3×3 in the network",
    "missing-keys.pth": "2 missing (fc1.weight, fc1.bias)",
    "nan.pth": "values of conv1.weight are NaN or infinite; give other weights",
    "complex.pth": "8 of another kind (conv1.weight is complex64 in the file and float32 in the network",
    "sparse.pth": "8 of another kind (conv1.weight is sparse_coo float32 in the file",
    "words.pth": "holds no tensors where a state dict would be",
    "circle.pth": "holds no tensors where a state dict would be",
    "one-tensor.pth": "holds a Tensor, not a state dict",
    "empty.pth": "cannot be read as a checkpoint (EOFError)",
    "cut.pth": "cannot be read as a checkpoint",
    "torn.pth": "cannot be read as a checkpoint",
    "cut.safetensors": "cannot be read as safetensors",
    "huge-header.safetensors": "header too large",
    "long-header.safetensors": "header too large",
    "no-header.safetensors": "holds no tensors",
    "wide.safetensors": "cannot be read as safetensors",
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of hostile checkpoints; ``sprung`` appears in it when code in one of them runs."""
    return hostile_networks.checkpoints(tmp_path_factory.mktemp("checkpoints") / "all")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight plain pictures of one class."""
    hostile.plain(tmp_path_factory.mktemp("pictures") / "images" / "cat", 8)
    return next(tmp_path_factory.getbasetemp().glob("pictures*")) / "images"


def test_the_traps_would_spring_if_they_were_unpickled(checkpoints: Path) -> None:
    import pickle

    pickle.loads((checkpoints / "code.pkl").read_bytes())
    assert (checkpoints / "sprung").is_dir(), "else the tests below would prove nothing"
    (checkpoints / "sprung").rmdir()
    assert {path.name for path in checkpoints.iterdir()} == set(CHECKPOINTS)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_hostile_checkpoint_is_one_line_and_its_code_never_runs(
    checkpoints: Path, pictures: Path, tmp_path: Path, name: str
) -> None:
    clear_refusal(run("layers", "tests.tiny:network", "--weights", checkpoints / name), CHECKPOINTS[name])
    clear_refusal(build(pictures, tmp_path / "a", "--weights", checkpoints / name), CHECKPOINTS[name])
    assert not (checkpoints / "sprung").exists() and not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_given_as_a_network_is_refused_and_never_run(checkpoints: Path, tmp_path: Path, name: str) -> None:
    clear_refusal(run("layers", checkpoints / name))
    shutil.copy(checkpoints / name, tmp_path / "program.pt2")
    clear_refusal(run("layers", tmp_path / "program.pt2"))
    assert not (checkpoints / "sprung").exists()


def test_weights_changed_after_the_build_are_refused_when_a_file_is_asked_of(
    checkpoints: Path, pictures: Path, tmp_path: Path
) -> None:
    import torch

    torch.save(hostile_networks.state(), tmp_path / "w.pth")
    success(build(pictures, tmp_path / "a", "--weights", tmp_path / "w.pth"))
    new = hostile.plain(tmp_path / "new", 1, first=900) / "000.png"
    success(run("query", tmp_path / "a", new))
    shutil.copy(checkpoints / "code.pth", tmp_path / "w.pth")
    success(run("query", tmp_path / "a", new))  # the worker has the network in memory that the atlas was built with
    assert Worker(tmp_path / "a").stop()
    clear_refusal(run("query", tmp_path / "a", new), CODE)
    assert not (checkpoints / "sprung").exists()
    success(run("query", tmp_path / "a", 3))  # a row needs no network


# -- layers ------------------------------------------------------------------------------------------------------------

USELESS = {
    "nothing": "gives no tensor: it has no units; choose another from `atlas layers`",
    "integers": "gives no tensor",
    "booleans": "gives no tensor",
    "complex_numbers": "gives no tensor",
    "empty_tuple": "gives no tensor",
    "text": "gives no tensor",
    "sparse": "gives no tensor",
    "empty": "gives 0: it has no units",
    "no_images": "gives 0×6, not one row per image",
    "one_number": "gives one number, not one row per image",
}


@pytest.mark.parametrize("name", USELESS)
def test_a_layer_that_gives_no_vectors_is_listed_so_and_refused_before_the_work(
    pictures: Path, tmp_path: Path, name: str
) -> None:
    model = f"tests.hostile_networks:{name}"
    rows = {row["name"]: row for row in json.loads(success(run("layers", model, "--json")).out)}
    assert rows["odd"]["units"] == 0
    clear_refusal(build(pictures, tmp_path / "a", "-l", "odd", model=model), "layer odd (Odd)", USELESS[name])
    assert not (tmp_path / "a").exists()
    exact = ["--precision=float32"] if name == "complex_numbers" else []  # torch has no complex of bfloat16
    success(build(pictures, tmp_path / "a", *exact, model=model))
    assert "odd" not in atlas.open(tmp_path / "a").layers


@pytest.mark.parametrize("name", ["tuples", "half"])
def test_a_layer_that_gives_a_tensor_among_others_or_half_floats_is_read(pictures: Path, tmp_path: Path, name: str) -> None:
    success(build(pictures, tmp_path / "a", "-l", "odd", model=f"tests.hostile_networks:{name}"))
    assert atlas.open(tmp_path / "a").vectors("odd").shape == (8, 6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nan", "neighbours of odd: 8 of 8 vectors hold NaN or infinity: choose another layer"),
        ("infinity", "neighbours of odd: 8 of 8 vectors hold NaN or infinity: choose another layer"),
        ("constant", "PCA of odd: all 8 vectors are equal: nothing to lay out; choose another layer"),
        ("zeros", "PCA of odd: all 8 vectors are equal: nothing to lay out; choose another layer"),
    ],
)
def test_vectors_that_make_no_map_name_their_layer_and_what_is_finished_stays(
    pictures: Path, tmp_path: Path, name: str, message: str
) -> None:
    model = f"tests.hostile_networks:{name}"
    clear_refusal(build(pictures, tmp_path / "a", "-l", "conv", "-l", "odd", model=model), message)
    before = files_of(tmp_path / "a")
    answer = success(build(pictures, tmp_path / "a", "-l", "conv", model=model))
    after = files_of(tmp_path / "a")
    assert {key: after[key] for key in before} == before
    assert "the network ran in" not in answer.err, "the pass stood already"
    statistics = success(build(pictures, tmp_path / "a", "-l", "conv", "--statistics", "odd", model=model))
    assert "Warning" not in statistics.err
    found = atlas.open(tmp_path / "a").statistics("odd")
    assert found.nonfinite.sum() == (8 if name in ("nan", "infinity") else 0)


def test_a_layer_that_changes_its_width_between_calls_is_refused_by_name(pictures: Path, tmp_path: Path) -> None:
    answer = build(pictures, tmp_path / "a", "-l", "odd", model="tests.hostile_networks:moody")
    clear_refusal(answer, "layer odd: it has", "units for these images and", "choose another layer")


def test_logits_that_change_their_number_are_refused(pictures: Path, tmp_path: Path) -> None:
    answer = build(pictures, tmp_path / "a", "-l", "number:1", model="tests.hostile_networks:growing_logits")
    clear_refusal(answer, "outputs by its record and shows", "load it again")


def test_logits_that_are_no_numbers_are_counted_and_predict_nothing(pictures: Path, tmp_path: Path) -> None:
    answer = success(build(pictures, tmp_path / "a", "-l", "0.act", model="tests.hostile_networks:nan_logits"))
    assert "8 images have logits that are not finite: they have no prediction" in answer.err
    opened = atlas.open(tmp_path / "a")
    assert opened.images()["prediction"].isna().all() and np.isnan(opened.images()["confidence"]).all()
    assert json.loads(success(run("query", tmp_path / "a", 0, "--json")).out)["predictions"] == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raising", "does not take an input of 3×20×20 (KeyError: 'no such\\nthing')"),
        ("leaving", "tests.hostile_networks:leaving() failed (SystemExit: 0)"),
    ],
)
def test_a_network_that_raises_or_leaves_is_one_line(pictures: Path, tmp_path: Path, name: str, message: str) -> None:
    for answer in (
        run("layers", f"tests.hostile_networks:{name}"),
        build(pictures, tmp_path / "a", model=f"tests.hostile_networks:{name}"),
    ):
        clear_refusal(answer, message)


def test_a_network_without_a_layer_of_use_says_so(pictures: Path, tmp_path: Path) -> None:
    answer = build(pictures, tmp_path / "a", model="tests.hostile_networks:nothing_at_all")
    clear_refusal(answer, "no layer of the network yields numbers")
