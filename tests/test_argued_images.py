"""Attribution on a really trained network and real images: it says what ablation does, and rises with depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.activations.attribution import Attributor
from atlas.activations.engine import Engine, engine
from atlas.activations.functionals import Functional, positions
from atlas.data.named import ArrayDataset, fetch
from atlas.maps.cells import make_cells
from atlas.maps.pca import principal_axes, project
from atlas.maps.records import Cells
from atlas.models.network import Network, load_network
from atlas.patterns.depth import layer_depth
from atlas.planning import dataset_folder
from tests.test_cells import layout

ROOT = Path(__file__).parents[1]
IDS = [f"{row:016x}" for row in range(800)]


@pytest.fixture(scope="module")
def fashion() -> ArrayDataset:
    """Fashion-MNIST, kept beside the demo's atlas."""
    return fetch("fashion-mnist", dataset_folder(ROOT / "cache" / "demo"))


@pytest.fixture(scope="module")
def conv6() -> Network:
    """The network that is shipped, with its weights."""
    torch.set_num_threads(1)
    return load_network("atlas:conv6", sample_shape=(28, 28))


def ablation(opened: Engine, batch: torch.Tensor, layer: str, places: int) -> np.ndarray:
    """What each logit loses when a layer's activation at one position of each image is set to 0: float32 [point, output].

    With no places, when all of it is.
    """
    before, count = opened.logits(opened.module(batch)), len(batch)
    assert before is not None
    yx, lost = positions(IDS[:count], max(places, 1), 0), []
    for place in range(max(places, 1)):

        def without(output: torch.Tensor, axis: int | None, place: int = place) -> torch.Tensor:
            if not places:
                return torch.zeros_like(output)
            output = output.clone()
            y, x = np.floor(yx[:, place] * np.array(output.shape[2:])).astype(int).T
            output[np.arange(count), :, y, x] = 0
            return output

        with opened.recorder({layer: without}) as recorder:
            lost.append(before - opened.logits(recorder(batch)))
    return np.stack(lost, axis=1).reshape(-1, before.shape[1])


@pytest.mark.parametrize("layer", ["pool2", "relu4", "relu5"])
def test_attribution_correlates_with_what_setting_a_position_to_zero_does(
    fashion: ArrayDataset, conv6: Network, layer: str
) -> None:
    """The bound is that of shared notes on a small network, 0.81 there."""
    with engine(conv6, torch.device("cpu"), "float32") as opened:
        batch = opened.tensor(np.array(fashion.images["test"][:48, None]))
        argued = Attributor(opened, {layer: Functional.parse("positions:3")})(batch, IDS[:48])[layer]
        lost = ablation(opened, batch, layer, 3)
    assert np.corrcoef(argued.ravel(), lost.ravel())[0, 1] > 0.7
    for output in range(10):
        assert np.corrcoef(argued[:, output], lost[:, output])[0, 1] > 0.7


def test_before_the_last_linear_layer_attribution_is_what_ablation_does(fashion: ArrayDataset, conv6: Network) -> None:
    with engine(conv6, torch.device("cpu"), "float32") as opened:
        batch = opened.tensor(np.array(fashion.images["test"][:48, None]))
        argued = Attributor(opened, {"relu_fc1": Functional.parse("mean")})(batch, IDS[:48])["relu_fc1"]
        np.testing.assert_allclose(argued, ablation(opened, batch, "relu_fc1", 0), atol=1e-4)


def cells_of(conv6: Network, fashion: ArrayDataset, layer: str, functional: str) -> Cells:
    """The cells of the first test images on the plane of two principal axes, with what they argue for."""
    reduce, vectors, argued = Functional.parse(functional), [], []
    with engine(conv6, torch.device("cpu"), "float32") as opened:
        attributor = Attributor(opened, {layer: reduce})
        for start in range(0, len(IDS), 100):
            ids = IDS[start : start + 100]
            batch = opened.tensor(np.array(fashion.images["test"][start : start + 100, None]))

            def take(output: torch.Tensor, axis: int | None, ids: list[str] = ids) -> None:
                vectors.append(reduce.reduce(output, 0, ids, axis=axis)[0].numpy())

            with opened.recorder({layer: take}) as recorder:
                recorder(batch)
            argued.append(attributor(batch, ids)[layer])
    rows, codes = np.concatenate(vectors), fashion.codes["test"][: len(IDS)]
    plane = layout(project(rows, principal_axes(rows)), [layer])
    return make_cells(
        plane,
        [rows],
        np.arange(len(rows)),
        codes,
        fashion.labels,
        sizes=[4],
        attribution=np.concatenate(argued),
        attributed=layer,
    )


@pytest.mark.long
def test_cells_are_purer_and_argue_more_strongly_the_deeper_the_layer(fashion: ArrayDataset, conv6: Network) -> None:
    wanted = {"pool2": "positions:1", "pool4": "positions:1", "pool6": "positions:1", "relu_fc1": "mean"}
    table = layer_depth([cells_of(conv6, fashion, layer, functional) for layer, functional in wanted.items()])
    assert table["layer"].tolist() == list(wanted) and (table["cells"] > 5).all()
    assert table["purity"].is_monotonic_increasing and table["attribution"].is_monotonic_increasing
    assert table["purity"].iloc[-1] > 2 * table["purity"].iloc[0]
    assert table["attribution"].iloc[-1] > 20 * table["attribution"].iloc[0]
