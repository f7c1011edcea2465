"""Each export opened by the reader that it is for: pandas, xarray, VTK, TensorBoard's projector plugin, embedding-atlas."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import atlas
from atlas import notes
from atlas.activations.spatial import activation_maps
from atlas.data.thumbnails import thumbnail
from atlas.errors import AtlasError
from atlas.export import netcdf, tensorboard
from atlas.export.rows import rows_of
from atlas.maps.records import Neighbours
from tests import worlds
from tests.command import clear_refusal, run, success

ROOT = Path(__file__).parents[1]
SOME = "7,3,20-24"
ROWS = [7, 3, 20, 21, 22, 23, 24]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> atlas.Atlas:
    """An atlas written without a network, with columns of a user whose names are ours and whose cells are hostile."""
    own = {
        "note": lambda codes: [f'=HYPERLINK("http://x/{row}")' for row in range(len(codes))],
        "image": lambda codes: np.arange(len(codes)) + 100,
    }
    folder = tmp_path_factory.mktemp("exports") / "plain"
    worlds.tiny_atlas(folder, 60, own=own)
    return atlas.open(folder)


# -- tables ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("format", "read"), [("csv", pd.read_csv), ("parquet", pd.read_parquet)])
def test_pandas_reads_each_images_own_row_place_and_columns(plain, tmp_path, format, read):
    told = plain.export(tmp_path / f"x.{format}", format=format, images=SOME, layers=["fc"])
    table, images = read(told["files"][0]), plain.images()
    assert table["image"].tolist() == ROWS and told["images"] == 7 and told["of"] == 60
    wanted = images.iloc[ROWS]
    assert table["path"].tolist() == wanted["path"].tolist() and table["label"].tolist() == wanted["label"].tolist()
    assert table["user.image"].tolist() == wanted["image"].tolist()
    for method in ("umap", "pca"):
        places = plain.layout("fc", method).set_index("image").loc[ROWS]
        np.testing.assert_allclose(table[[f"{method}_x", f"{method}_y"]], places[["x", "y"]], rtol=1e-6)


def test_no_cell_of_the_csv_is_run_by_a_spreadsheet(plain, tmp_path):
    told = plain.export(tmp_path / "x.csv", format="csv")
    table = pd.read_csv(told["files"][0])
    assert len(table) == 60 and table["note"].str.startswith("'=HYPERLINK").all()
    assert (
        pd.read_parquet(plain.export(tmp_path / "x.parquet", format="parquet")["files"][0])["note"].str.startswith("=").all()
    )


def test_the_parquet_holds_the_vectors_where_they_are_asked_for(plain, tmp_path):
    plain.export(tmp_path / "x.parquet", format="parquet", images=SOME, layers=["conv"], vectors=True)
    found = np.stack(pd.read_parquet(tmp_path / "x.parquet")["vector"])
    np.testing.assert_array_equal(found, plain.vectors("conv")[ROWS].astype(np.float32))


def test_an_image_that_does_not_decode_keeps_its_row_in_a_table_and_is_counted_where_it_has_no_point(tmp_path, world):
    import shutil

    from tests import tiny

    shutil.copytree(world / "images" / "test", tmp_path / "images")
    (tmp_path / "images" / "disc" / "000.png").write_bytes(b"no picture")
    built = atlas.build(
        tiny.MODEL, str(tmp_path / "images"), cache=tmp_path / "a", layers=["act"], layouts=["pca"],
        network={"weights": world / "weights.safetensors"},
    )  # fmt: skip
    gone = int(np.flatnonzero(built.images()["error"].notna())[0])
    told = built.export(tmp_path / "x.parquet", format="parquet", vectors=True)
    table = pd.read_parquet(tmp_path / "x.parquet").set_index("image")
    assert list(table.index) == list(range(60)) and np.isnan(table.loc[gone, "pca_x"]) and table["pca_x"].notna().sum() == 59
    assert np.isnan(table.loc[gone, "vector"]).all()
    np.testing.assert_array_equal(np.stack(table["vector"].drop(gone)), built.vectors("act")[:].astype(np.float32))
    assert told["notes"] == ["1 of 60 images do not decode: their rows have no place"]
    told = built.export(tmp_path / "tb", format="tensorboard")
    assert told["images"] == told["rows"] == 59 and told["notes"] == ["left out: 1 of 60 images, which do not decode"]
    with pytest.raises(AtlasError, match=f"image {gone} does not decode"):
        built.export(tmp_path / "x.nc", format="netcdf", images=str(gone))


# -- embedding-atlas ------------------------------------------------------------------------------------------------------


def test_the_embedding_atlas_file_has_the_documented_columns_and_neighbours_of_its_own_rows(plain, tmp_path):
    told = plain.export(tmp_path / "x.parquet", format="embedding-atlas", images="0-39", layers=["fc"], method="pca")
    table = pd.read_parquet(tmp_path / "x.parquet")  # what its loader does for this suffix
    places = plain.layout("fc", "pca")
    np.testing.assert_array_equal(table[["projection_x", "projection_y"]], places[["x", "y"]].iloc[:40])
    vectors = plain.vectors("fc")[:].astype(np.float64)
    assert plain.field(plain.names("neighbours", layers=["fc"])[-1], "metric") == "L2"
    for row, found in enumerate(table["neighbors"]):
        exact = np.linalg.norm(vectors[:40] - vectors[row], axis=1)
        exact[row] = np.inf
        assert set(found) == {"ids", "distances"} and len(set(found["ids"])) == worlds.KEPT and row not in found["ids"]
        np.testing.assert_allclose(found["distances"], np.sort(exact)[: worlds.KEPT], atol=1e-5)
        np.testing.assert_allclose(found["distances"], exact[found["ids"]], atol=1e-5)
    for row in (0, 39):
        shown = np.asarray(Image.open(io.BytesIO(table["thumbnail"][row]["bytes"])))
        np.testing.assert_array_equal(shown, np.asarray(thumbnail(plain.image_record, row).convert("L")))
    assert "--x projection_x --y projection_y --neighbors neighbors --image thumbnail" in told["open"]


def test_the_neighbours_of_all_images_are_those_that_the_atlas_keeps(plain, tmp_path):
    plain.export(tmp_path / "x.parquet", format="embedding-atlas", layers=["fc"])
    kept = plain.record(Neighbours, "neighbours", layers=["fc"])
    found = pd.read_parquet(tmp_path / "x.parquet")["neighbors"]
    np.testing.assert_array_equal(np.stack([each["ids"] for each in found]), kept.indices)
    np.testing.assert_array_equal(np.stack([each["distances"] for each in found]), kept.distances)


@pytest.mark.long
def test_embedding_atlas_itself_loads_the_file_and_exports_its_page(plain, tmp_path):
    """With the package in an environment of its own, which the benchmarks share; made here where it is missing."""
    from benchmarks import _embedding_atlas

    found = _embedding_atlas.installed(ROOT / "cache", "0.22.*")
    assert not isinstance(found, str), found
    plain.export(tmp_path / "x.parquet", format="embedding-atlas", images="0-39", layers=["fc"])
    words = ["--x", "projection_x", "--y", "projection_y", "--neighbors", "neighbors", "--image", "thumbnail"]
    own = sysconfig.get_path("purelib")  # its PageRank needs torch, which its environment goes without: last comes ours
    code = f"import sys; sys.path.append({own!r}); from embedding_atlas.cli import main; main()"
    command = [found[0] / "bin" / "python", "-c", code, "x.parquet", *words, "--export-application", "page.zip"]
    alone = os.environ | {"PYTHONPATH": ""}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=alone)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "page.zip") as page:
        props = json.loads(page.read("data/metadata.json"))["props"]["data"]
        table = pd.read_parquet(io.BytesIO(page.read("data/dataset.parquet")))
    assert props["projection"] == {"x": "projection_x", "y": "projection_y"} and props["neighbors"] == "neighbors"
    assert len(table) == 40 and table[props["importance"]].notna().all()  # its PageRank walked our neighbours


# -- TensorBoard ----------------------------------------------------------------------------------------------------------


def served(folder: Path) -> Any:
    """Return what TensorBoard's own projector plugin answers over a folder, by route and question."""
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
    from werkzeug.test import Client

    events = plugin_event_multiplexer.EventMultiplexer()
    provider = data_provider.MultiplexerDataProvider(events, str(folder))
    apps = ProjectorPlugin(base_plugin.TBContext(logdir=str(folder), data_provider=provider)).get_plugin_apps()

    def ask(route: str, **question: str) -> bytes:
        answer = Client(apps[route]).get("/", query_string=question)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return bytes(answer.get_data())

    return ask


def test_tensorboards_projector_serves_the_vectors_the_columns_and_the_pictures(plain, tmp_path):
    told = plain.export(tmp_path / "tb", format="tensorboard", images=SOME, layers=["conv"])
    ask = served(tmp_path / "tb")
    assert json.loads(ask("/runs")) == ["."]
    config = json.loads(ask("/info", run="."))["embeddings"][0]
    assert config["tensorName"] == "conv" and config["tensorShape"] == [7, 12]
    vectors = np.frombuffer(ask("/tensor", run=".", name="conv"), np.float32).reshape(7, 12)
    np.testing.assert_array_equal(vectors, plain.vectors("conv")[ROWS].astype(np.float32))
    lines = [line.split("\t") for line in ask("/metadata", run=".", name="conv").decode().splitlines()]
    assert len(lines) == 8 and {len(line) for line in lines} == {len(lines[0])}
    assert [line[0] for line in lines] == ["row", *map(str, ROWS)]
    label = lines[0].index("label")
    assert [line[label] for line in lines[1:]] == plain.images()["label"].iloc[ROWS].tolist()
    sheet = np.asarray(Image.open(io.BytesIO(ask("/sprite_image", run=".", name="conv"))))
    wide, tall = config["sprite"]["singleImageDim"]
    for place, row in enumerate(ROWS):
        top, left = place // (sheet.shape[1] // wide) * tall, place % (sheet.shape[1] // wide) * wide
        own = np.asarray(thumbnail(plain.image_record, row).convert("RGB"))
        np.testing.assert_array_equal(sheet[top : top + tall, left : left + wide], own)
    assert len(told["files"]) == 4 and plain.export(tmp_path / "tb", format="tensorboard")["images"] == 60  # once more


def test_a_tab_in_a_name_moves_no_column_and_a_sprite_too_large_is_shrunk_and_told(plain):
    assert tensorboard._cell("a\tb\nc") == "a\\tb\\nc" and tensorboard._cell(None) == "" == tensorboard._cell(float("nan"))
    assert tensorboard.sprite_edge(70_000, 28) == 28 and tensorboard.sprite_edge(70_000, 64) == 30
    assert tensorboard.sprite_edge(70_000, 64) * tensorboard.across(70_000) <= tensorboard.MOST_SPRITE
    assert tensorboard._notes(120_000, 23, 64) == [
        "pictures are 23 of 64 pixels, for the sprite of 120000 to fit 8192 pixels a side",
        "TensorBoard shows a sample of 100000 of 120000 points",
    ]


# -- netCDF ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def volumes(tiny_atlas: atlas.Atlas, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The volumes of seven images, in one file and in one each."""
    out = tmp_path_factory.mktemp("volumes") / "all.nc"
    return tiny_atlas.export(out, format="netcdf", images=SOME, layers=["pool", "conv2"], channels=3, size=12, each=True)


def test_xarray_reads_the_volumes_with_their_names_and_they_are_those_in_memory(tiny_atlas, volumes):
    import xarray as xr

    with xr.open_dataset(volumes["files"][0], engine="h5netcdf") as found:
        assert found["activation"].dims == ("image", "level", "y", "x") and found["activation"].shape == (7, 7, 12, 12)
        assert found.attrs["Conventions"].startswith("CF-") and found["activation"].attrs["units"] == "1"
        assert found["image"].values.tolist() == ROWS
        table = tiny_atlas.images().iloc[ROWS]
        assert found["image_id"].values.tolist() == table["image_id"].tolist()
        assert found["label"].values.tolist() == table["label"].tolist()
        assert found["layer"].values.tolist() == ["pool"] * 3 + ["conv2"] * 3 + [volumes["cam"]]
        assert {"channel", "mean", "low", "high"} <= set(found.coords) and (found["channel"].values[:, -1] == -1).all()
        assert float(found["activation"].min()) == 0 and float(found["activation"].max()) == 1
        memory = tiny_atlas.volume(SOME, ["pool", "conv2"], channels=3, size=12)
        xr.testing.assert_equal(found.load(), memory)


def test_vtk_reads_each_images_volume_as_xarray_does(volumes):
    import xarray as xr
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIONetCDF import vtkNetCDFCFReader

    assert len(volumes["files"]) == 8
    for file in volumes["files"][1:]:
        reader = vtkNetCDFCFReader()
        reader.SetFileName(file)
        reader.UpdateMetaData()
        reader.SetDimensions("(level, y, x)")
        reader.Update()
        output = reader.GetOutputDataObject(0)
        assert output.GetClassName() == "vtkImageData" and output.GetDimensions() == (12, 12, 7)
        values = vtk_to_numpy(output.GetPointData().GetArray("activation")).reshape(7, 12, 12)
        with xr.open_dataset(file, engine="h5netcdf") as found:
            np.testing.assert_array_equal(values, found["activation"].values)
            assert Path(file).stem == found["image_id"].item()
            x = found["x"].values
        assert output.GetBounds()[:2] == pytest.approx((x[0], x[-1]))


def test_the_files_of_one_image_and_the_file_of_all_agree(volumes):
    import xarray as xr

    with xr.open_dataset(volumes["files"][0], engine="h5netcdf") as every:
        for place, file in enumerate(volumes["files"][1:]):
            with xr.open_dataset(file, engine="h5netcdf") as one:
                xr.testing.assert_equal(one.load(), every.isel(image=place).load())


def test_the_lossless_file_holds_every_channel_bit_for_bit(tiny_atlas, tmp_path):
    import xarray as xr

    told = tiny_atlas.export(tmp_path / "x.nc", format="netcdf", images="3,0", layers=["conv2", "pool"], lossless=True)
    with xr.open_datatree(tmp_path / "x.nc", engine="h5netcdf") as tree:
        assert tree["image"].values.tolist() == [3, 0] and list(tree.children) == told["layers"]
        for layer in told["layers"]:
            found = tree[layer]["activation"]
            assert found.dims == ("image", "channel", "y", "x") and tree[layer].attrs["layer"] == layer
            for place, row in enumerate((3, 0)):
                own = activation_maps(tiny_atlas.network(), tiny_atlas.seeing.picture(row), [layer])[layer]
                np.testing.assert_array_equal(found.values[place], own)


def test_a_network_without_logits_has_volumes_without_a_class_activation_map(tiny_atlas, tmp_path, monkeypatch):
    import xarray as xr

    told = tiny_atlas.export(tmp_path / "x.nc", format="netcdf", images="0", layers=["pool"], channels=2, cam="none")
    with xr.open_dataset(tmp_path / "x.nc", engine="h5netcdf") as found:
        assert found["layer"].values.tolist() == ["pool", "pool"]
    assert told["cam"] is None and "no class activation map" in told["notes"][0]
    features = atlas.open(tiny_atlas.store.root)
    monkeypatch.setitem(features.__dict__, "predictions", None)  # as for a network that yields features only
    assert features.export(tmp_path / "x.nc", format="netcdf", images="0", layers=["pool"])["cam"] is None
    with pytest.raises(AtlasError, match="yields features only"):
        features.export(tmp_path / "x.nc", format="netcdf", images="0", cam="pool")


def test_an_export_that_fails_leaves_no_half_file(tiny_atlas, tmp_path, monkeypatch):
    def fail(*_: Any, **__: Any) -> Any:
        raise AtlasError("the image is gone")

    monkeypatch.setattr("atlas.volumes.make_volume", fail)
    with pytest.raises(AtlasError, match="the image is gone"):
        tiny_atlas.export(tmp_path / "x.nc", format="netcdf", images="0")
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_told_before_the_network_runs(tiny_atlas, tmp_path, monkeypatch):
    monkeypatch.setattr(netcdf, "find_spec", lambda name: None)
    with pytest.raises(AtlasError) as refusal:
        tiny_atlas.export(tmp_path / "x.nc", format="netcdf", images="0")
    assert str(refusal.value) == netcdf.EXTRA and "activation-atlas-explorer[netcdf]" in netcdf.EXTRA


# -- which images, and what is refused ------------------------------------------------------------------------------------


def test_images_are_named_by_rows_ranges_ids_and_kept_selections(plain):
    ids = plain.images()["image_id"]
    assert rows_of(plain, f"5, 2-4,{ids[9]},3") == [5, 2, 3, 4, 9] and rows_of(plain, [1, str(ids[0])]) == [1, 0]
    assert rows_of(plain, "all") == list(range(60))
    notes.keep(plain.store.root, name="odd ones", image_ids=[ids[8], ids[1]])
    assert rows_of(plain, "odd ones") == [8, 1]
    notes.keep(plain.store.root, name="gone ones", image_ids=[ids[8], "f" * 16])
    with pytest.raises(AtlasError, match="1 images of the selection gone ones are no longer in the atlas"):
        rows_of(plain, "gone ones")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"format": "xlsx"}, "no format 'xlsx': there is netcdf, parquet"),
        ({"format": "csv", "out": "x.tsv"}, r"x.tsv would be a .tsv: .csv would do"),
        ({"format": "csv", "out": "no/x.csv"}, "no folder .*no to write x.csv in: make it first"),
        ({"format": "csv", "images": "0-99"}, "no rows 0-99: the images are rows 0 to 59"),
        ({"format": "csv", "images": "5-2"}, "no rows 5-2"),
        ({"format": "csv", "images": "99"}, "no row 99: the images are rows 0 to 59"),
        ({"format": "csv", "images": "nice ones"}, "no kept selection 'nice ones'"),
        ({"format": "csv", "images": []}, "no image was named: rows such as 0,5,10-19 would do, or all"),
        ({"format": "csv", "vectors": True}, "--vectors belongs to parquet, embedding-atlas, not to csv: leave it out"),
        ({"format": "csv", "channels": 0}, "--channels belongs to netcdf, not to csv: leave it out"),
        ({"format": "csv", "layers": ["conv", "fc"]}, "2 layers were asked for: a table is of one, name it with --layer"),
        ({"format": "parquet", "layers": ["convv"]}, "no layer of this atlas 'convv': did you mean conv"),
        ({"format": "embedding-atlas", "method": "tsne"}, "no layout of fc 'tsne': there is umap, pca"),
        ({"format": "netcdf"}, "a volume runs the network on each image: name them, as --images 0,5,10-19, or --images all"),
        (
            {"format": "netcdf", "images": "0", "lossless": True, "channels": 3},
            "--channels belongs to volumes, and --lossless",
        ),
        ({"format": "netcdf", "images": "0", "lossless": True, "each": True}, "--each belongs to volumes, and --lossless"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_sentence(plain, tmp_path, monkeypatch, asked, words):
    monkeypatch.chdir(tmp_path)
    out = asked.pop("out", None)
    with pytest.raises(AtlasError, match=words):
        plain.export(out, **asked)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_other_files_is_not_written_into_nor_a_file_where_a_folder_would_be(plain, tiny_atlas, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    with pytest.raises(AtlasError, match=r"holds thesis.tex, which is no export's: choose a new folder with -o"):
        plain.export(tmp_path / "mine", format="tensorboard")
    with pytest.raises(AtlasError, match=r"mine.csv is a folder: choose another name for -o"):
        (tmp_path / "mine").rename(tmp_path / "mine.csv")
        plain.export(tmp_path / "mine.csv", format="csv")
    (tmp_path / "all").write_text("mine")
    with pytest.raises(AtlasError, match="all is a file"):
        plain.export(tmp_path / "all", format="tensorboard")
    with pytest.raises(AtlasError, match="is a file, where the folder of one file per image would be"):
        tiny_atlas.export(tmp_path / "all.nc", format="netcdf", images="0", each=True)


def test_the_command_writes_tells_and_refuses(plain, tiny_atlas, tmp_path):
    told = success(run("export", plain.store.root, "--format", "csv", "--images", SOME, "-o", tmp_path / "x.csv"))
    assert "csv: 7 of 60 images:" in told.out and "pandas.read_csv" in told.out
    answer = json.loads(success(run(
        "export", tiny_atlas.store.root, "-f", "netcdf", "--images", "0,1", "-l", "pool", "--channels", "2",
        "-o", tmp_path / "x.nc", "--json",
    )).out)  # fmt: skip
    assert answer["files"] == [str(tmp_path / "x.nc")] and answer["layers"] == ["pool"]
    assert "no format 'xls'" in clear_refusal(run("export", plain.store.root, "--format", "xls"))


def test_exports_need_no_torch(plain, tmp_path):
    code = (
        "import sys, atlas\n"
        f"a = atlas.open({str(plain.store.root)!r})\n"
        "for f, o in [('csv', 'x.csv'), ('parquet', 'x.parquet'), ('embedding-atlas', 'y.parquet'),\n"
        "             ('tensorboard', 'tb')]:\n"
        f"    a.export({str(tmp_path)!r} + '/' + o, format=f)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
