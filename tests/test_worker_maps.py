"""Activation maps through the worker: of an image of the atlas and of a new one, within the same limits as all questions."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from atlas.errors import AtlasError
from atlas.looking import look
from atlas.worker import Worker
from atlas.worker.client import unpacked
from atlas.worker.protocol import MOST_BYTES, Question
from tests import odd, workers
from tests.workers import grey, later, new_image, until


@pytest.fixture(scope="module", autouse=True)
def runtime() -> Iterator[Path]:
    with workers.private() as folder:
        yield folder


@pytest.fixture(scope="module")
def odd_root(world: Path, tmp_path_factory: pytest.TempPathFactory, runtime: Path) -> Path:
    return workers.odd_atlas(world, tmp_path_factory.mktemp("odd-maps") / "atlas")


def test_the_maps_of_a_new_image_are_those_of_the_network_here(tiny_atlas):
    body = new_image(3)
    seen = Worker(tiny_atlas.store.root).maps(body, layers=["conv1", "pool"], units=4)
    image = Image.open(io.BytesIO(body)).convert("RGB")
    for told, own in zip(seen["layers"], look(tiny_atlas.network(), image, ["conv1", "pool"], units=4), strict=True):
        assert told["units"] == own.units.tolist() and told["layer"] == own.layer and told["of"] == own.of
        np.testing.assert_allclose(told["peak"], own.peak, rtol=1e-4)
        pixels = np.frombuffer(told["maps"], np.uint8).reshape(4, *told["pixels"])
        assert np.abs(pixels.astype(int) - own.pixels.astype(int)).max() <= 1
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(seen["picture"]))), np.asarray(image))


def test_an_image_of_the_atlas_is_read_by_its_row(tiny_atlas, world):
    row = tiny_atlas.find_image(world / "images/test/disc/004.png")
    worker = Worker(tiny_atlas.store.root)
    of_row, of_file = worker.maps(row), worker.maps(world / "images/test/disc/004.png")
    assert (
        [one["layer"] for one in of_row["layers"]]
        == [one["layer"] for one in of_file["layers"]]
        == ["relu", "pool", "conv2"]
    )
    assert all(a["maps"] == b["maps"] for a, b in zip(of_row["layers"], of_file["layers"], strict=True))
    assert of_row["others"] == ["conv1", "relu", "pool", "conv2"]


def test_a_row_that_is_not_there_and_a_layer_without_places_are_told(tiny_atlas):
    worker = Worker(tiny_atlas.store.root)
    with pytest.raises(AtlasError, match="no row 120: the images are rows 0 to 119"):
        worker.maps(120)
    with pytest.raises(AtlasError, match="layer logits has no places, so it has no maps"):
        worker.maps(0, layers=["logits"])
    with pytest.raises(AtlasError, match="did you mean conv1"):
        worker.maps(0, layers=["conv11"])
    with pytest.raises(AtlasError, match=r"it\.txt does not decode"):
        worker.maps(b"words", name="it.txt")
    with pytest.raises(AtlasError, match=r"has 64\.0 MB: at most 64 MB are taken"):
        worker.maps(bytes(MOST_BYTES + 1))


def test_the_vectors_of_a_new_image_are_told_when_asked(tiny_atlas, tmp_path):
    (tmp_path / "new.png").write_bytes(new_image(4))
    worker = Worker(tiny_atlas.store.root)
    assert "vectors" not in worker.see(new_image(4), layer="act")
    seen = worker.see(new_image(4), layer="pool+act+logits", vectors=True)["vectors"]
    for layer in ("pool", "act", "logits"):
        expected = tiny_atlas.describe(tmp_path / "new.png", layer)[layer][0]
        np.testing.assert_allclose(seen[tiny_atlas.activation_name(layer)], expected, rtol=1e-4, atol=1e-5)


def test_maps_wait_their_turn_end_in_time_and_can_be_given_up(odd_root, runtime):
    gate = runtime / "gate"
    gate.unlink(missing_ok=True)
    worker = Worker(odd_root)
    worker.see(new_image(0))
    running = later(lambda: worker.see(grey(odd.WAITS), name="waits.png"))
    until(lambda: worker.about()["running"])
    with pytest.raises(AtlasError, match=r"no answer within 0\.3 seconds"):
        worker.maps(new_image(1), timeout=0.3)
    cancel = threading.Event()
    asked = later(lambda: worker.maps(0, cancel=cancel))
    until(lambda: worker.about()["waiting"] == 1)
    cancel.set()
    with pytest.raises(AtlasError, match="cancelled: nobody waits"):
        asked.result(5)
    gate.touch()
    assert running.result(20)["predictions"] and worker.maps(new_image(1))["layers"]


def test_a_network_that_fails_at_the_maps_is_told_and_lives_on(odd_root):
    worker = Worker(odd_root)
    with pytest.raises(AtlasError, match="a layer divides by nothing"):
        worker.maps(grey(odd.RAISES), name="it.png")
    with pytest.raises(AtlasError, match=r"ended twice over white\.png"):
        worker.maps(grey(odd.ENDS), name="white.png")
    assert worker.maps(new_image(2))["layers"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"row": -1}, "row is -1: a whole number from 0"),
        ({"row": "1"}, "row is '1': a whole number"),
        ({"maps": "conv1"}, "maps are no list of names"),
        ({"maps": [1]}, "maps are no list of names"),
        ({"maps": ["a"] * 65}, "maps are no list of names"),
        ({"k": 0}, "k is 0: a whole number from 1"),
    ],
)
def test_a_question_of_another_kind_is_refused(changed, message):
    good = {"do": "maps", "k": 8, "size": 0, "row": 3, "maps": ["conv1"]}
    assert Question.read(good).row == 3
    with pytest.raises(AtlasError, match=message):
        Question.read(good | changed)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5), st.integers(1, 5)), max_size=5), st.binary(max_size=20))
def test_an_answers_bytes_are_dealt_out_to_its_layers(sizes, picture):
    blocks = [bytes([number]) * (units * y * x) for number, (units, y, x) in enumerate(sizes)]
    layers = [{"units": list(range(units)), "pixels": [y, x]} for units, y, x in sizes]
    found = unpacked({"layers": layers, "picture": len(picture)}, picture + b"".join(blocks))
    assert found["picture"] == picture and [one["maps"] for one in found["layers"]] == blocks
