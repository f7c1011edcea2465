"""The network record and the class map. Imports no torch: pages read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from atlas.fields import columns, of_stage


@dataclass(frozen=True)
class ClassMap:
    """Which network output is which dataset label.

    ``outputs[o]`` is the index of the label that output `o` stands for, or -1. ``names[o]`` is the output's own name, for
    display. ``how`` says where the map comes from: ``categories``, ``imagenet``, ``file``, ``order`` or ``none``.
    """

    names: list[str]
    outputs: list[int]
    labels: list[str]
    how: str
    sentence: str  # for the page and the terminal: what was matched, what was not

    @property
    def complete(self) -> bool:
        """Whether each label is some output's, so that right and wrong are defined."""
        return bool(self.labels) and set(range(len(self.labels))) <= set(self.outputs)

    def labels_of(self, predictions: np.ndarray) -> np.ndarray:
        """Return the label index of each predicted output, -1 where it stands for none: int32, shaped as given."""
        table = np.asarray([*self.outputs, -1], np.int32)
        return table[np.asarray(predictions)]  # a prediction of -1 (none) finds the last entry


@of_stage("network")
@columns(layers=("number", "name", "kind", "shape", "parameters", "units"))
@dataclass(frozen=True)
class NetworkRecord:
    """A classifier as an atlas keeps it: enough to load it again and to know that it is the same."""

    spec: str  # torchvision:resnet50@DEFAULT, timm:NAME, module:factory, atlas:conv6, FILE.pt2
    weights: str | None  # the file given with --weights
    identity: str  # SHA-256 over state dict, module tree, foreign source, preprocessing
    title: str
    preprocess: dict[str, Any]  # Preprocess.to_dict()
    categories: list[str] | None  # the outputs' names, from the weights
    outputs: int  # number of logits; 0 for features only
    parameters: int
    layers: pd.DataFrame  # number (from 1, in order of execution), name, kind, shape (text), parameters, units

    @property
    def layer_names(self) -> Sequence[str]:
        """Dotted names in order of execution."""
        return list(self.layers["name"])
