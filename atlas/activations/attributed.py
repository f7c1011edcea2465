"""Attributions put together from their parts and read by rows. Imports no torch: pages read them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atlas.activations.records import Attributions, PartAttribution, Vectors
from atlas.activations.sinks import stored_type
from atlas.errors import AtlasError
from atlas.store import Store


def attributions_of(store: Store, record: Attributions) -> Vectors:
    """Return how much each point argues for each output as one array [point, output], its rows read when asked for."""
    return _joined([store.read(name, PartAttribution) for name in record.parts])


def _joined(parts: Sequence[PartAttribution]) -> Vectors:
    joined = Vectors([part.values for part in parts])
    joined.dtype = np.result_type(*[block.dtype for block in joined.blocks])
    return joined


def part_attribution(values: np.ndarray, *, layer: str, functional: str) -> PartAttribution:
    """Return the record of one layer of one part from its attributions, float32 [point, output]."""
    nonfinite = (~np.isfinite(values)).sum(0).astype(np.int64)
    return PartAttribution(layer, functional, values.astype(_stored(values)), nonfinite)


def _stored(values: np.ndarray) -> str:
    """Return float16, or float32 where values come near its upper limit, or where half of them would lose digits below."""
    size = np.abs(values[np.isfinite(values) & (values != 0)])
    small = len(size) > 0 and float(np.median(size)) < np.finfo(np.float16).smallest_normal
    return "float32" if small else stored_type(values, "bfloat16")


def make_attributions(names: Sequence[str], parts: Sequence[PartAttribution], *, number: int) -> Attributions:
    """Return the record of one layer from its parts, in order; parts that do not belong together raise AtlasError.

    `names` are the parts' artifacts; `number` is the layer's place in order of execution.
    """
    kinds = {(part.layer, part.functional, part.values.shape[1]) for part in parts}
    if len(kinds) != 1:
        found = ", ".join(f"{layer} ({functional}, {outputs} outputs)" for layer, functional, outputs in sorted(kinds))
        raise AtlasError(f"parts of one layer are needed and these are of {found or 'none'}: attribute them in one pass")
    values = _joined(parts)
    return Attributions(
        layer=parts[0].layer,
        number=number,
        functional=parts[0].functional,
        parts=list(names),
        part_points=[len(part.values) for part in parts],
        output_count=values.shape[1],
        dtype=str(values.dtype),
        nonfinite=int(sum(part.nonfinite.sum() for part in parts)),
    )
