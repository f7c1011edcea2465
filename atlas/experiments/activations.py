"""What one image does inside a network: its maps, its pattern against its class's, and what breaks first when disturbed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from atlas.atlas import Atlas
from atlas.breaking_points import breaking_points, standing
from atlas.data.disturbing import DISTURBANCES
from atlas.demo import IMAGES, LAYERS, MODEL, demo_atlas
from atlas.experiments import Setting, markdown_tables
from atlas.inside import activation_maps, maps_of_atlas, write_maps
from atlas.one_image import activations
from atlas.pages import figures
from atlas.patterns.courses import ORDERS, summary
from atlas.patterns.deviation import LEVEL
from atlas.pipeline import build

SAMPLE, QUICK_SAMPLE = 300, 40  # images disturbed: 34 runs each and per layer
QUICK_IMAGES = 6000  # of the quick atlas
PHOTOGRAPH = "flower.jpg"  # 427 × 640 px, one of the two that scikit-learn brings along


def run(setting: Setting) -> Atlas:
    """Run the experiment on Fashion-MNIST and our conv6, all of it through the public API."""
    atlas = opened(setting)
    with setting.progress.stage("maps of one image", 4) as advance:
        for make, name, file in _maps(atlas):
            write_maps(make, name=name, out=setting.out / file)
            advance(1)
    layers = LAYERS[:2] if setting.quick else LAYERS
    count = QUICK_SAMPLE if setting.quick else SAMPLE
    tables = [breaking_points(atlas, count, layer, progress=setting.progress) for layer in layers]
    told = measured(atlas, layers, tables)
    (setting.out / "measured.json").write_text(json.dumps(told, indent=1), "utf-8")
    (setting.out / "measured.md").write_text(markdown(told), "utf-8")
    pd.concat([table.assign(layer=table.attrs["layer"]) for table in tables]).to_csv(setting.out / "images.csv", index=False)
    draw(setting, atlas, tables)
    setting.say(markdown(told))
    return atlas


def opened(setting: Setting) -> Atlas:
    """Return the demo's own atlas, built where it does not stand; a small one for a quick run."""
    if not setting.quick:
        return demo_atlas(setting.cache, setting.progress)
    folder = setting.folder("experiments/fashion-mnist")
    return build(MODEL, IMAGES, cache=folder, layers=LAYERS, layouts=("pca:relu_fc1",), limit=QUICK_IMAGES,
                 title="Fashion-MNIST, a part", progress=setting.progress)  # fmt: skip


def _maps(atlas: Atlas) -> list[tuple[Any, str, str]]:
    """Return what to draw of single layers: how the maps are had, of what, and into which file."""
    row, photo = int((atlas.image_record.table["split"] == "held-out").to_numpy().argmax()) + 1, photograph()
    return [
        (lambda: maps_of_atlas(atlas, row, 2), f"image {row}", "maps-layer-2.webp"),
        (lambda: maps_of_atlas(atlas, row, "relu_fc1"), f"image {row}", "maps-relu_fc1.webp"),
        (lambda: activation_maps(MODEL, photo, 3), PHOTOGRAPH, "photograph-resized.webp"),
        (lambda: activation_maps(MODEL, photo, 3, own_size=True), PHOTOGRAPH, "photograph-own-size.webp"),
    ]


def photograph() -> Image.Image:
    """Return a real photograph that needs no download."""
    from sklearn.datasets import load_sample_image

    return Image.fromarray(load_sample_image(PHOTOGRAPH))


# -- what was measured ------------------------------------------------------------------------------------------------------


def measured(atlas: Atlas, layers: Sequence[str], tables: Sequence[pd.DataFrame]) -> dict[str, Any]:
    """Return what was found as plain values: undisturbed images by layer, disturbed ones by layer and disturbance."""
    undisturbed = [standing(atlas, layer).assign(layer=layer) for layer in layers]
    disturbed = [summary(table).assign(layer=table.attrs["layer"]) for table in tables]
    confidence = tables[0].groupby("kind", sort=False)["confidence_first"].value_counts(normalize=True).unstack(fill_value=0)
    return {
        "atlas": atlas.title,
        "images": len(atlas.image_record),
        "accuracy": (atlas.predictions.accuracy if atlas.predictions else {}),
        "over": tables[0].attrs["over"],
        "level": LEVEL,
        "undisturbed": pd.concat(undisturbed).to_dict("records"),
        "disturbed": pd.concat(disturbed).astype(object).where(pd.concat(disturbed).notna(), None).to_dict("records"),
        "confidence_first": {
            kind: {name: float(row.get(name, 0.0)) for name in ORDERS} for kind, row in confidence.iterrows()
        },
    }


def markdown(told: dict[str, Any]) -> str:
    """Return the same as tables for a page."""
    first = [["layer", "disturbance", *ORDERS, "pattern at", "confidence at", "prediction at"]]
    caught = [["layer", "disturbance", "predictions changed", "outside the new class", "less sure than its own images"]]
    for row in told["disturbed"]:
        where = [row["layer"], row["kind"]]
        ats = [_at(row[f"{event}_at"]) for event in ("pattern", "confidence", "prediction")]
        first.append([*where, *(f"{row[name]:.0%}" for name in ORDERS), *ats])
        caught.append([*where, f"{row['changed']} of {row['images']}", _share(row["caught"]), _share(row["caught_unsure"])])
    plain = [["confidence instead of the pattern", *ORDERS]]
    plain += [[kind, *(f"{shares[name]:.0%}" for name in ORDERS)] for kind, shares in told["confidence_first"].items()]
    still = [["layer", "split", "prediction", "images", "outside", "less sure than its own images"]]
    still += [
        [row["layer"], row["split"], "right" if row["right"] else "wrong", f"{row['images']}", _share(row["outside"]),
         _share(row["unsure"])] for row in told["undisturbed"]
    ]  # fmt: skip
    return markdown_tables(still, first, plain, caught)


def _share(value: float | None) -> str:
    return "—" if value is None else f"{value:.1%}"


def _at(value: float | None) -> str:
    return "never" if value is None else f"{value:g}"


# -- the figures ------------------------------------------------------------------------------------------------------------


def draw(setting: Setting, atlas: Atlas, tables: Sequence[pd.DataFrame]) -> None:
    """Draw the sample, and the images that show most clearly that the pattern breaks first, and that it does not."""
    strengths = {name: kind.strengths for name, kind in DISTURBANCES.items()}
    images = tables[0]["image"].nunique()
    note = f"{images} correctly classified images; left: farther out than {LEVEL:.0%} of the class's own images"
    title = "By which strength has the pattern left its class, and has the prediction changed?"
    figures.save(figures.breaking_figure(tables, strengths, title=title, note=note), setting.out / "breaking.webp")
    title = "Does the pattern break before the prediction does?"
    figures.save(figures.first_figure(tables, title=title, note=note), setting.out / "first.webp")
    layer = tables[1].attrs["layer"]
    for first in ("pattern", "prediction"):
        row = clearest(tables[1], first)
        activations(atlas, row, layer=layer, out=setting.out / f"{first}-first.webp")


def clearest(table: pd.DataFrame, first: str) -> int:
    """Return the image in which `first` came first under most disturbances; of equals the first one."""
    count = (table["first"] == first).groupby(table["image"]).sum()
    return int(count.index[int(np.argmax(count.to_numpy()))])
