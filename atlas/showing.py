"""Which results an atlas goes on showing when others are added: those of its images that nothing replaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atlas.store import Store, digest, inputs_of


def staying(store: Store, images: str, new: Sequence[str], before: Sequence[str]) -> list[str]:
    """Return which artifacts shown before stay: of the same images, not replaced by one of `new`, nor made from such.

    A network stays while something made by it is shown.
    """
    headers = {name: store.header(name) for name in {*before, *new}}
    about = {name: _subject(store, header) for name, header in headers.items()}
    replaced = {about[name] for name in new}
    stay = [n for n in before if images in {n, *_ancestors(store, n)} and about[n] not in replaced]
    gone = {name for name in before if name not in stay}
    stay = [name for name in stay if gone.isdisjoint(inputs_of(headers[name], "activations"))]
    networks = {network for name in [*stay, *new] for network in inputs_of(headers[name], "network")}
    return [name for name in before if name in stay or name in networks]


def _subject(store: Store, header: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what an artifact is about: of two with one subject the later replaces the earlier."""
    if header["stage"] in ("predictions", "statistics", "activations"):
        networks = [store.header(name)["fields"].get("identity") for name in inputs_of(header, "network")]
        return header["stage"], *networks, header["fields"].get("layer"), header["fields"].get("functional")
    if header["stage"] in ("neighbours", "spread", "suspects", "leaks", "attributions", "graph"):
        return header["stage"], *inputs_of(header, "activations")
    if header["stage"] == "selectivity":
        return header["stage"], *inputs_of(header, "network"), header["fields"].get("layer")
    if header["stage"] == "volumes":
        return header["stage"], *inputs_of(header, "network")
    if header["stage"] == "cells":  # those with an attribution replace those without
        return header["stage"], *inputs_of(header, "layout"), digest(header["parameters"])
    if header["stage"] == "layout":  # the same asked of a newer program replaces it; other parameters stand beside it
        return header["stage"], *inputs_of(header, "activations"), digest(header["parameters"])
    if header["stage"] in ("preferred", "icons"):  # likewise
        return header["stage"], *inputs_of(header, "network"), *inputs_of(header, "cells"), digest(header["parameters"])
    return header["stage"], header["key"]


def _ancestors(store: Store, name: str) -> set[str]:
    parents = set(inputs_of(store.header(name)))
    return parents.union(*(_ancestors(store, p) for p in parents if not p.startswith("parts/") and store.has(p)))
