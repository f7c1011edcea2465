"""Many images of an atlas disturbed: when the pattern of each leaves its class, and when the prediction changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.activations.assemble import vectors_of
from atlas.breaking import Ranges, look_inside
from atlas.data.disturbing import find_kinds
from atlas.errors import AtlasError
from atlas.patterns.courses import Course, order
from atlas.patterns.deviation import LEVEL

if TYPE_CHECKING:
    from atlas.atlas import Atlas
    from atlas.progress import Progress

SAMPLE = 300  # images: the standard error of a share is then 3 points at most


def breaking_points(
    atlas: Atlas,
    images: int | Iterable[int] = SAMPLE,
    layer: str | None = None,
    *,
    kinds: Sequence[str] = (),
    split: str = "auto",
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Return when each of a sample of images breaks, a row per image and disturbance. Needs torch.

    `images` are rows, or how many to draw, in equal shares of each class's own (correctly classified) images. Columns:
    image, label, kind; the strength at which the ``pattern`` leaves its class, the ``prediction`` changes, and the
    ``confidence`` falls below what the class's own images reach (NaN: never); ``first`` and ``confidence_first``, of ORDERS;
    and where the prediction has changed, ``caught`` and ``caught_unsure``: whether at that step the image lies outside the
    class then predicted, and whether it is less sure than that class's own. Errors as of `inside`.
    """
    from atlas.progress import Progress as Silent

    ranges, chosen = Ranges(atlas, layer, split=split), find_kinds(kinds)
    rows = sample(ranges, images, seed) if isinstance(images, int) else [int(row) for row in images]
    found: list[dict[str, Any]] = []
    with (progress or Silent()).stage(f"disturbing images, {ranges.layer}", len(rows)) as advance:
        for row in rows:
            picture = atlas.seeing.picture(row)
            one = look_inside(ranges, picture, chosen, seed=seed, device=device, name=str(row), row=row, label=None)
            found += [{"image": row, "label": one.predicted.label, **_told(course)} for course in one.courses]
            advance(1)
    table = pd.DataFrame(found)
    table.attrs = {"layer": ranges.layer, "over": ranges.patterns.title, "level": LEVEL, "seed": seed}
    return table


def sample(ranges: Ranges, count: int, seed: int) -> list[int]:
    """Draw `count` images, in equal shares, of each class's own; AtlasError for a number below 1 or where there are none."""
    if count < 1:
        raise AtlasError(f"{count} images: at least 1 would do")
    rng = np.random.default_rng(seed)
    of = [rng.permutation(ranges.images(label)).tolist() for label in range(len(ranges.patterns.labels))]
    turns = [row for turn in range(max(map(len, of), default=0)) for rows in of for row in rows[turn : turn + 1]]
    if not turns:
        raise AtlasError("no image is correctly classified, so that there is none to draw: take another split, such as all")
    return sorted(turns[:count])


def standing(atlas: Atlas, layer: str | None = None, *, split: str = "auto") -> pd.DataFrame:
    """Return how many undisturbed images of an atlas lie outside the class that is predicted for them, by split and right.

    Columns: split, right (missing where undefined), images, ``outside`` and ``unsure`` (shares; unsure is less sure than
    the class's own images are). The ranges are those of `split`; images without a vector or a class are left out, counted
    in ``attrs["left_out"]``. Needs no torch.
    """
    ranges = Ranges(atlas, layer, split=split)
    rows = np.flatnonzero(np.isin(np.arange(len(atlas.image_record)), ranges.record.point_image))
    labels = np.array([ranges.label_of(int(output)) for output in ranges.said.prediction[rows]])
    outside, unsure = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    for label in np.unique(labels[labels >= 0]).tolist():
        own, mine = ranges.of(label), np.flatnonzero(labels == label)
        vectors = vectors_of(atlas.store, ranges.record)[np.searchsorted(np.asarray(ranges.record.point_image), rows[mine])]
        far, member = own.distance(vectors), np.isin(rows[mine], own.images)
        far[member] = own.distances[np.searchsorted(own.images, rows[mine][member])]
        outside[mine] = far > own.limit()
        unsure[mine] = ranges.said.confidence[rows[mine]] < ranges.unsure(label)
    right = pd.Series(ranges.said.right[rows] == 1, dtype="boolean").mask(ranges.said.right[rows] < 0)
    splits = atlas.image_record.table["split"].to_numpy(object)[rows]
    table = pd.DataFrame({"split": splits, "right": right, "outside": outside, "unsure": unsure})[labels >= 0]
    found = table.groupby(["split", "right"], dropna=False)
    counted = found.agg(images=("outside", "size"), outside=("outside", "mean"), unsure=("unsure", "mean")).reset_index()
    counted.attrs = {"left_out": int(len(atlas.image_record) - len(table)), "layer": ranges.layer}
    return counted


def _told(course: Course) -> dict[str, Any]:
    changed = course.changes
    return {
        "kind": course.kind,
        "pattern": _strength(course, course.breaks),
        "prediction": _strength(course, changed),
        "confidence": _strength(course, course.doubts),
        "first": course.first,
        "confidence_first": order(course.doubts, changed),
        "caught": None if changed is None else bool(course.new[changed]),
        "caught_unsure": None if changed is None else bool(course.new_unsure[changed]),
    }


def _strength(course: Course, step: int | None) -> float:
    return float("nan") if step is None else float(course.strength[step])
