"""The command: each verb answers, each mistake is one line with exit code 2 and no traceback."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from atlas.errors import AtlasError
from atlas.verbs import find_atlases

ROOT = Path(__file__).parents[1]


def run(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "atlas", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def answer(*arguments: object) -> str:
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_layers_lists_numbers_names_kinds_shapes_parameters():
    rows = json.loads(answer("layers", "tests.tiny:network", "--json"))
    assert [r["number"] for r in rows] == list(range(1, 8)) and rows[0]["name"] == "conv1"
    assert rows[0]["shape"] == "8×20×20" and rows[0]["parameters"] == 224 and rows[1]["kind"] == "ReLU ×2"
    assert "MaxPool2d" in answer("layers", "tests.tiny:network")


def test_query_prints_a_table_or_json_and_draws_a_sheet(tiny_atlas, tmp_path):
    folder = tiny_atlas.store.root
    assert "distance" in answer("query", folder, "3", "-k", "4")
    said = json.loads(answer("query", folder, "3", "-k", "4", "--json", "--sheet", tmp_path / "s.png"))
    assert [n["image"] for n in said["neighbours"]] == list(tiny_atlas.neighbours(3, k=4)["image"])
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.width > 2 * sheet.height  # five pictures in a row


def test_what_a_network_prints_is_no_part_of_the_answer(tmp_path):
    text = (
        "from tests.tiny import network as quiet\nprint('loading')\n\n\ndef network():\n    print('made'); return quiet()\n"
    )
    (tmp_path / "loud.py").write_text(text)
    done = run("layers", "loud:network", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)[0]["name"] == "conv1" and "loading" in done.stderr


def test_query_of_a_file_says_what_the_network_sees(tiny_atlas, world):
    said = json.loads(answer("query", tiny_atlas.store.root, world / "images/test/disc/004.png", "--json", "-k", "3"))
    assert said["predictions"][0]["prediction"] == "disc" and said["path"] == "test/disc/004.png"
    assert said["row"] not in [n["image"] for n in said["neighbours"]]


def test_patterns_writes_a_figure_of_each_statistic(tiny_atlas, tmp_path):
    for stat in ("mean", "std"):
        answer("patterns", tiny_atlas.store.root, "--layer", "act", "--stat", stat, "-o", tmp_path / f"{stat}.png")
        with Image.open(tmp_path / f"{stat}.png") as figure:
            assert figure.width > 500


def test_list_and_show_say_what_there_is(tiny_atlas):
    assert "tiny" in answer("list", tiny_atlas.store.root.parent)
    summary = json.loads(answer("show", tiny_atlas.store.root, "--json"))
    assert summary["images"]["images"] == 120 and [layer["layer"] for layer in summary["layers"]] == [
        "pool",
        "act",
        "logits",
    ]
    assert "on held-out (60 of 60)" in answer("show", tiny_atlas.store.root)


def test_a_dry_run_says_what_it_would_take_and_builds_nothing(world, tmp_path):
    said = answer("build", "tests.tiny:network", world / "images", "--cache", tmp_path / "a", "--dry-run")
    assert "points" in said and "nothing was built" in said
    assert not list((tmp_path / "a").glob("images-*"))


def test_build_makes_an_atlas_that_show_reads(world, tmp_path):
    done = run(
        "build", "tests.tiny:network", world / "images", "--cache", tmp_path / "a", "--layer", "act", "--layout", "pca",
        "--weights", world / "weights.safetensors",
    )  # fmt: skip
    assert done.returncode == 0 and "accuracy 1.0000 on held-out (60 of 60)" in done.stderr
    assert "act" in answer("show", tmp_path / "a")


def test_gc_lists_and_removes_what_nothing_reaches(world, tmp_path):
    build = ["build", "tests.tiny:network", world / "images", "--cache", tmp_path / "a", "--layer", "act", "--layout", "pca"]
    answer(*build)
    answer(*build, "--limit", "30")
    assert "images-" in answer("gc", tmp_path / "a")
    assert "removed" in answer("gc", tmp_path / "a", "--remove")
    assert "nothing to remove" in answer("gc", tmp_path / "a")
    assert "act" in answer("show", tmp_path / "a")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["layers", "torchvision:resnt18"], "did you mean resnet18"),
        (["layers", "nothing:here"], "nothing"),
        (["layers"], "Missing argument"),
        (["lyers"], "Did you mean 'layers'"),
        (["query", "{atlas}", "400"], "rows 0 to 119"),
        (["query", "{atlas}", "3", "-k", "0"], "k is 0: at least 1 would do"),
        (["query", "{atlas}", "3", "--sheet", "x.gif"], ".png would do"),
        (["query", "{atlas}", "3", "--sheet", "no/folder/x.png"], "make it first"),
        (["query", "{atlas}", "3", "-l", "atc"], "did you mean act"),
        (["patterns", "{atlas}", "--stat", "median"], "no statistic 'median'"),
        (["patterns", "{atlas}", "--split", "test"], "no split 'test'"),
        (["patterns", "{atlas}", "--split", "unknown"], "no image is unknown: there are"),
        (["patterns", "{atlas}", "-o", "x.txt"], "would do"),
        (["show", "no/atlas"], "no atlas in no/atlas"),
        (["list", "no/cache"], "no atlas in no/cache"),
        (["serve", "no/atlas"], "no atlas in no/atlas"),
        (["train", "conv5", "mnist"], "no reference network 'conv5'"),
        (["train", "conv4", "minst"], "no dataset 'minst': did you mean mnist"),
        (["train", "residual-mlp", "mnist", "--net", "depth"], "NAME=VALUE would do"),
        (["train", "residual-mlp", "mnist", "--net", "width=0.5"], "width of residual-mlp is a whole number, not 0.5"),
        (["train", "residual-mlp", "mnist", "--net", "dept=5"], "did you mean depth"),
        (["build", "tests.tiny:network", "fashion-mnits"], "did you mean fashion-mnist"),
        (["gc", "no/atlas"], "no atlas in no/atlas"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tiny_atlas, arguments, message):
    done = run(*[str(tiny_atlas.store.root) if a == "{atlas}" else a for a in arguments])
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_query_script_needs_no_torch_for_a_row(tiny_atlas):
    code = (
        "import runpy, sys; sys.argv = ['query.py', sys.argv[1], '3', '-k', '4']\n"
        "runpy.run_path('apps/query.py', run_name='__main__')\n"
        "assert not {'torch', 'umap', 'numba', 'bokeh'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tiny_atlas.store.root)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert all(str(image) in done.stdout for image in tiny_atlas.neighbours(3, k=4)["image_id"])


def test_the_query_script_tells_a_mistake_in_one_line(tiny_atlas):
    command = [sys.executable, "apps/query.py", str(tiny_atlas.store.root), "999"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and done.stderr == "query.py: no row 999: the images are rows 0 to 119\n"


def test_serve_takes_an_atlas_a_folder_of_atlases_or_the_cache_here(tiny_atlas, monkeypatch, tmp_path):
    monkeypatch.delenv("ATLAS_CACHE", raising=False)
    root = tiny_atlas.store.root.resolve()
    assert find_atlases(root) == (root, None) and find_atlases(root.parent) == (None, root.parent)
    monkeypatch.chdir(tmp_path)
    assert find_atlases(None) == (None, None)
    (tmp_path / "cache" / "a").mkdir(parents=True)
    (tmp_path / "cache" / "a" / "atlas.json").write_text("{}")
    assert find_atlases(None) == (None, tmp_path / "cache")
    with pytest.raises(AtlasError, match="no atlas in"):
        find_atlases(tmp_path / "nothing")


@pytest.mark.parametrize("moment", ["preprocessing:", "neighbours of"])
def test_ctrl_c_is_one_line_and_keeps_what_is_finished(world, tmp_path, moment):
    code = "from atlas.cli import main; main()"
    arguments = ["build", "tests.tiny:network", world / "images", "--cache", tmp_path / "a", "--layout=umap,epochs=500000"]
    command = [sys.executable, "-c", code, *map(str, arguments)]
    # A shell's background jobs are born deaf to Ctrl-C, and these tests may run in one.
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stderr is not None
    assert any(line.startswith(moment) for line in process.stderr)  # so far it has come
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in said, said
    assert said.strip().splitlines()[-1].startswith("atlas: stopped; what was finished is kept")
