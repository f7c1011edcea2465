"""What units stand for, and what the page fetches of them and of classes: against brute force over the vectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.cluster.hierarchy import ClusterNode, linkage, to_tree
from scipy.spatial.distance import pdist

from atlas.activations.records import Activations, PartLayer, Predictions, Statistics
from atlas.errors import AtlasError
from atlas.maps.records import Neighbours
from atlas.pages import class_answers, unit_answers
from atlas.pages.answers import answer
from atlas.pages.manifest import manifest
from atlas.pages.shelf import SHELF
from atlas.pages.view import View
from atlas.patterns import units
from atlas.patterns.spread import ClassSpread
from tests import worlds

HELD, ALL = 1, 3


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> View:
    root = tmp_path_factory.mktemp("units") / "world"
    worlds.tiny_atlas(root)
    return SHELF.open(root)


@pytest.fixture(scope="module")
def layer(view: View) -> dict[str, Any]:
    return unit_answers.layers_part(view)[1]


def vectors(view: View, layer: dict[str, Any]) -> np.ndarray:
    """Return the layer's values [image, unit] as its part holds them."""
    record = view.read(layer["activations"], Activations)
    return np.asarray(view.store.read(record.parts[0], PartLayer).vectors, np.float64)


def told(address: str) -> Any:
    return json.loads(answer(address)[1])


def known(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


# -- pure functions ----------------------------------------------------------------------------------------------------


def test_selectivity_is_nought_for_equal_classes_one_for_a_single_class_and_undefined_where_it_says_nothing() -> None:
    mean = np.array([[1.0, 3, 0, -1, 2], [1, 0, 0, 2, 1], [1, 0, 0, 1, np.nan], [np.nan] * 5])
    found = units.selectivity(mean)
    np.testing.assert_allclose(found[:2], [0, 1])
    assert np.isnan(found[2:]).all()  # dead, a negative class mean, a mean that is not known
    assert units.favourite(mean).tolist()[:4] == [-1, 0, -1, 1]


def test_selectivity_and_standing_out_agree_with_their_definitions_unit_by_unit() -> None:
    rng = np.random.default_rng(3)
    mean, std = rng.random((6, 40)), rng.random((6, 40))
    mean[4] = std[4] = np.nan  # a class without images
    rest = [0, 1, 2, 3, 5]
    for unit in range(40):
        best = max(rest, key=lambda k: mean[k, unit])
        others = np.mean([mean[k, unit] for k in rest if k != best])
        most, within = mean[best, unit], np.sqrt(np.mean([std[k, unit] ** 2 for k in rest]))
        assert units.favourite(mean)[unit] == best
        np.testing.assert_allclose(units.selectivity(mean)[unit], (most - others) / (most + others))
        np.testing.assert_allclose(units.outstanding(mean, std)[unit], (most - others) / within)


def test_with_fewer_than_two_classes_nothing_is_selective() -> None:
    for mean in (np.array([[1.0, 2.0]]), np.full((3, 2), np.nan), np.zeros((0, 2))):
        assert np.isnan(units.selectivity(mean)).all() and np.isnan(units.outstanding(mean, mean)).all()


def flips(node: ClusterNode) -> list[list[int]]:
    """Return every order of the leaves that turning branches of a tree can give."""
    if node.is_leaf():
        return [[node.id]]
    left, right = flips(node.left), flips(node.right)
    return [x + y for one in left for other in right for x, y in ((one, other), (other, one))]


def test_the_order_by_similarity_is_the_shortest_that_keeps_the_tree() -> None:
    items = np.random.default_rng(0).normal(size=(7, 5))
    rows, order = units.standardised(items)[0], units.similarity_order(items).tolist()

    def length(line: list[int]) -> float:
        return float(sum(np.linalg.norm(rows[a] - rows[b]) for a, b in pairwise(line)))

    every = flips(to_tree(linkage(pdist(rows), "average")))
    assert len(every) == 64 and order in every
    np.testing.assert_allclose(length(order), min(map(length, every)))


def test_many_items_stand_by_their_correlation_with_the_first_principal_component(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "CLUSTERED", 10)
    rng = np.random.default_rng(1)
    axis, weight = rng.normal(size=30), rng.permutation(np.linspace(-1, 1, 25))
    items = weight[:, None] * axis + 0.01 * rng.normal(size=(25, 30))
    order = units.similarity_order(items)
    correlation = np.array([np.corrcoef(item, axis)[0, 1] for item in items[order]])
    assert (np.diff(np.sign(correlation)) != 0).sum() == 1  # those along the axis, then those against it


def test_items_that_do_not_vary_or_are_not_known_stand_last() -> None:
    rng = np.random.default_rng(2)
    items = rng.normal(size=(8, 5))
    items[2], items[5] = 4.0, np.nan
    order = units.similarity_order(items)
    assert sorted(order) == list(range(8)) and order[-2:].tolist() == [2, 5]
    assert units.similarity_order(items[:2]).tolist() == [0, 1] and units.similarity_order(np.zeros((0, 3))).size == 0


def test_the_effect_of_two_groups_is_their_difference_in_pooled_standard_deviations() -> None:
    rng = np.random.default_rng(4)
    one, other = rng.normal(1, 2, (30, 6)), rng.normal(0, 1, (12, 6))
    parts = [units.Moments(len(x), x.mean(0), x.std(0)) for x in (one, other)]
    pooled = np.sqrt((29 * one.var(0, ddof=1) + 11 * other.var(0, ddof=1)) / 40)
    np.testing.assert_allclose(units.effect(*parts), (one.mean(0) - other.mean(0)) / pooled)
    single = units.Moments(1, one[0], np.zeros(6))
    assert np.isnan(units.effect(single, single)).all()
    assert np.isnan(units.effect(parts[0], units.Moments(0, np.full(6, np.nan), np.full(6, np.nan)))).all()


# -- answers -----------------------------------------------------------------------------------------------------------


def test_the_page_is_told_of_every_layer_with_statistics_in_order_of_execution(view: View) -> None:
    found = manifest(view, view.start({}), several=False)
    assert [part["layer"] for part in found["statistics"]] == list(worlds.LAYERS)
    assert [part["units"] for part in found["statistics"]] == list(worlds.LAYERS.values())
    assert all(part["identity"] and part["activations"].startswith("activations-") for part in found["statistics"])
    assert [part["layers"] for part in found["across"]] == [[part["key"] for part in found["statistics"]]]
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("split", [0, HELD, ALL])
def test_the_table_of_units_agrees_with_the_vectors(view: View, layer: dict[str, Any], split: int) -> None:
    values, mine = vectors(view, layer), (view.splits == split) | (split == ALL)
    found = told(f"/units/{layer['key']}/{split}.json")
    np.testing.assert_allclose(known(found["mean"]), values[mine].mean(0), rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(known(found["std"]), values[mine].std(0), rtol=2e-4)
    assert found["images"] == mine.sum() and found["all"] == len(values)
    assert found["dead"] == (values.max(0) <= 0).astype(int).tolist()
    right = mine & (view.column(layer["predictions"], "right") == 1)
    means = np.stack([values[right & (view.images.codes == k)].mean(0) for k in range(4)])
    assert found["class"] == means.argmax(0).tolist()
    assert all((value is None) == (means[:, unit] < 0).any() for unit, value in enumerate(found["selectivity"]))


def test_the_top_images_of_a_unit_are_those_with_its_greatest_values(view: View, layer: dict[str, Any]) -> None:
    values, count = vectors(view, layer), layer["units"]
    rows = np.frombuffer(answer(f"/units/{layer['key']}/top_image.bin")[1], "<i4").reshape(-1, count)
    top = np.frombuffer(answer(f"/units/{layer['key']}/top_value.bin")[1], "<f4").reshape(-1, count)
    for unit in range(count):
        assert rows[:, unit].tolist() == np.argsort(-values[:, unit])[: len(rows)].tolist()
    np.testing.assert_allclose(top, np.sort(values, axis=0)[::-1][: len(top)], rtol=1e-6)
    levels = np.frombuffer(answer(f"/units/{layer['key']}/quantiles.bin")[1], "<f4").reshape(-1, count)
    np.testing.assert_allclose(levels[[0, -1]], [values.min(0), values.max(0)], rtol=1e-6)


def test_a_confusion_pair_agrees_with_the_vectors(view: View, layer: dict[str, Any]) -> None:
    values, codes, said = vectors(view, layer), view.images.codes, view.predicted(layer["predictions"])[1]
    held = view.splits == HELD
    for a in range(4):
        for b in set(range(4)) - {a}:
            found = told(f"/pair/{layer['key']}/{HELD}/{a}/{b}.json")
            groups = [
                held & (codes == a) & (said == a),
                held & (codes == a) & (said == b),
                held & (codes == b) & (said == b),
            ]
            assert found["count"] == [int(group.sum()) for group in groups]
            for part, group in enumerate(groups):
                mean = values[group].mean(0) if group.any() else np.full(layer["units"], np.nan)
                np.testing.assert_allclose(known(found["mean"][part]), mean, rtol=2e-4, atol=1e-5)
            if groups[1].any():
                difference = values[groups[0]].mean(0) - values[groups[1]].mean(0)
                np.testing.assert_allclose(known(found["taken"]["difference"]), difference, rtol=2e-4, atol=1e-5)
            else:
                assert set(found["taken"]["effect"]) == {None}


def test_without_right_and_wrong_a_pair_is_of_all_images_of_each_class(tmp_path: Path) -> None:
    worlds.tiny_atlas(tmp_path / "world", 80, complete=False)
    view = SHELF.open(tmp_path / "world")
    part = unit_answers.layers_part(view)[0]
    found = told(f"/pair/{part['key']}/{ALL}/0/1.json")
    codes = view.images.codes
    assert not found["judged"] and found["count"] == [int((codes == 0).sum()), 0, int((codes == 1).sum())]


def test_orders_name_every_unit_and_every_class_once(view: View, layer: dict[str, Any]) -> None:
    found = told(f"/order/{layer['key']}/{HELD}.json")
    assert sorted(found["units"]) == list(range(layer["units"])) and sorted(found["classes"]) == [0, 1, 2, 3]


@pytest.mark.parametrize("what", ["mean", "std", "contrast"])
def test_one_class_across_layers_is_its_row_in_each(view: View, what: str) -> None:
    part = unit_answers.across_part(view)[0]
    found = np.frombuffer(answer(f"/across/{part['key']}/{part['digest']}/{HELD}/2/{what}.bin")[1], "<f4")
    rows = [view.patterns(name, HELD) for name in part["layers"]]
    wanted = [r.mean[2] - r.mean.mean(0) if what == "contrast" else getattr(r, what)[2] for r in rows]
    np.testing.assert_allclose(found, np.concatenate(wanted), rtol=1e-5, atol=1e-6)


def test_a_units_codes_stand_for_its_values(view: View, layer: dict[str, Any]) -> None:
    values = vectors(view, layer)[:, 5]
    codes = np.frombuffer(answer(f"/codes/{layer['activations']}/5.bin")[1], np.uint8)
    ends = told(f"/codes/{layer['activations']}/5.json")
    step = (ends["high"] - ends["low"]) / 255
    assert np.abs(ends["low"] + codes * step - values).max() <= step * 1.01


def test_classes_that_meet_are_the_images_with_such_a_neighbour(view: View) -> None:
    space = view.descriptor
    key = space.doubts["spread"]
    record, lists = view.read(key, ClassSpread), view.read(str(space.neighbours), Neighbours)
    codes = view.images.codes
    for over, name in enumerate(record.over):
        mine = np.ones(len(codes), bool) if name == "all" else view.splits == ["train", "held-out"].index(name)
        both = np.frombuffer(answer(f"/meeting/{key}/{over}/1/3.bin")[1], "<i4").reshape(2, -1)
        votes = (codes[lists.indices[:, : record.k]] == 3).sum(1) * (mine & (codes == 1))
        assert sorted(both[0].tolist()) == np.flatnonzero(votes).tolist()
        assert both[1].tolist() == votes[both[0]].tolist() == sorted(both[1].tolist(), reverse=True)
        share = np.frombuffer(answer(f"/mixing/{key}/{over}.bin")[1], "<f4").reshape(4, 4)[1, 3]
        np.testing.assert_allclose(votes.sum() / record.k / (mine & (codes == 1)).sum(), share, rtol=1e-5)
    assert told(f"/spread/{key}.json")["over"] == record.over


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (lambda v, p: unit_answers.codes(p["activations"], "99"), "has no unit 99: it has 8"),
        (lambda v, p: unit_answers.codes(p["key"], "0"), "holds no activations"),
        (lambda v, p: unit_answers.pair(p["key"], "1", "0", "9"), "no class 9: there are 4"),
        (lambda v, p: unit_answers.units("statistics-none", "1"), "no atlas open here shows"),
        (lambda v, p: unit_answers.across(p["key"], "0" * 16, "1", "0", "mean"), "load the page again"),
        (lambda v, p: class_answers.mixing(v.descriptor.doubts["spread"], "7"), "there is no number 7"),
        (lambda v, p: class_answers.meeting(v.descriptor.doubts["spread"], "0", "0", "9"), "no class 9"),
        (lambda v, p: class_answers.spread(p["key"]), "holds no spread"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(
    view: View, layer: dict[str, Any], asked: Callable[[View, dict[str, Any]], Any], words: str
) -> None:
    with pytest.raises(AtlasError, match=words):
        asked(view, layer)


def test_labels_that_are_no_outputs_are_taken_for_nothing(view: View, layer: dict[str, Any]) -> None:
    record = view.read(layer["key"], Statistics)
    outputs = np.asarray(record.groups)[:, 2]
    expected = view.read(layer["predictions"], Predictions).map.labels_of(outputs)
    assert (unit_answers.taken(view, layer["key"], record) == expected).all()
