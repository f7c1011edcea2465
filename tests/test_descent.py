"""UMAP's descent: umap-learn's own, step for step where the order allows, and the same bytes with any number of threads."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest
import umap.layouts
from scipy.sparse import csr_matrix, random_array
from umap.umap_ import find_ab_params, make_epochs_per_sample, simplicial_set_embedding

from atlas.maps import descent
from atlas.maps.quality import quality
from atlas.maps.umap import graph_of, start_places
from tests.test_layout import digits

A, B = find_ab_params(1.0, 0.1)
SLOW = 0.05  # the learning rate at which rounding is not blown up from visit to visit
HASH = """
from tests.test_descent import hash_of_a_large_map
print(hash_of_a_large_map(2))
"""


def some_graph(count: int, density: float | None = None) -> tuple[csr_matrix, np.ndarray]:
    """A symmetric graph of some eight edges per point, and places to start from."""
    rng = np.random.default_rng(0)
    half = random_array((count, count), density=density or 4 / count, rng=rng, dtype=np.float32)
    graph = csr_matrix(half.maximum(half.T))
    graph.setdiag(0)
    graph.eliminate_zeros()
    return graph, rng.normal(size=(count, 2)).astype(np.float32)


def umap_learns(graph, start: np.ndarray, epochs: int, seed: int) -> np.ndarray:
    """The layout by umap-learn's own descent."""
    xy, _ = simplicial_set_embedding(
        None,
        graph.copy(),
        2,
        1.0,
        A,
        B,
        1.0,
        5,
        epochs,
        start,
        np.random.RandomState(seed),
        "euclidean",
        {},
        False,
        {},
        False,
    )
    return xy


def test_an_epoch_is_umap_learns_where_an_edge_has_one_random_point(monkeypatch) -> None:
    graph, start = some_graph(64)
    epochs = 20
    edges = graph.tocoo()
    every = make_epochs_per_sample(edges.data, epochs)
    seed = np.random.RandomState(3).randint(np.iinfo(np.int32).min + 1, np.iinfo(np.int32).max - 1, 3).astype(np.int64)
    theirs = descent._within_ten(start)
    ours = theirs.copy()
    umap.layouts.optimize_layout_euclidean(
        theirs, theirs, edges.row, edges.col, epochs, 64, every, A, B, seed,
        initial_alpha=SLOW, negative_sample_rate=1.0, move_other=True, tqdm_kwds={"disable": True},
    )  # fmt: skip
    monkeypatch.setattr(descent, "RATE", 1.0)
    lists = descent.Edges(edges.row, edges.col, every, every.copy(), every.copy(), [[(0, len(every))]])
    states = descent.random_states(ours, np.random.RandomState(3))
    pulls, pushes = descent.forces(A, B)
    with ThreadPoolExecutor(1) as pool:
        for epoch in range(epochs):
            rate = SLOW * (1.0 - max(0, epoch - 1) / epochs)
            descent.one_epoch(ours, lists, states, pulls=pulls, pushes=pushes, rate=rate, epoch=epoch, pool=pool)
    assert np.abs(ours - descent._within_ten(start)).max() > 0.5  # they moved
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize("blocks", [1, 8])
def test_a_map_is_as_faithful_as_umap_learns(blocks: int, monkeypatch) -> None:
    monkeypatch.setattr(descent, "IN_BLOCKS_FROM", 0 if blocks > 1 else 10**6)
    vectors, _, neighbours = digits()
    scores = np.empty((3, 2, 3))
    for seed in range(3):
        graph = graph_of(neighbours, 15, np.random.RandomState(seed))
        start = start_places(vectors, np.random.RandomState(seed))
        ours = descent.descend(graph, start, a=A, b=B, epochs=200, random=np.random.RandomState(seed), threads=2)
        for side, xy in enumerate((ours, umap_learns(graph, start, 200, seed))):
            found = quality(vectors, xy, neighbours)
            scores[seed, side] = found["trustworthiness"], found["continuity"], found["recall"]
    ours, theirs = scores.mean(axis=0)
    assert np.abs(ours - theirs).max() < 0.015 and np.abs(ours - theirs)[0] < 0.003, (ours, theirs)


def hash_of_a_large_map(threads: int) -> str:
    graph, start = some_graph(descent.IN_BLOCKS_FROM)
    xy = descent.descend(graph, start, a=A, b=B, epochs=12, random=np.random.RandomState(0), threads=threads)
    assert np.isfinite(xy).all() and len(descent.edges_of(graph, 12, blocks=descent.BLOCKS).rounds) == descent.BLOCKS
    return hashlib.sha256(xy.tobytes()).hexdigest()


def test_the_bytes_are_the_same_with_any_number_of_threads_and_in_another_process() -> None:
    run = subprocess.run([sys.executable, "-c", HASH], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert {hash_of_a_large_map(threads) for threads in (1, 2, 5)} == {run.stdout.strip()}


def test_each_edge_is_visited_as_often_as_umap_learn_does_and_weak_ones_never() -> None:
    graph, start = some_graph(50)
    graph.data[:] = np.random.default_rng(1).uniform(0.1, 1, graph.nnz) ** 4
    graph = graph.maximum(graph.T).tocsr()
    edges = descent.edges_of(graph, 40, blocks=1)
    heavy = graph.data[graph.data >= graph.data.max() / 40]
    assert 0 < len(edges.every) == len(heavy) < graph.nnz
    np.testing.assert_allclose(edges.every, make_epochs_per_sample(heavy, 40))
    xy, states = descent._within_ten(start), descent.random_states(start, np.random.RandomState(0))
    pulls, pushes = descent.forces(A, B)
    with ThreadPoolExecutor(1) as pool:
        for epoch in range(40):
            descent.one_epoch(xy, edges, states, pulls=pulls, pushes=pushes, rate=1.0, epoch=epoch, pool=pool)
    visits = np.rint(edges.due / edges.every) - 1
    assert (visits == np.floor(39 / edges.every + 1e-9)).all()


def test_in_a_tournament_each_meets_each_once_and_nobody_two_at_a_time() -> None:
    for players in (2, 8):
        rounds = descent.tournament(players)
        met = [pair for pairs in rounds for pair in pairs]
        assert sorted(met) == sorted([*combinations(range(players), 2), *((p, p) for p in range(players))])
        assert all(len({p for pair in pairs for p in pair}) == sum(len(set(pair)) for pair in pairs) for pairs in rounds)


def test_the_edges_of_a_round_share_no_point_and_none_is_lost() -> None:
    graph, _ = some_graph(400)
    edges = descent.edges_of(graph, 200, blocks=8)
    spans = [span for spans in edges.rounds for span in spans]
    assert sum(last - first for first, last in spans) == len(edges.head) == sum(graph.data >= graph.data.max() / 200)
    for spans in edges.rounds:
        points = [set(edges.head[slice(*span)]) | set(edges.tail[slice(*span)]) for span in spans]
        assert sum(map(len, points)) == len(set().union(*points))


def test_a_force_is_the_gradients_own_at_every_distance_and_finite_outside_the_table() -> None:
    squared = np.float32(2.0) ** np.random.default_rng(0).uniform(-39, 39, 2000).astype(np.float32)
    exact = squared.astype(np.float64)
    for b in (0.5, B, 1.9):
        curve = A * exact**b
        wanted = -2 * b * curve / (exact * (1 + curve)), 2 * b / ((float(descent.NEAR) + exact) * (1 + curve))
        for table, theirs in zip(descent.forces(A, b), wanted, strict=True):
            ours = np.array([descent.force(table, value, descent.FIRST) for value in squared])
            np.testing.assert_allclose(ours, theirs, rtol=1e-4)
            ends = [descent.force(table, np.float32(value), descent.FIRST) for value in (0, 1e-30, 1e30, np.inf)]
            np.testing.assert_allclose(ends, np.array(table[[0, 0, -1, -1], 0]), rtol=0.05)
