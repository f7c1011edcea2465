"""One image's pattern against its class's, and what breaks first as it is disturbed: by brute force and by identities."""

from __future__ import annotations

import json
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
from PIL import Image

from atlas.activations.assemble import probabilities
from atlas.breaking import Ranges, inside
from atlas.breaking_points import breaking_points, sample, standing
from atlas.data.disturbing import DISTURBANCES, find_kinds, ladder
from atlas.errors import AtlasError
from atlas.pages import figures
from atlas.pages.figures_courses import farthest_units, survivors, told_first
from atlas.patterns.classes import ClassPatterns
from atlas.patterns.courses import ORDERS, START, Course, order, summary
from atlas.patterns.deviation import FLOOR, LEVEL, class_range, first_beyond, within_classes
from tests import one_image as worlds
from tests.command import clear_refusal, run, success

KINDS = list(DISTURBANCES)


def patterns_of(vectors: np.ndarray, labels: np.ndarray) -> ClassPatterns:
    """The patterns of classes 0 … by brute force."""
    names = [f"class {label}" for label in range(labels.max() + 1)]
    groups = [vectors[labels == label] for label in range(len(names))]
    mean, std = np.stack([g.mean(0) for g in groups]), np.stack([g.std(0) for g in groups])
    return ClassPatterns("layer", "mean", names, mean, std, np.array([len(g) for g in groups]), "all")


class ADistance(unittest.TestCase):
    """How far a vector lies out of a class."""

    def setUp(self) -> None:
        rng = np.random.default_rng(0)
        self.labels = np.repeat([0, 1], [150, 90])
        self.vectors = rng.normal(size=(240, 6)) * (1, 2, 3, 1, 0.5, 0) + self.labels[:, None]
        self.vectors[:150, 4] = 0.25  # a unit that never varies in class 0, and does in class 1
        self.vectors[:, 5] = 7.0  # one that never varies at all
        self.patterns = patterns_of(self.vectors, self.labels)
        self.ranges = [
            class_range(self.patterns, k, np.flatnonzero(self.labels == k), self.vectors[self.labels == k]) for k in (0, 1)
        ]

    def test_the_mean_square_over_a_classs_own_images_is_one_for_every_unit_that_varies_enough(self):
        for label, found in enumerate(self.ranges):
            squares = (found.deviations(self.vectors[self.labels == label]) ** 2).mean(0)
            enough = self.patterns.std[label] > FLOOR * within_classes(self.patterns)
            np.testing.assert_allclose(squares[enough], 1)

    def test_it_is_the_root_mean_square_of_the_deviations_of_brute_force(self):
        found = self.ranges[1]
        one = self.vectors[3]
        brute = [(one[u] - self.patterns.mean[1, u]) / self.patterns.std[1, u] for u in range(5)]
        self.assertAlmostEqual(float(found.distance(one[None])[0]), float(np.sqrt(np.mean(np.square(brute)))))

    def test_a_unit_that_never_varies_in_the_class_counts_by_a_share_of_its_spread_and_one_that_never_varies_not_at_all(
        self,
    ):
        found, spread = self.ranges[0], within_classes(self.patterns)
        self.assertEqual(found.live.tolist(), [True] * 5 + [False])
        other = self.vectors[0].copy()
        other[4] += 1
        self.assertAlmostEqual(float(found.deviations(other[None])[0, 4]), 1 / (FLOOR * spread[4]))
        other[5] += 100
        self.assertTrue(np.isnan(found.deviations(other[None])[0, 5]))
        self.assertTrue(np.isfinite(found.distance(other[None])[0]))

    def test_as_many_of_its_own_images_lie_within_the_limit_as_it_says(self):
        for found in self.ranges:
            within = (found.distances <= found.limit()).mean()
            self.assertGreaterEqual(within, LEVEL - 1 / len(found.distances))
            self.assertLess(within, 1)

    def test_an_image_is_ranked_among_the_others_and_not_against_itself(self):
        found = self.ranges[0]
        order_ = np.argsort(found.distances)
        for place in (0, 40, 149):
            image = int(found.images[order_[place]])
            self.assertEqual(found.without(image).nearer(float(found.distances[order_[place]])), (place, 149))
        self.assertEqual(found.nearer(np.inf), (150, 150))

    def test_each_own_images_distance_is_from_the_pattern_of_all_the_others(self):
        for label, found in enumerate(self.ranges):
            for image in found.images[:: 31 + label].tolist():
                rest = np.arange(len(self.labels)) != image
                others = patterns_of(self.vectors[rest], self.labels[rest])
                alone = found.without(image)
                np.testing.assert_allclose(alone.mean, others.mean[label], atol=1e-9)
                np.testing.assert_allclose(alone.std, others.std[label], atol=1e-6)
                brute = float(alone.distance(self.vectors[[image]])[0])
                at = int(np.flatnonzero(found.images == image)[0])
                self.assertAlmostEqual(float(found.distances[at]), brute, places=6)
                self.assertGreater(brute, float(found.distance(self.vectors[[image]])[0]))
            self.assertIs(found.without(10**6), found)

    def test_the_first_step_beyond_is_the_first_and_what_is_not_finite_is_beyond(self):
        self.assertEqual(first_beyond(np.array([1, 3, 2, 4]), 2), 1)
        self.assertIsNone(first_beyond(np.array([1, 2]), 2))
        self.assertEqual(first_beyond(np.array([1, np.nan, 9]), 2), 1)


class ADisturbance(unittest.TestCase):
    """What is done to an image."""

    def setUp(self) -> None:
        rng = np.random.default_rng(1)
        self.pixels = rng.integers(0, 256, (3, 24, 24), np.uint8)

    def test_the_first_step_is_the_image_itself_and_the_rest_are_as_many_as_the_strengths(self):
        for kind in DISTURBANCES.values():
            steps = ladder(self.pixels, kind)
            np.testing.assert_array_equal(steps[0], self.pixels)
            self.assertEqual(steps.shape, (1 + len(kind.strengths), 3, 24, 24))
            self.assertEqual(sorted(kind.strengths), list(kind.strengths))

    def test_noise_is_one_draw_of_the_seed_and_the_image_made_stronger(self):
        grey = np.full((1, 64, 64), 128, np.uint8)
        noise = DISTURBANCES["noise"]
        steps = ladder(grey, noise, seed=3).astype(float)
        for strength, step in list(zip(noise.strengths, steps[1:], strict=True))[:5]:  # beyond, the ends cut it off
            self.assertAlmostEqual((step - 128).std() / 255, strength, delta=0.05 * strength + 0.002)
        self.assertGreater(np.corrcoef((steps[2] - 128).ravel(), (steps[5] - 128).ravel())[0, 1], 0.99)
        np.testing.assert_array_equal(ladder(grey, noise, seed=3), ladder(grey, noise, seed=3))
        self.assertFalse(np.array_equal(ladder(grey, noise, seed=3), ladder(grey, noise, seed=4)))

    def test_a_quarter_turn_is_numpys_and_a_shift_moves_whole_pixels_and_repeats_the_edge(self):
        turned = ladder(self.pixels, DISTURBANCES["rotation"])[-1]
        np.testing.assert_array_equal(turned, np.rot90(self.pixels, axes=(1, 2)))
        moved = ladder(self.pixels, DISTURBANCES["shift"])[-1]
        np.testing.assert_array_equal(moved[:, :, 12:], self.pixels[:, :, :12])
        np.testing.assert_array_equal(moved[:, :, :12], np.repeat(self.pixels[:, :, :1], 12, axis=2))

    def test_a_blur_takes_detail_away_and_leaves_the_channels_apart(self):
        spread = [step.std(axis=(1, 2)).mean() for step in ladder(self.pixels, DISTURBANCES["blur"]).astype(float)]
        self.assertEqual(sorted(spread, reverse=True), spread)
        one = np.zeros((3, 24, 24), np.uint8)
        one[0] = 200
        np.testing.assert_array_equal(ladder(one, DISTURBANCES["blur"])[-1], one)

    def test_an_unknown_one_is_refused(self):
        self.assertEqual([kind.name for kind in find_kinds([])], KINDS)
        with self.assertRaisesRegex(AtlasError, "no disturbance 'blurr': did you mean blur"):
            find_kinds(["blurr"])


class TheOrder(unittest.TestCase):
    """What came first."""

    def test_it_is_one_of_five(self):
        cases = {
            (None, None): "neither", (2, None): "pattern", (None, 3): "prediction", (2, 3): "pattern", (3, 2): "prediction",
            (2, 2): "together", (0, 4): START, (0, None): START,
        }  # fmt: skip
        for steps, first in cases.items():
            self.assertEqual(order(*steps), first)
        self.assertEqual(set(cases.values()), set(ORDERS))

    def test_a_course_tells_its_steps_and_the_words_of_the_figure_name_the_strengths(self):
        course = Course(
            "noise", "share", np.array([0, 0.1, 0.2, 0.3]), np.zeros((4, 1, 2, 2), np.uint8), np.array([1, 1, 1, 0]),
            np.array([0.9, 0.8, 0.4, 0.9]), np.array([1.0, 3, 1, 4]), 2.0, 0.5, np.zeros(4, bool), np.zeros(4, bool),
        )  # fmt: skip
        self.assertEqual((course.breaks, course.doubts, course.changes, course.first), (1, 2, 3, "pattern"))
        self.assertEqual(told_first(course), "pattern breaks at 0.1, prediction at 0.3")
        self.assertEqual(told_first(replace(course, limit=9.0)), "prediction changes at 0.3, pattern never")
        self.assertEqual(told_first(replace(course, limit=3.5)), "both break at 0.3")

    def test_the_summary_counts_every_image_once_and_takes_those_that_never_break_into_the_median(self):
        table = pd.DataFrame({
            "kind": ["noise"] * 4, "pattern": [0.1, 0.2, np.nan, np.nan], "prediction": [0.3, 0.1, 0.2, np.nan],
            "confidence": [0.1, 0.1, 0.1, 0.2], "first": ["pattern", "prediction", "prediction", "neither"],
            "caught": [True, False, False, None], "caught_unsure": [True, True, False, None],
        })  # fmt: skip
        (row,) = summary(table).to_dict("records")
        self.assertEqual(sum(row[name] for name in ORDERS), 1)
        self.assertEqual((row["images"], row["changed"], row["prediction"]), (4, 3, 0.5))
        self.assertTrue(np.isnan(row["pattern_at"]))
        self.assertAlmostEqual(row["prediction_at"], 0.25)
        self.assertAlmostEqual(row["caught"], 1 / 3)
        np.testing.assert_allclose(survivors(table, "pattern", [0, 0.1, 0.2]), [0, 0.25, 0.5])


class AnImageOfAnAtlas(unittest.TestCase):
    """The real pipeline over the tiny world."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.atlas = worlds.tiny_atlas()
        cls.found = inside(cls.atlas, 7, split="all")

    def test_its_distances_are_those_of_the_vectors_that_the_atlas_keeps(self):
        ranges = Ranges(self.atlas, split="all")
        said = self.atlas.predictions
        for side in (self.found.predicted, self.found.runner_up):
            label = ranges.label_of(side.output)
            own = np.flatnonzero((said.right == 1) & (self.atlas.image_record.codes == label))
            vectors = np.asarray(self.atlas.vectors("act")[own], np.float64)
            np.testing.assert_allclose(side.mean, vectors[own != 7].mean(0), rtol=2e-2, atol=1e-3)
            brute = ranges.for_image(label, 7).distance(np.asarray(self.atlas.vectors("act")[[7]]))
            self.assertAlmostEqual(side.distance, float(brute[0]), delta=1e-3 * side.distance)
            self.assertEqual(side.of, len(own) - (7 in own))
        chances = self.atlas.predict(7)
        self.assertEqual([self.found.predicted.label, self.found.runner_up.label], chances["prediction"][:2].tolist())
        self.assertLess(self.found.predicted.distance, self.found.runner_up.distance)

    def test_each_course_is_that_of_the_network_run_on_each_disturbed_image(self):
        network, ranges = self.atlas.network(), Ranges(self.atlas, split="all")
        pixels = network.preprocess.array(self.atlas.seeing.picture(7))
        for course in self.found.courses:
            steps = ladder(pixels, DISTURBANCES[course.kind])
            np.testing.assert_array_equal(course.pictures, steps)
            with torch.no_grad():
                taken: list[torch.Tensor] = []
                handle = network.module.act.register_forward_hook(lambda m, i, o, taken=taken: taken.append(o.clone()))
                logits = network.module.eval()(network.preprocess.tensor(torch.from_numpy(steps)))
                handle.remove()
            self.assertEqual(course.prediction.tolist(), logits.argmax(1).tolist())
            np.testing.assert_allclose(course.probability, probabilities(logits.numpy()).max(1), atol=1e-5)
            own = ranges.for_image(ranges.label_of(self.found.predicted.output), 7)
            np.testing.assert_allclose(course.distance, own.distance(taken[0].numpy()), rtol=1e-4, atol=1e-5)
            for step, output in enumerate(course.prediction.tolist()):
                there = ranges.for_image(ranges.label_of(output), 7)
                outside = there.distance(taken[0][step : step + 1].numpy())[0] > there.limit()
                self.assertEqual(bool(course.new[step]), bool(outside))

    def test_an_image_is_run_in_the_precision_in_which_the_others_were_recorded(self):
        rough = worlds.tiny_atlas("rough", "act", precision="bfloat16")
        kept = Ranges(rough, split="all")
        one = inside(rough, 7, split="all", kinds=["blur"])
        self.assertEqual((kept.precision, Ranges(self.atlas, split="all").precision), ("bfloat16", "float32"))
        self.assertEqual(one.predicted.output, self.found.predicted.output)
        brute = kept.for_image(kept.label_of(one.predicted.output), 7).distance(np.asarray(rough.vectors("act")[[7]]))
        self.assertAlmostEqual(one.predicted.distance, float(brute[0]), delta=0.05 * one.predicted.distance)

    def test_of_undisturbed_images_it_counts_those_outside_by_split_and_right(self):
        table = standing(self.atlas, split="all")
        self.assertEqual(table["images"].sum() + table.attrs["left_out"], len(self.atlas.image_record))
        right = table[table["right"]]
        own = [Ranges(self.atlas, split="all").of(label) for label in range(3)]
        brute = sum(int((found.distances > found.limit()).sum()) for found in own)
        self.assertAlmostEqual(float((right["outside"] * right["images"]).sum()), brute)

    def test_a_file_of_the_same_pixels_has_the_same_pattern_and_is_ranked_among_all(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "new.png"
            Image.fromarray(np.asarray(self.atlas.seeing.picture(7))).save(file, compress_level=0)
            new = inside(self.atlas, file, split="all", kinds=["blur"])
        self.assertEqual((new.row, new.label, new.name), (None, None, "new.png"))
        self.assertLess(new.predicted.distance, self.found.predicted.distance, "as a file it is among the class's images")
        self.assertEqual(new.predicted.of, self.found.predicted.of + 1)
        self.assertEqual([course.kind for course in new.courses], ["blur"])

    def test_a_sample_takes_each_classs_own_images_in_equal_shares_and_tells_of_each_what_inside_tells(self):
        table = breaking_points(self.atlas, 9, split="all")
        rows = table["image"].unique()
        labels = self.atlas.images()["label"].iloc[rows]
        self.assertEqual(labels.value_counts().tolist(), [3, 3, 3])
        self.assertTrue(self.atlas.images()["right"].iloc[rows].all())
        self.assertEqual(len(table), 9 * len(KINDS))
        row = int(rows[4])
        one = inside(self.atlas, row, split="all")
        for course, told in zip(one.courses, table[table["image"] == row].to_dict("records"), strict=True):
            self.assertEqual((told["kind"], told["first"]), (course.kind, course.first))
            for event, step in (("pattern", course.breaks), ("prediction", course.changes), ("confidence", course.doubts)):
                np.testing.assert_equal(told[event], np.nan if step is None else course.strength[step])
            self.assertEqual(told["caught"], None if course.changes is None else bool(course.new[course.changes]))
        pd.testing.assert_frame_equal(table, breaking_points(self.atlas, 9, split="all"))
        np.testing.assert_allclose(summary(table)[list(ORDERS)].sum(axis=1), 1)

    def test_what_each_atlas_says_is_drawn_unit_by_unit(self):
        units = farthest_units([self.found.predicted, self.found.runner_up], 4)
        deviations = np.abs(np.nan_to_num(self.found.predicted.deviations))
        self.assertIn(int(deviations.argmax()), units.tolist())
        tables = [breaking_points(self.atlas, 6, layer, split="all") for layer in ("act", "logits")]
        strengths = {name: kind.strengths for name, kind in DISTURBANCES.items()}
        drawn = figures.breaking_figure(tables, strengths, title="t", note="n")
        self.assertEqual(len(drawn.axes), 2 * len(KINDS))
        self.assertEqual(len(figures.first_figure(tables, title="t", note="n").axes[0].get_yticklabels()), 2 * len(KINDS))


class TheCommand(unittest.TestCase):
    """`atlas activations` of an atlas."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.atlas = worlds.tiny_atlas()
        cls.root = cls.atlas.store.root

    def test_it_tells_the_distance_the_rank_the_units_and_what_breaks_first_and_draws_it(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "pattern.png"
            said = success(run("activations", self.root, 7, "--split", "all", "-o", out)).out
            with Image.open(out) as drawn:
                self.assertGreater(drawn.width, 1800)
        for words in ("predicted ", "runner-up ", "the limit of", "farther out than", "deviation of", "noise", "shift"):
            self.assertIn(words, said)
        told = json.loads(success(run("activations", self.root, 7, "--split", "all", "--disturb", "noise", "--json")).out)
        found = inside(self.atlas, 7, split="all", kinds=["noise"])
        self.assertAlmostEqual(told["predicted"]["distance"], found.predicted.distance)
        self.assertEqual(len(told["predicted"]["deviations"]), 12)
        self.assertEqual([step["prediction"] for step in told["courses"][0]["steps"]],
                         [found.outputs[output] for output in found.courses[0].prediction])  # fmt: skip

    def test_what_cannot_be_compared_is_refused_in_one_line(self):
        cases = [
            (["--disturb", "noyse"], "no disturbance 'noyse': did you mean noise"),
            (["--split", "test"], "no split 'test'"),
            (["-l", "ackt"], "did you mean act"),
            (["-o", "a.gif"], "would do"),
        ]
        for options, words in cases:
            with self.subTest(words=words):
                clear_refusal(run("activations", self.root, 3, *options), words)

    def test_classes_of_too_few_images_and_predictions_that_are_no_class_are_refused(self):
        with (
            mock.patch("atlas.breaking.FEWEST", 1000),
            self.assertRaisesRegex(
                AtlasError, "images whose pattern counts, and its range needs 1000: take another split, such as all"
            ),
        ):
            inside(self.atlas, 3)
        with (
            mock.patch.object(Ranges, "label_of", return_value=-1),
            self.assertRaisesRegex(
                AtlasError, "is no class of this atlas, so that there is no pattern to compare with: give a class map"
            ),
        ):
            inside(self.atlas, 3)

    def test_a_layer_of_several_places_a_network_of_features_and_a_sample_of_none_are_refused(self):
        places = worlds.tiny_atlas("places", "pool=positions:4", "act")
        with self.assertRaisesRegex(
            AtlasError, "keeps 4 places of each image, and a pattern is one vector per image: choose"
        ):
            inside(places, 3, "pool")
        with (
            mock.patch.dict(vars(self.atlas), {"predictions": None}),
            self.assertRaisesRegex(
                AtlasError, "this network yields features only, so an image has no predicted class: take a classifier"
            ),
        ):
            inside(self.atlas, 3)
        with self.assertRaisesRegex(AtlasError, "0 images: at least 1 would do"):
            breaking_points(self.atlas, 0)
        ranges = Ranges(self.atlas)
        with (
            mock.patch.object(Ranges, "images", return_value=np.empty(0, int)),
            self.assertRaisesRegex(AtlasError, "no image is correctly classified"),
        ):
            sample(ranges, 5, 0)


if __name__ == "__main__":
    unittest.main()
