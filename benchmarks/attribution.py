"""Attribution: forward mode or backward passes, and what ablation says

The milliseconds per image that it takes to attribute all logits to one layer's points, one per image: by one forward-mode
pass, and by a forward pass and a backward pass for each output. On networks with random weights, one thread, the best of
five. Then the same of 16 sampled positions per image: by a forward-mode pass for each, by one for all, and what a further
position of that one takes in backward passes. Below: how attribution correlates with what really happens to the logits when
a position is set to 0, over 3 random positions of each of 200 test images of Fashion-MNIST and all classes, on conv6 as
shipped; and the same with the gradient of max-pooling smoothed to that of L2-pooling, as in the article.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.measure import arguments, fashion_mnist, show

if TYPE_CHECKING:
    import torch

    from atlas.activations.engine import Engine

MEASURED = 10  # backward passes that are timed; of more outputs the rest is reckoned from them
ROUNDS = 5
LAYERS = {
    "conv6": ("relu1", "relu4", "pool6", "relu_fc1"),
    "resnet18": ("layer1", "layer2", "layer4", "avgpool", "flat"),
}
ABLATED = ("relu1", "pool2", "relu4", "relu5", "relu6")
POSITIONS = 3
SAMPLED = 16  # positions per image


def main(argv: Sequence[str] | None = None) -> None:
    """Print both tables."""
    import torch

    options = arguments(__doc__).parse_args(argv)
    torch.set_num_threads(1)
    rows = [row for name in LAYERS for outputs in (10, 1000) for row in ways(name, outputs, quick=options.quick)]
    show(
        "Milliseconds per image to attribute all logits to the points of a layer.",
        ["network", "outputs", "layer", "forward pass", "forward mode", "backward passes", "faster", "taken"],
        rows,
        notes=[f"With 1000 outputs the backward passes are reckoned from {MEASURED}."],
    )
    print()
    show(
        f"Milliseconds per image to attribute 1000 logits to {SAMPLED} sampled positions of a layer.",
        ["network", "layer", "a pass each", "a pass for all", "faster", "a further position in backward passes"],
        [row for name in LAYERS for row in sampled(name, quick=options.quick)],
        notes=["–: a backward pass through what is left takes too little to be told."],
    )
    images = fashion_mnist(options.cache)[0][60_000 : 60_000 + (32 if options.quick else 200)]
    print()
    show(
        "Correlation of attribution with ablation, conv6 on Fashion-MNIST.",
        ["layer", "gradient", "gradient smoothed at poolings"],
        [[layer, *(f"{value:.3f}" for value in agreement(images, layer))] for layer in ABLATED],
    )


def network(name: str, outputs: int) -> Any:
    """Return a network with random weights, ready to run."""
    import torch
    from torch import nn

    from atlas.models.network import load_network
    from atlas.models.reference import conv6

    torch.manual_seed(0)
    if name == "conv6":
        return load_network(conv6(classes=outputs), sample_shape=(28, 28))
    from torchvision.models import resnet18

    module = resnet18(num_classes=outputs)
    module.fc = nn.Sequential(nn.Identity(), module.fc)  # a layer without places before the last linear one
    return load_network(module, input_size=112)


def ways(name: str, outputs: int, *, quick: bool) -> Iterator[list[str]]:
    """Yield a row for each layer of one network."""
    import torch

    from atlas.activations.attribution import Attributor
    from atlas.activations.engine import engine
    from atlas.activations.functionals import Functional
    from atlas.activations.gradients import Gradients

    loaded, count = network(name, outputs), 8 if quick else 32
    with engine(loaded, torch.device("cpu"), "float32") as opened:
        batch = loaded.sample(count)
        plain = best(lambda: loaded.module(batch)) / count
        for layer in LAYERS[name]:
            layer = "fc.0" if layer == "flat" else layer
            attributor = Attributor(opened, {layer: Functional.parse("mean")})
            attributor.look(batch[:2])
            one = best(lambda at=attributor, of=layer: at.by_place(batch, [""] * count, of)) / count
            first, ten = (
                best(lambda n=n, of=layer: backward(Gradients(opened, batch, [of]), n)) / count for n in (1, MEASURED)
            )
            many = first + (outputs - 1) * max(ten - first, 0) / (MEASURED - 1)
            taken = "forward mode" if attributor.forward else "backward"
            faster = "alike" if 0.8 < one / many < 1.25 else "forward mode" if one < many else "backward"
            yield [name, str(outputs), layer, *(f"{1000 * s:.2f}" for s in (plain, one, many)), faster, taken]


def sampled(name: str, *, quick: bool) -> Iterator[list[str]]:
    """Yield a row for each layer with places of one network."""
    import torch

    from atlas.activations.attribution import Attributor
    from atlas.activations.engine import engine
    from atlas.activations.functionals import Functional
    from atlas.activations.gradients import Gradients

    loaded, count = network(name, 1000), 2 if quick else 8
    with engine(loaded, torch.device("cpu"), "float32") as opened:
        batch = loaded.sample(count)
        for layer in LAYERS[name][:3]:
            attributor = Attributor(opened, {layer: Functional.parse(f"positions:{SAMPLED}")})
            attributor.look(batch[:2])
            few = Attributor(opened, {layer: Functional.parse("positions:4")})
            few.look(batch[:2])
            together, four = (best(lambda at=at, of=layer: at.by_place(batch, [""] * count, of)) for at in (attributor, few))
            attributor.together.clear()
            each = best(lambda at=attributor, of=layer: at.by_place(batch, [""] * count, of))
            first, ten = (best(lambda n=n, of=layer: backward(Gradients(opened, batch, [of]), n)) for n in (1, MEASURED))
            further = (together - four) / (SAMPLED - 4) / ((ten - first) / (MEASURED - 1)) if ten > 1.05 * first else None
            cells = (1000 * seconds / count for seconds in (each, together))
            yield [
                name,
                layer,
                *(f"{ms:.2f}" for ms in cells),
                f"{each / together:.1f} times",
                "–" if further is None else f"{further:.1f}",
            ]


def backward(gradients: Any, count: int) -> None:
    """Run a forward pass and `count` backward passes."""
    with gradients:
        for logit in range(1, count):  # one was run by entering
            gradients.by_place(logit)


def best(act: Callable[[], object]) -> float:
    """Return the seconds of the fastest of ROUNDS calls, after one that warms up."""
    act()
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


# ---------------------------------------------------------------------------------------------------------------------
# Against ablation


def agreement(images: np.ndarray, layer: str) -> tuple[float, float]:
    """Return the correlation of attribution with ablation, plain and with smoothed poolings."""
    import torch

    from atlas.activations.attribution import Attributor
    from atlas.activations.engine import engine
    from atlas.activations.functionals import Functional
    from atlas.models.network import load_network

    shipped, ids = load_network("atlas:conv6", sample_shape=(28, 28)), [str(row) for row in range(len(images))]
    wanted = {layer: Functional.parse(f"positions:{POSITIONS}")}
    with engine(shipped, torch.device("cpu"), "float32") as opened:
        batch = opened.tensor(np.array(images[:, None]))
        lost = ablation(opened, batch, layer, ids)
        plain = Attributor(opened, wanted)(batch, ids)[layer]
        with smoothed(shipped.module):
            smooth = Attributor(opened, wanted)(batch, ids)[layer]
    return tuple(float(np.corrcoef(found.ravel(), lost.ravel())[0, 1]) for found in (plain, smooth))  # type: ignore[return-value]


def ablation(opened: Engine, batch: torch.Tensor, layer: str, ids: Sequence[str]) -> np.ndarray:
    """Return what each logit loses when the layer is set to 0 at a position: float [point, output]."""
    from atlas.activations.functionals import positions

    before, yx, lost = opened.logits(opened.module(batch)), positions(ids, POSITIONS, 0), []
    for place in range(POSITIONS):

        def without(output: torch.Tensor, axis: int | None, place: int = place) -> torch.Tensor:
            output = output.clone()
            y, x = np.floor(yx[:, place] * np.array(output.shape[2:])).astype(int).T
            output[np.arange(len(output)), :, y, x] = 0
            return output

        with opened.recorder({layer: without}) as recorder:
            lost.append(before - opened.logits(recorder(batch)))
    return np.stack(lost, axis=1).reshape(-1, lost[0].shape[1])


@contextmanager
def smoothed(module: torch.nn.Module) -> Iterator[None]:
    """Give the max-poolings of `module` the gradient of L2-pooling; their outputs stay."""
    from torch import nn
    from torch.nn import functional

    def hook(pool: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        squares = inputs[0] ** 2
        if isinstance(pool, nn.MaxPool2d):
            mean = functional.avg_pool2d(squares, pool.kernel_size, pool.stride, pool.padding)
        else:
            mean = functional.adaptive_avg_pool2d(squares, pool.output_size)
        root = (mean + 1e-5).sqrt()  # at 0 the root has no gradient
        return output.detach() + root - root.detach()

    with ExitStack() as stack:
        for part in module.modules():
            if isinstance(part, nn.MaxPool2d | nn.AdaptiveMaxPool2d):
                stack.callback(part.register_forward_hook(hook).remove)
        yield


if __name__ == "__main__":
    main()
