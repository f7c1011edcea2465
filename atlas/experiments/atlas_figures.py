"""The figures of an experiment on two networks' maps: layouts, paths, strips, islands, suspects."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from atlas.argued import cells as cells_record
from atlas.atlas import Atlas
from atlas.errors import AtlasError
from atlas.experiments import Setting
from atlas.experiments.atlas_measures import PATCHES, Network
from atlas.iconing import icons_of, write_grid
from atlas.maps.cell_paths import centres
from atlas.maps.records import METHOD_NAMES
from atlas.pages import figures
from atlas.pages.colours import NONE, class_colours
from atlas.pasting import CORNERS, cut_patches, with_patch
from atlas.strip import propagate
from atlas.verbs import picture

SHOWN = 20  # images of a contact sheet
Pairs = Sequence[tuple[Network, Atlas]]


def draw(setting: Setting, pairs: Pairs, told: dict[str, Any], removed: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Draw all figures of the page; return what the strips tell of their images."""
    with setting.progress.stage("figures", 6) as advance:
        for make in (_maps, _spread, _paths, _sheets):
            make(setting, pairs, told)
            advance(1)
        strips = _strips(setting, pairs, told)
        advance(1)
        tables = {f"{one.title}, {one.places}": removed[one.key] for one, _ in pairs}
        drawn = figures.removal_figure(
            tables, title="Which positions matter?",
            note="probability of the class predicted for the whole image, as its places are painted over in the mean colour",
        )  # fmt: skip
        figures.save(drawn, setting.out / "removal.webp")
        _icons(setting, *pairs[0])
        advance(1)
    return strips


def _colours(atlas: Atlas) -> list[str]:
    return [*class_colours(len(atlas.image_record.labels)), NONE]


def _maps(setting: Setting, pairs: Pairs, told: dict[str, Any]) -> None:
    rows = []
    for one, atlas in pairs:
        right = {row["layers"]: row for row in told["nearest"] if row["network"] == one.title}
        codes, line = np.asarray(atlas.image_record.codes), []
        marked = {row["key"]: np.array(row["rows"]) for row in reversed(told["islands"])}[one.key]
        for layers in (one.descriptor, one.joint):
            for method in ("umap", "tsne"):
                record, image = atlas.layout_record(layers, method)
                name = f"{one.title}, {METHOD_NAMES[method]}" + (" of three layers" if "+" in layers else "")
                words = f"30 nearest right: {right[layers][method]:.1%} here, {right[layers]['space']:.1%} in the space"
                ring = np.isin(image, marked) & ((layers, method) == (one.descriptor, "umap"))
                notes = [layers.replace("+", " + "), words]
                line.append(figures.Map(name, np.asarray(record.xy), codes[image], notes, np.flatnonzero(ring)))
        rows.append(line)
    atlas = pairs[0][1]
    drawn = figures.maps_figure(
        rows, atlas.image_record.labels, _colours(atlas),
        title=f"CIFAR-10, {told['images']} test images, laid out by two networks",
        note="one layer, and three jointly, each of these scaled to one mean length; rings: the first island of mistakes",
    )  # fmt: skip
    figures.save(drawn, setting.out / "maps.webp")


def _spread(setting: Setting, pairs: Pairs, told: dict[str, Any]) -> None:
    panels, notes = {}, {}
    for one in told["spread"]:
        net = next(net for net, _ in pairs if net.key == one["key"])
        layer = next(row for row in one["layers"] if row["layer"] == net.descriptor)
        name = f"{one['title']}, {net.descriptor}"
        panels[name] = pd.DataFrame(layer["classes"]).astype({"spread": float, "error": float})
        notes[name] = f"ρ {layer['rho_spread']:.2f}, p {layer['p_spread']:.2g}"
    drawn = figures.against_figure(
        panels, x="spread", y="error", words=("spread of the class", "its images predicted wrong"), notes=notes,
        title="Does the spread of a class in a layer tell its error?",
        note="spread: mean distance to the class's centre over the mean distance between centres; "
        "untrained: the spread before training, the errors after it",
    )  # fmt: skip
    figures.save(drawn, setting.out / "spread.webp")
    rows = [{f"{one.title}, {layer}": atlas.mixing(layer).to_numpy() for layer in (one.single[0], one.descriptor, one.joint)}
            for one, atlas in pairs]  # fmt: skip
    drawn = figures.matrices_figure(
        rows, stat="std", names=[atlas.image_record.labels for _, atlas in pairs],
        title="Which classes mix with which?",
        note="row by row: of the 30 images nearest to one of a class, the share that is of each class",
    )  # fmt: skip
    figures.save(drawn, setting.out / "mixing.webp")


def _paths(setting: Setting, pairs: Pairs, told: dict[str, Any]) -> None:
    for (one, atlas), row in zip(pairs, told["paths"], strict=True):
        cells = cells_record(atlas, row["layer"])
        record, image = atlas.layout_record(row["layer"])
        drawn_icons = _drawn(atlas, row["layer"])
        frame = atlas.cells(row["layer"]).set_index("cell")
        stops = []
        for cell, (first, second) in zip(row["cells"], row["probability"], strict=True):
            near = [int(point) for point in np.asarray(cells.representatives)[cell][:3] if point >= 0]
            pixels = [np.asarray(picture(atlas, int(image[point]))) for point in near]
            icon = None if drawn_icons is None else np.asarray(drawn_icons.images[cell])
            words = f"{frame.loc[cell, 'label']} {frame.loc[cell, 'purity']:.0%}"
            stops.append(figures.Stop(icon, pixels, first, second, words))
        drawn = figures.path_figure(
            stops, xy=np.asarray(record.xy), codes=np.asarray(atlas.image_record.codes)[image], colours=_colours(atlas),
            line=centres(cells, row["cells"]), names=(row["first"], row["second"]), cosines=np.array(row["cosines"]),
            title=f"{one.title}: from {row['first']} to {row['second']} across the map of {row['layer']}",
            note=f"the smoothest path over cells; mean cosine of a step {row['cosine']:.3f}, of the same cells in random "
            f"order {row['shuffled']:.3f}",
        )  # fmt: skip
        figures.save(drawn, setting.out / f"path-{one.key}.webp")


def _drawn(atlas: Atlas, layer: str) -> Any:
    try:
        return icons_of(atlas, layer)[0]
    except AtlasError:
        return None


def _strips(setting: Setting, pairs: Pairs, told: dict[str, Any]) -> dict[str, Any]:
    """Draw two images' ways through both networks: the surest mistake of conv6's first island, the surest right image."""
    images = pairs[0][1].images()
    wrong = images.loc[told["islands"][0]["rows"], "confidence"].idxmax()
    right = images[(images["right"] == True) & (images["label"] == told["islands"][0]["label"])]["confidence"].idxmax()  # noqa: E712
    rows = {"wrong": int(wrong), "right": int(right)}
    ways = {}
    for name, row in rows.items():
        for one, atlas in pairs:
            layers = [*one.grids, one.descriptor, one.logits]
            found = propagate(atlas, row, layers=layers, out=setting.out / f"propagation-{one.key}-{name}.webp")
            ways[f"{one.key}-{name}"] = {
                "row": row, "label": found["label"], "predicted": found["predicted"],
                "layers": [_way(layer) for layer in found["layers"]],
            }  # fmt: skip
    return ways


def _way(layer: dict[str, Any]) -> dict[str, Any]:
    """Return what a strip tells of one layer, in short."""
    near = (layer["cells"] or {}).get("nearest")
    return {"layer": layer["layer"], "nearest": near, "best": layer["best"][0]["output"],
            "ranks": {name: told["rank"] for name, told in layer["argues"].items()}}  # fmt: skip


def _sheets(setting: Setting, pairs: Pairs, told: dict[str, Any]) -> None:
    for one, atlas in pairs:
        island = next(row for row in told["islands"] if row["key"] == one.key)
        title = f"{one.title}: {island['label']} taken for {island['taken_for']}, one cell of the map"
        note = f"{island['confused']} of the {island['of']} images of {island['label']} there"
        note += f"; {island['expected']:.1f} by chance"
        _sheet(atlas, island["rows"], setting.out / f"island-{one.key}.webp", title, note)
        unusual = next((row for row in told["unusual"] if row["key"] == one.key), None)
        if unusual is None:  # no cell argues for a class that few of its members have
            continue
        title = f"{one.title}, {unusual['layer']}: a cell of {unusual['usual']} that argues for {unusual['argues_for']}"
        note = f"{unusual['usual_share']:.0%} are {unusual['usual']}, {unusual['share']:.0%} {unusual['argues_for']}"
        _sheet(atlas, unusual["rows"], setting.out / f"unusual-{one.key}.webp", title, note)
    _patches(setting, *pairs[0], told["pasting"])
    doubt = told["suspects"]
    if doubt["rows"]:
        one, atlas = pairs[0]
        say = atlas.suspects(one.descriptor).set_index("image")["neighbours_say"]
        title = "Labels that both networks' neighbours doubt"
        note = f"{doubt['both']} images are among the {doubt['top']} most suspicious of both"
        note += f"; {doubt['by_chance']:.1f} would be by chance"
        under = {row: f"neighbours: {say[row]}" for row in doubt["rows"]}
        _sheet(atlas, doubt["rows"], setting.out / "suspects.webp", title, note, under=under)


def _patches(setting: Setting, one: Network, atlas: Atlas, told: dict[str, Any]) -> None:
    """Draw the patches, beside an image that the first of them was pasted into."""
    first, second = told["first"], told["second"]
    cut = cut_patches(atlas, first, second, one.places, count=PATCHES)
    images = atlas.images()
    row = images.loc[(images["label"] == first) & (images["prediction"] == first), "confidence"].idxmax()
    pasted = with_patch(atlas.network().preprocess.array(atlas.seeing.picture(int(row))), cut[0][2], CORNERS[-1])
    captions = [f"{kind}\n{shares['static']:.0%} taken for {second}"
                for (kind, _, _), shares in zip(cut, told["patches"], strict=True)]  # fmt: skip
    drawn = figures.contact_sheet(
        np.moveaxis(pasted, 0, -1), [np.moveaxis(patch, 0, -1) for _, _, patch in cut], captions, columns=PATCHES,
        query_caption=f"{first}, with the first patch",
        title=f"{one.title}: patches of {second}, pasted into {told['images']} images of {first}",
        note=f"argued: around the places of {one.places} that argue most for {second} and against {first}; "
        "elsewhere: in the same images, far from there",
    )  # fmt: skip
    figures.save(drawn, setting.out / "patches.webp")


def _sheet(
    atlas: Atlas, rows: Sequence[int], path: Path, title: str, note: str, *, under: Mapping[int, str] | None = None
) -> None:
    table = atlas.images()
    shown = (
        table.loc[list(rows)].sort_values("confidence", ascending=False).index[:SHOWN]
        if under is None
        else list(rows)[:SHOWN]
    )
    captions = [
        f"{table['label'][row]}\n{under[row] if under else 'said: ' + str(table['prediction'][row])}\nimage {row}"
        for row in shown
    ]
    wrong = [] if under else [not bool(table["right"][row]) for row in shown]
    rest = f" · {len(shown)} of {len(rows)} images" if len(shown) < len(rows) else ""
    drawn = figures.contact_sheet(
        None, [picture(atlas, int(row)) for row in shown], captions, wrong=wrong, title=title, note=note + rest
    )
    figures.save(drawn, path)


def _icons(setting: Setting, one: Network, atlas: Atlas) -> None:
    """Write the icons of the layer that has places, twice as large as they were drawn."""
    record, cells = icons_of(atlas, one.places)
    with tempfile.TemporaryDirectory() as work:
        write_grid(record, cells, Path(work) / "icons.png")
        with Image.open(Path(work) / "icons.png") as grid:
            large = grid.convert("RGB").resize((2 * grid.width, 2 * grid.height), Image.Resampling.BICUBIC)
    large.save(setting.out / f"icons-{one.places}.webp", quality=80, method=6)
