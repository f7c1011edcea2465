"""The verbs about features on the tiny world: what they find there is known, what they keep the page reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import atlas
from atlas.data.properties import PROPERTIES, measure
from atlas.errors import AtlasError
from atlas.maps.volume import Volumes
from atlas.pages.answers import answer
from atlas.pages.feature_answers import selectivity_of, volumes_part
from atlas.pages.part import Part
from atlas.pages.report_contents import features
from atlas.pages.shelf import asking
from atlas.pages.view import View
from atlas.reusing import extractor, probe
from tests import tiny
from tests.command import clear_refusal, run, success


@pytest.fixture(scope="module")
def measured(world: Path, tmp_path_factory: pytest.TempPathFactory) -> atlas.Atlas:
    """The tiny world built anew with its images' properties."""
    return atlas.build(
        tiny.MODEL, str(world / "images"), cache=tmp_path_factory.mktemp("measured") / "tiny", layers=["act", "logits"],
        layouts=["pca:act"], network={"weights": world / "weights.safetensors"}, properties=True,
    )  # fmt: skip


# -- properties ------------------------------------------------------------------------------------------------------------


def test_properties_are_columns_of_the_images_and_those_of_each_image(measured):
    table = measured.images()
    assert set(PROPERTIES) <= set(table.columns) and table["edge_density"].notna().all()
    for row in (0, 41, 77):
        own = measure(measured.seeing.picture(row))
        for name, value in own.items():
            assert table[name].iloc[row] == pytest.approx(value, abs=6e-5, rel=1e-6, nan_ok=True)
    relations, bins = measured.effects()
    assert set(relations["property"]) == set(PROPERTIES) - {"hue"} and set(bins["property"]) <= set(PROPERTIES)
    assert bins.groupby("property")["images"].sum().loc["brightness"] == len(table)


def test_images_added_later_are_measured_too_and_keep_their_places(measured, tmp_path):
    copy = measured.store.root.with_name("grown")
    shutil.copytree(measured.store.root, copy)
    images = tiny.write_images(tmp_path / "more", per_class=3, seed=5, splits=())
    grown = atlas.add(copy, str(images))
    table = grown.images()
    assert len(table) == len(measured.images()) + 9 and table[list(set(PROPERTIES) - {"hue"})].notna().all().all()
    pd.testing.assert_series_equal(
        table["contrast"].iloc[: len(measured.images())], measured.images()["contrast"], check_index=False
    )
    assert table["contrast"].iloc[-1] == pytest.approx(measure(grown.seeing.picture(len(table) - 1))["contrast"], abs=6e-5)


def test_an_atlas_without_properties_says_how_to_have_them(tiny_atlas, world):
    clear_refusal(run("properties", tiny_atlas.store.root), "build it again with --properties")
    clear_refusal(run("properties", tiny_atlas.store.root, "--sweep", "hues"), "did you mean hue?")
    clear_refusal(
        run("build", tiny.MODEL, "--into", tiny_atlas.store.root, "--properties"),
        "give --properties to the build of the atlas",
    )


def test_a_column_of_the_users_that_is_called_like_a_property_is_refused(world, tmp_path):
    path = world / "images" / "named.csv"
    path.write_text("path,brightness\ntrain/disc/000.png,3\n", "utf-8")
    try:
        with pytest.raises(AtlasError, match="column brightness already"):
            atlas.build(tiny.MODEL, str(path), cache=tmp_path / "x", properties=True,
                        network={"weights": world / "weights.safetensors"})  # fmt: skip
    finally:
        path.unlink()


def test_a_sweep_begins_with_the_image_as_it_is_and_says_what_the_network_said(measured, in_root, tmp_path):
    table = measured.sweep([3, 50], kinds=["brightness", "hue"])
    said, images = measured.predictions, measured.images()
    for row in (3, 50):
        own = table[(table["image"] == row) & (table["strength"] == table["kind"].map({"brightness": 1.0, "hue": 0.0}))]
        assert len(own) == 2 and own["kept"].all() and (own["prediction"] == images["prediction"].iloc[row]).all()
        np.testing.assert_allclose(own["confidence"], said.confidence[row], atol=0.02)  # recorded in bfloat16 perhaps
    dark = table[(table["kind"] == "brightness") & (table["strength"] < 0.2)]
    assert (dark["brightness"] < 0.2).all()
    told = success(run("properties", measured.store.root, "--sweep", "size", "--images", 4, "-o", tmp_path / "s.csv"))
    assert "one property changed at a time" in told.out and pd.read_csv(tmp_path / "s.csv")["image"].nunique() == 4


# -- levels ----------------------------------------------------------------------------------------------------------------


def test_levels_tell_of_every_layer_what_it_shows_and_separates(measured, in_root):
    found = measured.levels(24, ["conv1", "pool", "conv2"])
    assert found["layer"].tolist() == ["input", "conv1", "pool", "conv2"] and np.isnan(found["brightness"].iloc[0])
    first = found.iloc[1]
    assert first["brightness"] > 0.8 and first["brightness"] > first["brightness_other"] + 0.2
    assert found["neighbours"].iloc[-1] > found["neighbours"].iloc[0], "three shapes are told apart, not by their pixels"
    told = json.loads(success(run("levels", measured.store.root, "--images", 9, "-l", "pool", "--json")).out)
    assert [row["layer"] for row in told["rows"]] == ["input", "pool"]


# -- selectivity -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def asked(measured: atlas.Atlas, world: Path) -> atlas.Atlas:
    """The tiny world with its descriptor's units asked, and the volumes of three images kept."""
    images = world / "images" / "test"
    groups = {"discs": str(images / "disc"), "stripes": str(images / "stripes")}
    measured.selectivity("act", groups)
    success(run("volume", measured.store.root, "5,40,2", "-l", "pool", "-l", "conv2", "--channels", 3, "--keep"))
    return atlas.open(measured.store.root)


def test_units_that_know_a_shape_tell_its_images_apart(asked, world):
    record = asked.selectivity("act", {"discs": str(world / "images" / "test" / "disc"),
                                       "stripes": str(world / "images" / "test" / "stripes")})  # fmt: skip
    table = record.table()
    assert record.group_images == [20, 20] and len(table) == 12
    assert np.nanmax(np.abs(table["auc"] - 0.5)) > 0.45, "the network is right, so its descriptor tells them apart"
    best = table.loc[(table["auc"] - 0.5).abs().idxmax()]
    assert best["group"] == ("discs" if best["auc"] > 0.5 else "stripes") and (best["effect"] > 0) == (best["auc"] > 0.5)
    assert table["orientation"].dropna().between(0, 180).all() and table["hue_index"].dropna().between(0, 1).all()


def test_what_stands_is_not_asked_again_and_refusals_are_clear(asked, world, monkeypatch):
    monkeypatch.setattr("atlas.tuning.asked", lambda *_, **__: pytest.fail("the record stands"))
    images = world / "images" / "test"
    asked.selectivity("act", {"discs": str(images / "disc"), "stripes": str(images / "stripes")})
    root = asked.store.root
    clear_refusal(run("selectivity", root, "--group", "discs"), "NAME=IMAGES would do")
    clear_refusal(run("selectivity", root, "--group", f"discs={images / 'disc'}"), "give --group twice")
    clear_refusal(run("selectivity", root, "-l", "actt"), "did you mean act?")
    with pytest.raises(AtlasError, match="5 or more would do"):
        asked.selectivity("act", {"a": str(images / "disc"), "b": str(images / "stripes")}, limit=2)


# -- volumes ---------------------------------------------------------------------------------------------------------------


def test_a_volume_is_rendered_without_a_screen(asked, tmp_path):
    told = success(run("volume", asked.store.root, 5, "--channels", 3, "-o", tmp_path / "v.webp", "--at", 4, 6))
    assert "v.webp" in told.out
    with Image.open(tmp_path / "v.webp") as drawn:
        assert drawn.width > 600 and np.asarray(drawn.convert("L")).std() > 20
    root = asked.store.root
    clear_refusal(run("volume", root, 5), "give -o FILE to draw it")
    clear_refusal(run("volume", root, "5,6", "-o", tmp_path / "v.webp"), "-o takes one")
    clear_refusal(run("volume", root, 5, "-o", tmp_path / "v.webp", "--at", 99, 0), "both count from 0")


def test_the_page_and_the_report_read_what_was_kept(asked):
    view = View(asked.store.root)
    with asking(view):
        part = volumes_part(view)[0]
        assert part["rows"] == [5, 40, 2] and part["cam"] and part["layers"] == ["pool"] * 3 + ["conv2"] * 4
        body = answer(f"/volume/{part['key']}/40.bin")[1]
        record = view.read(part["key"], Volumes)
        np.testing.assert_array_equal(np.frombuffer(body, np.uint8).reshape(7, *part["size"]), record.values[1])
        levels = json.loads(answer(f"/volume/{part['key']}/40.json")[1])
        assert levels["channel"] == record.channel[1].tolist()
        name = selectivity_of(view, "act", None)
        told = json.loads(answer(f"/selectivity/{name}.json")[1])
        assert told["groups"] == ["discs", "stripes"] and len(told["auc"]) == 12
        with pytest.raises(AtlasError, match="no volume of image 3"):
            answer(f"/volume/{part['key']}/3.bin")
        assert {wish.address for wish in features(view)} >= {f"volume/{part['key']}/2.bin", f"selectivity/{name}.json"}


def test_a_report_of_some_images_has_their_own_volumes_by_their_new_rows(asked):
    rows = np.array([2, 9, 40])
    part = Part(asked.store.root, rows=rows)
    with asking(part):
        told = volumes_part(part)[0]
        assert sorted(told["rows"]) == [0, 2]
        whole: Volumes = View(asked.store.root).read(told["key"], Volumes)
        own = np.frombuffer(answer(f"/volume/{told['key']}/2.bin")[1], np.uint8)
        np.testing.assert_array_equal(own, whole.values[list(whole.image).index(40)].ravel())


# -- reuse -----------------------------------------------------------------------------------------------------------------


def test_a_cut_network_gives_what_the_layer_gives_and_holds_nothing_after_it(measured, tmp_path, in_root):
    network, picture = measured.network(), measured.seeing.picture(7)
    told = extractor(measured, tmp_path / "act.pt2", layer="act", units=[4, 0])
    program = torch.export.load(tmp_path / "act.pt2")  # as a stranger does, without this package
    values = torch.from_numpy(network.preprocess.array(picture))[None].float() / 255
    expected = measured.describe(_written(picture, tmp_path), "act")["act"][0][[4, 0]]
    np.testing.assert_allclose(program.module()(values).detach().numpy()[0], expected, rtol=1e-4, atol=1e-5)
    assert program.module()(values.repeat(5, 1, 1, 1)).shape == (5, 2) and told["output"] == [2]
    assert not any("logits" in name for name in program.state_dict), "what comes after the cut is left out"
    early = extractor(measured, tmp_path / "pool.pt2", layer="pool", functional="maps")
    assert torch.export.load(tmp_path / "pool.pt2").module()(values).shape == (1, 8, 10, 10)
    assert early["bytes"] < extractor(measured, tmp_path / "logits.pt2", layer="logits")["bytes"]


def _written(picture: Image.Image, folder: Path) -> Path:
    picture.save(folder / "one.png")
    return folder / "one.png"


def test_a_probe_on_the_descriptor_is_worth_more_than_on_the_images_alone(measured, world, tmp_path):
    extractor(measured, tmp_path / "act.pt2", layer="act")
    found = probe(tmp_path / "act.pt2", str(world / "images"), train=30, test=30)
    assert found["probe"]["accuracy"] > 0.9 and found["probe"]["dimensions"] == 12
    assert found["probe"]["accuracy"] >= found["control"]["accuracy"] and found["probe"]["test"] == 30


def test_what_cannot_be_cut_is_refused(measured, tmp_path):
    root, out = measured.store.root, tmp_path / "x.pt2"
    clear_refusal(run("extractor", root, "-l", "act", "-u", 99, "-o", out), "there are 12")
    clear_refusal(run("extractor", root, "-o", tmp_path / "x.onnx"), ".pt2 would do")
    clear_refusal(run("extractor", tiny.MODEL, "-o", out), "--layer NAME or NUMBER")
    clear_refusal(run("extractor", root, "-l", "pool", "--functional", "positions:3", "-o", out), "take mean, max")
    assert not out.exists()
    out.write_bytes(b"nothing")
    with pytest.raises(AtlasError, match="pt2"):
        probe(out, "fashion-mnist")
