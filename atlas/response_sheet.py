"""The public `responses`: what all units make of groups of images, as numbers, as a sheet and as a film."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from atlas.atlas import Atlas, open_atlas
from atlas.errors import AtlasError, one_line
from atlas.progress import Progress
from atlas.responding import Responses, choose_rows, each_image, measured, preference, ranged, recorded_layers, told
from atlas.verbs import check_writable, damage_told, picture, write_table

if TYPE_CHECKING:
    from atlas.pages.figures_responses import LayerResponses
    from atlas.pages.film_responses import Layer, Shown

WIDTH = 1200  # pixels of a film
NARROWEST, WIDEST = 640, 4096
SECONDS, SHORTEST, LONGEST = 1.0, 0.1, 60  # that an image is shown: usual, and what can be asked for
QUALITY = 20  # of a WebP film: its maps are flat squares, and a hundred frames of them large
PICTURES = (".png", ".webp")  # of a single image's responses


def responses(
    atlas: str | os.PathLike[str] | Atlas,
    images: Sequence[Any] = (),
    *,
    layers: Sequence[str | int] = (),
    most: int | None = None,
    classes: Sequence[str] = (),
    network: str | int | None = None,
    out: str | os.PathLike[str] | None = None,
    film: str | os.PathLike[str] | None = None,
    table: str | os.PathLike[str] | None = None,
    seconds: float = SECONDS,
    width: int = WIDTH,
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return what the units of an atlas's layers answer to images, and write it as a sheet, a film and a table. Needs torch.

    `images` are rows or image_ids; without any, up to `most` of each class, what was held out first. `layers` are by default
    all recorded ones. `out` is a picture: images down, units across; of a single image every unit's map, layer by layer.
    `film` is WebP or MP4, a frame of such maps per image; `table` CSV or Parquet, one row per image and unit. The answer
    names, per layer, the units that tell each class best (Cohen's d).
    """
    opened = atlas if isinstance(atlas, Atlas) else open_atlas(atlas, network=network)
    check_files(out, film, table, single=len(images) == 1)
    check_frames(seconds, width)
    with damage_told(opened.store.root):
        rows, left_out = wanted_rows(opened, images, most, classes)
        chosen = recorded_layers(opened, layers)
        if not chosen:
            raise AtlasError("this atlas has no recorded layer: name some with --layer")
        if film is not None:
            check_length(opened, rows, chosen, width)
        found = measured(opened, rows, chosen, left_out=left_out, device=device, progress=progress)
        if len(images) and (film is not None or (out is not None and len(images) == 1)):
            found = ranged(found, measured(opened, choose_rows(opened)[0], chosen, device=device, progress=progress))
        if out is not None and len(images) == 1:
            write_still(opened, found, Path(out), width=width, device=device)
        elif out is not None:
            write_sheet(opened, found, Path(out))
        if film is not None:
            write_frames(opened, found, film, seconds, width=width, device=device, progress=progress or Progress())
    if table is not None:
        write_table(as_table(opened, found), Path(table))
    return {
        "images": len(rows), "classes": {name: int(found.of(name).sum()) for name in found.classes},
        "held_out": found.splits.count("held-out"), "training": found.splits.count("train"), "left_out": found.left_out,
        "layers": [told(found, layer) for layer in found.layers],
        **{name: None if path is None else str(path) for name, path in (("file", out), ("film", film), ("table", table))},
    }  # fmt: skip


def check_files(
    out: str | os.PathLike[str] | None,
    film: str | os.PathLike[str] | None,
    table: str | os.PathLike[str] | None,
    *,
    single: bool,
) -> None:
    """Refuse, before the work, what cannot be written."""
    from atlas.pages import figures
    from atlas.pages.film_file import check_film

    if out is not None:
        check_writable(out, PICTURES if single else figures.SUFFIXES)
    if film is not None:
        check_film(film)
    if table is not None:
        check_writable(table, (".csv", ".parquet"))


def check_frames(seconds: float, width: int) -> None:
    """Refuse a film that is too narrow or wide, or whose frames are too short or long."""
    if not NARROWEST <= width <= WIDEST:
        raise AtlasError(f"a film {width} pixels wide: {NARROWEST} to {WIDEST} would do")
    if not SHORTEST <= seconds <= LONGEST:
        raise AtlasError(f"{seconds} seconds for an image: {SHORTEST} to {LONGEST} would do")


def wanted_rows(
    atlas: Atlas, images: Sequence[Any], most: int | None, classes: Sequence[str]
) -> tuple[np.ndarray, dict[str, int]]:
    """Return the rows of the images that are named, or of each class, and how many of each class are left out."""
    if not len(images):
        return choose_rows(atlas, most=most, classes=classes)
    if most is not None or classes:
        raise AtlasError("images are named, so there is nothing to choose: leave out how many, and the classes")
    return np.array([atlas.row_of(image) for image in images], np.int64), {}


def check_length(atlas: Atlas, rows: np.ndarray, layers: Sequence[str], width: int) -> None:
    """Refuse, before the work, a film of too many or too large frames."""
    from atlas.pages.film_file import check_size
    from atlas.pages.film_responses import height_of

    rows_of = atlas.network_record.layers.to_dict("records")
    known = {str(row["name"]): (int(row["units"]), str(row["shape"]).count("×") == 2) for row in rows_of}
    kinds = [_layer(name, known[name][0], (2, 2) if known[name][1] else (1, 1)) for name in layers]
    remedy = "give fewer images, fewer --layer or a smaller --width"
    check_size(len(rows), (width, height_of(kinds, width)), remedy)


def _layer(name: str, units: int, size: tuple[int, int]) -> Layer:
    from atlas.pages.film_responses import Layer

    return Layer(name, size, np.zeros(units, np.float32), np.zeros(units, np.float32))


# -- the sheet --------------------------------------------------------------------------------------------------------------


def write_sheet(atlas: Atlas, found: Responses, path: Path) -> None:
    """Write images down and units across: each unit from zero to the largest mean it has over these images."""
    from atlas.data.thumbnails import thumbnail
    from atlas.pages import figures

    by = "the training images" if "train" in found.splits and "held-out" in found.splits else "these images"
    two = len(found.classes) == 2
    order = f", ordered by what they answer to {found.classes[0]} over {found.classes[1]} among {by}" if two else ""
    figures.save(
        figures.responses_sheet(
            [sheet_layer(found, layer) for layer in found.layers],
            lambda place: thumbnail(atlas.image_record, int(found.rows[place])),
            labels=[label or "unlabelled" for label in found.labels], splits=found.splits,
            title=f"What every unit answers: {atlas.title}, {network_name(atlas)}",
            note=f"mean over places, each unit from 0 to its largest value here{order}",
        ),
        path,
    )  # fmt: skip


def sheet_layer(found: Responses, layer: str) -> LayerResponses:
    """Return a layer for the sheet, its silent units left out; of two classes with units ordered by what they prefer.

    The order is of the training images where there are both, so that the held-out ones show whether it holds.
    """
    from atlas.pages.figures_responses import LayerResponses

    values = found.means[found.layers.index(layer)]
    alive = (values != 0).any(axis=0)
    silent = int((~alive).sum())
    values = values[:, alive] if alive.any() else values
    share = values / np.maximum(np.abs(values).max(axis=0), 1e-12)
    if len(found.classes) != 2:
        return LayerResponses(layer, share, np.empty(0), silent)
    both = "train" in found.splits and "held-out" in found.splits
    one, other = found.classes
    ordered, compared = ("train", "held-out") if both else (None, None)
    order = np.argsort(-preference(values, found.of(one, ordered), found.of(other, ordered)), kind="stable")
    difference = preference(values, found.of(one, compared), found.of(other, compared))
    return LayerResponses(layer, share[:, order], difference[order], silent)


def network_name(atlas: Atlas) -> str:
    """Return a network's title for a heading: of a path its last part."""
    return one_line(str(atlas.network_record.title).rsplit("/", 1)[-1], 60)


# -- frames -----------------------------------------------------------------------------------------------------------------


def frames(atlas: Atlas, found: Responses, *, width: int, device: str, title: str = "") -> Iterator[np.ndarray]:
    """Yield a frame per image: the image, and every unit's map, layer by layer."""
    from atlas.pages.film_responses import Layer, response_frames

    kinds = zip(found.layers, found.sizes, found.low, found.high, strict=True)
    return response_frames(
        [_shown(atlas, int(row), place, found) for place, row in enumerate(found.rows)],
        each_image(atlas, found.rows, found.layers, device),
        [Layer(name, size, low, high) for name, size, low, high in kinds],
        title=title or f"What every unit makes of {atlas.title}: {network_name(atlas)}",
        note=f"each unit from 0 (dark) to the largest value it has at any place of {found.over} images"
        + (f" · {len(found.rows)} images, held-out ones first" if len(found.rows) > 1 else ""),
        width=width,
    )


def _shown(atlas: Atlas, row: int, place: int, found: Responses) -> Shown:
    from atlas.pages.film_responses import Shown

    said, wrong = "", False
    if atlas.predictions is not None:
        best = atlas.predict(row).iloc[0]
        said, wrong = f"predicted {best['prediction']}, {best['probability']:.1%}", bool(atlas.predictions.right[row] == 0)
    pixels = np.asarray(picture(atlas, row))
    return Shown(pixels, found.labels[place] or "unlabelled", found.splits[place], said, wrong)


def write_frames(
    atlas: Atlas,
    found: Responses,
    path: str | os.PathLike[str],
    seconds: float,
    *,
    width: int,
    device: str,
    progress: Progress,
) -> None:
    """Write the film: one frame per image."""
    from atlas.pages.film_file import write_film

    with progress.stage("the film", len(found.rows)) as advance:
        shown = frames(atlas, found, width=width, device=device)
        write_film(path, shown, [seconds] * len(found.rows), lossless=False, quality=QUALITY, advance=advance)


def write_still(atlas: Atlas, found: Responses, path: Path, *, width: int, device: str) -> None:
    """Write the maps of one image as a picture."""
    (frame,) = frames(atlas, found, width=width, device=device)
    Image.fromarray(frame).save(path, lossless=True) if path.suffix.lower() == ".webp" else Image.fromarray(frame).save(path)


def as_table(atlas: Atlas, found: Responses) -> pd.DataFrame:
    """Return one row per image and unit: image (row), image_id, label, split, layer, unit, mean."""
    known = atlas.image_record.table.iloc[found.rows][["image_id", "label", "split"]].reset_index(drop=True)
    parts = []
    for layer, values in zip(found.layers, found.means, strict=True):
        count, units = values.shape
        part = known.loc[np.repeat(np.arange(count), units)].reset_index(drop=True)
        part.insert(0, "image", np.repeat(found.rows, units))
        parts.append(part.assign(layer=layer, unit=np.tile(np.arange(units), count), mean=values.ravel()))
    return pd.concat(parts, ignore_index=True)
