"""What the panel of one image fetches: vectors, its class's moments and its neighbours, against brute force."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atlas.activations.assemble import vectors_of
from atlas.activations.records import Activations, Predictions
from atlas.errors import AtlasError
from atlas.maps.records import Layout, Neighbours
from atlas.pages import image_answers
from atlas.pages.answers import answer
from atlas.pages.image_answers import near_images, plain
from atlas.pages.layers import layers_part
from atlas.pages.shelf import SHELF
from atlas.pages.view import View
from tests import worlds


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> View:
    store = worlds.tiny_atlas(tmp_path_factory.mktemp("image") / "world", 200)
    return SHELF.open(store.root)


def layer(view: View, name: str) -> dict:
    return next(part for part in layers_part(view) if part["layer"] == name)


def told(address: str) -> dict:
    kind, body = answer(address)
    assert kind == "application/json"
    return json.loads(body)


def test_the_layers_are_told_in_order_with_what_is_kept_beside_them(view: View) -> None:
    parts = layers_part(view)
    assert [(part["layer"], part["units"]) for part in parts] == list(worlds.LAYERS.items())
    for part in parts:
        assert view.headers[part["statistics"]]["fields"]["layer"] == part["layer"]
        assert view.inputs(part["neighbours"], "activations") == [part["activations"]]
        assert part["space"] == part["layer"] and part["network"] in view.headers


def test_statistics_of_another_functional_are_no_measure_of_a_layer(tmp_path: Path) -> None:
    store = worlds.tiny_atlas(tmp_path / "world", 40)
    opened = View(store.root)
    name = layer(opened, "fc")["statistics"]
    opened.headers[name] = {**opened.headers[name], "fields": {**opened.headers[name]["fields"], "functional": "max"}}
    assert layer(opened, "fc")["statistics"] is None and layer(opened, "conv")["statistics"] is not None


@pytest.mark.parametrize("name", list(worlds.LAYERS))
def test_the_vector_of_an_image_is_its_row_of_the_layer(view: View, name: str) -> None:
    key = layer(view, name)["activations"]
    whole = vectors_of(view.store, view.read(key, Activations))[:]
    for row in (0, 77, 199):
        kind, body = answer(f"/vector/{key}/{row}.bin")
        assert kind == "application/octet-stream"
        np.testing.assert_array_equal(np.frombuffer(body, "<f4"), whole[row])


@pytest.mark.parametrize("split", [0, 1, 3])
def test_the_moments_of_a_class_are_those_of_its_images_that_are_right(view: View, split: int) -> None:
    part = layer(view, "fc")
    whole = vectors_of(view.store, view.read(part["activations"], Activations))[:].astype(np.float64)
    right = view.read(view.of_stage("predictions")[0], Predictions).right == 1
    of_split = np.ones(len(whole), bool) if split == 3 else view.splits == split
    for code in range(len(worlds.LABELS)):
        own = whole[right & of_split & (view.images.codes == code)]
        found = told(f"/moments/{part['statistics']}/{split}/{code}.json")
        assert (found["label"], found["count"], found["functional"]) == (worlds.LABELS[code], len(own), "mean")
        np.testing.assert_allclose(found["mean"], own.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["std"], own.std(0), rtol=1e-5, atol=1e-6)


def test_a_class_without_images_has_a_count_of_nothing_and_no_figures(tmp_path: Path) -> None:
    store = worlds.tiny_atlas(tmp_path / "world", codes=np.arange(40) % 3)
    opened = SHELF.open(store.root)
    found = told(f"/moments/{layer(opened, 'fc')['statistics']}/3/3.json")
    assert found["count"] == 0 and set(found["mean"]) == {None}


def test_the_nearest_images_are_those_of_a_search_by_hand(view: View) -> None:
    part = layer(view, "conv")
    whole = vectors_of(view.store, view.read(part["activations"], Activations))[:].astype(np.float64)
    for row in (3, 150):
        far = np.linalg.norm(whole - whole[row], axis=1)
        far[row] = np.inf
        found = told(f"/journey/{part['neighbours']}/{row}.json")
        assert found["rows"] == np.argsort(far)[: worlds.KEPT].tolist() and found["metric"] == "L2"
        np.testing.assert_allclose(found["distances"], np.sort(far)[: worlds.KEPT], rtol=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_of_an_image_with_several_points_the_nearest_counts_and_none_is_its_own(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, k = 60, 8
    point_image = rng.permutation(np.repeat(np.arange(20), 3)).astype(np.int32)
    vectors = rng.normal(size=(points, 4))
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1) + 1e9 * np.eye(points)
    indices = np.argsort(apart, axis=1)[:, :k]
    distances = np.take_along_axis(apart, indices, 1).astype(np.float32)
    indices[rng.random(indices.shape) < 0.1] = -1  # an approximate search found fewer
    rows, far = near_images(indices, distances, point_image, 5)
    best: dict[int, float] = {}
    for point in np.flatnonzero(point_image == 5):
        for other, distance in zip(indices[point], distances[point], strict=True):
            image = int(point_image[other])
            if other >= 0 and image != 5:
                best[image] = min(best.get(image, np.inf), float(distance))
    expected = sorted(best.items(), key=lambda item: item[1])[:k]
    assert rows.tolist() == [image for image, _ in expected]
    np.testing.assert_allclose(far, [distance for _, distance in expected])


def test_the_place_of_a_point_is_told_with_what_was_measured_of_it(view: View) -> None:
    key = view.spaces[0].layouts[0]
    record: Layout = view.read(key, Layout)
    found = told(f"/standing/{key}/42.json")
    assert found["recall"] == pytest.approx(float(record.recall[42])) and found["trust"] is None and found["k"] == 15


def test_numbers_keep_seven_digits_and_none_stands_for_what_is_no_number() -> None:
    values = np.array([1 / 3, -2.5e-8, np.nan, np.inf], np.float32)
    found = plain(values)
    assert found[2:] == [None, None]
    np.testing.assert_allclose(found[:2], values[:2], rtol=1e-6)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/vector/{activations}/200.bin", "image 200 has no point in this layer"),
        ("/moments/{statistics}/3/9.json", "no class 9: there are 4"),
        ("/journey/{neighbours}/200.json", "image 200 has no point in this layer"),
        ("/standing/{layout}/200.json", "no point 200: there are 200"),
        ("/vector/../../etc/0.bin", "there is nothing at"),
        ("/moments/{statistics}/4/0.json", "there is nothing at"),
    ],
)
def test_what_is_not_there_is_refused(view: View, address: str, words: str) -> None:
    keys = {**layer(view, "fc"), "layout": view.spaces[0].layouts[0]}
    with pytest.raises(AtlasError, match=words):
        answer(address.format(**keys))


def test_each_module_of_answers_can_be_imported_first() -> None:
    for name in ("image_answers", "serving", "answers", "manifest"):
        subprocess.run([sys.executable, "-c", f"import atlas.pages.{name}"], check=True)


def test_the_answers_are_among_the_routes_and_neighbours_read_is_the_record(view: View) -> None:
    from atlas.pages.answers import ROUTES

    assert {pattern for pattern, _ in image_answers.ROUTES} <= {pattern for pattern, _ in ROUTES}
    assert view.read(layer(view, "fc")["neighbours"], Neighbours).indices.shape == (200, worlds.KEPT)
