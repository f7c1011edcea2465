"""`precision: auto`: bfloat16 is held against float32 on a few images, and left where it is too far from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.activations import extract
from atlas.activations.few import COMPARED, LEAST_COSINE, mean_cosine
from atlas.errors import AtlasError
from tests.heard import Heard
from tests.passes import Net, PixelReader, Tiny, make_images, make_pixels, parts_of, run


class Cancelling(Tiny):
    """Adds 1 000 to a layer's output and takes it off again: in bfloat16 nothing is left of it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv2(self.relu(self.conv1(x))) + 1000 - 1000
        return self.fc(self.drop(x.mean((2, 3))))


@pytest.fixture(autouse=True)
def fast_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever processor the tests run on, `auto` would take bfloat16."""
    monkeypatch.setattr(extract, "resolve", lambda precision, **at: "bfloat16" if precision == "auto" else precision)


def choose(
    root: Path, module: torch.nn.Module, layer: str, count: int = 20, **options: object
) -> tuple[extract.Pass, PixelReader]:
    reader = PixelReader(make_pixels(count))
    vectors = {layer: "mean"}
    return run(root, Net(module), make_images(count), reader, precision="auto", vectors=vectors, **options), reader


def test_a_network_that_bfloat16_serves_runs_in_it_and_says_how_near_it_comes(tmp_path):
    done, _ = choose(tmp_path, Tiny(), "conv2")
    assert done.precision == "bfloat16"
    assert set(done.agreement) == {"conv2", "logits"}
    assert all(LEAST_COSINE <= cosine <= 1 for cosine in done.agreement.values())


def test_a_network_that_loses_its_digits_in_bfloat16_runs_in_float32_and_says_so(tmp_path):
    told = Heard()
    done, _ = choose(tmp_path, Cancelling(), "drop", progress=told)
    assert done.precision == "float32"
    (line,) = [line for line in told.lines if "bfloat16" in line]
    assert line in done.notes and "`--precision bfloat16`" in line
    assert parts_of(tmp_path, done.vectors["drop"])[0].vectors.dtype == np.float32


def test_the_parts_of_such_a_network_are_those_that_float32_asks_for(tmp_path):
    done, _ = choose(tmp_path, Cancelling(), "drop")
    asked = run(tmp_path, Net(Cancelling()), make_images(20), PixelReader(make_pixels(20)), vectors={"drop": "mean"})
    assert asked.vectors == done.vectors and asked.images_run == 0


def test_bfloat16_asked_for_is_not_overruled(tmp_path):
    net, reader = Net(Cancelling()), PixelReader(make_pixels(20))
    done = run(tmp_path, net, make_images(20), reader, vectors={"drop": "mean"}, precision="bfloat16")
    assert done.precision == "bfloat16" and min(done.agreement.values()) < 0.999


def test_the_comparison_is_made_once_per_build_and_kept(tmp_path):
    first, _ = choose(tmp_path, Cancelling(), "drop")
    again, reader = choose(tmp_path, Cancelling(), "drop")
    assert again.agreement == first.agreement and again.precision == "float32"
    assert reader.read == []


def test_few_images_are_compared(tmp_path):
    module = Tiny()
    net, reader = Net(module), PixelReader(make_pixels(40))
    run(tmp_path, net, make_images(40), reader, precision="auto", vectors={"conv2": "mean"})
    assert max(net.passes) == COMPARED


@pytest.mark.parametrize("text", ["", "[]", '{"cosine_to_float32": {"fc": "near"}}', '{"cosine_to_float32": 1}'])
def test_a_kept_comparison_edited_by_hand_is_refused_in_one_line(tmp_path, text):
    choose(tmp_path, Tiny(), "conv2")
    (path,) = (tmp_path / "state").glob("precision-*.json")
    assert json.loads(path.read_text())["cosine_to_float32"]
    path.write_text(text)
    with pytest.raises(AtlasError, match=r"precision-\w+\.json holds no agreement of precisions: remove it and build again"):
        choose(tmp_path, Tiny(), "conv2")


def test_the_mean_cosine_leaves_out_rows_that_float32_does_not_have_and_counts_those_that_bfloat16_lost():
    exact = np.array([[1.0, 0.0], [np.inf, 1.0], [0.0, 0.0], [0.0, 2.0]])
    assert mean_cosine(exact, exact) == 1
    found = exact.copy()
    found[0], found[3] = 0, np.nan
    assert mean_cosine(found, exact) == pytest.approx(1 / 3)
