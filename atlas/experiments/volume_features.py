"""Which unit does what, of the experiment `volume`: units asked by stimuli and faces, held against an untrained network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.atlas import Atlas
from atlas.experiments import Setting
from atlas.pages import figures
from atlas.patterns.selectivity import TUNED, Selectivity, apart, chance_auc
from atlas.preferred.records import Preferred
from atlas.progress import Progress
from atlas.tuning import against_preferred, asked, gather_groups, selectivities

if TYPE_CHECKING:
    from atlas.experiments.volume import Sizes

EDGE = 64  # pixels of a preferred input
SETTLING = 32  # images by which the norms of the untrained network are settled
COHERENT, COLOURFUL = 0.15, 0.15  # of a preferred input, from which it has an orientation, and a hue
FACE = 0.9  # area under the ROC curve from which a unit tells faces from other photographs well
SHOWN = 8  # units drawn


@dataclass(frozen=True)
class Asked:
    """What the units of some layers answered, in the network as trained and with weights drawn at random."""

    trained: dict[str, Selectivity]
    untrained: dict[str, Selectivity]
    layer: str  # whose preferred inputs were drawn
    against: pd.DataFrame  # as `against_preferred` has it
    drawn: Preferred


def ask_units(
    atlas: Atlas, layers: Sequence[str], groups: Mapping[str, Path], sizes: Sizes, layer: str, progress: Progress
) -> Asked:
    """Ask the units of some layers; draw the preferred inputs of those of one layer that are tuned most, and of others."""
    from atlas.preferred.untrained import untrained

    named = {name: str(folder) for name, folder in groups.items()}
    trained = selectivities(atlas, layers, groups=named, grey=True, limit=sizes.faces, progress=progress)
    network = atlas.network()
    rows = atlas.image_record.decoded[:SETTLING]
    pixels = np.stack([network.preprocess.array(atlas.seeing.picture(int(row))) for row in rows])
    control = untrained(network, network.preprocess.tensor(_tensor(pixels)), seed=0)
    gathered = gather_groups(atlas, named, limit=sizes.faces, progress=progress)
    same = {name: (record.number, record.functional) for name, record in trained.items()}
    controls = asked(control, same, gathered, grey=True, progress=progress)
    units = chosen(trained[layer].table(), sizes.drawn)
    drawn = atlas.preferred(layer, units, steps=sizes.steps, size=EDGE, restarts=1, progress=progress)
    return Asked(trained, controls, layer, against_preferred(trained[layer], drawn), drawn)


def _tensor(pixels: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(pixels)


def chosen(table: pd.DataFrame, each: int) -> list[int]:
    """Return the units tuned most to an orientation and to a hue, `each` of both, and as many drawn by chance."""
    by = [table.sort_values(f"{name}_index", ascending=False)["unit"].head(each) for name in ("orientation", "hue")]
    rest = np.random.default_rng(0).permutation(table["unit"].to_numpy())[:each]
    return [int(unit) for unit in dict.fromkeys([*by[0], *by[1], *rest])]


def told(records: Mapping[str, Selectivity]) -> list[dict[str, Any]]:
    """Return by layer which share of the units is tuned, and how well they tell the groups apart."""
    found = []
    for layer, record in records.items():
        table, chance = record.table(), chance_auc(*record.group_images)
        found.append({
            "layer": layer, "units": len(table), "silent": float(table["orientation"].isna().mean()),
            "orientation": float((table["orientation_index"] >= TUNED).mean()),
            "hue": float((table["hue_index"] >= TUNED).mean()),
            "cycles": float(table["cycles"].median()),
            "faces_over_chance": float((table["auc"] > 0.5 + chance).mean()),
            "others_over_chance": float((table["auc"] < 0.5 - chance).mean()),
            "faces": float((table["auc"] >= FACE).mean()), "others": float((table["auc"] <= 1 - FACE).mean()),
            "best_auc": float(table["auc"].max()), "best_unit": int(np.nanargmax(table["auc"].to_numpy())),
        })  # fmt: skip
    return found


def draw_units(setting: Setting, asked: Asked) -> dict[str, Any]:
    """Draw shares by layer and single units; return all that was measured."""
    of = {"trained": told(asked.trained), "untrained": told(asked.untrained)}
    layers = list(asked.trained)
    questions = {"tuned to an orientation": "orientation", "tuned to a hue": "hue",
                 "tell faces from other photographs": "faces_or_others"}  # fmt: skip
    shares = {
        question: {words: [row["faces"] + row["others"] if key == "faces_or_others" else row[key] for row in rows]
                   for words, rows in of.items()} for question, key in questions.items()
    }  # fmt: skip
    note = f"share of units with an index of {TUNED} or more; faces: area under the ROC curve of {FACE} or more, either way"
    drawn = figures.shares_figure(shares, layers, title="Which share of the units answers to a feature?", note=note)
    figures.save(drawn, setting.out / "selectivity.webp")
    _draw_single(setting, asked)
    return {**of, "layer": asked.layer, "index": TUNED, "face": FACE, "groups": _groups(asked), **agreement(asked.against)}


def _groups(asked: Asked) -> dict[str, int]:
    record = next(iter(asked.trained.values()))
    return dict(zip(record.groups, record.group_images, strict=True))


def agreement(table: pd.DataFrame) -> dict[str, Any]:
    """Return how far preferred inputs show the angle that stimuli found, with shuffled units as a control."""
    found: dict[str, Any] = {"drawn": len(table), "stronger_than_grating": float((table["drawn"] > table["grating"]).mean())}
    for name, period, shown, enough in (("orientation", 180, "coherence", COHERENT), ("hue", 360, "saturation", COLOURFUL)):
        own = table[(table[f"{name}_index"] >= TUNED) & (table[f"drawn_{shown}"] >= enough) & table[f"drawn_{name}"].notna()]
        gap = apart(own[name].to_numpy(), own[f"drawn_{name}"].to_numpy(), period)
        rng = np.random.default_rng(0)
        shuffled = [apart(own[name].to_numpy(), rng.permutation(own[f"drawn_{name}"].to_numpy()), period).mean()
                    for _ in range(200)] if len(own) > 1 else [np.nan]  # fmt: skip
        found[name] = {"units": len(own), "gap": float(gap.mean()) if len(own) else None, "chance": period / 4,
                       "shuffled": float(np.mean(shuffled)),
                       "lower": float(np.mean(np.array(shuffled) <= gap.mean())) if len(own) else None}  # fmt: skip
    return found


def _draw_single(setting: Setting, asked: Asked) -> None:
    """Draw the units tuned most, half of them to an orientation, half to a hue."""
    record = asked.trained[asked.layer]
    table, half = asked.against.reset_index(drop=True), SHOWN // 2
    rows, pictures = [], []
    for name in ("orientation", "hue"):
        for place in table.sort_values(f"{name}_index", ascending=False).index[:half]:
            rows.append(_row(record, table.loc[place], name))
            pictures.append(np.asarray(asked.drawn.images)[list(asked.drawn.units).index(table.loc[place, "unit"])])
    note = "left: the stimulus it answers to most; right: its preferred input; below: its answers by angle"
    drawn = figures.tuned_figure(rows, np.stack(pictures), np.asarray(record.orientations), np.asarray(record.hues),
                                 title=f"Units of {asked.layer} and what they answer to", note=note)  # fmt: skip
    figures.save(drawn, setting.out / "units.webp")


def _row(record: Selectivity, unit: pd.Series, kind: str) -> dict[str, Any]:
    number, angle, index = int(unit["unit"]), float(unit[kind]), float(unit[f"{kind}_index"])
    above = np.maximum(np.asarray(record.grating)[..., number] - record.plain[number], 0)
    best = int(above.max(0).argmax())
    answers = (
        above[:, best] if kind == "orientation" else np.maximum(np.asarray(record.hue)[:, number] - record.plain[number], 0)
    )
    return {"unit": number, "kind": kind, "answers": answers, "angle": angle, "index": index,
            "cycles": float(np.asarray(record.cycles)[best]),
            "words": f"unit {number}: {kind} {angle:.0f}°, index {index:.2f}"}  # fmt: skip
