"""A class across layers: a deep network's blocks side by side, from their statistics alone, drawn on one scale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import atlas
from atlas.across import MANY, equally_wide, one_stream
from atlas.errors import AtlasError
from atlas.models.reference import build, preprocessing
from atlas.models.residual import streams
from atlas.pages import figures
from atlas.pages.figures_across import MOST, fitted
from tests import tiny
from tests.command import clear_refusal, run, success

torch.set_num_threads(1)
DEPTH, WIDTH = MANY + 2, 6


def deep_network(folder: Path) -> Path:
    """Write a deep network of random weights as `atlas train` would, for the tiny world's pictures; return its folder."""
    folder.mkdir()
    arguments = {"channels": 3, "size": tiny.EDGE, "classes": 3, "depth": DEPTH, "width": WIDTH}
    save_file(build("residual-mlp", arguments).state_dict(), folder / "weights.safetensors")
    prepared = preprocessing(channels=3, size=tiny.EDGE, mean=[0.2] * 3, std=[1.0] * 3)
    recipe = {"network": "residual-mlp", "arguments": arguments, "preprocess": prepared, "categories": list(tiny.SHAPES)}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return folder


@pytest.fixture(scope="module")
def deep(world: Path, tmp_path_factory: pytest.TempPathFactory) -> atlas.Atlas:
    """An atlas of statistics of every block, with vectors of the logits alone."""
    place = tmp_path_factory.mktemp("deep")
    return atlas.build(
        f"atlas:{deep_network(place / 'network')}", str(world / "images"), cache=place / "deep", layers=["logits"],
        statistics=[f"blocks.{k}" for k in range(DEPTH)], layouts=["pca"], run={"precision": "float32"},
    )  # fmt: skip


def test_the_patterns_across_are_those_of_each_block_over_the_right_images(deep: atlas.Atlas) -> None:
    found = deep.patterns_across(split="all")
    assert found.layers == [f"blocks.{k}" for k in range(DEPTH)] and deep.layers == ["logits"]
    assert found.mean.shape == (3, DEPTH, WIDTH)
    for block in (0, DEPTH - 1):
        own = deep.patterns(f"blocks.{block}", split="all")
        np.testing.assert_array_equal(found.mean[:, block], own.mean)
        np.testing.assert_array_equal(found.std[:, block], own.std)
    assert found.count.sum() == int(deep.images()["right"].sum())


@pytest.mark.parametrize("name", ["residual-mlp", "residual-cnn"])
def test_the_outputs_of_the_blocks_are_those_that_hooks_see(name: str) -> None:
    module, seen = build(name, {"depth": 3, "size": 8, "width": 4}), []
    for k in range(3):
        module.get_submodule(f"blocks.{k}").register_forward_hook(lambda m, i, o: seen.append(o.flatten(1)))
    with torch.inference_mode():
        logits = module(images := torch.randn(5, 1, 8, 8))
        wanted, found = list(seen), list(streams(module, images))
        assert len(found) == 3 and all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
        assert torch.equal(module.get_submodule("logits")(found[-1]), logits)


def test_a_deep_network_is_drawn_as_blocks_by_neurons_unless_one_layer_is_asked_for(
    deep: atlas.Atlas, tmp_path: Path
) -> None:
    drawn = success(
        run("patterns", deep.store.root, "--stat", "std", "--split", "all", "-o", tmp_path / "blocks.png", "--json")
    )
    answer = json.loads(drawn.out)
    assert f"blocks.0 to blocks.{DEPTH - 1} over {sum(answer['count'].values())} correctly classified" in answer["title"]
    one = json.loads(success(run("patterns", deep.store.root, "-l", "blocks.3", "-o", tmp_path / "one.png", "--json")).out)
    assert one["title"].startswith("blocks.3 (mean)")
    clear_refusal(
        run("patterns", deep.store.root, "-l", "blocks.3", "--across"), "not blocks.3 alone: give --layer or --across"
    )
    with Image.open(tmp_path / "blocks.png") as picture:
        assert picture.width > 1500


def test_few_layers_are_drawn_one_by_one_and_equally_wide_ones_across_when_asked(
    tiny_atlas: atlas.Atlas, deep: atlas.Atlas
) -> None:
    assert len(equally_wide(tiny_atlas)) == 1 and not one_stream(tiny_atlas) and one_stream(deep)
    with pytest.raises(AtlasError, match="no two equally wide layers with statistics: build it with `--statistics all`"):
        tiny_atlas.patterns_across()


# -- the figure


def panels(figure: Any) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images and axes.get_title(loc="left")]


@pytest.mark.parametrize("stat", ["mean", "std"])
def test_every_class_has_a_panel_of_its_values_and_all_have_one_scale(stat: str) -> None:
    values = np.random.default_rng(0).normal(size=(3, 40, 8))
    figure = figures.blocks_heatmap(np.abs(values) if stat == "std" else values, ["a", "b", "c"], stat=stat, count=[1, 2, 3])
    drawn = panels(figure)
    assert len(drawn) == 3
    for own, shown in zip(values, drawn, strict=True):
        np.testing.assert_allclose(shown, np.abs(own.T) if stat == "std" else own.T)
    ends = {axes.images[0].get_clim() for axes in figure.axes if axes.images}
    assert len(ends) == 1 and next(iter(ends))[0] == (0 if stat == "std" else -next(iter(ends))[1])


def test_where_blocks_share_a_pixel_the_largest_in_size_of_them_is_shown() -> None:
    values = np.zeros((1000, 4))
    values[500, 2], values[501, 2] = -7, 3
    found = fitted(values, (2.0, 1.0))
    assert found.shape == (4, 250) and found[2, 125] == -7 and np.count_nonzero(found) == 1


def test_more_classes_than_have_room_are_counted_and_one_without_images_says_so() -> None:
    values = np.ones((MOST + 5, 3, 2))
    values[1] = np.nan
    figure = figures.blocks_heatmap(values, [f"class {k}" for k in range(MOST + 5)])
    words = " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    assert "no images" in words and len(panels(figure)) == MOST
    assert any(f"{MOST} of {MOST + 5} classes are drawn" in text.get_text() for text in figure.texts)


def test_patterns_of_another_shape_are_refused() -> None:
    with pytest.raises(AtlasError, match=r"give \[class, block, unit\]"):
        figures.blocks_heatmap(np.ones((2, 3)), ["a", "b"])
    with pytest.raises(AtlasError, match="no statistic 'men': did you mean mean"):
        figures.blocks_heatmap(np.ones((1, 2, 3)), ["a"], stat="men")
