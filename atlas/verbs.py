"""What the command's verbs do, as functions: layers, train, list_atlases, query, patterns, suspects, report, serve, gc."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.atlas import Atlas, open_atlas
from atlas.data.spreadsheet import as_csv
from atlas.errors import AtlasError, choose, one_line
from atlas.machine import size
from atlas.patterns.blocks import BlockPatterns
from atlas.planning import dataset_folder
from atlas.progress import Progress
from atlas.serving import command

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from atlas.models.training import TrainingResult

EXPECTED = (KeyError, ValueError, TypeError, IndexError, AttributeError, OSError)  # what a damaged record raises in use


def layers(
    model: str | torch.nn.Module, *, weights: str | os.PathLike[str] | None = None, input_size: int | None = None
) -> pd.DataFrame:
    """Return a network's layers in order of execution: number (from 1), name, kind, shape, parameters, units."""
    from atlas.models.layers import list_layers
    from atlas.models.network import load_network

    network = load_network(model, weights=weights, input_size=input_size)
    return list_layers(network.module, network.sample())


def train(
    net: str,
    dataset: str,
    *,
    out: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] = "cache",
    net_arguments: Sequence[str] | dict[str, Any] = (),
    progress: Progress | None = None,
    **options: Any,
) -> TrainingResult:
    """Train a reference network on a named dataset; leave weights, recipe, history, curves and drawing in `out`.

    `net_arguments` are the network's own (``depth=512``); the options are those of `atlas.models.training.train`. The
    default of `out` is ``cache/networks/NET-DATASET``. A killed training goes on where it was.
    """
    from atlas.data.named import NAMES, fetch
    from atlas.models.reference import build as make
    from atlas.models.training import TrainingData
    from atlas.models.training import train as run

    progress = progress or Progress()
    if dataset not in NAMES:
        raise choose("dataset", dataset, NAMES)
    arguments = net_arguments if isinstance(net_arguments, dict) else dict(map(_read_argument, net_arguments))
    make(net, arguments)  # a network that cannot be made is told before anything is fetched
    folder = Path(out) if out is not None else Path(cache) / "networks" / f"{net}-{dataset}"
    if out is None:
        folder.parent.mkdir(parents=True, exist_ok=True)
    data = TrainingData.of(fetch(dataset, dataset_folder(Path(cache) / "atlas"), progress))
    result = run(
        net, data, out=folder, net_arguments=arguments, progress=progress,
        **{name: value for name, value in options.items() if value is not None},
    )  # fmt: skip
    draw_training(result)
    return result


def draw_training(result: TrainingResult) -> None:
    """Draw a training's curves (PNG and HTML) and the network's architecture beside its weights."""
    from atlas.pages import figures

    title = f"{result.recipe['network']} on {result.recipe['dataset']}"
    history = pd.DataFrame(result.history)
    figures.save(figures.training_curves(history, title=title), result.folder / "curves.png")
    (result.folder / "curves.html").write_text(figures.training_curves_html(history, title), "utf-8")
    table = layers(f"atlas:{result.folder}")
    figures.save(figures.architecture(table, title=result.recipe["network"]), result.folder / "architecture.png")


def _read_argument(text: str) -> tuple[str, Any]:
    """Read NAME=VALUE; the value is a number where it looks like one."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise AtlasError(f"{one_line(repr(text))} is no argument of a network: NAME=VALUE would do, such as depth=512")
    for kind in (int, float):
        with suppress(ValueError):
            return name, kind(value)
    return name, value


@contextmanager
def damage_told(root: str | os.PathLike[str]) -> Iterator[None]:
    """Say in one line, as an AtlasError, that an atlas is damaged where its records raise what no whole one does."""
    try:
        yield
    except EXPECTED as reason:
        words = one_line(f"{type(reason).__name__}: {reason}", 120)
        raise AtlasError(
            f"the atlas in {root} is damaged ({words}): remove what was changed in it, or the whole folder, and build again"
        ) from reason


def list_atlases(cache: str | os.PathLike[str] = "cache") -> pd.DataFrame:
    """Return one row per atlas in a folder: name, title, images, network, layers, layouts; damaged ones say so."""
    rows = []
    for path in sorted(Path(cache).glob("*/atlas.json")):
        try:
            with damage_told(path.parent):
                atlas = Atlas(path.parent)
                row = {"images": len(atlas.image_record), "network": ", ".join(atlas.networks()["title"])}
                row |= {"layers": ", ".join(atlas.layers), "layouts": len(atlas.names("layout")), "note": ""}
        except AtlasError as reason:
            row = {"images": 0, "network": "", "layers": "", "layouts": 0, "note": str(reason)}
        rows.append({"name": path.parent.name, **row})
    table = pd.DataFrame(rows, columns=["name", "images", "network", "layers", "layouts", "note"])
    return table if (table["note"] != "").any() else table.drop(columns="note")


def show(atlas: str | os.PathLike[str], *, network: str | int | None = None) -> dict[str, Any]:
    """Return what an atlas holds: images, splits, network, accuracy, layers, layouts and their faithfulness, artifacts."""
    with damage_told(atlas):
        return open_atlas(atlas, network=network).summary()


def query(
    atlas: str | os.PathLike[str] | Atlas,
    image: Any,
    *,
    k: int = 10,
    layer: str | None = None,
    network: str | int | None = None,
    sheet: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Return the k nearest images of a row or an image_id, and what the network says of it; needs no torch.

    `sheet` names a PNG to write the answer to as a contact sheet. An image file is asked of the worker: `asking.query`.
    """
    opened = atlas if isinstance(atlas, Atlas) else open_atlas(atlas, network=network)
    if sheet is not None:
        check_writable(sheet, (".png",))
    with damage_told(opened.store.root):
        answer = _answer(opened, image, k, layer)
        if sheet is not None:
            write_sheet(opened, image, answer, Path(sheet))
    return answer


def _answer(opened: Atlas, image: Any, k: int, layer: str | None) -> dict[str, Any]:
    row = opened.find_image(image)
    found = opened.neighbours(image if row is None else row, layer=layer, k=k)
    said = opened.predict(row) if row is not None and opened.predictions is not None else None
    known: Any = opened.images().loc[row] if row is not None else {}
    return {
        "query": str(image),
        "row": row,
        **{name: _plain(known.get(name)) for name in ("image_id", "path", "label", "split")},
        "layer": found.attrs["layer"],
        "metric": found.attrs["metric"],
        "predictions": [] if said is None else said.to_dict("records"),
        "note": "" if len(found) == k else f"{len(found)} of the {k} asked for: there are no others",
        "neighbours": found.astype(object).where(found.notna(), None).to_dict("records"),
    }


def _plain(value: Any) -> str | None:
    return None if value is None or pd.isna(value) else str(value)


def write_sheet(atlas: Atlas, query_image: Any, answer: dict[str, Any], path: Path) -> None:
    """Write the answer of a query as a contact sheet: the query, then its neighbours with label and distance."""
    from atlas.data.reading import decode
    from atlas.pages import figures

    row, found, table = answer["row"], answer["neighbours"], atlas.images()
    right = table["right"] if "right" in table else pd.Series(pd.NA, index=table.index)
    wrong = [bool(value) for value in (~right.astype("boolean")).fillna(False)[[n["image"] for n in found]]]
    best = answer["predictions"][:1]
    said = [f"predicted {p['prediction']} · {p['probability']:.1%}" for p in best]
    name = answer["label"] or (Path(str(query_image)).name if row is None else f"row {row}")
    figures.save(
        figures.contact_sheet(
            decode(Path(query_image)) if row is None else picture(atlas, row),
            [picture(atlas, n["image"]) for n in found],
            [_caption(n, bad) for n, bad in zip(found, wrong, strict=True)],
            wrong=wrong,
            query_caption="\n".join([name, *said]),
            query_wrong=row is not None and right[row] is not pd.NA and not right[row],
            title=f"{len(found)} nearest images of {name if row is None else f'row {row}'}",
            note=f"{answer['metric']} distance in {answer['layer']}"
            + ("; a name in red was predicted wrong" if any(wrong) else ""),
        ),
        path,
    )


def _caption(neighbour: dict[str, Any], wrong: bool) -> str:
    taken = [f"taken for {neighbour['prediction']}"] if wrong else []
    return "\n".join([neighbour["label"] or neighbour["path"], *taken, f"{neighbour['distance']:.3g}"])


def picture(atlas: Atlas, row: int) -> Image.Image:
    """Return an image as it is stored, or its thumbnail where it cannot be read any more."""
    from atlas.data.reading import open_reader
    from atlas.data.thumbnails import thumbnail

    try:
        return open_reader(atlas.image_record, atlas.store.root).image(row)
    except AtlasError:
        return thumbnail(atlas.image_record, row)


def patterns(
    atlas: str | os.PathLike[str] | Atlas,
    *,
    layer: str | None = None,
    network: str | int | None = None,
    stat: str = "mean",
    split: str = "auto",
    across: bool | None = None,
    out: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Draw the classes' patterns, mean or std, to a file; return its path, the title and the counts.

    With `across` each class across all layers of one width, blocks × units: by default where most layers are such, and
    many, and no `layer` is named; else those of one layer, classes × units.
    """
    from atlas.across import one_stream
    from atlas.pages import figures

    if stat not in ("mean", "std"):
        raise choose("statistic", stat, ("mean", "std"))
    opened = atlas if isinstance(atlas, Atlas) else open_atlas(atlas, network=network)
    if across and layer is not None:
        raise AtlasError(
            f"a class across layers is of all layers of one width, not {one_line(layer)} alone: give --layer or --across"
        )
    with damage_told(opened.store.root):
        across = layer is None and one_stream(opened) if across is None else across
        found = opened.patterns_across(split=split) if across else opened.patterns(layer, split=split)
    of = f"{found.layers[0]}-to-{found.layers[-1]}" if isinstance(found, BlockPatterns) else found.layer
    path = Path(out) if out is not None else Path(f"{opened.store.root.name}-{of}-{stat}.png")
    check_writable(path, figures.SUFFIXES)
    draw, title = figures.patterns_heatmap, found.title
    if across:
        draw, title = figures.blocks_heatmap, f"{opened.title}: {found.title}"
    drawn = draw(getattr(found, stat), found.labels, stat=stat, title=title, count=found.count)
    figures.save(drawn, path)
    return {"file": str(path), "title": found.title, "count": dict(zip(found.labels, found.count.tolist(), strict=True))}


def suspects(
    atlas: str | os.PathLike[str] | Atlas,
    *,
    layer: str | None = None,
    leaks: bool = False,
    out: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Return the images whose neighbours say another label, most suspicious first, or the leaks; write them to `out`.

    The answer has ``layer``, ``title`` (what is listed, of how many, by which rule) and ``rows``; `out` is CSV or Parquet.
    """
    from atlas import truth

    if out is not None:
        check_writable(out, (".csv", ".parquet"))
    opened = atlas if isinstance(atlas, Atlas) else open_atlas(atlas)
    table, title = (truth.listed_leaks if leaks else truth.listed_suspects)(opened, layer)
    if out is not None:
        write_table(table, Path(out))
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return {"layer": table.attrs["layer"], "title": title, "file": None if out is None else str(out), "rows": rows}


def preferred(
    atlas: str | os.PathLike[str] | Atlas,
    *,
    layer: str | None = None,
    network: str | int | None = None,
    units: Sequence[int] | str | None = None,
    controls: bool = False,
    out: str | os.PathLike[str] | None = None,
    film: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    **choices: Any,
) -> dict[str, Any]:
    """Draw the preferred inputs of units of a layer, as `Atlas.preferred` does; return how each came out.

    With `controls` also what the same method draws of an untrained network, and the picture without the dataset's prior
    where the choice has one. `out` names a picture, PNG, SVG or PDF, of them beside the real images that excite each
    unit; `film`, WebP or MP4, one of the pictures as they form.
    """
    from atlas.pages import figures

    opened = atlas if isinstance(atlas, Atlas) else open_atlas(atlas, network=network)
    if out is not None:
        check_writable(out, figures.SUFFIXES)
    with damage_told(opened.store.root):
        layer = opened.layer_name(layer)
    if film is None:
        drawn, shot = opened.preferred(layer, units, progress=progress, **choices), None
    else:
        from atlas.films import forming

        drawn, shot = forming(opened, film, layer=layer, units=units, progress=progress, **choices)
    records = [drawn]
    if controls:
        same = choices | {"untrained": True}
        others = [same] + ([choices | {"param": "fourier"}] if drawn.parameterisation not in ("fourier", "pixel") else [])
        own = list(dict.fromkeys(drawn.units.tolist()))  # one of several reconstructions each
        records += [opened.preferred(layer, own, progress=progress, **other) for other in others]
    if out is not None:
        from atlas.unit_sheet import write_sheet as write_units

        write_units(opened, records, Path(out))
    return {
        "layer": drawn.layer,
        "objective": drawn.objective,
        "prior": drawn.prior,
        "transforms": drawn.transforms,
        "real": drawn.real,
        "dead": drawn.dead,
        "file": None if out is None else str(out),
        "film": shot,
        "pictures": drawn.table().to_dict("records"),
    }


def film(
    atlas: str | os.PathLike[str] | Atlas,
    out: str | os.PathLike[str],
    *,
    network: str | int | None = None,
    layers: Sequence[str | int] = (),
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Write a film through the preferred inputs that an atlas holds, as `atlas.films.film` does; return what is in it."""
    from atlas.films import film as write

    opened = atlas if isinstance(atlas, Atlas) else open_atlas(atlas, network=network)
    with damage_told(opened.store.root):
        return write(opened, out, layers=layers, progress=progress, **options)


def icons(
    atlas: str | os.PathLike[str] | Atlas,
    *,
    layer: str | None = None,
    method: str = "umap",
    network: str | int | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    **choices: Any,
) -> dict[str, Any]:
    """Draw the icons of a layout's cells, as `atlas.iconing.icons` does; return how they came out, grid by grid.

    `out` names a PNG of the finest grid.
    """
    from atlas.iconing import icons as draw
    from atlas.iconing import icons_of, write_grid

    opened = atlas if isinstance(atlas, Atlas) else open_atlas(atlas, network=network)
    if out is not None:
        check_writable(out, (".png",))
    opened = draw(opened, layer, method, progress=progress, **choices)
    found, cells = icons_of(opened, layer, method)
    if out is not None:
        write_grid(found, cells, Path(out))
    failed, few = np.asarray(found.failed), np.asarray(cells.few)
    grids = [(size, cells.grid == number) for number, size in enumerate(cells.sizes)]
    return {
        "layer": found.layer,
        "method": method,
        "prior": found.prior,
        "file": None if out is None else str(out),
        "grids": [
            {
                "size": size,
                "cells": int(own.sum()),
                "points": int(cells.points[own].sum()),
                "failed": int((failed & own).sum()),
                "few": int((few & own).sum()),
                "cosine": round(float(np.median(found.cosine[own])), 3) if own.any() else None,
            }
            for size, own in grids
        ],
    }


def associations(
    atlas: str | os.PathLike[str] | Atlas,
    *,
    layer: str | None = None,
    method: str = "umap",
    size: int | None = None,
    network: str | int | None = None,
) -> dict[str, Any]:
    """Return a layer's unusual associations, ranked: ``cells`` of one of its layouts, and ``units``.

    Each has ``rows``, their ``columns``, ``left_out`` (how many, by why) and ``reason``: why there is no such list, else
    None. Columns are those of `atlas.patterns.associations`. Where there is neither list, AtlasError is raised.
    """
    from atlas.argued import crossing, unusual

    opened = atlas if isinstance(atlas, Atlas) else open_atlas(atlas, network=network)
    with damage_told(opened.store.root):
        name = opened.layer_name(layer)
        if size is not None:
            opened.cells(name, method, size=size)  # another grid is a slip of the hand, no reason to list fewer
        found = {
            "cells": listed(lambda: unusual(opened, name, method, size=size)),
            "units": listed(lambda: crossing(opened, name)),
        }
    if all(told["reason"] for told in found.values()):
        raise AtlasError("; ".join(str(told["reason"]) for told in found.values()))
    return {"layer": name, "method": method, **found}


def listed(make: Callable[[], pd.DataFrame]) -> dict[str, Any]:
    """Return a table as plain values, or the reason why there is none."""
    try:
        table = make()
    except AtlasError as reason:
        return {"rows": [], "columns": [], "left_out": {}, "reason": str(reason)}
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return {"rows": rows, "columns": list(table.columns), "left_out": dict(table.attrs), "reason": None}


def report(atlas: str | os.PathLike[str] | Atlas, out: str | os.PathLike[str], **options: Any) -> dict[str, Any]:
    """Write the explorer of an atlas as one HTML file, as `Atlas.report` does; return what was chosen and left out."""
    opened = atlas if isinstance(atlas, Atlas) else open_atlas(atlas)
    with damage_told(opened.store.root):
        return opened.report(out, **options)


def export(
    atlas: str | os.PathLike[str] | Atlas,
    out: str | os.PathLike[str] | None = None,
    *,
    network: str | int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Write an atlas in another format, as `Atlas.export` does; return what was written."""
    opened = atlas if isinstance(atlas, Atlas) else open_atlas(atlas, network=network)
    with damage_told(opened.store.root):
        return opened.export(out, **options)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, in which nothing is run as a formula, or as Parquet, by the file's suffix."""
    if path.suffix.lower() == ".csv":
        path.write_bytes(as_csv(table))
    else:
        plain = table.copy()
        plain.attrs = {}
        plain.to_parquet(path, index=False)


def check_writable(path: str | os.PathLike[str], suffixes: Sequence[str]) -> None:
    """Refuse, before the work, a file that cannot be written or is of a kind that is not made."""
    file = Path(path)
    if file.suffix.lower() not in suffixes:
        raise AtlasError(
            f"{one_line(file.name)} would be a {file.suffix or 'file without suffix'}: {', '.join(suffixes)} would do"
        )
    if not file.absolute().parent.is_dir():
        raise AtlasError(f"no folder {file.absolute().parent} to write {one_line(file.name)} in: make it first")


def serve(
    atlas: str | os.PathLike[str] | None = None,
    *,
    port: int = 5006,
    address: str = "localhost",
    read_only: bool = False,
    origins: Sequence[str] = (),
    say: Callable[[str], Any] = lambda line: None,
) -> int:
    """Serve the explorer of an atlas, of a folder of atlases, or of the cache here, until it is stopped; its exit code.

    With `read_only` nothing is written into the atlases; `origins` are further hosts that browsers reach it under.
    """
    program, environment, url = server(atlas, port=port, address=address, read_only=read_only, origins=origins)
    say(f"explorer: {url}")
    with subprocess.Popen(program, env=environment) as process:
        try:
            return process.wait()
        finally:
            process.terminate()


def server(
    atlas: str | os.PathLike[str] | None,
    *,
    port: int,
    address: str = "localhost",
    read_only: bool = False,
    origins: Sequence[str] = (),
) -> tuple[list[str], dict[str, str], str]:
    """Return the command of the explorer's server, its environment and its URL, as `serving.command` has them."""
    one, cache = find_atlases(atlas)
    return command(one, cache, port=port, address=address, read_only=read_only, origins=tuple(origins))


def find_atlases(wanted: str | os.PathLike[str] | None) -> tuple[Path | None, Path | None]:
    """Return the one atlas to serve, or the folder of atlases: as named, else ``cache`` here where it holds any.

    Neither, where nothing is named and nothing is here: the app then looks at $ATLAS_CACHE and the clone's own cache.
    """
    path = Path("cache" if wanted is None else wanted).resolve()
    if any(path.glob("*/atlas.json")) and not (path / "atlas.json").exists():
        return None, (None if wanted is None and "ATLAS_CACHE" in os.environ else path)
    if wanted is None:
        return None, None
    Atlas(wanted)  # one that cannot be opened is refused here, not on a page
    return path, None


def gc(atlas: str | os.PathLike[str], *, remove: bool = False) -> list[str]:
    """List, and with `remove` remove, the artifacts that nothing shown was made from; return what to tell."""
    with damage_told(atlas):
        store = open_atlas(atlas).store
        stray = store.unreached()
    lines = [f"{name}  {size(count)}" for name, count in stray.items()]
    if not stray:
        return ["everything is reached: nothing to remove"]
    if remove:
        for name in stray:
            store.remove(name)
        for folder in (store.root / "parts").glob("*"):
            if not any(folder.iterdir()):
                shutil.rmtree(folder)
    total = size(sum(stray.values()))
    return [*lines, f"removed {total}" if remove else f"{total} in all: `atlas gc {atlas} --remove` removes them"]
