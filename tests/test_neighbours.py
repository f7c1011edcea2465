"""Neighbours: the same as brute force, for both metrics, with duplicates, on disk and in memory."""

from __future__ import annotations

import re

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.activations.records import Vectors
from atlas.errors import AtlasError
from atlas.maps import regions
from atlas.maps.distances import Compared, nearest_of_all
from atlas.maps.neighbours import build_neighbours, extend_neighbours, open_index
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


def hits(found: np.ndarray, true: np.ndarray) -> float:
    return float((found[:, :, None] == true[:, None, :]).any(axis=2).mean())


def spread(count: int, units: int = 10, seed: int = 0) -> np.ndarray:
    """Points without clusters: each region borders on many, so that an approximate search does lose some."""
    return np.random.default_rng(seed).normal(size=(count, units)).astype(np.float32)


@pytest.fixture(scope="module")
def large() -> tuple[np.ndarray, Neighbours]:
    base = spread(21_000)
    base[[70, 9000, 20_999]] = base[3]
    base[11] = 0
    return base, build_neighbours(base, layers=["fc"], k=15)


def test_from_twenty_thousand_points_the_recall_is_measured_and_high(large: tuple[np.ndarray, Neighbours]) -> None:
    base, found = large
    assert not found.exact and found.recall is not None and 0.98 <= found.recall < 1
    points = np.random.default_rng(1).choice(len(base), 500, replace=False)
    far = brute(base[points], base, "cosine")
    far[np.arange(500), points] = np.inf
    true = np.argsort(far, axis=1, kind="stable")[:, :15]
    assert abs(hits(found.indices[points], true) - found.recall) < 0.01
    shown = np.take_along_axis(far, found.indices[points].astype(int), axis=1)
    np.testing.assert_allclose(found.distances[points], shown, rtol=1e-3, atol=1e-7)


def test_approximate_lists_are_sorted_full_and_free_of_the_point_itself(large: tuple[np.ndarray, Neighbours]) -> None:
    _, found = large
    step, index = np.diff(found.distances, axis=1), np.diff(found.indices, axis=1)
    assert ((step > 0) | ((step == 0) & (index > 0))).all() and (found.indices >= 0).all()
    assert not (found.indices == np.arange(len(found.indices))[:, None]).any()
    for point in (3, 70, 9000, 20_999):
        assert found.indices[point, :3].tolist() == [t for t in (3, 70, 9000, 20_999) if t != point]
        assert (found.distances[point, :3] == 0).all()


def test_approximate_lists_do_not_depend_on_threads_or_on_the_run() -> None:
    base, made, before = spread(8000), [], faiss.omp_get_max_threads()
    for count in (1, 2, 2):
        faiss.omp_set_num_threads(count)
        made.append(build_neighbours(base, layers=["fc"], k=9, exact_up_to=1000))
    faiss.omp_set_num_threads(before)
    assert len({found.indices.tobytes() + found.distances.tobytes() for found in made}) == 1
    assert len({faiss.serialize_index(found.index.items_to_write[0][1].index).tobytes() for found in made}) == 1


@pytest.mark.parametrize("metric", ["cosine", "L2"])
def test_an_approximate_search_finds_nearly_all_at_exact_distances(metric: str) -> None:
    base, queries = spread(8000, 24), spread(100, 24, seed=1)
    base[[5, 7000]] = queries[0]
    opened = open_index(build_neighbours(base, layers=["fc"], metric=metric, k=10, exact_up_to=1000), base)
    indices, distances = opened.search(queries, 10)
    far = brute(queries, base, metric)
    assert hits(indices, np.argsort(far, axis=1)[:, :10]) > 0.97  # in noise of 24 dimensions, the hardest there is
    np.testing.assert_allclose(distances, np.take_along_axis(far, indices.astype(int), axis=1), rtol=1e-3, atol=1e-6)
    assert indices[0, :2].tolist() == [5, 7000] and (distances[0, :2] == 0).all()
    one, _ = opened.search(queries[0], 10)
    assert one[0].tolist() == indices[0].tolist()


def test_values_beyond_float16_are_found_alike_and_so_is_one_among_small_ones() -> None:
    base = spread(4000, 8) * np.float32(1e7)
    queries = base[:300] * np.float32(1.01)
    found = open_index(build_neighbours(base, layers=["fc"], metric="L2", k=10, exact_up_to=1000), base).search(queries, 5)[
        0
    ]
    assert hits(found, np.argsort(brute(queries, base, "L2"), axis=1)[:, :5]) > 0.9
    base = spread(4000, 8)
    base[7] = 1e6
    indices, distances = open_index(build_neighbours(base, layers=["fc"], metric="L2", k=10, exact_up_to=1000), base).search(
        base[7], 1
    )
    assert indices[0, 0] == 7 and distances[0, 0] == 0


def test_an_approximate_search_gives_as_many_as_asked_however_many(large: tuple[np.ndarray, Neighbours]) -> None:
    base, found = large
    opened = open_index(found, base)
    indices, distances = opened.search(base[:2], 21_000)
    assert all((np.sort(row) == np.arange(21_000)).all() for row in indices) and (np.diff(distances, axis=1) >= 0).all()
    assert (opened.search(np.zeros(10), 5)[1] == 1).all()
    near, _ = opened.nearest(3, 40)
    assert near[:3].tolist() == [70, 9000, 20_999] and 3 not in near


def test_the_index_holds_two_bytes_per_value_and_exact_neighbours_none(
    large: tuple[np.ndarray, Neighbours], tmp_path
) -> None:
    base, found = large
    store = Store(tmp_path / "atlas")
    kept = store.build(Recipe("neighbours", 2), Neighbours, lambda: found)
    beside = 21_000 * 8 + 41 * (10 * 4 + 100) + 2000  # numbers of points, centres, headers
    assert list(kept.index) == ["index.faiss"] and kept.index["index.faiss"].stat().st_size < 2 * base.size + beside
    small = build_neighbours(base[:100], layers=["fc"], k=5)
    assert small.exact and dict(small.index) == {}
    exact = store.build(Recipe("neighbours", 2, {"k": 5}), Neighbours, lambda: small)
    assert dict(exact.index) == {} and open_index(exact, base[:100]).search(base[:3], 1)[0].ravel().tolist() == [0, 1, 2]


def test_the_approximate_search_lists_points_where_all_coincide() -> None:
    base = np.ones((1500, 3), np.float32)
    found = build_neighbours(base, layers=["fc"], k=10, exact_up_to=100)
    assert (found.indices >= 0).all() and not (found.indices == np.arange(1500)[:, None]).any()
    assert (open_index(found, base).search(base[:1], 1200)[1] == 0).all()


@pytest.mark.parametrize("metric", ["cosine", "L2"])
def test_any_vector_is_searched_in_the_layers_metric(metric: str) -> None:
    base, queries = clusters(), clusters(40, seed=1)
    found = build_neighbours(base, layers=["fc"], metric=metric, k=5)
    indices, distances = open_index(found, base).search(queries, 12)
    far = brute(queries, base, metric)
    assert (indices == np.argsort(far, axis=1)[:, :12]).mean() > 0.99
    np.testing.assert_allclose(distances, np.sort(far, axis=1)[:, :12], rtol=2e-3, atol=1e-6)
    one, _ = open_index(found, base).search(queries[0], 12)
    assert (one[0] == indices[0]).all()


def test_a_points_neighbours_come_from_its_list_or_from_a_search_alike() -> None:
    base = clusters()
    base[100] = base[50]
    found = build_neighbours(base, layers=["fc"], k=10)
    opened = open_index(found, base)
    for point in (0, 50, 100, 599):
        short, long = opened.nearest(point, 10), opened.nearest(point, 25)
        assert short[0].tolist() == long[0][:10].tolist() == found.indices[point].tolist()
        assert len(long[0]) == 25 and point not in long[0]


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 120), st.integers(0, 60), st.integers(1, 9), st.sampled_from(["cosine", "L2"])
)
@settings(max_examples=40, deadline=None)
def test_exact_lists_extended_are_those_built_from_scratch(seed: int, old: int, new: int, k: int, metric: str) -> None:
    chance = np.random.default_rng(seed)
    base = chance.normal(size=(old + new, 5)).astype(np.float32)
    for _ in range(int(chance.integers(0, 4))):
        base[chance.integers(old + new)] = base[chance.integers(old + new)]
    before = build_neighbours(base[:old], layers=["fc"], k=k, metric=metric)
    after = extend_neighbours(before, base)
    scratch = build_neighbours(base, layers=["fc"], k=max(1, before.indices.shape[1]), metric=metric)
    kept = before.indices.shape[1]  # a single point has an empty list, and lists keep their length
    assert after.indices.tobytes() == scratch.indices[:, :kept].tobytes()
    assert after.distances.tobytes() == scratch.distances[:, :kept].tobytes()
    assert after.exact and after.recall is None and dict(after.index) == {}


def test_approximate_neighbours_extended_are_at_least_as_good_and_the_index_answers_for_the_new_points(
    large: tuple[np.ndarray, Neighbours], tmp_path
) -> None:
    base, found = large
    grown = np.concatenate([base, spread(600, seed=5)])
    stored = Store(tmp_path / "atlas").build(Recipe("neighbours", 2), Neighbours, lambda: found)
    after = extend_neighbours(stored, grown)
    points = np.arange(0, len(grown), 20)
    true, _ = nearest_of_all(Compared(grown, "cosine").take(points), Compared(grown, "cosine"), 16)
    others = np.array([[n for n in row if n != own][:15] for own, row in zip(points, true, strict=True)])
    old = points < len(base)
    assert hits(after.indices[points[~old]], others[~old]) == 1
    assert hits(after.indices[points[old]], others[old]) > found.recall - 0.005
    assert after.recall is not None and after.recall > found.recall - 0.005
    indices, distances = open_index(after, grown).search(grown[len(base) :], 1)
    assert (indices[:, 0] == np.arange(len(base), len(grown))).all() and (distances == 0).all()
    assert open_index(found, base).index.ntotal == len(base)  # the old one is untouched
    with pytest.raises(AtlasError, match="20000 vectors and 21000 neighbour lists: a layer grows only at its end"):
        extend_neighbours(found, base[:20_000])


def test_an_index_read_from_disk_answers_as_the_one_in_memory(tmp_path) -> None:
    store, base = Store(tmp_path / "atlas"), clusters()
    for exact_up_to in (100_000, 100):
        made = build_neighbours(base, layers=["fc"], k=10, exact_up_to=exact_up_to)
        kept = store.build(Recipe("neighbours", 2, {"exact_up_to": exact_up_to}), Neighbours, lambda made=made: made)
        queries = clusters(20, seed=1)
        for mine, theirs in zip(
            open_index(made, base).search(queries, 7), open_index(kept, base).search(queries, 7), strict=True
        ):
            assert mine.tobytes() == theirs.tobytes()


def damaged(body: bytes, kept: Neighbours, base: np.ndarray) -> str:
    (kept.index.folder / "index.faiss").write_bytes(body)
    with pytest.raises(AtlasError) as refused:
        open_index(kept, base).search(base, 3)
    return str(refused.value)


def test_an_index_that_is_damaged_or_of_other_vectors_is_one_clear_line(tmp_path) -> None:
    store, base = Store(tmp_path / "atlas"), clusters()
    kept = store.build(
        Recipe("neighbours", 2), Neighbours, lambda: build_neighbours(base, layers=["fc"], k=10, exact_up_to=100)
    )
    body = kept.index["index.faiss"].read_bytes()
    for bad in (b"not an index", b"", body[: len(body) // 2], body[:-1], body + b"x", bytes(len(body) - 8) + body[-8:]):
        assert re.search(r"index\.faiss cannot be read .*: remove its folder and build again", damaged(bad, kept, base))
    other = build_neighbours(base[:500], layers=["fc"], k=10, exact_up_to=100)
    for name, index, message in [
        ("short", other.index.items_to_write[0][1].index, "holds 500 points of 12 units and its layer 600 of 12"),
        ("flat", faiss.IndexFlatL2(12), "holds IndexFlatL2, which is not this program's index"),
    ]:
        regions.write(index, tmp_path / name)
        assert message in damaged((tmp_path / name).read_bytes(), kept, base)
    numbers = body.rfind(np.arange(600, dtype=np.int64).tobytes()[:8])
    assert "the index names point" in damaged(body[: numbers + 16] + b"\xff\xff\x00" + body[numbers + 19 :], kept, base)


def test_neighbours_are_opened_with_the_vectors_of_their_layer() -> None:
    found = build_neighbours(clusters(20), layers=["fc"], k=5)
    with pytest.raises(AtlasError, match="19 vectors and 20 neighbour lists: open them with their layer's vectors"):
        open_index(found, clusters(19))


def test_vectors_too_far_apart_for_float32_are_refused() -> None:
    with pytest.raises(AtlasError, match="too far apart for float32: use the cosine metric, or scale them down"):
        build_neighbours(clusters(20) * np.float32(1e25), layers=["fc"], metric="L2")


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
    with pytest.raises(AtlasError, match="2 of 20 vectors hold NaN or infinity: choose another layer"):
        build_neighbours(base, layers=["fc"])


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (4,), (2, 2, 2)])
def test_vectors_of_no_use_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(AtlasError, match=r"vectors must be \[point, unit\], at least one of each, and these are"):
        build_neighbours(np.ones(shape, np.float32), layers=["fc"])


def test_a_query_that_cannot_be_answered_is_refused() -> None:
    base = clusters(20)
    opened = open_index(build_neighbours(base, layers=["fc"], k=5), base)
    with pytest.raises(AtlasError, match="the query has 7 units and fc has 12: ask of its layer"):
        opened.search(np.ones((1, 7)), 3)
    with pytest.raises(AtlasError, match="asked for the 21 nearest of 20 points: ask for at most 20"):
        opened.search(np.ones((1, 12)), 21)
    with pytest.raises(AtlasError, match="asked for the 20 nearest of 19 other points: ask for at most 19"):
        opened.nearest(0, 20)
    with pytest.raises(AtlasError, match="no point 20: there are 20, from 0 to 19"):
        opened.nearest(20, 3)
    with pytest.raises(AtlasError, match="1 of 1 vectors hold NaN"):
        opened.search(np.full((1, 12), np.nan), 3)
