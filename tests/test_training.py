"""Training: it learns, resumes as if nothing had happened, keeps what it did beside the weights, and refuses mistakes."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from atlas.errors import AtlasError
from atlas.models import training_files
from atlas.models.precision import has_fast_bfloat16, resolve
from atlas.models.reference import load_reference
from atlas.models.training import TrainingData, TrainingResult, alone, one_cycle, train
from atlas.models.training_data import augmented, hold_out, pixel_moments
from atlas.progress import Progress

torch.set_num_threads(1)
SMALL: dict[str, Any] = {"epochs": 3, "batch_size": 16, "lr": 3e-3, "precision": "float32", "device": "cpu"}


def bars(count: int, *, seed: int, size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy images with a bright bar that lies, stands or is absent, and which of the three."""
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 90, (count, size, size)), np.arange(count) % 3
    for image, label, at in zip(images, labels, rng.integers(4, size - 4, count), strict=True):
        if label < 2:
            (image if label == 0 else image.T)[at - 1 : at + 1] += 150
    return images.astype(np.uint8), labels.astype(np.int64)


def bars_data(count: int = 150, **changes: Any) -> TrainingData:
    data = TrainingData(*bars(count, seed=0), *bars(60, seed=1), labels=["lying", "standing", "none"], name="bars")
    return dataclasses.replace(data, **changes)


def train_small(out: Path, data: TrainingData | None = None, **changes: Any) -> TrainingResult:
    return train("conv4", data or bars_data(), out=out, net_arguments={"width": 4}, **{**SMALL, **changes})


class Killed(Exception):
    """Stands for the end of the process."""


class KillAfter(Progress):
    """Ends the training in the middle of an epoch: after `steps` steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    def show(self, name: str, total: int | None) -> Any:
        from contextlib import nullcontext

        def advance(count: int) -> None:
            self.left -= count
            if self.left < 0:
                raise Killed

        return nullcontext(advance)


def test_a_network_learns_what_is_easy_to_learn(tmp_path: Path) -> None:
    result = train_small(tmp_path / "out", bars_data(480), epochs=8)
    assert result.accuracy["test"] > 0.9
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"] / 2


@pytest.mark.parametrize("scaling", ["inverse-sqrt", "rezero", "fixup"])
def test_a_deep_residual_mlp_learns_with_each_scaling(tmp_path: Path, scaling: str) -> None:
    arguments = {"depth": 64, "width": 32, "scaling": scaling}
    settings = {**SMALL, "epochs": 8, "batch_size": 60, "augment": "none"}
    x, y = bars(900, seed=0, size=12)
    x_test, y_test = bars(90, seed=1, size=12)
    data = TrainingData(x, y, x_test, y_test, ["lying", "standing", "none"], "bars")
    result = train("residual-mlp", data, out=tmp_path / "out", net_arguments=arguments, **settings)
    assert result.accuracy["train"] > 0.6  # chance is a third


def test_the_folder_holds_weights_recipe_and_history_and_loads_as_a_network(tmp_path: Path) -> None:
    result = train_small(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["history.csv", "recipe.json", "weights.safetensors"]
    recipe = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert recipe == result.recipe
    assert recipe["training"]["seed"] == 0 and recipe["dataset"] == "bars" and recipe["libraries"]["torch"]
    assert len(training_files.read_history(tmp_path / "out")) == 3
    module, preprocess, categories, _ = load_reference(str(tmp_path / "out"))
    assert categories == ["lying", "standing", "none"]
    data = bars_data()
    images = (torch.from_numpy(data.x_test[:, None]).float() / 255 - preprocess["mean"][0]) / preprocess["std"][0]
    with torch.inference_mode():
        right = module(images).argmax(1).numpy() == data.y_test
    assert right.mean() == pytest.approx(recipe["accuracy"]["test"], abs=1e-4)


def test_the_weights_kept_are_those_of_the_best_epoch_on_the_validation_images(tmp_path: Path) -> None:
    result = train_small(tmp_path / "out", epochs=4)
    best = max(row["validation_accuracy"] for row in result.history)
    assert result.history[result.recipe["best_epoch"] - 1]["validation_accuracy"] == best
    assert result.accuracy["validation"] == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("steps", [4, 8, 20])
def test_a_training_that_was_stopped_resumes_to_the_weights_of_an_undisturbed_one(tmp_path: Path, steps: int) -> None:
    whole = train_small(tmp_path / "whole", epochs=4)
    with pytest.raises(Killed):
        train_small(tmp_path / "stopped", epochs=4, progress=KillAfter(steps))
    assert not (tmp_path / "stopped" / "recipe.json").exists()
    resumed = train_small(tmp_path / "stopped", epochs=4)
    one, two = (load_file(r.folder / "weights.safetensors") for r in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert [r["validation_loss"] for r in whole.history] == [r["validation_loss"] for r in resumed.history]


def test_a_training_killed_by_sigkill_resumes_to_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    child = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1]); import test_training as t\n"
        "t.Killed = type('Gone', (Exception,), {'__init__': lambda self: os.kill(os.getpid(), signal.SIGKILL)})\n"
        "t.train_small(t.Path(sys.argv[2]), epochs=4, progress=t.KillAfter(20))"
    )
    command = [sys.executable, "-c", child, str(Path(__file__).parent), str(tmp_path / "killed")]
    assert subprocess.run(command, timeout=120).returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / "resume.pt").exists()
    one = load_file(train_small(tmp_path / "whole", epochs=4).folder / "weights.safetensors")
    two = load_file(train_small(tmp_path / "killed", epochs=4).folder / "weights.safetensors")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_weights_kept_in_half_precision_run_in_float32_with_the_accuracies_measured_of_them(tmp_path: Path) -> None:
    whole, half = train_small(tmp_path / "whole"), train_small(tmp_path / "half", half=True)
    files = [load_file(result.folder / "weights.safetensors") for result in (whole, half)]
    assert {str(value.dtype) for name, value in files[1].items() if "num_batches" not in name} == {"torch.float16"}
    assert all(
        torch.equal(value.half() if value.is_floating_point() else value, files[1][name]) for name, value in files[0].items()
    )
    assert (half.recipe["training"]["kept"], whole.recipe["training"].get("kept")) == ("float16", None)
    module, preprocess, _, _ = load_reference(str(half.folder))
    assert {value.dtype for value in module.parameters()} == {torch.float32}
    data = bars_data()
    images = (torch.from_numpy(data.x_test[:, None]).float() / 255 - preprocess["mean"][0]) / preprocess["std"][0]
    with torch.inference_mode():
        right = module(images).argmax(1).numpy() == data.y_test
    assert right.mean() == pytest.approx(half.accuracy["test"], abs=1e-4)
    with pytest.raises(AtlasError, match=r"another -o|with kept float16 \(asked: float32\): choose another -o"):
        train_small(tmp_path / "half")
    with pytest.raises(AtlasError, match="a weight of size 7e"):
        training_files.rounded({"w": torch.tensor([7e4])})


def test_a_finished_training_is_returned_as_it_is(tmp_path: Path) -> None:
    first = train_small(tmp_path / "out")
    stamp = (tmp_path / "out" / "weights.safetensors").stat().st_mtime_ns
    second = train_small(tmp_path / "out")
    assert second.recipe == first.recipe
    assert (tmp_path / "out" / "weights.safetensors").stat().st_mtime_ns == stamp


def test_colour_images_and_a_bfloat16_pass_train_too(tmp_path: Path) -> None:
    x, y = bars(90, seed=0)
    colour = np.repeat(x[..., None], 3, axis=3)
    data = TrainingData(colour, y, colour, y, ["lying", "standing", "none"], "colour bars")
    result = train_small(tmp_path / "out", data, epochs=1, precision="bfloat16")
    assert result.recipe["arguments"]["channels"] == 3
    assert len(result.recipe["preprocess"]["mean"]) == 3


def test_another_seed_gives_other_weights_and_the_callers_random_state_is_left(tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one = load_file(train_small(tmp_path / "one", epochs=1).folder / "weights.safetensors")
    two = load_file(train_small(tmp_path / "two", epochs=1, seed=1).folder / "weights.safetensors")
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(one["conv1.weight"], two["conv1.weight"])


def test_held_out_images_hold_every_class_in_its_share() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 101])
    rows = hold_out(labels, 100, seed=0)
    assert len(rows) == len(set(rows)) == 100
    assert np.abs(np.bincount(labels[rows]) - [60, 30, 10]).max() <= 1
    assert not np.array_equal(rows, hold_out(labels, 100, seed=1))


def test_an_augmented_image_is_its_own_shift_and_mirror() -> None:
    images = torch.randint(1, 255, (4, 3, 6, 7), dtype=torch.uint8)
    down, right = torch.tensor([0, 2, -1]), torch.tensor([0, 0, 2])
    mirror = torch.tensor([False, False, True])
    result = augmented(images, torch.tensor([3, 0, 1]), down=down, right=right, mirror=mirror)
    assert torch.equal(result[0], images[3])
    assert torch.equal(result[1][:, 2:], images[0][:, :4]) and not result[1][:, :2].any()
    shifted = torch.zeros_like(images[1])
    shifted[:, :5, 2:] = images[1][:, 1:, :5]
    assert torch.equal(result[2], shifted.flip(2))


def test_pixel_moments_are_those_of_numpy() -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 5, 5, 3), dtype=np.uint8)
    mean, std = pixel_moments(images)
    assert mean == pytest.approx((images / 255).mean((0, 1, 2)), abs=1e-4)
    assert std == pytest.approx((images / 255).std((0, 1, 2)), abs=1e-4)


def test_the_learning_rate_of_one_cycle_is_that_of_torch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=40)
    for step in range(40):
        peak_share = one_cycle(step, 40, 0.1) / 0.1
        assert peak_share == pytest.approx(schedule.get_last_lr()[0] / 0.1, abs=2e-4)
        optimizer.step()
        if step < 39:
            schedule.step()


def test_precision_follows_the_processor(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu avx512f avx512_bf16\n")
    assert has_fast_bfloat16(cpuinfo)
    cpuinfo.write_text("flags\t\t: fpu avx2\n")
    assert not has_fast_bfloat16(cpuinfo)
    assert not has_fast_bfloat16(tmp_path / "absent")
    assert resolve("auto", device="cuda:0") == "bfloat16"
    assert resolve("float32", device="cuda") == "float32"


def one_class() -> TrainingData:
    return bars_data(labels=["a"])


REFUSALS: list[tuple[str, Callable[[Path], object], str]] = [
    (
        "unknown network",
        lambda p: train("conv7", bars_data(), out=p / "o"),
        "no reference network 'conv7': did you mean conv",
    ),
    ("one class", lambda p: one_class(), "bars has 1 classes: a classifier needs two or more to tell apart"),
    (
        "labels too high",
        lambda p: bars_data(labels=["a", "b"]),
        "bars:train: labels run from 0 to 2: give integers from 0 to 1",
    ),
    ("float images", lambda p: bars_data(x_train=np.zeros((150, 16, 16))), "images are float64 (150, 16, 16): give uint8"),
    (
        "labels missing",
        lambda p: bars_data(y_train=np.zeros(3, int)),
        "bars:train: 150 images and 3 labels: give one label per",
    ),
    (
        "two sizes",
        lambda p: bars_data(x_test=np.zeros((60, 8, 8), np.uint8)),
        "training images are (16, 16), test images (8, 8)",
    ),
    ("no parent", lambda p: train_small(p / "no" / "out"), "is no folder, so out cannot be made in it: create it or choose"),
    ("no epochs", lambda p: train_small(p / "o", epochs=0), "epochs 0 trains nothing: give a number above 0"),
    (
        "validation",
        lambda p: train_small(p / "o", validation=140),
        "140 validation images of 150 training images: give a number",
    ),
    ("augmentation", lambda p: train_small(p / "o", augment="shfit"), "no augmentation 'shfit': did you mean shift"),
    ("precision", lambda p: train_small(p / "o", precision="float61"), "no precision 'float61': did you mean "),
    ("device", lambda p: train_small(p / "o", device="gpu9"), "no device 'gpu9' here"),
    (
        "argument",
        lambda p: train("conv4", bars_data(), out=p / "o", net_arguments={"wide": 2}),
        "no argument of conv4 'wide'",
    ),
    ("diverged", lambda p: train_small(p / "o", lr=1e30), "in epoch 1 (lr "),
]


@pytest.mark.parametrize(("call", "message"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_a_mistake_is_refused_with_what_would_do(call: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    with pytest.raises(AtlasError) as refusal:
        call(tmp_path)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_folder_with_another_training_is_refused_with_the_difference(tmp_path: Path) -> None:
    train_small(tmp_path / "out", epochs=1)
    with pytest.raises(AtlasError, match=r"holds a finished training with epochs 1 \(asked: 2\): choose another -o"):
        train_small(tmp_path / "out", epochs=2)
    with pytest.raises(Killed):
        train_small(tmp_path / "half", progress=KillAfter(12))
    with pytest.raises(AtlasError, match="holds an unfinished training of another recipe: choose another -o"):
        train_small(tmp_path / "half", seed=4)


def test_a_resume_file_from_elsewhere_is_refused_and_not_executed(tmp_path: Path) -> None:
    import pickle

    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "executed",))

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "resume.pt").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(AtlasError, match=r"cannot be read .* remove it to train from the start"):
        train_small(tmp_path / "out")
    assert not (tmp_path / "executed").exists()


def test_a_second_training_in_one_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    with alone(tmp_path / "t"), pytest.raises(AtlasError, match="another training is at work in"), alone(tmp_path / "t"):
        pass
    assert not list((tmp_path / "t").iterdir())


def test_a_loss_that_is_no_number_stops_with_the_rate_to_lower(tmp_path: Path) -> None:
    data = TrainingData(*bars(60, seed=0), *bars(60, seed=1), labels=["lying", "standing", "none"], name="bars")
    with pytest.raises(AtlasError, match=r"the loss is (nan|inf) in epoch \d+ .*: train with a smaller --lr"):
        train("residual-mlp", data, out=tmp_path / "t", epochs=3, lr=1e30, net_arguments={"depth": 8, "scaling": "none"})


def test_images_that_are_not_square_are_refused() -> None:
    images, labels = np.zeros((6, 12, 20), np.uint8), np.arange(6) % 2
    with pytest.raises(AtlasError, match="images are 20 × 12 pixels: our networks train on square ones"):
        TrainingData(images, labels, images, labels, ["a", "b"], "wide")
