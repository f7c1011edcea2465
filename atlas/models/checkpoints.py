"""Weights from a file of the user's: read without running anything in it, and fitted to a network's names."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atlas.errors import AtlasError, one_line
from atlas.files import is_file

# Where training scripts put the weights among optimiser state and the like; the averaged ones come last: when a file has
# both, those trained are what "the checkpoint" means, and the note says which were taken.
NESTS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "ema", "model_ema", "state_dict_ema")
PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "backbone.")  # DataParallel, Lightning, torch.compile, habit
ADVICE = "save the weights alone, by torch.save(network.state_dict(), FILE) or as safetensors"
State = dict[str, torch.Tensor]
DEEPEST = 8  # nests within nests that are looked into: a file may well hold itself


@dataclass(frozen=True)
class Weights:
    """A state dict with the network's own names, and a note on where in the file it lay."""

    state: State
    note: str


def read_weights(path: str | Path) -> Mapping[str, Any]:
    """Return what a ``.safetensors`` file or a checkpoint of torch.save holds, on the CPU.

    Only tensors and plain values are read; a file that would run code is refused, not run. Raises AtlasError for that,
    for TorchScript and exported programs, and for what cannot be read.
    """
    path = Path(path)
    if not is_file(path):
        raise AtlasError(f"no weights at {path}: --weights takes a .safetensors file or a state dict saved by torch.save")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    kind = archive_kind(path)
    if kind:
        raise AtlasError(f"{path} is {kind}, not weights: {ADVICE}")
    return _read_torch(path)


def _read_safetensors(path: Path) -> State:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as reason:  # SafetensorError, and what torch raises for a type or a size that it does not have
        raise AtlasError(f"{path} cannot be read as safetensors ({one_line(reason, 160)}): {ADVICE}") from None


def _read_torch(path: Path) -> Mapping[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on pickle protocols, which are nothing to the user
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as reason:
        name = re.search(r"GLOBAL (\S+)|[Uu]nsupported (?:class|global) (\S+)", str(reason))
        if not name:
            raise AtlasError(f"{path} is no checkpoint of torch.save: {ADVICE}") from None
        held = one_line((name[1] or name[2]).rstrip(".,"))
        raise AtlasError(
            f"{path} holds Python objects beside tensors ({held}) and is not read: that could run code; {ADVICE}"
        ) from None
    except Exception as reason:  # torch raises anything for a damaged file
        said = one_line(str(reason) or type(reason).__name__, 120)
        raise AtlasError(f"{path} cannot be read as a checkpoint ({said}): {ADVICE}") from None
    if not isinstance(found, Mapping):
        raise AtlasError(f"{path} holds a {type(found).__name__}, not a state dict: {ADVICE}")
    return found


def archive_kind(path: Path) -> str | None:
    """Return what kind of archive that is no checkpoint the file is: TorchScript, an exported program, or None."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] or name for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, struct.error):
        return None
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        return "a TorchScript module"
    exported = {"archive_format", "models/model.json", "serialized_exported_program.json"}
    return "a torch.export program" if names & exported else None


def fit_weights(found: Mapping[str, Any], module: nn.Module, path: str | Path) -> Weights:
    """Return the state dict in `found` whose names and shapes agree best with those of `module`.

    It looks into the nests of training scripts and takes off the prefixes that wrappers add, where that makes names
    match. What then still differs is `check_weights`'s to refuse.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}
    choices = [
        (_agreement(stripped, wanted), -order, where, removed, stripped)
        for order, (where, state) in enumerate(_states(found))
        for removed, stripped in _unprefixed(state)
    ]
    if not choices:
        raise AtlasError(f"{path} holds no tensors where a state dict would be: {ADVICE}")
    _, _, where, removed, state = max(choices, key=lambda choice: (choice[0], choice[1], -len(choice[3])))
    notes = [f"found under {where!r}"] if where else []
    notes += [f"prefix {removed!r} taken off the names"] if removed else []
    return Weights(state, f"weights {Path(path).name}: {', '.join(notes)}" if notes else "")


def _states(found: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, State]]:
    own = {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
    if own:
        yield "", own
    for nest in NESTS:
        inner = found.get(nest)
        if isinstance(inner, Mapping) and depth < DEEPEST:
            yield from ((f"{nest}.{where}" if where else nest, state) for where, state in _states(inner, depth + 1))


def _unprefixed(state: State, removed: str = "") -> Iterator[tuple[str, State]]:
    yield removed, state
    for prefix in PREFIXES:
        if len(removed) < 32 and any(name.startswith(prefix) for name in state):  # wrappers in wrappers, but not for ever
            yield from _unprefixed({name.removeprefix(prefix): value for name, value in state.items()}, removed + prefix)


def _agreement(state: State, wanted: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    """Return how many names agree with their shapes, and how many names agree at all."""
    names = [name for name in state if name in wanted]
    return sum(tuple(state[name].shape) == wanted[name] for name in names), len(names)


def other_class_count(state: State, module: nn.Module) -> int | None:
    """Return the number of classes that `state` was made for when only the last layers' rows differ from `module`'s."""
    own = module.state_dict()
    differing = [
        (state[name].shape, own[name].shape) for name in state if name in own and state[name].shape != own[name].shape
    ]
    counts = {(new[0], old[0]) for new, old in differing if new[1:] == old[1:] and len(new) >= 1 and len(old) >= 1}
    same_rank = all(new[1:] == old[1:] for new, old in differing)
    return next(iter(counts))[0] if len(counts) == 1 and same_rank else None


def put_weights(module: nn.Module, state: State, path: str | Path) -> None:
    """Load `state` into `module`; raise AtlasError when a name is missing, unknown, or of another shape or kind."""
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]  # a counter, unused
    unknown = [name for name in state if name not in own]
    shaped = [
        f"{name} is {_size(state[name])} in the file and {_size(own[name])} in the network"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    typed = [
        f"{name} is {_kind(state[name])} in the file and {_kind(own[name])} in the network"
        for name in own
        if name in state and (state[name].layout != own[name].layout or state[name].is_complex() != own[name].is_complex())
    ]
    faults = _fault("missing", missing) + _fault("not the network's", unknown) + _fault("of another shape", shaped)
    faults += _fault("of another kind", typed)
    if faults:
        raise AtlasError(f"{path} does not fit the network: {'; '.join(faults)}. Give the weights of this very architecture")
    try:
        module.load_state_dict(state, strict=False)
    except Exception as reason:  # quantised tensors and other kinds that cannot be copied; torch says so name by name
        raise AtlasError(f"{path} cannot be put into the network ({one_line(reason, 160)}): {ADVICE}") from None


def _kind(value: torch.Tensor) -> str:
    """Return what a tensor's numbers are and how it holds them: ``float32``, ``sparse_coo float32``."""
    layout = "" if value.layout == torch.strided else f"{value.layout} ".removeprefix("torch.")
    return f"{layout}{value.dtype}".replace("torch.", "")


def _fault(what: str, names: list[str], most: int = 3) -> list[str]:
    if not names:
        return []
    shown = ", ".join(one_line(name, 100) for name in names[:most]) + (" …" if len(names) > most else "")
    return [f"{len(names)} {what} ({shown})"]


def _size(value: torch.Tensor) -> str:
    return "×".join(map(str, value.shape)) or "one number"


def check_finite(module: nn.Module, title: str) -> None:
    """Raise AtlasError naming the first parameter (or NaN buffer) of `module` that is not finite."""
    tensors: Iterable[tuple[str, torch.Tensor]] = module.named_parameters()
    for name, value in tensors:
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            count = int((~torch.isfinite(value)).sum())
            raise AtlasError(f"{title}: {count} of {value.numel()} values of {name} are NaN or infinite; give other weights")
    for name, value in module.named_buffers():  # a mask's minus infinity is meant, a NaN never is
        if value.is_floating_point() and bool(torch.isnan(value).any()):
            raise AtlasError(f"{title}: {name} holds NaN; give other weights")
