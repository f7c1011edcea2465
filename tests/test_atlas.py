"""The whole run on the tiny world, and an atlas as Python opens it."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

import atlas
from atlas.activations.records import Predictions
from atlas.data.reading import open_reader
from atlas.data.sources import choose_images
from atlas.errors import AtlasError
from atlas.maps.records import Layout
from atlas.pages.view import View
from atlas.store import Recipe, Store
from tests import tiny
from tests.heard import Heard


def build(world, root, **options):
    heard = Heard()
    settings = {"layers": ["act"], "layouts": ["pca"], "network": {"weights": world / "weights.safetensors"}} | options
    images = settings.pop("images", str(world / "images"))
    return atlas.build(tiny.MODEL, images, cache=root, progress=heard, **settings), heard


def test_the_tiny_world_is_told_apart_and_every_record_is_shown(tiny_atlas):
    images = tiny_atlas.images()
    assert len(images) == 120 and images["right"].mean() > 0.95
    assert (images["split"].value_counts() == 60).all()
    assert tiny_atlas.layers == ["pool", "act", "logits"]
    assert list(tiny_atlas.layouts()["layers"]) == ["act", "act", "pool + act + logits", "act"]
    of_layers = {"statistics", "activations", "neighbours", "layout", "spread", "suspects", "leaks"}
    assert {"images", "network", "predictions", *of_layers} == {name.rpartition("-")[0] for name in tiny_atlas.store.shown()}


def test_the_map_keeps_the_classes_apart(tiny_atlas):
    places = tiny_atlas.layout("act", "umap")
    label = tiny_atlas.images()["label"].to_numpy()[places["image"]]
    xy = places[["x", "y"]].to_numpy()
    distance = ((xy[:, None] - xy) ** 2).sum(-1) + np.diag(np.full(len(xy), np.inf))
    nearest = np.argsort(distance, axis=1)[:, :5]
    assert (label[nearest] == label[:, None]).mean() > 0.9


def test_vectors_are_what_a_plain_forward_pass_gives(tiny_atlas, world):
    import torch

    module = tiny.network()[0].eval()
    module.load_state_dict(load_file(world / "weights.safetensors"))
    row = 17
    path = world / "images" / tiny_atlas.images()["path"][row]
    x = torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1)[None].float() / 255 - 0.2
    kept: dict[str, torch.Tensor] = {}
    module.act.register_forward_hook(lambda m, i, o: kept.update(act=o))
    with torch.no_grad():
        logits = module(x)
    mine = tiny_atlas.vectors("act")[row].astype(np.float32)
    np.testing.assert_allclose(mine, kept["act"][0], atol=0.02 * float(kept["act"].max()))
    assert tiny_atlas.images()["prediction"][row] == tiny.SHAPES[int(logits.argmax())]


def test_neighbours_of_a_row_are_the_nearest_by_brute_force(tiny_atlas):
    vectors = np.asarray(tiny_atlas.vectors("act"), np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distance = 1 - unit @ unit[5]
    distance[5] = np.inf
    found = tiny_atlas.neighbours(5, layer="act", k=7)
    assert set(found["image"]) == set(np.argsort(distance, kind="stable")[:7])
    assert found["distance"].is_monotonic_increasing and found.attrs["metric"] == "cosine"


def test_a_row_its_image_id_its_file_and_its_vector_have_the_same_neighbours(tiny_atlas, world):
    table = tiny_atlas.images()
    by_row = list(tiny_atlas.neighbours(9, k=5)["image"])
    assert list(tiny_atlas.neighbours(table["image_id"][9], k=5)["image"]) == by_row
    assert list(tiny_atlas.neighbours(world / "images" / table["path"][9], k=5)["image"]) == by_row  # known by its bytes
    by_vector = list(tiny_atlas.neighbours(tiny_atlas.vectors("act")[9], k=6)["image"])
    assert by_vector[0] == 9 and by_vector[1:] == by_row


def test_a_new_file_goes_through_the_network_and_lands_among_its_like(tiny_atlas, world, tmp_path):
    path = world / "images" / tiny_atlas.images()["path"][9]
    with Image.open(path) as picture:
        picture.save(tmp_path / "new.bmp")  # the same pixels in other bytes
    found = tiny_atlas.neighbours(tmp_path / "new.bmp", k=6)
    assert found.attrs["row"] is None and found["image"][0] == 9 and found["distance"][0] < 1e-3
    assert tiny_atlas.predict(tmp_path / "new.bmp")["prediction"][0] == tiny_atlas.predict(9)["prediction"][0]


def test_an_atlas_let_go_leaves_no_file_open(tiny_atlas):
    root, folder = tiny_atlas.store.root, Path("/proc/self/fd")

    def asked() -> None:
        opened = atlas.open(root)
        assert len(opened.neighbours(0, layer="pool", k=3)) == 3
        assert len(opened.layout("act", "umap")) and len(opened.vectors("act"))

    asked()
    gc.collect()
    gc.disable()  # what only a collection closes adds up: a process may hold so many files and no more
    try:
        before = len(list(folder.iterdir()))
        for _ in range(3):
            asked()
        assert len(list(folder.iterdir())) == before
    finally:
        gc.enable()


def test_a_layer_is_known_by_its_number_too(tiny_atlas):
    assert tiny_atlas.layer_name(6) == "act" and tiny_atlas.layer_name("3") == "pool"
    assert list(tiny_atlas.neighbours(5, layer="6")["image"]) == list(tiny_atlas.neighbours(5, layer="act")["image"])
    assert tiny_atlas.patterns("6").layer == "act"


def test_patterns_of_images_without_splits_are_of_all_of_them(world, tmp_path):
    opened, _ = build(world, tmp_path / "a", split="unknown")
    assert opened.patterns().count.sum() > 100
    with pytest.raises(AtlasError, match=r"no image is held-out: there are unknown \(120\); or take split all"):
        opened.patterns(split="held-out")


def test_more_neighbours_than_were_kept_are_searched_for(tiny_atlas):
    assert len(tiny_atlas.neighbours(0, k=119)) == 119
    assert len(tiny_atlas.neighbours(0, k=5000)) == 119


def test_a_file_is_predicted(tiny_atlas, world):
    said = tiny_atlas.predict(world / "images" / "test" / "stripes" / "000.png")
    assert said["prediction"][0] == "stripes" and said["probability"].sum() == pytest.approx(1)


def test_patterns_agree_with_the_vectors(tiny_atlas):
    images, found = tiny_atlas.images(), tiny_atlas.patterns("act")
    mine = (images["split"] == "held-out") & images["right"] & (images["label"] == "frame")
    vectors = np.asarray(tiny_atlas.vectors("act"), np.float32)[np.flatnonzero(mine)]
    np.testing.assert_allclose(found.mean[1], vectors.mean(0), rtol=5e-3, atol=1e-3)
    np.testing.assert_allclose(found.std[1], vectors.std(0), rtol=2e-2, atol=1e-3)
    assert found.count[1] == mine.sum()


def test_a_second_build_makes_nothing(tiny_atlas, world):
    before = {p: p.stat().st_mtime_ns for p in tiny_atlas.store.root.rglob("record.json")}
    _, heard = build(
        world, tiny_atlas.store.root, layers=["pool", "act", "logits"],
        layouts=["umap:act", "umap:joint", "tsne:act", "pca:act"],
    )  # fmt: skip
    assert "everything stands already: nothing was built" in heard.lines
    assert {p: p.stat().st_mtime_ns for p in tiny_atlas.store.root.rglob("record.json")} == before


def test_a_further_layer_and_layout_join_what_stands(world, tmp_path):
    first, _ = build(world, tmp_path / "a")
    kept = set(first.store.shown())
    both, _ = build(world, tmp_path / "a", layers=["pool", "act"], layouts=["pca"])
    assert kept <= set(both.store.shown()) and both.layers == ["pool", "act"]
    again, _ = build(world, tmp_path / "a", layouts=["tsne"])
    assert list(again.layouts()["method"]) == ["pca", "pca", "tsne"]


def test_other_images_in_the_same_folder_replace_what_was_shown_and_gc_finds_the_rest(world, tmp_path):
    build(world, tmp_path / "a")
    fewer, heard = build(world, tmp_path / "a", limit=30)
    assert any("earlier results, of other images or replaced" in line for line in heard.lines)
    assert len(fewer.images()) == 30 and len(fewer.store.shown("images")) == 1
    stray = fewer.store.unreached()
    assert any(name.startswith("images") for name in stray)
    assert not any(name in stray for name in fewer.store.shown())


def test_a_limit_is_stratified_and_stated(world, tmp_path):
    opened, heard = build(world, tmp_path / "a", limit=30)
    assert set(opened.images().groupby(["label", "split"]).size()) == {5}
    assert any("30 of 120 images" in line for line in heard.lines)


def test_undecodable_files_are_told_listed_and_have_no_point(world, tmp_path):
    shutil.copytree(world / "images", tmp_path / "images")
    (tmp_path / "images" / "test" / "disc" / "zz.png").write_bytes(b"not an image")
    opened, heard = build(world, tmp_path / "a", images=str(tmp_path / "images"))
    assert any("1 of 121 images do not decode" in line for line in heard.lines)
    (row,) = np.flatnonzero(opened.images()["error"].notna())
    assert row not in np.asarray(opened.activations().point_image) and opened.image_record.counts["undecodable"] == 1
    with pytest.raises(AtlasError, match=f"row {row} has no point"):
        opened.neighbours(int(row))


def test_exact_duplicates_are_told_and_marked(world, tmp_path):
    shutil.copytree(world / "images", tmp_path / "images")
    place = tmp_path / "images" / "test" / "disc"
    shutil.copy(place / "000.png", place / "copy.png")
    opened, heard = build(world, tmp_path / "a", images=str(tmp_path / "images"))
    assert any("exact duplicates of other images: 1," in line for line in heard.lines)
    assert (opened.images()["duplicate_of"] >= 0).sum() == 1 and opened.images()["image_id"].is_unique


def test_the_users_own_columns_survive(world, tmp_path):
    shutil.copytree(world / "images", tmp_path / "images")
    files = sorted(p.relative_to(tmp_path).as_posix() for p in (tmp_path / "images").rglob("*.png"))
    table = pd.DataFrame({"path": files, "label": [f.split("/")[2] for f in files], "camera": "A", "width": 7})
    table.to_csv(tmp_path / "table.csv", index=False)
    opened, _ = build(world, tmp_path / "a", images=str(tmp_path / "table.csv"), split="held-out")
    assert (opened.images()["camera"] == "A").all() and (opened.images()["user.width"] == 7).all()
    assert (opened.images()["split"] == "held-out").all()


def test_labels_that_are_no_outputs_leave_right_and_wrong_undefined(world, tmp_path):
    for old, new in zip(tiny.SHAPES, ("alpha", "beta", "gamma"), strict=True):
        shutil.copytree(world / "images" / "test" / old, tmp_path / "images" / new)
    opened, _ = build(world, tmp_path / "a", images=str(tmp_path / "images"))
    assert "right" not in opened.images() and "per label" in opened.patterns(split=None).title
    mapped, _ = build(world, tmp_path / "a", images=str(tmp_path / "images"), class_map="order")
    assert mapped.images()["right"].mean() > 0.95


def test_permuted_folders_do_not_permute_the_classes(world, tmp_path):
    for name in tiny.SHAPES:  # the folders' order is disc, frame, stripes whatever order they are made in
        shutil.copytree(world / "images" / "test" / name, tmp_path / "images" / name)
    table = pd.DataFrame({"path": [p.relative_to(tmp_path).as_posix() for p in (tmp_path / "images").rglob("*.png")]})
    table["label"] = table["path"].str.split("/").str[1]
    table.sort_values("label", ascending=False).to_csv(tmp_path / "t.csv", index=False)
    assert build(world, tmp_path / "a", images=str(tmp_path / "t.csv"))[0].images()["right"].mean() > 0.95


def test_a_wrong_class_map_is_warned_about(world, tmp_path):
    (tmp_path / "map.csv").write_text("output,label\n0,frame\n1,stripes\n2,disc\n")
    _, heard = build(world, tmp_path / "a", class_map=tmp_path / "map.csv")
    assert any("near chance" in line and "class map" in line for line in heard.lines)


def test_unlabelled_images_have_predictions_only(world, tmp_path):
    (tmp_path / "flat").mkdir()
    for k, path in enumerate((world / "images" / "test").rglob("*.png")):
        shutil.copy(path, tmp_path / "flat" / f"{k}.png")
    opened, _ = build(world, tmp_path / "a", images=str(tmp_path / "flat"))
    assert "right" not in opened.images() and opened.images()["prediction"].notna().all()
    with pytest.raises(AtlasError, match="carry no labels"):
        opened.patterns()


def test_a_torch_dataset_is_an_atlas_too(world, tmp_path):
    import torch
    from torch.utils.data import TensorDataset

    rng = np.random.default_rng(1)
    label = np.arange(30) % 3
    pixels = np.stack([tiny.picture(tiny.SHAPES[k], rng) for k in label]).transpose(0, 3, 1, 2)
    dataset = TensorDataset(torch.from_numpy(pixels).float() / 255 - 0.2, torch.from_numpy(label))
    opened, _ = build(world, tmp_path / "a", images=dataset, class_map="order")
    assert opened.images()["right"].mean() > 0.95
    with pytest.raises(AtlasError, match="say where the atlas of a torch Dataset goes"):
        atlas.build(tiny.MODEL, dataset)


def test_a_module_from_python_needs_no_edit_and_keeps_no_hook(world, tmp_path):
    module = tiny.network()[0].train()
    opened = atlas.build(module, str(world / "images"), cache=tmp_path / "a", layers=["act"], layouts=["pca"])
    assert len(opened.images()) == 120 and module.training and module.act.training
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in module.modules())


def test_statistics_can_be_kept_of_layers_without_vectors(world, tmp_path):
    opened, _ = build(world, tmp_path / "a", statistics=["all"])
    assert opened.layers == ["act"] and opened.statistics("conv2").mean.shape[1] == 16
    assert opened.patterns("conv2").mean.shape == (3, 16)


def test_sampled_positions_are_points_of_their_images(world, tmp_path):
    opened, _ = build(world, tmp_path / "a", layers=["pool=positions:3"])
    record = opened.activations("pool")
    assert len(record) == 360 and (np.bincount(record.point_image) == 3).all() and record.point_yx.shape == (360, 2)
    found = opened.neighbours(4, layer="pool", k=10)
    assert len(found) == 10 and found["image"].is_unique and 4 not in set(found["image"])


def test_bfloat16_says_how_far_it_is_from_float32(world, tmp_path):
    from atlas.models.precision import has_fast_bfloat16

    opened, heard = build(world, tmp_path / "a", layers=["pool", "act"])
    line = next(line for line in heard.lines if line.startswith("the network ran in"))
    told = opened.store.header(opened.activation_name("act"))["told"]
    assert told["precision"] in line and opened.summary()["precision"] == told["precision"]
    assert ("cosine to float32" in line) == has_fast_bfloat16()
    _, exact = build(world, tmp_path / "b", run={"precision": "float32"})
    assert any(line.startswith("the network ran in float32") and "cosine" not in line for line in exact.lines)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["atc"]}, "did you mean act"),
        ({"layouts": ["umpa"]}, "no layout method 'umpa'"),
        ({"metric": "cosinus"}, "no metric 'cosinus': did you mean cosine"),
        ({"run": {"precision": "half"}}, "no precision 'half'"),
        ({"run": {"batchsize": 3}}, "no option of a run 'batchsize': did you mean batch_size"),
        ({"limit": 3, "layouts": ["tsne"]}, "t-SNE of act needs at least 4 points and there are 3"),
        ({"run": {"device": "gpu"}}, "no device 'gpu'"),
        ({"run": {"batch_size": 0}}, "batch size is 0: at least 1 would do"),
        ({"limit": 0}, "limit of 0"),
        ({"images": "no/such/folder"}, "no images at"),
        ({"layers": ["pool=positions:2", "act"], "layouts": ["umap:joint"]}, "needs the same points in each layer"),
        ({"network": {"weights": "none.safetensors"}}, "none.safetensors"),
        ({"class_map": "no.csv"}, "no.csv"),
    ],
)
def test_a_mistake_is_one_clear_line_before_the_work(world, tmp_path, options, message):
    with pytest.raises(AtlasError, match=message) as refusal:
        build(world, tmp_path / "a", **options)
    assert "\n" not in str(refusal.value) and not (tmp_path / "a").exists()


def test_a_changed_network_is_not_taken_for_the_old_one(world, tmp_path):
    shutil.copy(world / "weights.safetensors", tmp_path / "w.safetensors")
    opened, _ = build(world, tmp_path / "a", network={"weights": tmp_path / "w.safetensors"})
    state = load_file(tmp_path / "w.safetensors")
    state["fc1.weight"][0, 0] += 1
    save_file(state, tmp_path / "w.safetensors")
    Image.new("RGB", (20, 20)).save(tmp_path / "new.png")
    with pytest.raises(AtlasError, match="is not the network that this atlas was built with"):
        atlas.open(opened.store.root).predict(tmp_path / "new.png")


def test_a_copied_atlas_is_the_same_atlas(tiny_atlas, tmp_path):
    shutil.copytree(tiny_atlas.store.root, tmp_path / "moved")
    moved = atlas.open(tmp_path / "moved")
    assert list(moved.neighbours(3)["image"]) == list(tiny_atlas.neighbours(3)["image"])


def test_images_that_have_moved_cost_no_new_build(world, tmp_path):
    shutil.copytree(world / "images", tmp_path / "images")
    first, _ = build(world, tmp_path / "a", images=str(tmp_path / "images"))
    (tmp_path / "images").rename(tmp_path / "moved")
    again, heard = build(world, tmp_path / "a", images=str(tmp_path / "moved"), title="images")
    assert "everything stands already: nothing was built" in heard.lines
    assert again.store.shown() == first.store.shown()
    reader = open_reader(again.image_record, again.store.root)
    assert reader.image(0).size == (tiny.EDGE, tiny.EDGE)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (120, "no row 120: the images are rows 0 to 119"),
        (-1, "no row -1"),
        ("0123456789abcdef", "no image 0123456789abcdef in this atlas"),
        ("nothing.jpg", "is no row, no image_id of this atlas and no file"),
        (np.zeros(5, np.float32), "5 units"),
    ],
)
def test_a_query_of_nothing_says_what_there_is(tiny_atlas, query, message):
    with pytest.raises(AtlasError, match=message):
        tiny_atlas.neighbours(query)


def test_an_unknown_layer_is_refused_with_the_closest(tiny_atlas):
    with pytest.raises(AtlasError, match="no layer of this atlas 'pol': did you mean pool"):
        tiny_atlas.neighbours(3, layer="pol")


# -- two of a kind: what replaces what --------------------------------------------------------------------------------


def test_a_class_map_given_later_replaces_what_was_said_without_it_on_the_page_too(world, tmp_path):
    for old, new in zip(tiny.SHAPES, ("alpha", "beta", "gamma"), strict=True):
        shutil.copytree(world / "images" / "test" / old, tmp_path / "images" / new)
    images = str(tmp_path / "images")
    before = build(world, tmp_path / "a", images=images)[0].store.shown("layout")
    after, _ = build(world, tmp_path / "a", images=images, class_map="order")
    view = View(after.store.root)
    (space,) = view.spaces
    assert view.read(space.predictions, Predictions).map.complete and after.images()["right"].mean() > 0.95
    assert len(after.store.shown("predictions")) == len(after.store.shown("statistics")) == 1
    assert before == after.store.shown("layout"), "no vector changed, so no map did"


def test_a_file_goes_through_the_network_that_made_the_layer(world, tmp_path):
    first, _ = build(world, tmp_path / "a", layers=["pool", "act"])
    state = load_file(world / "weights.safetensors")
    state["conv1.weight"] *= -1
    save_file(state, tmp_path / "other.safetensors")
    both, _ = build(world, tmp_path / "a", layers=["act"], network={"weights": tmp_path / "other.safetensors"})
    assert len(both.store.shown("network")) == 2, "the first network's layers are still shown, so is its record"
    with Image.open(world / "images" / first.images()["path"][9]) as picture:
        picture.save(tmp_path / "new.bmp")
    for number, layer in ((1, "pool"), (2, "act")):
        found = atlas.open(both.store.root, network=number).neighbours(tmp_path / "new.bmp", layer=layer, k=3)
        assert found["image"][0] == 9 and found["distance"][0] < 1e-2, layer
    with pytest.raises(AtlasError, match=r"pool is a layer of network 1 .*: ask for it with --network 1, or network=1"):
        atlas.open(both.store.root).neighbours(5, layer="pool")


def test_another_metric_replaces_the_neighbours(world, tmp_path):
    build(world, tmp_path / "a")
    opened, _ = build(world, tmp_path / "a", metric="L2")
    assert opened.neighbours(3).attrs["metric"] == "L2" and len(opened.store.shown("neighbours")) == 1


def test_a_layout_keeps_the_points_it_was_made_of(world, tmp_path):
    build(world, tmp_path / "a", layers=["pool"], layouts=["pca"])
    opened, _ = build(world, tmp_path / "a", layers=["pool=positions:2"], layouts=["umap"])
    assert len(opened.layout("pool", "pca")) == 120 and len(opened.layout("pool", "umap")) == 240
    with pytest.raises(AtlasError, match="no layout 'tsne of pool'"):
        opened.layout("pool", "tsne")


def test_weights_that_have_moved_are_found_where_they_are(world, tmp_path):
    shutil.copy(world / "weights.safetensors", tmp_path / "one.safetensors")
    build(world, tmp_path / "a", network={"weights": tmp_path / "one.safetensors"})
    (tmp_path / "one.safetensors").rename(tmp_path / "two.safetensors")
    opened, heard = build(world, tmp_path / "a", network={"weights": tmp_path / "two.safetensors"})
    assert "everything stands already: nothing was built" in heard.lines
    Image.new("RGB", (20, 20)).save(tmp_path / "new.png")
    assert len(opened.predict(tmp_path / "new.png")) == 3


def test_a_cache_behind_a_link_opens_its_network(world, tmp_path):
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    opened, _ = build(world, tmp_path / "link" / "a")
    Image.new("RGB", (20, 20)).save(tmp_path / "new.png")
    assert len(opened.predict(tmp_path / "new.png")) == 3


def test_a_title_stays_until_another_is_given(world, tmp_path):
    assert build(world, tmp_path / "a", title="Shapes")[0].title == "Shapes"
    assert build(world, tmp_path / "a", layouts=["tsne"])[0].title == "Shapes"
    assert build(world, tmp_path / "b")[0].title == "images"


def test_gc_leaves_what_a_killed_build_has_finished(world, tmp_path):
    opened, _ = build(world, tmp_path / "a", limit=30)
    recipe = Recipe("layout", 1, {"of": "a build that was killed"})
    record = opened.store.read(opened.store.shown("layout")[0], Layout)
    opened.store.build(recipe, Layout, lambda: record)
    assert opened.store.unreached() == {}
    build(world, tmp_path / "a")  # the next build shows its own; what is older and unreached is no one's
    assert recipe.name in opened.store.unreached()


# -- odd input ----------------------------------------------------------------------------------------------------------


def test_a_users_column_never_passes_for_what_the_network_said(world, tmp_path):
    shutil.copytree(world / "images", tmp_path / "images")
    files = sorted(p.relative_to(tmp_path).as_posix() for p in (tmp_path / "images").rglob("*.png"))
    table = pd.DataFrame({"path": files, "prediction": "mine", "right": "mine", "tags": "a"})
    table.to_csv(tmp_path / "t.csv", index=False)
    images = build(world, tmp_path / "a", images=str(tmp_path / "t.csv"))[0].images()
    assert set(images["prediction"]) <= set(tiny.SHAPES) and (images["user.prediction"] == "mine").all()
    assert "right" not in images and (images["user.right"] == "mine").all()


def test_sixteen_digits_may_be_an_image_id(tiny_atlas):
    opened = atlas.open(tiny_atlas.store.root)
    opened.image_record.table.loc[7, "image_id"] = "7817342448802546"
    assert opened.find_image("7817342448802546") == 7 and opened.find_image("7") == 7


@pytest.mark.parametrize("query", ["\u00b2", "--5", "1.5", ""])
def test_what_only_looks_like_a_number_is_no_row(tiny_atlas, query):
    with pytest.raises(AtlasError, match="is no row, no image_id of this atlas and no file"):
        tiny_atlas.neighbours(query)


def test_one_unreadable_image_does_not_change_the_networks_input(world, tmp_path):
    shutil.copytree(world / "images", tmp_path / "images")
    (tmp_path / "images" / "test" / "disc" / "000.png").write_bytes(b"broken")
    chosen = choose_images(str(tmp_path / "images"), datasets=tmp_path, atlas_root=tmp_path / "a")
    assert chosen.sample().shape == (tiny.EDGE, tiny.EDGE)


def test_a_row_of_a_torch_dataset_has_a_sheet_of_thumbnails(world, tmp_path):
    rng = np.random.default_rng(1)
    images = [(Image.fromarray(tiny.picture(tiny.SHAPES[k % 3], rng)), k % 3) for k in range(12)]
    opened, _ = build(world, tmp_path / "a", images=images)
    atlas.query(opened, 3, k=4, sheet=tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.width > 500


def test_a_network_of_features_only_has_nothing_to_predict(world, tmp_path):
    import torch

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    opened = atlas.build(module, str(world / "images"), cache=tmp_path / "a", layers=["0"], layouts=["pca"])
    assert opened.predictions is None and "prediction" not in opened.images()
    with pytest.raises(AtlasError, match="features only: there is nothing to predict"):
        opened.predict(3)


def test_neighbours_that_are_not_shown_are_asked_for_by_name(world, tmp_path):
    opened, _ = build(world, tmp_path / "a")
    opened.store.show([], keep=lambda names: [name for name in names if not name.startswith("neighbours")])
    with pytest.raises(AtlasError, match="holds no neighbours of act"):
        atlas.open(opened.store.root).neighbours(3)


@pytest.mark.parametrize("text", ['{"format": 2, "shown": []}', "{", '{"format": 1}', '{"format": 1, "shown": ["../x"]}'])
def test_an_atlas_that_cannot_be_added_to_is_told_before_the_work(world, tmp_path, text):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "atlas.json").write_text(text)
    with pytest.raises(AtlasError, match="remove that file and build again; what is finished is found, not made anew"):
        build(world, tmp_path / "a")
    assert not Store(tmp_path / "a").artifacts()


def test_a_record_that_lost_a_field_is_one_clear_line(world, tmp_path):
    opened, _ = build(world, tmp_path / "a")
    path = opened.store.path(opened.activation_name()) / "record.json"
    header = json.loads(path.read_text())
    del header["fields"]["unit_count"]
    path.write_text(json.dumps(header))
    with pytest.raises(AtlasError, match=r"is damaged \(no unit_count\): remove it and build again"):
        atlas.open(opened.store.root).summary()
