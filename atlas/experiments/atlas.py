"""The questions an activation atlas answers, asked of two networks on CIFAR-10: one trained on it, one that never saw it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from atlas.arguing import attribute, make_cells
from atlas.atlas import Atlas
from atlas.experiments import Setting, markdown_tables
from atlas.experiments.atlas_figures import draw
from atlas.experiments.atlas_measures import (
    Network,
    islands,
    pasted,
    path,
    places_matter,
    spread_and_error,
    suspects_of_both,
    unusual_told,
)
from atlas.experiments.atlas_nearest import nearest_right
from atlas.experiments.deep import data_of
from atlas.experiments.imagenet import write_class_map
from atlas.experiments.networks import efficientnet_lite0
from atlas.iconing import icons
from atlas.models import reference
from atlas.models.preprocess import Preprocess
from atlas.models.training import train
from atlas.pipeline import build
from atlas.verbs import draw_training

IMAGES = "cifar10:test"
GRIDS = (8, 16)
CONV6 = Network(
    key="conv6", title="conv6", descriptor="relu_fc1", joint="pool4+pool6+relu_fc1", logits="logits",
    grids=("relu4", "relu6"), argued=("relu4", "relu6", "relu_fc1"), places="relu6",
    layers=("relu4=positions:1", "pool4", "relu6=positions:1", "pool6", "relu_fc1", "logits"),
)  # fmt: skip
LITE0 = Network(
    key="lite0", title="EfficientNet-lite0", descriptor="_avg_pooling", joint="_blocks.4+_blocks.14+_avg_pooling",
    logits="_fc", grids=("_blocks.10", "_blocks.15"), argued=("_blocks.15",), places="_blocks.10",
    layers=("_blocks.4", "_blocks.10=positions:1", "_blocks.14", "_blocks.15=positions:1", "_avg_pooling", "_fc"),
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How much of it is done."""

    images: int | None  # of the 10 000 test images, in proportion over the classes
    training: int | None  # training images
    epochs: int
    edge: int  # pixels that EfficientNet-lite0 sees an image at
    grids: tuple[int, ...]
    steps: int  # of an icon
    removed: int  # images whose places are taken away, per network


FULL = Size(5000, None, 6, 128, GRIDS, 96, 100)
QUICK = Size(300, 3000, 2, 64, (8,), 8, 8)


def run(setting: Setting) -> Atlas:
    """Run the experiment; return the atlas of both networks over the test images of CIFAR-10."""
    size = QUICK if setting.quick else FULL
    folder = trained(setting, size)
    atlas = built(setting, folder, size)
    control = untrained(setting, folder, size)
    both = {one.key: atlas.of_network(_number(atlas, one)) for one in (CONV6, LITE0)}
    pairs = [(CONV6, both["conv6"]), (LITE0, both["lite0"])]
    grid = size.grids[-1]
    with setting.progress.stage("measures of the maps", 1) as advance:
        told: dict[str, Any] = {
            "images": len(atlas.image_record),
            "networks": {one.key: _told(one, opened) for one, opened in pairs},
            "training": reference.read_recipe(folder),
            "nearest": [row for one, opened in pairs for row in nearest_right(one, opened)],
            "untrained": nearest_right(CONV6, control, maps=False),
            "depth": [{"network": one.title, **row} for one, opened in pairs for row in _depth(opened, grid)],
            "spread": [spread_and_error(one, opened) for one, opened in pairs]
            + [spread_and_error(CONV6, control, both["conv6"])],
            "islands": [row for one, opened in pairs for row in islands(one, opened, grid)],
            "paths": [path(one, opened, grid) for one, opened in pairs],
            "unusual": [row for one, opened in pairs for row in unusual_told(one, opened, grid)],
            "suspects": suspects_of_both(both["conv6"], both["lite0"], CONV6, LITE0),
        }
        advance(1)
    removed = {one.key: opened.removal(size.removed, one.places, progress=setting.progress) for one, opened in pairs}
    told["removal"] = [places_matter(one, removed[one.key]) for one, _ in pairs]
    ends = [told["paths"][0][end] for end in ("first", "second")]
    told["pasting"] = pasted(CONV6, both["conv6"], ends[0], ends[1], min(size.removed, 80), setting.progress)
    pd.concat([table.assign(network=key) for key, table in removed.items()]).to_csv(setting.out / "removal.csv", index=False)
    told["strips"] = draw(setting, pairs, told, removed)
    (setting.out / "measured.json").write_text(json.dumps(told, indent=1), "utf-8")
    (setting.out / "measured.md").write_text(markdown(told), "utf-8")
    setting.say(markdown(told))
    return Atlas(atlas.store.root)


# -- networks and their atlas -----------------------------------------------------------------------------------------------


def trained(setting: Setting, size: Size) -> Path:
    """Return the folder of conv6 trained on CIFAR-10: a training that stands is used, a killed one goes on."""
    data = data_of(setting, "cifar10", size.training, size.training and 1000)
    folder = setting.folder("networks/atlas-conv6-cifar10")
    folder.parent.mkdir(parents=True, exist_ok=True)
    result = train("conv6", data, out=folder, epochs=size.epochs, progress=setting.progress)
    if not (folder / "curves.png").exists():
        draw_training(result)
    return folder


def built(setting: Setting, folder: Path, size: Size) -> Atlas:
    """Return the atlas of both networks: layouts, attributions, cells, and icons of conv6."""
    root = setting.folder("atlas-cifar10")
    found = efficientnet_lite0(setting.cache, setting.progress)
    classes = write_class_map(setting.out / "imagenet-cifar10.csv")
    build(
        found.spec, IMAGES, cache=root, layers=LITE0.layers, layouts=LITE0.layouts, limit=size.images, class_map=classes,
        network=found.options | {"input_size": size.edge}, title="CIFAR-10, test images", progress=setting.progress,
    )  # fmt: skip
    build(f"atlas:{folder}", into=root, layers=CONV6.layers, layouts=CONV6.layouts, progress=setting.progress)
    for one in (LITE0, CONV6):
        atlas = Atlas(root)
        atlas = atlas.of_network(_number(atlas, one))
        atlas = attribute(atlas, one.argued, progress=setting.progress)
        for layer in (*one.grids, one.descriptor, one.joint):
            atlas = make_cells(atlas, layer, sizes=size.grids)
    for layer in (CONV6.places, CONV6.descriptor):
        atlas = icons(atlas, layer, sizes=size.grids, steps=size.steps, progress=setting.progress)
    return Atlas(root)


def untrained(setting: Setting, folder: Path, size: Size) -> Atlas:
    """Return an atlas of conv6 as it was before its training, over the same images: a control."""
    recipe = reference.read_recipe(folder)
    module = reference.build("conv6", recipe["arguments"], seed=recipe["training"]["seed"]).eval()
    return build(
        module, IMAGES, cache=setting.folder("experiments/atlas-untrained"), layers=[CONV6.descriptor, "logits"],
        layouts=[f"pca:{CONV6.descriptor}"], limit=size.images, progress=setting.progress,
        network={"preprocess": Preprocess.from_dict(recipe["preprocess"]), "categories": recipe["categories"]},
        title="CIFAR-10, an untrained network",
    )  # fmt: skip


def _number(atlas: Atlas, one: Network) -> int:
    table = atlas.networks()
    return int(table.loc[table["layers"].str.contains(one.descriptor, regex=False), "number"].iloc[-1])


def _told(one: Network, atlas: Atlas) -> dict[str, Any]:
    said = atlas.predictions
    assert said is not None  # both are classifiers
    return {"title": one.title, "accuracy": said.accuracy, "classes": said.map.sentence,
            "layouts": atlas.layouts().drop(columns="name").astype(object).to_dict("records")}  # fmt: skip


def _depth(atlas: Atlas, grid: int) -> list[dict[str, Any]]:
    """Return how pure the cells of each layer recorded at one place are, and what they argue, in order of execution."""
    rows: list[Any] = atlas.depth(sizes=[grid]).astype(object).to_dict("records")
    return rows


# -- words ------------------------------------------------------------------------------------------------------------------


def markdown(told: dict[str, Any]) -> str:
    """Return what was measured as tables for a page."""
    near = [["network", "layers", "values", "purity", "30 nearest right", "on UMAP", "on t-SNE", "labels shuffled"]]
    for row in [*told["nearest"], *({**row, "network": "conv6, untrained"} for row in told["untrained"])]:
        near.append([row["network"], row["layers"], f"{row['values']}", _share(row["purity"]), _share(row["space"]),
                     _share(row["umap"]), _share(row["tsne"]), _share(row["shuffled"])])  # fmt: skip
    depth = [["network", "layer", "cells", "label purity", "largest attribution"]]
    for row in told["depth"]:
        argued = "—" if row["attribution"] != row["attribution"] else f"{row['attribution']:.2f}"  # NaN: not attributed
        depth.append([row["network"], row["layer"], f"{row['cells']}", _share(row["purity"]), argued])
    spread = [["network", "layer", "error with spread (ρ)", "p", "error with impurity (ρ)", "p", "tightest", "widest"]]
    for one in told["spread"]:
        for row in one["layers"]:
            rhos = [
                f"{row['rho_spread']:.2f}",
                f"{row['p_spread']:.4f}",
                f"{row['rho_purity']:.2f}",
                f"{row['p_purity']:.4f}",
            ]
            spread.append([one["title"], row["layer"], *rhos, row["tightest"], row["widest"]])
    island = [["network", "cell", "class", "taken for", "in the cell", "by chance", "p", "view"]]
    for row in told["islands"]:
        island.append([row["network"], f"{row['column']}, {row['row']}", row["label"], row["taken_for"],
                       f"{row['confused']} of {row['of']} ({row['share']:.0%})", f"{row['expected']:.1f}", f"{row['p']:.3f}",
                       f"`{row['link']}`"])  # fmt: skip
    paths = [["network", "from", "to", "cells", "cosine of a step", "shuffled", "p", "order of P(to) − P(from)", "view"]]
    for row in told["paths"]:
        paths.append([row["network"], row["first"], row["second"], f"{len(row['cells'])}", f"{row['cosine']:.3f}",
                      f"{row['shuffled']:.3f}", f"{row['p']:.3f}", f"{row['order']:.2f}", f"`{row['link']}`"])  # fmt: skip
    removal = [["network", "layer", "images", "share taken away", "argue most first", "at random", "argue least first"]]
    for one in told["removal"]:
        for row in one["steps"]:
            removal.append([one["network"], one["layer"], f"{one['images']}", f"{row['share']:.1%}",
                            *(f"{row[name]:.1%}" for name in ("most", "random", "least"))])  # fmt: skip
    one = told["pasting"]
    patches = [
        ["patch cut out", f"{one['first']} taken for {one['second']}", "best corner of each", "probability before", "after"]
    ]
    for row in one["kinds"]:
        patches.append([row["kind"], *(f"{row[name]:.1%}" for name in ("static", "dynamic", "before", "after"))])
    unusual = [
        ["network", "layer", "cell", "images", "usual class", "argues for", "taken for it here", "elsewhere", "p", "view"]
    ]
    for row in told["unusual"]:
        unusual.append([row["network"], row["layer"], f"{row['column']}, {row['row']}", f"{row['images']}",
                        f"{row['usual']} {row['usual_share']:.0%}", f"{row['argues_for']} {row['share']:.0%}",
                        f"{row['taken']} of {row['of']}", f"{row['taken_elsewhere']} of {row['of_elsewhere']}",
                        f"{row['p']:.2g}", f"`{row['link']}`"])  # fmt: skip
    doubt = told["suspects"]
    suspects = [["the most suspicious", "in both networks", "by chance", "p", "view"],
                [f"{doubt['top']} of {doubt['of']}", f"{doubt['both']}", f"{doubt['by_chance']:.1f}", f"{doubt['p']:.2g}",
                 f"`{doubt['link']}`"]]  # fmt: skip
    return markdown_tables(near, depth, spread, island, paths, removal, patches, unusual, suspects)


def _share(value: float | None) -> str:
    return "—" if value is None else f"{value:.1%}"
