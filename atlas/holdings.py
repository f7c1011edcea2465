"""What an atlas holds: the artifacts shown, by stage and by network, and their records."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, TypeVar

import pandas as pd

from atlas.activations.records import Predictions
from atlas.data.records import Images
from atlas.errors import AtlasError, choose
from atlas.models.records import NetworkRecord
from atlas.showing import staying
from atlas.store import Store, inputs_of

R = TypeVar("R")


class Holdings:
    """The artifacts that an atlas shows; of several networks, those of the one that is meant."""

    def __init__(self, path: str | os.PathLike[str], *, network: str | int | None = None):
        self.store = Store(path)
        self.title: str = self.store.contents().get("title") or self.store.root.name
        self.asked_network = None if network is None else self.find_network(network)

    @cached_property
    def headers(self) -> dict[str, dict[str, Any]]:
        """record.json of every artifact shown, by name, in the order they were shown."""
        return {name: self.store.header(name) for name in self.store.shown()}

    def names(self, stage: str, **fields: Any) -> list[str]:
        """Return the names of the artifacts of one stage, of this network's, whose fields have the values given."""
        return [
            name
            for name, header in self.headers.items()
            if header["stage"] == stage
            and all(header["fields"].get(f) == v for f, v in fields.items())
            and self.network_of(name) in (None, self.meant)
        ]

    def show_beside(self, names: Sequence[str]) -> None:
        """Show artifacts that were built just now beside the others of these images, in place of those that they replace."""
        shown = self.store.shown()
        new = [name for name in names if name not in shown]
        if new:
            self.store.show(new, keep=partial(staying, self.store, self.names("images")[-1], new))
            self.__dict__.pop("headers", None)  # what is shown has changed

    def network_of(self, name: str) -> str | None:
        """Return the network that an artifact was made by, itself for a network's; None for images."""
        if name not in self._made_by:
            self._made_by[name] = self._trace(name)
        return self._made_by[name]

    def _trace(self, name: str) -> str | None:
        header = self.headers[name] if name in self.headers else self.store.header(name)
        if header["stage"] == "network":
            return name
        own = inputs_of(header, "network")
        parents = [] if own else [parent for parent in inputs_of(header) if not parent.startswith(("parts/", "images-"))]
        found = [*own, *(self.network_of(parent) for parent in parents if self.store.has(parent))]
        return next((network for network in found if network), None)

    @cached_property
    def _made_by(self) -> dict[str, str | None]:
        return {}

    @cached_property
    def meant(self) -> str | None:
        """The network whose results are meant: the one asked for, else the one added last."""
        shown = [name for name, header in self.headers.items() if header["stage"] == "network"]
        return self.asked_network or (shown[-1] if shown else None)

    def networks(self) -> pd.DataFrame:
        """Return one row per network, in the order they were added: number (from 1), title, spec, layers, accuracy, name."""
        rows = []
        for number, name in enumerate([n for n, h in self.headers.items() if h["stage"] == "network"], 1):
            fields = self.headers[name]["fields"]
            made = [n for n in self.headers if self.network_of(n) == name]
            layers = [self.field(n, "layer") for n in made if self.headers[n]["stage"] == "activations"]
            accuracy = [self.field(n, "accuracy") for n in made if self.headers[n]["stage"] == "predictions"][-1:]
            told = {split: found["accuracy"] for one in accuracy for split, found in one.items()}
            rows.append([number, fields["title"], fields["spec"], ", ".join(dict.fromkeys(layers)), told, name])
        return pd.DataFrame(rows, columns=["number", "title", "spec", "layers", "accuracy", "name"])

    def find_network(self, wanted: str | int) -> str:
        """Return the name of the network of this number, name, title or spec; AtlasError with those there are."""
        table = self.networks()
        for column in ("number", "name", "title", "spec"):
            found = table[table[column].astype(str) == str(wanted)]
            if len(found) == 1:
                return str(found["name"].iloc[0])
        raise choose(
            "network of this atlas",
            str(wanted),
            [f"{n} ({t})" for n, t in zip(table["number"], table["title"], strict=True)],
        )

    def field(self, name: str, field: str) -> Any:
        """Return one plain field of an artifact; AtlasError where its record.json has lost it."""
        try:
            return self.headers[name]["fields"][field]
        except KeyError:
            folder = self.store.path(name)
            raise AtlasError(f"{folder} is damaged (no {field}): remove it and build again") from None

    def inputs(self, name: str, role: str) -> list[str]:
        """Return the names of the artifacts that an artifact was made from in one role."""
        return inputs_of(self.headers[name], role)

    def record(self, kind: type[R], stage: str, **fields: Any) -> R:
        """Return the newest record of one stage with these fields; AtlasError when there is none."""
        names = self.names(stage, **fields)
        if not names:
            of = f" of {fields['layer']}" if "layer" in fields else ""
            raise AtlasError(f"the atlas in {self.store.root} holds no {stage}{of}: build it with `atlas build`")
        return self.store.read(names[-1], kind)

    @cached_property
    def image_record(self) -> Images:
        """The images record."""
        return self.record(Images, "images")

    @cached_property
    def network_record(self) -> NetworkRecord:
        """The record of the network that is meant."""
        return self.record(NetworkRecord, "network")

    @cached_property
    def predictions(self) -> Predictions | None:
        """The predictions, or None for a network that yields features only."""
        return self.record(Predictions, "predictions") if self.names("predictions") else None
