"""Which images a limit keeps: a seeded choice, in proportion over labels and splits."""

from __future__ import annotations

import numpy as np
import pandas as pd


def select(labels: pd.Series, splits: pd.Series, limit: int, *, seed: int = 0) -> np.ndarray:
    """Return the rows of `limit` images, ascending: int64 [image].

    Each label gets its share of `limit`, at least one image when there are enough for all; within a label, and over all of
    them, the splits get theirs. Images without a label are one label more.
    """
    if limit >= len(labels):
        return np.arange(len(labels))
    chance = np.random.default_rng(seed)
    label_codes, label_names = pd.factorize(labels, sort=True, use_na_sentinel=False)
    split_codes, split_names = pd.factorize(splits, sort=True)
    counts = np.zeros((len(label_names), len(split_names)), np.int64)
    np.add.at(counts, (label_codes, split_codes), 1)
    shares = shares_by_split(shares_of(counts.sum(1), limit, chance), counts)
    kept = [
        chance.choice(np.flatnonzero((label_codes == label) & (split_codes == split)), shares[label, split], replace=False)
        for label, split in zip(*np.nonzero(shares), strict=True)
    ]
    return np.sort(np.concatenate(kept))


def shares_of(counts: np.ndarray, limit: int, chance: np.random.Generator) -> np.ndarray:
    """Return how many of `limit` go to each of the groups of size `counts`, in proportion: int64 [group].

    No group gets nothing while there are as many as groups; ties and the choice among too many groups fall by `chance`.
    """
    exact = limit * counts / counts.sum()
    shares = np.floor(exact).astype(np.int64)
    if limit >= len(counts):
        shares = np.maximum(shares, 1)
    tie = chance.random(len(counts)) * 1e-6
    while shares.sum() < limit:
        shares[np.argmax(np.where(shares < counts, exact - shares + tie, -np.inf))] += 1
    while shares.sum() > limit:  # groups lifted to one image are paid for by those most above their share
        shares[np.argmax(np.where(shares > 1, shares - exact + tie, -np.inf))] -= 1
    return shares


def shares_by_split(shares: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return each group's share divided over its splits: int64 [group, split], from counts [group, split].

    What rounding takes from a split in one group it gets back in the next, so that the splits are in proportion over all.
    """
    result = np.zeros_like(counts)
    owed = np.zeros(counts.shape[1])
    for group, share in enumerate(shares):
        exact = share * counts[group] / counts[group].sum()
        wanted = exact + owed
        while result[group].sum() < share:
            room = result[group] < counts[group]
            result[group, np.argmax(np.where(room, wanted - result[group], -np.inf))] += 1
        owed = wanted - result[group]
    return result
