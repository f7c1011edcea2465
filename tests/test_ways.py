"""One image's way through the network as the page gets it: packed and unpacked, by the worker, kept by the server."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
from PIL import Image

import atlas
from atlas.errors import AtlasError
from atlas.iconing import icons
from atlas.pages.ways import BYTES, Kept
from atlas.propagated import MOST_PLACES, packed, unpacked
from atlas.propagating import own_cells, propagation
from atlas.worker import Worker
from tests import odd, workers
from tests.browser.conftest import serving
from tests.workers import grey, new_image

OURS = {"X-Atlas": "propagation", "Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module", autouse=True)
def runtime() -> Iterator[Path]:
    with workers.private() as folder:
        yield folder


@pytest.fixture(scope="module")
def drawn(tiny_atlas: atlas.Atlas, tmp_path_factory: pytest.TempPathFactory) -> atlas.Atlas:
    """A copy of the tiny atlas with icons of its descriptor."""
    folder = tmp_path_factory.mktemp("ways") / "tiny"
    shutil.copytree(tiny_atlas.store.root, folder)
    return icons(atlas.open(folder), "act", sizes=(2, 4), steps=8)


@pytest.fixture(scope="module")
def url(drawn: atlas.Atlas) -> Iterator[str]:
    with serving(drawn.store.root.parent) as address:
        urllib.request.urlopen(address).close()  # a page puts the atlas on the server's shelf
        yield address


def post(
    url: str, drawn: atlas.Atlas, body: bytes = b"", *, headers: dict[str, str] = OURS, **asked: str
) -> tuple[int, Any]:
    """Ask as the page does; return the status and the answer."""
    what = {"space": "act", "name": "new.png", **asked}
    address = f"/atlas/propagation/{drawn.names('images')[-1]}?" + "&".join(f"{k}={quote(v)}" for k, v in what.items())
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request("POST", address, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def check(seen: dict[str, Any], found: Any, drawn: atlas.Atlas) -> None:
    """Hold an unpacked answer against what it was packed from."""
    assert [one["layer"] for one in seen["layers"]] == [one.layer for one in found.layers]
    assert seen["asked"] == [found.outputs[output] for output in found.asked]
    for told, own in zip(seen["layers"], found.layers, strict=True):
        grid, argued = tuple(told["grid"]), (len(found.asked), *told["argued"])
        assert told["step"] == 1 and grid == own.size == tuple(told["argued"])
        magnitude = np.frombuffer(told["magnitude"], np.uint8).reshape(grid) / 255
        np.testing.assert_allclose(magnitude, own.magnitude, atol=0.003)
        values = told["most"] * np.frombuffer(told["argues"], np.int8).reshape(argued) / 127
        np.testing.assert_allclose(values, own.argued, atol=told["most"] / 200 + 1e-6)
        assert told["totals"] == pytest.approx([own.total[output] for output in found.asked], rel=1e-4, abs=1e-5)
        cells = own_cells(drawn, own.layer)
        assert (told["cells"] is None) == (cells is None) == (own.nearest is None)
        if cells is not None:
            assert (told["cells"], told["icons"], told["sides"]) == (cells.name, cells.drawn, own.nearest.size)
            assert np.array_equal(np.frombuffer(told["place"], "<i4").reshape(grid), own.nearest.place)
            assert told["cell"] == own.nearest.whole


def test_what_is_packed_is_unpacked_again(drawn):
    found = propagation(drawn, 7, ["pool", "conv2", "act"])
    told, body = packed(found)
    seen = unpacked(json.loads(json.dumps(told)), body)
    check(seen, found, drawn)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(seen["picture"]))), found.picture)
    assert sum(len(one[name]) for one in seen["layers"] for name in BYTES) + len(seen["picture"]) == len(body)


def test_of_many_places_every_nth_is_shown_and_said(drawn):
    found = propagation(drawn, 7, ["conv2"])
    (layer,) = found.layers
    rng = np.random.default_rng(0)
    wide = type(layer)(
        layer.layer,
        rng.random((70, 40), np.float32),
        rng.normal(size=(1, 70, 40)).astype(np.float32),
        layer.total,
        None,
        layer.whole,
    )
    told, body = packed(type(found)(**{**vars(found), "layers": [wide]}))
    (seen,) = unpacked(told, body)["layers"]
    assert seen["step"] == 3 and max(seen["grid"]) <= MOST_PLACES
    magnitude = np.frombuffer(seen["magnitude"], np.uint8).reshape(seen["grid"]) / 255
    np.testing.assert_allclose(magnitude, wide.magnitude[1::3, 1::3], atol=0.003)


def test_the_workers_answer_is_that_of_the_callers_own_process(drawn, tmp_path):
    (tmp_path / "new.png").write_bytes(new_image(3))
    worker = Worker(drawn.store.root)
    for source, own in ((5, 5), (tmp_path / "new.png", tmp_path / "new.png")):
        check(worker.propagate(source), propagation(drawn, own), drawn)
    assert [one["layer"] for one in worker.propagate(5, layers=["pool"])["layers"]] == ["pool"]
    assert worker.propagate(new_image(3), name="it")["name"] == "it" and worker.propagate(5)["label"] is not None


def test_what_cannot_be_followed_is_told(drawn, world, tmp_path_factory):
    worker = Worker(drawn.store.root)
    with pytest.raises(AtlasError, match="no row 120: the images are rows 0 to 119"):
        worker.propagate(120)
    with pytest.raises(AtlasError, match="did you mean conv1"):
        worker.propagate(0, layers=["conv11"])
    with pytest.raises(AtlasError, match=r"it\.txt does not decode"):
        worker.propagate(b"words", name="it.txt")
    other = Worker(workers.odd_atlas(world, tmp_path_factory.mktemp("odd-ways") / "atlas"))
    with pytest.raises(AtlasError, match="a layer divides by nothing"):
        other.propagate(grey(odd.RAISES), name="it.png")


def test_without_torch_it_is_said_in_words(drawn, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(__file__).parents[1]}")
    worker = Worker(drawn.store.root)
    worker.stop()
    with pytest.raises(AtlasError, match="a new image needs torch: no torch here"):
        worker.propagate(5)


# -- the page's question ------------------------------------------------------------------------------------------------


def test_the_page_is_answered_with_the_workers_bytes_and_what_the_icons_are(url, drawn):
    status, answer = post(url, drawn, row="5")
    seen = Worker(drawn.store.root).propagate(5)
    assert status == 200 and answer["picture"].startswith("data:image/png;base64,")
    for told, own in zip(answer["layers"], seen["layers"], strict=True):
        assert all(base64.b64decode(told[name]) == own[name] for name in BYTES)
        assert (told["icons"] or {}).get("key") == own.get("icons")
    assert post(url, drawn, new_image(3))[1]["label"] is None
    assert post(url, drawn, row="5", layer="pool")[1]["layers"][0]["layer"] == "pool"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"row": "120"}, "no image 120: there are 120"),
        ({"row": "0", "layer": "poool"}, "did you mean pool"),
        ({"row": "0", "space": "nothing"}, "this atlas has no layer 'nothing': load the page again"),
        ({}, "new.png does not decode: the file is empty"),
    ],
)
def test_what_cannot_be_had_is_told_in_words_and_not_kept(url, drawn, asked, message):
    for _ in range(2):
        status, answer = post(url, drawn, **asked)
        assert status == 400 and message in answer["error"]
    assert post(url, drawn, row="3", headers={})[0] == 403


def test_what_was_answered_once_needs_no_network_again(url, drawn, runtime):
    first = post(url, drawn, row="8")[1]
    Worker(drawn.store.root).stop()
    again = post(url, drawn, row="8")[1]
    assert again == first and Worker(drawn.store.root).about() is None, "it was kept, so that no worker was started"
    assert post(url, drawn, row="9")[1] != first and Worker(drawn.store.root).about() is not None


def test_of_the_answers_kept_those_asked_for_last_stay_within_the_limit():
    kept = Kept(most=10)
    for number in range(3):
        kept.put((number,), bytes(4))
        kept.get((0,))
    assert kept.get((0,)) == bytes(4) and kept.get((1,)) is None and kept.get((2,)) == bytes(4) and kept.size == 8
    kept.put((2,), bytes(6))
    assert kept.size == 10 and kept.get((0,)) is not None
    kept.put((9,), bytes(11))
    assert kept.size == 0 and kept.get((2,)) is None
