"""A class across layers: the patterns of all layers of one width side by side, from their statistics alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atlas.activations.records import Statistics
from atlas.errors import AtlasError
from atlas.patterns.blocks import BlockPatterns, stacked
from atlas.patterns.classes import class_patterns

if TYPE_CHECKING:
    from atlas.holdings import Holdings

MANY = 16  # layers of one width that are the blocks of one stream, and not a stage of a network of several


def equally_wide(atlas: Holdings) -> list[str]:
    """Return the statistics of the most layers of one network, functional and width, in order of execution."""
    groups: dict[tuple[Any, ...], dict[int, str]] = {}
    widths = dict(zip(atlas.network_record.layers["name"], atlas.network_record.layers["units"], strict=True))
    for name in atlas.names("statistics"):
        width = int(widths.get(atlas.field(name, "layer"), 0))
        groups.setdefault((atlas.field(name, "functional"), width), {})[atlas.field(name, "number")] = name
    most: dict[int, str] = max(groups.values(), key=len, default={})
    return [most[number] for number in sorted(most)]


def one_stream(atlas: Holdings) -> bool:
    """Tell whether a network is read as blocks × units: many layers of one width, and most of all, as in the explorer."""
    wide = len(equally_wide(atlas))
    return wide >= MANY and 2 * wide > len(atlas.names("statistics"))


def patterns_across(atlas: Any, split: str | None) -> BlockPatterns:
    """Return the class patterns of those layers side by side; AtlasError where there are not two."""
    names = equally_wide(atlas)
    if len(names) < 2:
        raise AtlasError(
            f"the atlas in {atlas.store.root} has no two equally wide layers with statistics: "
            "build it with `--statistics all`, or name one --layer"
        )
    labels = atlas.image_record.labels
    return stacked([class_patterns(atlas.store.read(name, Statistics), labels, split=split) for name in names])
