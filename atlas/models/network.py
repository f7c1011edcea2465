"""A network ready for use: its module, preprocessing and outputs, opened from a spec, a file of weights or Python."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atlas.errors import AtlasError, one_line
from atlas.models.checkpoints import check_finite, fit_weights, other_class_count, put_weights, read_weights
from atlas.models.defaults import guesses, sample_of
from atlas.models.identity import identity, unread_sources
from atlas.models.layers import device_of, evaluating, fields_of, kind_of, list_layers
from atlas.models.loaded import Loaded
from atlas.models.preprocess import Preprocess
from atlas.models.records import NetworkRecord
from atlas.models.specs import open_spec, with_classes


@dataclass
class Network:
    """A classifier with the preprocessing that belongs to its weights.

    ``outputs`` is the number of logits: 1 for a single logit (two classes by its sigmoid), 0 for features only. ``notes``
    are sentences for the terminal: what was guessed, what was found where.
    """

    module: nn.Module
    spec: str
    weights: str | None
    preprocess: Preprocess
    categories: list[str] | None
    title: str
    outputs: int
    identity: str
    notes: list[str] = field(default_factory=list)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def sample(self, images: int = 2) -> torch.Tensor:
        """Return a mid-grey batch as the network takes it: float32 [image, rgb, y, x], on the network's device."""
        return sample_of(self.preprocess, images=images).to(device_of(self.module))


def load_network(
    spec: str | nn.Module,
    *,
    weights: str | os.PathLike[str] | None = None,
    preprocess: Preprocess | None = None,
    input_size: int | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    categories: Sequence[str] | None = None,
    sample_shape: tuple[int, ...] | None = None,
    device: str | torch.device = "cpu",
) -> Network:
    """Return the network that `spec` names, checked by a forward pass.

    `weights` is a file for its weights; `preprocess`, or `input_size` (pixels), `mean` and `std` (of values in 0–1),
    replace what the weights say; where nobody says, the first layer is read and `sample_shape` (the images' common height
    and width) is the size. `categories` names the outputs; an empty list says that the outputs are features, no logits.
    A module passed from Python stays on its device and keeps its modes. Raises AtlasError for what cannot be opened.
    """
    loaded = _open(spec, weights)
    module = _hookable(loaded.module) if isinstance(spec, nn.Module) else _hookable(loaded.module).to(device).eval()
    check_finite(module, loaded.title)
    wanted = preprocess or loaded.preprocess
    choices: Iterable[tuple[Preprocess, str]] = (
        [(wanted, "")] if wanted else guesses(module, input_size=input_size, sample_shape=sample_shape)
    )
    fitted = ((_overridden(choice, input_size, mean, std), note) for choice, note in choices)
    chosen, note, outputs = _first_that_runs(module, fitted, loaded.title, sample_shape)
    names = list(categories) if categories is not None else loaded.categories
    outputs = 0 if names == [] or getattr(module, "num_classes", None) == 0 else outputs  # 0 classes is timm's word for it
    notes = [*loaded.notes, *([note] if note else []), *_source_notes(module)]
    return Network(
        module=module,
        spec=spec if isinstance(spec, str) else f"python:{type(spec).__name__}",
        weights=None if weights is None else str(weights),
        preprocess=chosen,
        categories=_checked(names, outputs, loaded.title),
        title=loaded.title,
        outputs=outputs,
        identity=identity(module, chosen),
        notes=notes,
    )


def _open(spec: str | nn.Module, weights: str | os.PathLike[str] | None) -> Loaded:
    if isinstance(spec, torch.jit.ScriptModule):
        raise AtlasError("a TorchScript module cannot be read layer by layer: pass the nn.Module that it was made from")
    if isinstance(spec, nn.Module):
        loaded = Loaded(spec, kind_of(spec))
    elif isinstance(spec, str) and spec:
        found = read_weights(Path(weights)) if weights is not None else None  # before anything is built or downloaded
        loaded = open_spec(spec, pretrained=found is None)
        return loaded if found is None else _with_weights(loaded, found, str(weights))
    else:
        raise AtlasError(f"a network is a spec such as torchvision:resnet50 or an nn.Module, not {one_line(repr(spec), 60)}")
    if weights is not None:
        raise AtlasError("weights given with a module passed from Python: load them into it, or give a spec")
    return loaded


def _with_weights(loaded: Loaded, found: Any, path: str) -> Loaded:
    fitted = fit_weights(found, loaded.module, path)
    classes = other_class_count(fitted.state, loaded.module) if loaded.rebuild else None
    if classes:
        loaded = with_classes(loaded, classes)
    put_weights(loaded.module, fitted.state, path)
    kept = [note for note in loaded.notes if not note.startswith("random weights")]
    title = f"{loaded.title.partition(' (')[0].partition(',')[0]} ({Path(path).name})"
    return dataclasses.replace(loaded, title=title, notes=[*kept, *([fitted.note] if fitted.note else [])])


def _hookable(module: nn.Module) -> nn.Module:
    """Return the module whose parts hooks can read: out of torch.compile's and DataParallel's wrappers, never bare."""
    compiled = getattr(module, "_orig_mod", None)
    if isinstance(compiled, nn.Module):
        return _hookable(compiled)
    if isinstance(module, nn.DataParallel):
        return _hookable(module.module)
    if any(torch.nn.parameter.is_lazy(value) for value in (*module.parameters(), *module.buffers())):
        raise AtlasError(f"{type(module).__name__} has lazy layers that have no size yet: run it once on an image before")
    types = {value.dtype for value in module.parameters() if value.is_floating_point()} - {torch.float32}
    if types:
        raise AtlasError(
            f"{type(module).__name__} has {str(types.pop()).removeprefix('torch.')} weights: pass module.float()"
        )
    return module if any(True for _ in module.children()) else nn.Sequential(module)


def _overridden(preprocess: Preprocess, input_size: int | None, mean: Any, std: Any) -> Preprocess:
    if input_size is not None:
        preprocess = preprocess.at_size(input_size)
    given = {name: value for name, value in (("mean", mean), ("std", std)) if value is not None}
    return dataclasses.replace(preprocess, **given) if given else preprocess


def _first_that_runs(
    module: nn.Module, choices: Iterable[tuple[Preprocess, str]], title: str, sample_shape: tuple[int, ...] | None
) -> tuple[Preprocess, str, int]:
    """Return the first preprocessing whose input the network takes, its note, and the number of logits that come out."""
    failures: list[AtlasError] = []
    for preprocess, note in choices:
        try:
            return preprocess, note, _outputs(module, preprocess, title, sample_shape)
        except AtlasError as failure:
            failures.append(failure)
    raise failures[0]


def _outputs(module: nn.Module, preprocess: Preprocess, title: str, sample_shape: tuple[int, ...] | None) -> int:
    sample = sample_of(preprocess, sample_shape=sample_shape).to(device_of(module))
    size = "×".join(map(str, sample.shape[1:]))
    try:
        with evaluating(module), torch.no_grad():
            logits = logits_of(module(sample))
    except Exception as reason:  # the user's code, which may raise anything
        what = f"{type(reason).__name__}: {one_line(reason, 160)}"
        raise AtlasError(
            f"{title} does not take an input of {size} ({what}): give its own with --input-size PIXELS"
        ) from None
    if logits is None:
        return 0
    if len(logits) != len(sample):
        raise AtlasError(
            f"{title} gives {len(logits)} rows for {len(sample)} images of {size}: it must give one row per image"
        )
    return int(logits.shape[1])


def _checked(names: list[str] | None, outputs: int, title: str) -> list[str] | None:
    if not names:
        return None
    if len(names) != (2 if outputs == 1 else outputs):
        raise AtlasError(f"{title} has {outputs} outputs and {len(names)} names for them: give one name for each output")
    return [str(name) for name in names]


def _source_notes(module: nn.Module) -> list[str]:
    names = unread_sources(module)
    return [f"the source of {', '.join(names[:3])} cannot be read: a change in it will not be noticed"] if names else []


def logits_of(output: Any) -> torch.Tensor | None:
    """Return the logits in what a network returned: float [image, output], or None where it gives features only.

    A tensor [image, output] is the logits; [image] is a single logit; [image, output, 1, 1] is flattened. A mapping, named
    tuple or dataclass gives its ``logits`` or ``out``; any other tuple or list its first item. A spatial or token output,
    or one without either name, is features.
    """
    if isinstance(output, torch.Tensor):
        return _as_logits(output)
    named = fields_of(output)
    if named:
        value = next((named[key] for key in ("logits", "out") if named.get(key) is not None), None)
        return logits_of(value) if value is not None else None
    return logits_of(output[0]) if isinstance(output, tuple | list) and output else None


def _as_logits(output: torch.Tensor) -> torch.Tensor | None:
    if not output.is_floating_point() or output.ndim == 0:
        return None
    if output.ndim == 1:
        return output[:, None]
    flat = output.ndim == 2 or all(size == 1 for size in output.shape[2:])
    return output.reshape(output.shape[0], output.shape[1]) if flat and output.shape[1] > 0 else None


def network_record(network: Network, sample: torch.Tensor) -> NetworkRecord:
    """Return the record of `network`, its layers listed by one forward pass of `sample` [image, rgb, y, x]."""
    return NetworkRecord(
        spec=network.spec,
        weights=network.weights,
        identity=network.identity,
        title=network.title,
        preprocess=network.preprocess.to_dict(),
        categories=network.categories,
        outputs=network.outputs,
        parameters=network.parameters,
        layers=list_layers(network.module, sample),
    )


def reload(record: NetworkRecord, device: str | torch.device = "cpu") -> Network:
    """Return the network that `record` keeps; AtlasError when it cannot be opened again or is no longer the same."""
    if record.spec.startswith("python:"):
        remedy = "pass the module again, or build the atlas with module:factory"
        raise AtlasError(f"{record.spec} was passed from Python and cannot be opened by itself: {remedy}")
    names = record.categories if record.categories or record.outputs else []
    preprocess = Preprocess.from_dict(record.preprocess)
    network = load_network(record.spec, weights=record.weights, preprocess=preprocess, categories=names, device=device)
    if network.identity != record.identity:
        given = f" with {record.weights}" if record.weights else ""
        raise AtlasError(
            f"{record.spec}{given} is not the network that this atlas was built with (its weights, modules or source have "
            "changed): build the atlas again, or bring the old ones back"
        )
    return network
