"""Measures of a deep network's blocks, against brute force and what they must not change with."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.errors import AtlasError
from atlas.patterns.blocks import between_classes, class_cosines, f_ratio, linear_cka, read_out, stacked
from atlas.patterns.classes import ClassPatterns


def patterns_of(layer: str, mean: np.ndarray, count: np.ndarray) -> ClassPatterns:
    labels = [f"class {k}" for k in range(len(mean))]
    return ClassPatterns(layer, "mean", labels, mean, np.abs(mean) + 1, count, f"{layer} (mean) over {count.sum()} images")


def rotation(size: int, rng: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(size, size)))[0]


def test_stacked_patterns_are_those_of_each_layer_in_the_order_given() -> None:
    rng = np.random.default_rng(0)
    count = np.array([3, 4])
    layers = [patterns_of(f"blocks.{k}", rng.normal(size=(2, 5)), count) for k in range(3)]
    found = stacked(layers)
    assert found.layers == ["blocks.0", "blocks.1", "blocks.2"] and found.mean.shape == (2, 3, 5)
    for block, layer in enumerate(layers):
        np.testing.assert_array_equal(found.mean[:, block], layer.mean)
        np.testing.assert_array_equal(found.std[:, block], layer.std)
    assert found.title == "blocks.0 to blocks.2 over 7 images"


def test_layers_of_other_widths_or_images_are_not_stacked() -> None:
    count, mean = np.array([3, 4]), np.ones((2, 5))
    with pytest.raises(AtlasError, match="b has 4 units and a 5: give layers of one network and width"):
        stacked([patterns_of("a", mean, count), patterns_of("b", mean[:, :4], count)])
    with pytest.raises(AtlasError, match="over the same images"):
        stacked([patterns_of("a", mean, count), patterns_of("b", mean, count + 1)])
    with pytest.raises(AtlasError, match="give those of at least one"):
        stacked([])


def test_the_f_ratio_is_the_variance_between_classes_over_that_within_them() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4, 50, 3, 6)) + 3 * rng.normal(size=(4, 1, 3, 6))  # class, image, block, unit
    found = f_ratio(values.mean(axis=1), values.std(axis=1))
    for block in range(3):
        for unit in range(6):
            own = values[:, :, block, unit]
            within = np.mean([np.mean((c - c.mean()) ** 2) for c in own])
            assert found[block, unit] == pytest.approx(np.var([c.mean() for c in own]) / within)


def test_the_f_ratio_leaves_out_classes_without_images_and_has_no_number_where_nothing_varies() -> None:
    rng = np.random.default_rng(2)
    mean, std = rng.normal(size=(3, 2, 4)), 1 + rng.random((3, 2, 4))
    std[:, 1, 2] = 0
    kept = f_ratio(mean, std)
    empty = np.full((1, 2, 4), np.nan)
    np.testing.assert_array_equal(f_ratio(np.concatenate([mean, empty]), np.concatenate([std, empty])), kept)
    assert np.isnan(kept[1, 2]) and np.isfinite(np.delete(kept.ravel(), 6)).all()
    assert np.isnan(f_ratio(mean[:1], std[:1])).all()


def test_the_cosine_between_class_means_is_that_of_each_pair_and_knows_no_scale() -> None:
    mean = np.random.default_rng(3).normal(size=(4, 3, 6))
    found = class_cosines(mean)
    for block in range(3):
        for one in range(4):
            for other in range(4):
                a, b = mean[one, block], mean[other, block]
                assert found[block, one, other] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    np.testing.assert_allclose(class_cosines(mean * np.array([1, 10, 0.1])[:, None]), found)
    upper = [found[1, one, other] for one in range(4) for other in range(one + 1, 4)]
    assert between_classes(found)[1] == pytest.approx(np.mean(upper))


def test_a_class_without_images_is_left_out_of_the_mean_cosine() -> None:
    mean = np.random.default_rng(4).normal(size=(3, 2, 6))
    with_empty = np.concatenate([mean, np.full((1, 2, 6), np.nan)])
    np.testing.assert_allclose(between_classes(class_cosines(with_empty)), between_classes(class_cosines(mean)))
    assert np.isnan(between_classes(class_cosines(with_empty[2:]))).all()


def test_the_output_layer_reads_the_last_block_as_the_network_does_and_others_alike() -> None:
    rng = np.random.default_rng(5)
    streams, weight, bias = rng.normal(size=(3, 20, 6)), rng.normal(size=(4, 6)), rng.normal(size=4)
    found = read_out(streams, weight, bias)
    assert found.shape == (3, 20)
    for block in range(3):
        for image in range(20):
            logits = [sum(weight[c] * streams[block, image]) + bias[c] for c in range(4)]
            assert found[block, image] == int(np.argmax(logits))
    with pytest.raises(AtlasError, match=r"give \[block, image, unit\] and \[class, unit\]"):
        read_out(streams, weight[:, :5], bias)


@pytest.mark.parametrize("units", [5, 45])
def test_linear_cka_is_that_of_the_gram_matrices(units: int) -> None:
    streams = np.random.default_rng(6).normal(size=(3, 30, units)) * np.array([1, 1e3, 1e-3])[:, None, None] + 7
    found = linear_cka(streams)
    centring = np.eye(30) - 1 / 30
    grams = [centring @ (block @ block.T) @ centring for block in streams]
    for one in range(3):
        for other in range(3):
            hsic = np.trace(grams[one] @ grams[other])
            norms = np.linalg.norm(grams[one]) * np.linalg.norm(grams[other])
            assert found[one, other] == pytest.approx(hsic / norms, rel=1e-6)


def test_linear_cka_is_one_of_a_block_and_itself_turned_scaled_and_moved() -> None:
    rng = np.random.default_rng(7)
    block = rng.normal(size=(40, 6)) * np.arange(1, 7)
    turned = 3 * block @ rotation(6, rng) + 5
    stretched = block @ np.diag([9, 1, 1, 1, 1, 0.1])
    found = linear_cka(np.stack([block, turned, stretched]))
    np.testing.assert_allclose(found[:2, :2], 1)
    assert found[0, 2] < 0.99 and found[0, 2] == pytest.approx(found[2, 0])


def test_linear_cka_of_unrelated_blocks_falls_with_the_number_of_images() -> None:
    rng = np.random.default_rng(8)
    few, many = (linear_cka(rng.normal(size=(2, images, 8)))[0, 1] for images in (20, 4000))
    assert many < 0.02 < few


def test_a_block_that_does_not_vary_has_no_cka() -> None:
    streams = np.random.default_rng(9).normal(size=(2, 10, 3))
    streams[1] = 4
    found = linear_cka(streams)
    assert found[0, 0] == pytest.approx(1) and np.isnan(found[1]).all()
