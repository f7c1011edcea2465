"""Which positions of an image matter: places are taken away in the order of what they argue for, and the network asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from atlas.activations.assemble import probabilities
from atlas.activations.attribution import place_attributions
from atlas.activations.few import logits_of
from atlas.activations.gradients import check_logits
from atlas.errors import AtlasError
from atlas.models.layers import named_layer

if TYPE_CHECKING:
    from atlas.atlas import Atlas
    from atlas.progress import Progress

SHARES = (0.0, 0.0625, 0.125, 0.25, 0.5)  # of the places that are taken away
ORDERS = ("most", "random", "least")  # which places go first


def removal(
    atlas: Atlas,
    images: int | Iterable[int],
    layer: str | None = None,
    *,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Return how sure the network stays of its prediction as places of an image are taken away, a row per image and step.

    `images` are rows, or how many to draw of those that are decoded. The places are those of one `layer`, ordered by what
    they argue for (attribution to the predicted logit); a share of them is painted in the mean colour of the image, each
    with the rectangle of the network's input that it lies over: those first that argue ``most``, or ``least``, or at
    ``random``.
    Columns: image, order, share, probability (of the output first predicted), kept (whether it is predicted still). Needs
    torch. A layer of a single place and a network without logits raise AtlasError. The deletion test of Petsiuk, Das and
    Saenko, "RISE", BMVC 2018.
    """
    from atlas.progress import Progress as Silent

    network = atlas.network()
    check_logits(network)
    if network.outputs == 1:
        raise AtlasError(
            "a single logit has no probability of its own class to lose: take a network with two outputs or more"
        )
    name = str(named_layer(atlas.network_record.layers, atlas.layer_name(layer))["name"])
    if any(not 0 <= share <= 1 for share in shares):
        raise AtlasError(f"shares of places to take away are numbers from 0 to 1, not {list(shares)}")
    rows = _drawn(atlas, images, seed) if isinstance(images, int) else [int(row) for row in images]
    chance, found = np.random.default_rng(seed), []
    with (progress or Silent()).stage(f"places of {name} taken away", len(rows)) as advance:
        for row in rows:
            found += _of_one(atlas, network, name, row, shares, chance, device)
            advance(1)
    table = pd.DataFrame(found, columns=["image", "order", "share", "probability", "kept"])
    table.attrs = {"layer": name, "seed": seed}
    return table


def _drawn(atlas: Atlas, count: int, seed: int) -> list[int]:
    decoded = np.asarray(atlas.image_record.decoded)
    if not 1 <= count <= len(decoded):
        raise AtlasError(f"{count} images: 1 to {len(decoded)} would do")
    return sorted(np.random.default_rng(seed).choice(decoded, count, replace=False).tolist())


def _of_one(
    atlas: Atlas, network: Any, layer: str, row: int, shares: Sequence[float], chance: np.random.Generator, device: str
) -> list[tuple[int, str, float, float, bool]]:
    picture = atlas.seeing.picture(row)
    pixels = network.preprocess.array(picture)
    asked = int(logits_of(network, [pixels], device=device)[0].argmax())
    argued = place_attributions(network, picture, [layer], outputs=[asked], device=device)[layer][0]
    if argued.size < 2:
        raise AtlasError(f"layer {layer} has a single place: name one whose maps have several")
    flat = argued.ravel()
    orders = {"most": np.argsort(-flat, kind="stable"), "random": chance.permutation(flat.size)}
    orders["least"] = orders["most"][::-1]
    steps = [(order, share) for order in ORDERS for share in shares]
    covered = [painted(pixels, _mask(argued.shape, orders[order], share)) for order, share in steps]
    chances = probabilities(logits_of(network, covered, device=device))
    return [
        (row, order, float(share), float(own[asked]), bool(own.argmax() == asked))
        for (order, share), own in zip(steps, chances, strict=True)
    ]


def _mask(shape: tuple[int, ...], order: np.ndarray, share: float) -> np.ndarray:
    taken = np.zeros(int(np.prod(shape)), bool)
    taken[order[: round(share * len(order))]] = True
    return taken.reshape(shape)


def painted(pixels: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Return an image [rgb, y, x] with the rectangles under the places `taken`, bool [y, x], in its own mean colour."""
    over = np.asarray(Image.fromarray(taken).resize(pixels.shape[:0:-1], Image.Resampling.NEAREST))
    found = pixels.copy()
    found[:, over] = pixels.reshape(len(pixels), -1).mean(axis=1).round().astype(pixels.dtype)[:, None]
    return found
