"""What the page fetches of classes: how far they spread, how they mix, and the images where two of them meet."""

from __future__ import annotations

import functools

import numpy as np

from atlas.data.records import SPLITS
from atlas.errors import AtlasError
from atlas.maps.records import Neighbours
from atlas.pages.serving import KEY, NUMBER, Answer, Routes, as_json, owner_of, raw, tidy
from atlas.pages.view import View
from atlas.patterns.spread import ClassSpread
from atlas.patterns.voting import voters

BLOCK = 8192  # points at a time: 8 192 × 100 neighbours of int64 are 6 MB


def spread(key: str) -> Answer:
    """Return how far each class spreads and how pure its neighbours are, over all images and each split: lists of lists."""
    record: ClassSpread = owner_of(key, "spread").read(key, ClassSpread)
    return as_json(
        {
            "over": record.over,
            "k": record.k,
            "metric": record.metric,
            "count": record.count.tolist(),
            "spread": [tidy(row) for row in record.spread],
            "purity": [tidy(row) for row in record.purity],
        }
    )


def mixing(key: str, over: str) -> Answer:
    """Return the mean share of each class's neighbours that belong to each class: float32 [class, class], NaN for none."""
    view = owner_of(key, "spread")
    record: ClassSpread = view.read(key, ClassSpread)
    return raw(np.asarray(record.mixing[_over(record, over)], np.float32))


@functools.lru_cache(maxsize=256)
def meeting(key: str, over: str, first: str, second: str) -> Answer:
    """Return the images of one class that have a neighbour of another, those with most of them first.

    int32 [image] rows, then int32 [image] the number of such neighbours among the k that `mixing` counts; of an image with
    several points, the most of any of them.
    """
    view = owner_of(key, "spread")
    record: ClassSpread = view.read(key, ClassSpread)
    rows, votes = meeting_rows(view, key, record, _over(record, over), _class(record, first), _class(record, second))
    return raw(np.concatenate([rows, votes]).astype("<i4"))


def meeting_rows(
    view: View, key: str, record: ClassSpread, over: int, first: int, second: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and votes of the images of class `first` with neighbours of class `second`, those with most first."""
    lists: Neighbours = view.read(view.inputs(key, "neighbours")[0], Neighbours)
    image = view.point_image(view.inputs(key, "activations")[0])
    mine = np.flatnonzero(_counted(view, record, over)[image] & (view.images.codes[image] == first))
    votes = np.zeros(len(view.images), np.int64)
    for start in range(0, len(mine), BLOCK):
        points = mine[start : start + BLOCK]
        said = voters(np.asarray(lists.indices[points]), image[points], image, view.images.codes, record.k)
        np.maximum.at(votes, image[points], (said == second).sum(axis=1))
    rows = np.flatnonzero(votes)
    order = np.argsort(-votes[rows], kind="stable")
    return rows[order], votes[rows][order]


def _counted(view: View, record: ClassSpread, over: int) -> np.ndarray:
    """Return which images a split of the record is over: bool [image]."""
    name = record.over[over]
    return np.ones(len(view.images), bool) if name == "all" else view.splits == SPLITS.index(name)


def _over(record: ClassSpread, number: str) -> int:
    if int(number) >= len(record.over):
        raise AtlasError(f"classes were measured over {', '.join(record.over)}: there is no number {number}")
    return int(number)


def _class(record: ClassSpread, number: str) -> int:
    if int(number) >= len(record.labels):
        raise AtlasError(f"no class {number}: there are {len(record.labels)}")
    return int(number)


ROUTES: Routes = [
    (rf"/spread/{KEY}\.json", spread),
    (rf"/mixing/{KEY}/([0-9])\.bin", mixing),
    (rf"/meeting/{KEY}/([0-9])/{NUMBER}/{NUMBER}\.bin", meeting),
]
