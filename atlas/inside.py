"""The public `activation_maps`: every unit's map of one image in a layer of any network, as arrays and as a picture."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import AtlasError, one_line
from atlas.verbs import check_writable

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from atlas.activations.one_image import ImageMaps
    from atlas.atlas import Atlas

ARRAYS = (".npz", ".npy")


def activation_maps(
    model: str | torch.nn.Module,
    image: Any,
    layer: str | int,
    *,
    own_size: bool = False,
    weights: str | os.PathLike[str] | None = None,
    input_size: int | None = None,
    device: str = "cpu",
) -> ImageMaps:
    """Return every unit's activation map of one image in a layer of any network: ``maps``, float32 [unit, y, x].

    `model` and `weights` are those of `atlas.load_network`; `image` a file, a Pillow image or a uint8 array [y, x] or
    [y, x, rgb]; `layer` a name or a number of `atlas layers`. The image is resized as the weights ask, or with `own_size`
    run as large as it is: ``sizing`` says which. What cannot be read, opened or run raises AtlasError. Needs torch.
    """
    from atlas.activations.one_image import image_maps
    from atlas.models.network import load_network

    picture = read_picture(image)
    network = load_network(model, weights=weights, input_size=input_size)
    return image_maps(network, picture, layer, own_size=own_size, device=device)


def maps_of_atlas(
    atlas: Atlas, image: Any, layer: str | int | None = None, *, own_size: bool = False, device: str = "cpu"
) -> ImageMaps:
    """Return the same for an image of an atlas, or a file, through the atlas's network; `layer` None is the descriptor."""
    from atlas.activations.one_image import image_maps
    from atlas.models.layers import named_layer

    picture = atlas.seeing.any_picture(image, atlas.find_image(image))
    number = int(named_layer(atlas.network_record.layers, atlas.layer_name(layer))["number"])
    return image_maps(atlas.network(), picture, number, own_size=own_size, device=device)


def read_picture(image: Any) -> Image:
    """Return an image from a file, a Pillow image or a uint8 array [y, x] or [y, x, rgb]."""
    from PIL import Image

    from atlas.data.reading import decode

    if isinstance(image, Image.Image):
        return image
    if isinstance(image, str | os.PathLike):
        return decode(Path(image))
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        what = f"an image as an array of {pixels.dtype} {list(pixels.shape)}"
        raise AtlasError(f"{what}: give uint8 [y, x] or [y, x, rgb], a Pillow image or a file")
    return Image.fromarray(pixels)


def write_maps(
    make: Callable[[], ImageMaps],
    *,
    name: str,
    out: str | os.PathLike[str] | None = None,
    arrays: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Return what `make` finds as plain values; `out` names a picture of the maps and `arrays` an .npz or .npy file.

    Both are checked before `make` is called. Per unit: ``low``, ``high``, ``mean`` and ``peak`` (y, x of the highest).
    """
    from atlas.pages import figures

    if out is not None:
        check_writable(out, figures.SUFFIXES)
    if arrays is not None:
        check_writable(arrays, ARRAYS)
    found = make()
    if out is not None:
        figures.save(sheet(found, name), out)  # type: ignore[arg-type]
    if arrays is not None:
        save_arrays(found, Path(arrays))
    return told(found, name) | {"file": _text(out), "arrays": _text(arrays)}


def _text(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else str(path)


def told(found: ImageMaps, name: str) -> dict[str, Any]:
    """Return one layer's maps as plain values, unit by unit; None where a unit has no finite value."""
    return {
        "image": name,
        "layer": found.layer,
        "number": found.number,
        "kind": found.kind,
        "image_size": list(found.image_size),
        "input_size": list(found.input_size),
        "own_size": found.own_size,
        "sizing": found.sizing,
        "map_size": list(found.maps.shape[1:]),
        "silent": int((found.maps == 0).all(axis=(1, 2)).sum()),
        "nonfinite": int((~np.isfinite(found.maps)).sum()),
        "units": [_unit(number, values) for number, values in enumerate(found.maps)],
    }


def _unit(number: int, values: np.ndarray) -> dict[str, Any]:
    finite = np.where(np.isfinite(values), values, np.nan)
    if np.isnan(finite).all():
        return {"unit": number, "low": None, "high": None, "mean": None, "peak": None}
    peak = np.unravel_index(int(np.nanargmax(finite)), values.shape)
    numbers = {"low": np.nanmin(finite), "high": np.nanmax(finite), "mean": np.nanmean(finite, dtype=np.float64)}
    rounded = {key: float(f"{value:.6g}") for key, value in numbers.items()}
    return {"unit": number, **rounded, "peak": [int(peak[0]), int(peak[1])]}


def sheet(found: ImageMaps, name: str) -> Any:
    """Return the maps as a figure: what computed them hands over arrays and words."""
    from atlas.pages import figures

    pixels = np.moveaxis(found.input, 0, -1)
    silent = int((found.maps == 0).all(axis=(1, 2)).sum())
    count, size = len(found.maps), "×".join(map(str, found.maps.shape[1:]))
    quiet = f" · {silent} are 0 everywhere" if silent else ""
    grey = " · grey: not finite" if not np.isfinite(found.maps).all() else ""
    places = "one value each" if size == "1×1" else f"maps of {size}"
    return figures.maps_sheet(
        found.maps, picture=pixels if pixels.shape[-1] == 3 else pixels[..., 0],
        title=f"Layer {found.number}, {found.layer} ({found.kind}), of {one_line(name, 60)}",
        note=f"{count} units, {places}{quiet} · under each its number{grey}", words=[one_line(name, 60), found.sizing],
    )  # fmt: skip


def save_arrays(found: ImageMaps, path: Path) -> None:
    """Write the maps as .npy [unit, y, x], or as .npz with the image as it was run and the layer's name."""
    if path.suffix.lower() == ".npy":
        np.save(path, found.maps)
    else:
        layer, words = np.array(found.layer), np.array(found.sizing)
        np.savez_compressed(path, maps=found.maps, input=found.input, layer=layer, sizing=words)
