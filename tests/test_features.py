"""What features do: properties, sweeps, stimuli, tuning, levels, renderings, each held to a definition or an oracle."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from atlas.data import stimuli
from atlas.data.disturbing import ladder
from atlas.data.properties import PROPERTIES, measure, table
from atlas.data.sweeping import SWEEPS
from atlas.errors import AtlasError
from atlas.maps.volume import CAM, MISSING, STEPS, make_volume, pack
from atlas.pages.figures_volume import composite, oblique, runs, spaced
from atlas.patterns.levels import correlations, separability
from atlas.patterns.probing import linear_probe
from atlas.patterns.properties import binned, rank_correlation, relations, wilson
from atlas.patterns.selectivity import apart, groups_apart, picture_features, preferred_angle

RNG = np.random.default_rng


def noisy(seed: int = 0, edge: int = 48) -> np.ndarray:
    return RNG(seed).integers(30, 200, (3, edge, edge)).astype(np.uint8)


# -- properties ------------------------------------------------------------------------------------------------------------


def test_a_plain_grey_image_has_its_brightness_and_nothing_else():
    found = measure(Image.new("L", (40, 20), 51))
    assert found["brightness"] == pytest.approx(0.2) and np.isnan(found["hue"])
    assert [found[name] for name in ("contrast", "saturation", "sharpness", "edge_density")] == [0, 0, 0, 0]
    assert found["size"] == pytest.approx(np.sqrt(800)) and list(found) == list(PROPERTIES)


@pytest.mark.parametrize(("colour", "hue"), [((200, 0, 0), 0), ((0, 200, 0), 120), ((0, 0, 200), 240), ((200, 200, 0), 60)])
def test_the_hue_of_a_pure_colour_is_its_angle(colour, hue):
    found = measure(Image.new("RGB", (8, 8), colour))
    assert apart(np.array(found["hue"]), np.array(hue), 360) < 1e-6 and found["saturation"] == 1


def test_a_blurred_image_is_less_sharp_and_has_fewer_edges_and_the_same_brightness():
    board = (np.indices((64, 64)).sum(0) // 8 % 2 * 255).astype(np.uint8)
    soft = np.asarray(Image.fromarray(board).resize((8, 8), Image.Resampling.BOX).resize((64, 64), Image.Resampling.BICUBIC))
    sharp, blurred = measure(board), measure(np.roll(soft, 4, 0))
    assert sharp["sharpness"] > 2 * blurred["sharpness"]
    assert sharp["brightness"] == pytest.approx(0.5, abs=0.01)


def test_a_large_image_is_measured_as_its_smaller_self_but_for_its_size():
    small = RNG(1).integers(0, 255, (128, 256, 3)).astype(np.uint8)
    large = small.repeat(2, 0).repeat(2, 1)
    one, other = measure(small), measure(large)
    assert other.pop("size") == pytest.approx(2 * one.pop("size"))
    assert other == pytest.approx(one, rel=0.02, nan_ok=True)


def test_an_image_that_does_not_decode_has_missing_properties():
    found = table([measure(np.zeros((4, 4), np.uint8)), None])
    assert found.iloc[1].isna().all() and found.iloc[0]["brightness"] == 0


# -- sweeps ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "sharpness"])
def test_a_sweep_raises_what_it_is_named_after(name):
    own = (RNG(2).random((3, 48, 48)) * 60 + np.array([90, 70, 60])[:, None, None]).astype(np.uint8)
    steps = ladder(own, SWEEPS[name])[1:]
    values = [measure(np.moveaxis(step, 0, -1))[name] for step in steps]
    unclipped = [value for value, strength in zip(values, SWEEPS[name].strengths, strict=True) if strength <= 2]
    assert np.all(np.diff(unclipped) > 0)


def test_turning_the_hue_turns_the_measured_hue_and_leaves_the_luma():
    own = np.broadcast_to(np.array([130, 100, 90], np.uint8)[:, None, None], (3, 16, 16)).copy()
    before = measure(np.moveaxis(own, 0, -1))
    for strength, step in zip(SWEEPS["hue"].strengths, ladder(own, SWEEPS["hue"])[1:], strict=True):
        after = measure(np.moveaxis(step, 0, -1))
        assert apart(np.array(after["hue"]), np.array(before["hue"] + strength), 360) < 2  # values are rounded to 8 bits
        assert after["brightness"] == pytest.approx(before["brightness"], abs=0.005)


def test_no_saturation_is_grey_and_a_grey_image_knows_no_hue():
    grey = ladder(noisy(), SWEEPS["saturation"])[1]
    assert np.ptp(grey.astype(int), axis=0).max() <= 1
    alone = noisy()[:1]
    np.testing.assert_array_equal(ladder(alone, SWEEPS["hue"])[3], alone)


# -- stimuli and tuning ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", [0, 22.5, 45, 90, 135])
def test_the_stripes_of_a_grating_lie_as_it_is_asked(orientation):
    picture = np.moveaxis(stimuli.grating((3, 96, 96), orientation, 8, 0), 0, -1)
    found = picture_features(picture[None]).iloc[0]
    assert apart(found["orientation"], orientation, 180) < 2 and found["coherence"] > 0.9


def test_a_horizontal_grating_is_constant_along_x_and_counts_its_cycles():
    picture = stimuli.grating((1, 64, 64), 0, 4, 0)[0].astype(int)
    assert np.ptp(picture, axis=1).max() == 0
    assert np.argmax(np.abs(np.fft.rfft(picture[:, 0] - picture.mean()))) == 4


def test_all_hues_have_the_luma_of_grey_and_their_own_angle():
    fields = stimuli.hues((3, 32, 32), stimuli.HUES)[::2]
    for field, hue in zip(fields, stimuli.HUES, strict=True):
        found = measure(np.moveaxis(field, 0, -1))
        assert found["brightness"] == pytest.approx(0.5, abs=0.004) and apart(np.array(found["hue"]), np.array(hue), 360) < 1
    with pytest.raises(AtlasError, match="grey images has no hues"):
        stimuli.hues((1, 32, 32), [0.0])
    assert stimuli.frequencies(224) == (2, 4, 8, 16, 32) and stimuli.frequencies(28) == (2, 4)
    with pytest.raises(AtlasError, match="too small for gratings"):
        stimuli.frequencies(6)


def test_the_preferred_angle_of_one_answer_is_its_own_and_of_equal_answers_is_none():
    angles = np.array(stimuli.ORIENTATIONS)
    answers = np.stack([np.eye(8)[3], np.ones(8), np.zeros(8)], axis=1)
    angle, index = preferred_angle(answers, angles, 180)
    assert angle[0] == pytest.approx(angles[3]) and index[0] == pytest.approx(1) and index[1] == pytest.approx(0, abs=1e-12)
    assert np.isnan(angle[2]) and np.isnan(index[2])
    across = preferred_angle(np.array([[1.0], [1.0]]), np.array([350.0, 10.0]), 360)  # the mean of both is 0 and not 180
    assert apart(across[0], 0, 360)[0] < 1e-6


def test_the_area_under_the_curve_is_the_share_of_pairs():
    first, second = RNG(3).normal(1, 1, (20, 4)), RNG(4).normal(0, 1, (15, 4))
    first[:, 3], second[:, 3] = 0, 0
    auc, effect = groups_apart(first, second)
    for unit in range(4):
        a, b = first[:, unit, None], second[None, :, unit]
        assert auc[unit] == pytest.approx(((a > b) + 0.5 * (a == b)).mean())
    assert auc[3] == 0.5 and np.isnan(effect[3]) and (effect[:3] > 0).all()


# -- levels ----------------------------------------------------------------------------------------------------------------


def test_a_level_that_is_the_picture_correlates_fully_whatever_its_sign_and_scale():
    pictures = RNG(5).random((3, 8, 8))
    levels = np.stack([2 * pictures[0] + 1, -pictures[1], np.ones((8, 8)), pictures[2]])
    levels[3, 0, 0] = np.nan
    found = correlations(levels, pictures)
    assert found[0, 0] == pytest.approx(1) and found[1, 1] == pytest.approx(-1) and found[3, 2] == pytest.approx(1)
    assert np.isnan(found[2]).all() and abs(found[0, 1]) < 0.5


def test_the_silhouette_is_rousseeuws_by_cosine():
    angles, codes = np.radians([0, 10, 30, 90, 100]), np.array([0, 0, 0, 1, 1])
    apart = 1 - np.cos(angles[:, None] - angles)
    each = []
    for one, code in enumerate(codes):
        own = apart[one, (codes == code) & (np.arange(5) != one)].mean()
        other = apart[one, codes != code].mean()
        each.append((other - own) / max(own, other))
    vectors = 3 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert separability(vectors, codes)["silhouette"] == pytest.approx(np.mean(each), abs=1e-9)


def test_classes_that_lie_apart_are_told_apart_and_shuffled_ones_are_not():
    codes = np.repeat([0, 1, 2], 12)
    vectors = np.eye(3)[codes] * 5 + RNG(7).normal(size=(36, 3)) * 0.3
    found, mixed = separability(vectors, codes), separability(vectors, RNG(8).permutation(codes))
    assert found["neighbours"] == 1 and found["silhouette"] > 0.8 and found["f_ratio"] > 10
    assert mixed["neighbours"] < 0.7 and mixed["silhouette"] < 0.2
    with pytest.raises(AtlasError, match="two classes or more"):
        separability(vectors[:13], codes[:13])


# -- what goes along with what ---------------------------------------------------------------------------------------------


def test_a_relation_that_is_only_between_classes_vanishes_within_them():
    codes = np.repeat([0, 1], 200)
    values, confidence = codes + RNG(9).random(400), 0.5 * codes + 0.3 * RNG(10).random(400)
    found = relations({"x": values}, confidence, (confidence > 0.4).astype(int), codes).iloc[0]
    assert found["confidence"] > 0.6 and abs(found["confidence_within"]) < 3 * found["p95"] / 1.96
    assert np.isnan(rank_correlation(values[:5], confidence[:5]))


def test_bins_hold_equally_many_images_and_their_shares():
    values = np.arange(100.0)
    values[:5] = np.nan
    right = (np.arange(100) >= 50).astype(int)
    found = binned(values, np.linspace(0, 1, 100), right, bins=5)
    assert found["images"].tolist() == [19] * 5 and found["accuracy"].iloc[0] == 0 and found["accuracy"].iloc[-1] == 1
    assert (found["accuracy_low"] <= found["accuracy"]).all() and (found["accuracy_high"] >= found["accuracy"]).all()


def test_wilsons_interval_is_that_of_his_formula():
    low, high = wilson(8, 10)
    assert (low, high) == pytest.approx((0.4901, 0.9433), abs=1e-3)  # Agresti and Coull 1998 give 0.49 to 0.94
    assert all(map(np.isnan, wilson(0, 0)))


def test_a_probe_reads_out_what_is_linear_and_nothing_from_noise():
    codes = np.arange(120) % 3
    vectors = np.eye(3)[codes] + RNG(11).normal(size=(120, 3)) * 0.2
    assert linear_probe(vectors[:60], codes[:60], vectors[60:], codes[60:]).accuracy > 0.95
    noise = RNG(12).normal(size=(120, 3))
    found = linear_probe(noise[:60], codes[:60], noise[60:], codes[60:])
    assert found.accuracy < 0.6 and found.low <= found.accuracy <= found.high and found.chance == pytest.approx(1 / 3)
    with pytest.raises(AtlasError, match="two classes or more"):
        linear_probe(noise[:60], codes[:60] * 0, noise[60:], codes[60:])


# -- volumes ---------------------------------------------------------------------------------------------------------------


def test_a_kept_volume_says_what_its_codes_stand_for():
    maps = {"a": RNG(13).normal(size=(5, 6, 6)).astype(np.float32)}
    maps["a"][0, 0, 0] = np.nan
    volume = make_volume(maps, channels=5, size=(6, 6), cam=("a", maps["a"][1]))
    kept = pack([7], [volume], (6, 6))
    assert kept.cam and kept.channel[0, -1] == CAM and (kept.values == MISSING).sum() == 1
    low, high = kept.low[0][:, None, None], kept.high[0][:, None, None]
    back = low + kept.values[0] / STEPS * (high - low)
    original = np.stack([maps["a"][channel] for channel in kept.channel[0][:-1]])
    there = kept.values[0][:-1] != MISSING
    np.testing.assert_allclose(back[:-1][there], original[there], atol=float((high - low).max()) / STEPS)


def test_what_is_dense_in_front_hides_what_is_behind():
    red, blue = np.zeros((2, 1, 1, 3)), np.array([1.0, 1.0, 1.0])
    red[0, ..., 0] = red[1, ..., 1] = 1
    shown = composite(red, np.array([[[1.0]], [[0.25]]]), blue)
    np.testing.assert_allclose(shown[0, 0], [0.75, 0.25, 0])


def test_a_stack_is_as_long_as_asked_and_shows_an_active_sheet_where_it_stands():
    found = runs(["a", "a", "b", "cam"], True)
    assert [(run.layer, run.start, run.stop) for run in found] == [("a", 0, 2), ("b", 2, 3), ("class activation map", 3, 4)]
    places = spaced(found, 300)
    assert places[0] == 0 and places[-1] == 300 and np.argmax(np.diff(places)) in (1, 2)
    values = np.zeros((4, 8, 8))
    values[2] = 1
    light = oblique(values, places, edge=60).sum(2).sum(0)
    assert places[2] <= np.argmax(light) <= places[2] + 60
    with pytest.raises(AtlasError, match="give"):
        oblique(values, places[:2])
