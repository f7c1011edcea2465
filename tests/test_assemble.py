"""Parts put together: every statistic against a brute-force oracle, however the images were cut into parts."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.activations import assemble, sinks
from atlas.activations.assemble import (
    make_activations,
    make_predictions,
    merge_statistics,
    percentile_of,
    predicted,
    probabilities,
    rightness,
    vectors_of,
)
from atlas.activations.records import Activations, PartLayer, PartLogits, PartMoments, Statistics
from atlas.activations.sinks import LEVELS, TOP, part_layer, part_moments
from atlas.errors import AtlasError
from atlas.models.records import ClassMap
from atlas.store import Recipe, Store
from tests.passes import LABELS, class_map, make_images


def make_values(images: int, units: int = 6, *, points: int = 1, seed: int = 0) -> np.ndarray:
    """Values as layers give them: rectified, with ties, with units of very different scale, one of them constant."""
    rng = np.random.default_rng(seed)
    values = np.maximum(rng.normal(size=(images * points, units)), 0) * 10.0 ** rng.integers(-3, 4, units)
    values[:, 0] = np.round(rng.normal(size=images * points))
    values[:, 1] = 7
    return values.astype(np.float32)


def make_groups(images: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.integers(0, 2, images), rng.integers(-1, 3, images), rng.integers(-1, 3, images)])


def judged(groups: np.ndarray) -> np.ndarray:
    """The groups with the column that the class map adds."""
    return np.column_stack([groups, rightness(groups[:, 2], groups[:, 1], class_map())])


def make_part(values: np.ndarray, rows: np.ndarray, *, points: int = 1, **options: Any) -> PartLayer:
    yx = np.random.default_rng(0).random((len(values), 2)) if points > 1 else np.empty((0, 2))
    functional = f"positions:{points}" if points > 1 else "mean"
    given = {"layer": "conv", "functional": functional, "stored": "float32", "rows": rows, "yx": yx}
    return part_layer(values, **{**given, **options})


def make_moments(values: np.ndarray, groups: np.ndarray, *, points: int = 1) -> PartMoments:
    return part_moments(values, groups, layer="conv", functional=f"positions:{points}" if points > 1 else "mean")


def cut(values: np.ndarray, at: list[int], *, points: int = 1, **options: Any) -> list[PartLayer]:
    """The parts of all values, cut before the images `at`."""
    shaped = values.reshape(len(values) // points, points, -1)
    return [
        make_part(shaped[rows].reshape(-1, values.shape[1]), rows, points=points, **options)
        for rows in np.split(np.arange(len(shaped)), at)
    ]


def cut_moments(values: np.ndarray, groups: np.ndarray, at: list[int], *, points: int = 1) -> list[PartMoments]:
    """The moments of the same parts."""
    shaped = np.split(values.reshape(len(groups), points, -1), at)
    return [
        make_moments(block.reshape(-1, values.shape[1]), own, points=points)
        for block, own in zip(shaped, np.split(groups, at), strict=True)
    ]


def merged(values: np.ndarray, groups: np.ndarray, at: list[int], *, points: int = 1) -> Statistics:
    """The statistics of all values, cut before the images `at` and merged again."""
    moments = cut_moments(values, groups, at, points=points)
    return merge_statistics(cut(values, at, points=points), moments, class_map=class_map())


# -- statistics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [[], [40], [3, 50, 51, 150]])
def test_moments_of_each_group_are_those_of_its_values(at: list[int]) -> None:
    values, groups = make_values(200), make_groups(200)
    found = merged(values, groups, at)
    assert found.count.sum() == 200 == found.images
    groups = judged(groups)
    assert {tuple(g) for g in found.groups} == {tuple(g) for g in groups} and len(found.groups) == len(
        set(map(tuple, groups))
    )
    for group, count, mean, m2 in zip(found.groups, found.count, found.mean, found.m2, strict=True):
        mine = values[(groups == group).all(1)].astype(np.float64)
        assert count == len(mine)
        np.testing.assert_allclose(mean, mine.mean(0), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(m2, ((mine - mine.mean(0)) ** 2).sum(0), rtol=1e-10, atol=1e-10)


def test_moments_keep_their_digits_far_from_zero() -> None:
    values = (1e4 + make_values(500, 3, seed=1)[:, :1]).astype(np.float32)
    found = merged(values, np.zeros((500, 3), int), [100, 200])
    np.testing.assert_allclose(found.m2[0] / 500, values.astype(np.float64).var(0), rtol=1e-9)


def test_merging_in_another_order_gives_the_same_but_for_rounding() -> None:
    parts, moments = cut(make_values(200), [60, 100]), cut_moments(make_values(200), make_groups(200), [60, 100])
    one, other = (merge_statistics(p, m, class_map=class_map()) for p, m in ((parts, moments), (parts[::-1], moments[::-1])))
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(one.m2, other.m2, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(one.quantiles, other.quantiles)
    np.testing.assert_array_equal(one.top_image, other.top_image)


def test_zeros_and_values_that_are_not_finite_are_counted() -> None:
    values = make_values(100)
    values[[3, 4, 60], [2, 2, 3]] = [np.nan, np.inf, -np.inf]
    found = merged(values, make_groups(100), [50])
    np.testing.assert_array_equal(found.zeros, (values == 0).sum(0))
    np.testing.assert_array_equal(found.nonfinite, [0, 0, 2, 1, 0, 0])


def test_a_value_that_is_not_finite_makes_its_groups_moments_unknown_and_no_others() -> None:
    values, groups = make_values(100), make_groups(100)
    values[3, 2] = np.inf
    found = merged(values, groups, [50])
    hit = (found.groups[:, :3] == groups[3]).all(1)
    assert np.isnan(found.mean[hit, 2]).all() and np.isnan(found.mean).sum() == 1 == np.isnan(found.m2).sum()


def test_the_quantiles_of_one_part_are_numpys() -> None:
    values = make_values(333)
    found = merged(values, make_groups(333), [])
    expected = np.quantile(values.astype(np.float64), np.linspace(0, 1, LEVELS), axis=0)
    np.testing.assert_allclose(found.quantiles, expected, rtol=1e-6, atol=1e-7)


def rank_errors(values: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """How far each level lies outside the ranks that its value has among `values`, one value's own rank allowed: [level]."""
    ranked, levels = np.sort(values), np.linspace(0, 1, LEVELS)
    slack = 1e-6 * np.abs(quantiles)
    low = np.searchsorted(ranked, quantiles - slack, "left") / len(ranked)
    high = np.searchsorted(ranked, quantiles + slack, "right") / len(ranked)
    return np.maximum(np.maximum(low - levels, levels - high) - 1 / len(ranked), 0)


@pytest.mark.parametrize("at", [[500], [100, 101, 600], [2000, 2500]])
def test_merged_quantiles_are_wrong_by_less_than_one_rank_in_128(at: list[int]) -> None:
    values = make_values(3000)
    values[:1000] += np.abs(values).mean(0)  # parts that differ
    found = merged(values, make_groups(3000), at)
    for unit in range(values.shape[1]):
        assert rank_errors(values[:, unit], found.quantiles[:, unit]).max() <= 1 / 128
    np.testing.assert_array_equal(found.quantiles[[0, -1]], [values.min(0), values.max(0)])


def test_quantiles_are_over_finite_values_and_unknown_where_there_is_none() -> None:
    values = make_values(300)
    values[::2, 2], values[:, 3] = np.nan, np.inf
    found = merged(values, make_groups(300), [100])
    assert rank_errors(values[1::2, 2], found.quantiles[:, 2]).max() <= 1 / 128
    assert np.isnan(found.quantiles[:, 3]).all()


def brute_force_top(values: np.ndarray, unit: int) -> list[int]:
    finite = [row for row in range(len(values)) if np.isfinite(values[row, unit])]
    return sorted(finite, key=lambda row: (-values[row, unit], row))[:TOP]


@pytest.mark.parametrize("at", [[], [40], [3, 50, 51, 150]])
def test_the_top_images_are_the_greatest_values_with_ties_by_row(at: list[int]) -> None:
    values = make_values(200)
    values[[5, 6], 2] = [np.nan, np.inf]
    values[9:12, 3] = -0.0
    found = merged(values, make_groups(200), at)
    for unit in range(values.shape[1]):
        rows = brute_force_top(values, unit)
        assert found.top_image[:, unit].tolist() == rows
        np.testing.assert_array_equal(found.top_value[:, unit], values[rows, unit])


def test_negative_values_are_ranked_too() -> None:
    values = -np.abs(np.random.default_rng(0).normal(size=(50, 2))).astype(np.float32)
    found = merged(values, make_groups(50), [20])
    assert found.top_image[:, 0].tolist() == brute_force_top(values, 0)


def test_fewer_images_than_ranks_leave_the_rest_empty() -> None:
    values = make_values(5)
    found = merged(values, make_groups(5), [2])
    assert found.top_image[:5, 2].tolist() == brute_force_top(values, 2)
    assert (found.top_image[5:] == -1).all() and np.isnan(found.top_value[5:]).all()


def test_sampled_positions_count_points_and_rank_images() -> None:
    values, groups = make_values(60, points=4), make_groups(60)
    found = merged(values, groups, [25], points=4)
    assert found.images == 60 and found.count.sum() == 240
    greatest = values.reshape(60, 4, -1).max(1)
    for unit in range(values.shape[1]):
        assert found.top_image[:, unit].tolist() == brute_force_top(greatest, unit)
    for group, mean in zip(found.groups[:, :3], found.mean, strict=True):
        np.testing.assert_allclose(mean, values[np.repeat((groups == group).all(1), 4)].mean(0, dtype=float), rtol=1e-12)


def test_the_size_of_the_blocks_of_units_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values, groups = make_values(100, 9), make_groups(100)
    whole, moments = make_part(values, np.arange(100)), make_moments(values, groups)
    true_blocks = sinks.unit_blocks
    monkeypatch.setattr(sinks, "unit_blocks", lambda rows, units, **_: true_blocks(rows, units, block_bytes=rows * 16))
    in_blocks, moments_in_blocks = make_part(values, np.arange(100)), make_moments(values, groups)
    for name in ("quantiles", "top_value", "top_image"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(in_blocks, name))
    for name in ("mean", "m2"):
        np.testing.assert_array_equal(getattr(moments, name), getattr(moments_in_blocks, name))


def test_a_part_without_images_merges_as_nothing() -> None:
    values, groups = make_values(50), make_groups(50)
    alone, with_empty = merged(values, groups, []), merged(values, groups, [0, 50])
    np.testing.assert_array_equal(alone.mean, with_empty.mean)
    np.testing.assert_array_equal(alone.top_image, with_empty.top_image)
    assert max(rank_errors(values[:, u], with_empty.quantiles[:, u]).max() for u in range(6)) <= 1 / 128


def test_parts_of_different_layers_are_not_merged() -> None:
    one, two = cut(make_values(20), [10])
    moments = cut_moments(make_values(20), make_groups(20), [10])
    with pytest.raises(
        AtlasError, match=r"these are of conv \(mean, 6 units\), fc \(mean, 6 units\): record them in one pass"
    ):
        merge_statistics([one, replace(two, layer="fc")], moments, class_map=class_map())
    with pytest.raises(AtlasError, match=r"these are of conv \(mean, 6 units\), fc \(mean, 6 units\)"):
        merge_statistics([one, two], [moments[0], replace(moments[1], layer="fc")], class_map=class_map())
    with pytest.raises(AtlasError, match="2 parts and the moments of 1 are no whole layer: record them in one pass"):
        merge_statistics([one, two], moments[:1], class_map=class_map())
    with pytest.raises(AtlasError, match="these are of none"):
        merge_statistics([], [], class_map=class_map())


def test_the_percentile_of_a_value_is_the_share_below_it() -> None:
    values = make_values(4000)
    found = merged(values, make_groups(4000), [1000])
    for value in np.quantile(values[:, 3], [0.6, 0.9, 0.99]):
        assert percentile_of(found, 3, value) == pytest.approx(100 * (values[:, 3] < value).mean(), abs=100 / 128)
    assert percentile_of(found, 3, 0.0) == pytest.approx(50 * (values[:, 3] == 0).mean(), abs=100 / 128)
    assert percentile_of(found, 3, np.array([-1, values[:, 3].max() + 1])).tolist() == [0, 100]
    assert percentile_of(found, 1, np.array([6.9, 7, 7.1])).tolist() == [0, 50, 100]
    assert np.isnan(percentile_of(found, 3, np.nan))


# -- vectors and points ---------------------------------------------------------------------------------------------------


def stored(root: Path, parts: list[PartLayer]) -> tuple[Store, list[str]]:
    store = Store(root)
    recipes = [Recipe("layer", 1, {"n": n}, folder=f"parts/{n:016x}") for n in range(len(parts))]
    for recipe, part in zip(recipes, parts, strict=True):
        store.build(recipe, PartLayer, lambda part=part: part)
    return store, [recipe.name for recipe in recipes]


def built(root: Path, parts: list[PartLayer]) -> tuple[Store, Activations]:
    store, names = stored(root, parts)
    read = [store.read(name, PartLayer) for name in names]
    return store, store.build(Recipe("activations", 1), Activations, lambda: make_activations(names, read, number=3))


def test_a_layer_reads_as_one_array_with_its_points(tmp_path: Path) -> None:
    values = make_values(50, points=2)
    parts = cut(values, [20, 20], points=2)
    store, record = built(tmp_path, parts)
    np.testing.assert_array_equal(np.asarray(vectors_of(store, record)), values)
    np.testing.assert_array_equal(record.point_image, np.repeat(np.arange(50), 2))
    np.testing.assert_array_equal(record.point_yx, np.concatenate([part.point_yx for part in parts]))
    assert (record.number, record.part_points, record.unit_count, record.spatial) == (3, [40, 0, 60], 6, True)


def test_the_widest_type_of_the_parts_is_the_layers(tmp_path: Path) -> None:
    values = make_values(40)
    values[30, 2] = 1e6
    narrow, wide = cut(values, [20])
    store, record = built(tmp_path, [replace(narrow, vectors=narrow.vectors.astype(np.float16)), wide])
    vectors = vectors_of(store, record)
    assert record.dtype == "float32" == str(vectors.dtype) and vectors[25:35].max() == 1e6


def test_unit_codes_are_the_values_to_half_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "UNITS_BYTES", 4 * 3000 * 2)  # two units at a time
    values = make_values(3000, 7)
    _, record = built(tmp_path, cut(values, [1000, 1700]))
    low, high = np.quantile(values.astype(float), [0.001, 0.999], axis=0)
    np.testing.assert_allclose(record.unit_low, low, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(record.unit_high, high, rtol=1e-5, atol=1e-7)
    assert record.units.shape == (7, 3000) and record.units.dtype == np.uint8
    step = (record.unit_high - record.unit_low) / 255
    decoded = record.unit_low + np.asarray(record.units).T * step
    assert (
        np.abs(decoded - np.clip(values, record.unit_low, record.unit_high)) <= 0.501 * step + 1e-6 * np.abs(values)
    ).all()


def test_unit_codes_of_values_that_are_not_finite_are_at_the_ends(tmp_path: Path) -> None:
    values = np.tile(np.arange(100, dtype=np.float32)[:, None], 3)
    values[[3, 4, 5], 1], values[:, 2] = [np.nan, np.inf, -np.inf], np.nan
    _, record = built(tmp_path, cut(values, [50]))
    assert record.units[1, 3:6].tolist() == [0, 255, 0] and (record.units[2] == 0).all()
    assert record.nonfinite == 103 and np.isfinite(record.unit_high).all()


def test_a_layer_kept_for_its_statistics_has_no_points_to_show() -> None:
    parts = cut(make_values(20), [10], stored=None)
    assert parts[0].vectors.shape == (0, 6) and len(parts[0].quantiles) == LEVELS
    with pytest.raises(AtlasError, match="layer conv was recorded for its statistics only: ask for its vectors as well"):
        make_activations(["a", "b"], parts, number=1)


# -- predictions ----------------------------------------------------------------------------------------------------------


def logit_parts(logits: np.ndarray, rows: np.ndarray) -> list[PartLogits]:
    half = len(rows) // 2
    return [PartLogits(logits[:half], rows[:half]), PartLogits(logits[half:], rows[half:])]


def test_probabilities_are_softmax_and_ranked() -> None:
    images, rows = make_images(30, broken=(4, 9)), np.delete(np.arange(30), [4, 9])
    logits = np.random.default_rng(0).normal(size=(28, 7)).astype(np.float32)
    found = make_predictions(logit_parts(logits, rows), images, class_map([0, 1, 2, -1, -1, -1, -1]))
    assert found is not None
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_array_equal(found.prediction[rows], logits.argmax(1))
    np.testing.assert_allclose(found.confidence[rows], shares.max(1), rtol=1e-5)
    np.testing.assert_array_equal(found.top_output[rows], np.argsort(-logits, axis=1)[:, :5])
    np.testing.assert_allclose(found.top_probability[rows], -np.sort(-shares, axis=1)[:, :5], rtol=1e-5)
    assert found.prediction[[4, 9]].tolist() == [-1, -1] == found.right[[4, 9]].tolist()
    assert np.isnan(found.confidence[[4, 9]]).all() and (found.top_output[4] == -1).all()


def test_right_and_wrong_go_through_the_class_map() -> None:
    images, logits = make_images(12, unlabelled=(5,)), np.eye(3, dtype=np.float32)[np.arange(12) % 3]
    found = make_predictions([PartLogits(logits, np.arange(12))], images, class_map([2, 0, 1]))
    assert found is not None
    expected = (np.array([2, 0, 1])[np.arange(12) % 3] == images.codes).astype(int)
    expected[5] = -1
    assert found.right.tolist() == expected.tolist()
    held_out = [row for row in range(0, 12, 3) if row != 5]
    right = int(expected[held_out].sum())
    assert (
        found.accuracy["held-out"] == {"right": right, "of": 4, "accuracy": right / 4} and found.accuracy["train"]["of"] == 7
    )
    assert found.map == class_map([2, 0, 1])


def test_without_a_complete_class_map_there_is_no_right_and_wrong() -> None:
    found = make_predictions([PartLogits(np.eye(3, dtype=np.float32), np.arange(3))], make_images(3), class_map([0, -1, 2]))
    assert found is not None and (found.right == -1).all() and found.accuracy == {} and found.warnings == []


def test_accuracy_near_chance_asks_about_the_class_map() -> None:
    images = make_images(300)
    logits = np.eye(3, dtype=np.float32)[images.codes]
    wrong = make_predictions([PartLogits(logits, np.arange(300))], images, class_map([1, 2, 0]))
    right = make_predictions([PartLogits(logits, np.arange(300))], images, class_map([0, 1, 2]))
    assert wrong is not None and right is not None and right.warnings == []
    assert [line.partition("?")[0] for line in wrong.warnings] == [
        f"accuracy 0.00 on {split} images is near chance (0.33): is the class map right" for split in ("train", "held-out")
    ]


def test_an_accuracy_over_a_handful_of_images_is_no_reason_to_warn() -> None:
    images = make_images(6)
    logits = np.eye(3, dtype=np.float32)[images.codes]
    found = make_predictions([PartLogits(logits, np.arange(6))], images, class_map([1, 2, 0]))
    assert found is not None and found.warnings == []


def test_a_single_logit_is_two_outputs_by_its_sigmoid() -> None:
    logits = np.array([[2.0], [-1.0], [0.0]], np.float32)
    found = make_predictions([PartLogits(logits, np.arange(3))], make_images(3), class_map([0, 1]))
    assert found is not None and found.prediction.tolist() == [1, 0, 0]
    np.testing.assert_allclose(found.confidence, 1 / (1 + np.exp(-np.abs(logits[:, 0]))), rtol=1e-6)
    assert found.top_output.tolist() == [[1, 0], [0, 1], [0, 1]]


def test_logits_that_are_not_numbers_predict_nothing_and_are_told() -> None:
    logits = np.array([[0, np.nan, 1], [np.inf, 0, 0], [-np.inf, 0, 1]], np.float32)
    assert predicted(logits).tolist() == [-1, -1, 2]
    found = make_predictions([PartLogits(logits, np.arange(3))], make_images(3), class_map())
    assert found is not None and found.right[:2].tolist() == [-1, -1]
    assert "2 images have logits that are not finite: they have no prediction" in found.warnings
    assert found.confidence[2] == pytest.approx(1 / (1 + np.exp(-1)))


def test_large_logits_do_not_overflow() -> None:
    assert probabilities(np.array([[1e4, 0, -1e4]])).tolist() == [[1, 0, 0]]


def test_a_network_without_logits_has_no_predictions() -> None:
    assert make_predictions([], make_images(3), class_map([])) is None


def test_rightness_needs_a_label_and_a_prediction() -> None:
    two = ClassMap(["a", "b"], [0, 1], LABELS[:2], "order", "")
    assert rightness(np.array([0, 1, -1, 0]), np.array([0, 0, 0, -1]), two).tolist() == [1, 0, -1, -1]


def test_what_pages_read_imports_no_torch() -> None:
    modules = "atlas.activations.assemble, atlas.activations.sinks, atlas.activations.functionals, atlas.activations.plan"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
