"""The image graph as a page has it: its edges, its layout, its communities, in the explorer and in a report's part of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import atlas
from atlas.errors import AtlasError
from atlas.graph_sheet import graph as graph_verb
from atlas.maps.records import Graph
from atlas.pages import graphs
from atlas.pages.answers import answer
from atlas.pages.manifest import manifest
from atlas.pages.part import Part
from atlas.pages.report_contents import report_addresses
from atlas.pages.shelf import SHELF, Shelf
from atlas.pages.view import View
from atlas.tables import text_graph
from atlas.verbs import damage_told
from tests.test_hostile_cache import DAMAGES, FIELDS
from tests.worlds import tiny_atlas


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    store = tiny_atlas(tmp_path_factory.mktemp("graphs") / "world", 150)
    atlas.open(store.root).graph("fc", k=5)
    yield store.root


@pytest.fixture(scope="module")
def view(root: Path) -> View:
    return SHELF.open(root)


@pytest.fixture(scope="module")
def graph(root: Path) -> Graph:
    return atlas.open(root).graph("fc", k=5)


def name_of(view: View) -> str:
    space = view.space("fc")
    assert space is not None and space.graph is not None
    return space.graph


def numbers(address: str, kind: str) -> np.ndarray:
    return np.frombuffer(answer(address)[1], kind)


def test_the_page_hears_of_the_graph_and_has_its_layout_and_its_colour(view: View, graph: Graph) -> None:
    told = manifest(view, view.start({}), several=False)
    (part,) = told["graphs"]
    assert part["space"] == "fc" and part["edges"] == len(graph.edges) and part["split"] == "held-out"
    space = next(space for space in told["spaces"] if space["id"] == "fc")
    assert space["layouts"][-1]["graph"] and space["layouts"][-1]["key"] == part["key"] and "community" in space["colours"]
    others = [space for space in told["spaces"] if space["id"] != "fc"]
    assert not any("community" in space["colours"] or any("graph" in one for one in space["layouts"]) for space in others)
    json.dumps(told, allow_nan=False)
    assert "mutual edges of 5 nearest, held-out images, L2 distance; seed 0" in json.dumps(told["about"])
    started = view.start({"layout": part["key"], "layer": "fc", "colour": "community", "beside": part["key"]})
    assert (started.layout, started.colour, started.beside, started.notices) == (part["key"], "community", part["key"], [])


def test_edges_join_the_layers_points_and_lists_tell_who_is_no_node(view: View, graph: Graph) -> None:
    name = name_of(view)
    edges = numbers(f"/graph/{name}/edges.bin", "<i4").reshape(2, -1).T
    assert np.array_equal(edges, graph.points[graph.edges])
    lists = numbers(f"/graph/{name}/lists.bin", "<u2").reshape(2, -1)
    inside = np.isin(np.arange(150), graph.points)
    assert np.array_equal(lists[0] == graphs.ABSENT, ~inside)
    assert np.array_equal(lists[:, inside], np.stack([graph.occurrence, graph.bad]))


def test_the_graphs_layout_has_a_place_for_its_nodes_alone(view: View, graph: Graph) -> None:
    xy = numbers(f"/column/{name_of(view)}/xy.bin", "<u2").reshape(2, -1)
    inside = np.isin(np.arange(150), graph.points)
    assert not xy[:, ~inside].any() and xy[:, inside].any(axis=0).all()
    for axis in range(2):  # as they lie to each other
        assert (np.diff(xy[axis, inside][np.argsort(graph.xy[:, axis], kind="stable")].astype(int)) >= 0).all()


def test_communities_are_named_and_every_image_has_its_own(view: View, graph: Graph) -> None:
    name = name_of(view)
    names = json.loads(answer(f"/graph/{name}/communities.json")[1])
    codes = numbers(f"/graph/{name}/community.bin", "<u2")
    assert len(codes) == len(view.images) and len(names) == graph.community.max() + 1 <= graphs.NAMED
    expected = np.full(len(codes), graphs.ABSENT)
    kept = graph.community >= 0
    expected[graph.points[kept]] = graph.community[kept]
    assert np.array_equal(codes, expected)
    first = view.images.codes[graph.points[graph.community == 0]]
    most = np.bincount(first)
    assert names[0] == f"№ 1 · {view.images.labels[most.argmax()]} {most.max() / len(first):.0%}"


def test_communities_beyond_the_colours_share_one_name(view: View, graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "NAMED", 2)
    graphs.community_names.cache_clear()
    name, count = name_of(view), int(graph.community.max()) + 1
    assert count > 2
    assert graphs.community_names(view, name)[2:] == [f"{count - 2} smaller"]
    codes = graphs.community_codes(view, name)
    assert codes[codes != graphs.ABSENT].max() == 2
    graphs.community_names.cache_clear()


def test_a_report_of_some_images_has_the_graph_among_them(root: Path, graph: Graph) -> None:
    rows = np.arange(0, 150, 2)
    part = Part(root, rows=rows)
    name = name_of(part)
    fewer = graphs.read(part, name)
    there = np.isin(graph.points, rows)
    kept = there[graph.edges].all(axis=1)
    assert np.array_equal(rows[fewer.points], graph.points[there])
    assert np.array_equal(rows[fewer.points[fewer.edges]], graph.points[graph.edges[kept]])
    assert np.array_equal(fewer.distance, graph.distance[kept])
    addresses = {wish.address for wish in report_addresses(part)}
    assert {f"graph/{name}/edges.bin", f"column/{name}/xy.bin", f"graph/{name}/communities.json"} <= addresses


@pytest.mark.parametrize("field", ["points", "edges", "community"])
def test_a_graph_with_numbers_beyond_its_nodes_is_refused_by_name(root: Path, tmp_path: Path, field: str) -> None:
    shutil.copytree(root, tmp_path / "world")
    name = name_of(View(root))
    path = tmp_path / "world" / name / f"{field}.npy"
    np.save(path, np.full_like(np.load(path), 10**7))
    with pytest.raises(AtlasError, match=rf"{name} names points that its layer does not have: remove it and make"):
        graphs.read(View(tmp_path / "world"), name)


def test_another_artifacts_key_has_no_graph(view: View) -> None:
    with pytest.raises(AtlasError, match="holds no graph"):
        answer(f"/graph/{view.images_name}/edges.bin")


# -- edited by hand ---------------------------------------------------------------------------------------------------------


def says_so_or_does_no_harm(root: Path) -> bool:
    """Hold that the command and the page answer or refuse in one sentence; tell whether either refused."""
    refused = False
    for way in (lambda: text_graph(graph_verb(root, layer="fc", k=5)), lambda: page_of(root)):
        try:
            with damage_told(root):
                way()
        except AtlasError as reason:
            assert "\n" not in str(reason)
            refused = True
    return refused


def page_of(root: Path) -> None:
    view = Shelf().open(root)
    manifest(view, view.start({}), several=False)
    name = name_of(view)
    for ask in (graphs.edges, graphs.lists, graphs.places, graphs.community_codes, graphs.community_names):
        ask(view, name)


@pytest.fixture
def copied(root: Path, tmp_path: Path) -> Path:
    shutil.copytree(root, tmp_path / "world")
    return tmp_path / "world"


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "far_out"])
def test_an_array_of_the_graph_that_was_edited_is_refused_by_name(root: Path, copied: Path, damage: str) -> None:
    name = name_of(View(root))
    for path in sorted((copied / name).glob("*.npy")):
        DAMAGES[damage](path)
        assert says_so_or_does_no_harm(copied), (path.name, damage)
        if path.is_dir():
            path.rmdir()
        shutil.copy(root / name / path.name, path)
    assert not says_so_or_does_no_harm(copied)


def test_numbers_far_out_and_fields_that_were_edited_are_refused_or_do_no_harm(root: Path, copied: Path) -> None:
    name = name_of(View(root))
    for path in sorted((copied / name).glob("*.npy")):
        DAMAGES["far_out"](path)
        says_so_or_does_no_harm(copied)
        shutil.copy(root / name / path.name, path)
    path = copied / name / "record.json"
    text = path.read_text()
    header = json.loads(text)
    refused = 0
    for number, field in enumerate(header["fields"]):
        path.write_text(json.dumps({**header, "fields": {**header["fields"], field: FIELDS[number % len(FIELDS)]}}))
        refused += says_so_or_does_no_harm(copied)
    path.write_text(text)
    assert refused > 10
