"""The files of a training: its resume state, its weights, its history. Each is whole or absent; none is pickled code."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atlas.errors import AtlasError, one_line
from atlas.store import sync_folder, write_synced

COLUMNS = ("epoch", "lr", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "seconds")


def replace(path: Path, write: Callable[[Any], Any]) -> None:
    """Let `write` fill a file beside `path`, sync it, and put it in the place of `path`."""
    aside = path.with_name(path.name + ".new")
    write_synced(aside, write)
    aside.replace(path)
    sync_folder(path.parent)


def write_resume(folder: Path, state: dict[str, Any]) -> None:
    """Write ``resume.pt``: tensors, numbers, strings, and lists and mappings of them."""
    replace(folder / "resume.pt", lambda file: torch.save(state, file))


def read_resume(folder: Path) -> dict[str, Any] | None:
    """Return what ``resume.pt`` holds, on the CPU, or None where there is none; nothing in it is executed."""
    path = folder / "resume.pt"
    if not path.exists():
        return None
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as reason:  # torch raises kinds of its own
        raise AtlasError(f"{path} cannot be read ({one_line(reason, 80)}): remove it to train from the start") from None


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of the state of `module`, on the CPU, each tensor contiguous as safetensors wants it."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}


def rounded(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return `weights` as float16, counters as they are; AtlasError where a value is beyond its range."""
    most = max((float(value.abs().max()) for value in weights.values() if value.is_floating_point()), default=0.0)
    if most > torch.finfo(torch.float16).max:
        raise AtlasError(f"a weight of size {most:.3g} does not fit into half precision: train without it")
    return {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}


def write_weights(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write ``weights.safetensors``."""
    from safetensors.torch import save

    data = save({name: value.contiguous() for name, value in weights.items()})
    replace(folder / "weights.safetensors", lambda file: file.write(data))


def write_history(folder: Path, history: Sequence[dict[str, float]]) -> None:
    """Write ``history.csv``: one row per epoch, the columns COLUMNS."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in history)
    replace(folder / "history.csv", lambda file: file.write(text.getvalue().encode()))


def read_history(folder: Path) -> list[dict[str, float]]:
    """Return the rows of ``history.csv``, one per epoch."""
    path = folder / "history.csv"
    try:
        with path.open(newline="") as file:
            rows = [{name: float(row[name]) for name in COLUMNS} for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError) as reason:
        raise AtlasError(f"{path} is not the history of a training ({one_line(reason, 80)}): train again") from None
    return rows
