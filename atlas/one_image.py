"""The public `activations`: what one image does inside a network, or inside the network of an atlas, told and drawn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.atlas import Atlas, open_atlas
from atlas.errors import AtlasError, one_line
from atlas.files import is_file
from atlas.inside import activation_maps, maps_of_atlas, write_maps
from atlas.patterns.deviation import LEVEL
from atlas.verbs import check_writable, damage_told

if TYPE_CHECKING:
    from atlas.breaking import Inside
    from atlas.patterns.courses import Against, Course

NEEDS_MAPS = {"arrays": "--arrays", "own_size": "--own-size"}
NEEDS_MODEL = {"weights": "--weights", "input_size": "--input-size"}
NEEDS_ATLAS = {"kinds": "--disturb", "network": "--network", "split": "--split", "seed": "--seed"}


def activations(
    model: str | os.PathLike[str] | Atlas,
    image: Any,
    *,
    layer: str | int | None = None,
    maps: bool = False,
    out: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    **options: Any,
) -> dict[str, Any]:
    """Return what one image does inside a network as plain values; `out` names a picture of it, PNG, SVG or PDF.

    Of a network: the maps of every unit of `layer`, with `own_size`, `arrays`, `weights` and `input_size` as of
    `atlas.inside`. Of an atlas (its folder): the image's pattern against its predicted class's and its runner-up's, and
    under disturbances, with `kinds`, `split` and `seed` as of `atlas.breaking.inside`, and `network`; with `maps` the maps
    of its network. An option that belongs to the other is refused, and what cannot be done raises AtlasError.
    """
    given = {name: value for name, value in options.items() if value not in (None, False, ())}
    if not is_atlas(model):
        _refuse(given, NEEDS_ATLAS, f"{one_line(model, 80)} is a network and no atlas's folder", "give an atlas")
        return _of_network(model, image, layer, out, device=device, **given)
    _refuse(given, NEEDS_MODEL, f"{one_line(model, 80)} is an atlas, which knows its network", "leave it out")
    opened = model if isinstance(model, Atlas) else open_atlas(str(model), network=given.get("network"))
    given.pop("network", None)
    if maps:
        _refuse(given, {k: v for k, v in NEEDS_ATLAS.items() if k != "network"}, "--maps draws maps", "leave it out")
        make = partial(maps_of_atlas, opened, image, layer, own_size=bool(given.get("own_size")), device=device)
        with damage_told(opened.store.root):
            return write_maps(make, name=_name(opened, image), out=out, arrays=given.get("arrays"))
    _refuse(given, NEEDS_MAPS, "an atlas's image is compared with patterns", "add --maps for its maps")
    return _of_atlas(opened, image, None if layer is None else opened.layer_name(layer), out, device=device, **given)


def is_atlas(model: Any) -> bool:
    """Tell whether `model` is an atlas, or the folder of one."""
    return isinstance(model, Atlas) or (isinstance(model, str | os.PathLike) and is_file(Path(model) / "atlas.json"))


def _refuse(given: dict[str, Any], names: dict[str, str], fact: str, remedy: str) -> None:
    for name, option in names.items():
        if name in given:
            raise AtlasError(f"{fact}, so {option} means nothing here: {remedy}")


def _name(atlas: Atlas, image: Any) -> str:
    row = atlas.find_image(image)
    return Path(str(image)).name if row is None else f"image {row}"


def _of_network(
    model: Any, image: Any, layer: str | int | None, out: Any, *, arrays: Any = None, device: str, **options: Any
) -> dict[str, Any]:
    if layer is None:
        what = f"`atlas layers {one_line(model, 80)}` lists them"
        raise AtlasError(f"no layer was given: name one, or give its number, with --layer; {what}")
    make = partial(activation_maps, model, image, layer, device=device, **options)
    return write_maps(make, name=Path(str(image)).name, out=out, arrays=arrays)


def _of_atlas(opened: Atlas, image: Any, layer: str | None, out: Any, **options: Any) -> dict[str, Any]:
    from atlas.breaking import inside
    from atlas.pages import figures

    if out is not None:
        check_writable(out, figures.SUFFIXES)
    with damage_told(opened.store.root):
        found = inside(opened, image, layer, **options)
    if out is not None:
        figures.save(picture(found), out)
    return told(found, image) | {"file": None if out is None else str(out)}


def picture(found: Inside) -> Any:
    """Return the figure of one image's pattern and courses."""
    from atlas.pages import figures

    left = f" · {found.left_out} units vary in no class and are left out" if found.left_out else ""
    label = f", labelled {found.label}," if found.label else ""
    sides = [found.predicted, *([found.runner_up] if found.runner_up else [])]
    return figures.pattern_figure(
        found.picture, found.vector, sides, found.courses, names=found.outputs,
        title=f"{found.name[:1].upper()}{found.name[1:]}{label} in {found.layer}",
        note=f"patterns of {found.over}{left}",
    )  # fmt: skip


def told(found: Inside, image: Any) -> dict[str, Any]:
    """Return one image's pattern and courses as plain values."""
    return {
        "image": str(image),
        "row": found.row,
        "label": found.label,
        "layer": found.layer,
        "functional": found.functional,
        "over": found.over,
        "level": LEVEL,
        "left_out": found.left_out,
        "values": _plain(found.vector),
        "predicted": _against(found.predicted),
        "runner_up": None if found.runner_up is None else _against(found.runner_up),
        "courses": [_course(found, course) for course in found.courses],
    }


def _against(side: Against) -> dict[str, Any]:
    plain = {"label": side.label, "probability": side.probability, "distance": side.distance, "limit": side.limit}
    stands = {"outside": side.outside, "nearer": side.nearer, "of": side.of}
    arrays = {name: _plain(getattr(side, name)) for name in ("mean", "std", "deviations")}
    return {**plain, **stands, **arrays}


def _course(found: Inside, course: Course) -> dict[str, Any]:
    events = {"pattern": course.breaks, "prediction": course.changes, "confidence": course.doubts}
    at = {name: None if step is None else float(course.strength[step]) for name, step in events.items()}
    steps = [
        {"strength": strength, "distance": distance, "prediction": found.outputs[output], "probability": probability}
        for strength, distance, output, probability in zip(
            _plain(course.strength), _plain(course.distance), course.prediction, _plain(course.probability), strict=True
        )
    ]
    return {"kind": course.kind, "measure": course.measure, **at, "first": course.first, "steps": steps}


def _plain(values: Sequence[float] | np.ndarray) -> list[float | None]:
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in np.asarray(values).tolist()]
