"""A tiny atlas for the tests of one image inside a network: they are unittest's, which has no fixtures to share."""

from __future__ import annotations

import atexit
import functools
import tempfile
from pathlib import Path

import atlas
from tests import tiny


@functools.cache
def folder() -> Path:
    """A folder that goes when the tests end."""
    made = tempfile.TemporaryDirectory()
    atexit.register(made.cleanup)
    return Path(made.name)


@functools.cache
def world() -> Path:
    """A folder with ``images/`` and ``weights.safetensors`` of the tiny network."""
    tiny.write_images(folder() / "images")
    tiny.train(folder() / "weights.safetensors")
    return folder()


@functools.cache
def tiny_atlas(name: str = "tiny", *layers: str, precision: str = "float32") -> atlas.Atlas:
    """An atlas of the tiny world by the real pipeline, its map the quickest."""
    return atlas.build(
        tiny.MODEL,
        str(world() / "images"),
        cache=folder() / name,
        layers=list(layers) or ["pool", "act", "logits"],
        layouts=["pca"],
        network={"weights": world() / "weights.safetensors"},
        run={"precision": precision},
    )
