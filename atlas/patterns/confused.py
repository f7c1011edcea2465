"""Where on a map one class is taken for another: cells that hold more of a confusion than chance would put there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from atlas.errors import AtlasError
from atlas.maps.records import Cells

SHUFFLES = 1000  # of the mistakes among the images of their class


def confused_cells(
    cells: Cells,
    point_image: np.ndarray,
    codes: np.ndarray,
    said: np.ndarray,
    labels: Sequence[str],
    *,
    size: int,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the cells of one grid by the most frequent confusion in each, the greatest excess first.

    `point_image` [point]; `codes` and `said` [image] index `labels`, the true and the predicted class, -1 for none. Columns:
    cell, column, row, label, taken_for, confused (images of `label` taken for the other), of (images of `label` there),
    share (their quotient), expected (confused images if they lay anywhere among those of `label`), excess (confused −
    expected), p: the share of `shuffles` of the mistakes among the images of each class in which any cell of the grid has
    as large an excess (Westfall and Young's max-statistic, 1993: looking at all cells is paid for). An image counts once
    per cell. Without a mistake AtlasError is raised.
    """
    own = cells.of_grid(size)
    inside = _images_of(cells, np.asarray(point_image), own, size)
    codes, said = np.asarray(codes, np.int64), np.asarray(said, np.int64)
    wrong = (codes >= 0) & (said >= 0) & (codes != said)
    if not wrong[np.unique(inside[1])].any():
        raise AtlasError(
            "no image of these cells is taken for another class, so none is confused: take another split or grid"
        )
    classes = len(labels)
    pair = np.where(wrong, codes * classes + said, -1)
    total = np.zeros((len(own), classes), np.int64)
    np.add.at(total, (inside[0], np.maximum(codes[inside[1]], 0)), codes[inside[1]] >= 0)
    here = np.bincount(codes[np.unique(inside[1])][codes[np.unique(inside[1])] >= 0], minlength=classes)
    mistaken = np.bincount(pair[np.unique(inside[1])] + 1, minlength=classes**2 + 1)[1:].reshape(classes, classes)
    rate = mistaken / np.maximum(here, 1)[:, None]  # share of each class taken for each other
    counted = _counts(inside, pair, len(own), classes)
    excess = counted - total[:, :, None] * rate
    best = excess.reshape(len(own), -1).argmax(axis=1)
    label, other = best // classes, best % classes
    most = _greatest_by_chance(inside, codes, pair, total, rate, shuffles, seed)
    at = np.arange(len(own))
    value = excess[at, label, other]
    of = total[at, label]
    confused = counted[at, label, other]
    table = pd.DataFrame(
        {
            "cell": own,
            "column": np.asarray(cells.column)[own],
            "row": np.asarray(cells.row)[own],
            "label": np.array(labels, object)[label],
            "taken_for": np.array(labels, object)[other],
            "confused": confused,
            "of": of,
            "share": np.divide(confused, of, out=np.zeros(len(own)), where=of > 0),
            "expected": of * rate[label, other],
            "excess": value,
            "p": (1 + (most[None, :] >= value[:, None] - 1e-9).sum(axis=1)) / (1 + len(most)),
        }
    )
    table = table[table["confused"] > 0].sort_values(["excess", "cell"], ascending=[False, True], ignore_index=True)
    table.attrs = {"size": size, "shuffles": shuffles, "seed": seed, "by_chance": float(np.median(most))}
    return table


def _images_of(cells: Cells, point_image: np.ndarray, own: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which image lies in which of the cells `own` (by its place there), each pair once: int64 [pair], twice."""
    of = np.asarray(cells.point_cell)[cells.sizes.index(size)]
    place = np.full(int(own.max()) + 1 if len(own) else 1, -1)
    place[own] = np.arange(len(own))
    kept = of >= 0
    pairs = np.unique(np.stack([place[of[kept]], point_image[kept]], axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _counts(inside: tuple[np.ndarray, np.ndarray], pair: np.ndarray, cells: int, classes: int) -> np.ndarray:
    """Return how many images of each confusion lie in each cell: int64 [cell, class, class]."""
    of = pair[inside[1]]
    flat = np.bincount(inside[0][of >= 0] * classes**2 + of[of >= 0], minlength=cells * classes**2)
    return flat.reshape(cells, classes, classes)


def _greatest_by_chance(
    inside: tuple[np.ndarray, np.ndarray],
    codes: np.ndarray,
    pair: np.ndarray,
    total: np.ndarray,
    rate: np.ndarray,
    shuffles: int,
    seed: int,
) -> np.ndarray:
    """Return the greatest excess of any cell in each shuffle of the mistakes among the images of each class: [shuffle]."""
    chance, cells, classes = np.random.default_rng(seed), total.shape[0], total.shape[1]
    groups = [np.intersect1d(np.flatnonzero(codes == code), inside[1]) for code in range(classes)]
    expected, found = total[:, :, None] * rate, np.empty(shuffles)
    for turn in range(shuffles):
        shuffled = np.full(len(pair), -1)
        for rows in groups:
            shuffled[rows] = chance.permutation(pair[rows])
        found[turn] = (_counts(inside, shuffled, cells, classes) - expected).max()
    return found
