"""An atlas in the formats of others: tables, netCDF volumes, TensorBoard's projector and embedding-atlas."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.errors import AtlasError, choose, one_line
from atlas.export import embedding_atlas, netcdf, tables, tensorboard
from atlas.export.rows import rows_of

if TYPE_CHECKING:
    from atlas.atlas import Atlas
    from atlas.progress import Progress

WRITERS: dict[str, Callable[..., dict[str, Any]]] = {
    "netcdf": netcdf.write,
    "parquet": tables.write_parquet,
    "csv": tables.write_csv,
    "embedding-atlas": embedding_atlas.write,
    "tensorboard": tensorboard.write,
}
SUFFIX = {"netcdf": ".nc", "parquet": ".parquet", "csv": ".csv", "embedding-atlas": ".parquet", "tensorboard": ""}
VOLUME = ("layers", "channels", "size", "cam", "lossless", "each", "device")
TAKES = {
    "netcdf": VOLUME,
    "parquet": ("layers", "vectors"),
    "csv": ("layers",),
    "embedding-atlas": ("layers", "method", "vectors"),
    "tensorboard": ("layers",),
}


def export(
    atlas: Atlas,
    out: str | os.PathLike[str] | None = None,
    *,
    format: str,
    images: str | Sequence[int | str] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Write an atlas, or some of its images, in another format; return what was written.

    `images` are rows, ranges and image_ids (``"0,5,10-19"`` or a list), the name of a kept selection, or ``"all"``, the
    default of every format but netCDF, which runs the network on each. `out` is by default named after the atlas. The
    answer has ``format``, ``files``, ``images``, ``of``, ``notes`` (in words, what was left out or shrunk) and ``open``
    (how it is opened). An unknown format, or an option that the format does not take, raises AtlasError.
    """
    if format not in WRITERS:
        raise choose("format", format, WRITERS)
    given = {name: value for name, value in options.items() if not (value is None or value is False or value in ((), []))}
    check_options(format, given)
    path = Path(out) if out is not None else Path(f"{atlas.store.root.name}{SUFFIX[format] or '-' + format}")
    check_path(path, SUFFIX[format])
    if images is None and format == "netcdf":
        raise AtlasError("a volume runs the network on each image: name them, as --images 0,5,10-19, or --images all")
    rows = rows_of(atlas, "all" if images is None else images)
    if format == "netcdf":
        given["progress"] = progress
    told = WRITERS[format](atlas, path, rows, **given)
    return {"format": format, "of": len(atlas.image_record)} | told


def check_options(format: str, given: dict[str, Any]) -> None:
    """Refuse an option that a format does not take."""
    for name in given:
        if name not in TAKES[format]:
            takers = [other for other, names in TAKES.items() if name in names]
            raise AtlasError(f"--{name} belongs to {', '.join(takers) or 'no format'}, not to {format}: leave it out")


def check_path(path: Path, suffix: str) -> None:
    """Refuse, before the work, what cannot be written: `suffix` is the file's, or empty for a folder."""
    if suffix and path.suffix.lower() != suffix:
        raise AtlasError(f"{one_line(path.name)} would be a {path.suffix or 'file without suffix'}: {suffix} would do")
    if not path.absolute().parent.is_dir():
        raise AtlasError(f"no folder {path.absolute().parent} to write {one_line(path.name)} in: make it first")
    if path.is_dir() if suffix else path.is_file():
        raise AtlasError(f"{one_line(path.name)} is a {'folder' if suffix else 'file'}: choose another name for -o")
