"""Weights from files: fitted to the network's names, and never run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from atlas.errors import AtlasError
from atlas.models.checkpoints import check_finite, fit_weights, put_weights, read_weights

torch.set_num_threads(1)


def small(outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, outputs))


def trained() -> nn.Module:
    torch.manual_seed(1)
    return small()


def load(path: Path, module: nn.Module | None = None) -> tuple[nn.Module, str]:
    module = module or small()
    fitted = fit_weights(read_weights(path), module, path)
    put_weights(module, fitted.state, path)
    return module, fitted.note


def same(left: nn.Module, right: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left.state_dict().values(), right.state_dict().values(), strict=True))


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in trained().state_dict().items()}


def test_safetensors_and_state_dicts_are_read(tmp_path: Path) -> None:
    save_file(trained().state_dict(), tmp_path / "w.safetensors")
    torch.save(trained().state_dict(), tmp_path / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        module, note = load(tmp_path / name)
        assert same(module, trained()) and note == ""


@pytest.mark.parametrize("nest", ["state_dict", "model", "model_state_dict", "net", "ema"])
def test_weights_are_found_among_what_a_training_script_keeps(tmp_path: Path, nest: str) -> None:
    path = tmp_path / "w.pth"
    torch.save({"epoch": 3, "optimizer": {"state": {0: torch.zeros(2)}}, nest: trained().state_dict()}, path)
    module, note = load(path)
    assert same(module, trained()) and note == f"weights w.pth: found under {nest!r}"


def test_of_several_the_best_match_is_taken_and_the_trained_before_the_averaged(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"ema": small().state_dict(), "state_dict": {"x.y": torch.zeros(1)}, "model": trained().state_dict()}, path)
    module, note = load(path)
    assert same(module, trained()) and "'model'" in note


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "net.", "backbone.", "_orig_mod.module."])
def test_prefixes_of_wrappers_are_taken_off(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "w.pth"
    torch.save({"state_dict": prefixed(prefix)}, path)
    module, note = load(path)
    assert same(module, trained())
    assert note == f"weights w.pth: found under 'state_dict', prefix {prefix!r} taken off the names"


def test_a_prefix_that_is_the_networks_own_stays(tmp_path: Path) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = small()

    path = tmp_path / "w.pth"
    torch.save(prefixed("model."), path)
    module, note = load(path, Wrapped())
    assert same(module.model, trained()) and note == ""


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("nested", [False, True])
def test_a_checkpoint_with_code_in_it_is_refused_and_never_run(tmp_path: Path, nested: bool) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "w.pth"
    torch.save({**trained().state_dict(), "trap": {"x": Trap(sprung)} if nested else Trap(sprung)}, path)
    with pytest.raises(AtlasError) as refused:
        read_weights(path)
    assert not sprung.exists()
    assert "holds Python objects beside tensors (posix.mkdir) and is not read: that could run code" in str(refused.value)
    assert "torch.save(network.state_dict(), FILE)" in str(refused.value)


def test_a_bare_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(AtlasError, match=r"w\.pkl"):
        read_weights(path)
    assert not sprung.exists()


def test_a_whole_pickled_network_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(trained(), path)
    with pytest.raises(AtlasError, match="save the weights alone"):
        read_weights(path)


def test_torchscript_given_as_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.jit.trace(trained().eval(), torch.zeros(1, 1, 3, 3)).save(str(path))
    with pytest.raises(AtlasError, match=r"w\.pt is a TorchScript module, not weights: save the weights alone"):
        read_weights(path)


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("w.safetensors", b"no", "cannot be read as safetensors"),
        ("w.pth", b"not a checkpoint at all", "is no checkpoint of torch.save"),
        ("w.pth", b"", "cannot be read as a checkpoint"),
        ("w.pth", None, "no weights at"),
    ],
)
def test_what_is_no_weights_file_is_refused(tmp_path: Path, name: str, body: bytes | None, message: str) -> None:
    if body is not None:
        (tmp_path / name).write_bytes(body)
    with pytest.raises(AtlasError) as refused:
        read_weights(tmp_path / name)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_of_other_things_than_weights_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(AtlasError, match="holds a list, not a state dict"):
        read_weights(tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "epoch.pt")
    with pytest.raises(AtlasError, match="holds no tensors where a state dict would be"):
        load(tmp_path / "epoch.pt")


def test_names_and_shapes_that_do_not_fit_are_listed_in_one_error(tmp_path: Path) -> None:
    state = trained().state_dict()
    state["4.weight"] = state.pop("0.weight")
    state["3.bias"] = torch.zeros(7)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(AtlasError) as refused:
        load(tmp_path / "w.pth")
    assert str(refused.value).endswith(
        "w.pth does not fit the network: 1 missing (0.weight); 1 not the network's (4.weight); 1 of another shape (3.bias "
        "is 7 in the file and 3 in the network). Give the weights of this very architecture"
    )


def test_only_the_first_few_of_many_faults_are_listed(tmp_path: Path) -> None:
    torch.save({f"layer{n}": torch.zeros(1) for n in range(50)}, tmp_path / "w.pth")
    with pytest.raises(AtlasError) as refused:
        load(tmp_path / "w.pth")
    assert "50 not the network's (layer0, layer1, layer2 …)" in str(refused.value)


def test_a_missing_batch_counter_of_old_checkpoints_does_not_matter(tmp_path: Path) -> None:
    state = {name: value for name, value in trained().state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "w.pth")
    load(tmp_path / "w.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value: float) -> None:
    module = small()
    with torch.no_grad():
        module[3].weight[1, 2] = value
    with pytest.raises(AtlasError) as refused:
        check_finite(module, "mine")
    assert str(refused.value) == "mine: 1 of 12 values of 3.weight are NaN or infinite; give other weights"


def test_a_running_mean_that_is_nan_is_refused_and_a_mask_of_minus_infinity_is_not() -> None:
    module = small()
    module.register_buffer("mask", torch.full((2, 2), -torch.inf))
    check_finite(module, "mine")
    module[1].running_mean[0] = torch.nan
    with pytest.raises(AtlasError, match=r"mine: 1.running_mean holds NaN; give other weights"):
        check_finite(module, "mine")
