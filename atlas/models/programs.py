"""Networks from torch.export programs (.pt2), checked before they are read: torch's own reader would run what is in them."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atlas.errors import AtlasError, one_line
from atlas.files import is_file, parse_json
from atlas.models.checkpoints import archive_kind

ADVICE = "export it again with torch.export.save(torch.export.export(network.eval(), …), FILE)"
BATCH = 'torch.export.export(network.eval(), (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))'
LONGEST_JSON = 256 << 20  # bytes; ResNet-152's program takes 3 MB, and a few kilobytes of a zip unfold to any number
# The members of an archive that holds a program and nothing else, in torch's layout of today and in that before 2.8.
# Anything beside them (compiled libraries, objects) is refused.
MEMBERS = re.compile(
    r"models/[\w.-]+\.json|data/(weights|constants)/(weight_\d+|tensor_\d+|[\w.-]+_config\.json)|data/sample_inputs/[\w.-]+\.pt"
    r"|serialized_exported_program\.json|serialized_(state_dict|constants|example_inputs)\.pt"
    r"|archive_format|archive_version|byteorder|version|\.data/\w+|\.format_version|\.storage_alignment|extra/[\w./-]*"
)
# Sizes are text that sympy would evaluate as Python: only these names, and symbols such as s77, may stand in them.
SIZE_WORDS = set(
    re.findall(
        r"\w+",
        "Symbol positive nonnegative nonzero integer real True False Max Min Mod PythonMod FloorDiv CleanDiv CeilDiv Eq Ne "
        "Lt Le Gt Ge And Or Not Add Mul Pow Integer Rational Float ceiling floor Where ModularIndexing",
    )
)
SYMBOL = re.compile(r"[a-z]{1,2}\d+")
OPERATORS = re.compile(
    r"torch\.ops\.(?!load_library)[a-z]\w*\.[a-z]\w*(\.\w+)?|torch\.sym_\w+|_operator\.[a-z]+|math\.[a-z]+"
)


def load_program(path: Path) -> tuple[nn.Module, tuple[int, ...]]:
    """Return the program in `path` as modules that hooks can read, and the shape of the example it was exported with.

    Raises AtlasError for TorchScript, for an archive that would run code on reading, for a program of a fixed batch, of
    several inputs, or exported in training mode; each says what to do.
    """
    check_archive(path)
    try:
        program = torch.export.load(path)
        shape = _image_shape(program, path)
        _check_evaluating(program, path)
        return torch.export.unflatten(program), shape
    except AtlasError:
        raise
    except Exception as reason:  # torch raises anything for a damaged archive
        raise AtlasError(f"{path} cannot be read as an exported program ({one_line(reason, 160)}): {ADVICE}") from None


def check_archive(path: Path) -> None:
    if not is_file(path):
        raise AtlasError(f"no file {path}: give a .pt2 made by torch.export.save")
    if archive_kind(path) == "a TorchScript module":
        raise AtlasError(
            f"{path} is TorchScript, whose modules cannot be read: {ADVICE}, or give module:factory with --weights"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            if len({member.casefold() for member in members}) != len(members):  # which of the two would be read?
                raise AtlasError(f"{path} holds two members of one name and is not read: {ADVICE}")
            for member in members:
                _check_member(archive, member, path)
    except AtlasError:
        raise
    except Exception as reason:  # no archive, or one that is torn, locked or packed in a way of its own
        raise AtlasError(f"{path} is no exported program ({one_line(reason, 120)}): {ADVICE}") from None


def _check_member(archive: zipfile.ZipFile, member: str, path: Path) -> None:
    name = member.partition("/")[2] or member
    if not MEMBERS.fullmatch(name):
        raise AtlasError(f"{path} holds {one_line(name)}, which is not read as it could run code: {ADVICE} with this torch")
    if name.endswith(".pt"):
        _check_pickle(archive.read(member), name, path)
    if name.endswith(".json") and archive.getinfo(member).file_size > LONGEST_JSON:
        raise AtlasError(
            f"{path}: its {one_line(name)} unfolds to more than {LONGEST_JSON >> 20} MB and is not read: {ADVICE}"
        )
    if name.endswith(".json"):
        _check_json(parse_json(archive.read(member)), path)


def _check_pickle(body: bytes, name: str, path: Path) -> None:
    try:
        torch.load(io.BytesIO(body), weights_only=True, map_location="cpu")
    except Exception:  # the reader would now try again and run what is in it
        raise AtlasError(
            f"{path}: its {one_line(name)} holds more than tensors and is not read, that could run code"
        ) from None


def _check_json(value: Any, path: Path) -> None:
    if isinstance(value, list):
        for item in value:
            _check_json(item, path)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_entry(key, item, path)
            _check_json(item, path)


def _check_entry(key: str, item: Any, path: Path) -> None:
    if key == "expr_str" and not _is_size(str(item)):
        raise AtlasError(f"{path} has the size {one_line(item, 80)}, which is not read as it could run code: {ADVICE}")
    if key == "target" and _calls_torch(item) and ("__" in item or not OPERATORS.fullmatch(item)):
        raise AtlasError(f"{path} calls {one_line(item, 80)}, which is no operator of torch: {ADVICE}")
    if key == "use_pickle" and item:
        raise AtlasError(f"{path} holds pickled weights, which are not read as they could run code: {ADVICE}")


def _calls_torch(item: Any) -> bool:
    return isinstance(item, str) and item.startswith(("torch", "_operator", "math", "#"))


def _is_size(text: str) -> bool:
    words = re.findall(r"[A-Za-z_]\w*", text)
    return bool(re.fullmatch(r"[\w\s+\-*/%(),=<>'.]*", text)) and all(
        word in SIZE_WORDS or SYMBOL.fullmatch(word) for word in words
    )


def _image_shape(program: torch.export.ExportedProgram, path: Path) -> tuple[int, ...]:
    inputs = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    if len(inputs) != 1 or len(inputs[0].meta["val"].shape) != 4:
        raise AtlasError(
            f"{path} takes {len(inputs)} inputs, or none of the kind [image, rgb, y, x]: export one that takes images"
        )
    shape = inputs[0].meta["val"].shape
    if isinstance(shape[0], int):
        raise AtlasError(f"{path} was exported for batches of exactly {shape[0]}: export it again, {BATCH}")
    example = (program.example_inputs or ((),))[0]
    known = example[0].shape if example and isinstance(example[0], torch.Tensor) else shape
    return tuple(int(size) if isinstance(size, int) else 0 for size in known)


def _check_evaluating(program: torch.export.ExportedProgram, path: Path) -> None:
    training = {"aten.dropout.default": 2, "aten.batch_norm.default": 5}  # operator → the place of its argument `train`
    for node in program.graph.nodes:
        place = training.get(str(node.target))
        if place is not None and len(node.args) > place and node.args[place] is True:
            raise AtlasError(f"{path} was exported in training mode ({node.target}): call network.eval() and {ADVICE}")
