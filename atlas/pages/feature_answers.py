"""What the page fetches of features: what a layer's units answer to, and the volumes of images that were kept."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from atlas.errors import AtlasError
from atlas.maps.volume import STEPS, Volumes
from atlas.pages.serving import KEY, NUMBER, Answer, Routes, as_json, owner_of, raw, tidy
from atlas.pages.view import View
from atlas.patterns.selectivity import Selectivity, chance_auc

# -- units -----------------------------------------------------------------------------------------------------------------


def selectivity_of(view: View, layer: str, network: str | None) -> str | None:
    """Return the newest record of what a layer's units answer to; None where they were not asked."""
    found = [
        name
        for name in view.of_stage("selectivity")
        if view.of_these_images(name)
        and view.headers[name]["fields"].get("layer") == layer
        and network in (None, *view.inputs(name, "network"))
    ]
    return found[-1] if found else None


@functools.lru_cache(maxsize=64)
def selectivity(key: str) -> Answer:
    """Return what each unit of a layer answers to: a list for each column, None where it is undefined."""
    view = owner_of(key, "selectivity")
    record: Selectivity = view.read(key, Selectivity)
    table = record.table()
    columns = [name for name in ("orientation", "orientation_index", "cycles", "hue", "hue_index", "auc") if name in table]
    told = {name: tidy(table[name].to_numpy(np.float64)) for name in columns}
    chance = chance_auc(*record.group_images) if record.groups else None
    return as_json(told | {"groups": record.groups, "images": record.group_images, "chance": chance})


# -- volumes ---------------------------------------------------------------------------------------------------------------


def volumes_part(view: View) -> list[dict[str, Any]]:
    """Return every record of kept volumes that is shown, the newest first: whose, of which images, how large."""
    names = [name for name in reversed(view.of_stage("volumes")) if view.of_these_images(name)]
    return [_told(view, name) for name in names]


def _told(view: View, name: str) -> dict[str, Any]:
    record: Volumes = view.read(name, Volumes)
    return {
        "key": name,
        "network": next(iter(view.inputs(name, "network")), None),
        "rows": np.asarray(record.image).tolist(),
        "layers": list(record.layer),
        "cam": record.cam,
        "size": list(record.values.shape[2:]),
        "steps": STEPS,
    }


def volume(key: str, row: str) -> Answer:
    """Return the volume of one image: uint8 [level, y, x], as `maps.volume.Volumes` keeps it."""
    record, place = _volume(key, row)
    return raw(np.ascontiguousarray(record.values[place]))


def volume_levels(key: str, row: str) -> Answer:
    """Return what the levels of one image's volume are: channel, and what its least and its greatest code stand for."""
    record, place = _volume(key, row)
    return as_json(
        {"channel": record.channel[place].tolist(), "low": tidy(record.low[place]), "high": tidy(record.high[place])}
    )


def _volume(key: str, row: str) -> tuple[Volumes, int]:
    record: Volumes = owner_of(key, "volumes").read(key, Volumes)
    found = np.flatnonzero(np.asarray(record.image) == int(row))
    if not len(found):
        raise AtlasError(f"no volume of image {row} was kept")
    return record, int(found[0])


ROUTES: Routes = [
    (rf"/selectivity/{KEY}\.json", selectivity),
    (rf"/volume/{KEY}/{NUMBER}\.bin", volume),
    (rf"/volume/{KEY}/{NUMBER}\.json", volume_levels),
]
