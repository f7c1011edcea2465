"""Layers as a volume, and which unit does what: shown, measured level by level, asked by stimuli, cut and used again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from atlas.atlas import Atlas
from atlas.data.sweeping import SWEEPS
from atlas.errors import AtlasError
from atlas.experiments import Setting
from atlas.experiments.networks import Found, efficientnet_lite0, resnet50
from atlas.experiments.volume_features import Asked, ask_units, draw_units
from atlas.experiments.volume_reuse import probes
from atlas.experiments.volume_sets import class_map, faces, photographs
from atlas.experiments.volume_told import markdown
from atlas.feature_verbs import volume as render
from atlas.pages import figures
from atlas.pipeline import build
from atlas.sweeping import summary
from atlas.volumes import keep, plan

LAYERS = {  # recorded, in order of execution: early, middle, late, the last vector
    "efficientnet-lite0": ("_blocks.0", "_blocks.4", "_blocks.10", "_blocks.15", "_avg_pooling", "_fc"),
    "resnet": ("layer1", "layer2", "layer3", "layer4", "avgpool"),
}
LOOKED = {  # the levels of the volumes
    "efficientnet-lite0": (
        "_relu0",
        "_blocks.0",
        "_blocks.2",
        "_blocks.4",
        "_blocks.7",
        "_blocks.10",
        "_blocks.14",
        "_relu1",
    ),
    "resnet": ("relu", "layer1.0", "layer1", "layer2.0", "layer2", "layer3", "layer4.0", "layer4"),
}
ASKED = ("_relu0", "_blocks.2", "_blocks.5._relu0", "_blocks.10._relu0", "_relu1")  # units asked by stimuli: after a ReLU
CUT = {
    "efficientnet-lite0": ("_blocks.2", "_blocks.4", "_blocks.10", "_avg_pooling"),
    "resnet": ("layer1", "layer3", "avgpool"),
}
DRAWN = "_blocks.5._relu0"  # of which preferred inputs are drawn


@dataclass(frozen=True)
class Sizes:
    """How much is run."""

    images: int  # of each class
    shown: int  # of each class as volumes
    levels: int
    swept: int
    faces: int  # of either group of photographs, at most
    drawn: int  # units of each kind whose preferred inputs are drawn
    steps: int  # of the ascent
    train: int  # of the probes
    test: int


FULL = Sizes(images=40, shown=5, levels=40, swept=12, faces=60, drawn=6, steps=48, train=350, test=200)
QUICK = Sizes(images=6, shown=1, levels=10, swept=1, faces=12, drawn=2, steps=16, train=60, test=40)
INPUT = 128  # pixels of the networks' inputs: four times CIFAR-10's, and a third of the work of 224
GRID = 56  # of the volumes


def run(setting: Setting) -> Atlas:
    """Run the experiment, all of it through the public API; return the classifier's atlas."""
    sizes = QUICK if setting.quick else FULL
    images = setting.images or photographs(setting, sizes.images)
    classifier = efficientnet_lite0(setting.cache, setting.progress)
    other = resnet50(setting.cache, setting.progress)
    atlases = {found.title: opened(setting, found, images) for found in (classifier, other)}
    told: dict[str, Any] = {"networks": [classifier.words, other.words], "images": described(atlases[classifier.title])}
    shown = clearest(atlases[classifier.title])
    told["volumes"] = [volumes(setting, found, atlases[found.title], sizes.shown, shown) for found in (classifier, other)]
    told["levels"] = levels(setting, atlases, sizes)
    told |= properties(setting, atlases[classifier.title], sizes)
    asked = ask_units(atlases[classifier.title], ASKED, faces(setting), sizes, DRAWN, setting.progress)
    told["selectivity"] = units(setting, asked)
    cut = {classifier.title: (classifier, CUT["efficientnet-lite0"]), other.title: (other, CUT["resnet"])}
    told["probes"] = probes(setting, cut, asked, sizes)
    (setting.out / "measured.json").write_text(json.dumps(told, indent=1, default=float), "utf-8")
    (setting.out / "measured.md").write_text(markdown(told), "utf-8")
    setting.say(markdown(told))
    return atlases[classifier.title]


def opened(setting: Setting, found: Found, images: Any) -> Atlas:
    """Return the atlas of a network over the images, built where it does not stand."""
    own = setting.images is None and found.options.get("categories")
    kind = "efficientnet-lite0" if found.name == "efficientnet-lite0" else "resnet"
    options = found.options | ({"input_size": INPUT} if setting.images is None else {})
    return build(
        found.spec, str(images), cache=setting.folder(f"volume-{found.name}"), layers=LAYERS[kind], title=found.title,
        layouts=(f"umap:{LAYERS[kind][4]}", f"pca:{LAYERS[kind][4]}"), network=options, properties=True,
        statistics=[layer for layer in ASKED if kind != "resnet"], run={"precision": "float32"},
        class_map=class_map(setting.out) if own else None, split="held-out" if setting.images is None else None,
        progress=setting.progress,
    )  # fmt: skip


def described(atlas: Atlas) -> dict[str, Any]:
    """Return what the images are, and how many of them the classifier has right, where that is defined."""
    said, record = atlas.predictions, atlas.image_record
    right, accuracy = (said.right, said.accuracy) if said is not None and said.map.complete else (np.zeros(0), {})
    shares = [float((right[record.codes == code] == 1).mean()) for code in range(len(record.labels))] if len(right) else []
    return {
        "title": record.title, "images": len(record), "labels": record.labels,
        "accuracy": accuracy, "classes": dict(zip(record.labels, shares, strict=False)),
    }  # fmt: skip


def clearest(atlas: Atlas) -> int:
    """Return the image that the classifier has right with the highest confidence; the first where none is right."""
    said = atlas.predictions
    if said is None:
        return 0
    return int(np.argmax(np.where(said.right == 1, said.confidence, -1.0)))


def volumes(setting: Setting, found: Found, atlas: Atlas, each: int, shown: int) -> dict[str, Any]:
    """Keep and export the volumes of some images of each class, and render one; return what was written."""
    codes = atlas.image_record.codes
    rows = [int(row) for code in range(len(atlas.image_record.labels)) for row in np.flatnonzero(codes == code)[:each]]
    kind = "efficientnet-lite0" if found.name == "efficientnet-lite0" else "resnet"
    wanted = plan(atlas, rows, LOOKED[kind], channels=8, size=GRID)
    keep(atlas, wanted, progress=setting.progress)
    try:
        written = atlas.export(
            setting.cache / "experiments" / f"{found.name}-volumes.nc",
            format="netcdf",
            images=rows,
            layers=list(LOOKED[kind]),
            channels=8,
            size=GRID,
            each=True,
            progress=setting.progress,
        )
        files = len(written["files"])
    except AtlasError as reason:  # the netCDF extra is one that a reader may not have
        setting.progress.note(str(reason))
        files = 0
    render(atlas, [shown], layers=LOOKED[kind], channels=8, size=GRID, out=setting.out / f"volume-{kind}.webp")
    return {"network": found.title, "images": len(rows), "levels": 8 * len(LOOKED[kind]) + (wanted.cam is not None),
            "cam": wanted.cam, "files": files}  # fmt: skip


def levels(setting: Setting, atlases: dict[str, Atlas], sizes: Sizes) -> dict[str, list[dict[Any, Any]]]:
    """Ask both networks level by level what they show and separate; draw it."""
    found = {}
    for title, atlas in atlases.items():
        kind = "efficientnet-lite0" if "_fc" in atlas.layers else "resnet"
        found[title] = atlas.levels(sizes.levels, LOOKED[kind], size=GRID, progress=setting.progress)
    note = f"{sizes.levels} images; the 8 most active channels of each layer; the classes by the layer's mean vectors"
    drawn = figures.levels_figure(found, title="What does each level show of its input, and what of the classes?", note=note)
    figures.save(drawn, setting.out / "levels.webp")
    return {title: table.astype(object).where(table.notna(), None).to_dict("records") for title, table in found.items()}


def properties(setting: Setting, atlas: Atlas, sizes: Sizes) -> dict[str, Any]:
    """Relate the images' properties to confidence and accuracy, observed and swept; draw both."""
    relations, bins = atlas.effects()
    note = f"{len(atlas.image_record)} images in five bins each; the band is the 95 % interval of the accuracy"
    figures.save(figures.effects_figure(bins, title="What are the images like that the network has right?", note=note),
                 setting.out / "effects.webp")  # fmt: skip
    table = atlas.sweep(sizes.swept, progress=setting.progress)
    found = summary(table)
    table.to_csv(setting.out / "sweeps.csv", index=False)
    note = f"{sizes.swept} images, each changed in one property at a time, as the network is given them"
    drawn = figures.sweeps_figure(found, list(SWEEPS.values()), title="And when one property alone is changed?", note=note)
    figures.save(drawn, setting.out / "sweeps.webp")
    plain = [frame.astype(object).where(frame.notna(), None).to_dict("records") for frame in (relations, bins, found)]
    return {"relations": plain[0], "bins": plain[1], "sweeps": plain[2], "swept": sizes.swept}


def units(setting: Setting, asked: Asked) -> dict[str, Any]:
    """Draw and tell what the units answered."""
    pd.concat([record.table().assign(layer=layer) for layer, record in asked.trained.items()]).to_csv(
        setting.out / "units.csv", index=False)  # fmt: skip
    return draw_units(setting, asked)
