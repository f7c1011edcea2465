"""A network cut at a layer, or at some of its units: exported as a program that torch runs without this package."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atlas.activations.functionals import Functional, units_last
from atlas.errors import AtlasError, one_line
from atlas.models.layers import UnitAxes, device_of, evaluating, find_layer, first_tensor, list_layers
from atlas.models.network import Network
from atlas.store import write_synced

MAPS = "maps"  # every place is kept: [image, unit, y, x]
NOTE = "extractor.json"  # the member of the file that says what it is
LIGHT = "values in 0–1, [image, rgb, y, x]"


class Cut(nn.Module):
    """A network up to one layer: images of values in 0–1, [image, rgb, y, x], to vectors [image, unit] or maps."""

    mean: torch.Tensor
    std: torch.Tensor
    units: torch.Tensor | None

    def __init__(self, network: Network, layer: str, axis: int, units: Sequence[int] | None, functional: Functional | None):
        super().__init__()
        self.network, self.layer, self.axis, self.functional = network.module, layer, axis, functional
        shape = (1, network.preprocess.channels, 1, 1)
        self.register_buffer("mean", torch.tensor(network.preprocess.mean, dtype=torch.float32).view(shape))
        self.register_buffer("std", torch.tensor(network.preprocess.std, dtype=torch.float32).view(shape))
        self.register_buffer("units", None if units is None else torch.tensor(list(units), dtype=torch.int64))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: list[torch.Tensor] = []
        kept = self.network.get_submodule(self.layer).register_forward_hook(lambda m, i, o: found.append(_of(o)))
        try:
            self.network((images - self.mean) / self.std)
        finally:
            kept.remove()
        values = units_last(found[0], self.axis)
        values = values.movedim(-1, 1) if self.functional is None else self.functional.over_places(values)
        return values if self.units is None else values.index_select(1, self.units)


def _of(output: Any) -> torch.Tensor:
    tensor = first_tensor(output)
    assert tensor is not None  # the layer's table says that it gives one
    return tensor.clone()  # an in-place module after the layer would change it


def export(
    network: Network,
    layer: str | int,
    out: Path,
    *,
    units: Sequence[int] | None = None,
    functional: str = "mean",
) -> dict[str, Any]:
    """Write the network up to `layer`, a name or number, as a ``torch.export`` program; return what it says of itself.

    It takes images, float32 [image, rgb, y, x] of values in 0–1 and of the network's size, however many, and gives
    [image, unit]: of all units or of `units`, reduced over the places by `functional` (mean, max, centre, class-token, or
    ``maps``: [image, unit, y, x]). What comes after the layer is not in the file. AtlasError for an unknown layer or unit,
    for sampled positions, and for a network that torch cannot export.
    """
    preprocess = network.preprocess
    row = find_layer(list_layers(network.module, network.sample()), layer)
    check_units(units, int(row["units"]), str(row["name"]))
    reduce = None if functional == MAPS else Functional.parse(functional)
    if reduce is not None and reduce.sampled:
        raise AtlasError("an extractor gives one vector for each image: take mean, max, centre or maps, not positions")
    told = {
        "network": network.title, "spec": network.spec, "identity": network.identity, "layer": str(row["name"]),
        "units": None if units is None else list(map(int, units)), "functional": functional, "input": LIGHT,
        "preprocess": preprocess.to_dict(),
    }  # fmt: skip
    sample = torch.rand(2, preprocess.channels, *_size(network))
    with evaluating(network.module):
        cut = Cut(network, str(row["name"]), _axis(network, str(row["name"]), sample), units, reduce).eval()
        if row["units"] and reduce is not None:
            with torch.no_grad():
                told["output"] = list(cut(sample).shape[1:])
        program = _exported(cut, sample, network.title)
    _write(program, out, told)
    return told | {"file": str(out), "bytes": out.stat().st_size}


def check_units(units: Sequence[int] | None, count: int, layer: str) -> None:
    """Refuse units that a layer does not have."""
    wrong = [unit for unit in units or () if not 0 <= unit < count]
    if wrong:
        raise AtlasError(f"{one_line(layer)} has no unit {wrong[0]}: there are {count}, numbered from 0")


def _size(network: Network) -> tuple[int, int]:
    size = network.preprocess.height, network.preprocess.width
    if size[0] is None or size[1] is None:
        raise AtlasError(f"{network.title} takes images of any size, and a program is of one: give --input-size PIXELS")
    return size[0], size[1]


def _axis(network: Network, layer: str, sample: torch.Tensor) -> int:
    """Return the axis of the layer's output that counts its units, as the network's table of layers has it."""
    axes, found = UnitAxes(), []
    part = network.module.get_submodule(layer)
    with axes.watching(network.module), torch.no_grad():
        kept = part.register_forward_hook(lambda m, i, o: found.append(axes.axis(m, _of(o).shape)))
        try:
            network.module(sample.to(device_of(network.module)))
        finally:
            kept.remove()
    return int(found[0])


def _exported(cut: Cut, sample: torch.Tensor, title: str) -> torch.export.ExportedProgram:
    batch = ({0: torch.export.Dim("image", min=1)},)
    try:
        whole = torch.export.export(cut, (sample,), dynamic_shapes=batch, strict=False)
        return torch.export.export(_pruned(whole.module()), (sample,), dynamic_shapes=batch, strict=False)
    except Exception as reason:  # torch raises anything for a network that it cannot trace
        raise AtlasError(
            f"torch cannot export {one_line(title)} ({one_line(reason, 160)}): choose another network"
        ) from None


def _pruned(module: Any) -> Any:
    """Leave out of an exported graph what its output does not need, and the weights that nothing then reads."""
    for node in reversed(list(module.graph.nodes)):
        if node.op not in ("output", "placeholder") and not node.users:
            module.graph.erase_node(node)
    used = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for name in [name for name, _ in (*module.named_parameters(), *module.named_buffers()) if name not in used]:
        parent, _, leaf = name.rpartition(".")
        delattr(module.get_submodule(parent) if parent else module, leaf)
    module.recompile()
    return module


def _write(program: torch.export.ExportedProgram, out: Path, told: Mapping[str, Any]) -> None:
    beside = out.with_name(f".{out.name}.part")
    try:
        write_synced(beside, lambda file: torch.export.save(program, file, extra_files={NOTE: json.dumps(told)}))
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)


def load(path: Path) -> tuple[Any, dict[str, Any]]:
    """Return the program in a file that `export` wrote, as a function of images, and what it says of itself.

    A file that would run code on reading, or is no such program, raises AtlasError.
    """
    from atlas.models.programs import check_archive

    check_archive(path)
    extra = {NOTE: ""}
    try:
        program = torch.export.load(path, extra_files=extra)
        told = json.loads(extra[NOTE])
        return program.module(), {**told, "preprocess": dict(told["preprocess"])}
    except Exception as reason:  # torch raises anything for a damaged archive
        raise AtlasError(f"{path} is no extractor that `atlas extractor` wrote ({one_line(reason, 120)})") from None
