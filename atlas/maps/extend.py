"""A layout of more points: those that it has stay where they are, the others are placed among them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from atlas.maps.blocks import Rows
from atlas.maps.layout import title_of
from atlas.maps.neighbours import open_index
from atlas.maps.place import place
from atlas.maps.quality import faithfulness
from atlas.maps.records import Layout, Neighbours
from atlas.progress import Progress

PLACED = 4096  # points placed at a time


def extend(
    layout: Layout, vectors: Rows, before: Neighbours, after: Neighbours, *, seed: int = 0, progress: Progress | None = None
) -> Layout:
    """Return `layout` with a place and a confidence for each of `vectors` [point, unit] that it does not have.

    The first vectors are its own points, in its own space (joined by its scales where it is of several layers);
    `before` are the neighbours of these, `after` those of all, by which its quality is measured anew.
    """
    known, progress = len(layout.xy), progress or Progress()
    old = vectors[:known] if isinstance(vectors, np.ndarray) else vectors.first(known)
    index = open_index(before, old)
    placed = []
    with progress.stage(f"placing in {title_of(layout.method, layout.layers)}", len(vectors) - known) as advance:
        for start in range(known, len(vectors), PLACED):
            placed.append(place(layout, index, old, vectors[start : start + PLACED], seed=seed))
            advance(len(placed[-1].xy))
    xy = np.concatenate([layout.xy, *(part.xy for part in placed)]).astype(np.float32)
    confidence = np.concatenate([layout.confidence, *(part.confidence for part in placed)]).astype(np.float32)
    with progress.stage(f"quality of {title_of(layout.method, layout.layers)}"):
        told = faithfulness(vectors, xy, after, seed=layout.quality["seed"])
    return replace(
        layout,
        xy=xy,
        confidence=confidence,
        quality=told.summary,
        recall=told.recall,
        trust=told.trust,
        continuity=told.continuity,
    )
