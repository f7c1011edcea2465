"""Layers side by side: how pure a layer's cells are, and how strongly they argue.

Of one place per image both rise with depth; of means over all places the attributions sum to nearly the same in every layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from atlas.errors import AtlasError
from atlas.maps.records import Cells


def layer_depth(layers: Sequence[Cells], *, sizes: Sequence[int] | None = None) -> pd.DataFrame:
    """Return one row per layer and size of grid, in the order given: layer, size, cells, few, purity, attribution.

    ``purity`` is the mean, over cells with labelled members, of the share of their most frequent label; ``attribution`` the
    mean over cells of the greatest mean attribution. Cells of few images count in neither; ``few`` says how many there
    are. Layers are compared at the same sizes, for small cells are purer: those of `sizes`, by default all, which must
    then be the same. Other grids, and a layer given twice, raise AtlasError. Carter et al., Distill 2019, on layers: early
    attributions are small and arbitrary.
    """
    if not layers:
        raise AtlasError("no layer's cells were given: give those of at least one")
    there = {tuple(cells.sizes) for cells in layers}
    if sizes is None and len(there) > 1:
        found = " and of ".join(", ".join(map(str, own)) for own in sorted(there))
        raise AtlasError(f"layers are compared in the same grids, and these have grids of {found}: make them of one size")
    names = [" + ".join(cells.layers) for cells in layers]
    if len(set(names)) < len(names):
        raise AtlasError(f"each layer is compared once, and these are {', '.join(names)}: give one layout of each")
    rows = [_row(name, cells, size) for name, cells in zip(names, layers, strict=True) for size in sizes or cells.sizes]
    return pd.DataFrame(rows, columns=["layer", "size", "cells", "few", "purity", "attribution"])


def _row(name: str, cells: Cells, size: int) -> tuple[str, int, int, int, float, float]:
    own = cells.of_grid(size)
    counted = own[~cells.few[own]]
    greatest = cells.best_value[counted, 0] if cells.best_value.shape[1] else np.empty(0)
    return name, size, len(own), len(own) - len(counted), _mean(cells.purity[counted]), _mean(greatest)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
