"""Gradient ascent: parameterisations, objectives, transforms, redirected gradients, and the loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from atlas.errors import AtlasError
from atlas.models.network import Network, load_network
from atlas.models.preprocess import Preprocess
from atlas.preferred import objectives as O
from atlas.preferred import parameterisations as P
from atlas.preferred.ascent import CHECK, EARLIEST, HALVED, Ascent, Settings, ascend
from atlas.preferred.forward import forward
from atlas.preferred.prior import Prior, colour_root, make_prior
from atlas.preferred.relu import RedirectedReLU
from atlas.preferred.transforms import Transforms, affine
from atlas.preferred.transforms import usual as usual_transforms
from tests import tiny

XPLIQUE = [  # the printed constants of horama and xplique, the transpose of lucid's normalised matrix
    [0.56282854, 0.58447580, 0.58447580],
    [0.19482528, 0.0, -0.19482528],
    [0.04329450, -0.10823626, 0.06494176],
]


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Images of the tiny world, uint8 [image, rgb, y, x]."""
    rng = np.random.default_rng(0)
    return np.stack([tiny.picture(tiny.SHAPES[k % 3], rng) for k in range(150)]).transpose(0, 3, 1, 2)


@pytest.fixture(scope="module")
def prior(pictures) -> Prior:
    return make_prior(pictures)


@pytest.fixture(scope="module")
def network(world) -> Network:
    return load_network(tiny.MODEL, weights=world / "weights.safetensors")


def own(module: nn.Module, *, channels: int = 3, size: int = 20) -> Network:
    return load_network(module, preprocess=Preprocess(height=size, width=size, channels=channels))


# -- parameterisations ---------------------------------------------------------------------------------------------------


def test_lucids_colours_normalised_are_the_published_constants():
    assert np.allclose(P.normalised(P.LUCID_COLOURS).T, XPLIQUE, atol=1e-6)


def test_the_colour_matrix_is_a_root_of_the_colours_covariance_up_to_its_scale(pictures):
    root = colour_root(pictures.astype(np.float32) / 255)
    covariance = np.cov(pictures.transpose(1, 0, 2, 3).reshape(3, -1) / 255)
    assert np.allclose(root @ root.T / np.trace(root @ root.T), covariance / np.trace(covariance), atol=1e-4)
    assert np.linalg.norm(root, axis=0).max() == pytest.approx(1)


@pytest.mark.parametrize("name", P.NAMES)
@pytest.mark.parametrize("shape", [(1, 20, 20), (3, 20, 20), (3, 15, 21), (1, 7, 12)])
def test_images_are_of_the_asked_size_and_within_their_range(name, shape):
    data = np.random.default_rng(0).integers(0, 256, (120, *shape), np.uint8)
    how = P.parameterisation(name, make_prior(data))
    made = how.picture(how.start([0, 1, 1]))
    assert made.shape == (3, *shape) and float(made.min()) >= 0 and float(made.max()) <= 1
    assert torch.equal(made[1], made[2]) and not torch.equal(made[0], made[1])


@pytest.mark.parametrize("name", P.NAMES)
def test_a_batch_is_written_as_its_images_one_by_one(name, prior):
    how = P.parameterisation(name, prior)
    values = how.start([3, 4, 5])
    alone = torch.cat([how.picture(values[k : k + 1]) for k in range(3)])
    assert torch.allclose(how.picture(values), alone, atol=1e-6)


@pytest.mark.parametrize("name", ["pixel", "fourier"])
def test_an_ascent_can_start_near_any_image(name, prior, pictures):
    how = P.parameterisation(name, prior)
    given = torch.from_numpy(pictures[:4].astype(np.float32) / 255).clamp(0.02, 0.98)
    made = how.picture(how.near(given, [0] * 4))
    assert float((made - given).abs().mean()) < 0.02


def test_the_components_bring_an_image_of_the_data_nearly_back(prior, pictures):
    how = P.parameterisation("pca", prior)
    how.scale = 0.0
    given = torch.from_numpy(pictures[:20].astype(np.float32) / 255)
    far = (given - torch.from_numpy(prior.mean)).square().mean()
    assert float((how.picture(how.near(given, [0] * 20)) - given).square().mean()) < 0.1 * float(far)


def test_the_fourier_image_of_lucid_is_computed_with_its_formula(prior):
    how = P.parameterisation("fourier", prior)
    z = how.start([7])
    size = prior.size[1:]
    f = np.sqrt(np.fft.fftfreq(size[0])[:, None] ** 2 + np.fft.rfftfreq(size[1])[None] ** 2)
    spectrum = torch.view_as_complex(z)[0].numpy() * np.sqrt(size[0] * size[1]) / np.maximum(f, 1 / max(size))
    plain = np.fft.irfft2(spectrum, s=size) / 4
    mixed = np.einsum("cd,dyx->cyx", prior.colours, plain)
    level = np.log(prior.level / (1 - prior.level))[:, None, None]
    assert np.allclose(how.picture(z)[0].numpy(), 1 / (1 + np.exp(-mixed - level)), atol=1e-5)


@pytest.mark.parametrize(("edge", "decay"), [(32, 1.0), (64, 1.5), (96, 1.5)])
def test_large_fourier_images_hold_less_of_the_high_frequencies_and_move_in_smaller_steps(edge, decay):
    prior = make_prior(np.random.default_rng(0).integers(0, 256, (12, 3, edge, edge), np.uint8))
    plain, steep = P.Fourier(prior, decay=1.0), P.parameterisation("fourier", prior)
    z = plain.start([7])
    for grey in (plain, steep):
        grey._colours, grey._offset = None, torch.zeros(1, 1, 1)
    found = [torch.fft.rfft2(torch.logit(how.picture(z * 0.01).double())) for how in (plain, steep)]
    low, high = 1, edge // 4
    share = [float((own[0, 0, 0, high] / own[0, 0, 0, low]).abs()) for own in found]
    assert share[1] / share[0] == pytest.approx((low / high) ** (decay - 1), rel=0.05)
    assert (steep.rate < plain.rate) == (decay > 1)


def test_maco_has_the_datasets_mean_and_deviation_whatever_its_phases(prior):
    how = P.parameterisation("maco", prior)
    values = how.start([1]) * 5
    plain = P.standardised(torch.randn(2, 3, 9, 9) * 4 + 3)
    assert torch.allclose(plain.flatten(1).mean(1), torch.zeros(2), atol=1e-5)
    made = how.picture(values)
    assert float(made.mean()) == pytest.approx(float(prior.mean.mean()), abs=0.08)


def test_an_unknown_parameterisation_is_refused_with_those_there_are(prior):
    with pytest.raises(AtlasError, match=r"fourrier.*did you mean fourier"):
        P.parameterisation("fourrier", prior)


def test_small_inputs_and_fully_connected_networks_get_the_datasets_components():
    assert P.usual((1, 28, 28), spatial=True) == "pca" == P.usual((3, 224, 224), spatial=False)
    assert P.usual((3, 128, 128), spatial=True) == "fourier"


# -- transforms ------------------------------------------------------------------------------------------------------------


def test_a_shift_moves_an_image_by_that_many_pixels_and_brings_in_the_background():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 4] = 1.0
    matrix = affine(turn=0.0, scale=1.0, shift=(2 * 2 / 9, 0.0), aspect=1.0)
    grid = F.affine_grid(matrix[None], [1, 1, 9, 9], align_corners=False)
    assert F.grid_sample(image, grid, align_corners=False)[0, 0, 4, 2] == pytest.approx(1.0, abs=1e-5)


def test_a_turn_keeps_an_oblong_images_shapes():
    y, x = np.mgrid[:20, :40]
    disc = torch.from_numpy((((y - 9.5) ** 2 + (x - 19.5) ** 2) < 36).astype(np.float32))[None, None]

    def changed(aspect: float) -> float:
        matrix = affine(turn=0.7, scale=1.0, shift=(0.0, 0.0), aspect=aspect)
        grid = F.affine_grid(matrix[None], [1, 1, 20, 40], align_corners=False)
        return float((F.grid_sample(disc, grid, align_corners=False) - disc).abs().mean())

    assert changed(2.0) < 0.25 * changed(1.0), "a disc stays a disc but for its edge"


def test_one_change_is_shared_by_a_batch_and_drawn_anew_at_each_step():
    moves, generator = Transforms(shift=2, turn=5, scale=0.1, noise=0.1), torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 20, 20).repeat(4, 1, 1, 1)
    first, second = (moves.draw(image.shape[1:], generator)(image) for _ in range(2))
    assert torch.equal(first[0], first[3]) and not torch.allclose(first, second)
    assert moves.words == "shift ±2 px, turn ±5°, scale ±10%, noise 0.1" and Transforms().words == "none"


def test_networks_that_know_no_shift_are_hardly_moved():
    assert usual_transforms((3, 64, 64), spatial=True).shift < usual_transforms((3, 224, 224), spatial=True).shift == 20
    assert usual_transforms((1, 28, 28), spatial=False).shift <= 1 < usual_transforms((1, 28, 28), spatial=True).shift


# -- redirected gradients ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "relu",
    [
        torch.relu, F.relu, torch.Tensor.relu, nn.ReLU(), nn.ReLU(inplace=True), F.relu6, nn.ReLU6(), nn.ReLU6(inplace=True),
        lambda x: F.relu(x, inplace=True), lambda x: torch.relu_(x), lambda x: x.relu_(), lambda x: F.hardtanh(x, 0.0, 6.0),
    ],
)  # fmt: skip
def test_a_silent_units_gradient_comes_through_every_kind_of_relu(relu):
    start = torch.tensor([[-1.0, -2.0], [1.0, -3.0]], requires_grad=True)
    with RedirectedReLU():
        out = relu(start * 1.0)
    assert torch.equal(out.detach(), torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    gradient = torch.autograd.grad(-out.sum(), start)[0]  # of what is to be made small
    assert (gradient[0] == -1).all(), "the silent image is raised"
    assert torch.equal(gradient[1], torch.tensor([-1.0, 0.0])), "the other has its plain gradient"
    lowered = torch.tensor([[-1.0]], requires_grad=True)
    with RedirectedReLU():
        out = relu(lowered * 1.0)
    assert torch.autograd.grad(out.sum(), lowered)[0] == 0, "nothing negative is lowered further"


def test_outside_a_relu_is_as_before_and_a_clipped_range_that_is_none_is_left_alone():
    x = torch.tensor([[-1.0]], requires_grad=True)
    assert torch.autograd.grad(F.relu(x).sum(), x)[0] == 0
    with RedirectedReLU():
        assert torch.autograd.grad(-F.hardtanh(x * 0.5).sum(), x)[0] == -0.5
        assert F.hardtanh(torch.tensor([[-3.0]]), -2.0, 2.0) == -2.0


# -- objectives -------------------------------------------------------------------------------------------------------------


def test_objectives_add_subtract_are_weighted_and_say_themselves():
    seen = {"a": torch.rand(3, 5, 5, 4), "b": torch.rand(3, 7)}
    one, two = O.unit("a", [0, 1, 2], functional="max"), O.unit("b", [6, 6, 6])
    both = one - 0.5 * two + O.layer("b")
    expected = torch.stack([seen["a"][k, :, :, k].max() for k in range(3)]) - 0.5 * seen["b"][:, 6]
    assert torch.allclose(both.values(seen), expected + seen["b"].square().mean(1))
    assert both.layers == {"a", "b"}
    assert both.words == "max of units 0, 1, 2 of a − 0.5 × (mean of unit 6 of b) + mean square of all units of b"
    assert torch.allclose(both.take(torch.tensor([2])).values({k: v[2:] for k, v in seen.items()}), both.values(seen)[2:])
    assert torch.allclose((-one).values(seen), -one.values(seen))


def test_a_direction_weighs_the_dot_product_by_the_floored_cosine():
    h, v = torch.randn(50, 8), torch.randn(50, 8)
    dot, cosine = (h * v).sum(1), F.cosine_similarity(h, v, dim=1)
    assert torch.allclose(O.direction("x", v, power=0).values({"x": h}), dot, atol=1e-5)
    assert torch.allclose(O.direction("x", v, power=2).values({"x": h}), dot * cosine.clamp_min(0.1) ** 2, atol=1e-2)
    assert (O.direction("x", v).values({"x": h})[dot < 0] <= 0).all(), "two negative factors make no positive one"
    with pytest.raises(AtlasError, match="directions of x are finite numbers"):
        O.direction("x", [[float("nan")]])


def test_diversity_is_least_for_equal_images_and_knows_its_groups():
    same = torch.rand(1, 4, 4, 6).repeat(4, 1, 1, 1)
    found = O.diversity("x", [0, 0, 1, 1]).values({"x": same})
    assert torch.allclose(found, torch.full((4,), -1.0), atol=1e-5)
    mixed = torch.cat([same[:2], torch.randn(2, 4, 4, 6)])
    other = O.diversity("x", [0, 0, 1, 1]).values({"x": mixed})
    assert torch.allclose(other[:2], found[:2]) and (other[2:] > -0.999).all()


# -- the loop ---------------------------------------------------------------------------------------------------------------


def run(network: Network, prior: Prior, objective: O.Objective, count: int, *, param="pca", **settings) -> Ascent:
    given = {"steps": 24, "transforms": Transforms(1, 3, 0, 0.02), "background": prior.background.tolist()} | settings
    with forward(network, objective.layers) as running:
        return ascend(running, objective, P.parameterisation(param, prior), seeds=[0] * count, settings=Settings(**given))


@pytest.mark.parametrize("param", P.NAMES)
def test_a_batch_climbs_as_its_images_one_by_one(network, prior, param):
    steps = 24 if param != "maco" else 6  # whose large steps soon make rounding visible
    whole = run(network, prior, O.unit("fc1", [0, 5, 9]), 3, param=param, steps=steps)
    for place, unit in enumerate([0, 5, 9]):
        alone = run(network, prior, O.unit("fc1", [unit]), 1, param=param, steps=steps)
        assert torch.allclose(whole.pictures[place], alone.pictures[0], atol=2e-3), unit
        assert whole.value[place] == pytest.approx(alone.value[0], rel=1e-3)


@pytest.mark.parametrize("param", P.NAMES)
def test_every_logit_rises_from_noise_to_above_most_real_images(network, prior, pictures, param):
    found = run(network, prior, O.logit([0, 1, 2]), 3, param=param, steps=96)
    with forward(network, [O.LOGITS]) as running, torch.no_grad():
        real = running(torch.from_numpy(pictures.astype(np.float32) / 255))[O.LOGITS].numpy()
    assert (found.value > np.percentile(real, 60, axis=0)).all() and (found.value > found.history[0]).all()
    known = ~np.isnan(found.history)
    assert np.array_equal(np.fmax.accumulate(found.history)[known], found.history[known]), "the best so far never falls"


def test_the_value_told_is_that_of_the_picture_told(network, prior):
    found = run(network, prior, O.unit("conv2", [1, 2]), 2)
    with forward(network, ["conv2"]) as running, torch.no_grad():
        again = O.unit("conv2", [1, 2]).values(running(found.pictures))
    assert np.allclose(again.numpy(), found.value, atol=1e-4)


class Bounded(nn.Module):
    """A unit that is soon as high as it can be, one that rises for ever, and one that nothing moves."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.first(images).mean((1, 2, 3))
        return torch.stack([torch.sigmoid(80 * (x - 0.3)), 1e6 * (x - 0.9), x * 0.0], dim=1)


def test_images_stop_one_by_one_and_say_whether_they_converged_or_never_moved(prior):
    found = run(own(Bounded()), prior, O.logit([0, 1, 2]), 3, param="pixel", steps=EARLIEST + 6 * CHECK)
    assert found.converged[0] and found.steps[0] < found.steps[1], "the bounded one stops early"
    assert found.moved.tolist() == [True, True, False] and not found.converged[2]


def test_images_of_one_group_stop_together(prior):
    network = own(Bounded())
    with forward(network, [O.LOGITS]) as running:
        found = ascend(
            running, O.logit([0, 1]), P.parameterisation("pixel", prior), seeds=[0, 0], groups=[5, 5],
            settings=Settings(steps=EARLIEST + 3 * CHECK, background=prior.background.tolist()),
        )  # fmt: skip
    assert found.steps[0] == found.steps[1]


def test_of_the_tries_at_one_unit_the_better_half_goes_on_and_the_best_to_the_end(prior):
    network, units = own(Bounded()), [1] * 8
    began = torch.linspace(0.2, 0.7, 8).reshape(8, 1, 1, 1).expand(8, *prior.size)
    with forward(network, [O.LOGITS]) as running:
        found = ascend(
            running, O.logit(units), P.parameterisation("pixel", prior), seeds=[0] * 8, start=began,
            rivals=[0] * 4 + [1] * 4, settings=Settings(steps=HALVED[1] + CHECK, background=prior.background.tolist()),
        )  # fmt: skip
    first, second = HALVED
    assert sorted(found.steps[:4]) == sorted(found.steps[4:]) == [first, first, second, second + CHECK]
    for rivals in (slice(0, 4), slice(4, 8)):
        assert found.value[rivals].argmax() == found.steps[rivals].argmax(), "what goes on is what stood highest"
        assert not found.converged[rivals][found.steps[rivals] < second + CHECK].any(), "to be let go is not to converge"


class Poisoned(nn.Module):
    """NaN in one output, or in both."""

    def __init__(self, *, all_of_them: bool = False) -> None:
        super().__init__()
        self.first, self.all_of_them = nn.Identity(), all_of_them

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.first(images).mean((1, 2, 3))
        bad = x + torch.where(x > 0, torch.nan, 0.0)
        return torch.stack([bad if self.all_of_them else x, bad], dim=1)


def test_an_image_that_meets_nan_is_told_and_leaves_the_others_alone(prior):
    found = run(own(Poisoned()), prior, O.logit([0, 1]), 2, param="pixel")
    assert found.finite.tolist() == [True, False] and np.isfinite(found.value[0])
    alone = run(own(Poisoned()), prior, O.logit([0]), 1, param="pixel")
    assert torch.allclose(found.pictures[0], alone.pictures[0], atol=1e-5)
    with pytest.raises(AtlasError, match="not finite in every image: give a lower --rate"):
        run(own(Poisoned(all_of_them=True)), prior, O.logit([0, 1]), 2, param="pixel")


class Rounds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last((self.first(images) > 0).float().mean((2, 3)))


class Bare(Rounds):
    """Rounds, and has a parameter on the way that no module's flags reach."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) * torch.ones(2, requires_grad=True)


def integers() -> nn.Module:
    """A network whose linear layers compute in int8."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 2))
    return torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8)


@pytest.mark.parametrize(("make", "layer"), [(Rounds, "last"), (Bare, O.LOGITS), (integers, "4")])
def test_a_layer_that_passes_no_gradient_is_refused_in_one_line(prior, make, layer):
    with pytest.raises(AtlasError, match=f"no gradient comes from {layer} to the image"):
        run(own(make()), prior, O.unit(layer, [0]) if layer != O.LOGITS else O.logit([0]), 1)


def test_the_network_is_as_it_was_and_runs_no_farther_than_it_must(network, prior):
    module, before = network.module, {k: v.clone() for k, v in network.module.state_dict().items()}
    ran: list[str] = []
    handle = module.get_submodule("fc1").register_forward_hook(lambda *_: ran.append("fc1"))
    module.train()
    try:
        run(network, prior, O.unit("conv1", [0]), 1, steps=3)
    finally:
        handle.remove()
        trained = module.training
        module.eval()
    assert ran == [] and trained
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in module.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_frames_show_an_image_as_it_forms(network, prior):
    found = run(network, prior, O.logit([0]), 1, frames=True)
    assert found.frames is not None and len(found.frames) == 24 // CHECK + 1
    assert found.frames.dtype == np.uint8 and not np.array_equal(found.frames[0], found.frames[-1])


def test_the_units_of_the_last_layer_with_weights_and_of_what_follows_are_the_logits():
    import pandas as pd

    from atlas.unit_sheet import logit_layers

    def rows(*found):
        return pd.DataFrame(found, columns=["name", "parameters", "units"])

    squeezenet = rows(("features.12", 9, 512), ("classifier.1", 5, 10), ("classifier.2", 0, 10), ("classifier", 5, 10))
    assert logit_layers(squeezenet, 10) == ["classifier", "classifier.2", "classifier.1"]
    assert logit_layers(rows(("fc1", 5, 10), ("relu", 0, 10), ("fc2", 5, 10)), 10) == ["fc2"]
    assert logit_layers(rows(("conv", 5, 10), ("features", 0, 7)), 10) == []
