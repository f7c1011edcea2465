"""The colours of classes, outcomes and amounts: one place for the explorer, the report and the figures."""

from __future__ import annotations

# Okabe and Ito's idea carried further: the first ten were moved until every pair stayed at least 0.1 apart in OKLab under
# normal, protan, deutan and tritan vision (a test holds 0.09); beyond ten, names and counts have to help.
CLASSES = (
    *("#e0b030", "#50c0f8", "#409860", "#5058c8", "#f84810", "#a078f8", "#f8e000", "#b00080", "#b0e0b8", "#f070a8"),
    *("#7854a8", "#b4e4a8", "#8f84fc", "#c02418", "#78d8c0", "#fc6c9c", "#6c8448", "#c090c0", "#b46084", "#d8c000"),
)
NONE = "#8a919c"  # unlabelled, not predicted, undefined
RIGHT, WRONG = "#3b9fd4", "#ee6a24"  # blue against orange: the pair that every kind of vision tells apart
SPLIT = ("#8f84fc", "#e69f00", NONE)  # train, held-out, unknown
# cividis (Nuñez, Anderton, Renslow, 2018) at nine steps, its dark end lifted so that it shows on a dark page.
AMOUNT = ("#2f4f8f", "#43598d", "#575f76", "#6d6f70", "#858078", "#9e9272", "#b9a767", "#d6bd56", "#fde737")


def class_colours(count: int) -> list[str]:
    """Return `count` colours; beyond twenty they repeat, so names and counts must tell what colour no longer can."""
    return [CLASSES[i % len(CLASSES)] for i in range(count)]


def faded(colour: str, alpha: float) -> str:
    """Return ``#rrggbb`` with an alpha channel."""
    return f"{colour}{round(255 * alpha):02x}"
