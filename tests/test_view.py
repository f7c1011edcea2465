"""What the pages read from an atlas, without Bokeh and without a browser."""

from __future__ import annotations

import gc
import itertools
import json
import subprocess
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from atlas.activations.records import Predictions
from atlas.data.records import Images
from atlas.errors import AtlasError
from atlas.maps.records import Layout, Neighbours
from atlas.pages import colours, doubts
from atlas.pages.columns import COORDINATE_STEPS, NO_CONFIDENCE, confidence_codes, quantise
from atlas.pages.explorer import images_in_words
from atlas.pages.manifest import class_palette, manifest, parameter
from atlas.pages.shelf import Shelf, cache_folder, find_atlases
from atlas.pages.view import View
from atlas.patterns.leaks import Leaks
from atlas.patterns.spread import ClassSpread
from atlas.patterns.suspects import Suspects
from atlas.store import Store
from tests import worlds


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worlds.tiny_atlas(tmp_path_factory.mktemp("view") / "world").root


@pytest.fixture(scope="module")
def view(root: Path) -> View:
    return View(root)


def test_every_layer_and_the_joint_one_has_its_layouts_lists_and_statistics(view: View) -> None:
    assert [space.id for space in view.spaces] == ["conv", "fc", "conv+fc"]
    assert [len(space.layouts) for space in view.spaces] == [2, 2, 1]
    for space in view.spaces:
        assert space.neighbours and view.inputs(space.neighbours, "activations") == space.activations
        assert space.predictions in view.names
    assert [space.statistics is None for space in view.spaces] == [False, False, True]


def test_a_view_let_go_leaves_no_file_open(root: Path) -> None:
    def asked() -> weakref.ref[View]:
        view = View(root)
        for space in view.spaces:
            assert view.xy(space.layouts[0]) is view.xy(space.layouts[0]), "kept"
            view.colours(space)
            view.nearest(space.neighbours or "", 3)
            if space.statistics:
                view.patterns(space.statistics, 3)
        view.start({})
        view.detail(3)
        return weakref.ref(view)

    asked()
    gc.collect()
    gc.disable()  # what only a collection closes adds up in a server whose atlas grows
    try:
        before = len(list(Path("/proc/self/fd").iterdir()))
        assert asked()() is None
        assert len(list(Path("/proc/self/fd").iterdir())) == before
    finally:
        gc.enable()


def test_the_joint_space_shows_the_patterns_of_its_layers(view: View) -> None:
    told = manifest(view, view.start({}), several=False)["spaces"]
    assert [[source["layer"] for source in space["patterns"]] for space in told] == [["conv"], ["fc"], ["conv", "fc"]]


def test_the_page_opens_on_held_out_images_only_where_there_are_both_splits(view: View, tmp_path: Path) -> None:
    assert view.start({}).split == "held-out"
    assert View(worlds.tiny_atlas(tmp_path, 20, splits=False).root).start({}).split == "all"


def test_of_layers_laid_out_alike_the_page_opens_on_the_descriptor(tmp_path: Path) -> None:
    view = View(worlds.tiny_atlas(tmp_path / "4", 20).root)
    assert view.start({}).space == "fc" and view.descriptor.id == "fc"  # the last: neither has as many units as outputs
    eight = View(worlds.tiny_atlas(tmp_path / "8", 20, labels=[f"class {k}" for k in range(8)]).root)
    assert eight.start({}).space == "conv"  # fc has the network's 8 outputs


def test_what_was_laid_out_most_ways_goes_before_the_descriptor(tmp_path: Path) -> None:
    store = worlds.tiny_atlas(tmp_path, 20)
    fewer = next(name for name in store.shown("layout") if store.header(name)["fields"]["layers"] == ["fc"])
    store.show([], keep=lambda names: [name for name in names if name != fewer])
    assert View(store.root).start({}).space == "conv"


def test_a_limit_is_told_with_how_many_there_were(tmp_path: Path) -> None:
    limited = View(worlds.tiny_atlas(tmp_path / "limited", 5, available=20).root)
    assert manifest(limited, limited.start({}), several=False)["images"]["available"] == 20
    assert images_in_words(limited) == "5 of 20 images"
    for count, words in ((1, "1 image"), (20, "20 images")):
        view = View(worlds.tiny_atlas(tmp_path / str(count), count).root)
        assert images_in_words(view) == words
        assert manifest(view, view.start({}), several=False)["images"]["available"] is None


def test_a_split_that_is_known_of_no_image_is_not_offered_as_a_colour(view: View, tmp_path: Path) -> None:
    unknown = View(worlds.tiny_atlas(tmp_path, 20, splits=False).root)
    assert "split" not in unknown.colours(unknown.spaces[0]) and "split" in view.colours(view.spaces[0])
    assert not manifest(unknown, unknown.start({}), several=False)["images"]["told"]


def test_a_link_restores_what_it_names(view: View) -> None:
    image = str(view.images.table["image_id"].iloc[7])
    asked = {"layer": "fc", "layout": view.spaces[1].layouts[1], "split": "train", "colour": "confidence", "image": image}
    start = view.start(asked)
    assert (start.space, start.layout, start.split, start.colour) == ("fc", asked["layout"], "train", "confidence")
    assert start.image == 7 and not start.notices


@pytest.mark.parametrize("name", ["layer", "layout", "split", "colour", "image"])
def test_a_hostile_argument_is_left_out_with_a_notice(view: View, name: str) -> None:
    start = view.start({name: "<script>alert(1)</script>\n\x00" * 9})
    assert start == view.start({}).__class__(**{**view.start({}).__dict__, "notices": start.notices})
    assert len(start.notices) == 1 and f"the {name} " in start.notices[0] and len(start.notices[0]) < 160


def test_a_layout_of_another_layer_is_not_opened_with_this_one(view: View) -> None:
    start = view.start({"layer": "fc", "layout": view.spaces[0].layouts[0]})
    assert start.layout == view.spaces[1].layouts[0] and "layout" in start.notices[0]


def test_quantising_keeps_the_shape_of_a_map_to_a_step(view: View) -> None:
    rng = np.random.default_rng(0)
    xy = rng.normal(size=(500, 2)) * [30.0, 4.0] + 1000
    codes = quantise(xy).astype(float).T
    assert codes.min() == 0 and codes.max() == COORDINATE_STEPS
    scale = COORDINATE_STEPS / np.ptp(xy, axis=0).max()
    back = (codes - codes.mean(0)) / scale
    assert np.abs(back - (xy - xy.mean(0))).max() <= 1.01 / scale


def test_quantising_bears_one_point_and_none() -> None:
    assert quantise(np.array([[3.0, 4.0]])).tolist() == [[32768], [32768]]
    assert quantise(np.zeros((0, 2))).shape == (2, 0)


def test_a_missing_confidence_is_none_and_the_others_keep_four_digits() -> None:
    codes = confidence_codes(np.array([np.nan, 0, 0.12345, 1]))
    assert codes[0] == NO_CONFIDENCE and codes[1] == 0 and codes[3] == NO_CONFIDENCE - 1
    assert abs(codes[2] / (NO_CONFIDENCE - 1) - 0.12345) < 1e-5


def test_columns_hold_what_the_records_hold_and_cannot_be_written(view: View) -> None:
    space = view.spaces[0]
    record = view.store.read(str(space.predictions), Predictions)
    assert (view.column(view.images_name, "label") == view.store.read(view.images_name, Images).codes).all()
    assert (
        view.column(str(space.predictions), "prediction") == record.prediction
    ).all()  # outputs stand in label order here
    assert (view.column(str(space.predictions), "right") == record.right).all()
    told, codes = view.column(str(space.predictions), "mistake"), view.column(view.images_name, "label")
    assert ((told == 0) == (record.prediction == codes)).all() and (codes + told == record.prediction).all()
    assert view.column(space.layouts[0], "xy").shape == (2, 300)
    for name, what in [(view.images_name, "split"), (str(space.predictions), "confidence"), (space.layouts[0], "xy")]:
        with pytest.raises(ValueError, match="read-only"):
            view.column(name, what)[...] = 0


def test_faithfulness_is_a_column_of_points_and_suspicion_one_of_images(view: View) -> None:
    space = view.spaces[1]
    recall = view.read(space.layouts[0], Layout).recall
    np.testing.assert_array_equal(view.column(space.layouts[0], "recall"), confidence_codes(recall))
    score = view.read(space.doubts["suspects"], Suspects).score
    np.testing.assert_array_equal(view.column(space.doubts["suspects"], "score"), confidence_codes(score))
    assert view.colours(space)[-3:] == ["faithfulness", "suspicion", "split"]
    assert view.spaces[2].doubts == {} and "suspicion" not in view.colours(view.spaces[2])  # joint: of no single layer
    with pytest.raises(AtlasError, match="has no column"):
        view.column(view.images_name, "score")


def test_suspicion_and_twins_of_an_image_are_those_of_the_records(view: View) -> None:
    space = view.spaces[1]
    record = view.read(space.doubts["suspects"], Suspects)
    row = int(np.nanargmax(record.score))
    told = doubts.suspicion(view, space.doubts["suspects"], row)
    assert told["score"] == record.score[row] and told["say"] == view.images.labels[record.usual[row]]
    pairs = view.read(space.doubts["leaks"], Leaks).pairs
    for held, train in zip(pairs["held_out"], pairs["train"], strict=True):
        assert train in doubts.twins(view, space.doubts["leaks"], held)["twins"]
        assert held in doubts.twins(view, space.doubts["leaks"], train)["twins"]
    for ask, stage in ((doubts.suspicion, "suspects"), (doubts.twins, "leaks")):
        with pytest.raises(AtlasError, match="no image 300: there are 300"):
            ask(view, space.doubts[stage], 300)


def test_the_page_is_told_how_each_class_lies_in_the_layer(view: View) -> None:
    space = view.spaces[1]
    told = manifest(view, view.start({}), several=False)["spaces"][1]["spread"]
    record = view.read(space.doubts["spread"], ClassSpread)
    assert [part["purity"] for part in told] == record.purity[0].tolist()
    for code, part in enumerate(told):
        others = np.delete(record.mixing[0, code], code)
        assert part["share"] == pytest.approx(others.max()) and (part["other"] != code or part["share"] == 0)


def test_a_column_that_is_not_there_is_refused(view: View) -> None:
    with pytest.raises(AtlasError, match="has no column"):
        view.column(view.images_name, "xy")
    with pytest.raises(AtlasError, match="no image 300: there are 300"):
        view.detail(300)
    with pytest.raises(AtlasError, match="no point 300: there are 300"):
        view.nearest(str(view.spaces[0].neighbours), 300)


def test_one_image_in_words_is_the_image_of_the_table(view: View) -> None:
    detail = view.detail(41)
    entry = view.images.table.iloc[41]
    assert detail["image_id"] == entry["image_id"] and detail["path"] == "41.png" and detail["label"] == entry["label"]
    assert detail["columns"] == {"camera": "camera 2"} and detail["size"] == [28, 28] and detail["error"] is None


def test_the_most_probable_outputs_fall_and_begin_with_the_prediction(view: View) -> None:
    name = str(view.spaces[0].predictions)
    top = view.top(name, 3)
    record = view.store.read(name, Predictions)
    shares = [entry["probability"] for entry in top["top"]]
    assert shares == sorted(shares, reverse=True) and top["top"][0]["name"] == record.map.names[record.prediction[3]]
    assert top["right"] == record.right[3]


def test_neighbours_are_the_kept_ones_in_order(view: View) -> None:
    name = str(view.spaces[2].neighbours)
    record = view.store.read(name, Neighbours)
    near = view.nearest(name, 5)
    assert near["points"] == record.indices[5].tolist() and near["metric"] == "L2" and near["exact"]
    assert near["distances"] == sorted(near["distances"])


def test_without_a_complete_class_map_right_and_wrong_are_absent(tmp_path: Path) -> None:
    view = View(worlds.tiny_atlas(tmp_path, 40, complete=False).root)
    assert "right" not in view.colours(view.spaces[0]) and "prediction" in view.colours(view.spaces[0])
    told = manifest(view, view.start({}), several=False)
    part = told["predictions"][view.spaces[0].predictions]
    assert not part["judged"] and "undefined" in part["sentence"]
    names, codes = view.predicted(str(view.spaces[0].predictions))
    assert set(names[len(view.images.labels) :]) == {f"thing {k}" for k in range(4)} and codes.min() >= len(
        view.images.labels
    )


def test_unlabelled_images_have_no_class_to_colour_by_and_no_patterns(tmp_path: Path) -> None:
    codes = np.full(30, -1)
    pixels = np.stack([worlds.picture(0, row) for row in range(30)])
    view = View(worlds.tiny_atlas(tmp_path, labels=["only"], codes=codes, pixels=pixels).root)
    assert (view.column(view.images_name, "label") == -1).all()
    assert view.patterns(str(view.spaces[0].statistics), 1).empty == ["only"]


def test_patterns_follow_the_split(view: View) -> None:
    name = str(view.spaces[0].statistics)
    counts = [int(view.patterns(name, split).count.sum()) for split in range(4)]
    assert counts[0] + counts[1] == counts[3] and counts[2] == 0
    right = view.column(str(view.spaces[0].predictions), "right")
    assert counts[1] == int((right[view.splits == 1] == 1).sum())


def test_the_manifest_is_plain_json_and_small(view: View) -> None:
    told = manifest(view, view.start({}), several=True)
    assert len(json.dumps(told, allow_nan=False)) < 20_000
    assert told["images"]["splits"] == {"train": 180, "held-out": 120, "unknown": 0}
    assert told["spaces"][0]["layouts"][0]["words"] == "n neighbors 15, min dist 0.1, metric L2"
    assert "jointly: conv, fc" in told["spaces"][2]["title"] and parameter("min_dist", 0.10000000001) == "min dist 0.1"


def test_a_layout_that_does_not_fit_its_layer_is_refused_in_words(tmp_path: Path) -> None:
    store = worlds.tiny_atlas(tmp_path, 30)
    view = View(store.root)
    name = view.spaces[0].layouts[0]
    of_points = {"xy", "confidence", "recall", "trust", "continuity"}
    for field, value in vars(store.read(name, Layout)).items():
        if field in of_points:
            np.save(store.path(name) / f"{field}.npy", np.array(value[:-1]))
    with pytest.raises(AtlasError, match="has 29 points and its layer 30"):
        View(store.root).xy(name)


def test_an_atlas_without_a_layout_says_what_to_do(tmp_path: Path) -> None:
    store = worlds.tiny_atlas(tmp_path, 20)
    store.show([], keep=lambda names: [name for name in names if not name.startswith("layout-")])
    with pytest.raises(AtlasError, match="has no layout yet: run `atlas build`"):
        View(store.root)


def test_a_damaged_atlas_is_one_clear_error(tmp_path: Path) -> None:
    store = worlds.tiny_atlas(tmp_path, 20)
    header = store.path(store.shown("activations")[0]) / "record.json"
    broken = json.loads(header.read_text())
    del broken["fields"]["layer"]
    header.write_text(json.dumps(broken))
    with pytest.raises(AtlasError, match="is damaged"):
        Shelf().open(store.root)


def test_the_shelf_opens_once_and_again_when_the_atlas_has_changed(tmp_path: Path) -> None:
    store, shelf = worlds.tiny_atlas(tmp_path, 20), Shelf()
    first = shelf.open(store.root)
    assert shelf.open(store.root) is first and shelf.owner(first.images_name) is first
    store.show([], title="another title")
    assert shelf.open(store.root).title == "another title"
    with pytest.raises(AtlasError, match="no atlas open here shows"):
        shelf.owner("images-0000000000000000")


def test_a_key_finds_its_atlas_among_several(tmp_path: Path) -> None:
    shelf = Shelf()
    stores = [worlds.tiny_atlas(tmp_path / str(seed), 20, seed=seed) for seed in range(2)]
    shelf.known.update(store.root.resolve() for store in stores)
    for store in stores:
        assert shelf.owner(store.shown("images")[0]).store.root == store.root.resolve()


def test_atlases_are_found_in_a_cache_and_an_atlas_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b", "a"):
        Store(tmp_path / name).show([], title=name)
    (tmp_path / "datasets").mkdir()
    assert [path.name for path in find_atlases(tmp_path)] == ["a", "b"]
    assert find_atlases(tmp_path / "a") == [tmp_path / "a"] and find_atlases(tmp_path / "none") == []
    monkeypatch.setenv("ATLAS_CACHE", str(tmp_path))
    assert cache_folder(Path("/repository")) == tmp_path
    monkeypatch.delenv("ATLAS_CACHE")
    assert cache_folder(Path("/repository")) == Path("/repository/cache")


def test_the_pages_import_no_torch_and_no_umap() -> None:
    names = "atlas.pages.view, atlas.pages.explorer, atlas.pages.routes, atlas.data.reading"
    code = f"import sys, {names}; print([m for m in ('torch', 'umap', 'numba', 'openTSNE', 'faiss') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# Machado, Oliveira, Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency", 2009, severity 1.
VISION = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def oklab(linear: np.ndarray) -> np.ndarray:
    """Return linear sRGB [colour, rgb] in OKLab (Ottosson, 2020)."""
    cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.cbrt(np.clip(linear, 0, 1) @ np.array(cones).T) @ np.array(lab).T


def least_apart(names: Sequence[str], vision: str) -> float:
    """Return the least OKLab distance between two of some colours as a kind of vision sees them."""
    rgb = np.array([[int(colour[k : k + 2], 16) for k in (1, 3, 5)] for colour in names]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = oklab(linear @ np.array(VISION[vision]).T)
    return min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2))


@pytest.mark.parametrize("vision", VISION)
def test_the_first_ten_colours_stay_apart_for_every_kind_of_vision(vision: str) -> None:
    assert least_apart(colours.CLASSES[:10], vision) > 0.09  # the eye just notices 0.02


@pytest.mark.parametrize(("vision", "least"), [("normal", 0.07), ("protan", 0.05), ("deutan", 0.05), ("tritan", 0.035)])
def test_forty_colours_stay_apart_and_those_after_the_tenth_from_none_too(vision: str, least: float) -> None:
    assert len(set(colours.CLASSES)) >= 40
    assert least_apart(colours.CLASSES, vision) > least
    assert least_apart([*colours.CLASSES[10:], colours.NONE], vision) > least


def test_beyond_ten_classes_the_first_colours_go_to_those_that_have_images(tmp_path: Path) -> None:
    assert colours.class_colours(10, [9, 3]) == list(colours.CLASSES[:10])
    assert [colours.class_colours(50, [41, 7])[code] for code in (7, 41, 0)] == [*colours.CLASSES[1::-1], colours.CLASSES[2]]
    labels, codes = [f"class {k:02d}" for k in range(30)], np.repeat([3, 28], 10)
    view = View(worlds.tiny_atlas(tmp_path, labels=labels, codes=codes).root)
    assert [class_palette(view)[code] for code in (3, 28)] == list(colours.CLASSES[:2])
