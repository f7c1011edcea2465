"""Exported programs: their modules can be read; an archive that would run code is refused."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from atlas.errors import AtlasError
from atlas.models.identity import identity
from atlas.models.layers import list_layers
from atlas.models.network import load_network
from atlas.models.preprocess import Preprocess
from atlas.models.programs import load_program

torch.set_num_threads(1)


class Block(nn.Module):
    """A residual block with an in-place ReLU."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, stride=stride)
        self.drop = nn.Dropout(0.5)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.drop(self.conv(x)))


def network(stride: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), Block(stride), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()


def export(path: Path, module: nn.Module | None = None, *, batch: bool = True) -> Path:
    shapes = ({0: torch.export.Dim("batch")},) if batch else None
    module = module or network()
    program = torch.export.export(Named(module).train(module.training), (torch.zeros(2, 1, 12, 12),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


class Named(nn.Module):
    """A network whose input has a plain name: torch.export cannot name those of nn.Sequential's `input` dynamic."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("pt2") / "net.pt2")


def test_its_modules_have_their_names_and_run_as_the_network_does(exported: Path) -> None:
    module, shape = load_program(exported)
    assert shape == (2, 1, 12, 12)
    layers = list_layers(module, torch.rand(3, 1, 12, 12))
    assert list(layers["name"][:4]) == ["inner.0", "inner.1.conv", "inner.1.drop", "inner.1.relu"]
    assert list(layers["kind"][:5]) == ["Conv2d", "Conv2d", "Dropout", "ReLU", "Block"]
    batch = torch.rand(5, 1, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(module(batch), network()(batch))


def test_it_is_a_network_like_any_other(exported: Path) -> None:
    found = load_network(str(exported))
    assert (found.outputs, found.title, found.preprocess.height, found.preprocess.channels) == (3, "net", 12, 1)
    assert found.identity == load_network(str(exported)).identity
    assert any("names no preprocessing" in note for note in found.notes)


def test_its_identity_sees_a_stride_that_no_weight_shows(exported: Path, tmp_path: Path) -> None:
    other, _ = load_program(export(tmp_path / "net.pt2", network(stride=2)))
    grey = Preprocess(channels=1, mean=(0.0,), std=(1.0,))
    assert identity(other, grey) != identity(load_program(exported)[0], grey)


def test_a_program_of_a_fixed_batch_says_how_to_export_it(tmp_path: Path) -> None:
    with pytest.raises(AtlasError) as refused:
        load_program(export(tmp_path / "net.pt2", batch=False))
    assert "was exported for batches of exactly 2: export it again, torch.export.export(" in str(refused.value)


def test_a_program_in_training_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="was exported in training mode"):
        load_program(export(tmp_path / "net.pt2", network().train()))


def test_torchscript_is_refused_with_what_to_do_instead(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    torch.jit.trace(network(), torch.zeros(1, 1, 12, 12)).save(str(path))
    with pytest.raises(AtlasError) as refused:
        load_network(str(path))
    assert "is TorchScript, whose modules cannot be read: give module:factory" in str(refused.value)
    renamed = path.rename(tmp_path / "script.pt2")
    with pytest.raises(AtlasError, match="is TorchScript, whose modules cannot be read: export it again"):
        load_network(str(renamed))


@pytest.mark.parametrize(("body", "message"), [(b"no archive", "is no exported program"), (None, "no file")])
def test_what_is_no_program_is_refused(tmp_path: Path, body: bytes | None, message: str) -> None:
    if body is not None:
        (tmp_path / "net.pt2").write_bytes(body)
    with pytest.raises(AtlasError, match=message):
        load_program(tmp_path / "net.pt2")


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def rewritten(
    source: Path, target: Path, change: Callable[[str, bytes], bytes], extra: dict[str, bytes] | None = None
) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        top = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
        for name, body in (extra or {}).items():
            new.writestr(f"{top}/{name}", body)
    return target


def pickled(sprung: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(((Trap(sprung),), {}), buffer)
    return buffer.getvalue()


def test_pickles_in_an_archive_are_never_run(exported: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    path = rewritten(exported, tmp_path / "a.pt2", lambda name, body: pickled(sprung) if name.endswith(".pt") else body)
    with pytest.raises(AtlasError, match="holds more than tensors and is not read, that could run code"):
        load_program(path)
    assert not sprung.exists()


def test_two_members_of_one_name_are_refused(exported: Path, tmp_path: Path) -> None:
    path = rewritten(exported, tmp_path / "a.pt2", lambda name, body: body, {"models/MODEL.json": b"{}"})
    with pytest.raises(AtlasError, match="holds two members of one name and is not read"):
        load_program(path)


@pytest.mark.parametrize("name", ["data/aotinductor/model/lib.so", "data/constants/opaque_obj_0", "model.py"])
def test_members_that_could_run_code_are_refused(exported: Path, tmp_path: Path, name: str) -> None:
    path = rewritten(exported, tmp_path / "a.pt2", lambda name, body: body, {name: b"x"})
    with pytest.raises(AtlasError, match="which is not read as it could run code"):
        load_program(path)


def test_sizes_that_are_python_are_refused(exported: Path, tmp_path: Path) -> None:
    evil = "__import__('os').mkdir('x')"

    def change(name: str, body: bytes) -> bytes:
        return body.replace(b"Symbol('s", evil.encode() + b" + Symbol('s") if "models/" in name else body

    with pytest.raises(AtlasError, match="has the size __import__"):
        load_program(rewritten(exported, tmp_path / "a.pt2", change))


def test_calls_that_are_no_operators_are_refused(exported: Path, tmp_path: Path) -> None:
    def change(name: str, body: bytes) -> bytes:
        return body.replace(b"torch.ops.aten.relu_.default", b"torch.os.system") if "models/" in name else body

    with pytest.raises(AtlasError, match=r"calls torch\.os\.system, which is no operator of torch"):
        load_program(rewritten(exported, tmp_path / "a.pt2", change))


def test_pickled_weights_are_refused(exported: Path, tmp_path: Path) -> None:
    def change(name: str, body: bytes) -> bytes:
        if not name.endswith("weights_config.json"):
            return body
        config = json.loads(body)
        next(iter(config["config"].values()))["use_pickle"] = True
        return json.dumps(config).encode()

    with pytest.raises(AtlasError, match="holds pickled weights"):
        load_program(rewritten(exported, tmp_path / "a.pt2", change))
