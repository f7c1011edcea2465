"""What an experiment measures of an atlas: each answer with its control and a link that restores the view."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from atlas.activations.assemble import probabilities
from atlas.argued import cells as cells_record
from atlas.atlas import Atlas
from atlas.errors import AtlasError
from atlas.maps.cell_paths import smoothest_path, steps
from atlas.maps.records import Cells
from atlas.progress import Progress

SHUFFLES = 2000
ADDRESS = "http://localhost:5006/atlas"
ISLANDS = 3  # told per network
UNUSUAL = 2  # told per layer
PATCHES = 8  # pasted in, of each kind
TOP = 100  # suspects held against each other
SEED = 0


@dataclass(frozen=True)
class Network:
    """Which layers of a network answer which question."""

    key: str
    title: str
    layers: tuple[str, ...]
    descriptor: str
    joint: str  # layers laid out together
    logits: str
    grids: tuple[str, ...]  # layers recorded at one place of each image, for activation grids
    argued: tuple[str, ...]  # layers whose points are attributed to the classes
    places: str  # the layer whose places are taken away, and that has icons

    @property
    def layouts(self) -> list[str]:
        """What is laid out, as `build` takes it."""
        return [f"{method}:{of}" for method in ("umap", "tsne") for of in (self.descriptor, self.joint)] + [
            f"umap:{layer}" for layer in self.grids
        ]

    @property
    def single(self) -> list[str]:
        """The layers recorded as one vector per image, in order of execution."""
        return [layer for layer in self.layers if "=" not in layer]


# -- how tight each class is, and whether that tells its error --------------------------------------------------------------


def spread_and_error(one: Network, atlas: Atlas, judged: Atlas | None = None) -> dict[str, Any]:
    """Return each class's spread in every layer beside its share of mistakes, and how one follows the other (Spearman's ρ).

    With `judged` the mistakes are those of another network. p is the share of permutations of the classes with as large
    a ρ.
    """
    said = (judged or atlas).images()
    error = 1 - said.groupby("label")["right"].mean().astype(float)
    layers = []
    for layer in [layer for layer in one.single if layer in atlas.layers]:
        table = atlas.spread(layer).assign(error=lambda t: t["class"].map(error))
        spread, names = table["spread"].to_numpy(float), table["class"].tolist()
        told: dict[str, Any] = {
            "layer": layer, "classes": table.astype(object).where(table.notna(), None).to_dict("records"),
            "tightest": str(names[int(np.nanargmin(spread))]), "widest": str(names[int(np.nanargmax(spread))]),
        }  # fmt: skip
        told["rho_spread"], told["p_spread"] = follows(spread, table["error"].to_numpy(float))
        told["rho_purity"], told["p_purity"] = follows(1 - table["purity"].to_numpy(float), table["error"].to_numpy(float))
        layers.append(told)
    return {"title": one.title + (", untrained" if judged else ""), "key": one.key, "control": judged is not None,
            "layers": layers}  # fmt: skip


def follows(one: np.ndarray, other: np.ndarray, *, shuffles: int = 10_000) -> tuple[float, float]:
    """Return Spearman's ρ of two columns, and the share of permutations of one with as large a ρ."""
    first, second = (pd.Series(values).rank().to_numpy() for values in (one, other))
    first, second = ((values - values.mean()) / (values.std() or 1) for values in (first, second))
    rho, chance = float((first * second).mean()), np.random.default_rng(SEED)
    by_chance = np.array([(chance.permutation(first) * second).mean() for _ in range(shuffles)])
    return rho, float((1 + (by_chance >= rho - 1e-9).sum()) / (1 + shuffles))


# -- islands of mistakes, paths, unusual associations, suspects -------------------------------------------------------------


def islands(one: Network, atlas: Atlas, grid: int) -> list[dict[str, Any]]:
    """Return the cells of the descriptor's map where one class is taken for another far more often than by chance."""
    table = atlas.confused(one.descriptor, size=grid).head(ISLANDS)
    cells, found = cells_record(atlas, one.descriptor), []
    images = atlas.images()
    for row in table.to_dict("records"):
        members = cells.members_of(int(row["cell"]))
        mine = images.iloc[members]
        taken = _labels_said(atlas)[members] == row["taken_for"]
        rows = members[(mine["label"] == row["label"]).to_numpy() & taken]
        found.append({"network": one.title, "key": one.key, **_plain(row), "rows": rows.tolist(),
                      "cell_images": len(members), "link": _link(atlas, one.descriptor, rows)})  # fmt: skip
    return found


def _labels_said(atlas: Atlas) -> np.ndarray:
    """Return the label that each image is predicted as, as text; empty where the output stands for none."""
    said = atlas.predictions
    assert said is not None
    return np.array([*said.map.labels, ""], object)[said.map.labels_of(said.prediction)]


def path(one: Network, atlas: Atlas, grid: int) -> dict[str, Any]:
    """Return the smoothest path between the two classes that mix most, held against its cells in random order.

    Of classes that lie on different islands of the map, or have no cell of their own, the next that mix most are taken.
    """
    cells, table = cells_record(atlas, one.descriptor), atlas.cells(one.descriptor, size=grid)
    first, second, way = _joined(atlas.spread(one.descriptor), cells, table, grid)
    cosine, chance = float(steps(cells, way).mean()), np.random.default_rng(SEED)
    shuffled = np.array([steps(cells, chance.permutation(way)).mean() for _ in range(SHUFFLES)])
    said = class_probabilities(atlas, one.logits)
    labels = list(atlas.image_record.labels)
    both = np.stack(
        [said[cells.members_of(int(cell))].mean(axis=0)[[labels.index(first), labels.index(second)]] for cell in way]
    )
    order, _ = follows(np.arange(len(way)), both[:, 1] - both[:, 0], shuffles=1)
    rows = np.concatenate([cells.members_of(int(cell)) for cell in way])
    return {
        "network": one.title, "key": one.key, "layer": one.descriptor, "grid": grid, "first": first, "second": second,
        "cells": way.tolist(), "probability": both.tolist(), "cosines": steps(cells, way).tolist(), "cosine": cosine,
        "shuffled": float(shuffled.mean()), "p": float((1 + (shuffled >= cosine).sum()) / (1 + SHUFFLES)),
        "order": order, "link": _link(atlas, one.descriptor, rows),
    }  # fmt: skip


def _joined(mixing: pd.DataFrame, cells: Cells, table: pd.DataFrame, grid: int) -> tuple[str, str, np.ndarray]:
    """Return the first two classes, by how much they mix, that a path joins, and the path."""
    for row in mixing.sort_values("share", ascending=False).to_dict("records"):
        first, second = str(row["class"]), str(row["mixes_with"])
        ends = [_end(table, label) for label in (first, second)]
        if None not in ends:
            with contextlib.suppress(AtlasError):  # on different islands
                return first, second, smoothest_path(cells, *(int(end) for end in ends if end is not None), size=grid)
    raise AtlasError(f"no two classes that mix are joined by a path on the grid of {grid}: give more images")


def _end(table: pd.DataFrame, label: str) -> int | None:
    """Return the cell to begin or end at: of those whose usual label it is, the one with the most images of it, or None."""
    own = table[(table["label"] == label) & ~table["few"]]
    return int(own["cell"].to_numpy()[int((own["purity"] * own["points"]).to_numpy(float).argmax())]) if len(own) else None


def class_probabilities(atlas: Atlas, logits: str) -> np.ndarray:
    """Return the probability of each label, of several outputs together: float64 [image, label]."""
    said = atlas.predictions
    assert said is not None
    chances = probabilities(np.asarray(atlas.vectors(logits)[:]))
    outputs = np.asarray(said.map.outputs)
    return np.stack([chances[:, outputs == label].sum(axis=1) for label in range(len(said.map.labels))], axis=1)


def unusual_told(one: Network, atlas: Atlas, grid: int) -> list[dict[str, Any]]:
    """Return the cells that argue for a class few of their members have, and what becomes of their usual class there.

    The control are the images of the same class elsewhere: how often are they taken for the class argued for (Fisher's
    exact test, one-sided)?
    """
    from scipy.stats import fisher_exact  # type: ignore[import-untyped]

    said, found = _labels_said(atlas), []
    label = atlas.images()["label"].to_numpy(object)
    for layer in one.argued[-2:]:
        cells, points = cells_record(atlas, layer), np.asarray(atlas.activations(layer).point_image)
        table = atlas.unusual(layer, size=grid)
        for row in table[~table["few"]].head(UNUSUAL).to_dict("records"):
            here = np.unique(points[cells.members_of(int(row["cell"]))])
            own, inside = label == row["usual"], np.isin(np.arange(len(label)), here)
            taken = said == row["argues_for"]
            counts = [[int((own & inside & taken).sum()), int((own & inside & ~taken).sum())],
                      [int((own & ~inside & taken).sum()), int((own & ~inside & ~taken).sum())]]  # fmt: skip
            found.append({
                "network": one.title, "key": one.key, "layer": layer, **_plain(row), "taken": counts[0][0],
                "of": sum(counts[0]), "taken_elsewhere": counts[1][0], "of_elsewhere": sum(counts[1]),
                "p": float(fisher_exact(counts, alternative="greater")[1]), "rows": here.tolist(),
                "link": _link(atlas, layer, here),
            })  # fmt: skip
    return found


def suspects_of_both(one: Atlas, other: Atlas, first: Network, second: Network) -> dict[str, Any]:
    """Return how many of the most suspicious labels two networks share, and how many they would by chance.

    By chance: the second list drawn anew, 2 000 times, with as many images of each label as it has.
    """
    lists = [atlas.suspects(net.descriptor) for atlas, net in ((one, first), (other, second))]
    top = min(TOP, len(lists[0]) // 10)
    rows = [table["image"].to_numpy()[:top] for table in lists]
    shared = lists[0]["image"].head(top)[np.isin(rows[0], rows[1])].tolist()
    codes, chance = np.asarray(one.image_record.codes), np.random.default_rng(SEED)
    groups = [(np.flatnonzero(codes == code), int((codes[rows[1]] == code).sum())) for code in np.unique(codes)]
    drawn = np.array([
        np.isin(np.concatenate([chance.choice(of, count, replace=False) for of, count in groups]), rows[0]).sum()
        for _ in range(SHUFFLES)
    ])  # fmt: skip
    say = lists[1].set_index("image")["neighbours_say"]
    table = lists[0].set_index("image").loc[shared]
    agree = [row for row in shared if say[row] == table.loc[row, "neighbours_say"] != table.loc[row, "label"]]
    return {"top": top, "of": len(codes), "both": len(shared), "by_chance": float(drawn.mean()),
            "p": float((1 + (drawn >= len(shared)).sum()) / (1 + SHUFFLES)), "rows": shared, "agree": agree,
            "link": _link(one, first.descriptor, np.array(shared), colour="suspicion") if shared else ""}  # fmt: skip


def places_matter(one: Network, table: pd.DataFrame) -> dict[str, Any]:
    """Return what is left of the prediction's probability, by order and share of places taken away."""
    found: dict[float, dict[str, float]] = {}
    for order, of in table.groupby("order"):
        for share in of["share"].unique().tolist():
            own = of[of["share"] == share]
            told = {str(order): float(own["probability"].mean()), f"{order}_kept": float(own["kept"].mean())}
            found.setdefault(share, {}).update(told)
    rows = [{"share": share, **values} for share, values in found.items()]
    return {"network": one.title, "key": one.key, "layer": table.attrs["layer"], "images": int(table["image"].nunique()),
            "steps": rows}  # fmt: skip


def pasted(one: Network, atlas: Atlas, first: str, second: str, images: int, progress: Progress) -> dict[str, Any]:
    """Return how often images of `first` are taken for `second` with a patch pasted in, by where the patch was cut out."""
    table = atlas.pasting(first, second, one.places, patches=PATCHES, images=images, progress=progress)
    means = table.groupby("kind", sort=False)[["static", "dynamic", "before", "after"]].mean()
    return {"network": one.title, "key": one.key, "layer": one.places, "first": first, "second": second,
            "images": int(table["images"].iloc[0]), "edge": table.attrs["edge"],
            "patches": table.astype(object).to_dict("records"),
            "kinds": [{"kind": str(kind), **values} for kind, values in means.to_dict("index").items()]}  # fmt: skip


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}


def _link(atlas: Atlas, layer: str, rows: np.ndarray, **options: Any) -> str:
    return ADDRESS + atlas.link(layer=layer, images=rows, **options)
