"""What a page opens on: the arguments of its address where the atlas has them, else a choice of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from atlas.errors import one_line
from atlas.pages import colourings

if TYPE_CHECKING:
    from atlas.pages.view import Space, View


SAID = {"beside": "second map"}  # arguments whose name is no word of the page


@dataclass(frozen=True)
class Start:
    """What a page opens on, and what of the asked could not be had."""

    space: str
    layout: str
    split: str
    colour: str
    image: int | None
    unit: str | None = None  # the unit whose panel is open, "fc:17"
    beside: str | None = None  # the layout of the second map
    notices: list[str] = field(default_factory=list)


class Asked:
    """The arguments of an address, taken one by one; a notice for each that the atlas does not have."""

    def __init__(self, asked: Mapping[str, str]):
        self.asked = asked
        self.notices: list[str] = []

    def take(self, what: str, choices: Sequence[str], default: str) -> str:
        """Return what was asked for where it is one of `choices`, else `default`."""
        value = self.asked.get(what)
        if value is not None and value not in choices:
            self.miss(what, value)
        return value if value in choices else default  # type: ignore[return-value]

    def maybe(self, what: str, named: Callable[[str], str | None]) -> str | None:
        """Return what was asked for as `named` names it, None where it names nothing."""
        value = self.asked.get(what)
        found = None if value is None else named(value)
        if value is not None and found is None:
            self.miss(what, value)
        return found

    def miss(self, what: str, value: str) -> None:
        """Note that what was asked for is not there."""
        self.notices.append(
            f"The link asks for the {SAID.get(what, what)} {one_line(value, 60)}, which this atlas does not have."
        )


def start(view: View, asked: Mapping[str, str]) -> Start:
    """Return what `view` opens on; whatever is asked for and not there is left out with a notice."""
    told = Asked(asked)
    space = asked_space(view, told)
    layout = told.take("layout", space.maps, space.layouts[0])
    split = told.take("split", ["held-out", "train", "all"], view.opening_split)
    if split != "all" and view.opening_split == "all":
        split = "all"
    colour = told.maybe("colour", lambda wanted: colourings.named(view, space, wanted)) or view.colours(space)[0]
    image = told.maybe("image", lambda wanted: wanted if view.row_of(wanted) is not None else None)
    row = None if image is None else view.row_of(image)
    unit = told.maybe("unit", lambda wanted: colourings.unit_named(view, wanted, space.network))
    beside = told.maybe("beside", lambda wanted: wanted if any(wanted in other.maps for other in view.spaces) else None)
    return Start(space.id, layout, split, colour, row, unit, beside, told.notices)


def asked_space(view: View, told: Asked) -> Space:
    """Return the layer that was asked for: of the network that was asked for, where several have one of its name."""
    first = opening_space(view)
    networks = [space.network for space in view.spaces if space.network]
    network = told.take("network", networks, "") if "network" in told.asked else ""
    of = [space for space in view.spaces if space.network == network] or list(view.spaces)
    if network and first not in of:
        first = of[-1]
    wanted = told.asked.get("layer", first.id)
    same = [space for space in of if space.id == wanted] or [s for s in of if "+".join(s.layers) == wanted.partition("~")[0]]
    if not same:
        told.miss("layer", wanted)
    return same[0] if same else first


def opening_space(view: View) -> Space:
    """Return the space laid out most ways, which is meant to be seen; of several the descriptor."""
    most = max(len(space.layouts) for space in view.spaces)
    richest = [space for space in view.spaces if len(space.layouts) == most]
    return view.descriptor if view.descriptor in richest else richest[0]
