"""Wrong labels: who finds them

5 % of the labels of Fashion-MNIST are replaced by another at random, and each score ranks the images by how suspicious their
label is: the share of the first that are truly wrong (as many as were flipped), and the AUROC. Once the labels are flipped
after the training, so that the network has never seen them; once before it, so that it was trained on the wrong ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import arguments, demo_atlas, fashion_mnist, show

SHARE = 0.05
SEEDS = 3
TRAINED, EPOCHS = 12_000, 12  # images and passes of the network that is trained on wrong labels
KEPT = 30  # neighbours, as an atlas asks


def flip(labels: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Return the labels with a share of SHARE replaced by another one."""
    chance, wrong = np.random.default_rng(seed), labels.copy()
    rows = chance.choice(len(labels), round(SHARE * len(labels)), replace=False)
    wrong[rows] = (wrong[rows] + chance.integers(1, classes, len(rows))) % classes
    return wrong


def scores(lists: Any, probability: np.ndarray, given: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """Return the suspicion of each image by each way, higher is worse; `probability` [image, class] is the network's."""
    from atlas.patterns.suspects import first_count, second_count

    rows, k = np.arange(len(given)), KEPT
    plain = first_count(lists.indices, rows, given, classes, k)
    weighted, _ = second_count(lists.indices, rows, given, classes, k, plain)
    own = probability[rows, given]
    threshold = np.array([probability[given == c, c].mean() for c in range(classes)])  # confident learning's, per class
    above = np.where(probability >= threshold, probability, -1)
    other = (above.max(axis=1) > 0) & (above.argmax(axis=1) != given)
    return {
        "plain disagreement of 30 neighbours": 1 - plain,
        "votes weighted by the voters' own agreement": 1 - weighted,
        "1 − the network's probability of the label": 1 - own,
        "off-diagonal confident examples first, then 1 − probability": other + (1 - own),
        "ours: 1 − (weighted agreement + probability) / 2": 1 - (weighted + own) / 2,
    }


def judge(found: dict[str, np.ndarray], wrong: np.ndarray) -> dict[str, tuple[float, float]]:
    """Return precision at the number of wrong labels, and AUROC, of each score."""
    from sklearn.metrics import roc_auc_score

    first = {name: np.argsort(-score, kind="stable")[: wrong.sum()] for name, score in found.items()}
    return {name: (float(wrong[first[name]].mean()), float(roc_auc_score(wrong, score))) for name, score in found.items()}


def flipped_after(cache: Path, *, quick: bool) -> list[dict[str, tuple[float, float]]]:
    """Judge on the demo's atlas: its descriptor's neighbours and its network, which learned from the true labels."""
    from atlas.activations.assemble import probabilities
    from atlas.activations.records import PartLogits

    opened = demo_atlas(cache)
    said = opened.names("predictions")[-1]
    logits = [np.asarray(opened.store.read(part, PartLogits).logits) for part in opened.inputs(said, "parts")]
    lists = opened.seeing.space().neighbours
    true, probability = opened.image_record.codes.astype(np.int64), probabilities(np.concatenate(logits))
    found = []
    for seed in range(1 if quick else SEEDS):
        given = flip(true, 10, seed)
        found.append(judge(scores(lists, probability, given, 10), given != true))
    return found


def flipped_before(cache: Path, *, quick: bool) -> list[dict[str, tuple[float, float]]]:
    """Judge on a conv4 that was trained on the wrong labels, over the images that it was trained on."""
    import tempfile

    from PIL import Image

    from atlas.activations.assemble import probabilities
    from atlas.activations.extract import describe
    from atlas.maps.neighbours import build_neighbours
    from atlas.models.network import load_network
    from atlas.models.training import TrainingData, train

    pixels, codes = fashion_mnist(cache)
    labels = [str(code) for code in range(10)]
    count, epochs = (2000, 3) if quick else (TRAINED, EPOCHS)
    rows = np.random.default_rng(0).choice(60_000, count, replace=False)
    images, true = pixels[rows], codes[rows].astype(np.int64)
    given = flip(true, 10, 0)
    with tempfile.TemporaryDirectory() as folder:
        data = TrainingData(images, given, pixels[60_000:], codes[60_000:], labels, "fashion-mnist")
        train("conv4", data, out=Path(folder) / "conv4", epochs=epochs, augment="none")
        network = load_network(f"atlas:{folder}/conv4")
        parts = [
            describe(network, [Image.fromarray(image) for image in images[start : start + 500]], {"relu_fc1": "mean"})
            for start in range(0, count, 500)
        ]
    vectors, logits = (np.concatenate([part[name] for part in parts]) for name in ("relu_fc1", "logits"))
    lists = build_neighbours(vectors.astype(np.float32), layers=["relu_fc1"], k=KEPT)
    return [judge(scores(lists, probabilities(logits), given, 10), given != true)]


def rows_of(found: list[dict[str, tuple[float, float]]]) -> list[list[str]]:
    """Return a row per score: its name, precision and AUROC, the mean over the seeds."""
    return [[name, *(f"{np.mean([one[name][kind] for one in found]):.4f}" for kind in (0, 1))] for name in found[0]]


def main(argv: Sequence[str] | None = None) -> None:
    """Print both tables."""
    options = arguments(__doc__).parse_args(argv)
    columns = ["score", "precision", "AUROC"]
    after = flipped_after(options.cache, quick=options.quick)
    show(f"5 % of 70 000 labels flipped after the training (conv6, mean of {len(after)} seeds)", columns, rows_of(after))
    before = flipped_before(options.cache, quick=options.quick)
    count, epochs = (2000, 3) if options.quick else (TRAINED, EPOCHS)
    show(
        f"5 % of {count} labels flipped before the training (conv4, {epochs} epochs, no augmentation)",
        columns,
        rows_of(before),
        notes=["Confident learning (cleanlab) computes its probabilities out of sample; these are the network's own."],
    )


if __name__ == "__main__":
    main()
