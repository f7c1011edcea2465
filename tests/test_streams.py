"""Copies of a network side by side: the same results with any number of threads, nothing shared, nothing left behind."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from atlas.activations.streams import MOST_BYTES, count_for
from atlas.errors import AtlasError
from tests.passes import Net, PixelReader, Tiny, logits_of_parts, make_images, make_pixels, parts_of, run


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def vectors_and_logits(root: Path, net: Net, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    done = run(root, net, make_images(61), PixelReader(make_pixels(61)), batch_size=4, **options)
    (part,), (logits,) = parts_of(root, done.vectors["fc"]), logits_of_parts(root, done.logits)
    return np.array(part.vectors), np.array(logits.logits)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_bytes_are_the_same_with_any_number_of_threads(tmp_path: Path, threads: int, precision: str) -> None:
    found = vectors_and_logits(tmp_path / "a", Net(Tiny()), vectors={"fc": "mean"}, precision=precision)
    torch.set_num_threads(1)
    alone = vectors_and_logits(tmp_path / "b", Net(Tiny()), vectors={"fc": "mean"}, precision=precision)
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_array_equal(one, other)


class Remembers(nn.Module):
    """Keeps its input in itself, waits, and answers by what it kept: with two batches in it at once it would mix them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept = x.flatten(1)
        time.sleep(0.002)
        return self.fc(self.kept)


def test_a_network_that_keeps_a_batch_in_itself_never_sees_anothers(tmp_path: Path, threads: int) -> None:
    pixels = make_pixels(61)
    _, logits = vectors_and_logits(tmp_path, Net(Remembers()), vectors={"fc": "mean"})
    net = Remembers()
    with torch.no_grad():
        expected = net((torch.from_numpy(pixels[:, None].copy()).float() / 255 - 0.5) / 0.25)
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-4, atol=1e-5)


class Single(Tiny):
    """A network that refuses to be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("there is one of me")


def test_a_network_that_cannot_be_copied_runs_alone(tmp_path: Path, threads: int) -> None:
    found = vectors_and_logits(tmp_path / "a", Net(Single()), vectors={"fc": "mean"})
    expected = vectors_and_logits(tmp_path / "b", Net(Tiny()), vectors={"fc": "mean"})
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)


class Fails(Tiny):
    """Fails on batches that hold a certain picture."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if ((x[:, 0, 0, 0] - (77 / 255 - 0.5) / 0.25).abs() < 0.01).any():  # a grey value is 0.016
            raise ValueError("seventy-seven")
        return super().forward(x)


def test_a_batch_that_fails_ends_the_pass_in_one_line_and_leaves_no_hook(tmp_path: Path, threads: int) -> None:
    pixels = np.minimum(make_pixels(61), 70)
    pixels[41, 0, 0] = 77
    net = Net(Fails())
    with pytest.raises(AtlasError, match=r"network tiny failed on images of 1×8×8 .*seventy-seven"):
        run(tmp_path, net, make_images(61), PixelReader(pixels), batch_size=4, vectors={"fc": "mean"})
    assert not any(module._forward_hooks for module in net.module.modules())
    assert torch.get_num_threads() == threads and torch.is_grad_enabled()


def test_large_networks_are_not_copied() -> None:
    class Opened:
        device = torch.device("cpu")

        def __init__(self, count: int):
            self.module = nn.Linear(1, 1)
            self.module.weight = nn.Parameter(torch.empty(count // 4, device="meta"))

    assert [count_for(Opened(size), 4) for size in (1000, MOST_BYTES // 2 - 100, 2 * MOST_BYTES)] == [4, 3, 1]  # type: ignore[arg-type]
