"""What an atlas says tells two classes apart, put to the test: cut out of one class's images and pasted into the other's.

After the patches of Carter et al., "Activation Atlas", Distill 2019, which were drawn by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from atlas.activations.assemble import probabilities
from atlas.activations.few import logits_of
from atlas.argued import class_points, find_output
from atlas.errors import AtlasError, one_line

if TYPE_CHECKING:
    from atlas.atlas import Atlas
    from atlas.progress import Progress

KINDS = ("argued", "elsewhere", "noise")  # where a patch is cut out
CORNERS = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))  # y, x


def pasting(
    atlas: Atlas,
    first: str | int,
    second: str | int,
    layer: str | None = None,
    *,
    patches: int = 10,
    images: int = 100,
    edge: float = 0.5,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Return how many images of one class are taken for another once a patch is pasted in, a row per patch and kind.

    The patches are squares, `edge` of the images' shorter side, around the points of `layer` (recorded at positions) whose
    attribution to `second` exceeds that to `first` most, one per image of `second`. Controls: a square of the same size
    ``elsewhere`` in the same image, as far from that point as it goes, and ``noise``. They are pasted in each corner of up
    to `images` images of `first` that are predicted right. Columns: kind, patch (a row; -1 for noise), images, ``static``
    (share taken for `second` with the patch in the one corner that is best over all images), ``dynamic`` (with the best
    corner of each image), before, after (mean probability of `second`, in the static corner). Needs torch. A layer without
    positions or attributions, classes that are no labels, and too few images raise AtlasError.
    """
    from atlas.progress import Progress as Silent

    one, other = find_output(atlas, first), find_output(atlas, second)
    said = atlas.predictions
    assert said is not None  # find_output raises where there are none
    labels = said.map.labels_of(np.array([one, other]))
    right = np.flatnonzero((np.asarray(atlas.image_record.codes) == labels[0]) & (np.asarray(said.right) == 1))
    if labels.min() < 0 or labels[0] == labels[1] or len(right) < 1:
        what = f"{one_line(first)} and {one_line(second)}"
        raise AtlasError(f"{what} are no two labels of which the first has images predicted right: give others")
    chance = np.random.default_rng(seed)
    targets = np.sort(chance.permutation(right)[:images])
    cut = cut_patches(atlas, first, second, layer, count=patches, edge=edge, seed=seed)
    network, found = atlas.network(), []
    pixels = [network.preprocess.array(atlas.seeing.picture(int(row))) for row in targets]
    before = probabilities(logits_of(network, pixels, device=device))[:, other].mean()
    with (progress or Silent()).stage("patches pasted in", len(cut)) as advance:
        for kind, row, patch in cut:
            pasted = [with_patch(own, patch, corner) for own in pixels for corner in CORNERS]
            chances = probabilities(logits_of(network, pasted, device=device)).reshape(len(targets), len(CORNERS), -1)
            flips = said.map.labels_of(chances.argmax(axis=2)) == labels[1]
            best = int(flips.mean(axis=0).argmax())
            found.append([kind, row, len(targets), flips[:, best].mean(), flips.any(axis=1).mean(), before,
                          chances[:, best, other].mean()])  # fmt: skip
            advance(1)
    table = pd.DataFrame(found, columns=["kind", "patch", "images", "static", "dynamic", "before", "after"])
    table.attrs = {"layer": atlas.activations(layer).layer, "edge": edge, "seed": seed}
    return table


def cut_patches(
    atlas: Atlas,
    first: str | int,
    second: str | int,
    layer: str | None = None,
    *,
    count: int = 10,
    edge: float = 0.5,
    seed: int = 0,
) -> list[tuple[str, int, np.ndarray]]:
    """Return the patches of `pasting`, kind by kind: kind, the image's row (-1 for noise), pixels uint8 [rgb, y, x].

    Images are cut as the network takes them, so that a layer's places lie over all of them.
    """
    record, chance = atlas.activations(layer), np.random.default_rng(seed)
    if not record.spatial:
        wanted = f"{record.layer}=positions:1"
        raise AtlasError(f"layer {record.layer} has no positions to cut patches at: build it as {wanted}, or name another")
    said, output = atlas.predictions, find_output(atlas, second)
    assert said is not None
    label = int(said.map.labels_of(np.array([output]))[0])
    table = class_points(atlas, first, second, layer)
    own = np.asarray(atlas.image_record.codes)[table["image"].to_numpy()] == label
    table = table.assign(more=table["against"] - table["attribution"])[own]
    table = table[table["more"] > 0].sort_values(["more", "point"], ascending=[False, True])
    table = table.drop_duplicates("image").head(count)
    if table.empty:
        raise AtlasError(f"no point of an image of {one_line(second)} argues for it more than for {one_line(first)}")
    yx, network = np.asarray(record.point_yx), atlas.network()
    found: list[tuple[str, int, np.ndarray]] = []
    for row, point in zip(table["image"].tolist(), table["point"].tolist(), strict=True):
        pixels, place = network.preprocess.array(atlas.seeing.picture(row)), yx[point]
        found.append(("argued", row, cut_out(pixels, place, edge)))
        found.append(("elsewhere", row, cut_out(pixels, np.where(place < 0.5, 1.0, 0.0), edge)))
    shape = found[0][2].shape
    noise = [("noise", -1, chance.integers(0, 256, shape, dtype=np.uint8)) for _ in range(len(table))]
    return [*sorted(found, key=lambda one: KINDS.index(one[0])), *noise]


def cut_out(pixels: np.ndarray, place: np.ndarray, edge: float) -> np.ndarray:
    """Return the square of an image [rgb, y, x] around `place`, relative y, x, moved into it where it would reach out."""
    side = max(1, round(edge * min(pixels.shape[1:])))
    top, left = (
        int(np.clip(round(float(share) * size - side / 2), 0, size - side))
        for share, size in zip(place, pixels.shape[1:], strict=True)
    )
    return pixels[:, top : top + side, left : left + side]


def with_patch(pixels: np.ndarray, patch: np.ndarray, corner: tuple[float, float]) -> np.ndarray:
    """Return an image [rgb, y, x] with a patch of no more pixels in one corner, (y, x) of 0 or 1."""
    pasted, (tall, wide) = pixels.copy(), patch.shape[1:]
    top, left = (round(at * (size - side)) for at, size, side in zip(corner, pixels.shape[1:], (tall, wide), strict=True))
    pasted[:, top : top + tall, left : left + wide] = patch
    return pasted
