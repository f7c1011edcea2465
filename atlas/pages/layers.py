"""The layers that were recorded of an atlas's images, laid out or not, as a page speaks of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atlas.pages.columns import newest

if TYPE_CHECKING:
    from atlas.pages.view import View


def layers(view: View) -> dict[str, str]:
    """Return every layer kept of these images, in order of execution: name, numbered where two share it → activations."""
    names = [name for name in view.of_stage("activations") if view.of_these_images(name)]
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda name: int(view.headers[name]["fields"].get("number") or 0)):
        plain = str(view.headers[name]["fields"]["layer"])
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
        "network": next(iter(view.inputs(name, "network")), None),
        "statistics": next(iter(alike), None),  # of the same functional only: others are not comparable
        "neighbours": newest(n for n in view.of_stage("neighbours") if view.inputs(n, "activations") == [name]),
        "space": next((space.id for space in view.spaces if space.activations == [name]), None),
    }
