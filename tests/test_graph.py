"""The image graph: its edges are mutual, its measures are their definitions and networkx's, and its command tells them."""

from __future__ import annotations

import json
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_blobs
from typer.testing import CliRunner

import atlas
from atlas import cli
from atlas.errors import AtlasError
from atlas.graphing import nodes
from atlas.maps.graph import (
    communities,
    components,
    crossing_pairs,
    degrees,
    make_graph,
    modularity,
    mutual,
    nearest_others,
    told_communities,
)
from atlas.maps.graph_layout import force_layout, pulls
from atlas.maps.graph_measures import homophily, hubness, hubs, occurrences, purity, skewness
from atlas.maps.neighbours import build_neighbours
from atlas.maps.records import Graph
from tests.worlds import tiny_atlas

K = 6


def blobs(count: int = 240, classes: int = 4, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    vectors, codes = make_blobs(count, 8, centers=classes, cluster_std=spread, random_state=0)[:2]
    return vectors.astype(np.float32), codes


def graph_of(vectors: np.ndarray, image: np.ndarray | None = None, **options: object) -> Graph:
    lists = build_neighbours(vectors, layers=["fc"], metric="L2", k=12)
    image = np.arange(len(vectors)) if image is None else image
    return make_graph(vectors, lists, image, **{"k": K, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made() -> tuple[Graph, np.ndarray, np.ndarray]:
    vectors, codes = blobs()
    return graph_of(vectors, codes=codes, predicted=np.where(np.arange(240) % 9, codes, -1)), vectors, codes


def as_networkx(edges: np.ndarray, count: int) -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from(edges.tolist())
    return graph


# -- edges ------------------------------------------------------------------------------------------------------------------


def test_an_edge_joins_exactly_those_that_are_among_each_others_nearest(made):
    found, vectors, _ = made
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    near = np.zeros(apart.shape, bool)
    near[np.arange(len(near))[:, None], np.argsort(apart, axis=1, kind="stable")[:, :K]] = True
    expected = np.argwhere(np.triu(near & near.T))
    assert np.array_equal(found.edges, expected)
    assert np.allclose(found.distance, apart[tuple(expected.T)], atol=1e-4)


def test_points_of_one_image_are_never_joined_and_others_take_their_places():
    vectors, _ = blobs(120)
    doubled = np.repeat(vectors, 2, axis=0) + np.random.default_rng(0).normal(0, 1e-3, (240, 8)).astype(np.float32)
    image = np.repeat(np.arange(120), 2)
    found = graph_of(doubled, image)
    assert (image[found.edges[:, 0]] != image[found.edges[:, 1]]).all()
    near, apart = nearest_others(*_lists(doubled), image, K)
    assert (near >= 0).all() and (image[near] != image[:, None]).all() and (np.diff(apart, axis=1) >= 0).all()


def _lists(vectors: np.ndarray, k: int = 12) -> tuple[np.ndarray, np.ndarray]:
    lists = build_neighbours(vectors, layers=["fc"], metric="L2", k=k)
    return lists.indices, lists.distances


def test_lists_that_are_short_are_used_and_counted():
    indices = np.array([[1, 2], [0, -1], [0, 1], [2, -1]], np.int32)
    near, apart = nearest_others(indices, np.where(indices < 0, np.inf, 1.0), np.arange(4), 2)
    edges, _ = mutual(near, apart)
    assert edges.tolist() == [[0, 1], [0, 2]] and near[1].tolist() == [0, -1]


# -- communities ------------------------------------------------------------------------------------------------------------


def test_communities_are_louvains_hang_together_and_are_numbered_by_size(made):
    found, count = made[0], len(made[0].points)
    graph, sizes = as_networkx(found.edges, count), np.bincount(found.community[found.community >= 0])
    assert (np.diff(sizes) <= 0).all()
    for number in range(len(sizes)):
        assert nx.is_connected(graph.subgraph(np.flatnonzero(found.community == number).tolist()))
    assert np.array_equal(found.community < 0, degrees(found) == 0)
    theirs = nx.community.louvain_communities(graph, seed=0)
    assert found.modularity is not None and found.modularity >= nx.community.modularity(graph, theirs) - 0.01


def test_modularity_and_components_are_those_of_networkx(made):
    found, count = made[0], len(made[0].points)
    graph = as_networkx(found.edges, count)
    groups = [set(np.flatnonzero(found.community == number).tolist()) for number in range(found.community.max() + 1)]
    groups += [{node} for node in np.flatnonzero(found.community < 0).tolist()]
    assert modularity(found.edges, found.community) == pytest.approx(nx.community.modularity(graph, groups))
    assert len(np.unique(components(found.edges, count))) == nx.number_connected_components(graph)


def test_the_communities_of_a_planted_partition_are_found():
    planted = nx.planted_partition_graph(4, 30, 0.5, 0.01, seed=0)
    edges = np.array(sorted(tuple(sorted(edge)) for edge in planted.edges), np.int32)
    found = communities(edges, 120)
    assert found.max() == 3 and all(len(set(found[start : start + 30])) == 1 for start in range(0, 120, 30))


def test_a_graph_without_an_edge_has_no_community_and_says_so():
    none = np.empty((0, 2), np.int32)
    assert (communities(none, 5) == -1).all() and modularity(none, np.full(5, -1)) is None
    assert homophily(none, np.zeros(5, int)) == {"share": None, "edges": 0, "control": None, "deviation": None}
    assert purity(np.full(5, -1), np.zeros(5, int))["share"] is None


# -- measures ---------------------------------------------------------------------------------------------------------------


def test_homophily_is_the_share_of_edges_within_a_class_and_its_control_what_chance_gives(made):
    found, _, codes = made
    told = found.homophily["label"]
    assert told["share"] == pytest.approx(np.mean([codes[a] == codes[b] for a, b in found.edges]))
    ends = np.unique(found.edges)
    _, sizes = np.unique(codes[ends], return_counts=True)
    chance = (sizes * (sizes - 1)).sum() / (len(ends) * (len(ends) - 1))
    assert told["control"] == pytest.approx(chance, abs=4 * told["deviation"] / np.sqrt(found.shuffles))
    known = np.arange(len(codes)) % 9 != 0
    assert found.homophily["prediction"]["edges"] == known[found.edges].all(axis=1).sum()


def test_shuffled_labels_have_the_homophily_and_the_purity_of_the_control(made):
    found, _, codes = made
    mixed = np.random.default_rng(1).permutation(codes)
    for told in (homophily(found.edges, mixed), purity(found.community, mixed)):
        assert told["share"] == pytest.approx(told["control"], abs=5 * told["deviation"])
    assert purity(found.community, codes)["share"] > 0.9


def test_hubness_is_its_definition(made):
    from scipy.stats import skew

    found, vectors, codes = made
    indices = _lists(vectors)[0][:, :K]
    expected = np.bincount(indices.ravel(), minlength=len(codes))
    assert np.array_equal(found.occurrence, expected) and found.hubness["skewness"] == pytest.approx(skew(expected))
    bad = [sum(codes[own] != codes[node] for own in np.flatnonzero((indices == node).any(1))) for node in range(len(codes))]
    assert np.array_equal(found.bad, bad)
    own = expected > expected.mean() + 2 * expected.std()
    assert np.array_equal(hubs(expected), own)
    assert found.hubness["orphans"] == (expected == 0).sum() and found.hubness["hubs"] == own.sum()
    assert found.hubness["bad"] == pytest.approx(sum(bad) / expected.sum())


def test_a_point_that_all_list_is_a_hub_and_random_lists_have_the_expected_skewness():
    chance = np.random.default_rng(0)
    near = np.array([chance.choice(np.delete(np.arange(3000), node), 10, replace=False) for node in range(3000)])
    listed, bad = occurrences(near, None)
    told = hubness(listed, None, near)
    assert told["skewness"] == pytest.approx(told["expected"], abs=0.15) and told["bad"] is None and not bad.any()
    near[:, 0] = np.where(np.arange(3000) == 7, 8, 7)
    listed, _ = occurrences(near, None)
    assert hubs(listed)[7] and hubness(listed, None, near)["skewness"] > 10
    assert skewness(np.ones(5)) is None


# -- the layout -------------------------------------------------------------------------------------------------------------


def test_the_layout_puts_what_is_joined_near_and_is_the_same_every_time(made):
    found, vectors, _ = made
    near, _ = nearest_others(*_lists(vectors), np.arange(len(vectors)), K)
    again, told = force_layout(found.edges, near, vectors, seed=0)
    assert np.array_equal(again, found.xy) and np.isfinite(found.xy).all() and told == found.layout
    joined = np.linalg.norm(found.xy[found.edges[:, 0]] - found.xy[found.edges[:, 1]], axis=1)
    mixed = np.random.default_rng(0).permutation(len(found.xy))
    others = np.linalg.norm(found.xy[found.edges[:, 0]] - found.xy[mixed[found.edges[:, 1]]], axis=1)
    assert np.median(joined) < 0.2 * np.median(others)


def test_every_node_is_pulled_though_it_has_no_edge():
    near = np.array([[1, 2], [0, 2], [1, 0], [2, 1]], np.int32)
    links = pulls(np.array([[0, 1]], np.int32), near).toarray()
    assert (links == links.T).all() and links.max() == 1 and (links.sum(axis=1) > 0).all() and links[3, 2] == 1


# -- refusals ---------------------------------------------------------------------------------------------------------------


def test_what_makes_no_graph_is_refused():
    vectors, _ = blobs(40)
    for options, words in (
        ({"k": 13}, "asked for the 13 nearest of each image and 12 are listed"),
        ({"k": 0}, "k must be a whole number of at least 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
    ):
        with pytest.raises(AtlasError, match=words):
            graph_of(vectors, **options)
    with pytest.raises(AtlasError, match="at least 4 points and there are 3"):
        graph_of(vectors[:3], k=1)
    with pytest.raises(AtlasError, match="all 9 vectors are equal"):
        graph_of(np.ones((9, 3), np.float32), k=2)


# -- in an atlas ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_atlas(tmp_path_factory.mktemp("graph") / "a", 200).root


def test_an_atlas_makes_its_graph_once_keeps_and_shows_it(world):
    opened = atlas.open(world)
    found = opened.graph("fc", k=5, split="all")
    (name,) = opened.names("graph")
    date = opened.headers[name]["date"]
    again = atlas.open(world).graph("fc", k=5, split="all")
    assert np.array_equal(again.edges, found.edges) and atlas.open(world).headers[name]["date"] == date
    other = opened.graph("fc", k=4, split="all")
    assert other.k == 4 and len(opened.names("graph")) == 1, "the newest of a layer is shown"
    assert opened.store.has(name), "the other stands and need not be made again"
    assert opened.store.read(name, Graph).k == 5


def test_the_graph_of_a_split_is_of_its_images_alone(world):
    opened = atlas.open(world)
    found = opened.graph("fc", k=5, split="held-out")
    table = nodes(opened, found)
    assert (table["split"] == "held-out").all() and len(table) == (opened.images()["split"] == "held-out").sum()
    vectors = np.asarray(opened.vectors("fc")[found.points], np.float64)
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert found.metric == "L2"
    near = np.argsort(apart, axis=1, kind="stable")[:, :5]
    pairs = {(a, b) for a in range(len(near)) for b in near[a].tolist() if a < b and a in near[b]}
    assert pairs == {tuple(edge) for edge in found.edges.tolist()}
    assert table["edges"].sum() == 2 * len(found.edges) and table["community"].isna().sum() == (table["edges"] == 0).sum()


def test_what_an_atlas_does_not_have_is_refused(world):
    opened = atlas.open(world)
    for arguments, words in (
        ({"layer": "fd"}, "no layer of this atlas 'fd': did you mean fc"),
        ({"split": "test"}, "no split 'test'"),
        ({"split": "unknown"}, "no image is unknown: there are"),
        ({"k": 11, "split": "all"}, "the graph of fc: asked for the 11 nearest of each image and 10 are listed"),
    ):
        with pytest.raises(AtlasError, match=words):
            opened.graph(**{"layer": "fc", **arguments})


def test_crossing_pairs_and_communities_are_counted(made):
    found, _, codes = made
    names = ["a", "b", "c", "d"]
    pairs = crossing_pairs(found, codes, names, most=99)
    assert sum(pair["edges"] for pair in pairs) == sum(codes[a] != codes[b] for a, b in found.edges)
    told = told_communities(found, codes, names)
    first = codes[found.community == 0]
    most = np.bincount(first)
    assert told[0] == (len(first), f"{names[most.argmax()]} {most.max() / len(first):.0%}")
    assert told_communities(found, np.full(len(codes), -1), [])[0] == (len(first), "unlabelled")


def test_the_command_tells_draws_and_writes(world, tmp_path):
    out, table = tmp_path / "graph.png", tmp_path / "nodes.csv"
    run = CliRunner().invoke(
        cli.app, ["graph", str(world), "-l", "fc", "-k", "5", "--split", "all", "-o", str(out), "--table", str(table)]
    )
    assert run.exit_code == 0 and out.read_bytes()[:4] == b"\x89PNG"
    assert len(pd.read_csv(table)) == 200


def test_the_command_answers_in_json_what_the_record_holds(world, capfd):
    from atlas.graph_sheet import graph

    answer = graph(world, layer="fc", k=5, split="all")
    found = atlas.open(world).graph("fc", k=5, split="all")
    assert json.loads(json.dumps(answer))["edges"] == len(found.edges)
    assert answer["homophily"] == found.homophily and answer["hubness"]["orphans"] == sum(found.occurrence == 0)
    assert [one["lists"] for one in answer["hubs"]] == sorted((one["lists"] for one in answer["hubs"]), reverse=True)


def test_a_file_that_cannot_be_written_is_refused_before_the_work(world, tmp_path):
    from atlas.graph_sheet import graph

    for options, words in (
        ({"out": tmp_path / "graph.gif"}, "would be a .gif"),
        ({"table": tmp_path / "none" / "a.csv"}, "make it first"),
    ):
        with pytest.raises(AtlasError, match=words):
            graph(world, **options)


def test_the_picture_of_a_graph_keeps_the_few_that_lie_far_out_at_its_edge() -> None:
    from atlas.pages.figures_graph import within

    xy = np.random.default_rng(0).uniform(0, 1, (400, 2))
    assert within(xy)[1] == 0 and np.array_equal(within(xy)[0], xy)
    far = np.concatenate([xy, [[40.0, 0.5], [0.5, -70.0]]])
    held, moved = within(far)
    assert moved == 2 and np.array_equal(held[:400], xy)
    assert held.max() < 1.3 and held.min() > -0.3 and held[400, 0] == held.max() and held[401, 1] == held.min()
