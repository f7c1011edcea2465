"""What the layers make of one image, as the explorer's page draws it: plain values, and bytes for what lies place by place.

`packed` and `unpacked` are the two ends of the worker's answer. numpy only.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from atlas.looking import reduced
from atlas.patterns.propagation import LayerPlaces, rank_of

if TYPE_CHECKING:
    from atlas.propagating import OwnCells, Propagation

BEST = 5  # outputs named that a layer argues for most
MOST_PLACES = 28  # along a side of an activation grid: more are smaller than can be seen, and every n-th is shown
FULL = 127  # the code of the strongest argument, for or against
NOWHERE = -1  # in place of a cell


def best(total: np.ndarray) -> list[int]:
    """Return the outputs that a layer argues for most, the first first, at most BEST."""
    return np.argsort(-total, kind="stable")[:BEST].tolist()


def packed(found: Propagation) -> tuple[dict[str, Any], bytes]:
    """Return what is to be told of an image's way, and its bytes: ``picture`` of a PNG, then those of each layer.

    Of each layer ``grid`` (y, x) places are shown, every ``step``-th: their magnitudes uint8, 255 for the greatest; where it
    has ``cells`` (an artifact's name), the cell of each int32, -1 for none, and its cosine uint8, 255 for 1. Then, for each
    output of ``asked``, ``argued`` (y, x) int8: code / 127 · ``most``.
    """
    layers = [_layer(found, layer) for layer in found.layers]
    picture = _png(found.picture)
    told = {
        "name": found.name,
        "label": found.label,
        "predicted": found.outputs[found.predicted],
        "probability": float(found.probability[found.predicted]),
        "wrong": found.true not in (None, found.predicted),
        "asked": [found.outputs[output] for output in found.asked],
        "left_out": found.left_out,
        "picture": len(picture),
        "layers": [of for of, _ in layers],
    }
    return told, picture + b"".join(body for _, body in layers)


def _layer(found: Propagation, layer: LayerPlaces) -> tuple[dict[str, Any], bytes]:
    step = -(-max(layer.size) // MOST_PLACES)
    shown = (slice(step // 2, None, step),) * 2
    magnitude, argued = layer.magnitude[shown], np.stack([reduced(values) for values in layer.argued])
    most = float(np.abs(argued).max(initial=0.0))
    told = {
        "layer": layer.layer,
        "size": list(layer.size),
        "step": step,
        "grid": list(magnitude.shape),
        "argued": list(argued.shape[1:]),
        "most": most,
        "totals": [_number(layer.total[output]) for output in found.asked],
        "ranks": [rank_of(layer.total, output) for output in found.asked],
        "of": len(layer.total),
        "best": [[found.outputs[output], _number(layer.total[output])] for output in best(layer.total)],
        **_cells(layer, found.cells.get(layer.layer)),
    }
    codes = np.round(FULL * argued / (most or 1.0)).astype(np.int8)
    return told, _bytes(magnitude) + _places(layer, shown) + codes.tobytes()


def _cells(layer: LayerPlaces, own: OwnCells | None) -> dict[str, Any]:
    """Return which cells the places are held against; no ``cells`` for a layer without, or with none of enough images."""
    near = layer.nearest
    if near is None or own is None:
        return {"cells": None}
    cosine = None if near.whole < 0 else _number(near.whole_cosine)
    return {
        "cells": own.name,
        "icons": own.drawn,
        "sides": near.size,
        "method": own.method,
        "cell": near.whole,
        "cosine": cosine,
    }


def _places(layer: LayerPlaces, shown: tuple[slice, slice]) -> bytes:
    if layer.nearest is None:
        return b""
    return layer.nearest.place[shown].astype("<i4").tobytes() + _bytes(np.nan_to_num(layer.nearest.cosine[shown]))


def _bytes(shares: np.ndarray) -> bytes:
    return np.round(255 * np.clip(shares, 0, 1)).astype(np.uint8).tobytes()


def _number(value: Any) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _png(pixels: np.ndarray) -> bytes:
    body = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0]).save(body, "PNG")
    return body.getvalue()


def unpacked(told: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Return an answer with each layer's own bytes in its place: ``magnitude``, ``place``, ``cosines``, ``argues``."""
    start, layers = told["picture"], []
    for layer in told["layers"]:
        places, argued = int(np.prod(layer["grid"])), int(np.prod(layer["argued"]))
        of_cells = bool(layer["cells"])
        sizes = {"magnitude": places, "place": 4 * places * of_cells, "cosines": places * of_cells}
        parts = {}
        for name, count in {**sizes, "argues": argued * len(told["asked"])}.items():
            parts[name], start = body[start : start + count], start + count
        layers.append(layer | parts)
    return told | {"layers": layers, "picture": body[: told["picture"]]}
