"""Two convolutional networks that tell female from male faces: judged by people they have not seen, and looked into."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atlas.atlas import Atlas
from atlas.experiments import Setting
from atlas.experiments.faces_told import markdown
from atlas.experiments.judged import MAJORITY, NETS, Judged, People, best_size, by_subject, compared, judge, people, trained
from atlas.experiments.turned import (
    DESCRIPTOR,
    atlas_of,
    faces_of,
    held_against_eyes,
    shares,
    shown_subjects,
    spaces,
    write_images,
)
from atlas.films import film
from atlas.graph_sheet import graph
from atlas.graphing import image_rows
from atlas.maps.graph_measures import homophily
from atlas.models import reference
from atlas.models.training_files import read_history
from atlas.neighbour_sheet import neighbour_rows
from atlas.pages import figures
from atlas.pipeline import build
from atlas.response_sheet import responses
from atlas.verbs import layers, preferred

SIZES, QUICK_SIZES = (64, 32), (32,)  # pixels of the faces that are tried; cross-validation chooses
FOLDS, QUICK_FOLDS = 5, 2
STEPS, QUICK_STEPS = 192, 24  # of each preferred input
FEW = 16  # units of a layer whose preferred inputs are drawn
RECONSTRUCTIONS = 3
PRIOR = "pca"  # aligned faces lie near the span of their principal components
MOST, QUICK_MOST = 50, 8  # images of each class whose responses are shown
IN_GRAPH, QUICK_IN_GRAPH = 7_000, 1_500  # test images of Fashion-MNIST in the large graph
LISTED = 10  # nearest images that each lists in a graph


def run(setting: Setting) -> Atlas:
    """Run the experiment; return the atlas of the labelled faces."""
    whole = people(setting)
    judged = judge(setting, whole, QUICK_SIZES if setting.quick else SIZES, QUICK_FOLDS if setting.quick else FOLDS)
    size = best_size(judged)
    networks = {net: trained(setting, whole, net, size, 0) for net in NETS}
    atlases = labelled(setting, whole, networks)
    told: dict[str, Any] = {"data": described(whole), "size": size, "judged": [one.told() for one in judged]}
    told["compared"] = compared(judged)
    told["networks"] = {net: reference.read_recipe(folder) for net, folder in networks.items()}
    draw_training(setting, whole, networks, judged, size)
    told["preferred"] = {net: draw_preferred(setting, net, opened) for net, opened in atlases.items()}
    told["responses"] = {net: draw_responses(setting, net, opened) for net, opened in atlases.items()}
    told["orl"] = turned_faces(setting, whole.images, networks)
    told["graphs"] = graphs(setting, atlases[NETS[0]])
    (setting.out / "measured.json").write_text(json.dumps(told, indent=1, default=str), "utf-8")
    (setting.out / "measured.md").write_text(markdown(told), "utf-8")
    setting.say(markdown(told))
    return Atlas(atlases[NETS[0]].store.root)


def described(whole: People) -> dict[str, Any]:
    """Return what the data are, in numbers."""
    count = {label: int((whole.codes == code).sum()) for code, label in enumerate(whole.labels)}
    subjects = {label: len(np.unique(whole.subjects[whole.codes == code])) for code, label in enumerate(whole.labels)}
    return {"title": whole.title, "name": whole.name, "images": count, "subjects": subjects}


def labelled(setting: Setting, whole: People, networks: dict[str, Path]) -> dict[str, Atlas]:
    """Return the atlas of the labelled faces as each network has it; the first fold's subjects are the held-out ones."""
    folder = setting.folder("faces")
    for number, path in enumerate(networks.values()):
        where: dict[str, Any] = {"into": folder} if number else {"cache": folder, "images": source(setting, whole)}
        names = layers(f"atlas:{path}")["name"]
        build(
            f"atlas:{path}", layers=(DESCRIPTOR, "logits"), layouts=(f"umap:{DESCRIPTOR}",),
            statistics=[name for name in names if name.startswith("relu") and name != DESCRIPTOR],
            run={"precision": "float32"}, progress=setting.progress, title=whole.title, **where,
        )  # fmt: skip
    return {net: Atlas(folder, network=number + 1) for number, net in enumerate(networks)}


def source(setting: Setting, whole: People) -> Any:
    """Return the images for an atlas: the dataset by its name, or a table of the part of it that is taken."""
    if whole.name == "faces":
        return whole.name
    splits = np.where(whole.fold(0), "held-out", "train")
    names = [whole.labels[code] for code in whole.codes]
    paths = [f"{name}/{row}.png" for row, name in enumerate(names)]
    table = pd.DataFrame({"path": paths, "label": names, "split": splits, "subject": whole.subjects})
    return write_images(setting.folder(f"{whole.name}-images"), whole.images, table)


# -- the networks -----------------------------------------------------------------------------------------------------------


def draw_training(setting: Setting, whole: People, networks: dict[str, Path], judged: list[Judged], size: int) -> None:
    """Draw both architectures, both trainings, and who is told right."""
    count, held = len(np.unique(whole.subjects)), len(np.unique(whole.subjects[whole.fold(0)]))
    for net, folder in networks.items():
        drawn = figures.architecture(layers(f"atlas:{folder}"), title=f"{net}, for faces of {size} × {size} pixels")
        figures.save(drawn, setting.out / f"architecture-{net}.webp")
        history = pd.DataFrame(read_history(folder))
        drawn = figures.training_curves(history, title=f"{net}: {held} of {count} people held out")
        figures.save(drawn, setting.out / f"curves-{net}.webp")
    shown = {one.method: by_people(one) for one in judged if one.size == size and one.method != MAJORITY}
    people_judged = dict(zip(whole.subjects.tolist(), (whole.labels[code] for code in whole.codes), strict=True))
    drawn = figures.groups_figure(
        shown, {s: people_judged[s] for s in sorted(people_judged)},
        title="Whose sex is told right, by methods that have not seen the person?",
        note="share of each subject's photographs, cross-validated by subject; a column is one person",
    )  # fmt: skip
    figures.save(drawn, setting.out / "subjects.webp")


def by_people(one: Judged) -> dict[int, float]:
    """Return the share of each judged subject's images that one method says right."""
    return by_subject(one.right, one.subjects[one.said >= 0])


def draw_preferred(setting: Setting, net: str, opened: Atlas) -> list[dict[str, Any]]:
    """Draw the preferred inputs of every layer and their film; three of each class's neuron, on a sheet."""
    steps = QUICK_STEPS if setting.quick else STEPS
    names = [str(name) for name in opened.network_record.layers["name"] if str(name).startswith("relu")]
    for name in names[-2:] if setting.quick else names:
        opened.preferred(name, telling(opened, name), param=PRIOR, steps=steps, restarts=1, progress=setting.progress)
    sheet = preferred(
        opened, layer="logits", units=[0, 1], variants=RECONSTRUCTIONS, param=PRIOR, steps=steps, controls=True,
        out=setting.out / f"neurons-{net}.webp", progress=setting.progress,
    )  # fmt: skip
    opened = Atlas(opened.store.root, network=opened.meant)
    film(opened, setting.out / f"preferred-{net}.webp", param=PRIOR, seconds_per_page=2.5, progress=setting.progress)
    return list(sheet["pictures"])


def telling(opened: Atlas, layer: str) -> list[int]:
    """Return up to FEW units of a layer: those whose means over the two classes' training images are farthest apart."""
    mean = opened.patterns(layer, split="train").mean
    apart = mean[0] - mean[1]
    order = np.argsort(-apart, kind="stable")
    return sorted(order.tolist() if len(order) <= FEW else [*order[: FEW // 2].tolist(), *order[-FEW // 2 :].tolist()])


def draw_responses(setting: Setting, net: str, opened: Atlas) -> dict[str, Any]:
    """Draw the responses of all units to images of both classes, as a sheet and a film; and to one test image of each."""
    most = QUICK_MOST if setting.quick else MOST
    told = responses(
        opened, most=most, out=setting.out / f"responses-{net}.webp", film=setting.out / f"responses-film-{net}.webp",
        table=setting.out / f"responses-{net}.csv" if setting.quick else None, seconds=0.8, width=1000,
        progress=setting.progress,
    )  # fmt: skip
    for label, row in test_images(opened).items():
        responses(opened, [row], out=setting.out / f"{label}-{net}.webp", progress=setting.progress)
    return without_files(told) | {"shown": test_images(opened)}


def test_images(opened: Atlas) -> dict[str, int]:
    """Return one held-out image of each class: the middle one by the confidence in its own class."""
    table, logits = opened.images(), np.asarray(opened.vectors("logits")[:], np.float64)
    found = {}
    for code, label in enumerate(opened.image_record.labels):
        rows = np.flatnonzero((table["label"] == label) & (table["split"] == "held-out"))
        margin = logits[rows, code] - np.delete(logits[rows], code, axis=1).max(axis=1)
        found[label] = int(rows[np.argsort(margin, kind="stable")[len(rows) // 2]])
    return found


# -- who is near whom -------------------------------------------------------------------------------------------------------


def turned_faces(setting: Setting, like: np.ndarray, networks: dict[str, Path]) -> dict[str, Any]:
    """Look up the nearest ORL faces of two subjects at ten yaws, draw them, measure how often they are the same person."""
    where, table, images, how = faces_of(setting, like)
    atlases = atlas_of(setting, where, networks)
    turned, codes = table["yaw"].to_numpy(), pd.factorize(table["label"])[0]
    told: dict[str, Any] = {"framed": how, "yaw": held_against_eyes(turned), "shown": []}
    told["shares"] = shares(spaces(atlases, images, networks), codes, turned)
    for who, rows in shown_subjects(turned).items():
        for net, opened in atlases.items():
            subject = table["label"][rows[0]]
            found = neighbour_rows(
                opened, rows.tolist(), layer=DESCRIPTOR, k=9, column="yaw", out=setting.out / f"yaw-{who}-{net}.webp",
                film=setting.out / f"yaw-{who}-{net}-film.webp", progress=setting.progress,
                title=f"ORL subject {subject} from left to right by estimated yaw, and the nearest faces: {net}",
            )  # fmt: skip
            told["shown"].append({"subject": subject, "network": net, "alike": round(float(found["alike"]), 4),
                                  "each": [row["alike"] for row in found["rows"]]})  # fmt: skip
    return told


def graphs(setting: Setting, labelled_faces: Atlas) -> dict[str, Any]:
    """Make the image graphs: of the labelled faces, of the ORL faces, and of many test images of Fashion-MNIST."""
    count = QUICK_IN_GRAPH if setting.quick else IN_GRAPH
    many = build(
        "atlas:conv6@fashion-mnist", "fashion-mnist:test", cache=setting.folder("faces-fashion-mnist"), limit=count,
        layers=(DESCRIPTOR,), layouts=(f"pca:{DESCRIPTOR}",), title=f"{count} test images of Fashion-MNIST",
        progress=setting.progress,
    )  # fmt: skip
    wanted = {"faces": labelled_faces, "orl": Atlas(setting.folder("faces-orl"), network=1), "fashion-mnist": many}
    how: dict[str, Any] = {"layer": DESCRIPTOR, "k": LISTED, "split": "all", "progress": setting.progress}
    told = {
        name: without_files(graph(opened, out=setting.out / f"graph-{name}.webp", **how)) for name, opened in wanted.items()
    }
    told["faces"]["apart"] = between_people(labelled_faces)
    return told


def without_files(told: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without where its files lie."""
    return {name: value for name, value in told.items() if name not in ("file", "film", "table")}


def between_people(labelled_faces: Atlas) -> dict[str, Any]:
    """Return the homophily by sex of the edges that join two people: photographs of one person agree whatever is learned."""
    found = labelled_faces.graph(DESCRIPTOR, k=LISTED, split="all")
    rows, edges = image_rows(labelled_faces, found), np.asarray(found.edges)
    subjects = labelled_faces.image_record.table["subject"].to_numpy()[rows]
    apart = edges[subjects[edges[:, 0]] != subjects[edges[:, 1]]]
    return homophily(apart, labelled_faces.image_record.codes[rows])
