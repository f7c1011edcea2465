"""A folder for TensorBoard's embedding projector: tensors.tsv, metadata.tsv, sprite.png and projector_config.pbtxt."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from atlas.errors import AtlasError, one_line
from atlas.export.points import Points, image_columns, left_out
from atlas.export.rows import whole
from atlas.pages.sheets import Cells
from atlas.store import writing

if TYPE_CHECKING:
    from atlas.atlas import Atlas

MOST_SPRITE = 8192  # pixels a side: TensorBoard's projector takes no larger sprite (tensorboard issue 3647)
MOST_POINTS = 100_000  # TensorBoard shows a sample beyond
FILES = ("tensors.tsv", "metadata.tsv", "sprite.png", "projector_config.pbtxt")
BLOCK = 4096  # rows in memory at a time


def write(atlas: Atlas, path: Path, rows: Sequence[int], *, layers: Sequence[str] = ()) -> dict[str, Any]:
    """Write one layer's vectors, their images' columns and thumbnails; the config comes last, so that it is never early."""
    points = Points(atlas, rows, layers)
    if not len(points):
        raise AtlasError("none of these images decodes: there is no point to write")
    check_folder(path)
    with writing(path.absolute().parent):
        path.mkdir(exist_ok=True)
    edge = sprite_edge(len(points), atlas.image_record.thumbnail_edge)
    with whole(path / "tensors.tsv") as beside:
        write_tensors(points, beside)
    with whole(path / "metadata.tsv") as beside:
        beside.write_bytes(metadata(atlas, points).encode("utf-8", "replace"))
    with whole(path / "sprite.png") as beside:
        Image.fromarray(sprite(Cells(atlas.image_record, points.image), points.image, edge)).save(beside)
    with whole(path / "projector_config.pbtxt") as beside:
        beside.write_text(config(points.layer, (len(points), points.activations.unit_count), edge), "utf-8")
    return {
        "files": [str(path / name) for name in FILES], "images": len(rows) - len(points.without), "rows": len(points),
        "layer": points.layer, "notes": left_out(points) + _notes(len(points), edge, atlas.image_record.thumbnail_edge),
        "open": f"tensorboard --logdir {shlex.quote(str(path))}",
    }  # fmt: skip


def check_folder(path: Path) -> None:
    """Refuse a folder that holds anything but an earlier export."""
    other = [found.name for found in path.iterdir() if found.name not in FILES] if path.is_dir() else []
    if other:
        raise AtlasError(f"{path} holds {one_line(sorted(other)[0])}, which is no export's: choose a new folder with -o")


def _notes(points: int, edge: int, of: int) -> list[str]:
    found = []
    if edge < of:
        found.append(f"pictures are {edge} of {of} pixels, for the sprite of {points} to fit {MOST_SPRITE} pixels a side")
    if points > MOST_POINTS:
        found.append(f"TensorBoard shows a sample of {MOST_POINTS} of {points} points")
    return found


def write_tensors(points: Points, path: Path) -> None:
    """Write the vectors, a line for each, in the shortest decimals that read back as the same float32."""
    import pyarrow as pa
    from pyarrow import csv

    vectors = points.atlas.vectors(points.layer)
    names = [str(unit) for unit in range(points.activations.unit_count)]
    options = csv.WriteOptions(include_header=False, delimiter="\t")
    with csv.CSVWriter(path, pa.schema([(name, pa.float32()) for name in names]), write_options=options) as writer:
        for start in range(0, len(points), BLOCK):
            block = vectors[points.points[start : start + BLOCK]].astype(np.float32)
            writer.write(pa.table(dict(zip(names, np.ascontiguousarray(block.T), strict=True))))


def metadata(atlas: Atlas, points: Points) -> str:
    """Return a heading and a line for each point; tabs and line breaks inside a value are written as \\t, \\n and \\r."""
    places = points.places()
    table = image_columns(atlas, ["row", *places]).iloc[points.image].reset_index(drop=True)
    table.insert(0, "row", points.image)
    table = table.assign(**places)
    columns = [table[name].map(_cell).tolist() for name in table]
    lines = [[_cell(name) for name in table], *map(list, zip(*columns, strict=True))]
    return "".join("\t".join(line) + "\n" for line in lines)


def _cell(value: Any) -> str:
    text = "" if value is None or value is pd.NA or value != value else str(value)
    return text.replace("\t", "\\t").replace("\r", "\\r").replace("\n", "\\n")


def sprite_edge(points: int, edge: int) -> int:
    """Return the pixels of a picture's edge at which a square sprite of all points fits."""
    return max(1, min(edge, MOST_SPRITE // across(points)))


def across(points: int) -> int:
    """Return how many pictures stand beside each other in the sprite."""
    return int(np.ceil(np.sqrt(points)))


def sprite(cells: Cells, rows: np.ndarray, edge: int) -> np.ndarray:
    """Return the pictures of all points row by row as one square: uint8 [y, x, rgb]."""
    wide = across(len(rows))
    sheet = np.zeros((wide * edge, wide * edge, 3), np.uint8)
    for line in range(0, len(rows), wide):
        top = line // wide * edge
        for place, pixels in enumerate(cells.take(rows[line : line + wide])):
            if edge < len(pixels):
                pixels = np.asarray(Image.fromarray(pixels).resize((edge, edge), Image.Resampling.BOX))
            sheet[top : top + edge, place * edge : (place + 1) * edge] = pixels
    return sheet


def config(layer: str, shape: tuple[int, int], edge: int) -> str:
    """Return projector_config.pbtxt, a ProjectorConfig as protocol-buffer text; its paths are relative to it."""
    name = json.dumps(one_line(layer), ensure_ascii=True)
    return (
        "embeddings {\n"
        f"  tensor_name: {name}\n"
        '  tensor_path: "tensors.tsv"\n'
        f"  tensor_shape: {shape[0]}\n"
        f"  tensor_shape: {shape[1]}\n"
        '  metadata_path: "metadata.tsv"\n'
        "  sprite {\n"
        '    image_path: "sprite.png"\n'
        f"    single_image_dim: {edge}\n"
        f"    single_image_dim: {edge}\n"
        "  }\n"
        "}\n"
    )
