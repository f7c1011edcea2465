"""Quality: scikit-learn's trustworthiness exactly, continuity as the same with roles swapped, recall by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from atlas.errors import AtlasError
from atlas.maps.blocks import sample_rows
from atlas.maps.neighbours import build_neighbours
from atlas.maps.quality import quality, recall_per_point, trust_and_continuity


def world(count: int = 700) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(0)
    vectors = chance.normal(size=(count, 8)) + 3 * np.eye(8)[chance.integers(8, size=count)]
    return vectors.astype(np.float32), (vectors[:, :2] + 0.1 * chance.normal(size=(count, 2))).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "L2"])
def test_trustworthiness_is_scikit_learns_and_continuity_the_same_with_roles_swapped(metric: str) -> None:
    vectors, xy = world()
    found = quality(vectors, xy, build_neighbours(vectors, layers=["fc"], metric=metric, k=20), k=12, sample=500, seed=3)
    rows = sample_rows(700, 500, 3)
    x, y = vectors[rows].astype(np.float64), xy[rows].astype(np.float64)
    if metric == "cosine":
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    assert found["trustworthiness"] == pytest.approx(trustworthiness(x, y, n_neighbors=12), abs=1e-6)
    assert found["continuity"] == pytest.approx(trustworthiness(y, x, n_neighbors=12), abs=1e-6)
    assert (found["k"], found["sample"], found["points"], found["seed"], found["metric"]) == (12, 500, 700, 3, metric)


def test_the_points_own_scores_average_to_the_whole() -> None:
    vectors, xy = world(300)
    trust, continuity = trust_and_continuity(vectors, xy, k=7)
    assert trust.shape == continuity.shape == (300,) and trust.min() >= 0 and trust.max() <= 1
    assert trust.mean() == pytest.approx(trustworthiness(vectors.astype(float), xy.astype(float), n_neighbors=7), abs=1e-9)


def test_recall_is_that_of_brute_force_over_all_points() -> None:
    vectors, xy = world(400)
    xy[10:14] = xy[10]  # on one spot: each still loses itself, not a twin
    found = build_neighbours(vectors, layers=["fc"], metric="L2", k=30)
    near = [set(np.argsort(np.where(np.arange(400) == i, np.inf, ((xy - xy[i]) ** 2).sum(1)))[:15]) for i in range(400)]
    shares = [len(near[i] & set(found.indices[i, :15].tolist())) / 15 for i in range(400)]
    np.testing.assert_allclose(recall_per_point(found.indices, xy, k=15), shares, atol=1e-12)
    assert quality(vectors, xy, found)["recall"] == pytest.approx(np.mean(shares))


def test_a_perfect_map_has_perfect_scores() -> None:
    xy = world(200)[1]
    found = quality(xy, xy, build_neighbours(xy, layers=["fc"], metric="L2", k=15))
    assert found["trustworthiness"] == found["continuity"] == found["recall"] == 1.0


def test_what_too_few_points_leave_undefined_is_none_and_cuts_are_stated() -> None:
    vectors, xy = world(2)
    found = quality(vectors, xy, build_neighbours(vectors, layers=["fc"]))
    assert found["trustworthiness"] is None and found["continuity"] is None and found["recall"] == 1.0
    vectors, xy = world(20)
    found = quality(vectors, xy, build_neighbours(vectors, layers=["fc"], k=5))
    assert (found["k"], found["recall_k"], found["sample"]) == (9, 5, 20)


def test_wrong_questions_are_refused() -> None:
    vectors, xy = world(20)
    found = build_neighbours(vectors, layers=["fc"], k=5)
    with pytest.raises(AtlasError, match="20 vectors, 19 places and 20 neighbour lists: not one layout"):
        quality(vectors, xy[:19], found)
    with pytest.raises(AtlasError, match="k must be a whole number of at least 1, not 0"):
        quality(vectors, xy, found, k=0)
    with pytest.raises(AtlasError, match="k must be less than half of 20 points, and it is 10: ask for at most 9"):
        trust_and_continuity(vectors, xy, k=10)
