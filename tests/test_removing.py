"""Places taken away: which pixels are painted, and what the network then says, by brute force."""

from __future__ import annotations

import numpy as np
import pytest

import atlas
from atlas.activations.assemble import probabilities
from atlas.activations.attribution import place_attributions
from atlas.activations.few import describe, logits_of
from atlas.errors import AtlasError
from atlas.removing import ORDERS, painted


@pytest.mark.parametrize("channels", [1, 3])
def test_the_rectangle_of_a_place_takes_the_mean_colour_and_no_other_pixel_changes(channels: int) -> None:
    chance = np.random.default_rng(0)
    pixels = chance.integers(0, 256, (channels, 12, 16), dtype=np.uint8)
    taken = np.zeros((3, 4), bool)
    taken[1, 2] = True
    found = painted(pixels, taken)
    assert (found[:, 4:8, 8:12] == pixels.mean(axis=(1, 2)).round()[:, None, None]).all()
    found[:, 4:8, 8:12] = pixels[:, 4:8, 8:12]
    assert (found == pixels).all()


def test_the_places_that_argue_most_go_first_and_what_is_left_is_what_the_network_says(tiny_atlas: atlas.Atlas) -> None:
    table = tiny_atlas.removal([4, 9], "pool", shares=(0, 0.25, 1))
    assert len(table) == 2 * 3 * 3 and table.attrs["layer"] == "pool"
    network = tiny_atlas.network()
    for row in (4, 9):
        own = table[table["image"] == row].set_index(["order", "share"])["probability"]
        picture = tiny_atlas.seeing.picture(row)
        logits = describe(network, [picture], {})["logits"]
        asked = int(logits[0].argmax())
        assert all(own[order, 0] == pytest.approx(probabilities(logits)[0, asked], abs=1e-5) for order in ORDERS)
        assert all(own[order, 1] == pytest.approx(own["most", 1], abs=1e-6) for order in ORDERS)
        argued = place_attributions(network, picture, ["pool"], outputs=[asked])["pool"][0]
        first = np.argsort(-argued, axis=None, kind="stable")[: round(0.25 * argued.size)]
        taken = np.zeros(argued.size, bool)
        taken[first] = True
        covered = painted(network.preprocess.array(picture), taken.reshape(argued.shape))
        told = probabilities(logits_of(network, [covered]))[0, asked]
        assert own["most", 0.25] == pytest.approx(told, abs=1e-5)


def test_a_sample_is_seeded_and_what_cannot_be_is_refused(tiny_atlas: atlas.Atlas) -> None:
    one, other = (tiny_atlas.removal(2, "pool", shares=(0.5,), seed=3) for _ in range(2))
    assert one.equals(other) and one["image"].nunique() == 2
    with pytest.raises(AtlasError, match="layer act has a single place"):
        tiny_atlas.removal([0], "act")
    with pytest.raises(AtlasError, match=r"shares of places to take away are numbers from 0 to 1, not \[2\]"):
        tiny_atlas.removal([0], "pool", shares=[2])
    with pytest.raises(AtlasError, match="100000 images: 1 to"):
        tiny_atlas.removal(100_000, "pool")
