"""The pass that attributes: equal to the maths, resumable part by part, beside the points it speaks of."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import atlas as package
from atlas import argued, arguing
from atlas.activations import attributing, records
from atlas.activations.attributed import attributions_of, make_attributions, part_attribution
from atlas.activations.attribution import attributions
from atlas.activations.records import Attributions, PartAttribution, PartLayer
from atlas.errors import AtlasError
from atlas.maps.records import Cells
from atlas.store import Store
from tests import tiny
from tests.passes import Net, PixelReader, Tiny, make_images, make_pixels, run


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 10 images, so that a tiny world has several."""
    monkeypatch.setattr(records, "PART", 10)


def attribute(root: Path, net: Any, count: int = 25, **options: Any) -> dict[str, list[str]]:
    pixels, broken = make_pixels(count), (3, 12)
    defaults: dict[str, Any] = {"layers": {"conv1": "mean"}, "batch_size": 4}
    images = make_images(count, broken=broken)
    return attributing.attribute(
        Store(root), net, "network-0", images, "images-0", PixelReader(pixels), **{**defaults, **options}
    )


def read(root: Path, names: list[str]) -> list[PartAttribution]:
    return [Store(root).read(name, PartAttribution) for name in names]


@pytest.mark.parametrize("functional", ["mean", "positions:3"])
def test_the_parts_hold_what_the_maths_says_of_the_points_of_the_layer(
    tmp_path: Path, small_parts: None, functional: str
) -> None:
    net: Any = Net(Tiny())
    parts = read(tmp_path, attribute(tmp_path, net, layers={"conv1": functional}, seed=5)["conv1"])
    layers = run(
        tmp_path, net, make_images(25, broken=(3, 12)), PixelReader(make_pixels(25)), vectors={"conv1": functional}, seed=5
    )
    assert len(parts) == 3 == len(layers.vectors["conv1"])
    images, reader = make_images(25), PixelReader(make_pixels(25))
    for part, name in zip(parts, layers.vectors["conv1"], strict=True):
        layer = Store(tmp_path).read(name, PartLayer)
        rows = list(dict.fromkeys(layer.point_image.tolist()))
        ids = list(images.table["image_id"].iloc[rows])
        expected = attributions(net, [reader.image(row) for row in rows], "conv1", functional, image_ids=ids, seed=5)
        assert len(part.values) == len(layer.point_image) and part.values.dtype == np.float16
        np.testing.assert_allclose(part.values, expected, atol=2e-4, rtol=1e-3)


def test_a_pass_goes_on_where_it_was_left_and_gives_the_same_bytes(tmp_path: Path, small_parts: None) -> None:
    first, net = tmp_path / "one", Net(Tiny())
    names = attribute(first, net, layers={"conv1": "positions:2", "conv2": "mean"})
    whole = {name: (first / name / "values.npy").read_bytes() for layer in names.values() for name in layer}
    for name in (names["conv1"][1], names["conv2"][2]):
        shutil.rmtree(first / name)
    before = len(net.passes)
    assert attribute(first, net, layers={"conv1": "positions:2", "conv2": "mean"}) == names
    again = len(net.passes) - before
    assert {name: (first / name / "values.npy").read_bytes() for name in whole} == whole
    assert 0 < again < before
    before = len(net.passes)
    attribute(first, net, layers={"conv2": "mean"})
    assert len(net.passes) == before  # all stands


def test_another_network_seed_or_functional_makes_other_parts(tmp_path: Path) -> None:
    found = [
        attribute(tmp_path, Net(Tiny(seed)), layers={"conv1": functional}, seed=number)["conv1"][0]
        for seed, functional, number in ((0, "mean", 0), (1, "mean", 0), (0, "positions:2", 0), (0, "positions:2", 1))
    ]
    assert len(set(found)) == 4
    assert attribute(tmp_path, Net(Tiny()), seed=1)["conv1"][0] == found[0]  # no chance enters a mean


def test_a_trial_chooses_the_batch_once_and_keeps_it(tmp_path: Path) -> None:
    attribute(tmp_path, Net(Tiny()), batch_size=None)
    (kept,) = (tmp_path / "state").iterdir()
    assert json.loads(kept.read_text())["batch_size"] in (16, 32)
    kept.write_text(json.dumps({"format": 1, "batch_size": 3}))
    name = attribute(tmp_path, Net(Tiny(1)), batch_size=None)["conv1"][0]
    assert Store(tmp_path).header(name)["told"]["batch_size"] in (16, 32)  # of another network
    shutil.rmtree(tmp_path / "parts")
    name = attribute(tmp_path, Net(Tiny()), batch_size=None)["conv1"][0]
    assert Store(tmp_path).header(name)["told"]["batch_size"] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": {"conv3": "mean"}}, "no layer 'conv3': did you mean conv2, conv1"),
        ({"layers": {"fc": "positions:2"}}, "layer fc: positions:2 needs an output with places"),
        ({"batch_size": 0}, "a batch of 0 images was asked for: 1 to 4096 are possible"),
        ({"device": "tpu"}, "no device 'tpu'|tpu"),
    ],
)
def test_mistakes_show_before_anything_is_written(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        attribute(tmp_path, Net(Tiny()), **options)
    assert not (tmp_path / "parts").exists()


def test_what_is_not_finite_is_counted_and_what_float16_cannot_hold_kept_in_float32() -> None:
    values = np.array([[1.0, np.nan], [2.0, -np.inf], [1e-3, 5.0]], np.float32)
    part = part_attribution(values, layer="fc", functional="mean")
    assert part.nonfinite.tolist() == [0, 2] and part.values.dtype == np.float16
    large = part_attribution(np.full((2, 2), 1e5, np.float32), layer="fc", functional="mean")
    assert large.values.dtype == np.float32 and large.nonfinite.tolist() == [0, 0]
    values[:, 1] = 6e-6
    small = part_attribution(values / 100, layer="fc", functional="mean")
    assert (
        small.values.dtype == np.float32 and part_attribution(0 * values, layer="fc", functional="mean").values.dtype == "f2"
    )
    np.testing.assert_array_equal(small.values, values / 100)
    made = make_attributions(["a", "b"], [part, large], number=3)
    assert (made.part_points, made.output_count, made.dtype, made.nonfinite) == ([3, 2], 2, "float32", 2)
    other = part_attribution(values, layer="conv", functional="mean")
    with pytest.raises(AtlasError, match=r"these are of conv \(mean, 2 outputs\), fc \(mean, 2 outputs\): attribute them"):
        make_attributions(["a", "b"], [part, other], number=3)


# ---------------------------------------------------------------------------------------------------------------------
# On an atlas


@pytest.fixture(scope="module")
def standing(tiny_atlas: package.Atlas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny world's atlas, attributed and divided into cells."""
    root = tmp_path_factory.mktemp("argued") / "argued"
    shutil.copytree(tiny_atlas.store.root, root)
    opened = arguing.attribute(package.open(root), batch_size=16)
    arguing.make_all_cells(opened, sizes=[2, 4])
    return root


def test_an_atlas_s_attributions_lie_beside_its_points_and_name_mostly_the_prediction(standing: Path) -> None:
    opened = package.open(standing)
    for layer in opened.layers:
        found = argued.attribution(opened, layer)
        assert found.shape == (len(opened.vectors(layer)), 3)
    images = opened.activations("act").point_image
    named = np.asarray(argued.attribution(opened, "act")[:]).argmax(1)
    assert (named == opened.predictions.prediction[images]).mean() > 0.9  # type: ignore[union-attr]
    logits = np.asarray(opened.vectors("logits")[:], np.float32)
    np.testing.assert_allclose(
        argued.attribution(opened, "logits")[:], logits, atol=0.2, rtol=0.02
    )  # those ran in bfloat16 where it is fast


def test_every_layout_has_cells_and_a_joint_one_the_attribution_of_its_last_layer(standing: Path) -> None:
    opened = package.open(standing)
    assert len(opened.names("cells")) == 4 == len(opened.names("layout"))
    assert argued.cells(opened, "act", "tsne").attributed == "act"
    joint = argued.cells(opened, "+".join(opened.layers), "umap")
    assert joint.attributed == "logits" and joint.units == [8, 12, 3] and joint.sizes == [2, 4]
    own = argued.cells(opened, "act")
    cell = int(own.of_grid(2)[0])
    rows = np.asarray(argued.attribution(opened, "act")[own.members_of(cell)], np.float64)
    np.testing.assert_allclose(own.attribution[cell], rows.mean(0), atol=1e-5)
    table = argued.cells_frame(opened, "act", size=2)
    assert set(table["output"]) <= set(tiny.SHAPES) and (table["opacity"] <= 1).all()
    assert opened.network_of(argued.cells_name(opened, "act")) == opened.meant


def test_done_again_nothing_changes_and_other_sizes_stand_beside(standing: Path) -> None:
    before = package.open(standing).store.shown()
    after = arguing.make_all_cells(arguing.attribute(package.open(standing)), sizes=[4, 2, 2])
    assert sorted(after.store.shown()) == sorted(before)
    other = arguing.make_cells(after, "act", "pca", sizes=[3])
    assert len(other.names("cells")) == 5 and argued.cells(other, "act", "pca").sizes == [3]
    assert isinstance(other.store.read(argued.cells_name(other, "act", "pca"), Cells), Cells)


def test_cells_made_before_the_attribution_are_replaced_by_those_with_it(
    tiny_atlas: package.Atlas, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("cells-first") / "cells-first"
    shutil.copytree(tiny_atlas.store.root, root)
    plain = arguing.make_cells(package.open(root), "act", sizes=[2])
    assert argued.cells(plain, "act").attributed is None
    with pytest.raises(AtlasError, match=r"layer act has no attribution \(those that have: none\): attribute it first"):
        argued.attribution(plain, "act")
    with pytest.raises(AtlasError, match="no cells 'tsne of act': did you mean umap of act"):
        argued.cells(plain, "act", "tsne")
    with pytest.raises(AtlasError, match="no layout 'umap of pool'"):
        arguing.make_cells(plain, "pool", sizes=[2])
    full = arguing.make_cells(arguing.attribute(plain, ["act"]), "act", sizes=[2])
    assert len(full.names("cells")) == 1 and argued.cells(full, "act").attributed == "act"
    assert full.store.unreached().keys() <= {plain.names("cells")[0]}


def test_attributions_and_cells_are_read_without_torch(standing: Path) -> None:
    code = (
        "import sys, atlas; from atlas import argued; a = atlas.open(sys.argv[1]);"
        "argued.attribution(a, 'act')[:5]; argued.cells_frame(a, 'act'); print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code, str(standing)], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_a_record_names_its_parts_and_reads_by_rows(standing: Path) -> None:
    store = package.open(standing).store
    name = next(n for n in store.shown("attributions") if store.header(n)["fields"]["layer"] == "pool")
    record = store.read(name, Attributions)
    assert record.parts == store.header(name)["inputs"]["parts"] and record.output_count == 3 and record.nonfinite == 0
    rows = attributions_of(store, record)
    np.testing.assert_array_equal(rows[[5, 1]], np.asarray(rows[:])[[5, 1]])
