"""Class activation patterns of very deep residual networks: what each block makes of the classes, and what lets it train."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atlas.atlas import Atlas
from atlas.experiments import Setting, markdown_tables
from atlas.experiments.deep import COMPARED, Case, Scalings, by_neuron, read_and_compared, scalings, trained
from atlas.models import reference
from atlas.pages import figures
from atlas.patterns.blocks import between_classes, class_cosines, f_ratio
from atlas.pipeline import build
from atlas.verbs import patterns as draw_patterns

CASES = (
    Case("residual-mlp", "mnist", 512, 3),
    Case("residual-mlp", "fashion-mnist", 512, 3),
    Case("residual-mlp", "cifar10", 512, 3),
    Case("residual-cnn", "fashion-mnist", 128, 1, 30_000),
)
QUICK = (Case("residual-mlp", "mnist", 48, 3, 6000), Case("residual-cnn", "fashion-mnist", 16, 2, 3000))
FULL_SCALINGS, QUICK_SCALINGS = Scalings(512, 3, 10_000), Scalings(64, 2, 3000, 100)


def run(setting: Setting) -> Atlas:
    """Run the experiment; return the atlas of the first case. Trainings that stand are used, killed ones go on."""
    cases = QUICK if setting.quick else CASES
    found = [Measured.made(setting, case) for case in cases]
    scaled = scalings(setting, QUICK_SCALINGS if setting.quick else FULL_SCALINGS)
    told = {"networks": [one.told() for one in found], "scalings": told_scalings(scaled)}
    (setting.out / "measured.json").write_text(json.dumps(told, indent=1), "utf-8")
    (setting.out / "measured.md").write_text(markdown(told), "utf-8")
    draw(setting, found, scaled)
    setting.say(markdown(told))
    return found[0].atlas


# -- networks ---------------------------------------------------------------------------------------------------------------


def atlas_of(setting: Setting, case: Case, folder: Path) -> Atlas:
    """Return the atlas of the test images: the statistics of every block, the vectors of the last one and the logits."""
    shipped = f"atlas:{case.net}@{case.dataset}" if folder.parent == reference.WEIGHTS else f"atlas:{folder}"
    last = f"blocks.{case.depth - 1}"
    return build(
        shipped, f"{case.dataset}:test", cache=setting.folder(f"patterns-{case.name}"), layers=[last, "logits"],
        statistics=[f"blocks.{k}" for k in range(case.depth)], layouts=[f"pca:{last}" if setting.quick else f"umap:{last}"],
        run={"precision": "float32"},
        title=f"{case.title} through {case.depth} residual blocks", progress=setting.progress,
    )  # fmt: skip


# -- measures ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """What was measured of one case."""

    case: Case
    recipe: dict[str, Any]
    atlas: Atlas
    blocks: pd.DataFrame  # per block: f_ratio, f_low, f_high, cosine, read_out, low, high, std
    cosines: np.ndarray  # float64 [block, class, class]
    cka: np.ndarray  # float64 [block compared, block compared]
    labels: list[str]
    right: int  # test images whose patterns count
    images: int  # test images

    @classmethod
    def made(cls, setting: Setting, case: Case) -> Measured:
        """Train, build and measure."""
        folder = trained(setting, case)
        atlas, recipe = atlas_of(setting, case, folder), reference.read_recipe(folder)
        with setting.progress.stage(f"patterns across the blocks of {case.title}", 1) as advance:
            across = atlas.patterns_across()
            advance(1)
        ratio, cosines = f_ratio(across.mean, across.std), class_cosines(across.mean)
        read, cka = read_and_compared(setting, case, folder, recipe)
        low, median, high = np.nanquantile(ratio, [0.1, 0.5, 0.9], axis=1)
        columns = {"f_ratio": median, "f_low": low, "f_high": high, "cosine": between_classes(cosines), "read_out": read}
        columns |= {"low": np.nanmin(across.mean, (0, 2)), "high": np.nanmax(across.mean, (0, 2))}
        columns |= {"std": np.nanmax(across.std, (0, 2))}
        counts = int(across.count.sum()), len(atlas.image_record)
        return cls(case, recipe, atlas, pd.DataFrame(columns), cosines, cka, across.labels, *counts)

    @property
    def early(self) -> int:
        """The first block from which the output layer is right as often as at the last one, less a hundredth."""
        read = self.blocks["read_out"].to_numpy()
        return int(np.flatnonzero(read >= read[-1] - 0.01)[0])

    def alike(self, count: int = 3) -> list[tuple[str, str, float]]:
        """Return the two classes whose means have the greatest cosine at the last block, and it; `count` pairs."""
        one, other = np.triu_indices(len(self.labels), 1)
        values = np.nan_to_num(self.cosines[-1][one, other], nan=-1.0)
        best = np.argsort(-values, kind="stable")[:count]
        return [(self.labels[one[k]], self.labels[other[k]], round(float(values[k]), 3)) for k in best]

    def told(self) -> dict[str, Any]:
        """Return it as plain values."""
        at = {share: max(0, round(share * self.case.depth) - 1) for share in (0.0, 0.25, 0.5, 0.75, 1.0)}
        return {
            "title": self.case.title,
            "network": self.case.net,
            "depth": self.case.depth,
            "epochs": self.recipe["training"]["epochs"],
            "scaling": self.recipe["arguments"]["scaling"],
            "parameters": self.recipe["parameters"],
            "seconds": self.recipe["seconds"],
            "weights": self.recipe["training"].get("kept", "float32"),
            "accuracy": self.recipe["accuracy"],
            "right": self.right,
            "of": self.images,
            "early": self.early,
            "at": {f"{block}": {k: round(float(v), 4) for k, v in self.blocks.iloc[block].items()} for block in at.values()},
            "alike": self.alike(),
            "cka_neighbours": round(float(np.nanmean(np.diag(self.cka, 1))), 4),
            "cka_first_last": round(float(self.cka[0, -1]), 4),
            "cka_mean": round(float(np.nanmean(self.cka)), 4),
        }


# -- words and figures ------------------------------------------------------------------------------------------------------


def told_scalings(found: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, list[float]]]:
    """Return the same as plain values: the accuracy of each epoch, the stream at the first, middle and last block."""
    return {
        name: {
            "accuracy": [round(float(value), 4) for value in run["accuracy"]],
            **{when: [float(f"{run[when][k]:.4g}") for k in _three(run[when])] for when in ("untrained", "trained")},
        }
        for name, run in found.items()
    }


def _three(values: np.ndarray) -> list[int]:
    return [0, len(values) // 2, len(values) - 1] if len(values) else []


def markdown(told: dict[str, Any]) -> str:
    """Return what was measured as tables for a page."""
    networks = [["network", "blocks", "epochs", "seconds", "training", "validation", "test", "correctly classified"]]
    depth = [["network", "block", "class means", "largest std", "F-ratio", "cosine", "output layer"]]
    compared = [
        [
            "network",
            "output layer within 1 % from",
            "CKA of neighbours",
            "of first and last",
            "of all",
            "most alike at the end",
        ]
    ]
    for one in told["networks"]:
        accuracy = [f"{one['accuracy'][split]:.2%}" for split in ("train", "validation", "test")]
        right = f"{one['right']} of {one['of']}"
        networks.append([one["title"], f"{one['depth']}", f"{one['epochs']}", f"{one['seconds']:.0f}", *accuracy, right])
        for block, at in one["at"].items():
            means = f"{at['low']:.1f} to {at['high']:.1f}"
            measures = [f"{at['std']:.1f}", f"{at['f_ratio']:.2f}", f"{at['cosine']:.2f}", f"{at['read_out']:.1%}"]
            depth.append([one["title"], block, means, *measures])
        cka = [f"{one[name]:.3f}" for name in ("cka_neighbours", "cka_first_last", "cka_mean")]
        alike = ", ".join(f"{first} and {second} {value:.2f}" for first, second, value in one["alike"])
        compared.append([one["title"], f"block {one['early']} of {one['depth']}", *cka, alike])
    scaled = [["scaling", "accuracy by epoch", "stream untrained: first, middle, last block", "trained"]]
    for name, found in told["scalings"].items():
        epochs = " ".join(f"{value:.1%}" for value in found["accuracy"]) or "diverged"
        scaled.append([name, epochs, *(" ".join(f"{v:.3g}" for v in found[when]) for when in ("untrained", "trained"))])
    return markdown_tables(networks, depth, compared, scaled)


def draw(setting: Setting, found: list[Measured], scaled: dict[str, dict[str, np.ndarray]]) -> None:
    """Draw each case's two pattern figures, and the figures of all together."""
    for one in found:
        for stat in ("mean", "std"):
            draw_patterns(one.atlas, stat=stat, across=True, out=setting.out / f"{one.case.name}-{stat}.webp")
        if one.case.net == "residual-cnn":
            _draw_neurons(setting, one)
    courses = {one.case.title: one.blocks for one in found}
    title, note = "Where in the network do the classes part?", "patterns over correctly classified test images"
    figures.save(figures.depth_figure(courses, title=title, note=note), setting.out / "depth.webp")
    _draw_matrices(setting, found)
    blocks = len(next(iter(scaled.values()))["untrained"])
    title = "Why a plain residual network of this depth fails"
    note = f"{blocks} blocks × 64 neurons on a part of MNIST, one seed, one learning rate for all four scalings"
    figures.save(figures.scalings_figure(scaled, title=title, note=note), setting.out / "scalings.webp")


def _draw_neurons(setting: Setting, one: Measured) -> None:
    values = by_neuron(setting, one.case, trained(setting, one.case), one.recipe)
    title = f"{one.case.title}: every neuron of {one.case.depth} residual blocks"
    for stat, of in values.items():
        drawn = figures.blocks_heatmap(of, one.labels, stat=stat, title=title)
        figures.save(drawn, setting.out / f"{one.case.name}-neurons-{stat}.webp")


def _draw_matrices(setting: Setting, found: list[Measured]) -> None:
    ends = {one.case.title: (-(-one.case.depth // COMPARED) - 1.0, one.case.depth - 1.0) for one in found}
    drawn = figures.matrices_figure(
        [{one.case.title: one.cka for one in found}], stat="std", ends=ends, axis="block",
        title="How alike are the blocks to each other?",
        note="linear CKA over 1 000 test images; 1: alike but for a rotation and a scale",
    )  # fmt: skip
    figures.save(drawn, setting.out / "cka.webp")
    rows = []
    for one in found:
        at = [0, one.case.depth // 4 - 1, one.case.depth // 2 - 1, one.case.depth - 1]
        rows.append({f"{one.case.title}: block {block}": one.cosines[block] for block in at})
    drawn = figures.matrices_figure(
        rows, stat="mean", names=[one.labels for one in found],
        title="Which classes point the same way, and at which depth?",
        note="cosine between the means of two classes, over correctly classified test images",
    )  # fmt: skip
    figures.save(drawn, setting.out / "cosines.webp")
