"""A network ready to run: on its device, in its precision, its mistakes told in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from atlas.activations.batching import free_memory, out_of_memory
from atlas.activations.hooks import Callback, Recorder, final_linear, largest_output, placed
from atlas.activations.rounding import sums_kept
from atlas.errors import AtlasError, one_line
from atlas.machine import cores
from atlas.models.network import Network, logits_of

MEMORY_SHARE = 0.25  # of the free memory that one batch may take
LIVE_OUTPUTS = 4  # outputs of the largest layer's size that live at once: a block's input, output, branch and its work


class Engine:
    """Runs batches of one network; opened by `engine`."""

    def __init__(
        self,
        network: Network,
        device: torch.device,
        precision: str,
        module: nn.Module | None = None,
        *,
        channels_last: bool | None = None,
    ):
        self.network, self.device, self.precision = network, device, precision
        self.channels_last = self.bfloat16 if channels_last is None else channels_last
        self.module = network.module if module is None else module
        self.head: str | None = None  # the layer that makes the logits, computed in float32 in a bfloat16 pass

    def of(self, module: nn.Module) -> Engine:
        """Return the engine of a copy of the network's module."""
        other = Engine(self.network, self.device, self.precision, module, channels_last=self.channels_last)
        other.head = self.head
        return other

    @contextmanager
    def thread(self) -> Iterator[None]:
        """Prepare the thread that runs a batch: no gradients, and the precision; both are a thread's own."""
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            yield

    @property
    def bfloat16(self) -> bool:
        """Whether the pass runs in bfloat16."""
        return self.precision == "bfloat16"

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """Return a batch [image, rgb, y, x], uint8 as decoded or float32 as a dataset yields it, as the network takes it."""
        batch = torch.from_numpy(array).to(self.device)
        batch = self.network.preprocess.tensor(batch) if batch.dtype == torch.uint8 else batch.float()
        return batch.contiguous(memory_format=torch.channels_last) if self.channels_last and batch.ndim == 4 else batch

    def recorder(self, callbacks: Mapping[str, Callback]) -> Recorder:
        """Return the recorder of the layers named in `callbacks`, to be entered."""
        return Recorder(self.module, callbacks, full_precision=self.head)

    def run(self, forward: Callable[[torch.Tensor], Any], batch: torch.Tensor) -> Any:
        """Return ``forward(batch)``; what it raises becomes one line, but for a want of memory."""
        try:
            return forward(batch)
        except AtlasError:
            raise
        except Exception as reason:
            if out_of_memory(reason):
                raise
            shape, half = "×".join(map(str, batch.shape[1:])), self.bfloat16
            text = one_line((str(reason).splitlines() or [type(reason).__name__])[0])
            raise AtlasError(
                f"network {one_line(self.network.title)} failed on images of {shape} (rgb × y × x): {text}; "
                f"check the input size and the number of channels that it takes{', or give --precision float32' * half}"
            ) from reason

    def logits(self, output: Any) -> np.ndarray | None:
        """Return the logits in a network's output, float32 [image, output]; None for features only."""
        logits = self.logit_tensor(output)
        return None if logits is None else logits.detach().float().cpu().numpy()

    def logit_tensor(self, output: Any) -> torch.Tensor | None:
        """Return the logits in a network's output as they are there, [image, output]; None for features only."""
        if not self.network.outputs:
            return None
        logits = logits_of(output)
        if logits is None or logits.shape[1] != self.network.outputs:
            found = "none" if logits is None else logits.shape[1]
            title = one_line(self.network.title)
            raise AtlasError(
                f"network {title} has {self.network.outputs} outputs by its record and shows {found} here: load it again"
            )
        return logits

    def survey(self, batch: torch.Tensor) -> int:
        """Find the layer that makes the logits; return the largest batch that surely fits into memory."""
        if self.bfloat16 and self.network.outputs:
            self.head = self.run(lambda b: final_linear(self.module, b), batch)
        each = LIVE_OUTPUTS * self.run(lambda b: largest_output(self.module, b), batch) / len(batch)
        free = torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else free_memory()
        return max(1, int(MEMORY_SHARE * free / each))


@contextmanager
def engine(network: Network, device: torch.device, precision: str, *, channels_last: bool | None = None) -> Iterator[Engine]:
    """Open a network for running: no gradients, no more threads than cores, the same results each time; restored after.

    With `channels_last` the weights and the batches are laid out so; None: in bfloat16 alone.
    """
    opened = Engine(network, device, precision, channels_last=channels_last)
    threads = torch.get_num_threads()
    with ExitStack() as stack:
        if threads > cores():
            stack.callback(torch.set_num_threads, threads)
            torch.set_num_threads(cores())
        if device.type == "cuda":
            stack.enter_context(torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=opened.bfloat16))
        stack.enter_context(sums_kept(network.module, enabled=opened.bfloat16))  # outside `placed`, which moves weights
        stack.enter_context(placed(network.module, device, channels_last=opened.channels_last))
        stack.enter_context(opened.thread())
        yield opened


def find_device(name: str) -> torch.device:
    """Return the device called `name`; ``auto`` is CUDA where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise AtlasError(f"no device {one_line(repr(name))}: use auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise AtlasError(f"device {name} was asked for and torch finds no CUDA here: use --device cpu")
    return device
