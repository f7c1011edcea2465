"""What a build would take: points, bytes and time, before any of it is done."""

from __future__ import annotations

import math
import time
from typing import Any

from atlas.machine import cores
from atlas.maps.neighbours import EXACT_UP_TO
from atlas.pipeline import sample_input
from atlas.planning import Plan, graphs_needed, positions

# Seconds per point on one core, as the demo's records have them (70 000 points): an estimate, and printed as one.
SECONDS_PER_POINT = {"umap": 1.9e-4, "tsne": 1.4e-3, "pca": 2.3e-5}
SECONDS_PER_PAIR = 6e-9  # of points, compared in the search for neighbours, on one core
BYTES_PER_VALUE = 2 + 1  # float16 in the part, uint8 for colour; a large layer's index holds it once more, as float16
BYTES_PER_THUMBNAIL = 300


def estimate(todo: Plan) -> dict[str, Any]:
    """Return what a build would take: images, points, bytes on disk and seconds, the network's speed tried on it."""
    count, workers = todo.images.count, min(todo.run["workers"], max(1, len(todo.layouts)))
    points = {layer.name: count * positions(layer.functional) for layer in todo.layers}
    units = dict(zip(todo.record.layers["name"], todo.record.layers["units"], strict=True))
    graphs = graphs_needed(todo.layers, todo.layouts)
    lists = sum((8 * k + 2 * sum(units[name] for name in layers)) * points[layers[0]] for layers, k in graphs.items())
    pairs = sum(min(points[layers[0]], EXACT_UP_TO) * points[layers[0]] for layers in graphs)
    maps = sum(SECONDS_PER_POINT[choice.method] * points[choice.layers[0]] for choice in todo.layouts)
    values = sum(points[name] * units[name] for name in points)
    return {
        "images": count,
        "points": sum(points.values()),
        "bytes": int(BYTES_PER_VALUE * values + lists + BYTES_PER_THUMBNAIL * count),
        "seconds": math.ceil(_try_speed(todo) * count + SECONDS_PER_PAIR * pairs / cores() + maps / workers),
        "layers": [f"{layer.name} ({layer.functional})" for layer in todo.layers],
        "layouts": [choice.title for choice in todo.layouts],
    }


def _try_speed(todo: Plan) -> float:
    """Seconds per image of the bare network on a batch of 16."""
    import torch

    from atlas.models.network import evaluating

    batch = sample_input(todo.network, todo.images.sample()).repeat(16, 1, 1, 1)
    with evaluating(todo.network.module), torch.inference_mode():
        todo.network.module(batch)
        started = time.perf_counter()
        todo.network.module(batch)
    return (time.perf_counter() - started) / 16
