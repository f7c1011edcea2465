"""An atlas that grows: rows appended, only new parts run, point and image stay together whatever is done after."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import atlas
from atlas import argued, arguing
from atlas.activations import records
from atlas.activations.extract import describe
from atlas.activations.records import Activations
from atlas.data import thumbnails
from atlas.data.reading import open_reader
from atlas.data.thumbnails import thumbnail
from atlas.errors import AtlasError
from atlas.maps.records import Cells
from atlas.pages.view import View
from tests import tiny
from tests.heard import Heard

OPTIONS = {"layers": ["conv2=positions:3", "act", "logits"], "layouts": ["umap:act", "pca:conv2", "pca:act+logits"]}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(records, "PART", 32)


@pytest.fixture(scope="module")
def ready(tmp_path_factory, world):
    """Two folders of pictures, `old` of 60 and `new` of 24, an atlas of the first, and one of two networks."""
    folder = tmp_path_factory.mktemp("growing")
    tiny.write_images(folder / "old", per_class=10, seed=1)
    tiny.write_images(folder / "new", per_class=4, seed=2)
    shutil.copy(world / "weights.safetensors", folder)
    chosen = {"network": {"weights": folder / "weights.safetensors"}, "progress": Heard(), **OPTIONS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "PART", 32)
        atlas.build(tiny.MODEL, str(folder / "old"), cache=folder / "atlas", **chosen)
        shutil.copytree(folder / "atlas", folder / "two")
        atlas.build(tiny.MODEL, into=folder / "two", progress=Heard(), **OPTIONS)
    return folder


@pytest.fixture
def pictures(tmp_path, ready):
    """A copy of what is ready, for a test to change."""
    return Path(shutil.copytree(ready, tmp_path / "pictures"))


def built(pictures: Path, world: Path, **options):
    """The atlas of `old`; with options, built anew with these."""
    if not options:
        return atlas.open(pictures / "atlas")
    shutil.rmtree(pictures / "atlas")
    chosen = {"network": {"weights": world / "weights.safetensors"}, **OPTIONS} | options
    return atlas.build(tiny.MODEL, str(pictures / "old"), cache=pictures / "atlas", progress=Heard(), **chosen)


def with_two_networks(pictures: Path):
    """The same with a second network: the tiny one with its first weights, never trained."""
    shutil.rmtree(pictures / "atlas")
    (pictures / "two").rename(pictures / "atlas")
    return atlas.open(pictures / "atlas")


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened)


def test_rows_are_appended_and_none_is_renumbered(pictures, world):
    before = built(pictures, world).images()
    after = atlas.add(pictures / "atlas", str(pictures / "new"), progress=Heard()).images()
    assert len(after) == 84
    columns = ["image_id", "path", "label", "split", "width", "height", "mode", "duplicate_of", "prediction", "right"]
    pd.testing.assert_frame_equal(after.head(60)[columns], before[columns])
    assert after["confidence"][:60].to_numpy() == pytest.approx(before["confidence"].to_numpy(), abs=1e-6)
    assert after["right"].tail(24).mean() > 0.9 and set(after["label"].tail(24)) == set(tiny.SHAPES)


def test_only_parts_with_new_images_run(pictures, world):
    built(pictures, world)
    heard = Heard()
    parts = {path.name for path in (pictures / "atlas" / "parts").iterdir()}
    atlas.add(pictures / "atlas", str(pictures / "new"), progress=heard)
    made = {path.name for path in (pictures / "atlas" / "parts").iterdir()} - parts
    assert len(parts) == 2 and len(made) == 2  # rows 0–31 stand, 32–59 grew to 63, 64–83 are new


def test_what_is_there_already_is_not_added_again(pictures, world):
    built(pictures, world)
    extra = pictures / "old" / "train" / "disc" / "zzz.png"
    shutil.copy(pictures / "new" / "train" / "disc" / "000.png", extra)
    heard = Heard()
    grown = atlas.add(pictures / "atlas", str(pictures / "old"), progress=heard)
    assert len(grown.image_record) == 61 and grown.images()["path"].iloc[-1] == "train/disc/zzz.png"
    assert "1 images are new, 60 are there already" in heard.lines
    shown = grown.store.shown()
    again = Heard()
    assert atlas.add(pictures / "atlas", str(pictures / "old"), progress=again).store.shown() == shown
    assert any("all 61 images are in" in line and "nothing was added" in line for line in again.lines)


def test_a_file_that_changed_since_is_refused_and_nothing_is_lost(pictures, world):
    opened = built(pictures, world)
    shutil.copy(pictures / "new" / "train" / "disc" / "000.png", pictures / "old" / "train" / "disc" / "003.png")
    shown = opened.store.shown()
    with pytest.raises(
        AtlasError, match=r"1 of the images have changed since they were added, the first is train/disc/003\.png"
    ):
        atlas.add(pictures / "atlas", str(pictures / "old"), progress=Heard())
    assert opened.store.shown() == shown


def test_exact_duplicates_from_elsewhere_are_added_and_marked(pictures, world):
    built(pictures, world)
    other = pictures / "copies" / "disc"
    other.mkdir(parents=True)
    shutil.copy(pictures / "old" / "train" / "disc" / "003.png", other / "copy.png")
    table = atlas.add(pictures / "atlas", str(pictures / "copies"), progress=Heard()).images()
    first = table.index[table["path"] == "train/disc/003.png"][0]
    assert table["duplicate_of"].iloc[-1] == first and table["image_id"].iloc[-1] == f"{table['image_id'][first]}-2"


def test_a_label_that_is_no_output_is_refused_unless_asked_for(pictures, world):
    opened = built(pictures, world)
    (pictures / "new" / "train" / "disc").rename(pictures / "new" / "train" / "zebra")
    shown = opened.store.shown()
    with pytest.raises(
        AtlasError, match=r"the label zebra of the new images is no output of .*--class-map FILE.*--new-labels"
    ):
        atlas.add(pictures / "atlas", str(pictures / "new"), progress=Heard())
    assert opened.store.shown() == shown
    grown = atlas.add(pictures / "atlas", str(pictures / "new"), new_labels=True, progress=Heard())
    assert grown.image_record.labels == [*tiny.SHAPES, "zebra"] and "right" not in grown.images()
    assert "not matched: zebra" in grown.predictions.map.sentence


def test_a_grown_atlas_holds_what_one_built_at_once_holds(pictures, world):
    """Images, predictions, vectors, statistics, patterns and neighbours; the places of old points stay as they were."""
    first = built(pictures, world)
    places = first.layout("act", "umap")
    grown = atlas.add(pictures / "atlas", str(pictures / "new"), progress=Heard())
    shutil.copytree(pictures / "old", pictures / "both")
    for path in (pictures / "new").rglob("*.png"):
        target = pictures / "both" / path.relative_to(pictures / "new")
        shutil.copy(path, target.with_name(f"n{target.name}"))
    chosen = {"network": {"weights": world / "weights.safetensors"}, **OPTIONS}
    whole = atlas.build(tiny.MODEL, str(pictures / "both"), cache=pictures / "whole", progress=Heard(), **chosen)
    by_id = whole.images().reset_index().set_index("image_id")["index"]
    rows = by_id[grown.images()["image_id"]].to_numpy()
    assert sorted(rows) == list(range(84))
    for layer in ("act", "logits"):
        np.testing.assert_allclose(grown.vectors(layer)[:], whole.vectors(layer)[rows], rtol=1e-2, atol=1e-2)
        np.testing.assert_allclose(grown.patterns(layer).mean, whole.patterns(layer).mean, rtol=1e-2, atol=1e-2)
        assert grown.patterns(layer).count.tolist() == whole.patterns(layer).count.tolist()
        for row in (3, 70):
            mine = set(grown.neighbours(row, layer=layer, k=9)["image_id"])
            assert len(mine & set(whole.neighbours(int(rows[row]), layer=layer, k=9)["image_id"])) >= 8
    after = grown.layout("act", "umap")
    assert len(after) == 84
    np.testing.assert_array_equal(after[["x", "y"]].to_numpy()[:60], places[["x", "y"]].to_numpy())


def test_new_points_are_placed_among_their_like_with_a_confidence(pictures, world):
    built(pictures, world)
    grown = atlas.add(pictures / "atlas", str(pictures / "new"), progress=Heard())
    table, places = grown.images(), grown.layout("act", "umap")
    xy, label = places[["x", "y"]].to_numpy(), table["label"].to_numpy()
    near = ((xy[60:, None] - xy[None, :60]) ** 2).sum(-1).argsort(axis=1)[:, :5]
    assert (label[:60][near] == label[60:, None]).mean() > 0.8
    assert places["confidence"][:60].isna().all() and places["confidence"][60:].between(0, 1).all()


def test_pca_places_are_exact(pictures, world):
    vectors = np.asarray(built(pictures, world, layouts=["pca:act"]).vectors("act"), np.float64)
    grown = atlas.add(pictures / "atlas", str(pictures / "new"), progress=Heard())
    centre = vectors.mean(0)
    _, _, axes = np.linalg.svd(vectors - centre, full_matrices=False)
    expected = (np.asarray(grown.vectors("act"), np.float64) - centre) @ axes[:2].T
    found = grown.layout("act", "pca")[["x", "y"]].to_numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-3, atol=1e-3)


def test_refit_lays_out_anew_with_the_parameters_there_were(pictures, world):
    built(pictures, world, layouts=["umap:act,n_neighbors=7,min_dist=0.3"])
    grown = atlas.add(pictures / "atlas", str(pictures / "new"), refit=True, progress=Heard())
    (name,) = grown.names("layout")
    asked = grown.headers[name]["parameters"]
    assert (asked["n_neighbors"], asked["min_dist"]) == (7, 0.3) and "extends" not in asked
    assert grown.layout("act", "umap")["confidence"].isna().all() and len(grown.layout("act", "umap")) == 84


def test_an_atlas_grows_more_than_once_and_from_many_places(pictures, world):
    built(pictures, world, layers=["act"], layouts=["pca"])
    for number in range(3):
        tiny.write_images(pictures / f"more{number}", per_class=2, seed=10 + number, splits=())
        atlas.add(pictures / "atlas", str(pictures / f"more{number}"), split="held-out", progress=Heard())
    grown = atlas.open(pictures / "atlas")
    assert len(grown.image_record) == 78 and grown.image_record.counts["additions"] == [6, 6, 6]
    reader = open_reader(grown.image_record, grown.store.root)
    for row in (0, 59, 60, 65, 66, 77):
        root = pictures / ("old" if row < 60 else f"more{(row - 60) // 6}")
        shown = pixels(root / grown.images()["path"][row])
        np.testing.assert_array_equal(np.asarray(reader.image(row)), shown)


def test_an_atlas_is_moved_with_all_its_sources(pictures, world, tmp_path):
    built(pictures, world)
    atlas.add(pictures / "atlas", str(pictures / "new"), progress=Heard())
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for folder in ("atlas", "old", "new"):
        (pictures / folder).rename(moved / folder)
    grown = atlas.open(moved / "atlas")
    assert open_reader(grown.image_record, grown.store.root).image(83).size == (tiny.EDGE, tiny.EDGE)


def test_sheets_that_were_full_are_kept_and_each_thumbnail_is_its_images(pictures, world, monkeypatch):
    monkeypatch.setattr("atlas.data.thumbnails.columns_for", lambda edge: 5)
    built(pictures, world, layers=["act"], layouts=["pca"])
    first = atlas.open(pictures / "atlas").image_record
    sheets = {name: path.read_bytes() for name, path in first.thumbnails.items()}
    grown = atlas.add(pictures / "atlas", str(pictures / "new"), progress=Heard()).image_record
    after = {name: path.read_bytes() for name, path in grown.thumbnails.items()}
    assert list(after) == ["000.webp", "001.webp", "002.webp", "003.webp"] and len(sheets) == 3
    assert after["000.webp"] == sheets["000.webp"] and after["001.webp"] == sheets["001.webp"]
    reader, edge = open_reader(grown, pictures / "atlas"), grown.thumbnail_edge
    own = np.stack([thumbnails.cell(reader.image(row), edge) for row in range(84)]).astype(float)
    for row in range(84):  # WebP loses a little, so that the nearest of all is asked for
        shown = np.asarray(thumbnail(grown, row).convert("RGB"), float)
        assert abs(own - shown).mean(axis=(1, 2, 3)).argmin() == row


# -- several networks ---------------------------------------------------------------------------------------------------


def test_a_second_network_is_built_over_the_same_images(pictures, world):
    first = built(pictures, world)
    shown, vectors = first.store.shown(), first.vectors("act")[:]
    both = with_two_networks(pictures)
    table = both.networks()
    assert len(table) == 2 and list(table["number"]) == [1, 2]
    assert set(shown) <= set(both.store.shown())
    assert both.images()["right"].mean() < 0.8 < atlas.open(pictures / "atlas", network=1).images()["right"].mean()
    assert not np.allclose(both.vectors("act")[:], vectors)
    np.testing.assert_array_equal(atlas.open(pictures / "atlas", network=1).vectors("act")[:], vectors)


def test_an_unknown_network_is_refused_with_those_there_are(pictures, world):
    with_two_networks(pictures)
    with pytest.raises(AtlasError, match=r"no network of this atlas.*3"):
        atlas.open(pictures / "atlas", network=3)


def test_into_takes_the_same_images_and_refuses_others(pictures):
    options = {"into": pictures / "atlas", "layers": ["act"], "layouts": ["pca"], "progress": Heard()}
    assert len(atlas.build(tiny.MODEL, str(pictures / "old"), **options).networks()) == 2
    with pytest.raises(AtlasError, match=r"0 of these 24 images are among the 60 of .*leave IMAGES out.*atlas add"):
        atlas.build(tiny.MODEL, str(pictures / "new"), **options)


def test_a_build_without_images_says_what_would_do(world, tmp_path):
    with pytest.raises(AtlasError, match=r"say which images: .*--into ATLAS"):
        atlas.build(tiny.MODEL, cache=tmp_path / "a", progress=Heard())
    with pytest.raises(AtlasError, match="give one of the two"):
        atlas.build(tiny.MODEL, cache=tmp_path / "a", into=tmp_path / "b", progress=Heard())
    with pytest.raises(AtlasError, match="no atlas in"):
        atlas.build(tiny.MODEL, into=tmp_path / "b", progress=Heard())


def test_both_networks_grow(pictures, world):
    with_two_networks(pictures)
    atlas.add(pictures / "atlas", str(pictures / "new"), progress=Heard())
    for network in (1, 2):
        grown = atlas.open(pictures / "atlas", network=network)
        assert grown.layers == ["conv2", "act", "logits"] and len(grown.vectors("act")) == 84
        assert len(grown.layout("act", "umap")) == 84 and len(grown.vectors("conv2")) == 252
        assert len(grown.neighbours(80, layer="act", k=5)) == 5 and grown.images()["prediction"].notna().all()


# -- point ↔ image --------------------------------------------------------------------------------------------------------


def truth(pictures: Path, table: pd.DataFrame, row: int) -> np.ndarray:
    """The pixels of a row: the first 60 are of `old`, the others of `new`, where files have the same names."""
    return pixels(pictures / ("old" if row < 60 else "new") / table["path"][row])


@pytest.mark.parametrize("seed", range(3))
def test_point_and_image_stay_together_after_growth_filter_sort_layer_and_network_switch(pictures, world, seed):
    """Of three positions per image: whatever is chosen on a page, a point leads to the picture its vector was made from."""
    with_two_networks(pictures)
    grown = atlas.add(pictures / "atlas", str(pictures / "new"), refit=bool(seed % 2), progress=Heard())
    view, table, rng = View(pictures / "atlas"), grown.images(), np.random.default_rng(seed)
    reader = open_reader(grown.image_record, grown.store.root)
    assert len({space.network for space in view.spaces}) == 2
    for space in view.spaces:
        points = view.point_image(space.activations[0])
        own = atlas.open(pictures / "atlas", network=space.network)
        record = own.store.read(space.activations[0], Activations)
        assert len(points) == len(view.xy(space.layouts[0])[0]) == (252 if record.spatial else 84)
        chosen = rng.choice(len(points), 40, replace=False)  # a lasso
        kept = chosen[table["label"].to_numpy()[points[chosen]] == tiny.SHAPES[seed]]  # a filter
        ordered = kept[np.argsort(table["confidence"].to_numpy()[points[kept]], kind="stable")]  # a sort
        for point in ordered[:8]:
            row = int(points[point])
            picture = np.asarray(reader.image(row))
            np.testing.assert_array_equal(truth(pictures, table, row), picture)
            if not record.spatial and len(space.layers) == 1:
                asked = {record.layer: record.functional}
                vector = describe(own.network(), [Image.fromarray(picture)], asked)[record.layer][0]
                mine = own.vectors(record.layer)[int(point)].astype(float)
                np.testing.assert_allclose(mine, vector, rtol=0.05, atol=0.05 * np.abs(vector).max())


# -- the images alone ------------------------------------------------------------------------------------------------------


def test_a_users_columns_of_two_tables_are_joined(pictures, world, tmp_path):
    def table(folder, **columns):
        paths = sorted((pictures / folder).rglob("*.png"))
        frame = pd.DataFrame({"path": [str(p.relative_to(pictures)) for p in paths]})
        frame["label"] = [p.parent.name for p in paths]
        frame.assign(**columns).to_csv(pictures / f"{folder}.csv", index=False)
        return str(pictures / f"{folder}.csv")

    options = {"network": {"weights": world / "weights.safetensors"}, "layers": ["act"], "layouts": ["pca"]}
    shutil.rmtree(pictures / "atlas")
    atlas.build(tiny.MODEL, table("old", camera=3, place="attic"), cache=pictures / "atlas", progress=Heard(), **options)
    grown = atlas.add(pictures / "atlas", table("new", camera="b7", rain=0.5), progress=Heard()).images()
    assert list(grown["camera"].iloc[[0, 83]]) == ["3", "b7"]
    assert grown["place"].iloc[0] == "attic" and pd.isna(grown["place"].iloc[83])
    assert pd.isna(grown["rain"].iloc[0]) and grown["rain"].iloc[83] == 0.5


def test_a_dataset_in_python_grows_by_its_own_later_items(pictures, world):
    rng = np.random.default_rng(5)
    items = [(tiny.picture(tiny.SHAPES[k % 3], rng), k % 3) for k in range(90)]

    class Items:
        def __init__(self, count):
            self.count, self.classes = count, list(tiny.SHAPES)

        def __len__(self):
            return self.count

        def __getitem__(self, index):
            if index >= self.count:
                raise IndexError(index)
            return items[index]

    options = {"network": {"weights": world / "weights.safetensors"}, "layers": ["act"], "layouts": ["pca"]}
    shutil.rmtree(pictures / "atlas")
    atlas.build(tiny.MODEL, Items(60), cache=pictures / "atlas", progress=Heard(), **options)
    grown = atlas.add(pictures / "atlas", Items(90), progress=Heard())
    assert len(grown.image_record) == 90 and len(grown.vectors("act")) == 90
    assert grown.image_record.source["kind"] == "dataset"


def test_attributions_and_cells_grow_with_the_images_and_no_grid_moves(pictures, world):
    opened = arguing.attribute(built(pictures, world))
    opened = arguing.make_all_cells(arguing.make_cells(opened, "conv2", "pca", sizes=[3, 2]), sizes=[4])
    before = {name: opened.store.read(name, Cells) for name in opened.names("cells")}
    parts = {opened.field(name, "layer"): opened.field(name, "parts") for name in opened.names("attributions")}
    grown = atlas.add(pictures / "atlas", str(pictures / "new"), progress=Heard())
    assert len(grown.names("cells")) == len(before) == 4 and not set(grown.names("cells")) & set(before)
    for layer in ("conv2", "act", "logits"):
        assert len(argued.attribution(grown, layer)) == len(grown.vectors(layer)) == 84 * (3 if layer == "conv2" else 1)
        (name,) = [n for n in grown.names("attributions") if grown.field(n, "layer") == layer]
        kept = grown.field(name, "parts")
        assert kept[0] == parts[layer][0] and len(kept) == 3 and parts[layer][1] not in kept  # whole parts are not run again
    after = [grown.store.read(name, Cells) for name in grown.names("cells")]
    for old, new in zip(before.values(), after, strict=True):
        assert (old.layers, old.sizes, old.attributed) == (new.layers, new.sizes, new.attributed)
        np.testing.assert_array_equal(old.low, new.low)
        np.testing.assert_array_equal(old.high, new.high)
        count = old.point_cell.shape[1]
        assert new.point_cell.shape[1] == len(grown.vectors(new.layers[0])) > count
        places = [list(zip(c.grid, c.column, c.row, strict=True)) for c in (old, new)]
        for point in np.flatnonzero(old.point_cell[0] >= 0):
            cell = new.point_cell[0, point]
            assert cell < 0 or places[1][cell] == places[0][old.point_cell[0, point]]
        assert new.points.sum() > old.points.sum()
