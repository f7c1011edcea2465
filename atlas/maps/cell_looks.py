"""How cells are shown: how opaque a label or a class is in each, how large its icon, and all of it as a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from atlas.errors import AtlasError, one_line
from atlas.maps.records import Cells

HEAVY = 500  # activations from which the article lets a cell decide the scale of opacities


def class_opacity(cells: Cells, output: int) -> np.ndarray:
    """Return how strongly each cell argues for one output, 0 to 1, float32 [cell]: the heat-map of a class.

    max(0, attribution) / the greatest attribution over the heavy cells of the same grid, at most 1, which is also what a
    positive one is where no heavy cell has any. Heavy are cells of more than 500 points, in smaller data those of more
    points than the mean of the kept cells.
    Source: the class heat-map of Carter et al., "Activation Atlas", Distill 2019. An unknown output raises AtlasError.
    """
    there = cells.attribution.shape[1]
    if not there:
        raise AtlasError("these cells have no attribution, so that none argues for a class: attribute their layer first")
    if not 0 <= output < there:
        raise AtlasError(f"no output {one_line(repr(output))}: there are outputs 0 to {there - 1}")
    return _opacity(cells, np.full(len(cells.grid), output))


def label_opacity(cells: Cells) -> np.ndarray:
    """Return how strongly each cell argues for the output it is named by, 0 to 1, float32 [cell]: its `class_opacity`.

    So it is 1 where the output is argued for most, whatever the outputs' own scales; 0 for a cell without attribution.
    """
    return _opacity(cells, cells.best[:, 0]) if cells.best.shape[1] else np.zeros(len(cells.grid), np.float32)


def _opacity(cells: Cells, outputs: np.ndarray) -> np.ndarray:
    """Return the class opacity of one output for each cell, float32 [cell]; `outputs` int [cell], -1 for none."""
    found, known = np.zeros(len(cells.grid), np.float32), np.nan_to_num(cells.attribution, nan=0.0)
    for number in range(len(cells.sizes)):
        own = np.flatnonzero((cells.grid == number) & (outputs >= 0))
        if len(own):
            scale = known[_heavy(cells, number)].max(axis=0)[outputs[own]]
            value = np.maximum(known[own, outputs[own]], 0)
            found[own] = np.minimum(np.divide(value, scale, out=np.sign(value), where=scale > 0), 1)
    return found


def _heavy(cells: Cells, grid: int) -> np.ndarray:
    """Return the cells of one grid that decide the scale, int [cell]; all where they have equally many points."""
    own = np.flatnonzero(cells.grid == grid)
    points = np.asarray(cells.points)[own]
    heavy = own[points > min(HEAVY, points.mean())]
    return heavy if len(heavy) else own


def icon_sides(cells: Cells, *, density: float = 1.0) -> np.ndarray:
    """Return the side of each cell's icon as a share of the cell's, float32 [cell]: min(1, √(density · n / (N / g²))).

    n points of the cell, N of the layout, g × g cells; `density` 1 fills a cell that has as many points as if all were
    spread evenly. Source: Carter et al., "Activation Atlas", Distill 2019.
    """
    placed = cells.point_cell.shape[1] - cells.left_out
    usual = placed / np.square(np.array(cells.sizes, np.float64))[cells.grid]
    return np.minimum(1, np.sqrt(density * cells.points / usual)).astype(np.float32)


def cells_table(cells: Cells, names: Sequence[str], *, size: int | None = None) -> pd.DataFrame:
    """Return one row per cell, of one grid or of all: where it lies, what it holds, what it argues for.

    Columns: cell, size, column, row, points, images, few, output (its name from `names`, None without attribution),
    attribution, opacity, label (the most frequent), purity, parent.
    """
    wanted = np.arange(len(cells.grid)) if size is None else cells.of_grid(size)
    named = cells.best[:, 0] if cells.best.shape[1] else np.full(len(cells.grid), -1)
    value = cells.best_value[:, 0] if cells.best.shape[1] else np.full(len(cells.grid), np.nan, np.float32)
    table = pd.DataFrame(
        {
            "cell": np.arange(len(cells.grid)),
            "size": np.array(cells.sizes)[cells.grid],
            "column": cells.column,
            "row": cells.row,
            "points": cells.points,
            "images": cells.images,
            "few": cells.few,
            "output": np.array([*names, None], object)[named],
            "attribution": value,
            "opacity": label_opacity(cells),
            "label": np.array([*cells.labels, None], object)[usual_label(cells)],
            "purity": cells.purity,
            "parent": cells.parent,
        }
    )
    return table.iloc[wanted].reset_index(drop=True)


def usual_label(cells: Cells) -> np.ndarray:
    """Return the most frequent label among each cell's members, the first of equals: int [cell], -1 without labels."""
    if not cells.labels:
        return np.full(len(cells.grid), -1)
    return np.where(cells.members.sum(axis=1) > 0, cells.members.argmax(axis=1), -1)
