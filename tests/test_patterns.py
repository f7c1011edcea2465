"""Class patterns against a plain computation over all images."""

import numpy as np
import pytest

from atlas.activations.records import Statistics
from atlas.errors import AtlasError
from atlas.patterns.classes import class_patterns, merge_moments


def statistics_of(values: np.ndarray, groups: np.ndarray) -> Statistics:
    kinds, of = np.unique(groups, axis=0, return_inverse=True)
    blocks = [values[of.ravel() == k] for k in range(len(kinds))]
    none = np.zeros((0, values.shape[1]))
    return Statistics(
        "fc1", 1, "mean", len(values), kinds, np.array([len(b) for b in blocks]), np.stack([b.mean(0) for b in blocks]),
        np.stack([b.var(0) * len(b) for b in blocks]), none, none[:0], none[:0], none, none,
    )  # fmt: skip


@pytest.fixture
def world() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    n = 400
    label, prediction = rng.integers(0, 3, n), rng.integers(0, 3, n)
    groups = np.stack([rng.integers(0, 2, n), label, prediction, (label == prediction).astype(int)], 1)
    return rng.normal(50, 3, (n, 5)) + label[:, None], groups


def test_patterns_are_the_mean_and_std_over_the_right_images_of_the_split(world):
    values, groups = world
    found = class_patterns(statistics_of(values, groups), ["a", "b", "c"], split="held-out")
    for label in range(3):
        mine = values[(groups[:, 0] == 1) & (groups[:, 1] == label) & (groups[:, 3] == 1)]
        np.testing.assert_allclose(found.mean[label], mine.mean(0), rtol=1e-12)
        np.testing.assert_allclose(found.std[label], mine.std(0), rtol=1e-9)
        assert found.count[label] == len(mine)
    assert "correctly classified held-out" in found.title


def test_a_class_without_a_right_image_says_so_and_has_no_numbers(world):
    values, groups = world
    groups[groups[:, 1] == 2, 3] = 0
    found = class_patterns(statistics_of(values, groups), ["a", "b", "c"])
    assert found.empty == ["c"] and np.isnan(found.mean[2]).all()


def test_without_right_and_wrong_the_patterns_are_per_label_and_say_so(world):
    values, groups = world
    groups[:, 3] = -1
    found = class_patterns(statistics_of(values, groups), ["a", "b", "c"], split=None)
    np.testing.assert_allclose(found.mean[1], values[groups[:, 1] == 1].mean(0))
    assert "per label" in found.title and found.count.sum() == len(values)


def test_merging_moments_in_any_grouping_gives_those_of_the_union():
    rng = np.random.default_rng(1)
    blocks = [rng.normal(1e4, 1, (n, 3)) for n in (1, 7, 50)]
    parts = [np.array([len(b) for b in blocks]), np.stack([b.mean(0) for b in blocks])]
    count, mean, m2 = merge_moments(*parts, np.stack([b.var(0) * len(b) for b in blocks]))
    whole = np.concatenate(blocks)
    assert count == len(whole)
    np.testing.assert_allclose(mean, whole.mean(0))
    np.testing.assert_allclose(m2 / count, whole.var(0), rtol=1e-6)


def test_unlabelled_images_and_unknown_splits_are_refused(world):
    statistics = statistics_of(*world)
    with pytest.raises(AtlasError, match="carry no labels"):
        class_patterns(statistics, [])
    with pytest.raises(AtlasError, match="no split 'test'"):
        class_patterns(statistics, ["a", "b", "c"], split="test")
