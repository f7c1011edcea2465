"""The sheet of preferred inputs of an atlas: which real images stand beside each, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.activations.records import Activations, Statistics
from atlas.data.thumbnails import thumbnail
from atlas.preferred.records import FAILURES, Preferred

if TYPE_CHECKING:
    from atlas.atlas import Atlas

BEST = 4  # of the real images that excite a unit most
MIDDLING = (99.0, 90.0, 75.0, 50.0)  # percentiles of the further ones
MOST_ROWS = 100  # of a sheet; more make a picture that nothing opens


def real_images(atlas: Atlas, layer: str, unit: int) -> list[tuple[int, str]]:
    """Return images that excite a unit from most to middling: row, and in words which each is.

    The best come from the layer's statistics, the middling ones from its kept vectors; without either there are fewer.
    """
    best, further = [], []
    names = atlas.names("statistics", layer=layer)
    if names:
        record = atlas.store.read(names[-1], Statistics)
        rows = [int(row) for row in np.asarray(record.top_image)[:, unit] if row >= 0]
        best = [(row, f"no. {place}") for place, row in enumerate(dict.fromkeys(rows), 1)][:BEST]
    kept = atlas.names("activations", layer=layer)
    if kept:
        of = atlas.store.read(kept[-1], Activations)
        values = np.concatenate([block[:, unit].astype(np.float32) for block in atlas.vectors(layer).batches()])
        order = np.argsort(values, kind="stable")
        places = [round(level / 100 * (len(order) - 1)) for level in MIDDLING]
        further = [(int(of.point_image[order[p]]), f"{level:g} %") for p, level in zip(places, MIDDLING, strict=True)]
    return best + further


def write_sheet(atlas: Atlas, records: Sequence[Preferred], path: Path) -> int:
    """Write the preferred inputs of `records`, the first the main one, as a sheet; return how many units are in it."""
    from atlas.pages import figures

    main = records[0]
    units = list(dict.fromkeys(np.asarray(main.units).tolist()))[:MOST_ROWS]
    rows = [_row(atlas, records, unit) for unit in units]
    more = f"; {len(set(main.units.tolist())) - len(units)} further units are not shown" if len(units) == MOST_ROWS else ""
    note = (
        f"{main.functional} of each unit raised by gradient ascent · {main.prior} · seed {main.settings['seed']}; "
        f"beside them real images, the best first, then by percentile{more}"
    )
    figures.save(figures.preferred_sheet(rows, title=f"Preferred inputs of {main.layer}", note=note), path)
    return len(units)


def _row(atlas: Atlas, records: Sequence[Preferred], unit: int) -> Any:
    from atlas.pages.figures_preferred import Row

    main = records[0]
    place = int(np.flatnonzero(main.units == unit)[0])
    failed = bool(main.failure[place]) or not main.converged[place]
    state = FAILURES[main.failure[place]] or ("converged" if main.converged[place] else "still rising")
    words = [
        f"reached {main.activation[place]:.3g}",
        f"above {main.percentile[place]:.4g} % of real images",
        f"best real image {main.best_real[place]:.3g}",
        f"{state}, {main.steps_run[place]} steps",
    ]
    pictures = [(_pixels(r.images[k]), _caption(r, k)) for r in records for k in np.flatnonzero(r.units == unit).tolist()]
    real = [(np.asarray(thumbnail(atlas.image_record, row)), words) for row, words in real_images(atlas, main.layer, unit)]
    return Row(unit_name(atlas, main.layer, unit), words, pictures, real, failed=failed)


def _caption(record: Preferred, place: int) -> str:
    number = f" {record.variant[place] + 1}" if record.settings["variants"] > 1 else ""
    return f"{record.parameterisation}{number}{', untrained' if record.untrained else ''}"


def unit_name(atlas: Atlas, layer: str, unit: int) -> str:
    """Return a unit's number, and for a logit the class it stands for."""
    said, record = atlas.predictions, atlas.network_record
    if said is None or layer not in logit_layers(record.layers, record.outputs):
        return f"Unit {unit}"
    return f"{unit} · {said.map.names[unit]}"


def logit_layers(layers: pd.DataFrame, outputs: int) -> list[str]:
    """Return the layers whose units are the logits: the last with weights, what comes after it, and modules around them."""
    found = []
    for row in layers.iloc[::-1].itertuples():
        if row.units != outputs:
            break
        found.append(str(row.name))
        if row.parameters and not any(str(name).startswith(f"{row.name}.") for name in layers["name"]):
            break
    return found


def _pixels(image: np.ndarray) -> np.ndarray:
    return image[..., 0] if image.shape[-1] == 1 else image
