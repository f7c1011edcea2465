"""Reuse, of the experiment `volume`: networks cut at several layers, each cut probed on a second dataset, and controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.experiments import Setting
from atlas.experiments.networks import Found
from atlas.experiments.volume_features import Asked
from atlas.models.network import Network, load_network
from atlas.pages import figures
from atlas.reusing import cut_of, extractor, labelled, probe, probed, small

if TYPE_CHECKING:
    from atlas.experiments.volume import Sizes

DATASET, DATASET_WORDS = "fashion-mnist", "Fashion-MNIST"
UNITS = 64  # of a set of units
SIZE = 64  # pixels: the images have 28


def probes(
    setting: Setting, networks: Mapping[str, tuple[Found, Sequence[str]]], asked: Asked, sizes: Sizes
) -> list[dict[str, Any]]:
    """Cut each network at each of its layers, write it, and probe it on the second dataset; return the accuracies."""
    found: list[dict[str, Any]] = []
    for title, (network, layers) in networks.items():
        cuts: list[tuple[str, str, list[int]]] = [(layer, layer, []) for layer in layers]
        if network.name == "efficientnet-lite0":  # the one whose units were asked
            cuts += [(f"{UNITS} units of {asked.layer} that stimuli tune most", asked.layer, tuned_most(asked)),
                     (f"{UNITS} units of {asked.layer} by chance", asked.layer, by_chance(asked))]  # fmt: skip
        for words, layer, units in cuts:
            found.append(_cut(setting, network, layer, units, f"{title}: {words}", sizes))
    found += _controls(setting, networks, sizes)
    note = f"{DATASET_WORDS}, {sizes.train} training and {sizes.test} test images; the mean over the places of each unit"
    drawn = figures.probes_figure(found, title="What is a cut network worth on another dataset?", note=note)
    figures.save(drawn, setting.out / "probes.webp")
    return found


def tuned_most(asked: Asked) -> list[int]:
    """Return the units whose greater index, of orientation or hue, is highest."""
    table = asked.trained[asked.layer].table()
    index = table[["orientation_index", "hue_index"]].max(axis=1).fillna(0).to_numpy()
    return sorted(np.argsort(-index, kind="stable")[:UNITS].tolist())


def by_chance(asked: Asked) -> list[int]:
    """Return as many units drawn by chance."""
    count = len(asked.trained[asked.layer].plain)
    return sorted(np.random.default_rng(0).permutation(count)[:UNITS].tolist())


def _cut(
    setting: Setting, network: Found, layer: str, units: list[int], name: str, sizes: Sizes
) -> dict[str, Any]:  # fmt: skip
    folder = setting.cache / "experiments" / "extractors"
    folder.mkdir(parents=True, exist_ok=True)
    words = f"{network.name}-{layer.strip('_').replace('.', '-')}{f'-{units[0]}-{units[-1]}' if units else ''}.pt2"
    weights = network.options.get("weights")
    written = extractor(network.spec, folder / words, layer=layer, units=units, weights=weights,
                        input_size=SIZE)  # fmt: skip
    answer = probe(folder / words, DATASET, train=sizes.train, test=sizes.test, datasets=setting.cache / "datasets",
                   control=False, progress=setting.progress)["probe"]  # fmt: skip
    return {"name": name, "bytes": written["bytes"], **answer}


def _controls(
    setting: Setting, networks: Mapping[str, tuple[Found, Sequence[str]]], sizes: Sizes
) -> list[dict[str, Any]]:  # fmt: skip
    """Probe the images themselves, and the first network with weights drawn at random at its last layer."""
    import torch

    from atlas.preferred.untrained import untrained

    title, (found, layers) = next(iter(networks.items()))
    network: Network = load_network(found.spec, weights=found.options.get("weights"), input_size=SIZE)
    sets = labelled(DATASET, sizes.train, sizes.test, 0, setting.cache / "datasets", setting.progress)
    pixels = np.stack([network.preprocess.array(sets[0].reader.image(int(row))) for row in sets[1][:32]])
    control = untrained(network, network.preprocess.tensor(torch.from_numpy(pixels)), seed=0)
    cases = [("the images alone, 16 × 16 pixels", small),
             (f"{title}, weights at random: {layers[-1]}", cut_of(control, [layers[-1]]))]  # fmt: skip
    return [
        {"name": name, "control": True, **probed(run, network.preprocess, sets, 0, setting.progress, name)}
        for name, run in cases
    ]
