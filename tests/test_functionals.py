"""How a unit becomes one number: each functional against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlas.activations.functionals import Functional, positions
from atlas.errors import AtlasError

IDS = ["a", "b", "c"]


@pytest.fixture
def conv() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(3, 5, 4, 6)).astype(np.float32))


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(size=(3, 10, 5)).astype(np.float32))


def reduce(name: str, output: torch.Tensor, seed: int = 0, ids: list[str] = IDS) -> np.ndarray:
    return Functional.parse(name).reduce(output, seed, ids)[0].numpy()


@pytest.mark.parametrize(
    "name", ["mean", "max-after-relu", "centre", "class-token", "positions:7", "positions:2-after-relu"]
)
def test_a_functional_is_written_as_it_was_read(name: str) -> None:
    assert str(Functional.parse(name)) == name


def test_an_unknown_functional_is_refused_with_the_closest_names() -> None:
    with pytest.raises(AtlasError, match=r"no functional 'center': did you mean centre"):
        Functional.parse("center")
    with pytest.raises(AtlasError, match=r"no functional 'positions': did you mean positions:4"):
        Functional.parse("positions")
    with pytest.raises(AtlasError, match=r"asks for 0 positions: 1 to 256 are possible"):
        Functional.parse("positions:0")


def test_mean_max_and_centre_agree_with_numpy(conv: torch.Tensor) -> None:
    x = conv.numpy()
    np.testing.assert_allclose(reduce("mean", conv), x.mean((2, 3)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(reduce("max", conv), x.max((2, 3)))
    np.testing.assert_array_equal(reduce("centre", conv), x[:, :, 2, 3])


def test_after_relu_is_the_functional_of_the_rectified_output(conv: torch.Tensor) -> None:
    for name in ("mean", "max", "centre", "positions:3"):
        np.testing.assert_allclose(reduce(f"{name}-after-relu", conv), reduce(name, conv.relu()), rtol=1e-6)


def test_outputs_with_channels_last_count_units_on_their_last_axis() -> None:
    x = torch.randn(3, 4, 4, 5)
    np.testing.assert_allclose(reduce("mean", x), x.numpy().mean((1, 2)), rtol=1e-5, atol=1e-6)


def test_the_unit_axis_may_be_given_where_the_shape_misleads() -> None:
    x = torch.randn(3, 4, 4, 5)
    found = Functional.parse("mean").reduce(x, 0, IDS, axis=1)[0]
    np.testing.assert_allclose(found.numpy(), x.numpy().mean((2, 3)), rtol=1e-5, atol=1e-6)


def test_an_output_without_space_is_itself_under_mean_max_and_centre() -> None:
    x = torch.randn(3, 5)
    for name in ("mean", "max", "centre"):
        np.testing.assert_array_equal(reduce(name, x), x.numpy())
    np.testing.assert_array_equal(reduce("mean-after-relu", x), x.relu().numpy())


def test_tokens_give_their_class_token_their_mean_or_their_patches(tokens: torch.Tensor) -> None:
    x = tokens.numpy()
    np.testing.assert_array_equal(reduce("class-token", tokens), x[:, 0])
    np.testing.assert_allclose(reduce("mean", tokens), x.mean(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(reduce("centre", tokens), x[:, 1 + 4])  # the middle of 3 × 3 patches
    values, yx = Functional.parse("positions:6").reduce(tokens, 0, IDS)
    patch = np.floor(yx * 3).astype(int) @ [3, 1]
    np.testing.assert_array_equal(values.numpy(), x[np.repeat(range(3), 6), 1 + patch])


def test_the_result_shares_no_memory_with_the_output() -> None:
    for shape in ((3, 5), (3, 5, 1, 1), (3, 5, 5)):
        for name in ("mean", "max") if len(shape) != 3 else ("class-token",):
            x = torch.ones(shape)
            found = reduce(name, x)
            x.zero_()
            assert (found == 1).all()


def test_a_bfloat16_output_is_summed_in_float32() -> None:
    x = torch.ones(1, 1, 64, 64, dtype=torch.bfloat16)
    x[0, 0, 0, 0] = 3
    assert reduce("mean", x, ids=["a"])[0, 0] == pytest.approx(1 + 2 / 4096, rel=1e-7)


def test_sampled_positions_are_the_values_at_their_relative_place(conv: torch.Tensor) -> None:
    values, yx = Functional.parse("positions:4").reduce(conv, 0, IDS)
    y, x = np.floor(yx * [4, 6]).astype(int).T
    np.testing.assert_array_equal(values.numpy(), conv.numpy()[np.repeat(range(3), 4), :, y, x])


def test_positions_are_drawn_from_the_seed_and_the_image_alone() -> None:
    first = positions(IDS, 4, 0)
    np.testing.assert_array_equal(first, positions(IDS, 4, 0))
    np.testing.assert_array_equal(first[[2, 0]], positions(["c", "a"], 4, 0))
    np.testing.assert_array_equal(first[:, :2], positions(IDS, 2, 0))
    assert not np.array_equal(first, positions(IDS, 4, 1))


def test_positions_cover_the_image_evenly() -> None:
    places = positions([str(i) for i in range(2000)], 4, 0)
    assert places.min() >= 0 and places.max() < 1
    counts = np.histogram2d(*places.reshape(-1, 2).T, bins=4, range=[[0, 1], [0, 1]])[0]
    assert np.abs(counts / counts.mean() - 1).max() < 0.15


def test_two_layers_of_different_size_are_sampled_at_the_same_places() -> None:
    ramp = torch.linspace(0, 1, 64).repeat(3, 2, 64, 1)  # the value is the relative x
    small = torch.nn.functional.avg_pool2d(ramp, 8)
    np.testing.assert_allclose(reduce("positions:5", ramp), reduce("positions:5", small), atol=1 / 8)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("positions:4", (2, 5), r"positions:4 needs an output with places, and the output is \[image, 5\]: use mean"),
        ("class-token", (2, 5, 4, 4), r"class-token needs tokens .* and the output is \[image, 5, 4, 4\]: use mean"),
        ("class-token", (2, 5), r"class-token needs tokens .* and the output is \[image, 5\]: use mean"),
        ("positions:4", (2, 13, 5), r"square grid of patches, and the output has 13 tokens: use mean or class-token"),
        ("centre", (2, 13, 5), r"square grid of patches, and the output has 13 tokens: use mean or class-token"),
        ("mean", (2, 5, 3, 4, 4), r"\[image, 5, 3, 4, 4\] and activations have 2, 3 or 4 axes: choose another layer"),
    ],
)
def test_an_output_that_lacks_what_the_functional_needs_is_refused(name: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        reduce(name, torch.ones(shape), ids=["a", "b"])
