"""The images of the experiment `volume`: five classes of CIFAR-10, which of ImageNet's classes they are, two groups."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from atlas.data import fetching, named
from atlas.data.faces import PORTRAITS, PYVISION
from atlas.experiments import Setting
from atlas.experiments.imagenet import OUTPUTS, write_class_map
from atlas.experiments.networks import kept

CLASSES = ("airplane", "automobile", "bird", "dog", "ship")
MORE = {"automobile": (407,), "ship": (472, 576, 833)}  # what counts too: ambulance; canoe, gondola, submarine
OTHERS = "pyvision/data/nonface/"


def photographs(setting: Setting, each: int) -> Path:
    """Return a folder of `each` test images of five classes of CIFAR-10, a folder per class: PNG files of 32 × 32 pixels.

    Each network enlarges them as its preprocessing has it.
    """
    folder = setting.folder("experiments/volume-images")
    dataset = named.fetch("cifar10", setting.cache / "datasets", setting.progress)
    codes = np.asarray(dataset.codes["test"])
    for label in CLASSES:
        (folder / label).mkdir(parents=True, exist_ok=True)
        for row in np.flatnonzero(codes == dataset.labels.index(label))[:each].tolist():
            path = folder / label / f"{row:05}.png"
            if not path.is_file():
                Image.fromarray(dataset.images["test"][row]).save(path)
    return folder


def class_map(folder: Path) -> Path:
    """Write which outputs of an ImageNet network are which of CIFAR-10's labels; return the file."""
    outputs = {label: sorted((*OUTPUTS[label], *MORE.get(label, ()))) for label in CLASSES}
    return write_class_map(folder / "imagenet-cifar10.csv", outputs)


def faces(setting: Setting) -> dict[str, Path]:
    """Return folders of 173 portraits and of 51 photographs without a face, out of the PyPI package pyvision_toolkit."""
    folder = setting.cache / "networks" / "pyvision"
    wheel = kept(folder / "pyvision.whl", lambda work: fetching.pypi_wheel(*PYVISION, work).read_bytes(), PYVISION[0],
                 setting.progress)  # fmt: skip
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    found = {}
    for group, start, suffix in (("faces", PORTRAITS, ".pgm"), ("non-faces", OTHERS, ".jpg")):
        found[group] = folder / group
        found[group].mkdir(exist_ok=True)
        wanted = [name for name in names if name.startswith(start) and name.endswith(suffix)]
        for name, body in fetching.zip_members(wheel, wanted).items():
            (found[group] / Path(name).name).write_bytes(body)
    return found
