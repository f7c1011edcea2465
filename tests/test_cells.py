"""Cells: each point in exactly one cell of each grid, and every number of a cell by brute force over its members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.activations.records import Vectors
from atlas.errors import AtlasError
from atlas.maps import cell_looks
from atlas.maps.cells import SHOWN, make_cells
from atlas.maps.grids import LARGE, default_sizes, extent, least_members, places_in
from atlas.maps.records import Cells, Layout
from tests.worlds import unplaced

LABELS = ["a", "b", "c"]


def layout(xy: np.ndarray, layers: Sequence[str] = ("fc",)) -> Layout:
    xy = np.asarray(xy, np.float32)
    rest = np.full(len(xy), np.nan, np.float32)
    placing = unplaced(len(xy), np.empty((0, 4)), list(layers), np.ones((len(xy), 3), np.float32))
    placing = (*placing[:2], np.ones(len(layers)), placing[3])
    return Layout(list(layers), "umap", xy, {}, {}, {}, *placing, recall=rest, trust=rest, continuity=rest)


def world(count: int = 900, per_image: int = 3, seed: int = 0) -> dict[str, Any]:
    """Points around three centres, several to an image, with labels of which some are missing, and attributions."""
    chance = np.random.default_rng(seed)
    image = np.repeat(np.arange(count // per_image), per_image)
    codes = chance.integers(-1, 3, count // per_image)
    xy = np.array([[0, 0], [4, 1], [1, 5], [9, 9]])[codes[image]] + chance.normal(size=(count, 2))
    vectors = (chance.normal(size=(count, 6)) + 2 * np.eye(6)[codes[image]]).astype(np.float16)
    attribution = (chance.normal(size=(count, 4)) + 2 * np.eye(4)[codes[image]]).astype(np.float16)
    return {"xy": xy, "image": image, "codes": codes, "vectors": vectors, "attribution": attribution}


def cells_of(found: dict[str, Any], **options: Any) -> Cells:
    defaults: dict[str, Any] = {"sizes": [4, 8], "attribution": found["attribution"], "attributed": "fc"}
    placed = options.pop("layout", None) or layout(found["xy"])
    return make_cells(placed, [found["vectors"]], found["image"], found["codes"], LABELS, **{**defaults, **options})


places = st.lists(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 2), min_size=1, max_size=60)


@settings(deadline=None, max_examples=60)
@given(places, st.integers(1, 40))
def test_each_point_lies_in_exactly_one_cell_and_within_its_edges(points: list[tuple[float, float]], size: int) -> None:
    xy = np.array(points)
    low, high = extent(xy, np.ones(len(xy), bool))
    column, row = places_in(xy, low, high, size)
    assert ((column >= 0) & (column < size) & (row >= 0) & (row < size)).all()
    for number, place in ((0, column), (1, row)):
        step = (high - low)[number] / size
        value = np.clip(xy[:, number], low[number], high[number])
        if step > 0:
            assert (value >= low[number] + place * step - 1e-9 * abs(high - low)[number]).all()
            inside = value < low[number] + (place + 1) * step + 1e-9 * abs(high - low)[number]
            assert (inside | (place == size - 1)).all()
        else:
            assert (place == 0).all()


def test_the_last_edge_belongs_to_the_last_cell_and_a_lower_edge_to_the_upper_cell() -> None:
    xy = np.array([[0.0, 0], [0.25, 0.5], [0.5, 0.75], [1, 1], [2, -1], [np.nan, 0], [0, np.inf]])
    column, row = places_in(xy, np.zeros(2), np.ones(2), 4)
    assert column.tolist() == [0, 1, 2, 3, 3, -1, -1] and row.tolist() == [0, 2, 3, 3, 0, -1, -1]


def test_the_square_is_that_of_the_percentiles_and_a_margin_and_outliers_are_clipped_to_it() -> None:
    chance = np.random.default_rng(0)
    xy = np.vstack([chance.random((1000, 2)), [[50, -50]]])
    low, high = extent(xy, np.ones(len(xy), bool))
    first, last = np.percentile(xy, (1, 99), axis=0)
    assert high[0] == pytest.approx(last[0] + 0.1 * (last - first)[0]) and high[0] < 1.2
    assert low[0] == xy[:, 0].min()  # no wider than the points reach
    assert low[1] == pytest.approx(first[1] - 0.1 * (last - first)[1])
    column, row = places_in(xy, low, high, 8)
    assert (column[-1], row[-1]) == (7, 0)


def test_every_number_of_a_cell_is_that_of_brute_force_over_its_members() -> None:
    found = world()
    cells = cells_of(found)
    assert cells.sizes == [4, 8] and cells.least == [3, 3] and (cells.grid == 1).sum() > 20
    label = found["codes"][found["image"]]
    wide = {name: found[name].astype(np.float64) for name in ("vectors", "attribution")}
    for cell in range(len(cells.grid)):
        size = cells.sizes[cells.grid[cell]]
        column, row = places_in(layout(found["xy"]).xy, cells.low, cells.high, size)
        mine = np.flatnonzero((column == cells.column[cell]) & (row == cells.row[cell]))
        assert mine.tolist() == cells.members_of(cell).tolist() and len(mine) == cells.points[cell] >= 3
        assert cells.images[cell] == len(set(found["image"][mine]))
        np.testing.assert_allclose(cells.mean[cell], wide["vectors"][mine].mean(0), atol=1e-6)
        argued = wide["attribution"][mine].mean(0)
        np.testing.assert_allclose(cells.attribution[cell], argued, atol=1e-6)
        assert cells.best[cell].tolist() == np.argsort(-argued)[:3].tolist()
        np.testing.assert_allclose(cells.best_value[cell], np.sort(argued)[::-1][:3], atol=1e-6)
        counts = np.bincount(label[mine][label[mine] >= 0], minlength=3)
        assert cells.members[cell].tolist() == counts.tolist()
        if counts.sum():
            assert cells.purity[cell] == pytest.approx(counts.max() / counts.sum())
        else:
            assert np.isnan(cells.purity[cell])
        mean = wide["vectors"][mine].mean(0)
        cosine = wide["vectors"][mine] @ mean / np.linalg.norm(wide["vectors"][mine], axis=1) / np.linalg.norm(mean)
        by_image: dict[int, tuple[float, int]] = {}
        for value, point in sorted(zip(-cosine, mine, strict=True)):
            by_image.setdefault(int(found["image"][point]), (value, int(point)))
        nearest = [point for _, point in sorted(by_image.values())][:SHOWN]
        shown = [point for point in cells.representatives[cell].tolist() if point >= 0]
        assert len(shown) == len(nearest) and cells.representatives[cell, 0] == nearest[0]
        assert set(shown) == set(nearest) and len(set(found["image"][shown])) == len(shown)


def test_kept_cells_and_dropped_points_add_up_to_all_points() -> None:
    found = world()
    cells = cells_of(found, sizes=[8, 32])
    for number, size in enumerate(cells.sizes):
        own = cells.of_grid(size)
        assert cells.points[own].sum() + cells.dropped[number] + cells.left_out == 900
        assert (np.unique(cells.point_cell[number]) == np.append(-1, own)).all()
    assert cells.dropped[1] > 0 and cells.left_out == 0


def test_a_parent_is_the_coarser_cell_that_holds_the_centre() -> None:
    for sizes in ([4, 8, 16], [3, 7], [5, 8]):
        cells = cells_of(world(), sizes=sizes)
        edges = cells.high - cells.low
        for cell in np.flatnonzero(cells.grid > 0):
            size, coarse = cells.sizes[cells.grid[cell]], cells.sizes[cells.grid[cell] - 1]
            centre = cells.low + edges * (np.array([[cells.column[cell], cells.row[cell]]]) + 0.5) / size
            column, row = places_in(centre, cells.low, cells.high, coarse)
            there = (cells.grid == cells.grid[cell] - 1) & (cells.column == column) & (cells.row == row)
            assert cells.parent[cell] == (np.flatnonzero(there)[0] if there.any() else -1)
        assert (cells.parent[cells.grid == 0] == -1).all() and (cells.parent >= 0).any()


def test_points_of_a_cell_lie_in_its_parent_where_sizes_divide_each_other() -> None:
    cells = cells_of(world(), sizes=[4, 8])
    for cell in np.flatnonzero(cells.parent >= 0):
        assert (cells.point_cell[0, cells.members_of(cell)] == cells.parent[cell]).all()


def test_how_many_members_a_cell_needs_grows_with_the_data() -> None:
    assert [least_members(count, 8) for count in (100, 3840, 70_000)] == [3, 3, 55]
    assert default_sizes(LARGE - 1) == (8, 16, 32) and default_sizes(LARGE) == (20, 40, 80)
    cells = make_cells(layout(np.zeros((6, 2))), [np.ones((6, 2))], np.arange(6), np.zeros(6, int), ["a"], sizes=[1, 2])
    assert cells.points.tolist() == [6, 6] and cells.column.tolist() == [0, 0] and cells.images.tolist() == [6, 6]


def test_cells_of_few_images_are_marked_however_many_points_they_have() -> None:
    xy = np.concatenate([np.zeros((40, 2)), np.ones((40, 2))])
    image = np.concatenate([np.arange(40) % 4, 4 + np.arange(40) % 5])
    cells = make_cells(layout(xy), [np.ones((80, 2))], image, np.zeros(9, int), ["a"], sizes=[2])
    assert cells.images.tolist() == [4, 5] and cells.few.tolist() == [True, False]


def test_points_without_a_place_are_left_out_and_counted_and_those_placed_later_move_no_grid() -> None:
    found = world()
    before = cells_of(found)
    xy = np.vstack([found["xy"], [[np.nan, 1], [100, 100], [2, 2], [np.inf, 0]]]).astype(np.float32)
    grown = replace(layout(xy), confidence=np.append(np.full(900, np.nan), [0.5] * 4).astype(np.float32))
    more = {name: np.concatenate([found[name], found[name][:4]]) for name in ("vectors", "attribution")}
    after = make_cells(
        grown, [more["vectors"]], np.append(found["image"], [0, 1, 2, 3]), found["codes"], LABELS, sizes=[4, 8],
        attribution=more["attribution"], attributed="fc",
    )  # fmt: skip
    assert (after.low == before.low).all() and (after.high == before.high).all()
    assert after.left_out == 2 and (after.point_cell[:, [900, 903]] == -1).all()
    corner = after.point_cell[0, 901]
    assert corner < 0 or (after.column[corner], after.row[corner]) == (3, 3)
    assert np.isfinite(after.mean).all()


def test_vectors_and_attributions_that_are_not_finite_are_in_no_mean_and_counted() -> None:
    found = world()
    spoilt = {**found, "vectors": found["vectors"].copy(), "attribution": found["attribution"].copy()}
    spoilt["vectors"][5, 2], spoilt["attribution"][9, 1] = np.nan, np.inf
    cells, clean = cells_of(spoilt), cells_of(found)
    assert cells.nonfinite == 2 and clean.nonfinite == 0
    assert (cells.points == clean.points).all() and np.isfinite(cells.mean).all() and np.isfinite(cells.attribution).all()
    cell = cells.point_cell[0, 5]
    rest = [point for point in cells.members_of(cell) if point != 5]
    np.testing.assert_allclose(cells.mean[cell], found["vectors"][rest].astype(float).mean(0), atol=1e-6)
    only = cells_of({**found, "attribution": np.full_like(found["attribution"], np.nan)})
    assert np.isnan(only.attribution).all() and (only.best == -1).all() and (cell_looks.label_opacity(only) == 0).all()


def test_a_joint_layout_keeps_each_layer_s_own_mean_and_compares_by_its_scales() -> None:
    found, chance = world(), np.random.default_rng(3)
    other = (1000 * chance.normal(size=(900, 2))).astype(np.float32)
    joint = replace(layout(found["xy"], ["conv", "fc"]), scales=np.array([1.0, 1000.0]))
    blocks = Vectors([found["vectors"][:400], found["vectors"][400:]])
    cells = make_cells(joint, [blocks, other], found["image"], found["codes"], LABELS, sizes=[4])
    alone = make_cells(layout(found["xy"]), [found["vectors"]], found["image"], found["codes"], LABELS, sizes=[4])
    assert cells.layers == ["conv", "fc"] and cells.units == [6, 2] and cells.attributed is None
    np.testing.assert_allclose(cells.mean[:, :6], alone.mean, atol=1e-6)
    scaled = np.hstack([found["vectors"].astype(float), other / 1000])
    for cell in range(len(cells.grid)):
        mine = cells.members_of(cell)
        mean = scaled[mine].mean(0)
        cosine = scaled[mine] @ mean / np.linalg.norm(scaled[mine], axis=1)
        assert cells.representatives[cell, 0] == mine[cosine.argmax()]


def test_without_labels_and_attributions_cells_still_stand() -> None:
    found = world()
    cells = make_cells(layout(found["xy"]), [found["vectors"]], found["image"], np.full(300, -1), [], sizes=[4])
    assert cells.attribution.shape == (len(cells.grid), 0) == cells.best.shape and cells.members.shape[1] == 0
    assert np.isnan(cells.purity).all()
    table = cell_looks.cells_table(cells, [])
    assert table["output"].isna().all() and table["label"].isna().all() and (table["opacity"] == 0).all()
    with pytest.raises(AtlasError, match="these cells have no attribution, so that none argues for a class: attribute"):
        cell_looks.class_opacity(cells, 0)


def test_a_class_is_most_opaque_in_the_heavy_cell_that_argues_for_it_most() -> None:
    found = world()
    cells = cells_of(found)
    for number, size in enumerate(cells.sizes):
        own = cells.of_grid(size)
        values, heavy = cells.attribution[own, 2], cells.points[own] > min(500, cells.points[own].mean())
        expected = np.clip(values / values[heavy].max(), 0, 1)
        np.testing.assert_allclose(cell_looks.class_opacity(cells, 2)[own], expected, atol=1e-6)
        assert (cell_looks.class_opacity(cells, 2)[own] == 1).any() and (expected[values < 0] == 0).all()
        each = np.stack([cell_looks.class_opacity(cells, output) for output in range(4)])
        named = each[cells.best[:, 0], np.arange(len(cells.grid))]
        np.testing.assert_array_equal(cell_looks.label_opacity(cells), named)
        sides = cell_looks.icon_sides(cells)[own]
        usual = 900 / size**2
        np.testing.assert_allclose(sides, np.minimum(1, np.sqrt(cells.points[own] / usual)), rtol=1e-6)
        assert number in cells.grid
    with pytest.raises(AtlasError, match="no output 4: there are outputs 0 to 3"):
        cell_looks.class_opacity(cells, 4)


def test_what_only_a_light_cell_argues_for_is_opaque_there() -> None:
    xy = np.repeat([[0.0, 0], [1, 0], [1, 1]], [40, 40, 5], axis=0)
    argued = np.repeat([[2.0, -1], [1, -1], [-1, 0.5]], [40, 40, 5], axis=0)
    cells = make_cells(
        layout(xy),
        [np.ones((85, 2))],
        np.arange(85),
        np.zeros(85, int),
        ["a"],
        sizes=[2],
        attribution=argued,
        attributed="fc",
    )
    assert cell_looks.class_opacity(cells, 0).tolist() == [1, 0.5, 0]
    assert cell_looks.class_opacity(cells, 1).tolist() == [0, 0, 1]
    assert cell_looks.label_opacity(cells).tolist() == [1, 0.5, 1]


def test_the_table_of_cells_names_what_each_argues_for_and_holds() -> None:
    cells = cells_of(world())
    table = cell_looks.cells_table(cells, ["A", "B", "C", "D"], size=8)
    assert table["cell"].tolist() == cells.of_grid(8).tolist() and (table["size"] == 8).all()
    cell = table.iloc[0]["cell"]
    assert table.iloc[0]["output"] == "ABCD"[cells.best[cell, 0]] and table.iloc[0]["label"] in LABELS
    with pytest.raises(AtlasError, match="no grid 5: there is 4, 8"):
        cells.of_grid(5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": [0]}, "a grid's size must be a whole number of at least 1, not 0"),
        ({"sizes": [8, 1000]}, "a grid of 1000 × 1000 cells was asked for: at most 500 a side would do"),
        ({"sizes": []}, "no grid was asked for: give at least one size, such as 8"),
        ({"layout": layout(np.full((900, 2), np.nan))}, "none of the 900 points of the layout has a finite place: lay out"),
        ({"attribution": np.zeros((5, 2))}, "these are 1 layers of 5, 900 points: take those of one build"),
        (
            {"layout": layout(np.zeros((900, 2)), ["a", "b"])},
            "the vectors of its 2 layers .* 1 layers of 900 points",
        ),
    ],
)
def test_what_makes_no_cells_is_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        cells_of(world(), **options)
