"""The ORL faces seen by networks that have not learned from them: framed alike, ordered by yaw, the nearest of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from atlas.activations.few import describe
from atlas.atlas import Atlas
from atlas.data.faces import align
from atlas.data.named import fetch
from atlas.experiments import Setting
from atlas.experiments.judged import NETS, interval
from atlas.models import reference
from atlas.models.network import load_network
from atlas.models.preprocess import Preprocess
from atlas.pipeline import build

WOMEN = (8, 10, 32, 35)  # subjects that look like women to us; the data do not say
BY_EYE = {  # how far ten photographs of twelve subjects are turned, as we see it: −2 to 2, negative to the picture's left
    1: (0, 2, 0, -2, 2, -2, 0, 0, 0, 1), 6: (0, 0, 0, 0, -1, -1, -1, 1, -2, -1), 10: (0, 0, 1, 1, 0, 0, 1, 0, -2, 0),
    14: (0, 0, 0, 0, 0, 0, 0, 0, 1, 0), 18: (1, 1, -1, 1, 0, 0, 0, 0, 1, 0), 23: (0, 1, 0, -1, 1, -1, 0, 2, -1, 0),
    26: (0, -2, 0, 1, 1, 0, 0, 1, 0, 1), 30: (1, 0, 1, 0, -1, 0, 0, 0, 1, 0), 33: (0, 0, 0, 0, 1, 0, 0, 0, 1, 0),
    35: (-1, 0, -1, 0, -1, 0, 0, 0, -1, -1), 38: (-1, 0, 0, 0, 0, 0, 0, 1, -2, 0), 40: (1, 0, 0, -1, 0, 0, -1, 1, -2, -1),
}  # fmt: skip
BROAD = 8.0  # pixels of a Gaussian whose blur is taken off, so that uneven light is no asymmetry
EACH = 10  # photographs of a subject
DESCRIPTOR = "relu_fc1"  # the fifth layer with weights of conv4, the seventh of conv6


def yaw(images: np.ndarray) -> np.ndarray:
    """Return an estimate of how far each face is turned, in standard deviations; its sign is arbitrary.

    `images` uint8 [image, y, x]. The part of an image that changes its sign when it is mirrored, (x − mirrored) / 2, is 0
    for a symmetric face; here of the image less its own broad blur, of unit variance. Its first principal axis over all
    images is the commonest way not to be symmetric, which is to be turned; a head off the middle is in it too.
    """
    from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped]

    values = images.astype(np.float64)
    fine = (values - gaussian_filter(values, (0, BROAD, BROAD))).reshape(len(values), -1)
    fine = (fine - fine.mean(axis=1, keepdims=True)) / np.maximum(fine.std(axis=1, keepdims=True), 1e-9)
    fine = fine.reshape(values.shape)
    odd = ((fine - fine[:, :, ::-1]) / 2).reshape(len(fine), -1)
    left, sizes, _ = np.linalg.svd(odd, full_matrices=False)  # not centred: a symmetric face is 0, whatever the mean is
    found = left[:, 0] * sizes[0]
    return np.asarray(found / found.std())


def held_against_eyes(turned: np.ndarray) -> dict[str, float]:
    """Return how the estimate agrees with what we saw: rank correlation, shares of signs and of pairs in the right order.

    Signs are of the photographs that look turned at all, pairs of two photographs of one subject that look unlike turned.
    """
    from scipy.stats import spearmanr  # type: ignore[import-untyped]

    found = np.stack([turned[EACH * (subject - 1) : EACH * subject] for subject in BY_EYE])
    seen = np.array(list(BY_EYE.values()))
    pairs = seen[:, :, None] > seen[:, None, :]
    order = found[:, :, None] > found[:, None, :]
    return {
        "photographs": seen.size, "spearman": round(float(spearmanr(found.ravel(), seen.ravel())[0]), 3),
        "turned": int((seen != 0).sum()), "signs": round(float((np.sign(found) == np.sign(seen))[seen != 0].mean()), 3),
        "pairs": int(pairs.sum()), "ordered": round(float(order[pairs].mean()), 3),
    }  # fmt: skip


def framed(images: np.ndarray, like: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    """Return images cut alike, so that their mean looks most like the mean of `like`; and where the eyes are taken to be.

    `images` uint8 [image, y, x], `like` uint8 [image, size, size], faces aligned by their eyes. One frame for all images,
    for nobody has marked their eyes; found by trying, by the correlation of the two means.
    """
    size, mean = like.shape[1], np.rint(images.mean(axis=0)).astype(np.uint8)
    middle, aim = (images.shape[2] - 1) / 2, like.mean(axis=0)
    best = (-2.0, 0.0, 0.0)
    for apart in np.arange(28.0, 47.0).tolist():
        for down in np.arange(36.0, 70.0).tolist():
            eyes = (middle - apart / 2, down), (middle + apart / 2, down)
            likeness = float(np.corrcoef(align(mean, *eyes, size=size).ravel(), aim.ravel())[0, 1])
            best = max(best, (likeness, apart, down))
    likeness, apart, down = best
    eyes = (middle - apart / 2, down), (middle + apart / 2, down)
    told = {"likeness": round(likeness, 4), "apart": apart, "down": down}
    return np.stack([align(image, *eyes, size=size) for image in images]), told


def write_images(folder: Path, images: np.ndarray, table: pd.DataFrame) -> Path:
    """Write images as PNG files below `folder` with a table of them, whose ``path`` names each; return the table's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, image in zip(table["path"], images, strict=True):
        (folder / path).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / path)
    table.to_csv(folder / "images.csv", index=False)
    return folder / "images.csv"


def faces_of(setting: Setting, like: np.ndarray) -> tuple[Path, pd.DataFrame, np.ndarray, dict[str, float]]:
    """Return the ORL faces as a table on disk, the table, the framed images, and how they were framed."""
    dataset = fetch("orl", setting.cache / "datasets", setting.progress)
    images = np.asarray(dataset.images["test"])
    turned = yaw(images)
    turned *= np.sign(held_against_eyes(turned)["spearman"])
    cut, how = framed(images, like)
    names = [dataset.labels[code] for code in dataset.codes["test"]]
    paths = [f"{name}/{row % EACH + 1}.png" for row, name in enumerate(names)]
    table = pd.DataFrame({"path": paths, "label": names, "split": "held-out", "yaw": turned.round(3)})
    return write_images(setting.folder("faces-orl-images"), cut, table), table, cut, how


def atlas_of(setting: Setting, source: Path, networks: dict[str, Path]) -> dict[str, Atlas]:
    """Return the atlas of the ORL faces as each network has it."""
    folder = setting.folder("faces-orl")
    for number, path in enumerate(networks.values()):
        where: dict[str, Any] = {"into": folder} if number else {"cache": folder, "images": source, "title": "ORL faces"}
        build(f"atlas:{path}", layers=(DESCRIPTOR, "logits"), layouts=(f"pca:{DESCRIPTOR}", f"umap:{DESCRIPTOR}"),
              run={"precision": "float32"}, progress=setting.progress, **where)  # fmt: skip
    return {net: Atlas(folder, network=number + 1) for number, net in enumerate(networks)}


def alike(vectors: np.ndarray, codes: np.ndarray, k: int) -> np.ndarray:
    """Return of each row the share of its `k` nearest others, by cosine, that have its code: float64 [row]."""
    vectors = vectors.astype(np.float64)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :k]
    return np.asarray((codes[nearest] == codes[:, None]).mean(axis=1))


def untrained(images: np.ndarray, recipe: dict[str, Any]) -> np.ndarray:
    """Return the descriptors that the same network has of images with the weights it started from: float32 [image, unit]."""
    module = reference.build(recipe["network"], recipe["arguments"], seed=recipe["training"]["seed"]).eval()
    network = load_network(module, preprocess=Preprocess(**recipe["preprocess"]), categories=recipe["categories"])
    return describe(network, [Image.fromarray(image) for image in images], {DESCRIPTOR: "mean"})[DESCRIPTOR]


def spaces(atlases: dict[str, Atlas], images: np.ndarray, networks: dict[str, Path]) -> dict[str, np.ndarray]:
    """Return the vectors in which faces are compared: each network's, the same untrained, and the pixels as they are."""
    found = {net: np.asarray(opened.vectors(DESCRIPTOR)[:], np.float32) for net, opened in atlases.items()}
    for net in NETS:
        found[f"{net}, untrained"] = untrained(images, reference.read_recipe(networks[net]))
    flat = images.reshape(len(images), -1).astype(np.float64)
    return found | {"pixels": flat - flat.mean(axis=1, keepdims=True)}  # so that the cosine is the correlation


def shares(found: dict[str, np.ndarray], codes: np.ndarray, turned: np.ndarray) -> list[dict[str, Any]]:
    """Return, for each space, how often the nearest and the nine nearest others are the same person, and by yaw."""
    far = np.abs(turned) >= np.quantile(np.abs(turned), 2 / 3)
    near = np.abs(turned) <= np.quantile(np.abs(turned), 1 / 3)
    told = []
    for name, vectors in found.items():
        first, all_nine = alike(vectors, codes, 1), alike(vectors, codes, EACH - 1)
        low, high = interval(all_nine, codes)
        told.append({
            "space": name, "nearest": round(float(first.mean()), 4), "nine": round(float(all_nine.mean()), 4),
            "interval": [round(low, 4), round(high, 4)], "frontal": round(float(all_nine[near].mean()), 4),
            "turned": round(float(all_nine[far].mean()), 4),
        })  # fmt: skip
    chance = (EACH - 1) / (len(codes) - 1)
    return [*told, {"space": "chance", "nearest": round(chance, 4), "nine": round(chance, 4), "interval": None,
                    "frontal": round(chance, 4), "turned": round(chance, 4)}]  # fmt: skip


def shown_subjects(turned: np.ndarray) -> dict[str, np.ndarray]:
    """Return the rows of one woman and one man, as they look to us, each the most turned; ordered by yaw."""
    reach = np.ptp(turned.reshape(-1, EACH), axis=1)
    women = np.array([subject - 1 for subject in WOMEN])
    men = np.setdiff1d(np.arange(len(reach)), women)
    found = {}
    for name, own in (("woman", women), ("man", men)):
        rows = np.arange(EACH) + EACH * int(own[np.argmax(reach[own])])
        found[name] = rows[np.argsort(turned[rows], kind="stable")]
    return found
