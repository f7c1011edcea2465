"""Neighbours: the same as brute force, for both metrics, with duplicates, on disk and in memory."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.activations.records import Vectors
from atlas.errors import AtlasError
from atlas.maps.neighbours import build_neighbours, nearest, open_index, search
from atlas.maps.records import Neighbours
from atlas.store import Recipe, Store


def clusters(count: int = 600, units: int = 12, seed: int = 0) -> np.ndarray:
    chance = np.random.default_rng(seed)
    centres = chance.normal(size=(8, units)) * 3
    return (centres[chance.integers(8, size=count)] + chance.normal(size=(count, units))).astype(np.float32)


def brute(queries: np.ndarray, base: np.ndarray, metric: str) -> np.ndarray:
    a, b = queries.astype(np.float64), base.astype(np.float64)
    if metric == "L2":
        return np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2))
    norms = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)[None]
    return np.clip(1 - a @ b.T / np.where(norms > 0, norms, 1), 0, None)


def own_lists(base: np.ndarray, metric: str, k: int) -> tuple[np.ndarray, np.ndarray]:
    far = brute(base, base, metric)
    np.fill_diagonal(far, np.inf)
    order = np.argsort(far, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(far, order, axis=1)


@pytest.mark.parametrize("metric", ["cosine", "L2"])
def test_the_lists_are_those_of_brute_force(metric: str) -> None:
    base = clusters()
    found = build_neighbours(base, layers=["fc"], metric=metric, k=20)
    indices, distances = own_lists(base, metric, 20)
    assert (found.indices == indices).mean() > 0.999  # float32 may swap two whose distances agree to seven digits
    np.testing.assert_allclose(found.distances, distances, rtol=2e-3, atol=1e-6)
    assert found.exact and found.recall is None and found.layers == ["fc"] and found.metric == metric
    assert found.indices.dtype == np.int32 and found.distances.dtype == np.float32


@pytest.mark.parametrize("metric", ["cosine", "L2"])
def test_duplicates_are_neighbours_at_distance_zero_in_order_and_never_taken_for_the_point_itself(metric: str) -> None:
    base = clusters(300) + 100  # far from the origin, where |a|² + |b|² − 2ab has lost its digits
    base[[5, 40, 41, 299]] = base[7]
    found = build_neighbours(base, layers=["fc"], metric=metric, k=6)
    twins = [5, 7, 40, 41, 299]
    for point in twins:
        assert found.indices[point, :4].tolist() == [t for t in twins if t != point]
        assert (found.distances[point, :4] == 0).all() and (found.distances[point, 4:] > 0).all()
    assert not (found.indices == np.arange(300)[:, None]).any()


def test_a_point_crowded_out_by_its_duplicates_is_still_not_its_own_neighbour() -> None:
    base = np.ones((50, 4), np.float32)
    found = build_neighbours(base, layers=["fc"], metric="L2", k=5)
    assert not (found.indices == np.arange(50)[:, None]).any()
    assert (found.distances == 0).all() and (np.diff(found.indices, axis=1) > 0).all()


def test_zero_vectors_are_at_cosine_distance_one_from_everything() -> None:
    base = clusters(60)
    base[[3, 9]] = 0
    found = build_neighbours(base, layers=["fc"], k=59)
    assert np.isfinite(found.distances).all()
    assert (found.distances[3] <= 1.0 + 1e-6).sum() == 59 and found.distances[3].max() == 1.0


def test_float16_parts_give_the_lists_of_one_float32_array() -> None:
    base = clusters().astype(np.float16)
    parts = Vectors([base[:250], base[250:]])
    one, other = (build_neighbours(v, layers=["fc"], k=10) for v in (parts, base.astype(np.float32)))
    assert one.indices.tobytes() == other.indices.tobytes() and one.distances.tobytes() == other.distances.tobytes()


def test_with_few_points_all_the_others_are_listed() -> None:
    assert build_neighbours(clusters(5), layers=["fc"], k=30).indices.shape == (5, 4)
    assert build_neighbours(clusters(1), layers=["fc"], k=30).indices.shape == (1, 0)


def test_beyond_the_exact_limit_the_recall_is_measured_and_high() -> None:
    base = clusters(3000, 32)
    found = build_neighbours(base, layers=["fc"], k=15, exact_up_to=1000)
    exact = build_neighbours(base, layers=["fc"], k=15)
    assert not found.exact and found.recall is not None and 0.95 <= found.recall <= 1
    share = (found.indices[:, :, None] == exact.indices[:, None, :]).any(axis=2).mean()
    assert abs(share - found.recall) < 0.01
    again = build_neighbours(base, layers=["fc"], k=15, exact_up_to=1000)
    assert again.indices.tobytes() == found.indices.tobytes()
    near, _ = search(found, base[:50], 1)
    assert (near[:, 0] == np.arange(50)).mean() > 0.95


def test_the_approximate_search_lists_points_where_all_coincide() -> None:
    found = build_neighbours(np.ones((1500, 3), np.float32), layers=["fc"], k=10, exact_up_to=100)
    assert (found.indices >= 0).all() and not (found.indices == np.arange(1500)[:, None]).any()


@pytest.mark.parametrize("metric", ["cosine", "L2"])
def test_any_vector_is_searched_in_the_layers_metric(metric: str) -> None:
    base, queries = clusters(), clusters(40, seed=1)
    found = build_neighbours(base, layers=["fc"], metric=metric, k=5)
    indices, distances = search(found, queries, 12)
    far = brute(queries, base, metric)
    assert (indices == np.argsort(far, axis=1)[:, :12]).mean() > 0.99
    np.testing.assert_allclose(distances, np.sort(far, axis=1)[:, :12], rtol=2e-3, atol=1e-6)
    one, _ = search(found, queries[0], 12)
    assert (one[0] == indices[0]).all()


def test_a_points_neighbours_come_from_its_list_or_from_a_search_alike() -> None:
    base = clusters()
    base[100] = base[50]
    found = build_neighbours(base, layers=["fc"], k=10)
    for point in (0, 50, 100, 599):
        short, long = nearest(found, point, 10), nearest(found, point, 25)
        assert short[0].tolist() == long[0][:10].tolist() == found.indices[point].tolist()
        assert len(long[0]) == 25 and point not in long[0]


def test_an_index_read_from_disk_answers_as_the_one_in_memory(tmp_path) -> None:
    store = Store(tmp_path / "atlas")
    for exact_up_to in (100_000, 100):
        made = build_neighbours(clusters(), layers=["fc"], k=10, exact_up_to=exact_up_to)
        kept = store.build(Recipe("neighbours", 1, {"exact_up_to": exact_up_to}), Neighbours, lambda made=made: made)
        queries = clusters(20, seed=1)
        for mine, theirs in zip(search(made, queries, 7), search(kept, queries, 7), strict=True):
            assert mine.tobytes() == theirs.tobytes()
        assert open_index(kept).ntotal == 600


def test_a_damaged_index_is_one_clear_line(tmp_path) -> None:
    store = Store(tmp_path / "atlas")
    kept = store.build(Recipe("neighbours", 1), Neighbours, lambda: build_neighbours(clusters(), layers=["fc"], k=10))
    (kept.index.folder / "index.faiss").write_bytes(b"not an index")
    with pytest.raises(AtlasError, match=r"index\.faiss cannot be read .*: remove its folder and build again"):
        search(kept, clusters(1), 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "cosin"}, "no metric 'cosin': did you mean cosine?"),
        ({"metric": "hamming"}, "no metric 'hamming': there is cosine, L2"),
        ({"k": 0}, "k must be a whole number of at least 1, not 0"),
        ({"k": 2.5}, "k must be a whole number of at least 1, not 2.5"),
        ({"k": True}, "k must be a whole number of at least 1, not True"),
    ],
)
def test_a_wrong_metric_or_k_is_refused(change: dict, message: str) -> None:
    with pytest.raises(AtlasError) as refused:
        build_neighbours(clusters(20), layers=["fc"], **change)
    assert str(refused.value) == message


def test_vectors_that_are_not_finite_are_counted() -> None:
    base = clusters(20)
    base[3, 2], base[4, 0], base[4, 1] = np.nan, np.inf, np.nan
    with pytest.raises(AtlasError, match="2 of 20 vectors hold NaN or infinity: leave those points out"):
        build_neighbours(base, layers=["fc"])


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (4,), (2, 2, 2)])
def test_vectors_of_no_use_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(AtlasError, match=r"vectors must be \[point, unit\], at least one of each, and these are"):
        build_neighbours(np.ones(shape, np.float32), layers=["fc"])


def test_a_query_that_cannot_be_answered_is_refused() -> None:
    found = build_neighbours(clusters(20), layers=["fc"], k=5)
    with pytest.raises(AtlasError, match="the query has 7 units and fc has 12: ask of its layer"):
        search(found, np.ones((1, 7)), 3)
    with pytest.raises(AtlasError, match="asked for the 21 nearest of 20 points: ask for at most 20"):
        search(found, np.ones((1, 12)), 21)
    with pytest.raises(AtlasError, match="asked for the 20 nearest of 19 other points: ask for at most 19"):
        nearest(found, 0, 20)
    with pytest.raises(AtlasError, match="no point 20: there are 20, from 0 to 19"):
        nearest(found, 20, 3)
    with pytest.raises(AtlasError, match="1 of 1 vectors hold NaN"):
        search(found, np.full((1, 12), np.nan), 3)
