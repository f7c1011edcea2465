"""Small worlds with a known structure: an atlas written straight through the store, without a network and without torch."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from atlas.activations.records import Activations, PartLayer, PartMoments, Predictions, Statistics
from atlas.data.records import Images
from atlas.maps.records import Layout, Neighbours
from atlas.models.records import NetworkRecord
from atlas.stages import build_truths
from atlas.store import Files, Recipe, Store, digest

LABELS = ("disc", "square", "stripes", "dots")
LAYERS = {"conv": 12, "fc": 8}  # name → units
KEPT = 10  # neighbours in the lists
EDGE, COLUMNS = 28, 50


def tiny_atlas(
    root: Path,
    images: int = 300,
    *,
    labels: Sequence[str] = LABELS,
    splits: bool = True,
    complete: bool = True,
    seed: int = 0,
    title: str = "A tiny world",
    pixels: np.ndarray | None = None,
    codes: np.ndarray | None = None,
    available: int | None = None,
    own: Mapping[str, Any] | None = None,
) -> Store:
    """Write an atlas of `images` synthetic grey images over two layers and both jointly; return its store.

    Every image is drawn from its class and its number, so no two are alike. `pixels` (uint8 [image, y, x]) and `codes`
    replace them; `complete` False leaves right and wrong undefined; `splits` False leaves every split unknown; `available`
    is how many images a limit chose these from; `own` are further columns of the user's, each a function of the codes.
    """
    store, rng = Store(root), np.random.default_rng(seed)
    if codes is None:
        codes = rng.integers(0, len(labels), images)
    if pixels is None:
        pixels = np.stack([picture(int(code), row) for row, code in enumerate(codes)])
    of_images = write_images(store, pixels, codes, labels, splits, title, available, own)
    network = write_network(store, len(labels), seed)
    outputs = np.where(rng.random(len(codes)) < 0.85, codes, rng.integers(0, len(labels), len(codes)))
    base = {"images": of_images, "network": network}
    predictions = write_predictions(store, base, codes, outputs, labels, complete, rng)
    named: dict[str, str] = {}
    vectors: dict[str, np.ndarray] = {}
    statistics = []
    for number, (layer, units) in enumerate(LAYERS.items(), 1):
        vectors[layer] = (rng.normal(size=(len(labels), units))[codes] * 2 + rng.normal(size=(len(codes), units))).astype(
            np.float32
        )
        named[layer], record = write_layer(
            store, base, layer, number, vectors[layer], store.read(of_images, Images), outputs, complete
        )
        statistics.append(record)
    shown = [of_images, network, predictions, *named.values(), *statistics]
    for layer in LAYERS:
        maps = write_maps(store, named[layer], [layer], vectors[layer], ("umap", "pca"))
        shown += [*maps, *build_truths(store, of_images, predictions, named[layer], maps[0])]
    shown += write_maps(store, list(named.values()), list(named), np.concatenate(list(vectors.values()), axis=1), ("umap",))
    store.show(shown, title=title)
    return store


def two_networks(root: Path, images: int = 120) -> Store:
    """Write a tiny atlas, and a second network of the same layers over the same images; return its store."""
    store = tiny_atlas(root, images)
    of_images = store.shown("images")[0]
    record, rng = store.read(of_images, Images), np.random.default_rng(7)
    base = {"images": of_images, "network": write_network(store, len(LABELS), 7)}
    outputs = rng.integers(0, len(LABELS), images)
    shown = [base["network"], write_predictions(store, base, record.codes, outputs, LABELS, True, rng)]
    for number, (layer, units) in enumerate(LAYERS.items(), 1):
        vectors = (rng.normal(size=(images, units)) + record.codes[:, None]).astype(np.float32)
        named, statistics = write_layer(store, base, layer, number + len(LAYERS), vectors, record, outputs, True)
        shown += [named, statistics, *write_maps(store, named, [layer], vectors, ("umap", "pca"))]
    store.show(shown)
    return store


def deep_atlas(root: Path, blocks: int = 512, units: int = 64, images: int = 200) -> Store:
    """Write a tiny atlas whose network has `blocks` further layers of which statistics were kept and no vectors."""
    store, rng = tiny_atlas(root, images), np.random.default_rng(11)
    of_images, network = store.shown("images")[0], store.shown("network")[0]
    record = store.read(of_images, Images)
    outputs = np.asarray(store.read(store.shown("predictions")[0], Predictions).prediction)
    shown, base = [], {"images": of_images, "network": network, "parts": []}
    for block in range(blocks):
        centre = rng.normal(size=(len(LABELS), units)) * (1 + block / 64)
        vectors = (centre[record.codes] + rng.normal(size=(images, units))).astype(np.float32)
        found = Statistics(layer=f"blocks.{block}", number=len(LAYERS) + block + 1, functional="mean", images=images,
                           **grouped(vectors, record, outputs, True), **told(vectors))  # fmt: skip
        shown.append(build(store, Recipe("statistics", 1, {"layer": found.layer}, base), found))
    store.show(shown)
    return store


def picture(code: int, row: int) -> np.ndarray:
    """Return the image of a class and a number: uint8 [y, x]; the number is written into it as a row of 16 blocks."""
    y, x = np.mgrid[0:EDGE, 0:EDGE]
    shape = [
        (y - 14) ** 2 + (x - 14) ** 2 < 90,
        (abs(y - 14) < 8) & (abs(x - 14) < 8),
        (y + x) % 8 < 4,
        (y % 7 < 4) & (x % 7 < 4),
    ][code % 4]
    image = np.where(shape, 200, 20).astype(np.uint8)
    bits = [(row >> bit) & 1 for bit in range(14)]
    image[-4:, :] = np.repeat(np.where(bits, 255, 0), 2).astype(np.uint8)
    return image


def sheets(pixels: np.ndarray) -> Files:
    """Return lossless sheets of thumbnails in image order."""
    found = []
    for start in range(0, len(pixels), COLUMNS * COLUMNS):
        block = np.zeros((COLUMNS * COLUMNS, EDGE, EDGE), np.uint8)
        part = pixels[start : start + COLUMNS * COLUMNS]
        block[: len(part)] = part
        grid = block.reshape(COLUMNS, COLUMNS, EDGE, EDGE).swapaxes(1, 2).reshape(COLUMNS * EDGE, COLUMNS * EDGE)
        file = io.BytesIO()
        Image.fromarray(grid).save(file, "WEBP", lossless=len(pixels) < 5000, quality=85)
        found.append((f"{start // (COLUMNS * COLUMNS):03d}.webp", file.getvalue()))
    return Files(found)


def build(store: Store, recipe: Recipe, record: Any) -> str:
    """Write `record` under `recipe`; return the artifact's name."""
    store.build(recipe, type(record), lambda: record)
    return recipe.name


def write_images(
    store: Store,
    pixels: np.ndarray,
    codes: np.ndarray,
    labels: Sequence[str],
    splits: bool,
    title: str,
    available: int | None = None,
    own: Mapping[str, Any] | None = None,
) -> str:
    """Write the images record and, as PNG files in the atlas's folder `files`, the images."""
    n = len(pixels)
    split = np.where(np.arange(n) < int(n * 0.6), "train", "held-out") if splits else np.full(n, "unknown")
    table = pd.DataFrame(
        {
            "image_id": [f"{row:016x}" for row in range(n)],
            "path": [f"{row}.png" for row in range(n)],
            "label": [labels[code] if code >= 0 else None for code in codes],
            "split": split,
            "width": EDGE,
            "height": EDGE,
            "mode": "L",
            "error": pd.Series([None] * n, dtype="object"),
            "duplicate_of": -1,
            "camera": [f"camera {row % 3}" for row in range(n)],
        }
    )
    for name, values in (own or {}).items():
        if values is not None:
            table[name] = values(codes)
    counts = {"images": n, "available": available or n, "limit": n if available else None, "undecodable": 0, "duplicates": 0}
    source = {"kind": "folder", "root": str(store.root / "files")}
    record = Images(table, list(labels), title, source, counts, sheets(pixels), EDGE, COLUMNS)
    if n < 5000:
        (store.root / "files").mkdir(parents=True, exist_ok=True)
        for row, image in enumerate(pixels):
            Image.fromarray(image).save(store.root / "files" / f"{row}.png")
    return build(
        store, Recipe("images", 1, {"digest": digest([pixels, list(labels), list(split), list(own or {})])}), record
    )


def with_columns(root: Path, columns: dict[str, Any]) -> None:
    """Add columns of the user's own to the images of a finished atlas."""
    for path in root.glob("images-*/table.parquet"):
        pd.read_parquet(path).assign(**columns).to_parquet(path)


def write_network(store: Store, outputs: int, seed: int) -> str:
    """Write the network's record."""
    layers = pd.DataFrame(
        {
            "number": [1, 2],
            "name": list(LAYERS),
            "kind": "Linear",
            "shape": "",
            "parameters": 0,
            "units": list(LAYERS.values()),
        }
    )
    record = NetworkRecord("tiny", None, "0" * 64, "tiny network", {}, None, outputs, 1234, layers)
    return build(store, Recipe("network", 1, {"seed": seed}), record)


def write_predictions(
    store: Store,
    base: dict[str, str],
    codes: np.ndarray,
    outputs: np.ndarray,
    labels: Sequence[str],
    complete: bool,
    rng: np.random.Generator,
) -> str:
    """Write predictions: the label mostly, five ranks, shares that fall."""
    n, ranks = len(codes), min(5, len(labels))
    top = np.stack([(outputs + rank) % len(labels) for rank in range(ranks)], axis=1).astype(np.int32)
    first = rng.uniform(0.5, 0.999, n)
    share = np.concatenate([first[:, None], np.outer(1 - first, 0.5 ** np.arange(1, ranks))], axis=1).astype(np.float32)
    right = (outputs == codes).astype(np.int8) if complete else np.full(n, -1, np.int8)
    names = list(labels) if complete else [f"thing {k}" for k in range(len(labels))]
    mapped = list(range(len(labels))) if complete else [-1] * len(labels)
    sentence = "each label is an output" if complete else "no output is a label: right and wrong are undefined"
    class_map = {
        "names": names,
        "outputs": mapped,
        "labels": list(labels),
        "how": "order" if complete else "none",
        "sentence": sentence,
    }
    held = (
        {"held-out": {"right": int(right.clip(0).sum()), "of": n, "accuracy": float(right.clip(0).mean())}}
        if complete
        else {}
    )
    record = Predictions(outputs.astype(np.int32), share[:, 0].copy(), top, share, right, class_map, held, [])
    return build(store, Recipe("predictions", 1, {"complete": complete}, {**base, "parts": []}), record)


def write_layer(
    store: Store,
    base: dict[str, str],
    layer: str,
    number: int,
    vectors: np.ndarray,
    images: Images,
    outputs: np.ndarray,
    complete: bool,
) -> tuple[str, str]:
    """Write one layer's part, activations and statistics; return the names of the last two."""
    n, units = vectors.shape
    points = np.arange(n, dtype=np.int32)
    moments = grouped(vectors, images, outputs, complete)
    rest = told(vectors)
    part = PartLayer(
        layer=layer,
        functional="mean",
        vectors=vectors,
        point_image=points,
        point_yx=np.zeros((0, 2), np.float32),
        **rest,
    )
    folder = f"parts/{'0' * 15}{number}"
    part_name = build(store, Recipe("layer", 1, {"layer": layer}, base, folder=folder), part)
    kept = PartMoments(layer, "mean", **{**moments, "groups": moments["groups"][:, :3]})
    of_groups = build(store, Recipe("moments", 1, {"layer": layer}, base, folder=folder), kept)
    inputs = {**base, "parts": [part_name]}
    low, high = vectors.min(0), vectors.max(0)
    codes = ((vectors - low) / np.maximum(high - low, 1e-9) * 255).astype(np.uint8).T.copy()
    record = Activations(
        layer,
        number,
        "mean",
        [part_name],
        [n],
        units,
        "float32",
        False,
        0,
        points,
        np.zeros((0, 2), np.float32),
        codes,
        low,
        high,
    )
    statistics = Statistics(layer=layer, number=number, functional="mean", images=n, **moments, **rest)
    return (
        build(store, Recipe("activations", 1, {"layer": layer}, inputs), record),
        build(store, Recipe("statistics", 1, {"layer": layer}, {**inputs, "moments": [of_groups]}), statistics),
    )


def told(vectors: np.ndarray) -> dict[str, np.ndarray]:
    """Return what statistics tell of each unit beside its moments."""
    none = np.zeros(vectors.shape[1], np.int64)
    return {"quantiles": np.quantile(vectors, [0, 0.5, 1], axis=0).astype(np.float32), "zeros": none, "nonfinite": none,
            "top_value": np.sort(vectors, axis=0)[::-1][:5].copy(),
            "top_image": np.argsort(-vectors, axis=0)[:5].astype(np.int32)}  # fmt: skip


def grouped(vectors: np.ndarray, images: Images, outputs: np.ndarray, complete: bool) -> dict[str, np.ndarray]:
    """Return the moments per split, label, prediction and right, as the records keep them."""
    split = pd.Categorical(images.table["split"], categories=["train", "held-out", "unknown"]).codes.astype(int)
    label = images.codes.astype(int)
    right = np.where(label == outputs, 1, 0) if complete else np.full(len(label), -1)
    keys = np.stack([split, label, outputs, right], axis=1)
    groups, of = np.unique(keys, axis=0, return_inverse=True)
    blocks = [vectors[of.ravel() == g].astype(np.float64) for g in range(len(groups))]
    mean = np.stack([block.mean(0) for block in blocks])
    m2 = np.stack([((block - block.mean(0)) ** 2).sum(0) for block in blocks])
    return {"groups": groups.astype(np.int32), "count": np.array([len(b) for b in blocks]), "mean": mean, "m2": m2}


def write_maps(
    store: Store, activations: str | list[str], layers: list[str], vectors: np.ndarray, methods: Sequence[str]
) -> list[str]:
    """Write the neighbour lists (exact, L2) and layouts (two principal directions) of one layer, or of several jointly."""
    indices, distances = nearest(vectors)
    lists = Neighbours(layers, "L2", True, None, indices, distances, Files([("index.faiss", b"")]))
    recall = np.linspace(0, 1, len(vectors)).astype(np.float32)
    rest = np.full(len(vectors), np.nan, np.float32)
    found = [build(store, Recipe("neighbours", 1, {"layers": layers}, {"activations": activations}), lists)]
    centred = vectors - vectors.mean(0)
    directions = np.linalg.svd(centred[:2000], full_matrices=False)[2]
    for turn, method in enumerate(methods):
        xy = (centred @ directions[turn : turn + 2].T).astype(np.float32)
        xy = np.pad(xy, ((0, 0), (0, 2 - xy.shape[1])))  # fewer than three points have fewer directions
        quality = {"trustworthiness": 0.95, "continuity": 0.93, "recall": 0.41, "k": 15, "sample": 5000, "seed": 0}
        parameters = {"metric": "L2", "reach": distances.shape[1]}
        parameters |= {"n_neighbors": 15, "min_dist": 0.1, "epochs": 200} if method == "umap" else {}
        axes = (
            np.vstack([vectors.mean(0), directions[turn : turn + 2]]) if method == "pca" else np.empty((0, vectors.shape[1]))
        )
        placing = unplaced(len(xy), axes, layers, distances)
        layout = Layout(layers, method, xy, parameters, quality, {}, *placing, recall=recall, trust=rest, continuity=rest)
        inputs = {"neighbours": found[0], "activations": activations}
        found.append(build(store, Recipe("layout", 1, {"method": method, "layers": layers}, inputs), layout))
    return found


def unplaced(count: int, axes: np.ndarray, layers: list[str], distances: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return confidence, axes, scales and reach of a layout that no point was placed in."""
    reach = np.quantile(distances[:, -1], np.linspace(0, 1, 1001)).astype(np.float32)
    return np.full(count, np.nan, np.float32), axes.astype(np.float64), np.ones(len(layers)), reach


def nearest(vectors: np.ndarray, kept: int = KEPT) -> tuple[np.ndarray, np.ndarray]:
    """Return every point's nearest others by brute force: indices and distances [point, kept]."""
    found_i, found_d = [], []
    for start in range(0, len(vectors), 500):
        block = vectors[start : start + 500]
        squares = (block**2).sum(1)[:, None] + (vectors**2).sum(1) - 2 * block @ vectors.T
        squares[np.arange(len(block)), np.arange(start, start + len(block))] = np.inf
        order = np.argsort(squares, axis=1)[:, :kept]
        found_i.append(order)
        found_d.append(np.sqrt(np.maximum(np.take_along_axis(squares, order, 1), 0)))
    return np.concatenate(found_i).astype(np.int32), np.concatenate(found_d).astype(np.float32)
