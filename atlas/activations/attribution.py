"""How much each point's activation argues for each logit: h · ∂logit/∂h, the linear attribution.

Carter et al., "Activation Atlas", Distill 2019; exact for the last linear layer, whose logits are linear in h.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from atlas.activations.batching import padded, stack
from atlas.activations.engine import Engine, engine, find_device
from atlas.activations.functionals import Functional
from atlas.activations.gradients import Gradients, axis_of, check_logits, independent, units_last
from atlas.activations.hooks import Callback
from atlas.activations.sinks import check_rows
from atlas.activations.spatial import laid_out
from atlas.errors import AtlasError, one_line
from atlas.models.network import Network
from atlas.models.shapes import FEWEST
from atlas.store import digest

if TYPE_CHECKING:
    from PIL.Image import Image

PASSES = 3  # backward passes that one forward-mode pass takes as long as, through a layer with places: see `Attributor`
CHEAP = 30  # the same for a layer without places, after which little is left to go back through
MORE = 2  # the same for each further place that shares the pass: 0.8 to 3.5 in `benchmarks/attribution.py`
TOGETHER = 16  # places that share one forward-mode pass: what comes after the layer then takes as many times the memory


class Attributor:
    """Attributes the logits to the points of some layers, batch by batch, in an engine that is open.

    Of a point that covers its image the sum over all places of the layer, whatever its functional; of sampled positions
    that place alone, the same as the functional samples. Either forward mode gives every logit, in one pass for all places
    (what comes before the layer runs once; where an operation cannot be batched over directions, in one pass per place), or
    one backward pass per logit gives every place, of several layers at once; all give the same up to rounding.
    `benchmarks/attribution.py` times them with 10 and 1 000 outputs on conv6 and torchvision's resnet18: backward passes are
    taken up to PASSES logits and MORE for each further place (CHEAP for a layer without places), forward mode beyond. What
    the network cannot do one way (an operation without a forward-mode derivative, a part run without gradients) is done
    the other.
    """

    def __init__(self, opened: Engine, wanted: Mapping[str, Functional], *, seed: int = 0):
        check_logits(opened.network)
        self.opened, self.wanted, self.seed = opened, dict(wanted), seed
        self.forward: frozenset[str] | None = None  # the layers that take forward mode; None: `look` has not run
        self.together: set[str] = set()  # the layers whose sampled places can share one

    def look(self, sample: torch.Tensor) -> None:
        """Choose each layer's way by trying it on a batch, so that what cannot be attributed shows first."""
        shapes = self._shapes(sample)
        self.forward = frozenset(layer for layer in self.wanted if self._takes_forward(layer, shapes[layer], sample))

    def __call__(self, batch: torch.Tensor, image_ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Return float32 [point, output] by layer, of the first images of a batch, those of `image_ids`, image by image.

        A single logit stands for two outputs, of which the first is always 0.
        """
        if self.forward is None:
            self.look(batch[:FEWEST])
        forward = self.forward or frozenset()
        found = {layer: self.by_place(batch, image_ids, layer) for layer in self.wanted if layer in forward}
        found |= self.by_logit(batch, image_ids, [layer for layer in self.wanted if layer not in forward])
        return {layer: _as_points(found[layer]) for layer in self.wanted}

    def _shapes(self, sample: torch.Tensor) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}

        def taker(layer: str) -> Callback:
            def take(output: torch.Tensor, axis: int | None) -> None:
                check_rows(output, len(sample))
                self.wanted[layer].check(tuple(output.shape))
                found[layer] = tuple(output.shape)

            return take

        with self.opened.recorder({layer: taker(layer) for layer in self.wanted}) as recorder:
            self.opened.run(recorder, sample)
        return found

    def _takes_forward(self, layer: str, shape: tuple[int, ...], sample: torch.Tensor) -> bool:
        ids, reasons = [""] * len(sample), []
        preferred = self.opened.network.outputs > (CHEAP if len(shape) == 2 else self._worth(layer, sample))
        for forward in (preferred, not preferred):
            try:
                _ = self._in_direction(sample, ids, layer, 0) if forward else self.by_logit(sample, ids, [layer])[layer]
            except AtlasError as reason:
                reasons.append(reason)
            else:
                return forward
        raise reasons[0]

    def _worth(self, layer: str, sample: torch.Tensor) -> int:
        """Return how many backward passes take as long as forward mode does, and note whether the places share a pass."""
        places = self._places(layer)
        if places == 1:
            return PASSES
        try:
            self._together(sample, [""] * len(sample), layer)
        except AtlasError:  # an operation that cannot be batched over directions, or whatever `look` finds anyway
            return PASSES * places
        self.together.add(layer)
        return PASSES + MORE * (places - 1)

    def _places(self, layer: str) -> int:
        return self.wanted[layer].points if self.wanted[layer].sampled else 1

    def by_place(self, batch: torch.Tensor, image_ids: Sequence[str], layer: str) -> torch.Tensor:
        """Return [image, place, output]: per place, the logits' derivative in the direction of the activation there."""
        if layer in self.together:
            return self._together(batch, image_ids, layer)
        found = [self._in_direction(batch, image_ids, layer, place) for place in range(self._places(layer))]
        return torch.stack(found, dim=1)[: len(image_ids)]

    def _together(self, batch: torch.Tensor, image_ids: Sequence[str], layer: str) -> torch.Tensor:
        """Return the same of sampled places from one pass for all: the Jacobian by a factor on each place's activation.

        What comes before the layer runs once, what comes after it once more for each place's tangent alone.
        """

        def logits(more: torch.Tensor) -> torch.Tensor:
            def put(output: torch.Tensor, axis: int | None) -> torch.Tensor:
                flat, unit = units_last(output, axis), axis_of(output, axis)
                kept = _one_hot(self._numbers(layer, output, axis, image_ids), flat)
                scaled = flat * (1 + torch.tensordot(more, kept, 1))[..., None]
                return scaled.reshape(output.movedim(unit, -1).shape).movedim(-1, unit).contiguous()

            with self.opened.recorder({layer: put}) as recorder:
                found = self.opened.logit_tensor(recorder(batch))
            assert found is not None  # `check_logits`
            return found

        def along(place: torch.Tensor) -> torch.Tensor:
            return torch.func.jvp(logits, (torch.zeros_like(place),), (place,))[1]

        each = torch.eye(self.wanted[layer].points, device=batch.device)
        with _forward_mode():
            found = self.opened.run(lambda _: torch.func.vmap(along, chunk_size=TOGETHER)(each), batch)
        return found.movedim(0, 1)[: len(image_ids)]

    def _in_direction(self, batch: torch.Tensor, image_ids: Sequence[str], layer: str, place: int) -> torch.Tensor:
        def put(output: torch.Tensor, axis: int | None) -> torch.Tensor:
            numbers = self._numbers(layer, output, axis, image_ids)
            tangent = output.clone() if numbers is None else _only_at(output, axis, numbers[:, place])
            return forward_ad.make_dual(output.detach(), tangent)

        with _forward_mode(), forward_ad.dual_level(), self.opened.recorder({layer: put}) as recorder:
            logits = self.opened.logit_tensor(self.opened.run(recorder, batch))
            assert logits is not None  # `check_logits`
            tangent = forward_ad.unpack_dual(logits).tangent
            if tangent is None:
                raise independent(layer)
            return tangent.clone()

    def by_logit(self, batch: torch.Tensor, image_ids: Sequence[str], layers: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return [image, place, output] by layer: per logit, gradient times activation, summed over units at each place."""
        found: dict[str, list[torch.Tensor]] = {layer: [] for layer in layers}
        if not layers:
            return {}
        with Gradients(self.opened, batch, layers) as gradients:
            numbers = {layer: self._numbers(layer, *gradients.taken[layer], image_ids) for layer in layers}
            for logit in range(self.opened.network.outputs):
                for layer, each in gradients.by_place(logit).items():
                    own, at = each[: len(image_ids)], numbers[layer]
                    found[layer].append(own.sum(1, keepdim=True) if at is None else own.gather(1, at))
        return {layer: torch.stack(each, dim=2) for layer, each in found.items()}

    def _numbers(self, layer: str, output: torch.Tensor, axis: int | None, image_ids: Sequence[str]) -> torch.Tensor | None:
        """Return which of the layer's places, counted through, are sampled: int64 [image, place]; None where all count."""
        functional = self.wanted[layer]
        if not functional.sampled:
            return None
        space = [size for number, size in enumerate(output.shape) if number not in (0, axis_of(output, axis))]
        numbered = torch.arange(int(np.prod(space)), dtype=torch.float32).reshape(1, *space, 1)
        numbered = numbered.expand(len(image_ids), *space, 1)  # reduced as the layer itself is, so that no place differs
        found, _ = functional.reduce(numbered, self.seed, image_ids, axis=numbered.ndim - 1)
        return found.reshape(len(image_ids), -1).long().to(output.device)


def attributions(
    network: Network,
    pictures: Sequence[Image],
    layer: str,
    functional: str = "mean",
    *,
    image_ids: Sequence[str] | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> np.ndarray:
    """Return the attribution of a few images' points in one layer to each output: float32 [point, output].

    Computed in float32, in one batch. Sampled positions are drawn from `image_ids`, by default from the images' pixels. An
    unknown layer, one that the logits do not depend on, and a network without logits raise AtlasError.
    """
    pixels = [network.preprocess.array(picture) for picture in pictures]
    ids = image_ids or [digest(own)[:16] for own in pixels]
    with engine(network, find_device(device), "float32") as opened:
        attributor = Attributor(opened, {layer: Functional.parse(functional)}, seed=seed)
        return attributor(opened.tensor(padded(stack(pixels), FEWEST)), ids)[layer]


def layer_attributions(
    network: Network, picture: Image, layers: Sequence[str], *, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """Return what each of some layers argues for as a whole, of one image: float32 [output], by layer.

    The sum over all places, a class token among them; of a single logit for two outputs. Errors as of `attributions`.
    """
    with engine(network, find_device(device), "float32") as opened:
        attributor = Attributor(opened, {layer: Functional.parse("mean") for layer in layers})
        found = attributor(opened.tensor(padded(stack([network.preprocess.array(picture)]), FEWEST)), [""])
    return {layer: values[0] for layer, values in found.items()}


def place_attributions(
    network: Network, picture: Image, layers: Sequence[str], *, outputs: Sequence[int] | None = None, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """Return what each place of each layer argues for, of one image: float32 [output, y, x], by layer.

    One backward pass for each of `outputs` (numbers of logits, by default all) gives every layer. Tokens are laid out as the
    grid of their patches, a class token left out; a layer without places has one. Errors as of `attributions`.
    """
    check_logits(network)
    wanted = list(range(network.outputs)) if outputs is None else [_known_logit(network, number) for number in outputs]
    found: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
    with engine(network, find_device(device), "float32") as opened:
        batch = opened.tensor(padded(stack([network.preprocess.array(picture)]), FEWEST))
        with Gradients(opened, batch, layers) as gradients:
            for logit in wanted:
                for layer, each in gradients.by_place(logit).items():
                    found[layer].append(laid_out(gradients.as_output(layer, each)[:1].cpu().numpy(), -1)[0])
    return {layer: np.stack(maps) for layer, maps in found.items()}


# ---------------------------------------------------------------------------------------------------------------------
# What the ways share


@contextmanager
def _forward_mode() -> Iterator[None]:
    """Prepare forward-mode derivatives: attention is computed by what has them."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)  # torch's own use of it
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _as_points(found: torch.Tensor) -> np.ndarray:
    """[image, place, output] → float32 [point, output], of a single logit for two outputs."""
    values = found.detach().float().cpu().numpy().reshape(-1, found.shape[-1])
    return np.hstack([np.zeros_like(values), values]) if values.shape[1] == 1 else values


def _only_at(output: torch.Tensor, axis: int | None, numbers: torch.Tensor) -> torch.Tensor:
    """Return `output` at one place of each image, zeros elsewhere and for images beyond `numbers` int64 [image]."""
    flat = units_last(output, axis)
    kept, rows = torch.zeros_like(flat), torch.arange(len(numbers), device=output.device)
    kept[rows, numbers] = flat[rows, numbers]
    unit = axis_of(output, axis)
    return kept.reshape(output.movedim(unit, -1).shape).movedim(-1, unit).contiguous()


def _one_hot(numbers: torch.Tensor | None, flat: torch.Tensor) -> torch.Tensor:
    """int64 [image, place] → [place, image, place of the layer], 1 at the number, zeros for images beyond `numbers`."""
    assert numbers is not None  # places are sampled
    found = flat.new_zeros(numbers.shape[1], *flat.shape[:2])
    found[:, : len(numbers)] = torch.nn.functional.one_hot(numbers.T, flat.shape[1]).to(flat)
    return found


def _known_logit(network: Network, number: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or not 0 <= number < network.outputs:
        raise AtlasError(
            f"no output {one_line(repr(number))}: network {one_line(network.title)} has outputs 0 to {network.outputs - 1}"
        )
    return int(number)
