"""Recording never changes a network and never leaves a hook behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from atlas.activations.hooks import Recorder, final_linear, largest_output, placed
from atlas.errors import AtlasError
from tests.passes import Tiny


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    with torch.no_grad():
        yield


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in module.modules())


def record(module: nn.Module, layer: str, batch: torch.Tensor) -> tuple[list[torch.Tensor], dict[str, int]]:
    kept: list[torch.Tensor] = []
    with Recorder(module, {layer: lambda output, axis: kept.append(output.clone())}) as recorder:
        recorder(batch)
    return kept, recorder.calls


class Twice(nn.Module):
    """Calls one layer twice in a forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.fc(x))


class Wrapped(nn.Module):
    """A layer whose output is whatever `wrap` makes of it."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.inner, self.wrap = nn.Linear(4, 3), wrap

    def forward(self, x: torch.Tensor) -> Any:
        return self.wrap(self.inner(x))


class Named(NamedTuple):
    logits: torch.Tensor
    rest: str


def test_no_hook_is_left_behind() -> None:
    module = Tiny()
    record(module, "conv1", torch.randn(2, 1, 8, 8))
    assert hooks(module) == 0


def test_no_hook_is_left_behind_when_the_forward_pass_fails() -> None:
    module = Tiny()
    with pytest.raises(RuntimeError), Recorder(module, {"conv1": print, "fc": print}) as recorder:
        recorder(torch.randn(2, 3, 8, 8))
    assert hooks(module) == 0


def test_no_hook_is_left_behind_when_one_cannot_be_set() -> None:
    module = Tiny().train()
    with (
        pytest.raises(AtlasError, match=r"no layer 'conv3': did you mean conv2, conv1"),
        Recorder(module, {"fc": print, "conv3": print}),
    ):
        pass
    assert hooks(module) == 0 and module.training


def test_train_and_eval_flags_are_each_as_before() -> None:
    module = Tiny().train()
    module.conv2.eval()
    before = [m.training for m in module.modules()]
    with Recorder(module, {}):
        assert not any(m.training for m in module.modules())
    assert [m.training for m in module.modules()] == before
    with pytest.raises(ValueError), Recorder(module, {}):
        raise ValueError
    assert [m.training for m in module.modules()] == before


def test_each_output_comes_with_the_axis_that_counts_its_units() -> None:
    module = nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(), nn.Flatten(2), nn.Flatten())
    found: dict[str, int | None] = {}
    with Recorder(module, {n: lambda _, axis, n=n: found.update({n: axis}) for n in "0123"}) as recorder:  # type: ignore[misc]
        recorder(torch.zeros(2, 1, 8, 12))
    assert found == {"0": 1, "1": 1, "2": 2, "3": 1} and hooks(module) == 0


def test_an_output_is_seen_before_an_in_place_layer_changes_it() -> None:
    module, batch = Tiny().eval(), torch.randn(2, 1, 8, 8)
    (found,), _ = record(module, "conv1", batch)
    torch.testing.assert_close(found, module.conv1(batch))
    assert (found < 0).any()


def test_a_layer_called_twice_gives_its_first_call_and_says_so() -> None:
    module, batch = Twice(), torch.randn(2, 4)
    kept, calls = record(module, "fc", batch)
    assert calls == {"fc": 2} and len(kept) == 1
    torch.testing.assert_close(kept[0], module.fc(batch))


def test_each_forward_pass_counts_its_calls_anew() -> None:
    module, kept = Twice(), []
    with Recorder(module, {"fc": lambda output, axis: kept.append(output)}) as recorder:
        for _ in range(3):
            recorder(torch.randn(2, 4))
    assert recorder.calls == {"fc": 2} and len(kept) == 3


def test_a_layer_that_the_pass_does_not_reach_is_refused() -> None:
    with pytest.raises(AtlasError, match="layer unused was not reached by the forward pass: choose another layer"):
        record(Twice(), "unused", torch.randn(2, 4))


@pytest.mark.parametrize(
    "wrap", [lambda y: {"logits": y}, lambda y: (y, None), lambda y: [torch.arange(2), y], lambda y: {"x": (y, y + 1)}]
)
def test_the_first_float_tensor_of_a_dict_or_tuple_is_the_output(wrap: Any) -> None:
    module, batch = nn.Sequential(Wrapped(wrap)), torch.randn(2, 4)
    (found,), _ = record(module, "0", batch)
    torch.testing.assert_close(found, module[0].inner(batch))


@pytest.mark.parametrize(
    ("wrap", "kind"), [(lambda y: None, "NoneType"), (lambda y: y.argmax(1), "int64 tensor"), (lambda y: {"a": 1}, "dict")]
)
def test_an_output_without_a_float_tensor_is_refused_with_the_layers_name(wrap: Any, kind: str) -> None:
    with pytest.raises(
        AtlasError, match=f"layer 0: its output is a {kind} and activations are float tensors: choose another"
    ):
        record(nn.Sequential(Wrapped(wrap)), "0", torch.randn(2, 4))


def test_what_a_callback_refuses_carries_the_layers_name() -> None:
    def refuse(output: torch.Tensor, axis: int | None) -> None:
        raise AtlasError("too wide")

    with pytest.raises(AtlasError, match="layer fc: too wide"), Recorder(Tiny(), {"fc": refuse}) as recorder:
        recorder(torch.randn(2, 1, 8, 8))


def test_the_layer_that_makes_the_logits_is_found() -> None:
    batch = torch.randn(2, 1, 8, 8)
    assert final_linear(Tiny(), batch) == "fc"
    assert final_linear(nn.Sequential(Tiny(), nn.Identity()), batch) == "0.fc"
    assert final_linear(nn.Sequential(Tiny(), nn.Softmax(1)), batch) is None
    assert final_linear(nn.Sequential(Wrapped(lambda y: y[:, :1]), nn.Flatten(0)), torch.randn(2, 4)) == "0.inner"
    assert final_linear(nn.Sequential(Wrapped(lambda y: {"logits": y})), torch.randn(2, 4)) == "0.inner"


def test_the_logits_of_a_bfloat16_pass_are_computed_in_float32() -> None:
    module, batch = Tiny().eval(), torch.randn(64, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16), Recorder(module, {}, full_precision="fc") as recorder:
        logits = recorder(batch)
    assert logits.dtype == torch.float32
    assert (logits.bfloat16().float() != logits).any()
    torch.testing.assert_close(logits, module(batch), atol=0.02, rtol=0.02)
    assert hooks(module) == 0


def test_the_largest_output_is_that_of_the_widest_layer() -> None:
    assert largest_output(Tiny(), torch.randn(2, 1, 8, 8)) == 4 * 2 * 5 * 8 * 8


def test_placing_a_network_restores_its_weights_order_in_memory() -> None:
    module = Tiny()
    before = {name: (value.clone(), value.stride()) for name, value in module.state_dict().items()}
    with pytest.raises(ValueError), placed(module, torch.device("cpu"), channels_last=True):
        assert module.conv2.weight.is_contiguous(memory_format=torch.channels_last)
        raise ValueError
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name][0]) and value.stride() == before[name][1]


@pytest.mark.parametrize(
    "wrap",
    [lambda y: y, lambda y: {"logits": y, "same": y, "n": 1}, lambda y: (y, [y, None]), lambda y: Named(y, "kept")],
)
def test_a_tensor_that_a_callback_returns_takes_the_output_s_place_wherever_it_stood(wrap: Any) -> None:
    module = nn.Sequential(Wrapped(wrap))
    with Recorder(module, {"0": lambda output, axis: torch.full_like(output, 7)}) as recorder:
        found = recorder(torch.randn(2, 4))
    expected = wrap(torch.full((2, 3), 7.0))
    assert type(found) is type(expected) and str(found) == str(expected) and hooks(module) == 0
