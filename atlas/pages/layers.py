"""The layers that were recorded of an atlas's images, laid out or not, as a page speaks of them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from atlas.pages.columns import newest

if TYPE_CHECKING:
    from atlas.pages.view import View


@functools.lru_cache(maxsize=16)
def shared(view: View) -> frozenset[str]:
    """Return the names of layers that more than one network has."""
    found: dict[str, set[str | None]] = {}
    for name in filter(view.of_these_images, [*view.of_stage("activations"), *view.of_stage("statistics")]):
        found.setdefault(str(view.headers[name]["fields"]["layer"]), set()).add(network_of(view, name))
    return frozenset(layer for layer, networks in found.items() if len(networks) > 1)


def network_of(view: View, name: str) -> str | None:
    """Return the network that an artifact was made with, or None."""
    return next(iter(view.inputs(name, "network")), None)


def call(view: View, name: str) -> str:
    """Return what links call an artifact's layer: its name, with the network (``fc@network-8c1d``) where two have it."""
    layer, network = str(view.headers[name]["fields"]["layer"]), network_of(view, name)
    return f"{layer}@{network}" if layer in shared(view) and network else layer


def layers(view: View) -> dict[str, str]:
    """Return the layers kept of these images, in order of execution: `call`, numbered where two share it → activations."""
    names = [name for name in view.of_stage("activations") if view.of_these_images(name)]
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda name: int(view.headers[name]["fields"].get("number") or 0)):
        plain = call(view, name)
        numbered = (plain, *(f"{plain}~{n}" for n in range(2, 1000)))
        found[next(one for one in numbered if one not in found)] = name
    return found


def layers_part(view: View) -> list[dict[str, Any]]:
    """Return what a page needs of every layer."""
    return [layer_part(view, key, name) for key, name in layers(view).items()]


def layer_part(view: View, key: str, name: str) -> dict[str, Any]:
    """Return what a page needs of one layer: names, units, the keys of its neighbours and of its own statistics, or None."""
    fields = view.headers[name]["fields"]
    alike = [n for n in view.statistics_of(name) if view.headers[n]["fields"].get("functional") == fields["functional"]]
    return {
        "id": key,
        "layer": str(fields["layer"]),
        "functional": str(fields["functional"]),
        "units": int(fields["unit_count"]),
        "spatial": bool(fields["spatial"]),
        "activations": name,
        "network": network_of(view, name),
        "statistics": next(iter(alike), None),  # of the same functional only: others are not comparable
        "neighbours": newest(n for n in view.of_stage("neighbours") if view.inputs(n, "activations") == [name]),
        "space": next((space.id for space in view.spaces if space.activations == [name]), None),
    }
