"""Preprocessing: what torchvision's own presets do, on any image, and in words."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from atlas.errors import AtlasError
from atlas.models.preprocess import LONGEST, Preprocess, from_timm, from_torchvision

torch.set_num_threads(1)


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(3, 90),
    height=st.integers(3, 90),
    crop=st.integers(4, 48),
    resize=st.integers(4, 60),
    interpolation=st.sampled_from(["bilinear", "bicubic", "nearest"]),
)
def test_it_gives_the_same_numbers_as_torchvisions_preset(
    width: int, height: int, crop: int, resize: int, interpolation: str
) -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    assume(max(width, height) <= LONGEST * min(width, height))
    mode = next(m for m in InterpolationMode if m.value == interpolation)
    preset = ImageClassification(crop_size=crop, resize_size=resize, interpolation=mode)
    ours = from_torchvision(preset)
    image = picture(width, height)
    found = ours.tensor(torch.from_numpy(ours.array(image))[None])[0]
    torch.testing.assert_close(found, preset(image), atol=1e-5, rtol=0)


def test_it_gives_the_same_numbers_as_timms_transform() -> None:
    import timm

    for mode in ("center", "squash"):
        config = {"input_size": (3, 32, 32), "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": mode}
        config |= {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
        ours, image = from_timm(config), picture(70, 50)
        found = ours.tensor(torch.from_numpy(ours.array(image))[None])[0]
        torch.testing.assert_close(found, timm.data.create_transform(**config)(image), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (500, 2), (2, 500), (28, 28), (100, 60)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fit", ["crop", "stretch", "none"])
@pytest.mark.parametrize("resize", [None, 24])
def test_any_image_becomes_an_array_of_the_inputs_size(
    size: tuple[int, int], mode: str, channels: int, fit: str, resize: int | None
) -> None:
    preprocess = Preprocess(height=20, width=22, resize=resize, fit=fit, channels=channels, mean=(0.0,), std=(1.0,))
    array = preprocess.array(picture(*size, mode))
    assert array.shape == (channels, 20, 22)
    assert array.dtype == np.uint8 and array.flags["C_CONTIGUOUS"]


def test_a_very_long_strip_is_cut_before_it_is_resized() -> None:
    strip = Preprocess(height=8, width=8, resize=300).array(picture(60_000, 2))
    assert strip.shape == (3, 8, 8)


def test_an_image_of_the_right_size_is_left_as_it_is() -> None:
    image = picture(28, 28, "L")
    preprocess = Preprocess(height=28, width=28, channels=1, mean=(0.0,), std=(1.0,))
    assert (preprocess.array(image)[0] == np.asarray(image)).all()


def test_without_a_size_an_image_keeps_its_own() -> None:
    assert Preprocess(fit="none").array(picture(13, 9)).shape == (3, 9, 13)
    assert Preprocess(resize=18).array(picture(18, 9)).shape == (3, 18, 36)


def test_the_tensor_is_normalised_per_channel_and_the_batch_is_left_alone() -> None:
    preprocess = Preprocess(mean=(0.5, 0.0, 1.0), std=(0.5, 1.0, 2.0))
    batch = torch.full((2, 3, 4, 4), 255, dtype=torch.uint8)
    tensor = preprocess.tensor(batch)
    assert tensor.dtype == torch.float32
    assert tensor[1, :, 0, 0].tolist() == [1.0, 1.0, 0.0]
    assert (batch == 255).all()


def test_a_preprocessing_survives_json() -> None:
    preprocess = Preprocess(height=8, width=9, resize=10, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0), interpolation="bicubic")
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess


def test_another_input_size_keeps_the_margin_in_proportion() -> None:
    changed = Preprocess(height=224, width=224, resize=256).at_size(112)
    assert (changed.height, changed.width, changed.resize) == (112, 112, 128)


def test_it_says_itself_in_words() -> None:
    text = Preprocess(height=224, width=224, resize=232, mean=(0.485, 0.456, 0.406), std=(0.5,)).describe()
    assert text == (
        "RGB, shorter side to 232 px (bilinear), centre 224×224 px, values ÷ 255, "
        "− mean (0.485, 0.456, 0.406), ÷ std (0.5, 0.5, 0.5)"
    )
    assert Preprocess(channels=1, mean=(0,), std=(1,), fit="none").describe() == "grey, size as it is, values ÷ 255"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": 4}, "preprocessing to 4 channels: images have 1 (grey) or 3 (colour)"),
        ({"std": (0.0, 1.0, 1.0)}, "preprocessing divides by std (0.0, 1.0, 1.0): each must be above 0"),
        ({"mean": (0.1, 0.2)}, "preprocessing mean (0.1, 0.2): give one number, or 3, one for each channel"),
        ({"mean": "abc"}, "preprocessing mean abc: give one number, or 3, one for each channel"),
        ({"std": float("nan")}, "preprocessing std nan: give one number, or 3, one for each channel"),
        ({"fit": "krop"}, "no way to fit an image 'krop': did you mean crop?"),
        ({"interpolation": "cubic"}, "no interpolation 'cubic': did you mean bicubic?"),
        ({"height": 0, "width": 3}, "preprocessing height 0: give a whole number of pixels from 1 to 8192"),
        ({"height": 3}, "preprocessing to height 3, width None: give both or neither"),
        ({"chanels": 1}, "no field of the preprocessing 'chanels': did you mean channels? (there are height, width, "),
    ],
)
def test_values_that_cannot_be_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(AtlasError) as refused:
        Preprocess.from_dict(values)
    assert str(refused.value).startswith(message)
