"""Volumes and whole activation maps as netCDF (CF conventions): image by image, so that memory holds one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import AtlasError
from atlas.export.growing import LEVEL, Growing
from atlas.export.rows import rows_of, whole
from atlas.machine import check_space
from atlas.progress import Progress
from atlas.store import writing

if TYPE_CHECKING:
    import xarray as xr

    from atlas.atlas import Atlas
    from atlas.volumes import Plan

EXTRA = "netCDF needs xarray and h5netcdf, an extra: pip install 'activation-atlas-explorer[netcdf]'"
CONVENTIONS = "CF-1.11"
SAID = ("image_id", "path", "label", "split", "prediction", "confidence")  # coordinates of each image


def check_extra() -> None:
    """Refuse, before the network runs, to write what the installed packages cannot."""
    if not all(find_spec(name) for name in ("xarray", "h5netcdf", "h5py")):  # h5netcdf does not bring h5py itself
        raise AtlasError(EXTRA)


def write(
    atlas: Atlas,
    path: Path,
    rows: Sequence[int],
    *,
    layers: Sequence[str] = (),
    lossless: bool = False,
    each: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
    **choices: Any,
) -> dict[str, Any]:
    """Write the volumes of some images; `lossless` writes every channel's map as the network has it instead.

    `each` also writes a file for each image, in the folder beside `path` that is named like it. The other choices are
    those of `atlas.volumes.plan`. AtlasError without the extra `netcdf`.
    """
    check_extra()
    if lossless and (each or choices):
        wrong = "each" if each else next(iter(choices))
        raise AtlasError(
            f"--{wrong} belongs to volumes, and --lossless writes every channel as it is: leave one of them out"
        )
    if lossless:
        return write_maps(atlas, path, rows, layers=layers, device=device, progress=progress)
    from atlas.volumes import plan

    wanted = plan(atlas, rows, layers, device=device, **choices)
    folder = path.with_suffix("") if each else None
    if folder is not None and folder.is_file():
        raise AtlasError(f"{folder} is a file, where the folder of one file per image would be: choose another name for -o")
    files = _write_volumes(atlas, wanted, path, folder, progress or Progress())
    why = [] if wanted.cam else ["no class activation map: the network yields features only, or none was wanted"]
    return {
        "files": files, "images": len(rows), "layers": wanted.layers, "cam": wanted.cam, "notes": why,
        "open": f'xarray.open_dataset("{path}", engine="h5netcdf")',
    }  # fmt: skip


# -- volumes ----------------------------------------------------------------------------------------------------------------


def volume(atlas: Atlas, images: Any, layers: Sequence[str] = (), **choices: Any) -> xr.Dataset:
    """Return the volumes of some images in memory, as one dataset."""
    check_extra()
    import xarray as xr

    from atlas.volumes import plan

    wanted = plan(atlas, rows_of(atlas, images), layers, **choices)
    return xr.concat(
        list(volumes(atlas, wanted)), "image", data_vars="minimal", coords="minimal", compat="override", join="exact"
    )


def volumes(atlas: Atlas, wanted: Plan, progress: Progress | None = None) -> Iterator[xr.Dataset]:
    """Yield one dataset for each image of a plan, with the dimensions image (of one), level, y and x. Needs torch."""
    from atlas.volumes import see

    table = atlas.images()
    with (progress or Progress()).stage("volumes", len(wanted.rows)) as advance:
        for row in wanted.rows:
            seen = see(atlas, wanted, row)
            volume, (tall, wide) = seen.volume, seen.size
            coordinates = _image(table, row) | _axes(volume.values.shape[1:], (tall, wide)) | _levels(volume)
            values = {"activation": (("image", "level", "y", "x"), volume.values[None], ACTIVATION)}
            yield _dataset(atlas, values, coordinates, "Activation volumes: the most active channels of each layer")
            advance(1)


ACTIVATION = {
    "long_name": "activation, each level from its least value (0) to its greatest (1)",
    "units": "1",
    "valid_range": np.array([0, 1], np.float32),
}


def _image(table: Any, row: int) -> dict[str, Any]:
    """The coordinates of one image."""
    found: dict[str, Any] = {"image": ("image", np.array([row], np.int32), {"long_name": "row of the image in its atlas"})}
    for name in SAID:
        if name in table:
            value = table[name].iloc[row]
            known = np.array([value], np.float32) if name == "confidence" else np.array([_text(value)], object)
            found[name] = ("image", known, {"long_name": f"{name} of the image"})
    return found


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value).encode("utf-8", "replace").decode()


def _axes(size: tuple[int, ...], pixels: tuple[int, int]) -> dict[str, Any]:
    """The coordinates y and x: the centre of each cell in pixels of the network's input, 0 the centre of the first."""
    found = {}
    for name, count, edge in zip(("y", "x"), size, pixels, strict=True):
        place = (np.arange(count) + 0.5) * edge / count - 0.5
        way = "downwards" if name == "y" else "to the right"
        found[name] = (name, place, {"long_name": f"pixel of the network's input, {way}", "units": "1"})
    return found


def _levels(volume: Any) -> dict[str, Any]:
    """The coordinates of the levels; which channels there are differs from image to image, the layers do not."""
    each = {
        "channel": (volume.channel, "number of the channel in its layer; -1: the class activation map"),
        "mean": (volume.mean, "mean of the channel's map, by which channels are ranked"),
        "low": (volume.low, "value that 0 stands for"),
        "high": (volume.high, "value that 1 stands for"),
        "nonfinite": (volume.nonfinite, "values of the map that were no finite numbers"),
    }
    count = len(volume.layer)
    return {
        "level": ("level", np.arange(count, dtype=np.int32), {"long_name": "level of the volume", "units": "1"}),
        "layer": ("level", np.array(volume.layer, object), {"long_name": "layer of the network"}),
    } | {name: (("image", "level"), values[None], {"long_name": words}) for name, (values, words) in each.items()}


def _dataset(atlas: Atlas, variables: dict[str, Any], coordinates: dict[str, Any], title: str) -> xr.Dataset:
    import xarray as xr

    network = atlas.network_record
    attributes = {
        "Conventions": CONVENTIONS,
        "title": f"{title}; {atlas.title}",
        "source": f"{network.title} ({network.spec}, identity {network.identity[:16]})",
        "references": "activation-atlas-explorer, docs/exports.md",
    }
    return xr.Dataset(variables, coords=coordinates, attrs=attributes)


def _write_volumes(atlas: Atlas, wanted: Plan, path: Path, folder: Path | None, progress: Progress) -> list[str]:
    files = [str(path)]
    if folder is not None:
        with writing(folder.absolute().parent):
            folder.mkdir(exist_ok=True)
    with whole(path) as beside, Growing(beside, len(wanted.rows)) as file:
        for one in volumes(atlas, wanted, progress):
            if file.count == 0:
                check_space(path.absolute().parent, one.nbytes * len(wanted.rows) * (1 if folder is None else 2))
            file.append({"": one})
            if folder is not None:
                files.append(str(write_one(one, folder / f"{one['image_id'].item()}.nc")))
    return files


def write_one(one: xr.Dataset, path: Path) -> Path:
    """Write the volume of one image, with the dimensions level, y and x: what VTK and ParaView read."""
    with whole(path) as beside:
        stored = {"zlib": True, "complevel": LEVEL, "_FillValue": np.float32("nan")}
        one.isel(image=0).to_netcdf(beside, engine="h5netcdf", encoding={"activation": stored})
    return path


# -- every channel as it is -------------------------------------------------------------------------------------------------


def write_maps(
    atlas: Atlas, path: Path, rows: Sequence[int], *, layers: Sequence[str], device: str, progress: Progress | None
) -> dict[str, Any]:
    """Write every channel's map of some layers as the network has it, float32: a group for each layer, its own size."""
    from atlas.volumes import plan

    wanted = plan(atlas, rows, layers, cam="none", device=device)
    with whole(path) as beside, Growing(beside, len(rows)) as file:
        for groups in maps(atlas, wanted, progress):
            if file.count == 0:
                check_space(path.absolute().parent, sum(one.nbytes for one in groups.values()) * len(rows))
            file.append(groups)
    return {
        "files": [str(path)], "images": len(rows), "layers": wanted.layers, "notes": [],
        "open": f'xarray.open_datatree("{path}", engine="h5netcdf")',
    }  # fmt: skip


def maps(atlas: Atlas, wanted: Plan, progress: Progress | None = None) -> Iterator[dict[str, xr.Dataset]]:
    """Yield for each image the root's dataset under "" and one for each layer: activation [image, channel, y, x]."""
    from atlas.activations.spatial import activation_maps

    table, network = atlas.images(), atlas.network()
    with (progress or Progress()).stage("maps", len(wanted.rows)) as advance:
        for row in wanted.rows:
            picture = atlas.seeing.picture(row)
            pixels = network.preprocess.array(picture).shape
            found = activation_maps(network, picture, wanted.layers, device=wanted.device)
            groups = {"": _dataset(atlas, {}, _image(table, row), "Activation maps of every channel")}
            for layer in wanted.layers:
                groups[group_of(layer)] = _layer(layer, found[layer], (pixels[1], pixels[2]))
            yield groups
            advance(1)


def group_of(layer: str) -> str:
    """Return the name of a layer's group: its own, for a slash, which no group's name may have, a colon."""
    return layer.replace("/", ":")


def _layer(layer: str, values: np.ndarray, pixels: tuple[int, int]) -> xr.Dataset:
    import xarray as xr

    number = np.arange(len(values), dtype=np.int32)
    coordinates = _axes(values.shape[1:], pixels) | {
        "channel": ("channel", number, {"long_name": "number of the channel in its layer"})
    }
    about = {"long_name": f"activation of layer {layer}", "units": "1"}
    return xr.Dataset({"activation": (("image", "channel", "y", "x"), values[None], about)}, coordinates, {"layer": layer})
