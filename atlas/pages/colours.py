"""The colours of classes, outcomes and amounts: one place for the explorer, the report and the figures."""

from __future__ import annotations

from collections.abc import Sequence

# Okabe and Ito's idea carried further: the first ten were moved until every pair stayed at least 0.1 apart in OKLab under
# normal, protan, deutan and tritan vision (a test holds 0.09). The thirty after them were searched from all of sRGB by
# farthest points and exchange, with `NONE` and a contrast of 2.5 on the dark page and 1.35 on the light one as bounds: all
# forty stay 0.075 apart for normal vision, 0.05 for protan and deutan, 0.035 for tritan. They stand in the order in which
# each is farthest from those before it, so that fewer classes are told apart better.
CLASSES = (
    *("#e0b030", "#50c0f8", "#409860", "#5058c8", "#f84810", "#a078f8", "#f8e000", "#b00080", "#b0e0b8", "#f070a8"),
    *("#785038", "#d0b8c8", "#7000f0", "#4078a8", "#485880", "#a0d0fc", "#68f080", "#a86080", "#b02008", "#c028fc"),
    *("#fc7818", "#9030a8", "#10a0c8", "#d030a8", "#20d068", "#006858", "#c01858", "#a85830", "#b058d8", "#58f0e8"),
    *("#fc50c8", "#e898e0", "#a8b8a0", "#d86868", "#988030", "#9098fc", "#a8a050", "#80d890", "#c09880", "#d0d048"),
)
ALIKE = 10  # classes: up to here each has its own colour whatever is in the atlas, so that atlases of one dataset agree
NONE = "#8a919c"  # unlabelled, not predicted, undefined
RIGHT, WRONG = "#3b9fd4", "#ee6a24"  # blue against orange: the pair that every kind of vision tells apart
SPLIT = ("#8f84fc", "#e69f00", NONE)  # train, held-out, unknown
# cividis (Nuñez, Anderton, Renslow, 2018) at nine steps, its dark end lifted so that it shows on a dark page.
AMOUNT = ("#2f4f8f", "#43598d", "#575f76", "#6d6f70", "#858078", "#9e9272", "#b9a767", "#d6bd56", "#fde737")


def class_colours(count: int, present: Sequence[int] = ()) -> list[str]:
    """Return the colours of classes 0 … `count` − 1; beyond forty they repeat, and names and counts must tell them apart.

    With more than ten classes the first colours go to the classes `present`, which have images, and the next to the others.
    """
    first = [code for code in present if code < count] if count > ALIKE else []
    others = sorted(set(range(count)) - set(first))
    turn = {code: place for place, code in enumerate([*first, *others])}
    return [CLASSES[turn[code] % len(CLASSES)] for code in range(count)]


def faded(colour: str, alpha: float) -> str:
    """Return ``#rrggbb`` with an alpha channel."""
    return f"{colour}{round(255 * alpha):02x}"
