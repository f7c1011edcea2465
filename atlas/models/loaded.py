"""A module as its source hands it out, before it is fitted for use."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from atlas.models.preprocess import Preprocess

SEED = 0  # of random weights


@dataclass
class Loaded:
    """A module as its source hands it out, with what the source says of it; None where it does not say."""

    module: nn.Module
    title: str
    preprocess: Preprocess | None = None
    categories: list[str] | None = None
    notes: list[str] = field(default_factory=list)
    rebuild: Callable[[int], nn.Module] | None = None  # the same architecture with another number of classes


@contextlib.contextmanager
def seeded() -> Iterator[None]:
    """Draw random weights from a fixed seed, and leave torch's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        yield
