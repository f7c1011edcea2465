"""The public `neighbour_rows`: the nearest images of several images, side by side as a sheet and one by one as a film."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from atlas.atlas import Atlas, open_atlas
from atlas.errors import AtlasError, choose
from atlas.progress import Progress
from atlas.verbs import check_writable, damage_told, picture

if TYPE_CHECKING:
    from atlas.pages.figures_neighbours import Row, Tile

SECONDS = 2.0  # that a query is shown
K = 10


def neighbour_rows(
    atlas: str | os.PathLike[str] | Atlas,
    images: Sequence[Any],
    *,
    layer: str | None = None,
    k: int = K,
    column: str | None = None,
    network: str | int | None = None,
    out: str | os.PathLike[str] | None = None,
    film: str | os.PathLike[str] | None = None,
    title: str = "",
    seconds: float = SECONDS,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return the k nearest images of each of some images of an atlas, and how many of them have the image's own label.

    `images` are rows or image_ids, in the order they are shown; `column` names one of the atlas's columns that stands under
    each picture. `out` is a picture, a row per image; `film` is WebP or MP4, a frame per image. The answer has ``layer``,
    ``metric``, ``rows`` (image, label, alike, neighbours) and ``alike``, the share over all of them; None without labels.
    """
    from atlas.pages import figures
    from atlas.pages.film_file import check_film, check_size
    from atlas.pages.film_neighbours import size_of

    if out is not None:
        check_writable(out, figures.SUFFIXES)
    if film is not None:
        check_film(film)
        check_size(len(images), size_of(k), "give fewer images")
    opened = atlas if isinstance(atlas, Atlas) else open_atlas(atlas, network=network)
    with damage_told(opened.store.root):
        table = opened.images()
        if column is not None and column not in table:
            raise choose("column of this atlas", column, table.columns)
        rows = [opened.row_of(image) for image in images]
        found = [opened.neighbours(row, layer=layer, k=k) for row in rows]
        if not found:
            raise AtlasError("no image is named: give at least one row or image_id")
        told = [_told(table, row, near) for row, near in zip(rows, found, strict=True)]
        layer, metric = found[0].attrs["layer"], found[0].attrs["metric"]
        note = f"{metric} distance in {layer}; framed green where a neighbour has the image's own label"
        heading = title or f"{k} nearest images in {layer}"
        drawn = [_row(opened, table, one, column) for one in told] if out is not None or film is not None else []
    if out is not None:
        figures.save(figures.neighbour_rows(drawn, title=heading, note=note), out)  # type: ignore[arg-type]
    if film is not None:
        _film(drawn, film, heading, note, seconds, progress or Progress())
    labelled = [one for one in told if one["label"] is not None]
    count = sum(len(one["neighbours"]) for one in labelled)
    share = sum(one["alike"] for one in labelled) / count if count else None
    files = {name: None if path is None else str(path) for name, path in (("file", out), ("film", film))}
    return {"layer": layer, "metric": metric, "k": k, "alike": share, "rows": told, **files}


def _told(table: pd.DataFrame, row: int, near: pd.DataFrame) -> dict[str, Any]:
    label = None if pd.isna(table["label"][row]) else str(table["label"][row])
    plain = near.astype(object).where(near.notna(), None).to_dict("records")
    alike = sum(other["label"] == label for other in plain) if label is not None else 0
    return {"image": row, "label": label, "alike": alike, "neighbours": plain}


def _row(atlas: Atlas, table: pd.DataFrame, one: dict[str, Any], column: str | None) -> Row:
    from atlas.pages.figures_neighbours import Row

    own = one["label"]
    near = [
        _tile(atlas, table, other["image"], column, f"{other['distance']:.2g}", own is not None and other["label"] == own)
        for other in one["neighbours"]
    ]
    return Row(_tile(atlas, table, one["image"], column, ""), near)


def _tile(atlas: Atlas, table: pd.DataFrame, row: int, column: str | None, distance: str, alike: bool = False) -> Tile:
    from atlas.pages.figures_neighbours import Tile

    label = table["label"][row]
    value = None if column is None else table[column][row]
    more = "" if column is None else f"{column} {value:.2g}" if isinstance(value, float) else f"{column} {value}"
    words = " · ".join(part for part in (distance, more) if part)
    return Tile(picture(atlas, row), f"row {row}" if pd.isna(label) else str(label), words, alike)


def _film(
    rows: Sequence[Row], film: str | os.PathLike[str], title: str, note: str, seconds: float, progress: Progress
) -> None:
    from atlas.pages.film_file import LOSSLESS, write_film
    from atlas.pages.film_neighbours import neighbour_frames

    small = all(max(tile.picture.size) <= LOSSLESS for row in rows for tile in (row.query, *row.neighbours))
    with progress.stage("the film", len(rows)) as advance:
        frames = neighbour_frames(rows, title=title, note=note)
        write_film(film, frames, [seconds] * len(rows), lossless=small, advance=advance)
