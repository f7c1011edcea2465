"""What a build would take: points, bytes and time, before any of it is done."""

from __future__ import annotations

import math
import time
from typing import Any

from atlas.pipeline import Plan, sample_input
from atlas.planning import LISTED, positions

# Seconds per point on one core, from `make demo` on two loaded cores; an estimate, and printed as one.
SECONDS_PER_POINT = {"umap": 7e-4, "tsne": 2.4e-3, "pca": 2e-5, "neighbours": 1.5e-4}


def estimate(todo: Plan) -> dict[str, Any]:
    """Return what a build would take: images, points, bytes on disk and seconds, the network's speed tried on it."""
    seconds_per_image = _try_speed(todo)
    points = sum(todo.images.count * positions(layer.functional) for layer in todo.layers)
    units = dict(zip(todo.record.layers["name"], todo.record.layers["units"], strict=True))
    vectors = sum(todo.images.count * positions(c.functional) * units[c.name] * 3 for c in todo.layers)
    graphs = len({choice.layers for choice in todo.layouts} | {(layer.name,) for layer in todo.layers})
    of = {layer.name: positions(layer.functional) for layer in todo.layers}
    maps = sum(SECONDS_PER_POINT[c.method] * todo.images.count * of[c.layers[0]] for c in todo.layouts)
    return {
        "images": todo.images.count,
        "points": points,
        "bytes": int(vectors * 2 + graphs * todo.images.count * LISTED * 8 + todo.images.count * 300),
        "seconds": math.ceil(
            seconds_per_image * todo.images.count
            + graphs * SECONDS_PER_POINT["neighbours"] * todo.images.count
            + maps / min(todo.run["workers"], max(1, len(todo.layouts)))
        ),
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
