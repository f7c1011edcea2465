"""Patches pasted in: what is cut out and where it lands, and what the network says of it by brute force."""

from __future__ import annotations

import numpy as np
import pytest

import atlas
from atlas.activations.assemble import probabilities
from atlas.activations.few import logits_of
from atlas.arguing import attribute
from atlas.errors import AtlasError
from atlas.pasting import CORNERS, cut_out, cut_patches, with_patch
from tests import tiny


@pytest.fixture(scope="module")
def placed(world, tmp_path_factory: pytest.TempPathFactory) -> atlas.Atlas:
    """The tiny world with a layer recorded at one place of each image, attributed."""
    made = atlas.build(
        tiny.MODEL, str(world / "images"), cache=tmp_path_factory.mktemp("pasting") / "tiny", layouts=["pca:pool"],
        layers=["pool=positions:1", "logits"], network={"weights": world / "weights.safetensors"},
    )  # fmt: skip
    return attribute(made, ["pool"])


def test_a_patch_is_the_square_around_its_place_moved_into_the_image_and_lands_in_its_corner() -> None:
    pixels = np.arange(3 * 12 * 16, dtype=np.uint16).reshape(3, 12, 16)
    patch = cut_out(pixels, np.array([0.5, 0.5]), 0.5)
    assert (patch == pixels[:, 3:9, 5:11]).all()
    assert (cut_out(pixels, np.array([0.0, 1.0]), 0.5) == pixels[:, :6, 10:]).all()
    for y, x in CORNERS:
        pasted = with_patch(pixels, patch, (y, x))
        top, left = (6 if y else 0), (10 if x else 0)
        assert (pasted[:, top : top + 6, left : left + 6] == patch).all()
        assert (pasted == pixels).all(axis=0).sum() >= 12 * 16 - 36


def test_every_share_is_what_the_network_says_of_the_pasted_images(placed: atlas.Atlas) -> None:
    first, second = placed.image_record.labels[:2]
    table = placed.pasting(first, second, "pool", patches=2, images=6)
    cut = cut_patches(placed, first, second, "pool", count=2)
    assert table["kind"].tolist() == [kind for kind, _, _ in cut] and set(table["kind"]) == {"argued", "elsewhere", "noise"}
    images, said, chance = placed.images(), placed.predictions, np.random.default_rng(0)
    assert said is not None
    right = images.index[(images["label"] == first) & images["right"].astype(bool)].to_numpy()
    rows = np.sort(chance.permutation(right)[:6])
    other = said.map.names.index(second)
    for row, (_, _, patch) in zip(table.itertuples(), cut, strict=True):
        flips = np.empty((len(rows), 4), bool)
        for at, image in enumerate(rows.tolist()):
            own = placed.network().preprocess.array(placed.seeing.picture(image))
            logits = logits_of(placed.network(), [with_patch(own, patch, corner) for corner in CORNERS])
            flips[at] = probabilities(logits).argmax(axis=1) == other
        assert row.static == pytest.approx(flips.mean(axis=0).max()) and row.dynamic == pytest.approx(
            flips.any(axis=1).mean()
        )


def test_what_cannot_be_pasted_is_refused(placed: atlas.Atlas) -> None:
    first, second = placed.image_record.labels[:2]
    with pytest.raises(AtlasError, match="layer logits has no positions to cut patches at: build it as logits=positions:1"):
        placed.pasting(first, second, "logits")
    with pytest.raises(AtlasError, match="are no two labels of which the first has images predicted right"):
        placed.pasting(first, first, "pool")
