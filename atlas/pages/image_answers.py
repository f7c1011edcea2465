"""What the panel of one image fetches beyond its facts: its vectors, its class's moments, its neighbours layer by layer.

As `answers` has it: plain functions by an artifact's key and whole numbers, so that every answer may be kept for ever.
"""

from __future__ import annotations

import functools

import numpy as np

from atlas.activations.assemble import vectors_of
from atlas.activations.records import Activations, Statistics, Vectors
from atlas.errors import AtlasError
from atlas.maps.records import Layout, Neighbours
from atlas.pages.serving import KEY, NUMBER, Answer, Routes, as_json, split_of
from atlas.pages.shelf import SHELF
from atlas.pages.view import View

DIGITS = 7  # of a number: about what a float32 holds

# -- the image's own pattern -----------------------------------------------------------------------------------------------


def vector(key: str, row: str) -> Answer:
    """Return the vectors of one image in a layer: float32 [point of the image, unit], little-endian."""
    view = SHELF.owner(key)
    own = points_of(view.point_image(key), int(row))
    return "application/octet-stream", np.asarray(_vectors(view, key)[own], "<f4").tobytes()


@functools.lru_cache(maxsize=64)
def _vectors(view: View, key: str) -> Vectors:
    return vectors_of(view.store, view.read(key, Activations))


def points_of(point_image: np.ndarray, row: int) -> np.ndarray:
    """Return the points of an image; AtlasError where it has none."""
    found = np.flatnonzero(point_image == row)
    if not len(found):
        raise AtlasError(f"image {row} has no point in this layer")
    return found


def moments(key: str, split: str, code: str) -> Answer:
    """Return one class's mean and standard deviation per unit over the images of a split: JSON, None where undefined."""
    view = SHELF.owner(key)
    found, label = view.patterns(key, split_of(split)), int(code)
    if label >= len(found.labels):
        raise AtlasError(f"no class {label}: there are {len(found.labels)}")
    statistics: Statistics = view.read(key, Statistics)
    return as_json(
        {
            "label": found.labels[label],
            "functional": statistics.functional,
            "count": int(found.count[label]),
            "mean": plain(found.mean[label]),
            "std": plain(found.std[label]),
            "title": found.title,
        }
    )


def plain(values: np.ndarray) -> list[float | None]:
    """Return numbers with DIGITS digits, None for those that are not finite."""
    return [float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None for value in values.tolist()]


# -- its neighbours, layer by layer ----------------------------------------------------------------------------------------


def journey(key: str, row: str) -> Answer:
    """Return one image's nearest images in a layer, as many as were kept, nearest first."""
    view = SHELF.owner(key)
    record: Neighbours = view.read(key, Neighbours)
    point_image = view.point_image(view.inputs(key, "activations")[0])
    rows, distances = near_images(record.indices, record.distances, point_image, int(row))
    return as_json(
        {
            "rows": rows.tolist(),
            "distances": plain(distances),
            "metric": record.metric,
        }
    )


def near_images(
    indices: np.ndarray, distances: np.ndarray, point_image: np.ndarray, row: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the images nearest to an image by the kept lists of its points [point, k]: rows and distances, nearest first.

    Of several points of one image the nearest counts; the image itself is left out; at most k images.
    """
    own = points_of(point_image, row)
    points, far = np.asarray(indices[own]).ravel(), np.asarray(distances[own]).ravel()
    order = np.argsort(far, kind="stable")
    order = order[(points[order] >= 0) & np.isfinite(far[order])]  # an approximate search may find fewer than asked
    rows, far = point_image[points[order]], far[order]
    rows, far = rows[rows != row], far[rows != row]
    first = np.sort(np.unique(rows, return_index=True)[1])[: indices.shape[1]]
    return rows[first], far[first]


# -- its place on the map --------------------------------------------------------------------------------------------------


def standing(key: str, point: str) -> Answer:
    """Return how faithful the place of one point of a layout is: recall, trust, continuity, None where not measured."""
    view, at = SHELF.owner(key), int(point)
    record: Layout = view.read(key, Layout)
    if at >= len(record.xy):
        raise AtlasError(f"no point {at}: there are {len(record.xy)}")
    measured = {name: plain(getattr(record, name)[at : at + 1])[0] for name in ("recall", "trust", "continuity")}
    return as_json({**measured, "k": record.quality.get("recall_k") or record.quality.get("k")})


ROUTES: Routes = [
    (rf"/vector/{KEY}/{NUMBER}\.bin", vector),
    (rf"/moments/{KEY}/([0-3])/(\d{{1,5}})\.json", moments),
    (rf"/journey/{KEY}/{NUMBER}\.json", journey),
    (rf"/standing/{KEY}/{NUMBER}\.json", standing),
]
