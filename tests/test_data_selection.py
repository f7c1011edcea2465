from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from atlas.data.listing import text
from atlas.data.selection import select, shares_of


def columns(counts: dict[tuple[str | None, str], int]) -> tuple[pd.Series, pd.Series]:
    rows = [pair for pair, count in counts.items() for _ in range(count)]
    return text(label for label, _ in rows), text(split for _, split in rows)


def test_a_limit_keeps_labels_and_splits_in_proportion_and_the_sources_order() -> None:
    labels, splits = columns({(label, split): n for label in "abcde" for split, n in (("train", 60), ("held-out", 10))})
    rows = select(labels, splits, 70, seed=3)
    assert len(rows) == 70 and (np.diff(rows) > 0).all()
    assert labels[rows].value_counts().tolist() == [14] * 5
    assert splits[rows].value_counts().to_dict() == {"train": 60, "held-out": 10}


def test_splits_stay_in_proportion_over_all_labels_even_where_one_label_has_room_for_one() -> None:
    labels, splits = columns({(str(k), split): n for k in range(14) for split, n in (("train", 60), ("held-out", 10))})
    rows = select(labels, splits, 14)
    assert labels[rows].nunique() == 14
    assert splits[rows].value_counts().to_dict() == {"train": 12, "held-out": 2}


def test_the_choice_is_repeated_by_its_seed_and_differs_with_another() -> None:
    labels, splits = columns({("a", "train"): 100, (None, "train"): 100})
    assert np.array_equal(select(labels, splits, 20, seed=1), select(labels, splits, 20, seed=1))
    assert not np.array_equal(select(labels, splits, 20, seed=1), select(labels, splits, 20, seed=2))


def test_the_unlabelled_are_one_label_more_and_a_large_limit_takes_all() -> None:
    labels, splits = columns({("a", "unknown"): 30, (None, "unknown"): 10})
    rows = select(labels, splits, 8)
    assert labels[rows].isna().sum() == 2
    assert select(labels, splits, 40).tolist() == list(range(40))


@given(st.lists(st.integers(1, 300), min_size=1, max_size=12), st.data())
def test_shares_add_up_fit_and_leave_no_label_out(counts: list[int], data: st.DataObject) -> None:
    limit = data.draw(st.integers(1, sum(counts)))
    shares = shares_of(np.array(counts), limit, np.random.default_rng(0))
    assert shares.sum() == limit and (shares <= counts).all() and (shares >= 0).all()
    assert limit < len(counts) or (shares >= 1).all()
    ideal = limit * np.array(counts) / sum(counts)
    if (ideal >= 1).all():
        assert np.abs(shares - ideal).max() < 1


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).filter(any), min_size=1, max_size=8), st.data())
def test_any_mixture_gives_just_the_limit_without_a_row_twice(counts: list[tuple[int, int]], data: st.DataObject) -> None:
    labels, splits = columns(
        {(str(k), s): n for k, pair in enumerate(counts) for s, n in zip(("a", "b"), pair, strict=True)}
    )
    limit = data.draw(st.integers(1, len(labels)))
    rows = select(labels, splits, limit)
    assert len(set(rows.tolist())) == limit
    shares = np.array([(splits[rows] == "a").sum(), (splits[rows] == "b").sum()])
    assert shares.sum() == limit
