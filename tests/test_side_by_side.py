"""Ascents side by side: the same pictures as one after the other, and nothing left running or hanging in the network."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from atlas.errors import AtlasError
from atlas.models.network import Network, load_network
from atlas.models.preprocess import Preprocess
from atlas.preferred import side_by_side as ascents
from atlas.preferred.making import Wanted, draw, shares
from atlas.preferred.prior import Prior, make_prior
from tests import tiny

SIZE = (3, tiny.EDGE, tiny.EDGE)


@pytest.fixture(scope="module")
def prior() -> Prior:
    rng = np.random.default_rng(0)
    return make_prior(np.stack([tiny.picture(tiny.SHAPES[k % 3], rng) for k in range(60)]).transpose(0, 3, 1, 2))


@pytest.fixture(scope="module")
def network(world) -> Network:
    return load_network(tiny.MODEL, weights=world / "weights.safetensors")


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(ascents, "cores", lambda: 2)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def opened(network: Network):
    return ascents.side_by_side(network, ["act"], device="cpu", precision="float32", ascent=SIZE)


def test_what_two_threads_draw_is_what_one_draws(network: Network, prior: Prior, two_threads: None) -> None:
    wanted = Wanted(layer="act", units=list(range(5)), functional="mean", param="pca", steps=24, restarts=2)
    seen: list[int] = []
    both = draw(network, prior, wanted, best_real=np.ones(5), advance=seen.append)
    torch.set_num_threads(1)
    alone = draw(network, prior, wanted, best_real=np.ones(5))
    assert both.units.tolist() == alone.units.tolist() == wanted.units and sum(seen) == 24 * 5
    np.testing.assert_allclose(both.activation, alone.activation, rtol=1e-3)
    assert np.abs(both.images.astype(int) - alone.images).max() <= 2


def test_the_copies_are_others_and_the_network_is_left_as_it_was(network: Network, two_threads: None) -> None:
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    with opened(network) as copies:
        assert len(copies) == 2 and copies.members[0].engine.module is network.module is not copies.members[1].engine.module
        used = copies.map(lambda running, _: (time.sleep(0.05), id(running))[1], range(4))
        assert len(set(used)) == 2
    assert torch.get_num_threads() == 2
    assert all(not module._forward_hooks for module in network.module.modules())
    assert all(torch.equal(before[name], value) for name, value in network.module.state_dict().items())


def test_results_come_in_the_order_of_their_items(network: Network, two_threads: None) -> None:
    with opened(network) as copies:
        assert copies.map(lambda _, item: (time.sleep(0.03 * (item == 0)), item)[1], range(6)) == list(range(6))


def test_when_one_fails_the_others_end_and_its_words_are_told(network: Network, two_threads: None) -> None:
    begun = threading.Event()

    def work(running: object, item: int) -> None:
        if item == 1:
            begun.wait(10)
            raise AtlasError("the second has failed")
        begun.set()
        for _ in range(10_000):  # a hundred seconds, were it not ended
            told(1)
            time.sleep(0.01)

    with pytest.raises(AtlasError, match="the second has failed"), opened(network) as copies:
        told = copies.telling(lambda steps: None)
        started = time.monotonic()
        try:
            copies.map(work, range(4))
        finally:
            assert time.monotonic() - started < 5


def test_a_network_that_cannot_be_copied_runs_alone(prior: Prior, two_threads: None) -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.Conv2d(3, 4, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.act(images).mean((2, 3))

        def __deepcopy__(self, memo: object) -> Single:
            raise TypeError("there is one of me")

    single = load_network(Single(), preprocess=Preprocess(height=tiny.EDGE, width=tiny.EDGE, channels=3))
    with opened(single) as copies:
        assert len(copies) == 1
    drawn = draw(single, prior, Wanted("act", [0, 1, 2], "mean", "pixel", steps=8, restarts=1), best_real=np.ones(3))
    assert drawn.units.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("count", "most", "threads"), [(10, 4, 2), (3, 16, 2), (64, 16, 2), (1, 8, 4), (0, 8, 2), (7, 3, 1)]
)
def test_every_number_is_in_one_share_and_no_thread_has_them_all(count: int, most: int, threads: int) -> None:
    found = list(shares(count, most, threads))
    assert [number for share in found for number in share] == list(range(count))
    assert all(len(share) <= most for share in found)
    assert len(found) >= min(threads, count)
