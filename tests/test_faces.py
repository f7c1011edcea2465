"""Faces: aligned by their eyes, divided by person, judged by people apart, ordered by how far they are turned."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atlas.data import faces, fetching
from atlas.data.fetching import Unavailable
from atlas.experiments import Setting
from atlas.experiments.judged import People, interval, trained
from atlas.experiments.turned import alike, framed, yaw
from atlas.machine import torch_threads
from atlas.models.training_data import TrainingData, held_out_rows, hold_out_groups
from atlas.progress import Progress

Eyes = tuple[tuple[float, float], tuple[float, float]]  # x, y of each


def photograph(left: tuple[float, float], right: tuple[float, float], size: tuple[int, int] = (150, 120)) -> np.ndarray:
    """A grey picture with a bright spot at each eye."""
    y, x = np.mgrid[: size[0], : size[1]]
    spots = sum(np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 18) for cx, cy in (left, right))
    return (40 + 200 * np.clip(spots, 0, 1)).astype(np.uint8)


@pytest.mark.parametrize("eyes", [((40.0, 60.0), (80.0, 60.0)), ((40.0, 70.0), (75.0, 50.0)), ((50.5, 41.5), (71.0, 45.0))])
def test_the_eyes_of_an_aligned_face_are_where_they_are_wanted(
    eyes: tuple[tuple[float, float], tuple[float, float]],
) -> None:
    found = faces.align(photograph(*eyes), *eyes, size=64).astype(float)
    half = found[:, :32].argmax(), found[:, 32:].argmax()
    for spot, x in zip(half, ((1 - faces.APART) / 2 * 64, (1 + faces.APART) / 2 * 64 - 32), strict=True):
        assert np.allclose(divmod(int(spot), 32), (faces.DOWN * 64, x), atol=1.01)


def test_what_lies_beyond_a_photograph_repeats_its_edge_and_a_plain_one_stays_plain() -> None:
    plain = np.full((30, 30), 77, np.uint8)
    assert (faces.align(plain, (5, 5), (25, 5), size=16) == 77).all()


def test_every_fold_holds_whole_subjects_and_each_is_held_out_once() -> None:
    chance = np.random.default_rng(0)
    subjects = chance.integers(0, 30, 400)
    codes = (subjects % 3 == 0).astype(np.uint8)
    codes[chance.integers(0, 400, 10)] ^= 1  # a few labels contradict the others of their subject
    folds = np.stack([faces.held_out(codes, subjects, fold) for fold in range(5)])
    assert (folds.sum(axis=0) == 1).all()
    for fold in folds:
        assert not set(subjects[fold]) & set(subjects[~fold]) and set(codes[fold]) == {0, 1}


def test_the_portraits_are_read_from_the_wheel_aligned_and_split_by_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{subject:05d}a{letter}" for subject in range(1, 13) for letter in "ab"]
    with zipfile.ZipFile(tmp_path / "one.whl", "w") as wheel:
        eyes = (40.0, 60.0), (80.0, 62.0)
        for name in names:
            body = io.BytesIO()
            Image.fromarray(photograph(*eyes)).save(body, "PPM")
            wheel.writestr(f"{faces.PORTRAITS}{name}.pgm", body.getvalue())
        sex = "\n".join(f"{name}.pgm {'F' if int(name[:5]) % 2 else 'M'}" for name in names)
        wheel.writestr(f"{faces.PORTRAITS}gender.txt", sex)
        wheel.writestr(f"{faces.PORTRAITS}coords.txt", "\n".join(f"{name} 40 60 80 62 " for name in names))
    monkeypatch.setattr(fetching, "pypi_wheel", lambda *args: tmp_path / "one.whl")
    found = faces.portraits(tmp_path, lambda count: None)
    assert found["train-images"].shape[1:] == (64, 64) and len(found["train-images"]) + len(found["test-images"]) == 24
    assert not set(found["train-subject"]) & set(found["test-subject"])
    assert (found["test-labels"] == (found["test-subject"] % 2 == 0)).all(), "female is 0"


def test_celeba_is_torchvisions_with_its_attribute_male_and_its_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    import torchvision

    class Fake:
        attr_names = ("Bald", "Male", "")

        def __init__(self, root: str, *, split: str, target_type: list[str], download: bool):
            assert target_type == ["attr", "identity"] and download
            self.count = {"train": 7, "test": 3}[split]

        def __len__(self) -> int:
            return self.count

        def __getitem__(self, row: int) -> tuple[Image.Image, tuple[torch.Tensor, torch.Tensor]]:
            eyes = photograph(*faces.CELEBA_EYES, size=(218, 178))
            return Image.fromarray(eyes).convert("RGB"), (torch.tensor([0, row % 2]), torch.tensor(1000 + row))

    monkeypatch.setattr(torchvision.datasets, "CelebA", Fake)
    monkeypatch.setattr(faces, "CELEBA", {"train": 5, "test": 5})
    found = faces.celeba(tmp_path, lambda count: None)
    assert found["train-labels"].tolist() == [0, 1, 0, 1, 0] and found["test-subject"].tolist() == [1000, 1001, 1002]
    assert found["train-images"].shape == (5, 64, 64)

    def refused(*args: object, **options: object) -> None:
        raise RuntimeError("To download files from GDrive, 'gdown' is required.")

    monkeypatch.setattr(torchvision.datasets, "CelebA", refused)
    with pytest.raises(Unavailable, match="'gdown' is required"):
        faces.celeba(tmp_path, lambda count: None)


# -- training and judging by people apart


def test_validation_takes_whole_groups_of_both_classes_and_leaves_some_of_each() -> None:
    groups = np.repeat(np.arange(12), 6)
    labels = (groups >= 5).astype(np.uint8)
    rows = hold_out_groups(labels, groups, 20, seed=3)
    held = np.zeros(len(groups), bool)
    held[rows] = True
    assert not set(groups[held]) & set(groups[~held]) and set(labels[held]) == set(labels[~held]) == {0, 1}
    assert abs(len(rows) - 20) <= 6 and (np.diff(rows) > 0).all()
    assert not np.array_equal(rows, hold_out_groups(labels, groups, 20, seed=4))
    images = np.zeros((len(groups), 12, 12), np.uint8)
    data = TrainingData(images, labels, images[:4], labels[:4], ["a", "b"], "made up", groups)
    assert np.array_equal(held_out_rows(data, 20, seed=3), rows)
    plain = TrainingData(images, labels, images[:4], labels[:4], ["a", "b"], "made up")
    assert len(held_out_rows(plain, 20, seed=3)) == 20 and plain.digest != data.digest


def test_an_interval_by_subject_is_as_wide_as_of_so_many_people_not_images() -> None:
    subjects = np.repeat(np.arange(20), 50)
    alike_within = (subjects % 4 > 0).astype(float)  # each subject all right or all wrong
    low, high = interval(alike_within, subjects)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.75 * 0.25 / 20), rel=0.15) and low < 0.75 < high
    few = interval(alike_within, np.arange(1000))
    assert few[1] - few[0] < (high - low) / 4


def test_a_training_on_faces_comes_out_the_same_with_any_number_of_threads(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (80, 32, 32), np.uint8)
    whole = People("noise", "Noise", images, np.arange(80) % 2, np.arange(80) // 4 * 2 + np.arange(80) % 2, ["a", "b"])
    weights = []
    for count in (1, 2):
        with torch_threads(count):
            setting = Setting(tmp_path / f"{count}", tmp_path / "out", True, Progress(), lambda line: None, None)
            folder = trained(setting, whole, "conv4", 32, 0)
            weights.append((folder / "weights.safetensors").read_bytes())
            assert torch.get_num_threads() == count, "as before"
    assert weights[0] == weights[1]


def test_shares_of_the_same_person_are_one_where_they_lie_apart_and_chance_where_they_do_not() -> None:
    chance = np.random.default_rng(0)
    codes = np.repeat(np.arange(10), 10)
    apart = np.eye(10)[codes] + chance.normal(0, 0.01, (100, 10))
    assert (alike(apart, codes, 9) == 1).all()
    assert alike(chance.normal(size=(100, 10)), codes, 9).mean() == pytest.approx(9 / 99, abs=0.04)


# -- yaw


def head(turned: float) -> np.ndarray:
    """A made-up head: an oval that stays, with eyes and nose shifted by `turned` pixels."""
    y, x = np.mgrid[:112, :92]
    oval = 120.0 * (((x - 45.5) / 34) ** 2 + ((y - 56) / 46) ** 2 < 1)
    parts = [(31 + turned, 48, 5), (60 + turned, 48, 5), (45.5 + 1.4 * turned, 64, 6), (45.5 + turned, 80, 8)]
    dark = sum(80 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * r * r)) for cx, cy, r in parts)
    return np.clip(60 + oval - dark, 0, 255).astype(np.uint8)


def test_yaw_orders_heads_by_how_far_they_are_turned_is_0_for_a_symmetric_one_and_changes_its_sign_in_a_mirror() -> None:
    turns = np.array([-5.0, 2.0, 0.0, -1.5, 5.0, 3.5, -3.0])
    images = np.stack([head(turn) for turn in turns])
    found = yaw(images)
    found *= np.sign(found[4])
    assert np.array_equal(np.argsort(found), np.argsort(turns)) and abs(found[2]) < 0.05
    both = yaw(np.concatenate([images, images[:, :, ::-1]]))
    assert np.allclose(both[: len(turns)], -both[len(turns) :], atol=1e-6)


def test_one_frame_is_found_that_makes_the_mean_face_like_the_aligned_ones() -> None:
    images = np.stack([head(turn) for turn in (-2.0, 0.0, 2.0)])
    eyes = (31.0, 48.0), (60.0, 48.0)
    like = np.stack([faces.align(image, *eyes, size=64) for image in images])
    cut, how = framed(images, like)
    assert how["likeness"] > 0.99 and abs(how["apart"] - 29) <= 1 and abs(how["down"] - 48) <= 1
    assert cut.shape == (3, 64, 64)
