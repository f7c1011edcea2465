"""The figures: what they show is what they were given, and they are written where and how they were asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from PIL import Image

from atlas.errors import AtlasError
from atlas.pages import figures
from atlas.pages.figures_blocks import MOST, blocks_of, kind_of
from atlas.pages.figures_patterns import extremes, scale
from atlas.pages.figures_sheet import WRONG


def table(*rows: tuple[str, str, str, int]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=["name", "kind", "shape", "parameters"])
    return frame.assign(number=range(1, len(frame) + 1))


def small_network() -> pd.DataFrame:
    return table(
        ("conv1", "Conv2d", "8×28×28", 80), ("bn1", "BatchNorm2d", "8×28×28", 16), ("relu1", "ReLU", "8×28×28", 0),
        ("pool1", "AdaptiveMaxPool2d", "8×5×5", 0), ("flatten", "Flatten", "200", 0), ("fc1", "Linear", "32", 6432),
        ("relu_fc1", "ReLU", "32", 0), ("logits", "Linear", "10", 330),
    )  # fmt: skip


def deep_network(depth: int) -> pd.DataFrame:
    rows: list[tuple[str, str, str, int]] = [("stem", "Linear", "64", 100)]
    for k in range(depth):
        rows += [
            (f"blocks.{k}.relu", "ReLU", "64", 0),
            (f"blocks.{k}.fc", "Linear", "64", 40),
            (f"blocks.{k}", "Block", "64", 41),
        ]
    return table(*rows, ("logits", "Linear", "10", 650))


def history(accuracy: tuple[float, ...] = (0.7, 0.9, 0.8)) -> list[dict[str, float]]:
    return [
        {
            "epoch": e,
            "lr": 0.1,
            "train_loss": 1 / e,
            "validation_loss": 1.1 / e,
            "train_accuracy": a,
            "validation_accuracy": a,
        }
        for e, a in enumerate(accuracy, start=1)
    ]


def texts(figure: Figure) -> str:
    from matplotlib.text import Text

    return " | ".join(found.get_text() for found in figure.findobj(Text) if found.get_text())  # type: ignore[attr-defined]


# -- files


@pytest.mark.parametrize(
    ("suffix", "head"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG")]
)
def test_a_figure_is_written_as_its_suffix_says_and_the_same_twice(tmp_path: Path, suffix: str, head: bytes) -> None:
    one, two = (figures.save(figures.training_curves(history()), tmp_path / f"{name}{suffix}") for name in "ab")
    assert one.read_bytes().startswith(head)
    assert one.read_bytes() == two.read_bytes()


def test_drawing_imports_no_pyplot_and_no_torch_and_leaves_the_settings_of_matplotlib() -> None:
    code = (
        "import sys, matplotlib; before = matplotlib.rcParams.copy()\n"
        "from atlas.pages import figures; figures.contact_sheet(None, [None], ['gone'])\n"
        "assert matplotlib.rcParams.copy() == before\n"
        "assert not {'matplotlib.pyplot', 'torch', 'umap', 'bokeh'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)


# -- training curves


def test_the_curves_show_the_history_and_mark_the_epoch_that_was_kept() -> None:
    figure = figures.training_curves(history(), title="conv4 on bars")
    loss, accuracy = figure.axes
    drawn = {line.get_label(): np.asarray(line.get_ydata(), float) for line in accuracy.lines}
    np.testing.assert_allclose(drawn["validation"], [0.7, 0.9, 0.8])
    np.testing.assert_allclose(next(x for x in loss.lines if x.get_label() == "training").get_ydata(), [1, 1 / 2, 1 / 3])
    assert "conv4 on bars" in texts(figure) and "weights kept: epoch 2, validation accuracy 90.00%" in texts(figure)
    assert any(np.all(np.asarray(line.get_xdata()) == 2) for line in loss.lines)


def test_curves_are_read_from_a_file_too_and_one_epoch_is_enough(tmp_path: Path) -> None:
    pd.DataFrame(history((0.5,))).to_csv(tmp_path / "history.csv", index=False)
    assert "epoch 1, validation accuracy 50.00%" in texts(figures.training_curves(tmp_path / "history.csv"))


def test_the_html_curves_need_no_network_and_escape_a_strange_title() -> None:
    page = figures.training_curves_html(history(), "</script><script>alert(1)</script>")
    assert page.lstrip().startswith("<!DOCTYPE html>")
    assert "<script>alert(1)" not in page
    assert "<script src=" not in page and "<link" not in page
    assert "epoch 2, validation accuracy 90.00%" in page


# -- architecture


def test_norms_and_activations_are_stripes_on_the_block_they_follow() -> None:
    blocks = blocks_of(small_network())
    assert [block.title for block in blocks] == ["conv1", "pool1", "fc1", "logits"]
    assert [kind for _, kind in blocks[0].trims] == ["norm", "activation"]
    assert [block.kind for block in blocks] == ["conv", "pool", "fc", "fc"]
    assert blocks[0].parameters == 96


def test_every_layer_belongs_to_exactly_one_block_and_no_parameter_is_lost() -> None:
    for layers in (small_network(), deep_network(5), deep_network(300)):
        blocks = blocks_of(layers)
        members = [name for block in blocks for name in block.members]
        assert sorted(members) == sorted(layers["name"])
        assert len(blocks) <= MOST


def test_hundreds_of_equal_blocks_fold_into_one_with_its_count() -> None:
    blocks = blocks_of(deep_network(512))
    assert [(block.title, block.repeat) for block in blocks] == [("stem", 1), ("blocks.0 … 511", 512), ("logits", 1)]
    assert blocks[1].parameters == 512 * 41
    assert "× 512" in texts(figures.architecture(deep_network(512)))


def test_blocks_that_differ_do_not_fold() -> None:
    layers = deep_network(40)
    layers.loc[layers["name"] == "blocks.20.fc", "parameters"] = 48
    assert [block.repeat for block in blocks_of(layers)] == [1, 20, 1, 19, 1]


def test_the_drawing_names_its_blocks_and_is_higher_where_maps_are_larger() -> None:
    figure = figures.architecture(small_network(), title="mine")
    assert all(word in texts(figure) for word in ("mine", "conv1", "8×28×28", "pool1", "fc1", "logits", "6 432", "8 layers"))
    boxes = [p for p in figure.axes[0].patches if isinstance(p, Rectangle) and p.get_height() > 0.15]
    conv, pool = boxes[0], next(p for p in boxes if p.get_x() > boxes[0].get_x() + 0.5)
    assert conv.get_height() > pool.get_height()


@pytest.mark.parametrize(
    ("marked", "layers"), [("relu1", small_network()), ("blocks.7.fc", deep_network(64)), ("blocks.1", deep_network(3))]
)
def test_a_marked_layer_is_pointed_at_wherever_it_is_drawn(marked: str, layers: pd.DataFrame) -> None:
    plain, with_mark = figures.architecture(layers), figures.architecture(layers, marked=marked)
    assert marked in texts(with_mark)
    polygons = [sum(isinstance(p, Polygon) for p in figure.axes[0].patches) for figure in (plain, with_mark)]
    assert polygons[1] == polygons[0] + 1


def test_kinds_of_torch_and_timm_are_known() -> None:
    kinds = {
        "Conv2dSame": "conv",
        "LayerNorm2d": "norm",
        "BatchNormAct2d": "norm",
        "AdaptiveAvgPool2d": "pool",
        "GELU": "activation",
    }
    assert {name: kind_of(name) for name in kinds} == kinds
    assert kind_of("SelfAttention") == "other"


# -- patterns


def test_a_heatmap_shows_every_value_on_one_scale_that_is_symmetric_for_means() -> None:
    values = np.random.default_rng(0).normal(1, 2, (3, 12))
    figure = figures.patterns_heatmap(values, ["a", "b", "c"], stat="mean", title="fc1", count=[5, 6, 7])
    image = figure.axes[0].images[0]
    np.testing.assert_allclose(np.asarray(image.get_array()), values)
    low, high = image.get_clim()
    assert low == -high and high == pytest.approx(np.abs(values).max())
    assert "fc1" in texts(figure) and "a  5" in texts(figure) and "mean activation" in texts(figure)


def test_the_scale_of_standard_deviations_begins_at_zero() -> None:
    values = np.random.default_rng(0).gamma(2, 1, (3, 400))
    figure = figures.patterns_heatmap(values, ["a", "b", "c"], stat="std")
    assert figure.axes[0].images[0].get_clim()[0] == 0


def test_a_value_far_out_does_not_wash_out_the_rest_and_is_told() -> None:
    values = np.ones((2, 500))
    values[1, 3] = 80
    assert scale(values, "mean") == (-1, 1, True)
    assert "largest size: 80" in texts(figures.patterns_heatmap(values, ["a", "b"], stat="mean"))


@pytest.mark.parametrize("count", [None, [4, 0, 9]])
def test_a_class_without_images_is_hatched_and_said_so(count: list[int] | None) -> None:
    values = np.ones((3, 5))
    values[1] = np.nan
    figure = figures.patterns_heatmap(values, ["a", "b", "c"], stat="mean", count=count)
    hatched = [p for p in figure.axes[0].patches if p.get_hatch()]
    assert len(hatched) == 1 and hatched[0].get_y() == pytest.approx(0.58)
    assert "no images" in texts(figure) and "hatched: no images (1)" in texts(figure)


@pytest.mark.parametrize(("classes", "units"), [(2, 10), (10, 100), (10, 101), (10, 1000), (200, 64)])
def test_cells_have_borders_only_while_they_are_wide_enough(tmp_path: Path, classes: int, units: int) -> None:
    names = [f"class {c}" for c in range(classes)]
    figure = figures.patterns_heatmap(np.random.default_rng(0).normal(size=(classes, units)), names, stat="mean")
    assert len(figure.axes[0].collections) == (units <= 100) + (classes <= 100)
    width, height = Image.open(figures.save(figure, tmp_path / "x.png")).size
    assert width < 2500 and height < 2500


@pytest.mark.parametrize("units", [1280, 2049, 20_000])
def test_no_row_takes_colour_from_another_where_units_outnumber_pixels(tmp_path: Path, units: int) -> None:
    values = np.repeat([[1.0], [-1.0], [1.0]], units, axis=1)
    values[1, ::97] = 0.5
    figure = figures.patterns_heatmap(values, ["a", "b", "c"], stat="mean")
    drawn = np.asarray(Image.open(figures.save(figure, tmp_path / "x.png")).convert("RGB")).astype(int)
    height, width = drawn.shape[:2]
    box = figure.axes[0].get_position()
    left, right = round(box.x0 * width) + 3, round(box.x1 * width) - 3
    for row in range(3):
        low, high = (round(height * (1 - box.y1 + box.height * (row + part) / 3)) for part in (0.06, 0.94))
        seen = drawn[low:high, left:right].reshape(-1, 3)
        assert len(seen) and len(np.unique(seen, axis=0)) == 1  # the row's own colour, up to its border
    assert f"{units} units, {-(-units // 1260)} per column" in texts(figure)


def test_a_column_of_several_units_shows_the_largest_in_size_of_its_own_row() -> None:
    values = np.array([[1.0, -3.0, 2.0, 0.0, np.nan], [np.nan, np.nan, 0.5, 0.25, 7.0]])
    np.testing.assert_array_equal(extremes(values, 2), [[-3, 2, np.nan], [np.nan, 0.5, 7]])
    np.testing.assert_array_equal(extremes(values, 1), values)


def test_names_are_drawn_as_they_are_even_where_they_look_like_formulas(tmp_path: Path) -> None:
    figure = figures.patterns_heatmap(np.ones((2, 3)), ["$x^2$ $", "<b>\n"], stat="mean", title=r"$\frac{1}{")
    figures.save(figure, tmp_path / "x.svg")
    assert "$x^2$ $" in texts(figure) and r"<b>\n" in texts(figure)


# -- contact sheet


def test_a_contact_sheet_shows_the_query_and_each_image_with_its_own_caption() -> None:
    images = [np.full((28, 28), value, np.uint8) for value in (10, 20, 30)]
    figure = figures.contact_sheet(Image.new("RGB", (40, 20), "red"), images, [f"label {i}\n0.{i}" for i in range(3)])
    assert len(figure.axes) == 4
    for axes, value in zip(figure.axes[1:], (10, 20, 30), strict=True):
        assert np.all(np.asarray(axes.images[0].get_array()) == value)
        assert [t.get_text() for t in axes.texts] == [f"label {value // 10 - 1}", f"0.{value // 10 - 1}"]
    width, height = figure.axes[0].get_position().width, figure.axes[1].get_position().width
    assert width >= height - 1e-9


def test_wrong_neighbours_and_a_wrong_query_have_red_names_and_the_others_do_not() -> None:
    images, captions = [None] * 3, ["a\n0.1", "b\ntaken for a\n0.2", "c\n0.3"]
    figure = figures.contact_sheet(
        None, images, captions, wrong=[False, True, False], title="3 nearest images", note="cosine distance in fc1"
    )
    names = [axes.texts[0] for axes in figure.axes]
    assert [name.get_color() == WRONG for name in names] == [False, True, False]
    assert all(text.get_color() != WRONG for axes in figure.axes for text in axes.texts[1:])
    assert "3 nearest images" in texts(figure) and "cosine distance in fc1" in texts(figure)
    one = figures.contact_sheet(Image.new("L", (9, 9)), [], [], query_caption="shirt\npredicted dress", query_wrong=True)
    assert one.axes[0].texts[0].get_color() == WRONG and "predicted dress" in texts(one)


@pytest.mark.parametrize("count", [1, 5, 10, 47])
def test_the_tiles_of_a_sheet_lie_inside_it_and_do_not_overlap(count: int) -> None:
    figure = figures.contact_sheet(np.zeros((8, 8), np.uint8), [None] * count, ["x"] * count, title="sheet")
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= 1 and box.y1 <= 1 for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


# -- refusals

REFUSALS: list[tuple[str, Callable[[Path], Any], str]] = [
    (
        "suffix",
        lambda p: figures.save(Figure(), p / "x.gif"),
        "x.gif is no picture file that can be written: end its name in .png",
    ),
    (
        "folder",
        lambda p: figures.save(Figure(), p / "no" / "x.png"),
        "is no folder to write x.png in: create it or choose another",
    ),
    ("history", lambda p: figures.training_curves([{"epoch": 1}]), "the history lacks train_loss, train_accuracy"),
    (
        "no epoch",
        lambda p: figures.training_curves(pd.DataFrame(history())[:0]),
        "the history holds no epoch: give the history.csv",
    ),
    ("no file", lambda p: figures.training_curves(p / "h.csv"), "h.csv cannot be read"),
    ("layer", lambda p: figures.architecture(small_network(), marked="conv2"), "no layer 'conv2': did you mean conv1?"),
    (
        "stat",
        lambda p: figures.patterns_heatmap(np.ones((1, 1)), ["a"], stat="men"),
        "no statistic 'men': did you mean mean?",
    ),
    (
        "names",
        lambda p: figures.patterns_heatmap(np.ones((2, 3)), ["a"]),
        "patterns of shape (2, 3) for 1 classes: give [class, unit]",
    ),
    (
        "captions",
        lambda p: figures.contact_sheet(None, [None], []),
        "1 images and 0 captions: a contact sheet wants one caption per",
    ),
    (
        "wrong",
        lambda p: figures.contact_sheet(None, [None], ["a"], wrong=[True, False]),
        "1 images and 2 marks of wrong ones: give one per image, or none",
    ),
    ("empty", lambda p: figures.contact_sheet(None, [], []), "a contact sheet of no images: give at least one"),
]


@pytest.mark.parametrize(("call", "message"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_a_mistake_is_refused_with_what_would_do(call: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(AtlasError) as refusal:
        call(tmp_path)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


# -- the blocks of deep networks


def courses(depth: int) -> pd.DataFrame:
    rising = np.linspace(0.1, 0.9, depth)
    return pd.DataFrame(
        {"f_ratio": 2 * rising, "f_low": rising, "f_high": 3 * rising, "cosine": 1 - rising, "read_out": rising}
    )


def test_measures_of_networks_of_any_depth_are_drawn_over_one_width_with_their_depths_named() -> None:
    figure = figures.depth_figure({"short": courses(4), "long": courses(50)}, title="depth", note="")
    for axes, column in zip(figure.axes, ("f_ratio", "cosine", "read_out"), strict=True):
        for line, depth in zip(axes.lines, (4, 50), strict=True):
            np.testing.assert_allclose(line.get_ydata(), courses(depth)[column])
            assert line.get_xdata()[-1] == 1 and len(line.get_xdata()) == depth
    assert [text.get_text() for text in figure.legends[0].texts] == ["short, 4 blocks", "long, 50 blocks"]


def test_matrices_share_a_scale_and_stand_at_the_numbers_of_their_lines() -> None:
    one, other = np.eye(4), np.full((8, 8), 0.5)
    drawn = figures.matrices_figure([{"one": one, "other": other}], stat="std", title="t", note="", ends={"other": (3, 31)})
    first, second = (axes.images[0] for axes in drawn.axes[:2])
    assert first.get_clim() == second.get_clim() == (0, 1)
    np.testing.assert_array_equal(first.get_array(), one)
    assert tuple(first.get_extent()) == (-0.5, 3.5, 3.5, -0.5) and tuple(second.get_extent()) == (1, 33, 33, 1)
    named = figures.matrices_figure([{"one": one}], stat="mean", title="t", note="", names=[["a", "b", "c", "d"]])
    assert [text.get_text() for text in named.axes[0].get_yticklabels()] == ["a", "b", "c", "d"]


def test_a_run_that_diverged_leaves_the_others_drawn(tmp_path: Path) -> None:
    run = {"accuracy": np.array([0.5, 0.9]), "untrained": np.ones(5), "trained": np.geomspace(1, 1000, 5)}
    none = {name: np.empty(0) for name in run}
    figure = figures.scalings_figure({"scaled": run, "plain": none}, title="t", note="")
    figures.save(figure, tmp_path / "x.svg")
    assert [len(line.get_ydata()) for line in figure.axes[2].lines] == [5, 0]
    assert "mathdefault" not in (tmp_path / "x.svg").read_text("utf-8")


def a_map(count: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    return chance.normal(size=(count, 2)), chance.integers(-1, 3, count)


def test_maps_side_by_side_show_every_point_in_its_classes_colour_and_ring_the_marked_ones() -> None:
    xy, codes = a_map()
    colours = ["#ff0000", "#00ff00", "#0000ff", "#888888"]
    rows = [
        [figures.Map("one", xy, codes, ["words"], np.array([3, 4])), figures.Map("two", xy, codes)],
        [figures.Map("3", xy, codes)],
    ]
    drawn = figures.maps_figure(rows, ["a", "b", "c"], colours, title="maps", note="a note")
    assert len(drawn.axes) == 3
    points, rings = drawn.axes[0].collections
    assert len(points.get_offsets()) == 60 and len(rings.get_offsets()) == 2
    shown = dict(zip(map(tuple, np.asarray(points.get_offsets())), points.get_facecolors()[:, :3].tolist(), strict=True))
    assert all(
        shown[tuple(at)] == [int(colours[code][k : k + 2], 16) / 255 for k in (1, 3, 5)]
        for at, code in zip(xy, codes, strict=True)
    )
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["a", "b", "c"]
    with pytest.raises(AtlasError, match="a figure of no maps"):
        figures.maps_figure([[]], ["a"], colours, title="", note="")


def test_names_beside_dots_lie_in_their_panel_and_on_no_other_name() -> None:
    table = pd.DataFrame({"class": [f"class {k}" for k in range(8)], "spread": [1, 1.01, 1.02, 2, 2, 2.01, 3, 3.4],
                          "error": [0.1, 0.1, 0.11, 0.3, 0.31, 0.3, 0.2, 0.9]})  # fmt: skip
    drawn = figures.against_figure(
        {"net": table}, x="spread", y="error", words=("spread", "error"), notes={}, title="", note=""
    )
    drawn.canvas.draw()
    panel = drawn.axes[0].get_window_extent()
    boxes = [text.get_window_extent() for text in drawn.axes[0].texts if text.get_text().startswith("class")]
    assert len(boxes) == 8 and all(panel.x0 <= box.x0 and box.x1 <= panel.x1 for box in boxes)
    overlaps = sum(one.overlaps(other) for k, one in enumerate(boxes) for other in boxes[:k])
    assert overlaps == 0


def test_what_places_cost_and_a_path_across_a_map_are_drawn_as_given() -> None:
    table = pd.DataFrame({"order": ["most", "most", "random", "random", "least", "least"], "share": [0, 0.5] * 3,
                          "probability": [0.9, 0.2, 0.9, 0.5, 0.9, 0.8]})  # fmt: skip
    lines = figures.removal_figure({"net": table}, title="", note="").axes[0].lines
    assert [line.get_ydata().tolist() for line in lines] == [[0.9, 0.2], [0.9, 0.5], [0.9, 0.8]]
    xy, codes = a_map()
    tile = np.zeros((8, 8, 3), np.uint8)
    stops = [figures.Stop(tile, [tile, tile], k / 4, 1 - k / 4, f"stop {k}") for k in range(5)]
    options: dict[str, Any] = {"xy": xy, "codes": codes, "colours": ["red", "green", "blue", "grey"], "names": ("a", "b"),
                               "title": "", "note": ""}  # fmt: skip
    drawn = figures.path_figure(stops, line=xy[:5], cosines=np.full(4, 0.9), **options)
    assert len(drawn.axes) == 1 + 5 * 3 + 1 and np.asarray(drawn.axes[0].lines[0].get_xydata()).tolist() == xy[:5].tolist()
    assert drawn.axes[-1].lines[0].get_ydata().tolist() == [0, 0.25, 0.5, 0.75, 1]
    with pytest.raises(AtlasError, match="a path of 1 cells"):
        figures.path_figure(stops[:1], line=xy[:1], cosines=np.empty(0), **options)
