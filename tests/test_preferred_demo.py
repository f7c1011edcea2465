"""Preferred inputs of the demo's real network on its real images: what they prove, and methods.md's checks V3 to V5."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import atlas
from atlas.data.named import fetch
from atlas.iconing import icons_of
from atlas.models.network import Network, load_network
from atlas.models.training import TrainingData
from atlas.preferred import objectives as O
from atlas.preferred import parameterisations as P
from atlas.preferred.ascent import Settings, ascend
from atlas.preferred.forward import forward
from atlas.preferred.icons import likeness
from atlas.preferred.prior import Prior, make_prior
from atlas.preferred.records import Preferred
from atlas.preferred.relu import RedirectedReLU
from atlas.preferred.transforms import usual
from atlas.preferring import Preferring
from atlas.progress import Progress
from atlas.verbs import train

FOLDER = Path(__file__).parents[1] / "cache" / "fashion-mnist"
SETTLED_STEPS = 128


@pytest.fixture(scope="module")
def demo() -> atlas.Atlas:
    assert (FOLDER / "atlas.json").exists(), "the demo's atlas is not built: `make test` builds it"
    return atlas.open(FOLDER)


@pytest.fixture(scope="module")
def network(demo) -> Network:
    return demo.network()


@pytest.fixture(scope="module")
def prior(demo) -> Prior:
    return demo.store.read(Preferring(demo).prior((1, 28, 28)), Prior)


@pytest.fixture(scope="module")
def other() -> Network:
    """Our conv4, trained on its own from another seed: it has seen nothing of conv6."""
    return load_network("atlas:conv4@fashion-mnist")


def of_layer(demo: atlas.Atlas, layer: str, *, untrained: bool = False) -> Preferred:
    records = [demo.store.read(name, Preferred) for name in reversed(demo.names("preferred", layer=layer))]
    return next(record for record in records if record.untrained == untrained)


def said_of(network: Network, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        batch = network.preprocess.tensor(torch.from_numpy(np.array(images)).permute(0, 3, 1, 2))
        return network.module.eval()(batch).argmax(1).numpy()


def climb(network: Network, prior: Prior, objective: O.Objective, count: int, param: str) -> torch.Tensor:
    moves = usual(prior.size, spatial=True)
    settings = Settings(steps=SETTLED_STEPS, transforms=moves, background=prior.background.tolist())
    with forward(network, objective.layers) as running:
        return ascend(running, objective, P.parameterisation(param, prior), seeds=[0] * count, settings=settings).pictures


def test_another_network_names_the_class_of_at_least_eight_logit_inputs(demo, other):
    made = of_layer(demo, "logits")
    assert made.units.tolist() == list(range(10))
    assert (said_of(other, made.images) == made.units).sum() >= 8


def test_every_logit_input_is_beyond_the_99th_percentile_of_real_images(demo):
    made = of_layer(demo, "logits")
    assert (made.percentile >= 99).all() and made.real == "all 70 000 images"


def test_nearly_all_units_drawn_reach_what_few_real_images_do(demo):
    for layer in ("pool4", "relu_fc1"):
        made = of_layer(demo, layer)
        assert len(made) + len(made.dead) == 64 and np.mean(made.percentile >= 99) >= 0.9, layer


def test_the_icons_are_of_the_class_that_their_cells_are_of(demo):
    found, cells = icons_of(demo, "relu_fc1")
    assert cells.sizes == [8, 16] and np.median(found.cosine) > 0.9
    usual_label = np.asarray(cells.members).argmax(axis=1)
    assert (found.said == usual_label).mean() > 0.85
    assert (found.said == np.asarray(cells.best)[:, 0]).mean() > 0.85


def test_live_units_without_a_gradient_get_one_from_redirected_relus(demo, network, prior):
    """V3 of methods.md: of live units behind a ReLU more than a tenth have no gradient at the start; redirected, none."""
    live = np.flatnonzero(np.asarray(demo.statistics("relu_fc1").top_value).max(axis=0) > 0)
    how = P.parameterisation("fourier", prior)

    def silent(mode: object) -> float:
        values = how.start([0] * len(live)).requires_grad_()
        kept: list[torch.Tensor] = []
        module = network.module.eval().requires_grad_(False)
        handle = module.relu_fc1.register_forward_hook(lambda *a: kept.append(a[2]))
        batch = (how.picture(values) - network.preprocess.mean[0]) / network.preprocess.std[0]
        if mode is None:
            module(batch)
        else:
            with mode:  # type: ignore[attr-defined]
                module(batch)
        handle.remove()
        module.requires_grad_(True)
        found = kept[0][torch.arange(len(live)), torch.from_numpy(live)]
        gradient = torch.autograd.grad(-found.sum(), values)[0]
        return float(((gradient == 0).flatten(1).all(dim=1)).float().mean())

    assert silent(None) > 0.1 and silent(RedirectedReLU()) == 0


@pytest.mark.long
def test_an_untrained_networks_inputs_name_at_most_three_classes(demo, other):
    made = demo.preferred("logits", list(range(10)), untrained=True)
    assert (said_of(other, made.images) == made.units).sum() <= 3


@pytest.mark.long
def test_the_power_of_the_cosine_brings_icons_nearer_to_their_directions(demo, network, prior):
    """V4 of methods.md: class means as directions; p = 2 gains 0.03 of cosine over p = 0 and the right class in 9 of 10."""
    mean = np.nan_to_num(demo.patterns("relu_fc1", split="all").mean).astype(np.float32)
    wanted = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    found = {}
    for power in (0.0, 2.0):
        objective = O.direction("relu_fc1", wanted, power=power)
        pictures = climb(network, prior, objective, 10, "fourier")
        with forward(network, ["relu_fc1", O.LOGITS]) as running, torch.no_grad():
            seen = running(pictures)
        cosine = likeness(seen["relu_fc1"].numpy(), mean)[0].mean()
        found[power] = float(cosine), int((seen[O.LOGITS].argmax(1).numpy() == np.arange(10)).sum())
    assert found[2.0][0] > found[0.0][0] + 0.03 and found[2.0][1] >= 9, found


@pytest.mark.long
def test_a_datasets_prior_brings_pictures_nearer_to_real_images(tmp_path):
    """V5 of methods.md, on MNIST: components and MACO are nearer to real images than Fourier and pixels.

    There Fourier is also nearer than pixels, which stood about grey; ours stand about the data's mean level, nearly black.
    """
    out = train("conv4", "mnist", out=tmp_path / "net", cache=FOLDER.parent, epochs=1).folder
    network, data = load_network(f"atlas:{out}"), TrainingData.of(fetch("mnist", FOLDER.parent / "datasets", Progress()))
    rows = np.random.default_rng(0).choice(60_000, 5_000, replace=False)
    pixels = np.asarray(data.x_train)[rows][:, None]
    prior, real = make_prior(pixels), torch.from_numpy(pixels.reshape(5_000, -1).astype(np.float32) / 255)
    far, fine = {}, {}
    for param in P.NAMES:
        made = climb(network, prior, O.logit(list(range(10))), 10, param)
        far[param] = float(torch.cdist(made.flatten(1), real).min(dim=1).values.mean())
        fine[param] = float((made[..., 1:] - made[..., :-1]).square().mean())
    assert max(far["pca"], far["maco"]) < min(far["fourier"], far["pixel"]), far
    assert max(fine["pca"], fine["maco"]) < min(fine["fourier"], fine["pixel"]), fine
