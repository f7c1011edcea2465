"""One image inside any network: its maps against a plain hook, the sheet of them, and that neither knows of the other."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
import tempfile
import typing
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from atlas.activations import one_image, spatial
from atlas.activations.one_image import ImageMaps, image_maps
from atlas.errors import AtlasError
from atlas.inside import activation_maps, maps_of_atlas, write_maps
from atlas.models.network import load_network
from atlas.models.preprocess import Preprocess
from atlas.pages import figures, figures_maps
from tests import one_image as worlds
from tests import tiny
from tests.command import clear_refusal, run, success

ROOT = Path(__file__).parents[1]


def picture(tall: int, wide: int, seed: int = 0) -> Image.Image:
    """A colour picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (tall, wide, 3), np.uint8)
    return Image.fromarray(pixels)


def hooked(module: nn.Module, layer: str, batch: torch.Tensor) -> np.ndarray:
    """A layer's output for the first of a batch, as a plain hook has it."""
    found: list[torch.Tensor] = []
    handle = module.get_submodule(layer).register_forward_hook(lambda m, i, o: found.append(o.detach().clone()))
    with torch.no_grad():
        module.eval()(batch)
    handle.remove()
    return found[0][0].numpy()


class Flat(nn.Module):
    """A network that takes one size only: its linear layer reads every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 64, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.out(self.conv(images).flatten(1))


class Named(nn.Module):
    """A network whose input has a plain name, as torch.export needs it, and maps of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.out = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.relu(self.conv(x)).mean((2, 3)))


class TheMaps(unittest.TestCase):
    """What computes them."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.network = load_network(tiny.MODEL, weights=worlds.world() / "weights.safetensors")

    def batch(self, image: Image.Image, preprocess: Preprocess) -> torch.Tensor:
        return preprocess.tensor(torch.from_numpy(preprocess.array(image))[None].repeat(2, 1, 1, 1))

    def test_they_are_those_of_a_plain_hook_at_the_networks_size_and_at_any_other(self):
        for size in ((20, 20), (31, 47), (8, 90)):
            image = picture(*size)
            for layer in ("conv1", "pool", "conv2", "fc1", "act", "logits"):
                for own in (False, True):
                    with self.subTest(size=size, layer=layer, own=own):
                        chosen = self.network.preprocess.at_own_size() if own else self.network.preprocess
                        brute = hooked(self.network.module, layer, self.batch(image, chosen))
                        found = image_maps(self.network, image, layer, own_size=own)
                        np.testing.assert_allclose(found.maps, brute.reshape(found.maps.shape), atol=1e-5)
                        self.assertEqual(found.input_size, size if own else (20, 20))

    def test_a_layer_is_named_by_its_number_in_atlas_layers_or_by_its_name(self):
        second, conv1 = image_maps(self.network, picture(20, 20), 2), image_maps(self.network, picture(20, 20), "2")
        named = image_maps(self.network, picture(20, 20), second.layer)
        self.assertEqual((second.number, named.number), (2, 2))
        for other in (named, conv1):
            np.testing.assert_array_equal(second.maps, other.maps)
        listed = json.loads(success(run("layers", tiny.MODEL, "--json")).out)
        self.assertEqual(second.layer, listed[1]["name"])

    def test_it_says_whether_the_image_was_resized_or_run_at_its_own_size(self):
        cases = {
            ((20, 20), False): (True, "run at its own size, 20×20 px, which is the network's"),
            ((31, 47), False): (
                False,
                "resized from 31×47 px to 20×20 px (resized to cover 20×20 px (bilinear), centre 20×20 px)",
            ),
            ((31, 47), True): (True, "run at its own size, 31×47 px; the network's is 20×20 px"),
        }
        for (size, own), (owned, words) in cases.items():
            with self.subTest(size=size, own=own):
                found = image_maps(self.network, picture(*size), "conv1", own_size=own)
                self.assertEqual((found.own_size, found.sizing, found.image_size), (owned, words, size))

    def test_a_network_that_takes_one_size_only_refuses_another_and_says_what_would_do(self):
        network = load_network(Flat(), preprocess=Preprocess(height=8, width=8))
        self.assertEqual(image_maps(network, picture(30, 30), "conv").maps.shape, (4, 8, 8))
        with self.assertRaisesRegex(AtlasError, "leave out own size, and it is resized to what the network takes"):
            image_maps(network, picture(30, 30), "conv", own_size=True)
        self.assertFalse(any(module._forward_hooks for module in network.module.modules()))

    def test_no_hook_is_left_behind_and_the_weights_and_modes_are_as_before(self):
        before = {name: value.clone() for name, value in self.network.module.state_dict().items()}
        self.network.module.train()
        image_maps(self.network, picture(25, 25), "relu", own_size=True)
        self.assertTrue(self.network.module.training)
        self.assertFalse(any(module._forward_hooks for module in self.network.module.modules()))
        for name, value in self.network.module.state_dict().items():
            self.assertTrue(torch.equal(value, before[name]))

    def test_an_exported_program_and_a_file_of_weights_give_the_maps_of_the_network_they_are_of(self):
        torch.manual_seed(0)
        module, image = Named().eval(), picture(12, 12)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "net.pt2"
            dynamic = ({0: torch.export.Dim("batch")},)
            torch.export.save(torch.export.export(module, (torch.zeros(2, 3, 12, 12),), dynamic_shapes=dynamic), file)
            found = activation_maps(str(file), image, "conv")
        np.testing.assert_allclose(found.maps, activation_maps(module, image, "conv", input_size=12).maps, atol=1e-6)
        weights = worlds.world() / "weights.safetensors"
        trained, untrained = (activation_maps(tiny.MODEL, image, "conv2", weights=file) for file in (weights, None))
        np.testing.assert_array_equal(trained.maps, image_maps(self.network, image, "conv2").maps)
        self.assertFalse(np.allclose(trained.maps, untrained.maps))

    def test_an_image_may_be_a_file_a_pillow_image_or_an_array_and_nothing_else(self):
        image = picture(20, 20)
        with tempfile.TemporaryDirectory() as folder:
            image.save(Path(folder) / "a.png")
            of_file = activation_maps(tiny.MODEL, Path(folder) / "a.png", "conv1").maps
        for other in (image, np.asarray(image)):
            np.testing.assert_array_equal(of_file, activation_maps(tiny.MODEL, other, "conv1").maps)
        for wrong in (np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros(9, np.uint8)):
            with self.assertRaisesRegex(AtlasError, r"give uint8 \[y, x\] or \[y, x, rgb\], a Pillow image or a file"):
                activation_maps(tiny.MODEL, wrong, "conv1")

    def test_an_image_of_an_atlas_goes_through_its_network(self):
        opened = worlds.tiny_atlas()
        found = maps_of_atlas(opened, 7, "conv2")
        np.testing.assert_allclose(found.maps, image_maps(self.network, opened.seeing.picture(7), "conv2").maps, atol=1e-6)
        np.testing.assert_allclose(
            maps_of_atlas(opened, 7).maps[:, 0, 0], np.asarray(opened.vectors("act")[7], np.float32), atol=0.02, rtol=0.02
        )


class TheFiles(unittest.TestCase):
    """What is written and told of them."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.found = activation_maps(tiny.MODEL, picture(20, 30), "conv2", own_size=True)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)

    def written(self, **files: str) -> dict[str, typing.Any]:
        return write_maps(lambda: self.found, name="a.png", **{key: self.folder / file for key, file in files.items()})

    def test_the_arrays_come_back_as_they_were(self):
        self.written(arrays="maps.npz")
        self.written(arrays="maps.npy")
        np.testing.assert_array_equal(np.load(self.folder / "maps.npy"), self.found.maps)
        with np.load(self.folder / "maps.npz") as held:
            np.testing.assert_array_equal(held["maps"], self.found.maps)
            np.testing.assert_array_equal(held["input"], self.found.input)
            self.assertEqual((str(held["layer"]), str(held["sizing"])), ("conv2", self.found.sizing))

    def test_each_unit_is_told_with_its_ends_its_mean_and_where_it_is_highest(self):
        told = self.written()["units"]
        for unit, values in enumerate(self.found.maps):
            y, x = told[unit]["peak"]
            self.assertEqual(values[y, x], values.max())
            self.assertAlmostEqual(told[unit]["mean"], float(values.mean(dtype=np.float64)), places=4)
            self.assertAlmostEqual(told[unit]["low"], float(values.min()), places=4)

    def test_values_that_are_not_finite_and_silent_units_are_counted_and_none_is_made_up(self):
        maps = self.found.maps.copy()
        maps[0], maps[1, 0, 0], maps[2] = np.nan, np.inf, 0
        other = ImageMaps(**{**vars(self.found), "maps": maps})
        told = write_maps(lambda: other, name="a.png", out=self.folder / "odd.png")
        self.assertEqual(told["nonfinite"], maps[0].size + 1)
        self.assertEqual(told["silent"], 1)
        self.assertEqual(told["units"][0], {"unit": 0, "low": None, "high": None, "mean": None, "peak": None})

    def test_a_file_that_cannot_be_written_is_refused_before_the_network_runs(self):
        for files in ({"out": "a.gif"}, {"out": "no/a.png"}, {"arrays": "a.png"}, {"arrays": "no/a.npz"}):
            make = mock.Mock()
            with self.subTest(files), self.assertRaises(AtlasError):
                write_maps(make, name="", **{key: self.folder / file for key, file in files.items()})
            make.assert_not_called()


class TheSheet(unittest.TestCase):
    """What draws them: arrays in, a figure out."""

    def test_one_value_has_one_colour_on_every_map(self):
        maps = np.zeros((5, 2, 3), np.float32)
        maps[1:, 0, 0] = (1, 2, 2, -2)
        grid = figures_maps.layout(5, (2, 3))
        drawn = figures_maps.mosaic(maps, grid, cmap="RdBu_r", low=-2, high=2)
        at = [tuple(drawn[grid.corner(number)].tolist()) for number in range(5)]
        self.assertEqual(at[2], at[3])
        self.assertEqual(len(set(at)), 4)
        y, x = grid.corner(4)
        self.assertEqual(tuple(drawn[y + grid.tile[0] - 1, x + grid.tile[1] - 1].tolist()), at[0])

    def test_the_scale_is_symmetric_where_there_are_both_signs_and_starts_at_zero_where_not(self):
        rng = np.random.default_rng(0)
        signed = rng.normal(size=(4, 9, 9)).astype(np.float32)
        self.assertEqual(figures_maps._scale(signed)[0], "mean")
        self.assertEqual(figures_maps._scale(signed)[1], -figures_maps._scale(signed)[2])
        self.assertEqual(figures_maps._scale(np.abs(signed))[:2], ("std", 0.0))

    def test_each_unit_stands_under_its_number_and_no_tile_over_another(self):
        for count, size in ((1, (1, 1)), (7, (5, 9)), (33, (28, 28)), (300, (1, 1)), (64, (400, 90))):
            with self.subTest(count=count, size=size):
                grid = figures_maps.layout(count, size)
                corners = [grid.corner(number) for number in range(count)]
                self.assertEqual(len(set(corners)), count)
                self.assertGreaterEqual(grid.step[0], grid.tile[0])
                self.assertGreaterEqual(grid.step[1], grid.tile[1])
                figure = figures.maps_sheet(np.zeros((count, *size)), title="t", units=range(100, 100 + count))
                texts = {text.get_text() for axes in figure.axes for text in axes.texts}
                self.assertLessEqual({str(100 + number) for number in range(count)}, texts)

    def test_a_value_that_is_not_finite_is_grey_and_a_large_map_is_averaged(self):
        maps = np.full((1, 1, 1), np.nan, np.float32)
        drawn = figures_maps.mosaic(maps, figures_maps.layout(1, (1, 1)), cmap="magma", low=0, high=1)
        np.testing.assert_allclose(drawn[0, 0], figures_maps.EMPTY, atol=1e-6)
        checks = np.indices((900, 900)).sum(0) % 2
        small = figures_maps.resized(checks.astype(np.float32), (90, 90))
        np.testing.assert_allclose(small, 0.5, atol=0.01)

    def test_what_is_no_stack_of_maps_is_refused(self):
        with self.assertRaisesRegex(AtlasError, r"give \[unit, y, x\], at least one unit and one place"):
            figures.maps_sheet(np.zeros((3, 4)), title="")
        with self.assertRaisesRegex(AtlasError, "3 activation maps and 2 numbers of units: give one number for each map"):
            figures.maps_sheet(np.zeros((3, 4, 4)), title="", units=[1, 2])


def modules_of(module: typing.Any) -> set[str]:
    """The modules that a file imports, in functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(Path(module.__file__).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nimport json; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(json.loads(answer.stdout.splitlines()[-1]))


class TheBridge(unittest.TestCase):
    """What draws the maps knows no network, and what computes them no picture of them."""

    def test_what_draws_imports_no_network_and_nothing_that_runs_one(self):
        self.assertFalse(
            [m for m in modules_of(figures_maps) if m.startswith(("torch", "atlas.models", "atlas.activations"))]
        )
        loaded = loaded_by("import atlas.pages.figures_maps")
        self.assertFalse(
            [m for m in loaded if m.split(".")[0] == "torch" or m.startswith(("atlas.models", "atlas.activations"))]
        )

    def test_what_computes_imports_nothing_that_draws(self):
        drawing = re.compile(r"(matplotlib|atlas\.pages)(\.|$)")
        for module in (one_image, spatial):
            self.assertFalse(list(filter(drawing.match, modules_of(module))))
        self.assertFalse(list(filter(drawing.match, loaded_by("import atlas.activations.one_image"))))

    def test_only_arrays_and_words_cross_between_them(self):
        takes = typing.get_type_hints(inspect.unwrap(figures_maps.maps_sheet))
        self.assertIs(takes.pop("return"), Figure)
        self.assertLessEqual(set(map(str, takes.values())), {
            "<class 'numpy.ndarray'>", "<class 'str'>", "numpy.ndarray | None", "collections.abc.Sequence[str]",
            "collections.abc.Sequence[int] | numpy.ndarray | None",
        })  # fmt: skip
        gives = typing.get_type_hints(ImageMaps)
        self.assertLessEqual(set(gives.values()), {str, int, bool, np.ndarray, tuple[int, int]})

    def test_either_side_can_be_another(self):
        """Maps from elsewhere are drawn, and a network's maps are had where nothing can draw."""
        self.assertIsInstance(figures.maps_sheet(np.random.default_rng(0).normal(size=(3, 5, 4)), title="by hand"), Figure)
        with mock.patch.dict(sys.modules, {"matplotlib": None, "atlas.pages.figures": None}):
            self.assertEqual(activation_maps(tiny.MODEL, picture(20, 20), 1).maps.shape, (8, 20, 20))


class TheCommand(unittest.TestCase):
    """`atlas activations` of a network."""

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        picture(33, 50).save(cls.folder / "a.png")

    def test_it_draws_all_units_and_says_at_which_size(self):
        out, arrays = self.folder / "maps.png", self.folder / "maps.npz"
        answer = success(run("activations", tiny.MODEL, self.folder / "a.png", "--layer", 2, "-o", out, "--arrays", arrays))
        self.assertIn("resized from 33×50 px to 20×20 px", answer.out)
        self.assertIn("layer 2, ", answer.out)
        with Image.open(out) as drawn, np.load(arrays) as held:
            self.assertGreater(drawn.width, 600)
            self.assertEqual(held["maps"].shape[0], 8)
        told = json.loads(
            success(run("activations", tiny.MODEL, self.folder / "a.png", "-l", "conv1", "--own-size", "--json")).out
        )
        self.assertEqual((told["map_size"], told["own_size"], len(told["units"])), ([33, 50], True, 8))

    def test_of_an_atlas_it_draws_the_maps_of_a_row(self):
        root = worlds.tiny_atlas().store.root
        told = json.loads(success(run("activations", root, 5, "--maps", "-l", "pool", "--json")).out)
        self.assertEqual((told["image"], told["layer"], told["map_size"]), ("image 5", "pool", [10, 10]))

    def test_what_cannot_be_done_is_refused_in_one_line(self):
        root, image = worlds.tiny_atlas().store.root, self.folder / "a.png"
        (self.folder / "a.txt").write_text("no image")
        cases: list[tuple[list[object], str]] = [
            ([tiny.MODEL, image], "no layer was given: name one, or give its number, with --layer"),
            ([tiny.MODEL, image, "-l", "conv3"], "did you mean conv"),
            ([tiny.MODEL, image, "-l", "99"], "99"),
            ([tiny.MODEL, self.folder / "b.png", "-l", 1], "there is no such file; give another image"),
            ([tiny.MODEL, self.folder / "a.txt", "-l", 1], "does not decode"),
            ([tiny.MODEL, image, "-l", 1, "-o", "maps.gif"], "would do"),
            ([tiny.MODEL, image, "-l", 1, "--arrays", "maps.csv"], ".npz, .npy would do"),
            ([tiny.MODEL, image, "-l", 1, "--disturb", "noise"], "so --disturb means nothing here: give an atlas"),
            ([tiny.MODEL, image, "-l", 1, "--split", "all"], "so --split means nothing here: give an atlas"),
            (["torchvision:resnt18", image, "-l", 1], "did you mean resnet18"),
            ([root, 3, "--own-size"], "so --own-size means nothing here: add --maps"),
            ([root, 3, "--arrays", "a.npz"], "so --arrays means nothing here: add --maps"),
            ([root, 3, "--weights", image], "so --weights means nothing here: leave it out"),
            ([root, 3, "--maps", "--disturb", "blur"], "so --disturb means nothing here: leave it out"),
            ([root, 3, "--maps", "-l", "poool"], "did you mean pool"),
            ([root, 3000], "no row 3000"),
            ([root, self.folder / "b.png"], "is no row, no image_id of this atlas and no file"),
        ]
        for arguments, words in cases:
            with self.subTest(words=words):
                clear_refusal(run("activations", *arguments), words)


if __name__ == "__main__":
    unittest.main()
