"""Links written from Python: what the page reads of them is what was asked for, and what is not there is refused."""

from __future__ import annotations

import base64
import urllib.parse
import zlib
from pathlib import Path

import numpy as np
import pytest

import atlas
from atlas.errors import AtlasError
from atlas.pages.view import View
from tests import worlds

ROWS = [3, 5, 8, 13, 21, 34, 55, 89, 119]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("linking") / "world"
    worlds.tiny_atlas(folder, 120)
    return folder


def read(link: str) -> tuple[dict[str, str], dict[str, str]]:
    before, _, behind = link.partition("#")
    return dict(urllib.parse.parse_qsl(before.removeprefix("?"))), dict(urllib.parse.parse_qsl(behind))


def chosen(text: str) -> tuple[int, str, list[int]]:
    count, digest, bits = text.split(".")
    body = zlib.decompress(base64.urlsafe_b64decode(bits + "=" * (-len(bits) % 4)), -15)
    return int(count), digest, np.flatnonzero(np.unpackbits(np.frombuffer(body, np.uint8), bitorder="little")).tolist()


def test_a_link_opens_the_page_on_what_was_asked_for(world: Path) -> None:
    opened, view = atlas.open(world), View(world)
    asked, behind = read(opened.link(layer="conv", images=ROWS, colour="unit:fc:3", image=7, unit="conv:2"))
    started = view.start(asked)
    assert not started.notices and asked["atlas"] == "world"
    assert (started.space, started.image, started.colour, started.unit) == ("conv", 7, "unit:fc:3", "conv:2")
    assert started.split == "all" and set(behind) == {"view", "sel"}
    assert chosen(behind["sel"])[0::2] == (120, ROWS)


def test_the_rectangle_of_a_link_holds_the_points_of_its_images_and_not_the_whole_map(world: Path) -> None:
    view = View(world)
    space = view.space("fc")
    assert space is not None
    xy = view.xy(space.layouts[0]).astype(float)
    near = np.argsort(np.abs(xy - xy[:, :1]).max(axis=0))[:5]  # five images beside each other: fc has a point per image
    left, right, bottom, top = map(float, read(atlas.open(world).link(layer="fc", images=near))[1]["view"].split("_"))
    inside = (xy[0] >= left) & (xy[0] <= right) & (xy[1] >= bottom) & (xy[1] <= top)
    assert inside[near].all() and not inside.all()
    assert "view" not in read(atlas.open(world).link(layer="fc", images=near, zoom=False))[1]


def test_a_link_of_a_report_has_all_behind_its_hash_and_names_no_atlas(world: Path) -> None:
    before, behind = read(atlas.open(world).link(layer="fc", images=ROWS, report=True))
    assert before == {} and set(behind) == {"layer", "split", "view", "sel"}


def test_a_link_names_a_layout_only_where_the_page_would_open_another(world: Path) -> None:
    space = View(world).space("fc")
    assert space is not None and len(space.layouts) > 1
    methods = [str(View(world).headers[name]["fields"]["method"]) for name in space.layouts]
    asked = [read(atlas.open(world).link(layer="fc", method=method))[0].get("layout") for method in methods]
    assert asked == [None, *space.layouts[1:]]


def test_a_link_means_the_layer_of_the_network_that_is_meant(tmp_path: Path) -> None:
    worlds.two_networks(tmp_path / "world")
    view = View(tmp_path / "world")
    for name in view.of_stage("network"):
        started = view.start(read(atlas.open(tmp_path / "world", network=name).link(layer="fc"))[0])
        space = view.space(started.space)
        assert space is not None and (space.layers, space.network) == (["fc"], name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layer": "fcc"}, "no layer with a layout 'fcc'"),
        ({"layer": "fc", "method": "sammon"}, "no layout of fc 'sammon'"),
        ({"images": [120]}, "no images to select: give rows from 0 to 119"),
        ({"images": []}, "no images to select"),
        ({"image": "nothing.png"}, "is no image of this atlas"),
        ({"colour": "shoe size"}, "a link was asked for the colour shoe size, which this atlas does not have"),
        ({"split": "both"}, "no split 'both'"),
    ],
)
def test_what_an_atlas_does_not_have_is_refused(world: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(AtlasError, match=words):
        atlas.open(world).link(**options)
