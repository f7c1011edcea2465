"""Contact sheets of preferred inputs and of icons for docs/, from atlases that stand: `python -m benchmarks._sheets`.

`preferred ATLAS FILE`: the preferred inputs that an atlas holds, layer by layer, beside each the two real images that excite
the unit most. `icons ATLAS LAYER SIZE FILE`: the icons of one grid at their places, and what some of the cells argue for.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from atlas.atlas import Atlas, open_atlas
from atlas.data.thumbnails import thumbnail
from atlas.iconing import icons_of
from atlas.maps.cell_looks import icon_sides, label_opacity
from atlas.maps.records import Cells
from atlas.preferred.records import Icons, Preferred
from atlas.unit_sheet import real_images, unit_name

EDGE, REAL, GAP, ACROSS = 128, 62, 12, 5  # pixels of a picture, of a real image, between tiles; tiles in a row
CAPTION, HEAD, MARGIN = 32, 58, 16  # pixels below a tile, above a layer, around the sheet
LINE = 13  # pixels of a line of a class's name
INK, FAINT = "#1c2127", "#5f6b7c"
BIGGEST = 400_000  # bytes of a file in docs/
QUALITIES = (88, 80, 70, 60, 50, 40)  # of WebP, until the file is small enough


def main() -> None:
    """Draw one sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, names in (("preferred", ()), ("icons", ("layer", "size"))):
        own = kinds.add_parser(kind)
        for name in ("atlas", *names, "file"):
            own.add_argument(name)
        own.add_argument("--icon", type=int, default=64, help="pixels of an icon")
    told = parser.parse_args()
    opened = open_atlas(told.atlas)
    if told.kind == "preferred":
        write(preferred_sheet(opened), Path(told.file))
    else:
        write(icon_sheet(opened, told.layer, int(told.size), told.icon), Path(told.file))


def write(sheet: Image.Image, path: Path) -> None:
    """Write a WebP file as well as its size allows."""
    for quality in QUALITIES:
        sheet.save(path, "WEBP", quality=quality, method=6)
        if path.stat().st_size <= BIGGEST:
            return


# -- preferred inputs ------------------------------------------------------------------------------------------------------


def newest(atlas: Atlas) -> list[Preferred]:
    """Return the newest record of preferred inputs of each layer, in order of execution."""
    found = {}
    for name in atlas.names("preferred"):
        record = atlas.store.read(name, Preferred)
        if not record.untrained:
            found[record.number] = record
    return [found[number] for number in sorted(found)]


def preferred_sheet(atlas: Atlas) -> Image.Image:
    """Return the preferred inputs of every layer, below each other."""
    return stacked([layer_sheet(atlas, record) for record in newest(atlas)])


def layer_sheet(atlas: Atlas, record: Preferred) -> Image.Image:
    """Return one layer's preferred inputs in rows, with their captions."""
    wide, high = EDGE + REAL + 4 + GAP, EDGE + CAPTION + GAP
    rows = -(-len(record.units) // ACROSS)
    sheet = Image.new("RGB", (2 * MARGIN + ACROSS * wide - GAP, HEAD + rows * high), "white")
    heading(sheet, layer_words(atlas, record))
    for place in range(len(record.units)):
        left, top = MARGIN + place % ACROSS * wide, HEAD + place // ACROSS * high
        tile(sheet, atlas, record, place, left, top)
    return sheet


def layer_words(atlas: Atlas, record: Preferred) -> list[str]:
    """Return the heading of a layer and what is said of all its pictures."""
    edge = record.images.shape[1]
    small = f"{atlas.network_record.title} · {record.layer} · {record.functional} of each unit, {edge}×{edge} pixels"
    said = (
        f"{record.parameterisation}; {record.transforms}; percentile among {record.real}; beside: the two best real images"
    )
    return [small, said]


def tile(sheet: Image.Image, atlas: Atlas, record: Preferred, place: int, left: int, top: int) -> None:
    """Draw one preferred input, its two real images and its caption."""
    sheet.paste(Image.fromarray(record.images[place]).resize((EDGE, EDGE), Image.Resampling.LANCZOS), (left, top))
    unit = int(record.units[place])
    for number, (row, _) in enumerate(real_images(atlas, record.layer, unit)[:2]):
        sheet.paste(real_image(atlas, row), (left + EDGE + 4, top + number * (REAL + 4)))
    draw, name = ImageDraw.Draw(sheet), unit_name(atlas, record.layer, unit)
    state = "" if record.converged[place] else ", still rising"
    ratio = record.activation[place] / record.best_real[place]
    draw.text((left, top + EDGE + 1), name[:30], fill=INK, font=font(13))
    draw.text((left, top + EDGE + 16), f"{record.percentile[place]:.4g} %, {ratio:.1f} × the best{state}", FAINT, font(11))


def real_image(atlas: Atlas, row: int) -> Image.Image:
    """Return the middle of a real image's thumbnail, which holds the whole image between grey bars."""
    picture, known = thumbnail(atlas.image_record, row).convert("RGB"), atlas.images().iloc[row]
    edge = min(known["width"], known["height"]) / max(known["width"], known["height"]) * picture.width
    first, last = round((picture.width - edge) / 2), round((picture.width + edge) / 2)
    return picture.resize((REAL, REAL), Image.Resampling.LANCZOS, box=(first, first, last, last))


# -- icons -----------------------------------------------------------------------------------------------------------------


def icon_sheet(atlas: Atlas, layer: str, size: int, icon: int) -> Image.Image:
    """Return the icons of one grid at their places, sized by density, and below what the strongest cells argue for."""
    record, cells = icons_of(atlas, layer)
    own = cells.of_grid(size)
    side = size * icon
    sheet = Image.new("RGB", (side + 2 * MARGIN, HEAD + side + MARGIN), "white")
    heading(sheet, icon_words(atlas, record, cells, own, layer, size))
    sides, poor = icon_sides(cells), np.asarray(record.failed) | np.asarray(cells.few)
    for cell in own:
        edge = max(8, round(icon * float(sides[cell])))
        picture = Image.fromarray(np.asarray(record.images[cell])).resize((edge, edge), Image.Resampling.LANCZOS)
        picture = Image.blend(picture, Image.new("RGB", picture.size, "#c5cbd3"), 0.75) if poor[cell] else picture
        left, top = corner(cells, int(cell), size, icon)
        sheet.paste(picture, (left + (icon - edge) // 2, top + (icon - edge) // 2))
    words, strength = cell_words(atlas, cells)
    for cell in spread(cells, own, strength, size, apart=max(2, size // 7)):
        left, top = corner(cells, cell, size, icon)
        label(sheet, words[cell], left + icon // 2, top + round(icon * (1 + float(sides[cell])) / 2), top + icon)
    return sheet


def cell_words(atlas: Atlas, cells: Cells) -> tuple[list[str], np.ndarray]:
    """Return each cell's word and how strong it is: its usual label and the share of it, else what it argues for."""
    if atlas.image_record.labels:
        usual = np.asarray(cells.members).argmax(axis=1)
        share = np.nan_to_num(np.asarray(cells.purity))
        return [f"{atlas.image_record.labels[k]} {part:.0%}" for k, part in zip(usual, share, strict=True)], share
    if atlas.predictions is None or not cells.best.shape[1]:
        return [""] * len(cells.grid), np.zeros(len(cells.grid))
    names = list(atlas.predictions.map.names)
    return [names[best] for best in cells.best[:, 0]], label_opacity(cells)


def icon_words(atlas: Atlas, record: Icons, cells: Cells, own: np.ndarray, layer: str, size: int) -> list[str]:
    """Return the heading of a grid of icons and what is said of it."""
    failed, few = int(np.asarray(record.failed)[own].sum()), int(np.asarray(cells.few)[own].sum())
    cosine, points = float(np.median(np.asarray(record.cosine)[own])), int(np.asarray(cells.points)[own].sum())
    argued = "; words: what a cell argues for" if cells.best.shape[1] else ""
    return [
        f"{atlas.image_record.title} · {atlas.network_record.title} · {layer} · {size}×{size} grid",
        f"{len(own)} cells of {points} points; icons of {record.images.shape[1]} pixels, cosine {cosine:.2f} in the median, "
        f"{failed} failed, {few} of few images" + ("; words: usual label" if atlas.image_record.labels else argued),
    ]


def corner(cells: Cells, cell: int, size: int, icon: int) -> tuple[int, int]:
    """Return the left and top pixel of a cell; rows count from below."""
    column, row = int(cells.column[cell]), int(cells.row[cell])
    return MARGIN + column * icon, HEAD + (size - 1 - row) * icon


def spread(cells: Cells, own: np.ndarray, strong: np.ndarray, size: int, *, apart: int) -> list[int]:
    """Return the cells that argue most strongly for their class, no two nearer than `apart` cells."""
    kept: list[int] = []
    places = np.stack([np.asarray(cells.column), np.asarray(cells.row)], axis=1)
    for cell in own[np.argsort(-strong[own], kind="stable")]:
        if all(np.abs(places[cell] - places[other]).max() >= apart for other in kept):
            kept.append(int(cell))
    return kept


def label(sheet: Image.Image, words: str, middle: int, below: int, end: int) -> None:
    """Write a class's name under a cell's icon, which ends at `below`, and over its foot where the cell ends at `end` first.

    In white with a dark edge; of several names the first.
    """
    lines = textwrap.wrap(words.split(",")[0], 14)
    draw = ImageDraw.Draw(sheet)
    top = min(below + 2, end - LINE * len(lines))
    for number, line in enumerate(lines):
        draw.text((middle, top + LINE * number), line, "white", font(11), anchor="ma", stroke_width=2, stroke_fill="#11151a")


# -- all -------------------------------------------------------------------------------------------------------------------


def heading(sheet: Image.Image, words: Sequence[str]) -> None:
    """Write a title, and below it what is small."""
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 12), words[0], INK, font(16))
    draw.text((MARGIN, 34), words[1], FAINT, font(11))


def stacked(parts: Sequence[Image.Image]) -> Image.Image:
    """Return pictures of one width below each other."""
    sheet = Image.new("RGB", (parts[0].width, sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font that matplotlib carries."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


if __name__ == "__main__":
    main()
