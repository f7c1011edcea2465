"""The verbs that ask what features do: volumes, levels, properties of images, selectivity of units."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.atlas import Atlas, open_atlas
from atlas.errors import AtlasError, choose
from atlas.verbs import check_writable, damage_told, write_table

if TYPE_CHECKING:
    import pandas as pd

    from atlas.progress import Progress

TABLES = (".csv", ".parquet")


def _opened(atlas: str | os.PathLike[str] | Atlas, network: str | int | None) -> Atlas:
    return atlas if isinstance(atlas, Atlas) else open_atlas(atlas, network=network)


def _rows(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return [dict(row) for row in table.astype(object).where(table.notna(), None).to_dict("records")]


def volume(
    atlas: str | os.PathLike[str] | Atlas,
    images: Any,
    *,
    layers: Sequence[str] = (),
    network: str | int | None = None,
    channels: int | None = None,
    size: int | None = None,
    cam: str | None = None,
    at: tuple[int, int] | None = None,
    keep: bool = False,
    out: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Render the volume of an image, and with `keep` keep it for the explorer and the report to slice; return what is in it.

    `images` are rows, image_ids or a kept selection, as of `Atlas.export`; to render, `out` (PNG, SVG, PDF or WebP), one
    image. `layers`, `channels`, `size` and `cam` as of `atlas.volumes.plan`; the slices lie at `at` y, x of the grid.
    """
    from atlas.export.rows import rows_of
    from atlas.maps.volume import CHANNELS
    from atlas.pages import figures
    from atlas.volumes import keep as keep_volumes
    from atlas.volumes import plan, see

    if out is None and not keep:
        raise AtlasError(
            "say what becomes of the volume: give -o FILE to draw it, or --keep for the explorer and the report to slice it"
        )
    if out is not None:
        check_writable(out, figures.SUFFIXES)
    opened = _opened(atlas, network)
    with damage_told(opened.store.root):
        rows = rows_of(opened, images)
        if out is not None and len(rows) != 1:
            raise AtlasError(f"{len(rows)} images to draw: -o takes one, and --keep any number; name one image")
        wanted = plan(opened, rows, layers, channels=channels or CHANNELS, size=size, cam=cam, device=device)
        kept = keep_volumes(opened, wanted, progress=progress) if keep else None
        told = {"images": rows, "layers": wanted.layers, "cam": wanted.cam, "kept": kept, "file": None}
        if out is None:
            return told
        seen = see(opened, wanted, rows[0])
        tall, wide = seen.volume.values.shape[1:]
        if at is not None and not (0 <= at[0] < tall and 0 <= at[1] < wide):
            raise AtlasError(
                f"slices at y {at[0]}, x {at[1]} of a grid of {tall} × {wide}: both count from 0, choose others"
            )
        pixels = opened.network().preprocess.array(opened.seeing.picture(rows[0]))
        figures.save(
            figures.volume_figure(
                seen.volume.values, seen.volume.layer, cam=wanted.cam is not None, at=at, title=_title(opened, rows[0]),
                note=f"{opened.network_record.title}; the {wanted.channels} most active channels of each layer, each level "
                "from its least value to its greatest",
                picture=np.moveaxis(pixels, 0, -1).squeeze(),
            ),
            Path(out),
        )  # fmt: skip
    return told | {"file": str(out), "levels": len(seen.volume.values), "grid": [tall, wide]}


def _title(atlas: Atlas, row: int) -> str:
    table = atlas.images()
    label, said = table["label"].iloc[row], table["prediction"].iloc[row] if "prediction" in table else None
    words = [f"image {row}", *([str(label)] if isinstance(label, str) else [])]
    return "The volume of " + ", ".join(words) + (f", predicted {said}" if isinstance(said, str) else "")


def levels(
    atlas: str | os.PathLike[str] | Atlas,
    *,
    images: int | None = None,
    layers: Sequence[str] = (),
    network: str | int | None = None,
    channels: int | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Say level by level how much a layer shows of its input and how far it separates the classes, as `levelling.levels`."""
    from atlas.levelling import SAMPLE
    from atlas.levelling import levels as ask
    from atlas.maps.volume import CHANNELS

    if out is not None:
        check_writable(out, TABLES)
    opened = _opened(atlas, network)
    with damage_told(opened.store.root):
        table = ask(opened, images or SAMPLE, layers, channels=channels or CHANNELS, seed=seed, device=device,
                    progress=progress)  # fmt: skip
    if out is not None:
        write_table(table, Path(out))
    return {"rows": _rows(table), "images": images or SAMPLE, "file": None if out is None else str(out)}


def properties(
    atlas: str | os.PathLike[str] | Atlas,
    *,
    sweep: Sequence[str] = (),
    images: int | None = None,
    network: str | int | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Say how brightness, contrast and the other properties of images go along with confidence and accuracy.

    ``relations`` and ``bins`` are observed, as `sweeping.effects` has them; `sweep` names properties to change one at a
    time, or ``all``: then ``sweeps`` has what the network said, and `out` (CSV, Parquet) every image's.
    """
    from atlas.data.sweeping import SWEEPS
    from atlas.sweeping import SAMPLE, effects, summary
    from atlas.sweeping import sweep as change

    if out is not None:
        check_writable(out, TABLES)
        if not sweep:
            raise AtlasError("--out writes what a sweep found: name a property with --sweep, or all")
    kinds = [] if list(sweep) == ["all"] else list(sweep)
    for kind in kinds:
        if kind not in SWEEPS:
            raise choose("property to sweep", kind, ["all", *SWEEPS])
    opened = _opened(atlas, network)
    with damage_told(opened.store.root):
        found, bins = effects(opened)
        answer: dict[str, Any] = {"relations": _rows(found), "bins": _rows(bins), "sweeps": [], "file": None}
        if sweep:
            table = change(opened, images or SAMPLE, kinds=kinds, seed=seed, device=device, progress=progress)
            answer["sweeps"] = _rows(summary(table))
            if out is not None:
                write_table(table, Path(out))
                answer["file"] = str(out)
    return answer


def selectivity(
    atlas: str | os.PathLike[str] | Atlas,
    *,
    layer: str | int | None = None,
    groups: Mapping[str, str] | None = None,
    grey: bool = False,
    limit: int | None = None,
    network: str | int | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Say which unit of a layer answers to which orientation, frequency, hue and group, as `tuning.selectivity` does.

    The explorer's units can then be sorted by it. `out` names a table, CSV or Parquet, of every unit.
    """
    from atlas.patterns.selectivity import TUNED, chance_auc
    from atlas.tuning import selectivity as ask

    if out is not None:
        check_writable(out, TABLES)
    opened = _opened(atlas, network)
    with damage_told(opened.store.root):
        record = ask(opened, layer, groups=groups, grey=grey, limit=limit, seed=seed, device=device, progress=progress)
    table = record.table()
    if out is not None:
        write_table(table, Path(out))
    tuned = {name: int((table[f"{name}_index"] >= TUNED).sum()) for name in ("orientation", "hue")}
    return {
        "layer": record.layer, "functional": record.functional, "groups": record.groups, "tuned": tuned, "index": TUNED,
        "group_images": record.group_images, "chance": chance_auc(*record.group_images) if record.groups else None,
        "file": None if out is None else str(out), "rows": _rows(table),
    }  # fmt: skip
