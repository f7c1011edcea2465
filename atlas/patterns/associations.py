"""Unusual associations, ranked: cells that argue for a class few members have, units whose top images cross classes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd

from atlas.activations.records import Statistics
from atlas.errors import AtlasError
from atlas.maps.cell_looks import label_opacity, usual_label
from atlas.maps.records import Cells
from atlas.models.records import ClassMap

FEWEST = 2  # labelled top images that a unit needs before anything can cross


def unusual_cells(cells: Cells, class_map: ClassMap, *, size: int | None = None) -> pd.DataFrame:
    """Return the cells by how unusual it is what they argue for, the most unusual first; of one grid or of all.

    Columns: cell, size, column, row, points, images, few, argues_for (a label), attribution, share (of the labelled members
    that have this label), usual (their most frequent label), usual_share, score. The score is the opacity of the argument
    (0 to 1, `label_opacity`) times 1 − share / usual_share, how much rarer the label argued for is than the usual one: a
    cell that is only mixed, and argues for one of the classes that share it evenly, is not unusual. Cells of few images come
    after all others. Left out, and counted in the frame's ``attrs``: cells without a positive attribution (``silent``),
    whose output is no label (``unmapped``), without a labelled member (``unlabelled``). Without attribution or labels
    AtlasError is raised.
    """
    if not cells.best.shape[1]:
        raise AtlasError("these cells have no attribution, so that none argues for a class: attribute their layer first")
    if not cells.labels:
        raise AtlasError("the images carry no labels, so that no association is unusual: label them by folder or by table")
    if class_map.labels != cells.labels:
        raise AtlasError("these cells were made of other labels than the predictions: make them again with `atlas icons`")
    wanted = np.arange(len(cells.grid)) if size is None else cells.of_grid(size)
    label, labelled = class_map.labels_of(cells.best[:, 0]), cells.members.sum(axis=1)
    kept = wanted
    left_out: dict[Hashable, int] = {}
    argues = np.nan_to_num(cells.best_value[:, 0]) > 0
    for reason, holds in (("silent", argues), ("unmapped", label >= 0), ("unlabelled", labelled > 0)):
        left_out[reason] = int((~holds[kept]).sum())
        kept = kept[holds[kept]]
    share, usual_share = cells.members[kept, label[kept]] / labelled[kept], cells.members[kept].max(axis=1) / labelled[kept]
    table = pd.DataFrame(
        {
            "cell": kept,
            "size": np.array(cells.sizes)[cells.grid[kept]],
            "column": cells.column[kept],
            "row": cells.row[kept],
            "points": cells.points[kept],
            "images": cells.images[kept],
            "few": cells.few[kept],
            "argues_for": np.array(cells.labels, object)[label[kept]],
            "attribution": cells.best_value[kept, 0],
            "share": share,
            "usual": np.array(cells.labels, object)[usual_label(cells)[kept]],
            "usual_share": usual_share,
            "score": label_opacity(cells)[kept] * (1 - share / usual_share),
        }
    )
    table = table.sort_values(["few", "score", "cell"], ascending=[True, False, True], ignore_index=True)
    table.attrs = dict(left_out)
    return table


def crossing_units(statistics: Statistics, codes: np.ndarray, labels: Sequence[str]) -> pd.DataFrame:
    """Return the units by how evenly two classes share the images that excite them most, the most even first.

    `codes` [image] index `labels`, -1 for none. Columns: unit, first, second (the two most frequent labels among the top
    images), first_share, second_share, classes (how many labels), images (labelled top images), value (of the first one),
    score: twice the second's share, 1 where two classes share them evenly and 0 where there is one. Top images that excite a
    unit no more than the least do not count. Left out, and counted in the frame's ``attrs``: units with fewer than two
    labelled top images (``silent``). Without labels AtlasError is raised.
    """
    codes = np.asarray(codes)
    if not (codes >= 0).any():
        raise AtlasError("the images carry no labels, so that no unit crosses classes: label them by folder or by table")
    image, value = np.asarray(statistics.top_image), np.asarray(statistics.top_value)
    excited = (image >= 0) & (value > np.asarray(statistics.quantiles)[0])  # NaN is above nothing
    label = np.where(excited, codes[np.maximum(image, 0)], -1)
    counts = np.stack([(label == code).sum(axis=0) for code in range(len(labels))], axis=1)  # [unit, class]
    total = counts.sum(axis=1)
    units = np.flatnonzero(total >= FEWEST)
    table = _crossing(units, counts[units], labels).assign(value=value[0, units])
    table = table.sort_values(["score", "images", "unit"], ascending=[False, False, True], ignore_index=True)
    table.attrs = {"silent": int(len(total) - len(units))}
    return table


def _crossing(units: np.ndarray, counts: np.ndarray, labels: Sequence[str]) -> pd.DataFrame:
    """Return the table of units from how many top images of each label they have, counts [unit, class]."""
    counts = counts if counts.shape[1] > 1 else np.pad(counts, ((0, 0), (0, 1)))  # a single label has no second
    order = np.argsort(-counts, axis=1, kind="stable")[:, :2]
    total = counts.sum(axis=1)
    shares = np.take_along_axis(counts, order, axis=1) / np.maximum(total, 1)[:, None]
    order[shares == 0] = len(labels)  # no second
    names = np.array([*labels, *[None] * 2], object)[order]
    return pd.DataFrame(
        {
            "unit": units,
            "first": names[:, 0],
            "second": names[:, 1],
            "first_share": shares[:, 0],
            "second_share": shares[:, 1],
            "classes": (counts > 0).sum(axis=1),
            "images": total,
            "score": 2 * shares[:, 1],
        }
    )
