"""The pass: equal to a plain loop, resumable part by part, and honest about what it left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from atlas.activations import batching, extract, functionals, records
from atlas.activations.assemble import merge_statistics
from atlas.activations.batching import batches, choose_batch, kept_batch, read
from atlas.activations.engine import find_device
from atlas.activations.records import Statistics
from atlas.data.records import Images
from atlas.errors import AtlasError
from atlas.models.layers import list_layers
from atlas.models.precision import has_fast_bfloat16
from atlas.models.preprocess import Preprocess
from atlas.planning import LayerChoice
from atlas.stages import build_predictions, build_statistics
from atlas.store import Store
from tests.heard import Heard
from tests.passes import (
    GREY,
    LABELS,
    Net,
    PixelReader,
    Tiny,
    TinyViT,
    as_input,
    class_map,
    logits_of_parts,
    make_images,
    make_pixels,
    moments_of,
    parts_of,
    plain_hook_loop,
    run,
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 10 images, so that a tiny world has several."""
    monkeypatch.setattr(records, "PART", 10)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def bytes_under(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.npy"))}


# -- equal to a plain loop ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc"])
def test_float32_reproduces_a_plain_hook_loop(tmp_path: Path, small_parts: None, layer: str) -> None:
    net, images, pixels = Net(Tiny()), make_images(23), make_pixels(23)
    done = run(tmp_path, net, images, PixelReader(pixels), vectors={layer: "mean"})
    outputs, logits = plain_hook_loop(net.module, layer, as_input(pixels))
    expected = outputs.mean(axis=(2, 3)) if outputs.ndim == 4 else outputs
    found = np.concatenate([part.vectors for part in parts_of(tmp_path, done.vectors[layer])])
    assert found.dtype == np.float32 and len(done.vectors[layer]) == 3
    assert relative(found, expected) <= 1e-5
    assert relative(np.concatenate([p.logits for p in logits_of_parts(tmp_path, done.logits)]), logits) <= 1e-5


def test_bfloat16_descriptors_point_where_float32_ones_do(tmp_path: Path) -> None:
    net, images, pixels = Net(Tiny()), make_images(40), make_pixels(40)
    done = run(tmp_path, net, images, PixelReader(pixels), precision="bfloat16", vectors={"conv2": "max", "fc": "mean"})
    for layer, reduce in (("conv2", lambda x: x.max((2, 3))), ("fc", lambda x: x)):
        (part,) = parts_of(tmp_path, done.vectors[layer])
        expected = reduce(plain_hook_loop(net.module, layer, as_input(pixels))[0])
        found = part.vectors.astype(np.float32)
        cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
        assert part.vectors.dtype == np.float16 and cosine.min() > 0.999


def test_bfloat16_logits_are_float32_numbers(tmp_path: Path) -> None:
    done = run(tmp_path, Net(Tiny()), make_images(30), PixelReader(make_pixels(30)), precision="bfloat16")
    (part,) = logits_of_parts(tmp_path, done.logits)
    assert (torch.from_numpy(part.logits.copy()).bfloat16().float().numpy() != part.logits).mean() > 0.5


def test_automatic_precision_is_bfloat16_where_the_processor_has_it(tmp_path: Path) -> None:
    done = run(tmp_path, Net(Tiny()), make_images(5), PixelReader(make_pixels(5)), precision="auto", device="cpu")
    assert done.precision == ("bfloat16" if has_fast_bfloat16() else "float32")


def test_describing_a_picture_gives_what_the_pass_stored(tmp_path: Path) -> None:
    net, images, pixels = Net(Tiny()), make_images(5), make_pixels(5)
    done = run(tmp_path, net, images, PixelReader(pixels))
    found = extract.describe(net, [Image.fromarray(pixels[3])], {"conv2": "mean"})  # type: ignore[arg-type]
    (part,), (logits,) = parts_of(tmp_path, done.vectors["conv2"]), logits_of_parts(tmp_path, done.logits)
    assert relative(found["conv2"][0], part.vectors[3]) <= 1e-5
    assert relative(found["logits"][0], logits.logits[3]) <= 1e-5


# -- parts, resume ------------------------------------------------------------------------------------------------------


def test_a_complete_pass_runs_nothing_again(tmp_path: Path, small_parts: None) -> None:
    net, images, reader = Net(Tiny()), make_images(23), PixelReader(make_pixels(23))
    first = run(tmp_path, net, images, reader)
    net.passes.clear()
    again = run(tmp_path, net, images, reader)
    assert net.passes == [] and again.images_run == 0 and again.vectors == first.vectors


def test_only_a_missing_part_is_computed(tmp_path: Path, small_parts: None) -> None:
    net, images, reader = Net(Tiny()), make_images(23), PixelReader(make_pixels(23))
    first = run(tmp_path, net, images, reader)
    before = bytes_under(tmp_path)
    Store(tmp_path).remove(first.vectors["conv2"][1])
    reader.read.clear()
    again = run(tmp_path, net, images, reader)
    assert again.images_run == 10 and set(reader.read) - {0} == set(range(10, 20))
    assert bytes_under(tmp_path) == before


def test_a_layer_asked_later_is_added_to_the_parts_that_stand(tmp_path: Path, small_parts: None) -> None:
    net, images, reader = Net(Tiny()), make_images(23), PixelReader(make_pixels(23))
    first = run(tmp_path, net, images, reader)
    more = run(tmp_path, net, images, reader, vectors={"conv2": "mean", "fc": "mean"})
    assert more.vectors["conv2"] == first.vectors["conv2"] and more.logits == first.logits
    assert len(Store(tmp_path).artifacts()) == 15


def test_images_appended_run_only_in_the_parts_they_change(tmp_path: Path, small_parts: None) -> None:
    net = Net(Tiny())
    run(tmp_path, net, make_images(20), PixelReader(make_pixels(23)[:20]))
    first, three = make_images(20), make_images(23).table[20:]
    more = run(tmp_path, net, replace(first, table=pd.concat([first.table, three])), PixelReader(make_pixels(23)))
    assert more.images_run == 3


class Killed(Exception):
    """Stands for a kill in the middle of a pass."""


@pytest.mark.parametrize("at", [1, 2, 6, 8, 15])
def test_an_interrupted_pass_resumes_to_the_same_bytes(
    tmp_path: Path, small_parts: None, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, reader = make_images(35), PixelReader(make_pixels(35))
    options: dict[str, Any] = {"vectors": {"conv2": "positions:2", "fc": "mean"}, "statistics": {"conv1": "max"}}
    run(tmp_path / "whole", Net(Tiny()), images, reader, **options)
    calls = iter(range(100))
    true_build = Store.build

    def build(self: Store, *args: Any, **kwargs: Any) -> Any:
        if next(calls) == at:
            raise Killed
        return true_build(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Store, "build", build)
        run(tmp_path / "cut", Net(Tiny()), images, reader, **options)
    resumed = run(tmp_path / "cut", Net(Tiny()), images, reader, **options)
    assert resumed.images_run <= 35 - 10 * (at // 7) and resumed.notes == []
    assert bytes_under(tmp_path / "cut") == bytes_under(tmp_path / "whole")


def test_the_part_is_named_by_images_network_and_precision(tmp_path: Path) -> None:
    images, pixels = make_images(5), make_pixels(5)
    names = {
        run(tmp_path, net, made, PixelReader(pixels), precision=precision).vectors["conv2"][0].split("/")[1]
        for net, made, precision in [
            (Net(Tiny()), images, "float32"),
            (Net(Tiny()), images, "bfloat16"),
            (Net(Tiny(seed=1)), images, "float32"),
            (Net(Tiny()), make_images(5, seed=9), "float32"),
            (Net(Tiny(), preprocess=replace(GREY, mean=(0.4,))), images, "float32"),
        ]
    }
    assert len(names) == 5


def test_the_seed_names_sampled_positions_and_nothing_else(tmp_path: Path) -> None:
    images, reader = make_images(5), PixelReader(make_pixels(5))
    options: dict[str, Any] = {"vectors": {"conv1": "positions:2", "conv2": "mean"}}
    zero, one = (run(tmp_path, Net(Tiny()), images, reader, seed=seed, **options) for seed in (0, 1))
    assert zero.vectors["conv2"] == one.vectors["conv2"] and zero.vectors["conv1"] != one.vectors["conv1"]


# -- other labels, another class map ------------------------------------------------------------------------------------

MOMENTS: dict[str, Any] = {"vectors": {"conv2": "positions:2"}, "statistics": {"conv2": "positions:2", "fc": "mean"}}


def oracle(values: np.ndarray, groups: np.ndarray) -> dict[tuple[int, ...], tuple[int, np.ndarray, np.ndarray]]:
    """Count, mean and sum of squared deviations of each group, one group after the other."""
    found = {}
    for group in set(map(tuple, groups.tolist())):
        mine = values[(groups == group).all(1)].astype(np.float64)
        found[group] = len(mine), mine.mean(0), ((mine - mine.mean(0)) ** 2).sum(0)
    return found


def resplit(images: Images, rows: int) -> Images:
    """The same images, the first of them all of the training split."""
    return replace(images, table=images.table.assign(split=["train"] * rows + list(images.table["split"][rows:])))


def test_other_splits_make_new_moments_and_no_new_layer(tmp_path: Path, small_parts: None) -> None:
    images, pixels, told = make_images(23), make_pixels(23), Heard()
    first = run(tmp_path, Net(Tiny()), images, PixelReader(pixels), **MOMENTS)
    before = bytes_under(tmp_path)
    other = run(tmp_path, Net(Tiny()), resplit(images, 23), PixelReader(pixels), progress=told, **MOMENTS)
    assert (other.vectors, other.statistics, other.logits) == (first.vectors, first.statistics, first.logits)
    assert not set(other.moments["fc"]) & set(first.moments["fc"])
    after = bytes_under(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[2].partition("-")[0] for name in after.keys() - before.keys()} == {"moments"}
    line = "statistics of 23 images are computed again because labels or splits changed"
    assert told.lines == [line] == other.notes and other.images_run == 23 and first.notes == []
    again = run(tmp_path, Net(Tiny()), images, PixelReader(pixels), **MOMENTS)
    assert again.images_run == 0 and again.moments == first.moments


def test_another_class_map_makes_new_statistics_and_no_new_pass(tmp_path: Path) -> None:
    images, reader, store = make_images(12), PixelReader(make_pixels(12)), Store(tmp_path)
    layer, roots, net = LayerChoice("conv2", 3, "mean"), ["images-0", "network-0"], Net(Tiny())
    done = run(tmp_path, net, images, reader, statistics={"conv2": "mean"})
    maps = [class_map([0, 1, 2]), class_map([2, 0, 1]), replace(class_map([0, 1, 2]), labels=[*LABELS, "dress"])]
    names = [build_statistics(store, done, layer, roots, each) for each in maps]
    right = [store.read(name, Statistics).groups[:, 3] for name in names]
    assert len(set(names)) == 3 and (right[2] == -1).all() and set(right[0]) | set(right[1]) == {0, 1}
    assert (right[0] != right[1]).any()
    assert len({build_predictions(store, done, images, roots, each, Heard()) for each in maps}) == 3


def test_the_moments_of_another_class_map_equal_the_oracle(tmp_path: Path, small_parts: None) -> None:
    images, net, outputs = make_images(23, broken=(3,)), Net(Tiny()), np.array([2, 0, 1])
    done = run(tmp_path, net, images, PixelReader(make_pixels(23)), **MOMENTS)
    rows, prediction = (
        images.decoded,
        np.concatenate([part.logits.argmax(1) for part in logits_of_parts(tmp_path, done.logits)]),
    )
    split, label = (images.table["split"] == "held-out").to_numpy()[rows], images.codes[rows]
    groups = np.column_stack([split, label, prediction, outputs[prediction] == label]).astype(int)
    parts = parts_of(tmp_path, done.vectors["conv2"])
    expected = oracle(np.concatenate([part.vectors for part in parts]), np.repeat(groups, 2, axis=0))
    found = merge_statistics(parts, moments_of(tmp_path, done.moments["conv2"]), class_map=class_map([2, 0, 1]))
    assert {tuple(group) for group in found.groups.tolist()} == set(expected)
    for group, count, mean, m2 in zip(found.groups.tolist(), found.count, found.mean, found.m2, strict=True):
        assert count == expected[tuple(group)][0]
        np.testing.assert_allclose(mean, expected[tuple(group)][1], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(m2, expected[tuple(group)][2], rtol=1e-9, atol=1e-12)


def test_other_labels_leave_the_vectors_of_the_same_images(tmp_path: Path, small_parts: None) -> None:
    images, reader = make_images(23), PixelReader(make_pixels(23))
    first = run(tmp_path, Net(Tiny()), images, reader, **MOMENTS)
    other = run(tmp_path, Net(Tiny()), resplit(images, 10), reader, **MOMENTS)
    assert other.vectors == first.vectors and other.images_run == 10
    assert [a == b for a, b in zip(other.moments["fc"], first.moments["fc"], strict=True)] == [False, True, True]


def test_a_killed_pass_of_other_moments_goes_on(tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    images, reader = make_images(35), PixelReader(make_pixels(35))
    other = resplit(images, 35)
    for root in ("whole", "cut"):
        run(tmp_path / root, Net(Tiny()), images, reader, **MOMENTS)
    run(tmp_path / "whole", Net(Tiny()), other, reader, **MOMENTS)
    calls, true_build = iter(range(100)), Store.build

    def build(self: Store, *args: Any, **kwargs: Any) -> Any:
        if next(calls) == 4:  # of three to each part: logits that stand, and two moments
            raise Killed
        return true_build(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Store, "build", build)
        run(tmp_path / "cut", Net(Tiny()), other, reader, **MOMENTS)
    assert run(tmp_path / "cut", Net(Tiny()), other, reader, **MOMENTS).images_run == 25
    assert bytes_under(tmp_path / "cut") == bytes_under(tmp_path / "whole")


# -- batches ------------------------------------------------------------------------------------------------------------


def test_every_batch_has_the_same_size_and_the_tail_is_padded(tmp_path: Path) -> None:
    net = Net(Tiny())
    run(tmp_path, net, make_images(23), PixelReader(make_pixels(23)), batch_size=10)
    assert net.passes[-3:] == [10, 10, 10]


def test_batches_hold_the_rows_asked_in_order() -> None:
    pixels = make_pixels(50)
    rows = np.array([3, 4, 9, 11, 12, 13, 40, 41, 49])
    found = list(batches(PixelReader(pixels, arrays=False), GREY, rows, 4))
    assert [(b.start, b.count, len(b.array)) for b in found] == [(0, 4, 4), (4, 4, 4), (8, 1, 4)]
    np.testing.assert_array_equal(np.concatenate([b.array[: b.count, 0] for b in found]), pixels[rows])


def test_only_a_few_batches_are_decoded_ahead() -> None:
    reader = PixelReader(make_pixels(100), arrays=False)
    stream = batches(reader, GREY, np.arange(100), 5)
    next(stream)
    stream.close()
    assert len(reader.read) <= 5 * (batching.AHEAD + 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "wanted",
    [{"height": 8, "width": 8}, {"height": 6, "width": 6, "resize": 7}, {"fit": "none"}, {"height": 6, "width": 9}, {}],
)
def test_arrays_and_pictures_reach_the_network_alike(channels: int, wanted: dict[str, Any]) -> None:
    preprocess, pixels = Preprocess(channels=channels, mean=(0.5,), std=(0.25,), **wanted), make_pixels(6)
    as_arrays, as_pictures = (read(PixelReader(pixels, arrays=a), preprocess, np.arange(6)) for a in (True, False))
    np.testing.assert_array_equal(as_arrays, as_pictures)


def test_float_tensors_reach_the_network_as_they_are(tmp_path: Path) -> None:
    pixels, net = make_pixels(5), Net(Tiny())
    done = run(tmp_path, net, make_images(5), PixelReader(pixels, tensors=True))
    expected = plain_hook_loop(net.module, "conv2", torch.from_numpy(pixels[:, None] / np.float32(255)))[0].mean((2, 3))
    assert relative(parts_of(tmp_path, done.vectors["conv2"])[0].vectors, expected) <= 1e-5


def test_images_of_several_sizes_need_an_input_size() -> None:
    class Mixed(PixelReader):
        def image(self, row: int) -> Image.Image:
            return Image.new("L", (8 + row % 2, 8))

    with pytest.raises(AtlasError, match="come out of the preprocessing as 1×8×8 and 1×8×9, and one batch needs one size"):
        list(batches(Mixed(make_pixels(4), arrays=False), replace(GREY, height=None, width=None), np.arange(4), 4))


def test_an_image_that_no_longer_decodes_is_named() -> None:
    class Gone(PixelReader):
        def image(self, row: int) -> Image.Image:
            raise OSError("truncated")

    with pytest.raises(
        AtlasError, match=r"image 2 cannot be read any more \(truncated\): it did when the images were listed"
    ):
        read(Gone(make_pixels(4), arrays=False), GREY, np.array([2]))


def simulated(rate: dict[int, float], memory: int = 10**6) -> tuple[Any, Any]:
    """A forward pass that takes the time that `rate` says, and its clock."""
    now = [0.0]

    def forward(size: int) -> None:
        if size > memory:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        now[0] += size / rate.get(size, 1.0)

    return forward, lambda: now[0]


def test_the_fastest_batch_size_is_chosen_and_the_smallest_within_noise() -> None:
    forward, clock = simulated({16: 100.0, 32: 180.0, 64: 200.0, 128: 205.0, 256: 190.0, 512: 150.0})
    assert choose_batch(forward, clock=clock) == 64
    assert choose_batch(forward, limit=32, clock=clock) == 32


def test_a_moment_of_noise_does_not_decide_the_batch_size() -> None:
    rates = {size: 10_000.0 * min(size, 64) / 64 for size in (16, 32, 64, 128, 256, 512)}
    forward, clock = simulated(rates)
    calls = [0]

    def disturbed(size: int) -> None:
        calls[0] += 1
        for _ in range(20 if calls[0] in (2, 3, 4, 8, 15) else 1):  # every size but the smallest is hit at least once
            forward(size)

    assert choose_batch(disturbed, clock=clock) == 64


def test_a_batch_that_does_not_fit_into_memory_is_not_chosen() -> None:
    rates = {size: float(size) for size in (16, 32, 64, 128, 256, 512)}
    forward, clock = simulated(rates, memory=64)
    assert choose_batch(forward, clock=clock) == 64
    forward, clock = simulated(rates, memory=5)
    assert choose_batch(forward, clock=clock) == 4
    with pytest.raises(AtlasError, match="not even one image fits into memory"):
        choose_batch(simulated(rates, memory=0)[0])


def test_the_batch_size_is_chosen_once_per_build(tmp_path: Path) -> None:
    images, reader = make_images(20), PixelReader(make_pixels(20))
    first = run(tmp_path, Net(Tiny()), images, reader, batch_size=None)
    (state,) = (tmp_path / "state").glob("batch-*.json")
    assert first.batch_size in (16, 32) and json.loads(state.read_text()) == {"batch_size": first.batch_size}
    state.write_text('{"batch_size": 5}')
    net = Net(Tiny())
    assert run(tmp_path, net, images, reader, batch_size=None, vectors={"fc": "mean"}).batch_size == 5
    assert net.passes[-4:] == [5] * 4


def test_of_two_builders_the_first_ones_batch_size_holds(tmp_path: Path) -> None:
    def slower() -> int:
        assert kept_batch(tmp_path / "b.json", lambda: 32) == 32
        return 64

    assert kept_batch(tmp_path / "b.json", slower) == 32
    assert [p.name for p in tmp_path.iterdir()] == ["b.json"]


def test_a_damaged_batch_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(AtlasError, match=r"b\.json holds no batch size: remove it and build again"):
        kept_batch(tmp_path / "b.json", lambda: 1)


# -- what networks do ---------------------------------------------------------------------------------------------------


class Says(nn.Module):
    """A network whose output is `wrap` of a linear layer's."""

    def __init__(self, wrap: Any, width: int = 3):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.fc, self.wrap = nn.Flatten(), nn.Linear(64, width), wrap

    def forward(self, x: torch.Tensor) -> Any:
        return self.wrap(self.fc(self.body(x)))


@pytest.mark.parametrize("wrap", [lambda y: {"logits": y}, lambda y: {"features": y * 2, "logits": y}, lambda y: (y, None)])
def test_logits_are_found_in_dicts_and_tuples(tmp_path: Path, wrap: Any) -> None:
    pixels, net = make_pixels(5), Net(Says(wrap))
    done = run(tmp_path, net, make_images(5), PixelReader(pixels), vectors={"fc": "mean"})
    (part,), (logits,) = parts_of(tmp_path, done.vectors["fc"]), logits_of_parts(tmp_path, done.logits)
    np.testing.assert_array_equal(logits.logits, part.vectors)


def test_logits_named_out_are_found_behind_a_token_output(tmp_path: Path) -> None:
    pixels, net = make_pixels(5), Net(Says(lambda y: {"tokens": y[:, None].repeat(1, 4, 1) + 1, "out": y}))
    done = run(tmp_path, net, make_images(5), PixelReader(pixels), vectors={"fc": "mean"})
    (part,), (logits,) = parts_of(tmp_path, done.vectors["fc"]), logits_of_parts(tmp_path, done.logits)
    np.testing.assert_array_equal(logits.logits, part.vectors)
    found = extract.describe(net, [Image.fromarray(pixels[3])], {"fc": "mean"})  # type: ignore[arg-type]
    np.testing.assert_array_equal(found["logits"], found["fc"])


class Squeezes(nn.Module):
    """Loses the image axis of a batch of one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.pool, self.fc = nn.Conv2d(1, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.pool(self.conv(x)).squeeze())


@pytest.mark.parametrize("batch_size", [1, 7])
def test_a_network_that_squeezes_is_run_and_described_on_one_image(tmp_path: Path, batch_size: int) -> None:
    pixels, net = make_pixels(4), Net(Squeezes())
    options: dict[str, Any] = {"vectors": {"fc": "mean", "conv": "positions:2"}, "batch_size": batch_size}
    done = run(tmp_path, net, make_images(4), PixelReader(pixels), **options)
    (part,), (logits,) = parts_of(tmp_path, done.vectors["fc"]), logits_of_parts(tmp_path, done.logits)
    assert part.vectors.shape == (4, 3) and min(net.passes) == 2
    found = extract.describe(net, [Image.fromarray(pixels[3])], options["vectors"])  # type: ignore[arg-type]
    assert {name: value.shape for name, value in found.items()} == {"fc": (1, 3), "conv": (2, 6), "logits": (1, 3)}
    assert relative(found["fc"][0], part.vectors[3]) <= 1e-5 and relative(found["logits"][0], logits.logits[3]) <= 1e-5


class Wide(nn.Module):
    """A convolution to 20 units and a ReLU, on inputs of 20 × 30 pixels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.relu = nn.Conv2d(1, 20, 3, padding=1), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.conv(x)).mean((2, 3))


def test_list_pass_and_describe_count_the_same_units(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 30), np.uint8)
    net = Net(Wide(), outputs=20, preprocess=replace(GREY, height=20, width=30))
    layers = {"conv": "mean", "relu": "max"}
    listed = list_layers(net.module, torch.zeros(1, 1, 20, 30)).set_index("name")
    done = run(tmp_path, net, make_images(3), PixelReader(pixels), vectors=layers)
    found = extract.describe(net, [Image.fromarray(pixels[1])], layers)  # type: ignore[arg-type]
    outputs, _ = plain_hook_loop(net.module, "conv", as_input(pixels))
    expected = {"conv": outputs.mean((2, 3)), "relu": np.maximum(outputs, 0).max((2, 3))}
    for layer in layers:
        (part,) = parts_of(tmp_path, done.vectors[layer])
        assert listed.loc[layer, "units"] == part.vectors.shape[1] == found[layer].shape[1] == 20
        assert relative(part.vectors, expected[layer]) <= 1e-5 and relative(found[layer][0], expected[layer][1]) <= 1e-5


def test_a_network_of_features_only_has_no_logits_and_no_right_or_wrong(tmp_path: Path) -> None:
    net = Net(Says(lambda y: y), outputs=0)
    options: dict[str, Any] = {"vectors": {}, "statistics": {"fc": "mean"}}
    done = run(tmp_path, net, make_images(9), PixelReader(make_pixels(9)), **options)
    (part,) = moments_of(tmp_path, done.moments["fc"])
    assert done.logits == [] and (part.groups[:, 2:] == -1).all() and part.count.sum() == 9


def test_a_single_logit_predicts_by_its_sign(tmp_path: Path) -> None:
    net, images = Net(Says(lambda y: y, width=1), outputs=1), make_images(40)
    options: dict[str, Any] = {"vectors": {}, "statistics": {"fc": "mean"}}
    done = run(tmp_path, net, images, PixelReader(make_pixels(40)), **options)
    (part,), (logits,) = moments_of(tmp_path, done.moments["fc"]), logits_of_parts(tmp_path, done.logits)
    positive = int((logits.logits[:, 0] > 0).sum())
    assert part.count[part.groups[:, 2] == 1].sum() == positive and 0 < positive < 40
    assert set(part.groups[:, 2]) == {0, 1}


def test_a_vision_transformer_gives_class_token_mean_and_positions(tmp_path: Path) -> None:
    pixels, net = make_pixels(6), Net(TinyViT())
    images, reader = make_images(6), PixelReader(pixels)
    tokens = plain_hook_loop(net.module, "blocks.1", as_input(pixels))[0]
    for functional, expected in (("class-token", tokens[:, 0]), ("mean", tokens.mean(1))):
        done = run(tmp_path, net, images, reader, vectors={"blocks.1": functional})
        assert relative(parts_of(tmp_path, done.vectors["blocks.1"])[0].vectors, expected) <= 1e-5
    done = run(tmp_path, net, images, reader, vectors={"blocks.1": "positions:3", "patches": "positions:3"})
    (late,), (early,) = (parts_of(tmp_path, done.vectors[layer]) for layer in ("blocks.1", "patches"))
    patch = np.floor(late.point_yx * 4).astype(int) @ [4, 1]
    assert relative(late.vectors, tokens[late.point_image, 1 + patch]) <= 1e-5
    np.testing.assert_array_equal(late.point_yx, early.point_yx)


def test_two_networks_and_two_layers_sample_the_same_places(tmp_path: Path) -> None:
    images, reader = make_images(12), PixelReader(make_pixels(12))
    places = []
    for net in (Net(Tiny()), Net(Tiny(seed=5))):
        done = run(tmp_path, net, images, reader, vectors={"conv1": "positions:4", "conv2": "positions:4"}, seed=3)
        places += [parts_of(tmp_path, done.vectors[layer])[0].point_yx for layer in ("conv1", "conv2")]
    expected = functionals.positions(list(images.table["image_id"]), 4, 3).reshape(-1, 2)
    for found in places:
        np.testing.assert_array_equal(found, expected)


def test_a_train_mode_network_is_run_in_eval_mode_and_given_back_as_it_was(tmp_path: Path) -> None:
    net = Net(Tiny().train())
    before = {name: value.clone() for name, value in net.module.state_dict().items()}
    done = run(tmp_path, net, make_images(5), PixelReader(make_pixels(5)), precision="bfloat16")
    assert net.module.training and net.module.drop.training
    assert all(torch.equal(value, before[name]) for name, value in net.module.state_dict().items())
    assert not any(m._forward_hooks for m in net.module.modules())
    assert torch.is_grad_enabled() and len(done.logits) == 1


def test_a_layer_called_twice_is_told(tmp_path: Path) -> None:
    class Twice(Tiny):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + super().forward(-x)

    told, pixels, net = Heard(), make_pixels(5), Net(Twice())
    done = run(tmp_path, net, make_images(5), PixelReader(pixels), progress=told)
    assert told.lines == ["layer conv2 is called 2 times in a forward pass: its first call is used"]
    expected = plain_hook_loop(Tiny(), "conv2", as_input(pixels))[0].mean((2, 3))
    assert relative(parts_of(tmp_path, done.vectors["conv2"])[0].vectors, expected) <= 1e-5
    assert Store(tmp_path).header(done.vectors["conv2"][0])["told"]["calls"] == {"conv2": 2}


# -- numbers that do not fit --------------------------------------------------------------------------------------------


class Scaled(nn.Module):
    """A layer that scales its input by a buffer's value where a pixel is bright."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, :, :1, :1] > 1.9, self.factor.to(x) * x, x)

    def __init__(self, factor: float):
        super().__init__()
        self.register_buffer("factor", torch.tensor(factor))


def bright_network(factor: float) -> Net:
    return Net(nn.Sequential(Scaled(factor), nn.Flatten(), nn.Linear(64, 3)), outputs=0)


def bright_pixels(count: int, *bright: int) -> np.ndarray:
    pixels = make_pixels(count) // 2 + 1
    pixels[list(bright)] = 255
    return pixels


def test_a_layer_beyond_float16_is_stored_as_float32_and_says_so(tmp_path: Path, small_parts: None) -> None:
    net, told = bright_network(1e5), Heard()
    reader = PixelReader(bright_pixels(20, 13))
    done = run(tmp_path, net, make_images(20), reader, vectors={"0": "max"}, precision="bfloat16", progress=told)
    first, second = parts_of(tmp_path, done.vectors["0"])
    assert (first.vectors.dtype, second.vectors.dtype) == (np.float16, np.float32)
    assert second.vectors.max() > 1e5 and np.isfinite(second.vectors).all()
    assert told.lines == ["layer 0 has values near the limit of float16, 65 504: it is stored as float32"] == done.notes
    assert "float32" in Store(tmp_path).header(done.vectors["0"][1])["told"]["stored"]


def test_values_that_are_not_numbers_are_counted_and_kept(tmp_path: Path) -> None:
    for factor in (float("nan"), float("inf")):
        net, reader = bright_network(factor), PixelReader(bright_pixels(10, 3, 7))
        options: dict[str, Any] = {"vectors": {"0": "mean"}, "precision": "bfloat16"}
        (part,) = parts_of(tmp_path, run(tmp_path, net, make_images(10), reader, **options).vectors["0"])
        assert part.nonfinite.tolist() == [2] and part.vectors.dtype == np.float16
        assert np.flatnonzero(~np.isfinite(part.vectors[:, 0])).tolist() == [3, 7]
        assert not {3, 7} & set(part.top_image[:, 0]) and np.isfinite(part.quantiles).all()


# -- images left out ----------------------------------------------------------------------------------------------------


def test_images_that_do_not_decode_are_left_out_and_counted(tmp_path: Path, small_parts: None) -> None:
    broken = (0, 4, *range(10, 20), 22)
    net, pixels, reader = Net(Tiny()), make_pixels(23), PixelReader(make_pixels(23))
    done = run(tmp_path, net, make_images(23, broken=broken), reader)
    parts = parts_of(tmp_path, done.vectors["conv2"])
    rows = np.concatenate([part.point_image for part in parts])
    assert rows.tolist() == [row for row in range(23) if row not in broken] and not set(reader.read) & set(broken)
    expected = plain_hook_loop(net.module, "conv2", as_input(pixels[rows]))[0].mean((2, 3))
    assert relative(np.concatenate([part.vectors for part in parts]), expected) <= 1e-5
    assert parts[1].vectors.shape == (0, 6) and np.isnan(parts[1].quantiles).all()
    assert done.notes == ["13 of 23 images do not decode and are left out"]
    assert [len(p.image) for p in logits_of_parts(tmp_path, done.logits)] == [8, 0, 2]


# -- refusals -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def refuse(tmp_path: Path) -> Iterator[Any]:
    def check(message: str, net: Net | None = None, *, edge: int = 8, **options: Any) -> None:
        reader = options.pop("reader", PixelReader(make_pixels(5, edge)))
        with pytest.raises(AtlasError, match=message):
            run(tmp_path, net or Net(Tiny()), options.pop("images", make_images(5)), reader, **options)

    yield check
    assert not list(tmp_path.glob("parts/*"))


def test_mistakes_are_refused_before_anything_is_written(refuse: Any) -> None:
    refuse(r"no layer 'conv3': did you mean conv2, conv1", vectors={"conv3": "mean"})
    refuse(r"no functional 'median': did you mean mean", vectors={"conv2": "median"})
    refuse(
        r"layer fc: positions:2 needs an output with places, and the output is \[image, 3\]",
        statistics={"fc": "positions:2"},
    )
    refuse(r"no precision 'float16': did you mean bfloat16, float32", precision="float16")
    refuse(r"a batch of 0 images was asked for: 1 to 4096 are possible", batch_size=0)
    refuse(r"none of the 5 images decodes", images=make_images(5, broken=(0, 1, 2, 3, 4)))
    refuse(r"the source holds 5 images now and 6 were listed: list them again", images=make_images(6))
    refuse(r"no device 'gpu': use auto, cpu or cuda", device="gpu")


def test_an_input_that_the_network_cannot_take_is_one_line(refuse: Any) -> None:
    colour = Net(Tiny(), preprocess=Preprocess(height=8, width=8, channels=3))
    refuse(r"^network tiny failed on images of 3×8×8 \(rgb × y × x\): .*expected input.* to have 1 channels.*[^\n]$", colour)
    small = Net(Says(lambda y: y), preprocess=replace(GREY, height=6, width=6))
    refuse(
        r"^network tiny failed on images of 1×6×6 \(rgb × y × x\): .*mat1 and mat2.*; check the input size",
        small,
        vectors={},
    )


def test_a_layer_without_rows_per_image_is_refused(refuse: Any) -> None:
    class Windows(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(-1, 32)

    net = Net(nn.Sequential(Windows(), nn.Flatten()), outputs=0)
    refuse(
        "layer 0: its output has 4 rows for 2 images, so none is an image's: choose another layer",
        net,
        vectors={"0": "mean"},
    )


def test_a_network_that_shows_fewer_outputs_than_said_is_refused(refuse: Any) -> None:
    refuse("network tiny has 3 outputs by its record and shows none here", Net(Says(lambda y: None)), vectors={"fc": "mean"})


def test_a_batch_beyond_memory_is_one_line(tmp_path: Path) -> None:
    class Hungry(Tiny):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > 4:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
            return super().forward(x)

    with pytest.raises(AtlasError, match="a batch of 7 images does not fit into memory: give a smaller --batch-size"):
        run(tmp_path, Net(Hungry()), make_images(9), PixelReader(make_pixels(9)))


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto").type == "cpu"
    with pytest.raises(AtlasError, match="device cuda was asked for and torch finds no CUDA here: use --device cpu"):
        find_device("cuda")
