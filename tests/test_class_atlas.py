"""Class atlases and layers side by side on an atlas of a trained network: the functions, the command, the page's answers."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import atlas
from atlas.argued import cells as cells_record
from atlas.argued import class_points, common_sizes, find_output
from atlas.arguing import make_cells, make_depth
from atlas.errors import AtlasError
from atlas.maps.cells import make_cells as cells_of_points
from atlas.maps.records import Layout
from atlas.pages.class_atlas_answers import BINS, depth, difference
from atlas.pages.report_contents import report_addresses
from atlas.pages.shelf import SHELF
from atlas.pages.view import View
from atlas.patterns.class_atlas import winners
from atlas.patterns.depth import layer_depth
from tests.command import clear_refusal, run, success

DEMO = Path(__file__).parents[1] / "cache" / "fashion-mnist"


@pytest.fixture(scope="module")
def made(tiny_atlas: atlas.Atlas, tmp_path_factory: pytest.TempPathFactory) -> atlas.Atlas:
    """A copy of the tiny atlas in which the layers with a map of their own are attributed and divided into cells."""
    folder = tmp_path_factory.mktemp("class-atlas") / "tiny"
    shutil.copytree(tiny_atlas.store.root, folder)
    return make_depth(atlas.open(folder), "umap", sizes=(2, 4))


@pytest.fixture(scope="module")
def view(made: atlas.Atlas) -> View:
    return SHELF.open(made.store.root)


# -- class atlases ------------------------------------------------------------------------------------------------------


def test_the_points_of_a_class_atlas_argue_for_it_and_are_mostly_labelled_so(made):
    table = made.class_atlas("disc", layer="act", by="winner")
    assert table["attribution"].is_monotonic_decreasing
    values = np.asarray(made.attribution("act")[:], np.float32)
    assert sorted(table["point"]) == winners(values, find_output(made, "disc")).tolist()
    np.testing.assert_allclose(table["attribution"], values[table["point"], find_output(made, "disc")])
    assert (table["label"] == "disc").mean() > 0.9 and list(table["image"]) == list(table["point"])


def test_between_two_classes_the_ones_lie_on_the_one_side_and_the_others_on_the_other(made):
    table = made.class_atlas("disc", "frame", "act")
    assert table["axis"].is_monotonic_increasing and table["axis"].between(-1, 1).all()
    ends = table.groupby("label")["axis"].median()
    assert ends["disc"] < 0 < ends["frame"]
    turned = made.class_atlas("frame", "disc", "act").set_index("point")["axis"]
    np.testing.assert_allclose(-turned[table["point"]], table["axis"])
    cells = made.between("disc", "frame", "act", size=4)
    assert cells["axis"].is_monotonic_increasing and set(cells["size"]) == {4}
    assert cells.loc[cells["label"] == "disc", "axis"].max() < cells.loc[cells["label"] == "frame", "axis"].min()


def test_a_class_is_found_by_its_name_its_label_or_its_number(made):
    names = list(made.predictions.map.names)
    assert [find_output(made, name) for name in names] == list(range(len(names)))
    assert find_output(made, 1) == find_output(made, "1") == 1
    with pytest.raises(AtlasError, match="no class 'dsic': did you mean disc"):
        find_output(made, "dsic")
    with pytest.raises(AtlasError, match="an axis lies between two outputs, and both are"):
        made.class_atlas("disc", "disc", "act")
    with pytest.raises(AtlasError, match="layer pool has no attribution"):
        atlas.open(made.store.root).class_atlas("disc", layer="pool")


def test_the_command_lists_a_class_atlas_and_writes_its_points(made, tmp_path):
    file = tmp_path / "points.csv"
    arguments = ("class-atlas", made.store.root, "disc", "--against", "frame", "--layer", "act", "--grid", 4)
    told = json.loads(success(run(*arguments, "-o", file, "--json")).out)
    own = made.class_atlas("disc", "frame", "act")
    assert told["points"] == len(own) == len(pd.read_csv(file)) and told["classes"] == ["disc", "frame"]
    assert [row["cell"] for row in told["cells"]["rows"]] == made.between("disc", "frame", "act", size=4)["cell"].tolist()
    said = success(run(*arguments)).out
    assert (
        f"{len(own)} points of {len(own)} images argue for disc or frame in act (both)" in said and "(−1) to frame" in said
    )
    alone = json.loads(
        success(run("class-atlas", made.store.root, "disc", "--layer", "act", "--by", "winner", "--json")).out
    )
    assert alone["cells"] is None and alone["labels"][0]["label"] == "disc"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "no class 'nothing'"),
        (["disc", "--against", "disc"], "both are"),
        (["disc", "--layer", "actt"], "no layer"),
        (["disc", "--by", "first"], "no way to choose points 'first'"),
        (["disc", "--against", "frame", "--layer", "act", "--grid", "9"], "no grid 9: there is 2, 4"),
        (["disc", "-o", "points.txt"], "points.txt"),
    ],
)
def test_a_class_atlas_that_there_is_not_is_refused_in_one_line(made, arguments, words):
    clear_refusal(run("class-atlas", made.store.root, *arguments), words)


# -- the page's answers -------------------------------------------------------------------------------------------------


def cells_key(made: atlas.Atlas, layer: str) -> str:
    return made.names("cells", layers=[layer])[-1]


def test_the_page_is_told_the_cells_between_two_classes_and_how_their_points_are_labelled(made, view):
    key, record = cells_key(made, "act"), cells_record(made, "act")
    there = np.unique(record.best[record.best >= 0]).tolist()
    names = made.predictions.map.names
    left, right = there.index(names.index("disc")), there.index(names.index("frame"))
    told = json.loads(difference(key, str(left), str(right))[1])
    table = made.between("disc", "frame", "act")
    assert told["cell"] == table["cell"].tolist() and told["points"] == table["points"].tolist()
    np.testing.assert_allclose(told["axis"], table["axis"], atol=1e-4)
    own = class_points(made, "disc", "frame", "act")
    assert told["of"] == len(own) == sum(sum(bars) for bars in told["histogram"].values())
    assert sum(told["histogram"]["left"]) == (own["label"] == "disc").sum()
    negative = own[(own["label"] == "disc") & (own["axis"] < 0)]
    assert sum(told["histogram"]["left"][: BINS // 2]) == len(negative)
    with pytest.raises(AtlasError, match="no class 99 among those that these cells argue for"):
        difference(key, "0", "99")


def test_the_page_is_told_the_layers_side_by_side_and_those_without_cells(made, view):
    told = json.loads(depth(cells_key(made, "act"))[1])
    table = made.depth()
    assert told["layer"] == table["layer"].tolist() and told["size"] == table["size"].tolist()
    np.testing.assert_allclose(told["purity"], table["purity"], rtol=1e-4)
    laid_out = [space.layers[0] for space in view.spaces if len(space.layers) == 1]
    assert told["without"] == [layer for layer in laid_out if layer not in told["layer"]]


def test_a_report_holds_both_as_long_as_the_classes_are_few(made, view):
    addresses = {wish.address for wish in report_addresses(view)}
    key, outputs = cells_key(made, "act"), len(made.predictions.map.names)
    held = [address for address in addresses if address.startswith(f"between/{key}/")]
    assert len(held) == outputs * (outputs - 1) // 2 and f"depth/{key}.json" in addresses


# -- layers side by side ------------------------------------------------------------------------------------------------


def test_the_command_puts_the_layers_side_by_side_and_makes_what_is_missing(tiny_atlas, tmp_path_factory):
    folder = tmp_path_factory.mktemp("depth") / "tiny"
    shutil.copytree(tiny_atlas.store.root, folder)
    clear_refusal(run("depth", folder), "no layer's umap layout has cells")
    clear_refusal(run("depth", folder, "--method", "isomap", "--make"), "no layout of one layer 'isomap'")
    told = json.loads(success(run("depth", folder, "--make", "--grid", 4, "--json")).out)
    made = atlas.open(folder)
    laid_out = [layer for layer in made.layers if made.names("layout", layers=[layer], method="umap")]
    assert [row["layer"] for row in told["rows"]] == laid_out and {row["size"] for row in told["rows"]} == {4}
    assert all(0 < row["purity"] <= 1 and row["attribution"] > 0 for row in told["rows"])
    assert told["without"] == [layer for layer in made.layers if layer not in laid_out] == made.depth().attrs["without"]
    assert "purity" in success(run("depth", folder)).out


def test_layers_of_other_grids_are_compared_in_those_they_share(made):
    other = make_cells(made, "act", "pca", sizes=(4, 8))
    one, two = cells_record(made, "act"), cells_record(other, "act", "pca")
    assert common_sizes([one, two]) == [4]
    with pytest.raises(AtlasError, match=r"these have no size in common \(act 2, 4; act 8\): make them of one"):
        common_sizes([one, cells_record(make_cells(made, "act", "pca", sizes=[8]), "act", "pca")])


@pytest.mark.long
def test_label_purity_and_the_largest_attribution_rise_with_the_depth_of_a_trained_network(tmp_path):
    """With one place of each image, as Carter et al. have it: conv6 on 2 500 images of Fashion-MNIST."""
    layers = ["pool2", "pool4", "pool6", "relu_fc1"]
    made = atlas.build(
        "atlas:conv6@fashion-mnist", "fashion-mnist", cache=tmp_path / "depth", limit=2500,
        layers=[*(f"{layer}=positions:1" for layer in layers[:3]), "relu_fc1"],
        layouts=[f"umap:{layer}" for layer in layers],
    )  # fmt: skip
    table = make_depth(made, sizes=(8, 16)).depth()
    for size in (8, 16):
        own = table[table["size"] == size].set_index("layer").loc[layers]
        assert own["purity"].is_monotonic_increasing and own["attribution"].is_monotonic_increasing, own
        assert own["purity"].iloc[-1] > 2 * own["purity"].iloc[0]
        assert own["attribution"].iloc[-1] > 50 * own["attribution"].iloc[0]


def test_purity_rises_over_the_layers_of_the_demo_atlas(tmp_path):
    """Means over all places of a layer argue alike at every depth, so that of the demo's layers purity alone must rise."""
    assert (DEMO / "atlas.json").exists(), "the demo's atlas is not built: `make test` builds it"
    demo = atlas.open(DEMO)
    rows = np.linspace(0, len(demo.image_record) - 1, 20_000).astype(int)
    found = []
    for layer in demo.layers:
        layout = demo.store.read(demo.names("layout", layers=[layer], method="umap")[-1], Layout)
        some = dataclasses.replace(layout, xy=np.asarray(layout.xy)[rows], confidence=np.full(len(rows), np.nan, np.float32))
        found.append(
            cells_of_points(
                some, [demo.vectors(layer)[rows]], np.arange(len(rows)), demo.image_record.codes[rows],
                demo.image_record.labels, sizes=(8, 16),
            )
        )  # fmt: skip
    table = layer_depth(found)
    for size in (8, 16):
        assert table.loc[table["size"] == size, "purity"].is_monotonic_increasing, table
