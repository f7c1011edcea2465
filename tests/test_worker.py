"""The worker in real processes: one per atlas, shared; what ends, hangs or misleads it is told, and nobody else is lost."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import atlas
from atlas.atlas import Atlas
from atlas.errors import AtlasError
from atlas.worker import Worker, client
from atlas.worker.protocol import IDLE_VARIABLE, MOST_BYTES, SIZES, WAITING, Question, Spot, pack, parse, private_folder
from tests import odd, tiny, workers
from tests.workers import gone, grey, holders, later, new_image, until

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def runtime() -> Iterator[Path]:
    """A private folder for sockets; all workers in it are ended with the tests."""
    with workers.private() as folder:
        yield folder


@pytest.fixture(scope="module")
def odd_root(world: Path, tmp_path_factory: pytest.TempPathFactory, runtime: Path) -> Path:
    return workers.odd_atlas(world, tmp_path_factory.mktemp("odd") / "atlas")


@pytest.fixture
def gate(runtime: Path) -> Iterator[Path]:
    """The file that lets the waiting network go on; it is there after the test whatever happened."""
    path = runtime / "gate"
    path.unlink(missing_ok=True)
    yield path
    path.touch()


# -- what it answers ---------------------------------------------------------------------------------------------------


def test_an_image_of_the_atlas_is_answered_without_a_network(tiny_atlas, world):
    worker = Worker(tiny_atlas.store.root)
    seen = worker.see(world / "images/test/disc/004.png", layer="act", k=4)
    assert seen["path"] == "test/disc/004.png" and worker.about()["networks"] == []
    assert [n["image"] for n in seen["neighbours"]] == list(tiny_atlas.neighbours(seen["row"], layer="act", k=4)["image"])
    layout = tiny_atlas.layout("act", "pca")
    point = layout[layout["image"] == seen["row"]].iloc[0]
    place = next(p for p in seen["places"] if p["method"] == "pca")
    assert (place["x"], place["y"]) == ([point.x], [point.y]) and place["confidence"] == [None] and place["far"] == [False]


def test_a_new_image_is_answered_as_in_the_callers_own_process(tiny_atlas, tmp_path):
    (tmp_path / "new.png").write_bytes(new_image(0))
    seen = Worker(tiny_atlas.store.root).see(tmp_path / "new.png", layer="act", k=5)
    near, said = tiny_atlas.neighbours(tmp_path / "new.png", layer="act", k=5), tiny_atlas.predict(tmp_path / "new.png")
    assert [n["image_id"] for n in seen["neighbours"]] == list(near["image_id"])
    assert np.allclose([n["distance"] for n in seen["neighbours"]], near["distance"], atol=1e-6)
    assert [p["prediction"] for p in seen["predictions"]] == list(said["prediction"])
    assert np.allclose([p["probability"] for p in seen["predictions"]], said["probability"])
    placed = tiny_atlas.place(tmp_path / "new.png", layer="act")
    assert [p["method"] for p in seen["places"]] == list(placed["method"]) and set(placed["method"]) == {
        "umap",
        "tsne",
        "pca",
    }
    assert np.allclose([p["x"][0] for p in seen["places"]], placed["x"], atol=1e-4)
    assert Image.open(io.BytesIO(seen["thumbnail"])).size == (tiny.EDGE, tiny.EDGE)


def test_a_new_image_has_a_place_on_a_map_of_several_layers(tiny_atlas, tmp_path):
    (tmp_path / "new.png").write_bytes(new_image(1))
    seen = Worker(tiny_atlas.store.root).see(tmp_path / "new.png", layer="pool+act+logits", method="umap")
    (place,) = seen["places"]
    xy = tiny_atlas.layout("pool+act+logits")[["x", "y"]].to_numpy()
    assert (xy.min(0) - 1 < (place["x"][0], place["y"][0])).all() and (xy.max(0) + 1 > (place["x"][0], place["y"][0])).all()
    discs = [n["label"] for n in seen["neighbours"][:5]]
    assert discs.count("disc") >= 4


def test_a_method_or_layer_that_is_not_there_is_told_with_the_closest(tiny_atlas):
    worker = Worker(tiny_atlas.store.root)
    with pytest.raises(AtlasError, match="no layout of act 'umpa': did you mean umap"):
        worker.see(new_image(0), layer="act", method="umpa")
    with pytest.raises(AtlasError, match="did you mean act"):
        worker.see(new_image(0), layer="atc")
    with pytest.raises(AtlasError, match="the atlas has changed and does not show activations-0 any more"):
        worker.see(new_image(0), activations=("activations-0",))


def test_the_command_says_prediction_place_and_neighbours_and_draws_a_sheet(tiny_atlas, tmp_path):
    (tmp_path / "new.png").write_bytes(new_image(2))
    command = [sys.executable, "-c", "from atlas.cli import main; main()", "query", str(tiny_atlas.store.root)]
    command += [str(tmp_path / "new.png"), "-l", "act", "-k", "3"]
    said = subprocess.run([*command, "--sheet", str(tmp_path / "s.png")], capture_output=True, text=True, check=True).stdout
    assert "the network says disc" in said and "UMAP x" in said and "t-SNE x" in said and "distance" in said
    assert Image.open(tmp_path / "s.png").width > 500
    told = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert len(told["places"]) == 3 and len(told["neighbours"]) == 3 and "thumbnail" not in told


# -- images that are none ----------------------------------------------------------------------------------------------


def test_what_does_not_decode_is_told_by_its_name(tiny_atlas, tmp_path):
    worker = Worker(tiny_atlas.store.root)
    (tmp_path / "notes.png").write_bytes(b"these are notes")
    with pytest.raises(
        AtlasError, match=r"^notes\.png does not decode: it is not an image of a known format; give another image$"
    ):
        worker.see(tmp_path / "notes.png")
    with pytest.raises(AtlasError, match=r"upload\.jpg does not decode: the file is empty"):
        worker.see(b"", name="upload.jpg")


def test_a_small_file_of_too_many_pixels_is_refused(tiny_atlas):
    header = b"P5 50000 50000 255\n"
    with pytest.raises(AtlasError, match=r"bomb\.pgm does not decode: it has more than the 100 million pixels allowed"):
        Worker(tiny_atlas.store.root).see(header, name="bomb.pgm")


def test_a_file_too_large_or_not_there_is_refused_before_anything_starts(tiny_atlas, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "start", lambda spot: pytest.fail("a worker was started"))
    with (tmp_path / "large.tif").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(AtlasError, match=r"large\.tif has 64\.0 MB: at most 64 MB are taken"):
        Worker(tiny_atlas.store.root).see(tmp_path / "large.tif")
    with pytest.raises(AtlasError, match=r"none\.png cannot be read \(No such file or directory\)"):
        Worker(tiny_atlas.store.root).see(tmp_path / "none.png")
    with pytest.raises(AtlasError, match="no atlas in"):
        Worker(tmp_path / "nothing").see(b"x")


# -- one process -------------------------------------------------------------------------------------------------------


def test_of_many_clients_at_once_one_starts_the_worker_and_all_are_answered(odd_root):
    Worker(odd_root).stop()
    code = (
        "import sys; from atlas.worker import Worker; w = Worker(sys.argv[1])\n"
        "print(w.see(sys.argv[2])['predictions'][0]['prediction'], w.about()['pid'])"
    )
    file = odd_root.parent / "some.png"
    file.write_bytes(new_image(3))
    own = [
        subprocess.Popen([sys.executable, "-c", code, str(odd_root), str(file)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    with ThreadPoolExecutor(30) as pool:
        seen = list(pool.map(lambda k: Worker(odd_root).see(new_image(k)), range(30)))
    assert all(len(one["neighbours"]) == 10 for one in seen)
    told = [process.communicate(timeout=30)[0].split() for process in own]
    assert {answer[0] for answer in told} == {"disc"} and len({answer[1] for answer in told}) == 1
    assert len(holders(Spot.of(odd_root).living)) == 1


def test_a_killed_worker_leaves_a_socket_and_the_next_client_starts_another(odd_root):
    worker = Worker(odd_root)
    before = worker.see(new_image(4)) and worker.about()["pid"]
    os.kill(before, signal.SIGKILL)
    until(lambda: gone(before))
    assert Spot.of(odd_root).socket.exists() and worker.about() is None
    assert worker.see(new_image(4))["predictions"] and worker.about()["pid"] != before


def test_a_network_that_ends_its_process_is_told_and_the_others_are_answered(odd_root):
    worker = Worker(odd_root)
    worker.see(new_image(0))
    first = worker.about()["pid"]
    ending = later(lambda: worker.see(grey(odd.ENDS), name="white.png"))
    others = [later(lambda k=k: worker.see(new_image(k))) for k in range(4)]
    with pytest.raises(AtlasError, match=r"the network's process ended twice over white\.png"):
        ending.result(40)
    assert all(other.result(40)["predictions"] for other in others)
    assert worker.see(new_image(1))["predictions"] and worker.about()["pid"] != first


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (odd.RAISES, "failed on images of 3×20×20.*a layer divides by nothing"),
        (odd.EXITS, r"the network failed on it\.png \(SystemExit: 3\)"),
    ],
)
def test_a_network_that_raises_is_told_and_lives_on(odd_root, value, message):
    worker = Worker(odd_root)
    with pytest.raises(AtlasError, match=message):
        worker.see(grey(value), name="it.png")
    pid = worker.about()["pid"]
    assert worker.see(new_image(0))["predictions"] and worker.about()["pid"] == pid


# -- the queue ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(odd_root: Path, gate: Path) -> Iterator[SimpleNamespace]:
    """A worker whose network waits at an image until the gate is there."""
    worker = Worker(odd_root)
    worker.see(new_image(0))
    running = later(lambda: worker.see(grey(odd.WAITS), name="waits.png"))
    until(lambda: worker.about()["running"])
    yield SimpleNamespace(worker=worker, running=running, gate=gate)
    gate.touch()
    running.exception(20)


def test_more_than_may_wait_are_told_at_once_that_it_is_busy(waiting):
    some = [later(lambda k=k: waiting.worker.see(new_image(k))) for k in range(WAITING)]
    until(lambda: waiting.worker.about()["waiting"] == WAITING)
    started = time.monotonic()
    with pytest.raises(AtlasError, match=r"the network is busy .* try again"):
        waiting.worker.see(new_image(99))
    assert time.monotonic() - started < 2
    waiting.gate.touch()
    assert waiting.running.result(20)["predictions"] and all(one.result(20)["predictions"] for one in some)


def test_who_waits_too_long_is_told_and_the_answer_is_dropped(waiting):
    with pytest.raises(AtlasError, match=r"no answer within 0\.4 seconds: try again .* --timeout"):
        waiting.worker.see(new_image(0), timeout=0.4)
    until(lambda: waiting.worker.about()["waiting"] == 0)
    waiting.gate.touch()
    assert waiting.running.result(20)["predictions"]


def test_who_gives_up_leaves_the_queue(waiting):
    cancel = threading.Event()
    asked = later(lambda: waiting.worker.see(new_image(0), cancel=cancel))
    until(lambda: waiting.worker.about()["waiting"] == 1)
    cancel.set()
    with pytest.raises(AtlasError, match=r"cancelled: nobody waits"):
        asked.result(5)
    until(lambda: waiting.worker.about()["waiting"] == 0)


def test_a_client_that_is_ended_leaves_the_queue_and_harms_nobody(waiting, odd_root):
    code = "import sys; from atlas.worker import Worker; Worker(sys.argv[1]).see(sys.stdin.buffer.read())"
    process = subprocess.Popen([sys.executable, "-c", code, str(odd_root)], stdin=subprocess.PIPE)
    process.stdin.write(new_image(0))  # type: ignore[union-attr]
    process.stdin.close()  # type: ignore[union-attr]
    until(lambda: waiting.worker.about()["waiting"] == 1)
    process.terminate()
    process.wait(10)
    until(lambda: waiting.worker.about()["waiting"] == 0)
    waiting.gate.touch()
    assert waiting.running.result(20)["predictions"]


def test_a_run_that_nobody_waits_for_ends_its_process_once_it_keeps_others_waiting():
    import asyncio

    from atlas.worker.server import STUCK, Job, Server

    async def stuck(*, left: bool, others: bool, seconds: float) -> bool:
        server = Server(Spot(Path("nowhere"), Path("nowhere")), 1)
        server.seer.seconds = lambda: seconds  # type: ignore[method-assign]
        job = Job(Question("it.png", None, (), 1, None, 0), b"", None)  # type: ignore[arg-type]
        job.left, server.running = left, job
        if others:
            server.slots[object()] = 1
        return server._stuck()

    assert asyncio.run(stuck(left=True, others=True, seconds=STUCK + 1))
    for still in ({"left": False}, {"others": False}, {"seconds": STUCK - 1}):
        assert not asyncio.run(stuck(**{"left": True, "others": True, "seconds": STUCK + 1} | still))


# -- the atlas changes -------------------------------------------------------------------------------------------------


def test_an_atlas_that_has_changed_is_opened_anew_and_its_network_stays(world, tmp_path):
    build: dict[str, Any] = {"cache": tmp_path / "a", "layers": ["act"], "limit": 30}
    build["network"] = {"weights": world / "weights.safetensors"}
    atlas.build(tiny.MODEL, str(world / "images"), layouts=["pca"], **build)
    worker = Worker(tmp_path / "a")
    assert [p["method"] for p in worker.see(new_image(0))["places"]] == ["pca"]
    before = worker.about()
    atlas.build(tiny.MODEL, str(world / "images"), layouts=["pca", "tsne"], **build)
    assert {p["method"] for p in worker.see(new_image(0))["places"]} == {"pca", "tsne"}
    assert worker.about()["pid"] == before["pid"] and worker.about()["networks"] == before["networks"]
    tiny.train(tmp_path / "other.safetensors")
    module = atlas.load_network(tiny.MODEL).module
    from safetensors.torch import save_file

    save_file(module.state_dict(), tmp_path / "other.safetensors")  # untrained: another network
    build["network"] = {"weights": tmp_path / "other.safetensors"}
    atlas.build(tiny.MODEL, str(world / "images"), layouts=["pca"], **build)
    assert worker.see(new_image(0))["predictions"] and worker.about()["networks"] != before["networks"]
    shutil.rmtree(tmp_path / "a")
    until(lambda: worker.about() is None)


def test_a_network_that_cannot_be_loaded_is_told_and_loaded_once_it_can(odd_root, world, tmp_path):
    shutil.copytree(odd_root, tmp_path / "a")
    network = next((tmp_path / "a").glob("network-*/record.json"))
    text = network.read_text()
    header = json.loads(text)
    header["fields"]["weights"] = str(tmp_path / "lost.safetensors")
    network.write_text(json.dumps(header))
    worker = Worker(tmp_path / "a")
    with pytest.raises(AtlasError, match=r"lost\.safetensors"):
        worker.see(new_image(0))
    shutil.copy(world / "weights.safetensors", tmp_path / "lost.safetensors")
    assert worker.see(new_image(0))["predictions"]
    worker.stop()


def test_an_idle_worker_ends_and_leaves_no_socket(odd_root, monkeypatch):
    Worker(odd_root).stop()
    monkeypatch.setenv(IDLE_VARIABLE, "0.4")
    worker = Worker(odd_root)
    worker.see(next(odd_root.parent.glob("*.png"), None) or new_image(0))
    until(lambda: not holders(Spot.of(odd_root).living))  # it may well be gone before this process looks
    assert not Spot.of(odd_root).socket.exists()


def test_idle_seconds_that_are_none_are_told(odd_root, monkeypatch):
    Worker(odd_root).stop()
    monkeypatch.setenv(IDLE_VARIABLE, "soon")
    with pytest.raises(AtlasError, match=r"could not be started: its last words were .*is 'soon': a number of seconds"):
        Worker(odd_root).see(new_image(0))


def test_without_torch_a_new_image_is_told_so(odd_root, tmp_path, monkeypatch):
    Worker(odd_root).stop()
    (tmp_path / "torch.py").write_text("raise ImportError('No module named torch')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    with pytest.raises(AtlasError, match="a new image needs torch: No module named torch"):
        Worker(odd_root).see(new_image(0))


# -- where they meet ---------------------------------------------------------------------------------------------------


def test_the_folder_of_sockets_is_the_users_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = private_folder()
    assert folder.parent == tmp_path and folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    with pytest.raises(AtlasError, match="is not a folder of yours alone: remove it"):
        private_folder()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(AtlasError, match="is not a folder of yours alone"):
        private_folder()


def test_without_a_folder_to_write_in_it_says_what_to_set(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(AtlasError, match=r"a private folder for the worker's socket, and there is none .* set TMPDIR"):
        private_folder()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("long" * 30)))
    (tmp_path / ("long" * 30)).mkdir()
    with pytest.raises(AtlasError, match="is too long for a socket"):
        Spot.of(tmp_path)


def test_two_names_of_one_atlas_meet_at_one_spot(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert Spot.of(tmp_path / "a") == Spot.of(tmp_path / "b") != Spot.of(tmp_path)


# -- messages ----------------------------------------------------------------------------------------------------------


def sent(root: Path, message: bytes) -> dict[str, Any]:
    """Send raw bytes to a running worker; return the header of its answer."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(10)
        raw.connect(str(Spot.of(root).socket))
        raw.sendall(message)
        size, _ = SIZES.unpack(raw.recv(SIZES.size, socket.MSG_WAITALL))
        return parse(raw.recv(size, socket.MSG_WAITALL))


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        (SIZES.pack(4, 0) + b"[1]\n", "no JSON object"),
        (SIZES.pack(6, 0) + b"{nope}", "no JSON object"),
        (SIZES.pack(2**31, 0), "bytes: at most"),
        (pack({"do": "dance"}), "cannot do 'dance'"),
        (pack({"do": "see", "k": 3}), "size is None"),
        (pack({"do": "see", "k": True, "size": 1}), "k is True: a whole number from 1"),
        (pack({"do": "see", "k": 1, "size": MOST_BYTES + 1}), "size is 64000001"),
        (pack({"do": "see", "k": 1, "size": 1, "layer": ["x"]}), "layer is no text"),
        (pack({"do": "see", "k": 1, "size": 1, "activations": [3]}), "activations are no list of names"),
    ],
)
def test_a_message_that_is_none_is_answered_with_an_error(odd_root, message, answer):
    worker = Worker(odd_root)
    pid = worker.see(new_image(0)) and worker.about()["pid"]
    assert answer in sent(odd_root, message)["error"]
    assert worker.about()["pid"] == pid


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    st.lists,
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(["name", "layer", "method", "activations", "k", "size"]), JSON))
@settings(max_examples=300, deadline=None)
def test_whatever_a_header_holds_it_is_a_question_or_refused(header):
    try:
        question = Question.read(parse(pack(header)[SIZES.size :]))
    except AtlasError:
        return
    assert question.k >= 1 and 0 <= question.size <= MOST_BYTES and isinstance(question.name, str)


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_bytes_that_are_no_header_are_refused_in_one_way(text):
    try:
        assert isinstance(parse(text), dict)
    except AtlasError as reason:
        assert "no JSON object" in str(reason)


def test_a_client_needs_neither_torch_nor_pandas(odd_root, tmp_path):
    (tmp_path / "x.png").write_bytes(new_image(0))
    Worker(odd_root).see(new_image(0))
    code = (
        "import sys; from atlas.cli import main\n"
        "sys.argv = ['atlas', 'query', *sys.argv[1:]]\n"
        "import contextlib\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "assert not {'torch', 'pandas', 'numpy', 'PIL', 'faiss'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(odd_root), str(tmp_path / "x.png")], capture_output=True, text=True
    )
    assert done.returncode == 0 and "the network says" in done.stdout, done.stderr


def test_an_opened_atlas_is_asked_like_its_folder(odd_root, tmp_path):
    (tmp_path / "x.png").write_bytes(new_image(0))
    by_folder, by_atlas = (atlas.query(one, tmp_path / "x.png") for one in (odd_root, Atlas(odd_root)))
    assert by_folder == by_atlas and by_folder["row"] is None
