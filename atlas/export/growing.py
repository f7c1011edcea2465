"""A netCDF file that is filled image by image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

LEVEL = 4  # of gzip, its own middle way between size and time


class Growing:
    """A netCDF file of a known number of images, filled image by image; each append brings every group's datasets of one."""

    def __init__(self, path: Path, images: int):
        import h5netcdf

        self.images, self.count = images, 0
        self.file = h5netcdf.File(path, "w")
        self.file.dimensions["image"] = images

    def __enter__(self) -> Growing:
        return self

    def __exit__(self, *raised: object) -> None:
        self.file.close()

    def append(self, groups: dict[str, xr.Dataset]) -> None:
        """Write one image's datasets, by group, "" the root's, which comes first."""
        for name, one in groups.items():
            if self.count == 0:
                self._begin(self.file.create_group(name) if name else self.file, one)
            group = self.file[name] if name else self.file
            for variable in (v for v in one.variables if one[v].dims[:1] == ("image",)):
                group[variable][self.count] = one[variable].values[0]
        self.count += 1

    def _begin(self, group: Any, one: xr.Dataset) -> None:
        group.attrs.update(one.attrs)
        for dimension, size in one.sizes.items():
            if dimension != "image":
                group.dimensions[dimension] = size
        for name, variable in one.variables.items():
            made = self._create(group, name, variable)
            made.attrs.update(variable.attrs)
            if name not in one.coords:
                others = [str(c) for c in one.coords if c not in one.sizes and set(one[c].dims) <= set(variable.dims)]
                made.attrs.update({"coordinates": " ".join(others)} if others else {})

    def _create(self, group: Any, name: Any, variable: Any) -> Any:
        """Make one variable; what every image shares is written at once."""
        import h5py

        text, large = variable.dtype == object, variable.ndim > 2
        more: dict[str, Any] = {}
        if large:
            more = {
                "chunks": variable.shape,
                "compression": "gzip",
                "compression_opts": LEVEL,
                "fillvalue": np.float32("nan"),
            }
        kind = h5py.string_dtype() if text else variable.dtype
        made = group.create_variable(name, variable.dims, kind, **more)
        if variable.dims[:1] != ("image",):
            made[...] = variable.values
        return made
