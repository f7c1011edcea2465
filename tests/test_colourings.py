"""What a map is coloured by beyond classes: units and the user's own columns; and what a link may ask a page to open on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.activations.records import Activations
from atlas.errors import AtlasError
from atlas.pages import answers, colour_answers, colourings
from atlas.pages.layers import layers
from atlas.pages.manifest import manifest
from atlas.pages.shelf import SHELF
from atlas.pages.view import View
from tests import worlds


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> View:
    return SHELF.open(worlds.tiny_atlas(tmp_path_factory.mktemp("colours") / "world", 120).root)


def layer(view: View, name: str) -> str:
    return colourings.layers(view)[name]


def test_a_unit_comes_with_its_ends_and_a_code_for_every_image(view: View) -> None:
    name = layer(view, "conv")
    record = view.read(name, Activations)
    for number in (0, 11):
        kind, body = answers.answer(f"/unit/{name}/{number}.bin")
        low, high = np.frombuffer(body, "<f4", 2)
        codes = np.frombuffer(body, np.uint8, offset=8).astype(float)
        assert (kind, len(codes)) == ("application/octet-stream", 120) and codes.max() <= 254
        kept = low + (high - low) * np.asarray(record.units)[number] / 255
        assert np.abs(low + (high - low) * codes / 254 - kept).max() <= 0.51 * (high - low) / 254


class Positions:
    """A view of a layer whose points are sampled positions: of image 1 none, of image 2 three."""

    images = range(3)

    def read(self, name: str, kind: type) -> object:
        units = np.array([[10, 255, 0, 128]], np.uint8)
        return type("Record", (), {"unit_count": 1, "units": units, "unit_low": [-1.0], "unit_high": [1.0], "layer": "pool"})

    def point_image(self, name: str) -> np.ndarray:
        return np.array([0, 2, 2, 2])


def test_an_image_of_several_positions_has_its_largest_and_one_without_has_none() -> None:
    low, high, codes = colourings.unit_values(Positions(), "activations", 0)  # type: ignore[arg-type]
    assert (low, high) == (-1.0, 1.0)
    assert codes.tolist() == [10, colourings.NO_UNIT, 254]


@pytest.mark.parametrize(
    "address", ["/unit/{conv}/12.bin", "/unit/{images}/0.bin", "/own/{images}/1.json", "/first/{images}/121.json"]
)
def test_what_is_not_there_is_refused(view: View, address: str) -> None:
    with pytest.raises((AtlasError, TypeError)):
        answers.answer(address.format(conv=layer(view, "conv"), images=view.images_name))
    with pytest.raises(AtlasError, match="no unit 12: conv has 12"):
        colourings.unit_values(view, layer(view, "conv"), 12)
    with pytest.raises(AtlasError, match="no column 1 of the user's: there are 1"):
        colour_answers.own(view.images_name, "1")


COLUMNS = [
    ("names", pd.Series(["b", None, "a", "b"]), ["a", "b"], [1, 65535, 0, 1]),
    ("names", pd.Series([True, False, True, True]), ["no", "yes"], [1, 0, 1, 1]),
    ("names", pd.Series([1, "x", 1, None], dtype="object"), ["1", "x"], [0, 1, 0, 65535]),
    ("amount", pd.Series([1.0, np.nan, np.inf, 3.0]), [1.0, 3.0], [0, 65535, 65535, 65534]),
    ("amount", pd.Series([7, 7, 7, 7]), [7.0, 7.0], [0, 0, 0, 0]),
    ("amount", pd.Series([-1.7e308, 1.7e308, 0, 0]), [-1.7e308, 1.7e308], [0, 65534, 32767, 32767]),
    ("amount", pd.Series([1, None, 3, 2], dtype="Int64"), [1.0, 3.0], [0, 65535, 65534, 32767]),
    ("date", pd.Series(["1970-01-01", "1970-01-03", None, "1970-01-02"]), [0.0, 172800.0], [0, 65534, 65535, 32767]),
    ("date", pd.to_datetime(pd.Series(["1970-01-01", None, "1970-01-02"])), [0.0, 86400.0], [0, 65535, 65534]),
    ("nothing", pd.Series([None, None, np.nan, None], dtype="object"), [], [65535] * 4),
    ("names", pd.Series(["2024-01-01", "soon", "later", "soon"]), ["2024-01-01", "later", "soon"], [0, 2, 1, 2]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "values", "told", "codes"), COLUMNS)
def test_a_column_is_names_an_amount_or_dates_by_what_it_holds(
    kind: str, values: pd.Series, told: list, codes: list
) -> None:  # type: ignore[type-arg]
    own = colourings.own_column("column", values)
    assert own.kind == kind and own.codes.tolist() == codes
    assert (own.names or list(own.ends or ())) == told and own.colours == (kind != "nothing")


def test_a_column_of_too_many_values_cannot_be_coloured_by() -> None:
    own = colourings.own_column("file", pd.Series([f"file {k}" for k in range(300)]))
    assert (own.kind, own.distinct, own.colours) == ("many", 300, False)
    assert colourings.own_column("few", pd.Series([f"file {k}" for k in range(40)])).colours


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.text(max_size=8), st.floats(), st.integers(), st.booleans(), st.dates()), max_size=30)
)
def test_any_column_is_told_in_json_and_every_code_has_its_name(values: list[object]) -> None:
    own = colourings.own_column("any", pd.Series(values, dtype="object"))
    json.dumps([own.kind, own.names, own.ends], allow_nan=False)
    assert len(own.codes) == len(values)
    if own.kind == "names":
        assert set(own.codes.tolist()) - {colourings.NO_OWN} == set(range(len(own.names)))


def test_a_column_with_one_name_for_each_class_groups_them(tmp_path: Path) -> None:
    view = View(with_columns(tmp_path / "a", camera=None, kingdom=lambda codes: np.where(codes < 2, "round", "ruled")).root)
    camera, kingdom = colourings.own_columns(view)
    assert camera.of_label is None  # three cameras saw every class
    assert kingdom.names == ["round", "ruled"] and kingdom.of_label == [0, 0, 1, 1]
    told = manifest(view, view.start({}), several=False)["images"]["own"]
    assert [(one["name"], one["kind"], one["classes"]) for one in told] == [
        ("camera", "names", False),
        ("kingdom", "names", True),
    ]


def with_columns(root: Path, **columns: object) -> object:
    """Write a tiny atlas whose images have further columns of the user's, each made from the codes of the classes."""
    return worlds.tiny_atlas(root, 120, own=columns)


def test_a_hash_of_the_first_images_tells_whether_a_selection_is_of_these(view: View, tmp_path: Path) -> None:
    other = SHELF.open(worlds.tiny_atlas(tmp_path / "other", 150).root)
    assert colour_answers.digest(other, 120) == colour_answers.digest(view, 120)  # rows are appended
    assert colour_answers.digest(view, 120) != colour_answers.digest(view, 119)
    assert manifest(view, view.start({}), several=False)["images"]["digest"] == colour_answers.digest(view, 120)


# -- links -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "colour", "notices"),
    [
        ("unit:conv:11", "unit:conv:11", 0),
        ("unit:conv:12", "class", 1),
        ("unit:conv:-1", "class", 1),
        ("unit:conv:²", "class", 1),
        ("unit::", "class", 1),
        ("column:camera", "column:camera", 0),
        ("column:", "class", 1),
        ("column:path", "class", 1),
    ],
)
def test_a_link_may_colour_by_a_unit_or_a_column_that_is_there(view: View, asked: str, colour: str, notices: int) -> None:
    found = view.start({"colour": asked})
    assert found.colour == colour and len(found.notices) == notices


def test_a_link_opens_a_unit_and_a_second_map(view: View) -> None:
    layout = view.spaces[0].layouts[1]
    found = view.start({"unit": "conv:3", "beside": layout})
    assert (found.unit, found.beside, found.notices) == ("conv:3", layout, [])
    missed = view.start({"unit": "conv:99", "beside": "layout-none"})
    assert (missed.unit, missed.beside, len(missed.notices)) == (None, None, 2)


RUBBISH = st.one_of(
    st.text(max_size=40), st.sampled_from(["fc", "conv+fc", "conv~2", "unit:fc:0", "unit:fc:1:2", "column:camera", "all"])
)
NAMES = ("layer", "layout", "split", "colour", "image", "unit", "beside", "network", "atlas", "backend")


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), RUBBISH, max_size=8))
def test_any_link_opens_something_that_is_there(view: View, asked: dict[str, str]) -> None:
    found = view.start(asked)
    space = view.space(found.space)
    assert space is not None and found.layout in space.layouts
    assert colourings.named(view, space, found.colour) == found.colour and found.split in ("held-out", "train", "all")
    assert found.image is None or 0 <= found.image < len(view.images)
    assert all("\n" not in notice and len(notice) < 200 for notice in found.notices)
    json.dumps(manifest(view, found, several=False)).encode("utf-8", "surrogatepass")


def test_layers_of_one_name_in_two_networks_are_told_apart_by_the_network(tmp_path: Path) -> None:
    view = View(worlds.two_networks(tmp_path / "world").root)
    first, second = dict.fromkeys(space.network for space in view.spaces)
    told = manifest(view, view.start({}), several=False)
    assert [part["key"] for part in told["networks"]] == [first, second] and len({p["title"] for p in told["networks"]}) == 2
    for network in (first, second):
        found = view.space(view.start({"layer": "conv", "network": str(network)}).space)
        assert found is not None and found.network == network and found.layers == ["conv"]
        assert found.activations == [layers(view)[str(colourings.layer_called(view, "conv", network))]]
    assert view.start({"network": "network-gone"}).notices


def test_a_link_to_a_unit_names_the_network_where_two_have_its_layer(tmp_path: Path) -> None:
    view = View(worlds.two_networks(tmp_path / "world").root)
    both = dict.fromkeys(space.network for space in view.spaces)
    found = {network: view.start({"network": str(network), "colour": "unit:fc:3", "unit": "fc:3"}) for network in both}
    for network, start in found.items():  # a link from before the second network came
        assert (start.colour, start.unit) == (f"unit:fc@{network}:3", f"fc@{network}:3")
    one, other = found
    for network in both:  # whatever layer such a link opens on
        start = view.start({"network": str(network), "colour": found[one].colour, "unit": str(found[other].unit)})
        assert (start.colour, start.unit, start.notices) == (f"unit:fc@{one}:3", f"fc@{other}:3", [])
    told = manifest(view, view.start({}), several=False)
    assert {part["call"] for part in told["statistics"]} == {f"{layer}@{net}" for layer in ("conv", "fc") for net in both}
    assert view.start({"colour": "unit:fc@network-gone:3", "unit": "fc@network-gone:3"}).notices
