"""What the network makes of a few images at once, in either precision, and how far bfloat16 is from float32 on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atlas.activations.batching import keep_first, padded, stack
from atlas.activations.engine import engine, find_device
from atlas.activations.functionals import Functional
from atlas.activations.sinks import check_rows, other_width
from atlas.errors import AtlasError, one_line
from atlas.models.network import Network
from atlas.models.shapes import FEWEST
from atlas.store import digest

if TYPE_CHECKING:
    from PIL.Image import Image

COMPARED = 16  # images on which bfloat16 is held against float32: seconds at most, and their mean varies little
LEAST_COSINE = 0.999  # below it, `precision: auto` runs in float32: distances of near neighbours are of that size


def describe(
    network: Network,
    pictures: Sequence[Image],
    functionals: Mapping[str, str],
    *,
    image_ids: Sequence[str] | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, np.ndarray]:
    """Return what the network makes of a few images: by layer float32 [point, unit], and ``logits`` [image, output].

    Computed in float32, in one batch of at least two. Sampled positions are drawn from `image_ids`, by default from the
    images' pixels.
    """
    pixels = [network.preprocess.array(picture) for picture in pictures]
    ids = image_ids or [digest(own)[:16] for own in pixels]
    wanted = {layer: Functional.parse(name) for layer, name in functionals.items()}
    return outputs(network, stack(pixels), wanted, image_ids=ids, seed=seed, device=find_device(device), precision="float32")


def logits_of(network: Network, arrays: Sequence[np.ndarray], *, device: str = "cpu", batch_size: int = 256) -> np.ndarray:
    """Return the logits of images as the network takes them, uint8 [rgb, y, x] each, in float32: float32 [image, output].

    They are those of `Preprocess.array`, perhaps changed since; so places of a layer lie over all of them.
    """
    found = []
    for start in range(0, len(arrays), batch_size):
        chunk = stack(list(arrays[start : start + batch_size]))
        ids = [""] * len(chunk)  # no positions are drawn
        found.append(
            outputs(network, chunk, {}, image_ids=ids, seed=0, device=find_device(device), precision="float32")["logits"]
        )
    return np.concatenate(found)


def outputs(
    network: Network,
    array: np.ndarray,
    wanted: Mapping[str, Functional],
    *,
    image_ids: Sequence[str],
    seed: int,
    device: torch.device,
    precision: str,
) -> dict[str, np.ndarray]:
    """Return a batch's vectors by layer, float32 [point, unit], and ``logits``; `array` [image, rgb, y, x] as `read` it."""
    count, batch = len(array), padded(array, FEWEST)
    found: dict[str, np.ndarray] = {}

    def taker(layer: str) -> Any:
        def take(output: torch.Tensor, axis: int | None) -> None:
            check_rows(output, len(batch))
            found[layer] = wanted[layer].reduce(output[:count], seed, image_ids, axis=axis)[0].cpu().numpy()

        return take

    with engine(network, device, precision) as opened:
        if opened.bfloat16:
            opened.survey(opened.tensor(batch[:FEWEST]))  # the layer that makes the logits runs in float32
        with opened.recorder({layer: taker(layer) for layer in wanted}) as recorder:
            logits = opened.logits(opened.run(recorder, opened.tensor(batch)))
    return found if logits is None else {**found, "logits": logits[:count]}


def agreement(
    network: Network,
    array: np.ndarray,
    wanted: Mapping[str, Functional],
    *,
    image_ids: Sequence[str],
    seed: int,
    device: torch.device,
) -> dict[str, float]:
    """Return the mean cosine between bfloat16's vectors and float32's over a few images, by layer, ``logits`` too."""
    exact, fast = (
        outputs(network, array, wanted, image_ids=image_ids, seed=seed, device=device, precision=precision)
        for precision in ("float32", "bfloat16")
    )
    for layer in exact:
        if fast[layer].shape[1] != exact[layer].shape[1]:
            raise AtlasError(f"layer {one_line(layer)}: {other_width(fast[layer].shape[1], exact[layer].shape[1])}")
    return {layer: mean_cosine(fast[layer], exact[layer]) for layer in exact}


def mean_cosine(found: np.ndarray, exact: np.ndarray) -> float:
    """Return the mean cosine between the rows of two arrays, over the rows that are finite in `exact`.

    Two rows of zeros agree (1); a row of zeros, or one that is not finite, agrees with no other (0).
    """
    finite = np.isfinite(exact).all(1)
    found, exact = found[finite].astype(np.float64), exact[finite].astype(np.float64)
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(exact, axis=1)
    with np.errstate(invalid="ignore"):
        equal = (found == exact).all(1).astype(np.float64)
        cosine = np.divide((found * exact).sum(1), norms, out=equal, where=norms != 0)
    return float(np.nan_to_num(cosine).mean()) if len(found) else 1.0


def kept_agreement(path: Path, compare: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Return the agreement kept in `path`, or compare and keep it; of two builders the first one's holds.

    It is kept so that a build begun in one precision goes on in it, whichever images come first later.
    """
    if not path.exists():
        keep_first(path, {"cosine_to_float32": compare()})
    try:
        kept = json.loads(path.read_text("utf-8"))["cosine_to_float32"]
        return {str(layer): float(cosine) for layer, cosine in kept.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise AtlasError(f"{path} holds no agreement of precisions: remove it and build again") from None
