"""Networks with weights from a hub: torchvision's and timm's, through their own APIs."""

from __future__ import annotations

import contextlib
import socket
import sys
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from torch import nn

from atlas.errors import AtlasError, choose, one_line
from atlas.models.loaded import Loaded, seeded
from atlas.models.preprocess import from_timm, from_torchvision

PATIENCE = 20  # seconds that a download may stand still: without a limit an unreachable hub is waited for without end


def _unreachable(network: str, asked: str, url: str, reason: Exception) -> AtlasError:
    return AtlasError(
        f"the weights of {asked} cannot be downloaded ({one_line(reason, 120)}): get {url} where there is a connection and "
        f"give it with --weights FILE; {network}@none has random ones"
    )


def _classes(count: int | None) -> dict[str, Any]:
    return {} if count is None else {"num_classes": count}


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


# ---------------------------------------------------------------------------------------------------------------------
# torchvision


def torchvision_network(rest: str, pretrained: bool) -> Loaded:
    import torchvision

    name, _, wanted = rest.partition("@")
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        if name in torchvision.models.list_models():
            raise AtlasError(
                f"torchvision:{name} is no image classifier: give one of `torchvision.models`, such as resnet50"
            )
        raise choose("torchvision network", name, known)
    kinds = torchvision.models.get_model_weights(name)
    members = list(dict.fromkeys(["DEFAULT", *kinds.__members__]))
    if wanted not in ("", "none", *members):
        raise choose(f"weights of torchvision:{name}", wanted, [*members, "none"])
    weights = kinds[wanted] if wanted in members else kinds.DEFAULT
    random = wanted == "none"
    module = _random_torchvision(name) if random or not pretrained else _pretrained_torchvision(name, weights)
    return Loaded(
        module,
        f"{name}, random weights" if random else f"{name} ({weights.name})",
        from_torchvision(weights.transforms()),
        None if random else list(weights.meta["categories"]),
        ["random weights, and the preprocessing of ImageNet"] if random else [],
        partial(_random_torchvision, name),
    )


def _random_torchvision(name: str, classes: int | None = None) -> nn.Module:
    import torchvision

    with seeded(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # inception's, on how it will draw weights one day
        return torchvision.models.get_model(name, weights=None, **_classes(classes))


def _pretrained_torchvision(name: str, weights: Any) -> nn.Module:
    import torchvision

    try:
        with _patience():
            return torchvision.models.get_model(name, weights=weights, progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as reason:  # no network, a refused download, a file that does not match its hash
        raise _unreachable(f"torchvision:{name}", f"torchvision:{name}@{weights.name}", weights.url, reason) from None


# ---------------------------------------------------------------------------------------------------------------------
# timm


def timm_network(rest: str, pretrained: bool) -> Loaded:
    try:
        import timm
    except ImportError:
        raise AtlasError(
            f"timm:{one_line(rest)} needs timm, an extra: pip install 'activation-atlas-explorer[timm]'"
        ) from None
    name, random = rest.removesuffix("@none"), rest.endswith("@none")
    if not name.startswith(("hf-hub:", "hf_hub:")) and not timm.is_model(name.partition(".")[0]):
        raise choose("timm network", name, timm.list_models())
    module = _timm_module(name, pretrained and not random)
    config = timm.data.resolve_model_data_config(module)
    notes = ["random weights, and the preprocessing of timm's own"] if random else []
    notes += (
        ["timm pads these images (crop mode border); here their centre is taken"]
        if config.get("crop_mode") == "border"
        else []
    )
    categories = None if random else _timm_categories(module)
    title = f"{name}, random weights" if random else name
    return Loaded(module, title, from_timm(config), categories, notes, partial(_timm_module, name, False))


def _timm_module(name: str, pretrained: bool, classes: int | None = None) -> nn.Module:
    import timm

    try:
        with seeded(), _patience(), _hub_or_cache(pretrained):
            return timm.create_model(name, pretrained=pretrained, **_classes(classes))
    except Exception as reason:  # each hub's client raises kinds of its own
        if not pretrained:
            raise AtlasError(f"timm:{one_line(name)} cannot be made: {one_line(reason, 160)}") from None
        raise _unreachable(f"timm:{one_line(name)}", f"timm:{one_line(name)}", _timm_url(name), reason) from None


def _timm_url(name: str) -> str:
    import timm

    config = timm.models.get_pretrained_cfg(name)
    where = (config.url or config.hf_hub_id) if config else None
    return one_line(where or "its weights file")


@contextlib.contextmanager
def _hub_or_cache(pretrained: bool) -> Iterator[None]:
    """Let the hub's client read only its cache when its host is not reached: else it tries again for most of a minute."""
    if not pretrained:
        yield
        return
    from huggingface_hub import constants

    host = urllib.parse.urlsplit(constants.ENDPOINT).hostname or ""
    offline = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = offline or not (urllib.request.getproxies() or _answers(host))
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline


def _answers(host: str) -> bool:
    try:
        socket.create_connection((host, 443), timeout=5).close()
    except OSError:
        return False
    return True


def _timm_categories(module: nn.Module) -> list[str] | None:
    """Return the outputs' names: those kept with the weights, else ImageNet's where they were trained on it."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    config: Mapping[str, Any] = getattr(module, "pretrained_cfg", {})
    if config.get("label_names"):
        return [str(name) for name in config["label_names"]]
    subset = infer_imagenet_subset(module)
    if not subset:
        return None
    info = ImageNetInfo(subset)
    return [info.index_to_description(index) for index in range(info.num_classes())]
