"""Class atlases, unusual associations and layers side by side: by brute force, and where the answer is known."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from atlas.activations.records import Statistics, Vectors
from atlas.errors import AtlasError
from atlas.maps.cells import make_cells
from atlas.maps.records import Cells
from atlas.models.records import ClassMap
from atlas.patterns.associations import crossing_units, unusual_cells
from atlas.patterns.class_atlas import arguing_points, between, cells_between, class_axis, top, winners
from atlas.patterns.depth import layer_depth
from tests.test_cells import cells_of, layout, world

LABELS = ["a", "b", "c"]
MAP = ClassMap(["A", "B", "C"], [0, 1, 2], LABELS, "order", "")
tables = arrays(np.float32, st.tuples(st.integers(1, 40), st.just(3)), elements=st.floats(-100, 100, width=32))


@settings(deadline=None, max_examples=50)
@given(tables, st.integers(0, 2), st.integers(1, 50))
def test_the_points_that_argue_for_a_class_are_those_of_brute_force(table: np.ndarray, output: int, most: int) -> None:
    won = [row for row, values in enumerate(table) if values.tolist().index(values.max()) == output]
    best = sorted((row for row in range(len(table)) if table[row, output] > 0), key=lambda row: -table[row, output])[:most]
    assert winners(table, output).tolist() == won
    assert top(table, output, most=most).tolist() == best
    assert arguing_points(table, output, most=most).tolist() == sorted({*won, *best})
    split = Vectors([table[: len(table) // 2], table[len(table) // 2 :]])
    assert arguing_points(split, output, by="winner").tolist() == won


def test_each_finite_point_is_the_winner_of_exactly_one_class() -> None:
    table = np.random.default_rng(0).normal(size=(10_000, 4)).astype(np.float16)
    table[3, 1], table[7, 0] = np.nan, np.inf
    found = np.concatenate([winners(table, output) for output in range(4)])
    assert sorted(found) == [row for row in range(10_000) if row not in (3, 7)]
    assert not {3, 7} & set(top(table, 1, most=10_000).tolist())


@settings(deadline=None, max_examples=50)
@given(tables)
def test_the_axis_runs_from_one_class_to_the_other_and_turns_around_with_them(table: np.ndarray) -> None:
    axis = class_axis(table, 0, 2)
    assert axis.dtype == np.float32 and (np.abs(axis) <= 1).all()
    np.testing.assert_allclose(axis, -class_axis(table, 2, 0))
    apart = table[:, 2].astype(float) - table[:, 0]
    clear = np.abs(apart) > max(1e-30, 1e-30 * np.abs(apart).max())  # what float32 can hold as a share of the scale
    assert (np.sign(axis) == np.sign(apart))[clear].all()
    scale = np.percentile(np.abs(apart), 99)
    if scale > 1e-3:
        np.testing.assert_allclose(axis, np.clip(apart / scale, -1, 1), atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(tables, st.integers(1, 50))
def test_the_points_between_two_classes_are_those_of_both_on_an_axis_of_their_own(table: np.ndarray, most: int) -> None:
    points, axis = between(table, 0, 2, most=most)
    assert points.tolist() == sorted({*arguing_points(table, 0, most=most), *arguing_points(table, 2, most=most)})
    np.testing.assert_allclose(axis, class_axis(table[points], 0, 2))


def test_cells_between_two_classes_are_the_means_of_the_points_in_them() -> None:
    found = world()
    cells = cells_of(found)
    points, axis = between(found["attribution"], 0, 1, by="winner")
    table = cells_between(cells, points, axis)
    of_point = dict(zip(points.tolist(), axis.tolist(), strict=True))
    shown = set()
    for cell in range(len(cells.grid)):
        members = cells.members_of(cell).tolist()
        own = [of_point[point] for point in members if point in of_point]
        if len(own) >= 5 and len(own) >= 0.1 * len(members):
            row = table[table["cell"] == cell].iloc[0]
            assert row["points"] == len(own) and row["share"] == pytest.approx(len(own) / len(members))
            assert row["axis"] == pytest.approx(np.mean(own)) and row["size"] == cells.sizes[cells.grid[cell]]
            shown.add(cell)
    assert shown == set(table["cell"]) and shown and (table.groupby("size")["axis"].is_monotonic_increasing).all()
    assert sum(table.attrs["left_out"].values()) == len({c for c in range(len(cells.grid)) if c not in shown and
                                                         set(cells.members_of(c).tolist()) & set(of_point)})  # fmt: skip
    assert len(cells_between(cells, points[:0], axis[:0])) == 0


def test_outliers_are_clipped_and_what_is_not_finite_is_nowhere() -> None:
    table = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)
    table[0], table[1] = [0, 1e6], [np.nan, 0]
    axis = class_axis(table, 0, 1)
    assert axis[0] == 1 and np.isnan(axis[1]) and np.abs(axis[2:]).mean() > 0.2
    assert (class_axis(np.ones((5, 2)), 0, 1) == 0).all()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda t: winners(t, 3), "no output 3: there are outputs 0 to 2"),
        (lambda t: top(t, 0, most=0), "the top 0 points were asked for: at least 1 would do"),
        (lambda t: arguing_points(t, 0, by="first"), "no way to choose points 'first': there is winner, top, both"),
        (lambda t: class_axis(t, 1, 1), "an axis lies between two outputs, and both are 1: choose another"),
        (lambda t: class_axis(t, 0, -1), "no output -1: there are outputs 0 to 2"),
    ],
)
def test_what_no_class_atlas_can_be_made_of_is_refused(act: Any, message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        act(np.zeros((4, 3)))


# ---------------------------------------------------------------------------------------------------------------------
# Unusual cells


def corners(wrong: int = 20, few: bool = False) -> Cells:
    """Four heaps of 40 points; each argues for its own class but the second, of which `wrong` points have another label."""
    xy = np.repeat([[0.0, 0], [1, 0], [0, 1], [1, 1]], 40, axis=0)
    heap = np.repeat(np.arange(4), 40)
    codes = np.array([0, 1, 2, 2])[heap]
    codes[40 : 40 + wrong] = 0
    image = np.arange(160)
    image[120:] = 120 if few else image[120:]
    attribution = np.eye(3)[np.array([0, 1, 2, 0])[heap]] * 5 + 0.1
    return make_cells(
        layout(xy), [np.ones((160, 2))], image, codes, LABELS, sizes=[2], attribution=attribution, attributed="fc"
    )


def test_the_cell_that_argues_for_what_no_member_is_comes_first() -> None:
    table = unusual_cells(corners(), MAP)
    assert table["argues_for"].tolist() == ["a", "a", "b", "c"] and table["share"].tolist() == [0, 1, 0.5, 1]
    assert table.loc[0, ["column", "row", "usual", "usual_share"]].tolist() == [1, 1, "c", 1.0]
    np.testing.assert_allclose(table["score"], [1, 0, 0, 0], atol=1e-6)
    table = unusual_cells(corners(wrong=30), MAP)
    assert table["argues_for"].tolist()[:2] == ["a", "b"] and table.loc[1, "share"] == 0.25
    np.testing.assert_allclose(table["score"][:2], [1, 1 - 0.25 / 0.75], atol=1e-6)
    assert table.attrs == {"silent": 0, "unmapped": 0, "unlabelled": 0}


def planted(argues: float, members: list[list[int]]) -> Cells:
    """Heaps of 60 points with so many members of each label; all argue for "a", the second heap `argues` as strongly."""
    xy = np.repeat([[0.0, 0], [1, 0], [0, 1], [1, 1]], 60, axis=0)
    codes = np.concatenate([np.repeat(np.arange(3), counts) for counts in members])
    attribution = np.repeat([[5.0, 0, 0], [5 * argues, 0, 0], [5, 0, 0], [5, 0, 0]], 60, axis=0)
    return make_cells(
        layout(xy), [np.ones((240, 2))], np.arange(240), codes, LABELS, sizes=[2], attribution=attribution, attributed="fc"
    )


def test_a_cell_that_is_merely_mixed_ranks_below_one_that_argues_for_a_class_few_members_have() -> None:
    mixed, unusual, pure, none_of_it = [20, 20, 20], [6, 54, 0], [60, 0, 0], [0, 30, 30]
    table = unusual_cells(planted(0.6, [mixed, unusual, pure, none_of_it]), MAP).set_index("cell")
    assert 1 - table.loc[0, "share"] > 0.6 * (1 - table.loc[1, "share"]), "plain impurity would have put it first"
    assert table.index.tolist() == [3, 1, 0, 2]
    np.testing.assert_allclose(table["score"], [1, 0.6 * (1 - 6 / 54), 0, 0], atol=1e-6)


def test_cells_of_few_images_come_after_all_others_and_are_marked() -> None:
    table = unusual_cells(corners(few=True), MAP)
    assert table["few"].tolist() == [False, False, False, True] and table.iloc[-1]["score"] == pytest.approx(1)


def test_scores_are_those_of_their_definition_and_what_is_left_out_is_counted() -> None:
    found = world()
    cells = cells_of(found)
    part = ClassMap(["A", "B", "C", "D"], [0, 1, -1, -1], LABELS, "file", "")
    table = unusual_cells(cells, part)
    assert len(table) + sum(table.attrs.values()) == len(cells.grid) and table.attrs["unmapped"] > 0
    assert set(table["argues_for"]) <= {"a", "b"} and table["score"].is_monotonic_decreasing | table["few"].any()
    for row in table.itertuples():
        label = found["codes"][found["image"][cells.members_of(row.cell)]]
        assert row.share == pytest.approx((label == LABELS.index(row.argues_for)).sum() / (label >= 0).sum())
    assert len(unusual_cells(cells, part, size=4)) == (table["size"] == 4).sum()


def test_without_attribution_or_labels_nothing_is_unusual() -> None:
    found = world()
    with pytest.raises(AtlasError, match="these cells have no attribution, so that none argues for a class: attribute"):
        unusual_cells(cells_of(found, attribution=None), MAP)
    bare = make_cells(
        layout(found["xy"]), [found["vectors"]], found["image"], np.full(300, -1), [], sizes=[2],
        attribution=found["attribution"], attributed="fc",
    )  # fmt: skip
    with pytest.raises(AtlasError, match="the images carry no labels, so that no association is unusual: label them by"):
        unusual_cells(bare, MAP)


# ---------------------------------------------------------------------------------------------------------------------
# Crossing units


def statistics(top_image: list[list[int]], top_value: list[list[float]] | None = None) -> Statistics:
    """The statistics of units whose top images are given, unit by unit."""
    image = np.array(top_image, np.int32).T
    value = np.ones(image.shape, np.float32) if top_value is None else np.array(top_value, np.float32).T
    none = np.zeros(image.shape[1], np.int64)
    return Statistics("fc", 1, "mean", 8, np.zeros((0, 4), np.int32), np.zeros(0, np.int64), np.zeros((0, len(none))),
                      np.zeros((0, len(none))), np.zeros((3, len(none)), np.float32), none, none, value, image)  # fmt: skip


def test_a_unit_shared_evenly_by_two_classes_comes_before_one_of_a_single_class() -> None:
    codes = np.array([0, 0, 0, 0, 1, 1, 2, -1])
    found = crossing_units(statistics([[0, 1, 2, 3], [0, 1, 4, 5], [0, 1, 2, 6], [0, 4, 6, 7]]), codes, LABELS)
    assert found["unit"].tolist() == [1, 3, 2, 0]
    np.testing.assert_allclose(found["score"], [1, 2 / 3, 0.5, 0])
    assert found.loc[0, ["first", "second", "classes", "images"]].tolist() == ["a", "b", 2, 4]
    assert found.loc[1, ["classes", "images"]].tolist() == [3, 3] and found["second"].isna().tolist() == [
        False,
        False,
        False,
        True,
    ]


def test_images_that_do_not_excite_a_unit_and_dead_units_do_not_count() -> None:
    codes = np.array([0, 0, 1, 1])
    top_value = [[3.0, 2, 0, 0], [0, 0, 0, 0], [3, 2, 1, np.nan]]
    found = crossing_units(statistics([[0, 1, 2, 3], [0, 1, 2, 3], [0, 2, 3, -1]], top_value), codes, LABELS[:2])
    assert found["unit"].tolist() == [2, 0] and found["images"].tolist() == [3, 2] and found.attrs == {"silent": 1}
    assert found["score"].tolist() == pytest.approx([2 / 3, 0])


def test_one_label_alone_has_no_second_and_none_at_all_is_refused() -> None:
    assert crossing_units(statistics([[0, 1]]), np.zeros(2, int), ["a"])["score"].tolist() == [0]
    with pytest.raises(AtlasError, match="the images carry no labels, so that no unit crosses classes: label them"):
        crossing_units(statistics([[0, 1]]), np.full(2, -1), LABELS)


# ---------------------------------------------------------------------------------------------------------------------
# Layers side by side


def test_layers_side_by_side_are_the_means_over_their_cells() -> None:
    found = world()
    double = {**found, "attribution": 2 * found["attribution"]}
    conv, fc = cells_of(found), cells_of(double, layout=layout(found["xy"], ["fc2"]))
    table = layer_depth([conv, fc])
    assert table[["layer", "size"]].to_numpy().tolist() == [["fc", 4], ["fc", 8], ["fc2", 4], ["fc2", 8]]
    for place, size in enumerate((4, 8)):
        own = [cell for cell in conv.of_grid(size) if not conv.few[cell]]
        assert table.loc[place, "purity"] == pytest.approx(np.nanmean(conv.purity[own]))
        assert table.loc[place, "attribution"] == pytest.approx(conv.best_value[own, 0].mean(), rel=1e-5)
        assert table.loc[place, "cells"] - table.loc[place, "few"] == len(own)
        assert table.loc[place + 2, "attribution"] == pytest.approx(2 * table.loc[place, "attribution"], rel=1e-3)


def test_layers_in_other_grids_or_given_twice_are_not_compared() -> None:
    found = world()
    other = cells_of(found, sizes=[4])
    for layers, message in (
        (
            [cells_of(found), other],
            "layers are compared in the same grids, and these have grids of 4 and of 4, 8: make",
        ),
        ([other, other], "each layer is compared once, and these are fc, fc: give one layout of each"),
        ([], "no layer's cells were given: give those of at least one"),
    ):
        with pytest.raises(AtlasError, match=re.escape(message)):
            layer_depth(layers)
    table = layer_depth([cells_of(found), cells_of(found, sizes=[4], layout=layout(found["xy"], ["fc2"]))], sizes=[4])
    assert table[["layer", "size"]].to_numpy().tolist() == [["fc", 4], ["fc2", 4]], "those that both have can be asked for"
    bare = layer_depth([cells_of(found, attribution=None)])
    assert bare["attribution"].isna().all() and bare["purity"].notna().all()


def test_cells_of_other_labels_than_the_predictions_are_refused() -> None:
    other = ClassMap(["A", "B", "C"], [0, 1, 2], ["x", "y", "z"], "order", "")
    with pytest.raises(AtlasError, match="made of other labels than the predictions: make them again with `atlas icons`"):
        unusual_cells(corners(), other)
