"""What a page opens on: the arguments of its address where the atlas has them, else a choice of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from atlas.errors import one_line

if TYPE_CHECKING:
    from atlas.pages.view import Space, View


@dataclass(frozen=True)
class Start:
    """What a page opens on, and what of the asked could not be had."""

    space: str
    layout: str
    split: str
    colour: str
    image: int | None
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

    def miss(self, what: str, value: str) -> None:
        """Note that what was asked for is not there."""
        self.notices.append(f"The link asks for the {what} {one_line(value, 60)}, which this atlas does not have.")


def start(view: View, asked: Mapping[str, str]) -> Start:
    """Return what `view` opens on; whatever is asked for and not there is left out with a notice."""
    told = Asked(asked)
    first = opening_space(view)
    space = view.space(told.take("layer", [space.id for space in view.spaces], first.id)) or first
    layout = told.take("layout", space.layouts, space.layouts[0])
    split = told.take("split", ["held-out", "train", "all"], view.opening_split)
    if split != "all" and view.opening_split == "all":
        split = "all"
    colour = told.take("colour", view.colours(space), view.colours(space)[0])
    image = view.row_of(asked["image"]) if "image" in asked else None
    if image is None and "image" in asked:
        told.miss("image", asked["image"])
    return Start(space.id, layout, split, colour, image, told.notices)


def opening_space(view: View) -> Space:
    """Return the space laid out most ways, which is meant to be seen; of several the descriptor."""
    most = max(len(space.layouts) for space in view.spaces)
    richest = [space for space in view.spaces if len(space.layouts) == most]
    return view.descriptor if view.descriptor in richest else richest[0]
