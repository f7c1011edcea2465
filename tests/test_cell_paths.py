"""The cell most like a vector is that of brute force; a path names the cells it runs through, in its order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from atlas.errors import AtlasError
from atlas.maps.cell_paths import cells_along, centres, nearest_cells, smoothest_path, steps
from atlas.maps.cells import make_cells
from atlas.maps.records import Cells
from tests.test_cells import cells_of, layout, world


def board(without: tuple[int, int] | None = None) -> Cells:
    """A grid of 4 × 4 cells on the unit square, five points in each, all kept but one."""
    y, x = np.mgrid[:4, :4]
    centres = np.stack([x.ravel(), y.ravel()], axis=1)
    centres = centres[[tuple(place) != without for place in centres.tolist()]]
    chance = np.random.default_rng(0)
    xy = (np.repeat(centres, 5, axis=0) + chance.random((5 * len(centres), 2))) / 4
    made = make_cells(layout(xy), [np.ones((len(xy), 2))], np.arange(len(xy)), np.zeros(len(xy), int), ["a"], sizes=[4])
    return replace(remade(made, xy), labels=["a"])


def remade(made: Cells, xy: np.ndarray) -> Cells:
    """The same on the unit square exactly, whatever the points' percentiles are."""
    column, row = (np.minimum((4 * xy[:, axis]).astype(int), 3) for axis in (0, 1))
    kept = sorted({(int(r), int(c)) for r, c in zip(row, column, strict=True)})
    number = np.zeros(len(kept), np.int32)
    places = np.array(kept, np.int32)
    return replace(
        made, low=np.zeros(2), high=np.ones(2), grid=number, row=places[:, 0].copy(), column=places[:, 1].copy(),
        images=np.full(len(kept), 5, np.int32),
    )  # fmt: skip


def along(cells: Cells, path: list[tuple[float, float]]) -> list[tuple[int, int]]:
    return [(int(cells.column[cell]), int(cells.row[cell])) for cell in cells_along(cells, np.array(path), size=4)]


def test_a_path_names_the_cells_it_runs_through_in_order_and_again_where_it_comes_back() -> None:
    cells = board()
    assert along(cells, [(0.1, 0.1), (0.9, 0.1)]) == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert along(cells, [(0.9, 0.1), (0.6, 0.1), (0.6, 0.4), (0.6, 0.1), (0.9, 0.1)]) == [
        (3, 0),
        (2, 0),
        (2, 1),
        (2, 0),
        (3, 0),
    ]
    assert along(cells, [(0.3, 0.3)]) == [(1, 1)]
    assert along(cells, [(-5, 0.6), (5, 0.6)]) == [(0, 2), (1, 2), (2, 2), (3, 2)]


def test_a_path_over_a_cell_that_is_not_kept_names_nothing_there_and_no_cell_twice_in_a_row() -> None:
    cells = board(without=(1, 0))
    assert along(cells, [(0.1, 0.1), (0.9, 0.1)]) == [(0, 0), (2, 0), (3, 0)]
    assert along(cells, [(0.1, 0.1), (0.4, 0.1), (0.1, 0.1)]) == [(0, 0)]
    assert along(cells, [(0.3, 0.1), (0.4, 0.1)]) == []


def test_every_step_of_a_path_goes_to_a_cell_beside_the_last_where_all_are_kept() -> None:
    cells, chance = board(), np.random.default_rng(1)
    for _ in range(20):
        found = np.array(along(cells, [tuple(place) for place in chance.random((6, 2))]))
        assert (np.abs(np.diff(found, axis=0)).max(axis=1) == 1).all()


def test_the_nearest_cell_is_that_of_the_greatest_cosine_among_cells_of_enough_images() -> None:
    found = world()
    cells = cells_of(found)
    vectors = found["vectors"][:50].astype(np.float32)
    cell, alike = nearest_cells(cells, vectors, size=4)
    own = [c for c in cells.of_grid(4) if not cells.few[c]]
    cosine = vectors @ cells.mean[own].T
    cosine /= np.linalg.norm(vectors, axis=1)[:, None] * np.linalg.norm(cells.mean[own], axis=1)
    assert cell.tolist() == np.array(own)[cosine.argmax(1)].tolist()
    np.testing.assert_allclose(alike, cosine.max(1), atol=1e-5)
    assert cells.few.any() and nearest_cells(cells, 3 * cells.mean[own[2]], size=4)[0].tolist() == [own[2]]


def test_what_has_no_cell_and_what_is_no_path_is_refused() -> None:
    cells = cells_of(world())
    with pytest.raises(
        AtlasError, match=r"a vector of 5 units was given, and these are cells of fc \(6 units\): give one of"
    ):
        nearest_cells(cells, np.ones(5), size=4)
    with pytest.raises(AtlasError, match="the grid of 4 has no cell of enough images: take a coarser one"):
        nearest_cells(replace(cells, images=np.zeros_like(cells.images)), np.ones(6), size=4)
    with pytest.raises(AtlasError, match="no grid 5: there is 4, 8"):
        cells_along(cells, np.zeros((2, 2)), size=5)
    for path in (np.zeros((0, 2)), np.zeros(3), np.array([[np.nan, 0]])):
        with pytest.raises(AtlasError, match="a path is a list of finite places, x and y, and this is"):
            cells_along(cells, path, size=4)


def turned(cells: Cells, seed: int = 0) -> Cells:
    """The same cells with means that point anywhere."""
    return replace(cells, mean=np.random.default_rng(seed).random((len(cells.grid), 5)).astype(np.float32))


@pytest.mark.parametrize("seed", range(5))
def test_no_path_over_neighbouring_cells_turns_the_mean_less_than_the_smoothest(seed: int) -> None:
    import networkx as nx

    cells = turned(board(without=(1, 1)), seed)
    names = {(int(c), int(r)): k for k, (c, r) in enumerate(zip(cells.column, cells.row, strict=True))}
    start, stop = names[0, 0], names[3, 3]
    found = smoothest_path(cells, start, stop, size=4)
    unit = cells.mean / np.linalg.norm(cells.mean, axis=1, keepdims=True)
    graph = nx.Graph()
    for (column, row), own in names.items():
        for beside in [(column + i, row + j) for i in (0, 1) for j in (-1, 0, 1) if (i, j) > (0, 0)]:
            if beside in names:
                graph.add_edge(own, names[beside], weight=1 - float(unit[own] @ unit[names[beside]]))
    assert found[0] == start and found[-1] == stop
    assert (1 - steps(cells, found)).sum() == pytest.approx(nx.shortest_path_length(graph, start, stop, "weight"), abs=1e-5)
    apart = np.abs(np.diff(np.stack([cells.column[found], cells.row[found]]), axis=1)).max(axis=0)
    assert (apart == 1).all()


def test_a_path_from_a_cell_to_itself_is_that_cell_and_its_middle_lies_in_it() -> None:
    cells = turned(board())
    assert smoothest_path(cells, 6, 6, size=4).tolist() == [6] and len(steps(cells, [6])) == 0
    np.testing.assert_allclose(centres(cells, [6]), [[(cells.column[6] + 0.5) / 4, (cells.row[6] + 0.5) / 4]])


def test_islands_and_cells_of_few_images_are_told() -> None:
    cells = turned(board())
    apart = replace(cells, images=np.where((cells.column == 1) | (cells.column == 2), 1, 5).astype(np.int32))
    left, right = int(np.flatnonzero(cells.column == 0)[0]), int(np.flatnonzero(cells.column == 3)[0])
    with pytest.raises(AtlasError, match=f"cells {left} and {right} lie on different islands of the map"):
        smoothest_path(apart, left, right, size=4)
    with pytest.raises(AtlasError, match="no cell 99 of enough images in the grid of 4"):
        smoothest_path(cells, left, 99, size=4)
