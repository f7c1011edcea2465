"""Activation atlas explorer: what an image classifier has learned, and where it goes wrong."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atlas.asking import query
    from atlas.atlas import Atlas
    from atlas.atlas import open_atlas as open
    from atlas.errors import AtlasError
    from atlas.growing import add
    from atlas.models.network import load_network
    from atlas.pipeline import build
    from atlas.verbs import layers, serve, show, train
    from atlas.verbs import list_atlases as list

__all__ = [
    "Atlas",
    "AtlasError",
    "add",
    "build",
    "layers",
    "list",
    "load_network",
    "open",
    "query",
    "serve",
    "show",
    "train",
]
__version__ = "0.1.0"

# Imported when first asked for, so that `import atlas` brings neither torch nor numba nor bokeh.
_PLACES = {
    "Atlas": ("atlas.atlas", "Atlas"),
    "AtlasError": ("atlas.errors", "AtlasError"),
    "add": ("atlas.growing", "add"),
    "build": ("atlas.pipeline", "build"),
    "layers": ("atlas.verbs", "layers"),
    "list": ("atlas.verbs", "list_atlases"),
    "load_network": ("atlas.models.network", "load_network"),
    "open": ("atlas.atlas", "open_atlas"),
    "query": ("atlas.asking", "query"),
    "serve": ("atlas.verbs", "serve"),
    "show": ("atlas.verbs", "show"),
    "train": ("atlas.verbs", "train"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'atlas' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> Any:
    return sorted(__all__)
