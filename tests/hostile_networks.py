"""Hostile networks, one function each for ``tests.hostile_networks:NAME``, and hostile checkpoints of the tiny one."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from tests import tiny


class Middle(nn.Module):
    """A network whose layer ``odd`` gives what `function` makes of the pooled units, and does not decide the logits."""

    def __init__(self, function: Callable[[torch.Tensor], Any]):
        super().__init__()
        self.conv, self.odd, self.logits = nn.Conv2d(3, 6, 3, padding=1), Odd(function), nn.Linear(6, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        units = self.conv(images).mean((2, 3))
        self.odd(units)
        return self.logits(units)


class Odd(nn.Module):
    """A layer that gives whatever it is told to."""

    def __init__(self, function: Callable[[torch.Tensor], Any]):
        super().__init__()
        self.function = function

    def forward(self, units: torch.Tensor) -> Any:
        return self.function(units)


class Moody(nn.Module):
    """Gives other numbers of units with every call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, units: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return units.repeat(1, 1 + self.calls)


def made(function: Callable[[torch.Tensor], Any]) -> tuple[nn.Module, dict]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Middle(function), dict(tiny.SETTINGS)


def _some_bad(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """The value in one unit of every image."""
    return lambda units: units.index_fill(1, torch.tensor([1]), value)


def nothing() -> Any:
    return made(lambda units: None)


def integers() -> Any:
    return made(lambda units: units.argmax(1))


def nan() -> Any:
    return made(_some_bad(float("nan")))


def infinity() -> Any:
    return made(_some_bad(float("inf")))


def complex_numbers() -> Any:
    return made(lambda units: torch.complex(units, units))


def tuples() -> Any:
    return made(lambda units: (None, "word", (units, units)))


def empty_tuple() -> Any:
    return made(lambda units: ())


def empty() -> Any:
    return made(lambda units: units[:, :0])


def no_images() -> Any:
    return made(lambda units: units[:0])


def one_number() -> Any:
    return made(lambda units: units.mean())


def text() -> Any:
    return made(lambda units: "a word")


def sparse() -> Any:
    return made(lambda units: units.to_sparse())


def booleans() -> Any:
    return made(lambda units: units > 0)


def half() -> Any:
    return made(lambda units: units.half())


def constant() -> Any:
    return made(torch.ones_like)


def zeros() -> Any:
    return made(torch.zeros_like)


def moody() -> Any:
    module, settings = made(lambda units: None)
    module.odd = Moody()
    return module, settings


def growing_logits() -> Any:
    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), Moody())
    return module, dict(tiny.SETTINGS, categories=None)


def nan_logits() -> Any:
    module, settings = tiny.network()
    return nn.Sequential(module, Odd(lambda logits: logits * float("nan"))), settings


def raising() -> Any:
    def fail(units: torch.Tensor) -> None:
        raise KeyError("no such\nthing")

    return made(fail)


def leaving() -> Any:
    raise SystemExit(0)


def nothing_at_all() -> Any:
    return nn.Sequential(nn.Identity()), dict(tiny.SETTINGS, categories=None)


# -- checkpoints -------------------------------------------------------------------------------------------------------


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def state() -> dict[str, torch.Tensor]:
    return tiny.network()[0].state_dict()


def checkpoints(folder: Path) -> Path:
    """Write checkpoints of the tiny network that must all be refused; code in them would make ``folder/sprung``."""
    folder.mkdir(parents=True)
    trap = Trap(folder / "sprung")
    torch.save({**state(), "trap": trap}, folder / "code.pth")
    torch.save({"state_dict": {**state(), "deep": {"er": [trap]}}}, folder / "code-within.pth")
    torch.save({**state(), "trap": trap}, folder / "code-old-format.pth", _use_new_zipfile_serialization=False)
    (folder / "code.pkl").write_bytes(pickle.dumps(trap))
    (folder / "code.safetensors").write_bytes(pickle.dumps(trap))
    torch.save({name: value[:1] for name, value in state().items()}, folder / "wrong-shapes.pth")
    torch.save({n: v for n, v in state().items() if not n.startswith("fc1")}, folder / "missing-keys.pth")
    torch.save({n: v * float("nan") for n, v in state().items()}, folder / "nan.pth")
    torch.save({n: torch.complex(v, v) for n, v in state().items()}, folder / "complex.pth")
    torch.save({n: v.to_sparse() for n, v in state().items()}, folder / "sparse.pth")
    torch.save({n: str(v) for n, v in state().items()}, folder / "words.pth")
    torch.save(_round_in_a_circle(), folder / "circle.pth")
    torch.save(torch.zeros(3), folder / "one-tensor.pth")
    (folder / "empty.pth").write_bytes(b"")
    save_file(state(), folder / "whole.safetensors")
    whole = (folder / "whole.safetensors").read_bytes()
    (folder / "whole.safetensors").unlink()
    (folder / "cut.safetensors").write_bytes(whole[:-100])
    (folder / "huge-header.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + whole[8:])
    (folder / "long-header.safetensors").write_bytes(struct.pack("<Q", 99 << 20) + whole[8:])
    (folder / "no-header.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    (folder / "wide.safetensors").write_bytes(
        _safetensors({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}})
    )
    torch.save(state(), folder / "whole.pth")
    whole = (folder / "whole.pth").read_bytes()
    (folder / "whole.pth").unlink()
    (folder / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (folder / "torn.pth").write_bytes(whole[:200] + b"\xff" * 400 + whole[600:])
    return folder


def _round_in_a_circle() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["model"] = found
    return found


def _safetensors(header: dict[str, Any]) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"\0" * 4
