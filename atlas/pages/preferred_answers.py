"""What the page fetches of preferred inputs: which there are, how well each succeeded, and the pictures in sheets."""

from __future__ import annotations

import functools
import io
from typing import Any

import numpy as np
from PIL import Image

from atlas.errors import AtlasError
from atlas.pages.serving import KEY, NUMBER, Answer, Routes, as_json, owner_of, tidy
from atlas.pages.view import View
from atlas.preferred.records import FAILURES, Preferred

ACROSS = 8  # pictures in a row of a sheet, and rows
LOSSLESS = 64  # pixels up to which a picture is kept to the last bit: it is shown larger, pixel by pixel
QUALITY = 90  # of WebP for larger ones


def preferred_part(view: View) -> list[dict[str, Any]]:
    """Return every record of preferred inputs that is shown, the newest first, without its pictures."""
    names = [name for name in reversed(view.of_stage("preferred")) if view.of_these_images(name)]
    return [_told(view, name) for name in names]


def _told(view: View, name: str) -> dict[str, Any]:
    fields = view.headers[name]["fields"]
    return {
        "key": name,
        "layer": fields["layer"],
        "network": next(iter(view.inputs(name, "network")), None),
        "param": fields["parameterisation"],
        "prior": fields["prior"],
        "untrained": fields["untrained"],
        "size": fields["settings"]["size"],
        "variants": fields["settings"]["variants"],
        "across": ACROSS,
        "dead": fields["dead"],
        "units": np.asarray(view.read(name, Preferred).units).tolist(),
    }


@functools.lru_cache(maxsize=64)
def table(key: str) -> Answer:
    """Return how each picture came out: a list for each column, and how all were made, in words."""
    record = _record(key)
    failures = np.asarray(record.failure)
    return as_json(
        {
            "functional": record.functional,
            "measured": record.measured,
            "real": record.real,
            "transforms": record.transforms,
            "steps": record.settings["steps"],
            "seed": record.settings["seed"],
            "restarts": record.settings["restarts"],
            "variant": np.asarray(record.variant).tolist(),
            "activation": tidy(np.asarray(record.activation)),
            "percentile": tidy(np.asarray(record.percentile)),
            "best": tidy(np.asarray(record.best_real)),
            "ran": np.asarray(record.steps_run).tolist(),
            "converged": np.asarray(record.converged).astype(int).tolist(),
            "failure": [FAILURES[code] for code in failures],
        }
    )


@functools.lru_cache(maxsize=64)
def sheet(key: str, number: str) -> Answer:
    """Return one sheet of ACROSS × ACROSS pictures, row by row in the record's order: WebP."""
    return sheet_of(_record(key).images, int(number))


def sheet_of(pictures: np.ndarray, number: int) -> Answer:
    """Return one sheet of pictures uint8 [picture, y, x, rgb]: WebP, without loss where they are small."""
    part = np.asarray(pictures[number * ACROSS * ACROSS :][: ACROSS * ACROSS])
    if not len(part):
        raise AtlasError(f"no sheet {number}")
    body = io.BytesIO()
    Image.fromarray(mosaic(part, ACROSS)).save(body, "WEBP", quality=QUALITY, lossless=max(pictures.shape[1:3]) <= LOSSLESS)
    return "image/webp", body.getvalue()


def mosaic(pictures: np.ndarray, across: int) -> np.ndarray:
    """Return pictures uint8 [picture, y, x, rgb] side by side, `across` in a row: uint8 [y, x, 3]."""
    colour = np.repeat(pictures, 3, axis=3) if pictures.shape[3] == 1 else pictures
    rows = -(-len(colour) // across)
    whole = np.zeros((rows * across, *colour.shape[1:]), np.uint8)
    whole[: len(colour)] = colour
    _, height, width, _ = whole.shape
    grid = whole.reshape(rows, across, height, width, 3).swapaxes(1, 2)
    return grid.reshape(rows * height, across * width, 3)


def _record(key: str) -> Preferred:
    return owner_of(key, "preferred").read(key, Preferred)


ROUTES: Routes = [
    (rf"/preferred/{KEY}\.json", table),
    (rf"/preferred/{KEY}/{NUMBER}\.webp", sheet),
]
