"""The images of the experiment `volume`: five classes of CIFAR-10, which of ImageNet's classes they are, two groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from atlas.data import fetching, named
from atlas.experiments import Setting
from atlas.experiments.networks import kept

CLASSES = ("airplane", "automobile", "bird", "dog", "ship")
IMAGENET = {  # label → outputs that are it, as runs of ImageNet's order: from, to and including
    "airplane": ((404, 404), (895, 895)),  # airliner, warplane
    "automobile": ((407, 407), (436, 436), (468, 468), (511, 511), (609, 609), (627, 627), (656, 656), (661, 661),
                   (751, 751), (817, 817)),  # ambulance, wagon, cab, convertible, jeep, limousine, minivan, Model T, racer
    "bird": ((7, 24), (80, 100), (127, 146)),
    "dog": ((151, 268),),
    "ship": ((403, 403), (472, 472), (484, 484), (510, 510), (554, 554), (576, 576), (625, 625), (628, 628), (724, 724),
             (780, 780), (814, 814), (833, 833), (871, 871), (914, 914)),  # carrier, canoe, catamaran … trimaran, yawl
}  # fmt: skip
PYVISION = ("pyvision_toolkit==1.3.6", "216587b4d9ce273a5eca99fbdd4b03d2ff0300244d3b03a6e00200eba86b40ae")
FACES, OTHERS = "pyvision/data/csuScrapShots/", "pyvision/data/nonface/"


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
    path = folder / "imagenet-cifar10.csv"
    rows = [
        f"{output},{label}"
        for label, spans in IMAGENET.items()
        for first, last in spans
        for output in range(first, last + 1)
    ]
    path.write_text("\n".join(["output,label", *rows]) + "\n", "utf-8")
    return path


def faces(setting: Setting) -> dict[str, Path]:
    """Return folders of 173 portraits and of 51 photographs without a face, out of the PyPI package pyvision_toolkit."""
    folder = setting.cache / "networks" / "pyvision"
    wheel = kept(folder / "pyvision.whl", lambda work: fetching.pypi_wheel(*PYVISION, work).read_bytes(), PYVISION[0],
                 setting.progress)  # fmt: skip
    import zipfile

    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    found = {}
    for group, start, suffix in (("faces", FACES, ".pgm"), ("non-faces", OTHERS, ".jpg")):
        found[group] = folder / group
        found[group].mkdir(exist_ok=True)
        wanted = [name for name in names if name.startswith(start) and name.endswith(suffix)]
        for name, body in fetching.zip_members(wheel, wanted).items():
            (found[group] / Path(name).name).write_bytes(body)
    return found
