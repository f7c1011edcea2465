"""The image graph in the explorer and in a report: its edges under the points, its layout, its communities, its words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import atlas
from atlas.maps.records import Graph
from tests.browser.conftest import serving
from tests.worlds import tiny_atlas

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
INK = """() => { const { canvas } = AtlasPage.page.graph;
  const { width, height } = canvas;
  return Boolean(width) && canvas.getContext("2d").getImageData(0, 0, width, height).data.some(Boolean); }"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tiny_atlas(tmp_path_factory.mktemp("graph-page") / "cache" / "world", 300)
    atlas.open(store.root).graph("fc", k=6)
    return store.root


@pytest.fixture(scope="module")
def graph(world: Path) -> Graph:
    return atlas.open(world).graph("fc", k=6)


@pytest.fixture(scope="module")
def url(world: Path) -> Iterator[str]:
    with serving(world.parent) as address:
        yield address + "?layer=fc&backend=canvas"


def painted(page: Page) -> None:
    page.wait_for_function(INK)


def test_the_edges_are_drawn_under_the_points_all_or_those_between_classes(url: str, graph: Graph, open_page: Open) -> None:
    page = open_page(url)
    expect(page.locator("#edges")).to_be_visible()
    assert not page.evaluate(INK)
    page.keyboard.press("g")
    painted(page)
    said = page.locator("#edges-said")
    expect(said).to_contain_text(f"{len(graph.edges)} edges in view")
    expect(page.locator("#edges")).to_have_attribute("aria-pressed", "true")
    page.locator("#edges-kind").get_by_role("radio", name="Between classes").click()
    expect(said).to_contain_text("edges between classes in view")
    page.keyboard.press("g")
    page.wait_for_function(f"() => !({INK})()")
    expect(page.locator("#edges-said")).to_be_hidden()


def test_filtered_points_have_no_edges(url: str, world: Path, graph: Graph, open_page: Open) -> None:
    page = open_page(url + "#edges=all")
    painted(page)
    codes = atlas.open(world).image_record.codes[graph.points]
    page.locator("#chips .chip").first.click()
    code = int(page.locator("#chips .chip").first.get_attribute("data-code") or -1)
    left = int((codes[graph.edges] != code).all(axis=1).sum())
    expect(page.locator("#edges-said")).to_contain_text(f"{left} edges in view")
    crossing = int(((codes[graph.edges] != code).all(axis=1) & (codes[graph.edges[:, 0]] != codes[graph.edges[:, 1]])).sum())
    page.locator("#edges-kind").get_by_role("radio", name="Between classes").click()
    expect(page.locator("#edges-said")).to_contain_text(f"{crossing} edges between classes in view")


def test_a_link_holds_the_edges_and_back_takes_them_away(url: str, open_page: Open) -> None:
    page = open_page(url)
    page.locator("#edges").click()
    page.wait_for_function("location.hash.includes('edges=all')")
    again = open_page(page.url)
    painted(again)
    page.go_back()
    page.wait_for_function("!location.hash.includes('edges')")
    expect(page.locator("#edges")).to_have_attribute("aria-pressed", "false")
    wrong = open_page(url + "#edges=nonsense")
    expect(wrong.locator("#notices")).to_contain_text("The link’s edges are not here")


def test_the_open_images_edges_stand_out_and_its_panel_tells_of_it(url: str, graph: Graph, open_page: Open) -> None:
    page = open_page(url + "#edges=all")
    painted(page)
    degree = np.bincount(graph.edges.ravel(), minlength=len(graph.points))
    node = int(degree.argmax())
    page.evaluate("row => AtlasPage.page.does.open(row, row)", int(graph.points[node]))
    expect(page.locator("#graph-line")).to_contain_text(f"In the image graph: {degree[node]} edges")
    expect(page.locator("#graph-line")).to_contain_text(
        f"in {graph.occurrence[node]} lists of 6, {graph.bad[node]} of another class"
    )
    assert page.evaluate("() => AtlasPage.page.graph.ownEdges().length") == degree[node]
    outside = int(np.setdiff1d(np.arange(300), graph.points)[0])
    page.evaluate("row => AtlasPage.page.does.open(row, row)", outside)
    expect(page.locator("#graph-line")).to_contain_text("Not in the image graph, which is of held-out images.")


def test_the_graphs_own_layout_shows_its_nodes_alone(url: str, graph: Graph, open_page: Open) -> None:
    page = open_page(url + "&split=all")
    page.locator("#layout").select_option(label="Image graph")
    expect(page.locator("#shown")).to_contain_text(f"{len(graph.points)} of 300 points shown")
    drawn = page.evaluate("() => Array.from(AtlasPage.map.drawn).sort((a, b) => a - b)")
    assert drawn == graph.points.tolist()
    outside = int(np.setdiff1d(np.arange(300), graph.points)[0])
    page.evaluate("row => AtlasPage.page.does.open(row, row)", outside)
    expect(page.locator("#near-words")).to_contain_text("no place on this map")
    assert page.evaluate("row => AtlasPage.map.marked.has(row)", outside) is False


def test_the_communities_are_a_colour_with_names(url: str, graph: Graph, open_page: Open) -> None:
    page = open_page(url + "&colour=community")
    chips = page.locator("#chips")
    expect(chips).to_contain_text("№ 1 · ")
    sizes = np.bincount(graph.community[graph.community >= 0])
    first = chips.locator(".chip[data-code='0']")
    expect(first).to_contain_text(str(sizes[0]))


def test_a_layer_without_a_graph_has_no_button(url: str, open_page: Open) -> None:
    page = open_page(url + "#edges=all")
    painted(page)
    page.locator("#layer").select_option(value="conv")
    expect(page.locator("#edges")).to_be_hidden()
    page.wait_for_function(f"() => !({INK})()")


def test_a_report_holds_the_graph(world: Path, graph: Graph, open_page: Open, tmp_path: Path) -> None:
    atlas.open(world).report(tmp_path / "report.html", layers=["fc"])
    page = open_page((tmp_path / "report.html").as_uri())
    page.keyboard.press("g")
    painted(page)
    page.locator("#layout").select_option(label="Image graph")
    page.locator("#colour").select_option("community")
    expect(page.locator("#chips")).to_contain_text("№ 1 · ")
    page.evaluate("row => AtlasPage.page.does.open(row, row)", int(graph.points[0]))
    expect(page.locator("#graph-line")).to_contain_text("In the image graph")
