"""From a spec to a module: torchvision, timm, a function of the user's, an exported program, our reference networks."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atlas.errors import AtlasError, choose, one_line
from atlas.files import is_file
from atlas.models.hubs import timm_network, torchvision_network
from atlas.models.loaded import Loaded, seeded
from atlas.models.preprocess import Preprocess

FORMS = "torchvision:NAME[@WEIGHTS], timm:NAME, module:factory, FILE.pt2 or atlas:NAME[@DATASET]"
NOT_NETWORKS = (".pt", ".pth", ".ts", ".torchscript", ".ckpt", ".safetensors", ".bin", ".onnx", ".h5", ".keras", ".tflite")


def open_spec(spec: str, *, pretrained: bool) -> Loaded:
    """Return the network that `spec` names; without `pretrained` nothing is downloaded and its weights are random."""
    kind, _, rest = spec.partition(":")
    openers = {"torchvision": torchvision_network, "timm": timm_network, "atlas": _ours}
    if kind in openers and rest:
        return openers[kind](rest, pretrained)
    if spec.endswith(".pt2"):
        return _program(spec)
    if kind == "python":
        raise AtlasError(
            f"{one_line(spec)} was passed from Python, not opened by name: pass it again, or give module:factory"
        )
    if spec.lower().endswith(NOT_NETWORKS):
        raise _not_a_network(spec)
    if rest and kind.endswith(".py"):
        raise AtlasError(f"{one_line(spec)}: write {Path(kind).stem}:{rest} and run in the folder of {Path(kind).name}")
    if rest and kind:
        return _factory(kind, rest)
    raise _unknown(spec)


def _not_a_network(spec: str) -> AtlasError:
    path = Path(spec)
    from atlas.models.checkpoints import archive_kind

    if is_file(path) and archive_kind(path) == "a TorchScript module":
        return AtlasError(
            f"{spec} is TorchScript, whose modules cannot be read: give module:factory with its weights as --weights FILE, "
            "or export it with torch.export.save to a .pt2"
        )
    return AtlasError(
        f"{one_line(spec)} is weights without a network: say which, as in module:factory --weights {one_line(spec)}"
    )


def _unknown(spec: str) -> AtlasError:
    import torchvision

    near = f" (did you mean torchvision:{spec}?)" if spec in torchvision.models.list_models() else ""
    return AtlasError(f"no network {one_line(repr(spec))}{near}: give {FORMS}")


# ---------------------------------------------------------------------------------------------------------------------
# A function of the user's


def _factory(module_name: str, attribute: str) -> Loaded:
    spec = f"{module_name}:{attribute}"
    made = _made(module_name, attribute, spec)
    options: dict[str, Any] = {}
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], Mapping):
        made, options = made[0], dict(made[1])
    if isinstance(made, torch.jit.ScriptModule):
        raise AtlasError(f"{spec} returned TorchScript, whose modules cannot be read: return the nn.Module it was made from")
    if not isinstance(made, nn.Module):
        raise AtlasError(
            f"{spec} returned a {type(made).__name__}: return an nn.Module, or (module, dict of its preprocessing)"
        )
    categories = options.pop("categories", None)
    preprocess = _preprocess(options, spec) if options else None
    title = attribute if type(made) is nn.Sequential else type(made).__name__
    return Loaded(made, title, preprocess, None if categories is None else list(categories))


def _made(module_name: str, attribute: str, spec: str) -> Any:
    with _folder_on_path():
        found = _attribute(_import(module_name), module_name, attribute)
        if isinstance(found, nn.Module):
            return found
        if not callable(found):
            raise AtlasError(f"{spec} is a {type(found).__name__}: name a function that returns an nn.Module")
        return _call(found, spec)


@contextlib.contextmanager
def _folder_on_path() -> Iterator[None]:
    """Let modules of the current folder be imported, as `python` itself does and an installed command does not."""
    before = list(sys.path)
    sys.path.insert(0, str(Path.cwd()))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _preprocess(options: Mapping[str, Any], spec: str) -> Preprocess:
    try:
        return Preprocess.from_dict(options)
    except AtlasError as reason:
        raise AtlasError(f"{spec} returned a preprocessing that cannot be: {reason}") from None


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as reason:
        if reason.name and (name == reason.name or name.startswith(reason.name + ".")):
            where = f"looked in {Path.cwd()} and among the installed packages; run where it lies, or set PYTHONPATH"
            raise AtlasError(f"no module {one_line(name)}: {where}; give {FORMS}") from None
        raise AtlasError(f"{one_line(name)} needs the module {one_line(reason.name)}, which is not installed") from None
    except (Exception, SystemExit) as reason:
        said = f"{type(reason).__name__}: {one_line(reason, 160)}"
        raise AtlasError(f"importing {one_line(name)} failed ({said}): mend it, or name another module") from None


def _attribute(found: Any, module_name: str, attribute: str) -> Any:
    for name in attribute.split("."):
        if not hasattr(found, name):
            public = [other for other in dir(found) if not other.startswith("_")]
            raise choose(f"name in {module_name}:", name, public)
        found = getattr(found, name)
    return found


def _call(factory: Callable[[], Any], spec: str) -> Any:
    try:
        with seeded():
            return factory()
    except AtlasError:
        raise
    except (Exception, SystemExit) as reason:
        said = f"{type(reason).__name__}: {one_line(reason, 160)}"
        raise AtlasError(f"{spec}() failed ({said}): mend it, or name another function") from None


# ---------------------------------------------------------------------------------------------------------------------
# Programs, and our own


def _program(spec: str) -> Loaded:
    from atlas.models.programs import load_program

    module, shape = load_program(Path(spec))
    channels, height, width = shape[1:]
    if channels not in (1, 3):
        raise AtlasError(f"{spec} takes images of {channels} channels: images have 1 (grey) or 3 (colour)")
    preprocess = Preprocess(height=height or None, width=width or None, channels=channels, mean=(0.0,), std=(1.0,))
    note = "an exported program names no preprocessing: the size is its example's, values in 0–1, not normalised"
    return Loaded(module, Path(spec).stem, preprocess, None, [note])


def _ours(rest: str, pretrained: bool) -> Loaded:
    from atlas.models.reference import REFERENCE, load_reference

    name, _, dataset = rest.partition("@")
    with seeded():
        module, fields, categories, weights = load_reference(name, (dataset or None) if pretrained else "none")
    title = name if weights is None else f"{name} ({dataset})" if dataset else _title(name, weights)
    loaded = Loaded(module, title, Preprocess.from_dict(fields), categories)
    if weights is None:
        loaded.notes.append("random weights")
        loaded.rebuild = lambda classes: REFERENCE[name](classes=classes)
    return loaded


def _title(name: str, weights: Path) -> str:
    """Return what a network that was trained here is called: not its folder, but what it is and was trained on."""
    from atlas.models.reference import REFERENCE, read_recipe

    recipe = read_recipe(weights.parent)
    return name if name in REFERENCE else f"{recipe['network']} ({recipe.get('dataset', Path(name).name)})"


def with_classes(loaded: Loaded, classes: int) -> Loaded:
    """Return the same architecture with `classes` outputs, whose names nobody knows yet."""
    assert loaded.rebuild is not None
    note = f"made with {classes} classes, as the weights have"
    return dataclasses.replace(loaded, module=loaded.rebuild(classes), categories=None, notes=[*loaded.notes, note])
