"""What a graph of nearest neighbours says of labels and of itself: homophily, purity of communities, hubness. numpy only.

Hubness after Radovanović, Nanopoulos, Ivanović, "Hubs in Space", JMLR 11 (2010): how often a point stands in others' lists,
how lopsided that is, and how often it stands in the list of a point with another label.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

SHUFFLES = 100  # permutations of the labels: their mean is then known to a tenth of their spread
HUB = 2.0  # standard deviations above the mean, from which a point is a hub (Radovanović et al., section 3)


def homophily(edges: np.ndarray, codes: np.ndarray, *, seed: int = 0, shuffles: int = SHUFFLES) -> dict[str, Any]:
    """Return the share of edges whose ends have one code, and the same with the codes shuffled.

    ``share``, ``edges`` (those whose ends both have a code, -1 is none), ``control`` and ``deviation``: mean and standard
    deviation over `shuffles` permutations of the codes among the nodes at these edges. None where there is no such edge.
    """
    kept = edges[(codes[edges] >= 0).all(axis=1)]
    if not len(kept):
        return {"share": None, "edges": 0, "control": None, "deviation": None}
    nodes, ends = np.unique(kept, return_inverse=True)
    ends = ends.reshape(kept.shape)
    shares = _shuffled(codes[nodes], lambda mixed: _alike(ends, mixed), seed, shuffles)
    told = {"control": float(shares.mean()), "deviation": float(shares.std())}
    return {"share": _alike(ends, codes[nodes]), "edges": len(kept), **told}


def _alike(ends: np.ndarray, codes: np.ndarray) -> float:
    return float((codes[ends[:, 0]] == codes[ends[:, 1]]).mean())


def _shuffled(codes: np.ndarray, measure: Any, seed: int, shuffles: int) -> np.ndarray:
    chance = np.random.default_rng(seed)
    return np.array([measure(chance.permutation(codes)) for _ in range(shuffles)])


def purity(community: np.ndarray, codes: np.ndarray, *, seed: int = 0, shuffles: int = SHUFFLES) -> dict[str, Any]:
    """Return the share of nodes with the most frequent code of their community, and the same with the codes shuffled.

    Nodes without a community or a code, -1, do not count. Small communities are pure by chance: the control says how pure.
    """
    there = (community >= 0) & (codes >= 0)
    if not there.any():
        return {"share": None, "nodes": 0, "control": None, "deviation": None}
    groups = np.unique(community[there], return_inverse=True)[1].ravel()
    values, own = np.unique(codes[there], return_inverse=True)
    own = own.ravel()

    def pure(mixed: np.ndarray) -> float:
        table = np.bincount(groups * len(values) + mixed, minlength=(int(groups.max()) + 1) * len(values))
        return float(table.reshape(-1, len(values)).max(axis=1).sum() / len(mixed))

    shares = _shuffled(own, pure, seed, shuffles)
    return {"share": pure(own), "nodes": len(own), "control": float(shares.mean()), "deviation": float(shares.std())}


def occurrences(near: np.ndarray, codes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return in how many lists each node stands, and in how many of nodes with another code: int32 [node] each.

    `near` [node, k] are the lists, -1 where they are shorter; where either has no code a list counts in the first only.
    """
    own, place = np.nonzero(near >= 0)
    listed = near[own, place]
    count = np.bincount(listed, minlength=len(near)).astype(np.int32)
    if codes is None:
        return count, np.zeros(len(near), np.int32)
    other = (codes[own] >= 0) & (codes[listed] >= 0) & (codes[own] != codes[listed])
    return count, np.bincount(listed[other], minlength=len(near)).astype(np.int32)


def hubs(listed: np.ndarray) -> np.ndarray:
    """Return which nodes are hubs: in more lists than HUB standard deviations above the mean; bool [node]."""
    return np.asarray(listed) > hub_from(listed)


def hub_from(listed: np.ndarray) -> float:
    """Return how many lists a node must exceed to be a hub."""
    return float(np.mean(listed) + HUB * np.std(listed))


def hubness(listed: np.ndarray, bad: np.ndarray | None, near: np.ndarray) -> dict[str, Any]:
    """Return how unevenly the nodes stand in each other's lists.

    ``skewness`` of how often, ``expected`` that of lists drawn at random (binomial), ``most``, ``from`` (lists that a hub
    exceeds), ``hubs`` (how many), their ``share`` of all places in lists, ``orphans`` (in no list); with labels ``bad``, the
    share of places in lists of another label, ``bad_in_hubs``, the same of the hubs' places, and ``bad_hubs``: hubs of which
    more than half of the places are.
    """
    own, places = hubs(listed), int(listed.sum())
    told: dict[str, Any] = {
        "skewness": skewness(listed), "expected": _expected(len(near), places / len(near)),
        "most": int(listed.max()), "from": hub_from(listed),
        "hubs": int(own.sum()), "share": float(listed[own].sum() / places) if places else None,
        "orphans": int((listed == 0).sum()), "bad": None, "bad_in_hubs": None, "bad_hubs": None,
    }  # fmt: skip
    if bad is not None and places:
        told["bad"] = float(bad.sum() / places)
        told["bad_in_hubs"] = float(bad[own].sum() / listed[own].sum()) if own.any() else None
        told["bad_hubs"] = int((2 * bad[own] > listed[own]).sum())
    return told


def skewness(values: np.ndarray) -> float | None:
    """Return the third standardised moment; None where all values are equal."""
    centred = np.asarray(values, np.float64) - np.mean(values)
    spread = float(np.sqrt((centred**2).mean()))
    return float((centred**3).mean() / spread**3) if spread else None


def _expected(count: int, k: float) -> float | None:
    """Return the skewness of how often a node is drawn where each of the others draws `k` at random."""
    share = k / (count - 1)
    return (1 - 2 * share) / math.sqrt((count - 1) * share * (1 - share)) if 0 < share < 1 else None
