"""Preferred inputs: seconds per image and activation reached, ours in batches beside lucent one by one."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure

LAYER = "_blocks.8"  # of EfficientNet-lite0: a block in the middle, of 80 units or more
SIZE, STEPS = 128, 128  # pixels, steps: the same on both sides
BATCH = 64
PEERS = 6  # pictures that lucent draws: one takes as long as another
AIM = 5.0
PEER = measure.ROOT / "benchmarks" / "_lucent.py"


def main(argv: Sequence[str] | None = None) -> None:
    """Draw channels of a layer on both sides, measure them alike, and print one table."""
    parser = measure.arguments(__doc__)
    parser.add_argument("--lucent", metavar="PYTHON", help="a Python that has lucent; left out without")
    options = parser.parse_args(argv)
    steps, count = (16, 8) if options.quick else (STEPS, BATCH)
    with measure.importable(measure.packages(options.cache)):
        from atlas.models.network import load_network

        network = load_network("benchmarks._lite0:factory")
        prior = prior_of(network, options.cache)
        units = list(range(count))
        seconds, ours = mine(network, prior, units, steps)
        other, why = lucent(options.lucent, options.cache, units[: 2 if options.quick else PEERS], steps)
        report(network, units, (seconds, ours), other, why, steps, real_best(network, options.cache, units))


def prior_of(network: Any, cache: Path) -> Any:
    """Return what real photographs say at SIZE pixels."""
    from atlas.preferred.prior import make_prior

    return make_prior(photographs(network.preprocess.at_size(SIZE), cache, 400))


def photographs(preprocess: Any, cache: Path, count: int) -> np.ndarray:
    """Return real photographs as a network takes them: uint8 [image, rgb, y, x]."""
    from PIL import Image

    files = sorted(measure.photographs(cache, count).folder.glob("*.jpg"))[:count]
    return np.stack([preprocess.array(Image.open(file).convert("RGB")) for file in files])


def real_best(network: Any, cache: Path, units: Sequence[int]) -> np.ndarray:
    """Return the greatest activation of each unit over 400 real photographs."""
    pixels = photographs(network.preprocess, cache, 400).transpose(0, 2, 3, 1)
    return reached(network, pixels)[:, list(units)].max(axis=0)


def reached(network: Any, images: np.ndarray) -> np.ndarray:
    """Return the mean activation of every unit on images uint8 [image, y, x, rgb]."""
    from atlas.preferred.forward import forward
    from atlas.preferred.making import values_of

    with forward(network, [LAYER], redirect=False) as running:
        return values_of(running, images, LAYER, "mean", size=16)


def mine(network: Any, prior: Any, units: Sequence[int], steps: int) -> tuple[float, np.ndarray]:
    """Return seconds per picture of ours, one start each, and the pictures."""
    from atlas.preferred.making import Wanted, draw

    wanted = Wanted(layer=LAYER, units=units, functional="mean", param="fourier", steps=steps, restarts=1)
    started = time.perf_counter()
    drawn = draw(network, prior, wanted, best_real=np.ones(len(units)))
    return (time.perf_counter() - started) / len(units), drawn.images


def lucent(python: str | None, cache: Path, units: Sequence[int], steps: int) -> tuple[tuple[float, np.ndarray] | None, str]:
    """Return seconds per picture of lucent's and its pictures, or None and why there are none."""
    if python is None:
        return None, (
            "lucent was left out: no `--lucent PYTHON`. Version 0.1.8 wants kornia 0.4.1 or older, which the project's own "
            "packages do not hold: `pip install --no-deps torch-lucent kornia==0.4.1` beside torch makes such a Python."
        )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "pictures.npy"
        paths = os.pathsep.join([str(measure.ROOT), str(measure.packages(cache))])
        command = [python, str(PEER), LAYER, ",".join(map(str, units)), str(SIZE), str(steps), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, check=False)
        if done.returncode:
            return None, f"lucent was left out: {(done.stderr.strip().splitlines() or ['it failed'])[-1]}"
        told = json.loads(done.stdout.strip().splitlines()[-1])
        pictures = (np.clip(np.load(out), 0, 1) * 255).round().astype(np.uint8)
    return (float(np.median(told["seconds"])), pictures), ""


def report(
    network: Any,
    units: Sequence[int],
    ours: tuple[float, np.ndarray],
    other: tuple[float, np.ndarray] | None,
    why: str,
    steps: int,
    best: np.ndarray,
) -> None:
    """Print the table and what became of the aims."""
    activation = reached(network, ours[1])[np.arange(len(units)), list(units)]
    rows = [[f"ours, {len(units)} pictures together", f"{ours[0]:.2f}", f"{np.median(activation / best):.2f}", ""]]
    notes = []
    if other is not None:
        some = len(other[1])
        theirs = reached(network, other[1])[np.arange(some), list(units[:some])]
        rows[0][3] = f"× {other[0] / ours[0]:.1f}"
        rows.append(
            [f"lucent 0.1.8, one by one ({some})", f"{other[0]:.2f}", f"{np.median(theirs / best[:some]):.2f}", "× 1.0"]
        )
        met = "met" if other[0] >= AIM * ours[0] else "missed"
        notes.append(f"Aim: {AIM:g} times as fast per picture, {other[0] / ours[0]:.1f} measured: {met}.")
        less = int((activation[:some] < theirs).sum())
        notes.append(
            f"On the {some} units that both drew, ours reached {np.median(activation[:some] / theirs):.2f} times lucent's "
            f"activation in the median; lower in {less}: {'met' if less * 2 <= some else 'missed'}."
        )
    notes += [why] * bool(why)
    sentence = (
        f"Channels of {LAYER} of EfficientNet-lite0 (ImageNet weights), {SIZE} pixels, {steps} steps, Fourier on both. "
        "Activations are of the pictures at that size, beside the best of 400 real photographs at 224 pixels."
    )
    measure.show(sentence, ["who", "seconds per picture", "activation, × best real (median)", "speed"], rows, notes=notes)


if __name__ == "__main__":
    main()
