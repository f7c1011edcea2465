"""Confused cells: counted by brute force, an island that was planted is found, and none where mistakes lie anywhere."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.errors import AtlasError
from atlas.maps.cells import make_cells
from atlas.maps.records import Cells
from atlas.patterns.confused import confused_cells
from tests.test_cells import layout

LABELS = ["cat", "dog", "ship"]


def board(count: int = 1600, seed: int = 0) -> tuple[Cells, np.ndarray, np.ndarray, np.ndarray]:
    """Points all over a square, one per image; a tenth of each class taken for another, wherever it lies."""
    chance = np.random.default_rng(seed)
    xy, codes = chance.random((count, 2)), chance.integers(0, 3, count)
    said = np.where(chance.random(count) < 0.1, (codes + chance.integers(1, 3, count)) % 3, codes)
    cells = make_cells(layout(xy), [np.ones((count, 2))], np.arange(count), codes, LABELS, sizes=[4])
    return cells, xy, codes, said


def test_every_number_of_a_cell_is_that_of_brute_force() -> None:
    cells, _, codes, said = board()
    table = confused_cells(cells, np.arange(len(codes)), codes, said, LABELS, size=4, shuffles=20)
    assert 8 < len(table) <= 16 and table["excess"].is_monotonic_decreasing
    for row in table.itertuples():
        own = cells.members_of(row.cell)
        label, other = LABELS.index(row.label), LABELS.index(row.taken_for)
        of, wrong = codes[own] == label, (codes[own] == label) & (said[own] == other)
        assert (row.of, row.confused) == (of.sum(), wrong.sum())
        expected = of.sum() * ((codes == label) & (said == other)).sum() / (codes == label).sum()
        assert row.expected == pytest.approx(expected) and row.excess == pytest.approx(wrong.sum() - expected)


def test_an_island_is_found_and_mistakes_that_lie_anywhere_are_none() -> None:
    cells, xy, codes, said = board()
    nothing = confused_cells(cells, np.arange(len(codes)), codes, said, LABELS, size=4, shuffles=200)
    assert nothing["p"].min() > 0.05
    island = (codes == 0) & (xy < 0.25).all(axis=1)
    said[island] = 1
    found = confused_cells(cells, np.arange(len(codes)), codes, said, LABELS, size=4, shuffles=200)
    first = found.iloc[0]
    assert (first["label"], first["taken_for"], first["column"], first["row"]) == ("cat", "dog", 0, 0)
    assert first["p"] < 0.01 and first["share"] > 0.9 and first["excess"] > 2 * found.attrs["by_chance"]


def test_an_image_of_several_points_counts_once_in_a_cell() -> None:
    cells, _, codes, said = board(300)
    image = np.arange(300) // 3
    table = confused_cells(cells, image, codes[:100], said[:100], LABELS, size=4, shuffles=5)
    for row in table.itertuples():
        own = np.unique(image[cells.members_of(row.cell)])
        assert row.of == (codes[own] == LABELS.index(row.label)).sum()


def test_no_mistake_is_refused() -> None:
    cells, _, codes, _ = board(200)
    with pytest.raises(AtlasError, match="no image of these cells is taken for another class"):
        confused_cells(cells, np.arange(200), codes, codes, LABELS, size=4)
