"""New images over HTTP: what the explorer's server takes, what it refuses, and whom it keeps waiting."""

from __future__ import annotations

import base64
import http.client
import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import pytest

from atlas.atlas import Atlas
from atlas.maps.records import Layout
from atlas.pages.columns import on_page, quantise
from atlas.pages.newcomers import AT_ONCE
from atlas.worker import Worker
from atlas.worker.protocol import MOST_BYTES
from tests import odd, workers
from tests.browser.conftest import serving
from tests.workers import grey, later, new_image, until

OURS = {"X-Atlas": "new-image"}


@pytest.fixture(scope="module", autouse=True)
def runtime() -> Iterator[Path]:
    with workers.private() as folder:
        yield folder


@pytest.fixture(scope="module")
def root(world: Path, tmp_path_factory: pytest.TempPathFactory, runtime: Path) -> Path:
    return workers.odd_atlas(world, tmp_path_factory.mktemp("newcomers") / "cache" / "odd")


@pytest.fixture(scope="module")
def url(root: Path) -> Iterator[str]:
    with serving(root.parent) as address:
        urllib.request.urlopen(address).close()  # a page puts the atlas on the server's shelf
        assert post(address, root, new_image(0))[0] == 200
        yield address


def post(url: str, root: Path, body: bytes, *, headers: dict[str, str] = OURS, **asked: str) -> tuple[int, dict[str, Any]]:
    """Send an image as the page does; return the status and the answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request("POST", address(root, **asked), body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def address(root: Path, **asked: str) -> str:
    asked = {"space": "act", "name": "new.png", **asked}
    key, what = asked.pop("key", next(root.glob("images-*")).name), asked.pop("what", "new-image")
    return f"/atlas/{what}/{key}?" + "&".join(f"{name}={quote(value)}" for name, value in asked.items())


@pytest.fixture
def gate(runtime: Path) -> Iterator[Path]:
    path = runtime / "gate"
    path.unlink(missing_ok=True)
    yield path
    path.touch()


def test_the_answer_is_the_workers_in_the_words_and_units_of_the_page(url, root):
    status, answer = post(url, root, new_image(1))
    seen = Worker(root).see(new_image(1), layer="act", k=30)
    assert status == 200 and answer["row"] is None and answer["points"] == seen["points"]
    assert [one["name"] for one in answer["top"]] == [one["prediction"] for one in seen["predictions"]]
    layout = Atlas(root).names("layout")[0]
    xy = Atlas(root).store.read(layout, Layout).xy.astype(float)
    expected = on_page(np.array([[seen["places"][0]["x"][0], seen["places"][0]["y"][0]]]), xy)[0]
    place = answer["places"][layout]
    assert np.allclose([place["x"][0], place["y"][0]], expected, atol=0.06)
    assert place["confidence"] == seen["places"][0]["confidence"] and answer["thumbnail"].startswith(
        "data:image/png;base64,"
    )


def test_a_point_of_the_map_has_the_same_place_on_the_page_both_ways():
    xy = np.random.default_rng(0).normal(size=(50, 2)) * [3, 1] + [7, -2]
    assert (np.abs(on_page(xy, xy) - quantise(xy).T) <= 0.5).all()


@pytest.mark.parametrize(
    ("body", "asked", "message"),
    [
        (
            b"no image",
            {"name": "notes.txt"},
            "notes.txt does not decode: it is not an image of a known format; give another image",
        ),
        (b"", {}, "new.png does not decode: the file is empty"),
        (grey(odd.RAISES), {}, "a layer divides by nothing"),
        (new_image(0), {"space": "nothing"}, "this atlas has no layer 'nothing': load the page again"),
        (new_image(0), {"key": "images-0000"}, "no atlas open here shows 'images-0000'"),
    ],
)
def test_what_cannot_be_answered_is_told_in_words(url, root, body, asked, message):
    status, answer = post(url, root, body, **asked)
    assert status == 400 and message in answer["error"]


def test_another_origin_is_refused(url, root):
    for headers in ({}, {**OURS, "Origin": "https://elsewhere.example"}):
        status, answer = post(url, root, new_image(0), headers=headers)
        assert status == 403 and "from the explorer's own page only" in answer["error"]
    status, _ = post(url, root, new_image(0), headers={**OURS, "Origin": f"http://{urlsplit(url).netloc}"})
    assert status == 200


def test_a_file_too_large_is_refused_before_it_is_sent(url, root):
    status, answer = post(url, root, b"", headers={**OURS, "Content-Length": str(MOST_BYTES + 1)})
    assert status == 413 and "at most 64 MB are taken" in answer["error"]


def test_a_network_that_takes_its_time_keeps_no_other_request_waiting(url, root, gate):
    slow = [later(lambda: post(url, root, grey(odd.WAITS))) for _ in range(AT_ONCE)]
    until(lambda: Worker(root).about()["waiting"] == AT_ONCE - 1)
    started = time.monotonic()
    status, answer = post(url, root, new_image(2))
    assert status == 503 and "try again in a moment" in answer["error"]
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request("GET", f"/atlas/thumbs/{next(root.glob('images-*')).name}/0.webp")
    assert connection.getresponse().status == 200 and time.monotonic() - started < 3
    connection.close()
    gate.touch()
    assert [one.result(30)[0] for one in slow] == [200] * AT_ONCE


def test_a_page_that_goes_leaves_the_queue(url, root, gate):
    running = later(lambda: Worker(root).see(grey(odd.WAITS)))
    until(lambda: (Worker(root).about() or {}).get("running"))
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request("POST", address(root), new_image(0), OURS)
    until(lambda: Worker(root).about()["waiting"] == 1)
    connection.close()
    until(lambda: Worker(root).about()["waiting"] == 0)
    gate.touch()
    assert running.result(20)["predictions"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"row": "30"}, "no image 30: there are 30"),
        ({"row": "-1"}, "no image -1: there are 30"),
        ({"row": "²"}, "no image ²: there are 30"),
        ({"row": "0", "layer": "logits"}, "layer logits has no places, so it has no maps"),
        ({"row": "0", "space": "nothing"}, "this atlas has no layer 'nothing': load the page again"),
        ({}, "new.png does not decode: the file is empty"),
    ],
)
def test_activation_maps_that_cannot_be_had_are_told_in_words(url, root, asked, message):
    status, answer = post(url, root, b"", what="activation-maps", **asked)
    assert status == 400 and message in answer["error"]


def test_activation_maps_are_the_workers_and_for_the_page_only(url, root):
    status, answer = post(url, root, b"", what="activation-maps", row="3", layer="conv1")
    (told,) = Worker(root).maps(3, layers=["conv1"])["layers"]
    (layer,) = answer["layers"]
    assert status == 200 and base64.b64decode(layer["maps"]) == told["maps"] and layer["units"] == told["units"]
    assert answer["picture"].startswith("data:image/png;base64,") and "conv1" in answer["others"]
    assert post(url, root, b"", what="activation-maps", row="3", headers={})[0] == 403
