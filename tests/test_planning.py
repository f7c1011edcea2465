"""What a build will do: layers, layouts and their parameters as the user writes them."""

import inspect

import pandas as pd
import pytest

from atlas.errors import AtlasError
from atlas.maps import layout
from atlas.planning import METHODS, LayoutChoice, choose_layers, default_layers, parse_layouts

LAYERS = ["pool4", "fc1", "logits"]


def table(*rows: tuple[str, str, str, int]) -> pd.DataFrame:
    numbered = [(k, *row) for k, row in enumerate(rows, 1)]
    return pd.DataFrame(numbered, columns=["number", "name", "kind", "shape", "units"]).assign(parameters=0)


CONV = table(
    ("conv1", "Conv2d", "8×28×28", 8),
    ("pool1", "MaxPool2d", "8×14×14", 8),
    ("conv2", "Conv2d", "16×14×14", 16),
    ("pool2", "MaxPool2d", "16×7×7", 16),
    ("flatten", "Flatten", "784", 784),
    ("fc1", "Linear", "32", 32),
    ("relu", "ReLU", "32", 32),
    ("drop", "Dropout", "32", 32),
    ("fc2", "Linear", "10", 10),
)


def names(texts: list[str]) -> list[tuple[str, str]]:
    return [(choice.method, "+".join(choice.layers)) for choice in parse_layouts(texts, LAYERS)]


def test_a_method_alone_is_of_each_layer():
    assert names(["umap"]) == [("umap", "pool4"), ("umap", "fc1"), ("umap", "logits")]


def test_layers_can_be_one_several_or_all_jointly():
    assert names(["tsne:fc1", "umap:pool4+fc1", "umap:joint"]) == [
        ("tsne", "fc1"), ("umap", "pool4+fc1"), ("umap", "pool4+fc1+logits"),
    ]  # fmt: skip


def test_the_same_layout_named_twice_is_made_once():
    assert names(["umap:fc1", "umap", "umap:fc1,min_dist=0.1"]).count(("umap", "fc1")) == 1


def test_parameters_are_read_and_defaults_filled_in():
    (choice,) = parse_layouts(["umap:fc1,min_dist=0.05,n_neighbors=50"], LAYERS)
    assert choice.parameters == {"n_neighbors": 50, "min_dist": 0.05, "epochs": None}
    assert choice.neighbours_needed == 50 and choice.title == "UMAP of fc1"


def test_tsne_asks_for_three_times_its_perplexity():
    assert parse_layouts(["tsne:fc1,perplexity=10"], LAYERS)[0].neighbours_needed == 30
    assert LayoutChoice("pca", ("fc1",)).neighbours_needed == 0


@pytest.mark.parametrize("method", METHODS)
def test_the_defaults_are_those_of_the_layouts_themselves(method):
    signature = inspect.signature(getattr(layout, f"{method}_layout")).parameters
    assert {name: signature[name].default for name in METHODS[method]} == METHODS[method]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("umpa", "no layout method 'umpa': did you mean umap"),
        ("umap:fc2", "no chosen layer 'fc2': did you mean fc1"),
        ("umap:fc1+nothing", "no chosen layer 'nothing'"),
        ("umap:fc1,mindist=0.1", "no umap parameter 'mindist': did you mean min_dist"),
        ("umap:fc1,min_dist=small", "umap min_dist is a number, not 'small'"),
        ("umap:fc1,n_neighbors=0", "out of range"),
        ("tsne:fc1,perplexity=nan", "out of range"),
        ("pca:fc1,k=3", "no pca parameter 'k'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_would_do(text, message):
    with pytest.raises(AtlasError, match=message):
        parse_layouts([text], LAYERS)


def test_by_default_a_map_the_descriptor_and_the_logits_are_chosen():
    assert default_layers(CONV, 10) == ["conv2", "relu", "fc2"]


def test_a_network_of_features_only_has_no_logits_to_choose():
    assert default_layers(CONV.head(7), 0) == ["conv2", "relu"]


def test_an_mlp_has_a_descriptor_and_logits():
    assert default_layers(CONV.iloc[4:], 10) == ["relu", "fc2"]


def test_layers_are_named_or_numbered_each_with_its_functional():
    chosen = choose_layers(["pool2=max", "6"], CONV, functional="mean", outputs=10)
    assert [(c.name, c.number, c.functional) for c in chosen] == [("pool2", 4, "max"), ("fc1", 6, "mean")]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["pol2"], "did you mean pool2"),
        (["pool2=maximum"], "did you mean max"),
        (["fc1", "fc1"], "fc1 is named twice"),
        (["99"], "99"),
    ],
)
def test_unknown_layers_and_functionals_are_refused(wanted, message):
    with pytest.raises(AtlasError, match=message):
        choose_layers(wanted, CONV, functional="mean", outputs=10)


def test_a_network_without_a_usable_layer_is_refused():
    with pytest.raises(AtlasError, match="no layer of the network yields numbers"):
        default_layers(CONV.assign(units=0), 10)
