"""A network that sees the tiny world as the tiny network does, and misbehaves at a few images of one colour."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
from torch import nn

from tests import tiny

ENDS, RAISES, WAITS, EXITS = 255, 200, 150, 100  # grey values: what it does at an image that is nothing but this
GATE = "ATLAS_TEST_GATE"  # names the file that lets a waiting network go on


class Odd(tiny.Tiny):
    """Ends its process, raises, waits or calls exit at an image of one of the greys above."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        grey = round(255 * (float(images[0].mean()) + 0.2)) if float(images[0].std()) < 1e-6 else None
        if grey == ENDS:
            os._exit(7)
        if grey == RAISES:
            raise ZeroDivisionError("a layer divides by nothing")
        if grey == EXITS:
            raise SystemExit(3)
        while grey == WAITS and not Path(os.environ[GATE]).exists():
            time.sleep(0.02)
        return super().forward(images)


def network() -> tuple[nn.Module, dict]:
    """Return the network and its preprocessing, for ``tests.odd:network``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Odd(), dict(tiny.SETTINGS)
